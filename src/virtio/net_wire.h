/*
 * What driver and network device say to each other (virtio 1.2, 5.1; UDP segmentation: 1.3).
 */
#ifndef VIRTIO_NET_WIRE_H
#define VIRTIO_NET_WIRE_H

#include "base/bytes.h"

/* Features (5.1.3). */
#define VNET_F_CSUM                BIT(0)
#define VNET_F_GUEST_CSUM          BIT(1)
#define VNET_F_CTRL_GUEST_OFFLOADS BIT(2)
#define VNET_F_MTU                 BIT(3)
#define VNET_F_MAC                 BIT(5)
#define VNET_F_GUEST_TSO4          BIT(7)
#define VNET_F_GUEST_TSO6          BIT(8)
#define VNET_F_GUEST_ECN           BIT(9)
#define VNET_F_HOST_TSO4           BIT(11)
#define VNET_F_HOST_TSO6           BIT(12)
#define VNET_F_HOST_ECN            BIT(13)
#define VNET_F_MRG_RXBUF           BIT(15)
#define VNET_F_STATUS              BIT(16)
#define VNET_F_CTRL_VQ             BIT(17)
#define VNET_F_CTRL_RX             BIT(18)
#define VNET_F_CTRL_VLAN           BIT(19)
#define VNET_F_CTRL_RX_EXTRA       BIT(20)
#define VNET_F_GUEST_ANNOUNCE      BIT(21)
#define VNET_F_MQ                  BIT(22)
#define VNET_F_CTRL_MAC_ADDR       BIT(23)
#define VNET_F_GUEST_USO4          BIT(54)
#define VNET_F_GUEST_USO6          BIT(55)
#define VNET_F_HOST_USO            BIT(56)
#define VNET_F_SPEED_DUPLEX        BIT(63)

/* Queues (5.1.2): of pair N; the control queue stands behind those of all pairs. */
#define VNET_QUEUE_RX(pair) (2 * (pair))
#define VNET_QUEUE_TX(pair) (2 * (pair) + 1)

/* struct virtio_net_config (5.1.4). */
struct vnet_config_wire {
	u8 mac[6];
	le16 status;
	le16 max_virtqueue_pairs;
	le16 mtu;
	le32 speed; /* Mbit/s */
	u8 duplex;
	u8 rss[7]; /* not offered: zeros */
};
static_assert(sizeof(struct vnet_config_wire) == 24, "5.1.4");

#define VNET_S_LINK_UP  1
#define VNET_S_ANNOUNCE 2

#define VNET_DUPLEX_FULL 1

/* struct virtio_net_hdr (5.1.6); flags and gso_type as in net/net.h. */
struct vnet_header_wire {
	u8 flags;
	u8 gso_type;
	le16 hdr_len;
	le16 gso_size;
	le16 csum_start;
	le16 csum_offset;
	le16 num_buffers;
};
static_assert(sizeof(struct vnet_header_wire) == 12, "5.1.6");

/* The control queue (5.1.6.5): a command, its data, and a byte for the answer. */
struct vnet_ctrl_wire {
	u8 class;
	u8 command;
};

enum {
	VNET_CTRL_OK = 0,
	VNET_CTRL_ERR = 1,
};

enum {
	VNET_CTRL_RX = 0, /* commands: enum vnet_rx_mode */
	VNET_CTRL_MAC = 1,
	VNET_CTRL_VLAN = 2,
	VNET_CTRL_ANNOUNCE = 3,
	VNET_CTRL_MQ = 4,
	VNET_CTRL_GUEST_OFFLOADS = 5,
};

enum vnet_rx_mode {
	VNET_RX_PROMISC,
	VNET_RX_ALLMULTI,
	VNET_RX_ALLUNI,
	VNET_RX_NOMULTI,
	VNET_RX_NOUNI,
	VNET_RX_NOBCAST,
	VNET_RX_MODES,
};

enum { VNET_MAC_TABLE_SET = 0, VNET_MAC_ADDR_SET = 1 };
enum { VNET_VLAN_ADD = 0, VNET_VLAN_DEL = 1 };
enum { VNET_ANNOUNCE_ACK = 0 };
enum { VNET_MQ_PAIRS_SET = 0 };
enum { VNET_GUEST_OFFLOADS_SET = 0 };

#define VNET_VLANS 4096

#endif

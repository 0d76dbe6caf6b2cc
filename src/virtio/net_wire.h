/*
 * What driver and network device say to each other (virtio 1.2, 5.1).
 */
#ifndef VIRTIO_NET_WIRE_H
#define VIRTIO_NET_WIRE_H

#include "base/bytes.h"

/* Features (5.1.3). */
#define VNET_F_MTU       BIT(3)
#define VNET_F_MAC       BIT(5)
#define VNET_F_MRG_RXBUF BIT(15)
#define VNET_F_STATUS    BIT(16)

enum {
	VNET_QUEUE_RX = 0,
	VNET_QUEUE_TX = 1,
};

/* struct virtio_net_config (5.1.4), as far as the features above reach. */
struct vnet_config_wire {
	u8 mac[6];
	le16 status;
	le16 max_virtqueue_pairs;
	le16 mtu;
};
static_assert(sizeof(struct vnet_config_wire) == 12, "5.1.4");

#define VNET_S_LINK_UP 1

/* struct virtio_net_hdr (5.1.6). */
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

#endif

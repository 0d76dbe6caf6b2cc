/*
 * A network card's inside, shared by its files.
 */
#ifndef VIRTIO_NET_PRIV_H
#define VIRTIO_NET_PRIV_H

#include "net/net.h"
#include "virtio/limit.h"
#include "virtio/net.h"
#include "virtio/net_wire.h"
#include "virtio/virtio.h"

#define VNET_MACS_MAX 64 /* in the filter; beyond them all of the kind pass */

/* Which frames the driver wants. All, until it says something (5.1.6.5.1 leaves that open). */
struct vnet_filter {
	bool modes[VNET_RX_MODES];
	bool is_unicast_full, is_multicast_full; /* more addresses than fit */
	u8 n_unicast, n_multicast;               /* of macs, in this order */
	u8 macs[VNET_MACS_MAX][6];
	u8 vlans[VNET_VLANS / 8];
};

struct vnet {
	struct virtio_device vdev; /* its device holds the lock for all below */
	struct vnet_config_wire config;
	u8 permanent_mac[6];
	u16 n_pairs;
	struct net *net;
	struct net_user user;
	void (*lost)(void *opaque);
	void *lost_opaque;

	bool is_unplugged;  /* by vnet_set_link */
	bool is_announcing; /* the driver was asked to announce itself, and hasn't yet */
	bool is_restored;   /* loaded, and not started since */
	u16 n_active;       /* pairs that the driver uses */
	u64 guest_offloads; /* what of VNET_GUEST_OFFLOADS it takes now */
	u32 sends;          /* enum net_offloads that it may ask for */
	struct vnet_filter filter;
	struct limit tx_limit, rx_limit;

	/* Frames and their bytes; what was refused, had no room, or fell with the link is dropped. */
	struct vnet_counts {
		u64 sent, sent_bytes, received, received_bytes, dropped;
	} counts;

	u8 linear[NET_FRAME_MAX]; /* for a frame in more pieces than the back end takes */
};

static inline struct vnet *vnet_of(struct virtio_device *v)
{
	return container_of(v, struct vnet, vdev);
}

#define VNET_GUEST_OFFLOADS                                                                        \
	(VNET_F_GUEST_CSUM | VNET_F_GUEST_TSO4 | VNET_F_GUEST_TSO6 | VNET_F_GUEST_ECN |            \
	 VNET_F_GUEST_USO4 | VNET_F_GUEST_USO6)

/* net.c */
bool vnet_has_link(const struct vnet *d);
void vnet_update_link(struct vnet *d); /* and tells the driver what changed */
/* Tells the back end what of guest_offloads the driver takes; has it give what was refused. */
void vnet_update_taken(struct vnet *d);
/* Do these features go together (5.1.3.1)? */
bool vnet_features_are_ok(struct virtio_device *v, u64 features);

/* net_ctrl.c */
void vnet_ctrl_notify(struct virtio_device *v, struct vq *q);
void vnet_ctrl_reset(struct vnet *d); /* what the driver set goes back to power-on */

/* net_filter.c */
void vnet_filter_reset(struct vnet_filter *f);
bool vnet_filter_accepts(const struct vnet *d, const struct net_frame *f);
extern const struct state_table vnet_filter_state;

#endif

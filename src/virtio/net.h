/*
 * virtio-net: a network card (virtio 1.2, 5.1).
 *
 * Pairs of queues, all offloads (whatever the back end can: net/ does the rest), filters for
 * addresses and VLANs, a control queue. The link is up while the back end's is and nobody pulled
 * the cable.
 */
#ifndef VIRTIO_NET_H
#define VIRTIO_NET_H

#include "base/base.h"

struct err;
struct gmem;
struct loop;
struct limit_rates;
struct net;
struct vclock;
struct virtio_device;

#define VNET_PAIRS_MAX 16

struct vnet_options {
	const char *name; /* of the device: "net0" */
	u8 mac[6];
	u16 mtu;              /* offered to the guest; 0: not said */
	u16 n_pairs;          /* of queues; 0: one */
	struct net *net;      /* of the same loop; taken over on success */
	struct vclock *clock; /* for limits; borrowed */
	/* Optional: the back end's link went down by itself. On the loop's thread, without lock. */
	void (*lost)(void *opaque);
	void *opaque;
};

/* Before the loop runs, or on its thread. Freed with device_free(&(*out)->dev). */
int vnet_new(const struct vnet_options *o, struct loop *loop, struct gmem *gmem,
	     struct virtio_device **out, struct err *err);

/* Plugs the cable in or pulls it, whatever the back end does. Saved with the card. Any thread. */
void vnet_set_link(struct virtio_device *v, bool is_up);

/* I/O limits, from now on, in each direction (virtio/limit.h): what is over them stays in the ring, and
 * in the back end. Any thread. */
void vnet_set_limits(struct virtio_device *v, const struct limit_rates *rates);
void vnet_get_limits(struct virtio_device *v, struct limit_rates *out);

/*
 * Another back end instead of the one there is, for instance of a stream whose peer was started
 * again: n is taken over, the old one freed, and the guest asked to announce itself. On the loop's
 * thread, not from a callback of the old one.
 */
void vnet_connect(struct virtio_device *v, struct net *n);

#endif

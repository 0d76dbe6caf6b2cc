/*
 * virtio-net: a network card (virtio 1.2, 5.1).
 *
 * One pair of queues, no offloads: frames cross it whole. The link follows the back end's.
 */
#ifndef VIRTIO_NET_H
#define VIRTIO_NET_H

#include "base/base.h"

struct err;
struct gmem;
struct loop;
struct net;
struct virtio_device;

struct vnet_options {
	const char *name; /* of the device: "net0" */
	u8 mac[6];
	u16 mtu;         /* offered to the guest; 0: not said */
	struct net *net; /* of the same loop; taken over on success */
};

/* Before the loop runs, or on its thread. Freed with device_free(&(*out)->dev). */
int vnet_new(const struct vnet_options *o, struct loop *loop, struct gmem *gmem,
	     struct virtio_device **out, struct err *err);

#endif

/*
 * virtio-vsock: stream sockets between the guest and programs of the host (virtio 1.2, 5.10).
 *
 * The guest's AF_VSOCK connections to the host (CID 2) end in UNIX stream sockets, which
 * vsock/vsock.h gets connected; connections to the guest begin there. Message sockets (SEQPACKET)
 * are not offered: a UNIX stream has no place for their boundaries.
 */
#ifndef VIRTIO_VSOCK_H
#define VIRTIO_VSOCK_H

#include "base/base.h"

struct err;
struct gmem;
struct loop;
struct virtio_device;
struct vsock_host;

#define VSOCK_CID_MIN   3u
#define VSOCK_CID_MAX   0xfffffffeu
#define VSOCK_MAX_CONNS 256         /* of a guest, in both directions */
#define VSOCK_BUFFER    (128 * KIB) /* from the guest, for a connection whose host program is slow */

struct vsock_options {
	const char *name; /* of the device: "vsock0" */
	u32 guest_cid;
	struct vsock_host *host; /* of the same loop; taken over on success */
};

/* Before the loop runs, or on its thread. Freed with device_free(&(*out)->dev). */
int vsock_new(const struct vsock_options *o, struct loop *loop, struct gmem *gmem,
	      struct virtio_device **out, struct err *err);

unsigned vsock_count_connections(struct virtio_device *v); /* any thread */

#endif

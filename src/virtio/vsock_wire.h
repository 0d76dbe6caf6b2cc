/*
 * What driver and socket device say to each other (virtio 1.2, 5.10).
 */
#ifndef VIRTIO_VSOCK_WIRE_H
#define VIRTIO_VSOCK_WIRE_H

#include "base/bytes.h"

/* Features (5.10.3). */
#define VSOCK_F_STREAM BIT(0)

enum {
	VSOCK_QUEUE_RX = 0, /* to the guest */
	VSOCK_QUEUE_TX = 1,
	VSOCK_QUEUE_EVENT = 2,
};

#define VSOCK_CID_HOST 2

/* struct virtio_vsock_config (5.10.4). */
struct vsock_config_wire {
	le64 guest_cid;
};
static_assert(sizeof(struct vsock_config_wire) == 8, "5.10.4");

/* struct virtio_vsock_hdr (5.10.6), packed. */
struct vsock_header_wire {
	le64 src_cid;
	le64 dst_cid;
	le32 src_port;
	le32 dst_port;
	le32 len;
	le16 type;
	le16 op;
	le32 flags;
	le32 buf_alloc;
	le32 fwd_cnt;
} packed;
static_assert(sizeof(struct vsock_header_wire) == 44, "5.10.6");

#define VSOCK_TYPE_STREAM 1

enum vsock_op {
	VSOCK_OP_INVALID = 0,
	VSOCK_OP_REQUEST = 1,
	VSOCK_OP_RESPONSE = 2,
	VSOCK_OP_RST = 3,
	VSOCK_OP_SHUTDOWN = 4,
	VSOCK_OP_RW = 5,
	VSOCK_OP_CREDIT_UPDATE = 6,
	VSOCK_OP_CREDIT_REQUEST = 7,
};

/* Flags of SHUTDOWN: the sender will not receive, not send any more. */
#define VSOCK_SHUTDOWN_RCV  1u
#define VSOCK_SHUTDOWN_SEND 2u
#define VSOCK_SHUTDOWN_BOTH (VSOCK_SHUTDOWN_RCV | VSOCK_SHUTDOWN_SEND)

/* struct virtio_vsock_event (5.10.6.7). */
struct vsock_event_wire {
	le32 id;
};
static_assert(sizeof(struct vsock_event_wire) == 4, "5.10.6.7");

#define VSOCK_EVENT_TRANSPORT_RESET 0

#endif

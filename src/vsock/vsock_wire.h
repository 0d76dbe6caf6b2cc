/*
 * What the guest process and posada-vsock say to each other: messages of one size over a
 * SOCK_SEQPACKET socket, integers as the host has them.
 */
#ifndef VSOCK_VSOCK_WIRE_H
#define VSOCK_VSOCK_WIRE_H

#include "base/base.h"

enum vsock_message_kind {
	VSOCK_CONNECT = 1, /* to posada-vsock: port of the host, id of the request */
	VSOCK_CONNECTED,   /* from it: id, and either a descriptor or error, a negative errno */
	VSOCK_INCOMING,    /* from it: port of the guest, with a descriptor */
};

struct vsock_message {
	u32 kind;
	u32 id;
	u32 port;
	i32 error;
};
static_assert(sizeof(struct vsock_message) == 16, "no holes");

#endif

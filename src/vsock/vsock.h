/*
 * The host's side of guest sockets (AF_VSOCK): UNIX stream sockets, which a process beside the guest
 * process makes.
 *
 * The guest process can neither make a socket nor name a file. So posada-vsock, which can do little
 * else, connects where the guest asks for a port of the host (to PATH_PORT), accepts at PATH whoever
 * asks for a port of the guest ("CONNECT PORT\n"), and hands over the connected descriptors. It never
 * sees their data.
 */
#ifndef VSOCK_VSOCK_H
#define VSOCK_VSOCK_H

#include "base/base.h"

struct err;
struct loop;
struct vsock_host;

/* Called on the loop's thread, with no lock held. */
struct vsock_host_user {
	/* What became of vsock_host_connect: fd is a connected stream socket, non-blocking, taken
	 * over; or -1, and error says why. Comes once for each, but not in their order. */
	void (*connected)(void *opaque, u32 id, int fd, int error);
	/* Someone wants to talk to the guest's port. fd as above. */
	void (*incoming)(void *opaque, u32 port, int fd);
	void *opaque;
};

/* fd: a SOCK_SEQPACKET socket to the process, taken over on success. Before the loop runs. */
int vsock_host_new(struct loop *loop, int fd, struct vsock_host **out, struct err *err);
void vsock_host_free(struct vsock_host *h); /* on the loop's thread, or when it doesn't run */
int vsock_host_attach(struct vsock_host *h, const struct vsock_host_user *user, struct err *err);

/* Asks for a connection to a port of the host. Never waits: -EAGAIN when there are too many requests
 * under way, -EPIPE when the process is gone; no answer comes then. */
int vsock_host_connect(struct vsock_host *h, u32 id, u32 port);

#endif

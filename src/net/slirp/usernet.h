/*
 * The user-mode network: one guest's frames in, the host's sockets out, by libslirp.
 *
 * The guest finds a network like QEMU's: 10.0.2.0/24 with DHCP (10.0.2.15), gateway 10.0.2.2, name
 * server 10.0.2.3, and fec0::/64 by router advertisement. It runs in a process of its own
 * (posada-slirp), on one thread.
 */
#ifndef NET_SLIRP_USERNET_H
#define NET_SLIRP_USERNET_H

#include "base/base.h"

struct err;
struct forward;
struct usernet;

#define USERNET_MTU_MAX 65521 /* libslirp's */

struct usernet_options {
	int fd;       /* framed stream socket (net/frame.h); taken over on success */
	unsigned mtu; /* of the guest's packets, 68 to USERNET_MTU_MAX; 0: 1500 */
	bool is_host; /* the guest may reach the host's loopback, as 10.0.2.2 */
	const struct forward *forwards;
	size_t n_forwards;
};

/* Binds the forwarded ports: -EADDRINUSE and the like, with a sentence. */
int usernet_new(const struct usernet_options *o, struct usernet **out, struct err *err);
void usernet_free(struct usernet *u); /* NULL is fine */
AUTO_FN(usernet_free, struct usernet *)

/* Serves until the peer has left: 0; or what went wrong with it. */
int usernet_run(struct usernet *u, struct err *err);

#endif

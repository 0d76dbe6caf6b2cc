/*
 * Ethernet frames between a network device and the host.
 *
 * A struct net is the host's end of the cable: a tap, or a framed stream to a user-mode network
 * stack (posada-slirp, passt). A device attaches itself as its one user. Frames are whole, without
 * preamble, FCS and offload header, NET_FRAME_MIN to NET_FRAME_MAX bytes.
 *
 * Backpressure both ways: net_send says -EAGAIN when the host's side is full, and room() comes
 * when it no longer is; receive() says false when the device has no buffer, the frame is kept and
 * nothing more is read until net_accept().
 *
 * Threads: everything here happens on one loop's thread (or before it runs); callbacks come with no
 * lock held. net_accept may be called from any thread. Neither net_send nor net_accept call back
 * from inside.
 */
#ifndef NET_NET_H
#define NET_NET_H

#include <sys/uio.h>

#include "base/base.h"

struct err;
struct loop;
struct net;

#define NET_FRAME_MIN 14    /* an Ethernet header */
#define NET_FRAME_MAX 65549 /* 65535 bytes of payload behind one */
#define NET_IOV_MAX   64    /* pieces of one frame that net_send takes */

struct net_user {
	/* false: no buffer now; the same frame comes again after net_accept. */
	bool (*receive)(void *opaque, const u8 *frame, size_t size);
	void (*room)(void *opaque);             /* after a net_send that said -EAGAIN */
	void (*link)(void *opaque, bool is_up); /* the peer came or went */
	void *opaque;
};

/* Makes u (borrowed until detached; NULL detaches) the user. */
void net_attach(struct net *n, const struct net_user *u);

bool net_is_up(const struct net *n); /* any thread */

/*
 * Sends one frame: 0 when it was taken, which is also what happens to frames nobody can take
 * (link down, too short or too long: they are dropped); -EAGAIN when the host's side is full:
 * keep it and send it again after room().
 */
int net_send(struct net *n, const struct iovec *iov, unsigned n_iov) must_check;

void net_accept(struct net *n); /* there are buffers again; any thread */

void net_free(struct net *n); /* detaches; NULL is fine */
AUTO_FN(net_free, struct net *)

/* --- makers: they take the descriptor over on success, and open nothing --- */

/* A tap's descriptor, after TUNSETIFF with IFF_TAP | IFF_NO_PI and with or without IFF_VNET_HDR. */
int net_tap_new(struct loop *loop, int fd, struct net **out, struct err *err);

/*
 * A connected stream socket that carries each frame behind its length, 32 bits, big-endian: what
 * posada-slirp, passt and QEMU's "-netdev stream" speak. A peer that breaks the framing, or
 * leaves, takes the link down for good.
 */
int net_stream_new(struct loop *loop, int fd, struct net **out, struct err *err);

#endif

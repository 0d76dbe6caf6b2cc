/*
 * Ethernet frames between a network device and the host.
 *
 * A struct net is the host's end of the cable: a tap, or a framed stream to a user-mode network
 * stack (posada-slirp, passt). A device attaches itself as its one user. Frames are whole, without
 * preamble and FCS, NET_FRAME_MIN to NET_FRAME_MAX bytes.
 *
 * Offloads. A frame has a header that says what its sender left to be done: a checksum to be
 * completed, or a large segment to be cut (virtio 1.2, 5.1.6). A user sends any of these; what the
 * back end cannot hand on is done here. Towards the user the same holds for what it said that it
 * takes (net_set_taken). So what a guest is offered never depends on what is behind it.
 *
 * Lanes. A back end has one or more, each with a backpressure of its own: a tap's queues. What is
 * sent on a lane has the host prefer that lane for the answers.
 *
 * Backpressure both ways: net_send says -EAGAIN when the host's side is full, and room() comes
 * when it no longer is; receive() says false when the device has no buffer, the frame is kept and
 * nothing more is read of that lane until net_accept().
 *
 * Threads: everything here happens on one loop's thread (or before it runs); callbacks come with no
 * lock held. net_accept and net_set_taken may be called from any thread. No function of this
 * header calls back from inside.
 */
#ifndef NET_NET_H
#define NET_NET_H

#include <sys/uio.h>

#include "base/base.h"

struct err;
struct loop;
struct net;

#define NET_FRAME_MIN 14    /* an Ethernet header */
#define NET_FRAME_MAX 65557 /* 65535 bytes of payload behind one with two VLAN tags */
#define NET_IOV_MAX   64    /* pieces of one frame that net_send takes */
#define NET_LANES_MAX 16

/* What a frame's sender left to be done. As struct virtio_net_hdr, on a little-endian host. */
struct net_header {
	u8 flags; /* enum net_flags */
	u8 gso;   /* enum net_gso, and NET_GSO_ECN */
	u16 hdr_len;
	u16 gso_size; /* payload of each piece */
	u16 csum_start;
	u16 csum_offset;
};
static_assert(sizeof(struct net_header) == 10, "virtio 1.2, 5.1.6, without num_buffers");

enum net_flags {
	NET_NEEDS_CSUM =
		1, /* at csum_start + csum_offset is the pseudo-header's sum: add the rest */
	NET_DATA_VALID = 2, /* towards the user: the checksum needn't be looked at */
};

enum net_gso {
	NET_GSO_NONE = 0,
	NET_GSO_TCP4 = 1,
	NET_GSO_TCP6 = 4,
	NET_GSO_UDP = 5, /* datagrams to be cut, not fragments */
	NET_GSO_ECN = 0x80,
};

struct net_frame {
	struct net_header header;
	const struct iovec *iov; /* the frame's bytes */
	unsigned n_iov;
	size_t size; /* of all pieces */
};

/* Unfinished work that somebody takes. */
enum net_offloads {
	NET_TAKES_CSUM = BIT32(0),
	NET_TAKES_TSO4 = BIT32(1),
	NET_TAKES_TSO6 = BIT32(2),
	NET_TAKES_ECN = BIT32(3), /* with TSO: segments with CWR set */
	NET_TAKES_USO = BIT32(4),
};
#define NET_TAKES_ALL (BIT32(5) - 1)

/* What a header asks for: enum net_offloads. Pure. */
u32 net_header_needs(const struct net_header *h);

struct net_user {
	/* false: no buffer now; the same frame comes again after net_accept. */
	bool (*receive)(void *opaque, unsigned lane, const struct net_frame *f);
	void (*received)(void *opaque,
			 unsigned lane);           /* after one or more of these: a burst ended */
	void (*room)(void *opaque, unsigned lane); /* after a net_send that said -EAGAIN */
	void (*link)(void *opaque, bool is_up);    /* the peer came or went */
	void *opaque;
};

/* Makes u (borrowed until detached; NULL detaches) the user. */
void net_attach(struct net *n, const struct net_user *u);

bool net_is_up(const struct net *n); /* any thread */
unsigned net_n_lanes(const struct net *n);

/* What the user takes: enum net_offloads, 0 at first. Any thread. */
void net_set_taken(struct net *n, u32 offloads);

/*
 * Sends one frame: 0 when it was taken, which is also what happens to frames nobody can take
 * (link down, too short or too long, a header that doesn't go with it: they are dropped); -EAGAIN
 * when the host's side is full: keep it and send it again after room(). What was taken is surely on
 * its way only after net_flush, which ends every round of sending.
 */
int net_send(struct net *n, unsigned lane, const struct net_frame *f) must_check;
void net_flush(struct net *n, unsigned lane);

void net_accept(struct net *n, unsigned lane); /* there are buffers again; any thread */

void net_free(struct net *n); /* detaches; NULL is fine */
AUTO_FN(net_free, struct net *)

/* --- makers: they take the descriptors over on success, and open nothing --- */

/*
 * Descriptors of one tap's queues, one for each lane, each after TUNSETIFF with IFF_TAP | IFF_NO_PI,
 * with or without IFF_VNET_HDR; more than one: with IFF_MULTI_QUEUE.
 */
int net_tap_new(struct loop *loop, const int *fds, unsigned n, struct net **out, struct err *err);

/*
 * A connected stream socket that carries each frame behind its length, 32 bits, big-endian: what
 * posada-slirp, passt and QEMU's "-netdev stream" speak. The peer is a stack of its own on this
 * host: it gets large TCP segments whole, and the checksums that it made are believed. One that
 * breaks the framing, or leaves, takes the link down for good.
 */
int net_stream_new(struct loop *loop, int fd, struct net **out, struct err *err);

#endif

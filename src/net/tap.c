/*
 * A tap: frames go to the host's network as if from a cable. See net.h.
 *
 * With IFF_VNET_HDR each frame has its header before it, both ways, and the kernel takes and gives
 * whatever is unfinished of it; a tap without has all done here. Each of a tap's queues is a lane:
 * the kernel prefers the one that last sent of a connection for what comes back.
 */
#include <linux/if_tun.h>
#include <net/if.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/loop.h"
#include "net/net_priv.h"
#include "net/offload.h"

#define TAP_BATCH 64 /* frames read before other descriptors get their turn */

/* Linux 6.2's: not yet in the headers of Debian 12. */
#define TAP_F_USO4 0x20
#define TAP_F_USO6 0x40

#define TAP_OFFLOADS (TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN)

struct tap_lane {
	struct net_tap *tap;
	unsigned index;
	struct loop_fd watch; /* its fd is owned */
	struct loop_task resume;
	size_t kept; /* size of the frame in bytes that the user refused; 0: none */
	bool wants_room;
	struct net_header header;
	u8 bytes[NET_FRAME_MAX];
};

struct net_tap {
	struct net net;
	struct loop *loop;
	bool has_header;
	struct tap_lane lanes[];
};

static struct net_tap *tap_of(struct net *n)
{
	return container_of(n, struct net_tap, net);
}

static void tap_rewatch(struct tap_lane *l)
{
	struct net_tap *t = l->tap;
	u32 events = (l->kept || !t->net.user ? 0 : EPOLLIN) | (l->wants_room ? EPOLLOUT : 0);

	if (!events || !t->net.is_up) {
		loop_fd_remove(t->loop, &l->watch);
	} else if (l->watch.is_added) {
		loop_fd_change(t->loop, &l->watch, events);
	} else {
		l->watch.events = events;
		/* It could be added when it was made: only memory may be short now. */
		if (loop_fd_add(t->loop, &l->watch) < 0)
			net_set_up(&t->net, false);
	}
}

/* Hands over the frame that was read, if there is one. False: it is kept. */
static bool tap_deliver(struct tap_lane *l)
{
	const struct iovec iov = {l->bytes, l->kept};
	const struct net_frame f = {.header = l->header, .iov = &iov, .n_iov = 1, .size = l->kept};

	if (l->kept && !net_give(&l->tap->net, l->index, &f))
		return false;
	l->kept = 0;
	return true;
}

/* Reads the next frame; false: there is none now. */
static bool tap_read_one(struct tap_lane *l)
{
	size_t skip = l->tap->has_header ? sizeof(l->header) : 0;
	const struct iovec iov[] = {{&l->header, skip}, {l->bytes, sizeof(l->bytes)}};
	ssize_t n = readv(l->watch.fd, iov, ARRAY_SIZE(iov));

	if (n < 0 && errno != EAGAIN && errno != EINTR)
		net_set_up(&l->tap->net, false); /* the interface is gone */
	if (n < 0)
		return false;
	l->kept = (size_t)n >= skip + NET_FRAME_MIN ? (size_t)n - skip : 0;
	return true;
}

static void tap_read(struct tap_lane *l)
{
	for (unsigned i = 0; i < TAP_BATCH && !l->kept; i++) {
		if (!tap_read_one(l) || !tap_deliver(l))
			break;
	}
	net_end_burst(&l->tap->net, l->index);
}

static void tap_on_event(struct loop_fd *w, u32 events)
{
	struct tap_lane *l = container_of(w, struct tap_lane, watch);
	const struct net_user *u = l->tap->net.user;

	if (events & EPOLLOUT && l->wants_room) {
		l->wants_room = false;
		if (u)
			u->room(u->opaque, l->index);
	}
	if (events & ~(u32)EPOLLOUT)
		tap_read(l);
	tap_rewatch(l);
}

static int tap_send(struct net *n, unsigned lane, const struct net_frame *f)
{
	struct net_tap *t = tap_of(n);
	struct tap_lane *l = &t->lanes[lane];
	struct net_header header = f->header;
	struct iovec all[1 + OFFLOAD_IOV_MAX];
	ssize_t r;

	header.flags &= NET_NEEDS_CSUM;
	all[0] = (struct iovec){&header, t->has_header ? sizeof(header) : 0};
	memcpy(all + 1, f->iov, f->n_iov * sizeof(*f->iov));
	do {
		r = writev(l->watch.fd, all, (int)f->n_iov + 1);
	} while (r < 0 && errno == EINTR);
	if (r >= 0 || errno != EAGAIN)
		return 0; /* an interface that is down loses frames, as a cable does */
	l->wants_room = true;
	loop_task_post(t->loop, &l->resume);
	return -EAGAIN;
}

static void tap_accept(struct net *n, unsigned lane)
{
	struct net_tap *t = tap_of(n);

	loop_task_post(t->loop, &t->lanes[lane].resume);
}

static void tap_attached(struct net *n)
{
	for (unsigned i = 0; i < n->n_lanes; i++)
		tap_accept(n, i);
}

static void tap_on_resume(struct loop_task *task)
{
	struct tap_lane *l = container_of(task, struct tap_lane, resume);

	if (l->kept) {
		tap_deliver(l);
		net_end_burst(&l->tap->net, l->index);
	}
	tap_rewatch(l);
}

static void tap_free(struct net *n)
{
	struct net_tap *t = tap_of(n);

	for (unsigned i = 0; i < n->n_lanes; i++) {
		struct tap_lane *l = &t->lanes[i];

		loop_task_cancel(t->loop, &l->resume);
		loop_fd_remove(t->loop, &l->watch);
		fd_close(l->watch.fd);
	}
	free(t);
}

/* The header as we have it, and all offloads that there are. */
static int tap_set_header(struct net_tap *t, int fd, struct err *err)
{
	const int size = sizeof(struct net_header), little = 1;

	t->net.takes = NET_TAKES_ALL;
	if (ioctl(fd, TUNSETVNETHDRSZ, &size) < 0 || ioctl(fd, TUNSETVNETLE, &little) < 0)
		return err_errno(err, -errno, "its header cannot be set");
	if (ioctl(fd, TUNSETOFFLOAD, TAP_OFFLOADS | TAP_F_USO4 | TAP_F_USO6) == 0)
		return 0;
	t->net.takes &= ~(u32)NET_TAKES_USO;
	if (ioctl(fd, TUNSETOFFLOAD, TAP_OFFLOADS) < 0)
		return err_errno(err, -errno, "its offloads cannot be switched on");
	return 0;
}

/* What kind of tap it is. */
static int tap_set_up(struct net_tap *t, int fd, struct err *err)
{
	const short wanted = IFF_TAP | IFF_NO_PI;
	struct ifreq ifr = {0};
	int r = 0;

	if (ioctl(fd, TUNGETIFF, &ifr) < 0)
		return err_errno(err, -errno, "not a tap");
	if ((ifr.ifr_flags & wanted) != wanted)
		return err_set(err, -EINVAL, "a tap without IFF_TAP or IFF_NO_PI");
	if (t->net.n_lanes > 1 && !(ifr.ifr_flags & IFF_MULTI_QUEUE))
		return err_set(err, -EINVAL, "several queues of a tap without IFF_MULTI_QUEUE");
	t->has_header = ifr.ifr_flags & IFF_VNET_HDR;
	if (t->has_header)
		r = tap_set_header(t, fd, err);
	return r ? r : fd_set_nonblock(fd, true);
}

static void tap_add_lane(struct net_tap *t, unsigned index, int fd)
{
	struct tap_lane *l = &t->lanes[index];

	l->tap = t;
	l->index = index;
	l->watch = (struct loop_fd){.fd = fd, .fn = tap_on_event};
	list_init(&l->resume.node);
	l->resume.fn = tap_on_resume;
}

int net_tap_new(struct loop *loop, const int *fds, unsigned n, struct net **out, struct err *err)
{
	static const struct net_ops ops = {
		.attached = tap_attached,
		.send = tap_send,
		.accept = tap_accept,
		.free = tap_free,
	};
	struct net_tap *t;

	assert(n > 0 && n <= NET_LANES_MAX);
	t = mem_alloc(1, sizeof(*t) + n * sizeof(t->lanes[0]));
	net_init(&t->net, &ops);
	t->net.n_lanes = n;
	t->loop = loop;
	for (unsigned i = 0; i < n; i++) {
		int r = tap_set_up(t, fds[i], err);

		if (r < 0) {
			free(t);
			return r;
		}
	}
	for (unsigned i = 0; i < n; i++)
		tap_add_lane(t, i, fds[i]);
	*out = &t->net;
	return 0;
}

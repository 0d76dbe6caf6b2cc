/*
 * A tap: frames go to the host's network as if from a cable. See net.h.
 *
 * Offloads are off: what the kernel hands us is whole frames with their checksums. A tap made with
 * IFF_VNET_HDR puts a header before each, which is all zeros then, and is skipped.
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

#define TAP_HEADER_MAX 64
#define TAP_BATCH      64 /* frames read before other descriptors get their turn */

struct net_tap {
	struct net net;
	struct loop *loop;
	struct loop_fd watch; /* its fd is owned */
	struct loop_task resume;
	size_t header_size; /* 0 without IFF_VNET_HDR */
	size_t kept;        /* size of the frame in buf that the user refused; 0: none */
	bool wants_room;
	u8 buf[TAP_HEADER_MAX + NET_FRAME_MAX];
};

static struct net_tap *tap_of(struct net *n)
{
	return container_of(n, struct net_tap, net);
}

static void tap_rewatch(struct net_tap *t)
{
	u32 events = (t->kept || !t->net.user ? 0 : EPOLLIN) | (t->wants_room ? EPOLLOUT : 0);

	if (!events || !t->net.is_up) {
		loop_fd_remove(t->loop, &t->watch);
	} else if (t->watch.is_added) {
		loop_fd_change(t->loop, &t->watch, events);
	} else {
		t->watch.events = events;
		/* It could be added when it was made: only memory may be short now. */
		if (loop_fd_add(t->loop, &t->watch) < 0)
			net_set_up(&t->net, false);
	}
}

/* Hands over the frame in buf, if there is one. False: it is kept. */
static bool tap_deliver(struct net_tap *t)
{
	const struct net_user *u = t->net.user;

	if (t->kept && u && !u->receive(u->opaque, t->buf + t->header_size, t->kept))
		return false;
	t->kept = 0;
	return true;
}

/* Reads the next frame into buf; false: there is none now. */
static bool tap_read_one(struct net_tap *t)
{
	ssize_t n = read(t->watch.fd, t->buf, sizeof(t->buf));

	if (n < 0 && errno != EAGAIN && errno != EINTR)
		net_set_up(&t->net, false); /* the interface is gone */
	if (n < 0)
		return false;
	t->kept = (size_t)n >= t->header_size + NET_FRAME_MIN ? (size_t)n - t->header_size : 0;
	return true;
}

static void tap_read(struct net_tap *t)
{
	for (unsigned i = 0; i < TAP_BATCH && !t->kept; i++) {
		if (!tap_read_one(t) || !tap_deliver(t))
			return;
	}
}

static void tap_on_event(struct loop_fd *w, u32 events)
{
	struct net_tap *t = container_of(w, struct net_tap, watch);

	if (events & EPOLLOUT && t->wants_room) {
		t->wants_room = false;
		if (t->net.user)
			t->net.user->room(t->net.user->opaque);
	}
	if (events & ~(u32)EPOLLOUT)
		tap_read(t);
	tap_rewatch(t);
}

static int tap_send(struct net *n, const struct iovec *iov, unsigned n_iov, size_t size)
{
	static const u8 header[TAP_HEADER_MAX];
	struct net_tap *t = tap_of(n);
	struct iovec all[NET_IOV_MAX + 1];
	ssize_t r;

	(void)size;
	all[0] = (struct iovec){.iov_base = (void *)header, .iov_len = t->header_size};
	memcpy(all + 1, iov, n_iov * sizeof(*iov));
	do {
		r = writev(t->watch.fd, all, (int)n_iov + 1);
	} while (r < 0 && errno == EINTR);
	if (r >= 0 || errno != EAGAIN)
		return 0; /* an interface that is down loses frames, as a cable does */
	t->wants_room = true;
	loop_task_post(t->loop, &t->resume);
	return -EAGAIN;
}

static void tap_accept(struct net *n)
{
	struct net_tap *t = tap_of(n);

	loop_task_post(t->loop, &t->resume);
}

static void tap_on_resume(struct loop_task *task)
{
	struct net_tap *t = container_of(task, struct net_tap, resume);

	tap_deliver(t);
	tap_rewatch(t);
}

static void tap_free(struct net *n)
{
	struct net_tap *t = tap_of(n);

	loop_task_cancel(t->loop, &t->resume);
	loop_fd_remove(t->loop, &t->watch);
	fd_close(t->watch.fd);
	free(t);
}

/* What kind of tap it is; offloads off. */
static int tap_set_up(struct net_tap *t, struct err *err)
{
	struct ifreq ifr = {0};
	int size = 0;

	if (ioctl(t->watch.fd, TUNGETIFF, &ifr) < 0)
		return err_errno(err, -errno, "not a tap");
	if ((ifr.ifr_flags & (IFF_TAP | IFF_NO_PI)) != (IFF_TAP | IFF_NO_PI))
		return err_set(err, -EINVAL, "a tap without IFF_TAP or IFF_NO_PI");
	if (ifr.ifr_flags & IFF_VNET_HDR) {
		if (ioctl(t->watch.fd, TUNGETVNETHDRSZ, &size) < 0)
			return err_errno(err, -errno, "the size of its header is unknown");
		if (size < 0 || size > TAP_HEADER_MAX)
			return err_set(err, -EINVAL, "its header of %d bytes is too long", size);
		if (ioctl(t->watch.fd, TUNSETOFFLOAD, 0) < 0)
			return err_errno(err, -errno, "its offloads cannot be switched off");
	}
	t->header_size = (size_t)size;
	return fd_set_nonblock(t->watch.fd, true);
}

int net_tap_new(struct loop *loop, int fd, struct net **out, struct err *err)
{
	static const struct net_ops ops = {
		.attached = tap_accept,
		.send = tap_send,
		.accept = tap_accept,
		.free = tap_free,
	};
	struct net_tap *t = NEW(struct net_tap);
	int r;

	t->net.ops = &ops;
	t->net.is_up = true;
	t->loop = loop;
	t->watch = (struct loop_fd){.fd = fd, .fn = tap_on_event};
	list_init(&t->resume.node);
	t->resume.fn = tap_on_resume;
	r = tap_set_up(t, err);
	if (r < 0) {
		t->watch.fd = -1; /* stays the caller's */
		tap_free(&t->net);
		return r;
	}
	*out = &t->net;
	return 0;
}

/*
 * A network behind a framed stream socket: posada-slirp or passt in a process of its own. See
 * net.h; the framing is frame.c's.
 *
 * The socket is watched for input while the user takes frames, and for room while a backlog waits.
 */
#include <sys/socket.h>

#include "base/alloc.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/loop.h"
#include "net/frame.h"
#include "net/net_priv.h"
#include "net/offload.h"

#define STREAM_BACKLOG (128 * KIB)
#define STREAM_LANE    0

static_assert(FRAME_IOV_MAX >= OFFLOAD_IOV_MAX, "every frame can be sent");

struct net_stream {
	struct net net;
	struct loop *loop;
	struct loop_fd watch; /* its fd is owned */
	struct loop_task resume;
	struct frame_reader in;
	struct frame_writer out;
	bool is_held;    /* the user refused a frame */
	bool wants_room; /* a send was refused */
};

static struct net_stream *stream_of(struct net *n)
{
	return container_of(n, struct net_stream, net);
}

static void stream_tell_room(struct net_stream *s)
{
	bool is_told = s->wants_room && s->net.user;

	s->wants_room = false;
	if (is_told)
		s->net.user->room(s->net.user->opaque, STREAM_LANE);
}

static void stream_down(struct net_stream *s, const char *why)
{
	loop_fd_remove(s->loop, &s->watch);
	log_warn("user network: %s: the link is down", why);
	net_set_up(&s->net, false);
	/* What was refused may come again, to be dropped. */
	stream_tell_room(s);
}

static void stream_rewatch(struct net_stream *s)
{
	u32 events = s->is_held || !s->net.user ? 0 : EPOLLIN;

	if (!frame_writer_is_empty(&s->out))
		events |= EPOLLOUT;
	if (!events || !s->net.is_up) {
		/* Not even watched for a hang-up, which would not let the loop sleep. */
		loop_fd_remove(s->loop, &s->watch);
	} else if (s->watch.is_added) {
		loop_fd_change(s->loop, &s->watch, events);
	} else {
		s->watch.events = events;
		if (loop_fd_add(s->loop, &s->watch) < 0)
			stream_down(s, "it cannot be watched");
	}
}

/* Hands over the frames received, until the user has no buffer. */
static int stream_deliver(struct net_stream *s)
{
	struct iovec iov;
	/* The peer made the checksums itself, and no wire was between. */
	struct net_frame f = {.header = {.flags = NET_DATA_VALID}, .iov = &iov, .n_iov = 1};
	const u8 *bytes;
	int r;

	while (!s->is_held && (r = frame_reader_peek(&s->in, &bytes, &iov.iov_len)) > 0) {
		iov.iov_base = (void *)bytes;
		f.size = iov.iov_len;
		s->is_held = !net_give(&s->net, STREAM_LANE, &f);
		if (!s->is_held)
			frame_reader_pop(&s->in);
	}
	net_end_burst(&s->net, STREAM_LANE);
	return s->is_held ? 0 : r;
}

static void stream_read(struct net_stream *s)
{
	ssize_t n = frame_reader_fill(&s->in, s->watch.fd);

	if (n == 0)
		stream_down(s, "the peer has left");
	else if (n < 0 && n != -EAGAIN)
		stream_down(s, "reading failed");
	else if (stream_deliver(s) < 0)
		stream_down(s, "the peer sent a frame that is too long");
}

static void stream_write(struct net_stream *s)
{
	if (frame_writer_flush(&s->out, s->watch.fd) < 0) {
		stream_down(s, "writing failed");
		return;
	}
	if (frame_writer_is_empty(&s->out))
		stream_tell_room(s);
}

static void stream_on_event(struct loop_fd *w, u32 events)
{
	struct net_stream *s = container_of(w, struct net_stream, watch);

	if (events & EPOLLOUT)
		stream_write(s);
	/* A hang-up shows as an end of input, after what was sent before it. */
	if (s->net.is_up && (events & ~(u32)EPOLLOUT))
		stream_read(s);
	stream_rewatch(s);
}

/* A broken socket is found, and told, where callbacks may come: in the loop. */
static int stream_send(struct net *n, unsigned lane, const struct net_frame *f)
{
	struct net_stream *s = stream_of(n);
	int r = frame_writer_send(&s->out, s->watch.fd, f->iov, f->n_iov, f->size);

	(void)lane;
	if (r < 0)
		loop_task_post(s->loop, &s->resume);
	s->wants_room |= r == -EAGAIN;
	return r == -EAGAIN ? r : 0;
}

static void stream_flush(struct net *n, unsigned lane)
{
	struct net_stream *s = stream_of(n);

	(void)lane;
	if (!s->out.is_full)
		frame_writer_flush(&s->out, s->watch.fd);
	if (!frame_writer_is_empty(&s->out))
		loop_task_post(s->loop, &s->resume);
}

static void stream_attached(struct net *n)
{
	loop_task_post(stream_of(n)->loop, &stream_of(n)->resume);
}

static void stream_accept(struct net *n, unsigned lane)
{
	(void)lane;
	stream_attached(n);
}

static void stream_on_resume(struct loop_task *t)
{
	struct net_stream *s = container_of(t, struct net_stream, resume);

	if (!s->net.is_up)
		return;
	s->is_held = false;
	if (stream_deliver(s) < 0)
		stream_down(s, "the peer sent a frame that is too long");
	stream_rewatch(s);
}

static void stream_free(struct net *n)
{
	struct net_stream *s = stream_of(n);

	loop_task_cancel(s->loop, &s->resume);
	loop_fd_remove(s->loop, &s->watch);
	fd_close(s->watch.fd);
	frame_reader_fini(&s->in);
	frame_writer_fini(&s->out);
	free(s);
}

int net_stream_new(struct loop *loop, int fd, struct net **out, struct err *err)
{
	static const struct net_ops ops = {
		.takes = NET_TAKES_TSO4 | NET_TAKES_TSO6 | NET_TAKES_ECN,
		.attached = stream_attached,
		.send = stream_send,
		.flush = stream_flush,
		.accept = stream_accept,
		.free = stream_free,
	};
	struct net_stream *s;
	int type;
	socklen_t size = sizeof(type);

	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) < 0)
		return err_errno(err, -errno, "not a socket");
	if (type != SOCK_STREAM)
		return err_set(err, -EINVAL, "not a stream socket");

	s = NEW(struct net_stream);
	net_init(&s->net, &ops);
	s->loop = loop;
	s->watch = (struct loop_fd){.fd = fd, .fn = stream_on_event};
	list_init(&s->resume.node);
	s->resume.fn = stream_on_resume;
	frame_reader_init(&s->in);
	frame_writer_init(&s->out, STREAM_BACKLOG);
	*out = &s->net;
	return 0;
}

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

#define STREAM_BACKLOG (128 * KIB)

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

static void stream_down(struct net_stream *s, const char *why)
{
	loop_fd_remove(s->loop, &s->watch);
	log_warn("user network: %s: the link is down", why);
	net_set_up(&s->net, false);
	/* What was refused may come again, to be dropped. */
	if (s->wants_room && s->net.user)
		s->net.user->room(s->net.user->opaque);
	s->wants_room = false;
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
	const u8 *frame;
	size_t size;
	int r;

	while ((r = frame_reader_peek(&s->in, &frame, &size)) > 0) {
		const struct net_user *u = s->net.user;

		if (!u || (size >= NET_FRAME_MIN && !u->receive(u->opaque, frame, size))) {
			s->is_held = true;
			return 0;
		}
		frame_reader_pop(&s->in);
	}
	return r;
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
	if (!s->wants_room || !frame_writer_is_empty(&s->out))
		return;
	s->wants_room = false;
	if (s->net.user)
		s->net.user->room(s->net.user->opaque);
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

static int stream_send(struct net *n, const struct iovec *iov, unsigned n_iov, size_t size)
{
	struct net_stream *s = stream_of(n);
	int r = frame_writer_send(&s->out, s->watch.fd, iov, n_iov, size);

	s->wants_room |= r == -EAGAIN;
	if (r == -EAGAIN)
		return r;
	/* A broken socket is found, and told, where callbacks may come: in the loop. */
	if (r < 0 || !frame_writer_is_empty(&s->out))
		loop_task_post(s->loop, &s->resume);
	return 0;
}

static void stream_accept(struct net *n)
{
	struct net_stream *s = stream_of(n);

	loop_task_post(s->loop, &s->resume);
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
		.attached = stream_accept,
		.send = stream_send,
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
	s->net.ops = &ops;
	s->net.is_up = true;
	s->loop = loop;
	s->watch = (struct loop_fd){.fd = fd, .fn = stream_on_event};
	list_init(&s->resume.node);
	s->resume.fn = stream_on_resume;
	frame_reader_init(&s->in);
	frame_writer_init(&s->out, STREAM_BACKLOG);
	*out = &s->net;
	return 0;
}

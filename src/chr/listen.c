/*
 * A stream whose peer comes and goes: a listening socket, one client at a time. See chr.h.
 *
 * While a client is connected the listening socket isn't watched: others wait in its backlog.
 */
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/err.h"
#include "base/fd.h"
#include "chr/stream.h"

struct chr_listen {
	struct chr_stream s;
	struct loop_fd listener; /* its fd is owned */
	int in_fd, out_fd;       /* the client twice, owned; -1: none */
};

static void chr_listen_close_client(struct chr_listen *l)
{
	chr_stream_close(&l->s);
	fd_close(fd_take(l->out_fd));
	fd_close(fd_take(l->in_fd));
}

static void chr_listen_gone(struct chr_stream *s)
{
	struct chr_listen *l = container_of(s, struct chr_listen, s);

	chr_listen_close_client(l);
	/* This can't fail: it was added before, and its place in the loop is free. */
	if (loop_fd_add(s->loop, &l->listener) < 0)
		unreachable_code();
}

static void chr_listen_on_client(struct loop_fd *w, u32 events)
{
	struct chr_listen *l = container_of(w, struct chr_listen, listener);

	(void)events;
	l->in_fd = accept4(w->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (l->in_fd < 0)
		return; /* it has left already, or there is no descriptor for it now */
	l->out_fd = fcntl(l->in_fd, F_DUPFD_CLOEXEC, 0);
	if (l->out_fd < 0 || chr_stream_open(&l->s, l->in_fd, l->out_fd) < 0) {
		chr_listen_close_client(l);
		return;
	}
	loop_fd_remove(l->s.loop, w);
}

static void chr_listen_free(struct chr *c)
{
	struct chr_listen *l = container_of(c, struct chr_listen, s.chr);

	chr_listen_close_client(l);
	chr_stream_fini(&l->s);
	loop_fd_remove(l->s.loop, &l->listener);
	fd_close(l->listener.fd);
	free(l);
}

int chr_listen_new(struct loop *loop, int listen_fd, struct chr **out, struct err *err)
{
	static const struct chr_ops ops = {
		.attached = chr_stream_attached,
		.write = chr_stream_write,
		.accept = chr_stream_accept,
		.free = chr_listen_free,
	};
	int is_listening = 0, r;
	socklen_t size = sizeof(is_listening);
	struct chr_listen *l;

	if (getsockopt(listen_fd, SOL_SOCKET, SO_ACCEPTCONN, &is_listening, &size) < 0)
		return err_errno(err, -errno, "not a socket to listen on");
	if (!is_listening)
		return err_set(err, -EINVAL, "the socket does not listen");
	r = fd_set_nonblock(listen_fd, true);
	if (r < 0)
		return err_errno(err, r, "cannot use the listening socket");

	l = NEW(struct chr_listen);
	chr_stream_init(&l->s, loop, &ops, chr_listen_gone);
	l->s.has_one_end = true;
	l->in_fd = l->out_fd = -1;
	l->listener =
		(struct loop_fd){.fd = listen_fd, .events = EPOLLIN, .fn = chr_listen_on_client};
	r = loop_fd_add(loop, &l->listener);
	if (r < 0) {
		l->listener.fd = -1;
		chr_listen_free(&l->s.chr);
		return err_errno(err, r, "cannot watch the listening socket");
	}
	*out = &l->s.chr;
	return 0;
}

/*
 * A stream over given descriptors: stdio, a pty's master, a connected socket. See chr.h.
 */
#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/err.h"
#include "base/fd.h"
#include "chr/stream.h"

struct chr_fd {
	struct chr_stream s;
	int in_fd, out_fd; /* owned; -1: there is none */
	int in_flags, out_flags;
};

static void chr_fd_gone(struct chr_stream *s)
{
	(void)s; /* the descriptors are closed with the stream */
}

/* Puts the file's flags back: they belong to everyone who shares it. */
static void chr_fd_close(int fd, int flags)
{
	if (fd < 0)
		return;
	fcntl(fd, F_SETFL, flags);
	close(fd);
}

static void chr_fd_free(struct chr *c)
{
	struct chr_fd *f = container_of(c, struct chr_fd, s.chr);

	chr_stream_close(&f->s);
	chr_stream_fini(&f->s);
	chr_fd_close(f->out_fd, f->out_flags);
	chr_fd_close(f->in_fd, f->in_flags);
	free(f);
}

/* -1 stays -1. */
static int chr_fd_prepare(int fd, int *out_flags)
{
	if (fd < 0)
		return 0;
	*out_flags = fcntl(fd, F_GETFL);
	if (*out_flags < 0)
		return -errno;
	return fd_set_nonblock(fd, true);
}

/*
 * A fresh pty looks as if someone had its slave open; after the first close it tells the truth
 * (Linux, drivers/tty/pty.c: pty_close sets TTY_OTHER_CLOSED). Anything but a pty refuses this.
 */
static void chr_fd_settle_pty(int fd)
{
	if (fd >= 0)
		fd_close(ioctl(fd, TIOCGPTPEER, O_RDWR | O_NOCTTY));
}

int chr_fd_new(struct loop *loop, int in_fd, int out_fd, struct chr **out, struct err *err)
{
	static const struct chr_ops ops = {
		.attached = chr_stream_attached,
		.write = chr_stream_write,
		.accept = chr_stream_accept,
		.free = chr_fd_free,
	};
	bool is_one = in_fd >= 0 && in_fd == out_fd;
	AUTO_FD int second = -1;
	struct chr_fd *f;
	int in_flags = 0, out_flags = 0, r;

	/* An epoll instance watches a descriptor once: a second one watches for room. */
	if (is_one) {
		second = fcntl(in_fd, F_DUPFD_CLOEXEC, 0);
		if (second < 0)
			return err_errno(err, -errno, "cannot duplicate a descriptor");
		out_fd = second;
	}
	r = chr_fd_prepare(in_fd, &in_flags);
	if (r == 0)
		r = chr_fd_prepare(out_fd, &out_flags);
	if (is_one)
		out_flags = in_flags;
	if (r < 0)
		return err_errno(err, r, "cannot use a descriptor");
	chr_fd_settle_pty(in_fd);

	f = NEW(struct chr_fd);
	chr_stream_init(&f->s, loop, &ops, chr_fd_gone);
	f->s.has_one_end = is_one;
	f->in_fd = f->out_fd = -1;
	r = chr_stream_open(&f->s, in_fd, out_fd);
	if (r < 0) {
		chr_fd_free(&f->s.chr);
		return err_errno(err, r, "cannot watch a descriptor");
	}
	fd_take(second);
	f->in_fd = in_fd;
	f->out_fd = out_fd;
	f->in_flags = in_flags;
	f->out_flags = out_flags;
	*out = &f->s.chr;
	return 0;
}

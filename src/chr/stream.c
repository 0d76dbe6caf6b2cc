/*
 * Descriptor streams: reading, writing, flow control. See stream.h.
 *
 * A pty's master doesn't end with its slave's users. While nobody has the slave open the stream is
 * closed and the master is watched edge-triggered (its EPOLLHUP would not let the loop sleep):
 * input tells that someone opened the slave, and so does the next write, which asks poll(2).
 */
#include "chr/stream.h"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <unistd.h>

static struct chr_stream *chr_stream_of(struct chr *c)
{
	return container_of(c, struct chr_stream, chr);
}

static bool chr_stream_has_hangup(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return poll(&p, 1, 0) == 1 && (p.revents & POLLHUP);
}

/* Asks the loop's thread to look at the flags. */
static void chr_stream_post(struct chr_stream *s)
{
	loop_task_post(s->loop, &s->pump);
}

/* The user may offer the rest of a short write. */
static void chr_stream_room(struct chr_stream *s)
{
	const struct chr_user *u = s->chr.user;
	bool wanted;

	pthread_mutex_lock(&s->lock);
	wanted = s->wants_room;
	s->wants_room = false;
	pthread_mutex_unlock(&s->lock);
	if (wanted && u)
		u->room(u->opaque);
}

static void chr_stream_peer_gone(struct chr_stream *s)
{
	pthread_mutex_lock(&s->lock);
	s->is_broken = true;
	pthread_mutex_unlock(&s->lock);
	loop_fd_remove(s->loop, &s->out);
	s->gone(s);
	chr_set_open(&s->chr, false);
	chr_stream_room(s);
}

/* --- input --- */

static void chr_stream_pty_closed(struct chr_stream *s)
{
	if (s->in.is_added)
		loop_fd_change(s->loop, &s->in, EPOLLIN | EPOLLET);
	chr_set_open(&s->chr, false);
	chr_stream_room(s);
}

static void chr_stream_pty_opened(struct chr_stream *s)
{
	if (s->in.is_added)
		loop_fd_change(s->loop, &s->in, EPOLLIN);
	chr_set_open(&s->chr, true);
}

static void chr_stream_input_ended(struct chr_stream *s)
{
	if (s->is_pty) {
		chr_stream_pty_closed(s);
		return;
	}
	loop_fd_remove(s->loop, &s->in);
	s->in.fd = -1;
	if (s->has_one_end || s->out.fd < 0)
		chr_stream_peer_gone(s);
}

/* Reads once: as much as the user takes. False: no more for now. */
static bool chr_stream_read(struct chr_stream *s)
{
	const struct chr_user *u = s->chr.user;
	size_t want = u ? u->can_receive(u->opaque) : 0;
	ssize_t n;

	if (!want)
		return false;
	n = read(s->in.fd, s->buf, MIN(want, sizeof(s->buf)));
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return true;
	if (n <= 0) {
		chr_stream_input_ended(s);
		return s->is_pty;
	}
	if (s->is_pty && !s->chr.is_open)
		chr_stream_pty_opened(s);
	u->receive(u->opaque, s->buf, (size_t)n);
	return true;
}

static void chr_stream_on_input(struct loop_fd *w, u32 events)
{
	struct chr_stream *s = container_of(w, struct chr_stream, in);

	if (s->is_pty && (events & EPOLLHUP) && !(events & EPOLLIN))
		chr_stream_pty_closed(s);
	else if (!chr_stream_read(s))
		loop_fd_remove(s->loop, &s->in);
}

/* The user may take input again. */
static void chr_stream_resume_input(struct chr_stream *s)
{
	const struct chr_user *u = s->chr.user;

	if (s->in.fd < 0 || s->in.is_added || !u)
		return;
	if (s->is_plain) {
		if (chr_stream_read(s))
			chr_stream_accept(&s->chr);
	} else if (u->can_receive(u->opaque)) {
		s->in.events = EPOLLIN;
		if (loop_fd_add(s->loop, &s->in) < 0)
			chr_stream_input_ended(s);
	}
}

void chr_stream_accept(struct chr *c)
{
	struct chr_stream *s = chr_stream_of(c);

	pthread_mutex_lock(&s->lock);
	s->wants_input = true;
	pthread_mutex_unlock(&s->lock);
	chr_stream_post(s);
}

/* --- output --- */

/* Writes what fits; under the lock. True when the loop's thread has something to do about it. */
static bool chr_stream_write_some(struct chr_stream *s, const u8 *data, size_t size, size_t *done)
{
	while (*done < size) {
		ssize_t n = write(s->out_fd, data + *done, size - *done);

		if (n > 0) {
			*done += (size_t)n;
		} else if (n < 0 && errno == EAGAIN && s->chr.is_patient) {
			struct pollfd p = {.fd = s->out_fd, .events = POLLOUT};

			poll(&p, 1, -1);
		} else if (n == 0 || errno == EAGAIN) {
			s->wants_room = true;
			return true;
		} else if (errno != EINTR) {
			s->is_broken = !s->is_pty;
			*done = size;
			return s->is_broken;
		}
	}
	return false;
}

size_t chr_stream_write(struct chr *c, const u8 *data, size_t size)
{
	struct chr_stream *s = chr_stream_of(c);
	bool must_post = false;
	size_t done = 0;

	pthread_mutex_lock(&s->lock);
	if (s->out_fd < 0 || s->is_broken) {
		done = size;
	} else if (s->is_pty && !chr_is_open(c)) {
		if (chr_stream_has_hangup(s->out_fd))
			done = size;
		else
			must_post = s->is_back = true;
	}
	if (done < size)
		must_post |= chr_stream_write_some(s, data, size, &done);
	pthread_mutex_unlock(&s->lock);
	if (must_post)
		chr_stream_post(s);
	return done;
}

static void chr_stream_on_output(struct loop_fd *w, u32 events)
{
	struct chr_stream *s = container_of(w, struct chr_stream, out);

	(void)events;
	loop_fd_remove(s->loop, w);
	chr_stream_room(s);
}

/* --- both --- */

static void chr_stream_pump(struct loop_task *t)
{
	struct chr_stream *s = container_of(t, struct chr_stream, pump);
	bool is_broken, is_back, wants_room, wants_input;

	pthread_mutex_lock(&s->lock);
	is_broken = s->is_broken;
	is_back = s->is_back;
	wants_room = s->wants_room;
	wants_input = s->wants_input;
	s->is_back = s->wants_input = false;
	pthread_mutex_unlock(&s->lock);

	if (is_back && !s->chr.is_open)
		chr_stream_pty_opened(s);
	if (is_broken && s->chr.is_open)
		chr_stream_peer_gone(s);
	else if (wants_room && !is_broken && s->out.fd >= 0 && !s->out.is_added &&
		 loop_fd_add(s->loop, &s->out) < 0)
		chr_stream_peer_gone(s);
	if (wants_input)
		chr_stream_resume_input(s);
}

void chr_stream_attached(struct chr *c)
{
	if (c->user)
		chr_stream_accept(c);
}

void chr_stream_init(struct chr_stream *s, struct loop *loop, const struct chr_ops *ops,
		     void (*gone)(struct chr_stream *s))
{
	s->chr.ops = ops;
	s->loop = loop;
	s->gone = gone;
	s->in = (struct loop_fd){.fd = -1, .events = EPOLLIN, .fn = chr_stream_on_input};
	s->out = (struct loop_fd){.fd = -1, .events = EPOLLOUT, .fn = chr_stream_on_output};
	s->out_fd = -1;
	list_init(&s->pump.node);
	s->pump.fn = chr_stream_pump;
	pthread_mutex_init(&s->lock, NULL);
}

void chr_stream_fini(struct chr_stream *s)
{
	loop_task_cancel(s->loop, &s->pump);
	pthread_mutex_destroy(&s->lock);
}

/* Can the loop watch in_fd? Files and /dev/null are refused by epoll and are always ready. */
static int chr_stream_probe_input(struct chr_stream *s)
{
	int r;

	if (s->in.fd < 0)
		return 0;
	r = loop_fd_add(s->loop, &s->in);
	s->is_plain = r == -EPERM;
	if (s->is_plain)
		return 0;
	loop_fd_remove(s->loop, &s->in);
	return r;
}

int chr_stream_open(struct chr_stream *s, int in_fd, int out_fd)
{
	bool is_pty, is_open;
	unsigned pty;
	int r;

	s->in.fd = in_fd;
	s->out.fd = out_fd;
	r = chr_stream_probe_input(s);
	if (r < 0) {
		s->in.fd = s->out.fd = -1;
		return r;
	}
	is_pty = in_fd >= 0 && ioctl(in_fd, TIOCGPTN, &pty) == 0;
	is_open = !is_pty || !chr_stream_has_hangup(in_fd);

	pthread_mutex_lock(&s->lock);
	s->is_pty = is_pty;
	s->out_fd = out_fd;
	s->is_broken = false;
	pthread_mutex_unlock(&s->lock);
	chr_set_open(&s->chr, is_open);
	chr_stream_accept(&s->chr);
	return 0;
}

void chr_stream_close(struct chr_stream *s)
{
	pthread_mutex_lock(&s->lock);
	s->out_fd = -1;
	pthread_mutex_unlock(&s->lock);
	loop_fd_remove(s->loop, &s->in);
	loop_fd_remove(s->loop, &s->out);
	s->in.fd = s->out.fd = -1;
}

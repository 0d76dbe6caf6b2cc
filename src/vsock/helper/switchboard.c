/*
 * Callers and calls. See switchboard.h.
 *
 * Nothing waits: a service whose backlog is full refuses, and so does a guest process that takes no
 * more messages. A caller's line is looked at in the socket before it is read, so that what follows
 * it stays there for the guest.
 */
#include "vsock/helper/switchboard.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/loop.h"
#include "base/time.h"
#include "vsock/vsock_wire.h"

#define LINE_MAX_BYTES 32 /* "CONNECT 4294967295\n" has 19 */

struct caller {
	struct switchboard *s;
	struct list node; /* of s->callers, the longest waiting first */
	struct loop_fd watch;
	u64 deadline_ns;
};

struct listener {
	struct switchboard *s;
	struct loop_fd watch;
};

struct switchboard {
	struct loop *loop;
	const char *path;
	u64 patience_ns;
	struct loop_fd guest;
	struct listener listeners[SWITCHBOARD_MAX_LISTENERS];
	unsigned n_listeners;
	struct list callers;
	unsigned n_callers;
	struct loop_timer timer; /* for the caller that has waited longest */
};

/* --- who wants to talk to the guest --- */

static void caller_free(struct caller *c)
{
	loop_fd_remove(c->s->loop, &c->watch);
	fd_close(c->watch.fd);
	list_remove(&c->node);
	c->s->n_callers--;
	free(c);
}

static void switchboard_set_timer(struct switchboard *s)
{
	if (list_is_empty(&s->callers))
		loop_timer_disarm(s->loop, &s->timer);
	else
		loop_timer_arm(s->loop, &s->timer,
			       list_entry(s->callers.next, struct caller, node)->deadline_ns);
}

static void switchboard_on_timer(struct loop_timer *t)
{
	struct switchboard *s = container_of(t, struct switchboard, timer);
	u64 now = time_mono_ns();

	list_for_each_safe (node, &s->callers) {
		struct caller *c = list_entry(node, struct caller, node);

		if (c->deadline_ns > now)
			break;
		caller_free(c);
	}
	switchboard_set_timer(s);
}

/* "CONNECT 5000": decimal, no sign, no more than 32 bits. */
static bool switchboard_parse_line(const char *line, u32 *out)
{
	static const char word[] = "CONNECT ";
	const char *p = line + sizeof(word) - 1;
	u64 port = 0;

	if (strncmp(line, word, sizeof(word) - 1) || !*p)
		return false;
	for (; *p >= '0' && *p <= '9' && port <= UINT32_MAX; p++)
		port = port * 10 + (u64)(*p - '0');
	*out = (u32)port;
	return !*p && port <= UINT32_MAX;
}

/* The line with its end cut off: its length with it, 0 when it isn't whole, or -EINVAL. */
static ssize_t caller_peek(const struct caller *c, char *line)
{
	ssize_t n = recv(c->watch.fd, line, LINE_MAX_BYTES, MSG_PEEK | MSG_DONTWAIT);
	char *end;

	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	end = memchr(line, '\n', (size_t)n);
	/* Ended, or too long; an unfinished line waits for more, watched edge by edge. */
	if (!end)
		return n == 0 || n == LINE_MAX_BYTES ? -EINVAL : 0;
	*end = '\0';
	return end - line + 1;
}

static void caller_on_event(struct loop_fd *w, u32 events)
{
	struct caller *c = container_of(w, struct caller, watch);
	struct vsock_message m = {.kind = VSOCK_INCOMING};
	char line[LINE_MAX_BYTES];
	ssize_t n = caller_peek(c, line);

	if (n == 0 && !(events & (EPOLLHUP | EPOLLRDHUP)))
		return;
	if (n > 0 && switchboard_parse_line(line, &m.port) &&
	    recv(w->fd, line, (size_t)n, MSG_DONTWAIT) == n)
		fd_send(c->s->guest.fd, &m, sizeof(m), &w->fd, 1);
	/* Handed over, or refused: by being closed, as there is no word for that. */
	caller_free(c);
}

static void switchboard_add_caller(struct switchboard *s, int fd)
{
	struct caller *c;

	if (s->n_callers == SWITCHBOARD_MAX_CALLERS)
		caller_free(list_entry(s->callers.next, struct caller, node));
	c = NEW(struct caller);
	c->s = s;
	c->watch = (struct loop_fd){
		.fd = fd, .events = EPOLLIN | EPOLLRDHUP | EPOLLET, .fn = caller_on_event};
	c->deadline_ns = time_mono_ns() + s->patience_ns;
	list_append(&s->callers, &c->node);
	s->n_callers++;
	if (loop_fd_add(s->loop, &c->watch) < 0)
		caller_free(c);
	switchboard_set_timer(s);
}

static void switchboard_on_caller(struct loop_fd *w, unused u32 events)
{
	struct listener *l = container_of(w, struct listener, watch);
	int fd = accept4(w->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd >= 0)
		switchboard_add_caller(l->s, fd);
}

/* --- whom the guest wants to talk to --- */

static int switchboard_connect(const struct switchboard *s, u32 port)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	AUTO_FD int fd = -1;
	int n = snprintf(addr.sun_path, sizeof(addr.sun_path), "%s_%u", s->path, port);

	if (n < 0 || (size_t)n >= sizeof(addr.sun_path))
		return -ENAMETOOLONG;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
		return -errno; /* -EAGAIN: its backlog is full */
	return fd_take(fd);
}

static void switchboard_serve(struct switchboard *s, const struct vsock_message *call)
{
	AUTO_FD int fd = switchboard_connect(s, call->port);
	struct vsock_message m = {
		.kind = VSOCK_CONNECTED, .id = call->id, .error = fd < 0 ? fd : 0};
	int r = fd_send(s->guest.fd, &m, sizeof(m), &fd, fd >= 0);

	/* Descriptors under way are limited; that nobody is there any more shows in the loop. */
	if (r < 0 && fd >= 0) {
		m.error = r;
		fd_send(s->guest.fd, &m, sizeof(m), NULL, 0);
	}
}

/*
 * Answers may wait for the guest process, which asks no more than it has connections for: this
 * socket blocks. Its end is ours.
 */
static void switchboard_on_guest(struct loop_fd *w, unused u32 events)
{
	struct switchboard *s = container_of(w, struct switchboard, guest);
	struct vsock_message m;
	size_t n_fds = 0;
	ssize_t n = fd_recv(w->fd, &m, sizeof(m), NULL, &n_fds);

	if (n == sizeof(m) && m.kind == VSOCK_CONNECT) {
		switchboard_serve(s, &m);
		return;
	}
	loop_fd_remove(s->loop, w);
	loop_quit(s->loop);
}

/* --- life --- */

static int switchboard_watch(struct switchboard *s)
{
	int r = loop_fd_add(s->loop, &s->guest);

	for (unsigned i = 0; i < s->n_listeners && !r; i++) {
		r = fd_set_nonblock(s->listeners[i].watch.fd, true);
		if (!r)
			r = loop_fd_add(s->loop, &s->listeners[i].watch);
	}
	return r;
}

int switchboard_new(struct loop *loop, const struct switchboard_options *o,
		    struct switchboard **out, struct err *err)
{
	struct switchboard *s = NEW(struct switchboard);
	int r;

	s->loop = loop;
	s->path = o->path;
	s->patience_ns = o->patience_ns;
	list_init(&s->callers);
	s->timer.fn = switchboard_on_timer;
	s->guest = (struct loop_fd){.fd = o->fd, .events = EPOLLIN, .fn = switchboard_on_guest};
	s->n_listeners = o->n_listeners;
	for (unsigned i = 0; i < s->n_listeners; i++) {
		s->listeners[i].s = s;
		s->listeners[i].watch = (struct loop_fd){
			.fd = o->listeners[i], .events = EPOLLIN, .fn = switchboard_on_caller};
	}
	r = switchboard_watch(s);
	if (r < 0) {
		switchboard_free(s);
		return err_errno(err, r, "cannot watch the sockets");
	}
	*out = s;
	return 0;
}

void switchboard_free(struct switchboard *s)
{
	if (!s)
		return;
	list_for_each_safe (node, &s->callers)
		caller_free(list_entry(node, struct caller, node));
	loop_timer_disarm(s->loop, &s->timer);
	for (unsigned i = 0; i < s->n_listeners; i++) {
		loop_fd_remove(s->loop, &s->listeners[i].watch);
		fd_close(s->listeners[i].watch.fd);
	}
	loop_fd_remove(s->loop, &s->guest);
	fd_close(s->guest.fd);
	free(s);
}

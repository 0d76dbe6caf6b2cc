/*
 * The user-mode network around libslirp: its poll loop, its timers, its frames. See usernet.h.
 *
 * Each round asks libslirp which sockets it waits for, adds the stream, sleeps in poll(2), then
 * feeds both sides. While the peer doesn't take our frames (a backlog waits) libslirp's sockets
 * aren't served, so that TCP slows the world down instead of memory filling; what libslirp sends
 * all the same, and the backlog can't hold, is lost as on a wire.
 */
#include "net/slirp/usernet.h"

#include <arpa/inet.h>
#include <libslirp.h>
#include <poll.h>
#include <string.h>

#include "base/alloc.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/list.h"
#include "base/log.h"
#include "base/time.h"
#include "net/frame.h"
#include "net/slirp/forward.h"
#include "net/slirp/guard.h"

#define USERNET_BACKLOG  MIB
#define USERNET_NETWORK  0x0a000200u /* 10.0.2.0 */
#define USERNET_MASK     0xffffff00u
#define USERNET_HOST     (USERNET_NETWORK | 2)
#define USERNET_DNS      (USERNET_NETWORK | 3)
#define USERNET_GUEST    (USERNET_NETWORK | 15)
#define USERNET_PREFIX   "fec0::"
#define USERNET_HOST6    "fec0::2"
#define USERNET_DNS6     "fec0::3"
#define USERNET_LOG_RATE 5 /* messages a second that a guest can provoke */

struct usernet_timer {
	struct list node;
	SlirpTimerCb fn;
	void *opaque;
	u64 deadline_ns; /* 0: not armed */
};

struct usernet {
	Slirp *slirp;
	int fd; /* owned */
	bool has_guard;
	struct guard guard;
	struct frame_reader in;
	struct frame_writer out;
	int broken; /* negative errno of the stream */
	struct list timers;
	struct log_limit limit;

	struct pollfd *polls; /* [0] is the stream */
	size_t n_polls, polls_size;
};

/* --- what libslirp calls --- */

static ssize_t usernet_on_send(const void *buf, size_t size, void *opaque)
{
	struct iovec iov = {.iov_base = (void *)buf, .iov_len = size};
	struct usernet *u = opaque;
	int r = frame_writer_send(&u->out, u->fd, &iov, 1, size);

	if (r < 0 && r != -EAGAIN)
		u->broken = r;
	return (ssize_t)size;
}

static void usernet_on_guest_error(const char *message, void *opaque)
{
	struct usernet *u = opaque;

	if (log_limit_allows(&u->limit, USERNET_LOG_RATE))
		log_debug("guest: %s", message);
}

static int64_t usernet_on_clock(void *opaque)
{
	(void)opaque;
	return (int64_t)time_mono_ns();
}

static void *usernet_on_timer_new(SlirpTimerCb fn, void *fn_opaque, void *opaque)
{
	struct usernet_timer *t = NEW(struct usernet_timer);
	struct usernet *u = opaque;

	t->fn = fn;
	t->opaque = fn_opaque;
	list_append(&u->timers, &t->node);
	return t;
}

static void usernet_on_timer_free(void *timer, void *opaque)
{
	struct usernet_timer *t = timer;

	(void)opaque;
	list_remove(&t->node);
	free(t);
}

static void usernet_on_timer_mod(void *timer, int64_t deadline_ms, void *opaque)
{
	struct usernet_timer *t = timer;

	(void)opaque;
	t->deadline_ns = (u64)MAX(deadline_ms, (int64_t)1) * NSEC_PER_MSEC;
}

static void usernet_on_poll_fd(int fd, void *opaque)
{
	(void)fd; /* every round asks for all of them */
	(void)opaque;
}

static void usernet_on_notify(void *opaque)
{
	(void)opaque; /* there is no other thread to wake */
}

static const SlirpCb usernet_callbacks = {
	.send_packet = usernet_on_send,
	.guest_error = usernet_on_guest_error,
	.clock_get_ns = usernet_on_clock,
	.timer_new = usernet_on_timer_new,
	.timer_free = usernet_on_timer_free,
	.timer_mod = usernet_on_timer_mod,
	.register_poll_fd = usernet_on_poll_fd,
	.unregister_poll_fd = usernet_on_poll_fd,
	.notify = usernet_on_notify,
};

/* --- a round --- */

static const struct {
	int slirp;
	short poll;
} usernet_events[] = {
	{SLIRP_POLL_IN, POLLIN},   {SLIRP_POLL_OUT, POLLOUT}, {SLIRP_POLL_PRI, POLLPRI},
	{SLIRP_POLL_ERR, POLLERR}, {SLIRP_POLL_HUP, POLLHUP},
};

static int usernet_add_poll(int fd, int events, void *opaque)
{
	struct usernet *u = opaque;
	short wanted = 0;

	for (size_t i = 0; i < ARRAY_SIZE(usernet_events); i++) {
		if (events & usernet_events[i].slirp)
			wanted |= usernet_events[i].poll;
	}
	if (u->n_polls == u->polls_size) {
		size_t size = u->polls_size * 2;

		u->polls = mem_grow(u->polls, u->polls_size, size, sizeof(*u->polls));
		u->polls_size = size;
	}
	u->polls[u->n_polls] = (struct pollfd){.fd = fd, .events = wanted};
	return (int)u->n_polls++;
}

static int usernet_get_revents(int index, void *opaque)
{
	struct usernet *u = opaque;
	int events = 0;

	for (size_t i = 0; i < ARRAY_SIZE(usernet_events); i++) {
		if (u->polls[index].revents & usernet_events[i].poll)
			events |= usernet_events[i].slirp;
	}
	return events;
}

static void usernet_run_timers(struct usernet *u)
{
	u64 now = time_mono_ns();

	list_for_each_safe (node, &u->timers) {
		struct usernet_timer *t = list_entry(node, struct usernet_timer, node);

		if (t->deadline_ns && t->deadline_ns <= now) {
			t->deadline_ns = 0;
			t->fn(t->opaque);
		}
	}
}

/* Milliseconds to sleep, at most limit; -1: for ever. */
static int usernet_timeout(const struct usernet *u, u32 limit)
{
	u64 now = time_mono_ns(), ms = limit;

	list_for_each (node, &u->timers) {
		const struct usernet_timer *t = list_entry(node, struct usernet_timer, node);

		if (t->deadline_ns)
			ms = MIN(ms, t->deadline_ns <= now
					     ? 0
					     : (t->deadline_ns - now) / NSEC_PER_MSEC + 1);
	}
	return ms == UINT32_MAX ? -1 : (int)MIN(ms, (u64)INT32_MAX);
}

/* Feeds libslirp what the guest sent: 1, 0 when the peer has left, or an error. */
static int usernet_input(struct usernet *u)
{
	ssize_t n = frame_reader_fill(&u->in, u->fd);
	const u8 *frame;
	size_t size;
	int r;

	if (n <= 0 && n != -EAGAIN)
		return (int)n;
	while ((r = frame_reader_peek(&u->in, &frame, &size)) > 0) {
		if (!u->has_guard || guard_allows(&u->guard, frame, size))
			slirp_input(u->slirp, frame, (int)size);
		frame_reader_pop(&u->in);
	}
	return r < 0 ? r : 1;
}

/* 1 to go on, 0 when the peer has left, or what is wrong with it. */
static int usernet_round(struct usernet *u)
{
	bool is_stuck = !frame_writer_is_empty(&u->out);
	u32 limit = UINT32_MAX;
	int n, r;

	u->n_polls = 1;
	u->polls[0] = (struct pollfd){.fd = u->fd, .events = is_stuck ? POLLIN | POLLOUT : POLLIN};
	if (!is_stuck)
		slirp_pollfds_fill(u->slirp, &limit, usernet_add_poll, u);
	n = poll(u->polls, u->n_polls, usernet_timeout(u, limit));
	if (n < 0)
		return errno == EINTR ? 1 : -errno;

	r = u->polls[0].revents & POLLOUT ? frame_writer_flush(&u->out, u->fd) : 0;
	if (r == 0)
		r = u->polls[0].revents & ~POLLOUT ? usernet_input(u) : 1;
	if (r <= 0)
		return r;
	usernet_run_timers(u);
	/* Last, as it also sends what the input and the timers queued; told that poll failed, it
	 * does nothing else. */
	slirp_pollfds_poll(u->slirp, is_stuck, usernet_get_revents, u);
	if (!u->broken && !u->out.is_full)
		u->broken = frame_writer_flush(&u->out, u->fd);
	return u->broken ? u->broken : 1;
}

int usernet_run(struct usernet *u, struct err *err)
{
	int r;

	do {
		r = usernet_round(u);
	} while (r > 0);
	if (r == -EPROTO)
		return err_set(err, r, "the guest's process sent a frame that is too long");
	/* A peer that dies takes its socket with it, in either way. */
	if (r == 0 || r == -EPIPE || r == -ECONNRESET)
		return 0;
	return err_errno(err, r, "the stream to the guest broke");
}

/* --- making --- */

static struct in_addr usernet_address(u32 host_order)
{
	return (struct in_addr){.s_addr = htonl(host_order)};
}

static struct in6_addr usernet_address6(const char *text)
{
	struct in6_addr a;

	if (inet_pton(AF_INET6, text, &a) != 1)
		unreachable_code();
	return a;
}

static int usernet_forward(struct usernet *u, const struct forward *f, struct err *err)
{
	char host[INET_ADDRSTRLEN];

	if (slirp_add_hostfwd(u->slirp, f->is_udp, f->host, f->host_port,
			      usernet_address(USERNET_GUEST), f->guest_port) == 0)
		return 0;
	inet_ntop(AF_INET, &f->host, host, sizeof(host));
	return err_errno(err, errno ? -errno : -EIO, "cannot listen on %s port %u of %s",
			 f->is_udp ? "UDP" : "TCP", f->host_port, host);
}

static void usernet_config(const struct usernet_options *o, SlirpConfig *out)
{
	*out = (SlirpConfig){
		.version = 3,
		.in_enabled = true,
		.vnetwork = usernet_address(USERNET_NETWORK),
		.vnetmask = usernet_address(USERNET_MASK),
		.vhost = usernet_address(USERNET_HOST),
		.vdhcp_start = usernet_address(USERNET_GUEST),
		.vnameserver = usernet_address(USERNET_DNS),
		.in6_enabled = true,
		.vprefix_addr6 = usernet_address6(USERNET_PREFIX),
		.vprefix_len = 64,
		.vhost6 = usernet_address6(USERNET_HOST6),
		.vnameserver6 = usernet_address6(USERNET_DNS6),
		.if_mtu = o->mtu,
		.if_mru = o->mtu,
		.disable_host_loopback = !o->is_host,
	};
}

int usernet_new(const struct usernet_options *o, struct usernet **out, struct err *err)
{
	AUTO(usernet_free) struct usernet *u = NEW(struct usernet);
	SlirpConfig config;

	usernet_config(o, &config);
	u->fd = -1;
	list_init(&u->timers);
	u->has_guard = !o->is_host;
	u->guard = (struct guard){.dns = config.vnameserver, .dns6 = config.vnameserver6};
	u->polls_size = 16;
	u->polls = NEW_ARRAY(struct pollfd, u->polls_size);
	frame_reader_init(&u->in);
	frame_writer_init(&u->out, USERNET_BACKLOG);

	u->slirp = slirp_new(&config, &usernet_callbacks, u);
	if (!u->slirp)
		return err_set(err, -EIO, "libslirp refuses its configuration");
	for (size_t i = 0; i < o->n_forwards; i++) {
		int r = usernet_forward(u, &o->forwards[i], err);

		if (r < 0)
			return r;
	}
	u->fd = o->fd;
	*out = take(u);
	return 0;
}

void usernet_free(struct usernet *u)
{
	if (!u)
		return;
	if (u->slirp)
		slirp_cleanup(u->slirp);
	frame_reader_fini(&u->in);
	frame_writer_fini(&u->out);
	free(u->polls);
	fd_close(u->fd);
	free(u);
}

/*
 * The NBD client's connections: asked for, greeted, lost, asked for again. See client.h.
 *
 *     IDLE -> ASKED -> GREETING -> READY        by conn_ask_socket, conn_take_socket, conn_on_ready
 *       ^-------'---------'---------'           by conn_lose
 *
 * One connection at a time asks. libnbd calls back under its lock, where its functions may not be
 * called: completions are only listed, and those that wait for them are woken afterwards.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/time.h"
#include "nbd/client_priv.h"

#define CONN_TICK_NS     NSEC_PER_SEC
#define CONN_PATIENCE_NS (15 * NSEC_PER_SEC) /* for a socket, and for a greeting */
#define CONN_ALIGN_MAX   4096u
#define CONN_PAYLOAD_MIN (64 * KIB)
#define CONN_WARN_NS     (10 * NSEC_PER_SEC) /* no more often does a server fill a log */

/* --- those that wait --- */

static void conn_wake_done(struct nbdc *d)
{
	while (!list_is_empty(&d->done)) {
		struct nbdc_call *call = list_entry(d->done.next, struct nbdc_call, node);

		list_remove(&call->node);
		call->is_done = true;
		if (call->co)
			co_wake(call->co);
	}
}

/* Outside of coroutines, after anything that may have woken some. */
static void conn_settle(struct nbdc *d)
{
	conn_wake_done(d);
	blk_node_end_round(&d->node);
}

/* Under libnbd's lock. */
static int conn_on_completed(void *opaque, int *error)
{
	struct nbdc_call *call = opaque;

	call->result = *error ? -*error : call->missing ? -EPROTO : 0;
	call->conn->n_calls--;
	list_remove(&call->node);
	list_append(&call->conn->d->done, &call->node);
	return 1; /* libnbd forgets it */
}

nbd_completion_callback nbdc_completion(struct nbdc_call *call)
{
	return (nbd_completion_callback){.callback = conn_on_completed, .user_data = call};
}

/* --- a connection is lost --- */

static bool conn_is_any_ready(const struct nbdc *d)
{
	for (unsigned i = 0; i < NBDC_CONNECTIONS; i++) {
		if (d->conns[i].state == NBDC_READY)
			return true;
	}
	return false;
}

/* What libnbd has to say, without the name of its function, or of a phase. */
static const char *conn_why(const char *fallback)
{
	const char *text = nbd_get_error(), *colon;

	if (!text)
		return fallback;
	colon = strncmp(text, "nbd_", 4) ? NULL : strstr(text, ": ");
	text = colon ? colon + 2 : text;
	return strncmp(text, "handshake: ", 11) ? text : text + 11;
}

/* What libnbd gave up by itself has been completed; the rest is by us. */
static void conn_abandon_calls(struct nbdc_conn *c)
{
	while (!list_is_empty(&c->calls)) {
		struct nbdc_call *call = list_entry(c->calls.next, struct nbdc_call, node);

		call->result = -ENOTCONN;
		c->n_calls--;
		list_remove(&call->node);
		list_append(&c->d->done, &call->node);
	}
}

/* Once for all connections. */
static void conn_warn(struct nbdc *d, const char *why)
{
	u64 now = time_mono_ns();

	if (d->is_closing || (d->warned_ns && now - d->warned_ns < CONN_WARN_NS))
		return;
	d->warned_ns = now;
	log_warn("a connection to an NBD server is lost: %s", why);
}

static void conn_lose(struct nbdc_conn *c, const char *why)
{
	struct nbdc *d = c->d;

	loop_fd_remove(d->node.blk.loop, &c->socket);
	if (c->state == NBDC_READY)
		conn_warn(d, why);
	if (!conn_is_any_ready(d) || c->state != NBDC_READY)
		snprintf(d->why, sizeof(d->why), "%s", why);
	c->state = NBDC_IDLE;
	if (d->asking == c)
		d->asking = NULL;
	nbd_close(c->h);
	c->h = NULL;
	conn_abandon_calls(c);
	if (!d->lost_ns && !conn_is_any_ready(d))
		d->lost_ns = time_mono_ns();
	co_queue_wake_all(&d->changed);
}

static void conn_watch(struct nbdc_conn *c)
{
	u32 direction = nbd_aio_get_direction(c->h);
	u32 events = (direction & LIBNBD_AIO_DIRECTION_READ ? (u32)EPOLLIN : 0) |
		     (direction & LIBNBD_AIO_DIRECTION_WRITE ? (u32)EPOLLOUT : 0);

	if (c->socket.is_added && events != c->socket.events)
		loop_fd_change(c->d->node.blk.loop, &c->socket, events);
}

/* --- the greeting --- */

/* Another disk than before is none to go on with. */
static int conn_check_same(const struct nbdc *d, u64 bytes, bool is_readonly, struct err *err)
{
	if (d->has_greeted && bytes != d->bytes)
		return err_set(err, -ESTALE, "the disk has %lu bytes now, not %lu", bytes,
			       d->bytes);
	if (d->has_greeted && is_readonly && !d->is_server_readonly)
		return err_set(err, -ESTALE, "the disk is read only now");
	return 0;
}

static u32 conn_size(struct nbd_handle *h, int kind, u32 fallback)
{
	i64 n = nbd_get_block_size(h, kind);

	return n > 0 && n <= UINT32_MAX ? (u32)n : fallback;
}

static int conn_learn_sizes(struct nbdc *d, struct nbd_handle *h, struct err *err)
{
	u32 least = conn_size(h, LIBNBD_SIZE_MINIMUM, 1);
	u32 most = conn_size(h, LIBNBD_SIZE_MAXIMUM, NBDC_TRANSFER_MAX);

	if (!is_power_of_two(least) || least > CONN_ALIGN_MAX)
		return err_set(err, -EINVAL, "the server wants blocks of %u bytes", least);
	if (most < CONN_PAYLOAD_MIN)
		return err_set(err, -EINVAL, "the server takes %u bytes at a time", most);
	d->range_align = MAX(least, BLK_SECTOR);
	d->transfer_max = align_down(MIN(most, (u32)NBDC_TRANSFER_MAX), CONN_ALIGN_MAX);
	return 0;
}

static int conn_learn(struct nbdc_conn *c, struct err *err)
{
	struct nbdc *d = c->d;
	i64 bytes = nbd_get_size(c->h);
	bool is_readonly = nbd_is_read_only(c->h) > 0;
	int r;

	if (bytes < 0 || (u64)bytes > BLK_SIZE_MAX)
		return err_set(err, -EINVAL, "the server says no size that a disk can have");
	r = conn_check_same(d, (u64)bytes, is_readonly, err);
	if (r == 0)
		r = conn_learn_sizes(d, c->h, err);
	if (r < 0)
		return r;
	d->bytes = (u64)bytes;
	d->is_server_readonly = is_readonly;
	d->can_flush = nbd_can_flush(c->h) > 0;
	d->can_fua = nbd_can_fua(c->h) > 0;
	d->can_trim = nbd_can_trim(c->h) > 0;
	d->can_zero = nbd_can_zero(c->h) > 0;
	d->can_multi = nbd_can_multi_conn(c->h) > 0;
	d->has_status = nbd_can_meta_context(c->h, LIBNBD_CONTEXT_BASE_ALLOCATION) > 0;
	d->has_greeted = true;
	return 0;
}

static void conn_on_ready(struct nbdc_conn *c)
{
	struct nbdc *d = c->d;
	struct err err = ERR_INIT;

	if (d->asking == c)
		d->asking = NULL;
	if (conn_learn(c, &err) < 0) {
		conn_lose(c, err.text);
		return;
	}
	c->state = NBDC_READY;
	if (d->lost_ns)
		log_info("an NBD server is there, with %lu bytes", d->bytes);
	d->lost_ns = 0;
	d->why[0] = '\0';
	co_queue_wake_all(&d->changed);
}

/* After any call of libnbd's that may have moved it. */
static void conn_look(struct nbdc_conn *c)
{
	if (!c->h)
		return;
	if (nbd_aio_is_dead(c->h) || nbd_aio_is_closed(c->h))
		conn_lose(c, conn_why("the server closed it"));
	else if (c->state == NBDC_GREETING && nbd_aio_is_ready(c->h))
		conn_on_ready(c);
	if (c->h)
		conn_watch(c);
}

static void conn_ask_next(struct nbdc *d);

static void conn_move(struct nbdc_conn *c, bool may_read, bool may_write)
{
	u32 direction = nbd_aio_get_direction(c->h);

	if (may_read && direction & LIBNBD_AIO_DIRECTION_READ)
		(void)nbd_aio_notify_read(c->h);
	else if (may_write && direction & LIBNBD_AIO_DIRECTION_WRITE)
		(void)nbd_aio_notify_write(c->h);
	conn_look(c);
	conn_ask_next(c->d);
}

static void conn_on_socket(struct loop_fd *w, u32 events)
{
	struct nbdc_conn *c = container_of(w, struct nbdc_conn, socket);
	bool is_end = events & (EPOLLHUP | EPOLLERR);

	conn_move(c, events & EPOLLIN || is_end, events & EPOLLOUT || is_end);
	conn_settle(c->d);
}

static int conn_prepare(const struct nbdc *d, struct nbd_handle *h, const char *export)
{
	const struct nbdc_server *t = d->o.server;
	u32 strict = nbd_get_strict_mode(h);

	/* The node keeps inside the disk, and may know of a new size before a connection does. */
	if (nbd_set_strict_mode(h, strict & ~LIBNBD_STRICT_BOUNDS) < 0 ||
	    nbd_set_export_name(h, export) < 0 ||
	    nbd_add_meta_context(h, LIBNBD_CONTEXT_BASE_ALLOCATION) < 0)
		return -1;
	if (!t)
		return 0;
	if (nbd_set_tls(h, LIBNBD_TLS_REQUIRE) < 0 ||
	    (t->certificates && nbd_set_tls_certificates(h, t->certificates) < 0) ||
	    (t->psk_file && nbd_set_tls_psk_file(h, t->psk_file) < 0) ||
	    (t->user && nbd_set_tls_username(h, t->user) < 0) ||
	    nbd_set_tls_verify_peer(h, !t->trusts_anybody) < 0)
		return -1;
	return 0;
}

static bool conn_begin(struct nbdc_conn *c, const char *export)
{
	c->h = nbd_create();
	c->state = NBDC_GREETING;
	c->since_ns = time_mono_ns();
	if (c->h && conn_prepare(c->d, c->h, export) == 0)
		return true;
	conn_lose(c, conn_why("out of memory"));
	return false;
}

static void conn_begin_watch(struct nbdc_conn *c)
{
	c->socket = (struct loop_fd){
		.fd = nbd_aio_get_fd(c->h), .events = EPOLLIN, .fn = conn_on_socket};
	if (c->socket.fd < 0 || loop_fd_add(c->d->node.blk.loop, &c->socket) < 0)
		conn_lose(c, "it can't be waited for");
	else
		conn_look(c);
}

/* The socket is libnbd's from here on. */
static void conn_take_socket(struct nbdc_conn *c, int fd, const char *export)
{
	if (!conn_begin(c, export))
		close(fd);
	else if (nbd_aio_connect_socket(c->h, fd) < 0)
		conn_lose(c, conn_why("it failed"));
	else
		conn_begin_watch(c);
}

static void conn_connect(struct nbdc_conn *c)
{
	const struct nbdc_server *s = c->d->o.server;
	int r;

	if (!conn_begin(c, s->export))
		return;
	r = s->socket ? nbd_connect_unix(c->h, s->socket) : nbd_connect_tcp(c->h, s->host, s->port);
	if (r < 0)
		conn_lose(c, conn_why("it failed"));
	else
		conn_begin_watch(c);
}

/* --- a connection is asked for --- */

static void conn_ask_socket(struct nbdc_conn *c)
{
	struct nbdc *d = c->d;

	c->since_ns = time_mono_ns();
	if (d->o.server) {
		conn_connect(c);
		return;
	}
	if (nbdc_ask_socket(d) < 0) {
		snprintf(d->why, sizeof(d->why), "who makes connections is gone");
		return;
	}
	c->state = NBDC_ASKED;
	d->asking = c;
}

/* One that isn't there is asked for, if it is of use. */
static void conn_ask_next(struct nbdc *d)
{
	bool has_one = conn_is_any_ready(d);

	if (d->asking || d->is_closing || (d->o.opening && d->has_given_up))
		return;
	for (unsigned i = 0; i < NBDC_CONNECTIONS; i++) {
		struct nbdc_conn *c = &d->conns[i];
		bool is_due = time_mono_ns() - c->since_ns >= CONN_TICK_NS || !c->since_ns;

		if (i && (!has_one || !d->can_multi))
			return;
		if (c->since_ns && !d->has_greeted)
			return; /* a first connection that fails is a failure */
		if (c->state == NBDC_IDLE && is_due) {
			conn_ask_socket(c);
			return;
		}
	}
}

void nbdc_take_socket(struct nbdc *d, int fd, const char *export)
{
	if (d->asking && d->asking->state == NBDC_ASKED)
		conn_take_socket(d->asking, fd, export);
	else
		close(fd);
}

void nbdc_take_refusal(struct nbdc *d, const char *why)
{
	struct nbdc_conn *c = d->asking;

	if (!c || c->state != NBDC_ASKED)
		return;
	d->asking = NULL;
	c->state = NBDC_IDLE;
	snprintf(d->why, sizeof(d->why), "%s", why);
	co_queue_wake_all(&d->changed); /* who opens the disk */
}

void nbdc_go_on(struct nbdc *d)
{
	conn_ask_next(d);
	conn_settle(d);
}

/* What a call brought to light in the middle of a request. */
static void conn_on_wake(struct loop_task *t)
{
	nbdc_go_on(container_of(t, struct nbdc, wake));
}

/* --- time passes --- */

static void conn_look_at_time(struct nbdc *d)
{
	u64 now = time_mono_ns();

	for (unsigned i = 0; i < NBDC_CONNECTIONS; i++) {
		struct nbdc_conn *c = &d->conns[i];
		bool is_late = now - c->since_ns > CONN_PATIENCE_NS;

		if (is_late && c->state == NBDC_ASKED)
			nbdc_take_refusal(d, "nobody makes the connection");
		else if (is_late && c->state == NBDC_GREETING)
			conn_lose(c, "the server doesn't greet");
	}
	conn_ask_next(d);
	if (d->lost_ns)
		co_queue_wake_all(&d->changed); /* they look at the time */
}

static bool conn_is_patient(const struct nbdc *d)
{
	return !d->has_given_up && (!d->lost_ns || time_mono_ns() - d->lost_ns < d->o.patience_ns);
}

static void conn_give_up(struct nbdc *d, const char *why)
{
	d->has_given_up = true;
	nbdc_take_refusal(d, why);
	for (unsigned i = 0; i < NBDC_CONNECTIONS; i++) {
		if (d->conns[i].state == NBDC_GREETING || d->conns[i].n_calls)
			conn_lose(&d->conns[i], why);
	}
	co_queue_wake_all(&d->changed);
}

/* The loop stands still for this server, which has had its time; or who opens it. */
static void conn_look_at_silence(struct nbdc *d)
{
	if (!d->o.answer_ns || !d->n_owed || time_mono_ns() - d->owed_ns < d->o.answer_ns)
		return;
	conn_give_up(d, "the server doesn't answer");
}

static void conn_on_tick(struct loop_timer *t)
{
	struct nbdc *d = container_of(t, struct nbdc, tick);

	if (d->o.opening)
		conn_look_at_silence(d);
	else
		d->has_given_up = false; /* the loop runs */
	conn_look_at_time(d);
	conn_settle(d);
	loop_timer_arm(d->node.blk.loop, t, time_mono_ns() + CONN_TICK_NS);
}

/* --- for the node --- */

void nbdc_poll(struct nbdc *d)
{
	struct pollfd fds[1 + NBDC_CONNECTIONS] = {{.fd = d->connector.fd, .events = POLLIN}};
	struct nbd_handle *polled[NBDC_CONNECTIONS];

	if (!d->connector.is_added)
		fds[0].fd = -1;
	for (unsigned i = 0; i < NBDC_CONNECTIONS; i++) {
		const struct nbdc_conn *c = &d->conns[i];
		u32 direction = c->h ? nbd_aio_get_direction(c->h) : 0;

		polled[i] = c->h;
		fds[1 + i].fd = c->h ? c->socket.fd : -1;
		fds[1 + i].events = (short)((direction & LIBNBD_AIO_DIRECTION_READ ? POLLIN : 0) |
					    (direction & LIBNBD_AIO_DIRECTION_WRITE ? POLLOUT : 0));
	}
	if (list_is_empty(&d->done) &&
	    poll(fds, ARRAY_SIZE(fds), CONN_TICK_NS / NSEC_PER_MSEC / 10) > 0) {
		if (fds[0].revents)
			nbdc_on_answer(&d->connector, EPOLLIN);
		for (unsigned i = 0; i < NBDC_CONNECTIONS; i++) {
			short r = fds[1 + i].revents;

			if (r && d->conns[i].h == polled[i])
				conn_move(&d->conns[i], r & ~POLLOUT, r & ~POLLIN);
		}
	}
	conn_look_at_time(d);
	conn_look_at_silence(d);
	conn_settle(d);
}

struct nbdc_conn *nbdc_choose(struct nbdc *d)
{
	for (;;) {
		struct nbdc_conn *best = NULL;

		for (unsigned i = 0; i < NBDC_CONNECTIONS; i++) {
			struct nbdc_conn *c = &d->conns[i];

			if (c->state == NBDC_READY && (!best || c->n_calls < best->n_calls))
				best = c;
		}
		if (best)
			return best;
		if (!conn_is_patient(d))
			return NULL;
		if (co_self())
			co_queue_wait(&d->changed);
		else
			nbdc_poll(d);
	}
}

int nbdc_wait(struct nbdc_conn *c, struct nbdc_call *call, i64 cookie)
{
	struct nbdc *d = c->d;

	int e = cookie < 0 ? nbd_get_errno() : 0;

	if (cookie < 0) {
		list_remove(&call->node);
		c->n_calls--;
	}
	conn_look(c); /* it may be dead since */
	if (!list_is_empty(&d->done) || c->state != NBDC_READY)
		loop_task_post(d->node.blk.loop, &d->wake);
	if (cookie < 0)
		return c->state == NBDC_READY ? (e ? -e : -EIO) : -ENOTCONN;
	while (!call->is_done) {
		if (call->co)
			co_wait();
		else
			nbdc_poll(d);
	}
	return call->result;
}

int nbdc_start(struct nbdc *d, struct err *err)
{
	int r;

	list_init(&d->done);
	list_init(&d->opening);
	list_init(&d->wake.node);
	d->wake.fn = conn_on_wake;
	d->tick.fn = conn_on_tick;
	co_queue_init(&d->changed);
	for (unsigned i = 0; i < NBDC_CONNECTIONS; i++) {
		d->conns[i].d = d;
		list_init(&d->conns[i].calls);
	}
	d->lost_ns = time_mono_ns();
	d->question = d->lost_ns; /* who had the socket before asked with smaller numbers */
	d->connector = (struct loop_fd){
		.fd = d->o.server ? -1 : d->o.connector, .events = EPOLLIN, .fn = nbdc_on_answer};
	r = d->o.server ? 0 : loop_fd_add(d->node.blk.loop, &d->connector);
	if (r < 0)
		return err_errno(err, r, "cannot wait for a connection");
	if (d->o.opening && d->o.opening->is_given_up)
		return err_set(err, -ECANCELED, "it isn't wanted any more");
	if (d->o.opening)
		list_append(&d->o.opening->disks, &d->opening);
	loop_timer_arm(d->node.blk.loop, &d->tick, time_mono_ns() + CONN_TICK_NS);
	conn_ask_next(d);
	while (!d->has_greeted) {
		if (!d->asking)
			return err_set(err, -ENOTCONN, "%s", d->why);
		if (co_self())
			co_queue_wait(&d->changed);
		else
			nbdc_poll(d);
	}
	return 0;
}

/* --- being opened --- */

void nbdc_opening_init(struct nbdc_opening *o)
{
	*o = (struct nbdc_opening){0};
	list_init(&o->disks);
}

void nbdc_opening_give_up(struct nbdc_opening *o)
{
	o->is_given_up = true;
	list_for_each (n, &o->disks) {
		struct nbdc *d = list_entry(n, struct nbdc, opening);

		conn_give_up(d, "it isn't wanted any more");
		conn_settle(d);
	}
}

void nbdc_opening_end(struct nbdc_opening *o)
{
	list_for_each_safe (n, &o->disks) {
		struct nbdc *d = list_entry(n, struct nbdc, opening);

		list_remove(n);
		d->o.opening = NULL;
	}
}

void nbdc_stop(struct nbdc *d)
{
	struct loop *loop = d->node.blk.loop;

	d->is_closing = true;
	for (unsigned i = 0; i < NBDC_CONNECTIONS; i++) {
		if (!d->conns[i].h)
			continue;
		if (d->conns[i].state == NBDC_READY)
			(void)nbd_aio_disconnect(d->conns[i].h, 0);
		conn_lose(&d->conns[i], "it isn't needed any more");
	}
	loop_timer_disarm(loop, &d->tick);
	loop_task_cancel(loop, &d->wake);
	loop_fd_remove(loop, &d->connector);
}

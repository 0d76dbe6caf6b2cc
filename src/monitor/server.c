/*
 * The control socket's server. See server.h.
 *
 * A connection that is dropped while it is being served (its own reply didn't fit) is detached at
 * once and freed by a task: those up the stack may still look at it.
 */
#include "monitor/server.h"

#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/alloc.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/list.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/time.h"
#include "posada_version.h"
#include "proto/control.h"
#include "proto/fields.h"

#define SERVER_ACCEPT_PAUSE_NS NSEC_PER_SEC

struct conn {
	struct list node;
	struct server *server;
	struct loop_fd watch; /* fd: -1 once it is dropped */
	bool is_launcher;
	bool is_subscribed;
	struct list requests;
	unsigned n_requests;
};

struct server {
	struct loop *loop;
	struct server_ops ops;
	char *greeting;
	struct log_limit missed; /* by the launcher */
	struct conn launcher;
	struct loop_fd listening;
	struct loop_timer accept_again;
	struct list clients; /* of struct conn */
	unsigned n_clients;
	struct list dropped; /* to be freed by the task */
	struct loop_task free_dropped;
};

struct control_request {
	struct list node;
	struct conn *conn; /* NULL: it is gone */
	struct control_call call;
	int fds[CONTROL_MAX_FDS];
	struct field_fds left;
};

/* --- output --- */

static void conn_drop(struct conn *c)
{
	struct server *s = c->server;

	if (c->watch.fd < 0)
		return;
	list_for_each_safe (node, &c->requests) {
		list_entry(node, struct control_request, node)->conn = NULL;
		list_remove(node);
	}
	loop_fd_remove(s->loop, &c->watch);
	close(fd_take(c->watch.fd));
	list_remove(&c->node);
	s->n_clients--;
	list_append(&s->dropped, &c->node);
	loop_task_post(s->loop, &s->free_dropped);
}

static void conn_send(struct conn *c, const char *text)
{
	int r;

	if (c->watch.fd < 0)
		return;
	r = fd_send_now(c->watch.fd, text, strlen(text));
	if (r == 0)
		return;
	/* That the launcher is gone is seen by the loop; if it is only stopped, the guest goes on. */
	if (c->is_launcher && log_limit_allows(&c->server->missed, 1))
		log_warn("the launcher missed a message: %s", strerror(-r));
	else if (!c->is_launcher)
		conn_drop(c);
}

/* To this connection alone, whether it subscribed or not. */
static void conn_send_error(struct conn *c, const char *text)
{
	struct control_event e = {.kind = CONTROL_ERROR};
	char *message;
	json_t *json;

	snprintf(e.text, sizeof(e.text), "%s", text);
	json = control_event_json(&e);
	message = json_dumps(json, JSON_COMPACT);
	conn_send(c, message);
	json_decref(json);
	free(message);
}

static void server_broadcast(struct server *s, const char *text)
{
	list_for_each_safe (node, &s->clients) {
		struct conn *c = list_entry(node, struct conn, node);

		if (c->is_subscribed)
			conn_send(c, text);
	}
}

void server_event(struct server *s, json_t *event)
{
	char *text = json_dumps(event, JSON_COMPACT);

	json_decref(event);
	conn_send(&s->launcher, text);
	server_broadcast(s, text);
	free(text);
}

void server_last_event(struct server *s, json_t *event)
{
	char *text = json_dumps(event, JSON_COMPACT);

	json_decref(event);
	server_broadcast(s, text);
	/* One that is stopped hears it when it is continued; one that is gone doesn't matter. */
	fd_send(s->launcher.watch.fd, text, strlen(text), NULL, 0);
	free(text);
}

/* --- requests --- */

const char *control_command(const struct control_request *r)
{
	return r->call.command;
}

const json_t *control_arguments(const struct control_request *r)
{
	return r->call.arguments;
}

struct field_fds *control_fds(struct control_request *r)
{
	return &r->left;
}

int control_take_fd(struct control_request *r, size_t i)
{
	return i < r->left.n ? fd_take(r->fds[i]) : -1;
}

bool control_is_gone(const struct control_request *r)
{
	return !r->conn;
}

void control_subscribe(struct control_request *r)
{
	if (r->conn)
		r->conn->is_subscribed = true;
}

static void control_request_free(struct control_request *r)
{
	if (r->conn) {
		list_remove(&r->node);
		r->conn->n_requests--;
	}
	for (size_t i = 0; i < r->left.n; i++)
		fd_close(r->fds[i]);
	control_call_fini(&r->call);
	free(r);
}

/* The reply, if someone waits for one. */
static void control_finish(struct control_request *r, char *text)
{
	struct conn *c = r->conn;

	control_request_free(r);
	if (c && text)
		conn_send(c, text);
	free(text);
}

void control_reply(struct control_request *r, json_t *result)
{
	if (r->call.has_id) {
		control_finish(r, control_result_text(r->call.id, result));
	} else {
		json_decref(result);
		control_finish(r, NULL);
	}
}

static void control_fail_text(struct control_request *r, int error, const char *text)
{
	if (r->call.has_id) {
		control_finish(
			r, control_error_text(r->call.id, control_code_from_errno(error), text));
	} else {
		if (r->conn)
			conn_send_error(r->conn, text);
		control_finish(r, NULL);
	}
}

void control_fail(struct control_request *r, int error, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	control_fail_text(r, error, text);
}

void control_fail_err(struct control_request *r, const struct err *err)
{
	control_fail_text(r, err->code, err->text);
}

/* --- input --- */

static void conn_take_request(struct conn *c, const struct control_call *call, const int *fds,
			      size_t n_fds)
{
	struct control_request *r = NEW(struct control_request);

	r->conn = c;
	r->call = *call;
	memcpy(r->fds, fds, n_fds * sizeof(*fds));
	r->left = (struct field_fds){.fds = r->fds, .n = n_fds, .max = CONTROL_MAX_FDS};
	list_append(&c->requests, &r->node);
	c->n_requests++;
	/* Whoever doesn't know of replies is told by events. */
	if (!call->has_id)
		c->is_subscribed = true;
	if (!call->command)
		control_fail(r, -EINVAL, "control message without a command");
	else if (c->n_requests > SERVER_MAX_PENDING)
		control_fail(r, -EBUSY, "%d requests are waiting already", SERVER_MAX_PENDING);
	else
		c->server->ops.request(c->server->ops.opaque, r);
}

static void conn_on_message(struct conn *c, const char *text, size_t size, const int *fds,
			    size_t n_fds)
{
	struct control_call call;
	struct err err = ERR_INIT;

	if (control_call_parse(text, size, &call, &err) == 0) {
		conn_take_request(c, &call, fds, n_fds);
		return;
	}
	for (size_t i = 0; i < n_fds; i++)
		close(fds[i]);
	conn_send_error(c, err.text);
}

static void conn_on_end(struct conn *c)
{
	struct server *s = c->server;

	if (c->is_launcher)
		s->ops.launcher_gone(s->ops.opaque);
	else
		conn_drop(c);
}

static void conn_on_input(struct loop_fd *w, u32 events)
{
	struct conn *c = container_of(w, struct conn, watch);
	char buf[CONTROL_MAX_MESSAGE];
	int fds[CONTROL_MAX_FDS];
	size_t n_fds = CONTROL_MAX_FDS;
	ssize_t n = fd_recv(w->fd, buf, sizeof(buf), fds, &n_fds);

	(void)events;
	if (n == -EAGAIN)
		return;
	if (n == -EMSGSIZE)
		conn_send_error(c, "the message is too long, or has too many descriptors");
	else if (n <= 0)
		conn_on_end(c);
	else
		conn_on_message(c, buf, (size_t)n, fds, n_fds);
}

/* --- connections --- */

static void conn_init(struct conn *c, struct server *s, int fd)
{
	c->server = s;
	c->watch = (struct loop_fd){.fd = fd, .events = EPOLLIN, .fn = conn_on_input};
	list_init(&c->node);
	list_init(&c->requests);
}

static int server_peer_uid(int fd, uid_t *out)
{
	struct ucred who;
	socklen_t size = sizeof(who);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &size) < 0)
		return -errno;
	*out = who.uid;
	return 0;
}

/*
 * Root, or who started the guest. The socket's directory says the same; this is for the day when
 * somebody opens that. In the guest process's user namespace its user is the only one with a number,
 * so that root is a stranger; with a uid of the guest's own (root started it) all look alike, and the
 * directory alone keeps others out.
 */
static bool server_may_connect(const struct server *s, int fd)
{
	uid_t peer, launcher;

	return server_peer_uid(fd, &peer) == 0 &&
	       server_peer_uid(s->launcher.watch.fd, &launcher) == 0 &&
	       (peer == 0 || peer == launcher);
}

static void server_refuse(int fd, const char *text)
{
	struct control_event e = {.kind = CONTROL_ERROR};

	snprintf(e.text, sizeof(e.text), "%s", text);
	control_send_event(fd, &e);
}

static void server_add_client(struct server *s, int fd)
{
	struct conn *c = NEW(struct conn);

	conn_init(c, s, fd);
	if (loop_fd_add(s->loop, &c->watch) < 0) {
		close(fd);
		free(c);
		return;
	}
	list_append(&s->clients, &c->node);
	s->n_clients++;
	conn_send(c, s->greeting);
}

/* Without descriptors the socket would be readable for ever: look again in a while. */
static void server_pause_accepting(struct server *s)
{
	loop_fd_remove(s->loop, &s->listening);
	loop_timer_arm(s->loop, &s->accept_again, time_mono_ns() + SERVER_ACCEPT_PAUSE_NS);
}

static void server_on_accept_again(struct loop_timer *t)
{
	struct server *s = container_of(t, struct server, accept_again);

	if (loop_fd_add(s->loop, &s->listening) < 0)
		server_pause_accepting(s);
}

static void server_on_connect(struct loop_fd *w, u32 events)
{
	struct server *s = container_of(w, struct server, listening);
	AUTO_FD int fd = accept4(w->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	(void)events;
	if (fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS))
		server_pause_accepting(s);
	if (fd < 0)
		return;
	if (!server_may_connect(s, fd))
		server_refuse(fd, "this guest belongs to another user");
	else if (s->n_clients == SERVER_MAX_CLIENTS)
		server_refuse(fd, "the guest has too many clients already");
	else
		server_add_client(s, fd_take(fd));
}

/* --- life --- */

static void server_on_free_dropped(struct loop_task *t)
{
	struct server *s = container_of(t, struct server, free_dropped);

	list_for_each_safe (node, &s->dropped) {
		list_remove(node);
		free(list_entry(node, struct conn, node));
	}
}

static char *server_greeting(const char *name)
{
	json_t *m = json_pack("{s:s, s:i, s:i, s:s, s:s}", "event", "hello", "protocol",
			      CONTROL_PROTOCOL, "oldest", CONTROL_OLDEST, "version", POSADA_VERSION,
			      "name", name);
	char *text = json_dumps(m, JSON_COMPACT);

	json_decref(m);
	return text;
}

struct server *server_new(struct loop *loop, int launcher, int listening, const char *name,
			  const struct server_ops *ops)
{
	struct server *s = NEW(struct server);

	s->loop = loop;
	s->ops = *ops;
	s->greeting = server_greeting(name);
	conn_init(&s->launcher, s, launcher);
	s->launcher.is_launcher = true;
	s->listening =
		(struct loop_fd){.fd = listening, .events = EPOLLIN, .fn = server_on_connect};
	s->accept_again.fn = server_on_accept_again;
	list_init(&s->clients);
	list_init(&s->dropped);
	list_init(&s->free_dropped.node);
	s->free_dropped.fn = server_on_free_dropped;
	return s;
}

int server_start(struct server *s, struct err *err)
{
	int r = loop_fd_add(s->loop, &s->launcher.watch);

	if (!r && s->listening.fd >= 0)
		r = loop_fd_add(s->loop, &s->listening);
	if (r < 0)
		return err_errno(err, r, "cannot watch the control socket");
	conn_send(&s->launcher, s->greeting);
	return 0;
}

void server_free(struct server *s)
{
	if (!s)
		return;
	list_for_each_safe (node, &s->clients)
		conn_drop(list_entry(node, struct conn, node));
	list_for_each_safe (node, &s->launcher.requests) {
		list_entry(node, struct control_request, node)->conn = NULL;
		list_remove(node);
	}
	server_on_free_dropped(&s->free_dropped);
	loop_task_cancel(s->loop, &s->free_dropped);
	loop_timer_disarm(s->loop, &s->accept_again);
	loop_fd_remove(s->loop, &s->launcher.watch);
	loop_fd_remove(s->loop, &s->listening);
	free(s->greeting);
	free(s);
}

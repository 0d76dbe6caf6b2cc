/*
 * A client of a guest's control socket. See client.h.
 */
#include "client/client.h"

#include <jansson.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "base/alloc.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/time.h"
#include "client/registry.h"
#include "proto/control.h"
#include "proto/text.h"

#define CLIENT_MAX_EVENTS 256 /* kept while a reply is waited for; the oldest are lost then */

struct client {
	int sock;
	char *name;
	int timeout_ms;
	i64 last_id;
	json_t *hello;
	json_t *events; /* an array */
	char buf[CONTROL_MAX_MESSAGE];
};

static int client_wait(struct client *c, u64 deadline_ns, struct err *err)
{
	for (;;) {
		struct pollfd p = {.fd = c->sock, .events = POLLIN};
		u64 now = time_mono_ns();
		int left_ms = -1, r;

		if (deadline_ns != UINT64_MAX)
			left_ms = deadline_ns > now ? (int)((deadline_ns - now) / NSEC_PER_MSEC) + 1
						    : 0;
		r = poll(&p, 1, left_ms);
		if (r > 0)
			return 0;
		if (r == 0)
			return err_set(err, -ETIMEDOUT, "guest '%s' does not answer", c->name);
		if (errno != EINTR)
			return err_errno(err, -errno, "cannot wait for guest '%s'", c->name);
	}
}

static u64 client_deadline(int timeout_ms)
{
	return timeout_ms < 0 ? UINT64_MAX : time_mono_ns() + (u64)timeout_ms * NSEC_PER_MSEC;
}

static int client_receive(struct client *c, u64 deadline_ns, struct control_message *out,
			  struct err *err)
{
	size_t n_fds = 0;
	ssize_t n;
	int r = client_wait(c, deadline_ns, err);

	if (r < 0)
		return r;
	n = fd_recv(c->sock, c->buf, sizeof(c->buf), NULL, &n_fds);
	if (n == 0 || n == -ECONNRESET)
		return err_set(err, -EPIPE, "guest '%s' has ended", c->name);
	if (n < 0)
		return err_errno(err, (int)n, "cannot receive from guest '%s'", c->name);
	r = control_message_parse(c->buf, (size_t)n, out, err);
	return r < 0 ? err_wrap(err, "guest '%s'", c->name) : 0;
}

static void client_keep_event(struct client *c, json_t *event)
{
	if (json_array_size(c->events) == CLIENT_MAX_EVENTS)
		json_array_remove(c->events, 0);
	json_array_append(c->events, event);
}

int client_next_event(struct client *c, int timeout_ms, json_t **out, struct err *err)
{
	const u64 deadline = client_deadline(timeout_ms);

	while (!json_array_size(c->events)) {
		struct control_message m;
		int r = client_receive(c, deadline, &m, err);

		if (r < 0)
			return r;
		if (m.event)
			client_keep_event(c, m.root);
		control_message_fini(&m);
	}
	*out = json_incref(json_array_get(c->events, 0));
	json_array_remove(c->events, 0);
	return 0;
}

static int client_take_reply(const struct control_message *m, json_t **out, struct err *err)
{
	if (!m->result) {
		err_set(err, control_code_errno(m->code), "%s", m->text);
		proto_text_clean(err->text);
		return err->code;
	}
	if (out)
		*out = json_incref((json_t *)m->result);
	return 0;
}

/* A reply to something else is one that was given up. */
static int client_wait_reply(struct client *c, json_t **out, struct err *err)
{
	const u64 deadline = client_deadline(c->timeout_ms);
	bool is_ours = false;
	int r = 0;

	while (!r && !is_ours) {
		struct control_message m;

		r = client_receive(c, deadline, &m, err);
		if (r < 0)
			return r;
		is_ours = !m.event && m.id == c->last_id;
		if (m.event)
			client_keep_event(c, m.root);
		if (is_ours)
			r = client_take_reply(&m, out, err);
		control_message_fini(&m);
	}
	return r;
}

int client_call(struct client *c, const char *command, json_t *arguments, const int *fds,
		size_t n_fds, json_t **out, struct err *err)
{
	char *text = control_call_text(++c->last_id, command, arguments);
	int r = fd_send(c->sock, text, strlen(text), fds, n_fds);

	free(text);
	if (r == -EPIPE || r == -ECONNRESET)
		return err_set(err, r, "guest '%s' has ended", c->name);
	if (r < 0)
		return err_errno(err, r, "cannot send to guest '%s'", c->name);
	return client_wait_reply(c, out, err);
}

void client_set_timeout(struct client *c, int timeout_ms)
{
	c->timeout_ms = timeout_ms;
}

const json_t *client_hello(const struct client *c)
{
	return c->hello;
}

int client_fd(const struct client *c)
{
	return c->sock;
}

void client_free(struct client *c)
{
	if (!c)
		return;
	fd_close(c->sock);
	json_decref(c->hello);
	json_decref(c->events);
	free(c->name);
	free(c);
}

/* The first message is the greeting, or says why there is none. */
static int client_greet(struct client *c, struct err *err)
{
	int r = client_next_event(c, c->timeout_ms, &c->hello, err);
	const char *word = r < 0 ? NULL : json_string_value(json_object_get(c->hello, "event"));
	const char *text = json_string_value(json_object_get(c->hello, "text"));
	json_int_t oldest = json_integer_value(json_object_get(c->hello, "oldest"));

	if (r < 0)
		return r;
	if (strcmp(word, "hello"))
		return err_set(err, -EPERM, "guest '%s': %s", c->name, text ? text : word);
	if (oldest > CONTROL_PROTOCOL)
		return err_set(err, -ENOTSUP,
			       "guest '%s' speaks control protocol %lld and newer; "
			       "this program speaks %d",
			       c->name, (long long)oldest, CONTROL_PROTOCOL);
	return 0;
}

static int client_open(int sock, const char *name, int timeout_ms, struct client **out,
		       struct err *err)
{
	struct client *c = NEW(struct client);
	int r;

	c->sock = sock;
	c->name = str_dup(name);
	c->timeout_ms = timeout_ms;
	c->events = json_array();
	r = client_greet(c, err);
	if (r < 0)
		client_free(c);
	else
		*out = c;
	return r;
}

int client_new(int sock, const char *name, struct client **out, struct err *err)
{
	return client_open(sock, name, CLIENT_TIMEOUT_MS, out, err);
}

int client_connect_within(const char *name, int timeout_ms, struct client **out, struct err *err)
{
	int sock, r = registry_connect(name, REGISTRY_CONTROL, SOCK_SEQPACKET, &sock, err);

	return r < 0 ? r : client_open(sock, name, timeout_ms, out, err);
}

int client_connect(const char *name, struct client **out, struct err *err)
{
	return client_connect_within(name, CLIENT_TIMEOUT_MS, out, err);
}

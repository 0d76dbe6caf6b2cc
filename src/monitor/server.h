/*
 * The control socket's server: connections, requests, replies, events. What commands mean is not its
 * business (monitor/commands.c), nor is the guest: it can be tested with a socket alone.
 *
 * There is the launcher's connection, with which all ends, and up to SERVER_MAX_CLIENTS that came by
 * the listening socket. Nothing is queued here: what a client's socket doesn't take at once costs it
 * its connection, and the launcher (which may be stopped) that one message. Main loop's thread.
 */
#ifndef MONITOR_SERVER_H
#define MONITOR_SERVER_H

#include "base/base.h"

struct control_request;
struct err;
struct field_fds;
struct json_t;
struct loop;
struct server;

#define SERVER_MAX_CLIENTS 16
#define SERVER_MAX_PENDING 32 /* requests of one connection that wait for their reply */

struct server_ops {
	/* Takes the request over: it ends with control_reply or control_fail, now or later. */
	void (*request)(void *opaque, struct control_request *r);
	void (*launcher_gone)(void *opaque);
	void *opaque;
};

/*
 * The sockets are borrowed; listening: -1 for none, else non-blocking. name is the guest's, copied
 * into the greeting.
 */
struct server *server_new(struct loop *loop, int launcher, int listening, const char *name,
			  const struct server_ops *ops);
int server_start(struct server *s, struct err *err);
/* Requests that are still with someone stay theirs: replies to them go nowhere. NULL is fine. */
void server_free(struct server *s);

/* To all that subscribed; the event is taken over. */
void server_event(struct server *s, struct json_t *event);
/* The same for the last one, which waits until the launcher takes it. */
void server_last_event(struct server *s, struct json_t *event);

/* --- a request, for commands --- */

const char *control_command(const struct control_request *r);
/* An object, or NULL: all json_ functions take that for an empty one. */
const struct json_t *control_arguments(const struct control_request *r);
/* The descriptors that came: an entry that is taken becomes -1, all others are closed in the end. */
struct field_fds *control_fds(struct control_request *r);
int control_take_fd(struct control_request *r, size_t i); /* -1: there is none */
void control_subscribe(struct control_request *r);
/* Its connection has ended: the reply will go nowhere. */
bool control_is_gone(const struct control_request *r);

/*
 * Each ends the request and frees it. result is taken over; NULL stands for an empty one. A request
 * of protocol 1 has no reply: success is told by events, failure by an "error" event to its sender.
 */
void control_reply(struct control_request *r, struct json_t *result);
void control_fail(struct control_request *r, int error, const char *fmt, ...) printf_like(3, 4);
void control_fail_err(struct control_request *r, const struct err *err);

#endif

/*
 * A client of a guest's control socket: requests and their replies, events.
 *
 * For programs that do one thing at a time: client_call waits for its reply and keeps the events that
 * come meanwhile. One thread. What comes from the guest process is not trusted: it is parsed, limited
 * and never believed to be text for a terminal.
 */
#ifndef CLIENT_CLIENT_H
#define CLIENT_CLIENT_H

#include "base/base.h"

struct client;
struct err;
struct json_t;

#define CLIENT_TIMEOUT_MS 10000 /* a guest answers at once, unless its host is in trouble */
#define CLIENT_FOREVER    (-1)

/* By its name (registry.h); returns after the greeting. */
int client_connect(const char *name, struct client **out, struct err *err);
/* With another timeout, for the greeting as well. */
int client_connect_within(const char *name, int timeout_ms, struct client **out, struct err *err);
/* Over a socket that is connected, which it takes over; name is for messages. */
int client_new(int sock, const char *name, struct client **out, struct err *err);
void client_free(struct client *c); /* NULL is fine */
AUTO_FN(client_free, struct client *)

/* For what takes longer; in milliseconds, or CLIENT_FOREVER. */
void client_set_timeout(struct client *c, int timeout_ms);
const struct json_t *client_hello(const struct client *c);
int client_fd(const struct client *c); /* to poll for events */

/*
 * Sends a request and waits for its reply. arguments are taken over (NULL: none), fds lent. On
 * success *out, unless NULL, is the result, to be freed with json_decref. A failure that the guest
 * tells of has its code's errno (control_code_errno) and its words.
 */
int client_call(struct client *c, const char *command, struct json_t *arguments, const int *fds,
		size_t n_fds, struct json_t **out, struct err *err);

/*
 * The next event, waiting for at most timeout_ms; json_decref it. -ETIMEDOUT; -EPIPE: the guest
 * process has ended. Only what client_call(c, "subscribe", ...) asked for comes.
 */
int client_next_event(struct client *c, int timeout_ms, struct json_t **out, struct err *err);

#endif

/*
 * Connectors: processes that bring a confined one to a disk elsewhere (nbd/connector.h). They are confined as
 * well, but for the network; they live until their socket is closed.
 *
 * To a plain NBD server they only make connections, and hand them out. Where more is needed (TLS, a
 * protocol that isn't NBD) they open the disk themselves, and serve it over socket pairs.
 */
#ifndef REMOTE_REMOTE_H
#define REMOTE_REMOTE_H

#include <sys/types.h>

#include "base/base.h"
#include "remote/found.h"
#include "remote/sandbox.h"

struct blk;
struct blk_uri;
struct connector_head;
struct err;
struct loop;

struct remote_options {
	int sock; /* to those who ask */
	const struct blk_uri *uri;
	struct remote_found found; /* before the process was confined */
	bool is_readonly;
	uid_t uid; /* its own; 0: that of who started it */
};

/*
 * Finds what the kind of process needs by name, and gives up all that it doesn't need. Before anything that a
 * server says is read.
 */
int remote_confine(struct remote_options *o, enum sandbox_kind kind, struct err *err);

/* Hands out connections to the server; until the socket is closed. */
int remote_connect(const struct remote_options *o, struct err *err);

/* A kind of disk that is served. */
struct remote_kind {
	int (*open)(struct loop *loop, const struct remote_options *o, struct blk **out,
		    struct err *err);
};
/* Opens the disk when it is first asked for, and serves it. */
int remote_serve(const struct remote_options *o, const struct remote_kind *kind, struct err *err);

/* The next question, into text (CONNECTOR_MAX_QUESTION bytes). -EPIPE: nobody has the socket's other end. */
int remote_next_question(int sock, char *text, struct connector_head *out);
/* fd: -1, or what goes with it; stays the caller's. */
int remote_answer(int sock, const struct connector_head *h, bool is_yes, const char *rest, int fd);

/* What the programs have in common: their command line. run confines the process, and works. */
int remote_main(int argc, char **argv, const char *program,
		int (*run)(struct remote_options *o, struct err *err));

#endif

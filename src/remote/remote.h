/*
 * Connectors: processes that bring a confined one to a disk elsewhere (nbd/connector.h). They have the
 * network, and their starter's rights; they live until their socket is closed.
 *
 * To a plain NBD server they only make connections, and hand them out. Where more is needed (TLS, a
 * protocol that isn't NBD) they open the disk themselves, and serve it over socket pairs.
 */
#ifndef REMOTE_REMOTE_H
#define REMOTE_REMOTE_H

#include "base/base.h"

struct blk;
struct blk_uri;
struct err;
struct json_t;
struct loop;

struct remote_options {
	int sock; /* to those who ask */
	const struct blk_uri *uri;
	bool is_readonly;
};

/* Hands out connections to the server; until the socket is closed. */
int remote_connect(const struct remote_options *o, struct err *err);

/* A kind of disk that is served. */
struct remote_kind {
	int (*open)(struct loop *loop, const struct remote_options *o, struct blk **out,
		    struct err *err);
	/* *out: a list as `posada image info` has it. NULL: it has none. */
	int (*snapshots)(struct blk *b, struct json_t **out, struct err *err);
};
/* Opens the disk when it is first asked for, and serves it. */
int remote_serve(const struct remote_options *o, const struct remote_kind *kind, struct err *err);

/* What the programs have in common: their command line, and how they lock themselves in. */
int remote_main(int argc, char **argv, const char *program,
		int (*run)(const struct remote_options *o, struct err *err));

#endif

/*
 * What a connector finds by name before it is confined, since nothing can be found after that: a server's
 * addresses, and the files that TLS needs, as they were when it was started. What can't be found is told to who
 * asks for a connection.
 */
#ifndef REMOTE_FOUND_H
#define REMOTE_FOUND_H

#include "base/err.h"
#include "confine/confine.h"

#define FOUND_MAX_FILES 6

struct addrinfo;
struct blk_uri;

struct remote_found {
	char *socket;               /* a UNIX server's, absolute; or NULL */
	struct addrinfo *addresses; /* of a TCP server */
	u16 tcp_port;               /* theirs */
	/* Of the new root: TLS's, and, for a library that looks names up by itself, the server's. */
	struct confine_file files[FOUND_MAX_FILES];
	unsigned n_files;
	const char *certificates, *psk_file; /* where they are in there; NULL: not */
	struct err err;                      /* code < 0: something wasn't found */
};

void remote_find(const struct blk_uri *u, struct remote_found *out);
void remote_found_fini(struct remote_found *f);

#endif

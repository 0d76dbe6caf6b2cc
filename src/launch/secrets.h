/*
 * Passphrases that a person gave by name: read here, passed on by pipes, wiped at the end.
 *
 * They never are in arguments, messages, saved configurations or logs. Who gets one reads a pipe.
 */
#ifndef LAUNCH_SECRETS_H
#define LAUNCH_SECRETS_H

#include "base/base.h"

struct err;
struct secret;

#define LAUNCH_SECRETS   8
#define LAUNCH_SECRET_ID 63 /* bytes of a name */

struct launch_secret {
	char *id;
	struct secret *bytes;
};

struct launch_secrets {
	struct launch_secret list[LAUNCH_SECRETS]; /* owned */
	unsigned n;
};

/* bytes is taken over on success. A name is letters, digits, '.', '_', '-', and there once. */
int launch_secrets_add(struct launch_secrets *s, const char *id, struct secret *bytes,
		       struct err *err);
/* From a file as it is: a newline at its end counts. */
int launch_secrets_read(struct launch_secrets *s, const char *id, const char *path,
			struct err *err);
/* From a descriptor, which is closed, but not standard input: what is opened next would take its place. */
int launch_secrets_read_fd(struct launch_secrets *s, const char *id, int fd, struct err *err);
const struct secret *launch_secrets_find(const struct launch_secrets *s,
					 const char *id); /* NULL: none */
void launch_secrets_fini(struct launch_secrets *s);

/* A person's "id=NAME,file=PATH" or "id=NAME,fd=N"; text is changed. The descriptor is closed, as there. */
int launch_secrets_parse(struct launch_secrets *s, char *text, struct err *err);

#endif

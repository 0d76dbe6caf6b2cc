/*
 * A connector's system calls: seccomp, the last layer of its confinement.
 */
#ifndef REMOTE_SANDBOX_H
#define REMOTE_SANDBOX_H

#include "base/base.h"

struct err;

enum sandbox_kind {
	SANDBOX_CONNECT, /* makes connections and hands them out */
	SANDBOX_SERVE,   /* and speaks TLS over them, and serves the disk */
	SANDBOX_LIBRARY, /* whatever a library does that nobody has a list of: all but what no disk needs */
};

/* For the process, for good. is_unix: its server is at a UNIX socket, and else at a TCP port. */
int remote_sandbox_enter(enum sandbox_kind kind, bool is_unix, struct err *err);

#endif

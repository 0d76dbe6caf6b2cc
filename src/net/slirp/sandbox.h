/*
 * The last step of the user-mode network's set-up: from here on, sockets and little else.
 */
#ifndef NET_SLIRP_SANDBOX_H
#define NET_SLIRP_SANDBOX_H

#include "base/base.h"

struct err;

/*
 * For a process that is otherwise confined (confine/confine.h) and has one thread. may_open: files can
 * be opened for reading, because something else denies all but those that libslirp looks at (the
 * host's resolv.conf). Else none can: the name server found at the start is kept.
 */
int sandbox_enter(bool may_open, struct err *err);

#endif

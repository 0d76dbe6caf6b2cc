/*
 * Uids (and gids of the same number) that one process of a guest has to itself.
 */
#ifndef CONFINE_UID_H
#define CONFINE_UID_H

#include <sys/types.h>

#include "base/base.h"

struct err;

struct confine_uids {
	uid_t first;
	unsigned n; /* 0: none */
};

#define CONFINE_UIDS_DEFAULT                                                                       \
	{                                                                                          \
		2000000000u, 65536                                                                 \
	}

/* "FIRST-LAST" */
int confine_uids_parse(const char *text, struct confine_uids *out, struct err *err);

/*
 * For root: the first of range that nobody has. It is taken for as long as *out_lock is open.
 * -ERANGE: this user namespace doesn't have them.
 */
int confine_uid_take(const struct confine_uids *range, uid_t *out, int *out_lock, struct err *err);

#endif

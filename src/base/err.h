/*
 * Errors that a person reads.
 *
 * Functions return 0 or a count, or a negative errno. Those whose failure a person can cause also
 * take a struct err, which lives on the caller's stack, is never NULL and allocates nothing: an
 * error path cannot fail or leak. Each level puts in front only what it knows:
 * "disk 'root': L1 table: too large".
 */
#ifndef BASE_ERR_H
#define BASE_ERR_H

#include "base/base.h"

struct err {
	int code;       /* negative errno, for programs; 0 as long as nothing failed */
	char text[508]; /* for people, outermost first; cut when longer */
};

#define ERR_INIT                                                                                   \
	{                                                                                          \
		0                                                                                  \
	}

/* All three return the code (negative), so that an error path is one line. */
int err_set(struct err *e, int code, const char *fmt, ...) printf_like(3, 4);   /* our words */
int err_errno(struct err *e, int code, const char *fmt, ...) printf_like(3, 4); /* and errno's */
int err_wrap(struct err *e, const char *fmt, ...) printf_like(2, 3);            /* put in front */

#endif

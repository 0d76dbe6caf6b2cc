/*
 * Parts of checking among themselves: qcow2_check.c, qcow2_rebuild.c. For those only.
 */
#ifndef IMAGE_QCOW2_CHECK_H
#define IMAGE_QCOW2_CHECK_H

#include "image/qcow2_priv.h"

struct qcow2_check {
	struct qcow2 *q;
	struct img_check *c;
	unsigned repair;
	u64 n;       /* clusters of the file */
	u32 *counts; /* who refers to each */
	u32 *tags;   /* the last tree in which it was a table */
	u8 *buf;     /* a cluster */
	bool is_walked;
	bool is_broken;  /* the refcount structures can't be mended piecemeal */
	bool is_changed; /* counts were */
};

void qcow2_check_wrong(struct qcow2_check *c, bool is_fixed, const char *fmt, ...)
	printf_like(3, 4);
/* One more user of all clusters of the range. false: it isn't inside the file. */
bool qcow2_check_mark(struct qcow2_check *c, u64 offset, u64 bytes);
/* Counts anew what everything refers to, without the refcount structures if so. */
int qcow2_check_walk(struct qcow2_check *c, bool with_refcounts);
int qcow2_check_flags(struct qcow2_check *c);
/* New refcount structures behind the file's end; the counts are theirs afterwards. */
int qcow2_check_rebuild(struct qcow2_check *c);

#endif

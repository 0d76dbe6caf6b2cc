/*
 * Where a new image is written: under another name until it is whole, so that what stands there is
 * whole or what was there before.
 *
 * The partial file is locked while it is written: two at once on the same target exclude each other,
 * and one that was left behind is known as such, and replaced.
 */
#ifndef LAUNCH_IMAGE_TARGET_H
#define LAUNCH_IMAGE_TARGET_H

#include "base/base.h"

struct err;

enum launch_target_mode {
	LAUNCH_TARGET_NEW,       /* there must be nothing yet, or an empty file */
	LAUNCH_TARGET_OVERWRITE, /* what is there goes, when the new one is whole */
};

struct launch_target {
	char *path;     /* absolute */
	char *partial;  /* NULL: nothing is being written */
	int old;        /* what it replaces, locked against writers until then; 0: nothing */
	bool is_unsafe; /* nobody waits until its name is on the disk */
};

/*
 * out is zeroed before, but for is_unsafe, and ended with launch_target_fini in any case; *out_fd is the caller's.
 */
int launch_target_open(const char *path, enum launch_target_mode mode, struct launch_target *out,
		       int *out_fd, struct err *err);
/* It is whole, and (unless it is unsafe) on the disk; takes its name. */
int launch_target_commit(struct launch_target *t, struct err *err);
/* Removes what isn't whole; frees. After a commit, too; a zeroed one is fine. */
void launch_target_fini(struct launch_target *t);

#endif

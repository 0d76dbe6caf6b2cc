/*
 * Power cuts: what reaches an image's file is logged, write by write and flush by flush; states that a
 * cut could leave are made from the log, opened, and held against what the guest was promised.
 *
 * A cut at some point of the log leaves everything that was flushed before it, and of what came since any
 * subset, torn at sectors. The guest was promised that what it flushed is there: a sector holds what was
 * written last before a flush that was done, or anything that was written to it since.
 */
#ifndef TESTS_UNIT_IMAGE_CRASH_H
#define TESTS_UNIT_IMAGE_CRASH_H

#include "image/image.h"

/* Bugs to be found, in what stands between the image and its file. */
enum crash_bug {
	CRASH_NO_BUG,
	CRASH_NO_FLUSH, /* flushes don't reach the file */
	CRASH_NO_ORDER, /* one does when a guest's flush is done, those in the middle, which order writes, don't */
	CRASH_EARLY, /* the guest is told that a flush is done when it begins */
};

struct crash_plan {
	const struct img_format *format;
	const struct img_option *options; /* of create; ends with a NULL name; or NULL */
	u64 size;                         /* of the disk, bytes */
	u64 seed;
	unsigned n_operations; /* of the guest */
	unsigned n_cuts;       /* of the log, drawn at random */
	enum crash_bug bug;
	bool is_repaired; /* a check that mends may be needed, and loses nothing */
	bool asks_qemu;   /* qemu-img check and compare look at some of the states */
};

/* NULL: every state was sound; else what was wrong with one, static text. */
const char *crash_run(const struct crash_plan *p);

#endif

/*
 * Power cuts: a guest works on an image whose files are logged (crash_log.h), and so does who looks after it:
 * resizes, snapshots, bitmaps, jobs, closing and opening. States that a cut could leave are made from the log,
 * opened, and held against what the guest was promised (crash_guest.h). Some are cut again, in the repair.
 */
#ifndef TESTS_UNIT_IMAGE_CRASH_H
#define TESTS_UNIT_IMAGE_CRASH_H

#include "crash_log.h"
#include "image/image.h"
#include "image/job.h"

/* What is done with the disk between the guest's operations. */
enum {
	CRASH_GROWS = 1,
	CRASH_SHRINKS = 2,
	CRASH_SNAPSHOTS = 4,
	CRASH_BITMAPS = 8,
	CRASH_REOPENS = 16,
	CRASH_JOB = 32, /* job, once */
};

struct crash_plan {
	const struct img_format *format;
	const struct img_option *options; /* of create; ends with a NULL name; or NULL */
	const struct img_format *other; /* of what lies beneath, or of the job's target; or NULL */
	bool is_backed;                 /* other lies beneath */
	u64 size;                       /* of the disk, bytes */
	u64 seed;
	unsigned n_operations; /* of the guest */
	unsigned n_cuts;       /* of the log, drawn at random */
	unsigned does;         /* CRASH_... */
	enum img_job_kind job;
	enum crash_bug bug;
	bool is_repaired; /* a check that mends may be needed, and loses nothing */
	bool asks_qemu;   /* qemu-img check looks at some of the states */
};

/* NULL: every state was sound; else what was wrong with one, static text. */
const char *crash_run(const struct crash_plan *p);

#endif

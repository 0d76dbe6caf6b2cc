/*
 * Block jobs: long work on a disk that is in use, behind a hub (block/hub.h).
 *
 *     COPY    the disk as it is at the start goes to a target; what is about to be overwritten is copied
 *             first. The guest's disk stays where it is.
 *     MIRROR  the disk goes to a target, and what is written meanwhile again, until both are the same
 *             (READY); at completion the guest goes on with the target, or both stay as they are then.
 *     COMMIT  what the image and others above the target hold goes down into it (a layer of the same
 *             image, opened for writing); at completion the guest goes on with it.
 *     PULL    what lies beneath the image comes up into it; at the end it needs nothing beneath.
 *
 * A job that fails, or is cancelled, leaves the guest's disk as if it had not been, but for what a
 * commit wrote beneath and a pull brought up, neither of which can be seen.
 *
 * Threads: the loop's.
 */
#ifndef IMAGE_JOB_H
#define IMAGE_JOB_H

#include "block/block.h"

enum img_job_kind { IMG_JOB_COPY, IMG_JOB_MIRROR, IMG_JOB_COMMIT, IMG_JOB_PULL };
enum img_job_state {
	IMG_JOB_RUNNING,
	IMG_JOB_READY,
	IMG_JOB_DONE,
	IMG_JOB_FAILED,
	IMG_JOB_CANCELLED
};

struct img_job;

struct img_job_options {
	enum img_job_kind kind;
	struct blk
		*target; /* all but PULL: writable, as large as the disk; taken over on success */
	unsigned
		layers; /* COMMIT: how many lie above the target, 1 up; COPY, MIRROR: only what so many hold; 0: all */
	bool must_ask;        /* MIRROR, COMMIT: stays READY until img_job_complete */
	bool keeps_disk;      /* MIRROR: at completion the guest stays with its disk */
	u64 bytes_per_second; /* 0: as fast as it goes */
	/* Told of each change of state. After DONE, FAILED, CANCELLED the owner frees the job, not in this call. */
	void (*changed)(void *opaque, struct img_job *j);
	/* The guest goes on with the target; old was its disk, the owner's again, to be freed. */
	void (*replaced)(void *opaque, struct blk *old);
	void *opaque;
};

struct img_job_status {
	enum img_job_kind kind;
	enum img_job_state state;
	u64 done_bytes, total_bytes; /* total may grow while the guest writes */
	int error;                   /* FAILED: negative errno ... */
	const char *where;           /* ... and where: "reading", "writing the target"; static */
};

/* Outside of coroutines. -EBUSY: there is a job on it already. */
int img_job_start(struct blk *hub, const struct img_job_options *o, struct img_job **out,
		  struct err *err);
void img_job_get_status(const struct img_job *j, struct img_job_status *out);
/* MIRROR, COMMIT in READY: -EBUSY before. */
int img_job_complete(struct img_job *j, struct err *err);
void img_job_cancel(struct img_job *j); /* ends soon; harmless at its end */
/* Outside of coroutines: cancels it and waits until it has ended. */
void img_job_end(struct img_job *j);
/* It has ended. */
void img_job_free(struct img_job *j);

#endif

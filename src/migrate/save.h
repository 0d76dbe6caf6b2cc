/*
 * Saving a guest to a file, while it runs or stands.
 *
 * A job works in slices on the main loop, so that whoever controls the guest is served meanwhile. A
 * guest that is to go on afterwards is written while it runs, and again what it changed since, until
 * little is left; then it is stopped for the rest and its state. One that ends is stopped at once.
 * The file is good only once all of it is on stable storage: its header says so last.
 *
 * Main thread only.
 */
#ifndef MIGRATE_SAVE_H
#define MIGRATE_SAVE_H

#include "base/base.h"

struct err;
struct gmem_block;
struct save_job;
struct state_writer;
struct vm;

struct save_options {
	bool is_compressed;
	bool keeps_running; /* else the VM is left paused */
};

struct save_result {
	u64 file_bytes;  /* the file's length; holes count */
	u64 live_chunks; /* written while the guest ran */
	u64 paused_ns;   /* how long the guest stood for it */
};

struct save_ops {
	/* The VM is paused: its configuration as text (the job frees it) and its state. */
	int (*capture)(void *opaque, char **out_config, struct state_writer *w, struct err *err);
	/* Now and then: chunks written of those known to be needed. */
	void (*progress)(void *opaque, u64 done, u64 total);
	/* Once, last; the job is the caller's to free, in here or later. -ECANCELED after save_cancel. On
	 * failure the guest goes on as it was, and the file is worth nothing. */
	void (*finished)(void *opaque, const struct save_result *result, const struct err *err);
	void *opaque;
};

/* fd (taken over, also on failure): an empty regular file, written through this descriptor. ram: all
 * of the guest's memory. */
int save_start(struct vm *vm, struct gmem_block *ram, int fd, const struct save_options *options,
	       const struct save_ops *ops, struct save_job **out, struct err *err);
void save_cancel(struct save_job *j);
/* The guest stands because of the job: it must not be resumed, reset or changed by others now. */
bool save_holds_guest(const struct save_job *j);
void save_free(struct save_job *j); /* NULL is fine; a job that works is given up, without a word */
AUTO_FN(save_free, struct save_job *)

#endif

/*
 * Loading a saved guest's file: its state at once, its memory now or as it is touched.
 *
 * Lazily, a thread of its own fills memory by userfaultfd: what the guest, or a device for it, touches
 * first, and the rest in between; each chunk is checked before anyone can see it. Until then whoever
 * touches it waits. A kernel that lets us only serve faults of user space is enough for the software
 * CPU: what the kernel is to reach is touched before (mem/gmem.h).
 *
 *     load_open -> load_memory_prepare -> (the process is confined) -> load_memory_start
 */
#ifndef MIGRATE_LOAD_H
#define MIGRATE_LOAD_H

#include "base/base.h"

struct err;
struct gmem_block;
struct load;

struct load_ops {
	/* On the loading thread, before it does anything: enters its seccomp filter. */
	int (*enter_thread)(void *opaque, struct err *err);
	/*
	 * On the loading thread: memory that somebody waits for can't be had, and never will. Threads
	 * that wait don't come back, so the process has to end: this doesn't return.
	 */
	void (*failed)(void *opaque, const char *why);
	/* On the loading thread, which ends: it is complete. Not called where load_memory_start loads all. NULL: don't. */
	void (*complete)(void *opaque);
	void *opaque;
};

/* fd: taken over, also on failure. All but the memory is read and checked here. */
int load_open(int fd, struct load **out, struct err *err);
void load_free(struct load *l); /* NULL is fine; stops the thread */
AUTO_FN(load_free, struct load *)

const void *load_state(const struct load *l, size_t *out_size);
u64 load_saved_at_ns(const struct load *l);

struct load_options {
	bool is_eager;
	bool kernel_faults; /* the kernel reaches memory by itself (KVM) */
	int faults_fd; /* /dev/userfaultfd, which who may open it needs no right to use; or -1 */
};
/*
 * ram: all of the guest's memory, still untouched; -EINVAL when it has another size. Decides how it is
 * loaded; *out_why (static) says why not lazily, NULL when so.
 */
int load_memory_prepare(struct load *l, struct gmem_block *ram, const struct load_options *options,
			const char **out_why, struct err *err);
/* Loads all of it, or starts the thread. */
int load_memory_start(struct load *l, const struct load_ops *ops, struct err *err);
/* No memory is missing any more. */
bool load_is_complete(const struct load *l);

#endif

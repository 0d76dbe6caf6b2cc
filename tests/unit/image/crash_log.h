/*
 * Files whose every write and flush is logged, and what a power cut may leave of them.
 *
 * A cut at some point of the log leaves everything of a file that was flushed before, and of what came since any
 * subset, torn at sectors. Only a file's sizes reach the disk in their order.
 */
#ifndef TESTS_UNIT_IMAGE_CRASH_LOG_H
#define TESTS_UNIT_IMAGE_CRASH_LOG_H

#include "block/block.h"

#define CRASH_FILES    2
#define CRASH_FILE_MAX (256 * MIB)

/* Bugs to be found, in what stands between the image and its file. */
enum crash_bug {
	CRASH_NO_BUG,
	CRASH_NO_FLUSH, /* flushes don't reach the file */
	CRASH_NO_ORDER, /* one does when a guest's flush is done, those in the middle, which order writes, don't */
	CRASH_EARLY, /* the guest is told that a flush is done when it begins */
};

struct crash_log;

struct crash_log *crash_log_new(u64 seed);
void crash_log_free(struct crash_log *l); /* after its disks */
/* The file as it is at the start: what fd holds, instead of nothing. */
void crash_log_load(struct crash_log *l, unsigned file, int fd);
/* A growable container over it; several may be there at once. */
struct blk *crash_log_disk(struct crash_log *l, struct loop *loop, unsigned file);
void crash_log_set_bug(struct crash_log *l, enum crash_bug bug); /* from now on */
/*
 * Disks' requests fail: the nth from now (1: the next), and all that follow if it goes on; with -error, but reads
 * never with ENOSPC. nth 0: none.
 */
void crash_log_fail(struct crash_log *l, u64 nth, int error, bool goes_on);
bool crash_log_has_failed(const struct crash_log *l); /* since then */
size_t crash_log_length(const struct crash_log *l);
/* As if all files were flushed. */
void crash_log_flushed(struct crash_log *l);
/* What a cut before the at-th entry leaves of a file: a memfd, the caller's. */
int crash_log_cut(const struct crash_log *l, size_t at, unsigned file, u64 *random);

u64 crash_random(u64 *state);

#endif

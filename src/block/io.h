/*
 * Disk I/O that waits: for image formats, jobs and tools.
 *
 * In a coroutine these let others run until the result is there. Outside of all coroutines they
 * drain the disk: for making and opening things, when nobody else uses it.
 *
 * Offsets and sizes are in bytes and need no alignment. A write that doesn't cover whole blocks
 * reads what is around it first: two of those that share a block, at the same time, are the caller's
 * mistake.
 *
 * All return 0 or a negative errno; -ENOSPC also for a write behind the end of what can't grow; -EIO
 * for a read there, other than in a container (block.h), where there are zeros.
 */
#ifndef BLOCK_IO_H
#define BLOCK_IO_H

#include "block/block.h"

int blk_read(struct blk *b, u64 offset, void *buf, u64 bytes);
int blk_write(struct blk *b, u64 offset, const void *buf, u64 bytes);
int blk_write_zeroes(struct blk *b, u64 offset, u64 bytes, bool may_unmap);
int blk_discard(struct blk *b, u64 offset, u64 bytes); /* whole blocks inside it */
int blk_flush(struct blk *b);

/* A request of the caller's, without done: submitted, kicked before the loop waits, waited for. */
int blk_wait(struct blk *b, struct blk_request *r);

#endif

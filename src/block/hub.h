/*
 * A disk whose lower disk can be watched and exchanged while it is in use: what block jobs stand on.
 *
 *     device --- hub --- lower             nobody watches: requests go to lower as they are
 *                 `-- filter --- lower     watched: writes pass the watch, and wait for locked ranges
 *
 * Threads: the loop's. What waits is for coroutines (base/co.h), which belong to that thread.
 */
#ifndef BLOCK_HUB_H
#define BLOCK_HUB_H

#include "base/co.h"
#include "block/block.h"

/* Who wants to know of writes, write-zeroes and discards. */
struct blk_watch {
	/* Before it reaches the disk, in its coroutine; may wait. Negative: the request fails with that. */
	int (*before)(struct blk_watch *w, u64 offset, u64 bytes);
	/* When it came back, whatever came of it. */
	void (*after)(struct blk_watch *w, u64 offset, u64 bytes);
	/* Outside of coroutines, in a drain: what the watch has left to a task of the loop is done now. */
	void (*poll)(struct blk_watch *w);
};

/* Ranges that somebody has for himself, in the order in which they were asked for. */
struct blk_range {
	struct list node; /* the hub's */
	u64 offset, bytes;
};

/* lower is taken over on success. */
int blk_hub_new(struct loop *loop, struct blk *lower, struct blk **out, struct err *err);
struct blk *blk_hub_lower(struct blk *hub); /* borrowed */

/* Outside of coroutines: waits for what is out. One at a time; NULL ends it. */
void blk_hub_watch(struct blk *hub, struct blk_watch *w);
bool blk_hub_is_watched(const struct blk *hub);

/* In a coroutine, while watched: until no write is under way there; none begins until it is unlocked. */
void blk_hub_lock(struct blk *hub, struct blk_range *r, u64 offset, u64 bytes);
void blk_hub_unlock(struct blk *hub, struct blk_range *r);

/* A disk that a job uses: a drain of the hub waits for it as well. Removed before it is freed. */
void blk_hub_add_disk(struct blk *hub, struct blk *disk);
void blk_hub_remove_disk(struct blk *hub, struct blk *disk);

/*
 * Outside of coroutines, while watched with all of the disk locked: requests go to another disk from now
 * on, which is taken over. The old one is returned. Both have the same block size.
 */
struct blk *blk_hub_replace(struct blk *hub, struct blk *disk);

#endif

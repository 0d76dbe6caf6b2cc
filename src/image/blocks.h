/*
 * What VDI, VHD, VHDX and VMDK share: a disk of blocks (grains), a table that says where each lies,
 * and space for new ones behind the last.
 *
 * The format maps stretches, places new blocks and remembers where they are; here is everything else:
 * who waits for whom, what is copied from beneath, and the order of a flush.
 *
 *     write to a block that has a place:  the data goes there; then ops->written
 *     to one that has none:               ops->place, contents and what surrounds them, ops->link
 *     flush:   ops->collect  copies what is new in the tables
 *              ops->prepare  writes what may be ahead of the tables
 *              every file is flushed
 *              the copy is written, and its files are flushed
 *
 * So a table on the disk never leads to data that isn't there, whenever the host stops: what was
 * flushed is found, and what wasn't is at worst space that nobody uses.
 *
 * Discards and zeroes punch holes into a block's place and leave the tables alone.
 *
 * For image/ only. Threads: the loop's.
 */
#ifndef IMAGE_BLOCKS_H
#define IMAGE_BLOCKS_H

#include "base/co.h"
#include "base/list.h"
#include "block/node.h"

struct img_blocks;

enum img_run_kind {
	IMG_RUN_BENEATH, /* what is in the backing; without one: zeros */
	IMG_RUN_ZERO,
	IMG_RUN_DATA,   /* in file at host */
	IMG_RUN_PACKED, /* ops->read_packed reads it; it has no place */
};

struct img_run {
	enum img_run_kind kind;
	bool has_place; /* its sectors are at host, whether that holds their contents or not */
	struct blk *file;
	u64 host;
	u64 bytes; /* of the run; never past the block's end */
};

/* Where a new block goes. */
struct img_place {
	u64 start, bytes; /* of the disk: the block */
	struct blk *file;
	u64 host;
	bool is_zeroed; /* zeros are there already */
	struct list node;
};

/* Pieces of files, copied, to be written. */
struct img_batch_piece {
	struct blk *file;
	u64 offset, bytes;
	u8 *data; /* owned */
};

struct img_batch {
	struct img_batch_piece *pieces;
	unsigned n;
};

struct img_blocks_ops {
	/* The stretch from offset on, at most bytes. May wait, but not between looking and returning. */
	int (*map)(struct img_blocks *b, u64 offset, u64 bytes, struct img_run *out);
	/* Space for the block around offset. One at a time; may wait. NULL: it has no new blocks. */
	int (*place)(struct img_blocks *b, u64 offset, struct img_place *out);
	/* The block couldn't be written: its place may be given back; or NULL. */
	void (*unplace)(struct img_blocks *b, const struct img_place *p);
	/* The block is written: mapped from now on. May wait. */
	int (*link)(struct img_blocks *b, const struct img_place *p);
	/* These sectors of a block that has a place were written; NULL: that changes nothing. May wait. */
	int (*written)(struct img_blocks *b, u64 offset, u64 bytes, bool is_zero);
	/* Reads a packed run's bytes into buf. */
	int (*read_packed)(struct img_blocks *b, u64 offset, void *buf, u64 bytes);
	/* Instead of place and link: takes the next bytes of a write (or of zeroes), which have no place. */
	int (*absorb)(struct img_blocks *b, struct blk_request *r, u64 bytes);
	/* Before the first change of an image that was opened; or NULL. May wait. */
	int (*begin)(struct img_blocks *b);
	int (*prepare)(struct img_blocks *b); /* or NULL */
	/* -ENOMEM only; doesn't wait. What it adds is no longer new. NULL: no tables ever change. */
	int (*collect)(struct img_blocks *b, struct img_batch *batch);
	/* Otherwise than by img_batch_write and flushing; or NULL. */
	int (*commit)(struct img_blocks *b, const struct img_batch *batch);
	/* All was flushed, and nothing else is out. NULL: it can't. */
	int (*resize)(struct img_blocks *b, u64 size, struct err *err);
	void (*close)(struct img_blocks *b); /* as blk_node_ops say, after a flush */
};

struct img_blocks {
	struct blk_node node; /* first */
	const struct img_blocks_ops *ops;
	struct blk *file;    /* the first child */
	struct blk *backing; /* or NULL */
	/* Sectors of a new block that weren't written stay beneath, by a bitmap: nothing is copied. */
	bool has_bitmaps;

	bool was_begun;
	bool is_changed;            /* since the last flush */
	struct img_batch unwritten; /* what a flush collected and couldn't write */
	struct co_mutex begin_lock, place_lock, flush_lock;
	struct list placing; /* blocks that are being written for the first time */
	struct co_queue placed;
	/* A resize has the disk for itself. */
	u32 n_inside;
	bool is_shut;
	struct co_queue gate;
};

static inline struct img_blocks *img_blocks_of(struct blk *b)
{
	struct blk_node *n = container_of(b, struct blk_node, blk);

	return container_of(n, struct img_blocks, node);
}

/*
 * b is zeroed, the first member of what blk_free frees afterwards; on failure it is the caller's. file is
 * taken over: on success only.
 */
int img_blocks_init(struct img_blocks *b, const struct img_blocks_ops *ops,
		    const struct image_ops *image, struct blk *file, struct loop *loop,
		    const char *engine, struct err *err);
void img_blocks_set_backing(struct img_blocks *b, struct blk *backing); /* taken over */

/* Everything that was written will be found: what a flush does. */
int img_blocks_flush(struct img_blocks *b);
/* As blk_read, of what was mapped. In a coroutine or outside. */
int img_blocks_read(struct img_blocks *b, u64 offset, void *buf, u64 bytes);

int img_batch_add(struct img_batch *batch, struct blk *file, u64 offset, const void *data,
		  u64 bytes); /* copied; -ENOMEM */
int img_batch_write(const struct img_batch *batch);
/* What was read of file is as it will be once the batch is written. */
void img_batch_apply(const struct img_batch *batch, const struct blk *file, u64 offset, void *buf,
		     u64 bytes);
void img_batch_fini(struct img_batch *batch);

#endif

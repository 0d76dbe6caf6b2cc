/*
 * What is done with whole disks: copying one to another, comparing two.
 *
 * Several coroutines are at work, each with a piece; what a disk says of itself (blk_status) is skipped
 * or zeroed instead of being read. Called outside of coroutines; they run the loop until they are
 * done.
 */
#ifndef IMAGE_COPY_H
#define IMAGE_COPY_H

#include "block/block.h"

struct err;

#define IMG_COPY_COROUTINES 8
#define IMG_COPY_MAX        16u

struct img_progress {
	void (*fn)(void *opaque, u64 done, u64 total); /* or NULL */
	void *opaque;
};

struct img_copy_options {
	struct loop *loop;
	unsigned n_coroutines; /* 0: IMG_COPY_COROUTINES; at most IMG_COPY_MAX */
	bool is_target_zero;   /* it reads as zeros: they aren't written */
	bool is_compressed;    /* by the target's format */
	bool is_in_order;      /* written from its start to its end */
	/* Only what the source itself has, and not what lies beneath it. */
	bool is_top_only;
	/* Zeros are looked for in pieces of so many bytes, a power of two; 0: all is read and written. */
	u64 sparse_bytes;
	u64 cluster_bytes; /* the target's, in which pieces begin and end; 0: any */
	struct img_progress progress;
};

/* The first bytes of source; the target is that large, at least. */
int img_copy(struct blk *source, struct blk *target, u64 bytes, const struct img_copy_options *o,
	     struct err *err);

struct img_difference {
	bool is_different;
	u64 offset; /* of the first sector that differs */
};

/* As far as the longer one reaches: behind the other's end there are zeros. */
int img_compare(struct blk *a, struct blk *b, struct loop *loop,
		const struct img_progress *progress, struct img_difference *out, struct err *err);

/* All zeros? */
bool img_is_zero(const void *buf, size_t bytes);

#endif

/*
 * A table inside an image's file, in memory by pages, which are read when they are first needed and stay.
 * Changes are collected into a batch (blocks.h) unit by unit.
 *
 * For image/ only. Threads: the loop's.
 */
#ifndef IMAGE_TABLE_H
#define IMAGE_TABLE_H

#include "base/base.h"

struct blk;
struct img_batch;

#define IMG_TABLE_PAGE (32 * KIB) /* the largest page: a bit for each sector in a u64 */

struct img_table {
	struct blk *file;
	u64 offset;           /* in file, without locate */
	u64 bytes;            /* of all pages */
	u32 page_bytes, unit; /* unit: what is written at least, 512 or 4096 */
	unsigned n_copies;    /* each page is there so often */
	/* Where a page is; *out 0: nowhere, it is all zeros. May wait. NULL: one behind the other from offset. */
	int (*locate)(const struct img_table *t, u64 page, unsigned copy, u64 *out);
	const struct img_batch *patches; /* what the file doesn't have yet; or NULL */
	void *opaque;                    /* locate's */
	struct img_table_page **pages;
	u64 n_pages, n_dirty;
};

/* The fields above pages are set; nothing is read yet. -ENOMEM. */
int img_table_init(struct img_table *t);
void img_table_fini(struct img_table *t); /* all-zero: nothing to do */

/*
 * Into *out a pointer to what is at byte `at`, to the page's end, which stays as long as the table does. May
 * wait. -EIO: the file ends before.
 */
int img_table_get(struct img_table *t, u64 at, u8 **out);
bool img_table_has(const struct img_table *t, u64 at); /* it is in memory already */
/* What is at `at` was changed; img_table_get has been called for it. */
void img_table_touch(struct img_table *t, u64 at);
/* The page of `at` has a place now, and had none when it was read. May wait. */
int img_table_relocate(struct img_table *t, u64 at);
/* -ENOMEM. The pages' places were located when they were read. */
int img_table_collect(struct img_table *t, struct img_batch *batch);

/* A bitmap in such a table: how many bits from `bit` on, at most n, are as the first is. */
int img_table_bits(struct img_table *t, u64 bit, u64 n, bool is_msb_first, bool *out_is_set,
		   u64 *out_n);
int img_table_set_bits(struct img_table *t, u64 bit, u64 n, bool is_msb_first);

#endif

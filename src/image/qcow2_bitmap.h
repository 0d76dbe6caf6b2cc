/*
 * Persistent dirty bitmaps among themselves: qcow2_bitmap.c, qcow2_bitmap_disk.c. For qcow2*.c only.
 */
#ifndef IMAGE_QCOW2_BITMAP_H
#define IMAGE_QCOW2_BITMAP_H

#include "image/qcow2_priv.h"

#define QCOW2_BITMAPS_MAX         65535u
#define QCOW2_BITMAPS_BYTES_MAX   (512 * MIB) /* of all that are loaded */
#define QCOW2_BITMAP_GRANULE_MIN  9
#define QCOW2_BITMAP_GRANULE_MAX  31
#define QCOW2_BITMAP_GRANULE_BITS 16 /* the default */

struct qcow2_bitmap {
	char *name;
	u32 flags; /* as they are on disk, but for IN_USE once we have marked it */
	u8 granularity_bits;
	u8 *extra;
	u32 extra_bytes;
	u64 table_offset; /* on disk */
	u32 table_entries;
	bool is_on_disk;
	bool is_inconsistent; /* only good for removal */
	bool is_marked;       /* in use, on disk, by us */
	bool is_changed;      /* its bits are others than on disk */
	bool is_removed;      /* goes when the others are written */
	u8 *bits;             /* NULL: not loaded */
	u64 n_bits;
};

static inline u64 qcow2_bitmap_bits(const struct qcow2_bitmap *b, u64 size)
{
	return (size >> b->granularity_bits) + ((size & (BIT(b->granularity_bits) - 1)) != 0);
}

int qcow2_bitmaps_read(struct qcow2 *q, struct err *err); /* the directory */
void qcow2_bitmaps_fini(struct qcow2 *q);
int qcow2_bitmap_load(struct qcow2 *q, struct qcow2_bitmap *b, struct err *err);
/* Marks it as in use on disk, if it isn't; synced. */
int qcow2_bitmap_touch(struct qcow2 *q, struct qcow2_bitmap *b);
/* Those that record: loaded and marked. */
int qcow2_bitmaps_begin(struct qcow2 *q, struct err *err);
int qcow2_bitmaps_store(struct qcow2 *q); /* when the image is closed */
/* What they occupy in the file. */
int qcow2_bitmaps_areas(struct qcow2 *q, void (*fn)(void *opaque, u64 offset, u64 bytes),
			void *opaque);

int qcow2_bitmaps(struct blk *b, struct img_bitmap **out, unsigned *out_n, struct err *err);
int qcow2_bitmap_add(struct blk *b, const char *name, u64 granularity, struct err *err);
int qcow2_bitmap_remove(struct blk *b, const char *name, struct err *err);
int qcow2_bitmap_clear(struct blk *b, const char *name, struct err *err);
int qcow2_bitmap_enable(struct blk *b, const char *name, bool is_enabled, struct err *err);
int qcow2_bitmap_merge(struct blk *b, const char *name, const char *source, struct err *err);
int qcow2_bitmap_status(struct blk *b, const char *name, u64 offset, u64 bytes, bool *out_dirty,
			u64 *out_bytes);

#endif

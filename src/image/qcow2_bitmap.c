/*
 * Persistent dirty bitmaps: what they are while the image is open. Bits are bytes' bits, lowest first, as on
 * disk. Those that record are loaded when the image is opened for writing, others when somebody asks.
 */
#include "image/qcow2_bitmap.h"

#include <string.h>

#include "base/alloc.h"
#include "base/err.h"

/* --- bits --- */

static bool bitmap_get(const struct qcow2_bitmap *b, u64 i)
{
	return b->bits[i / 8] >> (i % 8) & 1;
}

static void bitmap_set_range(struct qcow2_bitmap *b, u64 first, u64 end)
{
	for (; first < end && first % 8; first++)
		b->bits[first / 8] |= (u8)(1u << (first % 8));
	if (first < end) {
		memset(b->bits + first / 8, 0xff, (end - first) / 8);
		first += align_down(end - first, 8);
	}
	for (; first < end; first++)
		b->bits[first / 8] |= (u8)(1u << (first % 8));
}

static void bitmap_mark(struct qcow2_bitmap *b, u64 offset, u64 bytes)
{
	u64 end = (offset + bytes + BIT(b->granularity_bits) - 1) >> b->granularity_bits;

	bitmap_set_range(b, offset >> b->granularity_bits, MIN(end, b->n_bits));
	b->is_changed = true;
}

static bool bitmap_records(const struct qcow2_bitmap *b)
{
	return (b->flags & QCOW2_BITMAP_AUTO) && !b->is_inconsistent && !b->is_removed && b->bits;
}

void qcow2_bitmaps_mark(struct qcow2 *q, u64 offset, u64 bytes)
{
	for (u32 i = 0; i < q->n_bitmaps; i++) {
		if (bitmap_records(&q->bitmaps[i]) && bytes)
			bitmap_mark(&q->bitmaps[i], offset, bytes);
	}
}

static void bitmaps_count(struct qcow2 *q)
{
	q->n_recording = 0;
	for (u32 i = 0; i < q->n_bitmaps && !q->node.blk.is_readonly; i++)
		q->n_recording += bitmap_records(&q->bitmaps[i]);
}

int qcow2_bitmaps_begin(struct qcow2 *q, struct err *err)
{
	for (u32 i = 0; i < q->n_bitmaps; i++) {
		struct qcow2_bitmap *b = &q->bitmaps[i];
		int r;

		if (!(b->flags & QCOW2_BITMAP_AUTO) || b->is_inconsistent)
			continue;
		r = qcow2_bitmap_load(q, b, err);
		if (r == 0 && qcow2_bitmap_touch(q, b) < 0)
			r = err_set(err, -EIO, "cannot mark bitmap '%s' as in use", b->name);
		if (r < 0)
			return r;
	}
	bitmaps_count(q);
	return 0;
}

/* Of every bitmap, to the disk's new size. */
int qcow2_bitmaps_resize(struct qcow2 *q, u64 size)
{
	for (u32 i = 0; i < q->n_bitmaps; i++) {
		struct qcow2_bitmap *b = &q->bitmaps[i];
		u64 n = qcow2_bitmap_bits(b, size), old_bytes, bytes = align_up(n, 64) / 8;
		struct err err = ERR_INIT;
		u8 *bits;
		int r;

		if (b->is_inconsistent || b->is_removed || size == q->node.blk.size)
			continue;
		r = qcow2_bitmap_load(q, b, &err);
		if (r == 0)
			r = qcow2_bitmap_touch(q, b);
		if (r < 0)
			return r;
		old_bytes = align_up(b->n_bits, 64) / 8;
		bits = bytes <= QCOW2_BITMAPS_BYTES_MAX ? alloc_try(bytes + 8, 1) : NULL;
		if (!bits)
			return -ENOMEM;
		memcpy(bits, b->bits, MIN(bytes, old_bytes));
		for (u64 k = n; k < align_up(n, 64); k++)
			bits[k / 8] &= (u8) ~(1u << (k % 8));
		free(b->bits);
		b->bits = bits;
		b->n_bits = n;
		b->is_changed = true;
	}
	return 0;
}

/* --- by name --- */

static struct qcow2_bitmap *bitmap_find(struct qcow2 *q, const char *name)
{
	for (u32 i = 0; i < q->n_bitmaps; i++) {
		if (!q->bitmaps[i].is_removed && strcmp(q->bitmaps[i].name, name) == 0)
			return &q->bitmaps[i];
	}
	return NULL;
}

/* Found, consistent, loaded. */
static int bitmap_use(struct qcow2 *q, const char *name, struct qcow2_bitmap **out, struct err *err)
{
	struct qcow2_bitmap *b = bitmap_find(q, name);
	int r;

	if (!b)
		return err_set(err, -ENOENT, "there is no bitmap '%s'", name);
	if (b->is_inconsistent)
		return err_set(
			err, -EINVAL,
			"bitmap '%s' was in use when its image was left: it can only be removed",
			name);
	r = qcow2_bitmap_load(q, b, err);
	if (r == 0)
		*out = b;
	return r;
}

/* The same, to be changed. */
static int bitmap_change(struct blk *disk, const char *name, struct qcow2_bitmap **out,
			 struct err *err)
{
	struct qcow2 *q = qcow2_of(disk);
	int r;

	if (disk->is_readonly)
		return err_set(err, -EROFS, "it is open for reading only");
	r = bitmap_use(q, name, out, err);
	if (r < 0)
		return r;
	r = qcow2_bitmap_touch(q, *out);
	if (r < 0)
		return err_errno(err, r, "cannot mark bitmap '%s' as in use", name);
	(*out)->is_changed = true;
	return 0;
}

/* --- image_ops --- */

static u64 bitmap_dirty_bytes(const struct qcow2_bitmap *b, u64 size)
{
	u64 n = 0, whole = BIT(b->granularity_bits);

	for (u64 i = 0; i < b->n_bits / 64; i++)
		n += (u64)__builtin_popcountl(((const u64 *)(const void *)b->bits)[i]);
	for (u64 i = align_down(b->n_bits, 64); i < b->n_bits; i++)
		n += bitmap_get(b, i);
	/* The last one may stand for less. */
	if (b->n_bits && bitmap_get(b, b->n_bits - 1) && size % whole)
		return n * whole - (whole - size % whole);
	return n * whole;
}

int qcow2_bitmaps(struct blk *disk, struct img_bitmap **out, unsigned *out_n, struct err *err)
{
	struct qcow2 *q = qcow2_of(disk);
	struct img_bitmap *list = NEW_ARRAY(struct img_bitmap, q->n_bitmaps + (size_t)1);
	unsigned n = 0;

	for (u32 i = 0; i < q->n_bitmaps; i++) {
		struct qcow2_bitmap *b = &q->bitmaps[i];

		if (b->is_removed)
			continue;
		if (!b->is_inconsistent && qcow2_bitmap_load(q, b, err) < 0) {
			img_bitmaps_free(list, n);
			return err->code;
		}
		list[n++] = (struct img_bitmap){
			.name = str_dup(b->name),
			.granularity = BIT(b->granularity_bits),
			.is_enabled = b->flags & QCOW2_BITMAP_AUTO,
			.is_inconsistent = b->is_inconsistent,
			.dirty_bytes = b->is_inconsistent ? 0 : bitmap_dirty_bytes(b, disk->size),
		};
	}
	*out = list;
	*out_n = n;
	return 0;
}

static int bitmap_can_add(struct blk *disk, const char *name, u64 granularity, struct err *err)
{
	struct qcow2 *q = qcow2_of(disk);

	if (disk->is_readonly)
		return err_set(err, -EROFS, "it is open for reading only");
	if (q->version < 3)
		return err_set(err, -ENOTSUP, "version 2 has no bitmaps");
	if (!*name || strlen(name) > QCOW2_NAME_MAX)
		return err_set(err, -EINVAL, "the name is empty or too long");
	if (bitmap_find(q, name))
		return err_set(err, -EEXIST, "there is a bitmap '%s' already", name);
	if (q->n_bitmaps == QCOW2_BITMAPS_MAX)
		return err_set(err, -EFBIG, "there are too many bitmaps");
	if (!is_power_of_two(granularity) || granularity < BIT(QCOW2_BITMAP_GRANULE_MIN) ||
	    granularity > BIT(QCOW2_BITMAP_GRANULE_MAX))
		return err_set(err, -EINVAL, "the granularity is a power of two from 512 to 2G");
	if (disk->size / granularity / 8 > QCOW2_BITMAPS_BYTES_MAX)
		return err_set(err, -EFBIG, "such a disk needs a coarser granularity");
	return 0;
}

int qcow2_bitmap_add(struct blk *disk, const char *name, u64 granularity, struct err *err)
{
	struct qcow2 *q = qcow2_of(disk);
	struct qcow2_bitmap *b;
	u8 *bits;
	int r;

	granularity = granularity ? granularity : BIT(QCOW2_BITMAP_GRANULE_BITS);
	r = bitmap_can_add(disk, name, granularity, err);
	if (r < 0)
		return r;
	bits = alloc_try(disk->size / granularity / 8 + 16, 1);
	if (!bits)
		return err_set(err, -ENOMEM, "no memory for the bitmap");
	q->bitmaps = mem_grow(q->bitmaps, q->n_bitmaps, q->n_bitmaps + (size_t)1, sizeof(*b));
	b = &q->bitmaps[q->n_bitmaps++];
	*b = (struct qcow2_bitmap){
		.name = str_dup(name),
		.flags = QCOW2_BITMAP_AUTO,
		.granularity_bits = (u8)__builtin_ctzl(granularity),
		.is_changed = true,
		.bits = bits,
	};
	b->n_bits = qcow2_bitmap_bits(b, disk->size);
	bitmaps_count(q);
	return 0;
}

int qcow2_bitmap_remove(struct blk *disk, const char *name, struct err *err)
{
	struct qcow2 *q = qcow2_of(disk);
	struct qcow2_bitmap *b = bitmap_find(q, name);

	if (disk->is_readonly)
		return err_set(err, -EROFS, "it is open for reading only");
	if (!b)
		return err_set(err, -ENOENT, "there is no bitmap '%s'", name);
	b->is_removed = true;
	bitmaps_count(q);
	return 0;
}

int qcow2_bitmap_clear(struct blk *disk, const char *name, struct err *err)
{
	struct qcow2_bitmap *b;
	int r = bitmap_change(disk, name, &b, err);

	if (r == 0)
		memset(b->bits, 0, (b->n_bits + 7) / 8);
	return r;
}

int qcow2_bitmap_enable(struct blk *disk, const char *name, bool is_enabled, struct err *err)
{
	struct qcow2_bitmap *b;
	int r = bitmap_change(disk, name, &b, err);

	if (r < 0)
		return r;
	b->flags = (b->flags & ~QCOW2_BITMAP_AUTO) | (is_enabled ? QCOW2_BITMAP_AUTO : 0);
	bitmaps_count(qcow2_of(disk));
	return 0;
}

static void bitmap_or(struct qcow2_bitmap *to, const struct qcow2_bitmap *from)
{
	for (u64 i = 0; i < from->n_bits; i++) {
		if (!from->bits[i / 8]) {
			i |= 7;
			continue;
		}
		if (bitmap_get(from, i))
			bitmap_mark(to, i << from->granularity_bits, BIT(from->granularity_bits));
	}
}

int qcow2_bitmap_merge(struct blk *disk, const char *name, const char *source, struct err *err)
{
	struct qcow2_bitmap *to, *from;
	int r = bitmap_use(qcow2_of(disk), source, &from, err);

	if (r == 0)
		r = bitmap_change(disk, name, &to, err);
	if (r == 0)
		bitmap_or(to, from);
	return r;
}

int qcow2_bitmap_status(struct blk *disk, const char *name, u64 offset, u64 bytes, bool *out_dirty,
			u64 *out_bytes)
{
	struct err err = ERR_INIT;
	struct qcow2_bitmap *b;
	u64 i, end;
	bool is_dirty;
	int r = bitmap_use(qcow2_of(disk), name, &b, &err);

	if (r < 0)
		return r;
	if (!bytes || !range_fits(offset, bytes, disk->size))
		return -EINVAL;
	i = offset >> b->granularity_bits;
	end = MIN(b->n_bits, ((offset + bytes - 1) >> b->granularity_bits) + 1);
	is_dirty = bitmap_get(b, i);
	while (i < end && bitmap_get(b, i) == is_dirty) {
		/* Whole bytes of the same at once. */
		if (i % 8 == 0 && i + 8 <= end && b->bits[i / 8] == (is_dirty ? 0xff : 0))
			i += 8;
		else
			i++;
	}
	*out_dirty = is_dirty;
	*out_bytes = MIN(bytes, (i << b->granularity_bits) - offset);
	return 0;
}

/*
 * Persistent dirty bitmaps on disk: extension -> directory -> a table for each bitmap -> clusters of bits.
 *
 * While a bitmap in memory differs from the one on disk, that one is marked as in use: who finds the mark
 * after a crash knows not to trust it. When the image is closed, changed bitmaps go to new clusters,
 * then a new directory, then the extension in the header leads to that, and the old ones are freed.
 */
#include <string.h>

#include "base/alloc.h"
#include "base/err.h"
#include "block/io.h"
#include "image/qcow2_bitmap.h"

#define BITMAP_DIRECTORY_MAX (64 * MIB)
#define BITMAP_KNOWN_FLAGS   (QCOW2_BITMAP_IN_USE | QCOW2_BITMAP_AUTO | QCOW2_BITMAP_EXTRA_COMPATIBLE)

/* --- the directory, read --- */

static u64 bitmap_entry_bytes(const struct qcow2_bitmap *b)
{
	return align_up(sizeof(struct qcow2_bitmap_wire) + b->extra_bytes + strlen(b->name), 8);
}

static bool bitmap_is_sound(const struct qcow2 *q, const struct qcow2_bitmap *b, u8 type)
{
	return type == QCOW2_BITMAP_DIRTY_TRACKING &&
	       b->granularity_bits >= QCOW2_BITMAP_GRANULE_MIN &&
	       b->granularity_bits <= QCOW2_BITMAP_GRANULE_MAX &&
	       !(b->flags & ~BITMAP_KNOWN_FLAGS) &&
	       qcow2_is_table(q, b->table_offset, b->table_entries * (u64)8) &&
	       range_fits(b->table_offset, b->table_entries * (u64)8,
			  align_up(q->file->size, q->cluster_size));
}

/* Returns the entry's bytes, or a negative errno. */
static i64 bitmap_read_entry(struct qcow2 *q, const u8 *at, u64 left, struct qcow2_bitmap *b)
{
	struct qcow2_bitmap_wire w;
	u64 name_bytes, bytes;

	if (left < sizeof(w))
		return -EINVAL;
	memcpy(&w, at, sizeof(w));
	name_bytes = be16_get(w.name_bytes);
	b->extra_bytes = be32_get(w.extra_bytes);
	bytes = sizeof(w) + b->extra_bytes + name_bytes;
	if (!name_bytes || name_bytes > QCOW2_NAME_MAX || align_up(bytes, 8) > left)
		return -EINVAL;
	b->extra = mem_alloc(1, b->extra_bytes + (size_t)1);
	memcpy(b->extra, at + sizeof(w), b->extra_bytes);
	b->name =
		str_format("%.*s", (int)name_bytes, (const char *)at + sizeof(w) + b->extra_bytes);
	b->flags = be32_get(w.flags);
	b->granularity_bits = w.granularity_bits;
	b->table_offset = be64_get(w.table_offset);
	b->table_entries = be32_get(w.table_entries);
	b->is_on_disk = true;
	b->is_inconsistent = (b->flags & QCOW2_BITMAP_IN_USE) ||
			     (b->extra_bytes && !(b->flags & QCOW2_BITMAP_EXTRA_COMPATIBLE));
	if (!bitmap_is_sound(q, b, w.type) || strlen(b->name) != name_bytes)
		return -EINVAL;
	return (i64)align_up(bytes, 8);
}

static int bitmaps_parse(struct qcow2 *q, const u8 *directory, u64 bytes, u32 n, struct err *err)
{
	for (u64 at = 0; q->n_bitmaps < n;) {
		struct qcow2_bitmap b = {0};
		i64 used = bitmap_read_entry(q, directory + at, bytes - at, &b);

		q->bitmaps =
			mem_grow(q->bitmaps, q->n_bitmaps, q->n_bitmaps + (size_t)1, sizeof(b));
		if (!b.name)
			b.name = str_dup("");
		q->bitmaps[q->n_bitmaps++] = b;
		if (used < 0)
			return err_set(err, (int)used, "bitmap %u is described wrongly",
				       q->n_bitmaps);
		at += (u64)used;
	}
	return 0;
}

int qcow2_bitmaps_read(struct qcow2 *q, struct err *err)
{
	const struct qcow2_ext *e = qcow2_find_ext(q, QCOW2_EXT_BITMAPS);
	AUTO(free_ptr) u8 *directory = NULL;
	struct qcow2_bitmaps_wire w;
	u64 offset, bytes;
	int r;

	/* Without the bit they are out of date: somebody wrote who didn't know them. */
	if (!e || q->version < 3 || !(q->autoclear & QCOW2_AUTOCLEAR_BITMAPS))
		return 0;
	if (e->bytes != sizeof(w))
		return err_set(err, -EINVAL, "the bitmaps' extension has a wrong size");
	memcpy(&w, e->data, sizeof(w));
	offset = be64_get(w.directory_offset);
	bytes = be64_get(w.directory_bytes);
	if (be32_get(w.n) > QCOW2_BITMAPS_MAX || bytes > BITMAP_DIRECTORY_MAX)
		return err_set(err, -EFBIG, "there are too many bitmaps");
	if (!qcow2_is_table(q, offset, bytes) || !range_fits(offset, bytes, q->file->size))
		return err_set(err, -EINVAL, "the bitmaps' directory is at an impossible place");
	directory = alloc_try(1, bytes + 1);
	if (!directory)
		return err_set(err, -ENOMEM, "no memory for the bitmaps' directory");
	r = blk_read(q->file, offset, directory, bytes);
	if (r < 0)
		return err_errno(err, r, "cannot read the bitmaps' directory");
	q->bitmaps_offset = offset;
	q->bitmaps_bytes = bytes;
	return bitmaps_parse(q, directory, bytes, be32_get(w.n), err);
}

static void bitmap_fini(struct qcow2_bitmap *b)
{
	free(b->name);
	free(b->extra);
	free(b->bits);
}

void qcow2_bitmaps_fini(struct qcow2 *q)
{
	for (u32 i = 0; i < q->n_bitmaps; i++)
		bitmap_fini(&q->bitmaps[i]);
	free(q->bitmaps);
}

/* --- bits, read --- */

static u64 bitmap_loaded_bytes(const struct qcow2 *q)
{
	u64 bytes = 0;

	for (u32 i = 0; i < q->n_bitmaps; i++)
		bytes += q->bitmaps[i].bits ? q->bitmaps[i].n_bits / 8 : 0;
	return bytes;
}

static int bitmap_read_bits(struct qcow2 *q, const struct qcow2_bitmap *b, const u64 *table,
			    u8 *bits, u64 bytes)
{
	for (u64 i = 0, at = 0; at < bytes; i++, at += q->cluster_size) {
		u64 entry = table[i], offset = entry & QCOW2_OFFSET_MASK,
		    n = MIN(q->cluster_size, bytes - at);
		int r = 0;

		if (offset && (!is_aligned(offset, q->cluster_size) || offset >= q->file->size))
			r = -EIO;
		else if (offset)
			r = blk_read(q->file, offset, bits + at, MIN(n, q->file->size - offset));
		else if (entry & QCOW2_BITMAP_ALL_ONES)
			memset(bits + at, 0xff, n);
		if (r < 0)
			return r;
	}
	for (u64 k = b->n_bits; k < bytes * 8; k++)
		bits[k / 8] &= (u8) ~(1u << (k % 8));
	return 0;
}

int qcow2_bitmap_load(struct qcow2 *q, struct qcow2_bitmap *b, struct err *err)
{
	u64 n = qcow2_bitmap_bits(b, q->node.blk.size), bytes = (n + 7) / 8;
	u64 clusters = (bytes + q->cluster_size - 1) >> q->cluster_bits;
	AUTO(free_ptr) u64 *table = NULL;
	AUTO(free_ptr) u8 *bits = NULL;
	int r;

	if (b->bits)
		return 0;
	if (b->table_entries != clusters)
		return err_set(err, -EINVAL, "bitmap '%s' is for a disk of another size", b->name);
	if (bytes > QCOW2_BITMAPS_BYTES_MAX - MIN(bitmap_loaded_bytes(q), QCOW2_BITMAPS_BYTES_MAX))
		return err_set(err, -EFBIG, "the bitmaps are too large");
	table = alloc_try(clusters + 1, sizeof(*table));
	bits = alloc_try(bytes + 16, 1);
	if (!table || !bits)
		return err_set(err, -ENOMEM, "no memory for bitmap '%s'", b->name);
	r = qcow2_read_table(q, b->table_offset, table, clusters);
	b->n_bits = n;
	if (r == 0)
		r = bitmap_read_bits(q, b, table, bits, bytes);
	if (r < 0)
		return err_errno(err, r, "cannot read bitmap '%s'", b->name);
	b->bits = take(bits);
	return 0;
}

/* --- the directory, written --- */

static u8 *bitmap_put(u8 *at, const struct qcow2_bitmap *b)
{
	const struct qcow2_bitmap_wire w = {
		.table_offset = be64_of(b->table_offset),
		.table_entries = be32_of(b->table_entries),
		.flags = be32_of(b->flags | (b->is_marked ? QCOW2_BITMAP_IN_USE : 0)),
		.type = QCOW2_BITMAP_DIRTY_TRACKING,
		.granularity_bits = b->granularity_bits,
		.name_bytes = be16_of((u16)strlen(b->name)),
		.extra_bytes = be32_of(b->extra_bytes),
	};

	memcpy(at, &w, sizeof(w));
	if (b->extra_bytes)
		memcpy(at + sizeof(w), b->extra, b->extra_bytes);
	memcpy(at + sizeof(w) + b->extra_bytes, b->name, strlen(b->name));
	return at + bitmap_entry_bytes(b);
}

/* Those on disk, removed or not, or those that stay. */
static u8 *bitmaps_build(const struct qcow2 *q, bool is_final, u64 *out_bytes, u32 *out_n)
{
	u8 *buf, *at;

	*out_bytes = *out_n = 0;
	for (u32 i = 0; i < q->n_bitmaps; i++) {
		if (is_final ? !q->bitmaps[i].is_removed : q->bitmaps[i].is_on_disk)
			*out_bytes += bitmap_entry_bytes(&q->bitmaps[i]);
	}
	at = buf = alloc_try(1, *out_bytes + 1);
	for (u32 i = 0; buf && i < q->n_bitmaps; i++) {
		if (is_final ? !q->bitmaps[i].is_removed : q->bitmaps[i].is_on_disk) {
			at = bitmap_put(at, &q->bitmaps[i]);
			++*out_n;
		}
	}
	return buf;
}

int qcow2_bitmap_touch(struct qcow2 *q, struct qcow2_bitmap *b)
{
	AUTO(free_ptr) u8 *buf = NULL;
	u64 bytes;
	u32 n;
	int r;

	if (b->is_marked || !b->is_on_disk)
		return 0;
	b->is_marked = true;
	buf = bitmaps_build(q, false, &bytes, &n);
	r = buf && bytes <= q->bitmaps_bytes ? blk_write(q->file, q->bitmaps_offset, buf, bytes)
					     : -EIO;
	if (r == 0)
		r = blk_flush(q->file);
	if (r < 0)
		b->is_marked = false;
	return r;
}

/* --- storing --- */

struct bitmap_old { /* what is freed when the new ones are reachable */
	struct qcow2_range *v;
	u32 n;
};

static void bitmap_old_add(void *opaque, u64 offset, u64 bytes)
{
	struct bitmap_old *old = opaque;

	old->v = mem_grow(old->v, old->n, old->n + (size_t)1, sizeof(*old->v));
	old->v[old->n++] = (struct qcow2_range){offset, bytes};
}

static int bitmap_areas(struct qcow2 *q, const struct qcow2_bitmap *b,
			void (*fn)(void *opaque, u64 offset, u64 bytes), void *opaque)
{
	AUTO(free_ptr) u64 *table = NULL;
	int r;

	if (!b->is_on_disk || !b->table_entries)
		return 0;
	table = alloc_try(b->table_entries, sizeof(*table));
	r = table ? qcow2_read_table(q, b->table_offset, table, b->table_entries) : -ENOMEM;
	if (r < 0)
		return r;
	fn(opaque, b->table_offset, b->table_entries * (u64)8);
	for (u32 i = 0; i < b->table_entries; i++) {
		if (table[i] & QCOW2_OFFSET_MASK)
			fn(opaque, table[i] & QCOW2_OFFSET_MASK, q->cluster_size);
	}
	return 0;
}

int qcow2_bitmaps_areas(struct qcow2 *q, void (*fn)(void *opaque, u64 offset, u64 bytes),
			void *opaque)
{
	int r = 0;

	if (q->bitmaps_bytes)
		fn(opaque, q->bitmaps_offset, q->bitmaps_bytes);
	for (u32 i = 0; r == 0 && i < q->n_bitmaps; i++)
		r = bitmap_areas(q, &q->bitmaps[i], fn, opaque);
	return r;
}

static bool bitmap_is_all(const u8 *bits, u64 n, u8 value)
{
	return !n || (bits[0] == value && memcmp(bits, bits + 1, n - 1) == 0);
}

static int bitmap_write_cluster(struct qcow2 *q, const u8 *bits, u64 n, u64 *out_entry)
{
	u64 offset;
	int r;

	if (bitmap_is_all(bits, n, 0) || (n == q->cluster_size && bitmap_is_all(bits, n, 0xff))) {
		*out_entry = bits[0] ? QCOW2_BITMAP_ALL_ONES : 0;
		return 0;
	}
	r = qcow2_alloc_row(q, 1, &offset);
	if (r == 0)
		r = blk_write(q->file, offset, bits, n);
	if (r == 0 && n < q->cluster_size)
		r = blk_write_zeroes(q->file, offset + n, q->cluster_size - n, true);
	*out_entry = offset;
	return r;
}

/* To new clusters; its table is the new one afterwards. */
static int bitmap_write(struct qcow2 *q, struct qcow2_bitmap *b)
{
	u64 bytes = (b->n_bits + 7) / 8, n = (bytes + q->cluster_size - 1) >> q->cluster_bits,
	    offset = 0;
	AUTO(free_ptr) u64 *table = alloc_try(n + 1, sizeof(*table));
	int r = table ? 0 : -ENOMEM;

	for (u64 i = 0; r == 0 && i < n; i++) {
		u64 at = i << q->cluster_bits;

		r = bitmap_write_cluster(q, b->bits + at, MIN(q->cluster_size, bytes - at),
					 &table[i]);
	}
	if (r == 0)
		r = qcow2_alloc_row(
			q, MAX((n * 8 + q->cluster_size - 1) >> q->cluster_bits, (u64)1), &offset);
	if (r == 0)
		r = qcow2_write_table(q, offset, table, n);
	if (r < 0)
		return r;
	b->table_offset = offset;
	b->table_entries = (u32)n;
	return 0;
}

/* The extension; one that is there keeps its place, and no other byte of the header changes. */
static int bitmaps_switch(struct qcow2 *q, u32 n, u64 offset, u64 bytes)
{
	const struct qcow2_bitmaps_wire w = {.n = be32_of(n),
					     .directory_bytes = be64_of(bytes),
					     .directory_offset = be64_of(offset)};
	struct err err = ERR_INIT;
	int r = qcow2_set_autoclear(q, q->autoclear & ~QCOW2_AUTOCLEAR_BITMAPS);

	if (r < 0)
		return r;
	qcow2_set_ext(q, QCOW2_EXT_BITMAPS, n ? &w : NULL, n ? sizeof(w) : 0);
	r = qcow2_header_write(q, &err);
	if (r == 0)
		r = blk_flush(q->file);
	if (r == 0 && n)
		r = qcow2_set_autoclear(q, q->autoclear | QCOW2_AUTOCLEAR_BITMAPS);
	return r;
}

static int bitmaps_write_all(struct qcow2 *q, struct bitmap_old *old)
{
	int r = 0;

	if (q->bitmaps_bytes)
		bitmap_old_add(old, q->bitmaps_offset, q->bitmaps_bytes);
	for (u32 i = 0; r == 0 && i < q->n_bitmaps; i++) {
		struct qcow2_bitmap *b = &q->bitmaps[i];

		if (b->is_removed || b->is_changed)
			r = bitmap_areas(q, b, bitmap_old_add, old);
		if (r == 0 && b->is_changed && !b->is_removed)
			r = bitmap_write(q, b);
		b->is_marked = false;
	}
	return r;
}

static int bitmaps_write_directory(struct qcow2 *q)
{
	u64 bytes, offset = 0;
	u32 n;
	AUTO(free_ptr) u8 *buf = bitmaps_build(q, true, &bytes, &n);
	int r = buf ? 0 : -ENOMEM;

	if (r == 0 && n)
		r = qcow2_alloc_row(q, (bytes + q->cluster_size - 1) >> q->cluster_bits, &offset);
	if (r == 0 && n)
		r = blk_write(q->file, offset, buf, bytes);
	if (r == 0)
		r = qcow2_settle_counts(q);
	if (r == 0)
		r = bitmaps_switch(q, n, offset, bytes);
	if (r < 0)
		return r;
	q->bitmaps_offset = offset;
	q->bitmaps_bytes = bytes;
	return 0;
}

int qcow2_bitmaps_store(struct qcow2 *q)
{
	struct bitmap_old old = {0};
	bool is_needed = false;
	int r;

	for (u32 i = 0; i < q->n_bitmaps; i++)
		is_needed |= q->bitmaps[i].is_marked || q->bitmaps[i].is_changed ||
			     q->bitmaps[i].is_removed;
	if (!is_needed)
		return 0;
	r = bitmaps_write_all(q, &old);
	if (r == 0)
		r = bitmaps_write_directory(q);
	for (u32 i = 0; r == 0 && i < old.n; i++)
		r = qcow2_free_now(q, old.v[i].offset, old.v[i].bytes);
	free(old.v);
	for (u32 i = 0; r == 0 && i < q->n_bitmaps; i++) {
		q->bitmaps[i].is_changed = false;
		q->bitmaps[i].is_on_disk = !q->bitmaps[i].is_removed;
	}
	return r;
}

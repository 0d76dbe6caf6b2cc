/*
 * Which clusters of the file are used, and how often: the refcount table (in memory), refcount blocks
 * (by slices, from a cache), and finding free ones.
 *
 * A new refcount block lies in the range that it describes and counts itself, so that it is sound by
 * itself as soon as it is written; the table's entry follows (qcow2_flush.c). A larger table lies,
 * with the blocks that describe it, behind everything that the old one could describe.
 */
#include <string.h>

#include "base/alloc.h"
#include "base/err.h"
#include "block/io.h"
#include "image/qcow2_priv.h"

#define REFCOUNT_CACHE (2 * MIB)

/* --- counts in bytes --- */

u64 qcow2_refcount_max(const struct qcow2 *q)
{
	return q->refcount_order == 6 ? ~(u64)0 : BIT(1u << q->refcount_order) - 1;
}

u64 qcow2_refcounts_per_block(const struct qcow2 *q)
{
	return q->cluster_size * 8 >> q->refcount_order;
}

u64 qcow2_refcount_load(const struct qcow2 *q, const u8 *block, u64 index)
{
	unsigned bits = 1u << q->refcount_order;

	switch (q->refcount_order) {
	case 3:
		return block[index];
	case 4:
		return be16_load(block + index * 2);
	case 5:
		return be32_load(block + index * 4);
	case 6:
		return be64_load(block + index * 8);
	default:
		return block[index * bits / 8] >> (index * bits % 8) & (BIT(bits) - 1);
	}
}

void qcow2_refcount_store(const struct qcow2 *q, u8 *block, u64 index, u64 count)
{
	unsigned bits = 1u << q->refcount_order, shift = (unsigned)(index * bits % 8);
	u8 *byte = block + index * bits / 8;

	switch (q->refcount_order) {
	case 3:
		*byte = (u8)count;
		break;
	case 4:
		be16_store(byte, (u16)count);
		break;
	case 5:
		be32_store(byte, (u32)count);
		break;
	case 6:
		be64_store(byte, count);
		break;
	default:
		*byte = (u8)((*byte & ~((BIT(bits) - 1) << shift)) | count << shift);
	}
}

/* --- the table and its blocks --- */

int qcow2_refcounts_load(struct qcow2 *q, struct err *err)
{
	u64 bytes = be32_get(q->header.refcount_table_clusters) * q->cluster_size;
	int r;

	q->reftable_offset = be64_get(q->header.refcount_table_offset);
	q->reftable_entries = (u32)(bytes / 8);
	q->reftable = alloc_try(bytes + 8, 1);
	q->reftable_dirty = alloc_try(bytes / BLK_SECTOR + 1, 1);
	if (!q->reftable || !q->reftable_dirty)
		return err_set(err, -ENOMEM, "no memory for the refcount table");
	r = qcow2_read_table(q, q->reftable_offset, q->reftable, q->reftable_entries);
	if (r < 0)
		return err_errno(err, r, "cannot read the refcount table");
	for (u32 i = 0; i < q->reftable_entries; i++)
		q->reftable[i] &= QCOW2_REFTABLE_MASK;
	if (qcow2_cache_init(&q->rc, q->file, q->slice_bytes, REFCOUNT_CACHE) < 0)
		return err_set(err, -ENOMEM, "no memory for the refcounts' cache");
	q->rc.is_unordered = true;
	q->virgin_from =
		q->file->is_growable || q->node.blk.is_readonly ? q->file->size : BLK_SIZE_MAX;
	return 0;
}

void qcow2_refcounts_fini(struct qcow2 *q)
{
	qcow2_cache_fini(&q->rc);
	free(q->reftable);
	free(q->reftable_dirty);
	free(q->dropped.v);
	free(q->stable.v);
}

static void refcount_not_virgin(struct qcow2 *q, u64 end)
{
	q->virgin_from = MAX(q->virgin_from, end);
}

static bool refcount_has_block(const struct qcow2 *q, u64 cluster)
{
	u64 i = cluster / qcow2_refcounts_per_block(q);

	return i < q->reftable_entries && q->reftable[i];
}

static int refcount_can_hold(const struct qcow2 *q, u64 cluster, u64 n)
{
	u64 limit = MIN(blk_limit(q->file, false), QCOW2_HOST_END) >> q->cluster_bits;

	return range_fits(cluster, n, limit) ? 0 : -ENOSPC;
}

/* Pinned. Its block is there. */
static int refcount_slice(struct qcow2 *q, u64 cluster, struct qcow2_slice **out, u64 *out_index)
{
	u64 per_block = qcow2_refcounts_per_block(q),
	    per_slice = (u64)q->slice_bytes * 8 >> q->refcount_order;
	u64 block = q->reftable[cluster / per_block], inside = cluster % per_block;

	if (!is_aligned(block, q->cluster_size) || block >= MIN(q->virgin_from, QCOW2_HOST_END))
		return qcow2_corrupt(q);
	*out_index = inside % per_slice;
	return qcow2_cache_get(&q->rc, block + inside / per_slice * q->slice_bytes, out);
}

/* For the range of cluster, at the cluster: which is free, as all of its range. */
static int refcount_make_block(struct qcow2 *q, u64 cluster)
{
	u64 per_block = qcow2_refcounts_per_block(q), i = cluster / per_block;
	AUTO(free_ptr) u8 *buf = NULL;
	int r = refcount_can_hold(q, cluster, 1);

	if (r < 0)
		return r;
	/* An image that doesn't count its own header. */
	if (qcow2_is_metadata(q, cluster << q->cluster_bits, q->cluster_size))
		return qcow2_corrupt(q);
	buf = alloc_try(1, q->cluster_size);
	if (!buf)
		return -ENOMEM;
	qcow2_refcount_store(q, buf, cluster % per_block, 1);
	qcow2_cache_forget(&q->rc, cluster << q->cluster_bits, q->cluster_size);
	r = blk_write(q->file, cluster << q->cluster_bits, buf, q->cluster_size);
	if (r < 0)
		return r;
	refcount_not_virgin(q, (cluster + 1) << q->cluster_bits);
	q->reftable[i] = cluster << q->cluster_bits;
	q->reftable_dirty[i / 64] = 1;
	q->is_reftable_dirty = true;
	return 0;
}

struct refcount_growth {
	u64 first; /* cluster: of n_blocks blocks, then the table */
	u64 n_blocks, table_clusters, entries;
};

static void refcount_plan_growth(const struct qcow2 *q, u64 needed, struct refcount_growth *g)
{
	u64 per_block = qcow2_refcounts_per_block(q), old = q->reftable_entries;

	g->first = old * per_block;
	g->entries = MAX(needed, old + old / 2) + 1;
	for (g->n_blocks = 1;; g->n_blocks++) {
		g->table_clusters =
			(MAX(g->entries, old + g->n_blocks) * 8 + q->cluster_size - 1) >>
			q->cluster_bits;
		if (g->n_blocks + g->table_clusters <= g->n_blocks * per_block)
			break;
	}
	g->entries = g->table_clusters * q->cluster_size / 8;
}

static int refcount_write_growth(struct qcow2 *q, const struct refcount_growth *g, u64 *table)
{
	u64 per_block = qcow2_refcounts_per_block(q), n = g->n_blocks + g->table_clusters;
	u64 offset = g->first << q->cluster_bits;
	AUTO(free_ptr) u8 *blocks = alloc_try(g->n_blocks, q->cluster_size);
	int r;

	if (!blocks)
		return -ENOMEM;
	memcpy(table, q->reftable, q->reftable_entries * (size_t)8);
	for (u64 i = 0; i < n; i++)
		qcow2_refcount_store(q, blocks, i, 1);
	for (u64 i = 0; i < g->n_blocks; i++)
		table[g->first / per_block + i] = offset + (i << q->cluster_bits);
	qcow2_cache_forget(&q->rc, offset, g->n_blocks << q->cluster_bits);
	r = blk_write(q->file, offset, blocks, g->n_blocks << q->cluster_bits);
	if (r == 0)
		r = qcow2_write_table(q, offset + (g->n_blocks << q->cluster_bits), table,
				      g->entries);
	if (r == 0)
		r = blk_flush(q->file);
	return r;
}

static int refcount_switch_table(struct qcow2 *q, u64 offset, u64 clusters)
{
	be64 old_offset = q->header.refcount_table_offset;
	be32 old_clusters = q->header.refcount_table_clusters;
	int r;

	q->header.refcount_table_offset = be64_of(offset);
	q->header.refcount_table_clusters = be32_of((u32)clusters);
	r = qcow2_header_write_fields(q);
	if (r == 0)
		r = blk_flush(q->file);
	if (r < 0) {
		q->header.refcount_table_offset = old_offset;
		q->header.refcount_table_clusters = old_clusters;
	}
	return r;
}

/* Until there is room for needed entries. */
static int refcount_grow_table(struct qcow2 *q, u64 needed)
{
	struct refcount_growth g;
	AUTO(free_ptr) u64 *table = NULL;
	AUTO(free_ptr) u8 *dirty = NULL;
	u64 old_offset = q->reftable_offset, old_bytes = q->reftable_entries * (u64)8;
	int r;

	refcount_plan_growth(q, needed, &g);
	if (g.entries * 8 > MAX(QCOW2_REFTABLE_MAX, q->cluster_size))
		return -ENOSPC;
	r = refcount_can_hold(q, g.first, g.n_blocks + g.table_clusters);
	if (r < 0)
		return r;
	if (qcow2_is_metadata(q, g.first << q->cluster_bits,
			      (g.n_blocks + g.table_clusters) << q->cluster_bits))
		return qcow2_corrupt(q);
	table = alloc_try(g.entries, 8);
	dirty = alloc_try(g.entries * 8 / BLK_SECTOR + 1, 1);
	if (!table || !dirty)
		return -ENOMEM;
	r = refcount_write_growth(q, &g, table);
	if (r == 0)
		r = refcount_switch_table(q, (g.first + g.n_blocks) << q->cluster_bits,
					  g.table_clusters);
	if (r < 0)
		return r;
	free(q->reftable);
	free(q->reftable_dirty);
	q->reftable = take(table);
	q->reftable_dirty = take(dirty);
	q->reftable_entries = (u32)g.entries;
	q->reftable_offset = (g.first + g.n_blocks) << q->cluster_bits;
	q->is_reftable_dirty = false; /* the new one has it all */
	refcount_not_virgin(q, (g.first + g.n_blocks + g.table_clusters) << q->cluster_bits);
	return old_bytes ? qcow2_free_now(q, old_offset, old_bytes) : 0;
}

/* Makes cluster's block; the cluster may be taken by it afterwards. */
static int refcount_need_block(struct qcow2 *q, u64 cluster)
{
	u64 i = cluster / qcow2_refcounts_per_block(q);

	if (i >= q->reftable_entries)
		return refcount_grow_table(q, i + 1);
	return refcount_make_block(q, cluster);
}

int qcow2_refcount_get(struct qcow2 *q, u64 cluster, u64 *out)
{
	struct qcow2_slice *s;
	u64 index;
	int r;

	*out = 0;
	if (!refcount_has_block(q, cluster))
		return 0;
	r = refcount_slice(q, cluster, &s, &index);
	if (r < 0)
		return r;
	*out = qcow2_refcount_load(q, s->data, index);
	qcow2_cache_put(&q->rc, s);
	return 0;
}

int qcow2_refcount_set(struct qcow2 *q, u64 cluster, u64 count)
{
	struct qcow2_slice *s;
	u64 index;
	int r;

	/* Used, and not counted: only a repair from the ground up helps. */
	if (!refcount_has_block(q, cluster))
		return count ? qcow2_corrupt(q) : 0;
	r = refcount_slice(q, cluster, &s, &index);
	if (r < 0)
		return r;
	qcow2_refcount_store(q, s->data, index, count);
	qcow2_cache_dirty(&q->rc, s);
	qcow2_cache_put(&q->rc, s);
	if (!count)
		q->free_hint = MIN(q->free_hint, cluster);
	return 0;
}

int qcow2_refcount_add(struct qcow2 *q, u64 offset, u64 bytes, int delta)
{
	u64 end = (offset + bytes + q->cluster_size - 1) >> q->cluster_bits;

	for (u64 c = offset >> q->cluster_bits; c < end; c++) {
		u64 count;
		int r = qcow2_refcount_get(q, c, &count);

		if (r < 0)
			return r;
		if ((delta < 0 && !count) || (delta > 0 && count == qcow2_refcount_max(q)))
			return delta < 0 ? qcow2_corrupt(q) : -EOVERFLOW;
		r = qcow2_refcount_set(q, c, count + (u64)(i64)delta);
		if (r < 0)
			return r;
	}
	return 0;
}

/* --- allocation --- */

/* In slice s, whose index-th count is cluster's: the first free one at or behind it. */
static bool refcount_find_in_slice(struct qcow2 *q, const struct qcow2_slice *s, u64 *index)
{
	u64 per_slice = (u64)q->slice_bytes * 8 >> q->refcount_order;

	while (*index < per_slice && qcow2_refcount_load(q, s->data, *index))
		++*index;
	return *index < per_slice;
}

static u64 refcount_take_run(struct qcow2 *q, struct qcow2_slice *s, u64 index, u64 n)
{
	u64 per_slice = (u64)q->slice_bytes * 8 >> q->refcount_order, got = 0;

	while (got < n && index + got < per_slice &&
	       !qcow2_refcount_load(q, s->data, index + got)) {
		qcow2_refcount_store(q, s->data, index + got, 1);
		got++;
	}
	qcow2_cache_dirty(&q->rc, s);
	return got;
}

static int refcount_allocated(struct qcow2 *q, u64 cluster, u64 n, bool *out_virgin)
{
	u64 offset = cluster << q->cluster_bits;

	if (out_virgin)
		*out_virgin = offset >= q->virgin_from;
	refcount_not_virgin(q, offset + (n << q->cluster_bits));
	/* A hostile image may say that its header is free. */
	return qcow2_is_metadata(q, offset, n << q->cluster_bits) ? qcow2_corrupt(q) : 0;
}

int qcow2_alloc(struct qcow2 *q, u64 n, u64 *out_offset, u64 *out_n, bool *out_virgin)
{
	u64 cluster = q->free_hint;

	for (;;) {
		struct qcow2_slice *s;
		u64 index, first, got;
		int r = refcount_can_hold(q, cluster, 1);

		if (r == 0 && !refcount_has_block(q, cluster)) {
			r = refcount_need_block(q, cluster);
			if (r == 0)
				continue;
		}
		if (r == 0)
			r = refcount_slice(q, cluster, &s, &index);
		if (r < 0)
			return r;
		first = index;
		if (!refcount_find_in_slice(q, s, &index)) {
			cluster += index - first;
			q->free_hint = cluster;
			qcow2_cache_put(&q->rc, s);
			continue;
		}
		cluster += index - first;
		r = refcount_can_hold(q, cluster, n);
		got = r == 0 ? refcount_take_run(q, s, index, n) : 0;
		qcow2_cache_put(&q->rc, s);
		if (r < 0 && n > 1) { /* perhaps not so many */
			n = 1;
			continue;
		}
		if (r < 0)
			return r;
		q->free_hint = cluster + got;
		*out_offset = cluster << q->cluster_bits;
		*out_n = got;
		return refcount_allocated(q, cluster, got, out_virgin);
	}
}

/* Blocks for all of them. They are put among those clusters, and then the row isn't free any more. */
static int refcount_need_blocks(struct qcow2 *q, u64 first, u64 n, bool *out_made)
{
	*out_made = false;
	for (u64 c = first; c < first + n; c++) {
		int r = 0;

		if (!refcount_has_block(q, c)) {
			r = refcount_need_block(q, c);
			*out_made = true;
		}
		if (r < 0)
			return r;
	}
	return 0;
}

int qcow2_alloc_row(struct qcow2 *q, u64 n, u64 *out_offset)
{
	u64 first = q->free_hint, run = 0;
	bool is_made;
	int r;

	for (;;) {
		while (run < n) {
			u64 count;

			r = refcount_can_hold(q, first, n);
			if (r == 0)
				r = qcow2_refcount_get(q, first + run, &count);
			if (r < 0)
				return r;
			if (count) {
				first += run + 1;
				run = 0;
			} else {
				run++;
			}
		}
		r = refcount_need_blocks(q, first, n, &is_made);
		if (r < 0)
			return r;
		if (!is_made)
			break;
		run = 0;
	}
	for (u64 i = 0; i < n; i++) {
		r = qcow2_refcount_set(q, first + i, 1);
		if (r < 0)
			return r;
	}
	*out_offset = first << q->cluster_bits;
	return refcount_allocated(q, first, n, NULL);
}

/* --- freeing --- */

static void refcount_freed(struct qcow2 *q, u64 cluster)
{
	u64 offset = cluster << q->cluster_bits;

	qcow2_forget_unpacked(q);
	if (q->packed_end && qcow2_cluster_of(q, q->packed_end - 1) == offset)
		q->packed_end = 0;
}

int qcow2_free_now(struct qcow2 *q, u64 offset, u64 bytes)
{
	u64 end = (offset + bytes + q->cluster_size - 1) >> q->cluster_bits, hole = 0,
	    hole_bytes = 0;
	int r = 0;

	for (u64 c = offset >> q->cluster_bits; r == 0 && c < end; c++) {
		u64 count;

		r = qcow2_refcount_get(q, c, &count);
		if (r == 0 && !count)
			r = qcow2_corrupt(q);
		if (r == 0)
			r = qcow2_refcount_set(q, c, count - 1);
		if (r < 0 || count != 1)
			continue;
		refcount_freed(q, c);
		if (!hole_bytes || hole + hole_bytes != c << q->cluster_bits) {
			if (hole_bytes)
				blk_discard(q->file, hole, hole_bytes);
			hole = c << q->cluster_bits;
			hole_bytes = 0;
		}
		hole_bytes += q->cluster_size;
	}
	/* A hint: whether it worked doesn't matter. */
	if (hole_bytes)
		blk_discard(q->file, hole, hole_bytes);
	return r;
}

void qcow2_drop(struct qcow2 *q, u64 offset, u64 bytes)
{
	struct qcow2_ranges *d = &q->dropped;
	u64 start = qcow2_cluster_of(q, offset), end = align_up(offset + bytes, q->cluster_size);

	if (d->n && d->v[d->n - 1].offset + d->v[d->n - 1].bytes == start) {
		d->v[d->n - 1].bytes += end - start;
		return;
	}
	if (d->n == d->capacity) {
		d->v = mem_grow(d->v, d->capacity, d->capacity * 2 + 64, sizeof(*d->v));
		d->capacity = d->capacity * 2 + 64;
	}
	d->v[d->n++] = (struct qcow2_range){start, end - start};
}

bool qcow2_is_metadata(const struct qcow2 *q, u64 offset, u64 bytes)
{
	return offset < q->cluster_size ||
	       range_overlaps(offset, bytes, q->l1_offset, q->l1_entries * (u64)8) ||
	       range_overlaps(offset, bytes, q->reftable_offset, q->reftable_entries * (u64)8) ||
	       range_overlaps(offset, bytes, be64_get(q->header.snapshots_offset),
			      q->snapshots_bytes) ||
	       range_overlaps(offset, bytes, q->luks_at.offset, q->luks_at.bytes);
}

bool qcow2_is_data(const struct qcow2 *q, u64 offset, u64 bytes)
{
	return qcow2_cluster_of(q, offset) < q->virgin_from && !qcow2_is_metadata(q, offset, bytes);
}

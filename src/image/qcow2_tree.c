/*
 * Whole trees: an L1 table, its L2 tables, and what they refer to; for snapshots, which share them, and for
 * what is cut off or emptied. We are alone, and everything outstanding was written (qcow2_settle).
 */
#include <string.h>

#include "base/alloc.h"
#include "block/io.h"
#include "image/qcow2_tree.h"

static int tree_read_table(struct qcow2 *q, u64 table, u8 *buf)
{
	u64 there;

	if (!is_aligned(table, q->cluster_size))
		return qcow2_corrupt(q);
	there = table < q->file->size ? MIN(q->cluster_size, q->file->size - table) : 0;
	memset(buf, 0, q->cluster_size);
	return blk_read(q->file, table, buf, there);
}

static int tree_count(struct qcow2 *q, u64 offset, u64 bytes, int delta)
{
	return delta > 0 ? qcow2_refcount_add(q, offset, bytes, delta)
			 : qcow2_free_now(q, offset, bytes);
}

static int tree_count_entry(struct qcow2 *q, u64 entry, int delta)
{
	u64 host, bytes = q->cluster_size;

	if (entry & QCOW2_COMPRESSED)
		bytes = qcow2_packed_extent(q, entry, &host);
	else
		host = entry & QCOW2_OFFSET_MASK;
	if (!host || q->has_data_file)
		return 0;
	return tree_count(q, host, bytes, delta);
}

static int tree_count_table(struct qcow2 *q, u64 table, u8 *buf, int delta)
{
	int r = tree_read_table(q, table, buf);

	for (u64 i = 0; r == 0 && i < BIT(q->l2_bits); i++)
		r = tree_count_entry(q, be64_load(buf + i * q->entry_bytes), delta);
	if (r == 0 && delta < 0)
		qcow2_cache_forget(&q->l2, table, q->cluster_size);
	return r == 0 ? tree_count(q, table, q->cluster_size, delta) : r;
}

int qcow2_tree_add(struct qcow2 *q, const u64 *l1, u32 entries, int delta)
{
	AUTO(free_ptr) u8 *buf = alloc_try(1, q->cluster_size);
	int r = buf ? 0 : -ENOMEM;

	for (u32 i = 0; r == 0 && i < entries; i++) {
		u64 table = l1[i] & QCOW2_OFFSET_MASK;

		if (table)
			r = tree_count_table(q, table, buf, delta);
	}
	return r;
}

/* --- flags of the active tree --- */

static int tree_flag(struct qcow2 *q, u64 *entry, bool is_clearing)
{
	u64 host = *entry & QCOW2_OFFSET_MASK, count = 0;
	int r = is_clearing ? 0 : qcow2_refcount_get(q, host >> q->cluster_bits, &count);

	*entry = (*entry & ~QCOW2_COPIED) | (count == 1 ? QCOW2_COPIED : 0);
	return r;
}

static int tree_flag_table(struct qcow2 *q, u64 table, u8 *buf, bool is_clearing)
{
	bool is_changed = false;
	int r = tree_read_table(q, table, buf);

	for (u64 i = 0; r == 0 && i < BIT(q->l2_bits); i++) {
		u8 *at = buf + i * q->entry_bytes;
		u64 old = be64_load(at), entry = old;

		if ((old & QCOW2_COMPRESSED) || !(old & QCOW2_OFFSET_MASK))
			continue;
		r = tree_flag(q, &entry, is_clearing);
		be64_store(at, entry);
		is_changed |= entry != old;
	}
	if (r < 0 || !is_changed)
		return r;
	qcow2_cache_forget(&q->l2, table, q->cluster_size);
	return blk_write(q->file, table, buf, q->cluster_size);
}

int qcow2_tree_flags(struct qcow2 *q, bool is_clearing)
{
	AUTO(free_ptr) u8 *buf = alloc_try(1, q->cluster_size);
	int r = buf ? 0 : -ENOMEM;

	for (u32 i = 0; r == 0 && i < q->l1_entries; i++) {
		u64 entry = q->l1[i];

		if (!(entry & QCOW2_OFFSET_MASK))
			continue;
		r = tree_flag_table(q, entry & QCOW2_OFFSET_MASK, buf, is_clearing);
		if (r == 0)
			r = tree_flag(q, &entry, is_clearing);
		if (r == 0 && entry != q->l1[i])
			qcow2_l1_set(q, i, entry);
	}
	return r;
}

/* --- another active L1 table --- */

int qcow2_tree_switch(struct qcow2 *q, u64 *l1, u32 entries, u64 size)
{
	const struct qcow2_header_wire old = q->header;
	u64 clusters = (entries * (u64)8 + q->cluster_size - 1) >> q->cluster_bits, offset;
	u64 old_offset = q->l1_offset, old_bytes = q->l1_entries * (u64)8;
	AUTO(free_ptr) u8 *dirty = alloc_try(entries / 64 + (size_t)1, 1);
	int r = dirty ? qcow2_alloc_row(q, MAX(clusters, (u64)1), &offset) : -ENOMEM;

	if (r == 0)
		r = qcow2_write_table(q, offset, l1, entries);
	if (r == 0)
		r = qcow2_settle_counts(q);
	if (r < 0)
		return r;
	q->header.l1_offset = be64_of(offset);
	q->header.l1_entries = be32_of(entries);
	q->header.size = be64_of(size);
	r = qcow2_header_write_fields(q);
	if (r == 0)
		r = blk_flush(q->file);
	if (r < 0) {
		q->header = old;
		return r;
	}
	free(q->l1);
	free(q->l1_dirty);
	q->l1 = l1;
	q->l1_dirty = take(dirty);
	q->is_l1_dirty = false;
	q->l1_entries = entries;
	q->l1_offset = offset;
	q->node.blk.size = align_down(size, BLK_SECTOR);
	return old_bytes ? qcow2_free_now(q, old_offset, old_bytes) : 0;
}

/* --- a bracket around changes that no order makes safe --- */

int qcow2_tree_mend(struct qcow2 *q)
{
	struct img_check c = {0};
	struct err err = ERR_INIT;
	int r = q->must_count ? qcow2_settle(q) : 0;

	if (r < 0 || !q->must_count)
		return r;
	r = qcow2_check_alone(q, IMG_REPAIR_LEAKS | IMG_REPAIR_ALL, &c, &err);
	if (r == 0 && c.corruptions)
		r = -EIO;
	if (r == 0)
		q->must_count = false;
	return r;
}

int qcow2_tree_begin(struct qcow2 *q)
{
	int r;

	if (q->is_broken)
		return -EIO;
	r = qcow2_tree_mend(q);
	if (r == 0)
		r = qcow2_settle(q);
	if (r < 0 || q->version < 3)
		return r;
	return qcow2_set_incompatible(q, q->incompatible | QCOW2_INCOMPAT_DIRTY);
}

int qcow2_tree_end(struct qcow2 *q, int result)
{
	int r = result < 0 ? result : qcow2_settle(q);

	if (r == 0 && q->version >= 3)
		r = qcow2_set_incompatible(q, q->incompatible & ~QCOW2_INCOMPAT_DIRTY);
	if (r < 0) {
		q->must_count = true;
		qcow2_tree_mend(q); /* or later, when the host works again */
	}
	return r;
}

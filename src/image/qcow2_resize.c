/*
 * Another size, another backing file, no contents.
 *
 * Growing: the larger L1 table and zeros where something would show come first, the size last. Shrinking:
 * the size first, then what lies behind it goes. So a crash leaves an image of one size or the other.
 */
#include <string.h>

#include "base/alloc.h"
#include "base/err.h"
#include "block/io.h"
#include "image/qcow2_tree.h"

/* --- what lies behind the disk's end --- */

static int resize_drop_tables(struct qcow2 *q, u64 first)
{
	int r = 0;

	for (u64 i = first; r == 0 && i < q->l1_entries; i++) {
		u64 entry = q->l1[i];

		if (!(entry & QCOW2_OFFSET_MASK))
			continue;
		qcow2_l1_set(q, i, 0);
		r = qcow2_write_back(q);
		if (r == 0)
			r = qcow2_sync(q);
		if (r == 0)
			r = qcow2_tree_add(q, &entry, 1, -1);
	}
	return r;
}

/* Clusters wholly behind size are no longer referred to. */
static int resize_drop_behind(struct qcow2 *q, u64 size)
{
	u64 start = align_up(size, q->cluster_size), table = qcow2_l1_needed(q, size);
	u64 end = MIN(table, (u64)q->l1_entries) * qcow2_table_span(q);
	int r = start < end ? qcow2_zero_behind(q, start, end - start) : 0;

	if (r == 0)
		r = qcow2_settle(q);
	return r < 0 ? r : resize_drop_tables(q, table);
}

/* --- sizes --- */

static int resize_write_size(struct qcow2 *q, u64 size)
{
	be64 old = q->header.size;
	int r = qcow2_settle(q);

	q->header.size = be64_of(size);
	if (r == 0)
		r = qcow2_header_write_fields(q);
	if (r == 0)
		r = blk_flush(q->file);
	if (r < 0)
		q->header.size = old;
	else
		q->node.blk.size = size;
	return r;
}

static int resize_grow_l1(struct qcow2 *q, u64 entries)
{
	u64 *l1;
	int r;

	if (entries <= q->l1_entries)
		return 0;
	l1 = alloc_try(entries, sizeof(*l1));
	if (!l1)
		return -ENOMEM;
	memcpy(l1, q->l1, q->l1_entries * sizeof(*l1));
	r = qcow2_tree_switch(q, l1, (u32)entries, q->node.blk.size);
	if (r < 0 && q->l1 != l1)
		free(l1);
	return r;
}

static int resize_grow(struct qcow2 *q, u64 size)
{
	u64 old = q->node.blk.size, zeros_end = MIN(size, align_up(old, q->cluster_size));
	int r = resize_drop_behind(q, old);

	if (r == 0)
		r = resize_grow_l1(q, qcow2_l1_needed(q, size));
	/* The last cluster's rest, and what a larger backing file would show. */
	if (r == 0 && q->backing && q->backing->size > old)
		zeros_end = MAX(zeros_end, MIN(size, q->backing->size));
	if (r == 0 && zeros_end > old)
		r = qcow2_zero_alone(q, old, zeros_end - old);
	return r < 0 ? r : resize_write_size(q, size);
}

static int resize_data_file(struct qcow2 *q, u64 size, struct err *err)
{
	if (!q->has_data_file || !q->data->is_growable)
		return 0;
	return blk_resize(q->data, align_up(size, q->data->block_size), err);
}

static int resize_check(const struct qcow2 *q, u64 size, struct err *err)
{
	if (q->is_broken)
		return err_set(err, -EIO, "the image is damaged");
	if (q->n_snapshots && q->version < 3)
		return err_set(err, -ENOTSUP, "version 2 can't be resized once it has snapshots");
	if (size > BLK_SIZE_MAX || qcow2_l1_needed(q, size) * 8 > QCOW2_L1_MAX)
		return err_set(err, -EFBIG, "such a disk needs larger clusters");
	if (size > q->node.blk.size && q->is_alone && q->backing_name)
		return err_set(err, -EINVAL, "it can't grow while its backing file isn't open");
	return 0;
}

int qcow2_resize(struct blk_node *n, u64 size, struct err *err)
{
	struct qcow2 *q = qcow2_of(&n->blk);
	int r = resize_check(q, size, err);

	if (r < 0)
		return r;
	qcow2_begin_alone(q);
	r = qcow2_settle(q);
	if (r == 0)
		r = qcow2_bitmaps_resize(q, size);
	if (r == 0 && size > n->blk.size) {
		r = resize_grow(q, size);
	} else if (r == 0 && size < n->blk.size) {
		r = resize_write_size(q, size);
		if (r == 0)
			r = resize_drop_behind(q, size);
	}
	if (r == 0)
		r = qcow2_settle(q);
	if (r < 0)
		err_errno(err, r, "cannot change its size");
	else
		r = resize_data_file(q, size, err);
	qcow2_end_alone(q);
	return r;
}

/* --- backing --- */

static void backing_close(struct qcow2 *q)
{
	struct blk *backing = q->backing;

	if (!backing)
		return;
	q->backing = NULL;
	blk_node_remove_child(&q->node, backing);
	blk_free(backing);
}

int qcow2_set_backing(struct blk *b, const char *name, const char *format, struct err *err)
{
	struct qcow2 *q = qcow2_of(b);
	char *old = q->backing_name;
	AUTO(free) char *old_format = qcow2_ext_string(q, QCOW2_EXT_BACKING_FORMAT);
	int r;

	if (b->is_readonly)
		return err_set(err, -EROFS, "it is open for reading only");
	if (name && q->is_data_raw)
		return err_set(err, -EINVAL, "a raw data file goes with no backing file");
	if (name && (!*name || strlen(name) > QCOW2_NAME_MAX))
		return err_set(err, -EINVAL, "the name is empty or too long");
	qcow2_begin_alone(q);
	q->backing_name = str_dup(name);
	qcow2_set_ext(q, QCOW2_EXT_BACKING_FORMAT, name ? format : NULL,
		      name && format ? (u32)strlen(format) : 0);
	r = qcow2_header_write(q, err);
	if (r == 0 && blk_flush(q->file) < 0)
		r = err_set(err, -EIO, "cannot write the header");
	if (r < 0) {
		free(q->backing_name);
		q->backing_name = old;
		qcow2_set_ext(q, QCOW2_EXT_BACKING_FORMAT, old_format,
			      old_format ? (u32)strlen(old_format) : 0);
	} else {
		free(old);
	}
	if (r == 0 && !name)
		backing_close(q);
	qcow2_end_alone(q);
	return r;
}

/* --- emptying --- */

int qcow2_make_empty(struct blk *b, struct err *err)
{
	struct qcow2 *q = qcow2_of(b);
	u64 *l1, *old;
	u32 entries = q->l1_entries;
	int r;

	if (b->is_readonly)
		return err_set(err, -EROFS, "it is open for reading only");
	l1 = alloc_try(entries + (size_t)1, sizeof(*l1));
	old = alloc_try(entries + (size_t)1, sizeof(*l1));
	if (!l1 || !old) {
		free(l1);
		free(old);
		return err_set(err, -ENOMEM, "no memory for another L1 table");
	}
	memcpy(old, q->l1, entries * sizeof(*old));
	qcow2_begin_alone(q);
	r = q->is_broken ? -EIO : qcow2_settle(q);
	qcow2_bitmaps_record(q, 0, b->size);
	if (r == 0)
		r = qcow2_tree_switch(q, l1, entries, b->size);
	if (q->l1 != l1)
		free(l1);
	if (r == 0)
		r = qcow2_tree_add(q, old, entries, -1);
	if (r == 0)
		r = qcow2_settle(q);
	qcow2_end_alone(q);
	free(old);
	return r < 0 ? err_errno(err, r, "cannot empty it") : 0;
}

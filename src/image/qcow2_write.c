/*
 * Writing: in place where the cluster is only ours; else into new clusters, with what the request doesn't
 * cover copied around it, and then a change of the mapping.
 *
 *     lock:   L2 table of our own, new clusters          begin: the guest clusters are marked as changing
 *     no lock: copy, write the data                      others allocate, write, read meanwhile
 *     lock:   L2 entries                                 end: who waits for these clusters looks again
 *
 * What crashes, and when, is qcow2_flush.c's matter.
 */
#include <string.h>

#include "base/alloc.h"
#include "block/io.h"
#include "image/qcow2_priv.h"

/* --- changes --- */

bool qcow2_is_changing(const struct qcow2 *q, u64 start, u64 end)
{
	list_for_each (node, &q->changes) {
		const struct qcow2_change *c = list_entry(node, struct qcow2_change, node);

		if (c->start < end && start < c->end)
			return true;
	}
	return false;
}

void qcow2_begin_change(struct qcow2 *q, struct qcow2_change *c, u64 start, u64 end)
{
	while (qcow2_is_changing(q, start, end))
		co_queue_wait(&q->changed);
	c->start = start;
	c->end = end;
	list_append(&q->changes, &c->node);
}

void qcow2_end_change(struct qcow2 *q, struct qcow2_change *c)
{
	list_remove(&c->node);
	co_queue_wake_all(&q->changed);
}

/* --- tables --- */

static int write_copy_table(struct qcow2 *q, u64 from, u64 to)
{
	AUTO(free_ptr) u8 *buf = alloc_try(1, q->cluster_size);
	u64 there;
	int r = 0;

	if (!buf)
		return -ENOMEM;
	/* A table that others use, too, is never dirty. */
	if (from) {
		there = from < q->file->size ? MIN(q->cluster_size, q->file->size - from) : 0;
		r = blk_read(q->file, from, buf, there);
	}
	qcow2_cache_forget(&q->l2, to, q->cluster_size);
	return r < 0 ? r : blk_write(q->file, to, buf, q->cluster_size);
}

int qcow2_own_table(struct qcow2 *q, u64 offset)
{
	u64 i = offset / qcow2_table_span(q), old, table;
	int r;

	if (i >= q->l1_entries)
		return qcow2_corrupt(q);
	old = q->l1[i] & QCOW2_OFFSET_MASK;
	if (q->l1[i] & QCOW2_COPIED)
		return qcow2_is_data(q, old, q->cluster_size) ? 0 : qcow2_corrupt(q);
	if (!is_aligned(old, q->cluster_size))
		return qcow2_corrupt(q);
	r = qcow2_begin_dirty(q);
	if (r == 0)
		r = qcow2_alloc_row(q, 1, &table);
	if (r < 0)
		return r;
	r = write_copy_table(q, old, table);
	if (r < 0) {
		qcow2_free_now(q, table, q->cluster_size);
		return r;
	}
	qcow2_l1_set(q, i, table | QCOW2_COPIED);
	if (old)
		qcow2_drop(q, old, q->cluster_size);
	return 0;
}

void qcow2_drop_entry(struct qcow2 *q, u64 entry)
{
	u64 host, bytes;

	if (q->has_data_file)
		return;
	if (entry & QCOW2_COMPRESSED) {
		bytes = qcow2_packed_extent(q, entry, &host);
		qcow2_drop(q, host, bytes);
	} else if (entry & QCOW2_OFFSET_MASK) {
		qcow2_drop(q, entry & QCOW2_OFFSET_MASK, q->cluster_size);
	}
}

bool qcow2_may_show_through(const struct qcow2 *q, u64 offset)
{
	return q->backing ? offset < q->backing->size : q->backing_name && q->is_alone;
}

/* --- new clusters --- */

struct write_alloc {
	struct qcow2_change change; /* whole clusters */
	struct qcow2_map old;
	u64 offset, bytes; /* what is written */
	u64 start, end;    /* with what is copied around it */
	u64 host;          /* of change.start */
	bool is_new, is_virgin;
};

/* How much of what is there has to be copied along: to borders of this. */
static u64 write_granule(const struct qcow2 *q, const struct write_alloc *a)
{
	bool has_old = a->old.kind == QCOW2_IS_PACKED || (a->old.has_host && a->is_new);

	return q->has_subclusters && !has_old ? (u64)1 << q->sub_bits : q->cluster_size;
}

static int write_get_clusters(struct qcow2 *q, struct write_alloc *a)
{
	u64 n = (a->change.end - a->change.start) >> q->cluster_bits;
	int r = qcow2_own_table(q, a->change.start);

	a->is_new = !(a->old.has_host && a->old.is_copied);
	if (r == 0 && a->is_new)
		r = qcow2_begin_dirty(q);
	if (r < 0)
		return r;
	if (q->has_data_file) {
		a->is_new = false;
		a->host = a->change.start;
	} else if (a->is_new) {
		r = qcow2_alloc(q, n, &a->host, &n, &a->is_virgin);
	} else {
		a->host = qcow2_cluster_of(q, a->old.host);
	}
	if (r < 0)
		return r;
	/* Perhaps fewer than wanted. */
	a->change.end = a->change.start + (n << q->cluster_bits);
	a->bytes = MIN(a->bytes, a->change.end - a->offset);
	a->start = align_down(a->offset, write_granule(q, a));
	a->end = align_up(a->offset + a->bytes, write_granule(q, a));
	return 0;
}

/* What surrounds the data in its first and last granule reads as zeros. */
static bool write_is_over_zeros(const struct qcow2 *q, const struct write_alloc *a)
{
	if (q->has_subclusters && write_granule(q, a) == q->cluster_size)
		return false; /* other subclusters may be something else */
	return a->old.kind == QCOW2_IS_ZERO ||
	       (a->old.kind == QCOW2_NONE && !qcow2_may_show_through(q, a->start));
}

static int write_data(struct qcow2 *q, struct write_alloc *a, struct blk_request *r)
{
	u64 head = a->offset - a->start, tail = a->end - (a->offset + a->bytes);
	bool is_zero = write_is_over_zeros(q, a);
	u64 host = a->host + (a->start - a->change.start);
	AUTO(free_ptr) u8 *buf = NULL;
	int result = 0;

	/* What an encrypted file has there is noise. */
	if (!(head + tail) || (is_zero && a->is_virgin && !q->luks))
		return qcow2_data_write(q, r, host + head, a->bytes);
	if (!is_zero && q->is_alone && q->backing_name)
		return -ENOTSUP; /* what to copy may be beneath, and that isn't open */
	buf = aligned_alloc(PAGE_SIZE, align_up(head + tail, PAGE_SIZE));
	if (!buf)
		return -ENOMEM;
	if (is_zero)
		memset(buf, 0, head + tail);
	else
		result = qcow2_read_buffer(q, a->start, buf, head);
	if (result == 0 && !is_zero)
		result = qcow2_read_buffer(q, a->offset + a->bytes, buf + head, tail);
	if (result < 0)
		return result;
	return qcow2_data_write_framed(q, r, host, a->bytes, buf, head, buf + head, tail);
}

/* The part of [start, end) that lies in the cluster at, as bits of its subclusters. */
static u64 write_sub_bits(const struct qcow2 *q, u64 at, u64 start, u64 end)
{
	u64 first = (MAX(start, at) - at) >> q->sub_bits;
	u64 last = (MIN(end, at + q->cluster_size) - at + BIT(q->sub_bits) - 1) >> q->sub_bits;

	return BIT(last) - BIT(first);
}

static void write_set_entry(struct qcow2 *q, const struct write_alloc *a, u8 *at, u64 offset)
{
	u64 old = be64_load(at), bits;

	if (a->is_new)
		qcow2_drop_entry(q, old);
	be64_store(at, (a->host + (offset - a->change.start)) | QCOW2_COPIED);
	if (!q->has_subclusters)
		return;
	bits = write_sub_bits(q, offset, a->start, a->end);
	if (old & QCOW2_COMPRESSED)
		be64_store(at + 8, bits);
	else
		be64_store(at + 8, (be64_load(at + 8) & ~(bits << 32)) | bits);
}

static int write_link(struct qcow2 *q, const struct write_alloc *a)
{
	struct qcow2_slice *s;
	u64 place;
	u32 index;
	int r;

	if (!qcow2_slice_of(q, a->change.start, &place, &index))
		return qcow2_corrupt(q);
	r = qcow2_cache_get(&q->l2, place, &s);
	if (r < 0)
		return r;
	for (u64 at = a->change.start; at < a->change.end; at += q->cluster_size)
		write_set_entry(q, a, s->data + (size_t)index++ * q->entry_bytes, at);
	qcow2_cache_dirty(&q->l2, s);
	qcow2_cache_put(&q->l2, s);
	q->is_unsynced = true;
	return 0;
}

/* a's change has begun. */
static int write_new(struct qcow2 *q, struct write_alloc *a, struct blk_request *r)
{
	int result;

	co_lock(&q->lock);
	result = write_get_clusters(q, a);
	co_unlock(&q->lock);
	if (result < 0)
		return result;
	result = write_data(q, a, r);
	co_lock(&q->lock);
	if (result == 0)
		result = write_link(q, a);
	if (result < 0 && a->is_new)
		qcow2_free_now(q, a->host, a->change.end - a->change.start);
	co_unlock(&q->lock);
	return result;
}

/* --- requests --- */

static int write_in_place(struct qcow2 *q, struct blk_request *r, const struct qcow2_map *m)
{
	if (!q->has_data_file && !qcow2_is_data(q, m->host, m->bytes))
		return qcow2_corrupt(q);
	return qcow2_data_write(q, r, m->host, m->bytes);
}

/* The next run. */
static int write_run(struct qcow2 *q, struct blk_request *r)
{
	struct write_alloc a = {0};
	int result;

	a.offset = r->offset + r->progress;
	for (;;) {
		u64 bytes = r->bytes - r->progress;

		result = qcow2_make_room(q);
		if (result == 0)
			result = qcow2_map(q, a.offset, bytes, &a.old);
		if (result < 0)
			return result;
		if (a.old.kind == QCOW2_DATA && a.old.is_copied)
			return write_in_place(q, r, &a.old);
		a.bytes = a.old.bytes;
		a.change.start = qcow2_cluster_of(q, a.offset);
		a.change.end = align_up(a.offset + a.bytes, q->cluster_size);
		if (!qcow2_is_changing(q, a.change.start, a.change.end))
			break;
		co_queue_wait(&q->changed); /* and look again */
	}
	qcow2_begin_change(q, &a.change, a.change.start, a.change.end);
	result = write_new(q, &a, r);
	qcow2_end_change(q, &a.change);
	return result;
}

int qcow2_write_all(struct qcow2 *q, struct blk_request *r)
{
	while (r->progress < r->bytes) {
		int result = q->is_broken ? -EIO : write_run(q, r);

		if (result < 0)
			return result;
	}
	return 0;
}

int qcow2_write(struct blk_node *n, struct blk_request *r)
{
	struct qcow2 *q = qcow2_of(&n->blk);
	u32 generation = qcow2_enter(q);
	int result;

	qcow2_bitmaps_record(q, r->offset, r->bytes);
	result = qcow2_write_all(q, r);
	qcow2_leave(q, generation);
	return result;
}

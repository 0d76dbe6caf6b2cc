/*
 * Zeroes and discards: of whole clusters (or subclusters) by changing their entries.
 *
 * Version 3 has a mark for clusters that read as zeros, whatever is beneath. Version 2 has none: zeros are
 * written there, unless nothing is beneath and the cluster may go. A discarded cluster reads as zeros,
 * or (version 2 over a backing file) is left as it is. In an external data file clusters stay where they
 * are, and a raw one has the zeros itself.
 */
#include <string.h>

#include "block/io.h"
#include "image/qcow2_priv.h"

#define ZERO_PART (64 * KIB)

enum zero_how {
	ZERO_KEEP,  /* marked as zeros; host clusters that are only ours are kept */
	ZERO_UNMAP, /* the same, without host clusters */
	ZERO_NONE,  /* no entry at all */
};

/* The run [a, b) of whole granules that entries can say; false: none at offset. */
static bool zero_whole(const struct qcow2 *q, u64 offset, u64 bytes, u64 granule, u64 *out_bytes)
{
	u64 end = offset + bytes;

	/* The disk's last cluster is whole where the disk ends. */
	if (end == q->node.blk.size)
		end = align_up(end, granule);
	end = align_down(end, granule);
	if (!is_aligned(offset, granule) || end <= offset)
		return false;
	*out_bytes = MIN(end - offset, bytes);
	return true;
}

/* --- entries --- */

static void zero_set_extended(struct qcow2 *q, u8 *at, u64 bits, enum zero_how how)
{
	u64 old = be64_load(at), status = be64_load(at + 8);
	bool is_whole = bits == QCOW2_SUB_ALLOCATED;
	bool keeps = !(old & QCOW2_COMPRESSED) &&
		     (!is_whole || q->has_data_file || (how == ZERO_KEEP && (old & QCOW2_COPIED)));

	if (!keeps) {
		qcow2_drop_entry(q, old);
		old = status = 0;
	}
	be64_store(at, old);
	status &= ~(bits | bits << 32);
	be64_store(at + 8, how == ZERO_NONE ? status : status | bits << 32);
}

static void zero_set_plain(struct qcow2 *q, u8 *at, enum zero_how how)
{
	u64 old = be64_load(at);
	bool keeps = !(old & QCOW2_COMPRESSED) && (old & QCOW2_COPIED) &&
		     (how == ZERO_KEEP || q->has_data_file);

	if (!keeps) {
		qcow2_drop_entry(q, old);
		old = 0;
	}
	be64_store(at, how == ZERO_NONE ? 0 : old | QCOW2_ZERO);
}

static void zero_set_entries(struct qcow2 *q, u8 *at, u64 offset, u64 end, enum zero_how how)
{
	while (offset < end) {
		u64 cluster = qcow2_cluster_of(q, offset), next = cluster + q->cluster_size;
		u64 first = (offset - cluster) >> q->sub_bits;
		u64 last = (MIN(end, next) - cluster + BIT(q->sub_bits) - 1) >> q->sub_bits;

		if (q->has_subclusters)
			zero_set_extended(q, at, BIT(last) - BIT(first), how);
		else
			zero_set_plain(q, at, how);
		at += q->entry_bytes;
		offset = next;
	}
}

/* The change has begun; all within a slice. */
static int zero_change_locked(struct qcow2 *q, u64 offset, u64 bytes, enum zero_how how)
{
	struct qcow2_slice *s;
	u64 place;
	u32 index;
	int r = qcow2_own_table(q, offset);

	if (r == 0)
		r = qcow2_begin_dirty(q);
	if (r == 0 && !qcow2_slice_of(q, offset, &place, &index))
		r = qcow2_corrupt(q);
	if (r == 0)
		r = qcow2_cache_get(&q->l2, place, &s);
	if (r < 0)
		return r;
	zero_set_entries(q, s->data + (size_t)index * q->entry_bytes, offset, offset + bytes, how);
	qcow2_cache_dirty(&q->l2, s);
	qcow2_cache_put(&q->l2, s);
	return 0;
}

static int zero_change(struct qcow2 *q, u64 offset, u64 bytes, enum zero_how how)
{
	struct qcow2_change c;
	int r;

	if (q->is_broken)
		return -EIO;
	r = qcow2_make_room(q);
	if (r < 0)
		return r;
	qcow2_begin_change(q, &c, qcow2_cluster_of(q, offset),
			   align_up(offset + bytes, q->cluster_size));
	co_lock(&q->lock);
	r = zero_change_locked(q, offset, bytes, how);
	co_unlock(&q->lock);
	qcow2_end_change(q, &c);
	return r;
}

/* --- write zeroes --- */

/* As data: to where it is, or into new clusters. */
static int zero_write(struct qcow2 *q, u64 offset, u64 bytes)
{
	static const u8 zeros[ZERO_PART] __attribute__((aligned(PAGE_SIZE)));

	while (bytes) {
		u64 n = MIN(bytes, ZERO_PART);
		struct iovec iov = {.iov_base = (void *)zeros, .iov_len = n};
		struct blk_request r = {
			.op = BLK_WRITE, .offset = offset, .bytes = n, .iov = &iov, .n_iov = 1};
		int result = qcow2_write_all(q, &r);

		if (result < 0)
			return result;
		offset += n;
		bytes -= n;
	}
	return 0;
}

static bool zero_reads_so(const struct qcow2 *q, const struct qcow2_map *m, u64 offset)
{
	return m->kind == QCOW2_IS_ZERO ||
	       (m->kind == QCOW2_NONE && !qcow2_may_show_through(q, offset));
}

static int zero_run(struct qcow2 *q, const struct blk_request *r, u64 offset, u64 bytes,
		    u64 *out_done)
{
	struct qcow2_map m;
	u64 granule = BIT(q->sub_bits), whole;
	bool can_mark = q->version >= 3 && !q->is_data_raw;
	bool can_go = q->version == 2 && r->may_unmap && !qcow2_may_show_through(q, offset);
	int result = qcow2_map(q, offset, bytes, &m);

	if (result < 0)
		return result;
	*out_done = m.bytes;
	if (zero_reads_so(q, &m, offset))
		return 0;
	/* A compressed cluster has no subclusters. */
	if (m.kind == QCOW2_IS_PACKED)
		granule = q->cluster_size;
	if ((can_mark || can_go) && zero_whole(q, offset, m.bytes, granule, &whole)) {
		*out_done = whole;
		return zero_change(q, offset, whole,
				   can_go         ? ZERO_NONE
				   : r->may_unmap ? ZERO_UNMAP
						  : ZERO_KEEP);
	}
	*out_done = MIN(m.bytes, align_down(offset, granule) + granule - offset);
	if (m.kind != QCOW2_DATA || !m.is_copied || q->luks)
		return zero_write(q, offset, *out_done);
	if (q->is_data_raw)
		*out_done = m.bytes;
	if (q->is_broken)
		return -EIO;
	if (!q->has_data_file && !qcow2_is_data(q, m.host, *out_done))
		return qcow2_corrupt(q);
	return blk_write_zeroes(q->data, m.host, *out_done, r->may_unmap);
}

int qcow2_write_zeroes(struct blk_node *n, struct blk_request *r)
{
	struct qcow2 *q = qcow2_of(&n->blk);
	u32 generation = qcow2_enter(q);
	int result = 0;

	qcow2_bitmaps_record(q, r->offset, r->bytes);
	for (u64 at = 0, done; result == 0 && at < r->bytes; at += done)
		result = zero_run(q, r, r->offset + at, r->bytes - at, &done);
	qcow2_leave(q, generation);
	return result;
}

int qcow2_zero_alone(struct qcow2 *q, u64 offset, u64 bytes)
{
	const struct blk_request r = {.op = BLK_WRITE_ZEROES};
	int result = 0;

	for (u64 at = 0, done; result == 0 && at < bytes; at += done)
		result = zero_run(q, &r, offset + at, bytes - at, &done);
	return result;
}

int qcow2_zero_behind(struct qcow2 *q, u64 offset, u64 bytes)
{
	u64 step;
	int r = 0;

	for (u64 at = 0; r == 0 && at < bytes; at += step) {
		struct qcow2_map m;
		u64 left = bytes - at, inside = (offset + at) & (q->cluster_size - 1);

		r = qcow2_map(q, offset + at, left, &m);
		step = MIN(left, align_up(inside + m.bytes, q->cluster_size) - inside);
		if (r == 0 && (m.kind != QCOW2_NONE || m.has_host))
			r = zero_change(q, offset + at, step, ZERO_NONE);
	}
	return r;
}

/* --- discard --- */

static int discard_run(struct qcow2 *q, u64 offset, u64 bytes, u64 *out_done)
{
	struct qcow2_map m;
	bool shows = qcow2_may_show_through(q, offset);
	u64 whole;
	int r = qcow2_map(q, offset, bytes, &m);

	if (r < 0)
		return r;
	/* With subclusters a run may end within a cluster; what is discarded are whole ones. */
	*out_done = MIN(bytes, MAX(m.bytes, q->cluster_size - (offset & (q->cluster_size - 1))));
	if (m.kind == QCOW2_NONE && !m.has_host)
		return 0;
	if (q->has_data_file)
		return m.kind == QCOW2_DATA ? blk_discard(q->data, m.host, m.bytes) : 0;
	if (!zero_whole(q, offset, MIN(*out_done, bytes), q->cluster_size, &whole) ||
	    (q->version == 2 && shows))
		return 0;
	*out_done = whole;
	return zero_change(q, offset, whole, shows ? ZERO_UNMAP : ZERO_NONE);
}

int qcow2_discard(struct blk_node *n, struct blk_request *r)
{
	struct qcow2 *q = qcow2_of(&n->blk);
	u32 generation = qcow2_enter(q);
	u64 start = r->offset, end = r->offset + r->bytes, step;
	int result = 0;

	qcow2_bitmaps_record(q, r->offset, r->bytes);
	if (!q->has_data_file)
		start = align_up(start, q->cluster_size);
	for (; result == 0 && start < end; start += step)
		result = discard_run(q, start, end - start, &step);
	qcow2_leave(q, generation);
	return result;
}

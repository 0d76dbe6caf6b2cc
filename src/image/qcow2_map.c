/*
 * Where the disk's bytes are: L1 (in memory), L2 (by slices, from the cache), and what their entries say.
 *
 * A run ends where its slice ends, so that a lookup that finds its slice never waits.
 */
#include "base/alloc.h"
#include "block/io.h"
#include "image/qcow2_priv.h"

/* What an entry says of one cluster, or a subcluster. */
struct map_entry {
	u64 entry, bits; /* bits: the extended half */
	bool is_packed;
	u64 host; /* of the cluster; meaningless when has_host is false */
	bool has_host;
};

bool qcow2_slice_of(const struct qcow2 *q, u64 offset, u64 *out_slice, u32 *out_index)
{
	u64 cluster = offset >> q->cluster_bits, l1 = cluster >> q->l2_bits;
	u32 index = (u32)(cluster & (BIT(q->l2_bits) - 1));
	u64 table;

	if (l1 >= q->l1_entries)
		return false;
	table = q->l1[l1] & QCOW2_OFFSET_MASK;
	*out_slice = table + (u64)(index / q->slice_entries) * q->slice_bytes;
	*out_index = index % q->slice_entries;
	return table;
}

u64 qcow2_packed_extent(const struct qcow2 *q, u64 entry, u64 *out_host)
{
	unsigned shift = 62 - (q->cluster_bits - 8);
	u64 sectors = (entry >> shift) & (BIT(62 - shift) - 1);
	u64 host = entry & (BIT(shift) - 1) & (QCOW2_HOST_END - 1);

	*out_host = host;
	return (sectors + 1) * BLK_SECTOR - host % BLK_SECTOR;
}

/* false: it says something impossible. */
static bool map_decode(const struct qcow2 *q, const u8 *slice, u32 index, u64 offset,
		       struct map_entry *out)
{
	const u8 *at = slice + (size_t)index * q->entry_bytes;

	out->entry = be64_load(at);
	out->bits = q->has_subclusters ? be64_load(at + 8) : 0;
	out->is_packed = out->entry & QCOW2_COMPRESSED;
	out->has_host = false;
	if (out->is_packed)
		return !q->has_data_file;
	out->host = out->entry & QCOW2_OFFSET_MASK;
	out->has_host = out->host || (q->has_data_file && (out->entry & QCOW2_COPIED));
	if (q->has_data_file && out->has_host && out->host != qcow2_cluster_of(q, offset))
		return false;
	if ((out->bits & QCOW2_SUB_ALLOCATED) & (out->bits >> 32))
		return false;
	if (!out->has_host && (out->bits & QCOW2_SUB_ALLOCATED))
		return false;
	return is_aligned(out->host, q->cluster_size);
}

static enum qcow2_kind map_kind(const struct qcow2 *q, const struct map_entry *e, u32 sub)
{
	if (e->is_packed)
		return QCOW2_IS_PACKED;
	if (q->has_subclusters) {
		if (e->bits & BIT(sub))
			return QCOW2_DATA;
		return e->bits & BIT(32 + sub) ? QCOW2_IS_ZERO : QCOW2_NONE;
	}
	if (q->version >= 3 && (e->entry & QCOW2_ZERO))
		return QCOW2_IS_ZERO;
	return e->has_host ? QCOW2_DATA : QCOW2_NONE;
}

/* How many subclusters from sub on are of the same kind as it. */
static u32 map_subclusters(const struct qcow2 *q, const struct map_entry *e, u32 sub)
{
	u32 differ, alloc = (u32)e->bits, zero = (u32)(e->bits >> 32);

	if (!q->has_subclusters || e->is_packed)
		return (q->has_subclusters ? QCOW2_SUBCLUSTERS : 1) - sub;
	differ = (alloc ^ (alloc >> sub & 1 ? ~0u : 0)) | (zero ^ (zero >> sub & 1 ? ~0u : 0));
	differ >>= sub;
	return differ ? (u32)__builtin_ctz(differ) : QCOW2_SUBCLUSTERS - sub;
}

static u32 map_sub_of(const struct qcow2 *q, u64 offset)
{
	return (u32)((offset & (q->cluster_size - 1)) >> q->sub_bits);
}

/* Does next go on where the run of first, n clusters long by now, ends? */
static bool map_goes_on(const struct qcow2 *q, const struct map_entry *first, u64 n,
			const struct map_entry *next)
{
	if (first->is_packed || next->is_packed || first->has_host != next->has_host)
		return false;
	if ((first->entry ^ next->entry) & (QCOW2_COPIED | QCOW2_ZERO))
		return false;
	return !first->has_host || next->host == first->host + n * q->cluster_size;
}

static int map_run(const struct qcow2 *q, const u8 *slice, u32 index, u64 offset, u64 bytes,
		   struct qcow2_map *out)
{
	u64 inside = offset & (q->cluster_size - 1), n = 1, run;
	u32 sub = map_sub_of(q, offset), subs;
	struct map_entry first, next;

	if (!map_decode(q, slice, index, offset, &first))
		return -EIO;
	subs = map_subclusters(q, &first, sub);
	out->kind = map_kind(q, &first, sub);
	out->is_copied = first.entry & QCOW2_COPIED;
	out->has_host = first.has_host && !first.is_packed;
	out->host = first.is_packed ? first.entry : first.host + inside;
	run = ((u64)(sub + subs) << q->sub_bits) - inside;
	while (run < bytes && sub + subs == (q->has_subclusters ? QCOW2_SUBCLUSTERS : 1) &&
	       index + n < q->slice_entries) {
		if (!map_decode(q, slice, index + (u32)n, offset + n * q->cluster_size, &next) ||
		    !map_goes_on(q, &first, n, &next) || map_kind(q, &next, 0) != out->kind)
			break;
		sub = 0;
		subs = map_subclusters(q, &next, 0);
		run += (u64)subs << q->sub_bits;
		n++;
	}
	out->bytes = MIN(run, bytes);
	return 0;
}

int qcow2_map(struct qcow2 *q, u64 offset, u64 bytes, struct qcow2_map *out)
{
	u64 place, table_end = align_down(offset, qcow2_table_span(q)) + qcow2_table_span(q);
	struct qcow2_slice *s;
	u32 index;
	int r;

	if (!qcow2_slice_of(q, offset, &place, &index)) {
		*out = (struct qcow2_map){.bytes = MIN(bytes, table_end - offset)};
		return 0;
	}
	if (unlikely(!is_aligned(place, q->slice_bytes)))
		return qcow2_corrupt(q);
	s = qcow2_cache_peek(&q->l2, place);
	if (likely(s)) {
		r = map_run(q, s->data, index, offset, bytes, out);
	} else {
		r = qcow2_cache_get(&q->l2, place, &s);
		if (r < 0)
			return r;
		r = map_run(q, s->data, index, offset, bytes, out);
		qcow2_cache_put(&q->l2, s);
	}
	return r < 0 ? qcow2_corrupt(q) : 0;
}

/* --- status --- */

static int map_status_beneath(struct qcow2 *q, u64 offset, u64 bytes, struct blk_status *out)
{
	int r;

	out->is_allocated = out->is_data = false;
	if (!q->backing || offset >= q->backing->size) {
		out->is_zero = true;
		return 0;
	}
	/* Whole blocks of ours, and of what is beneath. */
	bytes = MIN(bytes, q->backing->size - offset);
	if (!is_aligned(offset | bytes, q->backing->block_size)) {
		*out = (struct blk_status){.bytes = bytes, .is_data = true, .depth = 1};
		return 0;
	}
	r = blk_status(q->backing, offset, bytes, out);
	if (!out->is_allocated && !out->is_data)
		out->is_zero = true;
	out->is_allocated = false;
	out->depth++;
	return r;
}

int qcow2_status(struct blk_node *n, u64 offset, u64 bytes, struct blk_status *out)
{
	struct qcow2 *q = qcow2_of(&n->blk);
	struct qcow2_map m = {0};
	u32 generation = qcow2_enter(q);
	int r = qcow2_map(q, offset, bytes, &m);

	if (r == 0) {
		out->bytes = m.bytes;
		out->is_data = m.kind == QCOW2_DATA || m.kind == QCOW2_IS_PACKED;
		out->is_zero = m.kind == QCOW2_IS_ZERO;
		out->is_compressed = m.kind == QCOW2_IS_PACKED;
		out->has_offset = m.has_host && !q->luks;
		out->offset = out->has_offset ? m.host : 0;
		if (m.kind == QCOW2_NONE)
			r = map_status_beneath(q, offset, m.bytes, out);
	}
	qcow2_leave(q, generation);
	return r;
}

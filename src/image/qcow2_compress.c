/*
 * Compressed clusters: written, one behind the other, several to a cluster of the file.
 *
 * Where the last one ended the next begins, to the byte; so the file's block in which that is gets written
 * again, from memory. Compressing is done by the workers, a batch of clusters at a time by each; placing
 * and writing go one batch after the other, under pack_lock.
 */
#include <string.h>

#include "base/alloc.h"
#include "base/work.h"
#include "block/io.h"
#include "image/packer.h"
#include "image/qcow2_priv.h"

#define COMPRESS_BATCH     MIB
#define COMPRESS_BATCH_MAX 64u /* clusters */

/* Clusters that follow each other: compressed by one worker, written together. */
struct compress_batch {
	struct img_packer *packer;
	enum img_packing how;
	u64 cluster_size, offset, bytes;
	const u8 *from;
	u8 *to; /* a cluster's room for each */
	u8 *gathered;
	unsigned n;
	struct compress_piece {
		u64 bytes, entry;
		bool is_plain; /* it isn't compressed */
	} v[COMPRESS_BATCH_MAX];
};

static void compress_run(void *arg)
{
	struct compress_batch *b = arg;

	for (unsigned i = 0; i < b->n; i++) {
		struct compress_piece *p = &b->v[i];
		u64 at = i * b->cluster_size;

		p->is_plain = img_pack(b->packer, b->how, b->from + at, b->cluster_size, b->to + at,
				       b->cluster_size - 1, &p->bytes) < 0;
	}
}

/* --- placing --- */

/* Where bytes go; what of the place was counted is in *out_start and *out_bytes, to be given back. */
static int compress_place(struct qcow2 *q, u64 bytes, u64 *out_host)
{
	u64 left = q->packed_end ? align_up(q->packed_end, q->cluster_size) - q->packed_end : 0;
	u64 begun = q->packed_end ? qcow2_cluster_of(q, q->packed_end) : 0, count = 0, next, n;
	int r = qcow2_begin_dirty(q);

	if (r == 0 && left)
		r = qcow2_refcount_get(q, begun >> q->cluster_bits, &count);
	if (r < 0)
		return r;
	if (count == 0 || count >= qcow2_refcount_max(q))
		left = 0;
	if (bytes <= left) {
		*out_host = q->packed_end;
		return qcow2_refcount_add(q, begun, 1, 1);
	}
	r = qcow2_alloc(q, 1, &next, &n, NULL);
	if (r < 0)
		return r;
	if (!left || next != begun + q->cluster_size) {
		*out_host = next;
		return 0;
	}
	*out_host = q->packed_end; /* across both */
	r = qcow2_refcount_add(q, begun, 1, 1);
	if (r < 0)
		qcow2_free_now(q, next, 1);
	return r;
}

static u64 compress_entry(const struct qcow2 *q, u64 host, u64 bytes)
{
	unsigned shift = 62 - (q->cluster_bits - 8);
	u64 sectors = (host + bytes - 1) / BLK_SECTOR - host / BLK_SECTOR;

	if (host + bytes > MIN(BIT(shift), QCOW2_HOST_END))
		return 0;
	return QCOW2_COMPRESSED | host | sectors << shift;
}

/* What lies together in the file: whole blocks, but for its end. */
struct compress_stretch {
	u8 *buf;
	u64 start, bytes;
};

/* pack_lock is held, as in all of these. The last block's rest is zeros, until more comes. */
static int compress_put(struct qcow2 *q, const struct compress_stretch *t)
{
	u32 block = q->file->block_size;
	u64 whole = align_up(t->bytes, block);
	int r;

	if (!whole)
		return 0;
	memset(t->buf + t->bytes, 0, whole - t->bytes);
	r = blk_write(q->file, t->start, t->buf, whole);
	if (r == 0)
		memcpy(q->packed_tail, t->buf + whole - block, block);
	return r;
}

/* What is before host in its block was written by us. */
static int compress_gather(struct qcow2 *q, struct compress_stretch *t, u64 host, const u8 *from,
			   u64 bytes)
{
	int r = 0;

	if (!t->bytes || t->start + t->bytes != host) {
		r = compress_put(q, t);
		t->start = align_down(host, q->file->block_size);
		t->bytes = host - t->start;
		memcpy(t->buf, q->packed_tail, t->bytes);
	}
	memcpy(t->buf + t->bytes, from, bytes);
	t->bytes += bytes;
	return r;
}

static int compress_store_piece(struct qcow2 *q, struct compress_batch *b, unsigned i,
				struct compress_stretch *t)
{
	struct compress_piece *p = &b->v[i];
	u64 host, entry;
	int r;

	co_lock(&q->lock);
	r = compress_place(q, p->bytes, &host);
	if (r == 0 && !(entry = compress_entry(q, host, p->bytes))) {
		qcow2_free_now(q, host, p->bytes);
		r = -ENOSPC;
	}
	co_unlock(&q->lock);
	if (r < 0)
		return r;
	p->entry = entry;
	q->packed_end = is_aligned(host + p->bytes, q->cluster_size) ? 0 : host + p->bytes;
	return compress_gather(q, t, host, b->to + i * q->cluster_size, p->bytes);
}

/* On a failure what was placed is the caller's to give back. */
static int compress_store(struct qcow2 *q, struct compress_batch *b)
{
	struct compress_stretch t = {.buf = b->gathered};
	int r = 0;

	co_lock(&q->pack_lock);
	if (!q->packed_tail)
		q->packed_tail = alloc_try(1, q->file->block_size);
	if (!q->packed_tail)
		r = -ENOMEM;
	for (unsigned i = 0; i < b->n && r == 0; i++) {
		if (!b->v[i].is_plain)
			r = compress_store_piece(q, b, i, &t);
	}
	if (r == 0)
		r = compress_put(q, &t);
	if (r < 0)
		q->packed_end = 0;
	co_unlock(&q->pack_lock);
	return r;
}

static int compress_link(struct qcow2 *q, u64 offset, u64 entry)
{
	struct qcow2_slice *s;
	u64 place;
	u32 index;
	int r = qcow2_own_table(q, offset);

	if (r == 0 && !qcow2_slice_of(q, offset, &place, &index))
		r = qcow2_corrupt(q);
	if (r == 0)
		r = qcow2_cache_get(&q->l2, place, &s);
	if (r < 0)
		return r;
	be64_store(s->data + (size_t)index * q->entry_bytes, entry);
	if (q->has_subclusters)
		be64_store(s->data + (size_t)index * q->entry_bytes + 8, 0);
	qcow2_cache_dirty(&q->l2, s);
	qcow2_cache_put(&q->l2, s);
	q->is_unsynced = true;
	return 0;
}

/* --- writing --- */

static int compress_write_plain(struct qcow2 *q, u64 offset, const u8 *from, u64 bytes)
{
	struct iovec iov = {.iov_base = (void *)from, .iov_len = bytes};
	struct blk_request r = {
		.op = BLK_WRITE, .offset = offset, .bytes = bytes, .iov = &iov, .n_iov = 1};

	return qcow2_write_all(q, &r);
}

/* q->lock is held: all, or those behind the first that failed are given back. */
static int compress_link_all(struct qcow2 *q, const struct compress_batch *b, int result)
{
	for (unsigned i = 0; i < b->n; i++) {
		u64 entry = b->v[i].entry;

		if (result == 0 && entry)
			result = compress_link(q, b->offset + i * q->cluster_size, entry);
		if (result < 0 && entry)
			qcow2_drop_entry(q, entry);
	}
	return result;
}

/* The change has begun. What has its place already, or became no smaller, is left to write as it is. */
static int compress_change(struct qcow2 *q, struct compress_batch *b)
{
	struct qcow2_map m;
	int r = 0;

	for (unsigned i = 0; i < b->n && r == 0; i++) {
		r = qcow2_map(q, b->offset + i * q->cluster_size, q->cluster_size, &m);
		b->v[i].is_plain |= r == 0 && (m.has_host || m.kind == QCOW2_IS_PACKED);
	}
	if (r < 0)
		return r;
	r = compress_store(q, b);
	co_lock(&q->lock);
	r = compress_link_all(q, b, r);
	co_unlock(&q->lock);
	return r;
}

static int compress_write_plains(struct qcow2 *q, const struct compress_batch *b)
{
	int r = 0;

	for (unsigned i = 0, n; i < b->n && r == 0; i += n) {
		u64 at = i * q->cluster_size;

		for (n = 0; i + n < b->n && b->v[i + n].is_plain == b->v[i].is_plain;)
			n++;
		if (b->v[i].is_plain)
			r = compress_write_plain(q, b->offset + at, b->from + at,
						 MIN(n * q->cluster_size, b->bytes - at));
	}
	return r;
}

static int compress_write_batch(struct qcow2 *q, struct compress_batch *b)
{
	struct qcow2_change c;
	int r;

	work_run(q->workers, compress_run, b);
	r = qcow2_make_room(q);
	if (r < 0)
		return r;
	qcow2_begin_change(q, &c, b->offset, b->offset + b->n * q->cluster_size);
	r = compress_change(q, b);
	qcow2_end_change(q, &c);
	return r < 0 ? r : compress_write_plains(q, b);
}

/* Memory for it, and the clusters; the disk's last one may be a part, which is padded with zeros. */
static int compress_batch(struct qcow2 *q, u64 offset, const u8 *from, u64 bytes)
{
	u64 whole = align_up(bytes, q->cluster_size);
	AUTO(free_ptr) u8 *to = alloc_try(1, whole);
	AUTO(free_ptr)
	u8 *gathered = aligned_alloc(PAGE_SIZE, align_up(whole, PAGE_SIZE) + 2 * PAGE_SIZE);
	AUTO(free_ptr) u8 *padded = whole > bytes ? alloc_try(1, whole) : NULL;
	struct compress_batch b = {
		.packer = img_packer_take(&q->packers),
		.how = qcow2_packing(q),
		.cluster_size = q->cluster_size,
		.offset = offset,
		.bytes = bytes,
		.from = from,
		.to = to,
		.gathered = gathered,
		.n = (unsigned)(whole >> q->cluster_bits),
	};
	int r = -ENOMEM;

	if (padded)
		b.from = memcpy(padded, from, bytes);
	if (b.packer && to && gathered && (padded || whole == bytes))
		r = compress_write_batch(q, &b);
	img_packer_give(&q->packers, b.packer);
	return r;
}

static int compress_all(struct qcow2 *q, u64 offset, const u8 *from, u64 bytes)
{
	u64 most = MIN(MAX(COMPRESS_BATCH, q->cluster_size), COMPRESS_BATCH_MAX * q->cluster_size);
	int r = 0;

	for (u64 done = 0, n; done < bytes && r == 0; done += n) {
		n = MIN(most, bytes - done);
		r = compress_batch(q, offset + done, from + done, n);
	}
	return r;
}

int qcow2_write_packed(struct blk *b, u64 offset, const void *buf, u64 bytes)
{
	struct qcow2 *q = qcow2_of(b);
	u32 generation;
	int r;

	if (b->is_readonly)
		return -EROFS;
	if (!is_aligned(offset, q->cluster_size) || !range_fits(offset, bytes, b->size) ||
	    (!is_aligned(bytes, q->cluster_size) && offset + bytes != b->size))
		return -EINVAL;
	if (!bytes)
		return 0;
	generation = qcow2_enter(q);
	qcow2_bitmaps_record(q, offset, bytes);
	if (q->is_broken)
		r = -EIO;
	else if (q->has_data_file || q->luks)
		r = -ENOTSUP;
	else
		r = compress_all(q, offset, buf, bytes);
	qcow2_leave(q, generation);
	return r;
}

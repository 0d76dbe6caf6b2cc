/*
 * Compressed clusters: written, one behind the other, several to a cluster of the file.
 *
 * Where the last one ended the next begins, to the byte; so the file's block in which that is gets written
 * again, from memory. Compressing is done by the workers, many at a time; placing and writing go one
 * after the other, under pack_lock.
 */
#include <string.h>

#include <zlib.h>
#include <zstd.h>

#include "base/alloc.h"
#include "base/work.h"
#include "block/io.h"
#include "image/qcow2_pack.h"
#include "image/qcow2_priv.h"

#define COMPRESS_ZLIB_WINDOW (-12) /* raw deflate, 4 KiB: what every reader can take */
#define COMPRESS_ZLIB_MEMORY 9

/* --- algorithms --- */

static int compress_deflate(const u8 *from, u64 bytes, u8 *to, u64 room, u64 *out_bytes)
{
	z_stream z = {.next_in = (u8 *)from,
		      .avail_in = (unsigned)bytes,
		      .next_out = to,
		      .avail_out = (unsigned)room};
	int r = deflateInit2(&z, QCOW2_ZLIB_LEVEL, Z_DEFLATED, COMPRESS_ZLIB_WINDOW,
			     COMPRESS_ZLIB_MEMORY, Z_DEFAULT_STRATEGY);

	if (r != Z_OK)
		return -ENOMEM;
	r = deflate(&z, Z_FINISH);
	*out_bytes = room - z.avail_out;
	deflateEnd(&z);
	return r == Z_STREAM_END ? 0 : -ENOSPC;
}

static int compress_zstd(const u8 *from, u64 bytes, u8 *to, u64 room, u64 *out_bytes)
{
	size_t n = ZSTD_compress(to, room, from, bytes, QCOW2_ZSTD_LEVEL);

	if (ZSTD_isError(n))
		return -ENOSPC;
	*out_bytes = n;
	return 0;
}

int qcow2_pack(unsigned type, const u8 *from, u64 bytes, u8 *to, u64 room, u64 *out_bytes)
{
	if (type == QCOW2_ZSTD)
		return compress_zstd(from, bytes, to, room, out_bytes);
	return compress_deflate(from, bytes, to, room, out_bytes);
}

struct compress_job {
	unsigned type;
	const u8 *from;
	u64 bytes;
	u8 *to;
	u64 room, packed_bytes;
	int result;
};

static void compress_run(void *arg)
{
	struct compress_job *j = arg;

	j->result = qcow2_pack(j->type, j->from, j->bytes, j->to, j->room, &j->packed_bytes);
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

/* pack_lock is held. Whole blocks: what is before host in its block was written by us. */
static int compress_write(struct qcow2 *q, u64 host, const u8 *from, u64 bytes)
{
	u32 block = q->file->block_size;
	u64 start = align_down(host, block), head = host - start,
	    whole = align_up(head + bytes, block);
	AUTO(free_ptr) u8 *buf = aligned_alloc(PAGE_SIZE, align_up(whole, PAGE_SIZE));
	int r;

	if (!q->packed_tail)
		q->packed_tail = alloc_try(1, block);
	if (!buf || !q->packed_tail)
		return -ENOMEM;
	memcpy(buf, q->packed_tail, head);
	memcpy(buf + head, from, bytes);
	memset(buf + head + bytes, 0, whole - head - bytes);
	r = blk_write(q->file, start, buf, whole);
	if (r < 0)
		return r;
	memcpy(q->packed_tail, buf + whole - block, block);
	q->packed_end = is_aligned(host + bytes, q->cluster_size) ? 0 : host + bytes;
	return 0;
}

static int compress_store(struct qcow2 *q, const u8 *from, u64 bytes, u64 *out_entry)
{
	u64 host;
	int r;

	co_lock(&q->pack_lock);
	co_lock(&q->lock);
	r = compress_place(q, bytes, &host);
	co_unlock(&q->lock);
	if (r == 0) {
		*out_entry = compress_entry(q, host, bytes);
		r = *out_entry ? compress_write(q, host, from, bytes) : -ENOSPC;
		if (r < 0) {
			co_lock(&q->lock);
			qcow2_free_now(q, host, bytes);
			co_unlock(&q->lock);
			q->packed_end = 0;
		}
	}
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

/* The change has begun: *out_plain when the cluster has its place already. */
static int compress_change(struct qcow2 *q, u64 offset, const struct compress_job *j,
			   bool *out_plain)
{
	struct qcow2_map m;
	u64 entry;
	int r = qcow2_map(q, offset, q->cluster_size, &m);

	if (r < 0)
		return r;
	*out_plain = m.has_host || m.kind == QCOW2_IS_PACKED || j->result < 0;
	if (*out_plain)
		return 0;
	r = compress_store(q, j->to, j->packed_bytes, &entry);
	if (r < 0)
		return r;
	co_lock(&q->lock);
	r = compress_link(q, offset, entry);
	if (r < 0)
		qcow2_drop_entry(q, entry);
	co_unlock(&q->lock);
	return r;
}

static int compress_cluster(struct qcow2 *q, u64 offset, const u8 *from, u64 bytes)
{
	AUTO(free_ptr) u8 *to = alloc_try(1, q->cluster_size);
	AUTO(free_ptr) u8 *padded = NULL;
	struct compress_job j = {.type = q->compression,
				 .from = from,
				 .bytes = q->cluster_size,
				 .to = to,
				 .room = q->cluster_size - 1};
	struct qcow2_change c;
	bool is_plain = false;
	int r;

	if (bytes < q->cluster_size) {
		padded = alloc_try(1, q->cluster_size);
		if (padded)
			memcpy(padded, from, bytes);
		j.from = padded;
	}
	if (!to || !j.from)
		return -ENOMEM;
	work_run(q->workers, compress_run, &j);
	r = qcow2_make_room(q);
	if (r < 0)
		return r;
	qcow2_begin_change(q, &c, offset, offset + q->cluster_size);
	r = compress_change(q, offset, &j, &is_plain);
	qcow2_end_change(q, &c);
	return r == 0 && is_plain ? compress_write_plain(q, offset, from, bytes) : r;
}

int qcow2_write_packed(struct blk *b, u64 offset, const void *buf, u64 bytes)
{
	struct qcow2 *q = qcow2_of(b);
	u32 generation;
	int r;

	if (b->is_readonly)
		return -EROFS;
	if (!is_aligned(offset, q->cluster_size) || !range_fits(offset, bytes, b->size) ||
	    (bytes != q->cluster_size && offset + bytes != b->size) || bytes > q->cluster_size)
		return -EINVAL;
	if (!bytes)
		return 0;
	generation = qcow2_enter(q);
	qcow2_bitmaps_record(q, offset, bytes);
	if (q->is_broken)
		r = -EIO;
	else if (q->has_data_file)
		r = -ENOTSUP;
	else
		r = compress_cluster(q, offset, buf, bytes);
	qcow2_leave(q, generation);
	return r;
}

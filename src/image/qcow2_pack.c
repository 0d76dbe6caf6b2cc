/*
 * Compressed clusters: read.
 *
 * A cluster is decompressed as a whole; the last few are kept, so that reading on in small pieces
 * decompresses each once. The compressed bytes have no length but in sectors, rounded up: what is read
 * may have something else's bytes at its end, and ends where a cluster has come out.
 */
#include <string.h>

#include <zlib.h>
#include <zstd.h>

#include "base/alloc.h"
#include "base/work.h"
#include "block/io.h"
#include "image/qcow2_pack.h"
#include "image/qcow2_priv.h"

#define PACK_ZLIB_WINDOW (-12) /* raw deflate, 4 KiB */

/* --- algorithms --- */

static int pack_inflate(const u8 *from, u64 from_bytes, u8 *to, u64 to_bytes)
{
	z_stream z = {.next_in = (u8 *)from,
		      .avail_in = (unsigned)from_bytes,
		      .next_out = to,
		      .avail_out = (unsigned)to_bytes};
	int r = inflateInit2(&z, PACK_ZLIB_WINDOW);

	if (r != Z_OK)
		return -ENOMEM;
	r = inflate(&z, Z_FINISH);
	inflateEnd(&z);
	/* Z_BUF_ERROR: there are bytes behind the end, or the end's mark was cut off. */
	return (r == Z_STREAM_END || r == Z_BUF_ERROR) && !z.avail_out ? 0 : -EIO;
}

static int pack_unzstd(const u8 *from, u64 from_bytes, u8 *to, u64 to_bytes)
{
	ZSTD_inBuffer in = {from, from_bytes, 0};
	ZSTD_outBuffer out = {to, to_bytes, 0};
	ZSTD_DCtx *d = ZSTD_createDCtx();
	size_t r = 1;

	if (!d)
		return -ENOMEM;
	while (out.pos < out.size && r && in.pos < in.size) {
		r = ZSTD_decompressStream(d, &out, &in);
		if (ZSTD_isError(r))
			break;
	}
	ZSTD_freeDCtx(d);
	return !ZSTD_isError(r) && out.pos == out.size ? 0 : -EIO;
}

int qcow2_unpack(unsigned type, const u8 *from, u64 from_bytes, u8 *to, u64 to_bytes)
{
	if (type == QCOW2_ZSTD)
		return pack_unzstd(from, from_bytes, to, to_bytes);
	return pack_inflate(from, from_bytes, to, to_bytes);
}

/* --- reading --- */

struct pack_job {
	unsigned type;
	const u8 *from;
	u64 from_bytes;
	u8 *to;
	u64 to_bytes;
	int result;
};

static void pack_run(void *arg)
{
	struct pack_job *j = arg;

	j->result = qcow2_unpack(j->type, j->from, j->from_bytes, j->to, j->to_bytes);
}

static int pack_load(struct qcow2 *q, u64 entry, u8 *to)
{
	u64 host, bytes = qcow2_packed_extent(q, entry, &host);
	u64 start = align_down(host, q->file->block_size);
	u64 end = MIN(align_up(host + bytes, q->file->block_size), blk_limit(q->file, true));
	AUTO(free_ptr) u8 *buf = NULL;
	struct pack_job job;
	int r;

	if (host + bytes > end)
		bytes = host < end ? end - host : 0;
	if (!bytes)
		return -EIO;
	buf = aligned_alloc(PAGE_SIZE, align_up(end - start, PAGE_SIZE));
	if (!buf)
		return -ENOMEM;
	r = blk_read(q->file, start, buf, end - start);
	if (r < 0)
		return r;
	job = (struct pack_job){
		q->compression, buf + (host - start), bytes, to, q->cluster_size, 0};
	work_run(q->workers, pack_run, &job);
	return job.result;
}

static struct qcow2_unpacked *pack_find(struct qcow2 *q, u64 entry)
{
	for (unsigned i = 0; i < QCOW2_UNPACKED; i++) {
		if (q->unpacked[i].entry == entry)
			return &q->unpacked[i];
	}
	return NULL;
}

static struct qcow2_unpacked *pack_find_room(struct qcow2 *q)
{
	struct qcow2_unpacked *best = NULL;

	for (unsigned i = 0; i < QCOW2_UNPACKED; i++) {
		struct qcow2_unpacked *u = &q->unpacked[i];

		if (!u->pins && (!best || u->used < best->used))
			best = u;
	}
	return best;
}

/* Pinned. */
static int pack_get(struct qcow2 *q, u64 entry, struct qcow2_unpacked **out)
{
	struct qcow2_unpacked *u;
	int r;

	for (;;) {
		u = pack_find(q, entry);
		if (u && !u->is_loading)
			break;
		if (!u) {
			u = pack_find_room(q);
			if (u)
				break;
		}
		co_queue_wait(&q->unpack_done);
	}
	u->pins++;
	u->used = ++q->unpack_clock;
	*out = u;
	if (u->entry == entry)
		return 0;
	u->entry = entry;
	u->is_loading = true;
	if (!u->data)
		u->data = alloc_try(1, q->cluster_size);
	r = u->data ? pack_load(q, entry, u->data) : -ENOMEM;
	u->is_loading = false;
	if (r < 0) {
		u->entry = 0;
		u->pins--;
	}
	co_queue_wake_all(&q->unpack_done);
	return r;
}

int qcow2_read_packed(struct qcow2 *q, struct blk_request *r, u64 entry, u64 inside, u64 bytes)
{
	struct qcow2_unpacked *u;
	int result = pack_get(q, entry, &u);

	if (result < 0)
		return result;
	blk_node_fill(r, u->data + inside, bytes);
	u->pins--;
	co_queue_wake_all(&q->unpack_done);
	return 0;
}

void qcow2_forget_unpacked(struct qcow2 *q)
{
	for (unsigned i = 0; i < QCOW2_UNPACKED; i++)
		q->unpacked[i].entry = 0;
}

void qcow2_pack_fini(struct qcow2 *q)
{
	for (unsigned i = 0; i < QCOW2_UNPACKED; i++)
		free(q->unpacked[i].data);
}

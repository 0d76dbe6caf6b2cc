/*
 * Compressed clusters: read.
 *
 * A cluster is decompressed as a whole; the last few are kept, so that reading on in small pieces
 * decompresses each once. The compressed bytes have no length but in sectors, rounded up: what is read
 * may have something else's bytes at its end, and ends where a cluster has come out.
 */
#include <string.h>

#include "base/alloc.h"
#include "base/work.h"
#include "block/io.h"
#include "image/packer.h"
#include "image/qcow2_priv.h"

enum img_packing qcow2_packing(const struct qcow2 *q)
{
	return q->compression == QCOW2_ZSTD ? IMG_ZSTD : IMG_DEFLATE_4K;
}

/* --- reading --- */

struct pack_job {
	struct img_packer *packer;
	enum img_packing how;
	const u8 *from;
	u64 from_bytes;
	u8 *to;
	u64 to_bytes;
	int result;
};

static void pack_run(void *arg)
{
	struct pack_job *j = arg;

	u64 n = 0;

	j->result = img_unpack(j->packer, j->how, j->from, j->from_bytes, j->to, j->to_bytes, &n);
	if (j->result == 0 && n != j->to_bytes)
		j->result = -EIO;
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
	job = (struct pack_job){.packer = img_packer_take(&q->packers),
				.how = qcow2_packing(q),
				.from = buf + (host - start),
				.from_bytes = bytes,
				.to = to,
				.to_bytes = q->cluster_size};
	if (!job.packer)
		return -ENOMEM;
	work_run(q->workers, pack_run, &job);
	img_packer_give(&q->packers, job.packer);
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
	img_packers_free(&q->packers);
}

/*
 * Reading: run by run, straight into the caller's memory where the run is plain data.
 */
#include <string.h>

#include "block/io.h"
#include "image/qcow2_priv.h"

bool qcow2_is_backed(const struct qcow2 *q, u64 offset)
{
	return q->backing && offset < q->backing->size;
}

static int read_beneath(struct qcow2 *q, struct blk_request *r, u64 offset, u64 bytes)
{
	u64 there = 0;
	int result = 0;

	if (qcow2_is_backed(q, offset))
		there = MIN(bytes, q->backing->size - offset);
	if (there)
		result = blk_node_pass(q->backing, r, offset, there);
	if (result == 0)
		blk_node_fill_zeros(r, bytes - there);
	return result;
}

static int read_run(struct qcow2 *q, struct blk_request *r, u64 offset, u64 bytes)
{
	struct qcow2_map m;
	int result = qcow2_map(q, offset, bytes, &m);

	if (result < 0)
		return result;
	switch (m.kind) {
	case QCOW2_DATA:
		return qcow2_data_read(q, r, m.host, m.bytes);
	case QCOW2_IS_ZERO:
		blk_node_fill_zeros(r, m.bytes);
		return 0;
	case QCOW2_NONE:
		return read_beneath(q, r, offset, m.bytes);
	case QCOW2_IS_PACKED:
		return qcow2_read_packed(q, r, m.host, offset & (q->cluster_size - 1), m.bytes);
	}
	return -EIO;
}

static int read_all(struct qcow2 *q, struct blk_request *r)
{
	while (r->progress < r->bytes) {
		int result = read_run(q, r, r->offset + r->progress, r->bytes - r->progress);

		if (result < 0)
			return result;
	}
	return 0;
}

int qcow2_read(struct blk_node *n, struct blk_request *r)
{
	struct qcow2 *q = qcow2_of(&n->blk);
	u32 generation = qcow2_enter(q);
	int result = read_all(q, r);

	qcow2_leave(q, generation);
	return result;
}

int qcow2_read_buffer(struct qcow2 *q, u64 offset, u8 *to, u64 bytes)
{
	struct iovec iov = {.iov_base = to, .iov_len = bytes};
	struct blk_request r = {
		.op = BLK_READ, .offset = offset, .bytes = bytes, .iov = &iov, .n_iov = 1};

	return read_all(q, &r);
}

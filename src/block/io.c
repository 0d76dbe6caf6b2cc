/*
 * Disk I/O that waits. See io.h.
 */
#include "block/io.h"

#include <string.h>

#include "base/alloc.h"
#include "base/co.h"
#include "block/block_priv.h"

struct io_waiter {
	struct co *co; /* NULL: nobody to wake */
	bool is_done;
	int result;
};

static void io_on_done(struct blk_request *r, int result)
{
	struct io_waiter *w = r->waiter;

	w->is_done = true;
	w->result = result;
	if (w->co)
		co_wake(w->co);
}

int blk_wait(struct blk *b, struct blk_request *r)
{
	struct io_waiter w = {.co = co_self()};

	r->waiter = &w;
	r->done = io_on_done;
	blk_submit(b, r);
	if (w.co)
		blk_kick_later(b);
	else
		blk_drain(b);
	while (!w.is_done) {
		assert(w.co);
		co_wait();
	}
	return w.result;
}

static int io_whole(struct blk *b, enum blk_op op, u64 offset, void *buf, u64 bytes)
{
	u8 *at = buf;

	while (bytes) {
		u64 n = MIN(bytes, BLK_BYTES_MAX & ~(u64)0xffff);
		struct iovec iov = {.iov_base = at, .iov_len = n};
		struct blk_request r = {
			.op = op, .offset = offset, .bytes = n, .iov = &iov, .n_iov = 1};
		int result = blk_wait(b, &r);

		if (result < 0)
			return result;
		at += n;
		offset += n;
		bytes -= n;
	}
	return 0;
}

/* Does it lie inside, or may it? */
static int io_check(const struct blk *b, enum blk_op op, u64 offset, u64 bytes)
{
	if (range_fits(offset, bytes, blk_limit(b, op == BLK_READ)))
		return 0;
	return op == BLK_READ ? -EIO : -ENOSPC;
}

/* Part of one block, read and put back. */
static int io_piece(struct blk *b, enum blk_op op, u64 offset, void *buf, u64 bytes)
{
	u64 start = align_down(offset, b->block_size);
	AUTO(free_ptr) u8 *block = aligned_alloc(b->block_size, b->block_size);
	int r;

	if (!block)
		return -ENOMEM;
	r = io_whole(b, BLK_READ, start, block, b->block_size);
	if (r < 0)
		return r;
	if (op == BLK_READ) {
		memcpy(buf, block + (offset - start), bytes);
		return 0;
	}
	memcpy(block + (offset - start), buf, bytes);
	return io_whole(b, BLK_WRITE, start, block, b->block_size);
}

static int io_transfer(struct blk *b, enum blk_op op, u64 offset, void *buf, u64 bytes)
{
	u8 *at = buf;
	int r = io_check(b, op, offset, bytes);

	while (r == 0 && bytes) {
		u64 inside = offset % b->block_size;
		u64 n = align_down(bytes, b->block_size);

		if (inside || !n) {
			n = MIN(bytes, b->block_size - inside);
			r = io_piece(b, op, offset, at, n);
		} else {
			r = io_whole(b, op, offset, at, n);
		}
		at += n;
		offset += n;
		bytes -= n;
	}
	return r;
}

int blk_read(struct blk *b, u64 offset, void *buf, u64 bytes)
{
	return io_transfer(b, BLK_READ, offset, buf, bytes);
}

int blk_write(struct blk *b, u64 offset, const void *buf, u64 bytes)
{
	return io_transfer(b, BLK_WRITE, offset, (void *)buf, bytes);
}

int blk_write_zeroes(struct blk *b, u64 offset, u64 bytes, bool may_unmap)
{
	static const u8 zeros[64 * KIB];
	u64 first = align_up(offset, b->block_size);
	u64 end = align_down(offset + bytes, b->block_size);
	struct blk_request whole = {.op = BLK_WRITE_ZEROES, .may_unmap = may_unmap};
	int r = io_check(b, BLK_WRITE_ZEROES, offset, bytes);

	if (r < 0)
		return r;
	if (first >= end) {
		assert(bytes <= sizeof(zeros));
		return io_transfer(b, BLK_WRITE, offset, (void *)zeros, bytes);
	}
	r = io_transfer(b, BLK_WRITE, offset, (void *)zeros, first - offset);
	whole.offset = first;
	whole.bytes = end - first;
	if (r == 0)
		r = blk_wait(b, &whole);
	if (r == 0)
		r = io_transfer(b, BLK_WRITE, end, (void *)zeros, offset + bytes - end);
	return r;
}

int blk_discard(struct blk *b, u64 offset, u64 bytes)
{
	u64 first = align_up(offset, b->block_size);
	u64 end = align_down(offset + bytes, b->block_size);
	struct blk_request r = {.op = BLK_DISCARD, .offset = first, .bytes = end - first};
	int result = io_check(b, BLK_DISCARD, offset, bytes);

	if (result < 0 || first >= end)
		return result;
	return blk_wait(b, &r);
}

int blk_flush(struct blk *b)
{
	struct blk_request r = {.op = BLK_FLUSH};

	return blk_wait(b, &r);
}

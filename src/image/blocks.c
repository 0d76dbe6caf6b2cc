/*
 * Disks of blocks. See blocks.h.
 *
 * A block without a place gets one from the first write to it. Until that is linked, other writes to
 * the block wait (placing); reads see what was there before.
 */
#include "image/blocks.h"

#include <string.h>

#include "base/alloc.h"
#include "base/err.h"
#include "block/io.h"
#include "image/image.h"

#define BLOCKS_COPY_BYTES (256 * KIB)

static struct img_blocks *blocks_of(struct blk_node *n)
{
	return container_of(n, struct img_blocks, node);
}

/* --- batches --- */

int img_batch_add(struct img_batch *batch, struct blk *file, u64 offset, const void *data,
		  u64 bytes)
{
	u8 *copy = alloc_try(1, bytes);

	if (!copy)
		return -ENOMEM;
	memcpy(copy, data, bytes);
	if (is_power_of_two(batch->n) || !batch->n)
		batch->pieces = mem_grow(batch->pieces, batch->n, batch->n ? 2 * batch->n : 1,
					 sizeof(*batch->pieces));
	batch->pieces[batch->n++] = (struct img_batch_piece){file, offset, bytes, copy};
	return 0;
}

int img_batch_write(const struct img_batch *batch)
{
	int r = 0;

	for (unsigned i = 0; i < batch->n && r == 0; i++) {
		const struct img_batch_piece *p = &batch->pieces[i];

		r = blk_write(p->file, p->offset, p->data, p->bytes);
	}
	return r;
}

void img_batch_apply(const struct img_batch *batch, const struct blk *file, u64 offset, void *buf,
		     u64 bytes)
{
	for (unsigned i = 0; i < batch->n; i++) {
		const struct img_batch_piece *p = &batch->pieces[i];
		u64 start = MAX(offset, p->offset);
		u64 end = MIN(offset + bytes, p->offset + p->bytes);

		if (p->file == file && start < end)
			memcpy((u8 *)buf + (start - offset), p->data + (start - p->offset),
			       end - start);
	}
}

void img_batch_fini(struct img_batch *batch)
{
	for (unsigned i = 0; i < batch->n; i++)
		free(batch->pieces[i].data);
	free(batch->pieces);
	*batch = (struct img_batch){0};
}

/* --- who is inside --- */

static void blocks_enter(struct img_blocks *b)
{
	while (b->is_shut)
		co_queue_wait(&b->gate);
	b->n_inside++;
}

static void blocks_leave(struct img_blocks *b)
{
	if (--b->n_inside == 0)
		co_queue_wake_all(&b->gate);
}

/* --- reading --- */

static int blocks_read_beneath(struct img_blocks *b, struct blk_request *r, u64 offset, u64 bytes)
{
	u64 there =
		b->backing && offset < b->backing->size ? MIN(bytes, b->backing->size - offset) : 0;
	int result = there ? blk_node_pass(b->backing, r, offset, there) : 0;

	if (result == 0)
		blk_node_fill_zeros(r, bytes - there);
	return result;
}

static int blocks_read_packed(struct img_blocks *b, struct blk_request *r, u64 offset, u64 bytes)
{
	AUTO(free_ptr) u8 *buf = alloc_try(1, bytes);
	int result;

	if (!buf)
		return -ENOMEM;
	result = b->ops->read_packed(b, offset, buf, bytes);
	if (result == 0)
		blk_node_fill(r, buf, bytes);
	return result;
}

static int blocks_read_run(struct img_blocks *b, struct blk_request *r)
{
	u64 offset = r->offset + r->progress;
	struct img_run run;
	int result = b->ops->map(b, offset, r->bytes - r->progress, &run);

	if (result < 0)
		return result;
	switch (run.kind) {
	case IMG_RUN_BENEATH:
		return blocks_read_beneath(b, r, offset, run.bytes);
	case IMG_RUN_ZERO:
		blk_node_fill_zeros(r, run.bytes);
		return 0;
	case IMG_RUN_DATA:
		return blk_node_pass(run.file, r, run.host, run.bytes);
	case IMG_RUN_PACKED:
		return blocks_read_packed(b, r, offset, run.bytes);
	}
	return -EIO;
}

static int blocks_read_all(struct img_blocks *b, struct blk_request *r)
{
	int result = 0;

	while (result == 0 && r->progress < r->bytes)
		result = blocks_read_run(b, r);
	return result;
}

static int blocks_read(struct blk_node *n, struct blk_request *r)
{
	struct img_blocks *b = blocks_of(n);
	int result;

	blocks_enter(b);
	result = blocks_read_all(b, r);
	blocks_leave(b);
	return result;
}

int img_blocks_read(struct img_blocks *b, u64 offset, void *buf, u64 bytes)
{
	struct iovec iov = {.iov_base = buf, .iov_len = bytes};
	struct blk_request r = {
		.op = BLK_READ, .offset = offset, .bytes = bytes, .iov = &iov, .n_iov = 1};

	return blocks_read_all(b, &r);
}

/* --- writing --- */

static int blocks_begin(struct img_blocks *b)
{
	int r = 0;

	b->is_changed = true;
	if (b->was_begun || !b->ops->begin)
		return 0;
	co_lock(&b->begin_lock);
	if (!b->was_begun)
		r = b->ops->begin(b);
	if (r == 0)
		b->was_begun = true;
	co_unlock(&b->begin_lock);
	return r;
}

/* The next bytes of r to where they lie. */
static int blocks_put(struct img_blocks *b, struct blk_request *r, const struct img_run *run)
{
	u64 offset = r->offset + r->progress;
	bool is_zero = r->op == BLK_WRITE_ZEROES;
	int result;

	if (is_zero) {
		result = blk_write_zeroes(run->file, run->host, run->bytes, r->may_unmap);
		if (result == 0)
			r->progress += run->bytes;
	} else {
		result = blk_node_pass(run->file, r, run->host, run->bytes);
	}
	if (result == 0 && b->ops->written)
		result = b->ops->written(b, offset, run->bytes, is_zero);
	return result;
}

/* What was beneath, or zeros, into a new block around what is written to it. */
static int blocks_fill(struct img_blocks *b, const struct img_place *p, u64 offset, u64 bytes)
{
	bool is_backed = b->backing && !b->has_bitmaps && offset < b->backing->size;
	u8 *buf;
	int r = 0;

	if (!bytes || (p->is_zeroed && !is_backed))
		return 0;
	if (!is_backed)
		return blk_write_zeroes(p->file, p->host + (offset - p->start), bytes, true);
	buf = alloc_try(1, MIN(bytes, BLOCKS_COPY_BYTES));
	if (!buf)
		return -ENOMEM;
	while (r == 0 && bytes) {
		u64 n = MIN(bytes, BLOCKS_COPY_BYTES), there;

		there = offset < b->backing->size ? MIN(n, b->backing->size - offset) : 0;
		memset(buf + there, 0, n - there);
		r = blk_read(b->backing, offset, buf, there);
		if (r == 0)
			r = blk_write(p->file, p->host + (offset - p->start), buf, n);
		offset += n;
		bytes -= n;
	}
	free(buf);
	return r;
}

static int blocks_fill_new(struct img_blocks *b, struct blk_request *r, struct img_place *p)
{
	u64 offset = r->offset + r->progress;
	u64 end = MIN(r->offset + r->bytes, p->start + p->bytes);
	struct img_run run = {
		.file = p->file, .host = p->host + (offset - p->start), .bytes = end - offset};
	int result = blocks_fill(b, p, p->start, offset - p->start);

	if (result == 0)
		result = blocks_fill(b, p, end, p->start + p->bytes - end);
	if (result < 0)
		return result;
	if (r->op != BLK_WRITE_ZEROES)
		return blk_node_pass(run.file, r, run.host, run.bytes);
	result = p->is_zeroed ? 0 : blk_write_zeroes(run.file, run.host, run.bytes, true);
	if (result == 0)
		r->progress += run.bytes;
	return result;
}

static bool blocks_is_placing(const struct img_blocks *b, u64 offset)
{
	for (const struct list *l = b->placing.next; l != &b->placing; l = l->next) {
		const struct img_place *p = container_of((struct list *)l, struct img_place, node);

		if (offset >= p->start && offset - p->start < p->bytes)
			return true;
	}
	return false;
}

/* Not mapped, not being placed: under place_lock that stays so. */
static int blocks_place(struct img_blocks *b, u64 offset, u64 bytes, struct img_place *p)
{
	struct img_run run;
	int r;

	co_lock(&b->place_lock);
	r = b->ops->map(b, offset, bytes, &run);
	if (r == 0 && (run.has_place || blocks_is_placing(b, offset)))
		r = -EAGAIN;
	if (r == 0)
		r = b->ops->place(b, offset, p);
	if (r == 0)
		list_append(&b->placing, &p->node);
	co_unlock(&b->place_lock);
	return r;
}

static int blocks_write_new(struct img_blocks *b, struct blk_request *r)
{
	u64 offset = r->offset + r->progress;
	struct img_place p = {0};
	int result = blocks_place(b, offset, r->bytes - r->progress, &p);

	if (result < 0)
		return result == -EAGAIN ? 0 : result;
	result = blocks_fill_new(b, r, &p);
	if (result == 0)
		result = b->ops->link(b, &p);
	else if (b->ops->unplace)
		b->ops->unplace(b, &p);
	if (result == 0 && b->ops->written)
		result = b->ops->written(b, offset, r->offset + r->progress - offset,
					 r->op == BLK_WRITE_ZEROES);
	list_remove(&p.node);
	co_queue_wake_all(&b->placed);
	return result;
}

static int blocks_write_run(struct img_blocks *b, struct blk_request *r)
{
	u64 offset = r->offset + r->progress;
	struct img_run run;
	int result = b->ops->map(b, offset, r->bytes - r->progress, &run);

	if (result < 0)
		return result;
	if (blocks_is_placing(b, offset)) {
		co_queue_wait(&b->placed);
		return 0; /* and look again */
	}
	if (run.has_place)
		return blocks_put(b, r, &run);
	if (r->op == BLK_WRITE_ZEROES &&
	    (run.kind == IMG_RUN_ZERO || (run.kind == IMG_RUN_BENEATH && !b->backing))) {
		r->progress += run.bytes;
		return 0;
	}
	if (b->ops->absorb)
		return b->ops->absorb(b, r, run.bytes);
	return b->ops->place ? blocks_write_new(b, r) : -EROFS;
}

static int blocks_write(struct blk_node *n, struct blk_request *r)
{
	struct img_blocks *b = blocks_of(n);
	int result;

	blocks_enter(b);
	result = blocks_begin(b);
	while (result == 0 && r->progress < r->bytes)
		result = blocks_write_run(b, r);
	b->is_changed = true; /* a flush meanwhile knew nothing of the end */
	blocks_leave(b);
	return result;
}

static int blocks_discard(struct blk_node *n, struct blk_request *r)
{
	struct img_blocks *b = blocks_of(n);
	int result;

	blocks_enter(b);
	result = blocks_begin(b);
	while (result == 0 && r->progress < r->bytes) {
		u64 offset = r->offset + r->progress;
		struct img_run run;

		result = b->ops->map(b, offset, r->bytes - r->progress, &run);
		if (result == 0 && run.kind == IMG_RUN_DATA && run.has_place)
			result = blk_write_zeroes(run.file, run.host, run.bytes, true);
		if (result == 0)
			r->progress += run.bytes;
	}
	b->is_changed = true;
	blocks_leave(b);
	return result;
}

/* --- flushing --- */

static int blocks_flush_files(struct img_blocks *b)
{
	int r = 0;

	for (unsigned i = 0; i < b->node.n_children && r == 0; i++) {
		struct blk *child = b->node.children[i];

		if (child != b->backing && !child->is_readonly)
			r = blk_flush(child);
	}
	return r;
}

static int blocks_flush_locked(struct img_blocks *b)
{
	/* What an earlier flush couldn't write comes first: what is newer is written over it. */
	struct img_batch *batch = &b->unwritten;
	int r = 0;

	b->is_changed = false;
	if (b->ops->collect)
		r = b->ops->collect(b, batch);
	if (r == 0 && b->ops->prepare)
		r = b->ops->prepare(b);
	if (r == 0)
		r = blocks_flush_files(b);
	if (r == 0 && batch->n && b->ops->commit) {
		r = b->ops->commit(b, batch);
	} else if (r == 0 && batch->n) {
		r = img_batch_write(batch);
		if (r == 0)
			r = blocks_flush_files(b);
	}
	if (r == 0)
		img_batch_fini(batch);
	else
		b->is_changed = true;
	return r;
}

int img_blocks_flush(struct img_blocks *b)
{
	int r;

	co_lock(&b->flush_lock);
	r = blocks_flush_locked(b);
	co_unlock(&b->flush_lock);
	return r;
}

static int blocks_flush(struct blk_node *n)
{
	struct img_blocks *b = blocks_of(n);
	int r;

	blocks_enter(b);
	r = img_blocks_flush(b);
	blocks_leave(b);
	return r;
}

/* --- the rest --- */

static int blocks_status_beneath(struct img_blocks *b, u64 offset, struct img_run *run,
				 struct blk_status *out)
{
	int r;

	if (!b->backing || offset >= b->backing->size) {
		*out = (struct blk_status){.bytes = run->bytes, .is_zero = true};
		return 0;
	}
	r = blk_status(b->backing, offset, MIN(run->bytes, b->backing->size - offset), out);
	out->depth++;
	return r;
}

static int blocks_status(struct blk_node *n, u64 offset, u64 bytes, struct blk_status *out)
{
	struct img_blocks *b = blocks_of(n);
	struct img_run run;
	int r;

	blocks_enter(b);
	r = b->ops->map(b, offset, bytes, &run);
	blocks_leave(b);
	if (r < 0)
		return r;
	if (run.kind == IMG_RUN_BENEATH)
		return blocks_status_beneath(b, offset, &run, out);
	*out = (struct blk_status){
		.bytes = run.bytes,
		.is_allocated = true,
		.is_data = run.kind != IMG_RUN_ZERO,
		.is_zero = run.kind == IMG_RUN_ZERO,
		.is_compressed = run.kind == IMG_RUN_PACKED,
		.has_offset = run.kind == IMG_RUN_DATA,
		.offset = run.kind == IMG_RUN_DATA ? run.host : 0,
	};
	return 0;
}

static int blocks_resize(struct blk_node *n, u64 size, struct err *err)
{
	struct img_blocks *b = blocks_of(n);
	int r;

	if (!b->ops->resize)
		return err_set(err, -ENOTSUP, "the size of such a %s image can't be changed",
			       n->blk.engine);
	if (size == n->blk.size)
		return 0;
	if (!size)
		return err_set(err, -EINVAL, "a disk of no size");
	while (b->is_shut)
		co_queue_wait(&b->gate);
	b->is_shut = true;
	while (b->n_inside)
		co_queue_wait(&b->gate);
	r = blocks_begin(b);
	if (r == 0)
		r = img_blocks_flush(b);
	if (r == 0)
		r = b->ops->resize(b, size, err);
	else
		err_errno(err, r, "cannot write it to the disk");
	if (r == 0)
		n->blk.size = size;
	b->is_shut = false;
	co_queue_wake_all(&b->gate);
	return r;
}

static void blocks_close(struct blk_node *n)
{
	struct img_blocks *b = blocks_of(n);

	if (b->is_changed && !n->blk.is_readonly)
		(void)img_blocks_flush(b); /* who wants to know has flushed before */
	b->ops->close(b);
	img_batch_fini(&b->unwritten);
}

int img_blocks_init(struct img_blocks *b, const struct img_blocks_ops *ops,
		    const struct image_ops *image, struct blk *file, struct loop *loop,
		    const char *engine, struct err *err)
{
	static const struct blk_node_ops node_ops = {
		.read = blocks_read,
		.write = blocks_write,
		.write_zeroes = blocks_write,
		.discard = blocks_discard,
		.flush = blocks_flush,
		.status = blocks_status,
		.resize = blocks_resize,
		.close = blocks_close,
	};
	int r = blk_node_init(&b->node, &node_ops, loop, engine, err);

	if (r < 0)
		return r;
	b->ops = ops;
	b->file = file;
	b->node.blk.image = image;
	co_mutex_init(&b->begin_lock);
	co_mutex_init(&b->place_lock);
	co_mutex_init(&b->flush_lock);
	co_queue_init(&b->placed);
	co_queue_init(&b->gate);
	list_init(&b->placing);
	blk_node_add_child(&b->node, file);
	return 0;
}

void img_blocks_set_backing(struct img_blocks *b, struct blk *backing)
{
	b->backing = backing;
	blk_node_add_child(&b->node, backing);
}

/*
 * Disks served by coroutines. See node.h.
 */
#include "block/node.h"

#include <string.h>

#include "base/alloc.h"
#include "base/co.h"
#include "base/err.h"
#include "base/work.h"
#include "block/block_priv.h"
#include "block/io.h"
#include "block/iov.h"

#define NODE_FRAMED_MAX 32 /* pieces of a request that is passed on with others around it */

static struct blk_node *node_of(struct blk *b)
{
	return container_of(b, struct blk_node, blk);
}

/* --- requests --- */

static int node_serve(struct blk_node *n, struct blk_request *r)
{
	int result = 0;

	switch (r->op) {
	case BLK_READ:
		return n->ops->read(n, r);
	case BLK_WRITE:
		result = n->ops->write(n, r);
		if (result == 0 && r->is_fua && !n->ops->does_fua)
			result = n->ops->flush(n);
		return result;
	case BLK_WRITE_ZEROES:
		return n->ops->write_zeroes(n, r);
	case BLK_DISCARD:
		return n->ops->discard ? n->ops->discard(n, r) : 0;
	case BLK_FLUSH:
		return n->blk.is_readonly ? 0 : n->ops->flush(n);
	}
	return -ENOTSUP;
}

static void node_complete(struct blk_node *n, struct blk_request *r, int result)
{
	n->n_out--;
	r->done(r, result);
}

/* done() may not be called inside blk_submit. */
static void node_end(struct blk_node *n, struct blk_request *r, int result)
{
	if (!n->is_submitting) {
		node_complete(n, r, result);
		return;
	}
	r->result = result;
	list_append(&n->finished, &r->node);
	loop_task_post(n->blk.loop, &n->finish);
}

static void node_run(void *arg)
{
	struct blk_request *r = arg;
	struct blk_node *n = r->extra;

	for (;;) {
		node_end(n, r, node_serve(n, r));
		if (list_is_empty(&n->waiting))
			return;
		r = list_entry(n->waiting.next, struct blk_request, node);
		list_remove(&r->node);
	}
}

static void node_submit(struct blk *b, struct blk_request *r)
{
	struct blk_node *n = node_of(b);

	r->progress = 0;
	r->extra = n;
	n->n_out++;
	if (co_pool_is_empty(n->pool)) {
		list_append(&n->waiting, &r->node);
		return;
	}
	n->is_submitting = true;
	co_start(n->pool, node_run, r);
	n->is_submitting = false;
}

static void node_kick(struct blk *b)
{
	struct blk_node *n = node_of(b);

	for (unsigned i = 0; i < n->n_children; i++)
		blk_kick(n->children[i]);
}

static void node_complete_finished(struct blk_node *n)
{
	while (!list_is_empty(&n->finished)) {
		struct blk_request *r = list_entry(n->finished.next, struct blk_request, node);

		list_remove(&r->node);
		node_complete(n, r, r->result);
	}
}

static void node_on_finish(struct loop_task *t)
{
	struct blk_node *n = container_of(t, struct blk_node, finish);

	node_complete_finished(n);
	blk_end_round(&n->blk);
	node_kick(&n->blk);
}

/* What a child's completions woke may have submitted to any child. */
static void node_on_round(void *opaque)
{
	struct blk_node *n = opaque;

	blk_end_round(&n->blk);
	node_kick(&n->blk);
}

void blk_node_end_round(struct blk_node *n)
{
	node_on_round(n);
}

static void node_drain(struct blk *b)
{
	struct blk_node *n = node_of(b);

	while (n->n_out) {
		node_complete_finished(n);
		for (unsigned i = 0; i < n->n_children; i++)
			blk_drain(n->children[i]);
		/* The loop doesn't run: what wakes coroutines otherwise is looked after here. */
		if (n->n_out && !work_settle() && n->ops->poll)
			n->ops->poll(n);
	}
	blk_end_round(b);
}

static void node_free(struct blk *b)
{
	struct blk_node *n = node_of(b);

	n->ops->close(n);
	loop_task_cancel(b->loop, &n->finish);
	/* A child that goes ends a round, in which those that went before it would be kicked. */
	for (unsigned i = 0; i < n->n_children; i++)
		blk_set_round(n->children[i], NULL, NULL);
	for (unsigned i = 0; i < n->n_children; i++)
		blk_free(n->children[i]);
	free(n->children);
	co_pool_free(n->pool);
	free(n);
}

static int node_status(struct blk *b, u64 offset, u64 bytes, struct blk_status *out)
{
	struct blk_node *n = node_of(b);

	return n->ops->status ? n->ops->status(n, offset, bytes, out) : 0;
}

static int node_resize(struct blk *b, u64 size, struct err *err)
{
	struct blk_node *n = node_of(b);

	if (!n->ops->resize)
		return err_set(err, -ENOTSUP, "the size of a %s image can't be changed", b->engine);
	return n->ops->resize(n, size, err);
}

int blk_node_init(struct blk_node *n, const struct blk_node_ops *ops, struct loop *loop,
		  const char *engine, struct err *err)
{
	static const struct blk_ops blk_ops = {
		.submit = node_submit,
		.kick = node_kick,
		.drain = node_drain,
		.free = node_free,
		.status = node_status,
		.resize = node_resize,
	};

	blk_init(&n->blk, &blk_ops, loop, engine);
	n->blk.block_size = BLK_SECTOR;
	n->ops = ops;
	list_init(&n->waiting);
	list_init(&n->finished);
	list_init(&n->finish.node);
	n->finish.fn = node_on_finish;
	return co_pool_new(BLK_NODE_REQUESTS, &n->pool, err);
}

void blk_node_add_child(struct blk_node *n, struct blk *child)
{
	n->children = mem_grow(n->children, n->n_children, n->n_children + 1, sizeof(child));
	n->children[n->n_children++] = child;
	blk_set_round(child, node_on_round, n);
}

void blk_node_remove_child(struct blk_node *n, struct blk *child)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < n->n_children; i++) {
		if (n->children[i] != child)
			n->children[kept++] = n->children[i];
	}
	assert(kept + 1 == n->n_children);
	n->n_children = kept;
	blk_set_round(child, NULL, NULL);
}

/* --- data --- */

static int node_pass_copied(struct blk *child, struct blk_request *r, u64 offset, u64 bytes)
{
	u64 size = MIN(bytes, 256 * KIB);
	AUTO(free_ptr) u8 *buf = alloc_try(1, size);

	if (!buf)
		return -ENOMEM;
	for (u64 done = 0; done < bytes;) {
		u64 part = MIN(bytes - done, size);
		int result;

		if (r->op == BLK_WRITE) {
			blk_node_fetch(r, buf, part);
			result = blk_write(child, offset + done, buf, part);
		} else {
			result = blk_read(child, offset + done, buf, part);
			if (result == 0)
				blk_node_fill(r, buf, part);
		}
		if (result < 0)
			return result;
		done += part;
	}
	return 0;
}

int blk_node_pass(struct blk *child, struct blk_request *r, u64 offset, u64 bytes)
{
	struct blk_request part = {.op = r->op, .offset = offset, .bytes = bytes};
	struct iovec cut;
	u32 n_lent;
	int result;

	if (!range_fits(offset, bytes, blk_limit(child, r->op == BLK_READ)))
		return r->op == BLK_READ ? -EIO : -ENOSPC;
	if (!is_aligned(offset | bytes, child->block_size))
		return node_pass_copied(child, r, offset, bytes);
	blk_iov_lend(r, bytes, &part, &cut);
	n_lent = part.n_iov;
	result = blk_wait(child, &part);
	blk_iov_return(r, n_lent, &cut);
	r->progress += bytes;
	return result;
}

/* One after the other: when there are many pieces. */
static int node_pass_parts(struct blk *child, struct blk_request *r, u64 offset, u64 bytes,
			   const struct iovec *head, const struct iovec *tail)
{
	int result = blk_write(child, offset, head->iov_base, head->iov_len);

	if (result == 0)
		result = blk_node_pass(child, r, offset + head->iov_len, bytes);
	if (result == 0)
		result = blk_write(child, offset + head->iov_len + bytes, tail->iov_base,
				   tail->iov_len);
	return result;
}

int blk_node_pass_framed(struct blk *child, struct blk_request *r, u64 offset, u64 bytes, u8 *head,
			 u64 head_bytes, u8 *tail, u64 tail_bytes)
{
	struct iovec iov[NODE_FRAMED_MAX + 2], ends[2] = {{head, head_bytes}, {tail, tail_bytes}};
	struct blk_request whole = {.op = BLK_WRITE, .offset = offset, .iov = iov};
	u64 left = bytes;
	int result;

	whole.bytes = head_bytes + bytes + tail_bytes;
	if (!range_fits(offset, whole.bytes, blk_limit(child, false)))
		return -ENOSPC;
	if (!is_aligned(offset | whole.bytes, child->block_size) || r->n_iov > NODE_FRAMED_MAX)
		return node_pass_parts(child, r, offset, bytes, &ends[0], &ends[1]);
	if (head_bytes)
		iov[whole.n_iov++] = ends[0];
	for (const struct iovec *v = r->iov; left; v++) {
		u64 n = MIN(left, (u64)v->iov_len);

		iov[whole.n_iov++] = (struct iovec){v->iov_base, n};
		left -= n;
	}
	if (tail_bytes)
		iov[whole.n_iov++] = ends[1];
	result = blk_wait(child, &whole);
	blk_iov_advance(r, bytes);
	r->progress += bytes;
	return result;
}

void blk_node_fill(struct blk_request *r, const u8 *from, u64 bytes)
{
	blk_iov_scatter(r, from, bytes);
	blk_iov_advance(r, bytes);
	r->progress += bytes;
}

void blk_node_fill_zeros(struct blk_request *r, u64 bytes)
{
	static const u8 zeros[64 * KIB];

	while (bytes) {
		u64 n = MIN(bytes, sizeof(zeros));

		blk_node_fill(r, zeros, n);
		bytes -= n;
	}
}

void blk_node_fetch(struct blk_request *r, u8 *to, u64 bytes)
{
	if (r->op == BLK_WRITE_ZEROES) {
		memset(to, 0, bytes);
	} else {
		blk_iov_gather(r, to, bytes);
		blk_iov_advance(r, bytes);
	}
	r->progress += bytes;
}

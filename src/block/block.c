/*
 * The face of a disk: checks what callers promised, then hands on. See block.h.
 */
#include "block/block.h"

#include "base/co.h"
#include "base/err.h"
#include "block/block_priv.h"

static bool blk_request_is_sound(const struct blk *b, const struct blk_request *r)
{
	if (r->op == BLK_FLUSH)
		return true;
	if (r->op != BLK_READ && b->is_readonly)
		return false;
	if ((r->op == BLK_READ || r->op == BLK_WRITE) &&
	    (!r->n_iov || r->n_iov > BLK_IOV_MAX || r->bytes > BLK_BYTES_MAX))
		return false;
	return r->bytes && is_aligned(r->offset | r->bytes, b->block_size) &&
	       range_fits(r->offset, r->bytes, blk_limit(b, r->op == BLK_READ));
}

static void blk_on_kick_task(struct loop_task *t)
{
	blk_kick(container_of(t, struct blk, kick_task));
}

void blk_init(struct blk *b, const struct blk_ops *ops, struct loop *loop, const char *engine)
{
	b->ops = ops;
	b->loop = loop;
	b->engine = engine;
	list_init(&b->kick_task.node);
	b->kick_task.fn = blk_on_kick_task;
}

void blk_submit(struct blk *b, struct blk_request *r)
{
	assert(blk_request_is_sound(b, r));
	b->ops->submit(b, r);
}

void blk_kick(struct blk *b)
{
	b->ops->kick(b);
}

void blk_kick_later(struct blk *b)
{
	loop_task_post(b->loop, &b->kick_task);
}

void blk_set_round(struct blk *b, void (*round)(void *opaque), void *opaque)
{
	b->round = round;
	b->round_opaque = opaque;
}

void blk_end_round(struct blk *b)
{
	if (b->round)
		b->round(b->round_opaque);
}

void blk_drain(struct blk *b)
{
	blk_kick(b);
	b->ops->drain(b);
}

int blk_status(struct blk *b, u64 offset, u64 bytes, struct blk_status *out)
{
	assert(bytes && range_fits(offset, bytes, b->size));
	*out = (struct blk_status){.bytes = bytes, .is_data = true, .is_allocated = true};
	return b->ops->status ? b->ops->status(b, offset, bytes, out) : 0;
}

int blk_resize(struct blk *b, u64 size, struct err *err)
{
	assert(is_aligned(size, b->block_size));
	if (b->is_readonly)
		return err_set(err, -EROFS, "it is open for reading only");
	if (!b->ops->resize)
		return err_set(err, -ENOTSUP, "its size can't be changed");
	return b->ops->resize(b, size, err);
}

struct blk_return {
	struct loop_task task;
	struct co *co;
	bool is_back;
};

static void blk_on_return(struct loop_task *t)
{
	struct blk_return *r = container_of(t, struct blk_return, task);

	r->is_back = true;
	co_wake(r->co);
}

/* Who woke this coroutine may be the disk, in the middle of its completions: it goes on from the loop. */
static void blk_leave_completions(struct blk *b)
{
	struct blk_return r = {.task.fn = blk_on_return, .co = co_self()};

	if (!r.co)
		return;
	list_init(&r.task.node);
	loop_task_post(b->loop, &r.task);
	while (!r.is_back)
		co_wait();
}

void blk_free(struct blk *b)
{
	if (!b)
		return;
	blk_leave_completions(b);
	blk_drain(b);
	if (b->kick_task.is_posted)
		loop_task_cancel(b->loop, &b->kick_task);
	b->ops->free(b);
}

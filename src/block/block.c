/*
 * The face of a disk: checks what callers promised, then hands on. See block.h.
 */
#include "block/block.h"

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
	       range_fits(r->offset, r->bytes, b->size);
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
	b->ops->drain(b);
}

void blk_free(struct blk *b)
{
	if (!b)
		return;
	blk_drain(b);
	b->ops->free(b);
}

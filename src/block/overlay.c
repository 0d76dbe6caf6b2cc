/*
 * A temporary layer over a disk: what is written goes into a file of its own, and is forgotten with
 * it. See block.h.
 *
 * The file (top) is as large as the disk and sparse. A bitmap in memory says which clusters are in
 * it; the others are read from the base. A request is served run by run, a run being neighbouring
 * clusters on the same side:
 *
 *     read                           from the side the run is on
 *     write, cluster is in top       to top
 *     write, cluster isn't in top    "allocating": whole clusters go to top as they are; a part of
 *                                    one is merged into what the base has, and all of it goes to
 *                                    top; then the bits are set
 *
 * Allocating steps are done one at a time, so that two of them never merge the same cluster; a
 * request that waited for its turn looks at the bitmap again. Reads of a cluster that is being
 * allocated still see the base: they overlap with the write, and have no order.
 *
 * Discards have no effect, and flushes nothing to wait for: all of this is gone with the process.
 */
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/loop.h"
#include "block/block_priv.h"
#include "block/iov.h"

#define OVERLAY_CLUSTER  (64 * KIB)
#define OVERLAY_OPS      128            /* requests served at a time; more wait */
#define OVERLAY_SIZE_MAX ((u64)1 << 46) /* a bitmap of 128 MiB */

enum overlay_step {
	OVERLAY_PLAIN,     /* a run, where it is */
	OVERLAY_WHOLE,     /* allocating whole clusters */
	OVERLAY_COW_READ,  /* allocating a part of one: read the base's */
	OVERLAY_COW_WRITE, /* ... and write the merged cluster */
};

/* A request being served. */
struct overlay_op {
	struct blk_request sub; /* first */
	struct blk_overlay *o;
	struct blk_request *parent;
	struct list node; /* in free_ops, or waiting to allocate */
	enum overlay_step step;
	u64 run;          /* bytes of the parent that this step covers */
	u32 n_lent;       /* vectors of the parent in use; 0: none */
	struct iovec cut; /* see blk_iov_lend */
	struct iovec bounce;
};

struct blk_overlay {
	struct blk blk;
	struct loop *loop;
	struct blk *base, *top;
	u64 *bitmap; /* a bit for each cluster that is in top */
	u32 n_out;

	struct overlay_op *allocating; /* whose turn it is; or NULL */
	struct list may_allocate;      /* ops that wait for their turn */
	struct list free_ops;
	struct list waiting;  /* requests without an op */
	struct list finished; /* requests that took no time */
	struct loop_task finish;

	struct overlay_op ops[OVERLAY_OPS];
	u8 bounce[OVERLAY_CLUSTER] __attribute__((aligned(4096))); /* of the op allocating */
};

static void overlay_next(struct overlay_op *op);

static struct blk_overlay *overlay_of(struct blk *b)
{
	return container_of(b, struct blk_overlay, blk);
}

/* --- the bitmap --- */

static bool overlay_has(const struct blk_overlay *o, u64 cluster)
{
	return o->bitmap[cluster / 64] & BIT(cluster % 64);
}

static void overlay_set(struct blk_overlay *o, u64 offset, u64 bytes)
{
	u64 end = (offset + bytes + OVERLAY_CLUSTER - 1) / OVERLAY_CLUSTER;

	for (u64 c = offset / OVERLAY_CLUSTER; c < end; c++)
		o->bitmap[c / 64] |= BIT(c % 64);
}

/* Bytes from offset on, at most limit, that are on the same side. */
static u64 overlay_run(const struct blk_overlay *o, u64 offset, u64 limit)
{
	u64 cluster = offset / OVERLAY_CLUSTER, end = offset + limit;
	bool side = overlay_has(o, cluster);

	do {
		cluster++;
	} while (cluster * OVERLAY_CLUSTER < end && overlay_has(o, cluster) == side);
	return MIN(end, cluster * OVERLAY_CLUSTER) - offset;
}

/* --- requests begin and end --- */

static void overlay_begin(struct blk_overlay *o, struct blk_request *r)
{
	struct overlay_op *op;

	if (list_is_empty(&o->free_ops)) {
		list_append(&o->waiting, &r->node);
		return;
	}
	op = list_entry(o->free_ops.next, struct overlay_op, node);
	list_remove(&op->node);
	op->parent = r;
	overlay_next(op);
}

static void overlay_end(struct overlay_op *op, int result)
{
	struct blk_overlay *o = op->o;
	struct blk_request *r = op->parent;

	list_append(&o->free_ops, &op->node);
	if (!list_is_empty(&o->waiting)) {
		struct blk_request *next = list_entry(o->waiting.next, struct blk_request, node);

		list_remove(&next->node);
		overlay_begin(o, next);
	}
	o->n_out--;
	r->done(r, result);
}

/* The op that allocates has done with it. Those whose clusters are in top by now need no turn. */
static void overlay_release(struct overlay_op *op)
{
	struct blk_overlay *o = op->o;

	assert(o->allocating == op);
	o->allocating = NULL;
	while (!o->allocating && !list_is_empty(&o->may_allocate)) {
		struct overlay_op *next = list_entry(o->may_allocate.next, struct overlay_op, node);

		list_remove(&next->node);
		overlay_next(next);
	}
}

/* --- steps --- */

static void overlay_submit_sub(struct overlay_op *op, struct blk *disk, enum blk_op what,
			       u64 offset, u64 bytes)
{
	op->sub.op = what;
	op->sub.offset = offset;
	op->sub.bytes = bytes;
	op->sub.may_unmap = op->parent->may_unmap;
	blk_submit(disk, &op->sub);
}

/* The run as it is, on the disk given. */
static void overlay_pass(struct overlay_op *op, struct blk *disk, enum overlay_step step)
{
	struct blk_request *r = op->parent;

	op->step = step;
	op->n_lent = 0;
	if (r->op != BLK_WRITE_ZEROES) {
		blk_iov_lend(r, op->run, &op->sub, &op->cut);
		op->n_lent = op->sub.n_iov;
	}
	overlay_submit_sub(op, disk, r->op, r->offset + r->progress, op->run);
}

static void overlay_bounce(struct overlay_op *op, struct blk *disk, enum overlay_step step,
			   enum blk_op what)
{
	struct blk_overlay *o = op->o;
	u64 start = align_down(op->parent->offset + op->parent->progress, OVERLAY_CLUSTER);
	u64 bytes = MIN(OVERLAY_CLUSTER, o->blk.size - start);

	op->step = step;
	op->n_lent = 0;
	op->bounce = (struct iovec){.iov_base = o->bounce, .iov_len = bytes};
	op->sub.iov = &op->bounce;
	op->sub.n_iov = 1;
	overlay_submit_sub(op, disk, what, start, bytes);
}

/* The next run isn't in top, and is to be written. */
static void overlay_allocate(struct overlay_op *op, u64 offset, u64 run)
{
	struct blk_overlay *o = op->o;
	u64 inside = offset % OVERLAY_CLUSTER;

	if (o->allocating) {
		list_append(&o->may_allocate, &op->node);
		return;
	}
	o->allocating = op;
	if (inside || run < OVERLAY_CLUSTER) {
		op->run = MIN(run, OVERLAY_CLUSTER - inside);
		overlay_bounce(op, o->base, OVERLAY_COW_READ, BLK_READ);
	} else {
		op->run = align_down(run, OVERLAY_CLUSTER);
		overlay_pass(op, o->top, OVERLAY_WHOLE);
	}
}

static void overlay_next(struct overlay_op *op)
{
	struct blk_overlay *o = op->o;
	struct blk_request *r = op->parent;
	u64 offset = r->offset + r->progress;
	bool is_in_top;

	if (r->progress == r->bytes) {
		overlay_end(op, 0);
		return;
	}
	is_in_top = overlay_has(o, offset / OVERLAY_CLUSTER);
	op->run = overlay_run(o, offset, r->bytes - r->progress);
	if (r->op == BLK_READ || is_in_top)
		overlay_pass(op, is_in_top ? o->top : o->base, OVERLAY_PLAIN);
	else
		overlay_allocate(op, offset, op->run);
}

/* The base's cluster is in the bounce buffer: put the new data into it. */
static void overlay_merge(struct overlay_op *op)
{
	struct blk_request *r = op->parent;
	u8 *to = op->o->bounce + (r->offset + r->progress) % OVERLAY_CLUSTER;

	if (r->op == BLK_WRITE_ZEROES) {
		memset(to, 0, op->run);
	} else {
		blk_iov_gather(r, to, op->run);
		blk_iov_advance(r, op->run);
	}
	overlay_bounce(op, op->o->top, OVERLAY_COW_WRITE, BLK_WRITE);
}

static void overlay_step_done(struct overlay_op *op, int result)
{
	struct blk_request *r = op->parent;
	bool is_allocating = op->step != OVERLAY_PLAIN;

	if (result == 0 && op->step == OVERLAY_COW_READ) {
		overlay_merge(op);
		return;
	}
	if (op->n_lent)
		blk_iov_return(r, op->n_lent, &op->cut);
	if (result == 0 && is_allocating)
		overlay_set(op->o, r->offset + r->progress, op->run);
	if (is_allocating)
		overlay_release(op);
	if (result < 0) {
		overlay_end(op, result);
		return;
	}
	r->progress += op->run;
	overlay_next(op);
}

static void overlay_on_sub_done(struct blk_request *sub, int result)
{
	struct overlay_op *op = container_of(sub, struct overlay_op, sub);
	struct blk_overlay *o = op->o;

	overlay_step_done(op, result);
	/* What came next may be on the other disk, whose turn to be kicked this isn't. */
	blk_kick(o->base);
	blk_kick(o->top);
}

/* --- the disk --- */

static void overlay_submit(struct blk *b, struct blk_request *r)
{
	struct blk_overlay *o = overlay_of(b);

	r->progress = 0;
	o->n_out++;
	if (r->op == BLK_FLUSH || r->op == BLK_DISCARD) {
		list_append(&o->finished, &r->node);
		loop_task_post(o->loop, &o->finish);
	} else {
		overlay_begin(o, r);
	}
}

static void overlay_kick(struct blk *b)
{
	blk_kick(overlay_of(b)->base);
	blk_kick(overlay_of(b)->top);
}

static void overlay_complete_finished(struct blk_overlay *o)
{
	while (!list_is_empty(&o->finished)) {
		struct blk_request *r = list_entry(o->finished.next, struct blk_request, node);

		list_remove(&r->node);
		o->n_out--;
		r->done(r, 0);
	}
}

static void overlay_on_finish(struct loop_task *t)
{
	struct blk_overlay *o = container_of(t, struct blk_overlay, finish);

	overlay_complete_finished(o);
	blk_end_round(&o->blk);
	overlay_kick(&o->blk);
}

static void overlay_on_round(void *opaque)
{
	blk_end_round(&((struct blk_overlay *)opaque)->blk);
}

static void overlay_drain(struct blk *b)
{
	struct blk_overlay *o = overlay_of(b);

	while (o->n_out) {
		overlay_complete_finished(o);
		blk_drain(o->base);
		blk_drain(o->top);
	}
	blk_end_round(b);
}

static void overlay_free(struct blk *b)
{
	struct blk_overlay *o = overlay_of(b);

	loop_task_cancel(o->loop, &o->finish);
	blk_free(o->top);
	blk_free(o->base);
	free(o->bitmap);
	free(o);
}

/* top: the file as a disk, as large as the base. */
static int overlay_open_top(struct blk_overlay *o, int fd, const struct blk_raw_options *options,
			    struct err *err)
{
	struct blk_raw_options writable = *options;
	int r;

	writable.is_readonly = false;
	if (o->blk.size > OVERLAY_SIZE_MAX)
		return err_set(err, -EFBIG, "it is too large for a temporary layer");
	o->bitmap = alloc_try((o->blk.size / OVERLAY_CLUSTER + 64) / 64, sizeof(u64));
	if (!o->bitmap)
		return err_set(err, -ENOMEM, "no memory for a temporary layer");
	if (ftruncate(fd, (off_t)o->blk.size) < 0)
		return err_errno(err, -errno, "cannot size the temporary file");
	r = blk_raw_new(o->loop, fd, &writable, &o->top, err);
	if (r < 0)
		return err_wrap(err, "temporary file");
	return 0;
}

static void overlay_init_ops(struct blk_overlay *o)
{
	for (u32 i = 0; i < OVERLAY_OPS; i++) {
		o->ops[i].o = o;
		o->ops[i].sub.done = overlay_on_sub_done;
		list_append(&o->free_ops, &o->ops[i].node);
	}
}

int blk_overlay_new(struct loop *loop, struct blk *base, int fd,
		    const struct blk_raw_options *options, struct blk **out, struct err *err)
{
	static const struct blk_ops ops = {
		.submit = overlay_submit,
		.kick = overlay_kick,
		.drain = overlay_drain,
		.free = overlay_free,
	};
	struct blk_overlay *o = aligned_alloc(4096, align_up(sizeof(*o), 4096));
	int r;

	assert(o);
	memset(o, 0, sizeof(*o));
	blk_init(&o->blk, &ops, loop, "overlay");
	o->blk.size = base->size;
	o->blk.block_size = base->block_size;
	o->loop = loop;
	list_init(&o->may_allocate);
	list_init(&o->free_ops);
	list_init(&o->waiting);
	list_init(&o->finished);
	list_init(&o->finish.node);
	o->finish.fn = overlay_on_finish;
	overlay_init_ops(o);
	r = overlay_open_top(o, fd, options, err);
	if (r < 0) {
		overlay_free(&o->blk);
		return r;
	}
	o->base = base;
	blk_set_round(o->base, overlay_on_round, o);
	blk_set_round(o->top, overlay_on_round, o);
	*out = &o->blk;
	return 0;
}

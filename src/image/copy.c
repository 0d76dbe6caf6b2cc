/*
 * Copying and comparing disks. See copy.h.
 *
 * One cursor goes through the disk, in runs of which blk_status said the same. A coroutine takes the
 * next piece from it (under a lock, as asking may wait), reads, looks for zeros, and writes; so the
 * pieces are in flight at the same time, and each is written once.
 */
#include "image/copy.h"

#include <string.h>

#include "base/alloc.h"
#include "base/co.h"
#include "base/err.h"
#include "base/loop.h"
#include "block/io.h"
#include "image/image.h"

/*
 * At most, of data: several of them stay in a processor's cache, and a disk of some MiB has some for all threads
 * that compress. With less the page cache takes smaller folios, each of which costs.
 */
#define COPY_PIECE   (1 * MIB)
#define COPY_RUN     (1 * GIB) /* asked for at a time */
#define COPY_ALIGN   4096
#define COPY_COMPARE (1 * MIB)

enum copy_kind { COPY_DATA, COPY_ZERO, COPY_SKIP };

struct copy_piece {
	enum copy_kind kind;
	u64 offset, bytes;
};

/* A walk by several coroutines; what they do is in visit. */
struct copy_walk {
	struct loop *loop;
	u64 bytes, at;
	u64 run_end; /* to which run_kind holds */
	enum copy_kind run_kind;
	u64 align, piece;
	unsigned n_buffers; /* of a piece, one behind the other */
	struct co_mutex lock;
	unsigned n_running;
	int (*status)(struct copy_walk *w, u64 offset, u64 bytes, enum copy_kind *out_kind,
		      u64 *out);
	int (*visit)(struct copy_walk *w, const struct copy_piece *p, u8 *buf);
	int result;
	u64 failed_at; /* of result */
	u64 done;
	struct img_progress progress;
};

struct copy {
	struct copy_walk walk;
	struct blk *source, *target;
	const struct img_copy_options *o;
};

struct compare {
	struct copy_walk walk;
	struct blk *disks[2];
	struct img_difference found;
};

bool img_is_zero(const void *buf, size_t bytes)
{
	const u8 *b = buf;

	return !bytes || (!b[0] && memcmp(b, b + 1, bytes - 1) == 0);
}

/* --- the walk --- */

/*
 * Runs end where the target's clusters do, but for the last: a cluster that begins with data is data,
 * one that begins with zeros and has something else in it as well.
 */
static int copy_next_run(struct copy_walk *w)
{
	u64 left = w->bytes - w->at, bytes;
	int r = w->status(w, w->at, MIN(left, COPY_RUN), &w->run_kind, &bytes);

	if (r < 0)
		return r;
	if (bytes < left && !is_aligned(bytes, w->align)) {
		if (w->run_kind == COPY_DATA || bytes < w->align) {
			w->run_kind = COPY_DATA;
			bytes = align_up(bytes, w->align);
		} else {
			bytes = align_down(bytes, w->align);
		}
	}
	w->run_end = w->at + MIN(bytes, left);
	return 0;
}

/* 1: there is a piece. */
static int copy_next(struct copy_walk *w, struct copy_piece *out)
{
	int r = 0;

	co_lock(&w->lock);
	if (w->result == 0 && w->at < w->bytes && w->at == w->run_end)
		r = copy_next_run(w);
	if (r == 0 && w->result == 0 && w->at < w->bytes) {
		u64 bytes = w->run_end - w->at;

		if (w->run_kind == COPY_DATA)
			bytes = MIN(bytes, w->piece - w->at % w->piece);
		*out = (struct copy_piece){w->run_kind, w->at, bytes};
		w->at += bytes;
		r = 1;
	}
	co_unlock(&w->lock);
	return r;
}

static void copy_fail(struct copy_walk *w, int result, u64 offset)
{
	if (w->result == 0) {
		w->result = result;
		w->failed_at = offset;
	}
}

static void copy_coroutine(void *arg)
{
	struct copy_walk *w = arg;
	u8 *buf = aligned_alloc(COPY_ALIGN, w->piece * w->n_buffers);
	struct copy_piece p;
	int r = buf ? 0 : -ENOMEM;

	if (r < 0)
		copy_fail(w, r, w->at);
	while (r == 0 && (r = copy_next(w, &p)) > 0) {
		r = p.kind == COPY_SKIP ? 0 : w->visit(w, &p, buf);
		if (r < 0)
			copy_fail(w, r, p.offset);
		w->done += p.bytes;
		if (r == 0 && w->progress.fn)
			w->progress.fn(w->progress.opaque, w->done, w->bytes);
	}
	if (r < 0)
		copy_fail(w, r, w->at);
	free(buf);
	w->n_running--;
}

static int copy_walk_run(struct copy_walk *w, unsigned n, struct err *err)
{
	AUTO(co_pool_free) struct co_pool *pool = NULL;
	int r = co_pool_new(n, &pool, err);

	if (r < 0)
		return r;
	co_mutex_init(&w->lock);
	w->n_running = n;
	for (unsigned i = 0; i < n; i++)
		co_start(pool, copy_coroutine, w);
	while (w->n_running)
		loop_step(w->loop, true);
	return 0;
}

/* --- copy --- */

static struct copy *copy_of(struct copy_walk *w)
{
	return container_of(w, struct copy, walk);
}

static int copy_status(struct copy_walk *w, u64 offset, u64 bytes, enum copy_kind *out_kind,
		       u64 *out)
{
	struct copy *c = copy_of(w);
	struct blk_status s;
	int r = blk_status(c->source, offset, bytes, &s);

	if (r < 0)
		return r;
	if (c->o->is_top_only && (!s.is_allocated || s.depth))
		*out_kind = COPY_SKIP;
	else if (!c->o->sparse_bytes && !c->o->is_compressed)
		*out_kind = COPY_DATA;
	else if (s.is_zero || !s.is_data)
		*out_kind = c->o->is_target_zero ? COPY_SKIP : COPY_ZERO;
	else
		*out_kind = COPY_DATA;
	*out = s.bytes;
	return 0;
}

/* How far what is at the beginning goes on: zeros, or something else. */
static u64 copy_same(const u8 *buf, u64 bytes, u64 step, bool *out_zero)
{
	u64 n = MIN(step, bytes);

	*out_zero = img_is_zero(buf, n);
	while (n < bytes && img_is_zero(buf + n, MIN(step, bytes - n)) == *out_zero)
		n += MIN(step, bytes - n);
	return n;
}

static int copy_write(struct copy *c, u64 offset, const u8 *buf, u64 bytes)
{
	if (c->o->is_compressed)
		return c->target->image->write_compressed(c->target, offset, buf, bytes);
	return blk_write(c->target, offset, buf, bytes);
}

static int copy_visit(struct copy_walk *w, const struct copy_piece *p, u8 *buf)
{
	struct copy *c = copy_of(w);
	u64 step = c->o->is_compressed ? w->align : c->o->sparse_bytes;
	int r;

	if (p->kind == COPY_ZERO)
		return blk_write_zeroes(c->target, p->offset, p->bytes, true);
	r = blk_read(c->source, p->offset, buf, p->bytes);
	for (u64 done = 0, n; r == 0 && done < p->bytes; done += n) {
		bool is_zero = false;

		n = p->bytes - done;
		if (step)
			n = copy_same(buf + done, n, step, &is_zero);
		if (!is_zero)
			r = copy_write(c, p->offset + done, buf + done, n);
		else if (!c->o->is_target_zero)
			r = blk_write_zeroes(c->target, p->offset + done, n, true);
	}
	return r;
}

int img_copy(struct blk *source, struct blk *target, u64 bytes, const struct img_copy_options *o,
	     struct err *err)
{
	u64 least = MAX(o->sparse_bytes, (u64)COPY_ALIGN), align = MAX(o->cluster_bytes, least);
	struct copy c = {
		.walk = {.loop = o->loop,
			 .bytes = bytes,
			 .align = align,
			 .piece = MAX(align, COPY_PIECE),
			 .n_buffers = 1,
			 .status = copy_status,
			 .visit = copy_visit,
			 .progress = o->progress},
		.source = source,
		.target = target,
		.o = o,
	};
	unsigned n = o->n_coroutines ? MIN(o->n_coroutines, IMG_COPY_MAX) : IMG_COPY_COROUTINES;
	int r;

	r = copy_walk_run(&c.walk, o->is_in_order ? 1 : n, err);
	if (r < 0)
		return r;
	if (c.walk.result < 0)
		return err_errno(err, c.walk.result, "at %lu", c.walk.failed_at);
	return 0;
}

/* --- compare --- */

static struct compare *compare_of(struct copy_walk *w)
{
	return container_of(w, struct compare, walk);
}

static int compare_status(struct copy_walk *w, u64 offset, u64 bytes, enum copy_kind *out_kind,
			  u64 *out)
{
	struct compare *c = compare_of(w);
	bool is_zero = true;

	for (unsigned i = 0; i < 2; i++) {
		struct blk_status s = {.bytes = bytes, .is_zero = true};
		u64 size = c->disks[i]->size;
		int r = offset < size
				? blk_status(c->disks[i], offset, MIN(bytes, size - offset), &s)
				: 0;

		if (r < 0)
			return r;
		is_zero = is_zero && (s.is_zero || !s.is_data);
		bytes = MIN(bytes, s.bytes);
	}
	*out_kind = is_zero ? COPY_SKIP : COPY_DATA;
	*out = bytes;
	return 0;
}

static int compare_read(struct blk *b, u64 offset, u8 *buf, u64 bytes)
{
	u64 inside = offset < b->size ? MIN(bytes, b->size - offset) : 0;

	memset(buf + inside, 0, bytes - inside);
	return inside ? blk_read(b, offset, buf, inside) : 0;
}

static int compare_visit(struct copy_walk *w, const struct copy_piece *p, u8 *buf)
{
	struct compare *c = compare_of(w);
	u8 *other = buf + COPY_COMPARE;
	u64 n = 0;
	int r = compare_read(c->disks[0], p->offset, buf, p->bytes);

	if (r == 0)
		r = compare_read(c->disks[1], p->offset, other, p->bytes);
	if (r < 0 || memcmp(buf, other, p->bytes) == 0)
		return r;
	while (memcmp(buf + n, other + n, MIN(BLK_SECTOR, p->bytes - n)) == 0)
		n += BLK_SECTOR;
	if (!c->found.is_different || p->offset + n < c->found.offset)
		c->found = (struct img_difference){true, p->offset + n};
	w->bytes = MIN(w->bytes,
		       w->at); /* what lies before it may differ, too; the rest doesn't matter */
	return 0;
}

int img_compare(struct blk *a, struct blk *b, struct loop *loop,
		const struct img_progress *progress, struct img_difference *out, struct err *err)
{
	struct compare c = {
		.walk = {.loop = loop,
			 .bytes = MAX(a->size, b->size),
			 .align = COPY_ALIGN,
			 .piece = COPY_COMPARE,
			 .n_buffers = 2,
			 .status = compare_status,
			 .visit = compare_visit,
			 .progress = *progress},
		.disks = {a, b},
	};
	int r = copy_walk_run(&c.walk, IMG_COPY_COROUTINES, err);

	if (r < 0)
		return r;
	if (c.walk.result < 0)
		return err_errno(err, c.walk.result, "at %lu", c.walk.failed_at);
	*out = c.found;
	return 0;
}

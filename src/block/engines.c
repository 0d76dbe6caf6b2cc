/*
 * Engines made ahead. See block.h.
 *
 * An engine without a disk has no file: a ring's one registered file is an empty place then, and the
 * workers of the threads engine sleep. Which kind there is was found out with the first one.
 */
#include "base/alloc.h"
#include "base/err.h"
#include "base/log.h"
#include "block/raw_priv.h"

#define ENGINES_THREADS_LATER 2 /* each costs four threads */
#define ENGINES_RINGS         2

struct blk_engines {
	struct loop *loop;
	struct list idle;
};

/*
 * Disks take places of the two rings by turns: a copy's source and target have different ones. While the loop
 * submits, a ring is locked, and what is read from the page cache is copied meanwhile; the kernel's worker
 * that writes has to wait for that lock where it is its ring.
 */
static int engines_make_shared(struct blk_engines *p, const struct raw_engine *none, unsigned n)
{
	unsigned each = (n + ENGINES_RINGS - 1) / ENGINES_RINGS;
	AUTO(free_ptr) struct raw_engine **e = NEW_ARRAY(struct raw_engine *, each * ENGINES_RINGS);
	struct err why = ERR_INIT;
	int r = 0;

	for (unsigned i = 0; i < ENGINES_RINGS && r == 0; i++)
		r = raw_uring_new(none, each, e + i * each, &why);
	for (unsigned i = 0; i < each * ENGINES_RINGS; i++) {
		struct raw_engine *next = e[i % ENGINES_RINGS * each + i / ENGINES_RINGS];

		if (next)
			list_append(&p->idle, &next->node);
	}
	return r;
}

static int engines_make(struct blk_engines *p, const struct raw_engine *none, unsigned n_now,
			unsigned n_later, const struct blk_raw_options *o, struct err *err)
{
	unsigned n = n_now + n_later;

	for (unsigned i = 0; i < n; i++) {
		struct raw_engine *e;
		int r = raw_engine_new(none, o, &e, err);

		if (r < 0 && i < n_now)
			return r;
		if (r < 0)
			break; /* what can be added later is less, then */
		list_append(&p->idle, &e->node);
		if (!e->ops->is_cheap)
			n = MIN(n, n_now + ENGINES_THREADS_LATER);
	}
	return 0;
}

int blk_engines_new(struct loop *loop, unsigned n_now, unsigned n_later,
		    const struct blk_raw_options *o, struct blk_engines **out, struct err *err)
{
	const struct raw_engine none = {.loop = loop, .fd = -1, .can_change = true};
	AUTO(blk_engines_free) struct blk_engines *p = NEW(struct blk_engines);
	int r = 0;

	p->loop = loop;
	list_init(&p->idle);
	/* Where there is no ring, the other way finds that out, and what to do then. */
	if (!o->has_shared_ring || o->engine == BLK_ENGINE_THREADS ||
	    engines_make_shared(p, &none, n_now + n_later) < 0)
		r = engines_make(p, &none, n_now, n_later, o, err);
	if (r == 0)
		*out = take(p);
	return r;
}

void blk_engines_free(struct blk_engines *p)
{
	if (!p)
		return;
	list_for_each_safe (node, &p->idle) {
		struct raw_engine *e = list_entry(node, struct raw_engine, node);

		list_remove(&e->node);
		e->ops->free(e);
	}
	free(p);
}

int raw_engines_take(struct blk_engines *p, struct blk_raw *raw, int fd, struct raw_engine **out,
		     struct err *err)
{
	struct raw_engine *e;
	int r;

	if (list_is_empty(&p->idle))
		return err_set(err, -ENOSPC, "no more disks can be added: all places are in use");
	e = list_entry(p->idle.next, struct raw_engine, node);
	r = e->ops->set_file(e, fd);
	if (r < 0)
		return err_errno(err, r, "disk I/O by %s is not possible", e->ops->name);
	list_remove(&e->node);
	e->raw = raw;
	*out = e;
	return 0;
}

void raw_engines_give(struct blk_engines *p, struct raw_engine *e)
{
	e->raw = NULL;
	if (e->ops->set_file(e, -1) == 0)
		list_insert_before(p->idle.next, &e->node); /* its turn is the next */
	else
		e->ops->free(e); /* it would keep the file */
}

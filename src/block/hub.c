/*
 * A disk that can be watched and exchanged. See hub.h.
 */
#include "block/hub.h"

#include "base/alloc.h"
#include "base/err.h"
#include "block/block_priv.h"
#include "block/io.h"
#include "block/node.h"

struct hub {
	struct blk blk; /* first */
	struct blk *lower;
	struct blk_node *filter; /* lower is its first child */
	struct blk_watch *watch; /* or NULL */
	struct list ranges;      /* locked: of writes under way, and of jobs */
	struct co_queue unlocked;
};

struct filter {
	struct blk_node node; /* first */
	struct hub *hub;
};

static struct hub *hub_of(struct blk *b)
{
	return container_of(b, struct hub, blk);
}

static struct hub *hub_of_filter(struct blk_node *n)
{
	return container_of(n, struct filter, node)->hub;
}

/* --- ranges --- */

/* Those that were asked for earlier come first, so that nobody waits for ever. */
static bool hub_must_wait(const struct hub *h, const struct blk_range *mine)
{
	list_for_each (node, &h->ranges) {
		const struct blk_range *r = list_entry(node, struct blk_range, node);

		if (r == mine)
			return false;
		if (mine->offset < r->offset + r->bytes && r->offset < mine->offset + mine->bytes)
			return true;
	}
	return false;
}

void blk_hub_lock(struct blk *hub, struct blk_range *r, u64 offset, u64 bytes)
{
	struct hub *h = hub_of(hub);

	r->offset = offset;
	r->bytes = bytes;
	list_append(&h->ranges, &r->node);
	while (hub_must_wait(h, r))
		co_queue_wait(&h->unlocked);
}

void blk_hub_unlock(struct blk *hub, struct blk_range *r)
{
	list_remove(&r->node);
	co_queue_wake_all(&hub_of(hub)->unlocked);
}

/* --- the filter: coroutines --- */

static int filter_read(struct blk_node *n, struct blk_request *r)
{
	return blk_node_pass(hub_of_filter(n)->lower, r, r->offset, r->bytes);
}

static int filter_pass(struct hub *h, struct blk_request *r)
{
	struct blk_request part = {
		.op = r->op, .offset = r->offset, .bytes = r->bytes, .may_unmap = r->may_unmap};

	if (r->op == BLK_WRITE)
		return blk_node_pass(h->lower, r, r->offset, r->bytes);
	return blk_wait(h->lower, &part);
}

static int filter_change(struct blk_node *n, struct blk_request *r)
{
	struct hub *h = hub_of_filter(n);
	u64 offset = r->offset, bytes = r->bytes;
	struct blk_range range;
	int result = 0;

	blk_hub_lock(&h->blk, &range, offset, bytes);
	if (h->watch && h->watch->before)
		result = h->watch->before(h->watch, offset, bytes);
	if (result == 0)
		result = filter_pass(h, r);
	if (h->watch && h->watch->after)
		h->watch->after(h->watch, offset, bytes);
	blk_hub_unlock(&h->blk, &range);
	return result;
}

static int filter_flush(struct blk_node *n)
{
	return blk_flush(hub_of_filter(n)->lower);
}

static void filter_poll(struct blk_node *n)
{
	struct blk_watch *w = hub_of_filter(n)->watch;

	if (w && w->poll)
		w->poll(w);
}

static void filter_close(struct blk_node *n)
{
	(void)n;
}

/* --- the disk --- */

static void hub_submit(struct blk *b, struct blk_request *r)
{
	struct hub *h = hub_of(b);

	blk_submit(h->watch ? &h->filter->blk : h->lower, r);
}

static void hub_kick(struct blk *b)
{
	blk_kick(&hub_of(b)->filter->blk); /* and so lower */
}

static void hub_drain(struct blk *b)
{
	blk_drain(&hub_of(b)->filter->blk);
	blk_drain(hub_of(b)->lower);
}

static void hub_free(struct blk *b)
{
	struct hub *h = hub_of(b);

	assert(!h->watch);
	blk_free(&h->filter->blk); /* and lower */
	free(h);
}

static int hub_status(struct blk *b, u64 offset, u64 bytes, struct blk_status *out)
{
	return blk_status(hub_of(b)->lower, offset, bytes, out);
}

static int hub_resize(struct blk *b, u64 size, struct err *err)
{
	struct hub *h = hub_of(b);
	int r;

	if (h->watch)
		return err_set(err, -EBUSY, "a job is at work on it");
	r = blk_resize(h->lower, size, err);
	b->size = h->filter->blk.size = h->lower->size;
	return r;
}

static void hub_on_round(void *opaque)
{
	blk_end_round(opaque);
}

static void hub_take_shape(struct hub *h, const struct blk *lower)
{
	h->blk.size = h->filter->blk.size = lower->size;
	h->blk.block_size = h->filter->blk.block_size = lower->block_size;
	h->blk.is_readonly = h->filter->blk.is_readonly = lower->is_readonly;
	h->blk.engine = lower->engine;
}

int blk_hub_new(struct loop *loop, struct blk *lower, struct blk **out, struct err *err)
{
	static const struct blk_node_ops filter_ops = {
		.read = filter_read,
		.write = filter_change,
		.write_zeroes = filter_change,
		.discard = filter_change,
		.flush = filter_flush,
		.poll = filter_poll,
		.close = filter_close,
	};
	static const struct blk_ops ops = {
		.submit = hub_submit,
		.kick = hub_kick,
		.drain = hub_drain,
		.free = hub_free,
		.status = hub_status,
		.resize = hub_resize,
	};
	struct hub *h = NEW(struct hub);
	struct filter *f = NEW(struct filter);

	if (blk_node_init(&f->node, &filter_ops, loop, "filter", err) < 0) {
		free(f);
		free(h);
		return err->code;
	}
	blk_init(&h->blk, &ops, loop, lower->engine);
	list_init(&h->ranges);
	co_queue_init(&h->unlocked);
	f->hub = h;
	h->filter = &f->node;
	h->lower = lower;
	blk_node_add_child(h->filter, lower);
	blk_set_round(&h->filter->blk, hub_on_round, &h->blk);
	hub_take_shape(h, lower);
	*out = &h->blk;
	return 0;
}

struct blk *blk_hub_lower(struct blk *hub)
{
	return hub_of(hub)->lower;
}

void blk_hub_watch(struct blk *hub, struct blk_watch *w)
{
	struct hub *h = hub_of(hub);

	assert(!w || !h->watch);
	blk_drain(hub);
	h->watch = w;
}

bool blk_hub_is_watched(const struct blk *hub)
{
	return container_of((struct blk *)hub, struct hub, blk)->watch;
}

void blk_hub_add_disk(struct blk *hub, struct blk *disk)
{
	blk_node_add_child(hub_of(hub)->filter, disk);
}

void blk_hub_remove_disk(struct blk *hub, struct blk *disk)
{
	blk_node_remove_child(hub_of(hub)->filter, disk);
}

struct blk *blk_hub_replace(struct blk *hub, struct blk *disk)
{
	struct hub *h = hub_of(hub);
	struct blk *old = h->lower;

	assert(disk->block_size == old->block_size && h->watch);
	blk_drain(old);
	blk_node_remove_child(h->filter, old);
	blk_node_add_child(h->filter, disk);
	h->lower = disk;
	hub_take_shape(h, disk);
	return old;
}

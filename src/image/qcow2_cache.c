/*
 * Caches of slices: pieces of at most 4 KiB of L2 tables and refcount blocks.
 *
 * A cold random read costs one small read of metadata, whatever the cluster's size. Lookups are by a
 * hash of the place in the file; slices that aren't pinned are in the order of their use, and the one
 * unused for longest makes room. Dirty L2 slices aren't written here to make room: what comes before
 * them is their owner's matter (qcow2_flush.c), who sees to it that there are always clean ones. Dirty
 * refcounts may be written at any time, and are.
 */
#include <string.h>

#include "base/alloc.h"
#include "block/io.h"
#include "image/qcow2_priv.h"

#define CACHE_RUN 32 /* slices written by one request */

int qcow2_cache_init(struct qcow2_cache *c, struct blk *file, u32 slice_bytes, u64 cache_bytes)
{
	c->file = file;
	c->bytes = slice_bytes;
	c->n = (u32)MAX(cache_bytes / slice_bytes, (u64)QCOW2_CACHE_MIN);
	list_init(&c->lru);
	list_init(&c->dirty);
	co_queue_init(&c->loaded);
	for (c->hash_bits = 4; ((u32)1 << c->hash_bits) < c->n;)
		c->hash_bits++;
	c->hash = alloc_try((size_t)1 << c->hash_bits, sizeof(*c->hash));
	c->slices = alloc_try(c->n, sizeof(*c->slices));
	/* More than needed for the alignment, less than what is touched. */
	c->memory = alloc_try(c->n + PAGE_SIZE / slice_bytes, slice_bytes);
	if (!c->hash || !c->slices || !c->memory)
		return -ENOMEM;
	for (u32 i = 0; i < c->n; i++) {
		c->slices[i].data =
			(u8 *)align_up((u64)c->memory, PAGE_SIZE) + (u64)i * slice_bytes;
		list_append(&c->lru, &c->slices[i].lru);
	}
	return 0;
}

void qcow2_cache_fini(struct qcow2_cache *c)
{
	free(c->hash);
	free(c->slices);
	free(c->memory);
}

static struct qcow2_slice **cache_bucket(struct qcow2_cache *c, u64 offset)
{
	return &c->hash[(offset / c->bytes * 0x9e3779b97f4a7c15) >> (64 - c->hash_bits)];
}

static struct qcow2_slice *cache_find(struct qcow2_cache *c, u64 offset)
{
	struct qcow2_slice *s = *cache_bucket(c, offset);

	while (s && s->offset != offset)
		s = s->next;
	return s;
}

static void cache_unhash(struct qcow2_cache *c, struct qcow2_slice *s)
{
	struct qcow2_slice **p = cache_bucket(c, s->offset);

	while (*p != s)
		p = &(*p)->next;
	*p = s->next;
	s->next = NULL;
	s->offset = 0;
}

static void cache_touch(struct qcow2_cache *c, struct qcow2_slice *s)
{
	if (s->is_dirty || c->lru.prev == &s->lru)
		return;
	list_remove(&s->lru);
	list_append(&c->lru, &s->lru);
}

struct qcow2_slice *qcow2_cache_peek(struct qcow2_cache *c, u64 offset)
{
	struct qcow2_slice *s = cache_find(c, offset);

	if (!s || s->is_loading)
		return NULL;
	cache_touch(c, s);
	return s;
}

/* One that may be used for something else; NULL: all are dirty or pinned. */
static struct qcow2_slice *cache_find_room(struct qcow2_cache *c)
{
	list_for_each (node, &c->lru) {
		struct qcow2_slice *s = list_entry(node, struct qcow2_slice, lru);

		if (!s->pins)
			return s;
	}
	return NULL;
}

static int cache_load(struct qcow2_cache *c, struct qcow2_slice *s, u64 offset)
{
	struct qcow2_slice **p;
	u64 there = offset < c->file->size ? MIN((u64)c->bytes, c->file->size - offset) : 0;
	int r;

	if (s->offset)
		cache_unhash(c, s);
	p = cache_bucket(c, offset);
	s->next = *p;
	s->offset = offset;
	*p = s;
	s->is_loading = true;
	s->pins = 1;
	r = blk_read(c->file, offset, s->data, there);
	memset(s->data + there, 0, c->bytes - there);
	s->is_loading = false;
	co_queue_wake_all(&c->loaded);
	if (r == 0)
		return 0;
	s->pins--;
	cache_unhash(c, s);
	return r;
}

int qcow2_cache_get(struct qcow2_cache *c, u64 offset, struct qcow2_slice **out)
{
	for (;;) {
		struct qcow2_slice *s = cache_find(c, offset);
		int r;

		if (s && s->is_loading) {
			co_queue_wait(&c->loaded);
			continue;
		}
		if (s) {
			s->pins++;
			cache_touch(c, s);
			*out = s;
			return 0;
		}
		s = cache_find_room(c);
		if (!s) {
			r = c->is_unordered ? qcow2_cache_write(c) : -ENOMEM;
			if (r < 0)
				return r;
			continue;
		}
		cache_touch(c, s);
		r = cache_load(c, s, offset);
		if (r == 0)
			*out = s;
		return r;
	}
}

void qcow2_cache_put(struct qcow2_cache *c, struct qcow2_slice *s)
{
	(void)c;
	assert(s->pins);
	s->pins--;
}

void qcow2_cache_dirty(struct qcow2_cache *c, struct qcow2_slice *s)
{
	if (s->is_dirty)
		return;
	s->is_dirty = true;
	c->n_dirty++;
	list_remove(&s->lru);
	list_append(&c->dirty, &s->lru);
}

static void cache_clean(struct qcow2_cache *c, struct qcow2_slice *s)
{
	if (!s->is_dirty)
		return;
	s->is_dirty = false;
	c->n_dirty--;
	list_remove(&s->lru);
	list_append(&c->lru, &s->lru);
}

void qcow2_cache_forget(struct qcow2_cache *c, u64 offset, u64 bytes)
{
	for (u64 at = offset; at < offset + bytes; at += c->bytes) {
		struct qcow2_slice *s = cache_find(c, at);

		/* A wrong image may have somebody look for a table in what was free. */
		while (s && s->is_loading) {
			co_queue_wait(&c->loaded);
			s = cache_find(c, at);
		}
		if (!s)
			continue;
		assert(!s->pins);
		cache_clean(c, s);
		cache_unhash(c, s);
	}
}

/* --- writing --- */

static struct qcow2_slice *cache_dirty_at(struct qcow2_cache *c, u64 offset)
{
	struct qcow2_slice *s = offset ? cache_find(c, offset) : NULL;

	return s && s->is_dirty ? s : NULL;
}

/* Neighbours in the file go together. What is changed meanwhile is dirty again. */
static int cache_write_run(struct qcow2_cache *c, struct qcow2_slice *s)
{
	struct qcow2_slice *run[CACHE_RUN], *before;
	struct iovec iov[CACHE_RUN];
	struct blk_request r = {.op = BLK_WRITE, .iov = iov};
	u32 n = 0;
	int result;

	for (u32 i = 0; i < CACHE_RUN - 1; i++) {
		before = s->offset >= c->bytes ? cache_dirty_at(c, s->offset - c->bytes) : NULL;
		if (!before)
			break;
		s = before;
	}
	r.offset = s->offset;
	for (; s && n < CACHE_RUN; n++) {
		run[n] = s;
		iov[n] = (struct iovec){.iov_base = s->data, .iov_len = c->bytes};
		s->pins++;
		cache_clean(c, s);
		s = cache_dirty_at(c, s->offset + c->bytes);
	}
	r.n_iov = n;
	r.bytes = (u64)n * c->bytes;
	if (range_fits(r.offset, r.bytes, blk_limit(c->file, false)))
		result = blk_wait(c->file, &r);
	else
		result = -ENOSPC;
	for (u32 i = 0; i < n; i++) {
		run[i]->pins--;
		if (result < 0)
			qcow2_cache_dirty(c, run[i]);
	}
	return result;
}

int qcow2_cache_write(struct qcow2_cache *c)
{
	u32 n = c->n_dirty; /* those that are dirtied meanwhile may wait for the next time */

	while (n-- && !list_is_empty(&c->dirty)) {
		int r = cache_write_run(c, list_entry(c->dirty.next, struct qcow2_slice, lru));

		if (r < 0)
			return r;
	}
	return 0;
}

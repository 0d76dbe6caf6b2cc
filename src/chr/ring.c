/*
 * A stream in memory: bounded output, input handed over on the caller's thread. See chr.h.
 */
#include <pthread.h>
#include <string.h>

#include "base/alloc.h"
#include "chr/chr_priv.h"

struct chr_ring {
	struct chr chr;

	pthread_mutex_t lock; /* guards all below */
	bool was_short;
	bool was_accepted;
	size_t capacity, used;
	u8 bytes[]; /* the oldest first */
};

static struct chr_ring *chr_ring_of(struct chr *c)
{
	return container_of(c, struct chr_ring, chr);
}

static void chr_ring_attached(struct chr *c)
{
	(void)c;
}

static size_t chr_ring_write(struct chr *c, const u8 *data, size_t size)
{
	struct chr_ring *r = chr_ring_of(c);
	size_t n;

	if (!chr_is_open(c))
		return size;
	pthread_mutex_lock(&r->lock);
	n = MIN(size, r->capacity - r->used);
	memcpy(r->bytes + r->used, data, n);
	r->used += n;
	r->was_short = n < size;
	pthread_mutex_unlock(&r->lock);
	return n;
}

static void chr_ring_accept(struct chr *c)
{
	struct chr_ring *r = chr_ring_of(c);

	pthread_mutex_lock(&r->lock);
	r->was_accepted = true;
	pthread_mutex_unlock(&r->lock);
}

static void chr_ring_free(struct chr *c)
{
	struct chr_ring *r = chr_ring_of(c);

	pthread_mutex_destroy(&r->lock);
	free(r);
}

struct chr *chr_ring_new(size_t capacity)
{
	static const struct chr_ops ops = {
		.attached = chr_ring_attached,
		.write = chr_ring_write,
		.accept = chr_ring_accept,
		.free = chr_ring_free,
	};
	struct chr_ring *r = mem_alloc(1, sizeof(*r) + capacity);

	r->chr.ops = &ops;
	r->chr.is_open = true;
	r->capacity = capacity;
	pthread_mutex_init(&r->lock, NULL);
	return &r->chr;
}

size_t chr_ring_input(struct chr *c, const void *data, size_t size)
{
	const struct chr_user *u = c->user;
	const u8 *p = data;
	size_t done = 0;

	while (u && done < size) {
		size_t n = MIN(u->can_receive(u->opaque), size - done);

		if (!n)
			break;
		u->receive(u->opaque, p + done, n);
		done += n;
	}
	return done;
}

size_t chr_ring_output(struct chr *c, void *out, size_t size)
{
	struct chr_ring *r = chr_ring_of(c);
	bool was_short;
	size_t n;

	pthread_mutex_lock(&r->lock);
	n = MIN(size, r->used);
	memcpy(out, r->bytes, n);
	r->used -= n;
	memmove(r->bytes, r->bytes + n, r->used);
	was_short = n && r->was_short;
	if (was_short)
		r->was_short = false;
	pthread_mutex_unlock(&r->lock);
	if (was_short && c->user)
		c->user->room(c->user->opaque);
	return n;
}

void chr_ring_set_open(struct chr *c, bool is_open)
{
	chr_set_open(c, is_open);
}

bool chr_ring_was_accepted(struct chr *c)
{
	struct chr_ring *r = chr_ring_of(c);
	bool was_accepted;

	pthread_mutex_lock(&r->lock);
	was_accepted = r->was_accepted;
	r->was_accepted = false;
	pthread_mutex_unlock(&r->lock);
	return was_accepted;
}

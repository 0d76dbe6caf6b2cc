/*
 * Chains: the pool that they come from, and stepping through their bytes. See vq_chain.h.
 */
#include "virtio/vq_chain.h"

#include <string.h>

#include "base/alloc.h"

#define CHAIN_ALIGN 16
#define CHAIN_SIZE  align_up(sizeof(struct vq_chain), CHAIN_ALIGN)

static size_t vq_views_max(const struct vq *q)
{
	return (size_t)q->max_segs + VQ_SPARE_VIEWS;
}

static size_t vq_vectors_offset(const struct vq *q)
{
	return CHAIN_SIZE + align_up(q->request_size, CHAIN_ALIGN);
}

/* Sized for every descriptor being a chain of its own; only what is used is ever touched. */
int vq_pool_init(struct vq *q)
{
	size_t vectors = vq_views_max(q) * (sizeof(struct iovec) + sizeof(struct gmem_view));

	q->pool_stride = align_up(vq_vectors_offset(q) + vectors, CHAIN_ALIGN);
	q->pool = alloc_try(q->config.size, q->pool_stride);
	q->pool_made = 0;
	q->pool_free = NULL;
	return q->pool ? 0 : -ENOMEM;
}

void vq_pool_fini(struct vq *q)
{
	assert(q->in_flight == 0);
	free(q->pool);
	q->pool = NULL;
	q->pool_free = NULL;
}

static struct vq_chain *vq_pool_make(struct vq *q)
{
	if (q->pool_made == q->config.size)
		return NULL;

	struct vq_chain *c = (struct vq_chain *)(q->pool + q->pool_made++ * q->pool_stride);

	c->vq = q;
	c->iov = (struct iovec *)((u8 *)c + vq_vectors_offset(q));
	c->views = (struct gmem_view *)(c->iov + vq_views_max(q));
	return c;
}

struct vq_chain *vq_chain_get(struct vq *q)
{
	struct vq_chain *c = q->pool_free;

	if (c)
		q->pool_free = c->next_free;
	else
		c = vq_pool_make(q);
	if (!c)
		return NULL;
	c->status = NULL;
	c->n_buffers = c->n_views = c->at_read = c->end_read = c->at_write = c->end_write = 0;
	c->readable = c->writable = c->room = 0;
	q->in_flight++;
	return c;
}

void vq_chain_put(struct vq_chain *c)
{
	struct vq *q = c->vq;

	assert(q->in_flight > 0);
	for (u32 i = 0; i < c->n_views; i++)
		gmem_view_release(&c->views[i]);
	c->next_free = q->pool_free;
	q->pool_free = c;
	q->in_flight--;
}

static const char *vq_chain_add_view(struct vq_chain *c, gpa_t gpa, u32 len, bool is_writable)
{
	struct gmem_view *view = &c->views[c->n_views];

	if (c->n_views == vq_views_max(c->vq))
		return "chain has too many buffers";
	if (gmem_view_open(c->vq->gmem, gpa, len, is_writable, view) < 0)
		return "buffer is not in guest memory";
	c->iov[c->n_views++] = (struct iovec){.iov_base = view->ptr, .iov_len = view->size};
	return NULL;
}

static const char *vq_chain_add_views(struct vq_chain *c, gpa_t gpa, u32 len, bool is_writable)
{
	if (gpa > UINT64_MAX - len)
		return "buffer is not in guest memory";
	for (u64 done = 0; done < len; done += c->views[c->n_views - 1].size) {
		const char *why = vq_chain_add_view(c, gpa + done, len - (u32)done, is_writable);

		if (why)
			return why;
	}
	return NULL;
}

const char *vq_chain_add(struct vq_chain *c, gpa_t gpa, u32 len, bool is_writable)
{
	const char *why;

	if (++c->n_buffers > c->vq->max_segs)
		return "chain has too many buffers";
	if (!is_writable && c->room)
		return "readable buffer behind a writable one";
	if (c->readable + c->writable + len > UINT32_MAX)
		return "chain is longer than 2^32 bytes";
	why = vq_chain_add_views(c, gpa, len, is_writable);
	if (why)
		return why;
	if (is_writable) {
		c->writable = c->room = c->writable + len;
	} else {
		c->readable += len;
		c->end_read = c->at_write = c->n_views;
	}
	c->end_write = c->n_views;
	return NULL;
}

/* Steps over up to size bytes of the vectors from *at on, copying when there is a buffer. */
static void vq_iov_step(struct iovec *iov, u32 *at, u64 size, void *to, const void *from)
{
	for (u64 done = 0; done < size;) {
		struct iovec *v = &iov[*at];
		size_t n = MIN(v->iov_len, size - done);

		if (to)
			memcpy((u8 *)to + done, v->iov_base, n);
		if (from)
			memcpy(v->iov_base, (const u8 *)from + done, n);
		v->iov_base = (u8 *)v->iov_base + n;
		v->iov_len -= n;
		done += n;
		if (v->iov_len == 0)
			++*at;
	}
}

bool vq_take(struct vq_chain *c, void *buf, u64 size)
{
	if (size > c->readable)
		return false;
	vq_iov_step(c->iov, &c->at_read, size, buf, NULL);
	c->readable -= size;
	return true;
}

bool vq_put(struct vq_chain *c, const void *buf, u64 size)
{
	if (size > c->writable)
		return false;
	vq_iov_step(c->iov, &c->at_write, size, NULL, buf);
	c->writable -= size;
	return true;
}

void vq_skip_readable(struct vq_chain *c, u64 size)
{
	assert(size <= c->readable);
	vq_iov_step(c->iov, &c->at_read, size, NULL, NULL);
	c->readable -= size;
}

void vq_skip_writable(struct vq_chain *c, u64 size)
{
	assert(size <= c->writable);
	vq_iov_step(c->iov, &c->at_write, size, NULL, NULL);
	c->writable -= size;
}

/* Vectors are never empty, so that the last byte is at the end of the last one. */
bool vq_reserve_status(struct vq_chain *c)
{
	assert(!c->status);
	if (c->writable == 0)
		return false;

	struct iovec *last = &c->iov[c->end_write - 1];

	last->iov_len--;
	c->writable--;
	c->status = (u8 *)last->iov_base + last->iov_len;
	if (last->iov_len == 0)
		c->end_write--;
	return true;
}

void vq_rewind(struct vq_chain *c)
{
	c->readable = 0;
	for (u32 i = 0; i < c->n_views; i++) {
		const struct gmem_view *view = &c->views[i];

		c->iov[i] = (struct iovec){.iov_base = view->ptr, .iov_len = view->size};
		c->readable += i < c->end_read ? view->size : 0;
	}
	c->writable = c->room;
	c->at_read = 0;
	c->at_write = c->end_read;
	c->end_write = c->n_views;
	c->status = NULL;
}

void vq_put_status(struct vq_chain *c, u8 status)
{
	assert(c->status);
	*c->status = status;
}

u64 vq_readable(const struct vq_chain *c)
{
	return c->readable;
}

u64 vq_writable(const struct vq_chain *c)
{
	return c->writable;
}

const struct iovec *vq_readable_iov(const struct vq_chain *c, u32 *out_n)
{
	*out_n = c->end_read - c->at_read;
	return &c->iov[c->at_read];
}

const struct iovec *vq_writable_iov(const struct vq_chain *c, u32 *out_n)
{
	*out_n = c->end_write - c->at_write;
	return &c->iov[c->at_write];
}

void *vq_private(struct vq_chain *c)
{
	return (u8 *)c + CHAIN_SIZE;
}

struct vq_chain *vq_chain_of(void *private_bytes)
{
	return (struct vq_chain *)((u8 *)private_bytes - CHAIN_SIZE);
}

struct vq *vq_of(const struct vq_chain *c)
{
	return c->vq;
}

/*
 * Virtqueues: chains in flight, and what starts and stops a queue. The ring itself is a layout's:
 * vq_split.c, vq_packed.c. See vq.h.
 */
#include "virtio/vq.h"

#include "virtio/vq_chain.h"
#include "virtio/vq_layout.h"

void vq_init(struct vq *q, const struct vq_ops *ops, void *owner, struct gmem *gmem, u16 index)
{
	assert(is_power_of_two(q->max_size) && q->max_size <= VQ_SIZE_MAX);
	assert(q->max_segs > 0 && q->max_segs <= VQ_SEGS_MAX);
	q->ops = ops;
	q->owner = owner;
	q->gmem = gmem;
	q->index = index;
	q->config.size = q->max_size;
}

void vq_fini(struct vq *q)
{
	if (q->is_started)
		vq_stop(q);
	vq_pool_fini(q);
}

bool vq_can_size(const struct vq *q, u64 features, u64 size)
{
	return size && size <= q->max_size &&
	       (features & VIRTIO_F_RING_PACKED || is_power_of_two(size));
}

/* The layout's views are open: the rest of what a running queue has. */
static int vq_start_chains(struct vq *q, const char **out_why)
{
	vq_pool_fini(q);
	if (vq_pool_init(q) < 0) {
		*out_why = "no memory for the queue's requests";
		return -ENOMEM;
	}
	q->seen_avail = q->next_avail;
	q->published = q->next_used;
	q->is_broken = false;
	q->is_started = true;
	return 0;
}

int vq_start(struct vq *q, u64 features, const char **out_why)
{
	int r;

	assert(!q->is_started && q->in_flight == 0);
	if (!vq_can_size(q, features, q->config.size)) {
		*out_why = "queue size is not possible";
		return -EINVAL;
	}
	q->has_event_idx = features & VIRTIO_F_EVENT_IDX;
	q->has_indirect = features & VIRTIO_F_INDIRECT_DESC;
	q->layout = features & VIRTIO_F_RING_PACKED ? &vq_packed : &vq_split;

	const char *why = q->layout->open(q);

	if (why) {
		*out_why = why;
		return -EINVAL;
	}
	r = vq_start_chains(q, out_why);
	if (r < 0)
		q->layout->close(q);
	return r;
}

void vq_stop(struct vq *q)
{
	if (!q->is_started)
		return;
	q->is_started = false;
	q->layout->close(q);
}

void vq_reset(struct vq *q)
{
	assert(q->in_flight == 0);
	vq_stop(q);
	vq_pool_fini(q);
	q->config = (struct vq_config){.size = q->max_size};
	q->next_avail = q->next_used = 0;
	q->is_broken = false;
}

void vq_break(struct vq *q, const char *why)
{
	if (q->is_broken)
		return;
	q->is_broken = true;
	q->ops->broken(q, why);
}

/* --- taking --- */

bool vq_has_chains(struct vq *q)
{
	const char *why = NULL;

	if (!vq_is_running(q) || q->is_paused)
		return false;
	if (q->layout->has_chain(q, &why))
		return true;
	if (why)
		vq_break(q, why);
	return false;
}

struct vq_chain *vq_pop(struct vq *q)
{
	if (!vq_has_chains(q))
		return NULL;

	struct vq_chain *c = vq_chain_get(q);

	if (!c) {
		vq_break(q, "more chains than the ring has descriptors");
		return NULL;
	}
	c->position = q->next_avail;

	const char *why = q->layout->read(q, c);

	if (why) {
		vq_chain_put(c);
		vq_break(q, why);
		return NULL;
	}
	c->next_position = q->next_avail;
	return c;
}

static void vq_chain_gone(struct vq *q)
{
	if (q->in_flight == 0)
		q->ops->idle(q);
}

void vq_unpop(struct vq_chain *c)
{
	struct vq *q = c->vq;

	assert(c->next_position == q->next_avail);
	q->next_avail = c->position;
	vq_chain_put(c);
	vq_chain_gone(q);
}

/* --- giving back --- */

void vq_push(struct vq_chain *c, u32 written)
{
	struct vq *q = c->vq;

	assert(written <= c->room);
	/* Its pages are marked first; the numbers in it outlive that. */
	vq_chain_put(c);
	if (vq_is_running(q))
		q->layout->write_used(q, c, written);
	vq_chain_gone(q);
}

void vq_publish(struct vq *q)
{
	if (vq_is_running(q) && q->published != q->next_used && q->layout->publish(q))
		q->ops->interrupt(q);
}

void vq_disable_notify(struct vq *q)
{
	if (vq_is_running(q))
		q->layout->notify_off(q);
}

bool vq_enable_notify(struct vq *q)
{
	if (!vq_is_running(q))
		return false;
	q->layout->notify_on(q);
	return vq_has_chains(q);
}

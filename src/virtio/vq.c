/*
 * Virtqueues: positions in the ring, chains in flight, and what stops a queue. The ring itself is
 * vq_split.c's. See vq.h.
 *
 *     published <= next_used <= next_avail <= seen_avail <= next_used + size     (modulo 2^16)
 *
 * holds for a driver that keeps the rules; one that does not is caught by the distance of its
 * index, or by the pool of chains, which has as many as the ring has descriptors.
 */
#include "virtio/vq.h"

#include "virtio/vq_chain.h"
#include "virtio/vq_split.h"

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

int vq_start(struct vq *q, bool has_event_idx, bool has_indirect, const char **out_why)
{
	assert(!q->is_started && q->in_flight == 0);
	q->has_event_idx = has_event_idx;
	q->has_indirect = has_indirect;

	const char *why = vq_split_open(q);

	if (why) {
		*out_why = why;
		return -EINVAL;
	}
	vq_pool_fini(q);
	if (vq_pool_init(q) < 0) {
		vq_split_close(q);
		*out_why = "no memory for the queue's requests";
		return -ENOMEM;
	}
	q->seen_avail = q->next_avail;
	q->published = q->next_used;
	q->is_broken = false;
	q->is_started = true;
	return 0;
}

void vq_stop(struct vq *q)
{
	if (!q->is_started)
		return;
	q->is_started = false;
	vq_split_close(q);
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
	if (!vq_is_running(q) || q->is_paused)
		return false;
	if (q->next_avail != q->seen_avail)
		return true;

	u16 idx = vq_split_avail_idx(q);

	if ((u16)(idx - q->next_avail) > q->config.size) {
		vq_break(q, "available index ran further than the ring");
		return false;
	}
	q->seen_avail = idx;
	return idx != q->next_avail;
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

	const char *why = vq_split_read(q, q->next_avail, c);

	if (why) {
		vq_chain_put(c);
		vq_break(q, why);
		return NULL;
	}
	c->position = q->next_avail++;
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

	assert(c->position == (u16)(q->next_avail - 1));
	q->next_avail--;
	vq_chain_put(c);
	vq_chain_gone(q);
}

/* --- giving back --- */

void vq_push(struct vq_chain *c, u32 written)
{
	struct vq *q = c->vq;
	u16 head = c->head;

	assert(written <= c->room);
	vq_chain_put(c);
	if (vq_is_running(q))
		vq_split_write_used(q, q->next_used++, head, written);
	vq_chain_gone(q);
}

void vq_publish(struct vq *q)
{
	if (!vq_is_running(q) || q->published == q->next_used)
		return;

	u16 old = q->published;

	q->published = q->next_used;
	vq_split_publish(q, q->published);
	if (vq_split_wants_interrupt(q, old, q->published))
		q->ops->interrupt(q);
}

void vq_disable_notify(struct vq *q)
{
	if (vq_is_running(q))
		vq_split_notify_off(q);
}

bool vq_enable_notify(struct vq *q)
{
	if (!vq_is_running(q))
		return false;
	vq_split_notify_on(q);
	q->seen_avail = q->next_avail; /* the index is read again, after asking */
	return vq_has_chains(q);
}

/*
 * Split rings: descriptor table, available ring, used ring (virtio 1.2, 2.7).
 *
 *     published <= next_used <= next_avail <= seen_avail <= next_used + size     (modulo 2^16)
 *
 * holds for a driver that keeps the rules; one that does not is caught by the distance of its
 * index, or by the pool of chains, which has as many as the ring has descriptors.
 *
 * The driver is hostile and may write any of this at any time. Each field is loaded once, into a
 * local, and only the local is checked and used. A chain visits at most as many descriptors as its
 * table has, which ends loops.
 *
 * Ordering. Indices, flags and events are atomics (vq_layout.h).
 *
 * - The driver fills descriptors and ring entry, then stores idx (2.7.13.3). We load idx, an
 *   acquire, before the entry and descriptors: what is below the index was written before it.
 * - We write used elements and buffers, and mark their pages (gmem), then store the used idx, a
 *   release: a driver that sees the index sees the bytes, and the marks are there before the guest
 *   can know of the completion.
 * - Interrupt suppression is Dekker's pattern: we store used idx, then load used_event; the driver
 *   stores used_event, then loads used idx, with a fence between (2.7.7.2). Our store and load are
 *   sequentially consistent (the store is an xchg), so at least one side sees the other: either we
 *   see the new event and interrupt, or the driver finds our entry by itself.
 * - Notification suppression is the mirror image: we store avail_event or the flag, then load the
 *   available index; the driver stores the index, fences, loads the event (2.7.10).
 */
#include <string.h>

#include "virtio/vq_layout.h"
#include "virtio/vq_regs.h"

static u64 vq_slot(const struct vq *q, u16 index)
{
	return index & (q->config.size - 1u);
}

static const char *vq_split_open(struct vq *q)
{
	const struct vq_config *c = &q->config;

	if (!is_aligned(c->desc, VQ_DESC_ALIGN) || !is_aligned(c->driver, VQ_AVAIL_ALIGN) ||
	    !is_aligned(c->device, VQ_USED_ALIGN))
		return "ring is not aligned";
	if (!vq_part_open(q, c->desc, vq_desc_bytes(c->size), false, &q->desc))
		return "descriptor table is not in guest memory";
	if (!vq_part_open(q, c->driver, vq_avail_bytes(c->size, q->has_event_idx), false,
			  &q->driver)) {
		gmem_view_release(&q->desc);
		return "available ring is not in guest memory";
	}
	if (!vq_part_open(q, c->device, vq_used_bytes(c->size, q->has_event_idx), true,
			  &q->device)) {
		gmem_view_release(&q->desc);
		gmem_view_release(&q->driver);
		return "used ring is not in guest memory";
	}
	return NULL;
}

static void vq_split_close(struct vq *q)
{
	gmem_view_release(&q->desc);
	gmem_view_release(&q->driver);
	gmem_view_release(&q->device);
}

static bool vq_split_has_chain(struct vq *q, const char **out_why)
{
	u16 idx;

	if (q->next_avail != q->seen_avail)
		return true;
	idx = vq_ring_load(&q->driver, VQ_RING_IDX);
	if ((u16)(idx - q->next_avail) > q->config.size) {
		*out_why = "available index ran further than the ring";
		return false;
	}
	q->seen_avail = idx;
	return idx != q->next_avail;
}

/* --- descriptors --- */

struct vq_desc {
	u64 addr;
	u32 len;
	u16 flags;
	u16 next;
};

/* A descriptor table, the ring's or an indirect one. */
struct vq_table {
	const u8 *ptr;
	u32 entries;
};

/* One copy, from which the compiler can't go back to guest memory. */
static struct vq_desc vq_desc_load(const struct vq_table *t, u32 index)
{
	struct vq_desc_wire w;

	assert(index < t->entries);
	memcpy(&w, t->ptr + (size_t)index * sizeof(w), sizeof(w));
	asm volatile("" : "+m"(w));
	return (struct vq_desc){
		.addr = le64_get(w.addr),
		.len = le32_get(w.len),
		.flags = le16_get(w.flags),
		.next = le16_get(w.next),
	};
}

/*
 * Adds the descriptors from index on. When the chain ends in a reference to an indirect table, that
 * goes to *out_indirect.
 */
static const char *vq_walk(struct vq_chain *c, const struct vq_table *t, u32 index,
			   struct vq_desc *out_indirect)
{
	for (u32 visited = 0; visited < t->entries; visited++) {
		if (index >= t->entries)
			return "descriptor index is beyond the table";

		struct vq_desc d = vq_desc_load(t, index);

		if (d.flags & VQ_DESC_INDIRECT) {
			*out_indirect = d;
			return NULL;
		}

		const char *why = vq_chain_add(c, d.addr, d.len, d.flags & VQ_DESC_WRITE);

		if (why || !(d.flags & VQ_DESC_NEXT))
			return why;
		index = d.next;
	}
	return "chain has a loop";
}

/* 2.7.5.3: a table of its own, instead of buffers of the ring's table or behind them. */
static const char *vq_walk_indirect(struct vq_chain *c, const struct vq_desc *ref)
{
	struct vq_desc nested = {0};
	struct gmem_view view;
	const char *why;

	if (ref->flags & VQ_DESC_NEXT)
		return "indirect descriptor with a successor";
	why = vq_open_indirect(c->vq, ref->addr, ref->len, sizeof(struct vq_desc_wire), &view);
	if (why)
		return why;

	const struct vq_table table = {
		.ptr = view.ptr,
		.entries = (u32)(ref->len / sizeof(struct vq_desc_wire)),
	};

	why = vq_walk(c, &table, 0, &nested);
	gmem_view_release(&view);
	if (!why && nested.flags)
		return "indirect table inside an indirect table";
	return why;
}

static const char *vq_split_read(struct vq *q, struct vq_chain *c)
{
	const struct vq_table ring = {.ptr = q->desc.ptr, .entries = q->config.size};
	u64 slot = vq_slot(q, q->next_avail);
	struct vq_desc indirect = {0};
	const char *why;

	c->id = vq_ring_load(&q->driver, VQ_RING_ARRAY + slot * sizeof(le16));
	why = vq_walk(c, &ring, c->id, &indirect);
	if (!why && indirect.flags)
		why = vq_walk_indirect(c, &indirect);
	if (!why)
		q->next_avail++;
	return why;
}

/* --- the used ring --- */

static void vq_split_write_used(struct vq *q, const struct vq_chain *c, u32 written)
{
	const struct vq_used_wire e = {.id = le32_of(c->id), .len = le32_of(written)};
	u64 off = VQ_RING_ARRAY + vq_slot(q, q->next_used++) * sizeof(e);

	memcpy(q->device.ptr + off, &e, sizeof(e));
	gmem_block_written(q->device.block, q->device.offset + off, sizeof(e));
}

/* 2.7.10.1: was event among the entries [old, new)? All modulo 2^16. */
static bool vq_event_passed(u16 event, u16 old, u16 new)
{
	return (u16)(new - event - 1) < (u16)(new - old);
}

static bool vq_split_publish(struct vq *q)
{
	u16 old = q->published;

	q->published = q->next_used;
	vq_ring_store(&q->device, VQ_RING_IDX, q->published);
	if (!q->has_event_idx)
		return !(vq_ring_load(&q->driver, VQ_RING_FLAGS) & VQ_AVAIL_NO_INTERRUPT);
	return vq_event_passed(vq_ring_load(&q->driver, vq_used_event_off(q->config.size)), old,
			       q->published);
}

static void vq_split_notify_on(struct vq *q)
{
	if (q->has_event_idx)
		vq_ring_store(&q->device, vq_avail_event_off(q->config.size), q->next_avail);
	else
		vq_ring_store(&q->device, VQ_RING_FLAGS, 0);
	q->seen_avail = q->next_avail; /* the index is read again, after asking */
}

/* With the event index an event left behind is enough: no new chain passes it for 2^16 chains. */
static void vq_split_notify_off(struct vq *q)
{
	if (!q->has_event_idx)
		vq_ring_store(&q->device, VQ_RING_FLAGS, VQ_USED_NO_NOTIFY);
}

const struct vq_layout vq_split = {
	.open = vq_split_open,
	.close = vq_split_close,
	.has_chain = vq_split_has_chain,
	.read = vq_split_read,
	.write_used = vq_split_write_used,
	.publish = vq_split_publish,
	.notify_on = vq_split_notify_on,
	.notify_off = vq_split_notify_off,
};

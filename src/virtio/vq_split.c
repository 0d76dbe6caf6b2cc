/*
 * Split rings: descriptor table, available ring, used ring (virtio 1.2, 2.7).
 *
 * The driver is hostile and may write any of this at any time. Each field is loaded once, into a
 * local, and only the local is checked and used. A chain visits at most as many descriptors as its
 * table has, which ends loops.
 *
 * Ordering. Indices, flags and events are atomics; all else is ordered by them.
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
#include "virtio/vq_split.h"

#include <string.h>

#include "virtio/vq_chain.h"
#include "virtio/vq_regs.h"

static u16 vq_ring_load(const struct gmem_view *ring, u64 off)
{
	assert(range_fits(off, sizeof(u16), ring->size));
	return __atomic_load_n((const u16 *)(ring->ptr + off), __ATOMIC_SEQ_CST);
}

/* Marked after the store: a log taken between the two is taken again before the guest moves. */
static void vq_used_store(struct vq *q, u64 off, u16 value)
{
	assert(range_fits(off, sizeof(u16), q->device.size));
	__atomic_store_n((u16 *)(q->device.ptr + off), value, __ATOMIC_SEQ_CST);
	gmem_block_written(q->device.block, q->device.offset + off, sizeof(u16));
}

static u64 vq_slot(const struct vq *q, u16 index)
{
	return index & (q->config.size - 1u);
}

static bool vq_part_open(struct vq *q, gpa_t gpa, u64 size, bool is_writable, struct gmem_view *out)
{
	if (gmem_view_open(q->gmem, gpa, size, is_writable, out) < 0)
		return false;
	if (out->size == size)
		return true;
	gmem_view_release(out);
	return false;
}

const char *vq_split_open(struct vq *q)
{
	const struct vq_config *c = &q->config;

	if (!is_power_of_two(c->size) || c->size > q->max_size)
		return "queue size is not a power of two within the limit";
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

void vq_split_close(struct vq *q)
{
	gmem_view_release(&q->desc);
	gmem_view_release(&q->driver);
	gmem_view_release(&q->device);
}

u16 vq_split_avail_idx(const struct vq *q)
{
	return vq_ring_load(&q->driver, VQ_RING_IDX);
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

static const char *vq_chain_error(int r)
{
	switch (r) {
	case 0:
		return NULL;
	case -EOVERFLOW:
		return "chain is longer than 2^32 bytes";
	case -E2BIG:
		return "chain has too many buffers";
	default:
		return "buffer is not in guest memory";
	}
}

static const char *vq_add_desc(struct vq_chain *c, const struct vq_desc *d)
{
	bool is_writable = d->flags & VQ_DESC_WRITE;

	if (!is_writable && c->room)
		return "readable buffer behind a writable one";
	return vq_chain_error(vq_chain_add(c, d->addr, d->len, is_writable));
}

/*
 * Adds the descriptors from index on. *buffers counts them over both tables. When the chain ends
 * in a reference to an indirect table, that goes to *out_indirect.
 */
static const char *vq_walk(struct vq_chain *c, const struct vq_table *t, u32 index, u32 *buffers,
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
		if (++*buffers > c->vq->max_segs)
			return "chain has too many buffers";

		const char *why = vq_add_desc(c, &d);

		if (why || !(d.flags & VQ_DESC_NEXT))
			return why;
		index = d.next;
	}
	return "chain has a loop";
}

/* 2.7.5.3: a table of its own, instead of buffers of the ring's table or behind them. */
static const char *vq_walk_indirect(struct vq_chain *c, const struct vq_desc *ref, u32 *buffers)
{
	struct vq *q = c->vq;
	struct vq_desc nested = {0};
	struct gmem_view view;

	if (!q->has_indirect)
		return "indirect descriptor without the feature";
	if (ref->flags & VQ_DESC_NEXT)
		return "indirect descriptor with a successor";
	if (!ref->len || ref->len % sizeof(struct vq_desc_wire))
		return "indirect table of odd size";
	if (!vq_part_open(q, ref->addr, ref->len, false, &view))
		return "indirect table is not in guest memory";

	const struct vq_table table = {
		.ptr = view.ptr,
		.entries = (u32)(ref->len / sizeof(struct vq_desc_wire)),
	};
	const char *why = vq_walk(c, &table, 0, buffers, &nested);

	gmem_view_release(&view);
	if (!why && nested.flags)
		return "indirect table inside an indirect table";
	return why;
}

const char *vq_split_read(struct vq *q, u16 index, struct vq_chain *c)
{
	const struct vq_table ring = {.ptr = q->desc.ptr, .entries = q->config.size};
	struct vq_desc indirect = {0};
	u32 buffers = 0;
	u16 head = vq_ring_load(&q->driver, VQ_RING_ARRAY + vq_slot(q, index) * sizeof(le16));

	c->head = head;

	const char *why = vq_walk(c, &ring, head, &buffers, &indirect);

	if (!why && indirect.flags)
		why = vq_walk_indirect(c, &indirect, &buffers);
	return why;
}

/* --- the used ring --- */

void vq_split_write_used(struct vq *q, u16 index, u16 head, u32 written)
{
	const struct vq_used_wire e = {.id = le32_of(head), .len = le32_of(written)};
	u64 off = VQ_RING_ARRAY + vq_slot(q, index) * sizeof(e);

	memcpy(q->device.ptr + off, &e, sizeof(e));
	gmem_block_written(q->device.block, q->device.offset + off, sizeof(e));
}

void vq_split_publish(struct vq *q, u16 idx)
{
	vq_used_store(q, VQ_RING_IDX, idx);
}

/* 2.7.10.1: was event among the entries [old, new)? All modulo 2^16. */
static bool vq_event_passed(u16 event, u16 old, u16 new)
{
	return (u16)(new - event - 1) < (u16)(new - old);
}

bool vq_split_wants_interrupt(const struct vq *q, u16 old, u16 new)
{
	if (!q->has_event_idx)
		return !(vq_ring_load(&q->driver, VQ_RING_FLAGS) & VQ_AVAIL_NO_INTERRUPT);
	return vq_event_passed(vq_ring_load(&q->driver, vq_used_event_off(q->config.size)), old,
			       new);
}

void vq_split_notify_on(struct vq *q)
{
	if (q->has_event_idx)
		vq_used_store(q, vq_avail_event_off(q->config.size), q->next_avail);
	else
		vq_used_store(q, VQ_RING_FLAGS, 0);
}

/* With the event index an event left behind is enough: no new chain passes it for 2^16 chains. */
void vq_split_notify_off(struct vq *q)
{
	if (!q->has_event_idx)
		vq_used_store(q, VQ_RING_FLAGS, VQ_USED_NO_NOTIFY);
}

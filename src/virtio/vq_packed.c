/*
 * Packed rings: one ring of descriptors that driver and device both write (virtio 1.2, 2.8).
 *
 *          published        next_used           next_avail
 *     ... |  used, not yet  |  chains in flight  |  the driver's, or made available by it ...
 *          shown
 *
 * A position is a slot of the ring and, in VQ_LAP, the parity of the round through it; the wrap
 * counter of the specification is 1 in even rounds. From published to next_avail is never more than
 * the ring: a chain that would run into what the driver wasn't given back breaks the queue.
 *
 * A chain takes as many slots as it has descriptors, one if they are in an indirect table. Its used
 * entry stands in the first slot that it frees; the others are skipped.
 *
 * The driver is hostile and may write any of this at any time. Each descriptor is copied once, and
 * only the copy is checked and used.
 *
 * Ordering. The flags of a chain's first descriptor, and events, are atomics (vq_layout.h).
 *
 * - The driver writes a chain, then its first descriptor's flags (2.8.21). We load these flags, an
 *   acquire, before anything else of the chain.
 * - We write used entries, the flags of the first excepted; publishing stores those, a release. The
 *   driver looks at entries in order, so that one store shows it all of them at once.
 * - Suppression is Dekker's pattern both ways, as in split rings: store flags, then load the event;
 *   store the event, then load flags. An event is stored as one 32-bit word.
 */
#include <string.h>

#include "virtio/vq_layout.h"
#include "virtio/vq_regs.h"

#define VQ_LAP BIT32(15)

static_assert(VQ_SIZE_MAX < VQ_LAP, "a slot and its lap share 16 bits");

/* --- positions --- */

static u32 vq_slot(u16 position)
{
	return position & ~VQ_LAP;
}

static bool vq_wrap(u16 position)
{
	return !(position & VQ_LAP);
}

static u16 vq_step(const struct vq *q, u16 position, u32 n)
{
	u32 slot = vq_slot(position) + n;
	u32 lap = position & VQ_LAP;

	assert(n <= q->config.size);
	return (u16)(slot < q->config.size ? slot | lap : (slot - q->config.size) | (lap ^ VQ_LAP));
}

/* Counted over an even and an odd round; what a driver says may be anything. */
static u32 vq_linear(const struct vq *q, u16 position)
{
	return (vq_slot(position) + (position & VQ_LAP ? q->config.size : 0u)) %
	       (2u * q->config.size);
}

static u32 vq_distance(const struct vq *q, u16 from, u16 to)
{
	u32 round = 2u * q->config.size;

	return (vq_linear(q, to) + round - vq_linear(q, from)) % round;
}

/* --- opening --- */

static bool vq_positions_are_ok(const struct vq *q)
{
	return vq_slot(q->next_avail) < q->config.size && vq_slot(q->next_used) < q->config.size &&
	       vq_distance(q, q->next_used, q->next_avail) <= q->config.size;
}

static const char *vq_packed_open(struct vq *q)
{
	const struct vq_config *c = &q->config;

	if (!is_aligned(c->desc, VQ_DESC_ALIGN) || !is_aligned(c->driver, VQ_EVENT_ALIGN) ||
	    !is_aligned(c->device, VQ_EVENT_ALIGN))
		return "ring is not aligned";
	if (!vq_positions_are_ok(q))
		return "positions are beyond the ring";
	if (!vq_part_open(q, c->desc, vq_desc_bytes(c->size), true, &q->desc))
		return "descriptor ring is not in guest memory";
	if (!vq_part_open(q, c->driver, sizeof(struct vq_event_wire), false, &q->driver)) {
		gmem_view_release(&q->desc);
		return "driver's event suppression is not in guest memory";
	}
	if (!vq_part_open(q, c->device, sizeof(struct vq_event_wire), true, &q->device)) {
		gmem_view_release(&q->desc);
		gmem_view_release(&q->driver);
		return "device's event suppression is not in guest memory";
	}
	return NULL;
}

static void vq_packed_close(struct vq *q)
{
	gmem_view_release(&q->desc);
	gmem_view_release(&q->driver);
	gmem_view_release(&q->device);
}

/* --- taking --- */

static u64 vq_desc_off(u16 position)
{
	return (u64)vq_slot(position) * sizeof(struct vq_packed_desc_wire);
}

static u64 vq_flags_off(u16 position)
{
	return vq_desc_off(position) + offsetof(struct vq_packed_desc_wire, flags);
}

static bool vq_packed_has_chain(struct vq *q, unused const char **out_why)
{
	u16 flags = vq_ring_load(&q->desc, vq_flags_off(q->next_avail));
	bool wrap = vq_wrap(q->next_avail);

	return !!(flags & VQ_PACKED_AVAIL) == wrap && !!(flags & VQ_PACKED_USED) != wrap;
}

/* One copy, from which the compiler can't go back to guest memory. */
static struct vq_packed_desc_wire vq_packed_desc_load(const struct gmem_view *v, u64 off)
{
	struct vq_packed_desc_wire w;

	assert(range_fits(off, sizeof(w), v->size));
	memcpy(&w, v->ptr + off, sizeof(w));
	asm volatile("" : "+m"(w));
	return w;
}

static const char *vq_packed_add(struct vq_chain *c, const struct vq_packed_desc_wire *d)
{
	return vq_chain_add(c, le64_get(d->addr), le32_get(d->len),
			    le16_get(d->flags) & VQ_DESC_WRITE);
}

/* 2.8.7: all entries of the table, one behind the other; of their flags only WRITE counts. */
static const char *vq_packed_add_indirect(struct vq_chain *c, const struct vq_packed_desc_wire *ref)
{
	struct gmem_view view;
	const char *why = vq_open_indirect(c->vq, le64_get(ref->addr), le32_get(ref->len),
					   sizeof(*ref), &view);

	if (why)
		return why;
	for (u64 off = 0; off < view.size && !why; off += sizeof(*ref)) {
		struct vq_packed_desc_wire d = vq_packed_desc_load(&view, off);

		why = vq_packed_add(c, &d);
	}
	gmem_view_release(&view);
	return why;
}

static const char *vq_packed_read(struct vq *q, struct vq_chain *c)
{
	u32 room = q->config.size - vq_distance(q, q->published, q->next_avail);
	u16 at = q->next_avail, flags;

	c->n_slots = 0;
	do {
		struct vq_packed_desc_wire d = vq_packed_desc_load(&q->desc, vq_desc_off(at));
		const char *why;

		flags = le16_get(d.flags);
		if (++c->n_slots > room)
			return "chain runs into descriptors that are not the driver's";
		if (flags & VQ_DESC_INDIRECT && (flags & VQ_DESC_NEXT || c->n_slots > 1))
			return "indirect descriptor in a list";
		why = flags & VQ_DESC_INDIRECT ? vq_packed_add_indirect(c, &d)
					       : vq_packed_add(c, &d);
		if (why)
			return why;
		c->id = le16_get(d.id);
		at = vq_step(q, at, 1);
	} while (flags & VQ_DESC_NEXT);
	q->next_avail = at;
	return NULL;
}

/* --- giving back --- */

static void vq_packed_write_used(struct vq *q, const struct vq_chain *c, u32 written)
{
	u64 off = vq_desc_off(q->next_used);
	u32 mark = vq_wrap(q->next_used) ? VQ_PACKED_AVAIL | VQ_PACKED_USED : 0;
	u16 flags = (u16)(mark | (c->room ? VQ_DESC_WRITE : 0));
	u8 *desc = q->desc.ptr + off;

	le32_store(desc + offsetof(struct vq_packed_desc_wire, len), written);
	le16_store(desc + offsetof(struct vq_packed_desc_wire, id), c->id);
	if (q->next_used == q->published)
		q->held_flags = flags;
	else
		le16_store(desc + offsetof(struct vq_packed_desc_wire, flags), flags);
	gmem_block_written(q->desc.block, q->desc.offset + off, sizeof(struct vq_packed_desc_wire));
	q->next_used = vq_step(q, q->next_used, c->n_slots);
}

/* 2.8.14.1: the position that the driver named is its own, with the wrap counter. */
static bool vq_packed_event_passed(const struct vq *q, u16 off_wrap, u16 old)
{
	u16 event = (u16)(off_wrap ^ VQ_EVENT_WRAP);
	u32 behind = vq_distance(q, event, q->published);

	static_assert(VQ_EVENT_WRAP == VQ_LAP, "the wrap counter is the lap, upside down");
	return behind && behind <= vq_distance(q, old, q->published);
}

static bool vq_packed_publish(struct vq *q)
{
	u16 old = q->published, flags;

	vq_ring_store(&q->desc, vq_flags_off(old), q->held_flags);
	q->published = q->next_used;
	flags = vq_ring_load(&q->driver, offsetof(struct vq_event_wire, flags));
	if (flags != VQ_EVENT_DESC || !q->has_event_idx)
		return flags != VQ_EVENT_DISABLE;
	return vq_packed_event_passed(
		q, vq_ring_load(&q->driver, offsetof(struct vq_event_wire, off_wrap)), old);
}

/* --- notifications --- */

static void vq_event_store(struct vq *q, u32 flags)
{
	u32 off_wrap = q->next_avail ^ VQ_EVENT_WRAP;

	__atomic_store_n((u32 *)q->device.ptr, off_wrap | flags << 16, __ATOMIC_SEQ_CST);
	gmem_block_written(q->device.block, q->device.offset, sizeof(u32));
}

static void vq_packed_notify_on(struct vq *q)
{
	vq_event_store(q, q->has_event_idx ? VQ_EVENT_DESC : VQ_EVENT_ENABLE);
}

/* With event positions one left behind is enough: it comes up once in two rounds. */
static void vq_packed_notify_off(struct vq *q)
{
	if (!q->has_event_idx)
		vq_event_store(q, VQ_EVENT_DISABLE);
}

const struct vq_layout vq_packed = {
	.open = vq_packed_open,
	.close = vq_packed_close,
	.has_chain = vq_packed_has_chain,
	.read = vq_packed_read,
	.write_used = vq_packed_write_used,
	.publish = vq_packed_publish,
	.notify_on = vq_packed_notify_on,
	.notify_off = vq_packed_notify_off,
};

/*
 * A guest's memory and a driver's rings. See fake_guest.h.
 */
#include "fake_guest.h"

#include "base/epoch.h"
#include "base/err.h"
#include "virtio/vq_regs.h"

void fake_guest_init(struct fake_guest *g)
{
	struct err err = ERR_INIT;
	int r;

	g->epoch = epoch_new();
	g->gmem = gmem_new(g->epoch, false);
	gmem_attach_thread(g->gmem);
	r = gmem_block_new(g->gmem, "ram", GMEM_ANON, FAKE_RAM_SIZE, -1, &g->ram, &err);
	if (!r)
		r = gmem_block_new(g->gmem, "rom", GMEM_ANON, PAGE_SIZE, -1, &g->rom, &err);
	if (!r)
		r = gmem_block_new(g->gmem, "high", GMEM_ANON, FAKE_HIGH_SIZE, -1, &g->high, &err);
	assert(!r);
	const struct gmem_range ranges[] = {
		{0, FAKE_RAM_SIZE, g->ram, 0, false},
		{FAKE_ROM_GPA, PAGE_SIZE, g->rom, 0, true},
		{FAKE_HIGH_GPA, FAKE_HIGH_SIZE, g->high, 0, false},
	};
	gmem_set_map(g->gmem, ranges, ARRAY_SIZE(ranges));
}

void fake_guest_fini(struct fake_guest *g)
{
	gmem_detach_thread(g->gmem);
	gmem_free(g->gmem);
	epoch_free(g->epoch);
}

void fake_guest_put(struct fake_guest *g, gpa_t gpa, const void *buf, u64 size)
{
	int r = gmem_write(g->gmem, gpa, buf, size);

	assert(!r);
}

void fake_guest_get(struct fake_guest *g, gpa_t gpa, void *buf, u64 size)
{
	int r = gmem_read(g->gmem, gpa, buf, size);

	assert(!r);
}

static void fake_put16(struct fake_guest *g, gpa_t gpa, u16 value)
{
	le16 v = le16_of(value);

	fake_guest_put(g, gpa, &v, sizeof(v));
}

static u16 fake_get16(struct fake_guest *g, gpa_t gpa)
{
	le16 v;

	fake_guest_get(g, gpa, &v, sizeof(v));
	return le16_get(v);
}

void fake_ring_init(struct fake_ring *r, struct fake_guest *g, gpa_t base, u16 size)
{
	int ret = gmem_fill(g->gmem, base, 0, FAKE_RING_BYTES);

	assert(!ret);
	*r = (struct fake_ring){
		.guest = g,
		.size = size,
		.desc = base,
		.driver = base + 0x4000,
		.device = base + 0x5000,
	};
}

void fake_table_desc(struct fake_guest *g, gpa_t table, u16 index, gpa_t gpa, u32 len, u16 flags,
		     u16 next)
{
	struct vq_desc_wire w = {
		.addr = le64_of(gpa),
		.len = le32_of(len),
		.flags = le16_of(flags),
		.next = le16_of(next),
	};

	fake_guest_put(g, table + (u64)index * sizeof(w), &w, sizeof(w));
}

void fake_ring_desc(struct fake_ring *r, u16 index, gpa_t gpa, u32 len, u16 flags, u16 next)
{
	fake_table_desc(r->guest, r->desc, index, gpa, len, flags, next);
}

void fake_ring_set_avail_idx(struct fake_ring *r, u16 idx)
{
	r->avail_idx = idx;
	fake_put16(r->guest, r->driver + VQ_RING_IDX, idx);
}

void fake_ring_offer(struct fake_ring *r, u16 head)
{
	u64 slot = r->avail_idx % r->size;

	fake_put16(r->guest, r->driver + VQ_RING_ARRAY + slot * sizeof(le16), head);
	fake_ring_set_avail_idx(r, r->avail_idx + 1);
}

/* --- packed rings --- */

void fake_ring_make_packed(struct fake_ring *r)
{
	assert(r->size <= FAKE_RING_MAX);
	r->is_packed = r->avail_wrap = r->used_wrap = true;
	/* Interrupts after each entry, as split rings have it at first. */
	fake_put16(r->guest, r->driver + offsetof(struct vq_event_wire, flags), VQ_EVENT_ENABLE);
}

void fake_packed_table_desc(struct fake_guest *g, gpa_t table, u16 index, gpa_t gpa, u32 len,
			    u16 id, u16 flags)
{
	struct vq_packed_desc_wire w = {
		.addr = le64_of(gpa),
		.len = le32_of(len),
		.id = le16_of(id),
		.flags = le16_of(flags),
	};

	fake_guest_put(g, table + (u64)index * sizeof(w), &w, sizeof(w));
}

void fake_packed_desc(struct fake_ring *r, u16 slot, gpa_t gpa, u32 len, u16 id, u16 flags)
{
	fake_packed_table_desc(r->guest, r->desc, slot, gpa, len, id, flags);
}

/* Puts a descriptor into the next slot; returns that. */
static u16 fake_packed_put(struct fake_ring *r, gpa_t gpa, u32 len, u16 id, u16 flags)
{
	u16 slot = r->next_desc;

	fake_packed_desc(r, slot, gpa, len, id,
			 (u16)(flags | (r->avail_wrap ? VQ_PACKED_AVAIL : VQ_PACKED_USED)));
	r->next_desc++;
	if (r->next_desc == r->size) {
		r->next_desc = 0;
		r->avail_wrap = !r->avail_wrap;
	}
	return slot;
}

/* Chains come back in any order: the slot that a chain began in says nothing of its id being free. */
static u16 fake_packed_id(const struct fake_ring *r)
{
	u16 id = r->next_desc;

	for (u16 n = 0; r->chains[id].n_slots && n < r->size; n++)
		id = (u16)((id + 1) % r->size);
	return id;
}

static void fake_packed_reap(struct fake_ring *r)
{
	struct vq_packed_desc_wire w;

	for (;;) {
		fake_guest_get(r->guest, r->desc + (u64)r->next_used * sizeof(w), &w, sizeof(w));

		u16 flags = le16_get(w.flags), id = le16_get(w.id);
		u16 slot = (u16)(r->n_used % r->size);

		if (!(flags & VQ_PACKED_AVAIL) == r->used_wrap ||
		    !(flags & VQ_PACKED_USED) == r->used_wrap)
			return;
		assert(id < r->size && r->chains[id].n_slots);
		r->chains[slot].id = id;
		r->chains[slot].len = le32_get(w.len);
		r->n_used++;
		r->next_used = (u16)(r->next_used + r->chains[id].n_slots);
		r->chains[id].n_slots = 0;
		if (r->next_used >= r->size) {
			r->next_used = (u16)(r->next_used - r->size);
			r->used_wrap = !r->used_wrap;
		}
	}
}

static u16 fake_desc_flags(const struct fake_buf *b, bool is_last)
{
	return (u16)((b->is_writable ? VQ_DESC_WRITE : 0) | (is_last ? 0 : VQ_DESC_NEXT));
}

u16 fake_ring_add(struct fake_ring *r, const struct fake_buf *bufs, u16 n)
{
	u16 head = r->is_packed ? fake_packed_id(r) : r->next_desc;

	if (r->is_packed) {
		for (u16 i = 0; i < n; i++)
			fake_packed_put(r, bufs[i].gpa, bufs[i].len, head,
					fake_desc_flags(&bufs[i], i + 1 == n));
		r->chains[head].n_slots = n;
		return head;
	}
	for (u16 i = 0; i < n; i++) {
		u16 at = r->next_desc;

		r->next_desc = (u16)((at + 1) % r->size);
		fake_ring_desc(r, at, bufs[i].gpa, bufs[i].len,
			       fake_desc_flags(&bufs[i], i + 1 == n), r->next_desc);
	}
	fake_ring_offer(r, head);
	return head;
}

static u16 fake_packed_add_indirect(struct fake_ring *r, gpa_t table, const struct fake_buf *bufs,
				    u16 n)
{
	u16 id = fake_packed_id(r);

	/* NEXT and ids mean nothing here (2.8.7): the device ignores them. */
	for (u16 i = 0; i < n; i++)
		fake_packed_table_desc(r->guest, table, i, bufs[i].gpa, bufs[i].len, 0xbad,
				       fake_desc_flags(&bufs[i], i + 1 == n));
	fake_packed_put(r, table, n * (u32)sizeof(struct vq_packed_desc_wire), id,
			VQ_DESC_INDIRECT);
	r->chains[id].n_slots = 1;
	return id;
}

u16 fake_ring_add_indirect(struct fake_ring *r, gpa_t table, const struct fake_buf *bufs, u16 n)
{
	u16 head = r->next_desc;

	if (r->is_packed)
		return fake_packed_add_indirect(r, table, bufs, n);
	for (u16 i = 0; i < n; i++)
		fake_table_desc(r->guest, table, i, bufs[i].gpa, bufs[i].len,
				fake_desc_flags(&bufs[i], i + 1 == n), (u16)(i + 1));
	fake_ring_desc(r, head, table, n * (u32)sizeof(struct vq_desc_wire), VQ_DESC_INDIRECT, 0);
	r->next_desc = (u16)((head + 1) % r->size);
	fake_ring_offer(r, head);
	return head;
}

u16 fake_ring_used_idx(struct fake_ring *r)
{
	if (r->is_packed) {
		fake_packed_reap(r);
		return r->n_used;
	}
	return fake_get16(r->guest, r->device + VQ_RING_IDX);
}

void fake_ring_used(struct fake_ring *r, u16 index, u32 *out_id, u32 *out_len)
{
	u64 slot = index % r->size;
	struct vq_used_wire e;

	if (r->is_packed) {
		assert((u16)(fake_ring_used_idx(r) - index) <= r->size);
		*out_id = r->chains[slot].id;
		*out_len = r->chains[slot].len;
		return;
	}
	fake_guest_get(r->guest, r->device + VQ_RING_ARRAY + slot * sizeof(e), &e, sizeof(e));
	*out_id = le32_get(e.id);
	*out_len = le32_get(e.len);
}

/* --- suppression --- */

static void fake_packed_want_interrupt(struct fake_ring *r, bool has_event_idx, u16 n)
{
	u32 slot = r->next_used + n - 1u;
	bool wrap = slot < r->size ? r->used_wrap : !r->used_wrap;
	u16 flags = (u16)(!n ? VQ_EVENT_DISABLE : has_event_idx ? VQ_EVENT_DESC : VQ_EVENT_ENABLE);

	if (n && has_event_idx)
		fake_put16(r->guest, r->driver, (u16)(slot % r->size | (wrap ? VQ_EVENT_WRAP : 0)));
	fake_put16(r->guest, r->driver + offsetof(struct vq_event_wire, flags), flags);
}

void fake_ring_want_interrupt(struct fake_ring *r, bool has_event_idx, u16 n)
{
	u16 seen = fake_ring_used_idx(r);

	if (r->is_packed)
		fake_packed_want_interrupt(r, has_event_idx, n);
	else if (!has_event_idx)
		fake_ring_set_avail_flags(r, n ? 0 : VQ_AVAIL_NO_INTERRUPT);
	else /* none: one that is far away */
		fake_ring_set_used_event(r, (u16)(seen + (n ? n - 1u : 0x8000u)));
}

static bool fake_packed_wants_notify(struct fake_ring *r, const struct fake_ring *before)
{
	u16 off_wrap = fake_get16(r->guest, r->device);
	u16 flags = fake_get16(r->guest, r->device + offsetof(struct vq_event_wire, flags));
	u32 round = 2u * r->size;
	u32 new = r->next_desc + (r->avail_wrap ? 0u : r->size);
	u32 old = before->next_desc + (before->avail_wrap ? 0u : r->size);
	u32 event = (off_wrap & ~VQ_EVENT_WRAP) + (off_wrap & VQ_EVENT_WRAP ? 0u : r->size);

	if (flags != VQ_EVENT_DESC)
		return flags == VQ_EVENT_ENABLE;
	return (new + round - event - 1) % round < (new + round - old) % round;
}

bool fake_ring_wants_notify(struct fake_ring *r, bool has_event_idx, const struct fake_ring *before)
{
	u16 new = r->avail_idx, old = before->avail_idx;

	if (r->is_packed)
		return fake_packed_wants_notify(r, before);
	if (!has_event_idx)
		return !(fake_ring_used_flags(r) & VQ_USED_NO_NOTIFY);
	return (u16)(new - fake_ring_avail_event(r) - 1) < (u16)(new - old);
}

void fake_ring_set_avail_flags(struct fake_ring *r, u16 flags)
{
	fake_put16(r->guest, r->driver + VQ_RING_FLAGS, flags);
}

void fake_ring_set_used_event(struct fake_ring *r, u16 event)
{
	fake_put16(r->guest, r->driver + vq_used_event_off(r->size), event);
}

u16 fake_ring_used_flags(struct fake_ring *r)
{
	return fake_get16(r->guest, r->device + VQ_RING_FLAGS);
}

u16 fake_ring_avail_event(struct fake_ring *r)
{
	return fake_get16(r->guest, r->device + vq_avail_event_off(r->size));
}

/*
 * A guest's memory and the driver's side of a virtqueue in it, split or packed, for tests and fuzz
 * targets.
 *
 * RAM is at 0 and again at FAKE_HIGH_GPA, with one page of ROM at FAKE_ROM_GPA; nothing else is
 * there. What the driver writes is what the test says, right or wrong.
 */
#ifndef TESTS_LIB_FAKE_GUEST_H
#define TESTS_LIB_FAKE_GUEST_H

#include "base/base.h"
#include "mem/gmem.h"

#define FAKE_RAM_SIZE  MIB
#define FAKE_ROM_GPA   MIB
#define FAKE_HIGH_GPA  (16 * MIB)
#define FAKE_HIGH_SIZE (64 * KIB)

struct fake_guest {
	struct epoch *epoch;
	struct gmem *gmem;
	struct gmem_block *ram, *rom, *high;
};

void fake_guest_init(struct fake_guest *g); /* attaches the calling thread */
void fake_guest_fini(struct fake_guest *g);

void fake_guest_put(struct fake_guest *g, gpa_t gpa, const void *buf, u64 size);
void fake_guest_get(struct fake_guest *g, gpa_t gpa, void *buf, u64 size);

/* A ring laid out at base, which takes FAKE_RING_BYTES. */
#define FAKE_RING_BYTES 0x8000
#define FAKE_RING_MAX   256

struct fake_ring {
	struct fake_guest *guest;
	u16 size;
	gpa_t desc, driver, device;
	u16 next_desc; /* the table is filled round and round */
	u16 avail_idx;

	/* Packed: what a driver has to remember itself. */
	bool is_packed;
	bool avail_wrap, used_wrap;
	u16 next_used, n_used; /* slot looked at next; entries seen in all */
	struct {
		u16 n_slots; /* of the chain whose id is this index */
		u16 id;      /* of the used entry of this number, modulo the size */
		u32 len;
	} chains[FAKE_RING_MAX];
};

struct fake_buf {
	gpa_t gpa;
	u32 len;
	bool is_writable;
};

void fake_ring_init(struct fake_ring *r, struct fake_guest *g, gpa_t base, u16 size);
/* After that: an empty packed ring in the same place, for these functions below: add,
 * add_indirect, used_idx, used, want_interrupt, wants_notify; and fake_packed_desc. */
void fake_ring_make_packed(struct fake_ring *r);

/* Pieces, for drivers that break rules. */
void fake_ring_desc(struct fake_ring *r, u16 index, gpa_t gpa, u32 len, u16 flags, u16 next);
void fake_table_desc(struct fake_guest *g, gpa_t table, u16 index, gpa_t gpa, u32 len, u16 flags,
		     u16 next);
void fake_ring_offer(struct fake_ring *r, u16 head);
void fake_ring_set_avail_idx(struct fake_ring *r, u16 idx);

void fake_packed_table_desc(struct fake_guest *g, gpa_t table, u16 index, gpa_t gpa, u32 len,
			    u16 id, u16 flags);
void fake_packed_desc(struct fake_ring *r, u16 slot, gpa_t gpa, u32 len, u16 id, u16 flags);

/* A whole chain, in the ring's table or in one of its own at table; returns its head, or id. */
u16 fake_ring_add(struct fake_ring *r, const struct fake_buf *bufs, u16 n);
u16 fake_ring_add_indirect(struct fake_ring *r, gpa_t table, const struct fake_buf *bufs, u16 n);

u16 fake_ring_used_idx(struct fake_ring *r); /* entries shown so far; all are remembered */
void fake_ring_used(struct fake_ring *r, u16 index, u32 *out_id, u32 *out_len);

/* Asks for an interrupt after the next n used entries that aren't seen yet (packed: slots; without
 * event index: any), or for none (n = 0). */
void fake_ring_want_interrupt(struct fake_ring *r, bool has_event_idx, u16 n);
/* Does the device want to hear of what was added since there were only `before` entries (split:
 * avail_idx then; packed: next_desc and avail_wrap)? */
bool fake_ring_wants_notify(struct fake_ring *r, bool has_event_idx,
			    const struct fake_ring *before);

/* The fields of split rings alone. */
void fake_ring_set_avail_flags(struct fake_ring *r, u16 flags);
void fake_ring_set_used_event(struct fake_ring *r, u16 event);
u16 fake_ring_used_flags(struct fake_ring *r);
u16 fake_ring_avail_event(struct fake_ring *r);

#endif

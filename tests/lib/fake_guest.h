/*
 * A guest's memory and the driver's side of a split virtqueue in it, for tests and fuzz targets.
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

struct fake_ring {
	struct fake_guest *guest;
	u16 size;
	gpa_t desc, driver, device;
	u16 next_desc; /* the table is filled round and round */
	u16 avail_idx;
};

struct fake_buf {
	gpa_t gpa;
	u32 len;
	bool is_writable;
};

void fake_ring_init(struct fake_ring *r, struct fake_guest *g, gpa_t base, u16 size);

/* Pieces, for drivers that break rules. */
void fake_ring_desc(struct fake_ring *r, u16 index, gpa_t gpa, u32 len, u16 flags, u16 next);
void fake_table_desc(struct fake_guest *g, gpa_t table, u16 index, gpa_t gpa, u32 len, u16 flags,
		     u16 next);
void fake_ring_offer(struct fake_ring *r, u16 head);
void fake_ring_set_avail_idx(struct fake_ring *r, u16 idx);

/* A whole chain, in the ring's table or in one of its own at table; returns its head. */
u16 fake_ring_add(struct fake_ring *r, const struct fake_buf *bufs, u16 n);
u16 fake_ring_add_indirect(struct fake_ring *r, gpa_t table, const struct fake_buf *bufs, u16 n);

u16 fake_ring_used_idx(struct fake_ring *r);
void fake_ring_used(struct fake_ring *r, u16 index, u32 *out_id, u32 *out_len);

/* Notification suppression, both ways. */
void fake_ring_set_avail_flags(struct fake_ring *r, u16 flags);
void fake_ring_set_used_event(struct fake_ring *r, u16 event);
u16 fake_ring_used_flags(struct fake_ring *r);
u16 fake_ring_avail_event(struct fake_ring *r);

#endif

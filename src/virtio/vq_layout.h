/*
 * The layouts of a ring, split and packed: private to the virtqueue's files.
 *
 * A layout reads chains at next_avail and writes used ones at next_used; it moves both. Whatever is
 * common to all rings (which chains are out, when a queue is broken) is vq.c's. The queue is
 * started for all of these, open excepted.
 */
#ifndef VIRTIO_VQ_LAYOUT_H
#define VIRTIO_VQ_LAYOUT_H

#include "virtio/vq.h"
#include "virtio/vq_chain.h"

struct vq_layout {
	/* Checks addresses and positions, opens views on the three parts. NULL, or what is wrong:
	 * nothing is open then. */
	const char *(*open)(struct vq *q);
	void (*close)(struct vq *q);

	/* Is there a chain at next_avail? What the driver wrote before it said so is seen by later
	 * reads. *out_why is set when the driver broke a rule. */
	bool (*has_chain)(struct vq *q, const char **out_why);
	/* Fills c from that chain and steps next_avail past it. NULL, or what is wrong with it. */
	const char *(*read)(struct vq *q, struct vq_chain *c);

	/* Writes c's used entry and steps next_used; the driver can't see it yet. */
	void (*write_used)(struct vq *q, const struct vq_chain *c, u32 written);
	/* Shows all entries from published to next_used. Does the driver want an interrupt? */
	bool (*publish)(struct vq *q);

	/* Notifications for the chain at next_avail and later ones; after on, look again. */
	void (*notify_on)(struct vq *q);
	void (*notify_off)(struct vq *q);
};

extern const struct vq_layout vq_split, vq_packed;

/* --- for the layouts --- */

/* A view of all size bytes, or false. */
static inline bool vq_part_open(struct vq *q, gpa_t gpa, u64 size, bool is_writable,
				struct gmem_view *out)
{
	if (gmem_view_open(q->gmem, gpa, size, is_writable, out) < 0)
		return false;
	if (out->size == size)
		return true;
	gmem_view_release(out);
	return false;
}

/* Indices, flags and events are atomics, sequentially consistent: all else is ordered by them. */
static inline u16 vq_ring_load(const struct gmem_view *ring, u64 off)
{
	assert(range_fits(off, sizeof(u16), ring->size));
	return __atomic_load_n((const u16 *)(ring->ptr + off), __ATOMIC_SEQ_CST);
}

/* Marked after the store: a log taken between the two is taken again before the guest moves. */
static inline void vq_ring_store(struct gmem_view *ring, u64 off, u16 value)
{
	assert(range_fits(off, sizeof(u16), ring->size));
	__atomic_store_n((u16 *)(ring->ptr + off), value, __ATOMIC_SEQ_CST);
	gmem_block_written(ring->block, ring->offset + off, sizeof(u16));
}

/* An indirect table: what ref_len bytes at ref say, or NULL and what is wrong. */
static inline const char *vq_open_indirect(struct vq *q, gpa_t gpa, u32 len, u32 entry_bytes,
					   struct gmem_view *out)
{
	if (!q->has_indirect)
		return "indirect descriptor without the feature";
	if (!len || len % entry_bytes)
		return "indirect table of odd size";
	return vq_part_open(q, gpa, len, false, out) ? NULL
						     : "indirect table is not in guest memory";
}

#endif

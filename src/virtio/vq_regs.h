/*
 * Virtqueues in guest memory: split (virtio 1.2, sections 2.7.5 to 2.7.10) and packed (2.8).
 *
 *     split:  descriptor table: struct vq_desc_wire[size]
 *             available ring:   le16 flags | le16 idx | le16 ring[size] | le16 used_event
 *             used ring:        le16 flags | le16 idx | struct vq_used_wire ring[size] | le16 avail_event
 *     packed: descriptor ring:  struct vq_packed_desc_wire[size]
 *             driver's and device's event suppression: struct vq_event_wire each
 */
#ifndef VIRTIO_VQ_REGS_H
#define VIRTIO_VQ_REGS_H

#include "base/bytes.h"

struct vq_desc_wire {
	le64 addr;
	le32 len;
	le16 flags;
	le16 next;
};
static_assert(sizeof(struct vq_desc_wire) == 16, "descriptors have 16 bytes");

#define VQ_DESC_NEXT     BIT32(0)
#define VQ_DESC_WRITE    BIT32(1)
#define VQ_DESC_INDIRECT BIT32(2)

struct vq_used_wire {
	le32 id;
	le32 len;
};
static_assert(sizeof(struct vq_used_wire) == 8, "used elements have 8 bytes");

#define VQ_RING_FLAGS 0 /* offsets in both rings */
#define VQ_RING_IDX   2
#define VQ_RING_ARRAY 4

#define VQ_AVAIL_NO_INTERRUPT 1 /* in the available ring's flags */
#define VQ_USED_NO_NOTIFY     1 /* in the used ring's flags */

#define VQ_DESC_ALIGN  16 /* 2.7: of the three parts */
#define VQ_AVAIL_ALIGN 2
#define VQ_USED_ALIGN  4

/* --- packed: a descriptor is available or used by what two of its flags say (2.8.1) --- */

struct vq_packed_desc_wire {
	le64 addr;
	le32 len;
	le16 id; /* of the buffer: in a chain's last descriptor, and in a used one */
	le16 flags;
};
static_assert(sizeof(struct vq_packed_desc_wire) == 16, "2.8.13");
static_assert(sizeof(struct vq_packed_desc_wire) == sizeof(struct vq_desc_wire), "one table size");

#define VQ_PACKED_AVAIL BIT32(7)
#define VQ_PACKED_USED  BIT32(15)

/* 2.8.14: which descriptor the other side should tell of, and whether at all. */
struct vq_event_wire {
	le16 off_wrap; /* position in 15 bits, wrap counter in the last */
	le16 flags;
};
static_assert(sizeof(struct vq_event_wire) == 4, "2.8.14");

#define VQ_EVENT_ENABLE  0u
#define VQ_EVENT_DISABLE 1u
#define VQ_EVENT_DESC    2u
#define VQ_EVENT_WRAP    BIT32(15)
#define VQ_EVENT_ALIGN   4 /* 2.8.10.1: of both structures; the descriptor ring: VQ_DESC_ALIGN */

static inline u64 vq_desc_bytes(u32 size)
{
	return (u64)size * sizeof(struct vq_desc_wire);
}

static inline u64 vq_avail_event_off(u32 size) /* in the used ring */
{
	return VQ_RING_ARRAY + (u64)size * sizeof(struct vq_used_wire);
}

static inline u64 vq_used_event_off(u32 size) /* in the available ring */
{
	return VQ_RING_ARRAY + (u64)size * sizeof(le16);
}

/* Both rings end with the event field, which is there only under VIRTIO_F_EVENT_IDX. */
static inline u64 vq_avail_bytes(u32 size, bool has_event_idx)
{
	return vq_used_event_off(size) + (has_event_idx ? sizeof(le16) : 0);
}

static inline u64 vq_used_bytes(u32 size, bool has_event_idx)
{
	return vq_avail_event_off(size) + (has_event_idx ? sizeof(le16) : 0);
}

#endif

/*
 * virtio-balloon: guest memory that goes back to the host, and figures of the guest's memory
 * (virtio 1.2, 5.5).
 *
 * Two ways: the guest reports blocks of memory that it doesn't use (always on unless left out by
 * option), and it fills its balloon as far as somebody asks, from which it may take memory back
 * rather than run out of it. What is given back reads as zeroes when the guest takes it again.
 */
#ifndef VIRTIO_BALLOON_H
#define VIRTIO_BALLOON_H

#include "base/base.h"

struct err;
struct gmem;
struct loop;
struct virtio_device;

/* What the guest tells of its memory (5.5.6.4): bytes, but for faults and huge pages, a count. */
enum vballoon_stat {
	VBALLOON_SWAP_IN,
	VBALLOON_SWAP_OUT,
	VBALLOON_MAJOR_FAULTS,
	VBALLOON_MINOR_FAULTS,
	VBALLOON_FREE,
	VBALLOON_TOTAL,
	VBALLOON_AVAILABLE,
	VBALLOON_CACHES,
	VBALLOON_HUGE_ALLOCATIONS,
	VBALLOON_HUGE_FAILURES,
	VBALLOON_STATS,
};

/* A name for people and JSON: "free-memory". */
const char *vballoon_stat_name(enum vballoon_stat s);

struct vballoon_info {
	u64 memory;      /* bytes: all that the guest was given */
	u64 target;      /* what it should have */
	u64 actual;      /* what it has, as its driver says */
	u64 given_back;  /* by inflating and reports, in all; some of it twice */
	u64 refused;     /* page numbers that are none of RAM */
	u32 stats_known; /* a bit for each that the guest told */
	u64 stats[VBALLOON_STATS];
	u64 stats_age_ns; /* how old they are */
};

struct vballoon_options {
	const char *name; /* of the device: "balloon0" */
	u64 memory;       /* bytes: the guest's RAM */
	u64 target;       /* at first; memory: an empty balloon */
	bool has_reporting;
	u32 stats_seconds; /* between two questions for statistics; 0: none are asked for */
	/* The driver changed the balloon's size: some time later, on the loop's thread. Or NULL. */
	void (*changed)(void *opaque);
	void *opaque;
};

/* Before the loop runs, or on its thread. Freed with device_free(&(*out)->dev). */
int vballoon_new(const struct vballoon_options *o, struct loop *loop, struct gmem *gmem,
		 struct virtio_device **out, struct err *err);

/* The guest should have this many bytes: what is more is asked from it. Any thread. */
void vballoon_set_target(struct virtio_device *v, u64 bytes);
void vballoon_get_info(struct virtio_device *v, struct vballoon_info *out); /* any thread */

#endif

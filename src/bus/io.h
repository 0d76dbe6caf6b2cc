/*
 * Port and memory-mapped I/O: address spaces of register regions.
 *
 * A region is a run of registers of one device. It is mapped into a space at an address (PCI BARs
 * move while the guest runs). Spaces flatten their regions into an immutable table that readers
 * use without locks; where regions overlap, the higher priority wins, then the older. Addresses
 * with no region read as all ones and drop writes.
 *
 * Dispatch splits and widens accesses so that a callback sees naturally aligned ones of the sizes
 * it takes, and holds the device's lock around it. Any thread that is attached to the epoch.
 */
#ifndef BUS_IO_H
#define BUS_IO_H

#include "base/base.h"
#include "base/list.h"

struct device;
struct epoch;

#define IO_ONES (~(u64)0) /* what a read of nothing returns; cut to the access's size */

struct io_ops {
	/* off is relative to the region; size is within the limits below; returns the low bytes. */
	u64 (*read)(struct device *d, u64 off, unsigned size);
	void (*write)(struct device *d, u64 off, u64 value, unsigned size);
	/* Accesses outside these are split or widened (a narrow write is widened only by reading
	 * first, so registers with side effects say 1). 0 stands for 1 and 8. */
	u8 min_size, max_size;
	bool is_unlocked; /* the callbacks lock for themselves */
};

struct io_region {
	const char *name;
	const struct io_ops *ops;
	struct device *dev;
	u64 size;     /* bytes */
	void *opaque; /* the device's */

	struct io_space *space; /* where it is mapped, or NULL: the space's */
	u64 base;
	int priority;
	u64 age;
	struct list node;
	struct list doorbells;
};

void io_region_init(struct io_region *r, const char *name, struct device *dev,
		    const struct io_ops *ops, u64 size);
void io_region_fini(struct io_region *r); /* unmaps; doorbells are gone */

/*
 * A doorbell: writes of size bytes at off go to an eventfd (borrowed) instead of the callback; an
 * accelerator that can, does it in the kernel. is_any_value, or just the one value.
 */
struct io_doorbell {
	u64 off;
	unsigned size; /* 1, 2, 4, 8; 0 matches every size */
	bool is_any_value;
	u64 value;
	int fd;
	struct list node;
};
void io_doorbell_add(struct io_region *r, struct io_doorbell *b);
void io_doorbell_remove(struct io_region *r, struct io_doorbell *b);

/* size: of the space, 0x10000 for ports, 0 for all 2^64 of memory. */
struct io_space *io_space_new(const char *name, struct epoch *epoch, u64 size);
void io_space_free(struct io_space *s);
AUTO_FN(io_space_free, struct io_space *)

/* Maps r at base: -EBUSY when it is mapped, -ERANGE when it doesn't fit. May be undone any time. */
int io_map(struct io_space *s, u64 base, struct io_region *r, int priority);
void io_unmap(struct io_region *r); /* harmless when not mapped */

/* size is 1, 2, 4 or 8; any alignment. */
u64 io_space_read(struct io_space *s, u64 addr, unsigned size);
void io_space_write(struct io_space *s, u64 addr, u64 value, unsigned size);
/* Is there any region at addr? For decoders that must tell "nothing" from "all ones". */
bool io_space_has(struct io_space *s, u64 addr);

/* Straight into a region, as dispatch would: for tests and for devices behind index registers. */
u64 io_read(struct io_region *r, u64 off, unsigned size);
void io_write(struct io_region *r, u64 off, u64 value, unsigned size);

/* An accelerator that rings doorbells itself is told where they are. One per space. */
struct io_doorbell_ops {
	int (*add)(void *opaque, u64 addr, const struct io_doorbell *b);
	void (*remove)(void *opaque, u64 addr, const struct io_doorbell *b);
};
void io_space_set_doorbell_ops(struct io_space *s, const struct io_doorbell_ops *ops, void *opaque);

#endif

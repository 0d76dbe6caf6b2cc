/*
 * Virtqueues: chains of guest buffers, taken from the driver and handed back.
 *
 * A device pops a chain, takes its request from the readable bytes, puts its answer into the
 * writable ones, pushes the chain back with the count of bytes written, and publishes:
 *
 *     do {
 *             vq_disable_notify(q);
 *             while ((c = vq_pop(q)))
 *                     handle(c);           // now or later: vq_push(c, written)
 *             vq_publish(q);
 *     } while (vq_enable_notify(q));
 *
 * All that the ring says is read once, copied and checked in vq_pop: a chain that it returns lies
 * whole in guest memory, its readable bytes before its writable ones, at most UINT32_MAX bytes of
 * them. A ring that breaks the rules breaks the queue: the owner is told once, and vq_pop returns
 * NULL until it is reset. Devices have no such failure to handle.
 *
 * The API says nothing of the ring's layout. Split rings (virtio 1.2, 2.7) and packed ones (2.8)
 * stand behind it, both with indirect descriptors and event suppression.
 *
 * All functions are called under the owner's lock, by threads attached to guest memory. The bytes
 * of a chain, between vq_pop and vq_push, may be used without it.
 */
#ifndef VIRTIO_VQ_H
#define VIRTIO_VQ_H

#include <sys/uio.h>

#include "base/base.h"
#include "mem/gmem.h"

struct vq;
struct vq_chain;
struct vq_layout;

/* The feature bits that shape a ring (virtio 1.2, section 6). */
#define VIRTIO_F_INDIRECT_DESC BIT(28)
#define VIRTIO_F_EVENT_IDX     BIT(29)
#define VIRTIO_F_RING_PACKED   BIT(34)

#define VQ_SIZE_MAX 1024 /* descriptors in a ring */
#define VQ_SEGS_MAX 1024 /* buffers in a chain */

/* --- for devices: chains --- */

/* The next chain, or NULL: there is none, or the queue is stopped, paused or broken. */
struct vq_chain *vq_pop(struct vq *q);
/* Makes as if the chain last popped had not been: the next vq_pop returns it again, whole. */
void vq_unpop(struct vq_chain *c);

/* Copies the next size readable bytes and steps past them: all of them, or none and false. */
bool vq_take(struct vq_chain *c, void *buf, u64 size) must_check;
/* Copies into the next size writable bytes and steps past them: all, or none and false. */
bool vq_put(struct vq_chain *c, const void *buf, u64 size) must_check;
/* Sets the chain's last writable byte aside for vq_put_status. False: there is none. */
bool vq_reserve_status(struct vq_chain *c) must_check;
void vq_put_status(struct vq_chain *c, u8 status);

/* Bytes not yet taken, put or set aside. */
u64 vq_readable(const struct vq_chain *c);
u64 vq_writable(const struct vq_chain *c);

/*
 * The same bytes in place: *out_n vectors that belong to the chain, good until it is stepped
 * further or pushed. The guest may change what they point at: read nothing twice.
 */
const struct iovec *vq_readable_iov(const struct vq_chain *c, u32 *out_n);
const struct iovec *vq_writable_iov(const struct vq_chain *c, u32 *out_n);
/* As it was popped: all its bytes again, whatever was taken, put, set aside or used up in place. */
void vq_rewind(struct vq_chain *c);
/* Steps past bytes used in place; size is at most what is left. */
void vq_skip_readable(struct vq_chain *c, u64 size);
void vq_skip_writable(struct vq_chain *c, u64 size);

/* request_size bytes of the device's own, 16-aligned, with the chain; not cleared between uses. */
void *vq_private(struct vq_chain *c);
struct vq_chain *vq_chain_of(void *private_bytes);
struct vq *vq_of(const struct vq_chain *c);

/*
 * Gives the chain back; written counts its writable bytes from the first, status included. Its
 * pages are marked written here. The driver sees it with the next vq_publish. When the queue was
 * stopped or broken meanwhile, the chain is only freed.
 */
void vq_push(struct vq_chain *c, u32 written);
/* Shows the driver all that was pushed, at once, and interrupts it if it asked for that. */
void vq_publish(struct vq *q);

/* The driver needn't notify while the device is looking anyway. A hint. */
void vq_disable_notify(struct vq *q);
/* Asks for notifications; true: chains came meanwhile that none will be sent for, look again. */
bool vq_enable_notify(struct vq *q);
bool vq_has_chains(struct vq *q);

static inline bool vq_is_running(const struct vq *q);
static inline u32 vq_in_flight(const struct vq *q); /* popped and not yet pushed */
static inline u16 vq_index(const struct vq *q);

/* --- for the device core and transports: the queue itself --- */

struct vq_ops {
	void (*interrupt)(struct vq *q);               /* the driver wants to hear of used chains */
	void (*broken)(struct vq *q, const char *why); /* once; why is static */
	void (*idle)(struct vq *q);                    /* the last chain in flight came back */
};

/* What the driver sets before it enables the queue, and what is saved. */
struct vq_config {
	u16 size; /* descriptors: vq_can_size */
	bool is_enabled;
	gpa_t desc;   /* descriptor table, or packed ring */
	gpa_t driver; /* available ring, or driver's event suppression */
	gpa_t device; /* used ring, or device's event suppression */
};

struct vq {
	const struct vq_ops *ops;
	const struct vq_layout *layout; /* while started */
	void *owner;
	struct gmem *gmem;
	u16 index;
	u16 max_size; /* the device's limits */
	u16 max_segs;
	u32 request_size;

	struct vq_config config;

	bool is_started; /* between vq_start and vq_stop */
	bool is_paused;  /* vq_pop returns NULL; chains in flight come back as usual */
	bool is_broken;
	bool has_event_idx; /* valid from vq_start on */
	bool has_indirect;

	/*
	 * Positions. Split: free-running indices of ring entries. Packed: slot of a descriptor, and
	 * in VQ_LAP whether this is an odd round through the ring. All begin at 0.
	 */
	u16 next_avail; /* of the next chain to pop */
	u16 seen_avail; /* split: the driver's index when last read */
	u16 next_used;  /* of the next used entry to fill */
	u16 published;  /* next_used as the driver sees it */
	u16 held_flags; /* packed: of the used descriptor at published, which makes all visible */

	struct gmem_view desc, driver, device; /* the rings, while started */

	u32 in_flight;
	u8 *pool; /* of chains, each pool_stride bytes */
	size_t pool_stride;
	u32 pool_made;              /* chains ever used: the rest is untouched memory */
	struct vq_chain *pool_free; /* last one in is first out */
};

/* On zeroed memory with the device's limits filled in. Borrows all. */
void vq_init(struct vq *q, const struct vq_ops *ops, void *owner, struct gmem *gmem, u16 index);
void vq_fini(struct vq *q); /* nothing may be in flight */

/* Could a queue of these features have size descriptors? */
bool vq_can_size(const struct vq *q, u64 features, u64 size);
/*
 * Checks the configuration and opens the rings, as the features above say that they are. -EINVAL or
 * -ENOMEM, with *out_why (static) saying what; the queue is then not started. Positions start where
 * the fields say: 0 after vq_reset.
 */
int vq_start(struct vq *q, u64 features, const char **out_why);
void vq_stop(struct vq *q);  /* chains in flight are dropped as they come back */
void vq_reset(struct vq *q); /* stopped, idle: back to no configuration and positions of 0 */
/* The ring, or a device on it, broke the rules. */
void vq_break(struct vq *q, const char *why);

static inline bool vq_is_running(const struct vq *q)
{
	return q->is_started && !q->is_broken;
}

static inline u32 vq_in_flight(const struct vq *q)
{
	return q->in_flight;
}

static inline u16 vq_index(const struct vq *q)
{
	return q->index;
}

#endif

/*
 * A chain of buffers while the device has it: private to the virtqueue's files.
 *
 * Chains live in the queue's pool, one stride apart:
 *
 *     struct vq_chain | request bytes of the device | iovec[max_views] | gmem_view[max_views]
 *
 * iov[at_read .. end_read) are the readable buffers, iov[at_write .. end_write) the writable
 * ones; views[i] is what
 * keeps iov[i] in place. Taking and putting shorten the vectors from the front, so that what is
 * left is always an array of whole vectors.
 */
#ifndef VIRTIO_VQ_CHAIN_H
#define VIRTIO_VQ_CHAIN_H

#include "virtio/vq.h"

/* A buffer that spans ranges of the memory map takes a view for each: spare ones. */
#define VQ_SPARE_VIEWS 8

struct vq_chain {
	struct vq *vq;
	struct vq_chain *next_free;
	u16 id;      /* what the driver knows it by: head of the table, or buffer id */
	u16 n_slots; /* packed: descriptors in the ring */
	u16 position, next_position; /* the queue's next_avail before and after it was popped */
	u8 *status;                  /* set aside */

	u32 n_buffers, n_views;
	u32 at_read, end_read;   /* vectors with bytes left to take */
	u32 at_write, end_write; /* vectors with room to put */
	u64 readable, writable;  /* bytes left */
	u64 room;                /* writable bytes at first */

	struct iovec *iov;
	struct gmem_view *views;
};

struct vq_chain *vq_chain_get(struct vq *q); /* NULL: as many as the ring has are in flight */
void vq_chain_put(struct vq_chain *c);       /* releases the views: their pages are marked */
int vq_pool_init(struct vq *q);
void vq_pool_fini(struct vq *q);

/*
 * Adds a buffer of the guest: NULL, or what is wrong with it (not guest memory, too many pieces, too
 * many bytes, readable behind a writable one).
 */
const char *vq_chain_add(struct vq_chain *c, gpa_t gpa, u32 len, bool is_writable);

#endif

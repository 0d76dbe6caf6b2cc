/*
 * The split ring behind a virtqueue (virtio 1.2, 2.7): private to vq.c and vq_split.c.
 *
 * The queue is started for all of these, open excepted.
 */
#ifndef VIRTIO_VQ_SPLIT_H
#define VIRTIO_VQ_SPLIT_H

#include "virtio/vq.h"

struct vq_chain;

/* Opens views on the three parts of the ring; NULL, or what is wrong (nothing is open then). */
const char *vq_split_open(struct vq *q);
void vq_split_close(struct vq *q);

/* The driver's index: what it wrote to the ring and table before is seen by later reads. */
u16 vq_split_avail_idx(const struct vq *q);
/* Fills c from the chain at index of the available ring. NULL, or what is wrong with it. */
const char *vq_split_read(struct vq *q, u16 index, struct vq_chain *c);

void vq_split_write_used(struct vq *q, u16 index, u16 head, u32 written);
void vq_split_publish(struct vq *q, u16 idx);
/* Does the driver want an interrupt for the used entries [old, new)? After publishing new. */
bool vq_split_wants_interrupt(const struct vq *q, u16 old, u16 new);

/* Notifications for the chain at next_avail and later ones; after on, read the index again. */
void vq_split_notify_on(struct vq *q);
void vq_split_notify_off(struct vq *q);

#endif

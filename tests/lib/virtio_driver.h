/*
 * A virtio driver for tests of devices: a fake guest's rings, and a transport that counts interrupts. The test's thread is the loop's.
 *
 *     vdrv_init(&d); vblk_new(..., d.loop, d.gmem, &v, ...); vdrv_start(&d, v, features);
 *     vdrv_add(&d, queue, bufs, n); vdrv_kick(&d, queue); vdrv_wait(&d, queue, 1);
 */
#ifndef TESTS_LIB_VIRTIO_DRIVER_H
#define TESTS_LIB_VIRTIO_DRIVER_H

#include "base/base.h"
#include "base/loop.h"
#include "fake_guest.h"
#include "virtio/virtio.h"

#define VDRV_MAX_QUEUES 8
#define VDRV_QUEUE_SIZE 64

struct vdrv {
	struct loop *loop;
	struct fake_guest guest;
	struct gmem *gmem; /* the guest's */
	struct virtio_device *v;
	struct fake_ring rings[VDRV_MAX_QUEUES];
	gpa_t next_data;
	unsigned n_interrupts[VDRV_MAX_QUEUES];
	unsigned n_config_interrupts, n_resets;
};

void vdrv_init(struct vdrv *d);
void vdrv_fini(struct vdrv *d); /* frees the device too */

/* Takes over v; sets features (those of the core are the caller's, too) up to DRIVER_OK. Packed rings
 * are offered when they are among them. */
void vdrv_start(struct vdrv *d, struct virtio_device *v, u64 features);
/* Resets the device, through the status register, and waits for it. */
void vdrv_reset(struct vdrv *d);

/* Guest memory: size bytes with these contents (NULL: 0xa5 each), never used before. */
gpa_t vdrv_put(struct vdrv *d, const void *data, u32 size);
void vdrv_get(struct vdrv *d, gpa_t gpa, void *out, u32 size);

/* Adds a chain to the available ring; returns its head. */
u16 vdrv_add(struct vdrv *d, u32 queue, const struct fake_buf *bufs, u16 n);
void vdrv_kick(struct vdrv *d, u32 queue); /* as the doorbell does */
/* Steps the loop until the queue has handed back n chains in all. */
void vdrv_wait(struct vdrv *d, u32 queue, u16 n);
/* Lets everything happen that is due. */
void vdrv_settle(struct vdrv *d);

u16 vdrv_used(struct vdrv *d, u32 queue); /* chains handed back in all */
u32 vdrv_used_len(struct vdrv *d, u32 queue, u16 index);

/* Saves v, loads it into other (made from the same configuration) and goes on with that one. */
void vdrv_move(struct vdrv *d, struct virtio_device *other);

#endif

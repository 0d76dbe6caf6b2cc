/*
 * virtio-blk: a disk (virtio 1.2, 5.2).
 *
 * Requests go to the disk in place, from guest memory and into it; they live in the queue's pool.
 * What the guest sees of the disk depends on its size and the options alone, never on the host's
 * file system: discard and write-zeroes are always offered, and the disk does what it can.
 */
#ifndef VIRTIO_BLK_H
#define VIRTIO_BLK_H

#include "base/base.h"

struct blk;
struct err;
struct gmem;
struct loop;
struct limit_rates;
struct vclock;
struct virtio_device;

#define VBLK_MAX_QUEUES 16

/* What becomes of a request that the host can't do. */
enum vblk_on_error {
	VBLK_PAUSE_IF_FULL, /* writes for which there is no room wait, others fail */
	VBLK_REPORT,        /* it fails, and the guest sees that */
	VBLK_PAUSE,         /* it waits, whatever went wrong */
};

struct vblk_options {
	const char *name;     /* of the device: "disk0" */
	const char *serial;   /* at most 20 bytes are shown; NULL: none */
	struct blk *disk;     /* of the same loop; taken over on success */
	u16 n_queues;         /* up to VBLK_MAX_QUEUES; 0 stands for 1 */
	struct vclock *clock; /* for limits; borrowed */
	bool is_writethrough; /* no write cache, unless the driver turns it on */
	bool is_ordered; /* requests are done in the order in which they came, whatever the disk does */
	enum vblk_on_error on_error;
	/*
	 * A request waits, for a pause and the resume after it, which does it again; result is its errno, negative.
	 * The loop's thread, no lock held. Required unless on_error is VBLK_REPORT. Not for those that a pause cut
	 * short as their server was away (-ENOTCONN): they wait, too.
	 */
	void (*held)(void *opaque, int result);
	void *opaque;
};

/* Before the loop runs, or on its thread. Freed with device_free(&(*out)->dev). */
int vblk_new(const struct vblk_options *o, struct loop *loop, struct gmem *gmem,
	     struct virtio_device **out, struct err *err);

/*
 * I/O limits, from now on (virtio/limit.h). What is over them waits in the device; a flush never does.
 * A pause lets go of all that waits, and counts it. Any thread.
 */
void vblk_set_limits(struct virtio_device *v, const struct limit_rates *rates);
void vblk_get_limits(struct virtio_device *v, struct limit_rates *out);

/* Requests that wait for a resume: the device can't be saved as long as there are some. Any thread. */
bool vblk_is_held(struct virtio_device *v);

struct blk *vblk_disk(struct virtio_device *v); /* borrowed, for its loop's thread */

/*
 * Another size of the disk itself, in bytes, a multiple of its block size; the driver is told. The loop's
 * thread; what is out is waited for.
 */
int vblk_resize(struct virtio_device *v, u64 bytes, struct err *err);

#endif

/*
 * virtio-rng: getrandom(2) straight into the guest's buffers. See rng.h.
 *
 * A guest that reads without end would keep the I/O loop, which it shares with its other devices,
 * busy; so each period has a budget. Guests need a few hundred bytes to seed their own generator.
 */
#include "virtio/rng.h"

#include <sys/random.h>

#include "base/alloc.h"
#include "base/err.h"
#include "base/time.h"
#include "state/state.h"
#include "virtio/virtio.h"

#define VRNG_QUEUE_SIZE 64
#define VRNG_SEGS       64
#define VRNG_PERIOD_NS  (10 * NSEC_PER_MSEC)
#define VRNG_BUDGET     ((u32)(64 * KIB)) /* bytes a period: 6.4 MB/s */

struct vrng {
	struct virtio_device vdev; /* its device holds the lock for all below */
	struct loop_timer refill;
	u32 budget;        /* bytes left in this period */
	bool is_refilling; /* the timer is armed */
	bool is_seeded;    /* for guests that are to run again as they did: no entropy, no budget */
	u64 random;
};

static struct vrng *vrng_of(struct virtio_device *v)
{
	return container_of(v, struct vrng, vdev);
}

/* All of it, or as much as the kernel gives: at least from a seeded generator it never fails. */
static size_t vrng_random(u8 *buf, size_t size)
{
	size_t done = 0;

	while (done < size) {
		ssize_t n = getrandom(buf + done, size - done, 0);

		if (n < 0 && errno != EINTR)
			break;
		if (n > 0)
			done += (size_t)n;
	}
	return done;
}

static size_t vrng_follow_seed(struct vrng *d, u8 *buf, size_t size)
{
	for (size_t done = 0; done < size; done++)
		buf[done] = (u8)base_random(&d->random);
	return size;
}

/* Fills the chain as far as the budget goes: a short answer is allowed (5.4.6.2). */
static void vrng_fill(struct vrng *d, struct vq_chain *c)
{
	const struct iovec *iov;
	u32 n, written = 0;

	iov = vq_writable_iov(c, &n);
	for (u32 i = 0; i < n && d->budget; i++) {
		size_t want = MIN(iov[i].iov_len, (size_t)d->budget);
		u32 got = (u32)(d->is_seeded ? vrng_follow_seed(d, iov[i].iov_base, want)
					     : vrng_random(iov[i].iov_base, want));

		d->budget -= d->is_seeded ? 0 : got;
		written += got;
		if (got < want)
			break;
	}
	vq_push(c, written);
}

static void vrng_start_refill(struct vrng *d)
{
	if (d->is_refilling)
		return;
	d->is_refilling = true;
	loop_timer_arm(d->vdev.loop, &d->refill, time_mono_ns() + VRNG_PERIOD_NS);
}

static void vrng_on_refill(struct loop_timer *t)
{
	struct vrng *d = container_of(t, struct vrng, refill);

	device_lock(&d->vdev.dev);
	d->is_refilling = false;
	d->budget = VRNG_BUDGET;
	device_unlock(&d->vdev.dev);
	virtio_kick(&d->vdev, virtio_vq(&d->vdev, 0));
}

static void vrng_notify(struct virtio_device *v, struct vq *q)
{
	struct vrng *d = vrng_of(v);
	struct vq_chain *c;

	do {
		vq_disable_notify(q);
		while (d->budget && (c = vq_pop(q)))
			vrng_fill(d, c);
		vq_publish(q);
	} while (d->budget && vq_enable_notify(q));
	if (d->budget < VRNG_BUDGET)
		vrng_start_refill(d);
}

static void vrng_ignore(struct virtio_device *v)
{
	(void)v; /* requests are finished where they are seen */
}

static void vrng_free(struct device *dev)
{
	struct vrng *d = container_of(dev, struct vrng, vdev.dev);

	loop_timer_disarm(d->vdev.loop, &d->refill);
	virtio_device_fini(&d->vdev);
	free(d);
}

static const struct state_field vrng_fields[] = {
	STATE_SUB(struct vrng, vdev, &virtio_device_state),
	STATE_END,
};

static const struct state_table vrng_state = {
	.name = "virtio-rng",
	.version = 1,
	.fields = vrng_fields,
};

static const struct device_ops vrng_device_ops = {
	.type = "virtio-rng",
	.offset = offsetof(struct vrng, vdev.dev),
	.state = &vrng_state,
	.reset = virtio_dev_reset,
	.quiesce = virtio_dev_quiesce,
	.resume = virtio_dev_resume,
	.free = vrng_free,
};

static const struct virtio_ops vrng_ops = {
	.id = VIRTIO_ID_RNG,
	.start = vrng_ignore,
	.stop = vrng_ignore,
};

int vrng_new(const char *name, struct loop *loop, struct gmem *gmem, u64 seed,
	     struct virtio_device **out, struct err *err)
{
	const struct virtio_queue_spec spec = {
		.size = VRNG_QUEUE_SIZE, .max_segs = VRNG_SEGS, .notify = vrng_notify};
	struct vrng *d = NEW(struct vrng);
	int r;

	virtio_device_init(&d->vdev, &vrng_ops, &vrng_device_ops, name, loop, gmem);
	d->budget = VRNG_BUDGET;
	d->is_seeded = seed;
	d->random = seed;
	d->refill.fn = vrng_on_refill;
	r = virtio_add_queue(&d->vdev, &spec, err);
	if (r < 0) {
		vrng_free(&d->vdev.dev);
		return r;
	}
	*out = &d->vdev;
	return 0;
}

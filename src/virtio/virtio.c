/*
 * The device core: queues and their doorbells, status, features, reset, pause. See virtio.h.
 *
 * A reset is in two steps: it begins when the driver writes 0 to the status, and is finished, under
 * the same lock, when the last chain in flight comes back; usually at once.
 */
#include "virtio/virtio.h"

#include <string.h>
#include <sys/eventfd.h>

#include "base/alloc.h"
#include "base/err.h"
#include "base/fd.h"

#define VIRTIO_CORE_FEATURES (VIRTIO_F_VERSION_1 | VIRTIO_F_INDIRECT_DESC | VIRTIO_F_EVENT_IDX)

static struct virtio_queue *virtio_queue_of(struct vq *q)
{
	return container_of(q, struct virtio_queue, vq);
}

static u32 virtio_in_flight(const struct virtio_device *v)
{
	u32 n = 0;

	for (u32 i = 0; i < v->n_queues; i++)
		n += vq_in_flight(&v->queues[i]->vq);
	return n;
}

/* --- queues --- */

static void virtio_finish_reset(struct virtio_device *v);

static void virtio_vq_interrupt(struct vq *q)
{
	struct virtio_queue *vq = virtio_queue_of(q);

	if (vq->vdev->transport)
		vq->vdev->transport->queue_interrupt(vq->vdev, vq);
}

static void virtio_vq_broken(struct vq *q, const char *why)
{
	virtio_needs_reset(virtio_queue_of(q)->vdev, why);
}

static void virtio_vq_idle(struct vq *q)
{
	struct virtio_device *v = virtio_queue_of(q)->vdev;

	if (v->is_resetting && virtio_in_flight(v) == 0)
		virtio_finish_reset(v);
}

static const struct vq_ops virtio_vq_ops = {
	.interrupt = virtio_vq_interrupt,
	.broken = virtio_vq_broken,
	.idle = virtio_vq_idle,
};

static void virtio_on_kick(struct loop_fd *w, unused u32 events)
{
	struct virtio_queue *q = container_of(w, struct virtio_queue, kick);
	struct virtio_device *v = q->vdev;

	device_lock(&v->dev);
	/* While paused nothing is lost: whoever ends the pause kicks. */
	if (vq_is_running(&q->vq) && !q->vq.is_paused)
		q->notify(v, &q->vq);
	device_unlock(&v->dev);
}

void virtio_kick(unused struct virtio_device *v, struct vq *q)
{
	u64 one = 1;

	/* EAGAIN: the count is full, so the loop will wake anyway. */
	if (write(virtio_queue_of(q)->kick.fd, &one, sizeof(one)) < 0)
		assert(errno == EAGAIN);
}

static void virtio_kick_all(struct virtio_device *v)
{
	for (u32 i = 0; i < v->n_queues; i++)
		if (vq_is_running(&v->queues[i]->vq))
			virtio_kick(v, &v->queues[i]->vq);
}

int virtio_add_queue(struct virtio_device *v, const struct virtio_queue_spec *spec, struct err *err)
{
	assert(v->n_queues < VIRTIO_MAX_QUEUES && !v->transport);

	struct virtio_queue *q = NEW(struct virtio_queue);
	int r;

	q->vdev = v;
	q->notify = spec->notify;
	q->vq.max_size = spec->size;
	q->vq.max_segs = spec->max_segs;
	q->vq.request_size = spec->request_size;
	vq_init(&q->vq, &virtio_vq_ops, v, v->gmem, (u16)v->n_queues);

	q->kick.fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	q->kick.events = EPOLLIN | EPOLLET; /* never read: each ring is an event */
	q->kick.fn = virtio_on_kick;
	r = q->kick.fd < 0 ? -errno : loop_fd_add(v->loop, &q->kick);
	if (r < 0) {
		fd_close(q->kick.fd);
		free(q);
		return err_errno(err, r, "cannot make an event for a queue");
	}
	v->queues[v->n_queues++] = q;
	return 0;
}

void virtio_device_init(struct virtio_device *v, const struct virtio_ops *ops,
			const struct device_ops *dev_ops, const char *name, struct loop *loop,
			struct gmem *gmem)
{
	device_init(&v->dev, dev_ops, name);
	v->ops = ops;
	v->loop = loop;
	v->gmem = gmem;
	v->offered = VIRTIO_CORE_FEATURES;
	v->may_dma = true;
}

void virtio_offer_packed(struct virtio_device *v)
{
	assert(!v->transport);
	v->offered |= VIRTIO_F_RING_PACKED;
}

void virtio_device_fini(struct virtio_device *v)
{
	for (u32 i = 0; i < v->n_queues; i++) {
		struct virtio_queue *q = v->queues[i];

		loop_fd_remove(v->loop, &q->kick);
		fd_close(q->kick.fd);
		vq_fini(&q->vq);
		free(q);
	}
	v->n_queues = 0;
	device_fini(&v->dev);
}

/* --- running --- */

static void virtio_update_paused(struct virtio_device *v)
{
	for (u32 i = 0; i < v->n_queues; i++)
		v->queues[i]->vq.is_paused = v->is_quiesced || !v->may_dma;
}

static void virtio_start(struct virtio_device *v)
{
	v->is_started = true;
	virtio_update_paused(v);
	for (u32 i = 0; i < v->n_queues; i++) {
		struct vq *q = &v->queues[i]->vq;
		const char *why;

		if (q->config.is_enabled && vq_start(q, v->features, &why) < 0)
			virtio_needs_reset(v, why);
	}
	if (v->status & VIRTIO_STATUS_NEEDS_RESET)
		return;
	if (v->ops->start)
		v->ops->start(v);
	virtio_kick_all(v);
}

static void virtio_finish_reset(struct virtio_device *v)
{
	v->is_resetting = false;
	for (u32 i = 0; i < v->n_queues; i++)
		vq_reset(&v->queues[i]->vq);
	v->features = 0;
	v->status = 0;
	if (v->ops->reset)
		v->ops->reset(v);
	if (v->transport)
		v->transport->reset(v);
}

static void virtio_begin_reset(struct virtio_device *v)
{
	if (v->is_resetting)
		return;
	for (u32 i = 0; i < v->n_queues; i++)
		vq_stop(&v->queues[i]->vq);
	if (v->is_started && v->ops->stop)
		v->ops->stop(v);
	v->is_started = false;
	v->is_resetting = true;
	if (virtio_in_flight(v) == 0)
		virtio_finish_reset(v);
}

void virtio_needs_reset(struct virtio_device *v, const char *why)
{
	guest_error(&v->dev, "%s", why);
	if (v->status & VIRTIO_STATUS_NEEDS_RESET || !v->is_started)
		return;
	v->status |= VIRTIO_STATUS_NEEDS_RESET;
	for (u32 i = 0; i < v->n_queues; i++)
		v->queues[i]->vq.is_broken = true;
	/* 2.1.2: a driver that had said DRIVER_OK is told. */
	if (v->transport)
		v->transport->config_interrupt(v);
}

void virtio_config_changed(struct virtio_device *v)
{
	v->config_generation++;
	if (v->is_started && v->transport)
		v->transport->config_interrupt(v);
}

/* --- for transports --- */

void virtio_set_transport(struct virtio_device *v, const struct virtio_transport_ops *ops,
			  void *opaque)
{
	v->transport = ops;
	v->transport_opaque = opaque;
}

void virtio_set_features(struct virtio_device *v, u64 features)
{
	if (v->status & VIRTIO_STATUS_FEATURES_OK)
		guest_error(&v->dev, "features changed after FEATURES_OK");
	else
		v->features = features;
}

static bool virtio_features_are_ok(struct virtio_device *v)
{
	if (v->features & ~v->offered || !virtio_has(v, VIRTIO_F_VERSION_1))
		return false;
	return !v->ops->features_are_ok || v->ops->features_are_ok(v, v->features);
}

/* 3.1.1: the order in which a driver initializes. Bits don't go away but by a reset. */
void virtio_set_status(struct virtio_device *v, u8 status)
{
	u8 added = status & (u8)~v->status;

	if (status == 0) {
		virtio_begin_reset(v);
		return;
	}
	if (v->is_resetting) {
		guest_error(&v->dev, "status written before the reset was over");
		return;
	}
	added &= VIRTIO_STATUS_ACKNOWLEDGE | VIRTIO_STATUS_DRIVER | VIRTIO_STATUS_DRIVER_OK |
		 VIRTIO_STATUS_FEATURES_OK | VIRTIO_STATUS_FAILED;
	if (added & VIRTIO_STATUS_FEATURES_OK && !virtio_features_are_ok(v)) {
		guest_error(&v->dev, "features %#lx are not possible", v->features);
		added &= (u8)~VIRTIO_STATUS_FEATURES_OK;
	}
	if (added & VIRTIO_STATUS_DRIVER_OK && !((v->status | added) & VIRTIO_STATUS_FEATURES_OK)) {
		guest_error(&v->dev, "DRIVER_OK without FEATURES_OK");
		added &= (u8)~VIRTIO_STATUS_DRIVER_OK;
	}
	v->status |= added;
	if (added & VIRTIO_STATUS_DRIVER_OK)
		virtio_start(v);
}

void virtio_set_dma(struct virtio_device *v, bool may_dma)
{
	if (v->may_dma == may_dma)
		return;
	v->may_dma = may_dma;
	virtio_update_paused(v);
	if (may_dma)
		virtio_kick_all(v);
}

void virtio_enable_queue(struct virtio_device *v, struct virtio_queue *q)
{
	if (v->status & VIRTIO_STATUS_DRIVER_OK)
		guest_error(&v->dev, "queue %u enabled after DRIVER_OK", q->vq.index);
	else
		q->vq.config.is_enabled = true;
}

void virtio_read_config(struct virtio_device *v, u32 off, void *buf, u32 size)
{
	memset(buf, 0, size);
	if (range_fits(off, size, v->config_size))
		memcpy(buf, (const u8 *)v->config + off, size);
	else
		guest_error(&v->dev, "%u-byte read at %#x of the configuration", size, off);
}

void virtio_write_config(struct virtio_device *v, u32 off, const void *buf, u32 size)
{
	if (v->ops->write_config && range_fits(off, size, v->config_size))
		v->ops->write_config(v, off, buf, size);
	else
		guest_error(&v->dev, "%u-byte write at %#x of the configuration", size, off);
}

/* --- the walks over all devices --- */

static struct virtio_device *virtio_of(struct device *d)
{
	return container_of(d, struct virtio_device, dev);
}

void virtio_dev_reset(struct device *d)
{
	virtio_begin_reset(virtio_of(d));
}

static u32 virtio_begin_pause(struct virtio_device *v)
{
	v->is_quiesced = true;
	virtio_update_paused(v);
	if (v->is_started && v->ops->quiesce)
		v->ops->quiesce(v);
	return virtio_in_flight(v);
}

void virtio_dev_quiesce(struct device *d)
{
	struct virtio_device *v = virtio_of(d);
	u32 in_flight;

	device_lock(d);
	in_flight = virtio_begin_pause(v);
	device_unlock(d);
	if (in_flight > v->n_held) {
		assert(v->ops->drain);
		v->ops->drain(v);
	}
	device_lock(d);
	assert(virtio_in_flight(v) == v->n_held);
	for (u32 i = 0; i < v->n_queues; i++)
		vq_publish(&v->queues[i]->vq);
	device_unlock(d);
}

bool virtio_dev_settle(struct device *d)
{
	struct virtio_device *v = virtio_of(d);
	u32 in_flight;

	device_lock(d);
	in_flight = virtio_in_flight(v);
	device_unlock(d);
	if (!in_flight || !v->ops->drain)
		return false;
	v->ops->drain(v);
	device_lock(d);
	for (u32 i = 0; i < v->n_queues; i++)
		vq_publish(&v->queues[i]->vq);
	device_unlock(d);
	return true;
}

void virtio_dev_resume(struct device *d)
{
	struct virtio_device *v = virtio_of(d);

	device_lock(d);
	v->is_quiesced = false;
	virtio_update_paused(v);
	if (v->is_started && v->ops->resume)
		v->ops->resume(v);
	/* A device that was restored starts here: guest memory is there by now. */
	if (v->status & VIRTIO_STATUS_DRIVER_OK && !v->is_started &&
	    !(v->status & VIRTIO_STATUS_NEEDS_RESET))
		virtio_start(v);
	virtio_kick_all(v);
	device_unlock(d);
}

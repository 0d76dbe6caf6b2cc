/*
 * A virtio driver for tests. See virtio_driver.h.
 */
#include "virtio_driver.h"

#include "base/err.h"
#include "bus/device.h"
#include "state/state.h"
#include "test.h"

#define VDRV_RINGS 0x1000u
#define VDRV_DATA  (VDRV_RINGS + VDRV_MAX_QUEUES * FAKE_RING_BYTES)

void vdrv_init(struct vdrv *d)
{
	struct err err = ERR_INIT;

	*d = (struct vdrv){.next_data = VDRV_DATA};
	CHECK_EQ(loop_new(&d->loop, &err), 0);
	fake_guest_init(&d->guest);
	d->gmem = d->guest.gmem;
}

void vdrv_fini(struct vdrv *d)
{
	if (d->v)
		device_free(&d->v->dev);
	fake_guest_fini(&d->guest);
	loop_free(d->loop);
}

/* --- the transport --- */

static void vdrv_on_interrupt(struct virtio_device *v, struct virtio_queue *q)
{
	((struct vdrv *)v->transport_opaque)->n_interrupts[vq_index(&q->vq)]++;
}

static void vdrv_on_config(struct virtio_device *v)
{
	((struct vdrv *)v->transport_opaque)->n_config_interrupts++;
}

static void vdrv_on_reset(struct virtio_device *v)
{
	((struct vdrv *)v->transport_opaque)->n_resets++;
}

static const struct virtio_transport_ops vdrv_transport = {
	.queue_interrupt = vdrv_on_interrupt,
	.config_interrupt = vdrv_on_config,
	.reset = vdrv_on_reset,
};

static void vdrv_set_status(struct vdrv *d, u8 status)
{
	device_lock(&d->v->dev);
	virtio_set_status(d->v, status);
	device_unlock(&d->v->dev);
}

static void vdrv_enable(struct vdrv *d, u32 index)
{
	struct virtio_queue *q = d->v->queues[index];
	struct fake_ring *ring = &d->rings[index];

	fake_ring_init(ring, &d->guest, VDRV_RINGS + index * FAKE_RING_BYTES, VDRV_QUEUE_SIZE);
	if (d->v->features & VIRTIO_F_RING_PACKED)
		fake_ring_make_packed(ring);
	q->vq.config = (struct vq_config){
		.size = ring->size,
		.desc = ring->desc,
		.driver = ring->driver,
		.device = ring->device,
	};
	virtio_enable_queue(d->v, q);
}

void vdrv_start(struct vdrv *d, struct virtio_device *v, u64 features)
{
	const u8 known = VIRTIO_STATUS_ACKNOWLEDGE | VIRTIO_STATUS_DRIVER;

	if (d->v != v && features & VIRTIO_F_RING_PACKED)
		virtio_offer_packed(v);
	if (d->v != v)
		virtio_set_transport(v, &vdrv_transport, d);
	d->v = v;
	vdrv_set_status(d, known);
	virtio_set_features(v, features);
	vdrv_set_status(d, known | VIRTIO_STATUS_FEATURES_OK);
	CHECK(v->status & VIRTIO_STATUS_FEATURES_OK);
	CHECK(v->n_queues <= VDRV_MAX_QUEUES);
	for (u32 i = 0; i < v->n_queues; i++)
		vdrv_enable(d, i);
	vdrv_set_status(d, known | VIRTIO_STATUS_FEATURES_OK | VIRTIO_STATUS_DRIVER_OK);
	vdrv_settle(d);
}

void vdrv_reset(struct vdrv *d)
{
	vdrv_set_status(d, 0);
	while (d->v->status)
		loop_step(d->loop, true);
}

/* --- memory and rings --- */

gpa_t vdrv_put(struct vdrv *d, const void *data, u32 size)
{
	gpa_t gpa = d->next_data;

	d->next_data += align_up(size, 16);
	CHECK(d->next_data <= FAKE_RAM_SIZE);
	if (data)
		fake_guest_put(&d->guest, gpa, data, size);
	else
		CHECK_EQ(gmem_fill(d->gmem, gpa, 0xa5, size), 0);
	return gpa;
}

void vdrv_get(struct vdrv *d, gpa_t gpa, void *out, u32 size)
{
	fake_guest_get(&d->guest, gpa, out, size);
}

u16 vdrv_add(struct vdrv *d, u32 queue, const struct fake_buf *bufs, u16 n)
{
	return fake_ring_add(&d->rings[queue], bufs, n);
}

void vdrv_kick(struct vdrv *d, u32 queue)
{
	virtio_kick(d->v, virtio_vq(d->v, queue));
}

u16 vdrv_used(struct vdrv *d, u32 queue)
{
	return fake_ring_used_idx(&d->rings[queue]);
}

u32 vdrv_used_len(struct vdrv *d, u32 queue, u16 index)
{
	u32 id, len;

	CHECK(index < vdrv_used(d, queue));
	fake_ring_used(&d->rings[queue], index, &id, &len);
	return len;
}

void vdrv_wait(struct vdrv *d, u32 queue, u16 n)
{
	while (vdrv_used(d, queue) < n)
		loop_step(d->loop, true);
}

void vdrv_settle(struct vdrv *d)
{
	for (int i = 0; i < 50; i++)
		loop_step(d->loop, false);
}

/* --- saved state --- */

void vdrv_move(struct vdrv *d, struct virtio_device *other)
{
	AUTO(state_writer_free) struct state_writer *w = state_writer_new();
	struct device *from = &d->v->dev, *to = &other->dev;
	AUTO(state_reader_free) struct state_reader *r = NULL;
	struct err err = ERR_INIT;
	const char *name;
	const void *data;
	size_t size;
	u32 instance;

	if (d->v->offered & VIRTIO_F_RING_PACKED)
		virtio_offer_packed(other);
	from->ops->quiesce(from);
	state_save(w, from->ops->state, 0, (u8 *)from - from->ops->offset);
	data = state_writer_finish(w, &size);
	r = state_reader_new(data, size);
	CHECK_EQ(state_reader_next(r, &name, &instance, &err), 1);
	to->ops->quiesce(to);
	CHECK_EQ(state_load(r, to->ops->state, (u8 *)to - to->ops->offset, &err), 0);
	device_free(from);
	virtio_set_transport(other, &vdrv_transport, d);
	d->v = other;
	to->ops->resume(to);
	vdrv_settle(d);
}

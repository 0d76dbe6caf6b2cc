/*
 * A virtio driver for tests. See virtio_driver.h.
 */
#include "virtio_driver.h"

#include "base/alloc.h"
#include "base/epoch.h"
#include "base/err.h"
#include "bus/device.h"
#include "state/state.h"
#include "test.h"

#define VDRV_RINGS       0x10000u
#define VDRV_RING_STRIDE 0x2000u
#define VDRV_DATA        MIB

enum { DESC_NEXT = 1, DESC_WRITE = 2 };

struct desc {
	u64 addr;
	u32 len;
	u16 flags;
	u16 next;
};

void vdrv_init(struct vdrv *d)
{
	struct err err = ERR_INIT;
	struct gmem_block *ram;

	*d = (struct vdrv){.next_data = VDRV_DATA};
	CHECK_EQ(loop_new(&d->loop, &err), 0);
	d->epoch = epoch_new();
	d->gmem = gmem_new(d->epoch, false);
	gmem_attach_thread(d->gmem);
	CHECK_EQ(gmem_block_new(d->gmem, "ram", GMEM_ANON, VDRV_RAM, -1, &ram, &err), 0);
	gmem_set_map(d->gmem, &(struct gmem_range){.size = VDRV_RAM, .block = ram}, 1);
}

void vdrv_fini(struct vdrv *d)
{
	if (d->v)
		device_free(&d->v->dev);
	gmem_detach_thread(d->gmem);
	gmem_free(d->gmem);
	epoch_free(d->epoch);
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
	struct virtio_queue *vq = d->v->queues[index];
	struct vdrv_queue *q = &d->queues[index];

	*q = (struct vdrv_queue){.desc = VDRV_RINGS + index * VDRV_RING_STRIDE};
	q->avail = q->desc + 0x1000;
	q->used = q->desc + 0x1800;
	CHECK_EQ(gmem_fill(d->gmem, q->desc, 0, VDRV_RING_STRIDE), 0);
	vq->vq.config.size = VDRV_QUEUE_SIZE;
	vq->vq.config.desc = q->desc;
	vq->vq.config.driver = q->avail;
	vq->vq.config.device = q->used;
	virtio_enable_queue(d->v, vq);
}

void vdrv_start(struct vdrv *d, struct virtio_device *v, u64 features)
{
	const u8 known = VIRTIO_STATUS_ACKNOWLEDGE | VIRTIO_STATUS_DRIVER;

	if (d->v != v)
		virtio_set_transport(v, &vdrv_transport, d);
	d->v = v;
	vdrv_set_status(d, known);
	virtio_set_features(v, features);
	vdrv_set_status(d, known | VIRTIO_STATUS_FEATURES_OK);
	CHECK(v->status & VIRTIO_STATUS_FEATURES_OK);
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
	CHECK(d->next_data <= VDRV_RAM);
	if (data)
		CHECK_EQ(gmem_write(d->gmem, gpa, data, size), 0);
	else
		CHECK_EQ(gmem_fill(d->gmem, gpa, 0xa5, size), 0);
	return gpa;
}

void vdrv_get(struct vdrv *d, gpa_t gpa, void *out, u32 size)
{
	CHECK_EQ(gmem_read(d->gmem, gpa, out, size), 0);
}

static void vdrv_write16(struct vdrv *d, gpa_t gpa, u16 value)
{
	CHECK_EQ(gmem_write(d->gmem, gpa, &value, sizeof(value)), 0);
}

u16 vdrv_add(struct vdrv *d, u32 queue, const struct vdrv_seg *segs, u32 n)
{
	struct vdrv_queue *q = &d->queues[queue];
	u16 head = q->next_desc;

	for (u32 i = 0; i < n; i++) {
		u16 at = q->next_desc;

		q->next_desc = (u16)((at + 1) % VDRV_QUEUE_SIZE);
		struct desc desc = {
			.addr = segs[i].gpa,
			.len = segs[i].size,
			.flags = (u16)((segs[i].is_in ? DESC_WRITE : 0) |
				       (i + 1 < n ? DESC_NEXT : 0)),
			.next = q->next_desc,
		};
		CHECK_EQ(gmem_write(d->gmem, q->desc + at * sizeof(desc), &desc, sizeof(desc)), 0);
	}
	vdrv_write16(d, q->avail + 4 + 2 * (q->n_added % VDRV_QUEUE_SIZE), head);
	vdrv_write16(d, q->avail + 2, ++q->n_added);
	return head;
}

void vdrv_kick(struct vdrv *d, u32 queue)
{
	virtio_kick(d->v, virtio_vq(d->v, queue));
}

u16 vdrv_used(struct vdrv *d, u32 queue)
{
	u16 idx;

	vdrv_get(d, d->queues[queue].used + 2, &idx, sizeof(idx));
	return idx;
}

static u32 vdrv_used_word(struct vdrv *d, u32 queue, u16 index, u32 off)
{
	gpa_t elem = d->queues[queue].used + 4 + 8 * (index % VDRV_QUEUE_SIZE);
	u32 word;

	CHECK(index < vdrv_used(d, queue));
	vdrv_get(d, elem + off, &word, sizeof(word));
	return word;
}

u32 vdrv_used_head(struct vdrv *d, u32 queue, u16 index)
{
	return vdrv_used_word(d, queue, index, 0);
}

u32 vdrv_used_len(struct vdrv *d, u32 queue, u16 index)
{
	return vdrv_used_word(d, queue, index, 4);
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

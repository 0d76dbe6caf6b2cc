/*
 * Saved state of the device core: what was agreed with the driver, and where its queues stand.
 *
 * It is saved paused, with nothing in flight, so that a queue is its configuration and two
 * positions, whose meaning (packed rings: with the wrap counters) the features say. Rings are opened again when the restored device is resumed.
 */
#include "base/err.h"
#include "state/state.h"
#include "virtio/virtio.h"

static const struct state_field vq_config_fields[] = {
	STATE_U(struct vq_config, size),   STATE_B(struct vq_config, is_enabled),
	STATE_U(struct vq_config, desc),   STATE_U(struct vq_config, driver),
	STATE_U(struct vq_config, device), STATE_END,
};

static const struct state_table vq_config_state = {
	.name = "vq-config",
	.version = 1,
	.fields = vq_config_fields,
};

static const struct state_field virtio_queue_fields[] = {
	STATE_SUB(struct virtio_queue_saved, config, &vq_config_state),
	STATE_U(struct virtio_queue_saved, next_avail),
	STATE_U(struct virtio_queue_saved, next_used),
	STATE_END,
};

static const struct state_table virtio_queue_state = {
	.name = "virtio-queue",
	.version = 1,
	.fields = virtio_queue_fields,
};

static void virtio_before_save(void *object)
{
	struct virtio_device *v = object;

	v->saved_queues = v->n_queues;
	for (u32 i = 0; i < v->n_queues; i++) {
		const struct vq *q = &v->queues[i]->vq;

		assert(q->in_flight == 0);
		v->saved[i] = (struct virtio_queue_saved){
			.config = q->config,
			.next_avail = q->next_avail,
			.next_used = q->next_used,
		};
	}
}

static int virtio_load_queue(struct virtio_device *v, u32 index, struct err *err)
{
	const struct virtio_queue_saved *s = &v->saved[index];
	struct vq *q = &v->queues[index]->vq;

	if (!vq_can_size(q, v->features, s->config.size))
		return err_set(err, -EINVAL, "queue %u: size %u is not possible", index,
			       s->config.size);
	q->config = s->config;
	q->next_avail = s->next_avail;
	q->next_used = s->next_used;
	return 0;
}

static int virtio_after_load(void *object, unused u16 version, struct err *err)
{
	struct virtio_device *v = object;

	assert(!v->is_started);
	if (v->saved_queues != v->n_queues)
		return err_set(err, -EINVAL, "it has %u queues instead of %u", v->saved_queues,
			       v->n_queues);
	if (v->features & ~v->offered && v->status & VIRTIO_STATUS_FEATURES_OK)
		return err_set(err, -EINVAL, "features %#lx are not offered here",
			       v->features & ~v->offered);
	for (u32 i = 0; i < v->n_queues; i++) {
		int r = virtio_load_queue(v, i, err);

		if (r < 0)
			return r;
	}
	return 0;
}

static const struct state_field virtio_device_fields[] = {
	STATE_U(struct virtio_device, features),
	STATE_U(struct virtio_device, status),
	STATE_U(struct virtio_device, config_generation),
	STATE_U(struct virtio_device, saved_queues),
	STATE_SUB_ARRAY(struct virtio_device, saved, &virtio_queue_state),
	STATE_END,
};

const struct state_table virtio_device_state = {
	.name = "virtio-device",
	.version = 1,
	.fields = virtio_device_fields,
	.before_save = virtio_before_save,
	.after_load = virtio_after_load,
};

/*
 * What becomes of a disk while the guest runs: requests that the host can't do, and its size.
 */
#include "base/err.h"
#include "base/log.h"
#include "block/block.h"
#include "machine/machine_priv.h"
#include "virtio/blk.h"
#include "virtio/virtio.h"
#include "vm/vm.h"

/* --- requests that wait --- */

void pc_on_held(void *opaque, int result)
{
	struct pc_slot *s = opaque;
	struct machine *m = s->machine;

	__atomic_store_n(&s->failure, result, __ATOMIC_RELEASE);
	loop_task_post(vm_main_loop(m->vm), &m->failed_task);
}

static void pc_on_failed_task(struct loop_task *t)
{
	struct machine *m = container_of(t, struct machine, failed_task);

	for (unsigned i = 0; i < m->n_root_ports; i++) {
		struct pc_slot *s = &m->slots[i];
		int failure = __atomic_exchange_n(&s->failure, 0, __ATOMIC_ACQ_REL);

		if (!failure || !s->function || s->kind != MACHINE_DISK)
			continue;
		if (m->ops.disk_failed)
			m->ops.disk_failed(m->ops.opaque, s->vdev->dev.name, failure);
	}
}

void pc_init_disks(struct machine *m)
{
	list_init(&m->failed_task.node);
	m->failed_task.fn = pc_on_failed_task;
}

void pc_fini_disks(struct machine *m)
{
	loop_task_cancel(vm_main_loop(m->vm), &m->failed_task);
}

int pc_check_no_disk_waits(const struct machine *m, struct err *err)
{
	for (unsigned i = 0; i < m->n_root_ports; i++) {
		const struct pc_slot *s = &m->slots[i];

		if (s->function && s->kind == MACHINE_DISK && vblk_is_held(s->vdev))
			return err_set(
				err, -EBUSY,
				"'%s' has requests that the host couldn't do: see to that, and "
				"resume the guest first",
				s->vdev->dev.name);
	}
	return 0;
}

/* --- size --- */

struct pc_resizing {
	struct virtio_device *v;
	u64 bytes;
	bool is_shrinking;
	int result;
	struct err *err;
};

/* On the I/O thread. */
static void pc_resize(void *arg)
{
	struct pc_resizing *z = arg;
	const struct blk *b = vblk_disk(z->v);

	if (!z->bytes || !is_aligned(z->bytes, b->block_size))
		z->result = err_set(z->err, -EINVAL, "a disk's size is a multiple of %u bytes",
				    b->block_size);
	else if (z->bytes < b->size && !z->is_shrinking)
		z->result = err_set(z->err, -EINVAL,
				    "it has %lu bytes: what is cut off is lost, and that has to be "
				    "asked for",
				    b->size);
	else
		z->result = vblk_resize(z->v, z->bytes, z->err);
	z->bytes = b->size;
}

int machine_resize_disk(struct machine *m, const char *name, u64 bytes, bool is_shrinking,
			u64 *out_bytes, struct err *err)
{
	struct pc_resizing z = {.bytes = bytes, .is_shrinking = is_shrinking, .err = err};
	unsigned slot = pc_find_slot(m, name);

	if (!slot)
		return err_set(err, -ENOENT, "there is no device '%s'", name);
	if (m->slots[slot - 1].kind != MACHINE_DISK)
		return err_set(err, -EOPNOTSUPP, "'%s' is no disk", name);
	z.v = m->slots[slot - 1].vdev;
	vm_call_on_io(m->vm, pc_resize, &z);
	if (z.result < 0)
		return z.result;
	*out_bytes = z.bytes;
	return 0;
}

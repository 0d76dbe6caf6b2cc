/*
 * What is behind the network cards: made of descriptors, lost, and replaced while the guest runs.
 *
 * A network that leaves is noticed on the I/O thread, which only leaves a bit behind; the main thread
 * tells it.
 */
#include "base/err.h"
#include "base/log.h"
#include "machine/machine_priv.h"
#include "net/net.h"
#include "virtio/net.h"
#include "virtio/virtio.h"

int pc_open_network(struct machine *m, struct guest_nic *nic, struct net **out, struct err *err)
{
	int fds[GUEST_MAX_NET_QUEUES] = {nic->fd}, r;

	for (unsigned i = 0; i < nic->n_more_fds; i++)
		fds[i + 1] = nic->more_fds[i].fd;
	if (nic->kind == GUEST_NET_TAP)
		r = net_tap_new(vm_io_loop(m->vm), fds, nic->n_more_fds + 1, out, err);
	else
		r = net_stream_new(vm_io_loop(m->vm), nic->fd, out, err);
	if (r < 0)
		return r;
	nic->fd = -1;
	for (unsigned i = 0; i < nic->n_more_fds; i++)
		nic->more_fds[i].fd = -1;
	return 0;
}

/* --- lost --- */

void pc_on_lost(void *slot)
{
	struct pc_slot *s = slot;
	struct machine *m = s->machine;

	__atomic_fetch_or(&m->lost, BIT32(s - m->slots), __ATOMIC_RELEASE);
	loop_task_post(vm_main_loop(m->vm), &m->lost_task);
}

static void pc_on_lost_task(struct loop_task *t)
{
	struct machine *m = container_of(t, struct machine, lost_task);
	u32 slots = __atomic_exchange_n(&m->lost, 0, __ATOMIC_ACQ_REL);

	for (unsigned i = 0; i < m->n_root_ports; i++) {
		const struct pc_slot *s = &m->slots[i];

		if (!(slots & BIT32(i)) || !s->function || s->kind != MACHINE_NIC)
			continue;
		log_warn("network card '%s' has lost its network", s->vdev->dev.name);
		if (m->ops.net_lost)
			m->ops.net_lost(m->ops.opaque, s->vdev->dev.name);
	}
}

void pc_init_networks(struct machine *m)
{
	static_assert(PC_ROOT_PORTS_MAX <= 32, "a bit for each slot");
	for (unsigned i = 0; i < PC_ROOT_PORTS_MAX; i++)
		m->slots[i].machine = m;
	list_init(&m->lost_task.node);
	m->lost_task.fn = pc_on_lost_task;
}

void pc_fini_networks(struct machine *m)
{
	loop_task_cancel(vm_main_loop(m->vm), &m->lost_task);
}

/* --- what others ask for --- */

static struct virtio_device *pc_find_nic(struct machine *m, const char *name, struct err *err)
{
	unsigned slot = pc_find_slot(m, name);

	if (slot && m->slots[slot - 1].kind == MACHINE_NIC)
		return m->slots[slot - 1].vdev;
	err_set(err, -ENOENT, "there is no network card '%s'", name);
	return NULL;
}

struct pc_connection {
	struct machine *m;
	struct virtio_device *vdev;
	struct guest_nic *nic;
	struct err *err;
	int result;
};

static void pc_connect_on_io(void *arg)
{
	struct pc_connection *c = arg;
	struct net *n;

	c->result = pc_open_network(c->m, c->nic, &n, c->err);
	if (!c->result)
		vnet_connect(c->vdev, n);
}

int machine_connect_nic(struct machine *m, const char *name, struct guest_nic *nic, struct err *err)
{
	struct pc_connection c = {
		.m = m, .vdev = pc_find_nic(m, name, err), .nic = nic, .err = err};

	c.result = c.vdev ? 0 : -ENOENT;
	if (!c.result)
		vm_call_on_io(m->vm, pc_connect_on_io, &c);
	guest_nic_fini(nic);
	return c.result;
}

int machine_set_link(struct machine *m, const char *name, bool is_up, struct err *err)
{
	struct virtio_device *v = pc_find_nic(m, name, err);

	if (!v)
		return -ENOENT;
	vnet_set_link(v, is_up);
	return 0;
}

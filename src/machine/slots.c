/*
 * The slots behind the root ports: who is in which, and who comes next.
 *
 * Each device has a slot of its own, which a guest knows it by. What the board always has (console,
 * entropy, balloon) is put in first, from the highest slot down, so that it stays where it is when
 * disks and network cards come and go below. Those take the slot that the configuration names, or the
 * lowest that is free, and the choice is written back: a guest that is built from the configuration
 * again, to be restored, finds all of them where they were.
 */
#include "base/err.h"
#include "machine/machine_priv.h"
#include "pci/bridge.h"
#include "pci/pci.h"
#include "virtio/virtio.h"
#include "virtio/virtio_pci.h"

int pc_count_slots(struct machine *m, unsigned needed, struct err *err)
{
	struct guest_config *c = m->config;

	if (!c->n_slots)
		c->n_slots = MAX((unsigned)PC_ROOT_PORTS, needed);
	if (c->n_slots < needed || c->n_slots > PC_ROOT_PORTS_MAX)
		return err_set(err, -EINVAL, "%u slots for %u devices: a guest has at most %d",
			       c->n_slots, needed, PC_ROOT_PORTS_MAX);
	m->n_root_ports = c->n_slots;
	return 0;
}

/* --- who is where --- */

static bool pc_slot_is_claimed(const struct guest_config *c, unsigned slot)
{
	for (unsigned i = 0; i < c->n_disks; i++)
		if (c->disks[i].slot == slot)
			return true;
	for (unsigned i = 0; i < c->n_nics; i++)
		if (c->nics[i].slot == slot)
			return true;
	return false;
}

/* 0: none is left. */
static unsigned pc_lowest_free_slot(const struct machine *m)
{
	for (unsigned slot = 1; slot <= m->n_root_ports; slot++)
		if (!m->slots[slot - 1].function && !pc_slot_is_claimed(m->config, slot))
			return slot;
	return 0;
}

/* Chooses what the configuration leaves open. */
static int pc_place(struct machine *m, unsigned *slot, struct err *err)
{
	guest_config_name_devices(m->config);
	if (!*slot)
		*slot = pc_lowest_free_slot(m);
	if (!*slot)
		return err_set(err, -ENOSPC, "all %u slots are taken", m->n_root_ports);
	if (*slot > m->n_root_ports)
		return err_set(err, -EINVAL, "there is no slot %u; there are 1 to %u", *slot,
			       m->n_root_ports);
	if (m->slots[*slot - 1].function)
		return err_set(err, -EEXIST, "slot %u holds '%s'", *slot,
			       m->slots[*slot - 1].vdev->dev.name);
	return 0;
}

int pc_place_disk(struct machine *m, struct guest_disk *d, struct err *err)
{
	return pc_place(m, &d->slot, err);
}

int pc_place_nic(struct machine *m, struct guest_nic *n, struct err *err)
{
	return pc_place(m, &n->slot, err);
}

/* --- putting in, taking out --- */

void pc_plug_at(struct machine *m, struct virtio_device *v, unsigned slot,
		enum machine_device_kind kind)
{
	const struct msi_sink sink = pc_msi_sink(m);
	struct pci_device *p = virtio_pci_new(v, &sink);
	struct pc_slot *s = &m->slots[slot - 1];

	assert(!s->function);
	*s = (struct pc_slot){.machine = m, .kind = kind, .vdev = v, .function = p};
	device_adopt(vm_devices(m->vm), &v->dev); /* before its transport: freed after it */
	device_adopt(vm_devices(m->vm), &p->dev);
	if (m->is_started) {
		pci_root_port_insert(m->root_ports[slot - 1], p);
		pc_tell_inserted(m, slot);
	} else {
		pci_root_port_plug(m->root_ports[slot - 1], p);
	}
}

void pc_plug(struct machine *m, struct virtio_device *v)
{
	unsigned slot = m->n_root_ports;

	while (slot && m->slots[slot - 1].function)
		slot--;
	assert(slot); /* pc_count_slots was told of all of them */
	pc_plug_at(m, v, slot, MACHINE_OTHER);
}

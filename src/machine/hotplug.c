/*
 * Disks and network cards that come and go while the guest runs. docs/design/hotplug.md tells the
 * whole story; the slot's registers are pci/slot.c's.
 *
 * All of it is the main thread's, which has the I/O thread do what belongs to its loop and waits for
 * that. Nothing else walks the vm's devices meanwhile. A device goes in this order:
 *
 *     1. the slot is empty: no configuration access, no BAR, no doorbell leads to it any more
 *     2. vm_settle: every vCPU that was inside has come out
 *     3. on the I/O thread: what is in flight is finished, then transport and device are freed
 *
 * The guest's thread that turns a slot's indicator off only leaves a bit behind (pc_on_let_go).
 */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/err.h"
#include "base/log.h"
#include "base/time.h"
#include "dev/acpi_slots.h"
#include "dev/pm.h"
#include "machine/machine_priv.h"
#include "pci/bridge.h"
#include "pci/pci.h"
#include "virtio/virtio.h"

/* How long a guest has to notice that a device is gone, at most. */
#define PC_FORCED_NS (5 * NSEC_PER_SEC)

/* --- out --- */

static void pc_free_slot(void *arg)
{
	struct pc_slot *s = arg;

	if (s->vdev->dev.ops->quiesce)
		s->vdev->dev.ops->quiesce(&s->vdev->dev);
	pc_end_job(s);
	device_free(&s->function->dev);
	device_free(&s->vdev->dev);
	s->vdev = NULL;
	s->function = NULL;
	s->forced_ns = 0;
}

static void pc_forget_disk(struct guest_config *c, const char *name)
{
	for (unsigned i = 0; i < c->n_disks; i++) {
		if (strcmp(c->disks[i].name, name))
			continue;
		guest_disk_fini(&c->disks[i]);
		c->n_disks--;
		memmove(&c->disks[i], &c->disks[i + 1], (c->n_disks - i) * sizeof(c->disks[0]));
		guest_disk_init(&c->disks[c->n_disks]);
		return;
	}
}

static void pc_forget_nic(struct guest_config *c, const char *name)
{
	for (unsigned i = 0; i < c->n_nics; i++) {
		if (strcmp(c->nics[i].name, name))
			continue;
		guest_nic_fini(&c->nics[i]);
		c->n_nics--;
		memmove(&c->nics[i], &c->nics[i + 1], (c->n_nics - i) * sizeof(c->nics[0]));
		guest_nic_init(&c->nics[c->n_nics]);
		return;
	}
}

static void pc_take_out(struct machine *m, unsigned slot)
{
	struct pc_slot *s = &m->slots[slot - 1];
	enum machine_device_kind kind = s->kind;
	char name[sizeof(s->vdev->dev.name)];

	memcpy(name, s->vdev->dev.name, sizeof(name));
	pci_root_port_pull(m->root_ports[slot - 1]);
	acpi_slots_forget(m->acpi_slots, slot - 1);
	vm_settle(m->vm);
	vm_call_on_io(m->vm, pc_free_slot, s);
	pc_forget_job(s);
	if (kind == MACHINE_DISK)
		pc_forget_disk(m->config, name);
	else
		pc_forget_nic(m->config, name);
	log_info("device '%s' was removed from slot %u", name, slot);
	if (m->ops.device_removed)
		m->ops.device_removed(m->ops.opaque, name);
}

/* --- by ACPI: what a guest that listens to the event is told --- */

static bool pc_has_acpi(const struct machine *m)
{
	return pm_gpe_is_enabled(m->pm, PC_GPE_SLOTS);
}

void pc_tell_inserted(struct machine *m, unsigned slot)
{
	if (!pc_has_acpi(m))
		return;
	acpi_slots_insert(m->acpi_slots, slot - 1);
	pm_raise_gpe(m->pm, PC_GPE_SLOTS);
}

static void pc_ask_by_acpi(struct machine *m, unsigned slot)
{
	acpi_slots_ask(m->acpi_slots, slot - 1);
	pm_raise_gpe(m->pm, PC_GPE_SLOTS);
}

void pc_on_ejected(void *opaque, u32 slots)
{
	struct machine *m = opaque;

	__atomic_fetch_or(&m->let_go, slots, __ATOMIC_RELEASE);
	loop_task_post(vm_main_loop(m->vm), &m->let_go_task);
}

/* --- the guest lets go --- */

void pc_on_let_go(void *opaque, struct pci_device *port)
{
	struct machine *m = opaque;

	for (unsigned i = 0; i < m->n_root_ports; i++)
		if (m->root_ports[i] == port)
			__atomic_fetch_or(&m->let_go, BIT32(i), __ATOMIC_RELEASE);
	loop_task_post(vm_main_loop(m->vm), &m->let_go_task);
}

static void pc_take_out_let_go(struct machine *m)
{
	u32 slots = __atomic_exchange_n(&m->let_go, 0, __ATOMIC_ACQ_REL);

	for (unsigned i = 0; i < m->n_root_ports; i++)
		if (slots & BIT32(i) && m->slots[i].function)
			pc_take_out(m, i + 1);
}

static void pc_on_let_go_task(struct loop_task *t)
{
	pc_take_out_let_go(container_of(t, struct machine, let_go_task));
}

/* --- the guest doesn't --- */

static void pc_on_forced_timer(struct loop_timer *t)
{
	struct machine *m = container_of(t, struct machine, forced_timer);
	u64 now = time_mono_ns(), next = UINT64_MAX;

	for (unsigned i = 0; i < m->n_root_ports; i++) {
		u64 at = m->slots[i].forced_ns;

		if (at && at <= now)
			pc_take_out(m, i + 1);
		else if (at)
			next = MIN(next, at);
	}
	if (next != UINT64_MAX)
		loop_timer_arm(vm_main_loop(m->vm), t, next);
}

static void pc_force(struct machine *m, unsigned slot)
{
	struct pc_slot *s = &m->slots[slot - 1];

	if (!s->forced_ns)
		s->forced_ns = time_mono_ns() + PC_FORCED_NS;
	if (!m->forced_timer.heap_slot)
		loop_timer_arm(vm_main_loop(m->vm), &m->forced_timer, s->forced_ns);
	if (pc_has_acpi(m))
		pc_ask_by_acpi(m, slot);
	else
		pci_root_port_lose(m->root_ports[slot - 1]);
}

void pc_init_hotplug(struct machine *m)
{
	static_assert(PC_ROOT_PORTS_MAX <= 32, "a bit for each port");
	list_init(&m->let_go_task.node);
	m->let_go_task.fn = pc_on_let_go_task;
	m->forced_timer.fn = pc_on_forced_timer;
}

void pc_fini_hotplug(struct machine *m)
{
	loop_task_cancel(vm_main_loop(m->vm), &m->let_go_task);
	loop_timer_disarm(vm_main_loop(m->vm), &m->forced_timer);
}

void pc_finish_removals(struct machine *m)
{
	for (unsigned i = 0; i < m->n_root_ports; i++) {
		pci_root_port_finish_ask(m->root_ports[i]);
		if (acpi_slots_is_asked(m->acpi_slots, i))
			__atomic_fetch_or(&m->let_go, BIT32(i), __ATOMIC_RELEASE);
	}
	pc_take_out_let_go(m);
}

/* --- what others ask for --- */

unsigned pc_find_slot(const struct machine *m, const char *name)
{
	for (unsigned i = 0; i < m->n_root_ports; i++)
		if (m->slots[i].function && !strcmp(m->slots[i].vdev->dev.name, name))
			return i + 1;
	return 0;
}

int machine_remove_device(struct machine *m, const char *name, bool is_forced, struct err *err)
{
	unsigned slot = pc_find_slot(m, name);

	if (!slot)
		return err_set(err, -ENOENT, "there is no device '%s'", name);
	if (m->slots[slot - 1].kind == MACHINE_OTHER)
		return err_set(err, -EOPNOTSUPP, "device '%s' belongs to the board", name);
	if (is_forced)
		pc_force(m, slot);
	else if (pc_has_acpi(m))
		pc_ask_by_acpi(m, slot);
	else if (pci_root_port_ask(m->root_ports[slot - 1]) < 0)
		return err_set(err, -EBUSY, "the guest is about to let go of '%s'", name);
	return 0;
}

unsigned machine_list_devices(struct machine *m, struct machine_device *out)
{
	unsigned n = 0;

	for (unsigned i = 0; i < m->n_root_ports; i++) {
		const struct pc_slot *s = &m->slots[i];

		if (!s->function)
			continue;
		out[n] = (struct machine_device){
			.kind = s->kind,
			.slot = i + 1,
			.is_asked = pci_root_port_is_asked(m->root_ports[i]) ||
				    acpi_slots_is_asked(m->acpi_slots, i),
		};
		snprintf(out[n].name, sizeof(out[n].name), "%s", s->vdev->dev.name);
		n++;
	}
	return n;
}

/* --- in --- */

struct pc_addition {
	struct machine *m;
	struct guest_disk *disk; /* one of the two */
	struct guest_nic *nic;
	struct blk *blk; /* disk's */
	struct err *err;
	int result;
};

static void pc_add_on_io(void *arg)
{
	struct pc_addition *a = arg;

	a->result = a->disk ? pc_make_disk(a->m, a->disk, a->blk, a->err)
			    : pc_add_nic(a->m, a->nic, a->err);
}

static int pc_add(struct pc_addition *a)
{
	int r = guest_config_check(a->m->config, a->err);

	if (!r)
		r = a->disk ? pc_place_disk(a->m, a->disk, a->err)
			    : pc_place_nic(a->m, a->nic, a->err);
	if (!r) {
		vm_call_on_io(a->m->vm, pc_add_on_io, a);
		r = a->result;
	}
	return r;
}

/* A disk that is being opened. */
struct pc_new_disk {
	struct machine *m;
	struct guest_disk disk;
	struct machine_waiter waiter;
};

/* Into the configuration: its last disk is *d then, until pc_take_back. */
static int pc_enter_disk(struct machine *m, struct guest_disk *d, struct err *err)
{
	struct guest_config *c = m->config;

	if (c->n_disks == GUEST_MAX_DISKS)
		return err_set(err, -ENOSPC, "a guest has at most %d disks", GUEST_MAX_DISKS);
	c->disks[c->n_disks++] = *d;
	guest_disk_init(d);
	return 0;
}

static void pc_take_back(struct machine *m, struct guest_disk *d)
{
	struct guest_disk *last = &m->config->disks[--m->config->n_disks];

	*d = *last;
	guest_disk_init(last);
}

static int pc_add_opened(struct pc_new_disk *n, struct blk *b, struct err *err)
{
	struct machine *m = n->m;
	struct pc_addition a = {.m = m, .blk = b, .err = err};
	int r = n->waiter.check(n->waiter.opaque, err);

	if (r == 0)
		r = pc_enter_disk(m, &n->disk, err);
	if (r < 0)
		return r;
	a.disk = &m->config->disks[m->config->n_disks - 1];
	r = pc_add(&a);
	if (r < 0) {
		pc_take_back(m, &n->disk);
		return r;
	}
	log_info("disk '%s' was added in slot %u", a.disk->name, a.disk->slot);
	n->waiter.done(n->waiter.opaque, a.disk->name, err);
	return 0;
}

static void pc_on_disk_opened(void *opaque, struct blk *b, struct err *err)
{
	struct pc_new_disk *n = opaque;

	if (!b || pc_add_opened(n, b, err) < 0) {
		if (b)
			pc_close_disk(n->m, b);
		n->waiter.done(n->waiter.opaque, NULL, err);
	}
	guest_disk_fini(&n->disk);
	free(n);
}

int machine_add_disk(struct machine *m, struct guest_disk *disk, const struct machine_waiter *w,
		     struct err *err)
{
	struct pc_new_disk *n = NEW(struct pc_new_disk);
	int r;

	*n = (struct pc_new_disk){.m = m, .disk = *disk, .waiter = *w};
	guest_disk_init(disk);
	/* What is wrong with it by itself needn't wait for its server. */
	r = pc_enter_disk(m, &n->disk, err);
	if (r == 0) {
		r = guest_config_check(m->config, err);
		pc_take_back(m, &n->disk);
	}
	if (r == 0)
		r = pc_open_later(m, &n->disk, false, pc_on_disk_opened, n, err);
	if (r < 0) {
		guest_disk_fini(&n->disk);
		free(n);
	}
	return r;
}

int machine_add_nic(struct machine *m, struct guest_nic *nic, const char **out_name,
		    struct err *err)
{
	struct guest_config *c = m->config;
	struct pc_addition a = {.m = m, .nic = &c->nics[c->n_nics], .err = err};
	int r;

	if (c->n_nics == GUEST_MAX_NICS) {
		guest_nic_fini(nic);
		return err_set(err, -ENOSPC, "a guest has at most %d network cards",
			       GUEST_MAX_NICS);
	}
	*a.nic = *nic;
	guest_nic_init(nic);
	c->n_nics++;
	r = pc_add(&a);
	if (r < 0) {
		c->n_nics--;
		guest_nic_fini(a.nic);
		return r;
	}
	*out_name = a.nic->name;
	log_info("network card '%s' was added in slot %u", a.nic->name, a.nic->slot);
	return 0;
}

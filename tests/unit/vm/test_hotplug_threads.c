/*
 * Devices come and go under the hands of vCPUs that use them: for the sanitizers, above all
 * ThreadSanitizer. What machine/hotplug.c does, on a vm with a root port and a real virtio device.
 */
#include "test.h"

#include <sched.h>

#include "base/alloc.h"
#include "base/err.h"
#include "base/loop.h"
#include "bus/io.h"
#include "pci/bridge.h"
#include "pci/pci.h"
#include "virtio/rng.h"
#include "virtio/virtio.h"
#include "virtio/virtio_pci.h"
#include "vm/vm.h"

#define BAR_GPA 0xc0000000ul
#define RP      PCI_DEVFN(1, 0)
#define ROUNDS  300

struct rig {
	struct loop *loop;
	struct vm *vm;
	struct pci_root *root;
	struct pci_device *port, *function;
	struct virtio_device *vdev;
	u64 accesses; /* atomic */
};

struct rough_vcpu {
	struct vcpu vcpu;
	struct rig *rig;
	u32 seed;
};

static u32 rough_random(struct rough_vcpu *r)
{
	r->seed = r->seed * 1664525 + 1013904223;
	return r->seed >> 8;
}

/* Turns the indicator on and off, places the BAR, and uses what is behind it. */
static void rough_access(struct rough_vcpu *r)
{
	struct rig *g = r->rig;
	u32 what = rough_random(r);
	u32 slot_control = g->port->express_cap + (u32)PCIE_SLOT_CONTROL;
	u64 gpa = BAR_GPA + what % 0x4000 / 4 * 4;

	switch (what >> 16 & 7) {
	case 0:
		pci_config_write(g->root, 0, RP, slot_control,
				 what & 1 ? PCIE_SLOT_CONTROL_LED_ON : PCIE_SLOT_CONTROL_LED_OFF,
				 2);
		break;
	case 1:
		pci_config_write(g->root, 1, 0, PCI_BAR0 + 16, BAR_GPA, 4);
		pci_config_write(g->root, 1, 0, PCI_COMMAND,
				 PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, 2);
		break;
	case 2:
		pci_config_read(g->root, 1, 0, what % PCI_CONFIG_SIZE / 4 * 4, 4);
		break;
	case 3:
	case 4:
		io_space_write(vm_memory(g->vm), gpa, rough_random(r), 2);
		break;
	default:
		io_space_read(vm_memory(g->vm), gpa, 4);
		break;
	}
	__atomic_add_fetch(&g->accesses, 1, __ATOMIC_RELAXED);
}

static enum vcpu_stop rough_run(struct vcpu *v)
{
	struct rough_vcpu *r = container_of(v, struct rough_vcpu, vcpu);

	while (!vcpu_is_wanted(v)) {
		rough_access(r);
		sched_yield();
	}
	return VCPU_STOP_REQUEST;
}

static void rough_kick(unused struct vcpu *v)
{
}

static void rough_free(struct vcpu *v)
{
	free(container_of(v, struct rough_vcpu, vcpu));
}

static void rig_accel_free(struct accel *a)
{
	free(a);
}

static int rig_enter_role(unused void *opaque, unused enum vm_role role, unused struct err *err)
{
	return 0;
}

static void rig_event(unused void *opaque, unused enum vm_event event)
{
}

static int rig_rewind(unused void *opaque, unused struct err *err)
{
	return 0;
}

static void rig_send(unused void *opaque, unused const struct msi_msg *msg)
{
}

static void rig_add_vcpus(struct rig *g)
{
	static const struct vcpu_ops ops = {
		.run = rough_run, .kick = rough_kick, .free = rough_free};
	static const struct accel_ops accel_ops = {.free = rig_accel_free};
	struct accel *a = NEW(struct accel);

	a->ops = &accel_ops;
	vm_set_accel(g->vm, a);
	for (unsigned i = 0; i < 2; i++) {
		struct rough_vcpu *r = NEW(struct rough_vcpu);

		r->vcpu = (struct vcpu){.ops = &ops, .accel = a, .id = i};
		r->rig = g;
		r->seed = i + 1;
		vm_add_vcpu(g->vm, &r->vcpu);
	}
}

static void rig_init(struct rig *g)
{
	const struct vm_setup setup = {.name = "test"};
	const struct vm_ops ops = {rig_enter_role, rig_event, rig_rewind, g};
	const struct pci_root_port_config port = {
		.devfn = RP, .slot_number = 1, .name = "port", .sink = {rig_send, NULL}};
	struct err err = ERR_INIT;

	*g = (struct rig){0};
	CHECK_EQ(loop_new(&g->loop, &err), 0);
	CHECK_EQ(vm_new(&setup, g->loop, &ops, &g->vm, &err), 0);
	rig_add_vcpus(g);
	g->root = pci_root_new(vm_ports(g->vm), vm_memory(g->vm));
	g->port = pci_root_port_new(g->root, &port);
	device_adopt(vm_devices(g->vm), &g->port->dev);
	pci_config_write(g->root, 0, RP, PCI_PRIMARY_BUS, 0x010100, 4);
	pci_config_write(g->root, 0, RP, PCI_MEMORY_BASE, 0xc000c000, 4);
	pci_config_write(g->root, 0, RP, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, 2);
	CHECK_EQ(vm_start(g->vm, &err), 0);
}

static void rig_fini(struct rig *g)
{
	vm_free_devices(g->vm);
	pci_root_free(g->root);
	vm_free(g->vm);
	loop_free(g->loop);
}

static void rig_insert(void *arg)
{
	const struct msi_sink sink = {rig_send, NULL};
	struct err err = ERR_INIT;
	struct rig *g = arg;

	CHECK_EQ(vrng_new("rng0", vm_io_loop(g->vm), vm_gmem(g->vm), 0, &g->vdev, &err), 0);
	g->function = virtio_pci_new(g->vdev, &sink);
	device_adopt(vm_devices(g->vm), &g->vdev->dev);
	device_adopt(vm_devices(g->vm), &g->function->dev);
	pci_root_port_insert(g->port, g->function);
}

static void rig_free_function(void *arg)
{
	struct rig *g = arg;

	g->vdev->dev.ops->quiesce(&g->vdev->dev);
	device_free(&g->function->dev);
	device_free(&g->vdev->dev);
}

static void rig_wait_for_accesses(struct rig *g, u64 n)
{
	u64 from = __atomic_load_n(&g->accesses, __ATOMIC_RELAXED);

	while (__atomic_load_n(&g->accesses, __ATOMIC_RELAXED) - from < n)
		sched_yield();
}

TEST(devices_come_and_go_while_they_are_used)
{
	struct rig g;

	rig_init(&g);
	vm_resume(g.vm);
	for (unsigned i = 0; i < ROUNDS; i++) {
		vm_call_on_io(g.vm, rig_insert, &g);
		rig_wait_for_accesses(&g, 40);
		if (i % 3 == 0)
			(void)pci_root_port_ask(g.port);
		if (i % 50 == 0) {
			vm_pause(g.vm);
			vm_resume(g.vm);
		}
		pci_root_port_pull(g.port);
		vm_settle(g.vm);
		vm_call_on_io(g.vm, rig_free_function, &g);
	}
	rig_fini(&g);
}

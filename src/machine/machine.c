/*
 * A machine's life: accelerator chosen, vm made, board built, kernel loaded, started, reset.
 */
#include "machine/machine.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/err.h"
#include "block/block.h"
#include "chr/chr.h"
#include "irqchip/lapic.h"
#include "machine/machine_priv.h"
#include "pci/pci.h"

static int machine_enter_role(void *opaque, enum vm_role role, struct err *err)
{
	struct machine *m = opaque;

	return m->ops.enter_role(m->ops.opaque, role, err);
}

static void machine_event(void *opaque, enum vm_event event)
{
	struct machine *m = opaque;

	m->ops.event(m->ops.opaque, event);
}

/* Back to the moment before the first instruction; the devices have been reset. */
static int machine_rewind(void *opaque, struct err *err)
{
	struct machine *m = opaque;

	if (m->lapics)
		lapic_bus_reset(m->lapics);
	pc_finish_removals(m);
	return pc_boot(m, err);
}

static int machine_make_vm(struct machine *m, struct loop *main_loop, struct err *err)
{
	/* A guest that was saved keeps the TSC that it had. */
	const struct vm_setup setup = {
		.name = m->config->name,
		.track_code = m->is_soft,
		.tsc_hz = m->config->tsc_hz ? m->config->tsc_hz : m->tsc_hz,
		.is_counted = m->config->clock == GUEST_CLOCK_INSN,
	};
	const struct vm_ops ops = {
		.enter_role = machine_enter_role,
		.event = machine_event,
		.rewind = machine_rewind,
		.opaque = m,
	};

	return vm_new(&setup, main_loop, &ops, &m->vm, err);
}

int machine_new(struct guest_config *config, struct loop *main_loop, const struct machine_ops *ops,
		struct machine **out, struct err *err)
{
	AUTO(machine_free) struct machine *m = NEW(struct machine);
	int r;

	m->config = config;
	m->ops = *ops;
	pc_init_hotplug(m);
	pc_init_networks(m);
	pc_init_disks(m);
	pc_init_jobs(m);
	r = pc_init_opening(m, err);
	if (!r)
		r = machine_choose_accel(m, err);
	if (!r)
		r = machine_make_vm(m, main_loop, err);
	if (!r)
		r = host_sleep_init(&m->host_sleep, main_loop, vm_clock(m->vm), err);
	if (!r)
		r = pc_build_memory(m, err);
	if (!r)
		r = machine_make_accel(m, err);
	if (!r)
		r = machine_check_model(m, err);
	if (!r)
		r = pc_build(m, err);
	if (!r)
		r = machine_make_vcpus(m, err);
	if (r < 0)
		return r;
	*out = take(m);
	return 0;
}

void machine_free(struct machine *m)
{
	if (!m)
		return;
	pc_fini_opening(m);
	if (m->vm) {
		host_sleep_fini(&m->host_sleep);
		pc_fini_hotplug(m);
		pc_fini_networks(m);
		pc_fini_disks(m);
		pc_fini_jobs(m);
		vm_free_devices(m->vm);
	}
	blk_engines_free(m->engines);
	chr_free(m->serial_chr);
	pci_root_free(m->pci);
	lapic_bus_free(m->lapics);
	vm_free(m->vm);
	free(m);
}

int machine_start(struct machine *m, struct err *err)
{
	int r = pc_boot(m, err);

	m->is_started = true;
	return r ? r : vm_start(m->vm, err);
}

int machine_start_loaded(struct machine *m, struct err *err)
{
	return vm_start(m->vm, err);
}

int machine_can_reset(const struct machine *m, struct err *err)
{
	if (m->config->kernel_fd >= 0)
		return 0;
	return err_set(err, -EOPNOTSUPP,
		       "the guest can't be reset: its kernel, %s, isn't there any more",
		       m->config->kernel_path ? m->config->kernel_path : "of unknown name");
}

struct gmem_block *machine_ram(struct machine *m)
{
	return m->ram;
}

bool machine_is_soft(const struct machine *m)
{
	return m->is_soft;
}

void machine_add_text(struct machine *m, const char *words)
{
	size_t n = strlen(m->accel_text);

	snprintf(m->accel_text + n, sizeof(m->accel_text) - n, "%s", words);
}

struct vm *machine_vm(struct machine *m)
{
	return m->vm;
}

const char *machine_accel_text(const struct machine *m)
{
	return m->accel_text;
}

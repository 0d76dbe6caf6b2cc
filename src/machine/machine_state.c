/*
 * Saving and loading a machine's state. See machine_state.h.
 *
 *     clock | devices, in the order of the board | machine | cpuid | x86-cpu, x86-lapic for each vCPU
 *
 * Saving. A device that brings itself up to date may raise an interrupt, so the local APICs come
 * last. Loading. A device may do the same, so the vCPUs come first, and the clock, from which timers
 * are armed, before all: the sections are walked twice.
 */
#include "machine/machine_state.h"

#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "accel/accel.h"
#include "base/alloc.h"
#include "base/err.h"
#include "clock/vclock.h"
#include "irqchip/lapic.h"
#include "machine/machine_priv.h"
#include "state/state.h"

/* --- what belongs to no device --- */

struct machine_saved {
	u64 memory;
	u32 n_cpus;
	u64 kvmclock_ahead_ns;
};

static const struct state_table machine_saved_table = {
	.name = "machine",
	.version = 1,
	.fields =
		(const struct state_field[]){
			STATE_U(struct machine_saved, memory),
			STATE_U(struct machine_saved, n_cpus),
			STATE_U(struct machine_saved, kvmclock_ahead_ns),
			STATE_END,
		},
};

static const struct state_table cpuid_entry_table = {
	.name = "cpuid-entry",
	.version = 1,
	.fields =
		(const struct state_field[]){
			STATE_U(struct x86_cpuid_entry, leaf),
			STATE_U(struct x86_cpuid_entry, subleaf),
			STATE_B(struct x86_cpuid_entry, has_subleaf),
			STATE_U(struct x86_cpuid_entry, eax),
			STATE_U(struct x86_cpuid_entry, ebx),
			STATE_U(struct x86_cpuid_entry, ecx),
			STATE_U(struct x86_cpuid_entry, edx),
			STATE_END,
		},
};

/* Of vCPU 0: the others differ in their number only. */
static const struct state_table cpuid_table = {
	.name = "cpuid",
	.version = 1,
	.fields =
		(const struct state_field[]){
			STATE_U(struct x86_cpuid, arch_capabilities),
			STATE_U(struct x86_cpuid, n),
			STATE_SUB_ARRAY(struct x86_cpuid, e, &cpuid_entry_table),
			STATE_END,
		},
};

/* --- saving --- */

int machine_can_save(const struct machine *m, struct err *err)
{
	for (unsigned i = 0; i < m->config->n_disks; i++)
		if (m->config->disks[i].is_overlaid)
			return err_set(
				err, -ENOTSUP,
				"disk %s was started with --snapshot: what the guest wrote to it "
				"would be lost",
				m->config->disks[i].path);
	if (pc_check_no_job(m, err) < 0)
		return err->code;
	return pc_check_no_disk_waits(m, err);
}

/* By fstat itself: the C library's asks for more than a descriptor, and confined we may not. */
static void machine_describe_disk(struct guest_disk *d)
{
	struct stat st;

	if (syscall(SYS_fstat, d->used_fd, &st) < 0)
		return;
	d->saved_bytes = (u64)st.st_size;
	d->saved_changed_ns = (u64)st.st_mtim.tv_sec * NSEC_PER_SEC + (u64)st.st_mtim.tv_nsec;
}

char *machine_save_config(struct machine *m)
{
	struct guest_config c = *m->config; /* borrows all of it */

	c.tsc_hz = vclock_tsc_hz(vm_clock(m->vm));
	c.kvm_why = NULL;
	c.is_eager = c.catches_up = false;
	for (unsigned i = 0; i < c.n_disks; i++)
		machine_describe_disk(&c.disks[i]);
	return guest_config_encode_plain(&c);
}

static int machine_get_lapic(struct machine *m, struct vcpu *v, struct x86_lapic_state *out,
			     struct err *err)
{
	if (v->ops->get_lapic)
		return v->ops->get_lapic(v, out, err);
	lapic_get_state(lapic_vcpu(m->lapics, v->id), out);
	return 0;
}

static int machine_save_vcpu(struct machine *m, struct vcpu *v, struct state_writer *w,
			     struct err *err)
{
	AUTO(free_ptr) struct x86_cpu_state *cpu = aligned_alloc(64, align_up(sizeof(*cpu), 64));
	struct x86_lapic_state lapic;
	int r;

	if (!cpu)
		return err_set(err, -ENOMEM, "out of memory");
	r = v->ops->get_state(v, cpu, err);
	if (!r)
		r = machine_get_lapic(m, v, &lapic, err);
	if (r < 0)
		return err_wrap(err, "vCPU %u", v->id);
	state_save(w, &x86_cpu_state_table, v->id, cpu);
	state_save(w, &x86_lapic_state_table, v->id, &lapic);
	return 0;
}

int machine_save_state(struct machine *m, struct state_writer *w, struct err *err)
{
	struct machine_saved saved = {
		.memory = m->config->memory,
		.n_cpus = vm_vcpu_count(m->vm),
		.kvmclock_ahead_ns = vm_accel(m->vm)->kvmclock_ahead_ns,
	};
	AUTO(free_ptr) struct x86_cpuid *cpuid = NEW(struct x86_cpuid);
	int r = machine_build_cpuid(m, 0, cpuid, err);

	assert(!vm_is_running(m->vm));
	/* The pause itself may have found the host full: those requests are in no state. */
	if (!r)
		r = pc_check_no_disk_waits(m, err);
	if (r < 0)
		return r;
	state_save(w, &vclock_state, 0, vm_clock(m->vm));
	device_set_save(vm_devices(m->vm), w);
	state_save(w, &machine_saved_table, 0, &saved);
	state_save(w, &cpuid_table, 0, cpuid);
	for (unsigned i = 0; i < vm_vcpu_count(m->vm) && !r; i++)
		r = machine_save_vcpu(m, vm_vcpu(m->vm, i), w, err);
	return r;
}

/* --- loading --- */

struct machine_loader {
	struct machine *m;
	struct state_reader *reader;
	bool has_clock, has_machine, has_cpuid;
	u64 has_cpu, has_lapic; /* bits of vCPUs */
	struct x86_cpu_state *cpus;
	struct x86_lapic_state *lapics;
};

static int machine_load_twice(const char *what, struct err *err)
{
	return err_set(err, -EINVAL, "section \"%s\" is there twice", what);
}

static int machine_load_clock(struct machine_loader *l, struct err *err)
{
	struct vclock *clock = vm_clock(l->m->vm);
	u64 hz = vclock_tsc_hz(clock);
	int r;

	if (l->has_clock)
		return machine_load_twice("clock", err);
	l->has_clock = true;
	r = state_load(l->reader, &vclock_state, clock, err);
	if (!r && vclock_tsc_hz(clock) != hz)
		return err_set(err, -EINVAL, "the state's TSC has %lu Hz, the configuration's %lu",
			       vclock_tsc_hz(clock), hz);
	return r;
}

static int machine_load_saved(struct machine_loader *l, struct err *err)
{
	struct machine_saved s;
	int r = state_load(l->reader, &machine_saved_table, &s, err);

	if (r < 0)
		return r;
	if (l->has_machine)
		return machine_load_twice("machine", err);
	if (s.memory != l->m->config->memory || s.n_cpus != vm_vcpu_count(l->m->vm))
		return err_set(err, -EINVAL, "the state is of a guest with %u CPUs and %lu MiB",
			       s.n_cpus, s.memory / MIB);
	vm_accel(l->m->vm)->kvmclock_ahead_ns = s.kvmclock_ahead_ns;
	l->has_machine = true;
	return 0;
}

static int machine_cpu_differs(const struct machine *m, const struct x86_cpuid_entry *was,
			       const struct x86_cpuid_entry *is, struct err *err)
{
	return err_set(
		err, -ENOTSUP,
		"CPU model '%s' is another here than where the guest was saved: CPUID leaf %#x "
		"was %08x %08x %08x %08x and is %08x %08x %08x %08x",
		m->config->cpu, was->leaf, was->eax, was->ebx, was->ecx, was->edx, is->eax, is->ebx,
		is->ecx, is->edx);
}

/* What the guest has found out about its processor stays true. */
static int machine_load_cpuid(struct machine_loader *l, struct err *err)
{
	AUTO(free_ptr) struct x86_cpuid *was = NEW(struct x86_cpuid);
	AUTO(free_ptr) struct x86_cpuid *is = NEW(struct x86_cpuid);
	int r = state_load(l->reader, &cpuid_table, was, err);

	if (!r)
		r = machine_build_cpuid(l->m, 0, is, err);
	if (r < 0)
		return r;
	if (l->has_cpuid)
		return machine_load_twice("cpuid", err);
	l->has_cpuid = true;
	if (was->n > X86_CPUID_MAX)
		return err_set(err, -EINVAL, "%u CPUID leaves", was->n);
	for (u32 i = 0; i < MIN(was->n, is->n); i++) {
		const struct x86_cpuid_entry *a = &was->e[i], *b = &is->e[i];

		if (a->leaf != b->leaf || a->subleaf != b->subleaf || a->eax != b->eax ||
		    a->ebx != b->ebx || a->ecx != b->ecx || a->edx != b->edx)
			return machine_cpu_differs(l->m, a, b, err);
	}
	if (was->n != is->n || was->arch_capabilities != is->arch_capabilities)
		return err_set(err, -ENOTSUP,
			       "CPU model '%s' is another here than where the guest was saved",
			       l->m->config->cpu);
	return 0;
}

/* Into the array's element of the vCPU that the section names, once. */
static int machine_load_vcpu_part(struct machine_loader *l, const struct state_table *t,
				  void *array, size_t size, u32 id, u64 *has, struct err *err)
{
	if (id >= vm_vcpu_count(l->m->vm))
		return err_set(err, -EINVAL, "section \"%s\" is of vCPU %u", t->name, id);
	if (*has & BIT(id))
		return machine_load_twice(t->name, err);
	*has |= BIT(id);
	return state_load(l->reader, t, (u8 *)array + id * size, err);
}

/* The first walk: 1 for a section that is none of its own. */
static int machine_load_core(struct machine_loader *l, const char *name, u32 instance,
			     struct err *err)
{
	if (!strcmp(name, x86_cpu_state_table.name))
		return machine_load_vcpu_part(l, &x86_cpu_state_table, l->cpus, sizeof(*l->cpus),
					      instance, &l->has_cpu, err);
	if (!strcmp(name, x86_lapic_state_table.name))
		return machine_load_vcpu_part(l, &x86_lapic_state_table, l->lapics,
					      sizeof(*l->lapics), instance, &l->has_lapic, err);
	if (!strcmp(name, vclock_state.name))
		return machine_load_clock(l, err);
	if (!strcmp(name, machine_saved_table.name))
		return machine_load_saved(l, err);
	if (!strcmp(name, cpuid_table.name))
		return machine_load_cpuid(l, err);
	return 1;
}

static int machine_set_vcpu(struct machine *m, struct vcpu *v, struct x86_cpu_state *cpu,
			    const struct x86_lapic_state *lapic, struct err *err)
{
	struct vcpu_apic *apic = m->lapics ? lapic_vcpu(m->lapics, v->id) : NULL;
	int r;

	/* KVM keeps a local APIC's NMI with the vCPU's own. */
	if (!apic)
		cpu->nmi_pending |= lapic->nmi_pending;
	r = v->ops->set_state(v, cpu, err);
	if (r < 0)
		return r;
	if (!apic)
		return v->ops->set_lapic(v, lapic, err);
	apic->ops->set_tsc_offset(apic,
				  cpu->tsc_offset); /* deadlines are meant in the vCPU's TSC */
	return lapic_set_state(apic, lapic, err);
}

static int machine_set_vcpus(struct machine_loader *l, struct err *err)
{
	unsigned n = vm_vcpu_count(l->m->vm);
	u64 all = n == 64 ? ~(u64)0 : BIT(n) - 1;

	if (!l->has_clock || !l->has_machine || !l->has_cpuid || l->has_cpu != all ||
	    l->has_lapic != all)
		return err_set(err, -EINVAL, "the state lacks %s",
			       !l->has_clock     ? "the clock"
			       : !l->has_machine ? "the machine"
			       : !l->has_cpuid   ? "the CPU model"
						 : "a vCPU");
	for (unsigned i = 0; i < n; i++) {
		int r = machine_set_vcpu(l->m, vm_vcpu(l->m->vm, i), &l->cpus[i], &l->lapics[i],
					 err);

		if (r < 0)
			return err_wrap(err, "vCPU %u", i);
	}
	return 0;
}

static int machine_walk_core(struct machine_loader *l, struct err *err)
{
	const char *name;
	u32 instance;
	int r;

	while ((r = state_reader_next(l->reader, &name, &instance, err)) > 0) {
		if (machine_load_core(l, name, instance, err) < 0)
			return err->code;
	}
	return r < 0 ? r : machine_set_vcpus(l, err);
}

static bool machine_is_core(const char *name)
{
	return !strcmp(name, x86_cpu_state_table.name) ||
	       !strcmp(name, x86_lapic_state_table.name) || !strcmp(name, vclock_state.name) ||
	       !strcmp(name, machine_saved_table.name) || !strcmp(name, cpuid_table.name);
}

/* The second walk. */
static int machine_walk_devices(struct machine_loader *l, struct err *err)
{
	struct device_set *devices = vm_devices(l->m->vm);
	const char *name;
	u32 instance;
	int r;

	device_set_load_begin(devices);
	while ((r = state_reader_next(l->reader, &name, &instance, err)) > 0) {
		if (!machine_is_core(name) &&
		    device_set_load(devices, l->reader, name, instance, err) < 0)
			return err->code;
	}
	return r < 0 ? r : device_set_load_end(devices, err);
}

int machine_load_state(struct machine *m, const void *state, size_t size, struct err *err)
{
	unsigned n = vm_vcpu_count(m->vm);
	AUTO(free_ptr) struct x86_cpu_state *cpus = aligned_alloc(64, n * sizeof(*cpus));
	AUTO(free_ptr) struct x86_lapic_state *lapics = NEW_ARRAY(struct x86_lapic_state, n);
	struct machine_loader l = {.m = m, .cpus = cpus, .lapics = lapics};
	int r;

	static_assert(sizeof(struct x86_cpu_state) % 64 == 0, "an array of them is aligned");
	if (!cpus)
		return err_set(err, -ENOMEM, "out of memory");
	l.reader = state_reader_new(state, size);
	r = machine_walk_core(&l, err);
	state_reader_free(l.reader);
	if (r < 0)
		return r;
	l.reader = state_reader_new(state, size);
	r = machine_walk_devices(&l, err);
	state_reader_free(l.reader);
	return r;
}

void machine_advance_wall_clock(struct machine *m, u64 ns)
{
	struct vclock *clock = vm_clock(m->vm);

	vclock_set_wall_ns(clock, vclock_wall_ns(clock) + ns);
}

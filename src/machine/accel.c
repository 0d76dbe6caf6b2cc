/*
 * Choosing and making the accelerator and its vCPUs.
 *
 * `auto` measures: a /dev/kvm that opens may still only emulate the guest's instructions, hundreds
 * of times slower than the software CPU (docs/design/accel.md).
 */
#include <stdio.h>
#include <string.h>

#include "accel/kvm/kvm.h"
#include "accel/soft/soft.h"
#include "base/err.h"
#include "bus/io.h"
#include "clock/vclock.h"
#include "irqchip/ioapic.h"
#include "irqchip/lapic.h"
#include "machine/machine_priv.h"

static void machine_take_soft(struct machine *m, const char *why)
{
	m->is_soft = true;
	snprintf(m->accel_text, sizeof(m->accel_text), "runs on the software CPU: %s", why);
}

static int machine_measure_kvm(struct machine *m, struct err *err)
{
	char why[100];
	struct kv_measured kvm;
	double millions;

	if (kv_measure(m->config->kvm_fd, &kvm, err) < 0) {
		machine_take_soft(m, err->text);
		return 0;
	}
	millions = (double)kvm.insns_per_s / 1e6;
	if (kvm.insns_per_s < KV_HARDWARE_INSNS_PER_S) {
		snprintf(why, sizeof(why),
			 "/dev/kvm is there, but only emulates (%.2f million instructions/s)",
			 millions);
		machine_take_soft(m, why);
		return 0;
	}
	m->tsc_hz = kvm.tsc_hz;
	snprintf(m->accel_text, sizeof(m->accel_text),
		 "runs on KVM: the hardware helps (over %.0f million instructions/s)", millions);
	return 0;
}

int machine_choose_accel(struct machine *m, struct err *err)
{
	const struct guest_config *c = m->config;

	switch (c->accel) {
	case GUEST_ACCEL_SOFT:
		machine_take_soft(m, "as asked for");
		if (c->clock == GUEST_CLOCK_INSN)
			m->tsc_hz = NSEC_PER_SEC; /* the same on every host */
		return 0;
	case GUEST_ACCEL_KVM:
		if (c->kvm_fd < 0)
			return err_set(err, -ENODEV, "--accel kvm: there is no /dev/kvm");
		snprintf(m->accel_text, sizeof(m->accel_text), "runs on KVM: as asked for");
		return kv_tsc_hz(c->kvm_fd, &m->tsc_hz, err);
	case GUEST_ACCEL_AUTO:
		if (c->kvm_fd >= 0)
			return machine_measure_kvm(m, err);
		machine_take_soft(m, c->kvm_why ? c->kvm_why : "there is no /dev/kvm");
		return 0;
	}
	unreachable_code();
}

/* --- what the accelerator calls --- */

static u64 machine_port_read(void *opaque, u16 port, unsigned size)
{
	return io_space_read(vm_ports(((struct machine *)opaque)->vm), port, size);
}

static void machine_port_write(void *opaque, u16 port, u64 value, unsigned size)
{
	io_space_write(vm_ports(((struct machine *)opaque)->vm), port, value, size);
}

static u64 machine_mmio_read(void *opaque, gpa_t gpa, unsigned size)
{
	return io_space_read(vm_memory(((struct machine *)opaque)->vm), gpa, size);
}

static void machine_mmio_write(void *opaque, gpa_t gpa, u64 value, unsigned size)
{
	io_space_write(vm_memory(((struct machine *)opaque)->vm), gpa, value, size);
}

static bool machine_pic_is_pending(void *opaque)
{
	return pic_is_pending(((struct machine *)opaque)->pic);
}

static u8 machine_pic_acknowledge(void *opaque)
{
	return pic_acknowledge(((struct machine *)opaque)->pic);
}

static void machine_eoi(void *opaque, u8 vector)
{
	ioapic_eoi(((struct machine *)opaque)->ioapic, vector);
}

static void machine_settle(void *opaque)
{
	vm_finish_io(((struct machine *)opaque)->vm);
}

static bool machine_skip(void *opaque)
{
	return vm_skip_time(((struct machine *)opaque)->vm);
}

static_assert((int)GUEST_ENGINE_AUTO == (int)ACCEL_ENGINE_AUTO &&
		      (int)GUEST_ENGINE_INTERPRETER == (int)ACCEL_ENGINE_INTERPRETER &&
		      (int)GUEST_ENGINE_TRANSLATOR == (int)ACCEL_ENGINE_TRANSLATOR,
	      "the configuration's engines are the contract's");

int machine_make_accel(struct machine *m, struct err *err)
{
	struct accel_config config = {
		.gmem = vm_gmem(m->vm),
		.clock = vm_clock(m->vm),
		.kvm_fd = m->config->kvm_fd,
		.engine = (enum accel_engine)m->config->engine,
		.host =
			{
				.opaque = m,
				.port_read = machine_port_read,
				.port_write = machine_port_write,
				.mmio_read = machine_mmio_read,
				.mmio_write = machine_mmio_write,
				.pic_is_pending = machine_pic_is_pending,
				.pic_acknowledge = machine_pic_acknowledge,
				.eoi = machine_eoi,
				.settle = machine_settle,
				.skip = machine_skip,
			},
		.is_counted = m->config->clock == GUEST_CLOCK_INSN,
		.seed = m->config->seed,
		.is_lockstep = m->config->is_lockstep,
		.perf_fd = m->config->perf_fd,
		.is_tsc_host_clock = m->config->is_tsc_host_clock,
	};
	struct accel *a;
	int r = m->is_soft ? soft_accel_new(&config, &a, err) : kv_accel_new(&config, &a, err);
	if (r < 0)
		return r;
	vm_set_accel(m->vm, a);
	return 0;
}

int machine_build_cpuid(struct machine *m, unsigned id, struct x86_cpuid *out, struct err *err)
{
	const struct x86_cpuid_config config = {
		.model = m->config->cpu,
		.n_cpus = m->config->n_cpus,
		.id = id,
		.tsc_hz = vclock_tsc_hz(vm_clock(m->vm)),
	};
	int r = x86_cpuid_build(&config, &vm_accel(m->vm)->features, out, err);

	return r < 0 ? err_wrap(err, "--cpu %s", config.model) : 0;
}

int machine_check_model(struct machine *m, struct err *err)
{
	struct x86_cpuid cpuid;
	u64 end = pc_memory_end(m);

	if (machine_build_cpuid(m, 0, &cpuid, err) < 0)
		return err->code;
	m->phys_bits = x86_cpuid_reg(&cpuid, 0x80000008, 0, 0) & 0xff;
	if (end > (u64)1 << m->phys_bits)
		return err_set(err, -EINVAL,
			       "--memory: %lu MiB, and the devices behind, are more than CPU model "
			       "'%s' can address (%u bits)",
			       m->config->memory / MIB, m->config->cpu, m->phys_bits);
	return 0;
}

static void machine_add_note(struct machine *m, const char *note)
{
	size_t n = strlen(m->accel_text);

	snprintf(m->accel_text + n, sizeof(m->accel_text) - n, "; %s", note);
}

int machine_make_vcpus(struct machine *m, struct err *err)
{
	struct accel *a = vm_accel(m->vm);

	for (unsigned i = 0; i < m->config->n_cpus; i++) {
		struct vcpu_apic *apic = m->lapics ? lapic_vcpu(m->lapics, i) : NULL;
		struct x86_cpuid cpuid;
		struct vcpu *v;

		if (machine_build_cpuid(m, i, &cpuid, err) < 0)
			return err->code;
		if (a->ops->vcpu_new(a, i, &cpuid, apic, &v, err) < 0)
			return err_wrap(err, "vCPU %u", i);
		vm_add_vcpu(m->vm, v);
		if (i == 0 && a->note[0])
			machine_add_note(m, a->note);
		if (apic)
			lapic_attach_vcpu(m->lapics, i, v);
	}
	return 0;
}

/*
 * A bus of local APICs with fake vCPUs that count their kicks, and a PIC that gives one vector.
 */
#ifndef TESTS_UNIT_IRQCHIP_LAPIC_FIXTURE_H
#define TESTS_UNIT_IRQCHIP_LAPIC_FIXTURE_H

#include "fake_clock.h"
#include "irqchip/lapic.h"
#include "irqchip/lapic_regs.h"
#include "test.h"

#define PIC_VECTOR 0x38

struct apics {
	struct vclock *clock;
	struct lapic_bus *bus;
	struct vcpu vcpus[ACCEL_MAX_VCPUS];
	unsigned kicks[ACCEL_MAX_VCPUS];
	unsigned acknowledged; /* of the PIC */
	unsigned eois;
	u8 last_eoi;
};

static inline u8 apics_pic(void *opaque)
{
	struct apics *f = (struct apics *)opaque;
	struct irq_line lint0 = lapic_bus_lint0(f->bus);

	f->acknowledged++;
	irq_set(&lint0, false);
	return PIC_VECTOR;
}

static inline void apics_eoi(void *opaque, u8 vector)
{
	struct apics *f = (struct apics *)opaque;

	f->eois++;
	f->last_eoi = vector;
}

/* The kick finds its count by the vCPU's place in the fixture. */
static inline void apics_kick(struct vcpu *v)
{
	struct apics *f = container_of(v - v->id, struct apics, vcpus[0]);

	__atomic_fetch_add(&f->kicks[v->id], 1, __ATOMIC_RELAXED);
}

static const struct vcpu_ops apics_vcpu_ops = {.kick = apics_kick};

static inline void apics_init(struct apics *f, unsigned n_cpus)
{
	struct lapic_bus_config config = {
		.n_cpus = n_cpus,
		.phys_bits = 40,
		.opaque = f,
		.pic_acknowledge = apics_pic,
		.eoi = apics_eoi,
	};

	*f = (struct apics){.clock = fake_clock_new()};
	config.clock = f->clock;
	f->bus = lapic_bus_new(&config);
	for (unsigned i = 0; i < n_cpus; i++) {
		f->vcpus[i].ops = &apics_vcpu_ops;
		f->vcpus[i].id = i;
		lapic_attach_vcpu(f->bus, i, &f->vcpus[i]);
	}
}

static inline void apics_fini(struct apics *f)
{
	lapic_bus_free(f->bus);
	vclock_free(f->clock);
}

static inline struct vcpu_apic *apic(struct apics *f, unsigned id)
{
	return lapic_vcpu(f->bus, id);
}

static inline void apic_write(struct apics *f, unsigned id, u32 reg, u32 value)
{
	struct vcpu_apic *a = apic(f, id);

	a->ops->mmio_write(a, reg, value);
}

static inline u32 apic_read(struct apics *f, unsigned id, u32 reg)
{
	struct vcpu_apic *a = apic(f, id);

	return a->ops->mmio_read(a, reg);
}

static inline bool apic_wrmsr(struct apics *f, unsigned id, u32 msr, u64 value)
{
	struct vcpu_apic *a = apic(f, id);

	return a->ops->msr_write(a, msr, value);
}

/* What apic_rdmsr gives for #GP. */
#define APIC_GP (~(u64)0)
static inline u64 apic_rdmsr(struct apics *f, unsigned id, u32 msr)
{
	struct vcpu_apic *a = apic(f, id);
	u64 v;

	return a->ops->msr_read(a, msr, &v) ? v : APIC_GP;
}

static inline unsigned apic_pending(struct apics *f, unsigned id)
{
	struct vcpu_apic *a = apic(f, id);

	return a->ops->pending(a);
}

static inline int apic_ack(struct apics *f, unsigned id)
{
	struct vcpu_apic *a = apic(f, id);

	return a->ops->acknowledge(a);
}

static inline void apic_enable(struct apics *f, unsigned id)
{
	apic_write(f, id, LAPIC_REG_SVR, 0x1ff);
}

static inline void apic_enable_x2apic(struct apics *f, unsigned id)
{
	u64 base = apic_rdmsr(f, id, X86_MSR_APIC_BASE);

	CHECK(apic_wrmsr(f, id, X86_MSR_APIC_BASE, base | X86_APIC_BASE_X2APIC));
	CHECK(apic_wrmsr(f, id, 0x80f, 0x1ff));
}

static inline void apics_msi(struct apics *f, u64 address, u32 data)
{
	struct msi_sink sink = lapic_bus_msi_sink(f->bus);
	struct msi_msg msg = {address, data};

	msi_send(&sink, &msg);
}

/* To one CPU by its id, fixed mode. */
static inline void apics_post(struct apics *f, unsigned id, u8 vector)
{
	apics_msi(f, 0xfee00000 | id << 12, vector);
}

#endif

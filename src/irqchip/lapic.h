/*
 * The local APICs of the software CPU, one for each vCPU, and the bus between them.
 *
 * The bus carries messages from devices (MSI), the IOAPIC and other local APICs to the ones that
 * a message's destination names. An accelerator that has local APICs of its own needs none of this.
 *
 * Posting an interrupt is lock-free and may be done on any thread; everything that a CPU does to
 * its own APIC happens on the vCPU's thread, through struct vcpu_apic_ops (accel/accel.h).
 */
#ifndef IRQCHIP_LAPIC_H
#define IRQCHIP_LAPIC_H

#include "accel/accel.h"
#include "base/base.h"
#include "irq/irq.h"

struct err;
struct lapic_bus;
struct vclock;
struct x86_lapic_state;

struct lapic_bus_config {
	unsigned n_cpus;      /* 1 to ACCEL_MAX_VCPUS; vCPU 0 is the bootstrap processor */
	unsigned phys_bits;   /* CPUID's MAXPHYADDR: limits IA32_APIC_BASE */
	struct vclock *clock; /* of the timers; borrowed */
	void *opaque;
	/* INTA cycle of the interrupt controller pair on vCPU 0's LINT0; on the vCPU's thread. */
	u8 (*pic_acknowledge)(void *opaque);
	/* A level-triggered interrupt was ended: the IOAPIC's broadcast; on the vCPU's thread. */
	void (*eoi)(void *opaque, u8 vector);
};

/* All APICs as after power-on. */
struct lapic_bus *lapic_bus_new(const struct lapic_bus_config *config);
void lapic_bus_free(struct lapic_bus *bus); /* no vCPU may run any more; NULL is fine */
AUTO_FN(lapic_bus_free, struct lapic_bus *)
void lapic_bus_reset(struct lapic_bus *bus); /* power-on reset; no vCPU runs */

/* The APIC to give to accel_ops.vcpu_new, and the vCPU that it kicks from then on. */
struct vcpu_apic *lapic_vcpu(struct lapic_bus *bus, unsigned id);
void lapic_attach_vcpu(struct lapic_bus *bus, unsigned id, struct vcpu *vcpu);

/* Where MSIs and the IOAPIC's messages go. Any thread. */
struct msi_sink lapic_bus_msi_sink(struct lapic_bus *bus);
/* Wires: the PIC's INTR to vCPU 0's LINT0; NMI to every LINT1. Any thread. */
struct irq_line lapic_bus_lint0(struct lapic_bus *bus);
struct irq_line lapic_bus_lint1(struct lapic_bus *bus);

/* The registers as architecture names them; while the vCPU is not in vcpu_run. */
void lapic_get_state(struct vcpu_apic *a, struct x86_lapic_state *out);
int lapic_set_state(struct vcpu_apic *a, const struct x86_lapic_state *in, struct err *err);

#endif

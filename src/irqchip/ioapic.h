/*
 * The I/O APIC (82093AA, with the EOI register of version 0x20): 24 pins that become messages.
 *
 * Its lines carry "asserted" or "not asserted": the polarity bits are kept for the guest and mean
 * nothing to us. Threads: any; everything locks the device. Lock order: device, this chip, local
 * APIC. The sink and the route callback are called with the chip locked.
 */
#ifndef IRQCHIP_IOAPIC_H
#define IRQCHIP_IOAPIC_H

#include "base/base.h"
#include "irq/irq.h"

struct device;
struct io_region;
struct ioapic;

#define IOAPIC_PINS 24
#define IOAPIC_BASE 0xfec00000u /* where firmware and guests expect it */

struct ioapic_config {
	struct msi_sink sink;
	/*
	 * A pin's route changed, by a write, a load or a reset: what it sends, how, and whether at
	 * all. At first all are masked. For an accelerator with local APICs of its own; NULL where
	 * nobody wants it.
	 */
	void (*on_route_change)(void *opaque, unsigned pin, const struct msi_msg *msg,
				bool is_level, bool is_masked);
	void *opaque;
};

struct ioapic *ioapic_new(const struct ioapic_config *config);
struct device *ioapic_device(struct ioapic *io);
struct io_region *ioapic_io(struct ioapic *io); /* to be mapped at IOAPIC_BASE */

/* Pin 0 to IOAPIC_PINS - 1. */
struct irq_line ioapic_line(struct ioapic *io, unsigned pin);

/* A local APIC ended a level-triggered interrupt with this vector. */
void ioapic_eoi(struct ioapic *io, u8 vector);

#endif

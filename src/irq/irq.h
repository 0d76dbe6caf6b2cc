/*
 * Interrupt lines and messages: the wires, without any chip.
 *
 * A device owns a struct irq_line, which the board filled in: it knows neither which chip is at
 * the other end nor which pin. Message-signalled interrupts go to a struct msi_sink. Both may be
 * used from any thread, with device locks held: sinks lock only themselves (lock order: device,
 * interrupt chip, local APIC).
 */
#ifndef IRQ_IRQ_H
#define IRQ_IRQ_H

#include "base/base.h"

struct irq_line {
	void (*set)(void *opaque, unsigned pin, bool level); /* NULL: not connected */
	void *opaque;
	unsigned pin;
};

static inline void irq_set(const struct irq_line *l, bool level)
{
	if (l->set)
		l->set(l->opaque, l->pin, level);
}

/* An edge: high, then low. */
static inline void irq_pulse(const struct irq_line *l)
{
	irq_set(l, true);
	irq_set(l, false);
}

/* A write of data to address, SDM 3A 11.11 ("Message Signalled Interrupts"). */
struct msi_msg {
	u64 address;
	u32 data;
};

struct msi_sink {
	void (*send)(void *opaque, const struct msi_msg *msg);
	void *opaque;
};

static inline void msi_send(const struct msi_sink *s, const struct msi_msg *msg)
{
	if (s->send)
		s->send(s->opaque, msg);
}

#endif

/*
 * An interrupt line's far end that remembers.
 */
#ifndef TESTS_LIB_FAKE_IRQ_H
#define TESTS_LIB_FAKE_IRQ_H

#include "irq/irq.h"

struct fake_irq {
	bool level;
	unsigned rises; /* edges from low to high */
	unsigned sets;  /* calls */
};

static inline void fake_irq_set(void *opaque, unused unsigned pin, bool level)
{
	struct fake_irq *f = (struct fake_irq *)opaque;

	f->rises += level && !f->level;
	f->level = level;
	f->sets++;
}

static inline struct irq_line fake_irq_line(struct fake_irq *f)
{
	return (struct irq_line){.set = fake_irq_set, .opaque = f};
}

/* A sink of messages that remembers the last one. */
struct fake_msi {
	struct msi_msg last;
	unsigned n;
};

static inline void fake_msi_send(void *opaque, const struct msi_msg *msg)
{
	struct fake_msi *f = (struct fake_msi *)opaque;

	f->last = *msg;
	f->n++;
}

static inline struct msi_sink fake_msi_sink(struct fake_msi *f)
{
	return (struct msi_sink){.send = fake_msi_send, .opaque = f};
}

#endif

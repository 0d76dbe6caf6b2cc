/*
 * What any thread may do to a local APIC: post a vector, an NMI, INIT, SIPI, an error.
 *
 * Requests are bits in atomic words. A poster sets the bit, then kicks the vCPU; a vCPU that is
 * kicked looks at the bits afterwards (accel/accel.h), so no request is slept over. The trigger
 * mode bit is written before the request bit's release, so whoever takes a request sees how it was
 * triggered. A bit that was set already needs no second kick: its first poster is about to, or did.
 */
#include "irqchip/lapic_priv.h"

void lapic_kick(struct lapic *l)
{
	struct vcpu *v = __atomic_load_n(&l->vcpu, __ATOMIC_ACQUIRE);

	if (v)
		vcpu_kick(v);
}

int lapic_highest(const u32 bits[LAPIC_WORDS])
{
	for (int w = LAPIC_WORDS - 1; w >= 0; w--) {
		u32 word = __atomic_load_n(&bits[w], __ATOMIC_ACQUIRE);

		if (word)
			return w * 32 + 31 - __builtin_clz(word);
	}
	return -1;
}

void lapic_post(struct lapic *l, u8 vector, bool is_level)
{
	u32 bit = BIT32(vector % 32);

	if (vector < LAPIC_FIRST_VECTOR) {
		lapic_error(l, LAPIC_ESR_RECV_VECTOR);
		return;
	}
	if (!lapic_is_enabled(l) || !(lapic_load(&l->svr) & LAPIC_SVR_ENABLE))
		return;

	if (is_level)
		__atomic_fetch_or(&l->tmr[vector / 32], bit, __ATOMIC_RELAXED);
	else
		__atomic_fetch_and(&l->tmr[vector / 32], ~bit, __ATOMIC_RELAXED);
	if (!(__atomic_fetch_or(&l->irr[vector / 32], bit, __ATOMIC_ACQ_REL) & bit))
		lapic_kick(l);
}

void lapic_post_event(struct lapic *l, u32 event)
{
	__atomic_fetch_or(&l->events, event, __ATOMIC_ACQ_REL);
	lapic_kick(l);
}

/* The first of several start-up messages counts, as long as it has not been taken. */
void lapic_post_sipi(struct lapic *l, u8 page)
{
	u32 old = lapic_load(&l->events);
	u32 new;

	do {
		if (old & APIC_PENDING_SIPI)
			return;
		new = (old & 0xff) | APIC_PENDING_SIPI | (u32)page << LAPIC_EVENT_SIPI_SHIFT;
	} while (!__atomic_compare_exchange_n(&l->events, &old, new, false, __ATOMIC_ACQ_REL,
					      __ATOMIC_RELAXED));
	lapic_kick(l);
}

/* Level-triggered LINT inputs are taken as edges: no board of ours has a source for one. */
void lapic_post_lvt(struct lapic *l, enum x86_lapic_lvt which)
{
	u32 lvt = lapic_load(&l->lvt[which]);

	if (lvt & LAPIC_LVT_MASKED)
		return;
	switch (LAPIC_LVT_MODE(lvt)) {
	case LAPIC_MODE_FIXED:
		lapic_post(l, lvt & LAPIC_LVT_VECTOR, false);
		break;
	case LAPIC_MODE_NMI:
		lapic_post_event(l, APIC_PENDING_NMI);
		break;
	case LAPIC_MODE_INIT:
		lapic_post_event(l, APIC_PENDING_INIT);
		break;
	default: /* ExtINT follows the wire's level, see lapic_has_extint; SMI: no SMM */
		break;
	}
}

/* An error that is noted already is not signalled again: that also ends the recursion which an
 * illegal vector in the error LVT itself would start. */
void lapic_error(struct lapic *l, u32 esr_bit)
{
	u32 old = __atomic_fetch_or(&l->esr_pending, esr_bit, __ATOMIC_ACQ_REL);

	if (!(old & esr_bit))
		lapic_post_lvt(l, LAPIC_LVT_ERROR);
}

/*
 * A local APIC's reset, save and load. The saved form is the architecture's (arch/x86/cpu_state.h),
 * the same that an accelerator with local APICs of its own gives.
 */
#include <string.h>

#include "base/err.h"
#include "irqchip/lapic_priv.h"

#define LAPIC_BASE_FLAGS (X86_APIC_BASE_BSP | X86_APIC_BASE_X2APIC | X86_APIC_BASE_ENABLE)

/* Reserved bits clear, and not x2APIC without enable (SDM 3A, table 10-5). */
bool lapic_base_is_valid(const struct lapic_bus *bus, u64 base)
{
	u64 page = base & PAGE_MASK;

	if (base & ~(page | LAPIC_BASE_FLAGS) || page >> bus->config.phys_bits)
		return false;
	return !(base & X86_APIC_BASE_X2APIC) || base & X86_APIC_BASE_ENABLE;
}

static void lapic_store_words(u32 to[LAPIC_WORDS], const u32 from[LAPIC_WORDS])
{
	for (unsigned i = 0; i < LAPIC_WORDS; i++)
		lapic_store(&to[i], from ? from[i] : 0);
}

/*
 * Power-on, or INIT, which leaves IA32_APIC_BASE alone (SDM 3A, 10.4.7.1, 10.4.7.3). vCPU 0's LINT0
 * comes up as firmware leaves it, passing the PIC's interrupts on: a kernel that is started without
 * firmware relies on it, and KVM's local APICs do the same.
 */
void lapic_reset(struct lapic *l, bool is_init)
{
	u64 bsp = l->id == 0 ? X86_APIC_BASE_BSP : 0;

	if (!is_init) {
		lapic_store(&l->base, X86_APIC_BASE_ADDR | X86_APIC_BASE_ENABLE | bsp);
		lapic_store(&l->events, 0);
	}
	lapic_store(&l->tpr, 0);
	lapic_store(&l->ldr, lapic_is_x2apic(l) ? lapic_x2apic_ldr(l->id) : 0);
	lapic_store(&l->dfr, LAPIC_DFR_RESET);
	lapic_store(&l->svr, LAPIC_SVR_RESET);
	lapic_store(&l->esr_pending, 0);
	l->esr = 0;
	l->icr = 0;
	lapic_store_words(l->irr, NULL);
	lapic_store_words(l->tmr, NULL);
	lapic_store_words(l->isr, NULL);
	for (unsigned i = 0; i < LAPIC_LVTS; i++)
		lapic_store(&l->lvt[i], LAPIC_LVT_MASKED);
	if (l->id == 0)
		lapic_store(&l->lvt[LAPIC_LVT_LINT0], LAPIC_MODE_EXTINT << 8);
	lapic_timer_reset(l);
	lapic_update_ppr(l);
}

void lapic_get_state(struct vcpu_apic *a, struct x86_lapic_state *out)
{
	struct lapic *l = container_of(a, struct lapic, apic);
	u32 events;

	*out = (struct x86_lapic_state){0};
	lapic_timer_save(l, out); /* first: it may post */
	events = lapic_load(&l->events);
	out->base = l->base;
	out->id = l->id;
	out->tpr = l->tpr;
	out->ldr = l->ldr;
	out->dfr = l->dfr;
	out->svr = l->svr;
	out->esr = l->esr;
	out->esr_pending = lapic_load(&l->esr_pending);
	out->icr = l->icr;
	lapic_store_words(out->isr, l->isr);
	lapic_store_words(out->tmr, l->tmr);
	lapic_store_words(out->irr, l->irr);
	memcpy(out->lvt, l->lvt, sizeof(out->lvt));
	out->init_pending = events & APIC_PENDING_INIT;
	out->sipi_pending = events & APIC_PENDING_SIPI;
	out->nmi_pending = events & APIC_PENDING_NMI;
	out->extint_pending = events & LAPIC_EVENT_EXTINT;
	out->sipi_vector = (u8)(events >> LAPIC_EVENT_SIPI_SHIFT);
}

static int lapic_check_state(const struct lapic *l, const struct x86_lapic_state *s,
			     struct err *err)
{
	if (s->id != l->id)
		return err_set(err, -EINVAL, "local APIC %u: the state is of id %u", l->id, s->id);
	if (!lapic_base_is_valid(l->bus, s->base))
		return err_set(err, -EINVAL, "local APIC %u: base 0x%lx is not valid", l->id,
			       s->base);
	if (s->tpr > 0xff || s->svr & ~LAPIC_SVR_BITS || s->timer_divide & ~LAPIC_TIMER_DIVIDE_BITS)
		return err_set(err, -EINVAL, "local APIC %u: reserved bits are set", l->id);
	if ((s->isr[0] | s->irr[0]) & 0xffff)
		return err_set(err, -EINVAL, "local APIC %u: a vector below 16 is pending", l->id);
	return 0;
}

static u32 lapic_state_events(const struct x86_lapic_state *s)
{
	u32 events = 0;

	if (s->init_pending)
		events |= APIC_PENDING_INIT;
	if (s->nmi_pending)
		events |= APIC_PENDING_NMI;
	if (s->extint_pending)
		events |= LAPIC_EVENT_EXTINT;
	if (s->sipi_pending)
		events |= APIC_PENDING_SIPI | (u32)s->sipi_vector << LAPIC_EVENT_SIPI_SHIFT;
	return events;
}

int lapic_set_state(struct vcpu_apic *a, const struct x86_lapic_state *in, struct err *err)
{
	struct lapic *l = container_of(a, struct lapic, apic);
	int r = lapic_check_state(l, in, err);

	if (r < 0)
		return r;
	lapic_store(&l->base, in->base);
	lapic_store(&l->tpr, in->tpr);
	lapic_store(&l->ldr, lapic_is_x2apic(l) ? lapic_x2apic_ldr(l->id) : in->ldr);
	lapic_store(&l->dfr, in->dfr | LAPIC_DFR_FIXED);
	lapic_store(&l->svr, in->svr);
	lapic_store(&l->esr_pending, in->esr_pending & LAPIC_ESR_BITS);
	l->esr = in->esr & LAPIC_ESR_BITS;
	l->icr = in->icr;
	lapic_store_words(l->isr, in->isr);
	lapic_store_words(l->tmr, in->tmr);
	lapic_store_words(l->irr, in->irr);
	for (unsigned i = 0; i < LAPIC_LVTS; i++)
		lapic_store(&l->lvt[i], in->lvt[i] & 0x0007f7ff);
	lapic_store(&l->events, lapic_state_events(in));
	lapic_timer_load(l, in);
	lapic_update_ppr(l);
	lapic_kick(l);
	return 0;
}

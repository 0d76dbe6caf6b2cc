/*
 * A local APIC as its own CPU sees it: registers in the xAPIC page and in x2APIC MSRs, priorities,
 * acknowledge and end of interrupt (SDM 3A, chapter 10).
 *
 * All of this runs on the vCPU's thread. What other threads post (lapic_post.c) is in atomic words;
 * what they read of us (destination registers, LVTs) is stored atomically. Where a write lets an
 * interrupt through that was held back, the vCPU is kicked, so that `pending` is asked again.
 *
 * Not modelled: SMI (there is no SMM), focus processor, remote read.
 */
#include "irqchip/lapic_priv.h"

#include <string.h>

static struct lapic *lapic_of(struct vcpu_apic *a)
{
	return container_of(a, struct lapic, apic);
}

/* --- priorities --- */

/* SDM 3A, 10.8.3.1. */
void lapic_update_ppr(struct lapic *l)
{
	int isr = lapic_highest(l->isr);
	u32 tpr = lapic_load(&l->tpr);
	u32 in_service = isr < 0 ? 0 : (u32)isr & 0xf0;

	l->ppr = (u8)((tpr & 0xf0) >= in_service ? tpr : in_service);
}

/* The vector to be delivered next, or -1. */
static int lapic_next_vector(const struct lapic *l)
{
	int vector = lapic_highest(l->irr);

	return vector >= 0 && (vector & 0xf0) > (l->ppr & 0xf0) ? vector : -1;
}

/*
 * Does the PIC's INTR get through? A disabled APIC passes it on; else LINT0 must be in ExtINT mode
 * (vCPU 0 alone has that wire), or a message in that mode have come, and INTR still be up.
 */
static bool lapic_has_extint(const struct lapic *l)
{
	u32 lvt = lapic_load(&l->lvt[LAPIC_LVT_LINT0]);

	if (!__atomic_load_n(&l->bus->lint0, __ATOMIC_ACQUIRE))
		return false;
	if (lapic_load(&l->events) & LAPIC_EVENT_EXTINT)
		return true;
	if (l->id != 0)
		return false;
	return !lapic_is_enabled(l) ||
	       (!(lvt & LAPIC_LVT_MASKED) && LAPIC_LVT_MODE(lvt) == LAPIC_MODE_EXTINT);
}

static unsigned lapic_pending(struct vcpu_apic *a)
{
	struct lapic *l = lapic_of(a);
	unsigned p = __atomic_load_n(&l->events, __ATOMIC_ACQUIRE) &
		     (APIC_PENDING_NMI | APIC_PENDING_INIT | APIC_PENDING_SIPI);

	if (lapic_next_vector(l) >= 0 || lapic_has_extint(l))
		p |= APIC_PENDING_INTR;
	return p;
}

/* After a change of priorities or of the PIC's way in: only kick when there is something. */
static void lapic_recheck(struct lapic *l)
{
	if (lapic_pending(&l->apic))
		lapic_kick(l);
}

/* --- taking what is pending --- */

static int lapic_acknowledge(struct vcpu_apic *a)
{
	struct lapic *l = lapic_of(a);
	int vector;

	if (lapic_has_extint(l)) {
		__atomic_fetch_and(&l->events, ~LAPIC_EVENT_EXTINT, __ATOMIC_ACQ_REL);
		return l->bus->config.pic_acknowledge(l->bus->config.opaque);
	}
	vector = lapic_next_vector(l);
	if (vector < 0)
		return -1;
	__atomic_fetch_and(&l->irr[vector / 32], ~BIT32(vector % 32), __ATOMIC_ACQ_REL);
	l->isr[vector / 32] |= BIT32(vector % 32);
	lapic_update_ppr(l);
	return vector;
}

static void lapic_take_nmi(struct vcpu_apic *a)
{
	__atomic_fetch_and(&lapic_of(a)->events, ~(u32)APIC_PENDING_NMI, __ATOMIC_ACQ_REL);
}

static void lapic_take_init(struct vcpu_apic *a)
{
	__atomic_fetch_and(&lapic_of(a)->events, ~(u32)APIC_PENDING_INIT, __ATOMIC_ACQ_REL);
	lapic_reset(lapic_of(a), true);
}

static u8 lapic_take_sipi(struct vcpu_apic *a)
{
	u32 old =
		__atomic_fetch_and(&lapic_of(a)->events, ~(u32)APIC_PENDING_SIPI, __ATOMIC_ACQ_REL);

	return (u8)(old >> LAPIC_EVENT_SIPI_SHIFT);
}

static void lapic_eoi(struct lapic *l)
{
	int vector = lapic_highest(l->isr);

	if (vector < 0)
		return;
	l->isr[vector / 32] &= ~BIT32(vector % 32);
	lapic_update_ppr(l);
	if (lapic_load(&l->tmr[vector / 32]) & BIT32(vector % 32) &&
	    !(lapic_load(&l->svr) & LAPIC_SVR_NO_BROADCAST))
		lapic_bus_eoi(l->bus, (u8)vector);
	lapic_recheck(l);
}

static void lapic_set_tpr(struct lapic *l, u8 value)
{
	lapic_store(&l->tpr, value);
	lapic_update_ppr(l);
	lapic_recheck(l);
}

static u8 lapic_get_cr8(struct vcpu_apic *a)
{
	return (u8)(lapic_load(&lapic_of(a)->tpr) >> 4);
}

static void lapic_set_cr8(struct vcpu_apic *a, u8 value)
{
	lapic_set_tpr(lapic_of(a), (u8)(value << 4));
}

/* --- LVT, SVR, ESR --- */

static const struct lapic_lvt_reg {
	u16 reg;
	u8 index; /* enum x86_lapic_lvt */
	u32 bits; /* that can be written */
} lapic_lvt_regs[] = {
	{LAPIC_REG_LVT_TIMER, LAPIC_LVT_TIMER, 0x000700ff},
	{LAPIC_REG_LVT_THERMAL, LAPIC_LVT_THERMAL, 0x000107ff},
	{LAPIC_REG_LVT_PERF, LAPIC_LVT_PERF, 0x000107ff},
	{LAPIC_REG_LVT_LINT0, LAPIC_LVT_LINT0, 0x0001a7ff},
	{LAPIC_REG_LVT_LINT1, LAPIC_LVT_LINT1, 0x0001a7ff},
	{LAPIC_REG_LVT_ERROR, LAPIC_LVT_ERROR, 0x000100ff},
};

static const struct lapic_lvt_reg *lapic_find_lvt(u32 reg)
{
	for (size_t i = 0; i < ARRAY_SIZE(lapic_lvt_regs); i++)
		if (lapic_lvt_regs[i].reg == reg)
			return &lapic_lvt_regs[i];
	return NULL;
}

/* While the APIC is disabled by software, LVTs stay masked (SDM 3A, 10.4.7.2). */
static void lapic_set_lvt(struct lapic *l, const struct lapic_lvt_reg *r, u32 value)
{
	value &= r->bits;
	if (!(lapic_load(&l->svr) & LAPIC_SVR_ENABLE))
		value |= LAPIC_LVT_MASKED;
	if (r->index == LAPIC_LVT_TIMER)
		lapic_timer_set_lvt(l, value);
	else
		lapic_store(&l->lvt[r->index], value);
	if (r->index == LAPIC_LVT_LINT0)
		lapic_recheck(l);
}

static void lapic_set_svr(struct lapic *l, u32 value)
{
	value &= LAPIC_SVR_BITS;
	lapic_store(&l->svr, value);
	if (value & LAPIC_SVR_ENABLE)
		return;
	for (size_t i = 0; i < ARRAY_SIZE(lapic_lvt_regs); i++)
		lapic_set_lvt(l, &lapic_lvt_regs[i],
			      lapic_load(&l->lvt[lapic_lvt_regs[i].index]) | LAPIC_LVT_MASKED);
}

/* A write shows the errors that came since the last one (SDM 3A, 10.5.3). */
static void lapic_latch_esr(struct lapic *l)
{
	l->esr = __atomic_exchange_n(&l->esr_pending, 0, __ATOMIC_ACQ_REL);
}

/* --- registers common to both modes; offsets are the page's --- */

static bool lapic_is_vector_reg(u32 reg)
{
	return reg >= LAPIC_REG_ISR && reg < LAPIC_REG_ESR;
}

static u32 lapic_read_vector_reg(const struct lapic *l, u32 reg)
{
	u32 word = (reg - LAPIC_REG_ISR) / 0x10 % LAPIC_WORDS;

	if (reg < LAPIC_REG_TMR)
		return l->isr[word];
	return lapic_load(reg < LAPIC_REG_IRR ? &l->tmr[word] : &l->irr[word]);
}

/* False: no such register to read. */
static bool lapic_read_reg(struct lapic *l, u32 reg, u32 *out)
{
	const struct lapic_lvt_reg *lvt = lapic_find_lvt(reg);

	if (lvt) {
		*out = lapic_load(&l->lvt[lvt->index]);
		return true;
	}
	if (lapic_is_vector_reg(reg)) {
		*out = lapic_read_vector_reg(l, reg);
		return true;
	}

	switch (reg) {
	case LAPIC_REG_ID:
		*out = l->id;
		return true;
	case LAPIC_REG_VERSION:
		*out = LAPIC_VERSION;
		return true;
	case LAPIC_REG_TPR:
		*out = lapic_load(&l->tpr);
		return true;
	case LAPIC_REG_PPR:
		*out = l->ppr;
		return true;
	case LAPIC_REG_LDR:
		*out = lapic_load(&l->ldr);
		return true;
	case LAPIC_REG_SVR:
		*out = lapic_load(&l->svr);
		return true;
	case LAPIC_REG_ESR:
		*out = l->esr;
		return true;
	case LAPIC_REG_TIMER_INITIAL:
		*out = lapic_timer_initial(l);
		return true;
	case LAPIC_REG_TIMER_CURRENT:
		*out = lapic_timer_current(l);
		return true;
	case LAPIC_REG_TIMER_DIVIDE:
		*out = lapic_timer_divide(l);
		return true;
	}
	return false;
}

/* False: no such register to write. */
static bool lapic_write_reg(struct lapic *l, u32 reg, u32 value)
{
	const struct lapic_lvt_reg *lvt = lapic_find_lvt(reg);

	if (lvt) {
		lapic_set_lvt(l, lvt, value);
		return true;
	}

	switch (reg) {
	case LAPIC_REG_TPR:
		lapic_set_tpr(l, (u8)value);
		return true;
	case LAPIC_REG_EOI:
		lapic_eoi(l);
		return true;
	case LAPIC_REG_SVR:
		lapic_set_svr(l, value);
		return true;
	case LAPIC_REG_ESR:
		lapic_latch_esr(l);
		return true;
	case LAPIC_REG_TIMER_INITIAL:
		lapic_timer_set_initial(l, value);
		return true;
	case LAPIC_REG_TIMER_DIVIDE:
		lapic_timer_set_divide(l, value);
		return true;
	}
	return false;
}

/* --- xAPIC page --- */

static u32 lapic_mmio_read(struct vcpu_apic *a, u32 off)
{
	struct lapic *l = lapic_of(a);
	u32 v;

	switch (off) {
	case LAPIC_REG_ID:
		return l->id << 24;
	case LAPIC_REG_APR:
	case LAPIC_REG_EOI:
		return 0;
	case LAPIC_REG_DFR:
		return lapic_load(&l->dfr);
	case LAPIC_REG_ICR:
		return (u32)l->icr;
	case LAPIC_REG_ICR_HIGH:
		return (u32)(l->icr >> 32);
	}
	/* Registers sit in the first 4 bytes of each 16; what is between reads as zero here. */
	if (off % 0x10 == 0 && lapic_read_reg(l, off, &v))
		return v;
	lapic_error(l, LAPIC_ESR_REGISTER);
	return 0;
}

static void lapic_mmio_write(struct vcpu_apic *a, u32 off, u32 value)
{
	struct lapic *l = lapic_of(a);

	switch (off) {
	case LAPIC_REG_ID: /* fixed by the board, as CPUID says */
		return;
	case LAPIC_REG_LDR:
		lapic_store(&l->ldr, value & 0xff000000);
		return;
	case LAPIC_REG_DFR:
		lapic_store(&l->dfr, value | LAPIC_DFR_FIXED);
		return;
	case LAPIC_REG_ICR:
		l->icr = (l->icr & ~(u64)0xffffffff) |
			 (value & ~(LAPIC_ICR_RESERVED | LAPIC_ICR_STATUS));
		lapic_bus_send_ipi(l, l->icr);
		return;
	case LAPIC_REG_ICR_HIGH:
		l->icr = (u64)(value & 0xff000000) << 32 | (u32)l->icr;
		return;
	}
	if (off % 0x10 || !lapic_write_reg(l, off, value))
		lapic_error(l, LAPIC_ESR_REGISTER);
}

/* --- x2APIC MSRs (SDM 3A, table 10-6) --- */

static bool lapic_x2apic_read(struct lapic *l, u32 reg, u64 *out)
{
	u32 v;

	if (reg == LAPIC_REG_ICR) {
		*out = l->icr;
		return true;
	}
	if (!lapic_read_reg(l, reg, &v))
		return false;
	*out = v;
	return true;
}

/* The bits that may be set, of the registers where it isn't all 32. */
static u32 lapic_x2apic_bits(u32 reg)
{
	const struct lapic_lvt_reg *lvt = lapic_find_lvt(reg);

	if (lvt) /* delivery status and remote IRR are read-only, not reserved */
		return lvt->bits | BIT32(12) | BIT32(14);
	switch (reg) {
	case LAPIC_REG_TPR:
	case LAPIC_REG_SELF_IPI:
		return 0xff;
	case LAPIC_REG_EOI:
	case LAPIC_REG_ESR:
		return 0;
	case LAPIC_REG_SVR:
		return LAPIC_SVR_BITS;
	case LAPIC_REG_TIMER_DIVIDE:
		return LAPIC_TIMER_DIVIDE_BITS;
	}
	return 0xffffffff;
}

static bool lapic_x2apic_write(struct lapic *l, u32 reg, u64 value)
{
	if (reg == LAPIC_REG_ICR) {
		if (value & LAPIC_ICR_RESERVED)
			return false;
		l->icr = value & ~(u64)LAPIC_ICR_STATUS;
		lapic_bus_send_ipi(l, l->icr);
		return true;
	}
	if (value & ~(u64)lapic_x2apic_bits(reg))
		return false;
	if (reg == LAPIC_REG_SELF_IPI) {
		lapic_bus_send_ipi(l, (value & 0xff) | (u64)LAPIC_TO_SELF << 18);
		return true;
	}
	return lapic_write_reg(l, reg, (u32)value);
}

/* --- IA32_APIC_BASE --- */

static u64 lapic_base(struct vcpu_apic *a)
{
	return lapic_load(&lapic_of(a)->base);
}

/* The transitions of SDM 3A, 10.12.5: x2APIC is entered from xAPIC and left for disabled. */
static bool lapic_set_base(struct lapic *l, u64 base)
{
	const u64 mode = X86_APIC_BASE_ENABLE | X86_APIC_BASE_X2APIC;
	u64 old = lapic_load(&l->base);
	bool was_x2apic = old & X86_APIC_BASE_X2APIC, is_x2apic = base & X86_APIC_BASE_X2APIC;

	if (!lapic_base_is_valid(l->bus, base))
		return false;
	if (is_x2apic && !(old & X86_APIC_BASE_ENABLE))
		return false;
	if (was_x2apic && !is_x2apic && base & X86_APIC_BASE_ENABLE)
		return false;

	lapic_store(&l->base, base);
	if ((old ^ base) & mode && !(base & X86_APIC_BASE_ENABLE))
		lapic_reset(l, true);
	if (is_x2apic && !was_x2apic) {
		lapic_store(&l->ldr, lapic_x2apic_ldr(l->id));
		l->icr &= 0xffffffff;
	}
	lapic_recheck(l);
	return true;
}

static bool lapic_is_x2apic_msr(u32 msr)
{
	return msr >= X86_MSR_X2APIC && msr < X86_MSR_X2APIC + LAPIC_REG_END / 0x10;
}

static bool lapic_msr_read(struct vcpu_apic *a, u32 msr, u64 *out)
{
	struct lapic *l = lapic_of(a);

	if (msr == X86_MSR_APIC_BASE) {
		*out = lapic_load(&l->base);
		return true;
	}
	if (msr == X86_MSR_TSC_DEADLINE) {
		*out = lapic_timer_deadline(l);
		return true;
	}
	return lapic_is_x2apic_msr(msr) && lapic_is_x2apic(l) &&
	       lapic_x2apic_read(l, (msr - X86_MSR_X2APIC) * 0x10, out);
}

static bool lapic_msr_write(struct vcpu_apic *a, u32 msr, u64 value)
{
	struct lapic *l = lapic_of(a);

	if (msr == X86_MSR_APIC_BASE)
		return lapic_set_base(l, value);
	if (msr == X86_MSR_TSC_DEADLINE) {
		lapic_timer_set_deadline(l, value);
		return true;
	}
	return lapic_is_x2apic_msr(msr) && lapic_is_x2apic(l) &&
	       lapic_x2apic_write(l, (msr - X86_MSR_X2APIC) * 0x10, value);
}

static void lapic_set_tsc_offset(struct vcpu_apic *a, u64 offset)
{
	lapic_timer_set_tsc_offset(lapic_of(a), offset);
}

const struct vcpu_apic_ops lapic_ops = {
	.pending = lapic_pending,
	.acknowledge = lapic_acknowledge,
	.take_nmi = lapic_take_nmi,
	.take_init = lapic_take_init,
	.take_sipi = lapic_take_sipi,
	.base = lapic_base,
	.msr_read = lapic_msr_read,
	.msr_write = lapic_msr_write,
	.mmio_read = lapic_mmio_read,
	.mmio_write = lapic_mmio_write,
	.get_cr8 = lapic_get_cr8,
	.set_cr8 = lapic_set_cr8,
	.set_tsc_offset = lapic_set_tsc_offset,
};

/*
 * Model-specific registers (SDM 4). Unknown ones raise #GP, as the architecture says; Linux probes
 * with that in mind.
 */
#include <stddef.h>

#include "accel/soft/accel_priv.h"
#include "accel/soft/cpu.h"
#include "accel/soft/fpu.h"
#include "accel/soft/mmu.h"
#include "accel/soft/segment.h"
#include "accel/soft/sync.h"
#include "accel/soft/system.h"
#include "accel/soft/tlb.h"
#include "clock/tsc.h"
#include "clock/vclock.h"

#define MTRRCAP                     (X86_MTRR_VARIABLE | BIT(8) | BIT(10)) /* fixed ranges, write-combining */
#define LEAF7_EDX_SPEC_CTRL         26
#define LEAF7_EDX_ARCH_CAPABILITIES 29

/* --- plain storage --- */

enum check {
	ANY,
	CANONICAL,
	BITS_32,
	MEMORY_TYPES, /* eight bytes, each a memory type */
};

struct plain {
	u32 msr;
	u16 offset; /* of a u64 in struct sx_cpu */
	u8 check;   /* enum check */
};

/* clang-format off */
#define CPU(field) offsetof(struct sx_cpu, field)
static const struct plain plains[] = {
	{X86_MSR_STAR, CPU(star), ANY},
	{X86_MSR_LSTAR, CPU(lstar), CANONICAL},
	{X86_MSR_CSTAR, CPU(cstar), CANONICAL},
	{X86_MSR_SFMASK, CPU(sfmask), BITS_32},
	{X86_MSR_KERNEL_GS_BASE, CPU(kernel_gs_base), CANONICAL},
	{X86_MSR_SYSENTER_CS, CPU(sysenter_cs), ANY},
	{X86_MSR_SYSENTER_ESP, CPU(sysenter_esp), CANONICAL},
	{X86_MSR_SYSENTER_EIP, CPU(sysenter_eip), CANONICAL},
	{X86_MSR_PAT, CPU(pat), MEMORY_TYPES},
	{X86_MSR_TSC_AUX, CPU(tsc_aux), BITS_32},
	{X86_MSR_MISC_ENABLE, CPU(misc_enable), ANY},
	{X86_MSR_MCG_STATUS, CPU(mcg_status), ANY},
	{X86_MSR_KVM_POLL_CONTROL, CPU(kvm_poll_control), ANY},
	{X86_MSR_MTRR_DEF_TYPE, CPU(mtrr_def_type), ANY},
	{X86_MSR_MTRR_FIX64K, CPU(mtrr_fixed[0]), MEMORY_TYPES},
	{X86_MSR_MTRR_FIX16K_8, CPU(mtrr_fixed[1]), MEMORY_TYPES},
	{X86_MSR_MTRR_FIX16K_A, CPU(mtrr_fixed[2]), MEMORY_TYPES},
};
/* clang-format on */

static const struct plain *find_plain(u32 msr)
{
	for (unsigned k = 0; k < ARRAY_SIZE(plains); k++) {
		if (plains[k].msr == msr)
			return &plains[k];
	}
	return NULL;
}

static u64 *plain_value(struct sx_cpu *c, const struct plain *p)
{
	return (u64 *)(void *)((u8 *)c + p->offset);
}

/* 2, 3, 7 and above are no memory types; PAT has 7, UC-, as well. */
static bool are_memory_types(u64 v, bool has_7)
{
	for (unsigned k = 0; k < 8; k++) {
		u8 type = (u8)(v >> (k * 8));

		if (type == 2 || type == 3 || type > 7 || (type == 7 && !has_7))
			return false;
	}
	return true;
}

static bool plain_write(struct sx_cpu *c, const struct plain *p, u64 v)
{
	switch (p->check) {
	case CANONICAL:
		if (!sx_is_canonical(v))
			return false;
		break;
	case BITS_32:
		if (v >> 32)
			return false;
		break;
	case MEMORY_TYPES:
		if (!are_memory_types(v, p->msr == X86_MSR_PAT))
			return false;
		break;
	}
	*plain_value(c, p) = v;
	return true;
}

/* The MTRRs that come in rows: where the value is, or NULL. They are stored, and have no effect. */
static u64 *mtrr(struct sx_cpu *c, u32 msr)
{
	if (msr >= X86_MSR_MTRR_PHYSBASE0 && msr < X86_MSR_MTRR_PHYSBASE0 + 2 * X86_MTRR_VARIABLE) {
		unsigned n = (msr - X86_MSR_MTRR_PHYSBASE0) / 2;

		return msr & 1 ? &c->mtrr_mask[n] : &c->mtrr_base[n];
	}
	if (msr >= X86_MSR_MTRR_FIX4K_C0 && msr < X86_MSR_MTRR_FIX4K_C0 + 8)
		return &c->mtrr_fixed[3 + msr - X86_MSR_MTRR_FIX4K_C0];
	return NULL;
}

/* --- time --- */

u64 sx_tsc(struct sx_cpu *c)
{
	struct vclock *clock = c->accel->accel.clock;
	u64 host = tsc_read();

	while (!tsc_line_holds(&c->tsc_line, host)) {
		if (!vclock_tsc_line(clock, &c->tsc_line)) {
			c->tsc_line.length = 0;
			return vclock_tsc(clock) + c->tsc_offset;
		}
		c->tsc_line.base += c->tsc_offset;
		host = tsc_read();
	}
	return tsc_line_at(&c->tsc_line, host);
}

/* Moves the TSC, and tells those who count by it. */
static void tsc_move(struct sx_cpu *c, u64 delta)
{
	c->tsc_offset += delta;
	c->tsc_line.length = 0;
	if (c->vcpu.apic->ops->set_tsc_offset)
		c->vcpu.apic->ops->set_tsc_offset(c->vcpu.apic, c->tsc_offset);
	if (c->kvm_system_time & 1)
		sx_kvmclock_write_time(c);
}

static bool tsc_write(struct sx_cpu *c, u64 v)
{
	u64 delta = v - sx_tsc(c);

	/* SDM 3B, 17.17.3: IA32_TSC_ADJUST takes the same step. */
	c->tsc_adjust += delta;
	tsc_move(c, delta);
	return true;
}

static bool tsc_adjust_write(struct sx_cpu *c, u64 v)
{
	u64 delta = v - c->tsc_adjust;

	c->tsc_adjust = v;
	tsc_move(c, delta);
	return true;
}

/* --- those with effects --- */

static bool efer_write(struct sx_cpu *c, u64 v)
{
	u64 known = 0;

	if (sx_has_feature(c, 0x80000001, 3, 11))
		known |= X86_EFER_SCE;
	if (sx_has_feature(c, 0x80000001, 3, 29))
		known |= X86_EFER_LME | X86_EFER_LMA;
	if (sx_has_feature(c, 0x80000001, 3, 20))
		known |= X86_EFER_NXE;
	if (v & ~known)
		return false;
	if ((c->cr0 & X86_CR0_PG) && ((v ^ c->efer) & X86_EFER_LME))
		return false;
	c->efer = (v & ~X86_EFER_LMA) | (c->efer & X86_EFER_LMA);
	sx_mmu_update(c);
	sx_tlb_flush(c);
	sx_mode_update(c);
	return true;
}

static bool seg_base_write(struct sx_cpu *c, unsigned seg, u64 v)
{
	if (!sx_is_canonical(v))
		return false;
	c->seg[seg].base = c->seg_base[seg] = v;
	return true;
}

/* IBRS, STIBP, SSBD: nothing here speculates across privileges, so storing them is all. */
static bool spec_ctrl_write(struct sx_cpu *c, u64 v)
{
	if (!sx_has_feature(c, 7, 3, LEAF7_EDX_SPEC_CTRL) || (v & ~(u64)7))
		return false;
	c->spec_ctrl = v;
	return true;
}

static bool is_apic_msr(u32 msr)
{
	return msr == X86_MSR_APIC_BASE || msr == X86_MSR_TSC_DEADLINE ||
	       (msr >= X86_MSR_X2APIC && msr <= X86_MSR_X2APIC + 0xff);
}

static bool apic_write(struct sx_cpu *c, u32 msr, u64 v)
{
	if (!c->vcpu.apic->ops->msr_write(c->vcpu.apic, msr, v))
		return false;
	if (msr == X86_MSR_APIC_BASE)
		sx_apic_base_changed(c);
	return true;
}

void sx_apic_base_changed(struct sx_cpu *c)
{
	u64 base = c->vcpu.apic->ops->base(c->vcpu.apic);
	bool is_xapic =
		(base & (X86_APIC_BASE_ENABLE | X86_APIC_BASE_X2APIC)) == X86_APIC_BASE_ENABLE;
	u64 page = is_xapic ? base & PAGE_MASK & c->phys_mask : ~(u64)0;

	if (page == c->apic_page)
		return;
	c->apic_page = page;
	sx_tlb_flush(c);
}

bool sx_msr_read(struct sx_cpu *c, u32 msr, u64 *out)
{
	const struct plain *p = find_plain(msr);
	const u64 *m = mtrr(c, msr);

	if (p || m) {
		*out = p ? *plain_value(c, p) : *m;
		return true;
	}
	if (is_apic_msr(msr))
		return c->vcpu.apic->ops->msr_read(c->vcpu.apic, msr, out);
	switch (msr) {
	case X86_MSR_TSC:
		*out = sx_tsc(c);
		return true;
	case X86_MSR_TSC_ADJUST:
		*out = c->tsc_adjust;
		return true;
	case X86_MSR_EFER:
		*out = c->efer;
		return true;
	case X86_MSR_FS_BASE:
		*out = c->seg[X86_FS].base;
		return true;
	case X86_MSR_GS_BASE:
		*out = c->seg[X86_GS].base;
		return true;
	case X86_MSR_SPEC_CTRL:
		*out = c->spec_ctrl;
		return sx_has_feature(c, 7, 3, LEAF7_EDX_SPEC_CTRL);
	case X86_MSR_ARCH_CAPABILITIES:
		*out = c->cpuid.arch_capabilities;
		return sx_has_feature(c, 7, 3, LEAF7_EDX_ARCH_CAPABILITIES);
	case X86_MSR_MTRRCAP:
		*out = MTRRCAP;
		return true;
	case X86_MSR_FEATURE_CONTROL:
		*out = 1; /* locked, nothing enabled */
		return true;
	case X86_MSR_MCG_CAP: /* no machine-check banks */
	case X86_MSR_BIOS_SIGN_ID:
	case X86_MSR_DEBUGCTL:
		*out = 0;
		return true;
	case X86_MSR_KVM_WALL_CLOCK:
		*out = c->kvm_wall_clock;
		return true;
	case X86_MSR_KVM_SYSTEM_TIME:
		*out = c->kvm_system_time;
		return true;
	}
	return false;
}

bool sx_msr_write(struct sx_cpu *c, u32 msr, u64 v)
{
	const struct plain *p = find_plain(msr);
	u64 *m = mtrr(c, msr);

	if (p)
		return plain_write(c, p, v);
	if (m) {
		*m = v;
		return true;
	}
	if (is_apic_msr(msr))
		return apic_write(c, msr, v);
	switch (msr) {
	case X86_MSR_TSC:
		return tsc_write(c, v);
	case X86_MSR_TSC_ADJUST:
		return tsc_adjust_write(c, v);
	case X86_MSR_EFER:
		return efer_write(c, v);
	case X86_MSR_FS_BASE:
		return seg_base_write(c, X86_FS, v);
	case X86_MSR_GS_BASE:
		return seg_base_write(c, X86_GS, v);
	case X86_MSR_SPEC_CTRL:
		return spec_ctrl_write(c, v);
	case X86_MSR_PRED_CMD:
		return sx_has_feature(c, 7, 3, LEAF7_EDX_SPEC_CTRL) && !(v & ~(u64)1);
	case X86_MSR_BIOS_SIGN_ID: /* writes of 0 precede CPUID when the revision is read */
		return true;
	case X86_MSR_DEBUGCTL: /* no branch records */
		return v == 0;
	case X86_MSR_KVM_WALL_CLOCK:
		c->kvm_wall_clock = v;
		sx_kvmclock_write_wall(c, v);
		return true;
	case X86_MSR_KVM_SYSTEM_TIME:
		c->kvm_system_time = v;
		if (v & 1)
			sx_kvmclock_write_time(c);
		return true;
	}
	return false;
}

/*
 * Control registers: what may be written, and what follows (SDM 3A, 2.5, 4.1.2, 9.8.5).
 */
#include "accel/soft/bind.h"
#include "accel/soft/debug.h"
#include "accel/soft/exec.h"
#include "accel/soft/fpu.h"
#include "accel/soft/privilege.h"
#include "accel/soft/segment.h"
#include "accel/soft/system.h"

bool sx_has_feature(const struct sx_cpu *c, u32 leaf, unsigned which, unsigned bit)
{
	return x86_cpuid_reg(&c->cpuid, leaf, 0, which) & BIT32(bit);
}

static bool uses_pae_tables(const struct sx_cpu *c)
{
	return (c->cr0 & X86_CR0_PG) && (c->cr4 & X86_CR4_PAE) && !sx_is_long(c);
}

/* --- CR0 --- */

#define CR0_KNOWN                                                                                  \
	(X86_CR0_PE | X86_CR0_MP | X86_CR0_EM | X86_CR0_TS | X86_CR0_ET | X86_CR0_NE |             \
	 X86_CR0_WP | X86_CR0_AM | X86_CR0_NW | X86_CR0_CD | X86_CR0_PG)

/* Paging goes on or off: IA-32e mode with it (SDM 3A, 9.8.5). */
static bool paging_may_change(const struct sx_cpu *c, bool is_on)
{
	if (!is_on)
		return !sx_is_64(c) && !(c->cr4 & X86_CR4_PCIDE);
	if (!(c->efer & X86_EFER_LME))
		return true;
	return (c->cr4 & X86_CR4_PAE) && !(c->seg[X86_CS].attr & X86_ATTR_L);
}

bool sx_cr0_write(struct sx_cpu *c, u64 v)
{
	u64 old = c->cr0, changed;
	bool is_on = v & X86_CR0_PG;

	if (v >> 32)
		return false;
	v = (v & CR0_KNOWN) | X86_CR0_ET;
	changed = old ^ v;
	if ((is_on && !(v & X86_CR0_PE)) || ((v & X86_CR0_NW) && !(v & X86_CR0_CD)))
		return false;
	if ((changed & X86_CR0_PG) && !paging_may_change(c, is_on))
		return false;
	/* In PAE mode the table of four entries is read again (SDM 3A, 4.4.1). */
	if (is_on && (c->cr4 & X86_CR4_PAE) && !(c->efer & X86_EFER_LME) &&
	    (changed & (X86_CR0_PG | X86_CR0_CD | X86_CR0_NW)) && !sx_mmu_load_pdptes(c, c->cr3))
		return false;

	sx_fpu_sync(c);
	c->cr0 = v;
	if (changed & X86_CR0_PG) {
		if (is_on && (c->efer & X86_EFER_LME))
			c->efer |= X86_EFER_LMA;
		else
			c->efer &= ~X86_EFER_LMA;
	}
	if (changed & (X86_CR0_PG | X86_CR0_PE | X86_CR0_WP)) {
		sx_mmu_update(c);
		sx_tlb_flush(c);
	}
	if ((changed & X86_CR0_PE) && !(v & X86_CR0_PE))
		c->cpl = 0;
	sx_mode_update(c);
	return true;
}

/* --- CR3 --- */

bool sx_cr3_write(struct sx_cpu *c, u64 v)
{
	bool has_pcid = c->cr4 & X86_CR4_PCIDE, keeps = has_pcid && (v & X86_CR3_NOFLUSH);

	if (has_pcid)
		v &= ~X86_CR3_NOFLUSH;
	if (sx_is_long(c) && (v & ~c->phys_mask))
		return false;
	if (uses_pae_tables(c) && !sx_mmu_load_pdptes(c, v))
		return false;
	c->cr3 = v;
	sx_tlb_switch(c, sx_pcid(c), keeps);
	return true;
}

/* --- CR4 --- */

/* The bits that this CPU, by its CPUID, knows. */
static u64 cr4_known(const struct sx_cpu *c)
{
	/* clang-format off */
	static const struct {
		u64 bit;
		u32 leaf;
		u8 which, feature;
	} rows[] = {
		{X86_CR4_VME, 1, 3, 1}, {X86_CR4_PVI, 1, 3, 1}, {X86_CR4_TSD, 1, 3, 4},
		{X86_CR4_DE, 1, 3, 2}, {X86_CR4_PSE, 1, 3, 3}, {X86_CR4_PAE, 1, 3, 6},
		{X86_CR4_MCE, 1, 3, 7}, {X86_CR4_PGE, 1, 3, 13}, {X86_CR4_OSFXSR, 1, 3, 24},
		{X86_CR4_OSXMMEXCPT, 1, 3, 25}, {X86_CR4_PCIDE, 1, 2, 17},
		{X86_CR4_OSXSAVE, 1, 2, 26}, {X86_CR4_FSGSBASE, 7, 1, 0},
		{X86_CR4_SMEP, 7, 1, 7}, {X86_CR4_SMAP, 7, 1, 20}, {X86_CR4_UMIP, 7, 2, 2},
	};
	/* clang-format on */
	u64 known = X86_CR4_PCE;

	for (unsigned k = 0; k < ARRAY_SIZE(rows); k++) {
		if (sx_has_feature(c, rows[k].leaf, rows[k].which, rows[k].feature))
			known |= rows[k].bit;
	}
	return known;
}

#define CR4_PAGING                                                                                 \
	(X86_CR4_PAE | X86_CR4_PSE | X86_CR4_PGE | X86_CR4_SMEP | X86_CR4_SMAP | X86_CR4_PCIDE)

bool sx_cr4_write(struct sx_cpu *c, u64 v)
{
	u64 old = c->cr4, changed = old ^ v;

	if (v & ~cr4_known(c))
		return false;
	if (sx_is_long(c) && !(v & X86_CR4_PAE))
		return false;
	if ((changed & v & X86_CR4_PCIDE) && (!sx_is_long(c) || (c->cr3 & X86_CR3_PCID_MASK)))
		return false;

	c->cr4 = v;
	if ((changed & (X86_CR4_PAE | X86_CR4_PSE | X86_CR4_PGE | X86_CR4_SMEP)) &&
	    uses_pae_tables(c) && !sx_mmu_load_pdptes(c, c->cr3)) {
		c->cr4 = old;
		return false;
	}
	sx_fpu_sync(c);
	if (changed & CR4_PAGING) {
		sx_mmu_update(c);
		sx_tlb_flush(c);
	}
	sx_mode_update(c);
	return true;
}

/* --- the instructions --- */

static void mov_r_cr(struct sx_cpu *c, const struct sx_insn *i)
{
	u64 v;

	sx_require_cpl0(c, i);
	switch (i->reg) {
	case 0:
		v = c->cr0;
		break;
	case 2:
		v = c->cr2;
		break;
	case 3:
		v = c->cr3;
		break;
	case 4:
		v = c->cr4;
		break;
	case 8:
		v = c->vcpu.apic->ops->get_cr8(c->vcpu.apic);
		break;
	default:
		sx_throw_ud(c, i);
	}
	sx_reg_set(c, i->rm, v, sx_is_64(c) ? 8 : 4);
	SX_NEXT(c, i);
}

static bool cr_write(struct sx_cpu *c, const struct sx_insn *i, u64 v)
{
	switch (i->reg) {
	case 0:
		return sx_cr0_write(c, v);
	case 2:
		c->cr2 = v;
		return true;
	case 3:
		return sx_cr3_write(c, v);
	case 4:
		return sx_cr4_write(c, v);
	case 8:
		if (v & ~(u64)15)
			return false;
		c->vcpu.apic->ops->set_cr8(c->vcpu.apic, (u8)v);
		return true;
	}
	sx_throw_ud(c, i);
}

static void mov_cr_r(struct sx_cpu *c, const struct sx_insn *i)
{
	sx_require_cpl0(c, i);
	if (!cr_write(c, i, sx_reg_get(c, i->rm, sx_is_64(c) ? 8 : 4)))
		sx_throw_gp(c, i, 0);
	SX_NEXT(c, i);
}

static void smsw(struct sx_cpu *c, const struct sx_insn *i)
{
	sx_require_no_umip(c, i);
	sx_rm_store(c, i, c->cr0, i->flags & SX_IF_MEM ? 2 : i->size);
	SX_NEXT(c, i);
}

/* The low four bits; PE can't be cleared so. */
static void lmsw(struct sx_cpu *c, const struct sx_insn *i)
{
	u64 v;

	sx_require_cpl0(c, i);
	v = sx_rm_load(c, i, 2) & 15;
	if (!sx_cr0_write(c, (c->cr0 & ~(u64)14) | v))
		sx_throw_gp(c, i, 0);
	SX_NEXT(c, i);
}

static void clts(struct sx_cpu *c, const struct sx_insn *i)
{
	sx_require_cpl0(c, i);
	sx_fpu_sync(c);
	c->cr0 &= ~X86_CR0_TS;
	SX_NEXT(c, i);
}

static void invlpg(struct sx_cpu *c, const struct sx_insn *i)
{
	u64 lin;

	sx_require_cpl0(c, i);
	lin = sx_offset(c, i) + (sx_is_64(c) ? c->seg_base[i->seg] : c->seg[i->seg].base);
	if (sx_is_canonical(lin))
		sx_tlb_flush_page(c, sx_is_long(c) ? lin : (u32)lin);
	SX_NEXT(c, i);
}

/* SDM 2A, INVPCID. */
static void invpcid(struct sx_cpu *c, const struct sx_insn *i)
{
	u64 lin, pcid, page, type;

	sx_require_cpl0(c, i);
	lin = sx_ea(c, i, 16, false);
	pcid = sx_load(c, i, lin, 8);
	page = sx_load(c, i, lin + 8, 8);
	type = sx_reg_get(c, i->reg, sx_is_64(c) ? 8 : 4);
	if (type > 3 || (pcid & ~X86_CR3_PCID_MASK && type < 2) ||
	    (type == 0 && !sx_is_canonical(page)) ||
	    (type < 2 && pcid && !(c->cr4 & X86_CR4_PCIDE)))
		sx_throw_gp(c, i, 0);
	if (type == 2)
		sx_tlb_flush(c);
	else if (type == 3)
		sx_tlb_flush_local(c);
	else if (type == 0)
		sx_tlb_flush_space_page(c, pcid, page);
	else
		sx_tlb_flush_space(c, pcid);
	SX_NEXT(c, i);
}

/* --- debug registers --- */

/* DR4 and DR5 are other names of DR6 and DR7, unless CR4.DE is set. */
static unsigned debug_register(struct sx_cpu *c, const struct sx_insn *i)
{
	unsigned n = i->reg;

	if (n > 7 || ((n == 4 || n == 5) && (c->cr4 & X86_CR4_DE)))
		sx_throw_ud(c, i);
	sx_require_cpl0(c, i);
	if (c->dr7 & X86_DR7_GD)
		sx_throw_debug(c, i, X86_DR6_BD);
	return n == 4 || n == 5 ? n + 2 : n;
}

static void mov_r_dr(struct sx_cpu *c, const struct sx_insn *i)
{
	unsigned n = debug_register(c, i);
	u64 v = n < 4 ? c->dr[n] : n == 6 ? c->dr6 : c->dr7;

	sx_reg_set(c, i->rm, v, sx_is_64(c) ? 8 : 4);
	SX_NEXT(c, i);
}

static void mov_dr_r(struct sx_cpu *c, const struct sx_insn *i)
{
	unsigned n = debug_register(c, i);
	u64 v = sx_reg_get(c, i->rm, sx_is_64(c) ? 8 : 4);

	if (n >= 6 && v >> 32)
		sx_throw_gp(c, i, 0);
	if (n < 4)
		c->dr[n] = v;
	else if (n == 6)
		c->dr6 = (v & 0xe00f) | X86_DR6_RESET;
	else
		c->dr7 = (v & 0xffff2fff) | X86_DR7_RESET;
	if (n != 6)
		sx_debug_update(c);
	SX_NEXT(c, i);
}

sx_insn_fn *sx_bind_control(struct sx_insn *i)
{
	switch ((int)sx_insn_op(i)) {
	case SX_MOV_R_CR:
		return mov_r_cr;
	case SX_MOV_CR_R:
		return mov_cr_r;
	case SX_SMSW:
		return smsw;
	case SX_LMSW:
		return lmsw;
	case SX_CLTS:
		return clts;
	case SX_INVLPG:
		return invlpg;
	case SX_INVPCID:
		return invpcid;
	case SX_MOV_R_DR:
		return mov_r_dr;
	case SX_MOV_DR_R:
		return mov_dr_r;
	}
	return NULL;
}

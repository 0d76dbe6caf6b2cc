/*
 * Guest memory in native code: the operand's address, and the TLB's check that makes a host address of it.
 */
#include "accel/soft/exec.h"
#include "accel/soft/native_priv.h"

#define TLB_INDEX_SHIFT (PAGE_SHIFT - SX_TLB_ENTRY_SHIFT)
static_assert(sizeof(struct sx_tlb_entry) == 1 << SX_TLB_ENTRY_SHIFT, "slots by shifts");

/* --- addresses --- */

void sx_native_offset(struct translation *t, const struct item *it, unsigned reg)
{
	const struct sx_insn *i = &it->i;
	unsigned size = i->flags & SX_IF_ADDR32 ? 4 : 8, base, index;
	struct emit *e = &t->e;

	if (i->flags & SX_IF_RIP) {
		e_load(e, reg, opd_near(&t->c->gpr[SX_RIP]));
		e_lea(e, size, reg, reg, H_RSP, 0, (i32)((i64)i->disp + it->off + i->len));
		return;
	}
	if (i->base == SX_REG_ZERO && i->index == SX_REG_ZERO) {
		e_op(e, size, 0xc7, 0, opd_reg(reg), 4);
		e_i32(e, i->disp);
		return;
	}
	if (i->index == SX_REG_ZERO) {
		base = guest_in(t, i->base, reg);
		e_lea(e, size, reg, base, H_RSP, 0, i->disp);
		return;
	}
	index = guest_in(t, i->index, H_R11);
	if (i->base == SX_REG_ZERO) {
		e_lea_index(e, size, reg, index, i->scale, i->disp);
		return;
	}
	base = guest_in(t, i->base, H_R10);
	e_lea(e, size, reg, base, index, i->scale, i->disp);
}

void sx_native_address(struct translation *t, const struct item *it)
{
	sx_native_offset(t, it, H_R10);
	if (it->i.seg == X86_FS || it->i.seg == X86_GS)
		e_op(&t->e, 8, 0x03, H_R10, opd_near(&t->c->seg_base[it->i.seg]), 0);
}

/* --- the TLB --- */

void sx_native_add_slow(struct translation *t, enum slow_kind kind, u8 *field, unsigned index)
{
	if (t->n_slow == SLOW_MAX) {
		t->e.is_full = true;
		return;
	}
	/* Where a callout comes back, and with what flags, is known when the instruction is done. */
	t->slow[t->n_slow++] = (struct slow){.kind = kind,
					     .field = field,
					     .index = index,
					     .xmm_dirty = t->xmm_dirty,
					     .ymm_dirty = t->ymm_dirty,
					     .x87_off = t->x87_off};
}

void sx_native_slot(struct emit *e, const struct sx_cpu *c, unsigned reg)
{
	e_op(e, 8, 0x8b, H_R14, opd_reg(reg), 0);
	e_op(e, 4, 0xc1, 5, opd_reg(H_R14), 1); /* shr */
	e_u8(e, TLB_INDEX_SHIFT);
	e_op(e, 4, 0x23, H_R14, opd_near(&c->tlb_mask), 0);
	e_op(e, 8, 0x03, H_R14, opd_near(&c->tlb), 0);
}

void sx_native_check(struct translation *t, unsigned index, unsigned size, bool is_write,
		     bool may_rejoin)
{
	struct emit *e = &t->e;

	if (size > 1)
		e_lea(e, 8, H_R11, H_R10, H_RSP, 0, (i32)size - 1);
	else
		e_op(e, 8, 0x8b, H_R11, opd_reg(H_R10), 0);
	e_op(e, 8, 0x81, 4, opd_reg(H_R11), 4);
	e_i32(e, (i32)PAGE_MASK);
	sx_native_slot(e, t->c, H_R10);
	e_op(e, 8, 0x3b, H_R11,
	     opd_base(H_R14, is_write ? offsetof(struct sx_tlb_entry, write)
				      : offsetof(struct sx_tlb_entry, read)),
	     0);
	sx_native_add_slow(t, may_rejoin ? SLOW_CALLOUT : SLOW_STEP, e_jcc(e, 5), index);
	e_op(e, 8, 0x03, H_R10, opd_base(H_R14, offsetof(struct sx_tlb_entry, addend)), 0);
	if (t->e.is_full)
		return;
	t->slow[t->n_slow - 1].what = size | (is_write ? SX_NATIVE_WRITE : 0);
	t->slow[t->n_slow - 1].filled = e->at;
	t->slow[t->n_slow - 1].xmm_there = t->xmm_valid;
	t->slow[t->n_slow - 1].ymm_there = t->ymm_valid;
}

void sx_native_slow_fill(struct translation *t, const struct slow *s)
{
	struct emit *e = &t->e;
	u8 *field;

	e_op(e, 4, 0xc7, 0, opd_reg(H_R14), 4); /* mov r14d, what */
	e_i32(e, s->what);
	field = e_call(e);
	if (!e->is_full)
		e_patch(field, t->c->native->fill - e->to_exec);
	sx_native_load_vectors(t, s->xmm_there, s->ymm_there);
	field = e_jcc(e, 5);
	if (!e->is_full)
		e_patch(field, s->filled);
}

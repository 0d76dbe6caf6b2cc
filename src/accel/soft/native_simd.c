/*
 * MMX and SSE instructions to host instructions: themselves, with general registers renamed and memory
 * operands replaced. The MMX registers are the host's while the x87 registers are. XMM registers are in the host's of the
 * same number from their first use in a block to its end, or to a callout; c->fpu has them in between.
 */
#include "accel/soft/bind.h"
#include "accel/soft/exec.h"
#include "accel/soft/fpu.h"
#include "accel/soft/native_priv.h"

#define MOVAPS_LOAD  (E_0F | 0x28)
#define MOVAPS_STORE (E_0F | 0x29)

bool sx_native_is_simd(const struct sx_insn *i)
{
	return sx_simd_traits(i).is_plain;
}

/* --- registers --- */

static struct opd opd_xmm(const struct translation *t, unsigned n)
{
	return opd_near(t->c->fpu.xmm[n]);
}

static void store_low(struct translation *t, u16 low)
{
	for (unsigned n = 0; n < 16; n++) {
		if (low & BIT32(n))
			e_op(&t->e, 4, MOVAPS_STORE, n, opd_xmm(t, n), 0);
	}
}

/* No general register changes: XMM14 isn't R14. */
void sx_native_store_vectors(struct translation *t, u16 low, u16 high)
{
	u16 changed = t->e.changed;

	if (t->fpu_needs & SX_NEEDS_AVX)
		sx_native_vex_store(t, low, high);
	else
		store_low(t, low);
	t->e.changed = changed;
}

void sx_native_load_vectors(struct translation *t, u16 low, u16 high)
{
	if (t->fpu_needs & SX_NEEDS_AVX) {
		sx_native_vex_load(t, low, high);
		return;
	}
	for (unsigned n = 0; n < 16; n++) {
		if (low & BIT32(n))
			e_op(&t->e, 4, MOVAPS_LOAD, n, opd_xmm(t, n), 0);
	}
}

void sx_native_flush_fpu(struct translation *t)
{
	sx_native_store_vectors(t, t->xmm_dirty, t->ymm_dirty);
	t->xmm_dirty = t->xmm_valid = t->ymm_dirty = t->ymm_valid = 0;
	t->has_upper = false;
	sx_native_store_fip(t, t->x87_off);
	t->x87_off = X87_NONE;
}

/* Nothing is left of the register that it writes. Only moves: others that do so aren't worth a table. */
static bool overwrites(const struct sx_insn *i)
{
	bool is_mem = i->flags & SX_IF_MEM;

	switch ((int)sx_insn_op(i)) {
	case SX_MOVSS:
	case SX_MOVSD:
		return is_mem;
	case SX_MOVAPS:
	case SX_MOVAPD:
	case SX_MOVUPS:
	case SX_MOVUPD:
	case SX_MOVDQA:
	case SX_MOVDQU:
	case SX_LDDQU:
	case SX_MOVD:
	case SX_MOVQ:
	case SX_MOVDDUP:
	case SX_PSHUFD:
		return is_mem || i->rm != i->reg;
	}
	return false;
}

static void want_xmm(struct translation *t, unsigned n)
{
	if (!(t->xmm_valid & BIT32(n)))
		sx_native_load_vectors(t, (u16)BIT32(n), 0);
	t->xmm_valid |= (u16)BIT32(n);
}

/* What is overwritten needn't be loaded. */
static void write_or_want(struct translation *t, unsigned n, bool is_overwritten)
{
	if (is_overwritten)
		t->xmm_valid |= (u16)BIT32(n);
	else
		want_xmm(t, n);
}

/* --- operands --- */

static bool is_mmx(const struct sx_operand *o)
{
	return o->kind == SX_OPD_P || o->kind == SX_OPD_Q || o->kind == SX_OPD_N;
}

static bool is_xmm(const struct sx_operand *o)
{
	return o->kind == SX_OPD_V || o->kind == SX_OPD_W || o->kind == SX_OPD_U;
}

struct simd {
	const struct sx_operand *reg, *rm; /* of the row; reg is NULL where an extension stands */
	bool writes_reg, writes_rm;
};

static struct simd operands_of(const struct sx_insn *i)
{
	const struct sx_form *f = sx_insn_form(i);
	bool writes = sx_simd_traits(i).writes_operand;

	switch ((int)f->shape) {
	case SX_SHAPE_REG_RM:
	case SX_SHAPE_REG_RM_IMM:
		return (struct simd){&f->opd[0], &f->opd[1], writes, false};
	case SX_SHAPE_RM_REG:
	case SX_SHAPE_RM_REG_IMM:
		return (struct simd){&f->opd[1], &f->opd[0], false, writes};
	default: /* a shift by an immediate */
		return (struct simd){NULL, &f->opd[0], false, writes};
	}
}

bool sx_native_simd_writes_rm(const struct sx_insn *i)
{
	return operands_of(i).writes_rm;
}

static bool has_imm(const struct sx_insn *i)
{
	enum sx_shape shape = sx_insn_form(i)->shape;

	return shape == SX_SHAPE_REG_RM_IMM || shape == SX_SHAPE_RM_REG_IMM ||
	       shape == SX_SHAPE_RM_IMM;
}

struct opd sx_native_vector_memory(struct translation *t, unsigned index, bool is_write)
{
	const struct item *it = &t->items[index];
	struct access a = sx_native_access(t, it, it->i.size, is_write);

	return sx_native_wants_alignment(&it->i) ? sx_native_aligned(t, index, &a)
						 : sx_native_memory(t, index, &a, true);
}

/* The rm operand where it is a register. */
static struct opd rm_register(struct translation *t, const struct sx_insn *i, const struct simd *s)
{
	if (is_xmm(s->rm)) {
		write_or_want(t, i->rm, s->writes_rm && overwrites(i));
		if (s->writes_rm)
			t->xmm_dirty |= (u16)BIT32(i->rm);
		return opd_reg(i->rm);
	}
	if (is_mmx(s->rm))
		return opd_reg(i->rm);
	/* A general register that is written is written whole: its upper half is cleared. */
	if (s->writes_rm && host_of(i->rm) == IN_MEMORY)
		return opd_reg(H_R14);
	return opd_reg(guest_in(t, i->rm, H_R14));
}

static unsigned reg_register(struct translation *t, const struct sx_insn *i, const struct simd *s)
{
	if (!s->reg)
		return sx_insn_form(i)->ext;
	if (is_xmm(s->reg)) {
		write_or_want(t, i->reg, s->writes_reg && overwrites(i));
		if (s->writes_reg)
			t->xmm_dirty |= (u16)BIT32(i->reg);
		return i->reg;
	}
	if (is_mmx(s->reg))
		return i->reg;
	if (s->writes_reg && host_of(i->reg) == IN_MEMORY)
		return H_R11;
	return guest_in(t, i->reg, H_R11);
}

void sx_native_simd(struct translation *t, unsigned index)
{
	const struct sx_insn *i = &t->items[index].i;
	struct simd s = operands_of(i);
	bool is_mem = i->flags & SX_IF_MEM;
	struct opd rm = {0};
	struct sx_simd_traits traits = sx_simd_traits(i);
	unsigned reg;

	if (sx_insn_op(i) == SX_EMMS) {
		e_opcode(&t->e, E_0F | 0x77);
		return;
	}
	if (is_mem)
		rm = sx_native_vector_memory(t, index, s.writes_rm);
	if (traits.reads_xmm0 || traits.writes_xmm0)
		want_xmm(t, 0);
	reg = reg_register(t, i, &s);
	if (!is_mem)
		rm = rm_register(t, i, &s);
	e_op(&t->e, i->flags & SX_IF_REXW ? 8 : 4, sx_native_opcode(i), reg, rm, has_imm(i));
	if (has_imm(i))
		e_u8(&t->e, (u8)i->imm);
	if (traits.writes_xmm0)
		t->xmm_dirty |= 1;
	if (s.writes_reg && !is_xmm(s.reg) && !is_mmx(s.reg) && reg == H_R11)
		e_store(&t->e, H_R11, opd_gpr(t->c, i->reg));
	if (s.writes_rm && !is_mem && !is_xmm(s.rm) && !is_mmx(s.rm) && rm.reg == H_R14)
		e_store(&t->e, H_R14, opd_gpr(t->c, i->rm));
}

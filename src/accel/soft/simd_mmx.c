/*
 * MMX: the same stubs' 64-bit siblings, on registers that alias the x87 stack (SDM 1, 9.2).
 *
 * The registers are the fractions in c->fpu, never the host's: an MMX instruction takes the x87
 * registers out of the host. Nothing of the x87 state changes before the operands are there. Not
 * made for speed: compilers have not emitted MMX for twenty years.
 */
#include "accel/soft/simd_priv.h"

#include "base/bytes.h"

/* Register n, while TOP is still what x87 made of it. */
static u64 mmx_get(const struct sx_cpu *c, unsigned n)
{
	unsigned top = (c->fpu.fsw & SX_FSW_TOP) >> SX_FSW_TOP_SHIFT;

	return bytes_load(c->fpu.st[(n - top) & 7], 8);
}

/* Once TOP is 0. The exponent of a written register becomes all ones. */
static void mmx_set(struct sx_cpu *c, unsigned n, u64 v)
{
	bytes_store(c->fpu.st[n & 7], v, 8);
	bytes_store(c->fpu.st[n & 7] + 8, 0xffff, 2);
}

static u64 mmx_source(struct sx_cpu *c, const struct sx_insn *i)
{
	if (!sx_insn_is_mem(i))
		return mmx_get(c, i->rm);
	return i->size == 4 ? simd_load_u64(c, i, 4) : simd_load_u64(c, i, 8);
}

static u64 mmx_call(const struct sx_insn *i, u64 d, u64 s)
{
	__m128i vs = simd_of_u64(s);

	return simd_to_u64(simd_stub(i)(simd_of_u64(d), vs, vs));
}

static void mmx_finish(struct sx_cpu *c, unsigned n, u64 v)
{
	sx_mmx_take(&c->fpu);
	mmx_set(c, n, v);
}

/* --- computing --- */

static void mmx_integer(struct sx_cpu *c, const struct sx_insn *i)
{
	u64 s;

	sx_mmx_enter(c, i);
	s = mmx_source(c, i);
	mmx_finish(c, i->reg, mmx_call(i, mmx_get(c, i->reg), s));
	SX_NEXT(c, i);
}

static void mmx_shift(struct sx_cpu *c, const struct sx_insn *i)
{
	sx_mmx_enter(c, i);
	mmx_finish(c, i->rm, mmx_call(i, mmx_get(c, i->rm), (u32)i->disp));
	SX_NEXT(c, i);
}

static void mmx_emms(struct sx_cpu *c, const struct sx_insn *i)
{
	sx_mmx_enter(c, i);
	sx_mmx_take(&c->fpu);
	c->fpu.ftw = 0;
	SX_NEXT(c, i);
}

/* --- conversions --- */

/* From memory these are no MMX instructions: the x87 state stays as it is. */
static void mmx_to_xmm(struct sx_cpu *c, const struct sx_insn *i)
{
	__m128i s;

	simd_fp_begin(c, i);
	if (!sx_insn_is_mem(i))
		sx_mmx_enter(c, i);
	s = simd_of_u64(mmx_source(c, i));
	if (!sx_insn_is_mem(i))
		sx_mmx_take(&c->fpu);
	simd_set_xmm(c, i->reg, simd_fp_call(c, i, simd_xmm(c, i->reg), s));
	SX_NEXT(c, i);
}

static void mmx_from_xmm(struct sx_cpu *c, const struct sx_insn *i)
{
	__m128i s;

	simd_fp_begin(c, i);
	sx_mmx_enter(c, i);
	if (!sx_insn_is_mem(i))
		s = simd_xmm(c, i->rm);
	else if (i->size == 8)
		s = simd_of_u64(simd_load_u64(c, i, 8));
	else
		s = simd_load(c, i, true);
	sx_mmx_take(&c->fpu);
	mmx_set(c, i->reg, simd_to_u64(simd_fp_call(c, i, s, s)));
	SX_NEXT(c, i);
}

/* --- moves --- */

static void mmx_movq_load(struct sx_cpu *c, const struct sx_insn *i)
{
	sx_mmx_enter(c, i);
	mmx_finish(c, i->reg, mmx_source(c, i));
	SX_NEXT(c, i);
}

/* MOVNTQ too, which is a store like any other here. */
static void mmx_movq_store(struct sx_cpu *c, const struct sx_insn *i)
{
	u64 v;

	sx_mmx_enter(c, i);
	v = mmx_get(c, i->reg);
	if (sx_insn_is_mem(i)) {
		simd_store_u64(c, i, v, 8);
		sx_mmx_take(&c->fpu);
	} else {
		mmx_finish(c, i->rm, v);
	}
	SX_NEXT(c, i);
}

static void mmx_movd_load(struct sx_cpu *c, const struct sx_insn *i)
{
	u64 v;

	sx_mmx_enter(c, i);
	if (sx_insn_is_mem(i))
		v = mmx_source(c, i);
	else
		v = i->size == 8 ? c->gpr[i->rm] : (u32)c->gpr[i->rm];
	mmx_finish(c, i->reg, v);
	SX_NEXT(c, i);
}

static void mmx_movd_store(struct sx_cpu *c, const struct sx_insn *i)
{
	u64 v;

	sx_mmx_enter(c, i);
	v = mmx_get(c, i->reg);
	if (i->size == 4)
		v = (u32)v;
	if (!sx_insn_is_mem(i))
		c->gpr[i->rm] = v;
	else if (i->size == 8)
		simd_store_u64(c, i, v, 8);
	else
		simd_store_u64(c, i, v, 4);
	sx_mmx_take(&c->fpu);
	SX_NEXT(c, i);
}

static void mmx_movq2dq(struct sx_cpu *c, const struct sx_insn *i)
{
	simd_begin(c, i);
	sx_mmx_enter(c, i);
	simd_set_xmm(c, i->reg, simd_of_u64(mmx_get(c, i->rm)));
	sx_mmx_take(&c->fpu);
	SX_NEXT(c, i);
}

static void mmx_movdq2q(struct sx_cpu *c, const struct sx_insn *i)
{
	simd_begin(c, i);
	sx_mmx_enter(c, i);
	mmx_finish(c, i->reg, simd_to_u64(simd_xmm(c, i->rm)));
	SX_NEXT(c, i);
}

static void mmx_pmovmskb(struct sx_cpu *c, const struct sx_insn *i)
{
	sx_mmx_enter(c, i);
	c->gpr[i->reg] = (u32)_mm_movemask_epi8(simd_of_u64(mmx_get(c, i->rm)));
	sx_mmx_take(&c->fpu);
	SX_NEXT(c, i);
}

static void mmx_pinsrw(struct sx_cpu *c, const struct sx_insn *i)
{
	unsigned shift = 16 * (i->imm & 3);
	u64 v, d;

	sx_mmx_enter(c, i);
	v = sx_insn_is_mem(i) ? simd_load_u64(c, i, 2) : (u16)c->gpr[i->rm];
	d = mmx_get(c, i->reg) & ~((u64)0xffff << shift);
	mmx_finish(c, i->reg, d | v << shift);
	SX_NEXT(c, i);
}

static void mmx_pextrw(struct sx_cpu *c, const struct sx_insn *i)
{
	sx_mmx_enter(c, i);
	c->gpr[i->reg] = (u16)(mmx_get(c, i->rm) >> (16 * (i->imm & 3)));
	sx_mmx_take(&c->fpu);
	SX_NEXT(c, i);
}

static noinline void mmx_maskmovq_work(struct sx_cpu *c, const struct sx_insn *i)
{
	u64 data, mask;

	sx_mmx_enter(c, i);
	data = mmx_get(c, i->reg);
	mask = mmx_get(c, i->rm);
	sx_simd_store_masked(c, i, (const u8 *)&data, (const u8 *)&mask, 8);
	sx_mmx_take(&c->fpu);
}
SX_HANDLER_OF(mmx_maskmovq, mmx_maskmovq_work)

static sx_insn_fn *mmx_bind_move(const struct sx_insn *i)
{
	bool is_store = sx_insn_form(i)->shape == SX_SHAPE_RM_REG;

	switch ((int)sx_insn_op(i)) {
	case SX_EMMS:
		return mmx_emms;
	case SX_MOVQ:
		return is_store ? mmx_movq_store : mmx_movq_load;
	case SX_MOVNTQ:
		return mmx_movq_store;
	case SX_MOVD:
		return is_store ? mmx_movd_store : mmx_movd_load;
	case SX_MOVQ2DQ:
		return mmx_movq2dq;
	case SX_MOVDQ2Q:
		return mmx_movdq2q;
	case SX_PMOVMSKB:
		return mmx_pmovmskb;
	case SX_PINSRW:
		return mmx_pinsrw;
	case SX_PEXTRW:
		return mmx_pextrw;
	case SX_MASKMOVQ:
		return mmx_maskmovq;
	default:
		return NULL;
	}
}

sx_insn_fn *sx_simd_bind_mmx(const struct sx_insn *i, enum simd_kind kind)
{
	switch ((int)kind) {
	case SIMD_INTEGER:
		return sx_insn_form(i)->shape == SX_SHAPE_RM_IMM ? mmx_shift : mmx_integer;
	case SIMD_FROM_MMX:
		return mmx_to_xmm;
	case SIMD_TO_MMX:
		return mmx_from_xmm;
	default:
		return mmx_bind_move(i);
	}
}

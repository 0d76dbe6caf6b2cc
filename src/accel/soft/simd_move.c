/*
 * SIMD moves between XMM registers, general registers and memory: direct handlers, since they are
 * most of what compiled code does with SSE.
 *
 * The binder turns a store whose rm is a register around, so that reg is the destination there too.
 */
#include "accel/soft/simd_priv.h"

/* --- whole registers --- */

static void move_register(struct sx_cpu *c, const struct sx_insn *i)
{
	simd_begin(c, i);
	simd_set_xmm(c, i->reg, simd_xmm(c, i->rm));
	SX_NEXT(c, i);
}

static void move_load_aligned(struct sx_cpu *c, const struct sx_insn *i)
{
	simd_begin(c, i);
	simd_set_xmm(c, i->reg, simd_load(c, i, true));
	SX_NEXT(c, i);
}

static void move_load(struct sx_cpu *c, const struct sx_insn *i)
{
	simd_begin(c, i);
	simd_set_xmm(c, i->reg, simd_load(c, i, false));
	SX_NEXT(c, i);
}

static void move_store_aligned(struct sx_cpu *c, const struct sx_insn *i)
{
	simd_begin(c, i);
	simd_store(c, i, simd_xmm(c, i->reg), true);
	SX_NEXT(c, i);
}

static void move_store(struct sx_cpu *c, const struct sx_insn *i)
{
	simd_begin(c, i);
	simd_store(c, i, simd_xmm(c, i->reg), false);
	SX_NEXT(c, i);
}

/* --- parts --- */

static always_inline u64 move_half(const struct sx_cpu *c, unsigned n, unsigned half)
{
	return sx_host_load(c->fpu.xmm[n] + 8 * half, 8);
}

static always_inline void move_set_half(struct sx_cpu *c, unsigned n, unsigned half, u64 v)
{
	sx_host_store(c->fpu.xmm[n] + 8 * half, v, 8);
}

/* MOVSS, MOVSD, MOVQ, MOVD from memory: the rest of the register becomes 0. */
static void move_load_zero_4(struct sx_cpu *c, const struct sx_insn *i)
{
	simd_begin(c, i);
	simd_set_xmm(c, i->reg, simd_of_u64(simd_load_u64(c, i, 4)));
	SX_NEXT(c, i);
}

static void move_load_zero_8(struct sx_cpu *c, const struct sx_insn *i)
{
	simd_begin(c, i);
	simd_set_xmm(c, i->reg, simd_of_u64(simd_load_u64(c, i, 8)));
	SX_NEXT(c, i);
}

static void move_store_4(struct sx_cpu *c, const struct sx_insn *i)
{
	simd_begin(c, i);
	simd_store_u64(c, i, sx_host_load(c->fpu.xmm[i->reg], 4), 4);
	SX_NEXT(c, i);
}

static void move_store_low(struct sx_cpu *c, const struct sx_insn *i)
{
	simd_begin(c, i);
	simd_store_u64(c, i, move_half(c, i->reg, 0), 8);
	SX_NEXT(c, i);
}

static void move_store_high(struct sx_cpu *c, const struct sx_insn *i)
{
	simd_begin(c, i);
	simd_store_u64(c, i, move_half(c, i->reg, 1), 8);
	SX_NEXT(c, i);
}

static void move_load_low(struct sx_cpu *c, const struct sx_insn *i)
{
	simd_begin(c, i);
	move_set_half(c, i->reg, 0, simd_load_u64(c, i, 8));
	SX_NEXT(c, i);
}

static void move_load_high(struct sx_cpu *c, const struct sx_insn *i)
{
	simd_begin(c, i);
	move_set_half(c, i->reg, 1, simd_load_u64(c, i, 8));
	SX_NEXT(c, i);
}

/* MOVSS, MOVSD between registers leave the rest as it is, MOVQ does not. */
static void move_merge_4(struct sx_cpu *c, const struct sx_insn *i)
{
	simd_begin(c, i);
	sx_host_store(c->fpu.xmm[i->reg], sx_host_load(c->fpu.xmm[i->rm], 4), 4);
	SX_NEXT(c, i);
}

static void move_merge_8(struct sx_cpu *c, const struct sx_insn *i)
{
	simd_begin(c, i);
	move_set_half(c, i->reg, 0, move_half(c, i->rm, 0));
	SX_NEXT(c, i);
}

static void move_zero_8(struct sx_cpu *c, const struct sx_insn *i)
{
	simd_begin(c, i);
	simd_set_xmm(c, i->reg, simd_of_u64(move_half(c, i->rm, 0)));
	SX_NEXT(c, i);
}

static void move_high_to_low(struct sx_cpu *c, const struct sx_insn *i)
{
	simd_begin(c, i);
	move_set_half(c, i->reg, 0, move_half(c, i->rm, 1));
	SX_NEXT(c, i);
}

static void move_low_to_high(struct sx_cpu *c, const struct sx_insn *i)
{
	simd_begin(c, i);
	move_set_half(c, i->reg, 1, move_half(c, i->rm, 0));
	SX_NEXT(c, i);
}

/* --- general registers --- */

static void move_from_gpr_4(struct sx_cpu *c, const struct sx_insn *i)
{
	simd_begin(c, i);
	simd_set_xmm(c, i->reg, simd_of_u64((u32)c->gpr[i->rm]));
	SX_NEXT(c, i);
}

static void move_from_gpr_8(struct sx_cpu *c, const struct sx_insn *i)
{
	simd_begin(c, i);
	simd_set_xmm(c, i->reg, simd_of_u64(c->gpr[i->rm]));
	SX_NEXT(c, i);
}

static void move_to_gpr_4(struct sx_cpu *c, const struct sx_insn *i)
{
	simd_begin(c, i);
	c->gpr[i->rm] = sx_host_load(c->fpu.xmm[i->reg], 4);
	SX_NEXT(c, i);
}

static void move_to_gpr_8(struct sx_cpu *c, const struct sx_insn *i)
{
	simd_begin(c, i);
	c->gpr[i->rm] = move_half(c, i->reg, 0);
	SX_NEXT(c, i);
}

static void move_mask_bytes(struct sx_cpu *c, const struct sx_insn *i)
{
	simd_begin(c, i);
	c->gpr[i->reg] = (u32)_mm_movemask_epi8(simd_xmm(c, i->rm));
	SX_NEXT(c, i);
}

static void move_mask_4(struct sx_cpu *c, const struct sx_insn *i)
{
	simd_begin(c, i);
	c->gpr[i->reg] = (u32)_mm_movemask_ps(_mm_castsi128_ps(simd_xmm(c, i->rm)));
	SX_NEXT(c, i);
}

static void move_mask_8(struct sx_cpu *c, const struct sx_insn *i)
{
	simd_begin(c, i);
	c->gpr[i->reg] = (u32)_mm_movemask_pd(_mm_castsi128_pd(simd_xmm(c, i->rm)));
	SX_NEXT(c, i);
}

/* --- choosing --- */

/* Handlers of a move: between registers, from memory, to memory. */
struct move {
	enum sx_op op;
	sx_insn_fn *reg, *load, *store;
};

static const struct move moves[] = {
	{SX_MOVAPS, move_register, move_load_aligned, move_store_aligned},
	{SX_MOVAPD, move_register, move_load_aligned, move_store_aligned},
	{SX_MOVDQA, move_register, move_load_aligned, move_store_aligned},
	{SX_MOVUPS, move_register, move_load, move_store},
	{SX_MOVUPD, move_register, move_load, move_store},
	{SX_MOVDQU, move_register, move_load, move_store},
	{SX_LDDQU, NULL, move_load, NULL},
	{SX_MOVNTDQA, NULL, move_load_aligned, NULL},
	{SX_MOVNTPS, NULL, NULL, move_store_aligned},
	{SX_MOVNTPD, NULL, NULL, move_store_aligned},
	{SX_MOVNTDQ, NULL, NULL, move_store_aligned},
	{SX_MOVSS, move_merge_4, move_load_zero_4, move_store_4},
	{SX_MOVSD, move_merge_8, move_load_zero_8, move_store_low},
	{SX_MOVQ, move_zero_8, move_load_zero_8, move_store_low},
	{SX_MOVLPS, NULL, move_load_low, move_store_low},
	{SX_MOVLPD, NULL, move_load_low, move_store_low},
	{SX_MOVHPS, NULL, move_load_high, move_store_high},
	{SX_MOVHPD, NULL, move_load_high, move_store_high},
	{SX_MOVHLPS, move_high_to_low, NULL, NULL},
	{SX_MOVLHPS, move_low_to_high, NULL, NULL},
	{SX_PMOVMSKB, move_mask_bytes, NULL, NULL},
	{SX_MOVMSKPS, move_mask_4, NULL, NULL},
	{SX_MOVMSKPD, move_mask_8, NULL, NULL},
};

static sx_insn_fn *move_bind_movd(const struct sx_insn *i)
{
	bool is_store = sx_insn_form(i)->shape == SX_SHAPE_RM_REG;
	bool is_8 = i->size == 8;

	if (sx_insn_is_mem(i) && is_store)
		return is_8 ? move_store_low : move_store_4;
	if (sx_insn_is_mem(i))
		return is_8 ? move_load_zero_8 : move_load_zero_4;
	if (is_store)
		return is_8 ? move_to_gpr_8 : move_to_gpr_4;
	return is_8 ? move_from_gpr_8 : move_from_gpr_4;
}

sx_insn_fn *sx_simd_bind_move(struct sx_insn *i)
{
	bool is_store = sx_insn_form(i)->shape == SX_SHAPE_RM_REG;
	enum sx_op op = sx_insn_op(i);
	const struct move *m;

	if (op == SX_MOVD)
		return move_bind_movd(i);
	for (m = moves; m < moves + ARRAY_SIZE(moves); m++)
		if (m->op == op)
			break;
	if (m == moves + ARRAY_SIZE(moves))
		return NULL;
	if (sx_insn_is_mem(i))
		return is_store ? m->store : m->load;
	if (is_store) {
		u8 reg = i->reg;

		i->reg = i->rm;
		i->rm = reg;
	}
	return m->reg;
}

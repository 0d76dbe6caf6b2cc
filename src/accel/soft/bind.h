/*
 * From a decoded instruction to the function that executes it.
 *
 * sx_bind is called once for each instruction of a new block. Each family of handlers has a binder
 * of its own beside it, which knows its operations by shape, size and operand kind, and returns
 * NULL for the rest. Binders may rewrite the operands into what their handlers want.
 */
#ifndef ACCEL_SOFT_BIND_H
#define ACCEL_SOFT_BIND_H

#include "accel/soft/insn.h"

struct sx_block;

/* off: of the instruction in its block; its address ends up in imm, disp, seg as handlers use
 * them. False: the RIP-relative displacement is too large; see SX_RIP_NEXT. */
bool sx_bind(const struct sx_block *b, struct sx_insn *i, unsigned off);

sx_insn_fn *sx_bind_alu(struct sx_insn *i);
sx_insn_fn *sx_bind_mov(struct sx_insn *i);
sx_insn_fn *sx_bind_wide(struct sx_insn *i);
sx_insn_fn *sx_bind_shift(struct sx_insn *i);
sx_insn_fn *sx_bind_bit(struct sx_insn *i);
sx_insn_fn *sx_bind_muldiv(struct sx_insn *i);
sx_insn_fn *sx_bind_misc(struct sx_insn *i);
sx_insn_fn *sx_bind_stack(struct sx_insn *i, u32 mode);
sx_insn_fn *sx_bind_flow(const struct sx_block *b, struct sx_insn *i, unsigned off);
sx_insn_fn *sx_bind_string(struct sx_insn *i);
sx_insn_fn *sx_bind_system(struct sx_insn *i);
sx_insn_fn *sx_bind_segment(struct sx_insn *i);
sx_insn_fn *sx_bind_io(struct sx_insn *i);
sx_insn_fn *sx_bind_far(struct sx_insn *i);
sx_insn_fn *sx_bind_control(struct sx_insn *i);
/* What a SIMD instruction needs and does, as far as the translator wants to know. */
struct sx_simd_traits {
	bool is_plain; /* it has no operands but those that it shows and these; else not for it */
	u8 needs;      /* enum sx_fpu_need */
	bool is_mmx;
	bool writes_flags;
	bool writes_operand; /* the first */
	bool reads_xmm0, writes_xmm0;
};
struct sx_simd_traits sx_simd_find_traits(const struct sx_insn *i);
static inline struct sx_simd_traits sx_simd_traits(const struct sx_insn *i)
{
	if (sx_insn_op(i) < SX_EMMS) /* the first of them */
		return (struct sx_simd_traits){.writes_operand = true};
	return sx_simd_find_traits(i);
}

/* With a VEX prefix: simd_vex.c. */
sx_insn_fn *sx_vex_bind(const struct sx_insn *i);
/* x87, MMX, SSE and what follows, FXSAVE, XSAVE, LDMXCSR: simd_bind.c. */
sx_insn_fn *sx_bind_fpu(struct sx_insn *i, unsigned off);

/* Handlers for operands of 1, 2, 4 and 8 bytes, by sx_size_log2; those that have none for bytes. */
#define SX_FOUR(prefix)                                                                            \
	{                                                                                          \
		prefix##_b, prefix##_w, prefix##_l, prefix##_q                                     \
	}
#define SX_THREE(prefix)                                                                           \
	{                                                                                          \
		NULL, prefix##_w, prefix##_l, prefix##_q                                           \
	}

static inline unsigned sx_size_log2(unsigned size)
{
	return size == 1 ? 0 : size == 2 ? 1 : size == 4 ? 2 : 3;
}

#endif

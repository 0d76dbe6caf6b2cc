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
enum sx_simd_class {
	SX_SIMD_OTHER, /* not for it: MMX, strings, what has more operands than it shows */
	SX_SIMD_PLAIN, /* moves and integers */
	SX_SIMD_FLOAT, /* MXCSR is read and written */
	SX_SIMD_FLAGS, /* writes EFLAGS */
	SX_SIMD_FLAGS_FLOAT,
	SX_SIMD_XMM0, /* reads XMM0 as well */
};
enum sx_simd_class sx_simd_class(const struct sx_insn *i);

/* x87, MMX, SSE and what follows, FXSAVE, XSAVE, LDMXCSR: simd_bind.c. */
sx_insn_fn *sx_bind_fpu(struct sx_insn *i, unsigned off);

static inline unsigned sx_size_log2(unsigned size)
{
	return size == 1 ? 0 : size == 2 ? 1 : size == 4 ? 2 : 3;
}

#endif

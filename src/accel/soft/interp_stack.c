/*
 * The stack: PUSH, POP and their families, ENTER, LEAVE.
 *
 * In 64-bit code the stack has no segment, and the 64-bit forms have handlers of their own; the
 * others serve every width of operand and stack.
 */
#include "accel/soft/bind.h"
#include "accel/soft/exec.h"
#include "accel/soft/segment.h"

/* --- 64-bit code --- */

static always_inline void push64(struct sx_cpu *c, const struct sx_insn *i, u64 v)
{
	u64 rsp = c->gpr[X86_RSP] - 8;

	sx_store(c, i, rsp, v, 8);
	c->gpr[X86_RSP] = rsp;
}

static noinline void push64_r_general(struct sx_cpu *c, const struct sx_insn *i)
{
	push64(c, i, c->gpr[i->rm]);
	SX_NEXT(c, i);
}

static void push64_r(struct sx_cpu *c, const struct sx_insn *i)
{
	u64 rsp = c->gpr[X86_RSP] - 8;

	SX_TRY_STORE(c, i, rsp, c->gpr[i->rm], 8, push64_r_general);
	c->gpr[X86_RSP] = rsp;
	SX_NEXT(c, i);
}

static void push64_m(struct sx_cpu *c, const struct sx_insn *i)
{
	push64(c, i, sx_load(c, i, sx_ea(c, i, 8, false), 8));
	SX_NEXT(c, i);
}

static void push64_imm(struct sx_cpu *c, const struct sx_insn *i)
{
	push64(c, i, i->imm);
	SX_NEXT(c, i);
}

static noinline void pop64_r_general(struct sx_cpu *c, const struct sx_insn *i)
{
	u64 v = sx_load(c, i, c->gpr[X86_RSP], 8);

	c->gpr[X86_RSP] += 8;
	c->gpr[i->rm] = v; /* POP RSP keeps what was popped */
	SX_NEXT(c, i);
}

static void pop64_r(struct sx_cpu *c, const struct sx_insn *i)
{
	u64 rsp = c->gpr[X86_RSP];
	u64 v = SX_TRY_LOAD(c, i, rsp, 8, pop64_r_general);

	c->gpr[X86_RSP] = rsp + 8;
	c->gpr[i->rm] = v;
	SX_NEXT(c, i);
}

static void leave64(struct sx_cpu *c, const struct sx_insn *i)
{
	u64 v = sx_load(c, i, c->gpr[X86_RBP], 8);

	c->gpr[X86_RSP] = c->gpr[X86_RBP] + 8;
	c->gpr[X86_RBP] = v;
	SX_NEXT(c, i);
}

/* --- all widths --- */

static void push(struct sx_cpu *c, const struct sx_insn *i)
{
	sx_push(c, i, sx_rm_load(c, i, i->size), i->size);
	SX_NEXT(c, i);
}

static void push_imm(struct sx_cpu *c, const struct sx_insn *i)
{
	sx_push(c, i, i->imm, i->size);
	SX_NEXT(c, i);
}

static void pop_r(struct sx_cpu *c, const struct sx_insn *i)
{
	u64 v = sx_stack_load(c, i, 0, i->size);

	sx_stack_move(c, i->size);
	sx_reg_set(c, i->rm, v, i->size);
	SX_NEXT(c, i);
}

/* The address is formed with RSP already incremented (SDM 2B, POP). */
static void pop_m(struct sx_cpu *c, const struct sx_insn *i)
{
	u64 v = sx_stack_load(c, i, 0, i->size);
	u64 lin = sx_ea(c, i, i->size, true) + (i->base == X86_RSP ? i->size : 0);

	sx_store(c, i, lin, v, i->size);
	sx_stack_move(c, i->size);
	SX_NEXT(c, i);
}

/* With a 32-bit operand the upper half of the slot stays as it was, as on all recent processors
 * (SDM 2B, PUSH); with 64 bits the selector is zero-extended. */
static void push_seg(struct sx_cpu *c, const struct sx_insn *i)
{
	unsigned bytes = i->size == 4 ? 2 : i->size;
	u64 off = c->gpr[X86_RSP] - i->size;

	sx_store(c, i, sx_stack_lin(c, i, off, bytes, true), c->seg[i->reg].selector, bytes);
	sx_stack_move(c, -(u64)i->size);
	SX_NEXT(c, i);
}

static void pop_seg(struct sx_cpu *c, const struct sx_insn *i)
{
	u16 selector = (u16)sx_stack_load(c, i, 0, i->size);
	u64 mask = sx_stack_mask(c); /* POP SS: the old stack's */
	u64 rsp = c->gpr[X86_RSP];

	sx_seg_load(c, i, i->reg, selector);
	c->gpr[X86_RSP] = sx_stack_merge(mask, rsp, rsp + i->size);
	SX_NEXT(c, i);
}

static void pusha(struct sx_cpu *c, const struct sx_insn *i)
{
	unsigned size = i->size;

	/* All eight may fault: find out before the first changes memory. */
	for (unsigned n = 1; n <= 8; n++)
		sx_probe_write(c, i, sx_stack_lin(c, i, c->gpr[X86_RSP] - n * size, size, true),
			       size);
	for (unsigned n = 1; n <= 8; n++)
		sx_store(c, i, sx_stack_lin(c, i, c->gpr[X86_RSP] - n * size, size, true),
			 c->gpr[n - 1], size);
	sx_stack_move(c, -(u64)(8 * size));
	SX_NEXT(c, i);
}

static void popa(struct sx_cpu *c, const struct sx_insn *i)
{
	u64 v[8];

	for (unsigned n = 0; n < 8; n++)
		v[n] = sx_stack_load(c, i, n, i->size);
	sx_stack_move(c, 8 * i->size);
	for (unsigned n = 0; n < 8; n++) {
		if (7 - n != X86_RSP)
			sx_reg_set(c, 7 - n, v[n], i->size);
	}
	SX_NEXT(c, i);
}

/* Virtual-8086 mode below IOPL 3 leaves PUSHF and POPF to the monitor (SDM 3B, 20.2.7). */
static void check_v86_iopl(struct sx_cpu *c, const struct sx_insn *i)
{
	if (sx_is_v86(c) && sx_iopl(c) < 3)
		sx_throw_gp(c, i, 0);
}

static void pushf(struct sx_cpu *c, const struct sx_insn *i)
{
	check_v86_iopl(c, i);
	sx_push(c, i, sx_rflags(c) & ~(X86_FLAG_RF | X86_FLAG_VM), i->size);
	SX_NEXT(c, i);
}

static void popf(struct sx_cpu *c, const struct sx_insn *i)
{
	u64 mask = X86_FLAGS_ARITH | X86_FLAG_TF | X86_FLAG_DF | X86_FLAG_NT | X86_FLAG_AC |
		   X86_FLAG_ID | X86_FLAG_RF;
	u64 v;

	check_v86_iopl(c, i);
	v = sx_stack_load(c, i, 0, i->size) & ~X86_FLAG_RF;
	if (c->cpl == 0)
		mask |= X86_FLAG_IOPL;
	if (c->cpl <= sx_iopl(c))
		mask |= X86_FLAG_IF;
	if (i->size == 2)
		mask &= 0xffff;
	sx_stack_move(c, i->size);
	sx_set_rflags(c, v, mask);
	SX_NEXT(c, i);
}

static void enter(struct sx_cpu *c, const struct sx_insn *i)
{
	unsigned size = i->size, level = (u32)i->imm >> 16 & 31;
	u64 mask = sx_stack_mask(c), rsp = c->gpr[X86_RSP], rbp = c->gpr[X86_RBP];
	u64 frame = rsp - size;

	sx_store(c, i, sx_stack_lin(c, i, frame, size, true), rbp, size);
	rsp = frame;
	for (unsigned n = 1; n < level; n++) {
		u64 v = sx_load(c, i, sx_stack_lin(c, i, rbp - n * size, size, false), size);

		rsp -= size;
		sx_store(c, i, sx_stack_lin(c, i, rsp, size, true), v, size);
	}
	if (level) {
		u64 v = (c->gpr[X86_RSP] & ~mask) | (frame & mask);

		rsp -= size;
		sx_store(c, i, sx_stack_lin(c, i, rsp, size, true), v, size);
	}
	rsp -= (u16)i->imm;
	/* The new stack top must be writable, though nothing is written there. */
	sx_probe_write(c, i, sx_stack_lin(c, i, rsp, size, true), size);
	sx_reg_set(c, X86_RBP, (c->gpr[X86_RSP] & ~mask) | (frame & mask), size);
	c->gpr[X86_RSP] = sx_stack_merge(mask, c->gpr[X86_RSP], rsp);
	SX_NEXT(c, i);
}

static void leave(struct sx_cpu *c, const struct sx_insn *i)
{
	u64 mask = sx_stack_mask(c), rbp = c->gpr[X86_RBP];
	u64 v = sx_load(c, i, sx_stack_lin(c, i, rbp, i->size, false), i->size);

	c->gpr[X86_RSP] = sx_stack_merge(mask, c->gpr[X86_RSP], rbp + i->size);
	sx_reg_set(c, X86_RBP, v, i->size);
	SX_NEXT(c, i);
}

/* The forms of 64-bit code with 64-bit operands. */
static sx_insn_fn *bind_64(const struct sx_insn *i, bool is_mem)
{
	switch ((int)sx_insn_op(i)) {
	case SX_PUSH:
		return is_mem ? push64_m : push64_r;
	case SX_PUSH_IMM:
		return push64_imm;
	case SX_POP:
		return is_mem ? pop_m : pop64_r;
	case SX_LEAVE:
		return leave64;
	}
	return NULL;
}

sx_insn_fn *sx_bind_stack(struct sx_insn *i, u32 mode)
{
	bool is_mem = i->flags & SX_IF_MEM;
	sx_insn_fn *fn = mode & SX_MODE_64 && i->size == 8 ? bind_64(i, is_mem) : NULL;

	if (fn)
		return fn;
	switch ((int)sx_insn_op(i)) {
	case SX_PUSH:
		return push;
	case SX_PUSH_IMM:
		return push_imm;
	case SX_PUSH_SEG:
		return push_seg;
	case SX_POP:
		return is_mem ? pop_m : pop_r;
	case SX_POP_SEG:
		return pop_seg;
	case SX_PUSHA:
		return pusha;
	case SX_POPA:
		return popa;
	case SX_PUSHF:
		return pushf;
	case SX_POPF:
		return popf;
	case SX_ENTER:
		return enter;
	case SX_LEAVE:
		return leave;
	}
	return NULL;
}

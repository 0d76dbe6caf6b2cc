/*
 * Near jumps, calls and returns: the ends of most blocks.
 *
 * For relative ones the binder has made imm the distance of the target from the block's first
 * instruction, disp that of the next instruction, and index says which of the two lie in the
 * block's page. 64-bit code has handlers of its own, a JCC for each condition; the others cut RIP
 * to the operand size and check it against CS's limit.
 */
#include "accel/soft/bind.h"
#include "accel/soft/exec.h"

#define IN_PAGE_NEXT   1u /* bits of index */
#define IN_PAGE_TARGET 2u

/* --- 64-bit code --- */

static always_inline void go64(struct sx_cpu *c, const struct sx_insn *i, bool is_taken)
{
	c->gpr[SX_RIP] += is_taken ? i->imm : (u64)(i64)i->disp;
	sx_chain(c, is_taken, i->index & (is_taken ? IN_PAGE_TARGET : IN_PAGE_NEXT));
}

#define SX_CONDITIONS(X)                                                                           \
	X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14) X(15)
#define JCC(n)                                                                                     \
	static void jcc64_##n(struct sx_cpu *c, const struct sx_insn *i)                           \
	{                                                                                          \
		if (sx_condition(c->cc, n))                                                        \
			go64(c, i, true);                                                          \
		else                                                                               \
			go64(c, i, false);                                                         \
	}
SX_CONDITIONS(JCC)

static void jmp64(struct sx_cpu *c, const struct sx_insn *i)
{
	go64(c, i, true);
}

static noinline void call64_general(struct sx_cpu *c, const struct sx_insn *i)
{
	u64 rsp = c->gpr[X86_RSP] - 8;

	sx_store(c, i, rsp, c->gpr[SX_RIP] + (u64)(i64)i->disp, 8);
	c->gpr[X86_RSP] = rsp;
	go64(c, i, true);
}

static void call64(struct sx_cpu *c, const struct sx_insn *i)
{
	u64 rsp = c->gpr[X86_RSP] - 8;

	SX_TRY_STORE(c, i, rsp, c->gpr[SX_RIP] + (u64)(i64)i->disp, 8, call64_general);
	c->gpr[X86_RSP] = rsp;
	go64(c, i, true);
}

static always_inline void jump_to64(struct sx_cpu *c, const struct sx_insn *i, u64 target)
{
	if (unlikely(!sx_is_canonical(target)))
		sx_throw_gp(c, i, 0);
	c->gpr[SX_RIP] = target;
}

static void jmp64_rm(struct sx_cpu *c, const struct sx_insn *i)
{
	jump_to64(c, i, sx_rm_load(c, i, 8));
	sx_jump(c);
}

static void call64_rm(struct sx_cpu *c, const struct sx_insn *i)
{
	u64 target = sx_rm_load(c, i, 8), rsp = c->gpr[X86_RSP] - 8;

	if (unlikely(!sx_is_canonical(target)))
		sx_throw_gp(c, i, 0);
	sx_store(c, i, rsp, c->gpr[SX_RIP] + c->block->n_bytes, 8);
	c->gpr[X86_RSP] = rsp;
	c->gpr[SX_RIP] = target;
	sx_jump(c);
}

static noinline void ret64_general(struct sx_cpu *c, const struct sx_insn *i)
{
	u64 rsp = c->gpr[X86_RSP];

	jump_to64(c, i, sx_load(c, i, rsp, 8));
	c->gpr[X86_RSP] = rsp + 8 + i->imm;
	sx_jump(c);
}

static void ret64(struct sx_cpu *c, const struct sx_insn *i)
{
	u64 rsp = c->gpr[X86_RSP];
	u64 target = SX_TRY_LOAD(c, i, rsp, 8, ret64_general);

	jump_to64(c, i, target);
	c->gpr[X86_RSP] = rsp + 8 + i->imm;
	sx_jump(c);
}

/* --- 16- and 32-bit code --- */

/* The target cut to the operand size, if CS's limit lets it be. */
static u64 checked_target(struct sx_cpu *c, const struct sx_insn *i, u64 target)
{
	target &= bytes_mask(i->size);
	if (unlikely(target > c->seg[X86_CS].limit) && !(c->mode & SX_MODE_64))
		sx_throw_gp(c, i, 0);
	return target;
}

static void go(struct sx_cpu *c, const struct sx_insn *i, bool is_taken)
{
	if (is_taken)
		c->gpr[SX_RIP] = checked_target(c, i, c->gpr[SX_RIP] + i->imm);
	else
		c->gpr[SX_RIP] = (c->gpr[SX_RIP] + (u64)(i64)i->disp) & c->code_mask;
	sx_jump(c);
}

static void jcc(struct sx_cpu *c, const struct sx_insn *i)
{
	go(c, i, sx_condition_is(c->cc, i->cc));
}

static void jmp(struct sx_cpu *c, const struct sx_insn *i)
{
	go(c, i, true);
}

static void call(struct sx_cpu *c, const struct sx_insn *i)
{
	u64 target = checked_target(c, i, c->gpr[SX_RIP] + i->imm);

	sx_push(c, i, c->gpr[SX_RIP] + (u64)(i64)i->disp, i->size);
	c->gpr[SX_RIP] = target;
	sx_jump(c);
}

static void jmp_rm(struct sx_cpu *c, const struct sx_insn *i)
{
	c->gpr[SX_RIP] = checked_target(c, i, sx_rm_load(c, i, i->size));
	sx_jump(c);
}

static void call_rm(struct sx_cpu *c, const struct sx_insn *i)
{
	u64 target = checked_target(c, i, sx_rm_load(c, i, i->size));

	sx_push(c, i, c->gpr[SX_RIP] + c->block->n_bytes, i->size);
	c->gpr[SX_RIP] = target;
	sx_jump(c);
}

static void ret(struct sx_cpu *c, const struct sx_insn *i)
{
	u64 target = checked_target(c, i, sx_stack_load(c, i, 0, i->size));

	sx_stack_move(c, i->size + i->imm);
	c->gpr[SX_RIP] = target;
	sx_jump(c);
}

/* --- counting with rCX, as wide as addresses --- */

static void loop(struct sx_cpu *c, const struct sx_insn *i, bool condition)
{
	unsigned size = sx_insn_addrsize(i);
	u64 count = (c->gpr[X86_RCX] - 1) & bytes_mask(size);
	bool is_taken = count && condition;
	u64 next = (c->gpr[SX_RIP] + (is_taken ? i->imm : (u64)(i64)i->disp)) & c->code_mask;

	if (is_taken)
		next = checked_target(c, i, next);
	sx_reg_set(c, X86_RCX, count, size);
	c->gpr[SX_RIP] = next;
	sx_jump(c);
}

static void loop_always(struct sx_cpu *c, const struct sx_insn *i)
{
	loop(c, i, true);
}

static void loope(struct sx_cpu *c, const struct sx_insn *i)
{
	loop(c, i, c->cc & SX_CC_ZF);
}

static void loopne(struct sx_cpu *c, const struct sx_insn *i)
{
	loop(c, i, !(c->cc & SX_CC_ZF));
}

static void jcxz(struct sx_cpu *c, const struct sx_insn *i)
{
	go(c, i, !(c->gpr[X86_RCX] & bytes_mask(sx_insn_addrsize(i))));
}

/* --- binding --- */

static bool is_in_page(const struct sx_block *b, u64 distance)
{
	return (b->gpa & ~PAGE_MASK) + distance < PAGE_SIZE;
}

static sx_insn_fn *bind_64(const struct sx_insn *i)
{
	static sx_insn_fn *const jccs[16] = {
		jcc64_0, jcc64_1, jcc64_2,  jcc64_3,  jcc64_4,  jcc64_5,  jcc64_6,  jcc64_7,
		jcc64_8, jcc64_9, jcc64_10, jcc64_11, jcc64_12, jcc64_13, jcc64_14, jcc64_15};

	switch ((int)sx_insn_op(i)) {
	case SX_JCC:
		return jccs[i->cc];
	case SX_JMP:
		return jmp64;
	case SX_CALL:
		return call64;
	case SX_JMP_RM:
		return jmp64_rm;
	case SX_CALL_RM:
		return call64_rm;
	case SX_RET:
		return ret64;
	}
	return NULL;
}

static sx_insn_fn *bind_any(const struct sx_insn *i)
{
	switch ((int)sx_insn_op(i)) {
	case SX_JCC:
		return jcc;
	case SX_JMP:
		return jmp;
	case SX_CALL:
		return call;
	case SX_JMP_RM:
		return jmp_rm;
	case SX_CALL_RM:
		return call_rm;
	case SX_RET:
		return ret;
	case SX_LOOP:
		return loop_always;
	case SX_LOOPE:
		return loope;
	case SX_LOOPNE:
		return loopne;
	case SX_JCXZ:
		return jcxz;
	}
	return NULL;
}

sx_insn_fn *sx_bind_flow(const struct sx_block *b, struct sx_insn *i, unsigned off)
{
	sx_insn_fn *fn = b->mode & SX_MODE_64 && i->size == 8 ? bind_64(i) : NULL;

	if (!fn)
		fn = bind_any(i);
	if (fn && sx_insn_form(i)->shape == SX_SHAPE_REL) {
		i->disp = (i32)(off + i->len);
		i->imm += off + i->len;
		i->index = (u8)((is_in_page(b, (u64)i->disp) ? IN_PAGE_NEXT : 0) |
				(is_in_page(b, i->imm) ? IN_PAGE_TARGET : 0));
	}
	return fn;
}

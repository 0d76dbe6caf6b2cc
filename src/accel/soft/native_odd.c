/*
 * Integer instructions that need more than their own opcode: divisions, whose host's error would be a
 * signal; bits of memory far from the operand; operands of a size of their own.
 *
 * Each looks before it does anything, and leaves what isn't plain to the interpreter.
 */
#include "accel/soft/exec.h"
#include "accel/soft/native_priv.h"

#define CC_AE 3u
#define CC_NE 5u

static bool is_bit_string(const struct sx_insn *i)
{
	return i->flags & SX_IF_MEM && sx_insn_op(i) >= SX_BT && sx_insn_op(i) <= SX_BTC &&
	       sx_insn_form(i)->shape == SX_SHAPE_RM_REG;
}

bool sx_native_is_odd(const struct sx_insn *i)
{
	switch ((int)sx_insn_op(i)) {
	case SX_DIV:
	case SX_IDIV:
		return i->size > 1;
	case SX_CMPXCHG8B:
	case SX_CMPXCHG16B:
		return true;
	case SX_MOV_RM_SEG:
		return i->reg < X86_SEGS;
	}
	return is_bit_string(i);
}

u8 sx_native_odd_flags(const struct sx_insn *i)
{
	switch ((int)sx_insn_op(i)) {
	case SX_DIV: /* theirs are undefined: as they were, in the interpreter too */
	case SX_IDIV:
	case SX_MOV_RM_SEG:
		return 0;
	}
	return FLAGS_MERGE;
}

static void to_interpreter(struct translation *t, unsigned index, unsigned cc)
{
	sx_native_add_slow(t, SLOW_CALLOUT, e_jcc(&t->e, cc), index);
}

static void load_flags(struct translation *t, unsigned index)
{
	if (t->items[index].is_live_after && t->flags != FLAGS_HOST)
		sx_native_load_flags(t);
}

/* --- divisions --- */

/* The quotient of a signed division fits for sure where the dividend is the low half, sign-extended,
 * and the divisor is neither 0 nor -1. R14 and R10 are scratch. */
static void check_signed(struct translation *t, unsigned index)
{
	unsigned size = t->items[index].i.size;
	struct emit *e = &t->e;

	e_op(e, size, 0x8b, H_R14, opd_reg(H_RAX), 0);
	e_op(e, size, 0xc1, 7, opd_reg(H_R14), 1); /* sar */
	e_u8(e, size * 8 - 1);
	e_op(e, size, 0x3b, H_R14, opd_reg(H_RDX), 0);
	to_interpreter(t, index, CC_NE);
	e_lea(e, 8, H_R14, H_R11, H_RSP, 0, 1);
	e_op(e, size, 0x83, 7, opd_reg(H_R14),
	     1); /* cmp with 1: unsigned, 0 and -1 are at most that */
	e_u8(e, 1);
	to_interpreter(t, index, 6); /* be */
}

static void divide(struct translation *t, unsigned index)
{
	const struct item *it = &t->items[index];
	const struct sx_insn *i = &it->i;
	struct emit *e = &t->e;

	/* A copy, since memory may change between the look and the division. */
	if (i->flags & SX_IF_MEM) {
		struct access a = sx_native_access(t, it, i->size, false);

		e_op(e, i->size, 0x8b, H_R11, sx_native_memory(t, index, &a, true), 0);
	} else if (host_of(i->rm) == IN_MEMORY) {
		e_load(e, H_R11, opd_gpr(t->c, i->rm));
	} else {
		e_op(e, 8, 0x8b, H_R11, opd_reg(host_of(i->rm)), 0);
	}
	if (sx_insn_op(i) == SX_IDIV) {
		check_signed(t, index);
	} else {
		e_op(e, i->size, 0x3b, H_RDX, opd_reg(H_R11), 0);
		to_interpreter(t, index, CC_AE);
	}
	e_op(e, i->size, 0xf7, sx_insn_form(i)->ext, opd_reg(H_R11), 0);
}

/* --- the others --- */

/* The bit's number is signed and reaches over all of memory: BT's operand is the word with that bit. */
static void bit_string(struct translation *t, unsigned index)
{
	const struct item *it = &t->items[index];
	const struct sx_insn *i = &it->i;
	unsigned shift = i->size == 8 ? 6 : i->size == 4 ? 5 : 4, reg;
	struct access a = sx_native_access(t, it, i->size, sx_insn_op(i) != SX_BT);
	struct emit *e = &t->e;

	sx_native_offset(t, it, H_R10, 8);
	reg = guest_in(t, i->reg, H_R11);
	if (i->size == 8)
		e_op(e, 8, 0x8b, H_R11, opd_reg(reg), 0);
	else /* movsxd, movsx */
		e_op(e, 8, i->size == 4 ? 0x63 : E_0F | 0xbf, H_R11, opd_reg(reg), 0);
	e_op(e, 8, 0xc1, 7, opd_reg(H_R11), 1);
	e_u8(e, shift);
	e_lea(e, a.width == 8 ? 8 : 4, H_R10, H_R10, H_R11, shift - 3, 0);
	sx_native_linear(t, index, &a, true);
	sx_native_check(t, index, i->size, a.is_write, true);

	e_op(e, 4, 0x8b, H_R14,
	     host_of(i->reg) == IN_MEMORY ? opd_gpr(t->c, i->reg) : opd_reg(host_of(i->reg)), 0);
	e_op(e, 4, 0x83, 4, opd_reg(H_R14), 1);
	e_u8(e, i->size * 8 - 1);
	load_flags(t, index);
	e_op(e, i->size, sx_native_opcode(i), H_R14, opd_base(H_R10, 0), 0);
}

static void compare_wide(struct translation *t, unsigned index)
{
	const struct item *it = &t->items[index];
	unsigned size = sx_insn_op(&it->i) == SX_CMPXCHG16B ? 16 : 8;
	struct access a = sx_native_access(t, it, size, true);
	struct emit *e = &t->e;

	sx_native_address(t, index, &a);
	if (size == 16) {
		e_op(e, 1, 0xf6, 0, opd_reg(H_R10), 1);
		e_u8(e, 15);
		to_interpreter(t, index, CC_NE);
	}
	sx_native_check(t, index, size, true, true);
	load_flags(t, index);
	e_op(e, size / 2, E_LOCK | E_0F | 0xc7, 1, opd_base(H_R10, 0), 0);
}

static void move_from_segment(struct translation *t, unsigned index)
{
	const struct item *it = &t->items[index];
	const struct sx_insn *i = &it->i;
	bool is_mem = i->flags & SX_IF_MEM;
	struct opd to;
	struct emit *e = &t->e;

	if (is_mem) {
		struct access a = sx_native_access(t, it, 2, true);

		to = sx_native_memory(t, index, &a, true);
	} else {
		to = host_of(i->rm) == IN_MEMORY ? opd_gpr(t->c, i->rm) : opd_reg(host_of(i->rm));
	}
	e_op(e, 4, E_0F | 0xb7, H_R11, opd_near(&t->c->seg[i->reg].selector), 0);
	e_op(e, is_mem || i->size == 2 ? 2 : 8, 0x89, H_R11, to, 0);
}

void sx_native_odd(struct translation *t, unsigned index)
{
	switch ((int)sx_insn_op(&t->items[index].i)) {
	case SX_DIV:
	case SX_IDIV:
		divide(t, index);
		return;
	case SX_CMPXCHG8B:
	case SX_CMPXCHG16B:
		compare_wide(t, index);
		return;
	case SX_MOV_RM_SEG:
		move_from_segment(t, index);
		return;
	}
	bit_string(t, index);
}

/*
 * What an instruction does with its operands: which general registers it changes, which memory it touches.
 */
#include "accel/soft/bind.h"
#include "accel/soft/block.h"
#include "accel/soft/native_priv.h"

/* --- operands of integer instructions --- */

unsigned sx_native_writes(const struct sx_insn *i)
{
	switch ((int)sx_insn_op(i)) {
	case SX_CMP:
	case SX_TEST:
	case SX_BT:
	case SX_MUL:
	case SX_IMUL1:
		return 0;
	case SX_XCHG:
	case SX_XADD:
		return NATIVE_WRITES_RM | NATIVE_WRITES_REG;
	}
	return sx_insn_form(i)->shape == SX_SHAPE_REG_RM ||
			       sx_insn_form(i)->shape == SX_SHAPE_REG_RM_IMM
		       ? NATIVE_WRITES_REG
		       : NATIVE_WRITES_RM;
}

unsigned sx_native_rm_bytes(const struct sx_insn *i)
{
	switch ((int)sx_insn_op(i)) {
	case SX_MOVZX8:
	case SX_MOVSX8:
	case SX_SETCC:
		return 1;
	case SX_MOVZX16:
	case SX_MOVSX16:
		return 2;
	case SX_MOVSXD:
		return i->size == 2 ? 2 : 4;
	}
	return i->size;
}

/* --- registers --- */

#define ALL_GPRS ((u16)0xffff)

static u16 bit_of(unsigned reg)
{
	return (u16)BIT32(reg >= SX_REG_HIGH ? reg - SX_REG_HIGH : reg & 15);
}

static u16 rm_bit(const struct sx_insn *i)
{
	return i->flags & SX_IF_MEM ? 0 : bit_of(i->rm);
}

/* All general registers among the operands. */
static u16 named_by_row(const struct sx_insn *i)
{
	const struct sx_form *f = sx_insn_form(i);
	u16 bits = 0;

	for (size_t k = 0; k < ARRAY_SIZE(f->opd); k++) {
		switch ((int)f->opd[k].kind) {
		case SX_OPD_G:
			bits |= bit_of(i->reg);
			break;
		case SX_OPD_B:
			bits |= bit_of(i->cc);
			break;
		case SX_OPD_E:
		case SX_OPD_EX:
		case SX_OPD_R:
			bits |= rm_bit(i);
			break;
		}
	}
	return bits;
}

static u16 changed_by_integer(const struct sx_insn *i)
{
	unsigned writes = sx_native_writes(i);
	u16 bits = writes & NATIVE_WRITES_RM ? rm_bit(i) : 0;

	if (writes & NATIVE_WRITES_REG)
		bits |= bit_of(i->reg);
	return bits;
}

/* In RCX, which the row doesn't name. */
static bool finds_index(const struct sx_insn *i)
{
	return sx_insn_op(i) == SX_PCMPESTRI || sx_insn_op(i) == SX_PCMPISTRI;
}

static u16 changed_by_odd(const struct sx_insn *i)
{
	return BIT32(X86_RAX) | BIT32(X86_RDX) | rm_bit(i);
}

u16 sx_native_changes(const struct item *it, u32 mode)
{
	const struct sx_insn *i = &it->i;

	if (!it->is_native || sx_native_is_string(i, mode) || sx_native_is_system(i) ||
	    sx_native_is_segment(i))
		return ALL_GPRS;
	if (sx_native_is_vex(i) || sx_native_is_simd(i))
		return named_by_row(i) | (finds_index(i) ? BIT32(X86_RCX) : 0);
	if (sx_native_is_x87(i))
		return BIT32(X86_RAX); /* FNSTSW */
	if (sx_native_is_odd(i))
		return changed_by_odd(i);
	switch ((int)sx_insn_op(i)) {
	case SX_NOP:
	case SX_PREFETCH:
	case SX_LFENCE:
	case SX_MFENCE:
	case SX_SFENCE:
	case SX_CLC:
	case SX_STC:
	case SX_CMC:
	case SX_JCC:
	case SX_JMP:
		return 0;
	case SX_PUSH:
	case SX_PUSH_IMM:
		return BIT32(X86_RSP);
	case SX_POP:
		return BIT32(X86_RSP) | rm_bit(i);
	case SX_LEAVE:
		return BIT32(X86_RSP) | BIT32(X86_RBP);
	case SX_MUL:
	case SX_IMUL1:
	case SX_CBW:
	case SX_CWD:
		return BIT32(X86_RAX) | BIT32(X86_RDX);
	case SX_CMPXCHG:
		return BIT32(X86_RAX) | rm_bit(i);
	case SX_BSWAP:
		return rm_bit(i);
	}
	return changed_by_integer(i);
}

/* Divisions, alignment, a control word that unmasks. */
bool sx_native_may_call_out(const struct item *it, u32 mode)
{
	const struct sx_insn *i = &it->i;

	return !it->is_native || sx_native_is_string(i, mode) || sx_native_is_system(i) ||
	       sx_native_is_segment(i) || sx_native_is_odd(i) || sx_insn_op(i) == SX_FLDCW ||
	       (i->flags & SX_IF_MEM && sx_native_wants_alignment(i));
}

/* Adds a constant to all of a register, and does nothing else to registers. */
bool sx_native_adds(const struct sx_insn *i, unsigned *reg, i64 *by)
{
	enum sx_op op = sx_insn_op(i);
	bool is_mem = i->flags & SX_IF_MEM;

	if (op == SX_PUSH || op == SX_PUSH_IMM || (op == SX_POP && is_mem)) {
		*reg = X86_RSP;
		*by = op == SX_POP ? i->size : -(i64)i->size;
		return true;
	}
	if (i->size != 8)
		return false;
	if (op == SX_LEA) {
		*reg = i->reg;
		*by = i->disp;
		return i->base == i->reg && i->index == SX_REG_ZERO && sx_insn_addrsize(i) == 8 &&
		       !(i->flags & SX_IF_RIP);
	}
	if (is_mem)
		return false;
	*reg = i->rm;
	switch ((int)op) {
	case SX_ADD:
		*by = (i64)i->imm;
		return sx_insn_form(i)->shape == SX_SHAPE_RM_IMM;
	case SX_SUB:
		*by = -(i64)i->imm;
		return sx_insn_form(i)->shape == SX_SHAPE_RM_IMM;
	case SX_INC:
		*by = 1;
		return true;
	case SX_DEC:
		*by = -1;
		return true;
	}
	return false;
}

/* --- memory --- */

static bool is_explicit(const struct item *it, u32 mode)
{
	const struct sx_insn *i = &it->i;

	if (!(i->flags & SX_IF_MEM) || i->flags & SX_IF_VSIB || sx_native_is_string(i, mode) ||
	    sx_native_is_system(i))
		return false;
	switch ((int)sx_insn_op(i)) {
	case SX_NOP:
	case SX_PREFETCH:
	case SX_LEA:
	case SX_POP: /* by the stack pointer that it leaves */
		return false;
	case SX_DIV:
	case SX_IDIV:
	case SX_MOV_RM_SEG:
		return true;
	}
	return !sx_native_is_odd(i);
}

static struct access explicit_access(const struct translation *t, const struct item *it)
{
	const struct sx_insn *i = &it->i;

	if (sx_native_is_vex(i))
		return sx_native_access(t, it, i->size, sx_native_vex_writes_rm(i));
	if (sx_native_is_x87(i))
		return sx_native_access(t, it, i->size, sx_native_x87_is_store(i));
	if (sx_native_is_simd(i))
		return sx_native_access(t, it, i->size, sx_native_simd_writes_rm(i));
	switch ((int)sx_insn_op(i)) {
	case SX_DIV:
	case SX_IDIV:
	case SX_PUSH:
	case SX_CALL_RM:
	case SX_JMP_RM:
		return sx_native_access(t, it, i->size, false);
	case SX_MOV_RM_SEG:
		return sx_native_access(t, it, 2, true);
	}
	return sx_native_access(t, it, sx_native_rm_bytes(i),
				sx_native_writes(i) & NATIVE_WRITES_RM);
}

static bool stack_access(const struct translation *t, const struct item *it, struct access *out)
{
	unsigned size = it->i.size;

	switch ((int)sx_insn_op(&it->i)) {
	case SX_PUSH:
	case SX_PUSH_IMM:
	case SX_CALL:
	case SX_CALL_RM:
		*out = sx_native_stack_access(t, X86_RSP, -(i32)size, size, true);
		return true;
	case SX_POP:
	case SX_RET:
		*out = sx_native_stack_access(t, X86_RSP, 0, size, false);
		return true;
	case SX_LEAVE:
		*out = sx_native_stack_access(t, X86_RBP, 0, size, false);
		return true;
	}
	return false;
}

unsigned sx_native_accesses(const struct translation *t, const struct item *it,
			    struct access out[2])
{
	unsigned n = 0;

	if (!it->is_native)
		return 0;
	if (is_explicit(it, t->b->mode))
		out[n++] = explicit_access(t, it);
	if (stack_access(t, it, &out[n]))
		n++;
	return n;
}

/*
 * Which instructions the translator does itself, and what flags each reads and writes.
 *
 * Flags that an instruction leaves undefined are what the interpreter makes of them, which must not depend on what
 * the host's flags were: they may be nothing that the guest's were. Where the host's instruction may leave some of
 * them alone, it is a merge.
 */
#include "accel/soft/bind.h"
#include "accel/soft/native_priv.h"

bool sx_native_is_high_byte(const struct sx_insn *i)
{
	enum sx_op op = sx_insn_op(i);
	bool has_byte_rm = op == SX_MOVZX8 || op == SX_MOVSX8 || op == SX_SETCC;

	if (!(i->flags & SX_IF_MEM) && (i->size == 1 || has_byte_rm) && i->rm >= SX_REG_HIGH)
		return true;
	return i->size == 1 && !has_byte_rm && i->reg >= SX_REG_HIGH;
}

static bool is_bare(unsigned reg)
{
	return reg < 4 || reg >= SX_REG_HIGH;
}

/*
 * AH to BH are to be had on the host where no REX prefix is: the other operand is one of these, AL to BL, an
 * immediate, CL, or what MOVZX widens to.
 */
static bool can_do_high_byte(const struct sx_insn *i)
{
	enum sx_op op = sx_insn_op(i);
	enum sx_shape shape = sx_insn_form(i)->shape;

	if (i->flags & SX_IF_MEM || !is_bare(i->rm))
		return false;
	if (op == SX_MOVZX8 || op == SX_MOVSX8)
		return i->size < 8 && i->reg < 8 && i->reg != X86_RSP;
	if (op == SX_SETCC || shape == SX_SHAPE_RM_IMM || shape == SX_SHAPE_RM)
		return true;
	return (shape == SX_SHAPE_REG_RM || shape == SX_SHAPE_RM_REG) && is_bare(i->reg) &&
	       op != SX_XCHG && op != SX_XADD && op != SX_CMPXCHG;
}

/* The operand's size where the stack is concerned; POP SP of another width than the stack's is two moves. */
static bool is_stack_size(const struct sx_insn *i, u32 mode)
{
	bool is_sp = !(i->flags & SX_IF_MEM) && i->rm == X86_RSP;

	if (mode & SX_MODE_64)
		return i->size == 8;
	return !is_sp || sx_insn_op(i) != SX_POP || i->size >= sx_native_stack_size(mode);
}

void sx_native_classify(struct item *it, u32 mode)
{
	const struct sx_insn *i = &it->i;
	bool is_mem = i->flags & SX_IF_MEM;

	it->flags = FLAGS_READ | FLAGS_MERGE; /* whatever the interpreter does */
	it->is_native = false;
	if (sx_native_is_high_byte(i) && !can_do_high_byte(i))
		return;
	it->is_native = true;
	if (sx_native_is_vex(i)) {
		it->flags = sx_native_vex_flags(i);
		return;
	}
	if (sx_native_is_x87(i)) {
		it->flags = sx_native_x87_flags(i);
		return;
	}
	if (sx_native_is_simd(i)) {
		it->flags = sx_simd_traits(i).writes_flags ? FLAGS_WRITE : 0;
		return;
	}
	if (sx_native_is_odd(i)) {
		it->flags = sx_native_odd_flags(i);
		return;
	}
	if (sx_native_is_segment(i)) {
		it->flags = 0;
		return;
	}
	if (sx_native_is_string(i, mode)) {
		/* A comparison of no elements leaves them alone. */
		it->flags = sx_insn_op(i) == SX_CMPS || sx_insn_op(i) == SX_SCAS ? FLAGS_MERGE : 0;
		return;
	}
	switch ((int)sx_insn_op(i)) {
	case SX_MOV:
	case SX_LEA:
	case SX_MOVZX8:
	case SX_MOVZX16:
	case SX_MOVSX8:
	case SX_MOVSX16:
	case SX_MOVSXD:
	case SX_NOT:
	case SX_MOVBE:
	case SX_CRC32:
	case SX_MOVNTI:
	case SX_NOP:
	case SX_PREFETCH:
	case SX_CBW:
	case SX_CWD:
	case SX_LFENCE:
	case SX_MFENCE:
	case SX_SFENCE:
		it->flags = 0;
		return;
	case SX_BSWAP: /* of 16 bits it is undefined, and as the interpreter has it */
		it->flags = 0;
		it->is_native = i->size != 2;
		return;
	case SX_XCHG: /* with itself, both ends may be in the same memory */
		it->flags = 0;
		it->is_native = is_mem || i->rm != i->reg;
		return;
	case SX_PUSH:
	case SX_POP:
		it->flags = 0;
		it->is_native = is_stack_size(i, mode);
		if (is_mem && i->disp > INT32_MAX - 8)
			it->is_native = false; /* POP's address may be 8 bytes further */
		return;
	case SX_PUSH_IMM:
	case SX_LEAVE:
		it->flags = 0;
		it->is_native = is_stack_size(i, mode);
		return;
	case SX_ADD:
	case SX_OR:
	case SX_AND:
	case SX_SUB:
	case SX_XOR:
	case SX_CMP:
	case SX_TEST:
	case SX_NEG:
	case SX_MUL:
	case SX_IMUL1:
	case SX_IMUL:
	case SX_IMUL3:
	case SX_POPCNT:
		it->flags = FLAGS_WRITE;
		return;
	case SX_XADD:
		it->flags = FLAGS_WRITE;
		it->is_native = is_mem || i->rm != i->reg;
		return;
	case SX_CMPXCHG:
		it->flags = FLAGS_WRITE;
		it->is_native = is_mem;
		return;
	case SX_ADC:
	case SX_SBB:
		it->flags = FLAGS_READ | FLAGS_WRITE;
		return;
	case SX_BSF: /* some flags are undefined, and may be what they were */
	case SX_BSR:
	case SX_TZCNT:
	case SX_LZCNT:
	case SX_INC:
	case SX_DEC:
	case SX_ROL:
	case SX_ROR:
	case SX_SHL:
	case SX_SHR:
	case SX_SAR:
	case SX_SHLD:
	case SX_SHRD:
	case SX_CLC:
	case SX_STC:
		it->flags = FLAGS_MERGE;
		return;
	case SX_ADCX:
	case SX_ADOX:
	case SX_CMC:
	case SX_RCL:
	case SX_RCR:
		it->flags = FLAGS_READ | FLAGS_MERGE;
		return;
	case SX_BT:
	case SX_BTS:
	case SX_BTR:
	case SX_BTC: /* in memory a register's bit number reaches beyond the operand */
		it->flags = FLAGS_MERGE;
		it->is_native = !is_mem || sx_insn_form(i)->shape == SX_SHAPE_RM_IMM;
		return;
	case SX_SETCC:
	case SX_CMOVCC:
		it->flags = FLAGS_READ;
		return;
	case SX_JCC:
		it->flags = FLAGS_READ;
		it->is_native = sx_native_is_near(mode, i->size);
		return;
	case SX_LOOPE:
	case SX_LOOPNE:
		it->flags = FLAGS_READ;
		it->is_native = sx_native_is_near(mode, i->size);
		return;
	case SX_LOOP:
	case SX_JCXZ:
	case SX_JMP:
	case SX_CALL:
	case SX_RET:
	case SX_JMP_RM:
	case SX_CALL_RM:
		it->flags = 0;
		it->is_native = sx_native_is_near(mode, i->size);
		return;
	}
	it->flags = FLAGS_READ | FLAGS_MERGE;
	it->is_native = false;
}

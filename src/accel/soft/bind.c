/*
 * Binding decoded instructions to handlers.
 */
#include "accel/soft/bind.h"

#include "accel/soft/exec.h"

/* Instructions whose rm alone is a byte, whatever their size says. */
static bool has_byte_rm(const struct sx_insn *i, enum sx_op op)
{
	return op == SX_MOVZX8 || op == SX_MOVSX8 || op == SX_SETCC ||
	       (op == SX_CRC32 && i->size == 1);
}

/* Byte registers become byte offsets into gpr[]: AH to BH are the second bytes of their registers. */
static u8 byte_offset(u8 reg)
{
	return reg >= SX_REG_HIGH ? (u8)((reg - SX_REG_HIGH) * 8 + 1) : (u8)(reg * 8);
}

static void fix_byte_registers(struct sx_insn *i, enum sx_op op)
{
	bool is_mem = i->flags & SX_IF_MEM;

	if (has_byte_rm(i, op)) {
		if (!is_mem)
			i->rm = byte_offset(i->rm);
	} else if (i->size == 1) {
		if (!is_mem)
			i->rm = byte_offset(i->rm);
		i->reg = byte_offset(i->reg);
	}
}

static bool fits_i32(i64 v)
{
	return v == (i32)v;
}

/* Makes the address what sx_ea wants: relative to the block's start, the segment's base by number. */
static bool fix_address(struct sx_insn *i, u32 mode, unsigned off)
{
	if (i->flags & SX_IF_RIP) {
		i64 disp = (i64)i->disp + off + i->len;

		if (!fits_i32(disp))
			return false;
		i->disp = (i32)disp;
	}
	if (!(mode & SX_MODE_64) || (i->flags & (SX_IF_ADDR16 | SX_IF_ADDR32)))
		i->flags |= SX_IF_SEGMENTED;
	if ((mode & SX_MODE_64) && i->seg != X86_FS && i->seg != X86_GS)
		i->seg = SX_SEG_NONE;
	return true;
}

bool sx_bind(const struct sx_block *b, struct sx_insn *i, unsigned off)
{
	enum sx_op op = sx_insn_op(i);

	if (!fix_address(i, b->mode, off))
		return false;
	if (i->flags & SX_IF_VEX) {
		i->fn = sx_vex_bind(i);
		return true;
	}
	if (op >= SX_FXSAVE) { /* the last of the system ones, then x87 and SIMD */
		i->fn = sx_bind_fpu(i, off);
		return true;
	}
	fix_byte_registers(i, op);
	i->fn = sx_bind_alu(i);
	if (!i->fn)
		i->fn = sx_bind_mov(i);
	if (!i->fn)
		i->fn = sx_bind_flow(b, i, off);
	if (!i->fn)
		i->fn = sx_bind_stack(i, b->mode);
	if (!i->fn)
		i->fn = sx_bind_shift(i);
	if (!i->fn)
		i->fn = sx_bind_bit(i);
	if (!i->fn)
		i->fn = sx_bind_muldiv(i);
	if (!i->fn)
		i->fn = sx_bind_string(i);
	if (!i->fn)
		i->fn = sx_bind_wide(i);
	if (!i->fn)
		i->fn = sx_bind_misc(i);
	if (!i->fn)
		i->fn = sx_bind_segment(i);
	if (!i->fn)
		i->fn = sx_bind_system(i);
	if (!i->fn)
		i->fn = sx_bind_control(i);
	if (!i->fn)
		i->fn = sx_bind_far(i);
	if (!i->fn)
		i->fn = sx_bind_io(i);
	return true;
}

/*
 * Shifts and rotates, SHLD and SHRD, by the host's own instructions: all flags go in and come out,
 * so that a count of zero changes none, and undefined ones are as on a real CPU.
 */
#include "accel/soft/bind.h"
#include "accel/soft/exec.h"

#define SHIFT_ASM(op, sfx, d, n, f)                                                                \
	asm(SX_ASM_LOAD_FLAGS "\n\t" op #sfx " %%cl, %[dest]\n\t" SX_ASM_SAVE_FLAGS                \
	    : [dest] "+q"(d), "+&a"(f)                                                             \
	    : "c"(n)                                                                               \
	    : "cc")

/* On a register by an immediate: the most frequent ones; then everything else of that width. */
#define SHIFT(sfx, type, size, name, op)                                                           \
	static void name##_ri_##sfx(struct sx_cpu *c, const struct sx_insn *i)                     \
	{                                                                                          \
		type d = (type)sx_reg_get(c, i->rm, size);                                         \
		u32 f = c->cc;                                                                     \
                                                                                                   \
		SHIFT_ASM(op, sfx, d, (u8)i->imm, f);                                              \
		sx_reg_set(c, i->rm, d, size);                                                     \
		c->cc = (u16)f;                                                                    \
		SX_NEXT(c, i);                                                                     \
	}                                                                                          \
	static void name##_rc_##sfx(struct sx_cpu *c, const struct sx_insn *i)                     \
	{                                                                                          \
		type d = (type)sx_reg_get(c, i->rm, size);                                         \
		u32 f = c->cc;                                                                     \
                                                                                                   \
		SHIFT_ASM(op, sfx, d, (u8)c->gpr[X86_RCX], f);                                     \
		sx_reg_set(c, i->rm, d, size);                                                     \
		c->cc = (u16)f;                                                                    \
		SX_NEXT(c, i);                                                                     \
	}                                                                                          \
	static void name##_m_##sfx(struct sx_cpu *c, const struct sx_insn *i, u8 n)                \
	{                                                                                          \
		u64 lin = sx_ea(c, i, size, true);                                                 \
		type d;                                                                            \
		u32 f = c->cc;                                                                     \
                                                                                                   \
		sx_probe_write(c, i, lin, size);                                                   \
		d = (type)sx_load(c, i, lin, size);                                                \
		SHIFT_ASM(op, sfx, d, n, f);                                                       \
		sx_store(c, i, lin, d, size);                                                      \
		c->cc = (u16)f;                                                                    \
	}                                                                                          \
	static void name##_mi_##sfx(struct sx_cpu *c, const struct sx_insn *i)                     \
	{                                                                                          \
		name##_m_##sfx(c, i, (u8)i->imm);                                                  \
		SX_NEXT(c, i);                                                                     \
	}                                                                                          \
	static void name##_mc_##sfx(struct sx_cpu *c, const struct sx_insn *i)                     \
	{                                                                                          \
		name##_m_##sfx(c, i, (u8)c->gpr[X86_RCX]);                                         \
		SX_NEXT(c, i);                                                                     \
	}

#define SHIFTS(name, op)                                                                           \
	SHIFT(b, u8, 1, name, op)                                                                  \
	SHIFT(w, u16, 2, name, op)                                                                 \
	SHIFT(l, u32, 4, name, op)                                                                 \
	SHIFT(q, u64, 8, name, op)

SHIFTS(rol, "rol")
SHIFTS(ror, "ror")
SHIFTS(rcl, "rcl")
SHIFTS(rcr, "rcr")
SHIFTS(shl, "shl")
SHIFTS(shr, "shr")
SHIFTS(sar, "sar")

#define DOUBLE_ASM(op, sfx, d, s, n, f)                                                            \
	asm(SX_ASM_LOAD_FLAGS "\n\t" op #sfx " %%cl, %[src], %[dest]\n\t" SX_ASM_SAVE_FLAGS        \
	    : [dest] "+r"(d), "+&a"(f)                                                             \
	    : [src] "r"(s), "c"(n)                                                                 \
	    : "cc")

#define DOUBLE(sfx, type, size, name, op)                                                          \
	static void name##_##sfx(struct sx_cpu *c, const struct sx_insn *i, u8 n)                  \
	{                                                                                          \
		bool is_mem = i->flags & SX_IF_MEM;                                                \
		u64 lin = is_mem ? sx_ea(c, i, size, true) : 0;                                    \
		type d, s = (type)sx_reg_get(c, i->reg, size);                                     \
		u32 f = c->cc;                                                                     \
                                                                                                   \
		if (is_mem)                                                                        \
			sx_probe_write(c, i, lin, size);                                           \
		d = (type)(is_mem ? sx_load(c, i, lin, size) : sx_reg_get(c, i->rm, size));        \
		DOUBLE_ASM(op, sfx, d, s, n, f);                                                   \
		if (is_mem)                                                                        \
			sx_store(c, i, lin, d, size);                                              \
		else                                                                               \
			sx_reg_set(c, i->rm, d, size);                                             \
		c->cc = (u16)f;                                                                    \
	}                                                                                          \
	static void name##_i_##sfx(struct sx_cpu *c, const struct sx_insn *i)                      \
	{                                                                                          \
		name##_##sfx(c, i, (u8)i->imm);                                                    \
		SX_NEXT(c, i);                                                                     \
	}                                                                                          \
	static void name##_c_##sfx(struct sx_cpu *c, const struct sx_insn *i)                      \
	{                                                                                          \
		name##_##sfx(c, i, (u8)c->gpr[X86_RCX]);                                           \
		SX_NEXT(c, i);                                                                     \
	}

#define DOUBLES(name, op)                                                                          \
	DOUBLE(w, u16, 2, name, op)                                                                \
	DOUBLE(l, u32, 4, name, op)                                                                \
	DOUBLE(q, u64, 8, name, op)

DOUBLES(shld, "shld")
DOUBLES(shrd, "shrd")

struct shift_row {
	sx_insn_fn *ri[4], *rc[4], *mi[4], *mc[4];
};
#define ROW(name)                                                                                  \
	{                                                                                          \
		SX_FOUR(name##_ri), SX_FOUR(name##_rc), SX_FOUR(name##_mi), SX_FOUR(name##_mc)     \
	}

sx_insn_fn *sx_bind_shift(struct sx_insn *i)
{
	static const struct shift_row rows[] = {ROW(rol), ROW(ror), ROW(rcl), ROW(rcr),
						ROW(shl), ROW(shr), ROW(sar)};
	static sx_insn_fn *const doubles[2][2][4] = {
		{SX_THREE(shld_i), SX_THREE(shld_c)},
		{SX_THREE(shrd_i), SX_THREE(shrd_c)},
	};
	enum sx_op op = sx_insn_op(i);
	unsigned k = sx_size_log2(i->size);
	unsigned shape = sx_insn_form(i)->shape;
	bool is_mem = i->flags & SX_IF_MEM;

	if (op == SX_SHLD || op == SX_SHRD)
		return doubles[op == SX_SHRD][shape == SX_SHAPE_RM_REG_CL][k];
	if (op < SX_ROL || op > SX_SAR)
		return NULL;
	const struct shift_row *row = &rows[op - SX_ROL];
	if (shape == SX_SHAPE_RM_CL)
		return is_mem ? row->mc[k] : row->rc[k];
	return is_mem ? row->mi[k] : row->ri[k];
}

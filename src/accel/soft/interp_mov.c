/*
 * Moves: MOV, MOVZX, MOVSX, LEA, CMOVcc, SETcc, BSWAP, MOVBE, MOVNTI, sign extensions, XLAT.
 *
 * MOV and its kin are the most frequent instructions: a handler for each width and operand kind.
 * Those with a plain address (exec.h) decide the interpreter's speed: rp, pr, pi are rm, mr, mi for
 * them.
 */
#include "accel/soft/bind.h"
#include "accel/soft/exec.h"

#define MOV_SIZES(X, ...)                                                                          \
	X(b, 1, __VA_ARGS__)                                                                       \
	X(w, 2, __VA_ARGS__)                                                                       \
	X(l, 4, __VA_ARGS__)                                                                       \
	X(q, 8, __VA_ARGS__)

#define MOV(sfx, size, unused_)                                                                    \
	static void mov_rr_##sfx(struct sx_cpu *c, const struct sx_insn *i)                        \
	{                                                                                          \
		sx_reg_set(c, i->rm, sx_reg_get(c, i->reg, size), size);                           \
		SX_NEXT(c, i);                                                                     \
	}                                                                                          \
	static void mov_ri_##sfx(struct sx_cpu *c, const struct sx_insn *i)                        \
	{                                                                                          \
		sx_reg_set(c, i->rm, i->imm, size);                                                \
		SX_NEXT(c, i);                                                                     \
	}                                                                                          \
	static void mov_rm_##sfx(struct sx_cpu *c, const struct sx_insn *i)                        \
	{                                                                                          \
		sx_reg_set(c, i->reg, sx_load(c, i, sx_ea(c, i, size, false), size), size);        \
		SX_NEXT(c, i);                                                                     \
	}                                                                                          \
	static void mov_mr_##sfx(struct sx_cpu *c, const struct sx_insn *i)                        \
	{                                                                                          \
		sx_store(c, i, sx_ea(c, i, size, true), sx_reg_get(c, i->reg, size), size);        \
		SX_NEXT(c, i);                                                                     \
	}                                                                                          \
	static void mov_mi_##sfx(struct sx_cpu *c, const struct sx_insn *i)                        \
	{                                                                                          \
		sx_store(c, i, sx_ea(c, i, size, true), i->imm, size);                             \
		SX_NEXT(c, i);                                                                     \
	}                                                                                          \
	static void mov_rp_##sfx(struct sx_cpu *c, const struct sx_insn *i)                        \
	{                                                                                          \
		u64 v = SX_TRY_LOAD(c, i, sx_ea_plain(c, i), size, mov_rm_##sfx);                  \
                                                                                                   \
		sx_reg_set(c, i->reg, v, size);                                                    \
		SX_NEXT(c, i);                                                                     \
	}                                                                                          \
	static void mov_pr_##sfx(struct sx_cpu *c, const struct sx_insn *i)                        \
	{                                                                                          \
		u64 v = sx_reg_get(c, i->reg, size);                                               \
                                                                                                   \
		SX_TRY_STORE(c, i, sx_ea_plain(c, i), v, size, mov_mr_##sfx);                      \
		SX_NEXT(c, i);                                                                     \
	}                                                                                          \
	static void mov_pi_##sfx(struct sx_cpu *c, const struct sx_insn *i)                        \
	{                                                                                          \
		SX_TRY_STORE(c, i, sx_ea_plain(c, i), i->imm, size, mov_mi_##sfx);                 \
		SX_NEXT(c, i);                                                                     \
	}                                                                                          \
	static void movabs_load_##sfx(struct sx_cpu *c, const struct sx_insn *i)                   \
	{                                                                                          \
		u64 lin = i->imm + c->seg_base[i->seg];                                            \
                                                                                                   \
		sx_reg_set(c, X86_RAX, sx_load(c, i, lin, size), size);                            \
		SX_NEXT(c, i);                                                                     \
	}                                                                                          \
	static void movabs_store_##sfx(struct sx_cpu *c, const struct sx_insn *i)                  \
	{                                                                                          \
		u64 lin = i->imm + c->seg_base[i->seg];                                            \
                                                                                                   \
		sx_store(c, i, lin, sx_reg_get(c, X86_RAX, size), size);                           \
		SX_NEXT(c, i);                                                                     \
	}

MOV_SIZES(MOV, )

/* What has no byte form. */
#define MOV_WIDE(sfx, size)                                                                        \
	static void lea_##sfx(struct sx_cpu *c, const struct sx_insn *i)                           \
	{                                                                                          \
		sx_reg_set(c, i->reg, sx_offset(c, i), size);                                      \
		SX_NEXT(c, i);                                                                     \
	}                                                                                          \
	static void cmov_r_##sfx(struct sx_cpu *c, const struct sx_insn *i)                        \
	{                                                                                          \
		u64 v = sx_reg_get(c, i->rm, size), old = sx_reg_get(c, i->reg, size);             \
                                                                                                   \
		sx_reg_set(c, i->reg, sx_condition_is(c->cc, i->cc) ? v : old, size);              \
		SX_NEXT(c, i);                                                                     \
	}                                                                                          \
	static void cmov_m_##sfx(struct sx_cpu *c, const struct sx_insn *i)                        \
	{                                                                                          \
		u64 v = sx_load(c, i, sx_ea(c, i, size, false), size);                             \
		u64 old = sx_reg_get(c, i->reg, size);                                             \
                                                                                                   \
		sx_reg_set(c, i->reg, sx_condition_is(c->cc, i->cc) ? v : old, size);              \
		SX_NEXT(c, i);                                                                     \
	}

MOV_WIDE(w, 2)
MOV_WIDE(l, 4)
MOV_WIDE(q, 8)

/* A narrower source, zero- or sign-extended to the three wider sizes. */
#define EXTEND(sfx, size, name, from, convert)                                                     \
	static void name##_r_##sfx(struct sx_cpu *c, const struct sx_insn *i)                      \
	{                                                                                          \
		sx_reg_set(c, i->reg, convert(sx_reg_get(c, i->rm, from), from), size);            \
		SX_NEXT(c, i);                                                                     \
	}                                                                                          \
	static void name##_m_##sfx(struct sx_cpu *c, const struct sx_insn *i)                      \
	{                                                                                          \
		u64 v = sx_load(c, i, sx_ea(c, i, from, false), from);                             \
                                                                                                   \
		sx_reg_set(c, i->reg, convert(v, from), size);                                     \
		SX_NEXT(c, i);                                                                     \
	}                                                                                          \
	static void name##_p_##sfx(struct sx_cpu *c, const struct sx_insn *i)                      \
	{                                                                                          \
		u64 v = SX_TRY_LOAD(c, i, sx_ea_plain(c, i), from, name##_m_##sfx);                \
                                                                                                   \
		sx_reg_set(c, i->reg, convert(v, from), size);                                     \
		SX_NEXT(c, i);                                                                     \
	}
#define AS_IT_IS(v, from) (v)
#define EXTENDS(name, from, convert)                                                               \
	EXTEND(w, 2, name, from, convert)                                                          \
	EXTEND(l, 4, name, from, convert)                                                          \
	EXTEND(q, 8, name, from, convert)

EXTENDS(movzx8, 1, AS_IT_IS)
EXTENDS(movzx16, 2, AS_IT_IS)
EXTENDS(movsx8, 1, sx_sign_extend)
EXTENDS(movsx16, 2, sx_sign_extend)
EXTEND(q, 8, movsxd, 4, sx_sign_extend)

/* MOVSXD without REX.W moves, of the operand's size. */
static void movsxd_narrow(struct sx_cpu *c, const struct sx_insn *i)
{
	sx_reg_set(c, i->reg, sx_rm_load(c, i, i->size), i->size);
	SX_NEXT(c, i);
}

static void setcc(struct sx_cpu *c, const struct sx_insn *i)
{
	sx_rm_store(c, i, sx_condition_is(c->cc, i->cc), 1);
	SX_NEXT(c, i);
}

static u64 swap_bytes(u64 v, unsigned size)
{
	switch (size) {
	case 2:
		return __builtin_bswap16((u16)v);
	case 4:
		return __builtin_bswap32((u32)v);
	default:
		return __builtin_bswap64(v);
	}
}

/* With a 16-bit operand the result is undefined; processors clear it. */
static void bswap(struct sx_cpu *c, const struct sx_insn *i)
{
	u64 v = i->size == 2 ? 0 : swap_bytes(c->gpr[i->rm], i->size);

	sx_reg_set(c, i->rm, v, i->size);
	SX_NEXT(c, i);
}

static void movbe_load(struct sx_cpu *c, const struct sx_insn *i)
{
	u64 v = sx_load(c, i, sx_ea(c, i, i->size, false), i->size);

	sx_reg_set(c, i->reg, swap_bytes(v, i->size), i->size);
	SX_NEXT(c, i);
}

static void movbe_store(struct sx_cpu *c, const struct sx_insn *i)
{
	sx_store(c, i, sx_ea(c, i, i->size, true), swap_bytes(c->gpr[i->reg], i->size), i->size);
	SX_NEXT(c, i);
}

/* AL to AX, AX to EAX, EAX to RAX. */
static void cbw(struct sx_cpu *c, const struct sx_insn *i)
{
	sx_reg_set(c, X86_RAX, sx_sign_extend(c->gpr[X86_RAX], i->size / 2), i->size);
	SX_NEXT(c, i);
}

/* rAX's sign to rDX. */
static void cwd(struct sx_cpu *c, const struct sx_insn *i)
{
	u64 v = sx_sign_extend(c->gpr[X86_RAX], i->size);

	sx_reg_set(c, X86_RDX, v >> 63 ? ~(u64)0 : 0, i->size);
	SX_NEXT(c, i);
}

static void xlat(struct sx_cpu *c, const struct sx_insn *i)
{
	u64 off = c->gpr[X86_RBX] + (u8)c->gpr[X86_RAX];

	off &= bytes_mask(sx_insn_addrsize(i));
	sx_reg_set(c, X86_RAX, sx_load(c, i, sx_seg_lin(c, i, i->seg, off, 1, false), 1), 1);
	SX_NEXT(c, i);
}

static sx_insn_fn *bind_extend(const struct sx_insn *i, enum sx_op op, unsigned k)
{
	/* By operation; register, memory, plain; size. */
	static sx_insn_fn *const extend[4][3][4] = {
		{SX_THREE(movzx8_r), SX_THREE(movzx8_m), SX_THREE(movzx8_p)},
		{SX_THREE(movzx16_r), SX_THREE(movzx16_m), SX_THREE(movzx16_p)},
		{SX_THREE(movsx8_r), SX_THREE(movsx8_m), SX_THREE(movsx8_p)},
		{SX_THREE(movsx16_r), SX_THREE(movsx16_m), SX_THREE(movsx16_p)},
	};

	return extend[op - SX_MOVZX8][sx_is_plain(i) ? 2 : sx_insn_is_mem(i) ? 1 : 0][k];
}

static sx_insn_fn *bind_movsxd(const struct sx_insn *i)
{
	if (i->size != 8)
		return movsxd_narrow;
	if (sx_is_plain(i))
		return movsxd_p_q;
	return sx_insn_is_mem(i) ? movsxd_m_q : movsxd_r_q;
}

static sx_insn_fn *bind_plain(struct sx_insn *i, bool is_mem, unsigned k)
{
	static sx_insn_fn *const rr[] = SX_FOUR(mov_rr), *const ri[] = SX_FOUR(mov_ri),
				 *const rm[] = SX_FOUR(mov_rm), *const mr[] = SX_FOUR(mov_mr),
				 *const mi[] = SX_FOUR(mov_mi), *const rp[] = SX_FOUR(mov_rp),
				 *const pr[] = SX_FOUR(mov_pr), *const pi[] = SX_FOUR(mov_pi);
	bool is_plain = sx_is_plain(i);

	switch (sx_insn_form(i)->shape) {
	case SX_SHAPE_RM_IMM:
		return is_plain ? pi[k] : is_mem ? mi[k] : ri[k];
	case SX_SHAPE_RM_REG:
		return is_plain ? pr[k] : is_mem ? mr[k] : rr[k];
	default:
		if (is_mem)
			return is_plain ? rp[k] : rm[k];
		u8 dest = i->reg;
		i->reg = i->rm;
		i->rm = dest;
		return rr[k];
	}
}

sx_insn_fn *sx_bind_mov(struct sx_insn *i)
{
	static sx_insn_fn *const lea[] = SX_THREE(lea), *const cmov_r[] = SX_THREE(cmov_r),
				 *const cmov_m[] = SX_THREE(cmov_m), *const mr[] = SX_FOUR(mov_mr),
				 *const load[] = SX_FOUR(movabs_load),
				 *const store[] = SX_FOUR(movabs_store);
	enum sx_op op = sx_insn_op(i);
	bool is_mem = i->flags & SX_IF_MEM;
	unsigned k = sx_size_log2(i->size);

	switch ((int)op) {
	case SX_MOV:
		return bind_plain(i, is_mem, k);
	case SX_MOVNTI:
		return mr[k];
	case SX_MOVABS_LOAD:
		return load[k];
	case SX_MOVABS_STORE:
		return store[k];
	case SX_LEA:
		return lea[k];
	case SX_MOVZX8:
	case SX_MOVZX16:
	case SX_MOVSX8:
	case SX_MOVSX16:
		return bind_extend(i, op, k);
	case SX_MOVSXD:
		return bind_movsxd(i);
	case SX_CMOVCC:
		return is_mem ? cmov_m[k] : cmov_r[k];
	case SX_SETCC:
		return setcc;
	case SX_BSWAP:
		return bswap;
	case SX_MOVBE:
		return sx_insn_form(i)->shape == SX_SHAPE_REG_RM ? movbe_load : movbe_store;
	case SX_CBW:
		return cbw;
	case SX_CWD:
		return cwd;
	case SX_XLAT:
		return xlat;
	}
	return NULL;
}

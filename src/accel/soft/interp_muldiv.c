/*
 * Multiplication and division.
 *
 * The host multiplies. Flags that are undefined then are clear: hosts leave them as they were, or not, and what
 * they were may be nothing that both engines have. Divisions are checked before: a host's
 * divide error would be a signal. Their flags, all undefined, stay as they were.
 */
#include "accel/soft/bind.h"
#include "accel/soft/exec.h"

/* CF and OF, which are the same; the others are clear. */
static always_inline u16 product_flags(u64 f)
{
	return f & SX_CC_CF ? SX_CC_CF | SX_CC_OF : 0;
}

/* rDX:rAX = rAX * s. */
#define WIDE_ASM(op, sfx, low, high, s, f)                                                         \
	asm(op #sfx " %[src]\n\tmov %%rax, %[lo]\n\t" SX_ASM_SAVE_FLAGS                            \
	    : [lo] "=&r"(low), "=&d"(high), "+&a"(f)                                               \
	    : [src] "r"(s)                                                                         \
	    : "cc")

#define WIDE(sfx, type, size, name, op)                                                            \
	static void name##_##sfx(struct sx_cpu *c, const struct sx_insn *i)                        \
	{                                                                                          \
		type s = (type)sx_rm_load(c, i, size);                                             \
		u64 f = c->gpr[X86_RAX], low, high;                                                \
                                                                                                   \
		WIDE_ASM(op, sfx, low, high, s, f);                                                \
		sx_reg_set(c, X86_RAX, low, size);                                                 \
		sx_reg_set(c, X86_RDX, high, size);                                                \
		c->cc = product_flags(f);                                                          \
		SX_NEXT(c, i);                                                                     \
	}
#define WIDES(name, op)                                                                            \
	WIDE(w, u16, 2, name, op)                                                                  \
	WIDE(l, u32, 4, name, op)                                                                  \
	WIDE(q, u64, 8, name, op)

WIDES(mul, "mul")
WIDES(imul1, "imul")

/* AX = AL * s. */
#define WIDE_BYTE(name, op)                                                                        \
	static void name##_b(struct sx_cpu *c, const struct sx_insn *i)                            \
	{                                                                                          \
		u8 s = (u8)sx_rm_load(c, i, 1);                                                    \
		u64 f = c->gpr[X86_RAX], low;                                                      \
                                                                                                   \
		asm(op " %[src]\n\tmov %%rax, %[lo]\n\t" SX_ASM_SAVE_FLAGS                         \
		    : [lo] "=&r"(low), "+&a"(f)                                                    \
		    : [src] "r"(s)                                                                 \
		    : "cc");                                                                       \
		sx_reg_set(c, X86_RAX, low, 2);                                                    \
		c->cc = product_flags(f);                                                          \
		SX_NEXT(c, i);                                                                     \
	}

WIDE_BYTE(mul, "mulb")
WIDE_BYTE(imul1, "imulb")

#define NARROW(sfx, type, size)                                                                    \
	static always_inline type imul_##sfx(struct sx_cpu *c, type d, type s)                     \
	{                                                                                          \
		u32 f = 0;                                                                         \
                                                                                                   \
		asm("imul" #sfx " %[src], %[dest]\n\t" SX_ASM_SAVE_FLAGS                           \
		    : [dest] "+r"(d), "+&a"(f)                                                     \
		    : [src] "r"(s)                                                                 \
		    : "cc");                                                                       \
		c->cc = product_flags(f);                                                          \
		return d;                                                                          \
	}                                                                                          \
	static void imul2_##sfx(struct sx_cpu *c, const struct sx_insn *i)                         \
	{                                                                                          \
		type s = (type)sx_rm_load(c, i, size);                                             \
                                                                                                   \
		sx_reg_set(c, i->reg, imul_##sfx(c, (type)c->gpr[i->reg], s), size);               \
		SX_NEXT(c, i);                                                                     \
	}                                                                                          \
	static void imul3_##sfx(struct sx_cpu *c, const struct sx_insn *i)                         \
	{                                                                                          \
		type s = (type)sx_rm_load(c, i, size);                                             \
                                                                                                   \
		sx_reg_set(c, i->reg, imul_##sfx(c, s, (type)i->imm), size);                       \
		SX_NEXT(c, i);                                                                     \
	}
NARROW(w, u16, 2)
NARROW(l, u32, 4)
NARROW(q, u64, 8)

/* rAX = rDX:rAX / s, rDX the remainder; #DE when the quotient doesn't fit (SDM 2A, DIV). */
#define DIV(sfx, type, wide, size)                                                                 \
	static void div_##sfx(struct sx_cpu *c, const struct sx_insn *i)                           \
	{                                                                                          \
		type s = (type)sx_rm_load(c, i, size);                                             \
		type low = (type)c->gpr[X86_RAX], high = (type)c->gpr[X86_RDX];                    \
                                                                                                   \
		if (high >= s) /* 0 included */                                                    \
			sx_throw(c, i, X86_DE, 0);                                                 \
		asm("div" #sfx " %[src]" : "+a"(low), "+d"(high) : [src] "r"(s) : "cc");           \
		sx_reg_set(c, X86_RAX, low, size);                                                 \
		sx_reg_set(c, X86_RDX, high, size);                                                \
		SX_NEXT(c, i);                                                                     \
	}                                                                                          \
	static void idiv_##sfx(struct sx_cpu *c, const struct sx_insn *i)                          \
	{                                                                                          \
		type s = (type)sx_rm_load(c, i, size);                                             \
		type low = (type)c->gpr[X86_RAX], high = (type)c->gpr[X86_RDX];                    \
                                                                                                   \
		if (!idiv_fits((i64)sx_sign_extend(high, size), low, (i64)sx_sign_extend(s, size), \
			       size))                                                              \
			sx_throw(c, i, X86_DE, 0);                                                 \
		asm("idiv" #sfx " %[src]" : "+a"(low), "+d"(high) : [src] "r"(s) : "cc");          \
		sx_reg_set(c, X86_RAX, low, size);                                                 \
		sx_reg_set(c, X86_RDX, high, size);                                                \
		SX_NEXT(c, i);                                                                     \
	}

/* Is high:low / s representable in size bytes? */
static bool idiv_fits(i64 high, u64 low, i64 s, unsigned size)
{
	unsigned bits = size * 8;
	u128 n = ((u128)(__int128)high << bits) | (low & bytes_mask(size));
	bool is_negative = (high < 0) != (s < 0);
	u128 dividend = high < 0 ? -n : n;
	u64 divisor = s < 0 ? -(u64)s : (u64)s;
	/* The quotient's magnitude may reach 2^(bits-1), less 1 when it is positive. */
	u128 limit = ((u128)1 << (bits - 1)) - !is_negative;

	if (!divisor)
		return false;
	return dividend < (limit + 1) * divisor;
}

DIV(w, u16, u32, 2)
DIV(l, u32, u64, 4)
DIV(q, u64, u128, 8)

/* AL = AX / s, AH the remainder. */
static void div_b(struct sx_cpu *c, const struct sx_insn *i)
{
	u16 s = (u8)sx_rm_load(c, i, 1), n = (u16)c->gpr[X86_RAX];

	if (!s || n / s > 0xff)
		sx_throw(c, i, X86_DE, 0);
	sx_reg_set(c, X86_RAX, (u64)(u8)(n / s) | (u64)(n % s) << 8, 2);
	SX_NEXT(c, i);
}

static void idiv_b(struct sx_cpu *c, const struct sx_insn *i)
{
	int s = (i8)sx_rm_load(c, i, 1), n = (i16)c->gpr[X86_RAX];

	if (!s || n / s > 127 || n / s < -128)
		sx_throw(c, i, X86_DE, 0);
	sx_reg_set(c, X86_RAX, (u64)(u8)(n / s) | (u64)(u8)(n % s) << 8, 2);
	SX_NEXT(c, i);
}

sx_insn_fn *sx_bind_muldiv(struct sx_insn *i)
{
	static sx_insn_fn *const rows[][4] = {SX_FOUR(mul),  SX_FOUR(imul1),  SX_FOUR(div),
					      SX_FOUR(idiv), SX_THREE(imul2), SX_THREE(imul3)};
	enum sx_op op = sx_insn_op(i);

	if (op < SX_MUL || op > SX_IMUL3)
		return NULL;
	return rows[op - SX_MUL][sx_size_log2(i->size)];
}

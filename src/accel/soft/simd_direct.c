/*
 * Handlers that contain their instruction, for those of the list that compiled code is full of:
 * between XMM registers, or with a memory operand of the full width (or of one scalar).
 *
 * They do what simd_exec.c does with a stub, without the call. A handler per instruction and kind of
 * source: more code, but each is a few instructions around the one that matters.
 */
#include "accel/soft/simd_ops.h"
#include "accel/soft/simd_priv.h"

/* --- integer --- */

#define DIRECT_INTEGER(mnemonic, OP)                                                               \
	static void mnemonic##_register(struct sx_cpu *c, const struct sx_insn *i)                 \
	{                                                                                          \
		simd_begin(c, i);                                                                  \
                                                                                                   \
		__m128i d = simd_xmm(c, i->reg);                                                   \
                                                                                                   \
		__asm__(#mnemonic " %1, %0" : "+x"(d) : "x"(simd_xmm(c, i->rm)));                  \
		simd_set_xmm(c, i->reg, d);                                                        \
		SX_NEXT(c, i);                                                                     \
	}                                                                                          \
	static void mnemonic##_aligned(struct sx_cpu *c, const struct sx_insn *i)                  \
	{                                                                                          \
		simd_begin(c, i);                                                                  \
                                                                                                   \
		__m128i s = simd_load(c, i, true);                                                 \
		__m128i d = simd_xmm(c, i->reg);                                                   \
                                                                                                   \
		__asm__(#mnemonic " %1, %0" : "+x"(d) : "x"(s));                                   \
		simd_set_xmm(c, i->reg, d);                                                        \
		SX_NEXT(c, i);                                                                     \
	}

SX_SIMD_DIRECT(DIRECT_INTEGER)

/* --- floating point --- */

/* volatile: these read and write the host's MXCSR, which is the guest's only once it is checked. */
#define DIRECT_FP(mnemonic, OP, suffix, source)                                                    \
	static void mnemonic##_##suffix(struct sx_cpu *c, const struct sx_insn *i)                 \
	{                                                                                          \
		simd_fp_begin(c, i);                                                               \
                                                                                                   \
		__m128i s = source;                                                                \
		__m128i d = simd_xmm(c, i->reg);                                                   \
                                                                                                   \
		if (likely(c->fpu_live.fp))                                                        \
			__asm__ volatile(#mnemonic " %1, %0" : "+x"(d) : "x"(s));                  \
		else                                                                               \
			d = sx_simd_fp_slow(c, i, d, s);                                           \
		simd_set_xmm(c, i->reg, d);                                                        \
		SX_NEXT(c, i);                                                                     \
	}

#define DIRECT_FP_PACKED(mnemonic, OP)                                                             \
	DIRECT_FP(mnemonic, OP, register, simd_xmm(c, i->rm))                                      \
	DIRECT_FP(mnemonic, OP, memory, simd_load(c, i, true))
#define DIRECT_FP_SINGLE(mnemonic, OP)                                                             \
	DIRECT_FP(mnemonic, OP, register, simd_xmm(c, i->rm))                                      \
	DIRECT_FP(mnemonic, OP, memory, simd_of_u64(simd_load_u64(c, i, 4)))
#define DIRECT_FP_DOUBLE(mnemonic, OP)                                                             \
	DIRECT_FP(mnemonic, OP, register, simd_xmm(c, i->rm))                                      \
	DIRECT_FP(mnemonic, OP, memory, simd_of_u64(simd_load_u64(c, i, 8)))

SX_SIMD_DIRECT_PACKED(DIRECT_FP_PACKED)
SX_SIMD_DIRECT_SINGLE(DIRECT_FP_SINGLE)
SX_SIMD_DIRECT_DOUBLE(DIRECT_FP_DOUBLE)

/* --- choosing --- */

sx_insn_fn *sx_simd_bind_direct(const struct sx_insn *i)
{
	bool is_mem = sx_insn_is_mem(i);

	switch ((int)sx_insn_op(i)) {
#define X(mnemonic, OP)                                                                            \
	case SX_##OP:                                                                              \
		return is_mem ? mnemonic##_aligned : mnemonic##_register;
		SX_SIMD_DIRECT(X)
#undef X
#define X(mnemonic, OP)                                                                            \
	case SX_##OP:                                                                              \
		return is_mem ? mnemonic##_memory : mnemonic##_register;
		SX_SIMD_DIRECT_PACKED(X)
		SX_SIMD_DIRECT_SINGLE(X)
		SX_SIMD_DIRECT_DOUBLE(X)
#undef X
	default:
		return NULL;
	}
}

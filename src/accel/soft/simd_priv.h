/*
 * What the SIMD handlers share: stubs, registers, operands. Only for simd*.c.
 */
#ifndef ACCEL_SOFT_SIMD_PRIV_H
#define ACCEL_SOFT_SIMD_PRIV_H

#include <emmintrin.h>

#include "accel/soft/exec.h"
#include "accel/soft/fpu.h"

/* A host stub (simd_stubs.S): destination, source, the guest's XMM0. */
typedef __m128i sx_simd_stub(__m128i d, __m128i s, __m128i xmm0);

/* The binder leaves the stub in imm, an immediate that is still needed in disp. */
static always_inline sx_simd_stub *simd_stub(const struct sx_insn *i)
{
	return (sx_simd_stub *)i->imm;
}

/* --- registers --- */

static always_inline __m128i simd_xmm(const struct sx_cpu *c, unsigned n)
{
	return _mm_load_si128((const __m128i *)c->fpu.xmm[n]);
}

static always_inline void simd_set_xmm(struct sx_cpu *c, unsigned n, __m128i v)
{
	_mm_store_si128((__m128i *)c->fpu.xmm[n], v);
}

static always_inline __m128i simd_of_u64(u64 v)
{
	return _mm_cvtsi64_si128((long long)v);
}

static always_inline u64 simd_to_u64(__m128i v)
{
	return (u64)_mm_cvtsi128_si64(v);
}

/* --- what must be true before an operand is touched --- */

static always_inline void simd_begin(struct sx_cpu *c, const struct sx_insn *i)
{
	if (unlikely(!c->fpu_live.sse))
		sx_sse_enter(c, i);
}

static always_inline void simd_fp_begin(struct sx_cpu *c, const struct sx_insn *i)
{
	if (unlikely(!c->fpu_live.fp))
		sx_fp_enter(c, i);
}

/* --- memory --- */

/* What the TLB could not serve (simd_exec.c). */
__m128i sx_simd_load_slow(struct sx_cpu *c, const struct sx_insn *i, u64 lin);
void sx_simd_store_slow(struct sx_cpu *c, const struct sx_insn *i, u64 lin, __m128i v);

static always_inline __m128i simd_load(struct sx_cpu *c, const struct sx_insn *i, bool is_aligned)
{
	u64 lin = sx_ea(c, i, 16, false);
	const u8 *p;

	if (is_aligned && unlikely(lin & 15))
		sx_throw_gp(c, i, 0);
	p = sx_tlb_read(c, lin, 16);
	if (likely(p))
		return _mm_loadu_si128((const __m128i *)p);
	return sx_simd_load_slow(c, i, lin);
}

static always_inline void simd_store(struct sx_cpu *c, const struct sx_insn *i, __m128i v,
				     bool is_aligned)
{
	u64 lin = sx_ea(c, i, 16, true);
	u8 *p;

	if (is_aligned && unlikely(lin & 15))
		sx_throw_gp(c, i, 0);
	p = sx_tlb_write(c, lin, 16);
	if (likely(p))
		_mm_storeu_si128((__m128i *)p, v);
	else
		sx_simd_store_slow(c, i, lin, v);
}

/* Up to 8 bytes, zero-extended. */
static always_inline u64 simd_load_u64(struct sx_cpu *c, const struct sx_insn *i, unsigned size)
{
	return sx_load(c, i, sx_ea(c, i, size, false), size);
}

static always_inline void simd_store_u64(struct sx_cpu *c, const struct sx_insn *i, u64 v,
					 unsigned size)
{
	sx_store(c, i, sx_ea(c, i, size, true), v, size);
}

/* MASKMOVDQU and MASKMOVQ: the bytes whose mask has its highest bit set, to seg:rDI. Raises what the
 * first to the last of them would raise, and then stores (simd_element.c). */
void sx_simd_store_masked(struct sx_cpu *c, const struct sx_insn *i, const u8 *data, const u8 *mask,
			  unsigned size);

/* --- computing in floating point (simd_fp.c) --- */

__m128i sx_simd_fp_slow(struct sx_cpu *c, const struct sx_insn *i, __m128i d, __m128i s);

/* Any computation, whatever MXCSR unmasks; result: where it leaves what may be tiny. */
void sx_simd_fp_unmasked(struct sx_cpu *c, const struct sx_insn *i, void (*compute)(void *opaque),
			 void *opaque, const u8 *result);

/* The guest's MXCSR is in the host's; or else (an exception is unmasked, or a device that was read
 * took it back) with more ceremony. Raises #XM. */
static always_inline __m128i simd_fp_call(struct sx_cpu *c, const struct sx_insn *i, __m128i d,
					  __m128i s)
{
	if (likely(c->fpu_live.fp))
		return simd_stub(i)(d, s, s);
	return sx_simd_fp_slow(c, i, d, s);
}

/* --- choosing handlers --- */

/* Where a source operand comes from. */
enum simd_source {
	SIMD_REGISTER,
	SIMD_ALIGNED,
	SIMD_16,
	SIMD_8,
	SIMD_4,
	SIMD_2,
	SIMD_SOURCES,
};

static inline enum simd_source simd_source_of(const struct sx_insn *i)
{
	if (!sx_insn_is_mem(i))
		return SIMD_REGISTER;
	switch (i->size) {
	case 16:
		return sx_insn_form(i)->attr & SX_A_ALIGN ? SIMD_ALIGNED : SIMD_16;
	case 8:
		return SIMD_8;
	case 4:
		return SIMD_4;
	default:
		return SIMD_2;
	}
}

/* What kind of stub an operation has (simd_bind.c), and so how its handlers treat operands. */
enum simd_kind {
	SIMD_NONE,
	SIMD_INTEGER,
	SIMD_WITH_XMM0,
	SIMD_ALONE, /* no source but the immediate */
	SIMD_FP,
	SIMD_FROM_GPR,
	SIMD_TO_GPR,
	SIMD_FROM_MMX,
	SIMD_TO_MMX,
	SIMD_TO_FLAGS,
	SIMD_TO_FLAGS_FP,
	SIMD_STRING,
};

bool sx_simd_is_float(enum sx_op op);                        /* simd_bind.c */
u32 sx_simd_string_length(const struct sx_insn *i, u64 reg); /* simd_string.c */

sx_insn_fn *sx_simd_bind_xmm(const struct sx_insn *i, enum simd_kind kind); /* simd_exec.c */
sx_insn_fn *sx_simd_bind_direct(const struct sx_insn *i);                   /* simd_direct.c */
sx_insn_fn *sx_simd_bind_mmx(const struct sx_insn *i, enum simd_kind kind); /* simd_mmx.c */
sx_insn_fn *sx_simd_bind_move(struct sx_insn *i);                           /* simd_move.c */
sx_insn_fn *sx_simd_bind_element(const struct sx_insn *i);                  /* simd_element.c */
sx_insn_fn *sx_simd_bind_string(const struct sx_insn *i);                   /* simd_string.c */
sx_insn_fn *sx_simd_bind_mxcsr(const struct sx_insn *i);                    /* simd_fp.c */

#endif

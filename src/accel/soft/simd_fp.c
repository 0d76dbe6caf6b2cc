/*
 * MXCSR: computing when it has exceptions unmasked, LDMXCSR, STMXCSR.
 *
 * The host computes with all exceptions masked, and what it would have raised is read from the
 * flags (SDM 1, 11.5). An instruction that raises #XM changes no register; MXCSR shows why, and an
 * unmasked exception that is found before computing (invalid, denormal, divide by zero) hides the
 * flags of those that would have been found after.
 *
 * Two things can't be read from the masked flags. Unmasked underflow is raised for a tiny result even
 * if it is exact: so the result is looked at. And one that overflows is inexact in MXCSR only if it
 * is after scaling; here always. The dot products (DPPS, DPPD) compute in steps, and raise what the
 * first step found; here, what all found, but for exact tiny products. These are the deviations from
 * the processor.
 */
#include "accel/soft/simd_priv.h"
#include "accel/soft/simd_vex.h"

#define FP_BEFORE (SX_FP_INVALID | SX_FP_DENORMAL | SX_FP_ZERO)

static inline void host_set_mxcsr(u32 v)
{
	__asm__ volatile("ldmxcsr %0" : : "m"(v));
}

/* MXCSR gives the host its own back; the flags that were left are returned. */
static u32 fp_compute_masked(u32 mxcsr, void (*compute)(void *opaque), void *opaque)
{
	u32 flags;

	host_set_mxcsr((mxcsr & ~SX_MXCSR_FLAGS) | SX_MXCSR_MASKS);
	compute(opaque);
	__asm__ volatile("stmxcsr %0" : "=m"(flags));
	host_set_mxcsr(X86_MXCSR_RESET);
	return flags & SX_MXCSR_FLAGS;
}

/* Which results may be tiny: the number of elements and their width; 0: this one's can't. */
static unsigned fp_result(enum sx_op op, unsigned *out_bytes)
{
#define FP_ALL(name)                                                                               \
	case SX_##name##PS:                                                                        \
		*out_bytes = 4;                                                                    \
		return 4;                                                                          \
	case SX_##name##PD:                                                                        \
		*out_bytes = 8;                                                                    \
		return 2
#define FP_SCALAR(name)                                                                            \
	case SX_##name##SS:                                                                        \
		*out_bytes = 4;                                                                    \
		return 1;                                                                          \
	case SX_##name##SD:                                                                        \
		*out_bytes = 8;                                                                    \
		return 1
	switch ((int)op) {
		FP_ALL(ADD);
		FP_ALL(SUB);
		FP_ALL(MUL);
		FP_ALL(DIV);
		FP_ALL(ADDSUB);
		FP_ALL(HADD);
		FP_ALL(HSUB);
		FP_ALL(DP);
		FP_SCALAR(ADD);
		FP_SCALAR(SUB);
		FP_SCALAR(MUL);
		FP_SCALAR(DIV);
	case SX_CVTPD2PS:
		*out_bytes = 4;
		return 2;
	case SX_CVTSD2SS:
		*out_bytes = 4;
		return 1;
#define FP_FMA(o)                                                                                  \
	FP_ALL(FMADDSUB##o);                                                                       \
	FP_ALL(FMSUBADD##o);                                                                       \
	FP_ALL(FMADD##o);                                                                          \
	FP_SCALAR(FMADD##o);                                                                       \
	FP_ALL(FMSUB##o);                                                                          \
	FP_SCALAR(FMSUB##o);                                                                       \
	FP_ALL(FNMADD##o);                                                                         \
	FP_SCALAR(FNMADD##o);                                                                      \
	FP_ALL(FNMSUB##o);                                                                         \
	FP_SCALAR(FNMSUB##o)
		FP_FMA(132);
		FP_FMA(213);
		FP_FMA(231);
	default:
		return 0;
	}
#undef FP_FMA
#undef FP_SCALAR
#undef FP_ALL
}

static bool fp_is_tiny(const struct sx_insn *i, const u8 *result)
{
	unsigned bytes, n = fp_result(sx_insn_op(i), &bytes);

	if (n > 1 && i->flags & SX_IF_L)
		n *= 2;
	for (unsigned k = 0; k < n; k++) {
		u64 v = sx_host_load(result + k * bytes, bytes) << (bytes == 8 ? 1 : 33);

		if (v && !(v >> (bytes == 8 ? 53 : 56)))
			return true;
	}
	return false;
}

noreturn static void fp_raise(struct sx_cpu *c, const struct sx_insn *i, u32 flags)
{
	c->fpu.mxcsr |= flags;
	sx_throw(c, i, c->cr4 & X86_CR4_OSXMMEXCPT ? X86_XM : X86_UD, 0);
}

void sx_simd_fp_unmasked(struct sx_cpu *c, const struct sx_insn *i, void (*compute)(void *opaque),
			 void *opaque, const u8 *result)
{
	u32 mxcsr = c->fpu.mxcsr;
	u32 unmasked = ~(mxcsr >> SX_MXCSR_MASK_SHIFT) & SX_MXCSR_FLAGS;
	u32 flags;

	/* Flushing to zero is a masked response. */
	if (unmasked & SX_FP_UNDERFLOW)
		mxcsr &= ~SX_MXCSR_FTZ;
	flags = fp_compute_masked(mxcsr, compute, opaque);
	if (flags & unmasked & FP_BEFORE)
		fp_raise(c, i, flags & FP_BEFORE);
	if ((unmasked & SX_FP_UNDERFLOW) && fp_is_tiny(i, result))
		flags |= SX_FP_UNDERFLOW;
	if (flags & unmasked)
		fp_raise(c, i, flags);
	c->fpu.mxcsr |= flags;
}

struct fp_stub {
	sx_simd_stub *stub;
	__m128i d, s;
};

static void fp_call_stub(void *opaque)
{
	struct fp_stub *k = opaque;

	k->d = k->stub(k->d, k->s, k->s);
}

__m128i sx_simd_fp_slow(struct sx_cpu *c, const struct sx_insn *i, __m128i d, __m128i s)
{
	struct fp_stub k = {simd_stub(i), d, s};

	sx_fp_enter(c, i);
	if (c->fpu_live.fp)
		fp_call_stub(&k);
	else
		sx_simd_fp_unmasked(c, i, fp_call_stub, &k, (const u8 *)&k.d);
	return k.d;
}

/* VLDMXCSR and VSTMXCSR want what AVX wants. */
static void mxcsr_begin(struct sx_cpu *c, const struct sx_insn *i)
{
	if (i->flags & SX_IF_VEX)
		sx_avx_enter(c, i);
	else
		simd_begin(c, i);
}

static void simd_ldmxcsr(struct sx_cpu *c, const struct sx_insn *i)
{
	u32 v;

	mxcsr_begin(c, i);
	v = (u32)simd_load_u64(c, i, 4);
	if (v & ~SX_MXCSR_VALID)
		sx_throw_gp(c, i, 0);
	if (c->fpu_live.fp)
		sx_fpu_sync(c);
	c->fpu.mxcsr = v;
	SX_NEXT(c, i);
}

static noinline void simd_stmxcsr_work(struct sx_cpu *c, const struct sx_insn *i)
{
	u32 v = c->fpu.mxcsr;

	mxcsr_begin(c, i);
	if (c->fpu_live.fp)
		__asm__ volatile("stmxcsr %0" : "=m"(v));
	simd_store_u64(c, i, v, 4);
}
SX_HANDLER_OF(simd_stmxcsr, simd_stmxcsr_work)

sx_insn_fn *sx_simd_bind_mxcsr(const struct sx_insn *i)
{
	switch ((int)sx_insn_op(i)) {
	case SX_LDMXCSR:
		return simd_ldmxcsr;
	case SX_STMXCSR:
		return simd_stmxcsr;
	default:
		return NULL;
	}
}

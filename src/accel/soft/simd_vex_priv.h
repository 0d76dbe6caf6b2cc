/*
 * Between simd_vex.c and simd_vex_masked.c.
 */
#ifndef ACCEL_SOFT_SIMD_VEX_PRIV_H
#define ACCEL_SOFT_SIMD_VEX_PRIV_H

#include <string.h>

#include "accel/soft/exec.h"
#include "accel/soft/simd_priv.h"
#include "accel/soft/simd_vex.h"

static inline void sx_vex_get(const struct sx_cpu *c, unsigned n, u8 *out)
{
	memcpy(out, c->fpu.xmm[n], 16);
	memcpy(out + 16, c->fpu.ymm_high[n], 16);
}

static inline void sx_vex_set(struct sx_cpu *c, unsigned n, const u8 *v)
{
	memcpy(c->fpu.xmm[n], v, 16);
	memcpy(c->fpu.ymm_high[n], v + 16, 16);
}

static always_inline void sx_vex_begin(struct sx_cpu *c, const struct sx_insn *i)
{
	if (unlikely(!c->fpu_live.avx))
		sx_avx_enter(c, i);
}

/* simd_vex_masked.c */
sx_insn_fn *sx_vex_bind_own(const struct sx_insn *i);

#endif

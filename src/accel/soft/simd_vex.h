/*
 * What the VEX handlers, their stubs' maker (mkvex.c) and the translator share.
 */
#ifndef ACCEL_SOFT_SIMD_VEX_H
#define ACCEL_SOFT_SIMD_VEX_H

#include "accel/soft/isa.h"

#define SX_VEX_SLOT 8

struct sx_cpu;
struct sx_insn;

/* Those that are no stub: memory by element, the upper halves as a whole, MXCSR. */
static inline bool sx_vex_has_own_handler(enum sx_op op)
{
	switch ((int)op) {
	case SX_MASKMOVDQU:
	case SX_LDMXCSR:
	case SX_STMXCSR:
	case SX_ZEROUPPER:
	case SX_ZEROALL:
		return true;
	}
	return op >= SX_MASKMOVPS && op <= SX_PGATHERQQ;
}

/* Writes no operand that it shows: comparisons, whose result is in flags, ECX or XMM0. */
static inline bool sx_vex_writes_nothing(enum sx_op op)
{
	switch ((int)op) {
	case SX_COMISS:
	case SX_COMISD:
	case SX_UCOMISS:
	case SX_UCOMISD:
	case SX_PTEST:
	case SX_TESTPS:
	case SX_TESTPD:
	case SX_PCMPESTRI:
	case SX_PCMPESTRM:
	case SX_PCMPISTRI:
	case SX_PCMPISTRM:
		return true;
	}
	return false;
}

static inline bool sx_vex_writes_flags(enum sx_op op)
{
	switch ((int)op) {
	case SX_ANDN:
	case SX_BEXTR:
	case SX_BLSI:
	case SX_BLSMSK:
	case SX_BLSR:
	case SX_BZHI:
		return true;
	}
	return sx_vex_writes_nothing(op);
}

/* Computes under MXCSR. */
bool sx_vex_is_float(enum sx_op op);

/* May AVX instructions run? Raises #UD or #NM. */
void sx_avx_enter(struct sx_cpu *c, const struct sx_insn *i);

#endif

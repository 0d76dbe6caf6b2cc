/*
 * x87, MMX and SSE instructions of the software CPU: what the rest of the interpreter sees.
 *
 * The host has the same instructions, so the host is what they mean: each is carried out by a stub
 * that holds the very same one (simd_stubs.S, fpu_stubs.S). What is written here is everything
 * around it: which stub, where operands are, when it may run, and what it raises.
 */
#ifndef ACCEL_SOFT_SIMD_H
#define ACCEL_SOFT_SIMD_H

#include "accel/soft/insn.h"

/*
 * The handler of an x87, MMX or SSE instruction, FXSAVE, XSAVE and their kin, LDMXCSR, STMXCSR;
 * NULL: it is none of these. Changes the operand fields to what the handler wants, so it comes
 * last of all that looks at them. offset: the instruction's in its block.
 */
sx_insn_fn *sx_simd_bind(struct sx_insn *i, unsigned offset);

#endif

/*
 * What the mode word means to the translator: which code it takes, how wide that code's addresses are.
 *
 * Code of 16 and 32 bits differs from that of 64 bits in four places: how wide RIP is (near jumps, calls,
 * returns), how wide the stack pointer is, whether segments have bases and limits, and encodings, which are
 * the decoder's. The guest's low eight registers are in the same host registers in all modes.
 */
#ifndef ACCEL_SOFT_NATIVE_MODE_H
#define ACCEL_SOFT_NATIVE_MODE_H

#include "accel/soft/cpu.h"

/* Can code of this mode be translated? */
static inline bool sx_native_takes(u32 mode)
{
	const u32 flat = SX_MODE_32 | SX_MODE_FLAT;

	if (mode & (SX_MODE_STEP | SX_MODE_MIDDLE | SX_MODE_LIMITED))
		return false;
	return mode & SX_MODE_64 || (mode & flat) == flat;
}

/* Bytes of a near jump's target and of a return address. */
static inline unsigned sx_native_near(u32 mode)
{
	return mode & SX_MODE_64 ? 8 : mode & SX_MODE_32 ? 4 : 2;
}

/* Host instructions on RIP have so many bytes. */
static inline unsigned sx_native_rip_size(u32 mode)
{
	return mode & SX_MODE_64 ? 8 : 4;
}

/* Bytes of the stack pointer. */
static inline unsigned sx_native_stack_size(u32 mode)
{
	return mode & SX_MODE_64 ? 8 : mode & SX_MODE_SS32 ? 4 : 2;
}

#endif

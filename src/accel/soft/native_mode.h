/*
 * What the mode word means to the translator: which code it takes, how wide that code's addresses are.
 *
 * Code of 16 and 32 bits differs from that of 64 bits in five places: how wide RIP is (near jumps, calls,
 * returns), whether it is the linear address, how wide the stack pointer is, whether segments have bases and
 * limits, and encodings, which are the decoder's. The guest's low eight registers are in the same host registers in all modes.
 */
#ifndef ACCEL_SOFT_NATIVE_MODE_H
#define ACCEL_SOFT_NATIVE_MODE_H

#include "accel/soft/cpu.h"

/* Can code of this mode be translated? */
static inline bool sx_native_takes(u32 mode)
{
	return !(mode & (SX_MODE_STEP | SX_MODE_MIDDLE));
}

/*
 * Code whose CS has a base or a limit is translated for one of these and one linear address, both of which are
 * constants to it: so RIP is one, too, and whether a jump stays in the segment is known.
 */
static inline bool sx_native_is_bound(u32 mode)
{
	return mode / SX_MODE_SEGMENT;
}

/* Near jumps, calls and returns of `size` bytes: others' targets are cut to that. */
static inline bool sx_native_is_near(u32 mode, unsigned size)
{
	return sx_native_is_bound(mode) || size == (mode & SX_MODE_64 ? 8 : 4);
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

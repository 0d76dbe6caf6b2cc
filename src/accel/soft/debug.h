/*
 * Debug registers: instruction and data breakpoints, single steps (SDM 3B, 17.2 and 17.3).
 *
 * Data breakpoints: their pages are kept out of the TLB, so that every access to them passes debug_access (mem.c), which has the
 * block left behind the instruction. Code breakpoints: blocks that may have one, by its place in the page (whoever maps
 * that page where), are neither translated nor chained to, and executed in single steps; the others as ever. They are
 * known while blocks are made, so that other breakpoints drop all blocks. I/O breakpoints, and lockstep with any: TF's way,
 * SX_MODE_STEP, an instruction at a time, each checked before and after.
 */
#ifndef ACCEL_SOFT_DEBUG_H
#define ACCEL_SOFT_DEBUG_H

#include "accel/soft/cpu.h"

bool sx_debug_page_is_watched(const struct sx_cpu *c, u64 page);
/* Is there one on this access? Noted in pending_dr6. */
bool sx_debug_note_access(struct sx_cpu *c, u64 lin, unsigned size, bool is_write);

/* Does a data breakpoint lie in this linear page? */
static inline bool sx_debug_watches(const struct sx_cpu *c, u64 page)
{
	return unlikely(c->has_data_breakpoints) && sx_debug_page_is_watched(c, page);
}

/* After DR0-3 or DR7 changed. */
void sx_debug_update(struct sx_cpu *c);
static inline bool sx_debug_is_active(const struct sx_cpu *c) /* any breakpoint is enabled */
{
	return c->dr7 & 0xff;
}
/* RF means something only where code breakpoints are; elsewhere nobody would clear it. */
static inline bool sx_debug_keeps_rf(const struct sx_cpu *c)
{
	return c->steps_to_break || c->code_breakpoints;
}
/* May a code breakpoint be in n bytes from `off` in a page? */
bool sx_debug_covers(const struct sx_cpu *c, u32 off, u32 n);
/* The bits of the mode word. */
u32 sx_debug_mode(const struct sx_cpu *c);
/* DR6 bits of the instruction breakpoints at this linear address. */
u64 sx_debug_match_code(const struct sx_cpu *c, u64 lin);
/* An I/O breakpoint (CR4.DE) on this port? */
void sx_debug_io(struct sx_cpu *c, u16 port, unsigned size);

#endif

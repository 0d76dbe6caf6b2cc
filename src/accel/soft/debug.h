/*
 * Debug registers: instruction and data breakpoints, single steps (SDM 3B, 17.2 and 17.3).
 *
 * While DR7 enables any breakpoint or TF is set, the CPU runs in SX_MODE_STEP: one instruction at a
 * time, each checked before and after. Pages with data breakpoints are kept out of the TLB, so that
 * every access to them passes sx_debug_access.
 */
#ifndef ACCEL_SOFT_DEBUG_H
#define ACCEL_SOFT_DEBUG_H

#include "accel/soft/cpu.h"

bool sx_debug_page_is_watched(const struct sx_cpu *c, u64 page);
void sx_debug_note_access(struct sx_cpu *c, u64 lin, unsigned size, bool is_write);

/* Does a data breakpoint lie in this linear page? */
static inline bool sx_debug_watches(const struct sx_cpu *c, u64 page)
{
	return unlikely(c->has_data_breakpoints) && sx_debug_page_is_watched(c, page);
}

/* An access that is about to happen: the trap comes after the instruction. */
static inline void sx_debug_access(struct sx_cpu *c, u64 lin, unsigned size, bool is_write)
{
	if (unlikely(c->has_data_breakpoints))
		sx_debug_note_access(c, lin, size, is_write);
}

/* After DR0-3 or DR7 changed. */
void sx_debug_update(struct sx_cpu *c);
bool sx_debug_is_active(const struct sx_cpu *c); /* any breakpoint is enabled */
/* DR6 bits of the instruction breakpoints at this linear address. */
u64 sx_debug_match_code(const struct sx_cpu *c, u64 lin);
/* An I/O breakpoint (CR4.DE) on this port? */
void sx_debug_io(struct sx_cpu *c, u16 port, unsigned size);

#endif

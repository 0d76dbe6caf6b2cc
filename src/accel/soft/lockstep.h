/*
 * Lockstep: translated code held to the interpreter, stretch by stretch, while a guest runs.
 *
 * From one state both run the same number of instructions, the interpreter first. What it wrote is taken
 * back (pages are copied when they are first written, since write tags are taken away before), and the
 * translated code runs on the same start; then registers, pending event and all written pages are
 * compared. The guest goes on from there; the first difference stops it, with both states, the guest's
 * code and the host's.
 *
 * What can't be done twice (devices, time, TLB flushes) ends a stretch before it and is done once, by
 * the interpreter alone: nobody translates it, or its translation calls what the interpreter calls. Needs
 * a counted clock: nobody else writes guest memory meanwhile.
 */
#ifndef ACCEL_SOFT_LOCKSTEP_H
#define ACCEL_SOFT_LOCKSTEP_H

#include "accel/soft/cpu.h"

struct gmem_block;
struct sx_insn;
struct sx_xlat;

void sx_lockstep_init(struct sx_cpu *c);
void sx_lockstep_fini(struct sx_cpu *c);

/* The next stretch. Run loop only. */
void sx_lockstep_run(struct sx_cpu *c);
/* What differed, once it did: the vCPU is broken. NULL: nothing has. */
const char *sx_lockstep_difference(const struct sx_cpu *c);

/* An instruction that can't be done twice; a block has an entry in front of it that comes here. */
bool sx_lockstep_is_once(const struct sx_insn *i);
void sx_lockstep_once(struct sx_cpu *c,
		      const struct sx_insn *i); /* comes back, or ends the stretch */
/* Before a page is written: of the guest's (false: not in this stretch), or of page tables by a walk. */
bool sx_lockstep_note(struct sx_cpu *c, const struct sx_xlat *x);
void sx_lockstep_note_table(struct sx_cpu *c, struct gmem_block *b, u64 page);
/* After an address was translated: can this access be done twice? Else the stretch ends. */
void sx_lockstep_check(struct sx_cpu *c, const struct sx_insn *i, const struct sx_xlat *x,
		       bool is_write);
bool sx_lockstep_is_full(const struct sx_cpu *c); /* no more pages may be written in this stretch */
void sx_lockstep_flushed(struct sx_cpu *c);       /* a TLB was */

#endif

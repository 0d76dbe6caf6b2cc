/*
 * Exceptions, interrupts and IRET between 64-bit codes, in their common case: CPL 0 and 3, one page for the frame, all
 * that is read known by the TLB, segments without surprises. All else is deliver.c's and interp_far.c's.
 */
#ifndef ACCEL_SOFT_GATE64_H
#define ACCEL_SOFT_GATE64_H

#include "accel/soft/cpu.h"

/* IRETQ, by 64-bit supervisor code, RIP being where it may. False: nothing was done. */
bool sx_iret_fast(struct sx_cpu *c);
/* c->event, an exception or an interrupt, to a supervisor's interrupt or trap gate. False: nothing was done. */
bool sx_deliver_fast(struct sx_cpu *c);

#endif

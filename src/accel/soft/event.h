/*
 * Events: exceptions, interrupts, and their way through the IDT (SDM 3A, chapter 6).
 */
#ifndef ACCEL_SOFT_EVENT_H
#define ACCEL_SOFT_EVENT_H

#include "accel/soft/cpu.h"

/* Delivers c->event, outside of any block. What fails on the way is thrown, as a new event. */
void sx_event_deliver(struct sx_cpu *c);

/* Makes an interrupt or NMI the event to be delivered. */
void sx_event_set(struct sx_cpu *c, enum x86_event kind, u8 vector);

/* INT n (is_int_n), INT3, INTO: leaves for the run loop with a software event set. */
noreturn void sx_throw_soft(struct sx_cpu *c, const struct sx_insn *i, u8 vector, bool is_int_n);

/* The instruction pointer settles at an instruction of the current block that did not complete. */
void sx_settle(struct sx_cpu *c, const struct sx_insn *i);

#endif

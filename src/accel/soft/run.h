/*
 * The run loop of a vCPU.
 */
#ifndef ACCEL_SOFT_RUN_H
#define ACCEL_SOFT_RUN_H

#include "accel/soft/cpu.h"

enum vcpu_stop sx_run(struct vcpu *v);

/*
 * Executes one instruction, or delivers one event, without looking for interrupts: for tests and
 * the instruction oracle. False: it ended in an exception, which is left in c->event, undelivered,
 * with RIP at the instruction (software interrupts: kind X86_EVENT_SOFT).
 */
bool sx_step_raw(struct sx_cpu *c);

#endif

/*
 * Hardware task switches (SDM 3A, chapter 7).
 */
#ifndef ACCEL_SOFT_TASK_H
#define ACCEL_SOFT_TASK_H

#include "accel/soft/cpu.h"
#include "accel/soft/insn.h"

enum sx_task_reason {
	SX_TASK_JUMP,
	SX_TASK_CALL,
	SX_TASK_EVENT, /* a task gate in the IDT: nested, as a call */
	SX_TASK_IRET,
};

/*
 * To the task of a TSS selector, checked as the reason asks. gpr[SX_RIP] must be where the old task
 * is to go on. On return RIP is the new task's, and no block may be continued.
 */
void sx_task_switch(struct sx_cpu *c, const struct sx_insn *i, u16 selector,
		    enum sx_task_reason reason);

#endif

/*
 * Checks of privilege that many instructions share.
 */
#ifndef ACCEL_SOFT_PRIVILEGE_H
#define ACCEL_SOFT_PRIVILEGE_H

#include "accel/soft/exec.h"

static inline void sx_require_cpl0(struct sx_cpu *c, const struct sx_insn *i)
{
	if (c->cpl)
		sx_throw_gp(c, i, 0);
}

/* SGDT, SIDT, SLDT, STR, SMSW: what user-mode instruction prevention prevents (SDM 3A, 2.5). */
static inline void sx_require_no_umip(struct sx_cpu *c, const struct sx_insn *i)
{
	if (c->cpl && (c->cr4 & X86_CR4_UMIP))
		sx_throw_gp(c, i, 0);
}

#endif

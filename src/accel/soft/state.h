/*
 * Between struct sx_cpu and the architectural state.
 */
#ifndef ACCEL_SOFT_STATE_H
#define ACCEL_SOFT_STATE_H

#include "accel/soft/cpu.h"

int sx_state_get(struct vcpu *v, struct x86_cpu_state *out, struct err *err);
int sx_state_set(struct vcpu *v, const struct x86_cpu_state *in, struct err *err);

void sx_state_save(struct sx_cpu *c, struct x86_cpu_state *out);
void sx_state_load(struct sx_cpu *c, const struct x86_cpu_state *in);
/* As after INIT. */
void sx_state_init(struct sx_cpu *c, bool is_bsp);

#endif

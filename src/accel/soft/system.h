/*
 * Control registers, model-specific registers, time: what the state's loading and the reset share
 * with the instructions.
 */
#ifndef ACCEL_SOFT_SYSTEM_H
#define ACCEL_SOFT_SYSTEM_H

#include "accel/soft/cpu.h"

/* False: #GP(0). */
bool sx_cr0_write(struct sx_cpu *c, u64 v) must_check;
bool sx_cr3_write(struct sx_cpu *c, u64 v) must_check;
bool sx_cr4_write(struct sx_cpu *c, u64 v) must_check;
bool sx_msr_read(struct sx_cpu *c, u32 msr, u64 *out) must_check;
bool sx_msr_write(struct sx_cpu *c, u32 msr, u64 v) must_check;

u64 sx_tsc(struct sx_cpu *c);
/* Where the xAPIC's registers are now, after IA32_APIC_BASE may have changed. */
void sx_apic_base_changed(struct sx_cpu *c);
/* Is a bit of a CPUID register advertised? which: 0 to 3 for eax to edx. */
bool sx_has_feature(const struct sx_cpu *c, u32 leaf, unsigned which, unsigned bit);

/* Paravirtual clock (kvmclock.c). */
void sx_kvmclock_write_time(struct sx_cpu *c);
void sx_kvmclock_write_wall(struct sx_cpu *c, gpa_t gpa);

/* SYSCALL, and SYSRET to 64-bit code, in their common case; next: RIP behind it. False: nothing was done. */
bool sx_syscall_fast(struct sx_cpu *c, u64 next);
bool sx_sysret_fast(struct sx_cpu *c);

#endif

/*
 * What the FPU's and SIMD's handlers need of the interpreter, for tests: one page of memory at its
 * own host address, faults that come back as a value, one instruction at a time.
 */
#ifndef TESTS_UNIT_SOFT_FAKE_CORE_H
#define TESTS_UNIT_SOFT_FAKE_CORE_H

#include "accel/soft/cpu.h"
#include "accel/soft/insn.h"

#define FAKE_NO_FAULT (-1)

struct fake_core {
	struct sx_cpu *cpu;
	struct sx_tlb_entry tlb[256];
	u8 *page;     /* guest memory: lin is the host address */
	bool has_tlb; /* the page is in the TLB; else all goes through the slow halves */
	int fault;
};

void fake_core_init(struct fake_core *f);
void fake_core_fini(struct fake_core *f);
/* 64-bit protected mode, FPU usable, registers clear. */
void fake_core_reset(struct fake_core *f);
/* Decodes, binds and executes one instruction, at the RIP that gpr[SX_RIP] says; returns its fault,
 * or FAKE_NO_FAULT. Asserts that it decodes and that it is the FPU's. c->fpu is true afterwards
 * unless stay_live. */
int fake_core_run(struct fake_core *f, const u8 *bytes, unsigned n, bool stay_live);

#endif

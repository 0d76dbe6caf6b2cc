/*
 * Runs one instruction on the host CPU: the reference for the software CPU's x87 and SIMD handlers.
 *
 * The instruction's bytes are put into a page that is made executable, between code that loads and
 * stores a state. It may use any register but RSP and R15; its memory operand is at RDI.
 */
#ifndef TESTS_UNIT_SOFT_HOST_INSN_H
#define TESTS_UNIT_SOFT_HOST_INSN_H

#include "base/base.h"

/* FXSAVE64's image. */
struct host_fpu {
	u16 fcw, fsw;
	u8 ftw, reserved1;
	u16 fop;
	u64 fip, fdp;
	u32 mxcsr, mxcsr_mask;
	u8 st[8][16];
	u8 xmm[16][16];
	u8 reserved2[96];
} __attribute__((aligned(64)));
static_assert(sizeof(struct host_fpu) == 512, "FXSAVE's layout");

struct host_state {
	struct host_fpu fpu;
	u64 rax, rcx, rdx, rbx, rdi;
	u64 rflags;
};

#define HOST_NO_FAULT (-1)

/* Makes the code; returns the address that the instruction has in it. */
u64 host_insn_prepare(const u8 *bytes, unsigned n);
/* Executes it: HOST_NO_FAULT, or the exception's vector (#UD, #GP or #PF as #GP, #MF, #XM); then
 * the state is as it was, but for what the instruction did to the FPU. */
int host_insn_run(struct host_state *s);

/* Does FXSAVE save the instruction and data pointers while no exception is pending? AMD's processors
 * save zeros then. */
bool host_saves_pointers(void);
u32 host_mxcsr_mask(void);
bool host_is_amd(void);

#endif

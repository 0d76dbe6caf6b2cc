/*
 * The FPU's state: x87, MXCSR and XMM registers, and where they are.
 *
 * XMM registers are always in c->fpu. MXCSR and the x87 registers are loaded into the host's when
 * an instruction needs them, and stay there until sx_fpu_sync: what c->fpu_live says decides which
 * copy is the true one. It also remembers that CR0 and CR4 were found to let the instructions run,
 * so that a handler has one flag to look at.
 *
 * The host's C code computes nothing in floating point while a vCPU runs, so it neither sees nor
 * disturbs the guest's rounding modes and flags; signal handlers start with registers of their own.
 * Before anything else runs on the thread (a device's callback, a library) sx_fpu_sync gives the
 * host its own state back.
 *
 * The guest's exceptions are never unmasked in the host's MXCSR: they are found by looking at the
 * flags (simd_fp.c). In x87's control word they are: the processor then reports them no sooner than
 * at the next waiting instruction, and sx_x87_settle takes the state away before there is one.
 */
#ifndef ACCEL_SOFT_FPU_H
#define ACCEL_SOFT_FPU_H

#include "accel/soft/cpu.h"
#include "accel/soft/insn.h"

#define SX_MXCSR_FLAGS      0x3fu   /* IE DE ZE OE UE PE */
#define SX_MXCSR_MASKS      0x1f80u /* the same, seven bits up */
#define SX_MXCSR_MASK_SHIFT 7
#define SX_MXCSR_FTZ        BIT32(15)
#define SX_MXCSR_VALID      0xffffu /* MXCSR_MASK of FXSAVE */

#define SX_FP_INVALID   BIT32(0)
#define SX_FP_DENORMAL  BIT32(1)
#define SX_FP_ZERO      BIT32(2)
#define SX_FP_OVERFLOW  BIT32(3)
#define SX_FP_UNDERFLOW BIT32(4)
#define SX_FP_PRECISION BIT32(5)

#define SX_FCW_INIT      0x37fu
#define SX_FOP_MASK      0x7ffu
#define SX_FSW_ES        BIT32(7)
#define SX_FSW_BUSY      BIT32(15)
#define SX_FSW_TOP_SHIFT 11
#define SX_FSW_TOP       (7u << SX_FSW_TOP_SHIFT)

/*
 * Makes c->fpu true and forgets that anything was checked; the host has its own state again. To be
 * called before c->fpu is read or written, when CR0 or CR4 change, and before the vCPU's thread
 * runs anything but the guest. Cheap when nothing is live.
 */
void sx_fpu_sync(struct sx_cpu *c);

/* XINUSE: the components that are not in their initial state; a bit may be set all the same. */
u64 sx_fpu_in_use(struct sx_cpu *c);

/* st[] is in the stack's order: what is where follows TOP. */
void sx_x87_set_top(struct sx_fpu *f, unsigned top);
/* To the state of FNINIT: x87 alone. The registers' contents stay, marked as empty. */
void sx_fpu_init_x87(struct sx_fpu *f);

/* May SSE instructions run? Raises #UD or #NM. */
void sx_sse_enter(struct sx_cpu *c, const struct sx_insn *i);
/* The same, and loads MXCSR when its exceptions are masked: fpu_live.fp says whether. */
void sx_fp_enter(struct sx_cpu *c, const struct sx_insn *i);

/* What instructions want of c->fpu_live. */
enum sx_fpu_need {
	SX_NEEDS_SSE = 1 << 0,
	SX_NEEDS_FP = 1 << 1,  /* MXCSR in the host's: includes SSE */
	SX_NEEDS_AVX = 1 << 3, /* includes SSE */
	SX_NEEDS_X87 = 1 << 2, /* x87 or MMX, all exceptions masked */
};
/* Makes ready for native code what it needs, without raising anything. False: instructions may not run,
 * or exceptions are unmasked or pending. */
bool sx_fpu_is_ready(struct sx_cpu *c, unsigned needs);

/* May x87 instructions run? Raises #NM, and the pending #MF; then loads the registers. */
void sx_x87_enter(struct sx_cpu *c, const struct sx_insn *i);
/* The same for what does not wait: no #MF; c->fpu is true afterwards. */
void sx_x87_enter_no_wait(struct sx_cpu *c, const struct sx_insn *i);
/* May MMX instructions run? Raises #UD, #NM, #MF; c->fpu is true afterwards. */
void sx_mmx_enter(struct sx_cpu *c, const struct sx_insn *i);
/* An MMX instruction was executed: TOP is 0 from now on, so that register n is st[n], and all
 * registers are tagged as valid (SDM 1, 9.5.1). */
void sx_mmx_take(struct sx_fpu *f);
/* Raises the #MF of an exception that is pending in c->fpu, which is true. */
void sx_x87_wait(struct sx_cpu *c, const struct sx_insn *i);

/* After an instruction with unmasked exceptions: did it raise one? If so the state is in c->fpu
 * afterwards, so that the host won't report it. */
bool sx_x87_settle(struct sx_cpu *c);

/* A control word as the processor keeps it: bit 6 is stuck at 1, reserved bits at 0. */
static inline u16 sx_x87_valid_fcw(u16 fcw)
{
	return (fcw & 0x1f3f) | 0x40;
}

/* The registers are in the host's, with this control word. */
static inline void sx_x87_note_masks(struct sx_cpu *c, u16 fcw)
{
	c->fpu_live.is_x87_unmasked = (fcw & 0x3f) != 0x3f;
	c->fpu_live.x87_masked = !c->fpu_live.is_x87_unmasked;
}

/* Error summary and busy, made of the exceptions and their masks. */
static inline void sx_x87_update_summary(struct sx_fpu *f)
{
	f->fsw &= (u16) ~(SX_FSW_ES | SX_FSW_BUSY);
	if (f->fsw & ~f->fcw & 0x3f)
		f->fsw |= SX_FSW_ES | SX_FSW_BUSY;
}

/* Handlers, by instruction; NULL: not one of theirs. off: of the instruction in its block. */
sx_insn_fn *sx_x87_bind(struct sx_insn *i, unsigned off);
sx_insn_fn *sx_fpu_env_bind(enum sx_op op);
sx_insn_fn *sx_fpu_xsave_bind(enum sx_op op);

#endif

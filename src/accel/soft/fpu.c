/*
 * Loading the guest's MXCSR and x87 registers into the host's, and taking them back (fpu.h).
 */
#include "accel/soft/fpu.h"

#include <string.h>

#include "accel/soft/exec.h"
#include "accel/soft/simd_vex.h"

/* FXSAVE's image (SDM 1, 10.5.1), as far as the x87 part goes. */
struct fx_image {
	u16 fcw, fsw;
	u8 ftw, reserved;
	u16 fop;
	u64 fip, fdp;
	u32 mxcsr, mxcsr_mask;
	u8 st[8][16];
	u8 rest[X86_FXSAVE_SIZE - X86_FXSAVE_XMM0];
} __attribute__((aligned(16)));
static_assert(sizeof(struct fx_image) == X86_FXSAVE_SIZE, "FXSAVE's layout");

static inline u32 host_mxcsr(void)
{
	u32 v;

	__asm__ volatile("stmxcsr %0" : "=m"(v));
	return v;
}

static inline void host_set_mxcsr(u32 v)
{
	__asm__ volatile("ldmxcsr %0" : : "m"(v));
}

/*
 * FXRSTOR loads the XMM registers as well: with zeros, after telling the compiler. The host's
 * instruction and data pointers stay out of it: the guest's are kept in c->fpu by software.
 */
static void x87_load(struct sx_cpu *c)
{
	const struct sx_fpu *f = &c->fpu;
	struct fx_image x = {.fcw = f->fcw, .fsw = f->fsw, .ftw = f->ftw, .mxcsr = host_mxcsr()};

	memcpy(x.st, f->st, sizeof(x.st));
	__asm__ volatile("fxrstor64 %0"
			 :
			 : "m"(x)
			 : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8",
			   "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
	c->fpu_live.x87 = true;
	sx_x87_note_masks(c, f->fcw);
}

/* FNINIT leaves the registers empty and exceptions masked, as the ABI and the library want it. */
static void x87_unload(struct sx_cpu *c)
{
	struct sx_fpu *f = &c->fpu;
	struct fx_image x;

	__asm__ volatile("fxsave64 %0\n\tfninit" : "=m"(x));
	f->fcw = x.fcw;
	f->fsw = x.fsw;
	f->ftw = x.ftw;
	/* The processor leaves the rest of each slot as it was, here whatever was on our stack. */
	for (unsigned n = 0; n < 8; n++)
		memcpy(f->st[n], x.st[n], 10);
	c->fpu_live.x87 = false;
	c->fpu_live.is_x87_unmasked = c->fpu_live.x87_masked = false;
}

void sx_fpu_sync(struct sx_cpu *c)
{
	if (c->fpu_live.fp) {
		c->fpu.mxcsr = host_mxcsr();
		host_set_mxcsr(X86_MXCSR_RESET);
		c->fpu_live.fp = false;
	}
	if (c->fpu_live.x87)
		x87_unload(c);
	c->fpu_live.sse = c->fpu_live.avx = false;
}

void sx_x87_set_top(struct sx_fpu *f, unsigned top)
{
	unsigned shift = top - ((f->fsw & SX_FSW_TOP) >> SX_FSW_TOP_SHIFT);
	u8 old[8][16];

	f->fsw = (u16)((f->fsw & ~SX_FSW_TOP) | (top & 7) << SX_FSW_TOP_SHIFT);
	if (!(shift & 7))
		return;
	memcpy(old, f->st, sizeof(old));
	for (unsigned n = 0; n < 8; n++)
		memcpy(f->st[n], old[(n + shift) & 7], sizeof(old[0]));
}

void sx_fpu_init_x87(struct sx_fpu *f)
{
	sx_x87_set_top(f, 0);
	f->fcw = SX_FCW_INIT;
	f->fsw = 0;
	f->ftw = 0;
	f->fop = 0;
	f->fip = 0;
	f->fdp = 0;
}

/* SDM 3A, table 13-1. */
void sx_sse_enter(struct sx_cpu *c, const struct sx_insn *i)
{
	if ((c->cr0 & X86_CR0_EM) || !(c->cr4 & X86_CR4_OSFXSR))
		sx_throw_ud(c, i);
	if (c->cr0 & X86_CR0_TS)
		sx_throw(c, i, X86_NM, 0);
	c->fpu_live.sse = true;
}

void sx_fp_enter(struct sx_cpu *c, const struct sx_insn *i)
{
	sx_sse_enter(c, i);
	if ((c->fpu.mxcsr & SX_MXCSR_MASKS) != SX_MXCSR_MASKS)
		return;
	host_set_mxcsr(c->fpu.mxcsr);
	c->fpu_live.fp = true;
}

static bool avx_is_on(const struct sx_cpu *c)
{
	const u64 both = X86_XCR0_SSE | X86_XCR0_AVX;

	return (c->cr4 & X86_CR4_OSXSAVE) && (c->xcr0 & both) == both;
}

static bool sse_is_on(const struct sx_cpu *c)
{
	return !(c->cr0 & (X86_CR0_EM | X86_CR0_TS)) && (c->cr4 & X86_CR4_OSFXSR);
}

/* SDM 2A, 2.4: neither CR0.EM nor CR4.OSFXSR is looked at. */
void sx_avx_enter(struct sx_cpu *c, const struct sx_insn *i)
{
	if (!avx_is_on(c))
		sx_throw_ud(c, i);
	if (c->cr0 & X86_CR0_TS)
		sx_throw(c, i, X86_NM, 0);
	c->fpu_live.avx = sse_is_on(c);
}

static bool sse_is_ready(struct sx_cpu *c, bool wants_fp)
{
	if (!sse_is_on(c))
		return false;
	if (!wants_fp)
		c->fpu_live.sse = true;
	else if (!c->fpu_live.fp)
		sx_fp_enter(c, NULL);
	return !wants_fp || c->fpu_live.fp;
}

static bool x87_is_ready(struct sx_cpu *c)
{
	if (c->cr0 & (X86_CR0_EM | X86_CR0_TS))
		return false;
	if (!c->fpu_live.x87) {
		sx_x87_update_summary(&c->fpu);
		if (c->fpu.fsw & SX_FSW_ES)
			return false;
		x87_load(c);
	}
	return c->fpu_live.x87_masked;
}

bool sx_fpu_is_ready(struct sx_cpu *c, unsigned needs)
{
	if ((needs & (SX_NEEDS_SSE | SX_NEEDS_FP)) && !sse_is_ready(c, needs & SX_NEEDS_FP))
		return false;
	if ((needs & SX_NEEDS_AVX) && !(c->fpu_live.avx = avx_is_on(c) && sse_is_on(c)))
		return false;
	return !(needs & SX_NEEDS_X87) || x87_is_ready(c);
}

/*
 * With CR0.NE clear the processor asserts FERR#, which PCs route to IRQ 13, and freezes until
 * IGNNE#. No such line is on the board: the instruction goes on, as with IGNNE# asserted (SDM 1,
 * 8.7.2).
 */
void sx_x87_wait(struct sx_cpu *c, const struct sx_insn *i)
{
	sx_x87_update_summary(&c->fpu); /* as a loaded state should have it, but may not */
	if ((c->fpu.fsw & SX_FSW_ES) && (c->cr0 & X86_CR0_NE))
		sx_throw(c, i, X86_MF, 0);
}

void sx_x87_enter(struct sx_cpu *c, const struct sx_insn *i)
{
	sx_x87_enter_no_wait(c, i);
	sx_x87_wait(c, i);
	/* Going on in spite of a pending exception: it is forgotten, since the host must not see it. */
	if (c->fpu.fsw & SX_FSW_ES)
		c->fpu.fsw &= (u16) ~(SX_FSW_ES | SX_FSW_BUSY | (~c->fpu.fcw & 0x3f));
	x87_load(c);
}

void sx_x87_enter_no_wait(struct sx_cpu *c, const struct sx_insn *i)
{
	if (c->cr0 & (X86_CR0_EM | X86_CR0_TS))
		sx_throw(c, i, X86_NM, 0);
	if (c->fpu_live.x87)
		x87_unload(c);
}

bool sx_x87_settle(struct sx_cpu *c)
{
	u16 fsw;

	__asm__ volatile("fnstsw %0" : "=a"(fsw));
	if (!(fsw & SX_FSW_ES))
		return false;
	x87_unload(c);
	return true;
}

void sx_mmx_take(struct sx_fpu *f)
{
	sx_x87_set_top(f, 0);
	f->ftw = 0xff;
}

void sx_mmx_enter(struct sx_cpu *c, const struct sx_insn *i)
{
	if (c->cr0 & X86_CR0_EM)
		sx_throw_ud(c, i);
	if (c->cr0 & X86_CR0_TS)
		sx_throw(c, i, X86_NM, 0);
	if (c->fpu_live.x87)
		x87_unload(c);
	sx_x87_wait(c, i);
}

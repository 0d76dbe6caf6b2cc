/*
 * FXSAVE, FXRSTOR, XSAVE, XSAVEOPT, XSAVEC, XRSTOR: the extended state in guest memory (SDM 1, 10.5 and
 * chapter 13): x87, SSE, AVX. With no component behind AVX's, the compacted form has all of them where the
 * standard form has them.
 *
 * c->fpu has the very layout, so this is copying with conditions: which components are asked for,
 * which are in their initial state, and how many registers the mode shows. Whatever can fault comes
 * before the first change, of memory as of registers.
 */
#include "accel/soft/fpu.h"

#include <string.h>

#include "accel/soft/exec.h"

#define X87_HEAD    24u /* FCW to FDP: what stands before MXCSR */
#define XSAVE_FULL  (X86_XCR0_X87 | X86_XCR0_SSE | X86_XCR0_AVX)
#define HEADER_BV   0 /* c->fpu.header: XSTATE_BV, XCOMP_BV, reserved */
#define HEADER_COMP 1
#define HEADER_ZERO 2
#define COMPACTED   BIT(63) /* XCOMP_BV */

/* XMM8 to XMM15 are out of sight, and so left alone, outside 64-bit code. */
static unsigned xsave_registers(const struct sx_cpu *c)
{
	return sx_is_64(c) ? 16 : 8;
}

static bool xsave_is_zero(const void *p, unsigned size)
{
	const u8 *b = p;

	return b[0] == 0 && memcmp(b, b + 1, size - 1) == 0;
}

/* Instruction and data pointer are 64 bits wide with REX.W; else 32, and selectors, which read as
 * 0 (CPUID.7.EBX, bit 13). */
static u64 xsave_pointer(const struct sx_insn *i, u64 pointer)
{
	return i->flags & SX_IF_REXW ? pointer : (u32)pointer;
}

/* Takes x87's part of a memory image over, as the registers can hold it. */
static void xsave_take_x87(struct sx_cpu *c, const struct sx_insn *i, const struct sx_fpu *image)
{
	struct sx_fpu *f = &c->fpu;

	f->fcw = sx_x87_valid_fcw(image->fcw);
	f->fsw = image->fsw;
	f->ftw = image->ftw;
	f->fop = image->fop & SX_FOP_MASK;
	f->fip = xsave_pointer(i, image->fip);
	f->fdp = xsave_pointer(i, image->fdp);
	for (unsigned n = 0; n < 8; n++)
		memcpy(f->st[n], image->st[n], 10);
	sx_x87_update_summary(f);
}

static void xsave_make_legacy(const struct sx_cpu *c, const struct sx_insn *i, struct sx_fpu *out)
{
	memcpy(out, &c->fpu, X86_XSAVE_HEADER);
	out->reserved1 = 0;
	out->fip = xsave_pointer(i, c->fpu.fip);
	out->fdp = xsave_pointer(i, c->fpu.fdp);
	out->mxcsr_mask = SX_MXCSR_VALID;
}

/* --- FXSAVE --- */

static u64 fxsave_begin(struct sx_cpu *c, const struct sx_insn *i, bool is_write)
{
	u64 lin;

	if (c->cr0 & X86_CR0_EM)
		sx_throw_ud(c, i);
	if (c->cr0 & X86_CR0_TS)
		sx_throw(c, i, X86_NM, 0);
	lin = sx_ea(c, i, X86_FXSAVE_SIZE, is_write);
	if (lin & 15)
		sx_throw_gp(c, i, 0);
	sx_fpu_sync(c);
	return lin;
}

static unsigned fxsave_bytes(const struct sx_cpu *c)
{
	return X86_FXSAVE_XMM0 + 16 * xsave_registers(c);
}

static noinline void fpu_fxsave_work(struct sx_cpu *c, const struct sx_insn *i)
{
	u64 lin = fxsave_begin(c, i, true);
	struct sx_fpu image;

	xsave_make_legacy(c, i, &image);
	sx_probe_write(c, i, lin, X86_FXSAVE_SIZE);
	sx_store_bytes(c, i, lin, &image, fxsave_bytes(c));
}
SX_HANDLER_OF(fpu_fxsave, fpu_fxsave_work)

static noinline void fpu_fxrstor_work(struct sx_cpu *c, const struct sx_insn *i)
{
	u64 lin = fxsave_begin(c, i, false);
	struct sx_fpu image;

	sx_load_bytes(c, i, lin, &image, X86_FXSAVE_SIZE);
	if (image.mxcsr & ~SX_MXCSR_VALID)
		sx_throw_gp(c, i, 0);
	xsave_take_x87(c, i, &image);
	c->fpu.mxcsr = image.mxcsr;
	memcpy(c->fpu.xmm, image.xmm, 16 * xsave_registers(c));
}
SX_HANDLER_OF(fpu_fxrstor, fpu_fxrstor_work)

/* --- XSAVE --- */

/* The components asked for: the requested-feature bitmap (SDM 1, 13.3). */
static u64 xsave_requested(const struct sx_cpu *c)
{
	return c->xcr0 & XSAVE_FULL & ((c->gpr[X86_RDX] << 32) | (u32)c->gpr[X86_RAX]);
}

static unsigned xsave_bytes(const struct sx_cpu *c, u64 requested)
{
	if (requested & X86_XCR0_AVX)
		return X86_XSAVE_YMM + 16 * xsave_registers(c);
	return X86_XSAVE_YMM;
}

static u64 xsave_begin(struct sx_cpu *c, const struct sx_insn *i, bool is_write)
{
	u64 lin;

	if (!(c->cr4 & X86_CR4_OSXSAVE))
		sx_throw_ud(c, i);
	if (c->cr0 & X86_CR0_TS)
		sx_throw(c, i, X86_NM, 0);
	lin = sx_ea(c, i, xsave_bytes(c, xsave_requested(c)), is_write);
	if (lin & 63)
		sx_throw_gp(c, i, 0);
	sx_fpu_sync(c);
	return lin;
}

/* XINUSE: the components that are not in their initial state. */
static u64 xsave_in_use(const struct sx_cpu *c)
{
	static const struct sx_fpu initial = {.fcw = SX_FCW_INIT};
	const struct sx_fpu *f = &c->fpu;
	u64 in_use = 0;

	if (memcmp(f, &initial, X87_HEAD) != 0 || !xsave_is_zero(f->st, sizeof(f->st)))
		in_use |= X86_XCR0_X87;
	if (!xsave_is_zero(f->xmm, sizeof(f->xmm)))
		in_use |= X86_XCR0_SSE;
	if (!xsave_is_zero(f->ymm_high, sizeof(f->ymm_high)))
		in_use |= X86_XCR0_AVX;
	return in_use;
}

static void xsave_store_field(struct sx_cpu *c, const struct sx_insn *i, u64 lin,
			      const struct sx_fpu *image, size_t off, unsigned size)
{
	sx_store_bytes(c, i, lin + off, (const u8 *)image + off, size);
}

/* The write was probed as a whole: none of these can fault. */
static void xsave_store(struct sx_cpu *c, const struct sx_insn *i, u64 lin, u64 requested,
			u64 written)
{
	unsigned vector_bytes = 16 * xsave_registers(c);
	struct sx_fpu image;

	xsave_make_legacy(c, i, &image);
	if (written & X86_XCR0_X87) {
		xsave_store_field(c, i, lin, &image, 0, X87_HEAD);
		xsave_store_field(c, i, lin, &image, X86_FXSAVE_ST0, sizeof(image.st));
	}
	if (requested & (X86_XCR0_SSE | X86_XCR0_AVX))
		xsave_store_field(c, i, lin, &image, X86_FXSAVE_MXCSR, 8);
	if (written & X86_XCR0_SSE)
		xsave_store_field(c, i, lin, &image, X86_FXSAVE_XMM0, vector_bytes);
	if (written & X86_XCR0_AVX)
		xsave_store_field(c, i, lin, &c->fpu, X86_XSAVE_YMM, vector_bytes);
}

static void xsave(struct sx_cpu *c, const struct sx_insn *i, bool is_optimized)
{
	u64 lin = xsave_begin(c, i, true);
	u64 requested = xsave_requested(c);
	u64 in_use = xsave_in_use(c);
	u64 bv;

	sx_probe_write(c, i, lin, xsave_bytes(c, requested));
	bv = sx_load(c, i, lin + X86_XSAVE_HEADER, 8);
	xsave_store(c, i, lin, requested, is_optimized ? requested & in_use : requested);
	bv = (bv & ~requested) | (in_use & requested);
	sx_store(c, i, lin + X86_XSAVE_HEADER, bv, 8);
}

static void fpu_xsave(struct sx_cpu *c, const struct sx_insn *i)
{
	xsave(c, i, false);
	SX_NEXT(c, i);
}

/* Leaves out what is in its initial state; the rest is stored whether it was modified or not. */
static void fpu_xsaveopt(struct sx_cpu *c, const struct sx_insn *i)
{
	xsave(c, i, true);
	SX_NEXT(c, i);
}

u64 sx_fpu_in_use(struct sx_cpu *c)
{
	sx_fpu_sync(c);
	return xsave_in_use(c);
}

/*
 * What is in its initial state isn't stored; of the header two fields are written, and nothing is read. MXCSR that
 * isn't initial makes SSE count as in use (SDM 1, 13.10).
 */
static noinline void fpu_xsavec_work(struct sx_cpu *c, const struct sx_insn *i)
{
	u64 lin = xsave_begin(c, i, true);
	u64 requested = xsave_requested(c);
	u64 bv = xsave_in_use(c) | (c->fpu.mxcsr != X86_MXCSR_RESET ? X86_XCR0_SSE : 0);
	u64 header[2] = {[HEADER_BV] = bv & requested, [HEADER_COMP] = COMPACTED | requested};

	sx_probe_write(c, i, lin, xsave_bytes(c, requested));
	xsave_store(c, i, lin, header[HEADER_BV] & X86_XCR0_SSE, header[HEADER_BV]);
	sx_store_bytes(c, i, lin + X86_XSAVE_HEADER, header, sizeof(header));
}
SX_HANDLER_OF(fpu_xsavec, fpu_xsavec_work)

/* Zeroes is what a component that the image has not becomes (but for x87's control word). */
static void xsave_take_vectors(u8 (*regs)[16], const u8 (*image)[16], unsigned bytes, bool has)
{
	if (has)
		memcpy(regs, image, bytes);
	else
		memset(regs, 0, bytes);
}

static void xsave_check_header(struct sx_cpu *c, const struct sx_insn *i,
			       const struct sx_fpu *image)
{
	u64 comp = image->header[HEADER_COMP];
	bool is_compacted = comp & COMPACTED && c->features & BIT(SX_F_XSAVEC);
	bool is_bad = image->header[HEADER_BV] & ~c->xcr0;

	if (is_compacted)
		is_bad |= (comp & ~COMPACTED & ~c->xcr0) || (image->header[HEADER_BV] & ~comp);
	else
		is_bad |= comp != 0;
	for (unsigned n = HEADER_ZERO; n < (is_compacted ? 8 : HEADER_ZERO + 1); n++)
		is_bad |= image->header[n] != 0;
	if (is_bad)
		sx_throw_gp(c, i, 0);
}

/* MXCSR is of SSE alone in the compacted form, and initial with it. */
static void xsave_take_mxcsr(struct sx_cpu *c, const struct sx_insn *i, const struct sx_fpu *image,
			     u64 requested)
{
	bool is_compacted = image->header[HEADER_COMP] & COMPACTED;
	u64 owners = is_compacted ? X86_XCR0_SSE : X86_XCR0_SSE | X86_XCR0_AVX;

	if (!(requested & owners))
		return;
	if (is_compacted && !(image->header[HEADER_BV] & X86_XCR0_SSE)) {
		c->fpu.mxcsr = X86_MXCSR_RESET;
		return;
	}
	if (image->mxcsr & ~SX_MXCSR_VALID)
		sx_throw_gp(c, i, 0);
	c->fpu.mxcsr = image->mxcsr;
}

static noinline void fpu_xrstor_work(struct sx_cpu *c, const struct sx_insn *i)
{
	u64 lin = xsave_begin(c, i, false);
	u64 requested = xsave_requested(c);
	unsigned vector_bytes = 16 * xsave_registers(c);
	struct sx_fpu image;

	sx_load_bytes(c, i, lin, &image, xsave_bytes(c, requested));
	xsave_check_header(c, i, &image);

	u64 bv = image.header[HEADER_BV];

	xsave_take_mxcsr(c, i, &image, requested);
	if (requested & bv & X86_XCR0_X87) {
		xsave_take_x87(c, i, &image);
	} else if (requested & X86_XCR0_X87) {
		sx_fpu_init_x87(&c->fpu);
		memset(c->fpu.st, 0, sizeof(c->fpu.st));
	}
	if (requested & X86_XCR0_SSE)
		xsave_take_vectors(c->fpu.xmm, image.xmm, vector_bytes, bv & X86_XCR0_SSE);
	if (requested & X86_XCR0_AVX)
		xsave_take_vectors(c->fpu.ymm_high, image.ymm_high, vector_bytes,
				   bv & X86_XCR0_AVX);
}
SX_HANDLER_OF(fpu_xrstor, fpu_xrstor_work)

sx_insn_fn *sx_fpu_xsave_bind(enum sx_op op)
{
	switch ((int)op) {
	case SX_FXSAVE:
		return fpu_fxsave;
	case SX_FXRSTOR:
		return fpu_fxrstor;
	case SX_XSAVE:
		return fpu_xsave;
	case SX_XSAVEOPT:
		return fpu_xsaveopt;
	case SX_XSAVEC:
		return fpu_xsavec;
	case SX_XRSTOR:
		return fpu_xrstor;
	default:
		return NULL;
	}
}

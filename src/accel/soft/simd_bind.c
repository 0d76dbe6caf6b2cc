/*
 * From a decoded SIMD or x87 instruction to its handler and its stub.
 *
 * The host has the same instructions, so the host is what they mean: each is carried out by a stub
 * that holds the very same one (simd_stubs.S, fpu_stubs.S). What is written in C is everything
 * around it: which stub, where operands are, when it may run, and what it raises.
 */
#include "accel/soft/bind.h"
#include "accel/soft/fpu.h"
#include "accel/soft/simd_ops.h"
#include "accel/soft/simd_priv.h"

#define X(mnemonic, OP) sx_simd_stub sx_simd_##mnemonic;
SX_SIMD_MMX_AND_XMM(X)
SX_SIMD_XMM(X)
SX_SIMD_XMM0(X)
SX_SIMD_FP(X)
SX_SIMD_FROM_MMX(X)
SX_SIMD_TO_MMX(X)
SX_SIMD_TO_FLAGS(X)
SX_SIMD_TO_FLAGS_FP(X)
#undef X
#define X(mnemonic, OP) sx_simd_stub sx_mmx_##mnemonic;
SX_SIMD_MMX_AND_XMM(X)
#undef X
#define X(mnemonic, OP) sx_simd_stub sx_simd_imm_##mnemonic;
SX_SIMD_XMM_IMM(X)
SX_SIMD_XMM_IMM_ALONE(X)
SX_SIMD_FP_IMM(X)
SX_SIMD_STRING(X)
#undef X
#define X(mnemonic, OP) sx_simd_stub sx_mmx_imm_##mnemonic;
SX_SIMD_MMX_IMM(X)
#undef X
#define X(mnemonic, OP) sx_simd_stub sx_simd_##mnemonic##_32, sx_simd_##mnemonic##_64;
SX_SIMD_FROM_GPR(X)
SX_SIMD_TO_GPR(X)
#undef X

/* The stubs of an operation: on XMM registers (of the 32-bit integer form, of the first immediate),
 * and on MMX registers or of the 64-bit integer form. */
struct stubs {
	sx_simd_stub *xmm, *other;
	enum simd_kind kind;
	bool has_imm;
};

#define FIRST_OP SX_EMMS

/* clang-format off */
static const struct stubs stubs[SX_OP_COUNT - FIRST_OP] = {
#define X(mnemonic, OP) [SX_##OP - FIRST_OP] = {sx_simd_##mnemonic, sx_mmx_##mnemonic, SIMD_INTEGER, false},
	SX_SIMD_MMX_AND_XMM(X)
#undef X
#define X(mnemonic, OP) [SX_##OP - FIRST_OP] = {sx_simd_##mnemonic, NULL, SIMD_INTEGER, false},
	SX_SIMD_XMM(X)
#undef X
#define X(mnemonic, OP) [SX_##OP - FIRST_OP] = {sx_simd_##mnemonic, NULL, SIMD_WITH_XMM0, false},
	SX_SIMD_XMM0(X)
#undef X
#define X(mnemonic, OP) [SX_##OP - FIRST_OP] = {sx_simd_##mnemonic, NULL, SIMD_FP, false},
	SX_SIMD_FP(X)
#undef X
#define X(mnemonic, OP) [SX_##OP - FIRST_OP] = {sx_simd_##mnemonic, NULL, SIMD_FROM_MMX, false},
	SX_SIMD_FROM_MMX(X)
#undef X
#define X(mnemonic, OP) [SX_##OP - FIRST_OP] = {sx_simd_##mnemonic, NULL, SIMD_TO_MMX, false},
	SX_SIMD_TO_MMX(X)
#undef X
#define X(mnemonic, OP) [SX_##OP - FIRST_OP] = {sx_simd_##mnemonic, NULL, SIMD_TO_FLAGS, false},
	SX_SIMD_TO_FLAGS(X)
#undef X
#define X(mnemonic, OP) [SX_##OP - FIRST_OP] = {sx_simd_##mnemonic, NULL, SIMD_TO_FLAGS_FP, false},
	SX_SIMD_TO_FLAGS_FP(X)
#undef X
#define X(mnemonic, OP) [SX_##OP - FIRST_OP] = {sx_simd_##mnemonic##_32, sx_simd_##mnemonic##_64, SIMD_FROM_GPR, false},
	SX_SIMD_FROM_GPR(X)
#undef X
#define X(mnemonic, OP) [SX_##OP - FIRST_OP] = {sx_simd_##mnemonic##_32, sx_simd_##mnemonic##_64, SIMD_TO_GPR, false},
	SX_SIMD_TO_GPR(X)
#undef X
#define X(mnemonic, OP) [SX_##OP - FIRST_OP] = {sx_simd_imm_##mnemonic, NULL, SIMD_INTEGER, true},
	SX_SIMD_XMM_IMM(X)
#undef X
#define X(mnemonic, OP) [SX_##OP - FIRST_OP] = {sx_simd_imm_##mnemonic, NULL, SIMD_ALONE, true},
	SX_SIMD_XMM_IMM_ALONE(X)
#undef X
#define X(mnemonic, OP) [SX_##OP - FIRST_OP] = {sx_simd_imm_##mnemonic, NULL, SIMD_FP, true},
	SX_SIMD_FP_IMM(X)
#undef X
#define X(mnemonic, OP) [SX_##OP - FIRST_OP] = {sx_simd_imm_##mnemonic, NULL, SIMD_STRING, true},
	SX_SIMD_STRING(X)
#undef X
};
/* clang-format on */

static bool is_mmx_register(const struct sx_operand *o)
{
	return o->kind == SX_OPD_P || o->kind == SX_OPD_Q || o->kind == SX_OPD_N;
}

/* MMX registers are operands, or could be: CVTPI2PS from memory counts. */
static bool simd_uses_mmx(const struct sx_form *f)
{
	return f->op == SX_EMMS || is_mmx_register(&f->opd[0]) || is_mmx_register(&f->opd[1]);
}

/* The stub of the first immediate, of instructions that have one on MMX registers. */
static sx_simd_stub *simd_mmx_imm(enum sx_op op)
{
	if (op == SX_PSHUFW)
		return sx_mmx_imm_pshufw;
	return op == SX_PALIGNR ? sx_mmx_imm_palignr : NULL;
}

static u64 simd_nth_stub(sx_simd_stub *first, unsigned slot, u8 imm)
{
	return (u64)first + slot * imm;
}

/* Sets imm to the stub's address. The count of a shift goes to disp, the register form's has no
 * other use of it. */
static void simd_bind_stub(struct sx_insn *i, const struct stubs *s, bool is_mmx)
{
	enum sx_op op = sx_insn_op(i);
	u8 imm = (u8)i->imm;

	if (is_mmx && simd_mmx_imm(op)) {
		i->imm = simd_nth_stub(simd_mmx_imm(op), SX_MMX_SLOT, imm);
		return;
	}
	if (s->has_imm) {
		/* From memory, INSERTPS takes the one element that is there. */
		if (op == SX_INSERTPS && sx_insn_is_mem(i))
			imm &= 0x3f;
		i->imm = simd_nth_stub(s->xmm, SX_SIMD_SLOT, imm);
		return;
	}
	if (sx_insn_form(i)->shape == SX_SHAPE_RM_IMM)
		i->disp = imm;
	if (s->kind == SIMD_FROM_GPR || s->kind == SIMD_TO_GPR)
		i->imm = (u64)(i->flags & SX_IF_REXW ? s->other : s->xmm);
	else if (s->kind == SIMD_INTEGER && is_mmx)
		i->imm = (u64)s->other;
	else
		i->imm = (u64)s->xmm;
}

bool sx_simd_is_float(enum sx_op op)
{
	enum simd_kind kind = stubs[op - FIRST_OP].kind;

	return kind == SIMD_FP || kind == SIMD_FROM_GPR || kind == SIMD_TO_GPR ||
	       kind == SIMD_TO_FLAGS_FP;
}

/* Of the kinds that convert between MMX and XMM registers some need both, by their operands. */
struct sx_simd_traits sx_simd_find_traits(const struct sx_insn *i)
{
	enum sx_op op = sx_insn_op(i);
	struct sx_simd_traits t = {.writes_operand = true};
	const struct sx_form *f = sx_insn_form(i);
	enum simd_kind kind;

	if (i->flags & SX_IF_VEX || op == SX_MASKMOVDQU || op == SX_MASKMOVQ)
		return t;
	kind = stubs[op - FIRST_OP].kind;
	if (kind == SIMD_FROM_MMX || kind == SIMD_TO_MMX)
		return t;
	t.is_plain = true;
	t.is_mmx = simd_uses_mmx(f);
	t.needs = t.is_mmx ? SX_NEEDS_X87 : SX_NEEDS_SSE;
	if (sx_form_is_xmm(f))
		t.needs |= SX_NEEDS_SSE;
	if (sx_simd_is_float(op))
		t.needs |= SX_NEEDS_FP;
	t.writes_flags = kind == SIMD_TO_FLAGS || kind == SIMD_TO_FLAGS_FP || kind == SIMD_STRING;
	t.writes_operand = !t.writes_flags;
	t.reads_xmm0 = kind == SIMD_WITH_XMM0;
	t.writes_xmm0 = op == SX_PCMPESTRM || op == SX_PCMPISTRM;
	return t;
}

static sx_insn_fn *simd_bind(struct sx_insn *i)
{
	const struct stubs *s = &stubs[sx_insn_op(i) - FIRST_OP];
	bool is_mmx = simd_uses_mmx(sx_insn_form(i));
	enum simd_kind kind = is_mmx && simd_mmx_imm(sx_insn_op(i)) ? SIMD_INTEGER : s->kind;
	sx_insn_fn *fn;

	if (kind != SIMD_NONE)
		simd_bind_stub(i, s, is_mmx);
	if (kind == SIMD_STRING)
		return sx_simd_bind_string(i);
	if (is_mmx)
		return sx_simd_bind_mmx(i, kind);
	/* The stub is still wanted, for when an exception is unmasked. A shift's count is no source. */
	fn = sx_insn_form(i)->shape == SX_SHAPE_REG_RM ? sx_simd_bind_direct(i) : NULL;
	if (fn)
		return fn;
	if (kind != SIMD_NONE)
		return sx_simd_bind_xmm(i, kind);
	fn = sx_simd_bind_move(i);
	return fn ? fn : sx_simd_bind_element(i);
}

sx_insn_fn *sx_bind_fpu(struct sx_insn *i, unsigned off)
{
	enum sx_op op = sx_insn_op(i);
	sx_insn_fn *fn;

	if (op >= FIRST_OP)
		return simd_bind(i);
	fn = sx_simd_bind_mxcsr(i);
	if (!fn)
		fn = sx_fpu_xsave_bind(op);
	if (!fn)
		fn = sx_fpu_env_bind(op);
	if (!fn)
		fn = sx_x87_bind(i, off);
	return fn;
}

/*
 * Instructions with a VEX prefix: AVX, AVX2, FMA, F16C, BMI1, BMI2.
 *
 * Each is carried out by a stub of the same encoding on fixed registers (mkvex.c), which are loaded from a frame
 * and stored there, whatever the instruction takes of them. One handler serves all; what it has to load and to
 * store follows from the row's operands. Not made for speed: hot code is translated.
 *
 * The host's instruction clears the destination's upper half where the guest's does, so that registers are
 * moved whole: c->fpu.xmm and c->fpu.ymm_high have the halves.
 */
#include "accel/soft/simd_vex.h"

#include <string.h>

#include "accel/soft/bind.h"
#include "accel/soft/exec.h"
#include "accel/soft/fpu.h"
#include "accel/soft/simd_vex_priv.h"

extern const void *const sx_vex_stubs[][4];

enum { FRAME_REG, FRAME_VVVV, FRAME_RM, FRAME_OTHER }; /* OTHER: a fourth register, or memory */

struct vex_frame {
	u8 v[4][32];
	u64 gpr[3], rdx;
	u64 rflags;
} __attribute__((aligned(64)));
static_assert(offsetof(struct vex_frame, gpr) == 128, "simd_stubs.S");
static_assert(offsetof(struct vex_frame, rdx) == 152, "simd_stubs.S");
static_assert(offsetof(struct vex_frame, rflags) == 160, "simd_stubs.S");

/* simd_stubs.S */
void sx_vex_call(struct vex_frame *x, const void *stub);
void sx_vex_call_flags(struct vex_frame *x, const void *stub);
void sx_vex_call_gpr(struct vex_frame *x, const void *stub);

static bool is_rm(const struct sx_operand *o)
{
	const u64 kinds =
		BIT(SX_OPD_W) | BIT(SX_OPD_U) | BIT(SX_OPD_E) | BIT(SX_OPD_EX) | BIT(SX_OPD_M);

	return BIT(o->kind) & kinds;
}

static bool is_vector(const struct sx_form *f)
{
	return sx_form_is_xmm(f);
}

static const void *stub_of(const struct sx_insn *i)
{
	const struct sx_form *f = sx_insn_form(i);
	unsigned variant = (i->flags & SX_IF_L && !(f->attr & SX_A_L0) ? 1u : 0) |
			   (i->flags & SX_IF_REXW ? 2u : 0);
	const u8 *stub = sx_vex_stubs[i->form][variant];
	u8 imm = (u8)i->imm;

	if (!stub) /* W says nothing here */
		stub = sx_vex_stubs[i->form][variant & 1];
	for (unsigned k = 0; k < ARRAY_SIZE(f->opd); k++) {
		if (f->opd[k].kind != SX_OPD_I)
			continue;
		/* From memory, INSERTPS takes the one element that is there. */
		if (f->op == SX_INSERTPS && sx_insn_is_mem(i))
			imm &= 0x3f;
		return stub + SX_VEX_SLOT * imm;
	}
	return stub;
}

/* --- operands --- */

static u64 memory_of(struct sx_cpu *c, const struct sx_insn *i, bool is_write)
{
	u64 lin = sx_ea(c, i, i->size, is_write);

	if (sx_insn_form(i)->attr & SX_A_ALIGN && lin & (i->size - 1u))
		sx_throw_gp(c, i, 0);
	return lin;
}

/* Where the frame has the operand when it is memory. */
static u8 *memory_in_frame(const struct sx_insn *i, struct vex_frame *x, const struct sx_operand *o)
{
	if (sx_insn_form(i)->modrm == SX_MODRM_MEM)
		return x->v[FRAME_OTHER];
	return o->kind == SX_OPD_W ? x->v[FRAME_RM] : (u8 *)&x->gpr[FRAME_RM];
}

static void load_memory(struct sx_cpu *c, const struct sx_insn *i, struct vex_frame *x,
			const struct sx_operand *o)
{
	u64 lin = memory_of(c, i, false);

	if (i->size <= 8) {
		u64 v = sx_load(c, i, lin, i->size);

		memcpy(memory_in_frame(i, x, o), &v, 8);
	} else {
		sx_load_bytes(c, i, lin, memory_in_frame(i, x, o), i->size);
	}
}

static void load_operand(struct sx_cpu *c, const struct sx_insn *i, struct vex_frame *x,
			 const struct sx_operand *o)
{
	switch ((int)o->kind) {
	case SX_OPD_V:
		sx_vex_get(c, i->reg, x->v[FRAME_REG]);
		break;
	case SX_OPD_H:
		sx_vex_get(c, i->cc, x->v[FRAME_VVVV]);
		break;
	case SX_OPD_L:
		sx_vex_get(c, (unsigned)i->imm, x->v[FRAME_OTHER]);
		break;
	case SX_OPD_B:
		x->gpr[FRAME_VVVV] = c->gpr[i->cc];
		break;
	case SX_OPD_W:
	case SX_OPD_U:
		sx_vex_get(c, i->rm, x->v[FRAME_RM]);
		break;
	case SX_OPD_E:
	case SX_OPD_EX:
		x->gpr[FRAME_RM] = c->gpr[i->rm];
		break;
	}
}

static void load_operands(struct sx_cpu *c, const struct sx_insn *i, struct vex_frame *x)
{
	const struct sx_form *f = sx_insn_form(i);

	memset(x, 0, sizeof(*x));
	for (unsigned k = 0; k < ARRAY_SIZE(f->opd); k++) {
		const struct sx_operand *o = &f->opd[k];

		if (!sx_insn_is_mem(i) || !is_rm(o))
			load_operand(c, i, x, o);
		else if (k || sx_vex_writes_nothing(f->op))
			load_memory(c, i, x, o);
		else /* before anything is computed that leaves flags in MXCSR */
			sx_probe_write(c, i, memory_of(c, i, true), i->size);
	}
	/* Implied ones: MULX, lengths of strings. */
	x->rdx = c->gpr[X86_RDX];
	if (f->op == SX_PCMPESTRI || f->op == SX_PCMPESTRM) {
		x->gpr[FRAME_REG] = sx_simd_string_length(i, c->gpr[X86_RAX]);
		x->rdx = sx_simd_string_length(i, c->gpr[X86_RDX]);
	}
	x->rflags = sx_flags_of_cc(c->cc) | X86_FLAG_ONE;
}

static void store_memory(struct sx_cpu *c, const struct sx_insn *i, struct vex_frame *x,
			 const struct sx_operand *o)
{
	u64 lin = memory_of(c, i, true), v;

	if (i->size <= 8) {
		memcpy(&v, memory_in_frame(i, x, o), 8);
		sx_store(c, i, lin, v, i->size);
	} else {
		sx_store_bytes(c, i, lin, memory_in_frame(i, x, o), i->size);
	}
}

static void store_operand(struct sx_cpu *c, const struct sx_insn *i, struct vex_frame *x,
			  const struct sx_operand *o)
{
	switch ((int)o->kind) {
	case SX_OPD_V:
		sx_vex_set(c, i->reg, x->v[FRAME_REG]);
		return;
	case SX_OPD_H:
		sx_vex_set(c, i->cc, x->v[FRAME_VVVV]);
		return;
	case SX_OPD_G:
		c->gpr[i->reg] = x->gpr[FRAME_REG];
		return;
	case SX_OPD_B:
		c->gpr[i->cc] = x->gpr[FRAME_VVVV];
		return;
	}
	if (sx_insn_is_mem(i))
		store_memory(c, i, x, o);
	else if (o->kind == SX_OPD_W || o->kind == SX_OPD_U)
		sx_vex_set(c, i->rm, x->v[FRAME_RM]);
	else
		c->gpr[i->rm] = x->gpr[FRAME_RM];
}

static void store_results(struct sx_cpu *c, const struct sx_insn *i, struct vex_frame *x)
{
	const struct sx_form *f = sx_insn_form(i);

	switch ((int)f->op) {
	case SX_MULX: /* the same register twice has the high half */
		store_operand(c, i, x, &f->opd[1]);
		break;
	case SX_PCMPESTRI:
	case SX_PCMPISTRI:
		c->gpr[X86_RCX] = (u32)x->gpr[FRAME_VVVV];
		break;
	case SX_PCMPESTRM:
	case SX_PCMPISTRM:
		sx_vex_set(c, 0, x->v[FRAME_REG]);
		break;
	}
	if (!sx_vex_writes_nothing(f->op))
		store_operand(c, i, x, &f->opd[0]);
	if (sx_vex_writes_flags(f->op))
		c->cc = sx_cc_of_flags(x->rflags);
}

/* --- computing --- */

bool sx_vex_is_float(enum sx_op op)
{
	if (op >= SX_CVTPH2PS)
		return true;
	return op >= SX_EMMS && sx_simd_is_float(op);
}

struct compute {
	struct vex_frame *x;
	const void *stub;
};

static void compute(void *opaque)
{
	const struct compute *k = opaque;

	sx_vex_call_flags(k->x, k->stub);
}

/* The bytes of the frame that a floating-point result is in. */
static const u8 *result_in_frame(const struct sx_insn *i, struct vex_frame *x)
{
	const struct sx_operand *o = &sx_insn_form(i)->opd[0];

	return x->v[is_rm(o) ? FRAME_RM : FRAME_REG];
}

/* A device that was read may have taken MXCSR back. */
static void compute_float(struct sx_cpu *c, const struct sx_insn *i, struct vex_frame *x)
{
	struct compute k = {x, stub_of(i)};

	if (!c->fpu_live.fp && c->fpu_live.avx)
		sx_fp_enter(c, i);
	if (c->fpu_live.fp)
		compute(&k);
	else
		sx_simd_fp_unmasked(c, i, compute, &k, result_in_frame(i, x));
}

static noinline void vex_vector_work(struct sx_cpu *c, const struct sx_insn *i)
{
	enum sx_op op = sx_insn_op(i);
	struct vex_frame x;

	sx_vex_begin(c, i);
	load_operands(c, i, &x);
	if (sx_vex_is_float(op)) {
		sx_vex_begin(c, i);
		compute_float(c, i, &x);
	} else if (sx_vex_writes_flags(op)) {
		sx_vex_call_flags(&x, stub_of(i));
	} else {
		sx_vex_call(&x, stub_of(i));
	}
	store_results(c, i, &x);
}
SX_HANDLER_OF(vex_vector, vex_vector_work)

/* BMI: no vector state. */
static noinline void vex_general_work(struct sx_cpu *c, const struct sx_insn *i)
{
	struct vex_frame x;

	load_operands(c, i, &x);
	sx_vex_call_gpr(&x, stub_of(i));
	store_results(c, i, &x);
}
SX_HANDLER_OF(vex_general, vex_general_work)

sx_insn_fn *sx_vex_bind(const struct sx_insn *i)
{
	if (sx_vex_has_own_handler(sx_insn_op(i)))
		return sx_vex_bind_own(i);
	return is_vector(sx_insn_form(i)) ? vex_vector : vex_general;
}

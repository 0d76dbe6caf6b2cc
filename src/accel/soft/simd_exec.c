/*
 * SIMD instructions on XMM registers that are a stub and no more: operands in, stub, result out.
 *
 * A handler per kind of stub and kind of source, made from one always-inlined body each.
 */
#include "accel/soft/simd_priv.h"

__m128i sx_simd_load_slow(struct sx_cpu *c, const struct sx_insn *i, u64 lin)
{
	__m128i v;

	sx_load_bytes_slow(c, i, lin, &v, 16);
	return v;
}

void sx_simd_store_slow(struct sx_cpu *c, const struct sx_insn *i, u64 lin, __m128i v)
{
	sx_store_bytes_slow(c, i, lin, &v, 16);
}

static always_inline __m128i simd_source(struct sx_cpu *c, const struct sx_insn *i,
					 enum simd_source from)
{
	switch (from) {
	case SIMD_ALIGNED:
		return simd_load(c, i, true);
	case SIMD_16:
		return simd_load(c, i, false);
	case SIMD_8:
		return simd_of_u64(simd_load_u64(c, i, 8));
	case SIMD_4:
		return simd_of_u64(simd_load_u64(c, i, 4));
	case SIMD_2:
		return simd_of_u64(simd_load_u64(c, i, 2));
	case SIMD_REGISTER:
	case SIMD_SOURCES:
		break;
	}
	return simd_xmm(c, i->rm);
}

/* The source as an integer: a general register, or memory of 4 or 8 bytes. */
static always_inline __m128i simd_gpr_source(struct sx_cpu *c, const struct sx_insn *i,
					     enum simd_source from)
{
	return from == SIMD_REGISTER ? simd_of_u64(c->gpr[i->rm]) : simd_source(c, i, from);
}

static always_inline void simd_integer(struct sx_cpu *c, const struct sx_insn *i,
				       enum simd_source from)
{
	simd_begin(c, i);

	__m128i s = simd_source(c, i, from);

	simd_set_xmm(c, i->reg, simd_stub(i)(simd_xmm(c, i->reg), s, s));
}

static always_inline void simd_with_xmm0(struct sx_cpu *c, const struct sx_insn *i,
					 enum simd_source from)
{
	simd_begin(c, i);

	__m128i s = simd_source(c, i, from);

	simd_set_xmm(c, i->reg, simd_stub(i)(simd_xmm(c, i->reg), s, simd_xmm(c, 0)));
}

static always_inline void simd_fp(struct sx_cpu *c, const struct sx_insn *i, enum simd_source from)
{
	simd_fp_begin(c, i);

	__m128i s = simd_source(c, i, from);

	simd_set_xmm(c, i->reg, simd_fp_call(c, i, simd_xmm(c, i->reg), s));
}

static always_inline void simd_from_gpr(struct sx_cpu *c, const struct sx_insn *i,
					enum simd_source from)
{
	simd_fp_begin(c, i);

	__m128i s = simd_gpr_source(c, i, from);

	simd_set_xmm(c, i->reg, simd_fp_call(c, i, simd_xmm(c, i->reg), s));
}

/* The stub leaves a 32-bit result zero-extended. */
static always_inline void simd_to_gpr(struct sx_cpu *c, const struct sx_insn *i,
				      enum simd_source from)
{
	simd_fp_begin(c, i);

	__m128i s = simd_source(c, i, from);

	c->gpr[i->reg] = simd_to_u64(simd_fp_call(c, i, s, s));
}

static always_inline void simd_to_flags_fp(struct sx_cpu *c, const struct sx_insn *i,
					   enum simd_source from)
{
	simd_fp_begin(c, i);

	__m128i s = simd_source(c, i, from);

	c->cc = sx_cc_of_flags(simd_to_u64(simd_fp_call(c, i, simd_xmm(c, i->reg), s)));
}

static always_inline void simd_to_flags(struct sx_cpu *c, const struct sx_insn *i,
					enum simd_source from)
{
	simd_begin(c, i);

	__m128i s = simd_source(c, i, from);

	c->cc = sx_cc_of_flags(simd_to_u64(simd_stub(i)(simd_xmm(c, i->reg), s, s)));
}

/* Shifts by an immediate: rm is the register, the count is in disp. */
static void simd_shift(struct sx_cpu *c, const struct sx_insn *i)
{
	simd_begin(c, i);

	__m128i count = simd_of_u64((u32)i->disp);

	simd_set_xmm(c, i->rm, simd_stub(i)(simd_xmm(c, i->rm), count, count));
	SX_NEXT(c, i);
}

static void simd_alone(struct sx_cpu *c, const struct sx_insn *i)
{
	simd_begin(c, i);

	__m128i d = simd_xmm(c, i->rm);

	simd_set_xmm(c, i->rm, simd_stub(i)(d, d, d));
	SX_NEXT(c, i);
}

#define SIMD_HANDLER(body, suffix, from)                                                           \
	static void body##_##suffix(struct sx_cpu *c, const struct sx_insn *i)                     \
	{                                                                                          \
		body(c, i, from);                                                                  \
		SX_NEXT(c, i);                                                                     \
	}

/* A handler for each source, and the table of them; a body that has no such source never meets
 * it: the decode table knows its operand's size. */
#define SIMD_HANDLERS(body)                                                                        \
	SIMD_HANDLER(body, register, SIMD_REGISTER)                                                \
	SIMD_HANDLER(body, aligned, SIMD_ALIGNED)                                                  \
	SIMD_HANDLER(body, 16, SIMD_16)                                                            \
	SIMD_HANDLER(body, 8, SIMD_8)                                                              \
	SIMD_HANDLER(body, 4, SIMD_4)                                                              \
	SIMD_HANDLER(body, 2, SIMD_2)                                                              \
	static sx_insn_fn *const body##_handlers[SIMD_SOURCES] = {                                 \
		[SIMD_REGISTER] = body##_register,                                                 \
		[SIMD_ALIGNED] = body##_aligned,                                                   \
		[SIMD_16] = body##_16,                                                             \
		[SIMD_8] = body##_8,                                                               \
		[SIMD_4] = body##_4,                                                               \
		[SIMD_2] = body##_2,                                                               \
	};

SIMD_HANDLERS(simd_integer)
SIMD_HANDLERS(simd_with_xmm0)
SIMD_HANDLERS(simd_fp)
SIMD_HANDLERS(simd_from_gpr)
SIMD_HANDLERS(simd_to_gpr)
SIMD_HANDLERS(simd_to_flags_fp)
SIMD_HANDLERS(simd_to_flags)

sx_insn_fn *sx_simd_bind_xmm(const struct sx_insn *i, enum simd_kind kind)
{
	enum simd_source from = simd_source_of(i);

	switch (kind) {
	case SIMD_INTEGER:
		if (sx_insn_form(i)->shape == SX_SHAPE_RM_IMM)
			return simd_shift;
		return simd_integer_handlers[from];
	case SIMD_WITH_XMM0:
		return simd_with_xmm0_handlers[from];
	case SIMD_ALONE:
		return simd_alone;
	case SIMD_FP:
		return simd_fp_handlers[from];
	case SIMD_FROM_GPR:
		return simd_from_gpr_handlers[from];
	case SIMD_TO_GPR:
		return simd_to_gpr_handlers[from];
	case SIMD_TO_FLAGS:
		return simd_to_flags_handlers[from];
	case SIMD_TO_FLAGS_FP:
		return simd_to_flags_fp_handlers[from];
	case SIMD_NONE:
	case SIMD_FROM_MMX:
	case SIMD_TO_MMX:
	case SIMD_STRING:
		break;
	}
	return NULL;
}

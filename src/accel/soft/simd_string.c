/*
 * PCMPESTRI, PCMPESTRM, PCMPISTRI, PCMPISTRM: string comparisons of SSE4.2.
 */
#include "accel/soft/simd_priv.h"

/* What the stubs take and give, in registers (simd_stubs.S knows the offsets). */
struct sx_simd_string {
	__m128i first; /* in: the reg operand; out: XMM0, of the forms that make a mask */
	__m128i second;
	u32 length[2]; /* in, of the explicit forms */
	u32 index;     /* out, of the forms that make an index */
	u32 reserved;
	u64 rflags; /* out */
};
static_assert(offsetof(struct sx_simd_string, length) == 32, "simd_stubs.S");
static_assert(offsetof(struct sx_simd_string, index) == 40, "simd_stubs.S");
static_assert(offsetof(struct sx_simd_string, rflags) == 48, "simd_stubs.S");

void sx_simd_string_call(struct sx_simd_string *s, sx_simd_stub *stub);

/* Lengths count up to the number of elements, at most 16, whatever their sign: so a 64-bit one
 * that is beyond may become 32 bits of the same effect. */
u32 sx_simd_string_length(const struct sx_insn *i, u64 reg)
{
	i64 v = (i64)reg;

	if (!(i->flags & SX_IF_REXW))
		return (u32)reg;
	return v > 16 || v < -16 ? 16 : (u32)v;
}

static struct sx_simd_string string_compare(struct sx_cpu *c, const struct sx_insn *i)
{
	struct sx_simd_string s;

	simd_begin(c, i);
	s.second = sx_insn_is_mem(i) ? simd_load(c, i, false) : simd_xmm(c, i->rm);
	s.first = simd_xmm(c, i->reg);
	s.length[0] = sx_simd_string_length(i, c->gpr[X86_RAX]);
	s.length[1] = sx_simd_string_length(i, c->gpr[X86_RDX]);
	sx_simd_string_call(&s, simd_stub(i));
	c->cc = sx_cc_of_flags(s.rflags);
	return s;
}

static noinline void string_to_index(struct sx_cpu *c, const struct sx_insn *i)
{
	c->gpr[X86_RCX] = string_compare(c, i).index;
}

static noinline void string_to_mask(struct sx_cpu *c, const struct sx_insn *i)
{
	simd_set_xmm(c, 0, string_compare(c, i).first);
}

static void simd_string_index(struct sx_cpu *c, const struct sx_insn *i)
{
	string_to_index(c, i);
	SX_NEXT(c, i);
}

static void simd_string_mask(struct sx_cpu *c, const struct sx_insn *i)
{
	string_to_mask(c, i);
	SX_NEXT(c, i);
}

sx_insn_fn *sx_simd_bind_string(const struct sx_insn *i)
{
	enum sx_op op = sx_insn_op(i);

	return op == SX_PCMPESTRI || op == SX_PCMPISTRI ? simd_string_index : simd_string_mask;
}

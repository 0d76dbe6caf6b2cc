/*
 * Flag instructions, decimal arithmetic, BOUND, fences, hints, cache lines: no privilege, no control
 * flow, seldom met.
 */
#include <immintrin.h>
#include <sched.h>

#include "accel/soft/bind.h"
#include "accel/soft/exec.h"

static void nop(struct sx_cpu *c, const struct sx_insn *i)
{
	SX_NEXT(c, i);
}

static void clc(struct sx_cpu *c, const struct sx_insn *i)
{
	c->cc &= (u16)~SX_CC_CF;
	SX_NEXT(c, i);
}

static void stc(struct sx_cpu *c, const struct sx_insn *i)
{
	c->cc |= (u16)SX_CC_CF;
	SX_NEXT(c, i);
}

static void cmc(struct sx_cpu *c, const struct sx_insn *i)
{
	c->cc ^= (u16)SX_CC_CF;
	SX_NEXT(c, i);
}

static void cld(struct sx_cpu *c, const struct sx_insn *i)
{
	c->sysflags &= ~X86_FLAG_DF;
	SX_NEXT(c, i);
}

static void std(struct sx_cpu *c, const struct sx_insn *i)
{
	c->sysflags |= X86_FLAG_DF;
	SX_NEXT(c, i);
}

static void lahf(struct sx_cpu *c, const struct sx_insn *i)
{
	((u8 *)c->gpr)[1] = (u8)((sx_flags_of_cc(c->cc) & 0xd5) | X86_FLAG_ONE);
	SX_NEXT(c, i);
}

static void sahf(struct sx_cpu *c, const struct sx_insn *i)
{
	c->cc = (u16)((((u8 *)c->gpr)[1] & 0xd5) << 8 | (c->cc & SX_CC_OF));
	SX_NEXT(c, i);
}

static void salc(struct sx_cpu *c, const struct sx_insn *i)
{
	sx_reg_set(c, X86_RAX, c->cc & SX_CC_CF ? 0xff : 0, 1);
	SX_NEXT(c, i);
}

/* --- decimal arithmetic (SDM 2A) --- */

/* SF, ZF and PF of a byte; CF and AF as given; OF as it was. */
static void set_decimal_flags(struct sx_cpu *c, u8 result, bool cf, bool af)
{
	u32 cc = c->cc & SX_CC_OF;

	if (result & 0x80)
		cc |= SX_CC_SF;
	if (!result)
		cc |= SX_CC_ZF;
	if (!__builtin_parity(result))
		cc |= SX_CC_PF;
	if (cf)
		cc |= SX_CC_CF;
	if (af)
		cc |= SX_CC_AF;
	c->cc = (u16)cc;
}

/* DAA adds, DAS subtracts 6 to or from each digit that overflowed. */
static void decimal_adjust(struct sx_cpu *c, bool is_add)
{
	u8 al = (u8)c->gpr[X86_RAX], old = al;
	bool old_cf = c->cc & SX_CC_CF, cf = false, af = false;

	if ((old & 15) > 9 || (c->cc & SX_CC_AF)) {
		al = (u8)(is_add ? al + 6 : al - 6);
		cf = old_cf || (is_add ? old > 0xf9 : old < 6);
		af = true;
	}
	if (old > 0x99 || old_cf) {
		al = (u8)(is_add ? al + 0x60 : al - 0x60);
		cf = true;
	} else if (is_add) {
		cf = false;
	}
	sx_reg_set(c, X86_RAX, al, 1);
	set_decimal_flags(c, al, cf, af);
}

static void daa(struct sx_cpu *c, const struct sx_insn *i)
{
	decimal_adjust(c, true);
	SX_NEXT(c, i);
}

static void das(struct sx_cpu *c, const struct sx_insn *i)
{
	decimal_adjust(c, false);
	SX_NEXT(c, i);
}

static void ascii_adjust(struct sx_cpu *c, bool is_add)
{
	u16 ax = (u16)c->gpr[X86_RAX];
	bool adjusts = (ax & 15) > 9 || (c->cc & SX_CC_AF);

	if (adjusts)
		ax = (u16)(is_add ? ax + 0x106 : ax - 6 - 0x100);
	ax &= 0xff0f;
	sx_reg_set(c, X86_RAX, ax, 2);
	set_decimal_flags(c, (u8)ax, adjusts, adjusts);
}

static void aaa(struct sx_cpu *c, const struct sx_insn *i)
{
	ascii_adjust(c, true);
	SX_NEXT(c, i);
}

static void aas(struct sx_cpu *c, const struct sx_insn *i)
{
	ascii_adjust(c, false);
	SX_NEXT(c, i);
}

static void aam(struct sx_cpu *c, const struct sx_insn *i)
{
	u8 al = (u8)c->gpr[X86_RAX], base = (u8)i->imm;

	if (!base)
		sx_throw(c, i, X86_DE, 0);
	sx_reg_set(c, X86_RAX, (u64)(al / base) << 8 | al % base, 2);
	set_decimal_flags(c, al % base, false, false);
	SX_NEXT(c, i);
}

static void aad(struct sx_cpu *c, const struct sx_insn *i)
{
	u16 ax = (u16)c->gpr[X86_RAX];
	u8 al = (u8)((ax & 0xff) + (ax >> 8) * (u8)i->imm);

	sx_reg_set(c, X86_RAX, al, 2);
	set_decimal_flags(c, al, false, false);
	SX_NEXT(c, i);
}

static void bound(struct sx_cpu *c, const struct sx_insn *i)
{
	u64 lin = sx_ea(c, i, i->size * 2, false);
	i64 index = (i64)sx_sign_extend(c->gpr[i->reg], i->size);

	if (index < (i64)sx_sign_extend(sx_load(c, i, lin, i->size), i->size))
		sx_throw(c, i, X86_BR, 0);
	if (index > (i64)sx_sign_extend(sx_load(c, i, lin + i->size, i->size), i->size))
		sx_throw(c, i, X86_BR, 0);
	SX_NEXT(c, i);
}

/* --- ordering and hints --- */

static void fence(struct sx_cpu *c, const struct sx_insn *i)
{
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	SX_NEXT(c, i);
}

/* A spinning vCPU may wait for one whose thread has no host CPU: let others run now and then. */
#define PAUSES_PER_YIELD 64

static void pause_(struct sx_cpu *c, const struct sx_insn *i)
{
	if (++c->pauses % PAUSES_PER_YIELD == 0)
		sched_yield();
	else
		__builtin_ia32_pause();
	SX_NEXT(c, i);
}

/* Cache lines are flushed by looking at them: the access must be allowed. */
static void clflush(struct sx_cpu *c, const struct sx_insn *i)
{
	sx_load(c, i, sx_ea(c, i, 1, false), 1);
	SX_NEXT(c, i);
}

/* --- randomness: the host's, or what follows from a seed --- */

__attribute__((target("rdrnd"))) static bool random_step(unsigned long long *out)
{
	return _rdrand64_step(out);
}

__attribute__((target("rdseed"))) static bool seed_step(unsigned long long *out)
{
	return _rdseed64_step(out);
}

static void set_random(struct sx_cpu *c, const struct sx_insn *i, bool is_good, u64 v)
{
	sx_reg_set(c, i->rm, is_good ? v : 0, i->size);
	c->cc = is_good ? (u16)SX_CC_CF : 0;
}

static noinline void rdrand_work(struct sx_cpu *c, const struct sx_insn *i)
{
	unsigned long long v = 0;
	bool is_good = c->is_counted || random_step(&v);

	if (c->is_counted)
		v = base_random(&c->random);
	set_random(c, i, is_good, v);
}
SX_HANDLER_OF(rdrand, rdrand_work)

static noinline void rdseed_work(struct sx_cpu *c, const struct sx_insn *i)
{
	unsigned long long v = 0;
	bool is_good = c->is_counted || seed_step(&v);

	if (c->is_counted)
		v = base_random(&c->random);
	set_random(c, i, is_good, v);
}
SX_HANDLER_OF(rdseed, rdseed_work)

sx_insn_fn *sx_bind_misc(struct sx_insn *i)
{
	/* clang-format off */
	static sx_insn_fn *const table[SX_OP_COUNT] = {
		[SX_NOP] = nop, [SX_PREFETCH] = nop,
		[SX_CLC] = clc, [SX_STC] = stc, [SX_CMC] = cmc, [SX_CLD] = cld, [SX_STD] = std,
		[SX_LAHF] = lahf, [SX_SAHF] = sahf, [SX_SALC] = salc,
		[SX_DAA] = daa, [SX_DAS] = das, [SX_AAA] = aaa, [SX_AAS] = aas,
		[SX_AAM] = aam, [SX_AAD] = aad, [SX_BOUND] = bound,
		[SX_LFENCE] = fence, [SX_MFENCE] = fence, [SX_SFENCE] = fence,
		[SX_SERIALIZE] = fence, [SX_PAUSE] = pause_,
		[SX_CLFLUSH] = clflush, [SX_CLFLUSHOPT] = clflush, [SX_CLWB] = clflush,
		[SX_RDRAND] = rdrand, [SX_RDSEED] = rdseed,
	};
	/* clang-format on */

	return table[sx_insn_op(i)];
}

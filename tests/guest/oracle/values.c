/*
 * Operand values that are worth trying: limits, neighbours of limits, powers of two, small numbers,
 * special floating-point values, and plain random ones.
 */
#include <string.h>

#include "base/bytes.h"
#include "tests/guest/oracle/oracle.h"

/* splitmix64 */
u64 oracle_random(struct oracle_rng *r)
{
	u64 z = r->state += 0x9e3779b97f4a7c15ul;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ul;
	z = (z ^ z >> 27) * 0x94d049bb133111ebul;
	return z ^ z >> 31;
}

u64 oracle_value(struct oracle_rng *r)
{
	u64 v = oracle_random(r);

	switch (oracle_below(r, 8)) {
	case 0:
		return BIT(v & 63);
	case 1:
		return BIT(v & 63) - 1;
	case 2:
		return -BIT(v & 63);
	case 3:
		return v & 0xff;
	case 4:
		return -(v & 0xff);
	case 5:
		return v & 0xffffffff;
	}
	return v;
}

void oracle_fill_floats(struct oracle_rng *r, u8 *p, unsigned size)
{
	static const u32 singles[] = {0x00000000, 0x80000000, 0x3f800000, 0xbf800000, 0x7f800000,
				      0xff800000, 0x7fc00000, 0x7f800001, 0xffc12345, 0x00000001,
				      0x807fffff, 0x00800000, 0x7f7fffff, 0x4f000000, 0xcf000000,
				      0x3f000000, 0x40200000, 0x5f000000};
	static const u64 doubles[] = {
		0x0000000000000000, 0x8000000000000000, 0x3ff0000000000000, 0xbff0000000000000,
		0x7ff0000000000000, 0xfff0000000000000, 0x7ff8000000000000, 0x7ff0000000000001,
		0xfff8123456789abc, 0x0000000000000001, 0x800fffffffffffff, 0x0010000000000000,
		0x7fefffffffffffff, 0x41e0000000000000, 0xc1e0000000000000, 0x43e0000000000000,
		0xc3e0000000000000, 0x3fe0000000000000, 0x4004000000000000};
	u64 v = oracle_random(r);

	if (oracle_chance(r, 2)) {
		/* Near 1, so that results are neither all infinite nor all zero. */
		v = size == 4 ? (v & 0x81ffffff) | 0x3e000000
			      : (v & 0x803ffffffffffffful) | 0x3fc0000000000000ul;
	} else if (!oracle_chance(r, 4)) {
		v = size == 4 ? singles[v % ARRAY_SIZE(singles)] : doubles[v % ARRAY_SIZE(doubles)];
	}
	memcpy(p, &v, size);
}

/* Sign and exponent, fraction. Among them what only extended precision has: pseudo-denormals,
 * unnormals, pseudo-infinity (SDM 1, table 8-3). */
void oracle_fill_extended(struct oracle_rng *r, u8 *p)
{
	static const struct {
		u16 exponent;
		u64 fraction;
	} special[] = {
		{0x0000, 0},
		{0x8000, 0},
		{0x3fff, 0x8000000000000000},
		{0xbfff, 0x8000000000000000},
		{0x7fff, 0x8000000000000000},
		{0xffff, 0x8000000000000000},
		{0x7fff, 0xc000000000000000},
		{0x7fff, 0x8000000000000001},
		{0x0000, 1},
		{0x0000, 0x8000000000000000},
		{0x4000, 0x4000000000000000},
		{0x7fff, 0},
		{0x7ffe, 0xffffffffffffffff},
		{0x0001, 0x8000000000000000},
		{0x403e, 0x8000000000000000},
		{0xc03e, 0x8000000000000000},
		{0x4005, 0xc800000000000000},
		{0x3ffe, 0x8000000000000000},
	};
	u64 fraction = oracle_random(r) | BIT(63);
	u16 exponent = (u16)oracle_random(r);
	u64 pick = oracle_random(r);

	if (oracle_chance(r, 2)) {
		exponent = (u16)((exponent & 0x803f) + 0x3fe0);
	} else if (!oracle_chance(r, 4)) {
		exponent = special[pick % ARRAY_SIZE(special)].exponent;
		fraction = special[pick % ARRAY_SIZE(special)].fraction;
	}
	bytes_store(p, fraction, 8);
	bytes_store(p + 8, exponent, 2);
}

void oracle_fill_bcd(struct oracle_rng *r, u8 *p)
{
	for (unsigned i = 0; i < 9; i++)
		p[i] = (u8)(oracle_below(r, 10) << 4 | oracle_below(r, 10));
	p[9] = oracle_chance(r, 2) ? 0x80 : 0;
}

void oracle_fill_vector(struct oracle_rng *r, u8 *p, bool is_float)
{
	unsigned size = oracle_chance(r, 2) ? 4 : 8;

	for (unsigned i = 0; i < 16; i += is_float ? size : 8) {
		if (is_float)
			oracle_fill_floats(r, p + i, size);
		else
			bytes_store(p + i, oracle_value(r), 8);
	}
}

/* Exceptions are masked mostly, and none is pending. */
static void values_fill_control(struct oracle_rng *r, u8 *fx)
{
	static const u16 precision[] = {0x300, 0x300, 0x200, 0x000};
	u64 v = oracle_random(r);
	u16 fcw = (u16)(0x7f | precision[v & 3] | (v >> 2 & 3) << 10);
	u32 mxcsr = 0x1f80 | (u32)(v >> 4 & 3) << 13;

	if (oracle_chance(r, 16))
		fcw &= (u16) ~(v >> 8 & 0x3f);
	if (oracle_chance(r, 16))
		mxcsr &= ~((u32)(v >> 16 & 0x3f) << 7);
	if (oracle_chance(r, 4))
		mxcsr |= (u32)(v >> 24) & 0x8040; /* FTZ, DAZ */
	bytes_store(fx, fcw, 2);
	bytes_store(fx + 2, (v >> 32 & 7) << 11 | (v >> 35 & 0x4700), 2);
	fx[4] = oracle_chance(r, 4) ? (u8)(v >> 40) : 0xff;
	bytes_store(fx + X86_FXSAVE_MXCSR, mxcsr, 4);
	bytes_store(fx + X86_FXSAVE_MXCSR + 4, 0xffff, 4);
}

void oracle_fill_fx(struct oracle_rng *r, u8 *fx, bool is_float)
{
	memset(fx, 0, X86_FXSAVE_SIZE);
	values_fill_control(r, fx);
	for (unsigned i = 0; i < 8; i++)
		oracle_fill_extended(r, fx + X86_FXSAVE_ST0 + i * 16);
	for (unsigned i = 0; i < 16; i++)
		oracle_fill_vector(r, fx + X86_FXSAVE_XMM0 + i * 16, is_float);
}

void oracle_fill_memory(struct oracle_rng *r, u8 *p, u64 size)
{
	for (u64 i = 0; i < size; i += 8)
		bytes_store(p + i, oracle_value(r), 8);
}

/*
 * The arithmetic flags as the host's LAHF and SETO leave them in AX, and RFLAGS made of them.
 */
#ifndef ACCEL_SOFT_FLAGS_H
#define ACCEL_SOFT_FLAGS_H

#include "accel/soft/cpu.h"

#define SX_CC_OF BIT32(0)
#define SX_CC_CF BIT32(8)
#define SX_CC_PF BIT32(10)
#define SX_CC_AF BIT32(12)
#define SX_CC_ZF BIT32(14)
#define SX_CC_SF BIT32(15)

/* For asm: the host's flags to AX; AX to the host's flags (OF by an overflowing add). */
#define SX_ASM_SAVE_FLAGS "lahf\n\tseto %%al"
#define SX_ASM_LOAD_FLAGS "addb $127, %%al\n\tsahf"

static inline u64 sx_flags_of_cc(u32 cc)
{
	return ((cc >> 8) & 0xd5) | ((cc & SX_CC_OF) << 11);
}

static inline u16 sx_cc_of_flags(u64 rflags)
{
	return (u16)(((rflags & 0xd5) << 8) | ((rflags >> 11) & 1));
}

/* RFLAGS, put together. */
static inline u64 sx_rflags(const struct sx_cpu *c)
{
	return c->sysflags | sx_flags_of_cc(c->cc);
}

/* Conditions 0 to 15 as encoded in JCC, SETCC, CMOVCC (SDM 1, appendix B). For constant ones. */
static always_inline bool sx_condition(u32 cc, unsigned condition)
{
	bool is_set;

	switch (condition >> 1) {
	case 0:
		is_set = cc & SX_CC_OF;
		break;
	case 1:
		is_set = cc & SX_CC_CF;
		break;
	case 2:
		is_set = cc & SX_CC_ZF;
		break;
	case 3:
		is_set = cc & (SX_CC_CF | SX_CC_ZF);
		break;
	case 4:
		is_set = cc & SX_CC_SF;
		break;
	case 5:
		is_set = cc & SX_CC_PF;
		break;
	case 6:
		is_set = (cc >> 15 ^ cc) & 1;
		break;
	default:
		is_set = ((cc >> 15 ^ cc) & 1) | (cc & SX_CC_ZF);
		break;
	}
	return is_set ^ (condition & 1);
}

/* The same for a condition known only now, without a jump: a table of 32 bits for the even ones,
 * one for each state of the five flags. */
static always_inline bool sx_condition_is(u32 cc, unsigned condition)
{
	enum {
		OF = 0xaaaaaaaa,
		CF = 0xcccccccc,
		PF = 0xf0f0f0f0,
		ZF = 0xff00ff00,
		SF = 0xffff0000
	};
	static const u32 truth[8] = {OF, CF, ZF, CF | ZF, SF, PF, SF ^ OF, (SF ^ OF) | ZF};
	unsigned state = (cc & 1) | (cc >> 7 & 2) | (cc >> 8 & 4) | (cc >> 11 & 24);

	return (truth[condition >> 1] >> state ^ condition) & 1;
}

#endif

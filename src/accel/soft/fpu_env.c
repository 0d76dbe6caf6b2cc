/*
 * FNSTENV, FLDENV, FNSAVE, FRSTOR: the x87 state in the four layouts that it has had since the 8087
 * (SDM 1, 8.1.10): 16 or 32 bits wide, in real or in protected mode.
 *
 * They differ in where the instruction and data pointers are. As on processors that say so in
 * CPUID.7.EBX (bit 13), the selectors read as 0 and are not kept.
 */
#include "accel/soft/fpu.h"

#include <string.h>

#include "accel/soft/exec.h"
#include "base/bytes.h"

#define ENV_WORDS 7u
#define ST_BYTES  10u
#define SAVE_MAX  (ENV_WORDS * 4 + 8 * ST_BYTES)

/* The words of an environment, in memory's order; each is 2 or 4 bytes wide. */
enum env_word {
	ENV_FCW,
	ENV_FSW,
	ENV_FTW,
	ENV_FIP,
	ENV_FCS,
	ENV_FDP,
	ENV_FDS,
};

/* What a register that is not empty holds: 0 valid, 1 zero, 2 special. */
static unsigned env_classify(const u8 st[16])
{
	u64 fraction = bytes_load(st, 8);
	u64 exponent = bytes_load(st + 8, 2) & 0x7fff;

	if (exponent == 0)
		return fraction ? 2 : 1;
	return exponent != 0x7fff && fraction >> 63 ? 0 : 2;
}

/* The tag word of the 8087, from a bit per register. Tags go by physical register. */
static u16 env_full_tags(const struct sx_fpu *f)
{
	unsigned top = (f->fsw & SX_FSW_TOP) >> SX_FSW_TOP_SHIFT;
	unsigned tags = 0;

	for (unsigned r = 0; r < 8; r++) {
		bool is_empty = !(f->ftw & BIT32(r));

		tags |= (is_empty ? 3 : env_classify(f->st[(r - top) & 7])) << (2 * r);
	}
	return (u16)tags;
}

static u8 env_abridged_tags(u32 full)
{
	unsigned tags = 0;

	for (unsigned r = 0; r < 8; r++)
		if (((full >> (2 * r)) & 3) != 3)
			tags |= BIT32(r);
	return (u8)tags;
}

/* The addresses' parts beyond the first 16 bits share words with the opcode, in real mode. */
static void env_pack(const struct sx_cpu *c, bool is_32, u32 w[ENV_WORDS])
{
	const struct sx_fpu *f = &c->fpu;
	u32 fip = (u32)f->fip, fdp = (u32)f->fdp;

	w[ENV_FCW] = 0xffff0000 | f->fcw;
	w[ENV_FSW] = 0xffff0000 | f->fsw;
	w[ENV_FTW] = 0xffff0000 | env_full_tags(f);
	w[ENV_FIP] = fip;
	w[ENV_FDP] = fdp;
	if (sx_is_protected(c)) {
		w[ENV_FCS] = is_32 ? (u32)f->fop << 16 : 0;
		w[ENV_FDS] = 0xffff0000;
		return;
	}
	w[ENV_FIP] &= 0xffff;
	w[ENV_FDP] &= 0xffff;
	w[ENV_FCS] = (fip >> 16) << 12 | f->fop;
	w[ENV_FDS] = (fdp >> 16) << 12;
}

static void env_unpack(struct sx_cpu *c, bool is_32, const u32 w[ENV_WORDS])
{
	struct sx_fpu *f = &c->fpu;

	sx_x87_set_top(f, (w[ENV_FSW] & SX_FSW_TOP) >> SX_FSW_TOP_SHIFT);
	f->fcw = sx_x87_valid_fcw((u16)w[ENV_FCW]);
	f->fsw = (u16)w[ENV_FSW];
	f->ftw = env_abridged_tags(w[ENV_FTW]);
	f->fip = w[ENV_FIP];
	f->fdp = w[ENV_FDP];
	if (sx_is_protected(c)) {
		f->fop = is_32 ? (w[ENV_FCS] >> 16) & SX_FOP_MASK : 0;
	} else {
		f->fip = (w[ENV_FIP] & 0xffff) | (u32)((w[ENV_FCS] >> 12) << 16);
		f->fdp = (w[ENV_FDP] & 0xffff) | (u32)((w[ENV_FDS] >> 12) << 16);
		f->fop = w[ENV_FCS] & SX_FOP_MASK;
	}
	sx_x87_update_summary(f);
}

static void env_store(const struct sx_cpu *c, unsigned width, u8 *buf)
{
	u32 w[ENV_WORDS];

	env_pack(c, width == 4, w);
	for (unsigned n = 0; n < ENV_WORDS; n++)
		bytes_store(buf + n * width, w[n], width);
}

static void env_load(struct sx_cpu *c, unsigned width, const u8 *buf)
{
	u32 w[ENV_WORDS];

	for (unsigned n = 0; n < ENV_WORDS; n++)
		w[n] = (u32)bytes_load(buf + n * width, width);
	env_unpack(c, width == 4, w);
}

/* Of the words in memory: by the operand size. */
static unsigned env_width(const struct sx_insn *i)
{
	return i->size == 2 ? 2 : 4;
}

static noinline void env_fnstenv_work(struct sx_cpu *c, const struct sx_insn *i)
{
	unsigned width = env_width(i), size = ENV_WORDS * width;
	u8 buf[ENV_WORDS * 4];

	sx_x87_enter_no_wait(c, i);
	env_store(c, width, buf);
	sx_store_bytes(c, i, sx_ea(c, i, size, true), buf, size);
	c->fpu.fcw |= SX_MXCSR_FLAGS;
	sx_x87_update_summary(&c->fpu);
}
SX_HANDLER_OF(env_fnstenv, env_fnstenv_work)

static noinline void env_fldenv_work(struct sx_cpu *c, const struct sx_insn *i)
{
	unsigned width = env_width(i), size = ENV_WORDS * width;
	u8 buf[ENV_WORDS * 4];

	sx_x87_enter_no_wait(c, i);
	sx_x87_wait(c, i);
	sx_load_bytes(c, i, sx_ea(c, i, size, false), buf, size);
	env_load(c, width, buf);
}
SX_HANDLER_OF(env_fldenv, env_fldenv_work)

static noinline void env_fnsave_work(struct sx_cpu *c, const struct sx_insn *i)
{
	unsigned width = env_width(i), env = ENV_WORDS * width, size = env + 8 * ST_BYTES;
	u8 buf[SAVE_MAX];

	sx_x87_enter_no_wait(c, i);
	env_store(c, width, buf);
	for (unsigned n = 0; n < 8; n++)
		memcpy(buf + env + n * ST_BYTES, c->fpu.st[n], ST_BYTES);
	sx_store_bytes(c, i, sx_ea(c, i, size, true), buf, size);
	sx_fpu_init_x87(&c->fpu);
}
SX_HANDLER_OF(env_fnsave, env_fnsave_work)

static noinline void env_frstor_work(struct sx_cpu *c, const struct sx_insn *i)
{
	unsigned width = env_width(i), env = ENV_WORDS * width, size = env + 8 * ST_BYTES;
	u8 buf[SAVE_MAX];

	sx_x87_enter_no_wait(c, i);
	sx_x87_wait(c, i);
	sx_load_bytes(c, i, sx_ea(c, i, size, false), buf, size);
	env_load(c, width, buf);
	for (unsigned n = 0; n < 8; n++)
		memcpy(c->fpu.st[n], buf + env + n * ST_BYTES, ST_BYTES);
}
SX_HANDLER_OF(env_frstor, env_frstor_work)

sx_insn_fn *sx_fpu_env_bind(enum sx_op op)
{
	switch ((int)op) {
	case SX_FNSTENV:
		return env_fnstenv;
	case SX_FLDENV:
		return env_fldenv;
	case SX_FNSAVE:
		return env_fnsave;
	case SX_FRSTOR:
		return env_frstor;
	default:
		return NULL;
	}
}

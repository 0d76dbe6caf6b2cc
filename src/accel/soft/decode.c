/*
 * The decoder (decode.h): prefixes, opcode, choice of the row, ModRM and SIB, immediates.
 *
 * Bytes are taken through a cursor that remembers the first thing that went wrong (out of bytes,
 * 15 bytes exceeded, no such instruction); after that it yields zeros, so that the steps need no
 * check of their own, and nothing is believed before the last step. SDM 2A, chapter 2; SDM 2D,
 * appendix A.
 */
#include "accel/soft/decode.h"

#include <string.h>

#include "arch/x86/regs.h"
#include "base/bytes.h"

#define DECODE_NO_SEG 0xff

enum {
	REX_B = 1,
	REX_X = 2,
	REX_R = 4,
	REX_W = 8,
};

struct decoder {
	const struct sx_decode_mode *mode;
	const u8 *bytes;
	unsigned avail;
	unsigned pos;
	int error; /* 0 or SX_DECODE_* */

	bool is_64;
	bool has_66, has_67, has_lock;
	u8 rep; /* 0, 0xf2, 0xf3 */
	u8 rex; /* 0 or 0x40-0x4f */
	u8 seg; /* override, or DECODE_NO_SEG */
	u8 map, opcode, modrm;
	u8 opsize, addrsize;
	bool is_vex, vex_l, is_vsib;
	u8 vvvv; /* as a register's number */
};

static u64 decode_bytes(struct decoder *d, unsigned n)
{
	u64 v;

	if (d->error)
		return 0;
	if (d->pos + n > MIN(d->avail, (unsigned)SX_INSN_MAX)) {
		/* Too long only if the bytes up to the limit are there. */
		d->error = d->avail >= SX_INSN_MAX ? SX_DECODE_GP : SX_DECODE_NEED_MORE;
		return 0;
	}
	v = bytes_load(d->bytes + d->pos, n);
	d->pos += n;
	return v;
}

static i64 decode_signed(struct decoder *d, unsigned n)
{
	unsigned shift = 64 - n * 8;

	return (i64)(decode_bytes(d, n) << shift) >> shift;
}

static void decode_fail(struct decoder *d, int error)
{
	if (!d->error)
		d->error = error;
}

/* In 64-bit code only FS and GS count; the others don't cancel them. */
static void decode_segment_prefix(struct decoder *d, u8 seg)
{
	if (!d->is_64 || seg >= X86_FS)
		d->seg = seg;
}

static bool decode_prefix(struct decoder *d, u8 byte)
{
	switch (byte) {
	case 0x26:
	case 0x2e:
	case 0x36:
	case 0x3e:
		decode_segment_prefix(d, byte >> 3 & 3);
		return true;
	case 0x64:
	case 0x65:
		decode_segment_prefix(d, byte - 0x64 + X86_FS);
		return true;
	case 0x66:
		d->has_66 = true;
		return true;
	case 0x67:
		d->has_67 = true;
		return true;
	case 0xf0:
		d->has_lock = true;
		return true;
	case 0xf2:
	case 0xf3:
		d->rep = byte;
		return true;
	}
	return false;
}

/* VEX.pp, where the prefixes would be. */
static void decode_vex_pp(struct decoder *d, u8 byte)
{
	static const u8 rep[4] = {0, 0, 0xf3, 0xf2};

	d->vex_l = byte & 4;
	d->vvvv = ~byte >> 3 & 15;
	d->has_66 = (byte & 3) == 1;
	d->rep = rep[byte & 3];
}

/*
 * C4 and C5 begin a VEX prefix in 64-bit code, and elsewhere if ModRM would name a register, which LES and
 * LDS can't have (SDM 2A, 2.3.5). There the bits that extend a register's number are inverted ones or
 * ignored. False: an opcode.
 */
static bool decode_vex(struct decoder *d, u8 first)
{
	u8 a = (u8)decode_bytes(d, 1), b = a, map = 1;

	if (d->error)
		return true;
	if (!d->is_64 && a < 0xc0) {
		d->pos--;
		return false;
	}
	d->is_vex = true;
	if (d->has_66 || d->rep || d->has_lock || d->rex)
		decode_fail(d, SX_DECODE_UD);
	d->rex = (u8)(0x40 | (a & 0x80 ? 0 : REX_R));
	if (first == 0xc4) {
		b = (u8)decode_bytes(d, 1);
		map = a & 31;
		d->rex |= (u8)((a & 0x40 ? 0 : REX_X) | (a & 0x20 ? 0 : REX_B) |
			       (b & 0x80 ? REX_W : 0));
	}
	decode_vex_pp(d, b);
	if (!d->is_64)
		d->rex &= 0x40 | REX_W;
	if (map < 1 || map > 3)
		decode_fail(d, SX_DECODE_UD);
	d->map = (u8)(SX_MAP_V0F + map - 1);
	d->opcode = (u8)decode_bytes(d, 1);
	return true;
}

/* Prefixes and the opcode. A REX that does not stand right before the opcode is ignored. */
static void decode_opcode(struct decoder *d)
{
	u8 byte;

	for (;;) {
		byte = (u8)decode_bytes(d, 1);
		if (d->error)
			return;
		if (decode_prefix(d, byte))
			d->rex = 0;
		else if (d->is_64 && byte >> 4 == 4)
			d->rex = byte;
		else
			break;
	}
	if ((byte == 0xc4 || byte == 0xc5) && decode_vex(d, byte))
		return;
	d->map = SX_MAP_ONE;
	if (byte == 0x0f) {
		d->map = SX_MAP_0F;
		byte = (u8)decode_bytes(d, 1);
		if (byte == 0x38 || byte == 0x3a) {
			d->map = byte == 0x38 ? SX_MAP_0F38 : SX_MAP_0F3A;
			byte = (u8)decode_bytes(d, 1);
		}
	}
	d->opcode = byte;
}

static bool decode_prefix_matches(const struct decoder *d, const struct sx_form *f)
{
	switch ((enum sx_prefix)f->prefix) {
	case SX_P_ANY:
		return true;
	case SX_P_NONE:
		return !d->rep && !d->has_66;
	case SX_P_NO_REP:
		return !d->rep;
	case SX_P_66:
		return !d->rep && d->has_66;
	case SX_P_F3:
		return d->rep == 0xf3;
	case SX_P_F2:
		return d->rep == 0xf2;
	}
	unreachable_code();
}

static bool decode_modrm_matches(const struct decoder *d, const struct sx_form *f)
{
	bool is_reg = d->modrm >= 0xc0;

	switch ((enum sx_modrm)f->modrm) {
	case SX_MODRM_ABSENT:
		return true;
	case SX_MODRM_EXACT:
		return d->modrm == f->ext;
	case SX_MODRM_MEM:
		if (is_reg)
			return false;
		break;
	case SX_MODRM_REG:
		if (!is_reg)
			return false;
		break;
	case SX_MODRM_ANY:
		break;
	}
	return f->ext == SX_EXT_ANY || f->ext == (d->modrm >> 3 & 7);
}

static bool decode_mode_matches(const struct decoder *d, const struct sx_form *f)
{
	u32 no = 0;

	no |= d->is_64 ? SX_A_NO64 : SX_A_64;
	no |= d->addrsize == 8 ? SX_A_NOA64 : SX_A_A64;
	no |= d->rex & REX_W ? SX_A_W0 : SX_A_W1;
	if (!d->mode->is_protected)
		no |= SX_A_PROT;
	if (d->rex & REX_B)
		no |= SX_A_NOREXB;
	if (d->is_vex)
		no |= d->vex_l ? SX_A_L0 : SX_A_L1;
	return !(f->attr & no) && (d->mode->features & BIT(f->feature));
}

/* Fetches the ModRM byte, when the opcode has one, and chooses the row. 0: there is none. */
static u16 decode_find_form(struct decoder *d)
{
	unsigned slot = d->map * 256u + d->opcode;
	unsigned i = sx_isa_start[slot], end = sx_isa_start[slot + 1];

	if (i < end && sx_forms[sx_isa_rows[i]].modrm != SX_MODRM_ABSENT)
		d->modrm = (u8)decode_bytes(d, 1);
	for (; i < end; i++) {
		const struct sx_form *f = &sx_forms[sx_isa_rows[i]];

		if (decode_mode_matches(d, f) && decode_prefix_matches(d, f) &&
		    decode_modrm_matches(d, f))
			return sx_isa_rows[i];
	}
	return 0;
}

static void decode_addrsize(struct decoder *d)
{
	if (d->is_64)
		d->addrsize = d->has_67 ? 4 : 8;
	else
		d->addrsize = (d->mode->bits == 16) != d->has_67 ? 2 : 4;
}

static void decode_opsize(struct decoder *d, u32 attr)
{
	if (!d->is_64)
		d->opsize = (d->mode->bits == 16) != d->has_66 ? 2 : 4;
	else if (attr & SX_A_F64)
		d->opsize = 8;
	else if (attr & SX_A_D64)
		d->opsize = d->has_66 && !(d->rex & REX_W) ? 2 : 8;
	else if (d->rex & REX_W)
		d->opsize = 8;
	else
		d->opsize = d->has_66 ? 2 : 4;
}

static void decode_set_segment(const struct decoder *d, struct sx_insn *out, u8 by_default)
{
	out->seg = d->seg == DECODE_NO_SEG ? by_default : d->seg;
}

/* 16-bit addressing (SDM 2A, table 2-1). */
static void decode_mem16(struct decoder *d, struct sx_insn *out)
{
	static const u8 base[8] = {X86_RBX, X86_RBX, X86_RBP, X86_RBP,
				   X86_RSI, X86_RDI, X86_RBP, X86_RBX};
	static const u8 index[8] = {X86_RSI,     X86_RDI,     X86_RSI,     X86_RDI,
				    SX_REG_ZERO, SX_REG_ZERO, SX_REG_ZERO, SX_REG_ZERO};
	unsigned mod = d->modrm >> 6, rm = d->modrm & 7;

	out->base = base[rm];
	out->index = index[rm];
	if (mod == 0 && rm == 6) {
		out->base = SX_REG_ZERO;
		out->disp = (i32)decode_bytes(d, 2);
	} else if (mod) {
		out->disp = (i32)decode_signed(d, mod);
	}
	decode_set_segment(d, out, out->base == X86_RBP ? X86_SS : X86_DS);
}

static void decode_sib(struct decoder *d, struct sx_insn *out)
{
	u8 sib = (u8)decode_bytes(d, 1);
	u8 index = (u8)((sib >> 3 & 7) | (d->rex & REX_X ? 8 : 0));

	out->scale = sib >> 6;
	out->index = index == X86_RSP && !d->is_vsib ? SX_REG_ZERO : index;
	if ((sib & 7) == 5 && d->modrm >> 6 == 0) {
		out->base = SX_REG_ZERO;
		out->disp = (i32)decode_signed(d, 4);
	} else {
		out->base = (u8)((sib & 7) | (d->rex & REX_B ? 8 : 0));
	}
}

/* 32- and 64-bit addressing (SDM 2A, tables 2-2, 2-3; 2.2.1.6). */
static void decode_mem32(struct decoder *d, struct sx_insn *out)
{
	unsigned mod = d->modrm >> 6, rm = d->modrm & 7;

	out->index = SX_REG_ZERO;
	if (rm == 4) {
		decode_sib(d, out);
	} else if (mod == 0 && rm == 5) {
		out->disp = (i32)decode_signed(d, 4);
		out->base = d->is_64 ? SX_REG_RIP : SX_REG_ZERO;
		if (d->is_64)
			out->flags |= SX_IF_RIP;
	} else {
		out->base = (u8)(rm | (d->rex & REX_B ? 8 : 0));
	}
	if (mod == 1 || mod == 2)
		out->disp = (i32)decode_signed(d, mod == 1 ? 1 : 4);
	decode_set_segment(d, out, out->base == X86_RSP || out->base == X86_RBP ? X86_SS : X86_DS);
}

static void decode_mem(struct decoder *d, struct sx_insn *out)
{
	out->flags |= SX_IF_MEM;
	if (d->addrsize == 2)
		decode_mem16(d, out);
	else
		decode_mem32(d, out);
}

/* An index in a vector register: SIB must be there. */
static void decode_vsib(struct decoder *d, struct sx_insn *out)
{
	if (d->addrsize == 2 || (d->modrm & 7) != 4)
		decode_fail(d, SX_DECODE_UD);
	d->is_vsib = true;
	out->flags |= SX_IF_VSIB;
	decode_mem(d, out);
}

/* Address without ModRM; 64-bit ones are an immediate. */
static void decode_moffs(struct decoder *d, struct sx_insn *out)
{
	if (d->addrsize == 8) {
		out->imm = decode_bytes(d, 8);
		return;
	}
	out->flags |= SX_IF_MEM;
	out->base = SX_REG_ZERO;
	out->index = SX_REG_ZERO;
	out->disp = (i32)decode_bytes(d, d->addrsize);
}

/* Without REX, byte registers 4 to 7 are AH, CH, DH, BH. */
static u8 decode_gpr(const struct decoder *d, unsigned number, unsigned rex_bit, unsigned size)
{
	if (size == SX_SZ_B && !d->rex && number >= 4)
		return (u8)(SX_REG_HIGH + number - 4);
	return (u8)(number | (d->rex & rex_bit ? 8 : 0));
}

static u8 decode_control_register(struct decoder *d)
{
	u8 n = (u8)((d->modrm >> 3 & 7) | (d->rex & REX_R ? 8 : 0));
	const unsigned valid = 1 << 0 | 1 << 2 | 1 << 3 | 1 << 4 | 1 << 8;

	if (!(valid >> n & 1))
		decode_fail(d, SX_DECODE_UD);
	return n;
}

static u8 decode_debug_register(struct decoder *d)
{
	if (d->rex & REX_R)
		decode_fail(d, SX_DECODE_UD);
	return d->modrm >> 3 & 7;
}

/* REX.R means nothing here; CS can't be loaded. */
static u8 decode_segment_register(struct decoder *d, const struct sx_form *f)
{
	u8 n = d->modrm >> 3 & 7;

	if (n > X86_GS || (n == X86_CS && f->op == SX_MOV_SEG_RM))
		decode_fail(d, SX_DECODE_UD);
	return n;
}

/* Registers and memory. The accumulator is register 0 wherever it stands. */
static void decode_operand(struct decoder *d, const struct sx_form *f, const struct sx_operand *o,
			   struct sx_insn *out)
{
	bool is_mem = f->modrm != SX_MODRM_ABSENT && d->modrm < 0xc0 && !(f->attr & SX_A_MODREG);
	unsigned reg = d->modrm >> 3 & 7, rm = d->modrm & 7;

	switch ((enum sx_operand_kind)o->kind) {
	case SX_OPD_M:
		decode_mem(d, out);
		break;
	case SX_OPD_VM:
		decode_vsib(d, out);
		break;
	case SX_OPD_H:
	case SX_OPD_B:
		out->cc = d->is_64 ? d->vvvv : d->vvvv & 7;
		break;
	case SX_OPD_E:
	case SX_OPD_EX:
	case SX_OPD_R:
		if (is_mem)
			decode_mem(d, out);
		else
			out->rm = decode_gpr(d, rm, REX_B, o->kind == SX_OPD_E ? o->size : SX_SZ_V);
		break;
	case SX_OPD_Q:
	case SX_OPD_N:
		if (is_mem)
			decode_mem(d, out);
		else
			out->rm = (u8)rm;
		break;
	case SX_OPD_W:
	case SX_OPD_U:
		if (is_mem)
			decode_mem(d, out);
		else
			out->rm = (u8)(rm | (d->rex & REX_B ? 8 : 0));
		break;
	case SX_OPD_G:
		out->reg = decode_gpr(d, reg, REX_R, o->size);
		break;
	case SX_OPD_V:
		out->reg = (u8)(reg | (d->rex & REX_R ? 8 : 0));
		break;
	case SX_OPD_P:
		out->reg = (u8)reg;
		break;
	case SX_OPD_Z:
		out->rm = decode_gpr(d, d->opcode & 7, REX_B, o->size);
		break;
	case SX_OPD_STI:
		out->rm = (u8)rm;
		break;
	case SX_OPD_O:
		decode_moffs(d, out);
		break;
	case SX_OPD_S:
		out->reg = decode_segment_register(d, f);
		break;
	case SX_OPD_SEG:
		out->reg = d->opcode >> 3 & 7;
		break;
	case SX_OPD_C:
		out->reg = decode_control_register(d);
		break;
	case SX_OPD_D:
		out->reg = decode_debug_register(d);
		break;
	case SX_OPD_NONE:
	case SX_OPD_ACC:
	case SX_OPD_CL:
	case SX_OPD_DX:
	case SX_OPD_ONE:
	case SX_OPD_I:
	case SX_OPD_IS:
	case SX_OPD_J:
	case SX_OPD_A:
	case SX_OPD_X:
	case SX_OPD_Y:
	case SX_OPD_XMM0:
	case SX_OPD_L:
		break;
	}
}

static u64 decode_imm(struct decoder *d, enum sx_operand_size size)
{
	if (size == SX_SZ_B)
		return decode_bytes(d, 1);
	if (size == SX_SZ_W)
		return decode_bytes(d, 2);
	if (size == SX_SZ_V)
		return (u64)decode_signed(d, d->opsize);
	return (u64)decode_signed(d, MIN(d->opsize, (u8)4));
}

/* Immediates stand behind everything else, in the order of the operands. */
static void decode_immediate(struct decoder *d, const struct sx_operand *o, struct sx_insn *out)
{
	u64 offset;

	switch (o->kind) {
	case SX_OPD_I:
		out->imm = decode_imm(d, o->size);
		break;
	case SX_OPD_IS:
		out->imm = (u64)decode_signed(d, 1);
		break;
	case SX_OPD_J:
		out->imm = (u64)decode_signed(d, o->size == SX_SZ_B ? 1 : MIN(d->opsize, (u8)4));
		break;
	case SX_OPD_ONE:
		out->imm = 1;
		break;
	case SX_OPD_L:
		out->imm = decode_bytes(d, 1) >> 4 & (d->is_64 ? 15 : 7);
		break;
	case SX_OPD_A:
		offset = decode_bytes(d, d->opsize);
		out->imm = offset | decode_bytes(d, 2) << 32;
		break;
	}
}

static void decode_operands(struct decoder *d, const struct sx_form *f, struct sx_insn *out)
{
	for (unsigned i = 0; i < ARRAY_SIZE(f->opd) && f->opd[i].kind; i++)
		decode_operand(d, f, &f->opd[i], out);
	if (f->shape == SX_SHAPE_ENTER) {
		out->imm = decode_bytes(d, 2);
		out->imm |= decode_bytes(d, 1) << 16;
		return;
	}
	for (unsigned i = 0; i < ARRAY_SIZE(f->opd) && f->opd[i].kind; i++)
		decode_immediate(d, &f->opd[i], out);
}

/* The operand whose width is the instruction's; NULL: the operand size proper. */
static const struct sx_operand *decode_sizing_operand(const struct sx_form *f)
{
	const u64 immediates = BIT(SX_OPD_NONE) | BIT(SX_OPD_I) | BIT(SX_OPD_IS) | BIT(SX_OPD_J);

	if (f->attr & SX_A_SRCSIZE)
		return &f->opd[1];
	if (sx_form_is_mmx(f) || sx_form_is_xmm(f))
		return sx_form_rm(f);
	return BIT(f->opd[0].kind) & immediates ? NULL : &f->opd[0];
}

static u8 decode_size(const struct decoder *d, const struct sx_form *f)
{
	const struct sx_operand *o = decode_sizing_operand(f);

	switch (o ? (enum sx_operand_size)o->size : SX_SZ_V) {
	case SX_SZ_B:
		return 1;
	case SX_SZ_W:
		return 2;
	case SX_SZ_D:
		return 4;
	case SX_SZ_Q:
		return 8;
	case SX_SZ_T:
		return 10;
	case SX_SZ_DQ:
		return 16;
	case SX_SZ_Y:
		return d->is_64 && (d->rex & REX_W || f->attr & SX_A_F64) ? 8 : 4;
	case SX_SZ_QQ:
		return 32;
	case SX_SZ_X:
		return d->vex_l ? 32 : 16;
	case SX_SZ_HX:
		return d->vex_l ? 16 : 8;
	case SX_SZ_QX:
		return d->vex_l ? 8 : 4;
	case SX_SZ_EX:
		return d->vex_l ? 4 : 2;
	case SX_SZ_Z:
		return MIN(d->opsize, (u8)4);
	case SX_SZ_NONE:
	case SX_SZ_V:
	case SX_SZ_P:
	case SX_SZ_A:
	case SX_SZ_S:
	case SX_SZ_ENV:
	case SX_SZ_SAVE:
	case SX_SZ_FX:
	case SX_SZ_XS:
		return d->opsize;
	}
	unreachable_code();
}

static u8 decode_condition(const struct decoder *d, const struct sx_form *f)
{
	/* B, E, BE, U; with opcode DB their opposites. */
	static const u8 fcmov[4] = {2, 4, 6, 10};

	if (f->op == SX_FCMOVCC)
		return (u8)(fcmov[f->ext] | (f->opcode == 0xdb));
	return f->attr & SX_A_CC ? d->opcode & 15 : 0;
}

static u16 decode_flags(const struct decoder *d, const struct sx_form *f)
{
	u16 flags = 0;

	flags |= d->has_lock ? SX_IF_LOCK : 0;
	flags |= d->rep == 0xf3 ? SX_IF_REP : 0;
	flags |= d->rep == 0xf2 ? SX_IF_REPNE : 0;
	flags |= d->addrsize == 2 ? SX_IF_ADDR16 : 0;
	flags |= d->addrsize == 4 ? SX_IF_ADDR32 : 0;
	flags |= d->seg != DECODE_NO_SEG ? SX_IF_SEG : 0;
	flags |= d->rex & REX_W && d->is_64 ? SX_IF_REXW : 0;
	flags |= d->is_vex ? SX_IF_VEX : 0;
	flags |= d->vex_l ? SX_IF_L : 0;
	flags |= d->has_66 ? SX_IF_66 : 0;
	flags |= f->attr & SX_A_END ? SX_IF_END : 0;
	return flags;
}

/* What else may be wrong with a VEX encoding: vvvv that nothing takes; a gather whose registers are the same. */
static void decode_check_vex(struct decoder *d, const struct sx_form *f, const struct sx_insn *i)
{
	if (d->vvvv && !sx_form_has_vvvv(f))
		decode_fail(d, SX_DECODE_UD);
	if (d->is_vsib && (i->reg == i->index || i->reg == i->cc || i->index == i->cc))
		decode_fail(d, SX_DECODE_UD);
}

int sx_decode(const struct sx_decode_mode *mode, const u8 *bytes, unsigned avail,
	      struct sx_insn *out)
{
	struct decoder d = {
		.mode = mode,
		.bytes = bytes,
		.avail = avail,
		.is_64 = mode->bits == 64,
		.seg = DECODE_NO_SEG,
	};
	const struct sx_form *f;

	assert(mode->bits == 16 || mode->bits == 32 || mode->bits == 64);
	decode_opcode(&d);
	if (d.error)
		return d.error;
	decode_addrsize(&d);
	/* Made where it is wanted: to copy what was just written by bytes makes the processor wait. */
	*out = (struct sx_insn){0};
	out->form = decode_find_form(&d);
	if (d.error)
		return d.error;
	if (!out->form)
		return SX_DECODE_UD;

	f = &sx_forms[out->form];
	decode_opsize(&d, f->attr);
	out->flags = decode_flags(&d, f);
	out->size = decode_size(&d, f);
	out->cc = decode_condition(&d, f);
	decode_set_segment(&d, out, X86_DS);
	decode_operands(&d, f, out);
	if (d.is_vex)
		decode_check_vex(&d, f, out);
	if (d.has_lock && !(f->attr & SX_A_LOCK && out->flags & SX_IF_MEM))
		decode_fail(&d, SX_DECODE_UD);
	if (d.error)
		return d.error;
	out->len = (u8)d.pos;
	return out->len;
}

unsigned sx_insn_operand_bytes(const struct sx_insn *insn, enum sx_operand_size size)
{
	switch (size) {
	case SX_SZ_B:
		return 1;
	case SX_SZ_W:
		return 2;
	case SX_SZ_D:
		return 4;
	case SX_SZ_Q:
		return 8;
	case SX_SZ_T:
		return 10;
	case SX_SZ_DQ:
		return 16;
	case SX_SZ_V:
		return insn->size;
	case SX_SZ_Z:
		return MIN(insn->size, (u8)4);
	case SX_SZ_Y:
		if (sx_insn_form(insn)->attr & SX_A_F64)
			return insn->size;
		return insn->flags & SX_IF_REXW ? 8 : 4;
	case SX_SZ_P:
		return insn->size + 2;
	case SX_SZ_A:
		return insn->size * 2;
	case SX_SZ_S:
		return insn->size == 8 ? 10 : 6;
	case SX_SZ_QQ:
		return 32;
	case SX_SZ_X:
		return insn->flags & SX_IF_L ? 32 : 16;
	case SX_SZ_HX:
		return insn->flags & SX_IF_L ? 16 : 8;
	case SX_SZ_QX:
		return insn->flags & SX_IF_L ? 8 : 4;
	case SX_SZ_EX:
		return insn->flags & SX_IF_L ? 4 : 2;
	case SX_SZ_ENV:
		return insn->size == 2 ? 14 : 28;
	case SX_SZ_SAVE:
		return insn->size == 2 ? 94 : 108;
	case SX_SZ_FX:
		return 512;
	case SX_SZ_NONE:
	case SX_SZ_XS:
		return 0;
	}
	unreachable_code();
}

/* As many indexes as there are elements, unless these are narrower: half of them, then. */
unsigned sx_insn_index_bytes(const struct sx_insn *insn)
{
	unsigned bytes = insn->flags & SX_IF_L ? 32 : 16;

	switch ((int)sx_insn_op(insn)) {
	case SX_GATHERDPD:
	case SX_PGATHERDQ:
		return 16;
	}
	return bytes;
}

unsigned sx_insn_rm_bytes(const struct sx_insn *insn)
{
	const struct sx_operand *rm = sx_form_rm(sx_insn_form(insn));

	return rm ? sx_insn_operand_bytes(insn, rm->size) : 0;
}

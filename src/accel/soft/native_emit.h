/*
 * Writing x86-64 instructions: what the translator (native_*.c) needs of an assembler.
 *
 * Code is written through one mapping and executed in another (native.h), `to_exec` apart. An operand
 * is a host register, memory at a host register, or a field of the vCPU, which lies near enough to the
 * code to be reached relative to RIP. Running out of room is noted once and looked at at the end.
 */
#ifndef ACCEL_SOFT_NATIVE_EMIT_H
#define ACCEL_SOFT_NATIVE_EMIT_H

#include <string.h>

#include "base/base.h"

enum host_reg {
	H_RAX,
	H_RCX,
	H_RDX,
	H_RBX,
	H_RSP,
	H_RBP,
	H_RSI,
	H_RDI,
	H_R8,
	H_R9,
	H_R10,
	H_R11,
	H_R12,
	H_R13,
	H_R14,
	H_R15,
};

/* Opcodes: the map above the byte; | E_BYTE_RM: rm is a byte register whatever the size. */
#define E_0F      0x0f00u
#define E_0F38    0x0f3800u
#define E_0F3A    0x0f3a00u
#define E_BYTE_RM 0x80000000u
#define E_LOCK    0x40000000u
#define E_HIGH    0x04000000u /* byte registers 4 to 7 are AH to BH: no REX */
#define E_66      0x10000000u /* mandatory prefixes */
#define E_F3      0x20000000u
#define E_F2      0x08000000u

#define E_GS 0x65u /* a prefix by itself, before the others */

struct emit {
	u8 *at, *end;
	i64 to_exec;
	bool is_full;
	u16 changed; /* host registers that may have been, since somebody cleared this */
};

enum opd_kind { OPD_REG, OPD_BASE, OPD_SUM, OPD_NEAR };
struct opd {
	enum opd_kind kind;
	unsigned reg;    /* OPD_REG, OPD_BASE, OPD_SUM */
	unsigned index;  /* OPD_SUM: the other register; not RSP */
	i32 disp;        /* OPD_BASE, OPD_SUM */
	const void *mem; /* OPD_NEAR */
};

static inline struct opd opd_reg(unsigned reg)
{
	return (struct opd){.kind = OPD_REG, .reg = reg};
}

static inline struct opd opd_base(unsigned reg, i32 disp)
{
	return (struct opd){.kind = OPD_BASE, .reg = reg, .disp = disp};
}

static inline struct opd opd_sum(unsigned reg, unsigned index, i32 disp)
{
	return (struct opd){.kind = OPD_SUM, .reg = reg, .index = index, .disp = disp};
}

static inline struct opd opd_near(const void *mem)
{
	return (struct opd){.kind = OPD_NEAR, .mem = mem};
}

static inline void e_bytes(struct emit *e, const void *bytes, unsigned n)
{
	if ((u64)(e->end - e->at) < n) {
		e->is_full = true;
		return;
	}
	memcpy(e->at, bytes, n);
	e->at += n;
}

static inline void e_u8(struct emit *e, unsigned v)
{
	u8 byte = (u8)v;

	e_bytes(e, &byte, 1);
}

static inline void e_i32(struct emit *e, i64 v)
{
	i32 word = (i32)v;

	e_bytes(e, &word, sizeof(word));
}

static inline u8 *e_exec(const struct emit *e, const void *at)
{
	return (u8 *)(uintptr_t)at + e->to_exec;
}

/* index: H_RSP for none. Never more of a displacement than is needed: with three parts LEA is slower. */
static inline void e_modrm_base(struct emit *e, unsigned reg, unsigned base, unsigned index,
				unsigned scale, i32 disp)
{
	bool is_short = disp == (i8)disp, is_none = !disp && (base & 7) != H_RBP;
	bool has_sib = (base & 7) == H_RSP || index != H_RSP;
	unsigned mod = is_none ? 0 : is_short ? 1 : 2;

	e_u8(e, mod << 6 | (reg & 7) << 3 | (has_sib ? 4 : base & 7));
	if (has_sib)
		e_u8(e, scale << 6 | (index & 7) << 3 | (base & 7));
	if (mod == 1)
		e_u8(e, (u8)disp);
	else if (mod == 2)
		e_i32(e, disp);
}

static inline void e_opcode(struct emit *e, u32 op)
{
	if ((op & 0xffff00) == E_0F38 || (op & 0xffff00) == E_0F3A) {
		e_u8(e, 0x0f);
		e_u8(e, op >> 8);
	} else if (op & 0xff00) {
		e_u8(e, 0x0f);
	}
	e_u8(e, op);
}

static inline void e_prefixes(struct emit *e, unsigned size, u32 op, unsigned rex, bool needs_rex)
{
	if (op & E_LOCK)
		e_u8(e, 0xf0);
	if (size == 2 || op & E_66)
		e_u8(e, 0x66);
	if (op & E_F3)
		e_u8(e, 0xf3);
	if (op & E_F2)
		e_u8(e, 0xf2);
	rex |= size == 8 ? 8 : 0;
	if (rex || needs_rex)
		e_u8(e, 0x40 | rex);
}

/* ModRM and what belongs to it; imm: bytes that follow. */
static inline void e_operand(struct emit *e, unsigned reg, struct opd m, unsigned imm)
{
	switch (m.kind) {
	case OPD_REG:
		e_u8(e, 0xc0 | (reg & 7) << 3 | (m.reg & 7));
		break;
	case OPD_BASE:
		e_modrm_base(e, reg, m.reg, H_RSP, 0, m.disp);
		break;
	case OPD_SUM:
		e_modrm_base(e, reg, m.reg, m.index, 0, m.disp);
		break;
	case OPD_NEAR:
		e_u8(e, (reg & 7) << 3 | 5);
		e_i32(e, (const u8 *)m.mem - (e_exec(e, e->at) + 4 + imm));
		break;
	}
}

/* REX.X and REX.B. */
static inline unsigned opd_rex(struct opd m)
{
	unsigned b = m.kind == OPD_NEAR ? 0 : m.reg >> 3;

	return m.kind == OPD_SUM ? (m.index >> 3) << 1 | b : b;
}

/* op with a ModRM byte. reg: a host register or the opcode's extension. imm: bytes that follow, which
 * the caller writes. */
static inline void e_op(struct emit *e, unsigned size, u32 op, unsigned reg, struct opd m,
			unsigned imm)
{
	bool is_low_byte = (m.kind == OPD_REG && (size == 1 || op & E_BYTE_RM) && m.reg >= 4) ||
			   (size == 1 && reg >= 4);

	e->changed |= (u16)(BIT32(reg & 15) | (m.kind == OPD_REG ? BIT32(m.reg & 15) : 0));
	if (op & E_HIGH)
		is_low_byte = false;
	e_prefixes(e, size, op, (reg >> 3) << 2 | opd_rex(m), is_low_byte);
	e_opcode(e, op);
	e_operand(e, reg, m, imm);
}

static inline void e_load(struct emit *e, unsigned reg, struct opd m)
{
	e_op(e, 8, 0x8b, reg, m, 0);
}

static inline void e_store(struct emit *e, unsigned reg, struct opd m)
{
	e_op(e, 8, 0x89, reg, m, 0);
}

/* reg = base + index << scale + disp; index: H_RSP for none; size 4 cuts the result. */
static inline void e_lea(struct emit *e, unsigned size, unsigned reg, unsigned base, unsigned index,
			 unsigned scale, i32 disp)
{
	if (index == H_RSP) {
		e_op(e, size, 0x8d, reg, opd_base(base, disp), 0);
		return;
	}
	if (!scale && (base & 7) == H_RBP) { /* which can't do without a displacement */
		unsigned other = base;

		base = index;
		index = other;
	}
	e->changed |= (u16)BIT32(reg);
	e_prefixes(e, size, 0, (reg >> 3) << 2 | (index >> 3) << 1 | base >> 3, false);
	e_u8(e, 0x8d);
	e_modrm_base(e, reg, base, index, scale, disp);
}

/* The same without a base. */
static inline void e_lea_index(struct emit *e, unsigned size, unsigned reg, unsigned index,
			       unsigned scale, i32 disp)
{
	e->changed |= (u16)BIT32(reg);
	e_prefixes(e, size, 0, (reg >> 3) << 2 | (index >> 3) << 1, false);
	e_u8(e, 0x8d);
	e_u8(e, (reg & 7) << 3 | 4);
	e_u8(e, scale << 6 | (index & 7) << 3 | 5);
	e_i32(e, disp);
}

/* reg = from, rotated right, both of 32 bits; flags stay. BMI2. */
static inline void e_rorx(struct emit *e, unsigned reg, unsigned from, unsigned by)
{
	e->changed |= (u16)BIT32(reg);
	e_u8(e, 0xc4);
	e_u8(e, (reg < 8 ? 0x80u : 0) | 0x40 | (from < 8 ? 0x20u : 0) | 3); /* map 0F3A */
	e_u8(e, 0x7b);                                                      /* F2 */
	e_u8(e, 0xf0);
	e_u8(e, 0xc0 | (reg & 7) << 3 | (from & 7));
	e_u8(e, by);
}

/* A jump over 32 bits; returns where its distance stands, for e_patch. */
static inline u8 *e_jump(struct emit *e)
{
	e_u8(e, 0xe9);
	e_i32(e, 0);
	return e->at - 4;
}

static inline u8 *e_jcc(struct emit *e, unsigned cc)
{
	e_u8(e, 0x0f);
	e_u8(e, 0x80 | cc);
	e_i32(e, 0);
	return e->at - 4;
}

static inline u8 *e_call(struct emit *e)
{
	e->changed = 0xffff;
	e_u8(e, 0xe8);
	e_i32(e, 0);
	return e->at - 4;
}

/* Makes the jump whose distance stands at `field` lead to target; both are written addresses. */
static inline void e_patch(u8 *field, const u8 *target)
{
	i32 distance = (i32)(target - (field + 4));

	memcpy(field, &distance, sizeof(distance));
}

#endif

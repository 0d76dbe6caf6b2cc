/*
 * Makes cases: encodes a form at random, decodes what came out, and places the address registers so
 * that the memory operand lies where it should.
 *
 * Prefixes, opcode and ModRM follow the table; what comes behind them (SIB, displacement,
 * immediates) is random bytes, and the decoder says how many of them belong to the instruction.
 */
#include <string.h>

#include "arch/x86/regs.h"
#include "base/bytes.h"
#include "tests/guest/oracle/oracle.h"

struct gen {
	struct oracle_rng *rng;
	const struct sx_form *form;
	struct oracle_case *c;
	unsigned disp_at; /* where a displacement would begin */
};

const char *oracle_excuse(const struct sx_form *f)
{
	switch ((int)f->op) {
	case SX_SYSCALL:
	case SX_SYSENTER:
		return "enters the host's kernel";
	case SX_CPUID:
	case SX_RDTSC:
	case SX_RDTSCP:
	case SX_RDPID:
	case SX_RDRAND:
	case SX_RDSEED:
	case SX_XGETBV:
		return "the host's answer is another";
	case SX_SGDT:
	case SX_SIDT:
	case SX_SLDT:
	case SX_STR:
	case SX_SMSW:
		return "emulated by the host's kernel";
	case SX_RSM:
		return "only in system-management mode";
	case SX_VMCALL:
	case SX_VMMCALL:
		return "calls the host's hypervisor";
	}
	return NULL;
}

static void gen_byte(struct gen *g, unsigned byte)
{
	g->c->code[g->c->len++] = (u8)byte;
}

static bool gen_is_string(const struct sx_form *f)
{
	switch ((int)f->op) {
	case SX_MOVS:
	case SX_CMPS:
	case SX_STOS:
	case SX_LODS:
	case SX_SCAS:
	case SX_INS:
	case SX_OUTS:
		return true;
	}
	return false;
}

static void gen_mandatory_prefix(struct gen *g)
{
	unsigned mandatory = g->form->prefix;

	if (sx_form_is_vex(g->form))
		return;
	if (mandatory == SX_P_66)
		gen_byte(g, 0x66);
	else if (mandatory == SX_P_F3)
		gen_byte(g, 0xf3);
	else if (mandatory == SX_P_F2)
		gen_byte(g, 0xf2);
	else if (gen_is_string(g->form) && oracle_chance(g->rng, 2))
		gen_byte(g, oracle_chance(g->rng, 2) ? 0xf2 : 0xf3);
}

static void gen_prefixes(struct gen *g)
{
	static const u8 segments[] = {0x65, 0x65, 0x26, 0x2e, 0x36, 0x3e};
	const struct sx_form *f = g->form;

	if (oracle_chance(g->rng, 8) || (f->attr & SX_A_NOA64 && g->c->bits == 64))
		gen_byte(g, 0x67);
	if (oracle_chance(g->rng, 8))
		gen_byte(g, segments[oracle_below(g->rng, ARRAY_SIZE(segments))]);
	if (f->prefix != SX_P_66 && f->prefix != SX_P_NONE && !sx_form_is_vex(f) &&
	    oracle_chance(g->rng, 4))
		gen_byte(g, 0x66);
	if (f->attr & SX_A_LOCK && oracle_chance(g->rng, 4))
		gen_byte(g, 0xf0);
	gen_mandatory_prefix(g);
}

/* VEX's bits where REX's would be: W 8, R 4, X 2, B 1. */
static unsigned gen_vex_bits(struct gen *g)
{
	unsigned bits = (unsigned)oracle_below(g->rng, 16);

	if (g->c->bits != 64)
		bits &= 8;
	if (g->form->attr & SX_A_W1)
		bits |= 8;
	if (g->form->attr & SX_A_W0)
		bits &= ~8u;
	return bits;
}

/* C5 where it can say it. */
static void gen_vex(struct gen *g)
{
	static const unsigned pp[] = {[SX_P_NONE] = 0, [SX_P_66] = 1, [SX_P_F3] = 2, [SX_P_F2] = 3};
	const struct sx_form *f = g->form;
	unsigned bits = gen_vex_bits(g);
	unsigned l = (unsigned)oracle_below(g->rng, 2);
	unsigned vvvv = sx_form_has_vvvv(f) ? (unsigned)oracle_below(g->rng, 16) : 0, last;

	if (g->c->bits != 64)
		vvvv &= 7;
	if (f->attr & (SX_A_L0 | SX_A_L1))
		l = !!(f->attr & SX_A_L1);
	last = (~vvvv & 15) << 3 | l << 2 | pp[f->prefix];
	if (f->map == SX_MAP_V0F && !(bits & ~4u) && oracle_chance(g->rng, 2)) {
		gen_byte(g, 0xc5);
		gen_byte(g, (bits & 4 ? 0 : 0x80) | last);
		return;
	}
	gen_byte(g, 0xc4);
	gen_byte(g, (~bits & 7) << 5 | (1u + f->map - SX_MAP_V0F));
	gen_byte(g, (bits & 8) << 4 | last);
}

static void gen_rex(struct gen *g)
{
	unsigned rex = 0x40 | (unsigned)oracle_below(g->rng, 16);

	if (g->c->bits != 64 || sx_form_is_vex(g->form))
		return;
	if (g->form->attr & SX_A_W1)
		gen_byte(g, rex | 8);
	else if (g->form->attr & SX_A_W0)
		gen_byte(g, rex & ~8u);
	else if (!oracle_chance(g->rng, 3))
		gen_byte(g, rex);
}

static void gen_opcode(struct gen *g)
{
	const struct sx_form *f = g->form;
	unsigned span = f->attr & SX_A_CC ? 16 : 1;

	for (unsigned i = 0; i < ARRAY_SIZE(f->opd); i++) {
		if (f->opd[i].kind == SX_OPD_Z)
			span = 8;
	}
	if (sx_form_is_vex(f)) {
		gen_vex(g);
		gen_byte(g, f->opcode);
		return;
	}
	if (f->map != SX_MAP_ONE)
		gen_byte(g, 0x0f);
	if (f->map == SX_MAP_0F38)
		gen_byte(g, 0x38);
	if (f->map == SX_MAP_0F3A)
		gen_byte(g, 0x3a);
	gen_byte(g, f->opcode + (unsigned)oracle_below(g->rng, span));
}

static bool gen_is_gather(const struct sx_form *f)
{
	return f->opd[1].kind == SX_OPD_VM;
}

static void gen_modrm(struct gen *g)
{
	const struct sx_form *f = g->form;
	unsigned modrm = (unsigned)oracle_below(g->rng, 256);

	if (f->modrm == SX_MODRM_ABSENT)
		return;
	if (f->modrm == SX_MODRM_EXACT) {
		gen_byte(g, f->ext);
		return;
	}
	if (f->modrm == SX_MODRM_REG || (f->modrm == SX_MODRM_ANY && oracle_chance(g->rng, 4)))
		modrm |= 0xc0;
	if (f->modrm == SX_MODRM_MEM && modrm >= 0xc0)
		modrm -= 0x40;
	if (gen_is_gather(f))
		modrm = (modrm & 0xf8) | 4;
	if (f->ext != SX_EXT_ANY)
		modrm = (modrm & 0xc7) | (unsigned)f->ext << 3;
	gen_byte(g, modrm);
	g->disp_at = g->c->len + ((modrm & 7) == 4);
}

/* SIB, displacement and immediates: random, or a small number in each byte's place. */
static void gen_rest(struct gen *g)
{
	unsigned kind = (unsigned)oracle_below(g->rng, 4);

	while (g->c->len < sizeof(g->c->code)) {
		u8 byte = (u8)oracle_random(g->rng);

		gen_byte(g, kind == 0 && g->c->len % 2   ? 0
			    : kind == 1 && g->c->len % 2 ? 0xff
							 : byte);
	}
}

static bool gen_encode(struct gen *g, u64 features)
{
	struct sx_decode_mode mode = {
		.bits = (u8)g->c->bits, .is_protected = true, .features = features};
	int len;

	gen_prefixes(g);
	gen_rex(g);
	gen_opcode(g);
	gen_modrm(g);
	gen_rest(g);
	len = sx_decode(&mode, g->c->code, SX_INSN_MAX, &g->c->insn);
	if (len < 0 || &sx_forms[g->c->insn.form] != g->form)
		return false;
	g->c->len = (unsigned)len;
	if (gen_is_gather(g->form) && g->c->insn.base == SX_REG_ZERO)
		return false;
	/* The host's Linux system calls. */
	return g->form->op != SX_INT || g->c->insn.imm != 0x80;
}

/* --- addresses --- */

static u64 gen_address_mask(const struct oracle_case *c)
{
	return bytes_mask(sx_insn_addrsize(&c->insn));
}

static u64 gen_segment_base(const struct oracle_case *c)
{
	if (c->bits == 64)
		return c->insn.seg == X86_GS ? c->gs_base : 0;
	switch (c->insn.seg) {
	case X86_CS:
		return c->code_base;
	case X86_GS:
		return c->gs ? ORACLE_DATA + ORACLE_GS_OFFSET : 0;
	}
	return c->data_base;
}

/* A gather's index is a vector; its elements are small. */
static u64 gen_index(const struct oracle_case *c)
{
	if (c->insn.flags & SX_IF_VSIB || c->insn.index == SX_REG_ZERO)
		return 0;
	return c->gpr[c->insn.index] << c->insn.scale;
}

static u64 gen_slot(const struct oracle_case *c, unsigned slot)
{
	if (slot == SX_REG_ZERO)
		return 0;
	return slot == SX_REG_RIP ? c->rip + c->len : c->gpr[slot];
}

u64 oracle_address(const struct oracle_case *c)
{
	const struct sx_insn *i = &c->insn;
	u64 a;

	if (sx_insn_op(i) == SX_MOVABS_LOAD || sx_insn_op(i) == SX_MOVABS_STORE)
		return i->imm + gen_segment_base(c);
	if (!(i->flags & SX_IF_MEM))
		return 0;
	a = gen_slot(c, i->base) + gen_index(c) + (u64)(i64)i->disp;
	a = (a & gen_address_mask(c)) + gen_segment_base(c);
	return c->bits == 64 ? a : a & 0xffffffff;
}

/* A register takes an address of this width; what is above it should not matter. */
static void gen_set_address(struct gen *g, unsigned reg, u64 value)
{
	u64 mask = gen_address_mask(g->c);

	g->c->gpr[reg] = (value & mask) | (oracle_random(g->rng) & ~mask);
}

static void gen_set_disp(struct gen *g, u64 disp)
{
	bool is_16 = sx_insn_addrsize(&g->c->insn) == 2;

	g->c->insn.disp = is_16 ? (u16)disp : (i32)disp;
	bytes_store(g->c->code + g->disp_at, disp, is_16 ? 2 : 4);
}

/* The inverse of an odd number, modulo 2^64 (Newton). */
static u64 gen_inverse(u64 odd)
{
	u64 x = odd;

	for (unsigned i = 0; i < 6; i++)
		x *= 2 - odd * x;
	return x;
}

/* Places base, index or displacement so that the offset becomes `offset`. */
static void gen_place(struct gen *g, u64 offset)
{
	struct oracle_case *c = g->c;
	struct sx_insn *i = &c->insn;
	u64 rest = offset - (u64)(i64)i->disp;

	if (i->base == SX_REG_ZERO && i->index == SX_REG_ZERO) {
		gen_set_disp(g, offset);
	} else if (i->base == SX_REG_RIP) {
		gen_set_disp(g, offset - c->rip - c->len);
	} else if (i->base == SX_REG_ZERO) {
		gen_set_disp(g, offset - (c->gpr[i->index] << i->scale));
	} else if (i->base != i->index || i->flags & SX_IF_VSIB) {
		gen_set_address(g, i->base, rest - gen_index(c));
	} else if (i->scale) {
		gen_set_address(g, i->base, rest * gen_inverse(1 + (1ul << i->scale)));
	} else {
		gen_set_address(g, i->base, rest / 2);
	}
}

/* Displacements without a base are sign-extended from 32 bits: only small indexes can be met. */
static void gen_tame_index(struct gen *g)
{
	const struct sx_insn *i = &g->c->insn;

	if (i->base == SX_REG_ZERO && i->index != SX_REG_ZERO)
		g->c->gpr[i->index] &= 0xfffff;
}

static void gen_place_moffs(struct gen *g, u64 target)
{
	struct oracle_case *c = g->c;
	unsigned size = sx_insn_addrsize(&c->insn);

	bytes_store(c->code + c->len - size, target, size);
	if (size == 8)
		c->insn.imm = target;
	else
		c->insn.disp = (i32)(size == 2 ? (u16)target : (u32)target);
}

static bool gen_has_moffs(const struct sx_form *f)
{
	return f->opd[0].kind == SX_OPD_O || f->opd[1].kind == SX_OPD_O;
}

static unsigned gen_access_bytes(const struct oracle_case *c)
{
	const struct sx_operand *rm = sx_form_rm(sx_insn_form(&c->insn));

	if (!rm)
		return c->insn.size;
	return rm->size == SX_SZ_XS ? 576 : sx_insn_operand_bytes(&c->insn, rm->size);
}

/* Where the memory operand should be: mostly in the data, in every alignment; sometimes over the
 * edge of a page, in the read-only page, in no page, or not canonical. */
static u64 gen_target(struct gen *g)
{
	unsigned size = gen_access_bytes(g->c);
	u64 part = size > 1 ? oracle_below(g->rng, size) : 0;
	u64 a;

	switch (oracle_below(g->rng, 24)) {
	case 0:
		return g->c->bits == 64 ? BIT(47) + oracle_below(g->rng, MIB) : 0x61000000;
	case 1:
		return 0x60000000 + oracle_below(g->rng, MIB);
	case 2:
		return ORACLE_DATA + ORACLE_DATA_RW - part;
	case 3:
		return ORACLE_DATA + ORACLE_DATA_RW + oracle_below(g->rng, PAGE_SIZE - 1024);
	case 4:
		return ORACLE_DATA + ORACLE_DATA_SIZE - part;
	case 5:
		return ORACLE_DATA - part;
	case 6:
		return ORACLE_DATA + PAGE_SIZE * 2 - part;
	}
	a = ORACLE_DATA + oracle_below(g->rng, ORACLE_DATA_RW - 1024);
	return oracle_chance(g->rng, 2) ? a & ~15ul : a;
}

static u64 gen_align_target(struct gen *g, u64 target)
{
	const struct sx_operand *rm = sx_form_rm(g->form);

	if (oracle_chance(g->rng, 12))
		return target;
	if (rm && rm->size == SX_SZ_XS)
		return target & ~63ul;
	return g->form->attr & SX_A_ALIGN ? target & -(u64)MAX(gen_access_bytes(g->c), 16u)
					  : target;
}

static void gen_place_operand(struct gen *g, u64 target)
{
	if (gen_has_moffs(g->form))
		gen_place_moffs(g, target);
	else if (g->c->insn.flags & SX_IF_MEM)
		gen_place(g, target - gen_segment_base(g->c));
}

/* --- relative branches --- */

static void gen_place_branch(struct gen *g)
{
	struct oracle_case *c = g->c;
	const struct sx_operand *o = &g->form->opd[0];
	unsigned size = o->size == SX_SZ_B ? 1 : MIN(c->insn.size, (u8)4);
	u64 next = c->rip + c->len, distance;

	if (o->kind != SX_OPD_J)
		return;
	do {
		distance = size == 1 ? (u64)(i8)oracle_random(g->rng)
				     : oracle_code_target(g->rng, c) - next;
	} while (distance + SX_INSN_MAX < SX_INSN_MAX);
	if (size == 2)
		distance = (u64)(i16)distance;
	bytes_store(c->code + c->len - size, distance, size);
	c->insn.imm = distance;
}

/* Where a direct far jump or call goes: behind the offset stands the selector. */
static void gen_place_far(struct gen *g)
{
	static const u16 selectors[] = {ORACLE_CS32, ORACLE_CS64, ORACLE_CS32, ORACLE_SS, 0, 0x10};
	struct oracle_case *c = g->c;
	u64 target = oracle_code_target(g->rng, c);
	u16 selector = selectors[oracle_below(g->rng, ARRAY_SIZE(selectors))];

	if (g->form->shape != SX_SHAPE_FAR)
		return;
	if (c->code_base && oracle_chance(g->rng, 2))
		selector = oracle_chance(g->rng, 2) ? ORACLE_LDT_CODE16 : ORACLE_LDT_CODE32;
	else if (c->insn.size == 4)
		target += c->code_base;
	bytes_store(c->code + c->len - 2, selector, 2);
	bytes_store(c->code + c->len - 2 - c->insn.size, target, c->insn.size);
	c->insn.imm = (u64)selector << 32 | (target & bytes_mask(c->insn.size));
}

/* --- state --- */

static void gen_registers(struct gen *g)
{
	struct oracle_case *c = g->c;
	u64 flags = X86_FLAGS_ARITH;

	for (unsigned i = 0; i < X86_GPRS; i++)
		c->gpr[i] = oracle_value(g->rng);
	c->gs_base = c->bits == 64 ? oracle_below(g->rng, 0x10000) : 0;
	if (oracle_chance(g->rng, 4))
		flags |= X86_FLAG_DF;
	if (oracle_chance(g->rng, 32))
		flags |= X86_FLAG_AC;
	c->rflags = (oracle_random(g->rng) & flags) | X86_FLAG_ONE | X86_FLAG_IF;
	c->gpr[X86_RSP] =
		ORACLE_DATA - c->data_base + 0x800 + (oracle_below(g->rng, 0x2800) & ~7ul);
	if (c->mode == ORACLE_16)
		c->gpr[X86_RSP] |= oracle_random(g->rng) << 16;
	oracle_fill_fx(g->rng, c->fx, oracle_chance(g->rng, 2));
	for (unsigned i = 0; i < ARRAY_SIZE(c->ymm_high); i++)
		oracle_fill_vector(g->rng, c->ymm_high[i], oracle_chance(g->rng, 2));
}

/* In 32-bit code, and where nothing widens them, the upper halves are zero. */
static void gen_narrow(struct oracle_case *c)
{
	if (c->bits == 64)
		return;
	for (unsigned i = 0; i < X86_GPRS; i++)
		c->gpr[i] = i < 8 ? (u32)c->gpr[i] : 0;
}

static bool gen_is_safe_range(u64 a)
{
	bool is_user = a < BIT(47), is_zero_page = a < 0x10000 - 1024;

	return !is_user || is_zero_page || (a >= ORACLE_SAFE_BEGIN && a < ORACLE_SAFE_END);
}

/* Would the host touch only what is the case's own, or nothing? */
static bool gen_is_safe(const struct oracle_case *c)
{
	const struct sx_form *f = sx_insn_form(&c->insn);
	u64 a = oracle_address(c);
	i64 bit;

	/* Segment limits keep it in the data. */
	if (c->data_base)
		return true;
	/* Pushes reach a little below. */
	if (!gen_is_safe_range(c->gpr[X86_RSP]) || !gen_is_safe_range(c->gpr[X86_RSP] - 0x10000))
		return false;
	/* A far call may push in 32-bit code, at ESP. */
	if (f->op == SX_CALL_FAR_M && (!gen_is_safe_range((u32)c->gpr[X86_RSP]) ||
				       !gen_is_safe_range((u32)c->gpr[X86_RSP] - 0x10000)))
		return false;
	if (!(c->insn.flags & SX_IF_MEM) || f->op == SX_LEA)
		return true;
	if (!gen_is_safe_range(a))
		return false;
	if (f->shape != SX_SHAPE_RM_REG || f->op < SX_BT || f->op > SX_BTC)
		return true;
	bit = (i64)(c->gpr[c->insn.reg] << (64 - c->insn.size * 8)) >> (64 - c->insn.size * 8);
	return gen_is_safe_range(a + (u64)(bit >> 3));
}

/* Did the placing of the address take a register that the operation needs? */
static bool gen_is_spoiled(const struct oracle_case *c)
{
	bool is_by_ax = c->insn.base == X86_RAX || c->insn.index == X86_RAX;
	bool is_by_dx = c->insn.base == X86_RDX || c->insn.index == X86_RDX;
	unsigned op = sx_insn_op(&c->insn);

	/* A selector that was not chosen may name a segment that only the host has. */
	if (((op >= SX_MOV_SEG_RM && op <= SX_LSL) || op == SX_JMP_FAR_M || op == SX_CALL_FAR_M) &&
	    c->insn.flags & SX_IF_MEM && !c->n_patches)
		return oracle_address(c) - ORACLE_DATA < ORACLE_DATA_SIZE;
	/* The mask of components: ours has fewer than the host. */
	return op >= SX_XSAVE && op <= SX_XRSTORS && (is_by_ax || is_by_dx);
}

static u64 gen_rip(struct gen *g)
{
	u64 linear = ORACLE_CODE + 0x800 + oracle_below(g->rng, 0x700);

	if (oracle_chance(g->rng, 8))
		linear = ORACLE_CODE + PAGE_SIZE - oracle_below(g->rng, g->c->len + 1);
	return linear - g->c->code_base;
}

static void gen_mode(struct oracle_case *c, enum oracle_mode mode)
{
	static const u8 bits[ORACLE_MODES] = {64, 32, 32, 16};

	c->mode = mode;
	c->bits = bits[mode];
	c->cs = mode == ORACLE_64             ? ORACLE_CS64
		: mode == ORACLE_32           ? ORACLE_CS32
		: mode == ORACLE_32_SEGMENTED ? ORACLE_LDT_CODE32
					      : ORACLE_LDT_CODE16;
	c->ss = mode < ORACLE_32_SEGMENTED    ? ORACLE_SS
		: mode == ORACLE_32_SEGMENTED ? ORACLE_LDT_DATA32
					      : ORACLE_LDT_DATA16;
	c->ds = mode == ORACLE_64 ? 0 : c->ss;
	c->gs = mode < ORACLE_32_SEGMENTED ? 0 : ORACLE_LDT_GS;
	c->code_base = mode < ORACLE_32_SEGMENTED ? 0 : ORACLE_CODE;
	c->data_base = mode < ORACLE_32_SEGMENTED ? 0 : ORACLE_DATA;
}

bool oracle_generate(struct oracle_rng *r, u16 form, enum oracle_mode mode, u64 features,
		     struct oracle_case *out)
{
	struct gen g = {.rng = r, .form = &sx_forms[form], .c = out};
	u64 target;

	if (g.form->attr & (mode == ORACLE_64 ? SX_A_NO64 : SX_A_64))
		return false;
	memset(out, 0, sizeof(*out));
	gen_mode(out, mode);
	if (!gen_encode(&g, features))
		return false;
	out->rip = gen_rip(&g);
	gen_registers(&g);
	target = gen_align_target(&g, gen_target(&g));
	oracle_prepare(r, out, target);
	gen_narrow(out);
	gen_tame_index(&g);
	gen_place_operand(&g, target);
	gen_narrow(out);
	gen_place_branch(&g);
	gen_place_far(&g);
	return gen_is_safe(out) && !gen_is_spoiled(out) && oracle_vendor_runs(out);
}

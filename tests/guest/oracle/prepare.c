/*
 * Gives a case's operands values that suit the operation: selectors for segment loads, code
 * addresses for jumps, floating-point numbers for floating point, counts for strings.
 */
#include <string.h>

#include "arch/x86/regs.h"
#include "base/bytes.h"
#include "tests/guest/oracle/oracle.h"

struct prepare {
	struct oracle_rng *rng;
	struct oracle_case *c;
	const struct sx_form *form;
	u64 target;
};

void oracle_patch(struct oracle_case *c, u64 address, const void *bytes, u32 size)
{
	struct oracle_patch *p = &c->patches[c->n_patches];

	if (c->n_patches == ORACLE_PATCHES || size > sizeof(p->bytes) || address < ORACLE_DATA ||
	    !range_fits(address - ORACLE_DATA, size, ORACLE_DATA_RW))
		return;
	p->off = (u32)(address - ORACLE_DATA);
	p->size = size;
	memcpy(p->bytes, bytes, size);
	c->n_patches++;
}

u64 oracle_code_target(struct oracle_rng *r, const struct oracle_case *c)
{
	u64 a;

	if (oracle_chance(r, 12))
		return 0x62000000 - c->code_base + oracle_below(r, MIB);
	/* Not into the instruction itself, nor where an INT3 would be part of it. */
	do {
		a = ORACLE_CODE - c->code_base + oracle_below(r, ORACLE_CODE_SIZE - 16);
	} while (a + SX_INSN_MAX >= c->rip && a < c->rip + c->len);
	return a;
}

/* The host's GDT and ours have the same at these: kernel and user segments, empty slots, the LDT,
 * what is beyond. */
static u16 prepare_selector(struct prepare *p)
{
	static const u16 selectors[] = {0x00,
					0x00,
					0x03,
					0x08,
					0x10,
					0x13,
					0x18,
					0x1b,
					0x20,
					0x23,
					0x23,
					0x28,
					0x2b,
					0x2b,
					0x30,
					0x33,
					0x33,
					0x88,
					0x8b,
					0x104,
					0x107,
					0x2a,
					0x29,
					0x32,
					ORACLE_LDT_CODE16,
					ORACLE_LDT_CODE32,
					ORACLE_LDT_DATA32,
					ORACLE_LDT_DATA16,
					ORACLE_LDT_GS,
					ORACLE_LDT_GS ^ 1};

	return selectors[oracle_below(p->rng, ARRAY_SIZE(selectors))];
}

static u16 prepare_code_selector(struct prepare *p)
{
	static const u16 code[] = {ORACLE_CS64, ORACLE_CS32, ORACLE_LDT_CODE16, ORACLE_LDT_CODE32};

	if (oracle_chance(p->rng, 4))
		return prepare_selector(p);
	return code[oracle_below(p->rng, ARRAY_SIZE(code))];
}

/* Where to go in another code segment. */
static u64 prepare_far_jump(struct prepare *p, u16 selector)
{
	u64 linear = oracle_code_target(p->rng, p->c) + p->c->code_base;

	return selector == ORACLE_LDT_CODE16 || selector == ORACLE_LDT_CODE32 ? linear - ORACLE_CODE
									      : linear;
}

static u64 prepare_jump(struct prepare *p)
{
	if (p->c->bits == 64 && oracle_chance(p->rng, 24))
		return BIT(47) | oracle_random(p->rng);
	return oracle_code_target(p->rng, p->c);
}

/* Puts a value into the rm operand, register or memory. */
static void prepare_rm(struct prepare *p, u64 value, u32 size)
{
	struct oracle_case *c = p->c;

	if (c->insn.flags & SX_IF_MEM)
		oracle_patch(c, p->target, &value, size);
	else if (c->insn.rm < X86_GPRS && c->insn.rm != X86_RSP)
		c->gpr[c->insn.rm] = value;
}

static void prepare_far_pointer(struct prepare *p, u16 selector)
{
	u8 bytes[10];
	u64 offset = prepare_far_jump(p, selector);

	bytes_store(bytes, offset, 8);
	bytes_store(bytes + p->c->insn.size, selector, 2);
	oracle_patch(p->c, p->target, bytes, p->c->insn.size + 2u);
}

static u64 prepare_flags(struct prepare *p)
{
	return oracle_random(p->rng) & ~(X86_FLAG_TF | X86_FLAG_VM | X86_FLAG_IOPL);
}

/* An offset in the data segments. */
static u64 prepare_linear(const struct oracle_case *c, u64 offset)
{
	return c->data_base + (c->mode == ORACLE_16 ? (u16)offset : offset);
}

/* What RET, RETF, IRET and POPF find on the stack, in slots of the operand size. */
static void prepare_stack(struct prepare *p)
{
	struct oracle_case *c = p->c;
	u64 slots[5] = {prepare_jump(p), prepare_code_selector(p), prepare_flags(p),
			c->gpr[X86_RSP] + 64,
			oracle_chance(p->rng, 4) ? prepare_selector(p) : ORACLE_SS};
	u8 bytes[40];

	if (p->form->op == SX_RETF) {
		slots[2] = slots[3];
		slots[3] = slots[4];
	} else if (p->form->op == SX_POPF) {
		slots[0] = slots[2];
	} else if (p->form->op == SX_POP_SEG) {
		slots[0] = prepare_selector(p);
	}
	for (unsigned i = 0; i < 5; i++)
		bytes_store(bytes + i * c->insn.size, slots[i], c->insn.size);
	oracle_patch(c, prepare_linear(c, c->gpr[X86_RSP]), bytes, 5u * c->insn.size);
}

static u64 prepare_data_address(struct prepare *p)
{
	return ORACLE_DATA - p->c->data_base + 0x400 + oracle_below(p->rng, 0x3000);
}

/* Sources and destinations in the data, equal here and there, and short counts. */
static void prepare_string(struct prepare *p)
{
	struct oracle_case *c = p->c;
	u64 equal[8];

	c->gpr[X86_RSI] = prepare_data_address(p);
	c->gpr[X86_RDI] = prepare_data_address(p);
	if (oracle_chance(p->rng, 4))
		c->gpr[X86_RDI] = c->gpr[X86_RSI] + oracle_below(p->rng, 16) - 8;
	if (oracle_chance(p->rng, 16))
		c->gpr[X86_RDI] =
			ORACLE_DATA - c->data_base + ORACLE_DATA_RW - oracle_below(p->rng, 64);
	if (oracle_chance(p->rng, 16))
		c->gpr[X86_RSI] =
			ORACLE_DATA - c->data_base + ORACLE_DATA_SIZE - oracle_below(p->rng, 64);
	c->gpr[X86_RCX] = oracle_below(p->rng, oracle_chance(p->rng, 4) ? 300 : 12);
	for (unsigned i = 0; i < ARRAY_SIZE(equal); i++)
		equal[i] = c->gpr[X86_RAX];
	if (oracle_chance(p->rng, 2)) {
		oracle_patch(c, prepare_linear(c, c->gpr[X86_RDI]), equal, sizeof(equal));
		oracle_patch(c, prepare_linear(c, c->gpr[X86_RSI]), equal, sizeof(equal));
	}
}

/* Dividends whose quotient fits, every other time. */
static void prepare_division(struct prepare *p)
{
	if (oracle_chance(p->rng, 2))
		p->c->gpr[X86_RDX] = oracle_below(p->rng, 4);
	else if (oracle_chance(p->rng, 2))
		p->c->gpr[X86_RDX] = ~(u64)0;
	if (p->c->insn.size == 1 && oracle_chance(p->rng, 2))
		p->c->gpr[X86_RAX] &= 0x3ff;
}

/* The accumulator equals the destination, every other time. */
static void prepare_compare_exchange(struct prepare *p)
{
	struct oracle_case *c = p->c;
	u64 value[2] = {oracle_value(p->rng), oracle_value(p->rng)};
	u8 bytes[16];

	if (oracle_chance(p->rng, 2))
		return;
	switch ((int)p->form->op) {
	case SX_CMPXCHG:
		c->gpr[X86_RAX] = value[0];
		prepare_rm(p, value[0], c->insn.size);
		break;
	case SX_CMPXCHG8B:
		c->gpr[X86_RAX] = (u32)value[0];
		c->gpr[X86_RDX] = value[0] >> 32;
		oracle_patch(c, p->target, value, 8);
		break;
	case SX_CMPXCHG16B:
		c->gpr[X86_RAX] = value[0];
		c->gpr[X86_RDX] = value[1];
		memcpy(bytes, value, 16);
		oracle_patch(c, p->target, bytes, 16);
		break;
	}
}

/* Bits near the operand, so that most accesses stay in the data. */
static void prepare_bit_offset(struct prepare *p)
{
	struct oracle_case *c = p->c;

	if (p->form->shape == SX_SHAPE_RM_REG && c->insn.flags & SX_IF_MEM &&
	    !oracle_chance(p->rng, 16))
		c->gpr[c->insn.reg] = oracle_below(p->rng, 4096) - 2048;
}

static void prepare_fx_image(struct prepare *p)
{
	u8 area[576] = {0};

	oracle_fill_fx(p->rng, area, oracle_chance(p->rng, 2));
	if (oracle_chance(p->rng, 16))
		bytes_store(area + X86_FXSAVE_MXCSR, oracle_random(p->rng), 4);
	bytes_store(area + X86_XSAVE_HEADER, oracle_below(p->rng, 4), 1);
	if (oracle_chance(p->rng, 16))
		bytes_store(area + X86_XSAVE_HEADER + 16 + oracle_below(p->rng, 8), 0x80, 1);
	oracle_patch(p->c, p->target, area, sizeof(area));
}

static void prepare_state_mask(struct prepare *p)
{
	p->c->gpr[X86_RAX] = 1 + oracle_below(p->rng, 3);
	p->c->gpr[X86_RDX] = 0;
}

/* Strings of few different characters, with ends: PCMPxSTRx. */
static void prepare_text(struct prepare *p)
{
	struct oracle_case *c = p->c;
	unsigned letters = 1 + (unsigned)oracle_below(p->rng, 5);
	u8 text[16];

	for (unsigned n = 0; n < 17; n++) {
		for (unsigned i = 0; i < 16; i++)
			text[i] = (u8)oracle_below(p->rng, letters) + (n % 2);
		if (n < 16)
			memcpy(c->fx + X86_FXSAVE_XMM0 + n * 16, text, 16);
	}
	oracle_patch(c, p->target, text, 16);
	c->gpr[X86_RAX] = oracle_below(p->rng, 40) - 20;
	c->gpr[X86_RDX] = oracle_below(p->rng, 40) - 20;
}

/* A memory operand of x87 or SSE: numbers of its size. */
static void prepare_numbers(struct prepare *p)
{
	unsigned bytes = sx_insn_rm_bytes(&p->c->insn);
	u8 value[32];
	unsigned size = oracle_chance(p->rng, 2) ? 4 : 8;

	if (bytes == 10) {
		if (p->form->op == SX_FBLD)
			oracle_fill_bcd(p->rng, value);
		else
			oracle_fill_extended(p->rng, value);
	} else if (bytes == 4 || bytes == 8) {
		oracle_fill_floats(p->rng, value, bytes);
	} else if (bytes == 16 || bytes == 32) {
		for (unsigned i = 0; i < bytes; i += size)
			oracle_fill_floats(p->rng, value + i, size);
	} else {
		return;
	}
	if (!oracle_chance(p->rng, 4))
		oracle_patch(p->c, p->target, value, bytes);
}

/* A gather's indexes: near the operand; all in range, or the last ones not. */
static void prepare_gather(struct prepare *p)
{
	struct oracle_case *c = p->c;
	u8 *low = c->fx + X86_FXSAVE_XMM0 + c->insn.index * 16, *high = c->ymm_high[c->insn.index];
	unsigned size = p->form->op == SX_GATHERDPS || p->form->op == SX_GATHERDPD ||
					p->form->op == SX_PGATHERDD || p->form->op == SX_PGATHERDQ
				? 4
				: 8;
	bool is_wild = oracle_chance(p->rng, 16);

	for (unsigned i = 0; i < 32; i += size) {
		u64 v = oracle_below(p->rng, 64) - 32;

		if (is_wild && i >= 8)
			v = oracle_below(p->rng, 0x4000);
		bytes_store(i < 16 ? low + i : high + i - 16, v, size);
	}
}

static void prepare_mxcsr(struct prepare *p)
{
	u32 mxcsr = 0x1f80 | ((u32)oracle_random(p->rng) & 0xffff);

	oracle_patch(p->c, p->target, &mxcsr, 4);
}

/* A call into 64-bit code takes all of ESP for an address without a base. */
static void prepare_plain_stack(struct prepare *p)
{
	if (p->c->mode == ORACLE_16)
		p->c->gpr[X86_RSP] &= 0xffff;
}

static void prepare_frame_pointer(struct prepare *p)
{
	p->c->gpr[X86_RBP] = prepare_data_address(p);
}

void oracle_prepare(struct oracle_rng *r, struct oracle_case *c, u64 target)
{
	struct prepare p = {.rng = r, .c = c, .form = sx_insn_form(&c->insn), .target = target};

	switch ((int)p.form->op) {
	case SX_MOVS:
	case SX_CMPS:
	case SX_STOS:
	case SX_LODS:
	case SX_SCAS:
	case SX_INS:
	case SX_OUTS:
		prepare_string(&p);
		break;
	case SX_MASKMOVQ:
	case SX_MASKMOVDQU:
		/* How it is checked for alignment is not defined. */
		c->rflags &= ~X86_FLAG_AC;
		c->gpr[X86_RDI] = prepare_data_address(&p);
		break;
	case SX_XLAT:
		c->gpr[X86_RBX] = prepare_data_address(&p);
		break;
	case SX_DIV:
	case SX_IDIV:
		prepare_division(&p);
		break;
	case SX_CMPXCHG:
	case SX_CMPXCHG8B:
	case SX_CMPXCHG16B:
		prepare_compare_exchange(&p);
		break;
	case SX_BT:
	case SX_BTS:
	case SX_BTR:
	case SX_BTC:
		prepare_bit_offset(&p);
		break;
	case SX_LOOP:
	case SX_LOOPE:
	case SX_LOOPNE:
	case SX_JCXZ:
		c->gpr[X86_RCX] = oracle_below(r, 3) | (oracle_chance(r, 4) ? BIT(32) : 0);
		break;
	case SX_JMP_RM:
	case SX_CALL_RM:
		prepare_rm(&p, prepare_jump(&p), c->insn.size);
		break;
	case SX_CALL_FAR:
		prepare_plain_stack(&p);
		break;
	case SX_JMP_FAR_M:
	case SX_CALL_FAR_M:
		prepare_plain_stack(&p);
		prepare_far_pointer(&p, prepare_code_selector(&p));
		break;
	case SX_LES:
	case SX_LDS:
	case SX_LSS:
	case SX_LFS:
	case SX_LGS:
		prepare_far_pointer(&p, prepare_selector(&p));
		break;
	case SX_MOV_SEG_RM:
	case SX_LAR:
	case SX_LSL:
	case SX_VERR:
	case SX_VERW:
		prepare_rm(&p, prepare_selector(&p), 2);
		break;
	case SX_RET:
	case SX_RETF:
	case SX_IRET:
	case SX_POPF:
	case SX_POP_SEG:
		prepare_stack(&p);
		break;
	case SX_ENTER:
	case SX_LEAVE:
		prepare_frame_pointer(&p);
		break;
	case SX_FXRSTOR:
		prepare_fx_image(&p);
		break;
	case SX_XRSTOR:
		prepare_fx_image(&p);
		prepare_state_mask(&p);
		break;
	case SX_XSAVE:
	case SX_XSAVEOPT:
	case SX_XSAVEC:
		prepare_state_mask(&p);
		break;
	case SX_GATHERDPS:
	case SX_GATHERDPD:
	case SX_GATHERQPS:
	case SX_GATHERQPD:
	case SX_PGATHERDD:
	case SX_PGATHERDQ:
	case SX_PGATHERQD:
	case SX_PGATHERQQ:
		prepare_gather(&p);
		break;
	case SX_LDMXCSR:
		prepare_mxcsr(&p);
		break;
	case SX_PCMPESTRI:
	case SX_PCMPESTRM:
	case SX_PCMPISTRI:
	case SX_PCMPISTRM:
		prepare_text(&p);
		break;
	default:
		if (c->insn.flags & SX_IF_MEM && p.form->op > SX_STMXCSR)
			prepare_numbers(&p);
	}
}

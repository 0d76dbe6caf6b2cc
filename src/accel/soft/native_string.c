/*
 * String instructions in native code: MOVS, STOS, CMPS, SCAS; of LODS one element.
 *
 * One element of MOVS, STOS, LODS is a load, a store, whatever its segment and the width of its registers.
 * Their registers are the host's of the same names, so that REP MOVS and REP STOS that stay within a page at
 * both ends are two looks into the TLB and the host's own instruction, in code shared by all blocks. What is
 * longer, and the comparisons, go page by page in C (sx_native_string); what the TLB can't have, and what
 * somebody wants to interrupt, is the interpreter's, which goes on from where the registers stand.
 */
#include "accel/soft/exec.h"
#include "accel/soft/native_priv.h"

/* Addresses of 64 bits in 64-bit code, of 32 bits with flat segments. */
static bool is_plain_address(const struct sx_insn *i, u32 mode)
{
	if (i->seg == X86_FS || i->seg == X86_GS)
		return false;
	if (mode & SX_MODE_64)
		return sx_insn_addrsize(i) == 8;
	return mode & SX_MODE_FLAT && sx_insn_addrsize(i) == 4 && i->seg != X86_CS;
}

/* One element, inline, whatever its addresses. */
static bool is_single(const struct sx_insn *i)
{
	enum sx_op op = sx_insn_op(i);

	return !(i->flags & (SX_IF_REP | SX_IF_REPNE)) &&
	       (op == SX_LODS || op == SX_STOS || op == SX_MOVS);
}

bool sx_native_is_string(const struct sx_insn *i, u32 mode)
{
	enum sx_op op = sx_insn_op(i);

	return is_single(i) ||
	       ((op == SX_MOVS || op == SX_STOS || op == SX_CMPS || op == SX_SCAS) &&
		is_plain_address(i, mode));
}

/* --- shared code --- */

/* r11 = the tag that rCX elements at reg must find, r14 = their slot. */
static void find_slot(struct emit *e, const struct sx_cpu *c, unsigned reg, unsigned shift)
{
	e_op(e, 8, 0x8b, H_R11, opd_reg(H_RCX), 0);
	if (shift) {
		e_op(e, 8, 0xc1, 4, opd_reg(H_R11), 1);
		e_u8(e, shift);
	}
	e_lea(e, 8, H_R11, H_R11, reg, 0, -1);
	e_op(e, 8, 0x81, 4, opd_reg(H_R11), 4); /* and */
	e_i32(e, (i32)PAGE_MASK);
	sx_native_slot(e, c, reg);
}

static u8 *compare_tag(struct emit *e, size_t tag)
{
	e_op(e, 8, 0x3b, H_R11, opd_base(H_R14, (i32)tag), 0);
	return e_jcc(e, 5);
}

static void add(struct emit *e, unsigned reg, unsigned to)
{
	e_op(e, 8, 0x03, to, opd_reg(reg), 0);
}

static void subtract(struct emit *e, unsigned reg, unsigned from)
{
	e_op(e, 8, 0x2b, from, opd_reg(reg), 0);
}

/* Called: r14d as sx_native_string has it. ZF: the rest is the interpreter's. */
static void emit_in_c(struct emit *e, struct sx_cpu *c)
{
	c->native->string = e_exec(e, e->at);
	sx_native_each_volatile(e, c, true);
	e_op(e, 4, 0x8b, H_RSI, opd_reg(H_R14), 0);
	sx_native_emit_call_c(e, c, &c->native_string);
	e_op(e, 4, 0x8b, H_R10, opd_reg(H_RAX), 0);
	sx_native_each_volatile(e, c, false);
	e_op(e, 1, 0x84, H_R10, opd_reg(H_R10), 0);
	e_u8(e, 0xc3);
}

/* The same, called for REP MOVS or STOS of 2^shift bytes. */
static void emit_short(struct emit *e, struct sx_cpu *c, bool is_movs, unsigned shift)
{
	const struct sx_native *n = c->native;
	u8 *to_c[4], **next = to_c;

	c->native->string_short[is_movs][shift] = e_exec(e, e->at);
	e_op(e, 4, 0xf7, 0, opd_near(&c->sysflags), 4); /* test */
	e_i32(e, X86_FLAG_DF);
	*next++ = e_jcc(e, 5);
	e_lea(e, 8, H_R10, H_RCX, H_RSP, 0, -1);
	e_op(e, 8, 0x81, 7, opd_reg(H_R10), 4); /* cmp */
	e_i32(e, PAGE_SIZE >> shift);
	*next++ = e_jcc(e, 3); /* above or equal: 0 elements, too */
	find_slot(e, c, H_RDI, shift);
	*next++ = compare_tag(e, offsetof(struct sx_tlb_entry, write));
	e_load(e, H_R10, opd_base(H_R14, offsetof(struct sx_tlb_entry, addend)));
	if (is_movs) {
		find_slot(e, c, H_RSI, shift);
		*next++ = compare_tag(e, offsetof(struct sx_tlb_entry, read));
		e_load(e, H_R14, opd_base(H_R14, offsetof(struct sx_tlb_entry, addend)));
		add(e, H_R14, H_RSI);
	}
	add(e, H_R10, H_RDI);
	e_u8(e, 0xf3);
	e_prefixes(e, 1u << shift, 0, 0, false);
	e_u8(e, (is_movs ? 0xa4 : 0xaa) | (shift > 0));
	if (is_movs)
		subtract(e, H_R14, H_RSI);
	subtract(e, H_R10, H_RDI);
	e_op(e, 8, 0x85, H_RSP, opd_reg(H_RSP), 0); /* not zero */
	e_u8(e, 0xc3);
	while (next-- > to_c)
		e_patch(*next, e->at);
	e_op(e, 4, 0xc7, 0, opd_reg(H_R14), 4);
	e_i32(e, (is_movs ? SX_MOVS : SX_STOS) | 1u << shift << SX_STRING_SIZE_SHIFT |
			 SX_STRING_REPEATS);
	e_patch(e_jump(e), n->string - e->to_exec);
}

void sx_native_emit_strings(struct emit *e, struct sx_cpu *c)
{
	c->native_string = sx_native_string;
	emit_in_c(e, c);
	for (unsigned shift = 0; shift < 4; shift++) {
		emit_short(e, c, false, shift);
		emit_short(e, c, true, shift);
	}
}

/* --- an instruction --- */

/* Offsets of 32 bits are linear addresses, as they wrap. */
static void cut_registers(struct translation *t, bool is_movs, bool repeats)
{
	struct emit *e = &t->e;

	if (t->b->mode & SX_MODE_64)
		return;
	e_op(e, 4, 0x8b, H_RDI, opd_reg(H_RDI), 0);
	if (is_movs)
		e_op(e, 4, 0x8b, H_RSI, opd_reg(H_RSI), 0);
	if (repeats)
		e_op(e, 4, 0x8b, H_RCX, opd_reg(H_RCX), 0);
}

/* The element at rSI or rDI, in that segment. */
static struct opd element(struct translation *t, unsigned index, unsigned reg, unsigned seg,
			  bool is_write)
{
	struct item it = t->items[index];
	struct access a;

	it.i.base = (u8)reg;
	it.i.index = SX_REG_ZERO;
	it.i.disp = 0;
	it.i.seg = (u8)seg;
	a = sx_native_access(t, &it, it.i.size, is_write);
	return sx_native_memory(t, index, &a, true);
}

static void move_element(struct emit *e, unsigned size, unsigned reg, struct opd mem, bool is_store)
{
	e_op(e, size, (is_store ? 0x88 : 0x8a) | (size > 1), reg, mem, 0);
}

/* R11 = 2 * size with DF, else 0. */
static void load_step_back(struct translation *t, unsigned size)
{
	struct emit *e = &t->e;
	unsigned shift = (unsigned)__builtin_ctz(size);

	static_assert(X86_FLAG_DF == 1 << 10, "to be shifted");
	e_op(e, 4, 0x8b, H_R11, opd_near(&t->c->sysflags), 0);
	e_op(e, 4, 0xc1, 5, opd_reg(H_R11), 1); /* shr */
	e_u8(e, 9 - shift);
	e_op(e, 4, 0x83, 4, opd_reg(H_R11), 1); /* and */
	e_u8(e, 2 << shift);
}

static void advance(struct emit *e, unsigned width, unsigned size, unsigned reg)
{
	e_lea(e, width, reg, reg, H_RSP, 0, (i32)size);
	e_op(e, width, 0x2b, reg, opd_reg(H_R11), 0);
}

static void single(struct translation *t, unsigned index)
{
	const struct sx_insn *i = &t->items[index].i;
	enum sx_op op = sx_insn_op(i);
	unsigned width = sx_insn_addrsize(i), size = i->size;
	struct opd copy = opd_near(&t->c->native_target);
	struct emit *e = &t->e;

	if (op != SX_STOS)
		move_element(e, size, op == SX_LODS ? H_RAX : H_R11,
			     element(t, index, X86_RSI, i->seg, false), false);
	if (op == SX_MOVS)
		e_store(e, H_R11, copy);
	if (op != SX_LODS) {
		struct opd to = element(t, index, X86_RDI, X86_ES, true);

		if (op == SX_MOVS)
			e_load(e, H_R11, copy);
		move_element(e, size, op == SX_MOVS ? H_R11 : H_RAX, to, true);
	}
	load_step_back(t, size);
	if (op != SX_STOS)
		advance(e, width, size, H_RSI);
	if (op != SX_LODS)
		advance(e, width, size, H_RDI);
}

void sx_native_string_insn(struct translation *t, unsigned index)
{
	const struct sx_insn *i = &t->items[index].i;
	const struct sx_native *n = t->c->native;
	enum sx_op op = sx_insn_op(i);
	bool repeats = i->flags & (SX_IF_REP | SX_IF_REPNE);
	bool is_short = repeats && (op == SX_MOVS || op == SX_STOS);
	struct emit *e = &t->e;
	u8 *field;

	if (is_single(i)) {
		single(t, index);
		return;
	}
	sx_native_flush_fpu(t);
	if (is_short) {
		cut_registers(t, op == SX_MOVS, true);
	} else {
		e_op(e, 4, 0xc7, 0, opd_reg(H_R14), 4);
		e_i32(e, op | (u32)i->size << SX_STRING_SIZE_SHIFT |
				 (repeats ? SX_STRING_REPEATS : 0) |
				 (i->flags & SX_IF_REPNE ? SX_STRING_REPNE : 0));
	}
	field = e_call(e);
	if (!e->is_full)
		e_patch(field, (is_short ? n->string_short[op == SX_MOVS][__builtin_ctz(i->size)]
					 : n->string) -
				       e->to_exec);
	if (is_short)
		cut_registers(t, op == SX_MOVS, false);
	sx_native_add_slow(t, SLOW_CALLOUT, e_jcc(e, 4), index);
	t->flags = FLAGS_MEMORY;
}

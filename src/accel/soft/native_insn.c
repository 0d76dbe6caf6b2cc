/*
 * One guest instruction to host instructions. See native.h for registers, native_priv.h for the parts.
 *
 * Most instructions are themselves again: the same opcode with its registers renamed and its memory
 * operand replaced by the host address that the TLB check leaves in R10. The check changes EFLAGS, so
 * flags that are needed later are put into c->cc before it.
 */
#include "accel/soft/exec.h"
#include "accel/soft/native_priv.h"

/* --- flags --- */

/* LAHF and SETO go through RAX, a guest's register; R11 keeps it meanwhile. */
static void swap_rax(struct emit *e, bool is_back)
{
	if (is_back)
		e_op(e, 8, 0x8b, H_RAX, opd_reg(H_R11), 0);
	else
		e_op(e, 8, 0x8b, H_R11, opd_reg(H_RAX), 0);
}

void sx_native_spill_flags(struct translation *t)
{
	struct emit *e = &t->e;

	swap_rax(e, false);
	e_u8(e, 0x9f);                                 /* lahf */
	e_op(e, 1, E_0F | 0x90, 0, opd_reg(H_RAX), 0); /* seto al */
	e_op(e, 2, 0x89, H_RAX, opd_near(&t->c->cc), 0);
	swap_rax(e, true);
	t->flags = FLAGS_MEMORY;
}

void sx_native_load_flags(struct translation *t)
{
	struct emit *e = &t->e;

	swap_rax(e, false);
	e_op(e, 4, E_0F | 0xb7, H_RAX, opd_near(&t->c->cc), 0);
	e_u8(e, 0x04); /* add al, 127: overflows when OF was set */
	e_u8(e, 127);
	e_u8(e, 0x9e); /* sahf */
	swap_rax(e, true);
	t->flags = FLAGS_HOST;
}

/* --- operands --- */

struct operands {
	struct opd rm;
	unsigned reg;
	bool stores_rm, stores_reg; /* scratch R14, R11: back to memory afterwards */
};

/* Before the instruction's own opcode: memory checked, flags where they are wanted. */
static struct operands prepare(struct translation *t, unsigned index, bool has_reg)
{
	const struct item *it = &t->items[index];
	const struct sx_insn *i = &it->i;
	unsigned writes = sx_native_writes(i);
	struct operands o = {0};
	bool wants_flags = it->flags & FLAGS_READ || (it->flags & FLAGS_MERGE && it->is_live_after);

	if (i->flags & SX_IF_MEM) {
		struct access a =
			sx_native_access(t, it, sx_native_rm_bytes(i), writes & NATIVE_WRITES_RM);

		o.rm = sx_native_memory(t, index, &a, true);
	}
	if (wants_flags && t->flags != FLAGS_HOST)
		sx_native_load_flags(t);
	if (!(i->flags & SX_IF_MEM) && host_of(i->rm) != IN_MEMORY) {
		o.rm = opd_reg(host_of(i->rm));
	} else if (!(i->flags & SX_IF_MEM)) {
		o.rm = opd_gpr(t->c, i->rm);
		/* 32-bit results clear the upper half, which memory does not; a bit's number is cut to
		 * the size for registers alone. */
		bool is_bit = sx_insn_op(i) >= SX_BT && sx_insn_op(i) <= SX_BTC;

		o.stores_rm = writes & NATIVE_WRITES_RM && (i->size == 4 || is_bit);
		if (o.stores_rm || is_bit) {
			e_load(&t->e, H_R14, o.rm);
			o.rm = opd_reg(H_R14);
		}
	}
	if (!has_reg)
		return o;
	o.reg = guest_in(t, i->reg, H_R11);
	o.stores_reg = o.reg == H_R11 && writes & NATIVE_WRITES_REG;
	return o;
}

static void finish(struct translation *t, unsigned index, const struct operands *o)
{
	const struct sx_insn *i = &t->items[index].i;

	if (o->stores_rm)
		e_store(&t->e, H_R14, opd_gpr(t->c, i->rm));
	if (o->stores_reg)
		e_store(&t->e, H_R11, opd_gpr(t->c, i->reg));
}

static u32 attributes(const struct sx_insn *i)
{
	return (i->flags & SX_IF_LOCK ? E_LOCK : 0) | (sx_native_is_high_byte(i) ? E_HIGH : 0);
}

u32 sx_native_opcode(const struct sx_insn *i)
{
	const struct sx_form *f = sx_insn_form(i);
	static const u32 maps[] = {[SX_MAP_ONE] = 0,
				   [SX_MAP_0F] = E_0F,
				   [SX_MAP_0F38] = E_0F38,
				   [SX_MAP_0F3A] = E_0F3A};
	u32 op = maps[f->map] | (u32)(f->opcode + (f->attr & SX_A_CC ? i->cc : 0));

	if (f->prefix == SX_P_66)
		op |= E_66;
	else if (f->prefix == SX_P_F3)
		op |= E_F3;
	else if (f->prefix == SX_P_F2)
		op |= E_F2;
	if (sx_insn_op(i) == SX_MOVZX8 || sx_insn_op(i) == SX_MOVSX8)
		op |= E_BYTE_RM;
	return op | attributes(i);
}

static unsigned imm_bytes(unsigned size)
{
	return size > 4 ? 4 : size;
}

static void emit_imm(struct translation *t, u64 imm, unsigned bytes)
{
	e_bytes(&t->e, &imm, bytes);
}

/* --- families --- */

static void with_reg(struct translation *t, unsigned index)
{
	const struct sx_insn *i = &t->items[index].i;
	struct operands o = prepare(t, index, true);
	u32 op = sx_native_opcode(i);
	unsigned size = i->size;

	if (sx_insn_op(i) == SX_XCHG) /* 90+r has no ModRM */
		op = (op & E_LOCK) | (size == 1 ? 0x86 : 0x87);
	if (sx_insn_op(i) == SX_MOV && sx_insn_form(i)->modrm == SX_MODRM_ABSENT)
		/* A0 to A3 haven't either, and are loads before stores. */
		op = (op & ~0xffu) | (op & 2 ? 0x88 : 0x8a) | (op & 1);
	if (sx_insn_op(i) == SX_MOVSXD && size < 8) /* AMD's processors read 4 bytes for 2 */
		op = 0x8b;
	e_op(&t->e, size, op, o.reg, o.rm, 0);
	finish(t, index, &o);
}

static void with_reg_imm(struct translation *t, unsigned index)
{
	const struct sx_insn *i = &t->items[index].i;
	struct operands o = prepare(t, index, true);
	bool is_imul = sx_insn_op(i) == SX_IMUL3;
	unsigned bytes = is_imul ? imm_bytes(i->size) : 1;

	e_op(&t->e, i->size, is_imul ? 0x69 : sx_native_opcode(i), o.reg, o.rm, bytes);
	emit_imm(t, i->imm, bytes);
	finish(t, index, &o);
}

/* The eight arithmetic operations are numbered in the table's order. */
static void alu_imm(struct translation *t, unsigned index)
{
	const struct sx_insn *i = &t->items[index].i;
	struct operands o = prepare(t, index, false);
	static const u8 numbers[] = {0, 1, 2, 3, 4, 5, 6, 7};
	bool is_short = i->size > 1 && (i64)i->imm == (i8)i->imm;
	unsigned bytes = is_short ? 1 : imm_bytes(i->size);
	u32 op = (i->size == 1 ? 0x80 : is_short ? 0x83 : 0x81) | attributes(i);

	static_assert(SX_CMP - SX_ADD == 7 && SX_SUB - SX_ADD == 5, "their numbers");
	e_op(&t->e, i->size, op, numbers[sx_insn_op(i) - SX_ADD], o.rm, bytes);
	emit_imm(t, i->imm, bytes);
	finish(t, index, &o);
}

static void mov_imm(struct translation *t, unsigned index)
{
	const struct sx_insn *i = &t->items[index].i;
	struct operands o = prepare(t, index, false);
	unsigned bytes = imm_bytes(i->size);

	if (i->size == 8 && (i64)i->imm != (i32)i->imm) { /* B8+r with 64 bits */
		unsigned host = o.rm.kind == OPD_REG ? o.rm.reg : H_R14;

		t->e.changed |= (u16)BIT32(host);
		e_u8(&t->e, 0x48 | host >> 3);
		e_u8(&t->e, 0xb8 | (host & 7));
		emit_imm(t, i->imm, 8);
		if (o.rm.kind != OPD_REG)
			e_store(&t->e, host, o.rm);
	} else {
		e_op(&t->e, i->size, (i->size == 1 ? 0xc6 : 0xc7) | attributes(i), 0, o.rm, bytes);
		emit_imm(t, i->imm, bytes);
	}
	finish(t, index, &o);
}

/* An opcode extension and perhaps an immediate byte. */
static void with_ext(struct translation *t, unsigned index, u32 op, unsigned ext, bool has_imm)
{
	const struct sx_insn *i = &t->items[index].i;
	struct operands o = prepare(t, index, false);

	e_op(&t->e, i->size, op | attributes(i), ext, o.rm, has_imm);
	if (has_imm)
		emit_imm(t, i->imm, 1);
	finish(t, index, &o);
}

static void test_imm(struct translation *t, unsigned index)
{
	const struct sx_insn *i = &t->items[index].i;
	struct operands o = prepare(t, index, false);

	e_op(&t->e, i->size, (i->size == 1 ? 0xf6 : 0xf7) | attributes(i), 0, o.rm,
	     imm_bytes(i->size));
	emit_imm(t, i->imm, imm_bytes(i->size));
}

static void lea(struct translation *t, unsigned index)
{
	const struct item *it = &t->items[index];
	const struct sx_insn *i = &it->i;
	unsigned host = host_of(i->reg);

	if (host != IN_MEMORY && i->size >= 4) {
		sx_native_offset(t, it, host, i->size);
		return;
	}
	sx_native_offset(t, it, H_R10, 8);
	if (host == IN_MEMORY) {
		if (i->size == 2) {
			e_op(&t->e, 2, 0x89, H_R10, opd_gpr(t->c, i->reg), 0);
			return;
		}
		if (i->size == 4)
			e_op(&t->e, 4, 0x8b, H_R10, opd_reg(H_R10), 0);
		e_store(&t->e, H_R10, opd_gpr(t->c, i->reg));
		return;
	}
	e_op(&t->e, i->size, 0x8b, host, opd_reg(H_R10), 0);
}

static void bswap(struct translation *t, unsigned index)
{
	const struct sx_insn *i = &t->items[index].i;
	unsigned host = guest_in(t, i->rm, H_R14);

	if (i->size == 8 || host >= 8)
		e_u8(&t->e, 0x40 | (i->size == 8) << 3 | host >> 3);
	e_u8(&t->e, 0x0f);
	e_u8(&t->e, 0xc8 | (host & 7));
	if (host == H_R14)
		e_store(&t->e, host, opd_gpr(t->c, i->rm));
}

static void without_operand(struct translation *t, unsigned index)
{
	const struct item *it = &t->items[index];
	const struct sx_insn *i = &it->i;
	struct emit *e = &t->e;

	if (it->flags & (FLAGS_READ | FLAGS_MERGE) && t->flags != FLAGS_HOST &&
	    (it->flags & FLAGS_READ || it->is_live_after))
		sx_native_load_flags(t);
	e_prefixes(e, i->size, 0, 0, false);
	switch ((int)sx_insn_op(i)) {
	case SX_CBW:
		e_u8(e, 0x98);
		break;
	case SX_CWD:
		e_u8(e, 0x99);
		break;
	case SX_CLC:
		e_u8(e, 0xf8);
		break;
	case SX_STC:
		e_u8(e, 0xf9);
		break;
	case SX_CMC:
		e_u8(e, 0xf5);
		break;
	}
}

static void fence(struct translation *t, unsigned byte)
{
	e_u8(&t->e, 0x0f);
	e_u8(&t->e, 0xae);
	e_u8(&t->e, byte);
}

static void one(struct translation *t, unsigned index)
{
	const struct sx_insn *i = &t->items[index].i;
	const struct sx_form *f = sx_insn_form(i);
	enum sx_op op = sx_insn_op(i);
	unsigned wide = i->size > 1;

	if (sx_native_is_vex(i)) {
		sx_native_vex(t, index);
		return;
	}
	if (sx_native_is_x87(i)) {
		sx_native_x87(t, index);
		return;
	}
	if (sx_native_is_stack(i)) {
		sx_native_stack_insn(t, index);
		return;
	}
	if (sx_native_is_segment(i)) {
		sx_native_segment(t, index);
		return;
	}
	if (sx_native_is_string(i, t->b->mode)) {
		sx_native_string_insn(t, index);
		return;
	}
	if (sx_native_is_simd(i)) {
		sx_native_simd(t, index);
		return;
	}
	if (sx_native_is_odd(i)) {
		sx_native_odd(t, index);
		return;
	}
	if (sx_native_system(t, index))
		return;
	switch ((int)op) {
	case SX_NOP:
	case SX_PREFETCH:
		return;
	case SX_LFENCE:
		fence(t, 0xe8);
		return;
	case SX_MFENCE:
		fence(t, 0xf0);
		return;
	case SX_SFENCE:
		fence(t, 0xf8);
		return;
	case SX_LEA:
		lea(t, index);
		return;
	case SX_BSWAP:
		bswap(t, index);
		return;
	case SX_CBW:
	case SX_CWD:
	case SX_CLC:
	case SX_STC:
	case SX_CMC:
		without_operand(t, index);
		return;
	case SX_SETCC:
		with_ext(t, index, E_0F | 0x90 | i->cc, 0, false);
		return;
	case SX_INC:
	case SX_DEC:
		with_ext(t, index, 0xfe | wide, op == SX_DEC, false);
		return;
	case SX_NOT:
	case SX_NEG:
	case SX_MUL:
	case SX_IMUL1:
		with_ext(t, index, 0xf6 | wide, f->ext, false);
		return;
	}
	if (f->shape == SX_SHAPE_RM_CL)
		with_ext(t, index, 0xd2 | wide, f->ext, false);
	else if (f->shape == SX_SHAPE_RM_IMM && op >= SX_ROL && op <= SX_SAR)
		with_ext(t, index, 0xc0 | wide, f->ext, true);
	else if (f->shape == SX_SHAPE_RM_IMM && op >= SX_BT && op <= SX_BTC)
		with_ext(t, index, E_0F | 0xba, f->ext, true);
	else if (f->shape == SX_SHAPE_RM_IMM && op == SX_MOV)
		mov_imm(t, index);
	else if (f->shape == SX_SHAPE_RM_IMM && op == SX_TEST)
		test_imm(t, index);
	else if (f->shape == SX_SHAPE_RM_IMM)
		alu_imm(t, index);
	else if (f->shape == SX_SHAPE_REG_RM_IMM || f->shape == SX_SHAPE_RM_REG_IMM)
		with_reg_imm(t, index);
	else
		with_reg(t, index);
}

static bool is_product(const struct sx_insn *i)
{
	switch ((int)sx_insn_op(i)) {
	case SX_MUL:
	case SX_IMUL1:
	case SX_IMUL:
	case SX_IMUL3:
		return true;
	}
	return false;
}

/* Flags that a product leaves undefined are clear: 2 * (CF << 7) + 1 has the CF and OF that CF was, and no other. */
static void clear_undefined_flags(struct emit *e)
{
	e_op(e, 4, 0xc7, 0, opd_reg(H_R14), 4);
	e_i32(e, 1);
	e_op(e, 1, 0xd0, 3, opd_reg(H_R14), 0);     /* rcr 1: CF << 7, and CF is set */
	e_op(e, 1, 0x10, H_R14, opd_reg(H_R14), 0); /* adc */
}

/* Does its code change EFLAGS before it does what it should? */
static bool clobbers_flags(const struct translation *t, unsigned index)
{
	const struct item *it = &t->items[index];
	const struct sx_insn *i = &it->i;

	if (sx_native_has_checks(t, index))
		return true;
	switch ((int)sx_insn_op(i)) {
	case SX_NOP:
	case SX_PREFETCH:
	case SX_LEA:
		return false;
	case SX_FLDCW:
		return true;
	}
	if (sx_native_is_odd(i) || sx_native_is_string(i, t->b->mode) || sx_native_is_system(i) ||
	    sx_native_is_segment(i))
		return true;
	if (i->flags & SX_IF_MEM && (!it->window[0] || sx_native_wants_alignment(i)))
		return true;
	return sx_native_is_stack(i) && !it->window[1];
}

void sx_native_insn(struct translation *t, unsigned index)
{
	const struct item *it = &t->items[index];
	unsigned n_slow = t->n_slow;

	if (clobbers_flags(t, index) && t->flags == FLAGS_HOST) {
		if (it->is_live)
			sx_native_spill_flags(t);
		else
			t->flags = FLAGS_DEAD;
	}
	sx_native_emit_checks(t, index);
	one(t, index);
	if (is_product(&it->i) && it->is_live_after)
		clear_undefined_flags(&t->e);
	if (it->flags & (FLAGS_WRITE | FLAGS_MERGE) && !sx_native_is_string(&it->i, t->b->mode) &&
	    sx_insn_op(&it->i) != SX_POPF)
		t->flags = FLAGS_HOST;
	for (; n_slow < t->n_slow; n_slow++) {
		t->slow[n_slow].rejoin = t->e.at;
		t->slow[n_slow].xmm_valid = t->xmm_valid;
		t->slow[n_slow].ymm_valid = t->ymm_valid;
		t->slow[n_slow].loads_flags = t->flags == FLAGS_HOST && it->is_live_after;
	}
}

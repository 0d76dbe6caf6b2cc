/*
 * Segment registers in native code: PUSH of one; MOV and POP to DS, ES, FS, GS.
 *
 * In real and virtual-8086 mode a base is its selector. Only segments of 64 KiB, as all but a few real-mode programs have
 * them: such a one makes nothing flat, before and after, so that the mode stays and the block goes on. Protected mode's
 * are read by a call from the GDT, where that raises nothing and the mode stays (sx_seg_load_quietly).
 */
#include "accel/soft/exec.h"
#include "accel/soft/native_priv.h"
#include "accel/soft/segment.h"

#define V86_ATTR (X86_ATTR_P | X86_ATTR_DPL | X86_ATTR_S | SX_TYPE_WRITABLE | SX_TYPE_ACCESSED)

bool sx_native_is_segment(const struct sx_insn *i)
{
	bool is_load = sx_insn_op(i) == SX_MOV_SEG_RM || sx_insn_op(i) == SX_POP_SEG;

	if (sx_insn_op(i) == SX_PUSH_SEG)
		return true;
	return is_load && i->reg < X86_SEGS && i->reg != X86_CS && i->reg != X86_SS;
}

/* R11 = 16 bits from there. */
static void load_selector(struct emit *e, struct opd from)
{
	e_op(e, 4, E_0F | 0xb7, H_R11, from, 0); /* movzx */
}

/* With 32 bits the upper half of the slot stays as it was. */
static void push(struct translation *t, unsigned index)
{
	const struct sx_insn *i = &t->items[index].i;
	unsigned bytes = i->size == 4 ? 2 : i->size;
	struct access a = sx_native_stack_access(t, X86_RSP, -(i32)i->size, bytes, true);
	struct opd to = sx_native_memory(t, index, &a, true);

	load_selector(&t->e, opd_near(&t->c->seg[i->reg].selector));
	e_op(&t->e, bytes, 0x89, H_R11, to, 0);
	sx_native_stack_move(t, GUEST_RSP, -(i32)i->size);
}

static void check_length(struct translation *t, unsigned index, const struct sx_seg *s)
{
	e_op(&t->e, 4, 0x81, 7, opd_near(&s->limit), 4); /* cmp */
	e_i32(&t->e, 0xffff);
	sx_native_add_slow(t, SLOW_CALLOUT, e_jcc(&t->e, 5), index);
}

static void store_imm(struct emit *e, unsigned size, const void *to, u32 v)
{
	e_op(e, size, 0xc7, 0, opd_near(to), 4);
	e_i32(e, v);
}

/* As sx_seg_set_real and sx_seg_set_v86, of the selector in R11. */
static void set(struct translation *t, unsigned seg)
{
	struct sx_cpu *c = t->c;
	struct sx_seg *s = &c->seg[seg];
	struct emit *e = &t->e;

	e_op(e, 2, 0x89, H_R11, opd_near(&s->selector), 0);
	e_op(e, 4, 0xc1, 4, opd_reg(H_R11), 1); /* shl */
	e_u8(e, 4);
	e_store(e, H_R11, opd_near(&s->base));
	e_store(e, H_R11, opd_near(&c->seg_base[seg]));
	if (!(t->b->mode & SX_MODE_V86)) {
		e_op(e, 4, 0x81, 4, opd_near(&s->attr), 4); /* and */
		e_i32(e, ~(i64)X86_ATTR_UNUSABLE);
		return;
	}
	store_imm(e, 4, &s->attr, V86_ATTR);
	store_imm(e, 8, &c->seg_end[0][seg], 0x10000);
	store_imm(e, 8, &c->seg_end[1][seg], 0x10000);
}

static bool has_descriptors(const struct translation *t)
{
	return t->b->mode & SX_MODE_PE;
}

/* By its descriptor, of the selector in R11. */
static void set_by_descriptor(struct translation *t, unsigned index, unsigned seg)
{
	struct emit *e = &t->e;
	u8 *field;

	e_op(e, 4, 0xc7, 0, opd_reg(H_R10), 4); /* mov */
	e_i32(e, seg);
	field = e_call(e);
	if (!e->is_full)
		e_patch(field, t->c->native->segment - e->to_exec);
	sx_native_add_slow(t, SLOW_CALLOUT, e_jcc(e, 4), index);
}

/* What can be seen before: a real segment of another length is the interpreter's. Vectors go by a call. */
static void begin_load(struct translation *t, unsigned index, unsigned seg)
{
	if (has_descriptors(t))
		sx_native_flush_fpu(t);
	else
		check_length(t, index, &t->c->seg[seg]);
}

static void end_load(struct translation *t, unsigned index, unsigned seg)
{
	if (has_descriptors(t))
		set_by_descriptor(t, index, seg);
	else
		set(t, seg);
}

static void pop(struct translation *t, unsigned index)
{
	const struct sx_insn *i = &t->items[index].i;
	struct access a = sx_native_stack_access(t, X86_RSP, 0, i->size, false);

	begin_load(t, index, i->reg);
	load_selector(&t->e, sx_native_memory(t, index, &a, true));
	end_load(t, index, i->reg);
	sx_native_stack_move(t, GUEST_RSP, i->size);
}

static void mov(struct translation *t, unsigned index)
{
	const struct item *it = &t->items[index];
	const struct sx_insn *i = &it->i;

	begin_load(t, index, i->reg);
	if (i->flags & SX_IF_MEM) {
		struct access a = sx_native_access(t, it, 2, false);

		load_selector(&t->e, sx_native_memory(t, index, &a, true));
	} else {
		load_selector(&t->e, opd_reg(guest_in(t, i->rm, H_R11)));
	}
	end_load(t, index, i->reg);
}

void sx_native_segment(struct translation *t, unsigned index)
{
	switch ((int)sx_insn_op(&t->items[index].i)) {
	case SX_PUSH_SEG:
		push(t, index);
		return;
	case SX_POP_SEG:
		pop(t, index);
		return;
	case SX_MOV_SEG_RM:
		mov(t, index);
		return;
	}
}

/*
 * PUSH, POP and LEAVE in native code, for operands and stack pointers of every width. R15 is the guest's rSP.
 */
#include "accel/soft/exec.h"
#include "accel/soft/native_priv.h"

bool sx_native_is_stack(const struct sx_insn *i)
{
	switch ((int)sx_insn_op(i)) {
	case SX_PUSH:
	case SX_PUSH_IMM:
	case SX_POP:
	case SX_LEAVE:
		return true;
	}
	return false;
}

struct access sx_native_stack_access(const struct translation *t, unsigned reg, i32 disp,
				     unsigned size, bool is_write)
{
	u32 mode = t->b->mode;

	return (struct access){
		.base = (u8)reg,
		.index = SX_REG_ZERO,
		.seg = mode & (SX_MODE_64 | SX_MODE_FLAT) ? ACCESS_FLAT : X86_SS,
		.width = (u8)sx_native_stack_size(mode),
		.has_limit = !(mode & SX_MODE_64),
		.is_write = is_write,
		.is_stack = true,
		.size = (u16)size,
		.disp = disp,
	};
}

void sx_native_stack_move(struct translation *t, unsigned reg, i32 disp)
{
	e_lea(&t->e, sx_native_stack_size(t->b->mode), GUEST_RSP, reg, H_RSP, 0, disp);
}

/* R11 and the operand's size; a word is zero-extended. */
static void load_r11(struct translation *t, unsigned size, struct opd from)
{
	e_op(&t->e, size == 8 ? 8 : 4, size == 2 ? E_0F | 0xb7 : 0x8b, H_R11, from, 0);
}

static void store_r11(struct translation *t, unsigned size, struct opd to)
{
	e_op(&t->e, size, 0x89, H_R11, to, 0);
}

static void push_value(struct translation *t, const struct sx_insn *i, struct opd to)
{
	unsigned bytes = i->size == 2 ? 2 : 4;

	if (sx_insn_op(i) == SX_PUSH_IMM) {
		e_op(&t->e, i->size, 0xc7, 0, to, bytes);
		e_bytes(&t->e, &i->imm, bytes);
	} else if (i->flags & SX_IF_MEM) {
		load_r11(t, 8, opd_near(&t->c->native_target));
		store_r11(t, i->size, to);
	} else {
		e_op(&t->e, i->size, 0x89, guest_in(t, i->rm, H_R11), to, 0);
	}
}

static void push(struct translation *t, unsigned index)
{
	const struct sx_insn *i = &t->items[index].i;
	i32 size = i->size;
	struct access a;

	if (i->flags & SX_IF_MEM) {
		a = sx_native_access(t, &t->items[index], i->size, false);
		load_r11(t, i->size, sx_native_memory(t, index, &a, true));
		store_r11(t, 8, opd_near(&t->c->native_target));
	}
	a = sx_native_stack_access(t, X86_RSP, -size, i->size, true);
	push_value(t, i, sx_native_memory(t, index, &a, true));
	sx_native_stack_move(t, GUEST_RSP, -size);
}

/* The address is formed with RSP already incremented (SDM 2B, POP). */
static void pop_to_memory(struct translation *t, unsigned index, struct opd from)
{
	const struct item *it = &t->items[index];
	struct access a = sx_native_access(t, it, it->i.size, true);
	struct opd to;

	load_r11(t, it->i.size, from);
	store_r11(t, 8, opd_near(&t->c->native_target));
	if (a.base == X86_RSP)
		a.disp += it->i.size;
	to = sx_native_memory(t, index, &a, true);
	load_r11(t, 8, opd_near(&t->c->native_target));
	store_r11(t, it->i.size, to);
	sx_native_stack_move(t, GUEST_RSP, it->i.size);
}

static void pop(struct translation *t, unsigned index)
{
	const struct sx_insn *i = &t->items[index].i;
	unsigned host = i->flags & SX_IF_MEM ? IN_MEMORY : host_of(i->rm);
	struct access a = sx_native_stack_access(t, X86_RSP, 0, i->size, false);
	struct opd from = sx_native_memory(t, index, &a, true);

	if (i->flags & SX_IF_MEM) {
		pop_to_memory(t, index, from);
		return;
	}
	e_op(&t->e, i->size, 0x8b, host == IN_MEMORY ? H_R11 : host, from, 0);
	if (host == IN_MEMORY)
		e_store(&t->e, H_R11, opd_gpr(t->c, i->rm));
	if (host != GUEST_RSP)
		sx_native_stack_move(t, GUEST_RSP, i->size);
}

static void leave(struct translation *t, unsigned index)
{
	unsigned size = t->items[index].i.size;
	struct access a = sx_native_stack_access(t, X86_RBP, 0, size, false);
	struct opd from = sx_native_memory(t, index, &a, true);

	sx_native_stack_move(t, H_RBP, (i32)size);
	e_op(&t->e, size, 0x8b, H_RBP, from, 0);
}

/* A stack of 64 KiB wraps between two registers: the interpreter's. */
static void refuse_wrap(struct translation *t, unsigned index, u32 first, u32 last)
{
	struct emit *e = &t->e;

	e_op(e, 4, E_0F | 0xb7, H_R11, opd_reg(GUEST_RSP), 0); /* movzx */
	e_op(e, 4, 0x81, 5, opd_reg(H_R11), 4);                /* sub */
	e_i32(e, first);
	e_op(e, 4, 0x81, 7, opd_reg(H_R11), 4); /* cmp */
	e_i32(e, last - first);
	sx_native_add_slow(t, SLOW_CALLOUT, e_jcc(e, 7), index); /* above */
}

/* All eight by one look at the TLB; RSP among them is as it was before, and not popped. */
void sx_native_stack_all(struct translation *t, unsigned index)
{
	const struct sx_insn *i = &t->items[index].i;
	bool is_push = sx_insn_op(i) == SX_PUSHA;
	unsigned size = i->size, all = 8 * size;
	struct access a = sx_native_stack_access(t, X86_RSP, is_push ? -(i32)all : 0, all, is_push);
	struct opd at;

	if (sx_native_stack_size(t->b->mode) == 2)
		refuse_wrap(t, index, is_push ? all : 0, is_push ? 0xffff : 0x10000 - all);
	at = sx_native_memory(t, index, &a, true);
	for (unsigned k = 0; k < 8; k++) {
		unsigned guest = 7 - k;

		if (is_push || guest != X86_RSP)
			e_op(&t->e, size, is_push ? 0x89 : 0x8b, host_of(guest), at, 0);
		at.disp += (i32)size;
	}
	sx_native_stack_move(t, GUEST_RSP, is_push ? -(i32)all : (i32)all);
}

void sx_native_stack_insn(struct translation *t, unsigned index)
{
	switch ((int)sx_insn_op(&t->items[index].i)) {
	case SX_PUSH:
	case SX_PUSH_IMM:
		push(t, index);
		return;
	case SX_POP:
		pop(t, index);
		return;
	case SX_LEAVE:
		leave(t, index);
		return;
	}
}

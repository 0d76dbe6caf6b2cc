/*
 * The code that all blocks of a vCPU share: into native code, out of it, to the interpreter for one
 * instruction, and returns that aren't the last call's. And what each jump has a copy of: the look-up of
 * its target.
 */
#include "accel/soft/block.h"
#include "accel/soft/native_priv.h"
#include "accel/soft/segment.h"
#include "accel/soft/system.h"

static void each_register(struct emit *e, const struct sx_cpu *c, bool is_store)
{
	for (unsigned g = 0; g < X86_GPRS; g++) {
		unsigned h = host_of(g);

		if (h == IN_MEMORY)
			continue;
		if (is_store)
			e_store(e, h, opd_gpr(c, g));
		else
			e_load(e, h, opd_gpr(c, g));
	}
}

static const unsigned saved[] = {H_RBX, H_RBP, H_R12, H_R13, H_R14, H_R15};

static void push(struct emit *e, unsigned reg)
{
	if (reg >= 8)
		e_u8(e, 0x41);
	e_u8(e, 0x50 | (reg & 7));
}

static void pop(struct emit *e, unsigned reg)
{
	if (reg >= 8)
		e_u8(e, 0x41);
	e_u8(e, 0x58 | (reg & 7));
}

static void jump_to(struct emit *e, const u8 *exec)
{
	u8 *field = e_jump(e);

	e_patch(field, exec - e->to_exec);
}

static void move_rsp(struct emit *e, i32 distance)
{
	e_lea(e, 8, H_RSP, H_RSP, H_RSP, 0, distance);
}

/* enter(code): the C calling convention on the outside; the return stack inside. */
static void emit_enter(struct emit *e, struct sx_cpu *c)
{
	c->native->enter = e_exec(e, e->at);
	for (size_t i = 0; i < ARRAY_SIZE(saved); i++)
		push(e, saved[i]);
	move_rsp(e, -8); /* a multiple of 16 */
	e_store(e, H_RSP, opd_near(&c->host_rsp));
	e_load(e, H_RSP, opd_near(&c->native_rsp));
	e_op(e, 8, 0x8b, H_R10, opd_reg(H_RDI), 0);
	each_register(e, c, false);
	e_op(e, 4, 0xff, 4, opd_reg(H_R10), 0); /* jmp r10 */
}

/* On the host's stack again; r10: what enter returns. */
static void emit_return_to_c(struct emit *e, struct sx_cpu *c)
{
	each_register(e, c, true);
	e_op(e, 8, 0x8b, H_RAX, opd_reg(H_R10), 0);
	move_rsp(e, 8);
	for (size_t i = ARRAY_SIZE(saved); i-- > 0;)
		pop(e, saved[i]);
	e_u8(e, 0xc3);
}

/* Jumped to, r10: what enter returns. */
static void emit_leave(struct emit *e, struct sx_cpu *c)
{
	c->native->leave_to = e_exec(e, e->at);
	e_store(e, H_R11, opd_near(&c->gpr[SX_RIP]));
	e_op(e, 4, 0x33, H_R10, opd_reg(H_R10), 0);
	c->native->leave = e_exec(e, e->at);
	e_store(e, H_RSP, opd_near(&c->native_rsp));
	e_load(e, H_RSP, opd_near(&c->host_rsp));
	emit_return_to_c(e, c);
}

/* Called: behind the call stand how far RIP is on, and the two halves of what enter returns. */
static void emit_leave_by(struct emit *e, struct sx_cpu *c, bool is_wide)
{
	c->native->leave_by[is_wide] = e_exec(e, e->at);
	e_load(e, H_R11, opd_base(H_RSP, 0));
	move_rsp(e, 8);
	e_op(e, 8, 0x63, H_R10, opd_base(H_R11, 0), 0);                      /* movsxd */
	e_op(e, is_wide ? 8 : 4, 0x01, H_R10, opd_near(&c->gpr[SX_RIP]), 0); /* add */
	e_load(e, H_R10, opd_base(H_R11, 4));
	jump_to(e, c->native->leave);
}

/* R10 = the slot of what is in `by`. */
static void emit_slot(struct emit *e, const struct sx_cpu *c, unsigned by)
{
	static_assert(sizeof(struct sx_native_target) == 32, "the index is shifted by 5");
	unsigned turned = by == H_R10 ? H_R14 : H_R10;

	if (c->native->has_rorx) {
		e_rorx(e, turned, by, SX_TARGET_TURN);
	} else {
		e_op(e, 4, 0x8b, turned, opd_reg(by), 0);
		e_op(e, 4, 0xc1, 1, opd_reg(turned), 1); /* ror */
		e_u8(e, SX_TARGET_TURN);
	}
	e_op(e, 4, 0x33, H_R10, opd_reg(by == H_R10 ? turned : by), 0); /* xor */
	e_op(e, 4, 0x81, 4, opd_reg(H_R10), 4);                         /* and */
	e_i32(e, (i32)(((1u << SX_TARGET_BITS) - 1) * sizeof(struct sx_native_target)));
	e_op(e, 8, 0x03, H_R10, opd_near(&c->native_targets_at), 0);
}

void sx_native_emit_find(struct emit *e, const struct sx_cpu *c, u8 *miss[2])
{
	emit_slot(e, c, H_R11);
	e_op(e, 8, 0x3b, H_R11, opd_base(H_R10, offsetof(struct sx_native_target, lin)), 0);
	miss[0] = e_jcc(e, 5);
	e_load(e, H_R14, opd_near(&c->native_key));
	e_op(e, 8, 0x3b, H_R14, opd_base(H_R10, offsetof(struct sx_native_target, key)), 0);
	miss[1] = e_jcc(e, 5);
}

u8 *sx_native_emit_find_once(struct emit *e, const struct sx_cpu *c, unsigned by)
{
	emit_slot(e, c, by);
	e_op(e, 8, 0x2b, H_R11, opd_base(H_R10, offsetof(struct sx_native_target, lin)),
	     0); /* sub */
	e_load(e, H_R14, opd_near(&c->native_key));
	e_op(e, 8, 0x2b, H_R14, opd_base(H_R10, offsetof(struct sx_native_target, key)), 0);
	e_op(e, 8, 0x0b, H_R14, opd_reg(H_R11), 0); /* or */
	return e_jcc(e, 5);
}

void sx_native_emit_look_up(struct emit *e, const struct sx_cpu *c, u8 *miss[2])
{
	sx_native_emit_find(e, c, miss);
	sx_native_emit_go_to_found(e, c);
}

void sx_native_emit_go_to_found(struct emit *e, const struct sx_cpu *c)
{
	e_op(e, 8, 0x81, 4, opd_reg(H_R11), 4); /* and */
	e_i32(e, (i32)PAGE_MASK);
	e_store(e, H_R11, opd_near(&c->gpr[SX_RIP]));
	e_op(e, 4, 0xff, 4, opd_base(H_R10, offsetof(struct sx_native_target, code)), 0);
}

void sx_native_emit_call_c(struct emit *e, const struct sx_cpu *c, const void *function)
{
	e_op(e, 8, 0x8d, H_RDI, opd_near(c), 0); /* lea */
	e_store(e, H_RSP, opd_near(&c->native_rsp));
	e_load(e, H_RSP, opd_near(&c->host_rsp));
	e_op(e, 4, 0xff, 2, opd_near(function), 0); /* call */
	e_load(e, H_RSP, opd_near(&c->native_rsp));
}

/* Called, r11: as sx_native_find has it, which says so by ZF. */
static void emit_find_by(struct emit *e, struct sx_cpu *c, unsigned which)
{
	c->native->find[which] = e_exec(e, e->at);
	sx_native_each_volatile(e, c, true);
	e_store(e, H_R11, opd_near(&c->native_lin));
	e_op(e, 8, 0x8b, H_RSI, opd_reg(H_R11), 0);
	sx_native_emit_call_c(e, c, &c->native_find[which]);
	e_op(e, 1, 0x84, H_RAX, opd_reg(H_RAX), 0); /* test */
	sx_native_each_volatile(e, c, false);
	e_load(e, H_R11, opd_near(&c->native_lin));
	e_u8(e, 0xc3);
}

void sx_native_emit_call_find(struct emit *e, const struct sx_cpu *c, unsigned which, u8 *again)
{
	u8 *call = e_call(e), *found = e_jcc(e, 5);

	if (e->is_full)
		return;
	e_patch(call, c->native->find[which] - e->to_exec);
	e_patch(found, again);
}

/* Called, r11, r10: a slot, which gets what is known of r11, as find has it; ZF says if nothing is. */
static void emit_fill_slot(struct emit *e, struct sx_cpu *c)
{
	u8 *look_up, *miss[2];

	c->native->find[2] = e_exec(e, e->at);
	e_store(e, H_R10, opd_near(&c->native_slot));
	look_up = e->at;
	sx_native_emit_find(e, c, miss);
	e_load(e, H_R14, opd_base(H_R10, offsetof(struct sx_native_target, code)));
	e_load(e, H_R10, opd_near(&c->native_slot));
	e_store(e, H_R11, opd_base(H_R10, offsetof(struct sx_native_target, lin)));
	e_store(e, H_R14, opd_base(H_R10, offsetof(struct sx_native_target, code)));
	e_load(e, H_R14, opd_near(&c->native_key));
	e_store(e, H_R14, opd_base(H_R10, offsetof(struct sx_native_target, key)));
	e_op(e, 8, 0x85, H_R10, opd_reg(H_R10), 0); /* test */
	e_u8(e, 0xc3);
	e_patch(miss[0], e->at);
	e_patch(miss[1], e->at);
	sx_native_emit_call_find(e, c, 0, look_up);
	e_u8(e, 0xc3);
}

/* Jumped to, r11: where to go on; it was looked up in vain. And in front of that: it wasn't looked up. */
static void emit_find_or_leave(struct emit *e, struct sx_cpu *c)
{
	u8 *look_up = e->at, *miss[2];

	c->native->look_up = e_exec(e, e->at);
	sx_native_emit_look_up(e, c, miss);
	c->native->find_or_leave = e_exec(e, e->at);
	e_patch(miss[0], e->at);
	e_patch(miss[1], e->at);
	sx_native_emit_call_find(e, c, 0, look_up);
	jump_to(e, c->native->leave_to);
}

/* Is the call in the frame at RSP + off the one that returns to R11? If not, goes on at the fields. */
static void emit_compare_return(struct emit *e, const struct sx_cpu *c, i32 off, u8 *miss[2])
{
	e_op(e, 8, 0x3b, H_R11, opd_base(H_RSP, off + (i32)offsetof(struct sx_native_return, rip)),
	     0);
	miss[0] = e_jcc(e, 5);
	e_load(e, H_R14, opd_near(&c->native_key));
	e_op(e, 8, 0x3b, H_R14, opd_base(H_RSP, off + (i32)offsetof(struct sx_native_return, key)),
	     0);
	miss[1] = e_jcc(e, 5);
}

/*
 * Jumped to, r11: the guest returns there, and not from the call on top. From the one beneath, when the
 * interpreter did a return. Else the call on top is over all the same, as the host's own prediction has it,
 * which stays in step by a return instruction for each call instruction.
 */
static void emit_return_miss(struct emit *e, struct sx_cpu *c)
{
	u8 *miss[2], *is_empty, *look_up;

	c->native->return_miss = e_exec(e, e->at);
	e_op(e, 8, 0x8d, H_R14, opd_near(&c->native_returns[SX_RETURNS]), 0);
	e_op(e, 8, 0x3b, H_RSP, opd_reg(H_R14), 0);
	is_empty = e_jcc(e, 3);
	emit_compare_return(e, c, sizeof(struct sx_native_return), miss);
	move_rsp(e, sizeof(struct sx_native_return));
	e_u8(e, 0xc3);
	e_patch(miss[0], e->at);
	e_patch(miss[1], e->at);
	look_up = e->at + 12;
	e_op(e, 8, 0x8d, H_R14, opd_near(e_exec(e, look_up)), 0);
	e_store(e, H_R14, opd_base(H_RSP, 0));
	e_u8(e, 0xc3);
	assert(e->at == look_up);
	move_rsp(e, sizeof(struct sx_native_return) - 8);
	e_patch(is_empty, e->at);
	sx_native_emit_look_up(e, c, miss);
	e_patch(miss[0], c->native->find_or_leave - e->to_exec);
	e_patch(miss[1], c->native->find_or_leave - e->to_exec);
}

/* Called: r10d: as sx_native_callout has it, r11: the block's head. Comes back, or leaves, or goes on
 * elsewhere: the return stack is as before the call then, and so where an exception leaves by a long jump. */
static const u8 *emit_call_out(struct emit *e, struct sx_cpu *c, const void *function)
{
	const u8 *start = e_exec(e, e->at);
	u8 *leaves, *goes;

	each_register(e, c, true);
	e_lea(e, 8, H_RAX, H_RSP, H_RSP, 0, 8);
	e_store(e, H_RAX, opd_near(&c->native_rsp));
	e_load(e, H_RSP, opd_near(&c->host_rsp));
	e_op(e, 8, 0x8d, H_RDI, opd_near(c), 0);
	e_op(e, 4, 0x8b, H_RSI, opd_reg(H_R10), 0);
	e_op(e, 8, 0x8b, H_RDX, opd_reg(H_R11), 0);
	e_op(e, 4, 0xff, 2, opd_near(function), 0);
	e_op(e, 4, 0x83, 7, opd_reg(H_RAX), 1); /* cmp */
	e_u8(e, NATIVE_LEAVES);
	leaves = e_jcc(e, 4);
	e_load(e, H_RSP, opd_near(&c->native_rsp));
	goes = e_jcc(e, 7); /* above */
	move_rsp(e, -8);
	each_register(e, c, false);
	e_u8(e, 0xc3);
	e_patch(goes, e->at);
	each_register(e, c, false);
	e_load(e, H_R11, opd_near(&c->gpr[SX_RIP]));
	jump_to(e, c->native->look_up);
	e_patch(leaves, e->at);
	each_register(e, c, false); /* they are stored again */
	e_op(e, 4, 0x33, H_R10, opd_reg(H_R10), 0);
	emit_return_to_c(e, c);
	return start;
}

void sx_native_each_volatile(struct emit *e, const struct sx_cpu *c, bool is_store)
{
	static const unsigned volatiles[] = {X86_RAX, X86_RCX, X86_RDX, X86_RSI,
					     X86_RDI, X86_R8,  X86_R9};

	for (size_t k = 0; k < ARRAY_SIZE(volatiles); k++) {
		if (is_store)
			e_store(e, host_of(volatiles[k]), opd_gpr(c, volatiles[k]));
		else
			e_load(e, host_of(volatiles[k]), opd_gpr(c, volatiles[k]));
	}
}

/* Called: r10 a linear address, r14d as sx_native_fill has it. r14: what is to be added to it; or ZF. */
static void emit_fill(struct emit *e, struct sx_cpu *c)
{
	c->native->fill = e_exec(e, e->at);
	sx_native_each_volatile(e, c, true);
	e_op(e, 8, 0x8b, H_RSI, opd_reg(H_R10), 0);
	e_op(e, 4, 0x8b, H_RDX, opd_reg(H_R14), 0);
	e_store(e, H_R10, opd_near(&c->native_lin));
	sx_native_emit_call_c(e, c, &c->native_fill);
	e_op(e, 8, 0x8b, H_R14, opd_reg(H_RAX), 0);
	e_op(e, 8, 0x85, H_RAX, opd_reg(H_RAX), 0); /* test */
	sx_native_each_volatile(e, c, false);
	e_load(e, H_R10, opd_near(&c->native_lin));
	e_op(e, 8, 0xf7, 2, opd_reg(H_R10), 0); /* not: leaves the flags alone */
	e_lea(e, 8, H_R14, H_R14, H_R10, 0, 1);
	e_op(e, 8, 0xf7, 2, opd_reg(H_R10), 0);
	e_u8(e, 0xc3);
}

/*
 * Called, as fill, where another page is the stack's: it may become that one at once, as in sx_tlb_note_stack, if the TLB
 * has it to be written. R11 is scratch. A kernel changes between stacks at each system call.
 */
static void emit_fill_stack(struct emit *e, struct sx_cpu *c)
{
	u8 *miss[2];

	c->native->fill_stack = e_exec(e, e->at);
	e_op(e, 4, E_0F | 0xb7, H_R11, opd_reg(H_R14), 0); /* movzx: the size */
	e_lea(e, 8, H_R11, H_R11, H_R10, 0, -1);
	e_op(e, 8, 0x81, 4, opd_reg(H_R11), 4); /* and */
	e_i32(e, (i32)PAGE_MASK);
	e_op(e, 4, 0x89, H_R14, opd_near(&c->native_what), 0);
	e_op(e, 4, 0x83, 7, opd_near(&c->tlb_set), 1); /* cmp */
	e_u8(e, SX_TLB_SUPERVISOR_AC);
	miss[0] = e_jcc(e, 4);
	sx_native_slot(e, c, H_R10);
	e_op(e, 8, 0x3b, H_R11, opd_base(H_R14, offsetof(struct sx_tlb_entry, write)), 0);
	miss[1] = e_jcc(e, 5);
	e_load(e, H_R14, opd_base(H_R14, offsetof(struct sx_tlb_entry, addend)));
	e_store(e, H_R11, opd_near(&c->stack.page));
	e_store(e, H_R14, opd_near(&c->stack.addend));
	for (unsigned k = 0; k < SX_STACK_SPANS; k++) {
		e_op(e, 8, 0xc7, 0, opd_near(&c->stack.limit[k]), 4); /* mov */
		e_i32(e, PAGE_SIZE - SX_STACK_SPAN(k) + 1);
	}
	e_op(e, 8, 0x85, H_RSP, opd_reg(H_RSP), 0); /* test: not zero */
	e_u8(e, 0xc3);
	e_patch(miss[0], e->at);
	e_patch(miss[1], e->at);
	e_op(e, 4, 0x8b, H_R14, opd_near(&c->native_what), 0);
	jump_to(e, c->native->fill);
}

/* As tsc_line_at has it, of the host's, in halves. Where the line doesn't hold any more, it goes on at the field
 * returned. The line is this vCPU's own: it doesn't matter which is read first. */
static u8 *emit_tsc_line(struct emit *e, const struct tsc_line *line)
{
	u8 *is_over;

	e_u8(e, 0x0f); /* rdtsc */
	e_u8(e, 0x31);
	e_op(e, 8, 0xc1, 4, opd_reg(H_RDX), 1); /* shl */
	e_u8(e, 32);
	e_op(e, 8, 0x0b, H_RDX, opd_reg(H_RAX), 0); /* or */
	e_op(e, 8, 0x2b, H_RDX, opd_near(&line->start), 0);
	e_op(e, 8, 0x3b, H_RDX, opd_near(&line->length), 0);
	is_over = e_jcc(e, 3);                                   /* not below */
	e_op(e, 8, E_0F | 0xaf, H_RDX, opd_near(&line->mul), 0); /* imul */
	e_op(e, 8, 0xc1, 5, opd_reg(H_RDX), 1);                  /* shr */
	e_u8(e, TSC_LINE_SHIFT);
	e_op(e, 8, 0x03, H_RDX, opd_near(&line->base), 0);
	e_op(e, 4, 0x8b, H_RAX, opd_reg(H_RDX), 0);
	e_op(e, 8, 0xc1, 5, opd_reg(H_RDX), 1);
	e_u8(e, 32);
	e_u8(e, 0xc3);
	return is_over;
}

/* Called: rax and rdx get the TSC's halves. XMM registers go. */
static void emit_tsc(struct emit *e, struct sx_cpu *c)
{
	u8 *is_over;

	c->native->tsc = e_exec(e, e->at);
	is_over = emit_tsc_line(e, &c->tsc_line);
	e_patch(is_over, e->at);
	sx_native_each_volatile(e, c, true);
	sx_native_emit_call_c(e, c, &c->native_tsc);
	e_op(e, 8, 0x8b, H_R10, opd_reg(H_RAX), 0);
	sx_native_each_volatile(e, c, false);
	e_op(e, 4, 0x8b, H_RAX, opd_reg(H_R10), 0);
	e_op(e, 8, 0xc1, 5, opd_reg(H_R10), 1); /* shr */
	e_u8(e, 32);
	e_op(e, 4, 0x8b, H_RDX, opd_reg(H_R10), 0);
	e_u8(e, 0xc3);
}

/* Called: r10 a linear address. ZF is clear where native code is to be left. XMM registers go. */
static void emit_invlpg(struct emit *e, struct sx_cpu *c)
{
	c->native->invlpg = e_exec(e, e->at);
	sx_native_each_volatile(e, c, true);
	e_op(e, 8, 0x8b, H_RSI, opd_reg(H_R10), 0);
	sx_native_emit_call_c(e, c, &c->native_invlpg);
	e_op(e, 1, 0x84, H_RAX, opd_reg(H_RAX), 0); /* test */
	sx_native_each_volatile(e, c, false);
	e_u8(e, 0xc3);
}

/* Called: r11d a selector, r10d a segment's number. ZF is set where nothing was done. XMM registers go. */
static void emit_segment(struct emit *e, struct sx_cpu *c)
{
	c->native->segment = e_exec(e, e->at);
	sx_native_each_volatile(e, c, true);
	e_op(e, 4, 0x8b, H_RSI, opd_reg(H_R11), 0);
	e_op(e, 4, 0x8b, H_RDX, opd_reg(H_R10), 0);
	sx_native_emit_call_c(e, c, &c->native_segment);
	e_op(e, 1, 0x84, H_RAX, opd_reg(H_RAX), 0); /* test */
	sx_native_each_volatile(e, c, false);
	e_u8(e, 0xc3);
}

void sx_native_emit_common(struct sx_cpu *c)
{
	struct sx_native *n = c->native;
	struct emit e = {.at = n->write, .end = n->write + n->size, .to_exec = n->exec - n->write};

	c->native_callout = sx_native_callout;
	c->native_end_callout = sx_native_end_callout;
	c->native_fill = sx_native_fill;
	c->native_tsc = sx_tsc;
	c->native_invlpg = sx_native_invlpg;
	c->native_segment = sx_seg_load_quietly;
	c->native_find[0] = sx_native_find;
	c->native_find[1] = sx_native_find_far;
	emit_enter(&e, c);
	emit_leave(&e, c);
	emit_leave_by(&e, c, false);
	emit_leave_by(&e, c, true);
	emit_find_by(&e, c, 0);
	emit_find_by(&e, c, 1);
	emit_fill_slot(&e, c);
	emit_find_or_leave(&e, c);
	emit_return_miss(&e, c);
	sx_native_emit_far_miss(&e, c);
	c->native->call_out = emit_call_out(&e, c, &c->native_callout);
	c->native->end_out = emit_call_out(&e, c, &c->native_end_callout);
	emit_fill(&e, c);
	emit_fill_stack(&e, c);
	emit_tsc(&e, c);
	emit_invlpg(&e, c);
	emit_segment(&e, c);
	sx_native_emit_strings(&e, c);
	assert(!e.is_full);
	n->common = n->used = align_up((u64)(e.at - n->write), 64);
}

/*
 * Far jumps, calls and returns, call gates, IRET (SDM 3A, 5.8; SDM 2A, CALL, JMP, RET, IRET).
 *
 * All end their block: the new RIP is in gpr[SX_RIP] when they return to the run loop.
 */
#include "accel/soft/bind.h"
#include "accel/soft/exec.h"
#include "accel/soft/far.h"
#include "accel/soft/segment.h"
#include "accel/soft/task.h"

/* Where a far transfer leads. */
struct target {
	u16 selector;
	u64 offset;
	unsigned size; /* operand size: of what is pushed */
	bool is_call;
};

/* The block is over; the run loop goes on at rip. */
static void arrive(struct sx_cpu *c, u64 rip)
{
	c->gpr[SX_RIP] = rip & c->code_mask;
	c->block = NULL;
}

static void check_offset(struct sx_cpu *c, const struct sx_insn *i, const struct sx_desc *cs,
			 u64 offset)
{
	bool is_64 = sx_is_long(c) && (sx_desc_attr(cs) & X86_ATTR_L);

	/* Other code takes the low half of what 64-bit code pushed or popped. */
	if (is_64 ? !sx_is_canonical(offset) : (u32)offset > sx_desc_limit(cs))
		sx_throw_gp(c, i, 0);
}

static void push_return(struct sx_cpu *c, const struct sx_insn *i, struct sx_pusher *p)
{
	sx_pusher_push(c, i, p, c->seg[X86_CS].selector);
	sx_pusher_push(c, i, p, sx_next_rip(c, i));
}

/* --- real and virtual-8086 mode --- */

static void far_real(struct sx_cpu *c, const struct sx_insn *i, const struct target *t)
{
	struct sx_pusher p = sx_pusher_on_stack(c, t->size);

	if (t->offset > c->seg[X86_CS].limit)
		sx_throw_gp(c, i, 0);
	if (t->is_call) {
		push_return(c, i, &p);
		sx_pusher_commit(c, &p);
	}
	if (sx_is_v86(c))
		sx_seg_set_v86(c, X86_CS, t->selector);
	else
		sx_seg_set_real(c, X86_CS, t->selector);
	sx_mode_update(c);
	arrive(c, t->offset);
}

/* --- protected mode --- */

static void check_code(struct sx_cpu *c, const struct sx_insn *i, u16 selector, struct sx_desc *d)
{
	u32 code = selector & ~3u;

	if (sx_desc_is_conforming(d)) {
		if (sx_desc_dpl(d) > c->cpl)
			sx_throw_gp(c, i, code);
	} else if ((selector & 3u) > c->cpl || sx_desc_dpl(d) != c->cpl) {
		sx_throw_gp(c, i, code);
	}
	if (sx_is_long(c) &&
	    (sx_desc_attr(d) & (X86_ATTR_L | X86_ATTR_DB)) == (X86_ATTR_L | X86_ATTR_DB))
		sx_throw_gp(c, i, code);
	if (!sx_desc_is_present(d))
		sx_throw(c, i, X86_NP, code);
	sx_desc_set_accessed(c, i, d);
}

static void far_to_code(struct sx_cpu *c, const struct sx_insn *i, const struct target *t,
			struct sx_desc *d)
{
	/* The stack is addressed as the new code does it: in 64-bit code, without SS's base. */
	bool to_64 = sx_is_long(c) && (sx_desc_attr(d) & X86_ATTR_L);
	struct sx_pusher p = sx_pusher_of_code(c, t->size, to_64);

	check_code(c, i, t->selector, d);
	check_offset(c, i, d, t->offset);
	if (t->is_call) {
		push_return(c, i, &p);
		sx_pusher_commit(c, &p);
	}
	sx_cs_set(c, t->selector, d, c->cpl);
	arrive(c, t->offset);
}

/* --- call gates --- */

struct call_gate {
	u16 selector;
	u64 offset;
	unsigned size; /* of what is pushed: 2, 4, 8 */
	unsigned params;
};

static void call_gate_read(struct sx_cpu *c, const struct sx_insn *i, u16 selector,
			   const struct sx_desc *d, struct call_gate *out)
{
	unsigned dpl = sx_desc_dpl(d);

	if (dpl < c->cpl || dpl < (selector & 3u))
		sx_throw_gp(c, i, selector & ~3u);
	if (!sx_desc_is_present(d))
		sx_throw(c, i, X86_NP, selector & ~3u);
	*out = (struct call_gate){
		.selector = (u16)(d->low >> 16),
		.offset = (d->low & 0xffff) | (d->high & 0xffff0000),
		.size = sx_desc_type(d) == SX_TYPE_CALL16 ? 2 : 4,
		.params = d->high & 31,
	};
	if (sx_is_long(c)) {
		out->offset |= sx_desc_base_high(c, i, selector, d, X86_GP);
		out->size = 8;
		out->params = 0;
	} else if (out->size == 2) {
		out->offset &= 0xffff;
	}
}

static void gate_check_code(struct sx_cpu *c, const struct sx_insn *i, const struct call_gate *g,
			    bool is_call, struct sx_desc *out)
{
	u32 code = g->selector & ~3u;

	if (sx_selector_is_null(g->selector))
		sx_throw_gp(c, i, 0);
	sx_desc_read(c, i, g->selector, X86_GP, out);
	if (!sx_desc_is_code(out) || sx_desc_dpl(out) > c->cpl ||
	    (!is_call && !sx_desc_is_conforming(out) && sx_desc_dpl(out) != c->cpl))
		sx_throw_gp(c, i, code);
	if (sx_is_long(c) && (sx_desc_attr(out) & (X86_ATTR_L | X86_ATTR_DB)) != X86_ATTR_L)
		sx_throw_gp(c, i, code);
	if (!sx_desc_is_present(out))
		sx_throw(c, i, X86_NP, code);
	sx_desc_set_accessed(c, i, out);
	check_offset(c, i, out, g->offset);
}

/* To a more privileged stack: the old one's address, parameters, return address. */
static void gate_call_inner(struct sx_cpu *c, const struct sx_insn *i, const struct call_gate *g,
			    const struct sx_desc *cs)
{
	unsigned cpl = sx_desc_dpl(cs);
	u32 params[31];
	struct sx_pusher p;
	struct sx_desc ss;
	u16 selector = 0;

	if (sx_is_long(c)) {
		p = sx_pusher_flat(c, sx_tss64_stack(c, i, 4 + 8 * cpl), cpl);
		if (!sx_is_canonical(p.sp))
			sx_throw(c, i, X86_SSEG, 0);
	} else {
		p = sx_pusher_on_tss_stack(c, i, cpl, g->size, &selector, &ss);
	}
	for (unsigned n = 0; n < g->params; n++)
		params[n] = (u32)sx_stack_load(c, i, n, g->size);
	sx_pusher_push(c, i, &p, c->seg[X86_SS].selector);
	sx_pusher_push(c, i, &p, c->gpr[X86_RSP]);
	for (unsigned n = g->params; n-- > 0;)
		sx_pusher_push(c, i, &p, params[n]);
	push_return(c, i, &p);

	if (sx_is_long(c))
		sx_seg_set_null(c, X86_SS, (u16)cpl);
	else
		sx_seg_set(c, X86_SS, selector, &ss);
	sx_cs_set(c, g->selector, cs, cpl);
	sx_pusher_commit(c, &p);
}

static void far_by_gate(struct sx_cpu *c, const struct sx_insn *i, const struct target *t,
			const struct sx_desc *d)
{
	struct call_gate g;
	struct sx_desc cs;

	call_gate_read(c, i, t->selector, d, &g);
	gate_check_code(c, i, &g, t->is_call, &cs);
	if (t->is_call && !sx_desc_is_conforming(&cs) && sx_desc_dpl(&cs) < c->cpl) {
		gate_call_inner(c, i, &g, &cs);
	} else {
		struct sx_pusher p = sx_pusher_on_stack(c, g.size);

		if (t->is_call) {
			push_return(c, i, &p);
			sx_pusher_commit(c, &p);
		}
		sx_cs_set(c, g.selector, &cs, c->cpl);
	}
	arrive(c, g.offset);
}

static void far_to_task(struct sx_cpu *c, const struct sx_insn *i, const struct target *t,
			const struct sx_desc *d)
{
	enum sx_task_reason reason = t->is_call ? SX_TASK_CALL : SX_TASK_JUMP;
	unsigned dpl = sx_desc_dpl(d);
	u16 selector = t->selector;

	if (dpl < c->cpl || dpl < (selector & 3u))
		sx_throw_gp(c, i, selector & ~3u);
	if (!sx_desc_is_present(d))
		sx_throw(c, i, X86_NP, selector & ~3u);
	if (sx_desc_type(d) == SX_TYPE_TASK_GATE)
		selector = (u16)(d->low >> 16);
	sx_task_switch(c, i, selector, reason);
}

static void far_protected(struct sx_cpu *c, const struct sx_insn *i, const struct target *t)
{
	struct sx_desc d;

	if (sx_selector_is_null(t->selector))
		sx_throw_gp(c, i, 0);
	sx_desc_read(c, i, t->selector, X86_GP, &d);
	if (sx_desc_is_code(&d)) {
		far_to_code(c, i, t, &d);
		return;
	}
	if (sx_desc_is_segment(&d))
		sx_throw_gp(c, i, t->selector & ~3u);
	switch (sx_desc_type(&d)) {
	case SX_TYPE_CALL32:
		far_by_gate(c, i, t, &d);
		return;
	case SX_TYPE_CALL16:
		if (sx_is_long(c))
			break;
		far_by_gate(c, i, t, &d);
		return;
	case SX_TYPE_TSS16:
	case SX_TYPE_TSS32:
	case SX_TYPE_TASK_GATE:
		if (sx_is_long(c))
			break;
		far_to_task(c, i, t, &d);
		return;
	}
	sx_throw_gp(c, i, t->selector & ~3u);
}

static void far_transfer(struct sx_cpu *c, const struct sx_insn *i, const struct target *t)
{
	if (sx_is_protected(c))
		far_protected(c, i, t);
	else
		far_real(c, i, t);
}

static void far_imm(struct sx_cpu *c, const struct sx_insn *i)
{
	struct target t = {
		.selector = (u16)(i->imm >> 32),
		.offset = (u32)i->imm,
		.size = i->size,
		.is_call = sx_insn_op(i) == SX_CALL_FAR,
	};

	far_transfer(c, i, &t);
}

static void far_mem(struct sx_cpu *c, const struct sx_insn *i)
{
	u64 lin = sx_ea(c, i, i->size + 2, false);
	struct target t = {.size = i->size, .is_call = sx_insn_op(i) == SX_CALL_FAR_M};

	t.offset = sx_load(c, i, lin, i->size);
	t.selector = (u16)sx_load(c, i, lin + i->size, 2);
	far_transfer(c, i, &t);
}

/* --- returns --- */

/* A return frame, as popped. */
struct far_return {
	unsigned size;
	unsigned popped; /* values so far */
	u64 release;     /* RETF's immediate */
	u64 rip, rsp, rflags;
	u16 cs, ss;
	bool is_iret;
	bool has_stack; /* SS:RSP are in the frame whatever the privilege: IRET in 64-bit code */
};

static u64 pop(struct sx_cpu *c, const struct sx_insn *i, struct far_return *r)
{
	return sx_stack_load(c, i, r->popped++, r->size);
}

static void check_return_code(struct sx_cpu *c, const struct sx_insn *i, const struct far_return *r,
			      struct sx_desc *out)
{
	u32 code = r->cs & ~3u;
	unsigned rpl = r->cs & 3;

	if (sx_selector_is_null(r->cs))
		sx_throw_gp(c, i, 0);
	sx_desc_read(c, i, r->cs, X86_GP, out);
	if (!sx_desc_is_code(out) || rpl < c->cpl ||
	    (sx_desc_is_conforming(out) ? sx_desc_dpl(out) > rpl : sx_desc_dpl(out) != rpl))
		sx_throw_gp(c, i, code);
	if (sx_is_long(c) &&
	    (sx_desc_attr(out) & (X86_ATTR_L | X86_ATTR_DB)) == (X86_ATTR_L | X86_ATTR_DB))
		sx_throw_gp(c, i, code);
	if (!sx_desc_is_present(out))
		sx_throw(c, i, X86_NP, code);
	sx_desc_set_accessed(c, i, out);
}

/* What the new privilege must not see is taken away (SDM 2B, RET); bases stay. */
void sx_drop_data_segments(struct sx_cpu *c)
{
	static const u8 segs[] = {X86_ES, X86_DS, X86_FS, X86_GS};
	bool is_changed = false;

	for (unsigned k = 0; k < ARRAY_SIZE(segs); k++) {
		struct sx_seg *s = &c->seg[segs[k]];
		bool is_conforming = (s->attr & SX_TYPE_CODE) && (s->attr & SX_TYPE_CONFORMING);
		unsigned dpl = (s->attr & X86_ATTR_DPL) >> X86_ATTR_DPL_SHIFT;

		if (!(s->attr & X86_ATTR_UNUSABLE) && !is_conforming && dpl < c->cpl)
			s->selector = 0, s->attr = X86_ATTR_UNUSABLE, is_changed = true;
	}
	if (is_changed)
		sx_mode_update(c);
}

/* SS of an outer return; null is good for 64-bit code that is not an application's. */
static bool return_stack(struct sx_cpu *c, const struct sx_insn *i, const struct far_return *r,
			 const struct sx_desc *cs, struct sx_desc *out)
{
	unsigned rpl = r->cs & 3;
	bool to_64 = sx_is_long(c) && (sx_desc_attr(cs) & X86_ATTR_L);

	if (sx_selector_is_null(r->ss) && to_64 && rpl < 3 && (r->ss & 3) == rpl)
		return false;
	sx_seg_check_stack(c, i, r->ss, rpl, X86_GP, out);
	return true;
}

/* What IRET may change depends on the privilege it was executed at. */
static void iret_flags(struct sx_cpu *c, const struct far_return *r, unsigned cpl, unsigned iopl)
{
	u64 mask = X86_FLAGS_ARITH | X86_FLAG_TF | X86_FLAG_DF | X86_FLAG_NT | X86_FLAG_RF |
		   X86_FLAG_AC | X86_FLAG_ID;

	if (cpl == 0)
		mask |= X86_FLAG_IOPL | X86_FLAG_VIF | X86_FLAG_VIP;
	if (cpl <= iopl)
		mask |= X86_FLAG_IF;
	if (r->size == 2)
		mask &= 0xffff;
	sx_set_rflags(c, r->rflags, mask);
}

static void return_finish(struct sx_cpu *c, const struct sx_insn *i, struct far_return *r)
{
	struct sx_desc cs, ss;
	unsigned rpl = r->cs & 3, old_cpl = c->cpl, old_iopl = sx_iopl(c);
	bool has_ss = false, is_outer;

	check_return_code(c, i, r, &cs);
	is_outer = rpl > c->cpl;
	if (is_outer && !r->has_stack) {
		/* Above the values that RETF releases. */
		u64 off = c->gpr[X86_RSP] + r->popped * r->size + r->release;

		r->rsp = sx_load(c, i, sx_stack_lin(c, i, off, r->size, false), r->size);
		off += r->size;
		r->ss = (u16)sx_load(c, i, sx_stack_lin(c, i, off, 2, false), 2);
	}
	if (is_outer || r->has_stack)
		has_ss = return_stack(c, i, r, &cs, &ss);
	check_offset(c, i, &cs, r->rip);

	if (is_outer || r->has_stack) {
		if (has_ss)
			sx_seg_set(c, X86_SS, r->ss, &ss);
		else
			sx_seg_set_null(c, X86_SS, r->ss);
	} else {
		sx_stack_move(c, r->popped * r->size + r->release);
	}
	sx_cs_set(c, r->cs, &cs, rpl);
	if (is_outer || r->has_stack) {
		u64 mask = sx_stack_mask(c);

		c->gpr[X86_RSP] = sx_stack_merge(mask, c->gpr[X86_RSP], r->rsp + r->release);
	}
	if (is_outer)
		sx_drop_data_segments(c);
	if (r->is_iret)
		iret_flags(c, r, old_cpl, old_iopl);
	arrive(c, r->rip);
}

static void retf(struct sx_cpu *c, const struct sx_insn *i)
{
	struct far_return r = {.size = i->size, .release = i->imm};

	r.rip = pop(c, i, &r);
	r.cs = (u16)pop(c, i, &r);
	if (sx_is_protected(c)) {
		return_finish(c, i, &r);
		return;
	}
	if (r.rip > c->seg[X86_CS].limit)
		sx_throw_gp(c, i, 0);
	sx_stack_move(c, 2 * r.size + r.release);
	if (sx_is_v86(c))
		sx_seg_set_v86(c, X86_CS, r.cs);
	else
		sx_seg_set_real(c, X86_CS, r.cs);
	sx_mode_update(c);
	arrive(c, r.rip);
}

/* --- IRET --- */

static void iret_real(struct sx_cpu *c, const struct sx_insn *i, struct far_return *r)
{
	u64 mask = X86_FLAGS_ARITH | X86_FLAG_TF | X86_FLAG_IF | X86_FLAG_DF | X86_FLAG_NT |
		   X86_FLAG_RF | X86_FLAG_AC | X86_FLAG_ID;

	if (!sx_is_v86(c))
		mask |= X86_FLAG_IOPL;
	if (r->size == 2)
		mask &= 0xffff;
	if (r->rip > c->seg[X86_CS].limit)
		sx_throw_gp(c, i, 0);
	sx_stack_move(c, 3 * r->size);
	if (sx_is_v86(c))
		sx_seg_set_v86(c, X86_CS, r->cs);
	else
		sx_seg_set_real(c, X86_CS, r->cs);
	sx_mode_update(c);
	sx_set_rflags(c, r->rflags, mask);
	arrive(c, r->rip);
}

/* Back to virtual-8086 mode: six more values (SDM 3A, 20.2.4). */
static void iret_to_v86(struct sx_cpu *c, const struct sx_insn *i, struct far_return *r)
{
	static const u8 order[] = {X86_ES, X86_DS, X86_FS, X86_GS};
	u16 selector[ARRAY_SIZE(order)];
	u64 rsp = pop(c, i, r);
	u16 ss = (u16)pop(c, i, r);

	for (unsigned k = 0; k < ARRAY_SIZE(order); k++)
		selector[k] = (u16)pop(c, i, r);
	sx_set_rflags(c, r->rflags, ~(u64)0 & 0x3fffff);
	for (unsigned k = 0; k < ARRAY_SIZE(order); k++)
		sx_seg_set_v86(c, order[k], selector[k]);
	sx_seg_set_v86(c, X86_SS, ss);
	sx_seg_set_v86(c, X86_CS, r->cs);
	c->gpr[X86_RSP] = (u32)rsp;
	sx_cpl_set(c, 3);
	arrive(c, (u16)r->rip);
}

void sx_unblock_nmi(struct sx_cpu *c)
{
	c->nmi_blocked = false;
	if (c->nmi_waits)
		__atomic_fetch_or(&c->request, SX_REQ_KICK, __ATOMIC_RELAXED);
}

static void iret(struct sx_cpu *c, const struct sx_insn *i)
{
	struct far_return r = {.size = i->size, .is_iret = true};
	bool is_64 = sx_is_64(c);

	if (sx_is_v86(c) && sx_iopl(c) < 3)
		sx_throw_gp(c, i, 0);
	if (sx_is_protected(c) && (c->sysflags & X86_FLAG_NT)) {
		if (sx_is_long(c))
			sx_throw_gp(c, i, 0);
		sx_task_switch(c, i, (u16)sx_load_system(c, i, c->tr.base, 2), SX_TASK_IRET);
		sx_unblock_nmi(c);
		return;
	}
	r.rip = pop(c, i, &r);
	r.cs = (u16)pop(c, i, &r);
	r.rflags = pop(c, i, &r);
	if (!sx_is_protected(c)) {
		iret_real(c, i, &r);
	} else if ((r.rflags & X86_FLAG_VM) && c->cpl == 0 && !sx_is_long(c) && r.size == 4) {
		iret_to_v86(c, i, &r);
	} else {
		if (is_64) {
			r.rsp = pop(c, i, &r);
			r.ss = (u16)pop(c, i, &r);
			r.has_stack = true;
		}
		return_finish(c, i, &r);
	}
	sx_unblock_nmi(c);
}

sx_insn_fn *sx_bind_far(struct sx_insn *i)
{
	switch ((int)sx_insn_op(i)) {
	case SX_JMP_FAR:
	case SX_CALL_FAR:
		return far_imm;
	case SX_JMP_FAR_M:
	case SX_CALL_FAR_M:
		return far_mem;
	case SX_RETF:
		return retf;
	case SX_IRET:
		return iret;
	}
	return NULL;
}

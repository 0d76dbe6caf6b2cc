/*
 * Through the IDT: real mode's vectors, interrupt and trap gates of 16, 32 and 64 bits, task gates
 * (SDM 3A, 6.12 and 6.14; virtual-8086 mode 20.3).
 *
 * The stores to the new stack come before any change of state, so that a fault on the way leaves
 * the interrupted context as it was.
 */
#include "accel/soft/event.h"
#include "accel/soft/exec.h"
#include "accel/soft/far.h"
#include "accel/soft/segment.h"
#include "accel/soft/task.h"

/* What of the event the frame will show. */
struct frame {
	const struct sx_event *event;
	u64 rip;
	u64 rflags;
};

/* #GP and #NP of the IDT itself: the vector, with the IDT bit. */
static u32 gate_code(const struct sx_event *e)
{
	return e->vector * 8u + 2;
}

static bool is_fault(const struct sx_event *e)
{
	return e->kind == X86_EVENT_EXCEPTION && e->vector != X86_DB && e->vector != X86_BP &&
	       e->vector != X86_OF;
}

/* Flags that entering a handler clears. */
static u64 flags_cleared(bool is_interrupt_gate)
{
	u64 cleared = X86_FLAG_TF | X86_FLAG_NT | X86_FLAG_RF | X86_FLAG_VM;

	return is_interrupt_gate ? cleared | X86_FLAG_IF : cleared;
}

/* --- real mode --- */

static void deliver_real(struct sx_cpu *c, const struct frame *f)
{
	u32 entry;

	if (f->event->vector * 4u + 3 > c->idt.limit)
		sx_throw_gp(c, NULL, gate_code(f->event));
	entry = (u32)sx_load_system(c, NULL, c->idt.base + f->event->vector * 4u, 4);
	struct sx_pusher p = sx_pusher_on_stack(c, 2);
	sx_pusher_push(c, NULL, &p, f->rflags);
	sx_pusher_push(c, NULL, &p, c->seg[X86_CS].selector);
	sx_pusher_push(c, NULL, &p, f->rip);
	sx_pusher_commit(c, &p);
	sx_set_rflags(c, 0, X86_FLAG_IF | X86_FLAG_TF | X86_FLAG_AC | X86_FLAG_RF);
	sx_seg_set_real(c, X86_CS, (u16)(entry >> 16));
	c->gpr[SX_RIP] = (u16)entry;
	sx_mode_update(c);
}

/* --- gates --- */

struct gate {
	unsigned type;
	unsigned dpl;
	unsigned ist;
	u16 selector;
	u64 offset;
};

static void gate_read(struct sx_cpu *c, const struct sx_event *e, struct gate *out)
{
	unsigned size = sx_is_long(c) ? 16 : 8;
	u64 lin = c->idt.base + e->vector * size, low, high = 0;

	if (e->vector * size + size - 1 > c->idt.limit)
		sx_throw_gp(c, NULL, gate_code(e));
	low = sx_load_system(c, NULL, lin, 8);
	if (size == 16)
		high = sx_load_system(c, NULL, lin + 8, 8);
	*out = (struct gate){
		.type = low >> 40 & 0x1f,
		.dpl = low >> 45 & 3,
		.ist = size == 16 ? low >> 32 & 7 : 0,
		.selector = (u16)(low >> 16),
		.offset = (low & 0xffff) | (low >> 32 & 0xffff0000) | high << 32,
	};
	if (out->type != SX_TYPE_INT32 && out->type != SX_TYPE_TRAP32 &&
	    (sx_is_long(c) || (out->type != SX_TYPE_INT16 && out->type != SX_TYPE_TRAP16 &&
			       out->type != SX_TYPE_TASK_GATE)))
		sx_throw_gp(c, NULL, gate_code(e));
	if (e->kind == X86_EVENT_SOFT && out->dpl < c->cpl)
		sx_throw_gp(c, NULL, gate_code(e));
	if (!(low >> 47 & 1))
		sx_throw(c, NULL, X86_NP, gate_code(e));
}

/* The handler's code segment; returns the privilege it runs at. */
static unsigned gate_code_segment(struct sx_cpu *c, const struct gate *g, struct sx_desc *out)
{
	u32 code = g->selector & ~3u;

	if (sx_selector_is_null(g->selector))
		sx_throw_gp(c, NULL, 0);
	sx_desc_read(c, NULL, g->selector, X86_GP, out);
	if (!sx_desc_is_code(out) || sx_desc_dpl(out) > c->cpl)
		sx_throw_gp(c, NULL, code);
	if (sx_is_long(c) && (sx_desc_attr(out) & (X86_ATTR_L | X86_ATTR_DB)) != X86_ATTR_L)
		sx_throw_gp(c, NULL, code);
	if (!sx_desc_is_present(out))
		sx_throw(c, NULL, X86_NP, code);
	sx_desc_set_accessed(c, NULL, out);
	return sx_desc_is_conforming(out) ? c->cpl : sx_desc_dpl(out);
}

static void deliver_long(struct sx_cpu *c, const struct frame *f, const struct gate *g)
{
	struct sx_desc cs;
	unsigned cpl = gate_code_segment(c, g, &cs);
	u64 rsp = c->gpr[X86_RSP];

	if (g->ist)
		rsp = sx_tss64_stack(c, NULL, 36 + 8 * (g->ist - 1));
	else if (cpl != c->cpl)
		rsp = sx_tss64_stack(c, NULL, 4 + 8 * cpl);
	if (!sx_is_canonical(rsp))
		sx_throw(c, NULL, X86_SSEG, 0);
	if (!sx_is_canonical(g->offset))
		sx_throw_gp(c, NULL, 0);

	struct sx_pusher p = sx_pusher_flat(c, rsp & ~(u64)15, cpl);
	sx_pusher_push(c, NULL, &p, c->seg[X86_SS].selector);
	sx_pusher_push(c, NULL, &p, c->gpr[X86_RSP]);
	sx_pusher_push(c, NULL, &p, f->rflags);
	sx_pusher_push(c, NULL, &p, c->seg[X86_CS].selector);
	sx_pusher_push(c, NULL, &p, f->rip);
	if (f->event->has_code)
		sx_pusher_push(c, NULL, &p, f->event->code);

	if (cpl != c->cpl)
		sx_seg_set_null(c, X86_SS, (u16)cpl);
	c->gpr[X86_RSP] = p.sp;
	sx_set_rflags(c, 0, flags_cleared(g->type == SX_TYPE_INT32));
	c->gpr[SX_RIP] = g->offset;
	sx_cs_set(c, g->selector, &cs, cpl);
}

static void push_frame(struct sx_cpu *c, struct sx_pusher *p, const struct frame *f, bool has_stack)
{
	if (sx_is_v86(c)) {
		sx_pusher_push(c, NULL, p, c->seg[X86_GS].selector);
		sx_pusher_push(c, NULL, p, c->seg[X86_FS].selector);
		sx_pusher_push(c, NULL, p, c->seg[X86_DS].selector);
		sx_pusher_push(c, NULL, p, c->seg[X86_ES].selector);
	}
	if (has_stack) {
		sx_pusher_push(c, NULL, p, c->seg[X86_SS].selector);
		sx_pusher_push(c, NULL, p, c->gpr[X86_RSP]);
	}
	sx_pusher_push(c, NULL, p, f->rflags);
	sx_pusher_push(c, NULL, p, c->seg[X86_CS].selector);
	sx_pusher_push(c, NULL, p, f->rip);
	if (f->event->has_code)
		sx_pusher_push(c, NULL, p, f->event->code);
}

static void deliver_legacy(struct sx_cpu *c, const struct frame *f, const struct gate *g)
{
	struct sx_desc cs, ss;
	unsigned cpl = gate_code_segment(c, g, &cs);
	unsigned size = g->type >= SX_TYPE_INT32 ? 4 : 2;
	bool was_v86 = sx_is_v86(c), is_inner = cpl < c->cpl;
	struct sx_pusher p;
	u16 selector = 0;

	if (was_v86 && cpl != 0)
		sx_throw_gp(c, NULL, g->selector & ~3u);
	if (is_inner)
		p = sx_pusher_on_tss_stack(c, NULL, cpl, size, &selector, &ss);
	else
		p = sx_pusher_on_stack(c, size);
	push_frame(c, &p, f, is_inner);
	u32 offset = size == 4 ? (u32)g->offset : (u16)g->offset;
	if (offset > sx_desc_limit(&cs))
		sx_throw_gp(c, NULL, 0);

	sx_set_rflags(c, 0, flags_cleared(!(g->type & 1)));
	if (is_inner)
		sx_seg_set(c, X86_SS, selector, &ss);
	if (was_v86) {
		sx_seg_set_null(c, X86_ES, 0);
		sx_seg_set_null(c, X86_DS, 0);
		sx_seg_set_null(c, X86_FS, 0);
		sx_seg_set_null(c, X86_GS, 0);
	}
	c->gpr[SX_RIP] = offset;
	sx_cs_set(c, g->selector, &cs, cpl);
	sx_pusher_commit(c, &p);
}

static void deliver_task(struct sx_cpu *c, const struct frame *f, const struct gate *g)
{
	c->gpr[SX_RIP] = f->rip;
	sx_task_switch(c, NULL, g->selector, SX_TASK_EVENT);
	if (f->event->has_code)
		sx_push(c, NULL, f->event->code, c->tr.attr & 8 ? 4 : 2);
}

/* --- the way in --- */

/* What a debug exception leaves in DR6 and DR7 (SDM 3B, 17.2.3). */
static void note_debug(struct sx_cpu *c, const struct sx_event *e)
{
	if (e->kind != X86_EVENT_EXCEPTION || e->vector != X86_DB)
		return;
	c->dr6 = (c->dr6 & ~(u64)15) | e->dr6;
	if (c->dr7 & X86_DR7_GD)
		c->dr7 &= ~X86_DR7_GD;
}

static void count_event(struct sx_cpu *c, const struct sx_event *e)
{
	switch ((int)e->kind) {
	case X86_EVENT_EXCEPTION:
		c->counts.exceptions[e->vector % SX_N_VECTORS]++;
		break;
	case X86_EVENT_SOFT:
		sx_count(c, SX_N_EVENT_SOFT);
		break;
	case X86_EVENT_NMI:
		sx_count(c, SX_N_EVENT_NMI);
		break;
	default:
		sx_count(c, SX_N_EVENT_INTERRUPT);
		break;
	}
}

void sx_event_deliver(struct sx_cpu *c)
{
	struct sx_event e = c->event;
	struct frame f = {.event = &e, .rip = c->gpr[SX_RIP], .rflags = sx_rflags(c)};
	struct gate g;

	c->event.is_set = false;
	c->run_state = X86_RUNNABLE; /* a debug trap after HLT wakes, too */
	c->is_delivering = true;
	c->delivering = e.vector;
	c->delivering_exception = e.kind == X86_EVENT_EXCEPTION;
	c->is_ext = e.kind != X86_EVENT_SOFT;
	note_debug(c, &e);
	count_event(c, &e);
	if (e.kind == X86_EVENT_NMI)
		c->nmi_blocked = true;
	if (e.kind == X86_EVENT_SOFT)
		f.rip = (f.rip + e.insn_len) & c->code_mask;
	if (is_fault(&e))
		f.rflags |= X86_FLAG_RF;
	else if (e.kind == X86_EVENT_SOFT || e.kind == X86_EVENT_EXCEPTION)
		f.rflags &= ~X86_FLAG_RF; /* a trap: its instruction has completed */

	if (!(c->cr0 & X86_CR0_PE)) {
		deliver_real(c, &f);
	} else {
		if (sx_is_v86(c) && e.kind == X86_EVENT_SOFT && e.is_int_n && sx_iopl(c) < 3)
			sx_throw_gp(c, NULL, 0);
		gate_read(c, &e, &g);
		if (g.type == SX_TYPE_TASK_GATE)
			deliver_task(c, &f, &g);
		else if (sx_is_long(c))
			deliver_long(c, &f, &g);
		else
			deliver_legacy(c, &f, &g);
	}
	c->is_delivering = false;
	c->is_ext = false;
}

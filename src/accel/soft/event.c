/*
 * Raising exceptions, and how a second one met while delivering the first is dealt with.
 */
#include "accel/soft/event.h"

#include "accel/soft/exec.h"
#include "accel/soft/sync.h"

/* --- where an instruction is --- */

u64 sx_rip(const struct sx_cpu *c, const struct sx_insn *i)
{
	u64 off = 0;

	for (const struct sx_insn *p = c->block->insn; p < i; p++)
		off += p->len;
	return (c->gpr[SX_RIP] + off) & c->code_mask;
}

u64 sx_next_rip(const struct sx_cpu *c, const struct sx_insn *i)
{
	return (sx_rip(c, i) + i->len) & c->code_mask;
}

/* See leave_after in mem.c. */
static void restore_replaced(struct sx_cpu *c)
{
	if (c->replaced) {
		c->replaced->fn = c->replaced_fn;
		c->replaced = NULL;
	}
}

void sx_settle(struct sx_cpu *c, const struct sx_insn *i)
{
	struct sx_block *b = c->block;

	if (b) {
		unsigned index = (unsigned)(i - b->insn), done = 0;

		/* Entries without length are no instructions. */
		for (unsigned k = 0; k < index; k++)
			done += b->insn[k].len != 0;
		c->gpr[SX_RIP] = sx_rip(c, i);
		c->retired -= b->n_insns - done;
	}
	restore_replaced(c);
	c->block = NULL;
}

void sx_block_leave(struct sx_cpu *c, const struct sx_insn *i)
{
	sx_settle(c, i);
}

/* --- raising --- */

enum class { BENIGN, CONTRIBUTORY, PAGE_FAULT, DOUBLE_FAULT };

/* SDM 3A, table 6-4. */
static enum class class_of(u8 vector) {
	switch (vector){
		case X86_DE : case X86_TS : case X86_NP : case X86_SSEG : case
		X86_GP : return CONTRIBUTORY;
		case X86_PF : return PAGE_FAULT;
		case X86_DF : return DOUBLE_FAULT;
	}
return BENIGN;
}

static bool has_code(u8 vector)
{
	switch (vector) {
	case X86_DF:
	case X86_TS:
	case X86_NP:
	case X86_SSEG:
	case X86_GP:
	case X86_PF:
	case X86_AC:
		return true;
	}
	return false;
}

/* A second exception while a first is being delivered (SDM 3A, table 6-5). */
static void combine(struct sx_cpu *c, struct sx_event *e)
{
	enum class first = c->delivering_exception ? class_of(c->delivering) : BENIGN;
	enum class second = class_of(e->vector);

	if (first == DOUBLE_FAULT && second != BENIGN) {
		e->is_set = false;
		__atomic_fetch_or(&c->request, SX_REQ_RESET, __ATOMIC_RELAXED);
		return;
	}
	if ((first == CONTRIBUTORY && second == CONTRIBUTORY) ||
	    (first == PAGE_FAULT && (second == CONTRIBUTORY || second == PAGE_FAULT)))
		*e = (struct sx_event){
			.is_set = true,
			.vector = X86_DF,
			.kind = X86_EVENT_EXCEPTION,
			.has_code = true,
		};
}

noreturn static void throw_event(struct sx_cpu *c, const struct sx_insn *i, struct sx_event e)
{
	if (i)
		sx_settle(c, i);
	restore_replaced(c);
	c->block = NULL;
	if (c->holds_split_lock)
		sx_split_unlock(c);
	if (c->is_delivering)
		combine(c, &e);
	c->is_delivering = false;
	c->is_ext = false;
	c->event = e;
	__builtin_longjmp(c->unwind, 1);
}

noreturn void sx_throw_nothing(struct sx_cpu *c, const struct sx_insn *i)
{
	throw_event(c, i, (struct sx_event){0});
}

noreturn void sx_throw(struct sx_cpu *c, const struct sx_insn *i, enum x86_vector vector, u32 code)
{
	if (c->is_ext && class_of((u8)vector) == CONTRIBUTORY)
		code |= 1;
	throw_event(c, i,
		    (struct sx_event){
			    .is_set = true,
			    .vector = (u8)vector,
			    .kind = X86_EVENT_EXCEPTION,
			    .has_code = has_code((u8)vector),
			    .code = code,
		    });
}

noreturn void sx_throw_page_fault(struct sx_cpu *c, const struct sx_insn *i, u64 lin, u32 code)
{
	/* CR2 is written even when the fault becomes a double fault. */
	c->cr2 = lin;
	sx_throw(c, i, X86_PF, code);
}

noreturn void sx_throw_debug(struct sx_cpu *c, const struct sx_insn *i, u64 dr6)
{
	throw_event(c, i,
		    (struct sx_event){
			    .is_set = true,
			    .vector = X86_DB,
			    .kind = X86_EVENT_EXCEPTION,
			    .dr6 = dr6,
		    });
}

noreturn void sx_throw_soft(struct sx_cpu *c, const struct sx_insn *i, u8 vector, bool is_int_n)
{
	throw_event(c, i,
		    (struct sx_event){
			    .is_set = true,
			    .vector = vector,
			    .kind = X86_EVENT_SOFT,
			    .insn_len = i->len,
			    .is_int_n = is_int_n,
		    });
}

void sx_event_set(struct sx_cpu *c, enum x86_event kind, u8 vector)
{
	c->event = (struct sx_event){.is_set = true, .vector = vector, .kind = (u8)kind};
}

/*
 * Hardware task switches, 16- and 32-bit (SDM 3A, 7.3). There are none in IA-32e mode.
 *
 * Everything about the new TSS that can be checked or can fault is looked at before the old task is
 * saved. After that the new task is the one running: what fails while its segments are loaded is
 * its own fault, at its first instruction.
 */
#include "accel/soft/task.h"

#include "accel/soft/exec.h"
#include "accel/soft/fpu.h"
#include "accel/soft/segment.h"
#include "accel/soft/system.h"

/* Where things are in a TSS (SDM 3A, figures 7-2 and 7-10). */
struct layout {
	unsigned word; /* size of a register */
	u32 min_limit;
	u32 cr3, ip, flags, regs, segs, ldt, trap;
	unsigned n_segs; /* in the encoding's order */
};
static const struct layout layout16 = {
	.word = 2,
	.min_limit = 0x2b,
	.ip = 14,
	.flags = 16,
	.regs = 18,
	.segs = 34,
	.ldt = 42,
	.n_segs = 4,
};
static const struct layout layout32 = {
	.word = 4,
	.min_limit = 0x67,
	.cr3 = 28,
	.ip = 32,
	.flags = 36,
	.regs = 40,
	.segs = 72,
	.ldt = 96,
	.trap = 100,
	.n_segs = 6,
};

#define TYPE_BUSY BIT32(9) /* in the descriptor's second doubleword */
#define TRAP_FLAG 1u

/* What is read of the new task before the old one is saved. */
struct task {
	u32 cr3, ip, flags;
	u32 reg[8];
	u16 seg[X86_SEGS];
	u16 ldt;
	bool traps;
};

static bool is_32(u32 attr)
{
	return attr & 8;
}

static const struct layout *layout_of(u32 attr)
{
	return is_32(attr) ? &layout32 : &layout16;
}

/* The new TSS's descriptor; what is wrong with it is #TS on IRET, #GP otherwise. */
static void check_tss(struct sx_cpu *c, const struct sx_insn *i, u16 selector,
		      enum sx_task_reason reason, struct sx_desc *out)
{
	enum x86_vector vector = reason == SX_TASK_IRET ? X86_TS : X86_GP;
	unsigned type;

	if (sx_selector_is_null(selector) || (selector & SX_SELECTOR_LDT))
		sx_throw(c, i, vector, selector & ~3u);
	sx_desc_read(c, i, selector, vector, out);
	type = sx_desc_type(out) & ~8u;
	if (sx_desc_is_segment(out) ||
	    type != (reason == SX_TASK_IRET ? SX_TYPE_TSS16_BUSY : SX_TYPE_TSS16))
		sx_throw(c, i, vector, selector & ~3u);
	if (!sx_desc_is_present(out))
		sx_throw(c, i, X86_NP, selector & ~3u);
	if (sx_desc_limit(out) < layout_of(sx_desc_type(out))->min_limit)
		sx_throw(c, i, X86_TS, selector & ~3u);
}

static void read_task(struct sx_cpu *c, const struct sx_insn *i, u64 base, const struct layout *l,
		      struct task *out)
{
	*out = (struct task){0};
	if (l->cr3)
		out->cr3 = (u32)sx_load_system(c, i, base + l->cr3, 4);
	out->ip = (u32)sx_load_system(c, i, base + l->ip, l->word);
	out->flags = (u32)sx_load_system(c, i, base + l->flags, l->word);
	for (unsigned n = 0; n < 8; n++)
		out->reg[n] = (u32)sx_load_system(c, i, base + l->regs + n * l->word, l->word);
	for (unsigned n = 0; n < l->n_segs; n++)
		out->seg[n] = (u16)sx_load_system(c, i, base + l->segs + n * l->word, 2);
	out->ldt = (u16)sx_load_system(c, i, base + l->ldt, 2);
	if (l->trap)
		out->traps = sx_load_system(c, i, base + l->trap, 2) & TRAP_FLAG;
}

/* The dynamic fields. The first access faults for all: a TSS does not cross into other pages but by
 * a careless guest. */
static void save_task(struct sx_cpu *c, const struct sx_insn *i, const struct layout *l, u64 ip,
		      u64 flags)
{
	u64 base = c->tr.base;

	sx_store_system(c, i, base + l->ip, ip, l->word);
	sx_store_system(c, i, base + l->flags, flags, l->word);
	for (unsigned n = 0; n < 8; n++)
		sx_store_system(c, i, base + l->regs + n * l->word, c->gpr[n], l->word);
	for (unsigned n = 0; n < l->n_segs; n++)
		sx_store_system(c, i, base + l->segs + n * l->word, c->seg[n].selector, 2);
}

/* Sets or clears the busy bit of a TSS descriptor in the GDT. */
static void mark_busy(struct sx_cpu *c, const struct sx_insn *i, u16 selector, bool is_busy)
{
	u64 lin = c->gdt.base + (selector & ~7u) + 4;
	u32 high = (u32)sx_load_system(c, i, lin, 4);

	sx_store_system(c, i, lin, is_busy ? high | TYPE_BUSY : high & ~TYPE_BUSY, 4);
}

static void load_ldt(struct sx_cpu *c, u16 selector)
{
	struct sx_desc d;

	c->ldt = (struct sx_seg){.attr = X86_ATTR_UNUSABLE, .selector = selector};
	if (sx_selector_is_null(selector))
		return;
	if ((selector & SX_SELECTOR_LDT) || !sx_desc_find(c, NULL, selector, &d) ||
	    sx_desc_is_segment(&d) || sx_desc_type(&d) != SX_TYPE_LDT || !sx_desc_is_present(&d))
		sx_throw(c, NULL, X86_TS, selector & ~3u);
	c->ldt.base = sx_desc_base(&d);
	c->ldt.limit = sx_desc_limit(&d);
	c->ldt.attr = sx_desc_attr(&d);
}

static void load_cs(struct sx_cpu *c, u16 selector)
{
	struct sx_desc d;
	unsigned rpl = selector & 3;

	if (sx_selector_is_null(selector))
		sx_throw(c, NULL, X86_TS, 0);
	sx_desc_read(c, NULL, selector, X86_TS, &d);
	if (!sx_desc_is_code(&d) ||
	    (sx_desc_is_conforming(&d) ? sx_desc_dpl(&d) > rpl : sx_desc_dpl(&d) != rpl))
		sx_throw(c, NULL, X86_TS, selector & ~3u);
	if (!sx_desc_is_present(&d))
		sx_throw(c, NULL, X86_NP, selector & ~3u);
	sx_desc_set_accessed(c, NULL, &d);
	sx_cs_set(c, selector, &d, rpl);
}

static void load_data(struct sx_cpu *c, unsigned seg, u16 selector)
{
	struct sx_desc d;
	unsigned type;

	if (sx_selector_is_null(selector))
		return;
	sx_desc_read(c, NULL, selector, X86_TS, &d);
	type = sx_desc_type(&d);
	if (!sx_desc_is_segment(&d) || ((type & SX_TYPE_CODE) && !(type & SX_TYPE_READABLE)) ||
	    (!(sx_desc_is_code(&d) && sx_desc_is_conforming(&d)) &&
	     (sx_desc_dpl(&d) < c->cpl || sx_desc_dpl(&d) < (selector & 3u))))
		sx_throw(c, NULL, X86_TS, selector & ~3u);
	if (!sx_desc_is_present(&d))
		sx_throw(c, NULL, X86_NP, selector & ~3u);
	sx_desc_set_accessed(c, NULL, &d);
	sx_seg_set(c, seg, selector, &d);
}

static void load_segments(struct sx_cpu *c, const struct task *t)
{
	static const u8 data[] = {X86_ES, X86_DS, X86_FS, X86_GS};
	struct sx_desc ss;

	load_ldt(c, t->ldt);
	load_cs(c, t->seg[X86_CS]);
	sx_seg_check_stack(c, NULL, t->seg[X86_SS], c->cpl, X86_TS, &ss);
	sx_seg_set(c, X86_SS, t->seg[X86_SS], &ss);
	for (unsigned k = 0; k < ARRAY_SIZE(data); k++)
		load_data(c, data[k], t->seg[data[k]]);
	sx_mode_update(c);
}

/* From here on the new task runs. */
static void load_task(struct sx_cpu *c, const struct task *t, const struct layout *l)
{
	if (l->cr3 && (c->cr0 & X86_CR0_PG) && !sx_cr3_write(c, t->cr3))
		sx_throw(c, NULL, X86_TS, c->tr.selector & ~3u);
	for (unsigned n = 0; n < 8; n++)
		c->gpr[n] = l->word == 4 ? t->reg[n] : (c->gpr[n] & 0xffff0000) | t->reg[n];
	c->gpr[SX_RIP] = t->ip;
	for (unsigned n = 0; n < X86_SEGS; n++)
		sx_seg_set_null(c, n, t->seg[n]);
	sx_set_rflags(c, t->flags, l->word == 4 ? 0x3f7fd7 : 0x7fd7);
	if (t->flags & X86_FLAG_VM) {
		for (unsigned n = 0; n < X86_SEGS; n++)
			sx_seg_set_v86(c, n, t->seg[n]);
		load_ldt(c, t->ldt);
		sx_cpl_set(c, 3);
	} else {
		/* Until CS is loaded the new task has its selector's privilege. */
		sx_cpl_set(c, t->seg[X86_CS] & 3);
		load_segments(c, t);
	}
}

void sx_task_switch(struct sx_cpu *c, const struct sx_insn *i, u16 selector,
		    enum sx_task_reason reason)
{
	const struct layout *old_layout = layout_of(c->tr.attr), *l;
	u16 old_selector = c->tr.selector;
	u64 flags = sx_rflags(c), ip = i ? sx_next_rip(c, i) : c->gpr[SX_RIP];
	struct sx_desc d;
	struct task t;
	u64 base;

	check_tss(c, i, selector, reason, &d);
	l = layout_of(sx_desc_type(&d));
	base = sx_desc_base(&d);
	read_task(c, i, base, l, &t);
	if (reason == SX_TASK_IRET)
		flags &= ~X86_FLAG_NT;
	save_task(c, i, old_layout, ip, flags);
	if (reason == SX_TASK_CALL || reason == SX_TASK_EVENT) {
		sx_store_system(c, i, base, old_selector, 2);
		t.flags |= (u32)X86_FLAG_NT;
	} else {
		mark_busy(c, i, old_selector, false);
	}
	if (reason != SX_TASK_IRET)
		mark_busy(c, i, selector, true);

	sx_fpu_sync(c);
	c->tr = (struct sx_seg){
		.base = base,
		.limit = sx_desc_limit(&d),
		.attr = sx_desc_attr(&d) | 2,
		.selector = selector,
	};
	c->cr0 |= X86_CR0_TS;
	c->dr7 &= ~(u64)0x55; /* local breakpoints */
	c->block = NULL;
	load_task(c, &t, l);
	if (t.traps)
		sx_throw_debug(c, NULL, X86_DR6_BT);
}

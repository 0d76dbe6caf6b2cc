/*
 * SYSCALL, and SYSRET to 64-bit code, between 64-bit codes without breakpoints: stores alone (SDM 2B). Whatever takes
 * more (a flag that changes the mode, an interrupt that waits for IF, an address that raises #GP, another table at
 * GS's base) is done as before, by a callout, and nothing was done then.
 */
#include "accel/soft/exec.h"
#include "accel/soft/native_priv.h"
#include "accel/soft/segment.h"

#define CC_E  4u
#define CC_NE 5u

#define SYSRET_FLAGS 0x3c7fd7u

/* Jumps to the callout. */
struct otherwise {
	u8 *field[8];
	unsigned n;
};

static void otherwise(struct emit *e, struct otherwise *o, unsigned cc)
{
	assert(o->n < ARRAY_SIZE(o->field));
	o->field[o->n++] = e_jcc(e, cc);
}

static void alu_imm(struct emit *e, unsigned number, unsigned size, unsigned reg, u32 imm)
{
	e_op(e, size, 0x81, number, opd_reg(reg), 4);
	e_i32(e, (i32)imm);
}

static void store_imm(struct emit *e, const u32 *to, u32 imm)
{
	e_op(e, 4, 0xc7, 0, opd_near(to), 4);
	e_i32(e, (i32)imm);
}

static void store_zero(struct emit *e, const u64 *to)
{
	e_op(e, 8, 0xc7, 0, opd_near(to), 4);
	e_i32(e, 0);
}

static void copy_u32(struct emit *e, const void *from, const void *to)
{
	e_op(e, 4, 0x8b, H_R10, opd_near(from), 0);
	e_op(e, 4, 0x89, H_R10, opd_near(to), 0);
}

static void unless_clear(struct emit *e, struct otherwise *o, const bool *flag)
{
	e_op(e, 1, 0x80, 7, opd_near(flag), 1); /* cmp */
	e_u8(e, 0);
	otherwise(e, o, CC_NE);
}

/* System calls are enabled, and the key of other code is as usual. */
static void check_common(struct emit *e, const struct sx_cpu *c, struct otherwise *o)
{
	static_assert(X86_EFER_SCE == 1, "in the first byte");
	e_op(e, 1, 0xf6, 0, opd_near(&c->efer), 1); /* test */
	e_u8(e, X86_EFER_SCE);
	otherwise(e, o, CC_E);
	unless_clear(e, o, &c->has_odd_code);
	unless_clear(e, o, &c->has_old_links);
}

/* The selector stands in R10. */
static void set_segment(struct emit *e, struct sx_cpu *c, unsigned seg, u32 attr)
{
	struct sx_seg *s = &c->seg[seg];

	store_zero(e, &s->base);
	store_zero(e, &c->seg_base[seg]);
	store_imm(e, &s->limit, 0xffffffff);
	store_imm(e, &s->attr, attr);
	e_op(e, 2, 0x89, H_R10, opd_near(&s->selector), 0);
}

/* As sx_native_key_update has it for 64-bit code where it usually is. */
static void set_key(struct emit *e, struct sx_cpu *c, bool is_user)
{
	e_op(e, 4, 0x8b, H_R10, opd_near(&c->jump_generation[!is_user]), 0);
	e_op(e, 4, 0x89, H_R10, opd_near(&c->native_link), 0);
	e_op(e, 8, 0xc1, 4, opd_reg(H_R10), 1); /* shl */
	e_u8(e, is_user ? 33 : 2);
	if (is_user)
		alu_imm(e, 1, 8, H_R10, 1); /* or */
	e_store(e, H_R10, opd_near(&c->native_key));
	e_op(e, 8, 0x8d, H_R10, opd_near(c->native_targets), 0); /* lea */
	if (is_user) {
		e_op(e, 4, 0x69, H_R14, opd_near(&c->tlbs.current), 4); /* imul */
		e_i32(e, SX_TARGET_STEP * sizeof(c->native_targets[0]));
		e_op(e, 8, 0x03, H_R10, opd_reg(H_R14), 0);
	}
	e_store(e, H_R10, opd_near(&c->native_targets_at));
}

/* As sx_tlb_choose has it. XMM registers are free where a block ends. */
static void choose_tlb(struct emit *e, struct sx_cpu *c, const struct sx_tlb_way *way)
{
	e_load(e, H_R10, opd_near(&way->entry));
	e_store(e, H_R10, opd_near(&c->tlb));
	copy_u32(e, &way->mask, &c->tlb_mask);
	copy_u32(e, &way->set, &c->tlb_set);
	static_assert(sizeof(c->stack) == 48 && sizeof(c->tlb_set) == 4, "three exchanges");
	for (unsigned k = 0; k < 3; k++) {
		const u8 *here = (const u8 *)&c->stack + k * 16;
		const u8 *there = (const u8 *)&c->other_stack + k * 16;

		e_op(e, 4, E_0F | 0x10, 0, opd_near(here), 0); /* movups */
		e_op(e, 4, E_0F | 0x10, 1, opd_near(there), 0);
		e_op(e, 4, E_0F | 0x11, 1, opd_near(here), 0);
		e_op(e, 4, E_0F | 0x11, 0, opd_near(there), 0);
	}
}

static void set_privilege(struct translation *t, unsigned cpl)
{
	struct sx_cpu *c = t->c;

	store_imm(&t->e, &c->cpl, cpl);
	store_imm(&t->e, &c->mode, t->b->mode ^ SX_MODE_USER);
	set_key(&t->e, c, cpl == 3);
	choose_tlb(&t->e, c, cpl == 3 ? &c->native_user_way : &c->native_ways[0]);
}

/* R11: the new RFLAGS. R10, R14 are scratch. */
static void set_flags(struct translation *t)
{
	struct emit *e = &t->e;

	e_op(e, 8, 0x8b, H_R10, opd_reg(H_R11), 0);
	alu_imm(e, 4, 8, H_R10, ~(u32)X86_FLAGS_ARITH);
	alu_imm(e, 1, 8, H_R10, X86_FLAG_ONE);
	e_store(e, H_R10, opd_near(&t->c->sysflags));
	sx_native_cc_of_flags(t);
}

/* To the linear address in R11. */
static void go(struct translation *t)
{
	struct emit *e = &t->e;
	u8 *miss[2];

	sx_native_emit_look_up(e, t->c, miss);
	for (unsigned k = 0; k < 2 && !e->is_full; k++)
		e_patch(miss[k], t->c->native->find_or_leave - e->to_exec);
}

static void emit_syscall(struct translation *t, const struct item *it, struct otherwise *o)
{
	struct sx_cpu *c = t->c;
	struct emit *e = &t->e;

	check_common(e, c, o);
	sx_native_flags_of_cc(t);
	e_op(e, 8, 0x0b, H_R11, opd_near(&c->sysflags), 0);
	e_load(e, H_R10, opd_near(&c->sfmask));
	e_op(e, 8, 0xf7, 2, opd_reg(H_R10), 0); /* not */
	e_op(e, 8, 0x23, H_R10, opd_reg(H_R11), 0);
	e_op(e, 4, 0xf7, 0, opd_reg(H_R10), 4); /* test */
	e_i32(e, X86_FLAG_AC);
	otherwise(e, o, CC_NE);
	e_store(e, H_R11, opd_gpr(c, X86_R11));
	e_load(e, H_R11, opd_near(&c->gpr[SX_RIP]));
	e_lea(e, 8, H_RCX, H_R11, H_RSP, 0, (i32)it->off + it->i.len);
	e_op(e, 8, 0x8b, H_R11, opd_reg(H_R10), 0);
	set_flags(t);
	e_op(e, 4, 0x8b, H_R10, opd_near((const u8 *)&c->star + 4), 0);
	alu_imm(e, 4, 4, H_R10, 0xfffc);
	set_segment(e, c, X86_CS, SX_FLAT_CODE | X86_ATTR_L);
	alu_imm(e, 0, 4, H_R10, 8); /* add */
	set_segment(e, c, X86_SS, SX_FLAT_DATA);
	set_privilege(t, 0);
	e_load(e, H_R11, opd_near(&c->lstar));
	go(t);
}

static void emit_sysret(struct translation *t, struct otherwise *o)
{
	const u32 dpl = 3u << X86_ATTR_DPL_SHIFT;
	struct sx_cpu *c = t->c;
	struct emit *e = &t->e;

	check_common(e, c, o);
	unless_clear(e, o, &c->intr_waits);
	/* User code finds its table at GS's base, which C sets. */
	e_load(e, H_R10, opd_near(&c->native_user_way.entry));
	e_op(e, 8, 0x3b, H_R10, opd_near(&c->tlbs.in_gs), 0);
	otherwise(e, o, CC_NE);
	e_load(e, H_R11, opd_gpr(c, X86_R11));
	e_op(e, 4, 0xf7, 0, opd_reg(H_R11), 4); /* test */
	e_i32(e, X86_FLAG_TF | X86_FLAG_RF | X86_FLAG_AC);
	otherwise(e, o, CC_NE);
	sx_native_canonical(e, H_R14, H_RCX);
	e_op(e, 8, 0x3b, H_R14, opd_reg(H_RCX), 0);
	otherwise(e, o, CC_NE);
	alu_imm(e, 4, 4, H_R11, SYSRET_FLAGS);
	set_flags(t);
	e_op(e, 4, E_0F | 0xb7, H_R10, opd_near((const u8 *)&c->star + 6), 0); /* movzx */
	alu_imm(e, 1, 4, H_R10, 3);
	alu_imm(e, 0, 4, H_R10, 8);
	set_segment(e, c, X86_SS, SX_FLAT_DATA | dpl);
	alu_imm(e, 0, 4, H_R10, 8);
	set_segment(e, c, X86_CS, SX_FLAT_CODE | X86_ATTR_L | dpl);
	set_privilege(t, 3);
	e_op(e, 8, 0x8b, H_R11, opd_reg(H_RCX), 0);
	go(t);
}

void sx_native_syscall(struct translation *t, unsigned index)
{
	const struct item *it = &t->items[index];
	const struct sx_insn *i = &it->i;
	const u32 kernel = SX_MODE_64 | SX_MODE_PE;
	struct otherwise o = {0};

	if (sx_insn_op(i) == SX_SYSCALL && t->b->mode == (kernel | SX_MODE_USER))
		emit_syscall(t, it, &o);
	else if (sx_insn_op(i) == SX_SYSRET && i->flags & SX_IF_REXW && t->b->mode == kernel)
		emit_sysret(t, &o);
	for (unsigned k = 0; k < o.n && !t->e.is_full; k++)
		e_patch(o.field[k], t->e.at);
}

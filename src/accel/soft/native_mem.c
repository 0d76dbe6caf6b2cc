/*
 * Guest memory in native code: an operand's address, and the TLB's check, which finds what must be added to it.
 */
#include "accel/soft/exec.h"
#include "accel/soft/native_priv.h"

#define TLB_INDEX_SHIFT (PAGE_SHIFT - SX_TLB_ENTRY_SHIFT)
static_assert(sizeof(struct sx_tlb_entry) == 1 << SX_TLB_ENTRY_SHIFT, "slots by shifts");

/* --- addresses --- */

/* Flat segments of 32-bit code are those that Linux has: not CS, which may be for execution alone. */
static bool has_base(u32 mode, unsigned seg)
{
	if (seg == X86_FS || seg == X86_GS)
		return true;
	return !(mode & SX_MODE_64) && (!(mode & SX_MODE_FLAT) || seg == X86_CS);
}

struct access sx_native_access(const struct translation *t, const struct item *it, unsigned size,
			       bool is_write)
{
	const struct sx_insn *i = &it->i;
	bool is_rip = i->flags & SX_IF_RIP;

	return (struct access){
		.base = is_rip ? SX_REG_RIP : i->base,
		.index = i->index,
		.scale = i->scale,
		.seg = has_base(t->b->mode, i->seg) ? i->seg : ACCESS_FLAT,
		.width = (u8)sx_insn_addrsize(i),
		.has_limit = !(t->b->mode & SX_MODE_64),
		.disp = is_rip ? (i32)((i64)i->disp + it->off + i->len) : i->disp,
		.size = (u16)size,
		.is_write = is_write,
	};
}

/* reg = the sum. */
static void sum(struct translation *t, const struct access *a, unsigned reg, unsigned size)
{
	struct emit *e = &t->e;
	unsigned base, index;

	if (a->width < 8 && size == 8)
		size = 4;
	if (a->base == SX_REG_RIP) {
		e_load(e, reg, opd_near(&t->c->gpr[SX_RIP]));
		e_lea(e, size, reg, reg, H_RSP, 0, a->disp);
		return;
	}
	if (a->base == SX_REG_ZERO && a->index == SX_REG_ZERO) {
		e_op(e, size, 0xc7, 0, opd_reg(reg), 4);
		e_i32(e, a->disp);
		return;
	}
	if (a->index == SX_REG_ZERO) {
		base = guest_in(t, a->base, reg);
		e_lea(e, size, reg, base, H_RSP, 0, a->disp);
		return;
	}
	index = guest_in(t, a->index, H_R11);
	if (a->base == SX_REG_ZERO) {
		e_lea_index(e, size, reg, index, a->scale, a->disp);
		return;
	}
	base = guest_in(t, a->base, H_R10);
	e_lea(e, size, reg, base, index, a->scale, a->disp);
}

static void cut_offset(struct translation *t, const struct access *a, unsigned reg)
{
	if (a->width == 2)
		e_op(&t->e, 4, E_0F | 0xb7, reg, opd_reg(reg), 0); /* movzx */
}

void sx_native_offset(struct translation *t, const struct item *it, unsigned reg, unsigned size)
{
	struct access a = sx_native_access(t, it, 0, false);

	sum(t, &a, reg, size);
	cut_offset(t, &a, reg);
}

/* What isn't for sure inside the segment is the interpreter's. */
static void check_limit(struct translation *t, unsigned index, const struct access *a,
			bool may_rejoin)
{
	struct emit *e = &t->e;

	e_lea(e, 8, H_R11, H_R10, H_RSP, 0, a->size);
	e_op(e, 8, 0x3b, H_R11, opd_near(&t->c->seg_end[a->is_write][a->seg]), 0);
	sx_native_add_slow(t, may_rejoin ? SLOW_CALLOUT : SLOW_STEP, e_jcc(e, 7),
			   index); /* above */
}

void sx_native_linear(struct translation *t, unsigned index, const struct access *a,
		      bool may_rejoin)
{
	cut_offset(t, a, H_R10);
	if (a->seg == ACCESS_FLAT)
		return;
	if (a->has_limit)
		check_limit(t, index, a, may_rejoin);
	e_op(&t->e, a->has_limit ? 4 : 8, 0x03, H_R10, opd_near(&t->c->seg_base[a->seg]), 0);
}

static void address(struct translation *t, unsigned index, const struct access *a, bool may_rejoin)
{
	sum(t, a, H_R10, 8);
	sx_native_linear(t, index, a, may_rejoin);
}

void sx_native_address(struct translation *t, unsigned index, const struct access *a)
{
	address(t, index, a, true);
}

/* The sum of one register that the host hasn't got and a constant needs no addition. */
struct opd sx_native_lin(struct translation *t, unsigned index, const struct access *a)
{
	bool is_base = a->index == SX_REG_ZERO && a->seg == ACCESS_FLAT && a->width == 8 &&
		       a->disp <= INT32_MAX - a->size;

	if (is_base && a->base == SX_REG_RIP) {
		e_load(&t->e, H_R10, opd_near(&t->c->gpr[SX_RIP]));
		return opd_base(H_R10, a->disp);
	}
	if (is_base && a->base < X86_GPRS)
		return opd_base(guest_in(t, a->base, H_R10), a->disp);
	address(t, index, a, true);
	return opd_base(H_R10, 0);
}

/* --- the TLB --- */

struct slow *sx_native_add_slow(struct translation *t, enum slow_kind kind, u8 *field,
				unsigned index)
{
	struct slow *s = &t->slow[t->n_slow];

	if (t->n_slow == SLOW_MAX)
		t->e.is_full = true;
	else
		t->n_slow++;
	/* Behind a callout no window is good. */
	if (kind == SLOW_CALLOUT && sx_native_is_shared_across(t, index))
		kind = SLOW_SPLIT;
	/* Where a callout comes back, and with what flags, is known when the instruction is done. */
	*s = (struct slow){.kind = kind,
			   .field = field,
			   .index = index,
			   .xmm_dirty = t->xmm_dirty,
			   .ymm_dirty = t->ymm_dirty,
			   .x87_off = t->x87_off};
	return s;
}

void sx_native_set_fill(struct translation *t, struct slow *s, struct opd lin, u32 what)
{
	s->what = what;
	s->linear = lin;
	s->filled = t->e.at;
	s->xmm_there = t->xmm_valid;
	s->ymm_there = t->ymm_valid;
}

/* r14 = where the TLB's slot is in its table. Bits that a rotation brings in from below are above the mask's. */
static void slot_offset(struct emit *e, const struct sx_cpu *c, struct opd lin)
{
	static_assert(TLB_INDEX_SHIFT + SX_TLB_MAX_BITS + SX_TLB_ENTRY_SHIFT <= 32, "a rotation");
	if (!lin.disp && c->native->has_rorx) {
		e_rorx(e, H_R14, lin.reg, TLB_INDEX_SHIFT);
	} else {
		if (lin.disp)
			e_lea(e, 4, H_R14, lin.reg, H_RSP, 0, lin.disp);
		else
			e_op(e, 4, 0x8b, H_R14, opd_reg(lin.reg), 0);
		e_op(e, 4, 0xc1, 5, opd_reg(H_R14), 1); /* shr */
		e_u8(e, TLB_INDEX_SHIFT);
	}
	e_op(e, 4, 0x23, H_R14, opd_near(&c->tlb_mask), 0);
}

static void add_table(struct emit *e, const struct sx_cpu *c)
{
	e_op(e, 8, 0x03, H_R14, opd_near(&c->tlb), 0);
}

void sx_native_slot(struct emit *e, const struct sx_cpu *c, unsigned reg)
{
	slot_offset(e, c, opd_base(reg, 0));
	add_table(e, c);
}

/* User code finds its table at GS's base. */
static bool has_table_in_gs(const struct translation *t)
{
	return t->b->mode & SX_MODE_USER && t->c->native->has_gs_base;
}

/* op with R14 and a field of the slot. */
static void slot_op(struct translation *t, unsigned op, unsigned reg, size_t field)
{
	if (has_table_in_gs(t))
		e_u8(&t->e, E_GS);
	e_op(&t->e, 8, op, reg, opd_base(H_R14, (i32)field), 0);
}

static void last_page(struct emit *e, struct opd lin, unsigned size)
{
	i32 last = lin.disp + (i32)size - 1;

	if (last)
		e_lea(e, 8, H_R11, lin.reg, H_RSP, 0, last);
	else
		e_op(e, 8, 0x8b, H_R11, opd_reg(lin.reg), 0);
	e_op(e, 8, 0x81, 4, opd_reg(H_R11), 4); /* and */
	e_i32(e, (i32)PAGE_MASK);
}

struct slow *sx_native_check_at(struct translation *t, unsigned index, struct opd lin,
				unsigned size, bool is_write, enum slow_kind kind)
{
	struct emit *e = &t->e;
	struct slow *s;

	last_page(e, lin, size);
	slot_offset(e, t->c, size == 1 && lin.disp ? opd_base(H_R11, 0) : lin);
	if (!has_table_in_gs(t))
		add_table(e, t->c);
	slot_op(t, 0x3b, H_R11, /* cmp */
		is_write ? offsetof(struct sx_tlb_entry, write)
			 : offsetof(struct sx_tlb_entry, read));
	s = sx_native_add_slow(t, kind, e_jcc(e, 5), index);
	slot_op(t, 0x8b, H_R14, offsetof(struct sx_tlb_entry, addend)); /* mov */
	sx_native_set_fill(t, s, lin, size | (is_write ? SX_NATIVE_WRITE : 0));
	return s;
}

void sx_native_check(struct translation *t, unsigned index, unsigned size, bool is_write,
		     bool may_rejoin)
{
	sx_native_check_at(t, index, opd_base(H_R10, 0), size, is_write,
			   may_rejoin ? SLOW_CALLOUT : SLOW_STEP);
	e_lea(&t->e, 8, H_R10, H_R10, H_R14, 0, 0);
}

struct opd sx_native_memory(struct translation *t, unsigned index, const struct access *a,
			    bool may_rejoin)
{
	struct window *w = sx_native_window_of(t, index, a);
	struct slow *s;
	struct opd lin;

	if (w)
		return sx_native_shared(t, index, a, w);
	if (a->seg == ACCESS_FLAT) {
		lin = sx_native_lin(t, index, a);
	} else {
		address(t, index, a, may_rejoin);
		lin = opd_base(H_R10, 0);
	}
	s = sx_native_check_at(t, index, lin, a->size, a->is_write,
			       may_rejoin ? SLOW_CALLOUT : SLOW_STEP);
	s->what |= a->is_write ? 0 : SX_NATIVE_ONCE;
	return opd_sum(H_R14, lin.reg, lin.disp);
}

void sx_native_check_alignment(struct translation *t, unsigned index, struct opd lin, unsigned size)
{
	struct emit *e = &t->e;

	if (lin.disp) {
		e_lea(e, 8, H_R11, lin.reg, H_RSP, 0, lin.disp);
		lin = opd_reg(H_R11);
	}
	e_op(e, 1, 0xf6, 0, opd_reg(lin.reg), 1); /* test */
	e_u8(e, size - 1u);
	sx_native_add_slow(t, SLOW_CALLOUT, e_jcc(e, 5), index);
}

struct opd sx_native_aligned(struct translation *t, unsigned index, const struct access *a)
{
	struct window *w = sx_native_window_of(t, index, a);
	struct opd m;

	if (w) {
		m = sx_native_shared(t, index, a, w);
		if (!sx_native_is_aligned(t, index, w))
			sx_native_check_alignment(t, index, opd_base(m.index, m.disp), a->size);
		return m;
	}
	address(t, index, a, true);
	sx_native_check_alignment(t, index, opd_base(H_R10, 0), a->size);
	sx_native_check_at(t, index, opd_base(H_R10, 0), a->size, a->is_write, SLOW_CALLOUT);
	return opd_sum(H_R14, H_R10, 0);
}

void sx_native_slow_stride(struct translation *t, const struct slow *s)
{
	struct sx_strides *strides = &t->c->strides;
	unsigned number = s->stride - 1u;
	bool is_write = number / (SX_STACK_SPANS * SX_STRIDES);
	unsigned class = number / SX_STRIDES % SX_STACK_SPANS;
	struct emit *e = &t->e;
	u8 *miss, *field;

	last_page(e, s->linear, s->span);
	slot_offset(e, t->c, s->linear);
	if (!has_table_in_gs(t))
		add_table(e, t->c);
	slot_op(t, 0x3b, H_R11, /* cmp */
		is_write ? offsetof(struct sx_tlb_entry, write)
			 : offsetof(struct sx_tlb_entry, read));
	miss = e_jcc(e, 5);
	slot_op(t, 0x8b, H_R14, offsetof(struct sx_tlb_entry, addend)); /* mov */
	e_store(e, H_R11, opd_near(&strides->page[number]));
	e_store(e, H_R14, opd_near(&strides->addend[number]));
	e_op(e, 8, 0xc7, 0, opd_near(&strides->limit[number]), 4);
	e_i32(e, PAGE_SIZE - SX_STACK_SPAN(class) + 1);
	e_op(e, 1, 0xc6, 0, opd_near(&t->c->has_strides), 1);
	e_u8(e, 1);
	field = e_jump(e);
	if (e->is_full)
		return;
	e_patch(field, s->filled);
	e_patch(miss, e->at);
}

void sx_native_slow_fill(struct translation *t, const struct slow *s)
{
	i32 disp = s->linear.disp;
	bool is_r10 = s->linear.reg == H_R10;
	struct emit *e = &t->e;
	const u8 *fill = s->what & SX_NATIVE_STACK ? t->c->native->fill_stack : t->c->native->fill;
	u8 *field;

	if (!is_r10 || disp)
		e_lea(e, 8, H_R10, s->linear.reg, H_RSP, 0, disp);
	e_op(e, 4, 0xc7, 0, opd_reg(H_R14), 4); /* mov r14d, what */
	e_i32(e, s->what);
	field = e_call(e);
	if (!e->is_full)
		e_patch(field, fill - e->to_exec);
	sx_native_load_vectors(t, s->xmm_there, s->ymm_there);
	if (is_r10 && disp)
		e_lea(e, 8, H_R10, H_R10, H_RSP, 0, -disp);
	field = e_jcc(e, 5);
	if (!e->is_full)
		e_patch(field, s->filled);
}

/*
 * Checks shared within a block: windows.
 *
 * Accesses whose addresses differ by constants, since they have the same registers, unchanged in between or
 * changed by constants, are one window: one look into the TLB for all its bytes. What must be added to their
 * addresses is in R14, or in a slot of the vCPU's memory from which R14 is loaded again.
 *
 * The check stands before the first access, or, where flags that are still needed are in EFLAGS there, further up
 * where they aren't. In between nothing may fault or call out, and checks stay in the order of the accesses: so
 * who finds a page missing finds it before anything was done that the interpreter wouldn't have done.
 *
 * A window is good until the next callout, behind which flushes may have been served; no block hands one on. Where
 * its check fails, or anything calls out while others are open, the block is left for the plain code of the rest
 * of it (a split): a translation without windows, of the block that begins at that instruction.
 *
 * The window that RSP is in has no look into the TLB but a comparison with one page, the stack's, which is kept
 * from block to block and forgotten by every flush (sx_tlb_forget_stack). In a loop of user code, windows that step
 * through memory are compared with the page where they were last (struct sx_strides).
 */
#include "accel/soft/block.h"
#include "accel/soft/exec.h"
#include "accel/soft/fpu.h"
#include "accel/soft/native_priv.h"

#define SPAN_MAX  1024
#define COORD_MAX (1 << 28)
static_assert(SPAN_MAX == SX_STACK_SPAN(SX_STACK_SPANS - 1), "windows of RSP have a limit");

/* --- registers that are known to differ by constants --- */

static void note_change(struct known *k, unsigned reg, i64 by)
{
	i64 delta = k[reg].delta + by;

	if (delta > COORD_MAX || delta < -COORD_MAX) {
		k[reg].version++;
		delta = 0;
	}
	k[reg].delta = (i32)delta;
}

static void note_item(struct known *k, const struct item *it, u32 mode)
{
	unsigned reg;
	i64 by;
	u16 changed = sx_native_changes(it, mode);

	if (it->is_native && sx_native_adds(&it->i, &reg, &by)) {
		note_change(k, reg, by);
		return;
	}
	if (it->is_native && sx_insn_op(&it->i) == SX_POP && it->i.rm != X86_RSP) {
		note_change(k, X86_RSP, it->i.size);
		changed &= (u16)~BIT32(X86_RSP);
	}
	for (unsigned r = 0; r < X86_GPRS; r++) {
		if (changed & BIT32(r))
			k[r] = (struct known){.version = (u8)(k[r].version + 1)};
	}
}

static void note_registers(struct translation *t)
{
	struct known now[X86_GPRS] = {0};

	for (unsigned k = 0; k < t->n_items; k++) {
		memcpy(t->items[k].known, now, sizeof(now));
		note_item(now, &t->items[k], t->b->mode);
	}
}

static struct known known_of(const struct item *it, unsigned reg)
{
	return reg < X86_GPRS ? it->known[reg] : (struct known){0};
}

/* What the address is more than it was with the registers of its window's beginning. */
static i64 delta_of(const struct item *it, const struct window *w)
{
	return known_of(it, w->base).delta + ((i64)known_of(it, w->index).delta << w->scale);
}

static bool has_registers_of(const struct item *it, const struct window *w)
{
	return known_of(it, w->base).version == w->base_version &&
	       known_of(it, w->index).version == w->index_version;
}

static bool is_of_window(const struct item *it, const struct window *w, const struct access *a)
{
	return a->base == w->base && a->index == w->index &&
	       (a->scale == w->scale || a->index == SX_REG_ZERO) && has_registers_of(it, w);
}

/* --- the plan --- */

/* Behind it no window is good that was before it. */
static bool ends_windows(const struct item *it, u32 mode)
{
	return !it->is_native || sx_native_is_string(&it->i, mode) || sx_native_is_system(&it->i) ||
	       sx_native_is_segment(&it->i);
}

static bool may_share(const struct translation *t, const struct access *a)
{
	return t->b->mode & SX_MODE_64 && a->seg == ACCESS_FLAT && a->width == 8 &&
	       a->size <= SPAN_MAX && a->disp <= COORD_MAX && a->disp >= -COORD_MAX;
}

static bool may_share_all(const struct translation *t, const struct access *a, unsigned n)
{
	for (unsigned k = 0; k < n; k++) {
		if (!may_share(t, &a[k]))
			return false;
	}
	return true;
}

static bool fits(const struct window *w, i64 lo, i64 hi)
{
	return (hi > w->hi ? hi : w->hi) - (lo < w->lo ? lo : w->lo) <= SPAN_MAX;
}

static bool join(struct window *w, unsigned index, const struct access *a, i64 lo)
{
	i64 hi = lo + a->size;

	if (!fits(w, lo, hi))
		return false;
	if (lo < w->lo)
		w->lo = (i32)lo;
	if (hi > w->hi)
		w->hi = (i32)hi;
	w->last = (u8)index;
	w->is_write |= a->is_write;
	return true;
}

/* Has anything of the block brought flags into EFLAGS by then? */
static bool may_have_flags(const struct translation *t, unsigned index)
{
	for (unsigned k = 0; k < index; k++) {
		if (t->items[k].flags)
			return true;
	}
	return false;
}

/* Where its check is: where EFLAGS has nothing that is needed, not above `from`. */
static unsigned place_of(const struct translation *t, unsigned index, const struct window *w,
			 unsigned from)
{
	if (!t->items[index].is_live || t->items[index].i.flags & SX_IF_END ||
	    !may_have_flags(t, index))
		return index;
	for (unsigned k = index; k-- > from;) {
		if (!has_registers_of(&t->items[k], w))
			break;
		if (!t->items[k].is_live || !may_have_flags(t, k))
			return k;
	}
	return index;
}

/* open: the first window that is still good, from: the first item where a check may be, since: the first window
 * since the last way out: who takes that doesn't write what is written behind it. */
static u8 plan_access(struct translation *t, unsigned index, const struct access *a, unsigned open,
		      unsigned from, unsigned since)
{
	const struct item *it = &t->items[index];
	struct window *w;

	for (unsigned k = t->n_windows; k-- > open;) {
		w = &t->windows[k];
		if (!is_of_window(it, w, a))
			continue;
		if ((k >= since || w->is_write || !a->is_write) &&
		    join(w, index, a, a->disp + delta_of(it, w)))
			return (u8)(k + 1);
		break;
	}
	if (t->n_windows == SX_WINDOWS)
		return 0;
	w = &t->windows[t->n_windows];
	*w = (struct window){
		.base = a->base,
		.index = a->index,
		.scale = a->scale,
		.base_version = known_of(it, a->base).version,
		.index_version = known_of(it, a->index).version,
		.first = (u8)index,
		.last = (u8)index,
		.is_write = a->is_write,
		.starts_write = a->is_write,
	};
	w->lo = (i32)(a->disp + delta_of(it, w));
	w->hi = w->lo + a->size;
	w->place = (u8)place_of(t, index, w, from);
	return (u8)++t->n_windows;
}

/* Interrupts wait for it: the block isn't left for the plain code at it, with what may be looked at there. */
static bool is_behind_sti(const struct translation *t, unsigned index)
{
	return index && sx_insn_op(&t->items[index - 1].i) == SX_STI;
}

void sx_native_plan_windows(struct translation *t)
{
	unsigned open = 0, from = 0, since = 0;

	t->n_windows = t->next_window = 0;
	t->held = t->in_r10 = NULL;
	t->steady = 0;
	if (t->is_plain)
		return;
	note_registers(t);
	t->steady = sx_native_steady(t);
	for (unsigned k = 0; k < t->n_items; k++) {
		struct item *it = &t->items[k];
		struct access a[2];
		unsigned n = sx_native_accesses(t, it, a);

		if (!may_share_all(t, a, n) || is_behind_sti(t, k)) {
			from = k + 1; /* it may fault */
			n = 0;
		}
		for (unsigned j = 0; j < n; j++) {
			it->window[a[j].is_stack] = plan_access(t, k, &a[j], open, from, since);
			if (t->n_windows > open && t->windows[t->n_windows - 1].place > from)
				from = t->windows[t->n_windows - 1].place;
		}
		if (sx_native_may_call_out(it, t->b->mode))
			from = k + 1;
		if (it->seam == SEAM_NOT_TAKEN || it->seam == SEAM_TAKEN) {
			from = k + 1;
			since = t->n_windows;
		}
		if (ends_windows(it, t->b->mode))
			open = t->n_windows;
	}
}

/* --- checks --- */

bool sx_native_is_shared_across(const struct translation *t, unsigned index)
{
	for (unsigned k = 0; k < t->n_windows; k++) {
		const struct window *w = &t->windows[k];

		if (w->place <= index && w->last > index)
			return true;
	}
	return false;
}

bool sx_native_has_checks(const struct translation *t, unsigned index)
{
	return t->next_window < t->n_windows && t->windows[t->next_window].place == index;
}

/* Its code is sure not to touch R14. */
static bool leaves_r14(const struct item *it)
{
	const struct sx_insn *i = &it->i;

	switch ((int)sx_insn_op(i)) {
	case SX_LEA:
	case SX_NOP:
	case SX_JCC:
	case SX_JMP:
		return true;
	case SX_MOV:
	case SX_ADD:
	case SX_SUB:
	case SX_AND:
	case SX_OR:
	case SX_XOR:
	case SX_CMP:
	case SX_TEST:
	case SX_MOVZX8:
	case SX_MOVZX16:
	case SX_MOVSX8:
	case SX_MOVSX16:
	case SX_MOVSXD:
		return i->flags & SX_IF_MEM ? it->window[0] : host_of(i->rm) != IN_MEMORY;
	case SX_PUSH:
	case SX_POP:
		return !(i->flags & SX_IF_MEM) && it->window[1];
	}
	return false;
}

/* R14 may be wanted for something else before its last access. */
static bool must_keep(const struct translation *t, const struct window *w)
{
	unsigned number = (unsigned)(w - t->windows) + 1;

	for (unsigned k = w->place; k <= w->last; k++) {
		const struct item *it = &t->items[k];

		if (k < w->last && !leaves_r14(it))
			return true;
		for (unsigned j = 0; j < 2; j++) {
			if (it->window[j] && it->window[j] != number)
				return true;
		}
	}
	if (number < t->n_windows && t->windows[number].place <= w->last)
		return true;
	/* Behind a look-up, or after where x87's last instruction was is stored. */
	return sx_insn_op(&t->items[w->last].i) == SX_CALL_RM || t->fpu_needs & SX_NEEDS_X87;
}

static struct opd slot_of(const struct translation *t, const struct window *w)
{
	return opd_near(&t->c->native_windows[w - t->windows]);
}

static unsigned span_class(unsigned span)
{
	unsigned k = 0;

	while (SX_STACK_SPAN(k) < span)
		k++;
	return k;
}

/* As check, against the stack's page. */
static struct slow *check_stack(struct translation *t, unsigned index, enum slow_kind kind,
				i32 disp, unsigned span)
{
	const struct sx_cpu *c = t->c;
	struct emit *e = &t->e;
	struct slow *s;

	e_lea(e, 8, H_R14, GUEST_RSP, H_RSP, 0, disp);
	e_op(e, 8, 0x2b, H_R14, opd_near(&c->stack.page), 0);
	e_op(e, 8, 0x3b, H_R14, opd_near(&c->stack.limit[span_class(span)]), 0);
	s = sx_native_add_slow(t, kind, e_jcc(e, 3), index); /* not below */
	e_load(e, H_R14, opd_near(&c->stack.addend));
	sx_native_set_fill(t, s, opd_base(GUEST_RSP, disp), span | SX_NATIVE_STACK);
	return s;
}

/* CALL by a register or memory, which is left where its target isn't known, or isn't an address, pushes only then. */
static bool pushes_behind_look_up(const struct translation *t, const struct window *w)
{
	return w->starts_write && sx_insn_op(&t->items[w->first].i) == SX_CALL_RM;
}

/* Before the page is looked at: what isn't aligned sets no A and D. */
static bool aligns_first(const struct translation *t, const struct window *w)
{
	const struct sx_insn *i = &t->items[w->first].i;

	return w->place == w->first && i->flags & SX_IF_MEM && sx_native_wants_alignment(i);
}

static void check_first_alignment(struct translation *t, const struct window *w)
{
	struct access a[2];

	sx_native_accesses(t, &t->items[w->first], a);
	sx_native_check_alignment(t, w->first, sx_native_lin(t, w->first, a), a->size);
}

/*
 * As check, of what steps through memory: first against the page where it was last. Only of user code, so that the
 * kernel's STAC and CLAC and its calls need not forget these.
 */
static struct slow *check_stride(struct translation *t, unsigned index, enum slow_kind kind,
				 const struct window *w, struct opd lin, unsigned span)
{
	unsigned class = w->is_write * SX_STACK_SPANS + span_class(span);
	unsigned number = class * SX_STRIDES + t->c->native->next_stride[class]++ % SX_STRIDES;
	struct emit *e = &t->e;
	struct slow *s;

	if (lin.disp)
		e_lea(e, 8, H_R14, lin.reg, H_RSP, 0, lin.disp);
	else
		e_op(e, 8, 0x8b, H_R14, opd_reg(lin.reg), 0);
	e_op(e, 8, 0x2b, H_R14, opd_near(&t->c->strides.page[number]), 0);
	e_op(e, 8, 0x3b, H_R14, opd_near(&t->c->strides.limit[number]), 0);
	s = sx_native_add_slow(t, kind, e_jcc(e, 3), index); /* not below */
	e_load(e, H_R14, opd_near(&t->c->strides.addend[number]));
	sx_native_set_fill(t, s, lin, span | (w->is_write ? SX_NATIVE_WRITE : 0));
	s->stride = (u8)(number + 1);
	s->span = (u16)span;
	static_assert(SX_STRIDES_ALL < 255, "numbers from 1 on");
	return s;
}

static bool is_steady(const struct translation *t, unsigned reg)
{
	return reg >= X86_GPRS || t->steady & BIT32(reg);
}

static bool is_stride(const struct translation *t, const struct window *w)
{
	return t->b->mode & SX_MODE_USER && t->steady && is_steady(t, w->base) &&
	       is_steady(t, w->index);
}

static void emit_check(struct translation *t, unsigned index, struct window *w)
{
	i64 disp = w->lo - delta_of(&t->items[index], w);
	unsigned span = (unsigned)(w->hi - w->lo);
	bool is_last = t->items[index].i.flags & SX_IF_END;
	/* A and D are set when the access is done, and the code may look at them before it. */
	bool may_fill = w->first == index && (w->starts_write || !w->is_write) &&
			!pushes_behind_look_up(t, w);
	enum slow_kind kind = w->first == index && !sx_native_is_shared_across(t, index)
				      ? (is_last ? SLOW_STEP : SLOW_CALLOUT)
				      : SLOW_SPLIT;
	const struct access a = {.base = w->base,
				 .index = w->index,
				 .scale = w->scale,
				 .seg = ACCESS_FLAT,
				 .width = 8,
				 .size = (u16)span,
				 .disp = (i32)disp};
	struct slow *s;

	t->in_r10 = NULL;
	if (aligns_first(t, w))
		check_first_alignment(t, w);
	if (w->base == X86_RSP && w->index == SX_REG_ZERO) {
		s = check_stack(t, index, kind, (i32)disp, span);
		s->what |= w->is_write ? SX_NATIVE_WRITE : 0;
		s->what |= may_fill ? 0 : SX_NATIVE_PROBE;
	} else {
		struct opd lin = sx_native_lin(t, index, &a);

		s = is_stride(t, w) ? check_stride(t, index, kind, w, lin, span)
				    : sx_native_check_at(t, index, lin, span, w->is_write, kind);
		if (!may_fill)
			s->what = 0;
		else if (w->first == w->last && !w->is_write)
			s->what |= SX_NATIVE_ONCE;
		if (lin.reg == H_R10) {
			t->in_r10 = w;
			t->r10_index = (u8)index;
			t->r10_disp = lin.disp;
		}
	}
	if (must_keep(t, w))
		e_store(&t->e, H_R14, slot_of(t, w));
	t->held = w;
	t->e.changed = 0;
}

/* Those first that only look: where one fails the block is left, with no A and D set of an access that isn't done yet. */
void sx_native_emit_checks(struct translation *t, unsigned index)
{
	unsigned first = t->next_window;

	for (; sx_native_has_checks(t, index); t->next_window++) {
		if (t->windows[t->next_window].first != index)
			emit_check(t, index, &t->windows[t->next_window]);
	}
	for (unsigned k = first; k < t->next_window; k++) {
		if (t->windows[k].first == index)
			emit_check(t, index, &t->windows[k]);
	}
}

/* --- accesses --- */

bool sx_native_is_aligned(const struct translation *t, unsigned index, const struct window *w)
{
	return w->first == index && aligns_first(t, w);
}

struct window *sx_native_window_of(struct translation *t, unsigned index, const struct access *a)
{
	unsigned number = t->items[index].window[a->is_stack];

	return number ? &t->windows[number - 1] : NULL;
}

static bool is_covered(const struct translation *t, unsigned index, const struct window *w,
		       const struct access *a)
{
	const struct item *it = &t->items[index];
	i64 lo = a->disp + delta_of(it, w);

	return is_of_window(it, w, a) && w < &t->windows[t->next_window] && lo >= w->lo &&
	       lo + a->size <= w->hi && (w->is_write || !a->is_write);
}

struct opd sx_native_shared(struct translation *t, unsigned index, const struct access *a,
			    struct window *w)
{
	struct emit *e = &t->e;
	struct opd lin;

	assert(is_covered(t, index, w, a));
	if (t->in_r10 == w && t->r10_index == index && !(e->changed & BIT32(H_R10)))
		lin = opd_base(H_R10, t->r10_disp + (i32)(a->disp + delta_of(&t->items[index], w) -
							  w->lo));
	else
		lin = sx_native_lin(t, index, a);
	if (t->held != w || e->changed & BIT32(H_R14)) {
		assert(must_keep(t, w));
		e_load(e, H_R14, slot_of(t, w));
		t->held = w;
		e->changed &= (u16)~BIT32(H_R14);
	}
	return opd_sum(H_R14, lin.reg, lin.disp);
}

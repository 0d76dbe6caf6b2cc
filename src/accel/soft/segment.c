/*
 * Segment registers: loading them, checking accesses through them, and the mode word.
 */
#include "accel/soft/segment.h"

#include "accel/soft/bind.h"
#include "accel/soft/debug.h"
#include "accel/soft/exec.h"
#include "accel/soft/sync.h"
#include "accel/soft/translate.h"

/* --- the mode --- */

static bool permits(const struct sx_seg *s, bool is_write)
{
	if (s->attr & X86_ATTR_UNUSABLE)
		return false;
	if (s->attr & SX_TYPE_CODE)
		return !is_write && (s->attr & SX_TYPE_READABLE);
	return !is_write || (s->attr & SX_TYPE_WRITABLE);
}

static bool is_flat(const struct sx_seg *s)
{
	u32 needed = X86_ATTR_S | X86_ATTR_P | SX_TYPE_WRITABLE; /* readable, for code */

	return !s->base && s->limit == 0xffffffff && (s->attr & needed) == needed &&
	       !(s->attr & X86_ATTR_UNUSABLE) &&
	       !((s->attr & SX_TYPE_DOWN) && !(s->attr & SX_TYPE_CODE));
}

/* DS, ES and SS must be data, to be written; CS (whose base and limit the caller looks at) is only read, and need
 * not be readable. */
static bool all_flat(const struct sx_cpu *c)
{
	static const u8 data[] = {X86_ES, X86_SS, X86_DS};

	for (unsigned k = 0; k < ARRAY_SIZE(data); k++) {
		if (!is_flat(&c->seg[data[k]]) || (c->seg[data[k]].attr & SX_TYPE_CODE))
			return false;
	}
	return true;
}

static u32 mode_of_segments(struct sx_cpu *c)
{
	const struct sx_seg *cs = &c->seg[X86_CS];
	u32 mode = 0;

	if ((c->efer & X86_EFER_LMA) && (cs->attr & X86_ATTR_L))
		return SX_MODE_64;
	if (cs->attr & X86_ATTR_DB)
		mode |= SX_MODE_32;
	if (c->seg[X86_SS].attr & X86_ATTR_DB)
		mode |= SX_MODE_SS32;
	if (!cs->base && all_flat(c))
		mode |= SX_MODE_FLAT;
	if (cs->limit != 0xffffffff)
		mode |= SX_MODE_LIMITED;
	if (cs->base || cs->limit != 0xffffffff)
		mode |= sx_cache_segment(c, (u32)cs->base, cs->limit);
	return mode;
}

static u64 end_of(u32 mode, const struct sx_seg *s, bool is_write)
{
	bool is_down = !(s->attr & SX_TYPE_CODE) && (s->attr & SX_TYPE_DOWN);

	if (is_down || (mode & SX_MODE_PE && !permits(s, is_write)))
		return 0;
	return s->limit == 0xffffffff ? ~(u64)0 : (u64)s->limit + 1;
}

static void update_segments(struct sx_cpu *c)
{
	for (unsigned s = 0; s < X86_SEGS; s++)
		c->seg_base[s] = c->seg[s].base;
	if (c->mode & SX_MODE_64)
		return;
	for (unsigned s = 0; s < X86_SEGS; s++) {
		c->seg_end[0][s] = end_of(c->mode, &c->seg[s], false);
		c->seg_end[1][s] = end_of(c->mode, &c->seg[s], true);
	}
}

void sx_mode_update(struct sx_cpu *c)
{
	u32 mode = mode_of_segments(c);

	if (c->sysflags & X86_FLAG_VM)
		mode |= SX_MODE_V86;
	else if (c->cr0 & X86_CR0_PE)
		mode |= SX_MODE_PE;
	if (c->cpl == 3)
		mode |= SX_MODE_USER;
	else if (c->cpl)
		mode |= SX_MODE_MIDDLE;
	if ((c->sysflags & X86_FLAG_TF) || c->interrupt_shadow)
		mode |= SX_MODE_STEP;
	if (unlikely(sx_debug_is_active(c)))
		mode |= sx_debug_mode(c);
	c->mode = mode;
	sx_native_key_update(c);
	c->code_base = mode & SX_MODE_64 ? 0 : c->seg[X86_CS].base;
	c->code_mask = mode & SX_MODE_64 ? ~(u64)0 : 0xffffffff;
	update_segments(c);
	/* A data breakpoint that the instruction at hand has met is to trap behind it. */
	bool steps = mode & SX_MODE_STEP || c->pending_dr6;
	bool stepped = __atomic_load_n(&c->request, __ATOMIC_RELAXED) & SX_REQ_STEP;

	if (steps != stepped)
		__atomic_fetch_xor(&c->request, SX_REQ_STEP, __ATOMIC_RELAXED);
	sx_tlb_select(c);
}

void sx_cpl_set(struct sx_cpu *c, unsigned cpl)
{
	c->cpl = cpl;
	sx_mode_update(c);
}

void sx_set_rflags(struct sx_cpu *c, u64 value, u64 mask)
{
	u64 old = sx_rflags(c);
	u64 new = (old & ~mask) | (value & mask);
	u64 changed = old ^ new;

	if (!sx_debug_keeps_rf(c))
		new &= ~X86_FLAG_RF;
	c->cc = sx_cc_of_flags(new);
	c->sysflags = (new & ~(u64)X86_FLAGS_ARITH) | X86_FLAG_ONE;
	if (changed & (X86_FLAG_TF | X86_FLAG_VM | X86_FLAG_AC | X86_FLAG_RF))
		sx_mode_update(c);
	if ((changed & new &X86_FLAG_IF) && c->intr_waits)
		__atomic_fetch_or(&c->request, SX_REQ_KICK, __ATOMIC_RELAXED);
}

/* --- accesses --- */

bool sx_uses_stack(const struct sx_cpu *c, const struct sx_insn *i)
{
	bool is_implied;
	enum sx_op op;

	if (!i)
		return false;
	op = sx_insn_op(i);
	is_implied = (op >= SX_PUSH && op <= SX_LEAVE) || op == SX_CALL || op == SX_CALL_RM ||
		     op == SX_RET || op == SX_RETF || op == SX_IRET;
	if (!(i->flags & SX_IF_MEM))
		return is_implied;
	/* The operand's address is at fault, unless RSP is. */
	if (is_implied && !sx_is_canonical(c->gpr[X86_RSP]))
		return true;
	return !(i->flags & SX_IF_SEG) && (i->base == X86_RSP || i->base == X86_RBP);
}

/* Is [off, off + size) inside the segment? */
static bool within(const struct sx_seg *s, u64 off, unsigned size)
{
	u64 last = off + size - 1;

	if ((s->attr & (SX_TYPE_CODE | SX_TYPE_DOWN | X86_ATTR_S)) == (SX_TYPE_DOWN | X86_ATTR_S))
		return off > s->limit && last <= (s->attr & X86_ATTR_DB ? 0xffffffff : 0xffff);
	/* A segment of 4 GiB lets accesses wrap. */
	return last <= s->limit || s->limit == 0xffffffff;
}

u64 sx_seg_lin(struct sx_cpu *c, const struct sx_insn *i, unsigned seg, u64 off, unsigned size,
	       bool is_write)
{
	const struct sx_seg *s;

	if (c->mode & SX_MODE_64)
		return off + (seg == X86_FS || seg == X86_GS ? c->seg_base[seg] : 0);
	s = &c->seg[seg];
	if (!within(s, off, size) || (sx_is_protected(c) && !permits(s, is_write)))
		sx_throw(c, i, seg == X86_SS ? X86_SSEG : X86_GP, 0);
	return (u32)(s->base + off);
}

u64 sx_ea_slow(struct sx_cpu *c, const struct sx_insn *i, unsigned size, bool is_write)
{
	u64 off = sx_offset(c, i);

	if (c->mode & SX_MODE_64)
		return off + c->seg_base[i->seg];
	off = (u32)off;
	/* CS may be execute-only, FS and GS are seldom flat. */
	if ((c->mode & SX_MODE_FLAT) && (i->seg == X86_DS || i->seg == X86_SS || i->seg == X86_ES))
		return off;
	return sx_seg_lin(c, i, i->seg, off, size, is_write);
}

/* --- descriptors --- */

u64 sx_desc_base(const struct sx_desc *d)
{
	return d->low >> 16 | (d->high & 0xff) << 16 | (d->high & 0xff000000);
}

u32 sx_desc_limit(const struct sx_desc *d)
{
	u32 limit = (d->low & 0xffff) | (d->high & 0xf0000);

	return d->high & BIT32(23) ? limit << 12 | 0xfff : limit;
}

static bool table_of(const struct sx_cpu *c, u16 selector, u64 *out_base, u32 *out_limit)
{
	if (!(selector & SX_SELECTOR_LDT)) {
		*out_base = c->gdt.base;
		*out_limit = c->gdt.limit;
		return true;
	}
	*out_base = c->ldt.base;
	*out_limit = c->ldt.limit;
	return !(c->ldt.attr & X86_ATTR_UNUSABLE);
}

bool sx_desc_find(struct sx_cpu *c, const struct sx_insn *i, u16 selector, struct sx_desc *out)
{
	u64 base, v;
	u32 limit, off = selector & ~7u;

	if (!table_of(c, selector, &base, &limit) || off + 7 > limit)
		return false;
	out->lin = base + off;
	v = sx_load_system(c, i, out->lin, 8);
	out->low = (u32)v;
	out->high = (u32)(v >> 32);
	return true;
}

bool sx_desc_peek(struct sx_cpu *c, u16 selector, struct sx_desc *out)
{
	u32 off = selector & ~7u;
	const u8 *p;
	u64 v;

	if (selector & SX_SELECTOR_LDT || sx_selector_is_null(selector) || off + 7 > c->gdt.limit)
		return false;
	p = sx_system_bytes(c, c->gdt.base + off, 8);
	if (!p)
		return false;
	v = sx_host_load(p, 8);
	*out = (struct sx_desc){.low = (u32)v, .high = (u32)(v >> 32), .lin = c->gdt.base + off};
	return true;
}

void sx_desc_read(struct sx_cpu *c, const struct sx_insn *i, u16 selector, enum x86_vector vector,
		  struct sx_desc *out)
{
	if (!sx_desc_find(c, i, selector, out))
		sx_throw(c, i, vector, selector & ~3u);
}

u64 sx_desc_base_high(struct sx_cpu *c, const struct sx_insn *i, u16 selector,
		      const struct sx_desc *d, enum x86_vector vector)
{
	u64 base, v;
	u32 limit;

	if (!table_of(c, selector, &base, &limit) || (selector & ~7u) + 15 > limit)
		sx_throw(c, i, vector, selector & ~3u);
	v = sx_load_system(c, i, d->lin + 8, 8);
	if (v >> 32 & 0x1f00) /* the upper half's type must be 0 */
		sx_throw(c, i, vector, selector & ~3u);
	return v << 32;
}

void sx_desc_set_accessed(struct sx_cpu *c, const struct sx_insn *i, struct sx_desc *d)
{
	if (d->high & BIT32(8))
		return;
	d->high |= BIT32(8);
	sx_store_system(c, i, d->lin + 4, d->high, 4);
}

/* --- loading --- */

void sx_seg_set(struct sx_cpu *c, unsigned seg, u16 selector, const struct sx_desc *d)
{
	c->seg[seg] = (struct sx_seg){
		.base = sx_desc_base(d),
		.limit = sx_desc_limit(d),
		.attr = sx_desc_attr(d),
		.selector = selector,
	};
	c->seg_base[seg] = c->seg[seg].base;
}

void sx_seg_set_null(struct sx_cpu *c, unsigned seg, u16 selector)
{
	c->seg[seg] = (struct sx_seg){.attr = X86_ATTR_UNUSABLE, .selector = selector};
	c->seg_base[seg] = 0;
}

/* Real mode changes selector and base only: limits and attributes stay (SDM 3A, 9.9). */
void sx_seg_set_real(struct sx_cpu *c, unsigned seg, u16 selector)
{
	c->seg[seg].selector = selector;
	c->seg[seg].base = (u64)selector << 4;
	c->seg[seg].attr &= ~X86_ATTR_UNUSABLE;
	c->seg_base[seg] = c->seg[seg].base;
}

void sx_seg_set_v86(struct sx_cpu *c, unsigned seg, u16 selector)
{
	c->seg[seg] = (struct sx_seg){
		.base = (u64)selector << 4,
		.limit = 0xffff,
		.attr = X86_ATTR_P | X86_ATTR_DPL | X86_ATTR_S | SX_TYPE_WRITABLE |
			SX_TYPE_ACCESSED,
		.selector = selector,
	};
	c->seg_base[seg] = c->seg[seg].base;
}

void sx_seg_check_stack(struct sx_cpu *c, const struct sx_insn *i, u16 selector, unsigned cpl,
			enum x86_vector vector, struct sx_desc *out)
{
	u32 code = selector & ~3u;

	if (sx_selector_is_null(selector))
		sx_throw(c, i, vector, vector == X86_TS ? code : 0);
	sx_desc_read(c, i, selector, vector, out);
	if ((selector & 3) != cpl || sx_desc_dpl(out) != cpl || !sx_desc_is_segment(out) ||
	    (sx_desc_type(out) & (SX_TYPE_CODE | SX_TYPE_WRITABLE)) != SX_TYPE_WRITABLE)
		sx_throw(c, i, vector, code);
	if (!sx_desc_is_present(out))
		sx_throw(c, i, X86_SSEG, code);
	sx_desc_set_accessed(c, i, out);
}

static void check_data(struct sx_cpu *c, const struct sx_insn *i, u16 selector, struct sx_desc *d)
{
	unsigned type = sx_desc_type(d), rpl = selector & 3;

	if (!sx_desc_is_segment(d) || ((type & SX_TYPE_CODE) && !(type & SX_TYPE_READABLE)))
		sx_throw_gp(c, i, selector & ~3u);
	if (!(sx_desc_is_code(d) && sx_desc_is_conforming(d)) &&
	    (rpl > sx_desc_dpl(d) || c->cpl > sx_desc_dpl(d)))
		sx_throw_gp(c, i, selector & ~3u);
	if (!sx_desc_is_present(d))
		sx_throw(c, i, X86_NP, selector & ~3u);
	sx_desc_set_accessed(c, i, d);
}

static void load_protected(struct sx_cpu *c, const struct sx_insn *i, unsigned seg, u16 selector)
{
	struct sx_desc d;

	if (seg == X86_SS) {
		/* A null SS is good in 64-bit code, but not for applications. */
		if (sx_selector_is_null(selector) && sx_is_64(c) && c->cpl < 3 &&
		    (selector & 3) == c->cpl) {
			sx_seg_set_null(c, seg, selector);
			return;
		}
		sx_seg_check_stack(c, i, selector, c->cpl, X86_GP, &d);
		sx_seg_set(c, seg, selector, &d);
	} else if (sx_selector_is_null(selector)) {
		sx_seg_set_null(c, seg, selector);
	} else {
		sx_desc_read(c, i, selector, X86_GP, &d);
		check_data(c, i, selector, &d);
		sx_seg_set(c, seg, selector, &d);
	}
}

void sx_seg_load(struct sx_cpu *c, const struct sx_insn *i, unsigned seg, u16 selector)
{
	if (sx_is_v86(c))
		sx_seg_set_v86(c, seg, selector);
	else if (!sx_is_protected(c))
		sx_seg_set_real(c, seg, selector);
	else
		load_protected(c, i, seg, selector);
	if (seg == X86_SS && i)
		c->interrupt_shadow = X86_SHADOW_MOV_SS;
	sx_mode_update(c);
}

/* As check_data; known as accessed. Conforming code, which is less to it, may wait. */
static bool is_plain_data(const struct sx_cpu *c, u16 selector, const struct sx_desc *d)
{
	unsigned type = sx_desc_type(d), dpl = sx_desc_dpl(d);

	return sx_desc_is_segment(d) && sx_desc_is_present(d) && type & SX_TYPE_ACCESSED &&
	       (type & (SX_TYPE_CODE | SX_TYPE_READABLE)) != SX_TYPE_CODE &&
	       (selector & 3u) <= dpl && c->cpl <= dpl;
}

/* The mode asks whether DS and ES are flat, outside 64-bit code. */
static bool keeps_mode(const struct sx_cpu *c, u32 seg, const struct sx_seg *new)
{
	const struct sx_seg *old = &c->seg[seg];

	if (c->mode & SX_MODE_64 || seg == X86_FS || seg == X86_GS)
		return true;
	return new->base == old->base &&new->limit == old->limit &&new->attr == old->attr;
}

bool sx_seg_load_quietly(struct sx_cpu *c, u16 selector, u32 seg)
{
	struct sx_seg new = {.attr = X86_ATTR_UNUSABLE};
	struct sx_desc d;

	if (!sx_selector_is_null(selector)) {
		if (!sx_desc_peek(c, selector, &d) || !is_plain_data(c, selector, &d))
			return false;
		new = (struct sx_seg){.base = sx_desc_base(&d),
				      .limit = sx_desc_limit(&d),
				      .attr = sx_desc_attr(&d)};
	}
	new.selector = selector;
	if (!keeps_mode(c, seg, &new))
		return false;
	c->seg[seg] = new;
	c->seg_base[seg] = new.base;
	if (!(c->mode & SX_MODE_64)) {
		c->seg_end[0][seg] = end_of(c->mode, &c->seg[seg], false);
		c->seg_end[1][seg] = end_of(c->mode, &c->seg[seg], true);
	}
	return true;
}

void sx_cs_set(struct sx_cpu *c, u16 selector, const struct sx_desc *d, unsigned cpl)
{
	sx_seg_set(c, X86_CS, (u16)((selector & ~3u) | cpl), d);
	c->cpl = cpl;
	sx_mode_update(c);
}

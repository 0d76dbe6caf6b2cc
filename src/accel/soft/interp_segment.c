/*
 * Instructions on segment registers and descriptors: MOV Sreg, LDS, LLDT, LTR, LAR, LSL, VERR, ARPL,
 * the descriptor table registers, the FS and GS bases.
 */
#include "accel/soft/bind.h"
#include "accel/soft/exec.h"
#include "accel/soft/privilege.h"
#include "accel/soft/segment.h"

static void mov_rm_seg(struct sx_cpu *c, const struct sx_insn *i)
{
	unsigned size = i->flags & SX_IF_MEM ? 2 : i->size;

	if (i->reg >= X86_SEGS)
		sx_throw_ud(c, i);
	sx_rm_store(c, i, c->seg[i->reg].selector, size);
	SX_NEXT(c, i);
}

static void mov_seg_rm(struct sx_cpu *c, const struct sx_insn *i)
{
	if (i->reg >= X86_SEGS || i->reg == X86_CS)
		sx_throw_ud(c, i);
	sx_seg_load(c, i, i->reg, (u16)sx_rm_load(c, i, 2));
	SX_NEXT(c, i);
}

/* LES, LDS, LSS, LFS, LGS: offset, then selector. */
static void load_far(struct sx_cpu *c, const struct sx_insn *i)
{
	static const u8 segs[] = {X86_ES, X86_DS, X86_SS, X86_FS, X86_GS};
	u64 lin = sx_ea(c, i, i->size + 2, false);
	u64 off = sx_load(c, i, lin, i->size);
	u16 selector = (u16)sx_load(c, i, lin + i->size, 2);

	sx_seg_load(c, i, segs[sx_insn_op(i) - SX_LES], selector);
	sx_reg_set(c, i->reg, off, i->size);
	SX_NEXT(c, i);
}

/* --- LDTR and TR --- */

static void store_selector(struct sx_cpu *c, const struct sx_insn *i, u16 selector)
{
	sx_require_no_umip(c, i);
	sx_rm_store(c, i, selector, i->flags & SX_IF_MEM ? 2 : i->size);
}

static void sldt(struct sx_cpu *c, const struct sx_insn *i)
{
	store_selector(c, i, c->ldt.selector);
	SX_NEXT(c, i);
}

static void str(struct sx_cpu *c, const struct sx_insn *i)
{
	store_selector(c, i, c->tr.selector);
	SX_NEXT(c, i);
}

/* A system descriptor of the GDT, with the base of its 16-byte form in IA-32e mode. */
static struct sx_seg system_segment(struct sx_cpu *c, const struct sx_insn *i, u16 selector,
				    struct sx_desc *d)
{
	struct sx_seg s = {
		.base = sx_desc_base(d),
		.limit = sx_desc_limit(d),
		.attr = sx_desc_attr(d),
		.selector = selector,
	};

	if (sx_is_long(c))
		s.base |= sx_desc_base_high(c, i, selector, d, X86_GP);
	return s;
}

static noinline void lldt_work(struct sx_cpu *c, const struct sx_insn *i)
{
	struct sx_desc d;
	u16 selector;

	sx_require_cpl0(c, i);
	selector = (u16)sx_rm_load(c, i, 2);
	if (sx_selector_is_null(selector)) {
		c->ldt = (struct sx_seg){.attr = X86_ATTR_UNUSABLE, .selector = selector};
		return;
	}
	if (selector & SX_SELECTOR_LDT)
		sx_throw_gp(c, i, selector & ~3u);
	sx_desc_read(c, i, selector, X86_GP, &d);
	if (sx_desc_is_segment(&d) || sx_desc_type(&d) != SX_TYPE_LDT)
		sx_throw_gp(c, i, selector & ~3u);
	if (!sx_desc_is_present(&d))
		sx_throw(c, i, X86_NP, selector & ~3u);
	c->ldt = system_segment(c, i, selector, &d);
}
SX_HANDLER_OF(lldt, lldt_work)

static noinline void ltr_work(struct sx_cpu *c, const struct sx_insn *i)
{
	struct sx_desc d;
	struct sx_seg tr;
	u16 selector;
	unsigned type;

	sx_require_cpl0(c, i);
	selector = (u16)sx_rm_load(c, i, 2);
	if (sx_selector_is_null(selector))
		sx_throw_gp(c, i, 0);
	if (selector & SX_SELECTOR_LDT)
		sx_throw_gp(c, i, selector & ~3u);
	sx_desc_read(c, i, selector, X86_GP, &d);
	type = sx_desc_type(&d);
	if (sx_desc_is_segment(&d) ||
	    (type != SX_TYPE_TSS32 && (type != SX_TYPE_TSS16 || sx_is_long(c))))
		sx_throw_gp(c, i, selector & ~3u);
	if (!sx_desc_is_present(&d))
		sx_throw(c, i, X86_NP, selector & ~3u);
	tr = system_segment(c, i, selector, &d);
	sx_store_system(c, i, d.lin + 4, d.high | BIT32(9), 4); /* busy */
	tr.attr |= 2;
	c->tr = tr;
}
SX_HANDLER_OF(ltr, ltr_work)

/* --- asking about descriptors: ZF says whether the selector is good --- */

static void set_zf(struct sx_cpu *c, bool is_set)
{
	c->cc = (u16)((c->cc & ~SX_CC_ZF) | (is_set ? SX_CC_ZF : 0));
}

static bool is_visible(const struct sx_cpu *c, u16 selector, const struct sx_desc *d)
{
	unsigned dpl = sx_desc_dpl(d);

	if (sx_desc_is_code(d) && sx_desc_is_conforming(d))
		return true;
	return dpl >= c->cpl && dpl >= (selector & 3u);
}

/* Types of system descriptors that LAR, and those that LSL, take (SDM 2A). */
static bool lar_takes(const struct sx_cpu *c, unsigned type)
{
	u32 all = BIT32(1) | BIT32(2) | BIT32(3) | BIT32(4) | BIT32(5) | BIT32(9) | BIT32(11) |
		  BIT32(12);
	u32 in_long = BIT32(2) | BIT32(9) | BIT32(11) | BIT32(12);

	return (sx_is_long(c) ? in_long : all) & BIT32(type);
}

static bool lsl_takes(const struct sx_cpu *c, unsigned type)
{
	u32 all = BIT32(1) | BIT32(2) | BIT32(3) | BIT32(9) | BIT32(11);
	u32 in_long = BIT32(2) | BIT32(9) | BIT32(11);

	return (sx_is_long(c) ? in_long : all) & BIT32(type);
}

static bool look_up(struct sx_cpu *c, const struct sx_insn *i, struct sx_desc *d)
{
	u16 selector = (u16)sx_rm_load(c, i, 2);
	bool is_lar = sx_insn_op(i) == SX_LAR;

	if (sx_selector_is_null(selector) || !sx_desc_find(c, i, selector, d))
		return false;
	if (!sx_desc_is_segment(d) &&
	    !(is_lar ? lar_takes(c, sx_desc_type(d)) : lsl_takes(c, sx_desc_type(d))))
		return false;
	return is_visible(c, selector, d);
}

static noinline void lar_work(struct sx_cpu *c, const struct sx_insn *i)
{
	struct sx_desc d;
	bool is_good = look_up(c, i, &d);

	if (is_good)
		sx_reg_set(c, i->reg, d.high & 0x00ffff00, i->size);
	set_zf(c, is_good);
}
SX_HANDLER_OF(lar, lar_work)

static noinline void lsl_work(struct sx_cpu *c, const struct sx_insn *i)
{
	struct sx_desc d;
	bool is_good = look_up(c, i, &d);

	if (is_good)
		sx_reg_set(c, i->reg, sx_desc_limit(&d), i->size);
	set_zf(c, is_good);
}
SX_HANDLER_OF(lsl, lsl_work)

static noinline void verify_work(struct sx_cpu *c, const struct sx_insn *i)
{
	u16 selector = (u16)sx_rm_load(c, i, 2);
	bool is_write = sx_insn_op(i) == SX_VERW, is_good = false;
	struct sx_desc d;

	if (!sx_selector_is_null(selector) && sx_desc_find(c, i, selector, &d) &&
	    sx_desc_is_segment(&d) && is_visible(c, selector, &d)) {
		bool is_code = sx_desc_is_code(&d);
		bool bit = sx_desc_type(&d) & SX_TYPE_WRITABLE;

		is_good = is_write ? !is_code && bit : !is_code || bit;
	}
	set_zf(c, is_good);
}
SX_HANDLER_OF(verify, verify_work)

static void arpl(struct sx_cpu *c, const struct sx_insn *i)
{
	u16 d = (u16)sx_rm_load(c, i, 2), s = (u16)c->gpr[i->reg];
	bool raises = (d & 3) < (s & 3);

	if (raises)
		sx_rm_store(c, i, (d & ~3u) | (s & 3u), 2);
	set_zf(c, raises);
	SX_NEXT(c, i);
}

/* --- GDTR and IDTR --- */

static void store_table(struct sx_cpu *c, const struct sx_insn *i)
{
	const struct x86_table *t = sx_insn_op(i) == SX_SGDT ? &c->gdt : &c->idt;
	unsigned base_size = sx_is_64(c) ? 8 : 4;
	u64 lin;

	sx_require_no_umip(c, i);
	lin = sx_ea(c, i, base_size + 2, true);
	sx_probe_write(c, i, lin, base_size + 2);
	sx_store(c, i, lin, t->limit, 2);
	sx_store(c, i, lin + 2, t->base, base_size);
	SX_NEXT(c, i);
}

static void load_table(struct sx_cpu *c, const struct sx_insn *i)
{
	struct x86_table *t = sx_insn_op(i) == SX_LGDT ? &c->gdt : &c->idt;
	unsigned base_size = sx_is_64(c) ? 8 : 4;
	u64 lin, base;
	u16 limit;

	sx_require_cpl0(c, i);
	lin = sx_ea(c, i, base_size + 2, false);
	limit = (u16)sx_load(c, i, lin, 2);
	base = sx_load(c, i, lin + 2, base_size);
	if (!sx_is_canonical(base))
		sx_throw_gp(c, i, 0);
	if (i->size == 2)
		base &= 0xffffff;
	t->limit = limit;
	t->base = base;
	SX_NEXT(c, i);
}

/* --- FS and GS base --- */

static void require_fsgsbase(struct sx_cpu *c, const struct sx_insn *i)
{
	if (!(c->cr4 & X86_CR4_FSGSBASE))
		sx_throw_ud(c, i);
}

static void read_base(struct sx_cpu *c, const struct sx_insn *i)
{
	require_fsgsbase(c, i);
	sx_reg_set(c, i->rm, c->seg[sx_insn_op(i) == SX_RDFSBASE ? X86_FS : X86_GS].base, i->size);
	SX_NEXT(c, i);
}

static void write_base(struct sx_cpu *c, const struct sx_insn *i)
{
	unsigned seg = sx_insn_op(i) == SX_WRFSBASE ? X86_FS : X86_GS;
	u64 v = sx_reg_get(c, i->rm, i->size);

	require_fsgsbase(c, i);
	if (!sx_is_canonical(v))
		sx_throw_gp(c, i, 0);
	c->seg[seg].base = c->seg_base[seg] = v;
	SX_NEXT(c, i);
}

static void swapgs(struct sx_cpu *c, const struct sx_insn *i)
{
	u64 base = c->seg[X86_GS].base;

	sx_require_cpl0(c, i);
	c->seg[X86_GS].base = c->seg_base[X86_GS] = c->kernel_gs_base;
	c->kernel_gs_base = base;
	SX_NEXT(c, i);
}

sx_insn_fn *sx_bind_segment(struct sx_insn *i)
{
	/* clang-format off */
	static sx_insn_fn *const table[SX_OP_COUNT] = {
		[SX_MOV_RM_SEG] = mov_rm_seg, [SX_MOV_SEG_RM] = mov_seg_rm,
		[SX_LES] = load_far, [SX_LDS] = load_far, [SX_LSS] = load_far,
		[SX_LFS] = load_far, [SX_LGS] = load_far,
		[SX_ARPL] = arpl, [SX_VERR] = verify, [SX_VERW] = verify,
		[SX_LAR] = lar, [SX_LSL] = lsl,
		[SX_SLDT] = sldt, [SX_STR] = str, [SX_LLDT] = lldt, [SX_LTR] = ltr,
		[SX_SGDT] = store_table, [SX_SIDT] = store_table,
		[SX_LGDT] = load_table, [SX_LIDT] = load_table,
		[SX_RDFSBASE] = read_base, [SX_RDGSBASE] = read_base,
		[SX_WRFSBASE] = write_base, [SX_WRGSBASE] = write_base, [SX_SWAPGS] = swapgs,
	};
	/* clang-format on */

	return table[sx_insn_op(i)];
}

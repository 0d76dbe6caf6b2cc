/*
 * Stacks of other privileges, written before they are switched to.
 */
#include "accel/soft/far.h"

#include "accel/soft/exec.h"

struct sx_pusher sx_pusher_of_code(struct sx_cpu *c, unsigned size, bool is_64)
{
	const struct sx_seg *ss = &c->seg[X86_SS];
	u64 mask = ss->attr & X86_ATTR_DB ? 0xffffffff : 0xffff;

	return (struct sx_pusher){
		.base = is_64 ? 0 : ss->base,
		.limit = ss->limit,
		.attr = ss->attr,
		.mask = is_64 ? ~(u64)0 : mask,
		.sp = c->gpr[X86_RSP],
		.size = size,
		.cpl = c->cpl,
		.is_long = is_64,
	};
}

struct sx_pusher sx_pusher_on_stack(struct sx_cpu *c, unsigned size)
{
	return sx_pusher_of_code(c, size, c->mode & SX_MODE_64);
}

struct sx_pusher sx_pusher_flat(unused struct sx_cpu *c, u64 rsp, unsigned cpl)
{
	return (struct sx_pusher){
		.mask = ~(u64)0, .sp = rsp, .size = 8, .cpl = cpl, .is_long = true};
}

/* SS:ESP for a privilege from the 16- or 32-bit TSS. */
static void read_tss_stack(struct sx_cpu *c, const struct sx_insn *i, unsigned cpl,
			   u16 *out_selector, u32 *out_sp)
{
	bool is_32 = c->tr.attr & 8; /* type 9 or 11 */
	u32 off = is_32 ? 4 + cpl * 8 : 2 + cpl * 4;

	if (off + (is_32 ? 5u : 3u) > c->tr.limit)
		sx_throw(c, i, X86_TS, c->tr.selector & ~3u);
	*out_sp = (u32)sx_load_system(c, i, c->tr.base + off, is_32 ? 4 : 2);
	*out_selector = (u16)sx_load_system(c, i, c->tr.base + off + (is_32 ? 4 : 2), 2);
}

struct sx_pusher sx_pusher_on_tss_stack(struct sx_cpu *c, const struct sx_insn *i, unsigned cpl,
					unsigned size, u16 *out_selector, struct sx_desc *out_ss)
{
	u32 sp;

	read_tss_stack(c, i, cpl, out_selector, &sp);
	sx_seg_check_stack(c, i, *out_selector, cpl, X86_TS, out_ss);
	return (struct sx_pusher){
		.base = sx_desc_base(out_ss),
		.limit = sx_desc_limit(out_ss),
		.attr = sx_desc_attr(out_ss),
		.mask = sx_desc_attr(out_ss) & X86_ATTR_DB ? 0xffffffff : 0xffff,
		.sp = sp,
		.size = size,
		.cpl = cpl,
		.fault_code = *out_selector & ~3u,
	};
}

/* As for any access through SS; the new one is no segment register yet. */
static bool is_within(const struct sx_pusher *p, u64 off)
{
	u64 last = off + p->size - 1;

	if (p->attr & SX_TYPE_DOWN)
		return off > p->limit && last <= (p->attr & X86_ATTR_DB ? 0xffffffff : 0xffff);
	return last <= p->limit;
}

void sx_pusher_push(struct sx_cpu *c, const struct sx_insn *i, struct sx_pusher *p, u64 v)
{
	u64 off = (p->sp - p->size) & p->mask;

	if (!p->is_long && !is_within(p, off))
		sx_throw(c, i, X86_SSEG, p->fault_code);
	if (p->cpl == 3)
		sx_store(c, i, p->base + off, v, p->size);
	else
		sx_store_system(c, i, p->base + off, v, p->size);
	p->sp = (p->sp & ~p->mask) | off;
}

void sx_pusher_commit(struct sx_cpu *c, const struct sx_pusher *p)
{
	c->gpr[X86_RSP] = sx_stack_merge(p->mask, c->gpr[X86_RSP], p->sp);
}

u64 sx_tss64_stack(struct sx_cpu *c, const struct sx_insn *i, unsigned off)
{
	if (off + 7 > c->tr.limit)
		sx_throw(c, i, X86_TS, c->tr.selector & ~3u);
	return sx_load_system(c, i, c->tr.base + off, 8);
}

/*
 * Filling and flushing the software TLB.
 *
 * A flush walks the list of slots filled since the last one, so that it costs what was used; a
 * CR3 write, the most frequent one, leaves global pages standing. Code fetches have a small TLB of
 * their own, and the jump cache is dropped with it by counting a generation.
 */
#include "accel/soft/tlb.h"

#include "accel/soft/cpu.h"
#include "accel/soft/debug.h"
#include "accel/soft/exec.h"
#include "accel/soft/translate.h"
#include "mem/gmem.h"

static void slot_clear(struct sx_tlb_entry *e)
{
	e->read = e->write = SX_TLB_NONE;
	e->page = SX_TLB_NONE;
}

void sx_tlb_init(struct sx_cpu *c)
{
	for (unsigned s = 0; s < SX_TLB_SETS; s++) {
		for (unsigned k = 0; k < SX_TLB_SIZE; k++)
			slot_clear(&c->tlbs.set[s][k]);
		c->tlbs.n_filled[s] = 0;
	}
	for (unsigned k = 0; k < SX_ITLB_SIZE; k++)
		c->tlbs.code[k].tag = SX_TLB_NONE;
	sx_tlb_select(c);
}

void sx_tlb_select(struct sx_cpu *c)
{
	if (c->cpl == 3)
		c->tlb_set = SX_TLB_USER;
	else if (!(c->cr4 & X86_CR4_SMAP) || (c->sysflags & X86_FLAG_AC))
		c->tlb_set = SX_TLB_SUPERVISOR_AC;
	else
		c->tlb_set = SX_TLB_SUPERVISOR;
	/* Alignment checking sends every access to the slow path, by a set that stays empty. */
	c->tlb = c->tlbs.set[sx_checks_alignment(c) ? SX_TLB_EMPTY : c->tlb_set];
}

/* The jump cache of one half of the linear addresses, or both, is no longer good. */
static void drop_jumps(struct sx_cpu *c, bool is_kernel_too)
{
	c->jump_generation[0]++;
	if (is_kernel_too || c->has_local_kernel_code)
		c->jump_generation[1]++;
	c->has_local_kernel_code = false;
	/* A count that came round must not meet entries of its last time. */
	if (!c->jump_generation[0] || !c->jump_generation[1]) {
		memset(c->cache->jump, 0, sizeof(c->cache->jump));
		c->jump_generation[0] = c->jump_generation[1] = 1;
	}
}

void sx_tlb_flush(struct sx_cpu *c)
{
	sx_count(c, SX_N_FLUSH_ALL);
	for (unsigned s = 0; s < SX_TLB_SETS; s++) {
		for (unsigned k = 0; k < c->tlbs.n_filled[s]; k++)
			slot_clear(&c->tlbs.set[s][c->tlbs.filled[s][k]]);
		c->tlbs.n_filled[s] = 0;
	}
	for (unsigned k = 0; k < SX_ITLB_SIZE; k++)
		c->tlbs.code[k].tag = SX_TLB_NONE;
	c->tlbs.large[0].mask = c->tlbs.large[1].mask = 0;
	drop_jumps(c, true);
}

void sx_tlb_flush_local(struct sx_cpu *c)
{
	sx_count(c, SX_N_FLUSH_LOCAL);
	for (unsigned s = 0; s < SX_TLB_SETS; s++) {
		unsigned kept = 0;

		for (unsigned k = 0; k < c->tlbs.n_filled[s]; k++) {
			u16 slot = c->tlbs.filled[s][k];

			if (c->tlbs.set[s][slot].page & SX_TLB_GLOBAL)
				c->tlbs.filled[s][kept++] = slot;
			else
				slot_clear(&c->tlbs.set[s][slot]);
		}
		c->tlbs.n_filled[s] = kept;
	}
	for (unsigned k = 0; k < SX_ITLB_SIZE; k++) {
		if (!(c->tlbs.code[k].page & SX_TLB_GLOBAL))
			c->tlbs.code[k].tag = SX_TLB_NONE;
	}
	drop_jumps(c, false);
}

void sx_tlb_flush_page(struct sx_cpu *c, u64 lin)
{
	u64 mask = c->tlbs.large[lin >> 63].mask;

	sx_count(c, SX_N_FLUSH_PAGE);
	/* A page that is a piece of a large one takes all the others with it: flush everything. */
	if (mask && !((lin ^ c->tlbs.large[lin >> 63].base) & mask)) {
		sx_tlb_flush(c);
		return;
	}
	for (unsigned s = 0; s < SX_TLB_SETS; s++) {
		struct sx_tlb_entry *e = sx_tlb_slot(c->tlbs.set[s], lin);

		/* It stays in the list of filled slots: being there twice would overflow it. */
		e->read = e->write = SX_TLB_NONE;
		e->page &= ~(u64)SX_TLB_GLOBAL;
	}
	c->tlbs.code[(lin >> PAGE_SHIFT) % SX_ITLB_SIZE].tag = SX_TLB_NONE;
	drop_jumps(c, lin >> 63);
}

void sx_tlb_flush_writes(struct sx_cpu *c)
{
	sx_count(c, SX_N_FLUSH_WRITES);
	for (unsigned s = 0; s < SX_TLB_SETS; s++) {
		for (unsigned k = 0; k < c->tlbs.n_filled[s]; k++)
			c->tlbs.set[s][c->tlbs.filled[s][k]].write = SX_TLB_NONE;
	}
}

void sx_tlb_flush_writes_to(struct sx_cpu *c, const u8 *host)
{
	for (unsigned s = 0; s < SX_TLB_SETS; s++) {
		for (unsigned k = 0; k < c->tlbs.n_filled[s]; k++) {
			struct sx_tlb_entry *e = &c->tlbs.set[s][c->tlbs.filled[s][k]];

			if (e->write + e->addend == (u64)(uintptr_t)host)
				e->write = SX_TLB_NONE;
		}
	}
}

/* Widens the range that stands for all large pages entered so far. */
static void note_large(struct sx_cpu *c, u64 lin, unsigned leaf_bits)
{
	u64 *base = &c->tlbs.large[lin >> 63].base;
	u64 *mask = &c->tlbs.large[lin >> 63].mask;
	u64 wanted = ~(BIT(leaf_bits) - 1);

	if (!*mask)
		*base = lin;
	else
		wanted &= *mask;
	while ((*base ^ lin) & wanted)
		wanted <<= 1;
	*mask = wanted;
	*base &= wanted;
}

/* Bits of an entry's write tag, or none: the next write must come by the slow path. */
static bool may_write_fast(struct sx_xlat *x, const struct sx_walk *w, enum sx_access access)
{
	u64 *dirty;

	if (!w->is_writable || x->range->is_readonly || x->is_code)
		return false;
	dirty = __atomic_load_n(&x->range->block->dirty, __ATOMIC_ACQUIRE);
	return !dirty || access == SX_WRITE;
}

static void enter(struct sx_cpu *c, u64 lin, enum sx_access access, enum sx_tlb_set set,
		  const struct sx_walk *w, struct sx_xlat *x)
{
	struct sx_tlb_entry *e = sx_tlb_slot(c->tlbs.set[set], lin);
	u64 page = lin & PAGE_MASK;

	if (sx_debug_watches(c, page))
		return;
	if (e->page == SX_TLB_NONE)
		c->tlbs.filled[set][c->tlbs.n_filled[set]++] = (u16)(e - c->tlbs.set[set]);
	e->read = page;
	e->write = may_write_fast(x, w, access) ? page : SX_TLB_NONE;
	e->addend = (u64)(uintptr_t)x->host - page;
	e->page = w->page | (w->is_global ? SX_TLB_GLOBAL : 0);
	if (w->leaf_bits > PAGE_SHIFT)
		note_large(c, lin, w->leaf_bits);
}

static void check_canonical(struct sx_cpu *c, const struct sx_insn *i, u64 lin)
{
	if (sx_is_canonical(lin) || !sx_is_long(c))
		return;
	/* Stack accesses raise #SS (SDM 1, 3.3.7.1); only explicit ones of SS are told apart. */
	sx_throw(c, i, sx_uses_stack(c, i) ? X86_SSEG : X86_GP, 0);
}

static void count_miss(struct sx_cpu *c, u64 lin, enum sx_access access, enum sx_tlb_set set)
{
	sx_count(c, access == SX_WRITE ? SX_N_MISS_WRITE : SX_N_MISS_READ);
	if (access == SX_WRITE && sx_tlb_slot(c->tlbs.set[set], lin)->read == (lin & PAGE_MASK))
		sx_count(c, SX_N_MISS_PROTECTED);
}

void sx_translate(struct sx_cpu *c, const struct sx_insn *i, u64 lin, enum sx_access access,
		  enum sx_tlb_set set, struct sx_xlat *out)
{
	struct sx_walk w;
	int code;
	u8 *host;

	count_miss(c, lin, access, set);
	check_canonical(c, i, lin);
	code = sx_mmu_walk(c, lin, access, set, &w);
	if (code >= 0)
		sx_throw_page_fault(c, i, lin, (u32)code);

	*out = (struct sx_xlat){.gpa = w.page + (lin & ~PAGE_MASK)};
	host = w.page == c->apic_page ? NULL : sx_phys_page(c, w.page, &out->range);
	if (!host) {
		sx_count(c, SX_N_MISS_DEVICE);
		return;
	}
	out->block_page = (out->range->offset + (w.page - out->range->gpa)) >> PAGE_SHIFT;
	assert(out->range->block->code); /* gmem was made to track code */
	out->code = &out->range->block->code[out->block_page];
	out->is_code = __atomic_load_n(out->code, __ATOMIC_SEQ_CST) & GMEM_CODE_PRESENT;
	out->host = host;
	if (access == SX_WRITE && out->is_code)
		sx_count(c, SX_N_MISS_CODE_PAGE);
	if (access == SX_WRITE && !out->range->is_readonly) {
		u64 *dirty = __atomic_load_n(&out->range->block->dirty, __ATOMIC_ACQUIRE);

		if (dirty)
			__atomic_fetch_or(&dirty[out->block_page / 64], BIT(out->block_page % 64),
					  __ATOMIC_RELAXED);
	}
	enter(c, lin, access, set, &w, out);
	out->host += lin & ~PAGE_MASK;
}

const struct sx_itlb_entry *sx_translate_code(struct sx_cpu *c, u64 lin)
{
	u64 tag = (lin & PAGE_MASK) | (c->mode & SX_MODE_USER);
	struct sx_itlb_entry *e = &c->tlbs.code[(lin >> PAGE_SHIFT) % SX_ITLB_SIZE];
	const struct gmem_range *r;
	struct sx_walk w;
	int code;

	if (e->tag == tag)
		return e;
	sx_count(c, SX_N_MISS_CODE);
	check_canonical(c, NULL, lin);
	code = sx_mmu_walk(c, lin, SX_EXEC, c->cpl == 3 ? SX_TLB_USER : SX_TLB_SUPERVISOR, &w);
	if (code >= 0)
		sx_throw_page_fault(c, NULL, lin, (u32)code);

	e->tag = tag;
	e->page = w.page | (w.is_global ? SX_TLB_GLOBAL : 0);
	e->host = w.page == c->apic_page ? NULL : sx_phys_page(c, w.page, &r);
	if (e->host) {
		e->block = r->block;
		e->block_page = (r->offset + (w.page - r->gpa)) >> PAGE_SHIFT;
	}
	if (w.leaf_bits > PAGE_SHIFT)
		note_large(c, lin, w.leaf_bits);
	return e;
}

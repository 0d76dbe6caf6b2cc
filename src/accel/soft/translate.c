/*
 * From linear to host addresses by the long way: walk, see what is there, enter it into the TLB.
 */
#include "accel/soft/translate.h"

#include "accel/soft/debug.h"
#include "accel/soft/exec.h"
#include "accel/soft/lockstep.h"
#include "mem/gmem.h"

/* May the entry have a write tag? Else the next write must come by the slow path. */
static bool may_write_fast(const struct sx_cpu *c, const struct sx_xlat *x, const struct sx_walk *w,
			   enum sx_access access)
{
	u64 *dirty;

	if (!w->is_writable || x->is_readonly || x->is_code)
		return false;
	dirty = __atomic_load_n(&x->block->dirty, __ATOMIC_ACQUIRE);
	/* Lockstep wants to see the first write, too. */
	return (!dirty && !c->lockstep) || access == SX_WRITE;
}

static u64 page_of_entry(struct sx_cpu *c, u64 lin, const struct sx_walk *w)
{
	u64 bits = (u64)w->leaf_bits - PAGE_SHIFT;

	if (bits)
		sx_tlb_note_large(c, lin, w->leaf_bits);
	return w->page | (w->is_global ? SX_TLB_GLOBAL : 0) | bits << SX_TLB_LARGE_SHIFT;
}

static void enter(struct sx_cpu *c, u64 lin, enum sx_access access, enum sx_tlb_set set,
		  const struct sx_walk *w, const struct sx_xlat *x)
{
	u64 page = lin & PAGE_MASK;
	struct sx_tlb_entry *e;

	if (sx_debug_watches(c, page))
		return;
	e = sx_tlb_replace(c, set, lin, w->is_global);
	e->addend = (u64)(uintptr_t)x->host - page;
	e->page = page_of_entry(c, lin, w);
	sx_tlb_set_tags(c, set, e, page, may_write_fast(c, x, w, access));
}

static void note_dirty(const struct sx_xlat *x)
{
	u64 *dirty = __atomic_load_n(&x->block->dirty, __ATOMIC_ACQUIRE);

	if (dirty)
		__atomic_fetch_or(&dirty[x->block_page / 64], BIT(x->block_page % 64),
				  __ATOMIC_RELAXED);
}

static void count_miss(struct sx_cpu *c, u64 lin, enum sx_access access, enum sx_tlb_set set)
{
	sx_count(c, access == SX_WRITE ? SX_N_MISS_WRITE : SX_N_MISS_READ);
	if (access == SX_WRITE && sx_tlb_find(c, set, lin)->read == (lin & PAGE_MASK))
		sx_count(c, SX_N_MISS_PROTECTED);
}

/* What the map has there; host is the page's. */
static void look_up(struct sx_cpu *c, gpa_t gpa, struct sx_xlat *out)
{
	gpa_t page = gpa & PAGE_MASK;
	const struct gmem_range *r;
	u8 *host = page == c->apic_page ? NULL : sx_phys_page(c, page, &r);

	*out = (struct sx_xlat){.gpa = gpa};
	if (!host)
		return;
	assert(r->block->code); /* gmem was made to track code */
	out->host = host;
	out->block = r->block;
	out->block_page = (r->offset + (page - r->gpa)) >> PAGE_SHIFT;
	out->code = &r->block->code[out->block_page];
	out->is_code = __atomic_load_n(out->code, __ATOMIC_SEQ_CST) & GMEM_CODE_PRESENT;
	out->is_readonly = r->is_readonly;
}

/* -1, or the page fault's error code. */
static int resolve(struct sx_cpu *c, u64 lin, enum sx_access access, enum sx_tlb_set set,
		   struct sx_xlat *out)
{
	struct sx_walk w;
	int code;

	count_miss(c, lin, access, set);
	code = sx_mmu_walk(c, lin, access, set, &w);
	if (code >= 0)
		return code;
	look_up(c, w.page + (lin & ~PAGE_MASK), out);
	if (!out->host) {
		sx_count(c, SX_N_MISS_DEVICE);
		return -1;
	}
	if (access == SX_WRITE && out->is_code)
		sx_count(c, SX_N_MISS_CODE_PAGE);
	if (access == SX_WRITE && !out->is_readonly) {
		note_dirty(out);
		/* Whoever asks must not find it in the TLB either. */
		if (unlikely(c->lockstep) && !sx_lockstep_note(c, out))
			return -1;
	}
	enter(c, lin, access, set, &w, out);
	out->host += lin & ~PAGE_MASK;
	return -1;
}

void sx_translate_again(struct sx_cpu *c, struct sx_xlat *x)
{
	look_up(c, x->gpa, x);
	if (!x->host)
		return;
	x->host += x->gpa & ~PAGE_MASK;
	if (!x->is_readonly)
		note_dirty(x);
}

static void check_canonical(struct sx_cpu *c, const struct sx_insn *i, u64 lin)
{
	if (sx_is_canonical(lin) || !sx_is_long(c))
		return;
	/* Stack accesses raise #SS (SDM 1, 3.3.7.1); only explicit ones of SS are told apart. */
	sx_throw(c, i, sx_uses_stack(c, i) ? X86_SSEG : X86_GP, 0);
}

void sx_translate(struct sx_cpu *c, const struct sx_insn *i, u64 lin, enum sx_access access,
		  enum sx_tlb_set set, struct sx_xlat *out)
{
	int code;

	check_canonical(c, i, lin);
	code = resolve(c, lin, access, set, out);
	if (code >= 0)
		sx_throw_page_fault(c, i, lin, (u32)code);
	if (unlikely(c->lockstep))
		sx_lockstep_check(c, i, out, access == SX_WRITE);
}

u8 *sx_translate_fill(struct sx_cpu *c, u64 lin, unsigned size, enum sx_access access)
{
	struct sx_xlat x;

	if ((lin & ~PAGE_MASK) + size > PAGE_SIZE || !sx_is_canonical(lin) ||
	    sx_checks_alignment(c) || sx_debug_watches(c, lin & PAGE_MASK))
		return NULL;
	if (resolve(c, lin, access, c->tlb_set, &x) >= 0 || !x.host)
		return NULL;
	if (unlikely(c->lockstep) && sx_lockstep_is_full(c))
		return NULL;
	return access == SX_WRITE && (x.is_code || x.is_readonly) ? NULL : x.host;
}

static u64 code_tag(const struct sx_cpu *c, u64 lin)
{
	return (lin & PAGE_MASK) | (c->mode & SX_MODE_USER);
}

static bool is_code_known(const struct sx_cpu *c, u64 lin, const struct sx_itlb_entry *e)
{
	return e->tag == code_tag(c, lin) && sx_itlb_is_fresh(&c->tlbs, e);
}

/* -1, or the page fault's error code. */
static int resolve_code(struct sx_cpu *c, u64 lin, struct sx_itlb_entry *e)
{
	const struct gmem_range *r;
	struct sx_walk w;
	int code;

	sx_count(c, SX_N_MISS_CODE);
	code = sx_mmu_walk(c, lin, SX_EXEC, c->cpl == 3 ? SX_TLB_USER : SX_TLB_SUPERVISOR, &w);
	if (code >= 0)
		return code;
	*e = (struct sx_itlb_entry){.tag = code_tag(c, lin), .page = page_of_entry(c, lin, &w)};
	e->generation =
		w.is_global ? c->tlbs.global_generation : c->tlbs.space[c->tlbs.current].generation;
	e->host = w.page == c->apic_page ? NULL : sx_phys_page(c, w.page, &r);
	if (e->host) {
		e->block = r->block;
		e->block_page = (r->offset + (w.page - r->gpa)) >> PAGE_SHIFT;
	}
	return -1;
}

const struct sx_itlb_entry *sx_translate_code(struct sx_cpu *c, u64 lin)
{
	struct sx_itlb_entry *e = sx_itlb_slot(c, lin);
	int code;

	if (is_code_known(c, lin, e))
		return e;
	check_canonical(c, NULL, lin);
	code = resolve_code(c, lin, e);
	if (code >= 0)
		sx_throw_page_fault(c, NULL, lin, (u32)code);
	return e;
}

const struct sx_itlb_entry *sx_translate_code_quietly(struct sx_cpu *c, u64 lin)
{
	struct sx_itlb_entry *e = sx_itlb_slot(c, lin);

	if (is_code_known(c, lin, e))
		return e;
	/* Lockstep's second run finds what its first one fetched. */
	if (c->lockstep || (sx_is_long(c) && !sx_is_canonical(lin)))
		return NULL;
	return resolve_code(c, lin, e) >= 0 ? NULL : e;
}

/*
 * Page-table walks for the three kinds of paging (SDM 3A, 4.3 to 4.5).
 *
 * The entries are read straight from guest memory and may change while we look: accessed and
 * dirty bits are set by compare-and-swap of exactly the entry that was judged, and a walk whose
 * entry changed underneath starts again. Permissions are judged once, at the leaf, from the
 * conjunction of all levels; accessed bits are set only by walks that succeed.
 */
#include "accel/soft/mmu.h"

#include "accel/soft/lockstep.h"
#include "accel/soft/sync.h"
#include "mem/gmem.h"

/* What the levels add up to. */
struct rights {
	bool writable, user, nx;
};

/* One entry met on the way: where it is, and what it said. */
struct step {
	gpa_t gpa;
	u64 value;
};

struct path {
	struct step step[4];
	unsigned n;
	unsigned entry_size; /* 8, or 4 without PAE */
	struct rights rights;
	u64 leaf;
	unsigned leaf_bits; /* log2 of the leaf's size */
	u64 base;           /* where the leaf's page starts */
};

u8 *sx_phys_page(struct sx_cpu *c, gpa_t page, const struct gmem_range **out_range)
{
	const struct gmem_range *r = c->last_range;

	if (!r || page - r->gpa >= r->size) {
		r = gmem_map_find(c->map, page);
		if (!r)
			return NULL;
		c->last_range = r;
	}
	*out_range = r;
	return r->block->hva + r->offset + (page - r->gpa);
}

void sx_phys_written(struct sx_cpu *c, const struct gmem_range *r, gpa_t gpa)
{
	u64 page = (r->offset + (gpa - r->gpa)) >> PAGE_SHIFT;
	u64 *dirty = __atomic_load_n(&r->block->dirty, __ATOMIC_ACQUIRE);

	if (dirty)
		__atomic_fetch_or(&dirty[page / 64], BIT(page % 64), __ATOMIC_RELAXED);
	if (r->block->code &&
	    (__atomic_load_n(&r->block->code[page], __ATOMIC_ACQUIRE) & GMEM_CODE_PRESENT)) {
		gmem_code_written(r->block, page);
		sx_ask_to_look_at_code(c->accel, NULL); /* in the middle of native code, c, too */
	}
}

u64 sx_phys_read(struct sx_cpu *c, gpa_t gpa, unsigned size)
{
	const struct gmem_range *r;
	const u8 *p = sx_phys_page(c, gpa & PAGE_MASK, &r);

	if (!p)
		return ~(u64)0;
	p += gpa & ~PAGE_MASK;
	if (size == 8)
		return __atomic_load_n((const u64 *)p, __ATOMIC_RELAXED);
	if (size == 4)
		return __atomic_load_n((const u32 *)p, __ATOMIC_RELAXED);
	u64 v = 0;
	__builtin_memcpy(&v, p, size);
	return v;
}

/* Sets bits in an entry unless it changed since it was read. */
static bool entry_set(struct sx_cpu *c, const struct step *s, unsigned size, u64 bits)
{
	const struct gmem_range *r;
	u8 *p = sx_phys_page(c, s->gpa & PAGE_MASK, &r);
	bool done;

	if ((s->value & bits) == bits)
		return true;
	if (!p || r->is_readonly)
		return true; /* nothing can be stored there: hardware's writes are lost as well */
	sx_lockstep_note_table(c, r->block, (r->offset + (s->gpa - r->gpa)) >> PAGE_SHIFT);
	p += s->gpa & ~PAGE_MASK;
	if (size == 8) {
		u64 old = s->value;
		done = __atomic_compare_exchange_n((u64 *)p, &old, s->value | bits, false,
						   __ATOMIC_SEQ_CST, __ATOMIC_RELAXED);
	} else {
		u32 old = (u32)s->value;
		done = __atomic_compare_exchange_n((u32 *)p, &old, (u32)(s->value | bits), false,
						   __ATOMIC_SEQ_CST, __ATOMIC_RELAXED);
	}
	if (done)
		sx_phys_written(c, r, s->gpa);
	return done;
}

static u64 path_read(struct sx_cpu *c, struct path *p, gpa_t gpa)
{
	u64 v = sx_phys_read(c, gpa, p->entry_size);

	p->step[p->n++] = (struct step){gpa, v};
	return v;
}

static void path_narrow(struct path *p, u64 entry)
{
	p->rights.writable &= !!(entry & X86_PTE_W);
	p->rights.user &= !!(entry & X86_PTE_U);
	p->rights.nx |= !!(entry & X86_PTE_NX);
}

static void path_leaf(struct path *p, u64 entry, unsigned bits, u64 base)
{
	p->leaf = entry;
	p->leaf_bits = bits;
	p->base = base;
}

/*
 * 4-level paging, and the lower two levels of PAE (SDM 3A, 4.4.2 and 4.5): 8-byte entries, 512 to
 * a table. Returns -1, or an error code with P or RSVD.
 */
static int walk_wide(struct sx_cpu *c, u64 lin, u64 table, unsigned levels, u64 reserved,
		     struct path *p)
{
	for (unsigned level = levels; level-- > 0;) {
		unsigned shift = PAGE_SHIFT + 9 * level;
		u64 e = path_read(c, p,
				  (table & c->phys_mask & PAGE_MASK) + ((lin >> shift) & 511) * 8);

		if (!(e & X86_PTE_P))
			return 0;
		if (e & reserved)
			return X86_PF_P | X86_PF_RSVD;
		path_narrow(p, e);
		if (level == 0 || (e & X86_PTE_PS)) {
			u64 base = e & c->phys_mask & ~(BIT(shift) - 1);

			/* Only the middle levels have large pages; bits 13 up to the page's size
			 * must be clear (12 is PAT). */
			if (level == 3 || (level == 2 && !c->has_1g_pages))
				return X86_PF_P | X86_PF_RSVD;
			if (level && (e & (BIT(shift) - BIT(13))))
				return X86_PF_P | X86_PF_RSVD;
			path_leaf(p, e, shift, base);
			return -1;
		}
		table = e;
	}
	unreachable_code();
}

static int walk_pae(struct sx_cpu *c, u64 lin, struct path *p)
{
	u64 pdpte = c->pae_pdpte[(lin >> 30) & 3];

	if (!(pdpte & X86_PTE_P))
		return 0;
	return walk_wide(c, lin, pdpte, 2, c->reserved_pte | (BIT(63) - BIT(52)), p);
}

/* 32-bit paging (SDM 3A, 4.3), with PSE and PSE-36. */
static int walk_narrow(struct sx_cpu *c, u64 lin, struct path *p)
{
	u64 e = path_read(c, p, (c->cr3 & 0xfffff000) + ((lin >> 22) & 1023) * 4);

	if (!(e & X86_PTE_P))
		return 0;
	path_narrow(p, e);
	if ((e & X86_PTE_PS) && (c->cr4 & X86_CR4_PSE)) {
		u64 base = (e & 0xffc00000) | (((e >> 13) & 0xff) << 32);

		if ((e & BIT(21)) || (base & ~c->phys_mask))
			return X86_PF_P | X86_PF_RSVD;
		path_leaf(p, e, 22, base);
		return -1;
	}
	e = path_read(c, p, (e & 0xfffff000) + ((lin >> 12) & 1023) * 4);
	if (!(e & X86_PTE_P))
		return 0;
	path_narrow(p, e);
	path_leaf(p, e, PAGE_SHIFT, e & 0xfffff000);
	return -1;
}

/* --- walks that begin where others went through (paging-structure caches: SDM 3A, 4.10.3) --- */

#define LONG_LEVELS 4

static u64 walk_tag(const struct sx_cpu *c, u64 lin)
{
	return (lin >> 21) * SX_SPACES + c->tlbs.current + 1; /* 0 is nobody's */
}

static struct sx_walk_entry *walk_slot(struct sx_cpu *c, u64 lin)
{
	return &c->tlbs.walk[(lin >> 21) % ARRAY_SIZE(c->tlbs.walk)];
}

/* After a whole walk that set the accessed bits. */
static void walk_remember(struct sx_cpu *c, u64 lin, const struct path *p, bool is_write)
{
	struct sx_walk_entry *w = walk_slot(c, lin);
	struct path upper = {.rights = {true, true, false}};
	bool is_large = p->leaf_bits > PAGE_SHIFT;

	for (unsigned k = 0; k < p->n - !is_large; k++)
		path_narrow(&upper, p->step[k].value);
	*w = (struct sx_walk_entry){
		.tag = walk_tag(c, lin),
		.value = is_large ? p->leaf | (is_write ? X86_PTE_D : 0) : p->step[p->n - 2].value,
		.generation = c->tlbs.walk_generation,
		.leaf_bits = is_large ? (u8)p->leaf_bits : 0,
		.writable = upper.rights.writable,
		.user = upper.rights.user,
		.nx = upper.rights.nx,
	};
}

/* False: there is nothing to begin with. *why: as walk_wide's result. */
static bool walk_resume(struct sx_cpu *c, u64 lin, enum sx_access access, struct path *p, int *why)
{
	const struct sx_walk_entry *w = walk_slot(c, lin);

	if (w->tag != walk_tag(c, lin) || w->generation != c->tlbs.walk_generation)
		return false;
	*p = (struct path){.entry_size = 8, .rights = {w->writable, w->user, w->nx}};
	if (!w->leaf_bits) {
		*why = walk_wide(c, lin, w->value, 1, c->reserved_pte, p);
		return true;
	}
	if (access == SX_WRITE && !(w->value & X86_PTE_D))
		return false;
	path_leaf(p, w->value, w->leaf_bits, w->value & c->phys_mask & ~(BIT(w->leaf_bits) - 1));
	*why = -1;
	return true;
}

static int walk_tables(struct sx_cpu *c, u64 lin, struct path *p)
{
	*p = (struct path){.entry_size = 8, .rights = {true, true, false}};
	if (sx_is_long(c))
		return walk_wide(c, lin, c->cr3, LONG_LEVELS, c->reserved_pte, p);
	if (c->cr4 & X86_CR4_PAE)
		return walk_pae(c, lin, p);
	p->entry_size = 4;
	return walk_narrow(c, lin, p);
}

/* SDM 3A, 4.6.1. */
static bool is_permitted(const struct sx_cpu *c, const struct rights *r, enum sx_access access,
			 enum sx_tlb_set set)
{
	if (access == SX_EXEC) {
		if (r->nx)
			return false;
		return set == SX_TLB_USER ? r->user : !(r->user && (c->cr4 & X86_CR4_SMEP));
	}
	if (set == SX_TLB_USER)
		return r->user && (access == SX_READ || r->writable);
	if (set == SX_TLB_SUPERVISOR && r->user && (c->cr4 & X86_CR4_SMAP))
		return false;
	return access == SX_READ || r->writable || !(c->cr0 & X86_CR0_WP);
}

static u32 error_code(const struct sx_cpu *c, enum sx_access access, enum sx_tlb_set set, u32 why)
{
	bool has_fetch_bit = c->has_nx || (c->cr4 & X86_CR4_SMEP);

	if (access == SX_WRITE)
		why |= X86_PF_W;
	if (access == SX_EXEC && has_fetch_bit)
		why |= X86_PF_I;
	if (set == SX_TLB_USER)
		why |= X86_PF_U;
	return why;
}

/* Sets A everywhere and D at the leaf for a write. False: an entry changed; walk again. */
static bool mark_path(struct sx_cpu *c, const struct path *p, enum sx_access access)
{
	for (unsigned k = 0; k < p->n; k++) {
		u64 bits = X86_PTE_A;

		if (k == p->n - 1 && access == SX_WRITE)
			bits |= X86_PTE_D;
		if (!entry_set(c, &p->step[k], p->entry_size, bits))
			return false;
	}
	return true;
}

/* From the top. -1, or the page fault's error code. */
static int walk_whole(struct sx_cpu *c, u64 lin, enum sx_access access, enum sx_tlb_set set,
		      struct path *p)
{
	sx_count(c, SX_N_MISS_WALK);
	do {
		int why = walk_tables(c, lin, p);

		if (why >= 0)
			return (int)error_code(c, access, set, (u32)why);
		if (!is_permitted(c, &p->rights, access, set))
			return (int)error_code(c, access, set, X86_PF_P);
	} while (!mark_path(c, p, access));
	if (p->n && sx_is_long(c))
		walk_remember(c, lin, p, access == SX_WRITE);
	return -1;
}

/* Before a fault is raised, the tables are asked themselves (SDM 3A, 4.10.4.1). */
static bool walk_short(struct sx_cpu *c, u64 lin, enum sx_access access, enum sx_tlb_set set,
		       struct path *p)
{
	int why;

	return sx_is_long(c) && walk_resume(c, lin, access, p, &why) && why < 0 &&
	       is_permitted(c, &p->rights, access, set) && mark_path(c, p, access);
}

int sx_mmu_walk(struct sx_cpu *c, u64 lin, enum sx_access access, enum sx_tlb_set set,
		struct sx_walk *out)
{
	struct path p;

	if (!(c->cr0 & X86_CR0_PG)) {
		*out = (struct sx_walk){
			.page = lin & PAGE_MASK, .is_writable = true, .leaf_bits = PAGE_SHIFT};
		return -1;
	}
	if (!walk_short(c, lin, access, set, &p)) {
		int code = walk_whole(c, lin, access, set, &p);

		if (code >= 0)
			return code;
	}

	bool is_dirty = (p.leaf & X86_PTE_D) || access == SX_WRITE;
	out->page = p.base + (lin & (BIT(p.leaf_bits) - 1) & PAGE_MASK);
	out->is_writable = is_dirty && is_permitted(c, &p.rights, SX_WRITE, set);
	out->is_global = (p.leaf & X86_PTE_G) && (c->cr4 & X86_CR4_PGE);
	out->leaf_bits = (u8)p.leaf_bits;
	return -1;
}

bool sx_mmu_load_pdptes(struct sx_cpu *c, u64 cr3)
{
	u64 e[4];

	for (unsigned k = 0; k < 4; k++) {
		e[k] = sx_phys_read(c, (cr3 & 0xffffffe0) + k * 8, 8);
		/* Bits 1, 2, 5 to 8 and those beyond the physical address are reserved. */
		if ((e[k] & X86_PTE_P) && (e[k] & (0x1e6 | ~(c->phys_mask | (PAGE_SIZE - 1)))))
			return false;
	}
	for (unsigned k = 0; k < 4; k++)
		c->pae_pdpte[k] = e[k];
	return true;
}

void sx_mmu_update(struct sx_cpu *c)
{
	unsigned phys_bits = x86_cpuid_reg(&c->cpuid, 0x80000008, 0, 0) & 0xff;

	if (phys_bits < 32 || phys_bits > 52)
		phys_bits = 36;
	c->phys_mask = BIT(phys_bits) - 1;
	c->has_nx = c->efer & X86_EFER_NXE;
	c->has_1g_pages = x86_cpuid_reg(&c->cpuid, 0x80000001, 0, 3) & BIT32(26);
	c->reserved_pte = (BIT(52) - 1) & ~c->phys_mask;
	if (!c->has_nx)
		c->reserved_pte |= X86_PTE_NX;
}

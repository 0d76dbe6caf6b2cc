/*
 * The software TLB's tables: which is in force, growth, and the flushes.
 *
 * A flush walks the list of slots filled since the last one, so that it costs what was used. The jump
 * cache and the code fetches' TLB are flushed by giving their address space another generation.
 */
#include "accel/soft/tlb.h"

#include <string.h>
#include <sys/mman.h>

#include "accel/soft/cpu.h"
#include "accel/soft/exec.h"
#include "accel/soft/lockstep.h"
#include "accel/soft/native.h"
#include "accel/soft/translate.h"

#define GENERATION_MAX 0x7fffffffu /* as native_key has room for */
#define GROWTH_BITS    2           /* at a time */
#define TABLES         (2 * SX_SPACES + 1)
#define TABLE_BYTES                                                                                \
	(((u64)sizeof(struct sx_tlb_entry) + sizeof(u16)) << SX_TLB_MAX_BITS) /* entries, list */

/* --- tables --- */

static void slot_clear(struct sx_tlb_entry *e)
{
	e->read = e->write = SX_TLB_NONE;
	e->page = SX_TLB_NONE;
}

static u32 table_slots(const struct sx_tlb *t)
{
	return (t->mask >> SX_TLB_ENTRY_SHIFT) + 1;
}

static void table_set_bits(struct sx_tlb *t, unsigned bits)
{
	t->mask = (BIT32(bits) - 1) << SX_TLB_ENTRY_SHIFT;
	t->replaced = 0;
}

static u8 *table_init(struct sx_tlb *t, u8 *room)
{
	*t = (struct sx_tlb){.entry = (void *)room};
	t->filled = (void *)(t->entry + (1u << SX_TLB_MAX_BITS));
	table_set_bits(t, SX_TLB_MIN_BITS);
	for (u32 k = 0; k < table_slots(t); k++)
		slot_clear(&t->entry[k]);
	return room + TABLE_BYTES;
}

static u64 room_bytes(void)
{
	return TABLES * TABLE_BYTES + PAGE_SIZE; /* and the empty one */
}

static struct sx_tlb *table_of(struct sx_cpu *c, enum sx_tlb_set set)
{
	struct sx_tlbs *t = &c->tlbs;

	switch (set) {
	case SX_TLB_SUPERVISOR:
		return &t->supervisor;
	case SX_TLB_USER:
		return &t->user[t->current];
	case SX_TLB_SUPERVISOR_AC:
		return &t->supervisor_ac[t->current];
	case SX_TLB_EMPTY:
	case SX_TLB_SETS:
		break;
	}
	return &t->empty;
}

/* All that may hold anything. */
static always_inline void each_table(struct sx_tlbs *t, void (*fn)(struct sx_tlb *t))
{
	fn(&t->supervisor);
	for (unsigned k = 0; k < SX_SPACES; k++) {
		fn(&t->user[k]);
		fn(&t->supervisor_ac[k]);
	}
}

static void table_clear(struct sx_tlb *t)
{
	for (u32 k = 0; k < t->n_filled; k++)
		slot_clear(&t->entry[t->filled[k]]);
	t->n_filled = t->n_local = 0;
}

/* It stays in the list of filled slots: being there twice would overflow it. */
static void entry_drop(struct sx_tlb_entry *e)
{
	e->read = e->write = SX_TLB_NONE;
	e->page &= ~(SX_TLB_GLOBAL | SX_TLB_LARGE);
}

/* There are so few that their slots are known. */
static void table_drop_local(struct sx_tlb *t)
{
	for (u32 k = 0; k < t->n_local; k++) {
		struct sx_tlb_entry *e = &t->entry[t->local[k]];

		if (!(e->page & SX_TLB_GLOBAL)) /* another page's by now */
			entry_drop(e);
	}
	t->n_local = 0;
}

static void table_clear_local(struct sx_tlb *t)
{
	u32 kept = 0;

	if (t->n_local <= SX_TLB_LOCALS) {
		table_drop_local(t);
		return;
	}
	for (u32 k = 0; k < t->n_filled; k++) {
		u16 slot = t->filled[k];

		if (t->entry[slot].page & SX_TLB_GLOBAL)
			t->filled[kept++] = slot;
		else
			slot_clear(&t->entry[slot]);
	}
	t->n_filled = kept;
	t->n_local = 0;
}

/* Is it a piece of the large page that lin is in as well? */
static bool is_piece(u64 tag, u64 page, u64 lin)
{
	unsigned bits = (unsigned)((page & SX_TLB_LARGE) >> SX_TLB_LARGE_SHIFT);

	return page != SX_TLB_NONE && bits && !((tag ^ lin) >> (PAGE_SHIFT + bits));
}

/* must: SX_TLB_GLOBAL: global pages only. */
static void table_drop_page(struct sx_tlb *t, u64 lin, bool is_large, u64 must)
{
	struct sx_tlb_entry *e = sx_tlb_slot(t->entry, t->mask, lin);

	if (e->read == (lin & PAGE_MASK) && (e->page & must) == must)
		entry_drop(e);
	for (u32 k = 0; is_large && k < t->n_filled; k++) {
		e = &t->entry[t->filled[k]];
		if (is_piece(e->read, e->page, lin) && (e->page & must) == must)
			entry_drop(e);
	}
}

/* Each entry stays where it is, or goes to a slot that wasn't there before. */
static void table_grow(struct sx_tlb *t)
{
	u32 old = table_slots(t);
	unsigned bits = (unsigned)__builtin_ctz(old) + GROWTH_BITS;

	table_set_bits(t, bits < SX_TLB_MAX_BITS ? bits : SX_TLB_MAX_BITS);
	if (t->n_local) /* they move */
		t->n_local = SX_TLB_LOCALS + 1;
	for (u32 k = old; k < table_slots(t); k++)
		slot_clear(&t->entry[k]);
	for (u32 k = 0; k < t->n_filled; k++) {
		struct sx_tlb_entry *e = &t->entry[t->filled[k]], *to;

		if (e->read == SX_TLB_NONE)
			continue;
		to = sx_tlb_slot(t->entry, t->mask, e->read);
		if (to == e)
			continue;
		*to = *e;
		slot_clear(e);
		t->filled[k] = (u16)(to - t->entry);
	}
}

struct sx_tlb_entry *sx_tlb_find(struct sx_cpu *c, enum sx_tlb_set set, u64 lin)
{
	struct sx_tlb *t = table_of(c, set);

	return sx_tlb_slot(t->entry, t->mask, lin);
}

static void note_local(struct sx_tlb *t, const struct sx_tlb_entry *e)
{
	if (t->n_local < SX_TLB_LOCALS)
		t->local[t->n_local] = (u16)(e - t->entry);
	if (t->n_local <= SX_TLB_LOCALS)
		t->n_local++;
}

struct sx_tlb_entry *sx_tlb_replace(struct sx_cpu *c, enum sx_tlb_set set, u64 lin, bool is_global)
{
	struct sx_tlb *t = table_of(c, set);
	struct sx_tlb_entry *e = sx_tlb_slot(t->entry, t->mask, lin);

	if (e->read != SX_TLB_NONE && e->read != (lin & PAGE_MASK)) {
		sx_count(c, SX_N_MISS_CONFLICT);
		t->replaced++;
	}
	if (unlikely(t->replaced > table_slots(t)) && table_slots(t) < 1u << SX_TLB_MAX_BITS) {
		sx_count(c, SX_N_TLB_GROWS);
		table_grow(t);
		sx_tlb_select(c);
		e = sx_tlb_slot(t->entry, t->mask, lin);
	}
	if (e->page == SX_TLB_NONE)
		t->filled[t->n_filled++] = (u16)(e - t->entry);
	if (!is_global)
		note_local(t, e);
	c->tlbs.has_global_low |= is_global && !(lin >> 63);
	return e;
}

static struct sx_tlb_way way_of(struct sx_cpu *c, enum sx_tlb_set set)
{
	const struct sx_tlb *t = table_of(c, set);

	return (struct sx_tlb_way){t->entry, t->mask, set};
}

/* STAC and CLAC choose a table without asking: a page must be good in both. */
void sx_tlb_note_stack(struct sx_cpu *c, const struct sx_tlb_entry *e)
{
	if (c->tlb_set == SX_TLB_SUPERVISOR_AC && c->cr4 & X86_CR4_SMAP)
		return;
	c->stack.page = e->write;
	c->stack.addend = e->addend;
	for (unsigned k = 0; k < SX_STACK_SPANS; k++)
		c->stack.limit[k] = PAGE_SIZE - SX_STACK_SPAN(k) + 1;
}

void sx_tlb_forget_stack(struct sx_cpu *c)
{
	memset(c->stack.limit, 0, sizeof(c->stack.limit));
	memset(c->other_stack.limit, 0, sizeof(c->other_stack.limit));
}

static void exchange_stacks(struct sx_cpu *c)
{
	struct sx_stack_page page = c->stack;

	c->stack = c->other_stack;
	c->other_stack = page;
}

/* GS is nobody else's in a 64-bit program: libc has FS. */
static void set_gs(struct sx_cpu *c)
{
	c->tlbs.in_gs = c->tlb;
	if (c->native && c->native->has_gs_base)
		__asm__ volatile("wrgsbase %0" : : "r"(c->tlb));
}

static void forget_strides(struct sx_cpu *c)
{
	if (!c->has_strides)
		return;
	memset(c->strides.limit, 0, sizeof(c->strides.limit));
	c->has_strides = false;
}

/* Every page that native code may go by without a look at the TLB. */
static void forget_kept(struct sx_cpu *c)
{
	sx_tlb_forget_stack(c);
	forget_strides(c);
}

void sx_tlb_choose(struct sx_cpu *c)
{
	bool is_ac = c->sysflags & X86_FLAG_AC;
	const struct sx_tlb_way *way = c->cpl == 3 ? &c->native_user_way : &c->native_ways[is_ac];

	if ((c->tlb_set == SX_TLB_USER) != (c->cpl == 3))
		exchange_stacks(c);
	/* Alignment checking sends every access to the slow path, by a table that stays empty. */
	c->tlb_set = (enum sx_tlb_set)way->set;
	c->tlb = way->entry;
	c->tlb_mask = way->mask;
	if (unlikely(sx_checks_alignment(c))) {
		forget_kept(c);
		c->tlb = c->tlbs.empty.entry;
		c->tlb_mask = c->tlbs.empty.mask;
	}
	if (c->cpl == 3 && c->tlb != c->tlbs.in_gs)
		set_gs(c);
}

void sx_tlb_enter(struct sx_cpu *c)
{
	c->tlbs.in_gs = NULL;
	sx_tlb_choose(c);
}

static bool set_way(struct sx_tlb_way *to, struct sx_tlb_way way)
{
	bool is_same = to->entry == way.entry && to->mask == way.mask && to->set == way.set;

	*to = way;
	return is_same;
}

void sx_tlb_select(struct sx_cpu *c)
{
	bool has_smap = c->cr4 & X86_CR4_SMAP;
	enum sx_tlb_set usual = has_smap ? SX_TLB_SUPERVISOR : SX_TLB_SUPERVISOR_AC;
	bool is_same = set_way(&c->native_ways[0], way_of(c, usual));

	is_same &= set_way(&c->native_ways[1], way_of(c, SX_TLB_SUPERVISOR_AC));
	is_same &= set_way(&c->native_user_way, way_of(c, SX_TLB_USER));
	/* What the tables had may be good in others no more. */
	if (!is_same)
		sx_tlb_forget_stack(c);
	sx_tlb_choose(c);
}

/* --- large pages --- */

static bool bit_test(const u64 *bits, u64 n)
{
	return bits[n / 64] & BIT(n % 64);
}

static void bit_set(u64 *bits, u64 n)
{
	bits[n / 64] |= BIT(n % 64);
}

/* By 2 MiB, and by 1 GiB for whatever is larger. */
static const unsigned large_shift[] = {21, 30};

static u64 large_hash(u64 lin, unsigned which)
{
	return (lin >> large_shift[which]) * 0x9e3779b97f4a7c15 >> (64 - SX_LARGE_BITS);
}

void sx_tlb_note_large(struct sx_cpu *c, u64 lin, unsigned leaf_bits)
{
	unsigned which = leaf_bits > large_shift[0];

	bit_set(c->tlbs.large[which], large_hash(lin, which));
}

static bool may_be_large(const struct sx_tlbs *t, u64 lin)
{
	return bit_test(t->large[0], large_hash(lin, 0)) ||
	       bit_test(t->large[1], large_hash(lin, 1));
}

/* --- code --- */

static void forget_walks(struct sx_tlbs *t)
{
	if (!++t->walk_generation) {
		memset(t->walk, 0, sizeof(t->walk));
		t->walk_generation = 1;
	}
}

/* A count that came round must not meet entries of its last time: all of them go. */
static void start_generations(struct sx_cpu *c)
{
	struct sx_tlbs *t = &c->tlbs;

	if (c->cache)
		memset(c->cache->jump, 0, sizeof(c->cache->jump));
	if (c->cache && t->generation)
		c->has_old_links = c->cache->is_dropped = true; /* they go with their code */
	sx_native_forget(c);
	for (unsigned k = 0; k < SX_ITLB_SIZE; k++)
		t->code[k].tag = SX_TLB_NONE;
	t->generation = 0;
	for (unsigned k = 0; k < SX_SPACES; k++)
		t->space[k].generation = ++t->generation;
	t->global_generation = ++t->generation;
	c->jump_generation[0] = t->space[t->current].generation;
	c->jump_generation[1] = ++t->generation;
	sx_native_key_update(c);
}

static u32 new_generation(struct sx_cpu *c)
{
	if (c->tlbs.generation == GENERATION_MAX)
		start_generations(c);
	return ++c->tlbs.generation;
}

static void forget_code(struct sx_cpu *c, unsigned space)
{
	struct sx_space *s = &c->tlbs.space[space];

	sx_count(c, SX_N_FLUSH_CODE);
	s->generation = new_generation(c);
	memset(s->code_pages, 0, sizeof(s->code_pages));
	if (space == c->tlbs.current)
		c->jump_generation[0] = s->generation;
	sx_native_key_update(c);
}

static void forget_kernel_code(struct sx_cpu *c)
{
	sx_count(c, SX_N_FLUSH_KERNEL_CODE);
	c->jump_generation[1] = new_generation(c);
	memset(c->tlbs.kernel_code_pages, 0, sizeof(c->tlbs.kernel_code_pages));
	c->has_local_kernel_code = false;
	c->has_odd_code = false;
	sx_native_key_update(c);
}

static u64 code_page_hash(u64 lin)
{
	return (lin >> PAGE_SHIFT) * 0x9e3779b97f4a7c15 >> 54; /* of 1024 */
}

void sx_tlb_note_code(struct sx_cpu *c, u64 lin, bool is_global)
{
	struct sx_tlbs *t = &c->tlbs;

	if (lin >> 63)
		c->has_local_kernel_code |= !is_global;
	else
		t->has_global_low_code |= is_global;
	bit_set(lin >> 63 ? t->kernel_code_pages : t->space[t->current].code_pages,
		code_page_hash(lin));
}

/* Processes have code at the same addresses: each in slots of its own. */
static struct sx_itlb_entry *code_slot(struct sx_tlbs *t, u64 lin, unsigned space)
{
	u64 salt = lin >> 63 ? 0 : space * (SX_ITLB_SIZE / SX_SPACES + 1);

	return &t->code[((lin >> PAGE_SHIFT) + salt) % SX_ITLB_SIZE];
}

struct sx_itlb_entry *sx_itlb_slot(struct sx_cpu *c, u64 lin)
{
	return code_slot(&c->tlbs, lin, c->tlbs.current);
}

static void drop_code_page(struct sx_cpu *c, unsigned space, u64 lin, bool is_large, u64 must)
{
	struct sx_tlbs *t = &c->tlbs;
	struct sx_itlb_entry *e = code_slot(t, lin, space);
	const u64 *pages = lin >> 63 ? t->kernel_code_pages : t->space[space].code_pages;

	if ((e->tag & PAGE_MASK) == (lin & PAGE_MASK) && (e->page & must) == must)
		e->tag = SX_TLB_NONE;
	for (unsigned k = 0; is_large && k < SX_ITLB_SIZE; k++) {
		if (is_piece(t->code[k].tag, t->code[k].page, lin))
			t->code[k].tag = SX_TLB_NONE;
	}
	if (!is_large && !bit_test(pages, code_page_hash(lin)))
		return;
	if (lin >> 63)
		forget_kernel_code(c);
	else
		forget_code(c, space);
}

/* --- address spaces --- */

static void forget_space(struct sx_cpu *c, unsigned space)
{
	struct sx_tlbs *t = &c->tlbs;

	table_clear_local(&t->user[space]);
	table_clear_local(&t->supervisor_ac[space]);
	forget_code(c, space);
	forget_walks(t);
}

/* What of the present address space is in places that all of them share. */
static void forget_shared_local(struct sx_cpu *c)
{
	table_clear_local(&c->tlbs.supervisor);
	if (c->has_local_kernel_code)
		forget_kernel_code(c);
}

/* SX_SPACES: there is none. */
static unsigned space_find(const struct sx_tlbs *t, u64 pcid)
{
	unsigned k;

	for (k = 0; k < SX_SPACES && t->space[k].pcid != pcid; k++)
		;
	return k;
}

static unsigned space_take(struct sx_cpu *c, u64 pcid)
{
	struct sx_tlbs *t = &c->tlbs;
	unsigned oldest = 0;

	for (unsigned k = 1; k < SX_SPACES; k++) {
		if (t->space[k].used < t->space[oldest].used)
			oldest = k;
	}
	forget_space(c, oldest);
	t->space[oldest].pcid = pcid;
	return oldest;
}

void sx_tlb_switch(struct sx_cpu *c, u64 pcid, bool keeps)
{
	struct sx_tlbs *t = &c->tlbs;
	unsigned space = space_find(t, pcid);

	forget_kept(c);
	sx_lockstep_flushed(c);
	if (space == t->current && keeps)
		return;
	sx_count(c, keeps && space < SX_SPACES ? SX_N_SWITCH : SX_N_FLUSH_LOCAL);
	forget_shared_local(c);
	if (space == SX_SPACES)
		space = space_take(c, pcid);
	else if (!keeps)
		forget_space(c, space);
	t->current = space;
	t->space[space].used = ++t->clock;
	c->jump_generation[0] = t->space[space].generation;
	sx_native_key_update(c);
	sx_tlb_select(c);
}

/* --- flushes --- */

void sx_tlb_flush(struct sx_cpu *c)
{
	struct sx_tlbs *t = &c->tlbs;

	forget_kept(c);
	sx_count(c, SX_N_FLUSH_ALL);
	each_table(t, table_clear);
	for (unsigned k = 0; k < SX_SPACES; k++)
		forget_code(c, k);
	forget_kernel_code(c);
	t->global_generation = new_generation(c);
	forget_walks(t);
	t->has_global_low = t->has_global_low_code = false;
	memset(t->large, 0, sizeof(t->large));
	sx_tlb_switch(c, sx_pcid(c), true); /* CR4 or all of the state may have changed */
}

void sx_tlb_flush_local(struct sx_cpu *c)
{
	forget_kept(c);
	sx_count(c, SX_N_FLUSH_LOCAL);
	forget_shared_local(c);
	for (unsigned k = 0; k < SX_SPACES; k++)
		forget_space(c, k);
}

void sx_tlb_flush_space(struct sx_cpu *c, u64 pcid)
{
	unsigned space = space_find(&c->tlbs, pcid);

	forget_kept(c);
	if (space == SX_SPACES)
		return;
	if (space == c->tlbs.current)
		forget_shared_local(c);
	forget_space(c, space);
}

/* Of other address spaces, only global pages go: of the lower half there are hardly any. */
void sx_tlb_flush_page(struct sx_cpu *c, u64 lin)
{
	struct sx_tlbs *t = &c->tlbs;
	bool is_large = may_be_large(t, lin);
	bool is_everywhere = lin >> 63 || t->has_global_low || t->has_global_low_code;
	u64 page = lin & PAGE_MASK;

	forget_strides(c);
	if (is_large || page == c->stack.page || page == c->other_stack.page)
		sx_tlb_forget_stack(c);
	sx_count(c, SX_N_FLUSH_PAGE);
	table_drop_page(&t->supervisor, lin, is_large, 0);
	for (unsigned k = 0; k < SX_SPACES; k++) {
		u64 must = k == t->current ? 0 : SX_TLB_GLOBAL;

		if (k != t->current && !is_everywhere)
			continue;
		table_drop_page(&t->user[k], lin, is_large, must);
		table_drop_page(&t->supervisor_ac[k], lin, is_large, must);
		if (k == t->current || t->has_global_low_code)
			drop_code_page(c, k, lin, is_large, must);
	}
	forget_walks(t);
}

void sx_tlb_flush_space_page(struct sx_cpu *c, u64 pcid, u64 lin)
{
	struct sx_tlbs *t = &c->tlbs;
	unsigned space = space_find(t, pcid);
	bool is_large = may_be_large(t, lin);

	forget_kept(c);
	if (space == SX_SPACES)
		return;
	if (space == t->current) {
		sx_tlb_flush_page(c, lin);
		return;
	}
	table_drop_page(&t->user[space], lin, is_large, 0);
	table_drop_page(&t->supervisor_ac[space], lin, is_large, 0);
	drop_code_page(c, space, lin, is_large, 0);
	forget_walks(t);
}

static void table_drop_writes(struct sx_tlb *t)
{
	for (u32 k = 0; k < t->n_filled; k++)
		t->entry[t->filled[k]].write = SX_TLB_NONE;
}

void sx_tlb_flush_writes(struct sx_cpu *c)
{
	forget_kept(c);
	sx_count(c, SX_N_FLUSH_WRITES);
	each_table(&c->tlbs, table_drop_writes);
}

/* --- who may write a page --- */

static struct sx_tlb_writers *writers_of(struct sx_tlbs *t, u64 host)
{
	return &t->writers[sx_tlb_writers_slot(host)];
}

static struct sx_tlb_entry *writer_entry(const struct sx_tlb_writer *w)
{
	return sx_tlb_slot(w->table->entry, w->table->mask, w->lin);
}

static bool writes_to(const struct sx_tlb_entry *e, u64 host)
{
	return e->write != SX_TLB_NONE && e->write + e->addend == host;
}

static bool is_stale(const struct sx_tlb_writer *w)
{
	return !w->host || !writes_to(writer_entry(w), w->host);
}

static void writer_note(struct sx_tlbs *t, struct sx_tlb *table, u64 lin, u64 host)
{
	struct sx_tlb_writers *all = writers_of(t, host);
	struct sx_tlb_writer *room = NULL;

	for (unsigned k = 0; k < SX_WRITERS; k++) {
		struct sx_tlb_writer *w = &all->of[k];

		if (w->host == host && w->table == table && w->lin == lin)
			return;
		if (!w->host)
			room = w;
	}
	/* Whether one is stale is to be seen in its table: only where that matters. */
	for (unsigned k = 0; k < SX_WRITERS && !room; k++) {
		if (is_stale(&all->of[k]))
			room = &all->of[k];
	}
	if (room)
		*room = (struct sx_tlb_writer){host, table, lin};
	else
		all->has_more = true;
}

void sx_tlb_set_tags(struct sx_cpu *c, enum sx_tlb_set set, struct sx_tlb_entry *e, u64 page,
		     bool is_writable)
{
	e->read = page;
	e->write = is_writable ? page : SX_TLB_NONE;
	if (is_writable)
		writer_note(&c->tlbs, table_of(c, set), page, page + e->addend);
}

/*
 * All entries with host's hash lose that they may write, not those alone that write to it: else there would be as many as
 * before, and a page that is written and executed in turn would be looked for everywhere each time.
 */
static void table_drop_writers(struct sx_tlbs *t, struct sx_tlb *table, u64 host)
{
	const struct sx_tlb_writers *all = writers_of(t, host);

	for (u32 k = 0; k < table->n_filled; k++) {
		struct sx_tlb_entry *e = &table->entry[table->filled[k]];

		if (e->write != SX_TLB_NONE && writers_of(t, e->write + e->addend) == all)
			e->write = SX_TLB_NONE;
	}
}

void sx_tlb_flush_writes_to(struct sx_cpu *c, const u8 *page)
{
	struct sx_tlbs *t = &c->tlbs;
	u64 host = (u64)(uintptr_t)page;
	struct sx_tlb_writers *all = writers_of(t, host);

	forget_kept(c);
	for (unsigned k = 0; k < SX_WRITERS; k++) {
		struct sx_tlb_writer *w = &all->of[k];

		if (w->host != host)
			continue;
		if (!is_stale(w))
			writer_entry(w)->write = SX_TLB_NONE;
		w->host = 0;
	}
	if (!all->has_more)
		return;
	sx_count(c, SX_N_FLUSH_SEARCH);
	*all = (struct sx_tlb_writers){0};
	table_drop_writers(t, &t->supervisor, host);
	for (unsigned k = 0; k < SX_SPACES; k++) {
		table_drop_writers(t, &t->user[k], host);
		table_drop_writers(t, &t->supervisor_ac[k], host);
	}
}

/* --- making it --- */

void sx_tlb_init(struct sx_cpu *c)
{
	struct sx_tlbs *t = &c->tlbs;
	u8 *room = mmap(NULL, room_bytes(), PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	assert(room != MAP_FAILED);
	t->room = room;
	room = table_init(&t->supervisor, room);
	for (unsigned k = 0; k < SX_SPACES; k++) {
		room = table_init(&t->user[k], room);
		room = table_init(&t->supervisor_ac[k], room);
		t->space[k].pcid = k;
	}
	t->empty = (struct sx_tlb){.entry = (void *)room};
	slot_clear(t->empty.entry);
	t->walk_generation = 1;
	start_generations(c);
	sx_tlb_select(c);
}

void sx_tlb_fini(struct sx_cpu *c)
{
	if (c->tlbs.room)
		munmap(c->tlbs.room, room_bytes());
}

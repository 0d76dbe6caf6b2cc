/*
 * Running both engines over the same stretch, and taking back what the first one did. See lockstep.h.
 */
#include "accel/soft/lockstep.h"

#include <stdlib.h>
#include <string.h>

#include "accel/soft/block.h"
#include "accel/soft/debug.h"
#include "accel/soft/exec.h"
#include "accel/soft/fpu.h"
#include "accel/soft/lockstep_priv.h"
#include "accel/soft/segment.h"
#include "accel/soft/state.h"
#include "accel/soft/translate.h"
#include "base/alloc.h"
#include "mem/gmem.h"

#define STRETCH     200 /* instructions, about */
#define LOOK_AHEAD  64  /* instructions in which flags that nobody needs are overwritten */
#define PAGES_SPARE 16  /* of page tables, which a walk may write at the end */

void sx_lockstep_init(struct sx_cpu *c)
{
	c->lockstep = NEW(struct sx_lockstep);
	c->lockstep->stretch = STRETCH;
}

void sx_lockstep_fini(struct sx_cpu *c)
{
	free(c->lockstep);
	c->lockstep = NULL;
}

const char *sx_lockstep_difference(const struct sx_cpu *c)
{
	return c->lockstep && c->lockstep->difference[0] ? c->lockstep->difference : NULL;
}

/* --- what can't be done twice --- */

bool sx_lockstep_is_once(const struct sx_insn *i)
{
	switch ((int)sx_insn_op(i)) {
	case SX_INS:
	case SX_OUTS:
	case SX_IN:
	case SX_IN_DX:
	case SX_OUT:
	case SX_OUT_DX:
	case SX_RDTSC:
	case SX_RDTSCP:
	case SX_RDRAND:
	case SX_RDSEED:
	case SX_RDMSR:
	case SX_WRMSR:
	case SX_RDPMC:
	case SX_HLT:
	case SX_MWAIT:
	case SX_MOV_R_CR:
	case SX_MOV_CR_R:
	case SX_MOV_R_DR:
	case SX_MOV_DR_R:
	case SX_LMSW:
	case SX_INVLPG:
	case SX_INVPCID:
	case SX_INVD:
	case SX_WBINVD:
	case SX_WBNOINVD:
	case SX_XSETBV:
	case SX_VMCALL:
	case SX_VMMCALL:
		return true;
	}
	return false;
}

void sx_lockstep_once(struct sx_cpu *c, const struct sx_insn *i)
{
	if (!c->lockstep || !c->lockstep->is_recording)
		return;
	c->lockstep->is_once = c->lockstep->has_walked_on = true;
	sx_throw_nothing(c, i);
}

bool sx_lockstep_is_full(const struct sx_cpu *c)
{
	return c->lockstep->is_recording && c->lockstep->is_full;
}

void sx_lockstep_check(struct sx_cpu *c, const struct sx_insn *i, const struct sx_xlat *x,
		       bool is_write)
{
	if (!x->host || c->lockstep->is_full || (is_write && x->is_readonly))
		sx_lockstep_once(c, i);
}

void sx_lockstep_flushed(struct sx_cpu *c)
{
	if (c->lockstep)
		c->lockstep->must_flush = true;
}

/* --- written pages --- */

static struct lockstep_page *note_page(struct sx_lockstep *l, u8 *host, struct gmem_block *b,
				       u64 page)
{
	struct lockstep_page *p;

	for (unsigned k = 0; k < l->n_pages; k++) {
		if (l->pages[k].host == host)
			return &l->pages[k];
	}
	assert(l->n_pages < LOCKSTEP_PAGES);
	p = &l->pages[l->n_pages++];
	p->host = host;
	p->is_table = false;
	p->block = b;
	p->page = page;
	memcpy(p->before, host, PAGE_SIZE);
	memcpy(p->after, host, PAGE_SIZE);
	return p;
}

static bool has_page(const struct sx_lockstep *l, const u8 *host)
{
	for (unsigned k = 0; k < l->n_pages; k++) {
		if (l->pages[k].host == host)
			return true;
	}
	return false;
}

bool sx_lockstep_note(struct sx_cpu *c, const struct sx_xlat *x)
{
	struct sx_lockstep *l = c->lockstep;

	if (!l || !l->is_recording)
		return true;
	if (l->n_pages >= LOCKSTEP_PAGES - PAGES_SPARE && !has_page(l, x->host)) {
		l->is_full = true;
		return false;
	}
	note_page(l, x->host, x->block, x->block_page);
	return true;
}

void sx_lockstep_note_table(struct sx_cpu *c, struct gmem_block *b, u64 page)
{
	struct sx_lockstep *l = c->lockstep;

	if (!l || !l->is_recording)
		return;
	l->must_flush = true; /* the second engine is to walk again */
	note_page(l, b->hva + (page << PAGE_SHIFT), b, page)->is_table = true;
}

/* Nothing decoded from the page's present bytes stays good. */
static void page_write(struct lockstep_page *p, const u8 *bytes)
{
	if (!memcmp(p->host, bytes, PAGE_SIZE))
		return;
	gmem_code_written(p->block, p->page);
	memcpy(p->host, bytes, PAGE_SIZE);
}

static void take_back_pages(struct sx_lockstep *l, bool keeps_after)
{
	for (unsigned k = 0; k < l->n_pages; k++) {
		struct lockstep_page *p = &l->pages[k];

		if (keeps_after)
			memcpy(p->after, p->host, PAGE_SIZE);
		page_write(p, p->before);
	}
}

/* --- CPU state --- */

/* States are compared byte by byte: what is between members must be the same. */
static void clean_segment(struct x86_segment *s)
{
	struct x86_segment clean;

	memset(&clean, 0, sizeof(clean));
	clean.base = s->base;
	clean.limit = s->limit;
	clean.attr = s->attr;
	clean.selector = s->selector;
	memcpy(s, &clean, sizeof(clean));
}

static void clean_segments(struct x86_cpu_state *s)
{
	for (unsigned k = 0; k < X86_SEGS; k++)
		clean_segment(&s->seg[k]);
	clean_segment(&s->ldt);
	clean_segment(&s->tr);
}

/* Everything up to the TLBs, and what follows from CR0, CR4 and EFER; not what other threads write, nor
 * what says how up to date a cache is. */
static void save(struct sx_cpu *c, struct lockstep_cpu *out)
{
	sx_fpu_sync(c);
	if (!c->event.is_set) /* what is left of the last one is no state */
		c->event = (struct sx_event){0};
	memcpy(out->bytes, c, sizeof(out->bytes));
	out->has_nx = c->has_nx;
	out->has_1g_pages = c->has_1g_pages;
	out->phys_mask = c->phys_mask;
	out->reserved_pte = c->reserved_pte;
	sx_state_save(c, &out->state);
	clean_segments(&out->state);
	out->retired = c->retired;
}

static void restore(struct sx_cpu *c, const struct lockstep_cpu *in)
{
	u32 request = c->request & ~(u32)SX_REQ_STEP;
	u32 jump_generation[] = {c->jump_generation[0], c->jump_generation[1]};
	bool has_local_kernel_code = c->has_local_kernel_code;
	u64 stop_at = c->stop_at;
	void *unwind[ARRAY_SIZE(c->unwind)];

	sx_fpu_sync(c);
	memcpy(unwind, c->unwind, sizeof(unwind));
	memcpy(c, in->bytes, sizeof(in->bytes));
	memcpy(c->unwind, unwind, sizeof(unwind));
	c->request = request;
	c->stop_at = stop_at;
	c->has_local_kernel_code = has_local_kernel_code;
	memcpy(c->jump_generation, jump_generation, sizeof(jump_generation));
	c->has_nx = in->has_nx;
	c->has_1g_pages = in->has_1g_pages;
	c->phys_mask = in->phys_mask;
	c->reserved_pte = in->reserved_pte;
	c->block = NULL;
	c->fpu_live = (struct sx_fpu_live){0};
	if (c->lockstep->must_flush)
		sx_tlb_flush(c);
	sx_mode_update(c);
	c->lockstep->must_flush = false;
}

/* --- engines --- */

/* What ends a stretch in any case, and what does where either engine may leave off. */
static bool has_ended(const struct sx_cpu *c)
{
	return c->run_state != X86_RUNNABLE || c->event.is_set || c->mode & SX_MODE_STEP;
}

static bool is_wanted(const struct sx_cpu *c)
{
	return __atomic_load_n(&c->request, __ATOMIC_RELAXED) & ~(u32)SX_REQ_STEP || has_ended(c) ||
	       sx_cache_is_full(c->cache);
}

/* By the interpreter, whatever the block's first handler is now; this block alone. */
static void interpret(struct sx_cpu *c, struct sx_block *b)
{
	c->block = b;
	c->retired += b->n_insns;
	c->is_stepping = true;
	(b->first_fn ? b->first_fn : b->insn[0].fn)(c, b->insn);
	c->is_stepping = false;
	c->block = NULL;
}

static struct sx_block *find_one(struct sx_cpu *c)
{
	struct sx_block *b;

	c->mode |= SX_MODE_STEP;
	b = sx_block_find(c);
	c->mode &= ~(u32)SX_MODE_STEP;
	return b;
}

static bool is_repeated_string(const struct sx_insn *i)
{
	switch ((int)sx_insn_op(i)) {
	case SX_MOVS:
	case SX_STOS:
	case SX_LODS:
	case SX_CMPS:
	case SX_SCAS:
		return i->flags & (SX_IF_REP | SX_IF_REPNE);
	}
	return false;
}

/*
 * Somebody wanted the vCPU, perhaps in the middle of a string instruction, where the count of instructions doesn't
 * say how far it came: it is finished.
 */
static void finish_string(struct sx_cpu *c)
{
	u64 before = c->retired;

	while (c->retired == before && !has_ended(c)) {
		struct sx_block *b = find_one(c);

		if (!is_repeated_string(&b->insn[!b->insn[0].len]))
			return;
		interpret(c, b);
	}
}

/* Behind STI: translated code goes on with the next instruction at once. */
static bool is_behind_sti(const struct sx_cpu *c)
{
	return c->interrupt_shadow == X86_SHADOW_STI && !(c->sysflags & X86_FLAG_TF) &&
	       !sx_debug_is_active(c);
}

/* As the run loop does it (execute_step), as far as that goes here. */
static void leave_shadow(struct sx_cpu *c)
{
	c->interrupt_shadow = 0;
	c->sysflags &= ~X86_FLAG_RF;
	interpret(c, sx_block_find(c));
	sx_mode_update(c);
}

/* No block is being executed. */
static void make_room(struct sx_cpu *c)
{
	if (unlikely(sx_cache_is_full(c->cache)))
		sx_cache_start_over(c);
}

/* Up to n instructions, and the rest of a block where it is not to be exact. */
static void run_interpreter(struct sx_cpu *c, u64 n, bool is_exact)
{
	u64 end = c->retired + n;

	while (c->retired < end) {
		struct sx_block *b;

		if (is_exact && is_behind_sti(c)) {
			leave_shadow(c);
			continue;
		}
		if (is_exact ? has_ended(c) : is_wanted(c))
			break;
		make_room(c);
		b = sx_block_find(c);
		/* Of what was translated sweeping has left nothing to interpret. */
		if (b->is_bare || (is_exact && b->n_insns > end - c->retired))
			b = find_one(c);
		interpret(c, b);
	}
	if (c->retired < end)
		finish_string(c);
}

static void run_translated(struct sx_cpu *c, u64 n)
{
	u64 stop_at = c->stop_at, before;

	c->stop_at = c->retired + n;
	do {
		before = c->retired;
		sx_block_enter(c, sx_block_find(c));
		c->block = NULL;
	} while (c->retired < c->stop_at && c->retired != before && !is_wanted(c));
	if (c->retired < c->stop_at)
		finish_string(c);
	c->stop_at = stop_at;
}

enum engine { INTERPRETER, INTERPRETER_EXACT, TRANSLATED };

static noinline void run_engine(struct sx_cpu *c, enum engine engine, u64 n)
{
	if (engine == TRANSLATED)
		run_translated(c, n);
	else
		run_interpreter(c, n, engine == INTERPRETER_EXACT);
}

/* As the run loop does it, run_loop's reservation included: exceptions come back here. */
static noinline void run_guarded(struct sx_cpu *c, enum engine engine, u64 n)
{
	if (__builtin_setjmp(c->unwind)) {
		c->is_stepping = false;
		c->interrupt_shadow = 0;
		sx_mode_update(c);
		return;
	}
	run_engine(c, engine, n);
	__asm__ volatile("" : : : "memory");
}

/* How many instructions it was. */
static u64 record(struct sx_cpu *c, enum engine engine, u64 n, struct lockstep_cpu *out)
{
	struct sx_lockstep *l = c->lockstep;
	u64 stop_at = c->stop_at, start = c->retired;
	void *outer[ARRAY_SIZE(c->unwind)];

	memcpy(outer, c->unwind, sizeof(outer));
	make_room(c);
	l->is_recording = true;
	l->is_once = l->is_full = false;
	run_guarded(c, engine, n);
	l->is_recording = false;
	memcpy(c->unwind, outer, sizeof(outer));
	c->stop_at = stop_at;
	/* What an instruction asked for is asked once more at the end: for nothing, at worst. */
	l->request |= c->request & ~(u32)SX_REQ_STEP;
	__atomic_fetch_and(&c->request, SX_REQ_STEP, __ATOMIC_RELAXED);
	save(c, out);
	if (l->is_full)
		sx_tlb_flush_writes(c);
	return c->retired - start;
}

static void rewind_to_start(struct sx_cpu *c, bool keeps_after)
{
	take_back_pages(c->lockstep, keeps_after);
	restore(c, &c->lockstep->start);
}

/* --- a stretch --- */

static void begin(struct sx_cpu *c)
{
	struct sx_lockstep *l = c->lockstep;

	l->n_pages = 0;
	l->must_flush = l->has_walked_on = false;
	sx_tlb_flush_writes(c);
	save(c, &l->start);
}

/* Once, for real. */
static void do_once(struct sx_cpu *c, u64 n)
{
	sx_count(c, SX_N_LOCKSTEP_ONCE);
	run_interpreter(c, n, true);
}

/*
 * Flags alone differ. Translated code may leave flags stale that nobody reads before they are
 * overwritten: so what follows must come out the same from both.
 */
static bool are_flags_dead(struct sx_cpu *c)
{
	struct sx_lockstep *l = c->lockstep;
	u16 right = sx_cc_of_flags(l->interpreted.state.rflags);
	u16 stale = sx_cc_of_flags(l->translated.state.rflags);
	bool is_dead;
	u64 n;

	sx_count(c, SX_N_LOCKSTEP_FLAGS);
	begin(c);
	c->cc = right;
	n = record(c, INTERPRETER, LOOK_AHEAD, &l->translated);
	rewind_to_start(c, false);
	c->cc = right;
	record(c, INTERPRETER_EXACT, n, &l->interpreted);
	rewind_to_start(c, true);
	c->cc = stale;
	record(c, INTERPRETER_EXACT, n, &l->translated);
	is_dead = !sx_lockstep_differs(l, true);
	rewind_to_start(c, false);
	c->cc = right;
	return is_dead;
}

static void stop(struct sx_cpu *c)
{
	__atomic_fetch_or(&c->request, SX_REQ_BROKEN, __ATOMIC_RELAXED);
}

/* Once more as it was; then a block at a time, for the first that differs. */
static void found(struct sx_cpu *c, u64 n)
{
	struct sx_lockstep *l = c->lockstep;

	if (l->doubt == LOCKSTEP_NARROWS) {
		sx_lockstep_report(c, n, "differs");
		stop(c);
		return;
	}
	l->doubt++;
	if (l->doubt == LOCKSTEP_NARROWS) {
		l->narrow_until = l->start.retired + n;
		l->stretch = 1;
		sx_lockstep_report(c, n, "differs");
	}
	rewind_to_start(c, false);
}

/*
 * Translated code needs no shadow behind STI, since nothing comes between it and the next instruction; but where that one
 * is done once, it is behind the stretch. And it may have one too many, which an STI with interrupts on hasn't.
 */
static void settle_shadow(struct sx_cpu *c, bool is_before_once)
{
	struct sx_lockstep *l = c->lockstep;
	u32 right = l->interpreted.state.interrupt_shadow,
	    has = l->translated.state.interrupt_shadow;

	if ((right | has) != X86_SHADOW_STI || (right && !is_before_once))
		return;
	l->translated.state.interrupt_shadow = c->interrupt_shadow = right;
	sx_mode_update(c);
}

/*
 * Both are at the same string instruction, which may be half done: where each element writes to its own page of code,
 * it is begun anew with each, and each engine counts that in its own way.
 */
static bool is_at_string(struct sx_cpu *c)
{
	const struct sx_lockstep *l = c->lockstep;
	const struct sx_block *b;

	if (l->interpreted.state.rip != l->translated.state.rip || has_ended(c))
		return false;
	b = find_one(c);
	return is_repeated_string(&b->insn[!b->insn[0].len]);
}

/* False: there was nothing to compare. */
static bool judge(struct sx_cpu *c, u64 n, bool is_before_once)
{
	struct sx_lockstep *l = c->lockstep;

	settle_shadow(c, is_before_once);
	if (sx_lockstep_differs(l, true)) {
		if (is_at_string(c))
			return false;
		found(c, n);
	} else if (sx_lockstep_differs(l, false) && !are_flags_dead(c)) {
		sx_lockstep_report(c, n, "needs flags that were not kept");
		stop(c);
	} else {
		if (l->doubt == LOCKSTEP_REPEATS) /* somebody wanted the vCPU meanwhile */
			l->doubt = LOCKSTEP_TRUSTS;
		sx_count(c, SX_N_LOCKSTEP_STRETCH);
		c->counts.n[SX_N_LOCKSTEP_INSN] += n;
	}
	return true;
}

static bool has_event(const struct lockstep_cpu *s)
{
	return s->state.event_pending;
}

/*
 * n: what the interpreter did. Translated code may leave off elsewhere, and raise an exception, or not
 * yet, of the instruction behind the last one: the interpreter does the same then. False: there is
 * nothing to compare.
 */
static bool compare(struct sx_cpu *c, u64 n)
{
	struct sx_lockstep *l = c->lockstep;
	bool raises, is_before_once, was_once = l->is_once;
	u64 m;

	l->is_after_translated = false;
	rewind_to_start(c, true);
	m = record(c, TRANSLATED, n ? n : 1, &l->translated);
	if (l->is_full)
		return false;
	raises = has_event(&l->translated);
	is_before_once = l->is_once;
	/* One that began what can't be done twice may have written before that was known: then without it. */
	if (m == n && raises == has_event(&l->interpreted) &&
	    !(was_once && sx_lockstep_differs(l, true)))
		return judge(c, n, is_before_once);
	if (!m && !raises)
		return false;
	l->is_after_translated = true;
	rewind_to_start(c, true);
	n = record(c, INTERPRETER_EXACT, m + raises, &l->interpreted);
	if (l->is_once || l->is_full)
		return false;
	if (n == m && raises == has_event(&l->interpreted))
		return judge(c, n, is_before_once);
	found(c, m);
	return true;
}

void sx_lockstep_run(struct sx_cpu *c)
{
	struct sx_lockstep *l = c->lockstep;
	u64 n;

	if (l->doubt == LOCKSTEP_NARROWS && c->retired >= l->narrow_until) {
		stop(c); /* it is right block by block: what was told of the stretch stands */
		return;
	}
	l->request = 0;
	begin(c);
	n = record(c, INTERPRETER, MIN(l->stretch, c->stop_at - c->retired), &l->interpreted);
	/* Full: in the middle of a string instruction, perhaps, and each engine at another element. */
	if (l->is_full || (!n && !has_event(&l->interpreted)) || !compare(c, n)) {
		rewind_to_start(c, false);
		c->counts.n[SX_N_LOCKSTEP_SKIPPED] += n;
		do_once(c, n ? n : 1); /* asks anew for what it asks */
		return;
	}
	__atomic_fetch_or(&c->request, l->request, __ATOMIC_RELAXED);
}

/*
 * Native code: its memory, entering and leaving it, links between blocks, callouts. See native.h.
 */
#include "accel/soft/native.h"

#include <asm/hwcap2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <unistd.h>

#include "accel/soft/block.h"
#include "accel/soft/exec.h"
#include "accel/soft/fpu.h"
#include "accel/soft/gate64.h"
#include "accel/soft/native_priv.h"
#include "accel/soft/segment.h"
#include "accel/soft/system.h"
#include "accel/soft/translate.h"
#include "base/alloc.h"
#include "base/err.h"

#ifndef MFD_EXEC
#define MFD_EXEC 0x0010U
#endif

#define NATIVE_SIZE  (18 * MIB)            /* address space; what is touched is what is used */
#define NATIVE_HOT   (5 * MIB + 768 * KIB) /* of it; see struct sx_native */
#define NATIVE_GUARD (64 * KIB)
/* How often a block is entered before it is translated: a translation costs about a thousand of an
 * instruction's executions. */
#define NATIVE_HEAT 24

/* --- memory --- */

static u64 cpu_bytes(void)
{
	return align_up(sizeof(struct sx_cpu), PAGE_SIZE);
}

static u64 reserved_bytes(void)
{
	return cpu_bytes() + NATIVE_GUARD + NATIVE_SIZE;
}

/* Both mappings of one file that nobody else has. */
static int map_file(struct sx_native *n, u8 *at, struct err *err)
{
	int fd = memfd_create("posada-code", MFD_CLOEXEC | MFD_EXEC);
	int r = 0;

	if (fd < 0 && errno == EINVAL) /* kernels before 6.3 don't know the flag and need none */
		fd = memfd_create("posada-code", MFD_CLOEXEC);
	if (fd < 0 || ftruncate(fd, NATIVE_SIZE) < 0) {
		r = err_errno(err, -errno, "memory for translated code");
	} else {
		n->exec =
			mmap(at, NATIVE_SIZE, PROT_READ | PROT_EXEC, MAP_SHARED | MAP_FIXED, fd, 0);
		if (n->exec == MAP_FAILED)
			r = err_errno(err, -errno, "translated code may not be executed here");
	}
	if (!r) {
		n->write = mmap(NULL, NATIVE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		if (n->write == MAP_FAILED)
			r = err_errno(err, -errno, "memory for translated code");
	}
	if (fd >= 0)
		close(fd);
	return r;
}

/* Both of memory that is in no file: perf asks nobody for names of what is. */
static int map_anonymous(struct sx_native *n, u8 *at, struct err *err)
{
	n->write =
		mmap(NULL, NATIVE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (n->write == MAP_FAILED)
		return err_errno(err, -errno, "memory for translated code");
	/* Of no bytes: shared memory gets a second mapping, the first stays. */
	n->exec = mremap(n->write, 0, NATIVE_SIZE, MREMAP_MAYMOVE | MREMAP_FIXED, at);
	if (n->exec == MAP_FAILED)
		return err_errno(err, -errno, "memory for translated code");
	if (mprotect(n->exec, NATIVE_SIZE, PROT_READ | PROT_EXEC) < 0)
		return err_errno(err, -errno, "translated code may not be executed here");
	return 0;
}

void sx_native_forget_steps(struct sx_cpu *c)
{
	if (c->native)
		memset(c->native->steps, 0, sizeof(c->native->steps));
}

void sx_native_forget(struct sx_cpu *c)
{
	memset(c->native_targets, 0, sizeof(c->native_targets));
	sx_native_forget_steps(c);
	for (unsigned k = 0; k <= SX_RETURNS; k++)
		c->native_returns[k].key = ~(u64)0;
}

/* Nothing is being executed. */
static void start_over(struct sx_cpu *c)
{
	c->native->used = c->native->common;
	c->native->cold_used = c->native->cold_start;
	c->has_old_links = false;
	sx_native_key_update(c);
	c->native_rsp = (u64)(uintptr_t)&c->native_returns[SX_RETURNS];
	sx_native_forget(c);
}

void sx_native_drop(struct sx_cpu *c)
{
	u64 from;

	if (!c->native)
		return;
	start_over(c);
	from = align_up(c->native->common, PAGE_SIZE);
	madvise(c->native->write + from, NATIVE_SIZE - from, MADV_REMOVE); /* else it stays ours */
}

static int make_native(struct sx_cpu *c, enum accel_engine engine, struct sx_perf *perf,
		       struct err *err)
{
	struct sx_native *n = NEW(struct sx_native);
	u8 *at = (u8 *)c + cpu_bytes() + NATIVE_GUARD;
	int r = sx_perf_wants(perf) ? map_anonymous(n, at, err) : map_file(n, at, err);

	if (r < 0) {
		free(n);
		return r;
	}
	n->size = n->cold_start = NATIVE_HOT;
	n->cold_size = NATIVE_SIZE;
	n->perf = perf;
	n->has_gs_base = getauxval(AT_HWCAP2) & HWCAP2_FSGSBASE;
	n->has_rorx = __builtin_cpu_supports("bmi2");
	n->heat = engine == ACCEL_ENGINE_TRANSLATOR ? 1 : NATIVE_HEAT;
	c->native = n;
	c->native_limit = (u64)(uintptr_t)&c->native_returns[1];
	sx_native_emit_common(c);
	sx_native_name_common(n);
	start_over(c);
	return 0;
}

int sx_native_new(enum accel_engine engine, struct sx_perf *perf, struct sx_cpu **out, char *note,
		  size_t note_size, struct err *err)
{
	struct sx_cpu *c = mmap(NULL, reserved_bytes(), PROT_NONE,
				MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	int r = 0;

	if ((void *)c == MAP_FAILED || mprotect(c, cpu_bytes(), PROT_READ | PROT_WRITE) < 0)
		return err_errno(err, -errno, "memory for a vCPU");
	if (engine != ACCEL_ENGINE_INTERPRETER)
		r = make_native(c, engine, perf, err);
	if (r < 0 && engine == ACCEL_ENGINE_AUTO) {
		snprintf(note, note_size, "interpreting only: %.120s", err->text);
		r = 0;
	}
	if (r < 0)
		munmap(c, reserved_bytes());
	else
		*out = c;
	return r;
}

void sx_native_free(struct sx_cpu *c)
{
	if (c->native)
		munmap(c->native->write, NATIVE_SIZE);
	free(c->native);
	munmap(c, reserved_bytes());
}

/* --- one instruction by the interpreter --- */

static enum sx_op op_of(const struct sx_block *one)
{
	/* Entries without length are no instructions. */
	return sx_insn_op(&one->insn[!one->insn[0].len]);
}

/* The block of the instruction at RIP. NULL: making room for it would take away the code that called us. */
static struct sx_block *find_one(struct sx_cpu *c)
{
	u64 lin = sx_code_lin(c);
	struct sx_native_step *s =
		&c->native->steps[(lin ^ lin >> PAGE_SHIFT) & ((1u << SX_STEP_BITS) - 1)];
	struct sx_block *one;

	if (likely(s->lin == lin && s->key == c->native_key && sx_block_is_fresh(s->block)))
		return s->block;
	if (!sx_cache_has_room(c))
		return NULL;
	c->mode |= SX_MODE_STEP;
	one = sx_block_find(c);
	c->mode &= ~(u32)SX_MODE_STEP;
	/* Blocks across pages don't last. */
	if ((lin & ~PAGE_MASK) + one->n_bytes <= PAGE_SIZE)
		*s = (struct sx_native_step){lin, c->native_key, one};
	return one;
}

/* RIP as native code has it, a linear address, and back. */
static u64 rip_of_linear(const struct sx_cpu *c, u64 lin)
{
	return (lin - c->code_base) & c->code_mask;
}

enum step { STEP_NOTHING, STEP_DONE, STEP_DELIVERED };

/* At RIP. False: nothing was done. */
static noinline bool step(struct sx_cpu *c, unsigned *out_len)
{
	struct sx_block *one;

	c->block = NULL;
	one = find_one(c);
	if (!one)
		return false;
	*out_len = one->n_bytes;
	c->counts.callouts[op_of(one)]++;
	c->is_stepping = true;
	sx_block_enter(c, one);
	c->is_stepping = false;
	c->block = NULL;
	return true;
}

/*
 * As step; comes back here by a long jump where an exception was raised, and reads nothing then. As run_loop, it only
 * calls.
 */
static noinline bool step_guarded(struct sx_cpu *c, unsigned *out_len, bool *out_has_thrown)
{
	bool is_done;

	*out_has_thrown = true;
	if (__builtin_setjmp(c->unwind))
		return false;
	is_done = step(c, out_len);
	__asm__ volatile("" : : : "memory");
	*out_has_thrown = false;
	return is_done;
}

/*
 * As step. An exception that it raised is delivered at once where that is no more than a frame on the stack, and RIP is its
 * handler's then; else it goes on to the run loop. Lockstep wants to see them all.
 */
static enum step step_or_deliver(struct sx_cpu *c, unsigned *out_len)
{
	void *outer[ARRAY_SIZE(c->unwind)];
	bool has_thrown, is_done;
	u32 mode = c->mode;

	if (unlikely(c->lockstep))
		return step(c, out_len) ? STEP_DONE : STEP_NOTHING;
	memcpy(outer, c->unwind, sizeof(outer));
	is_done = step_guarded(c, out_len, &has_thrown);
	memcpy(c->unwind, outer, sizeof(outer));
	if (likely(!has_thrown))
		return is_done ? STEP_DONE : STEP_NOTHING;
	c->is_stepping = false;
	if (!c->event.is_set || c->mode != mode || c->interrupt_shadow || !sx_deliver_fast(c))
		__builtin_longjmp(c->unwind, 1);
	return STEP_DELIVERED;
}

enum native_callout sx_native_callout(struct sx_cpu *c, u32 what, const struct sx_native_block *n)
{
	enum step step;
	u64 page = c->gpr[SX_RIP], key = c->native_key;
	u32 rest = NATIVE_REST(what), off = what & NATIVE_OFF;
	unsigned len;

	sx_count(c, what & NATIVE_UNKNOWN ? SX_N_CALLOUT_UNKNOWN : SX_N_CALLOUT_MEMORY);
	c->gpr[SX_RIP] = rip_of_linear(c, page + off);
	c->retired -= rest;
	step = step_or_deliver(c, &len);
	if (step == STEP_DELIVERED)
		return NATIVE_GOES;
	c->native->is_undone = step == STEP_NOTHING;
	if (step == STEP_NOTHING || __atomic_load_n(&c->request, __ATOMIC_RELAXED) ||
	    c->mode != n->mode || c->native_key != key ||
	    __atomic_load_n(n->code, __ATOMIC_ACQUIRE) != n->word ||
	    c->gpr[SX_RIP] != rip_of_linear(c, page + off + len)) {
		sx_count(c, SX_N_CALLOUT_LEAVES);
		c->gpr[SX_RIP] = sx_code_lin(c);
		return NATIVE_LEAVES;
	}
	c->gpr[SX_RIP] = page;
	c->retired += rest ? rest - 1 : 0;
	return NATIVE_STAYS;
}

/* What is looked up next looks at the request word. */
enum native_callout sx_native_end_callout(struct sx_cpu *c, u32 what,
					  unused const struct sx_native_block *n)
{
	u32 off = what & NATIVE_OFF;
	unsigned len;
	bool is_done;

	sx_count(c, SX_N_CALLOUT_UNKNOWN);
	if ((what & NATIVE_SYSCALL &&
	     sx_syscall_fast(c, c->gpr[SX_RIP] + off + NATIVE_SYSCALL_BYTES)) ||
	    (what & NATIVE_SYSRET && sx_sysret_fast(c)) || (what & NATIVE_IRET && sx_iret_fast(c)))
		return NATIVE_STAYS;
	c->gpr[SX_RIP] = rip_of_linear(c, c->gpr[SX_RIP] + off);
	c->retired -= NATIVE_REST(what);
	is_done = step_or_deliver(c, &len) != STEP_NOTHING;
	c->native->is_undone = !is_done;
	c->gpr[SX_RIP] = sx_code_lin(c);
	if (!is_done || !sx_native_takes(c->mode) || c->run_state != X86_RUNNABLE)
		return NATIVE_LEAVES;
	return NATIVE_STAYS;
}

/* What the TLB has of size bytes at lin, in one page. */
static u8 *find_in_tlb(struct sx_cpu *c, u64 lin, u32 size, u32 what)
{
	const struct sx_tlb_entry *e = sx_tlb_slot(c->tlb, c->tlb_mask, lin);
	u64 page = lin & PAGE_MASK;

	if (((lin + size - 1) & PAGE_MASK) != page)
		return NULL;
	if (e->write == page)
		sx_tlb_note_stack(c, e);
	else if (what & SX_NATIVE_WRITE || e->read != page)
		return NULL;
	return (u8 *)(uintptr_t)(lin + e->addend);
}

u64 sx_native_fill(struct sx_cpu *c, u64 lin, u32 what)
{
	enum sx_access access = what & SX_NATIVE_WRITE ? SX_WRITE : SX_READ;
	u32 size = (u16)what;
	u8 *host = NULL;

	if (what & SX_NATIVE_STACK)
		host = find_in_tlb(c, lin, size, what);
	if (!host && !(what & SX_NATIVE_PROBE)) {
		host = sx_translate_fill(c, lin, size, access);
		if (host && what & SX_NATIVE_STACK)
			find_in_tlb(c, lin, size, what);
	}
	if (!host && what & SX_NATIVE_ONCE && size <= sizeof(c->crossing) &&
	    sx_load_crossing(c, lin, c->crossing, size))
		host = c->crossing;
	return (u64)(uintptr_t)host;
}

bool sx_native_invlpg(struct sx_cpu *c, u64 lin)
{
	u64 key = c->native_key;

	if (sx_is_canonical(lin))
		sx_tlb_flush_page(c, lin);
	return c->native_key != key;
}

/* --- in and out --- */

/* What native code hands back is looked at before it is followed: it may have a bug, or been overwritten. */
bool sx_native_owns(const struct sx_native *n, const void *at)
{
	u64 off = (u64)((const u8 *)at - n->write);

	return (off >= n->common && off < n->used) || (off >= n->cold_start && off < n->cold_used);
}

struct sx_native_block *sx_native_head(const struct sx_cpu *c, const u8 *code)
{
	const struct sx_native *n = c->native;

	struct sx_native_block *head;

	memcpy(&head, n->write + (code - n->exec) - sizeof(head), sizeof(head));
	assert(sx_native_owns(n, head));
	return head;
}

static struct sx_native_block *head_of(const struct sx_cpu *c, const struct sx_block *b)
{
	return sx_native_head(c, c->native->exec + b->native);
}

/* Was it made for the linear address at RIP, if that matters to it? */
static bool is_here(const struct sx_cpu *c, const struct sx_block *b)
{
	return sx_native_is_for(c, b, sx_code_lin(c));
}

/* What native code was left for. */
struct left {
	enum native_left tag;
	u8 *at;                             /* as written */
	const struct sx_native_block *from; /* whose jump it is, if it stays in its page */
};

/*
 * Jumps inside a page lead to code of the same page whatever is mapped where they are taken: what is at RIP now may
 * be another's, of a page whose translation the guest changed and hasn't invalidated yet.
 */
static bool is_in_page_of(const struct sx_cpu *c, const struct sx_block *b, const struct left *left)
{
	assert(sx_native_owns(c->native, left->from));
	return left->from->code == b->code;
}

/* Leads a jump of native code, or the entry of a stale block, to what is there now. */
static void link_to(struct sx_cpu *c, const struct left *left, const struct sx_block *to)
{
	const struct sx_native *n = c->native;
	u8 *entry = n->write + to->native, *at = left->at;

	assert(sx_native_owns(n, at));
	if (left->tag == NATIVE_LINK_FAR) {
		sx_native_link_far(c, at, sx_code_lin(c), entry);
	} else if (left->tag == NATIVE_LINK_ENTRY) {
		e_patch(at, entry);
	} else if (left->tag == NATIVE_LINK) {
		e_patch(at, n->write + head_of(c, to)->inner);
	} else if (left->tag == NATIVE_LINK_LOOP) {
		e_patch(at, n->write + head_of(c, to)->loop);
	} else if (at != entry) {
		at[0] = 0xe9; /* jmp */
		e_patch(at + 1, entry);
	}
}

/*
 * Leads a split to the plain code of the block at RIP, by its checks, since it may be further up in the page than what
 * comes next: and returns that. NULL: none can be had; who steps
 * by the interpreter gets on.
 */
static u8 *link_plain(struct sx_cpu *c, const struct left *left)
{
	const struct sx_native *n = c->native;
	struct sx_block *b = sx_jump_find(c);

	assert(sx_native_owns(n, left->at));
	if (!b && sx_cache_has_room(c)) {
		c->block = NULL;
		b = sx_block_find(c);
	}
	if (!b || sx_block_code2(b) || !is_in_page_of(c, b, left) ||
	    (!b->plain && !sx_native_translate_plain(c, b)))
		return NULL;
	e_patch(left->at, n->write + b->plain);
	return n->exec + b->plain;
}

static enum sx_count left_counter(enum native_left left)
{
	static const enum sx_count counters[] = {
		[NATIVE_GO_ON] = SX_N_LEFT_GO_ON,      [NATIVE_STEP] = SX_N_LEFT_STEP,
		[NATIVE_LINK] = SX_N_LEFT_LINK,        [NATIVE_LINK_ENTRY] = SX_N_LEFT_LINK,
		[NATIVE_REPLACE] = SX_N_LEFT_REPLACE,  [NATIVE_INTERPRET] = SX_N_LEFT_INTERPRET,
		[NATIVE_LINK_PLAIN] = SX_N_LEFT_SPLIT, [NATIVE_LINK_FAR] = SX_N_LEFT_LINK,
		[NATIVE_LINK_LOOP] = SX_N_LEFT_LINK,
	};

	return counters[left];
}

static struct left enter_at(struct sx_cpu *c, u8 *code)
{
	const u8 *start = c->native->write;
	uintptr_t left;

	c->gpr[SX_RIP] = sx_code_lin(c) & PAGE_MASK;
	left = ((sx_native_enter_fn *)(uintptr_t)c->native->enter)(code);
	c->gpr[SX_RIP] = rip_of_linear(c, c->gpr[SX_RIP]);
	return (struct left){
		.tag = left & (BIT32(NATIVE_TAG_BITS) - 1),
		.at = c->native->write + ((u32)left >> NATIVE_TAG_BITS),
		.from = (const void *)(start + (left >> NATIVE_FROM_SHIFT)),
	};
}

/* Whose SIMD wasn't ready: it is now, or NULL. */
static u8 *make_ready(struct sx_cpu *c, u8 *at)
{
	struct sx_native_block *head = (struct sx_native_block *)(void *)at;

	assert(sx_native_owns(c->native, at));
	if (!sx_fpu_is_ready(c, head->fpu_needs))
		return NULL;
	return c->native->exec + head->entry;
}

/* Runs native code until it wants something that can't be had at once. */
static struct left run_native(struct sx_cpu *c, u8 *code)
{
	sx_native_remember(c, sx_code_lin(c), code); /* jumps there find it next time */
	for (;;) {
		struct left left = enter_at(c, code);

		assert(left.tag <= NATIVE_LINK_LOOP);
		sx_count(c, left_counter(left.tag));
		if (left.tag == NATIVE_INTERPRET)
			code = make_ready(c, left.at);
		else if (left.tag == NATIVE_LINK_PLAIN)
			code = link_plain(c, &left);
		else
			return left;
		if (!code)
			return left;
	}
}

/*
 * The instruction at RIP, for which there was no room: native code has been left, so it may go. Not the run loop's to begin
 * with, which would look for interrupts: these wait where STI is in front of it.
 */
static void step_in_room(struct sx_cpu *c)
{
	unsigned len;

	c->native->is_undone = false;
	c->block = NULL;
	if (sx_cache_is_full(c->cache))
		sx_cache_start_over(c);
	step(c, &len);
}

/* b is what comes next, by the handler returned. */
static sx_insn_fn *go_on_with(struct sx_cpu *c, struct sx_block *b, sx_insn_fn *first)
{
	c->block = b;
	c->retired += b->n_insns;
	return first;
}

/* Jumps to an instruction across two pages are linked only where that is known by its linear address. */
static bool may_link(const struct sx_cpu *c, const struct left *left, const struct sx_block *b)
{
	switch (left->tag) {
	case NATIVE_LINK:
	case NATIVE_LINK_ENTRY:
	case NATIVE_LINK_LOOP:
	case NATIVE_REPLACE:
		return !sx_block_code2(b) && is_in_page_of(c, b, left);
	case NATIVE_LINK_FAR:
		return true;
	case NATIVE_GO_ON:
	case NATIVE_STEP:
	case NATIVE_INTERPRET:
	case NATIVE_LINK_PLAIN:
		break;
	}
	return false;
}

/* From the block at hand to the next that the interpreter enters; NULL: to the run loop. */
static noinline sx_insn_fn *run_on(struct sx_cpu *c)
{
	struct sx_block *b;
	struct left left;
	unsigned len;

	c->retired -= c->block->n_insns; /* native code counts for itself */
	left = run_native(c, c->native->exec + c->block->native);
	/* It wants SIMD and can't have it: the interpreter knows what that leads to. */
	if (left.tag == NATIVE_INTERPRET) {
		b = sx_jump_find(c);
		if (b && !b->is_bare)
			return go_on_with(c, b, b->first_fn);
	}
	if (c->native->is_undone || ((left.tag == NATIVE_STEP || left.tag == NATIVE_LINK_PLAIN ||
				      left.tag == NATIVE_INTERPRET) &&
				     !step(c, &len))) {
		step_in_room(c);
		return NULL;
	}
	/* HLT is a callout: a vCPU that sleeps is the run loop's. */
	if (unlikely(sx_is_wanted(c) || c->run_state != X86_RUNNABLE || sx_cache_is_full(c->cache)))
		return NULL;
	b = sx_jump_find(c);
	if (!b) /* so that a jump is linked the first time */
		b = sx_block_find_good(c, sx_code_lin(c));
	if (b && b->native && may_link(c, &left, b) && is_here(c, b))
		link_to(c, &left, b);
	return SX_CHAINS_BLOCKS && b ? go_on_with(c, b, b->insn[0].fn) : NULL;
}

/* Where another handler stands in front of it already, that one calls fn. */
static void set_first(struct sx_block *b, sx_insn_fn *fn)
{
	if (b->is_crossing)
		sx_block_crossing(b)->whole_fn = fn;
	if (!sx_block_code2(b))
		b->insn[0].fn = fn;
}

static void sx_native_warm(struct sx_cpu *c, const struct sx_insn *i);

static void make_anew(struct sx_block *b)
{
	b->native = b->plain = 0;
	b->heat = 0;
	set_first(b, sx_native_warm);
}

static void sx_native_enter(struct sx_cpu *c, const struct sx_insn *i)
{
	struct sx_block *b = c->block;
	sx_insn_fn *next;

	if (unlikely(!is_here(c, b))) {
		make_anew(b);
		b->first_fn(c, i);
		return;
	}
	next = run_on(c);
	if (next)
		next(c, c->block->insn);
}

static void sx_native_warm(struct sx_cpu *c, const struct sx_insn *i)
{
	struct sx_block *b = c->block;

	sx_insn_fn *fn = b->first_fn;

	if (++b->heat >= c->native->heat) {
		if (sx_native_translate(c, b))
			fn = sx_native_enter;
		set_first(b, fn);
	}
	fn(c, i);
}

void sx_native_watch(struct sx_cpu *c, struct sx_block *b)
{
	if (c->native && sx_native_takes(b->mode) && !b->is_watched)
		set_first(b, sx_native_warm);
}

static void unlink_edges(const struct sx_cpu *c, const struct sx_native_block *n)
{
	u8 *code = c->native->write;
	const struct sx_native_edge *edge = (const void *)(code + n->edges);

	for (u32 k = 0; k < n->n_edges; k++)
		e_patch(code + edge[k].field, code + edge[k].stub);
}

static void set_words(const struct sx_cpu *c, struct sx_native_block *n, const struct sx_block *b)
{
	u8 *entry = c->native->write + n->entry;

	n->word = b->word;
	memcpy(entry + n->word_at, &b->word, sizeof(b->word));
	if (n->code2)
		memcpy(entry + n->word2_at, &sx_block_crossing(b)->word2, sizeof(u32));
}

/* The bytes before the block and behind it that were looked at. */
static bool is_unchanged(const struct sx_cpu *c, const struct sx_native_block *n,
			 const struct sx_block *b, const u8 *page)
{
	const u8 *kept = c->native->write + n->edges + n->n_edges * sizeof(struct sx_native_edge);
	u32 begin = (u32)(b->gpa & ~PAGE_MASK), end = begin + b->n_bytes;

	if (!n->n_bytes)
		return true;
	return !memcmp(kept, page + n->first, begin - n->first) &&
	       !memcmp(kept + (begin - n->first), page + end, n->first + n->n_bytes - end);
}

/* False: bytes that it was made of, or that were looked at, are others now. */
static bool revalidate(struct sx_cpu *c, const struct sx_block *b, u32 code, const u8 *page)
{
	struct sx_native_block *n;

	if (!code)
		return true;
	n = sx_native_head(c, c->native->exec + code);
	if (!is_unchanged(c, n, b, page))
		return false;
	unlink_edges(c, n);
	set_words(c, n, b);
	return true;
}

/*
 * The others of its page may not be good any more, so its jumps to them go. It may have looked at bytes that are
 * none of the block's: when these changed it is made anew; who still leads to it finds it stale.
 */
void sx_native_revalidated(struct sx_cpu *c, struct sx_block *b, const u8 *page)
{
	if (!revalidate(c, b, b->native, page) || !revalidate(c, b, b->plain, page))
		make_anew(b);
}

void sx_native_refound(struct sx_cpu *c, struct sx_block *b)
{
	struct sx_native_block *n;

	if (!b->native)
		return;
	n = head_of(c, b);
	if (n->code != b->code || n->code2 != sx_block_code2(b)) {
		make_anew(b);
		return;
	}
	if (n->word != b->word)
		unlink_edges(c, n);
	set_words(c, n, b);
}

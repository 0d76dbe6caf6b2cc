/*
 * Making and finding blocks of decoded instructions (see block.h).
 *
 * The arena is one reserved stretch of memory that fills up and is then swept: most code runs a few times, when
 * something starts, and never again. A block's
 * bytes are kept behind its instructions, so that a page written by someone who left this code as
 * it was (data and code in one page) costs a comparison, not a new decoding.
 */
#include "accel/soft/block.h"

#include <string.h>
#include <sys/mman.h>

#include "accel/soft/bind.h"
#include "accel/soft/debug.h"
#include "accel/soft/decode.h"
#include "accel/soft/exec.h"
#include "accel/soft/lockstep.h"
#include "accel/soft/native.h"
#include "accel/soft/native_mode.h"
#include "accel/soft/segment.h"
#include "accel/soft/sync.h"
#include "accel/soft/translate.h"
#include "base/alloc.h"
#include "mem/gmem.h"

#define ARENA_SIZE      (6 * MIB)
#define WARM_HEAT       2 /* of what is kept though it isn't translated */
#define HASH_BITS       17
#define HASH_NEAR_SHIFT 2 /* code of 2^2 bytes shares a slot */
/* Each instruction may need entries before it (SX_RIP_NEXT, lockstep), and the block one at its end. */
#define BLOCK_ENTRIES (3 * SX_BLOCK_MAX + 1)
#define BLOCK_BYTES_MAX                                                                            \
	(sizeof(struct sx_block) + BLOCK_ENTRIES * sizeof(struct sx_insn) +                        \
	 SX_BLOCK_MAX * SX_INSN_MAX + 64)

/* What callouts want to be there: making one block may make others, when flushes come between. */
#define ROOM_ASKED (4 * BLOCK_BYTES_MAX)

/* Blocks of one instruction that crosses pages, by linear address; each has room for that much. */
#define CROSSING_BITS 9
#define CROSSING_BYTES                                                                             \
	align_up(SX_BLOCK_ALIGN + sizeof(struct sx_block) + 4 * sizeof(struct sx_insn) +           \
			 SX_INSN_MAX,                                                              \
		 SX_BLOCK_ALIGN)

/* The code word of these blocks, whose bytes are compared at each entry: never changes. */
static u32 crossing_word;

void sx_cache_init(struct sx_cpu *c)
{
	struct sx_cache *k = NEW(struct sx_cache);

	k->hash = NEW_ARRAY(u32, 1u << HASH_BITS);
	memset(k->hash, 0xff, sizeof(k->hash[0]) << HASH_BITS);
	k->crossing = mem_alloc(1u << CROSSING_BITS, CROSSING_BYTES);
	k->arena = mmap(NULL, ARENA_SIZE, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	assert(k->arena != MAP_FAILED);
	static_assert(SX_ROOM_MIN >= 2 * ROOM_ASKED, "what is swept has as much");
	k->room = ARENA_SIZE;
	c->cache = k;
}

void sx_cache_fini(struct sx_cpu *c)
{
	struct sx_cache *k = c->cache;

	if (!k)
		return;
	munmap(k->arena, ARENA_SIZE);
	free(k->crossing);
	free(k->hash);
	free(k);
	c->cache = NULL;
}

/* Who looks for a block, or remembers one, finds none. */
static void forget_all(struct sx_cpu *c)
{
	struct sx_cache *k = c->cache;

	memset(k->hash, 0xff, sizeof(k->hash[0]) << HASH_BITS);
	memset(k->jump, 0, sizeof(k->jump));
	sx_native_forget_steps(c);
}

static void drop(struct sx_cpu *c)
{
	struct sx_cache *k = c->cache;

	forget_all(c);
	memset(k->crossing, 0, CROSSING_BYTES << CROSSING_BITS);
	madvise(k->arena, ARENA_SIZE, MADV_DONTNEED);
	k->used = 0;
	k->is_dropped = false;
	sx_count(c, SX_N_BLOCK_DROP);
	sx_native_drop(c);
}

/* When there is no number left, it is the run loop's to give them away again: nothing runs by the number meanwhile. */
u32 sx_cache_segment(struct sx_cpu *c, u32 base, u32 limit)
{
	struct sx_cache *k = c->cache;
	u64 key = ~((u64)limit << 32 | base);
	u32 slot = (u32)(key * 0x9e3779b97f4a7c15 >> (64 - SX_MODE_SEGMENT_BITS));

	for (; k->segments[slot]; slot = (slot + 1) % SX_SEGMENTS) {
		if (k->segments[slot] == key)
			return (slot + 1) * SX_MODE_SEGMENT;
	}
	if (k->n_segments == SX_SEGMENTS_MAX) {
		k->is_dropped = true;
		return SX_MODE_STEP | (SX_SEGMENTS + 1) * SX_MODE_SEGMENT;
	}
	k->n_segments++;
	k->segments[slot] = key;
	return (slot + 1) * SX_MODE_SEGMENT;
}

bool sx_cache_has_room(const struct sx_cpu *c)
{
	if (c->cache->used + ROOM_ASKED <= c->cache->room)
		return true;
	c->cache->is_full = true;
	return false;
}

/* What is near in its page is near in the table, where a look-up's time goes: the host's cache. */
static u32 *hash_slot(struct sx_cache *k, gpa_t gpa, u32 mode)
{
	u64 page = ((gpa >> PAGE_SHIFT) ^ (u64)mode << 32) * 0x9e3779b97f4a7c15;

	return &k->hash[page >> (64 - HASH_BITS) ^ (gpa & ~PAGE_MASK) >> HASH_NEAR_SHIFT];
}

static struct sx_block *block_at(const struct sx_cache *k, u32 at)
{
	u8 *block = k->arena + (u64)at * SX_BLOCK_ALIGN;

	return at >= SX_BLOCK_NONE ? NULL : (struct sx_block *)(void *)block;
}

/* Where the next block may start. */
static u8 *block_limit(const struct sx_block *b)
{
	return sx_block_bytes(b) + b->n_bytes;
}

static u64 block_size(const struct sx_block *b)
{
	return align_up((u64)(block_limit(b) - (const u8 *)b), SX_BLOCK_ALIGN);
}

/* It is the last in the arena: its room is its own, and it is found. */
static void block_add(struct sx_cache *k, struct sx_block *b)
{
	u32 *slot = hash_slot(k, b->gpa, b->mode);

	static_assert(ARENA_SIZE / SX_BLOCK_ALIGN < SX_BLOCK_NONE, "places in it");
	b->next = *slot & SX_BLOCK_NONE;
	*slot = (u32)(k->used / SX_BLOCK_ALIGN);
	k->used += block_size(b);
}

/* --- sweeping --- */

/* Only the bytes stay. Not where host code can say that it isn't for the linear address: then the interpreter has it. */
static void make_bare(struct sx_block *b)
{
	u8 *bytes = sx_block_bytes(b);

	if (sx_native_is_bound(b->mode))
		return;
	b->n_entries = 0;
	b->is_bare = true;
	memmove(sx_block_bytes(b), bytes, b->n_bytes);
}

/* What isn't translated, but will be soon, gets another chance. */
static bool is_kept(struct sx_block *b)
{
	if (b->is_gone)
		return false;
	if (b->native && !b->is_bare)
		make_bare(b);
	if (b->native)
		return true;
	b->heat /= 2;
	return b->heat >= WARM_HEAT;
}

/* False: that didn't help enough. */
static bool sweep(struct sx_cpu *c)
{
	struct sx_cache *k = c->cache;
	u64 end = k->used;

	forget_all(c);
	k->used = 0;
	for (u64 at = 0, size; at < end; at += size) {
		struct sx_block *b = (struct sx_block *)(void *)(k->arena + at);
		u8 *to = k->arena + k->used;

		size = block_size(b);
		if (!is_kept(b))
			continue;
		b->out[0] = b->out[1] = NULL;
		memmove(to, b, block_size(b));
		block_add(k, (struct sx_block *)(void *)to);
	}
	sx_count(c, SX_N_BLOCK_SWEEP);
	return k->used <= k->room / 4 * 3 && k->used + ROOM_ASKED <= k->room;
}

static void make_room(struct sx_cpu *c)
{
	if (!sweep(c))
		drop(c);
	c->cache->is_full = false;
}

void sx_cache_start_over(struct sx_cpu *c)
{
	struct sx_cache *k = c->cache;

	if (!k->is_dropped) {
		make_room(c);
		return;
	}
	drop(c);
	if (k->n_segments == SX_SEGMENTS_MAX) {
		memset(k->segments, 0, sizeof(k->segments));
		k->n_segments = 0;
	}
	if (c->code_breakpoints)
		k->code_breakpoints = c->code_breakpoints;
	sx_mode_update(c);
}

/* --- handlers that are no instructions --- */

void sx_block_end(struct sx_cpu *c, unused const struct sx_insn *i)
{
	c->gpr[SX_RIP] = (c->gpr[SX_RIP] + c->block->n_bytes) & c->code_mask;
	sx_jump(c);
}

static void raise_ud(struct sx_cpu *c, const struct sx_insn *i)
{
	sx_throw_ud(c, i);
}

static void raise_gp(struct sx_cpu *c, const struct sx_insn *i)
{
	sx_throw_gp(c, i, 0);
}

/* Before an instruction whose RIP-relative address does not fit beside its offset in the block. */
static void set_rip_next(struct sx_cpu *c, const struct sx_insn *i)
{
	c->gpr[SX_RIP_NEXT] = c->gpr[SX_RIP] + i->imm;
	SX_NEXT(c, i);
}

/* In lockstep, before an instruction that can't be done twice. */
static void once(struct sx_cpu *c, const struct sx_insn *i)
{
	sx_lockstep_once(c, i);
	SX_NEXT(c, i);
}

/* --- decoding --- */

struct sx_decode_mode sx_block_decode_mode(const struct sx_cpu *c, u32 mode)
{
	return (struct sx_decode_mode){
		.bits = mode & SX_MODE_64   ? 64
			: mode & SX_MODE_32 ? 32
					    : 16,
		.is_protected = mode & SX_MODE_PE,
		.features = c->features,
	};
}

/* Appends one decoded instruction, bound; returns the entry that follows. */
static struct sx_insn *append(struct sx_block *b, struct sx_insn *at, const struct sx_insn *decoded)
{
	*at = *decoded;
	if (!sx_bind(b, at, b->n_bytes)) {
		*at = (struct sx_insn){
			.fn = set_rip_next,
			.imm = (u64)b->n_bytes + decoded->len,
		};
		at++;
		*at = *decoded;
		at->base = SX_RIP_NEXT;
		at->flags &= (u16)~SX_IF_RIP;
		sx_bind(b, at, b->n_bytes);
	}
	/* What nobody executes is undefined. */
	if (!at->fn)
		at->fn = raise_ud;
	b->n_bytes += decoded->len & 15u;
	b->n_insns++;
	return at + 1;
}

/* An instruction that can't be decoded raises its exception when it is reached. */
static struct sx_insn *append_fault(struct sx_block *b, struct sx_insn *at, int result)
{
	*at = (struct sx_insn){.fn = result == SX_DECODE_GP ? raise_gp : raise_ud, .len = 1};
	b->n_insns++;
	b->ends_in_fault = true;
	return at + 1;
}

static void close_block(struct sx_block *b, struct sx_insn *at, const u8 *bytes)
{
	static_assert(BLOCK_ENTRIES <= 256 && SX_BLOCK_MAX * SX_INSN_MAX < 1024,
		      "as bit-fields hold");
	b->n_entries = (u32)(at - b->insn) & 0xff;
	at->fn = sx_block_end;
	memcpy(sx_block_bytes(b), bytes, b->n_bytes);
}

/* Decodes from bytes, which nobody changes, up to the end of the page. False: not one whole instruction is there. */
static bool decode_run(struct sx_cpu *c, struct sx_block *b, const u8 *bytes, unsigned avail)
{
	unsigned max = c->mode & SX_MODE_STEP ? 1 : SX_BLOCK_MAX;
	struct sx_decode_mode mode = sx_block_decode_mode(c, c->mode);
	struct sx_insn *at = b->insn, insn;

	while (b->n_insns < max) {
		int r = sx_decode(&mode, bytes + b->n_bytes, avail - b->n_bytes, &insn);

		if (r == SX_DECODE_NEED_MORE) {
			if (!b->n_insns)
				return false;
			break;
		}
		if (r < 0) {
			at = append_fault(b, at, r);
			break;
		}
		if (unlikely(c->lockstep) && sx_lockstep_is_once(&insn))
			*at++ = (struct sx_insn){.fn = once, .form = insn.form};
		at = append(b, at, &insn);
		if (insn.flags & SX_IF_END)
			break;
	}
	close_block(b, at, bytes);
	return true;
}

/* CS's limit holds for every byte of a block. One that it cuts is the run loop's, an instruction at a time. */
static bool exceeds_limit(const struct sx_cpu *c, const struct sx_block *b)
{
	return (c->mode & SX_MODE_LIMITED) &&
	       c->gpr[SX_RIP] + b->n_bytes + b->ends_in_fault - 1 > c->seg[X86_CS].limit;
}

static bool is_watched(const struct sx_cpu *c, const struct sx_block *b)
{
	return unlikely((c->mode & (SX_MODE_BREAK | SX_MODE_STEP)) == SX_MODE_BREAK) &&
	       sx_debug_covers(c, (u32)(b->gpa & ~PAGE_MASK), b->n_bytes + b->ends_in_fault);
}

static void remember(struct sx_cpu *c, u64 lin, bool is_global, struct sx_block *b)
{
	if (exceeds_limit(c, b) || b->is_watched)
		return;
	*sx_jump_slot(c->cache, lin, c->mode) = (struct sx_jump){
		.lin = lin,
		.mode = c->mode,
		.generation = c->jump_generation[lin >> 63],
		.block = b,
	};
	sx_tlb_note_code(c, lin, is_global);
}

/* Callouts' single steps have slots of their own. */
static struct sx_block *crossing_slot(struct sx_cache *k, u64 lin, u32 mode)
{
	u64 h = (lin ^ (mode & SX_MODE_STEP)) * 0x9e3779b97f4a7c15 >> (64 - CROSSING_BITS);

	return (struct sx_block *)(void *)(k->crossing + h * CROSSING_BYTES + SX_BLOCK_ALIGN);
}

static bool crossing_is_good(const struct sx_cpu *c, const struct sx_block *b, u64 lin,
			     const u8 *bytes)
{
	return b->n_insns && b->gpa == lin && b->mode == c->mode && !b->ends_in_fault &&
	       !memcmp(sx_block_bytes(b), bytes, b->n_bytes);
}

/* Whoever enters it looks at the second page's word; the first's was looked at like any block's. */
static noinline struct sx_block *crossing_again(struct sx_cpu *c, struct sx_block *b);

static void crossing_enter(struct sx_cpu *c, const struct sx_insn *i)
{
	struct sx_block *b = c->block;
	const struct sx_crossing *x = sx_block_crossing(b);

	if (likely(__atomic_load_n(x->code2, __ATOMIC_ACQUIRE) == x->word2)) {
		x->whole_fn(c, i);
		return;
	}
	b = crossing_again(c, b);
	if (b)
		sx_block_enter(c, b);
}

/* Its room is for another instruction, or its pages are others: the jump cache has it no more. */
static void crossing_forget(struct sx_cpu *c, const struct sx_block *b)
{
	struct sx_jump *j = sx_jump_slot(c->cache, b->gpa, b->mode);

	if (j->block == b)
		j->generation = 0; /* nobody's */
}

static void crossing_decode(struct sx_cpu *c, struct sx_block *b, u64 lin, const u8 *bytes)
{
	u32 mode = c->mode;
	bool is_whole;

	static_assert(sizeof(struct sx_crossing) <= SX_BLOCK_ALIGN, "it is in front of the block");
	*b = (struct sx_block){.mode = mode | SX_MODE_STEP, .gpa = lin, .is_crossing = true};
	c->mode |= SX_MODE_STEP; /* one instruction */
	is_whole = decode_run(c, b, bytes, SX_INSN_MAX);
	c->mode = mode;
	b->mode = mode;
	b->is_watched = is_watched(c, b);
	b->first_fn = sx_block_crossing(b)->whole_fn = b->insn[0].fn;
	sx_block_crossing(b)->code2 = NULL;
	sx_native_watch(c, b);
	assert(is_whole);
}

static void crossing_fetch(u8 *bytes, const struct sx_itlb_entry *first, unsigned off, unsigned n,
			   const struct sx_itlb_entry *next)
{
	if (n)
		memcpy(bytes, first->host + off, n);
	if (next->host)
		memcpy(bytes + n, next->host, SX_INSN_MAX - n);
	else
		memset(bytes + n, 0xff, SX_INSN_MAX - n);
}

/*
 * An instruction at lin that crosses into the next page, or comes from no memory at all: n bytes of
 * it are in the first page. Where both are memory it is good while both code words stand, and the
 * jump cache may have it; else it is fetched and compared at each execution.
 */
static struct sx_block *find_crossing(struct sx_cpu *c, u64 lin, struct sx_itlb_entry first,
				      unsigned n)
{
	struct sx_block *b = crossing_slot(c->cache, lin, c->mode);
	u64 next_lin = (lin + n) & c->code_mask;
	struct sx_itlb_entry next = *sx_translate_code(c, next_lin);
	bool lasts = n && first.host && next.host && !((lin ^ next_lin) >> 63);
	u32 word = 0, word2 = 0;
	u8 bytes[SX_INSN_MAX];

	sx_count(c, SX_N_BLOCK_CROSSING);
	if (lasts) {
		word = sx_code_mark(c, first.block, first.block_page);
		word2 = sx_code_mark(c, next.block, next.block_page);
	}
	crossing_fetch(bytes, &first, (unsigned)(lin & ~PAGE_MASK), n, &next);
	crossing_forget(c, b);
	if (!crossing_is_good(c, b, lin, bytes))
		crossing_decode(c, b, lin, bytes);
	b->out[0] = b->out[1] = NULL;
	b->code = lasts ? &first.block->code[first.block_page] : &crossing_word;
	b->word = word;
	sx_block_crossing(b)->code2 = lasts ? &next.block->code[next.block_page] : NULL;
	sx_block_crossing(b)->word2 = word2;
	b->insn[0].fn = lasts ? crossing_enter : b->first_fn;
	if (lasts) {
		sx_native_refound(c, b);
		remember(c, lin, first.page & SX_TLB_GLOBAL, b);
		sx_tlb_note_code(c, next_lin, next.page & SX_TLB_GLOBAL);
	}
	return b;
}

static struct sx_block *block_new(struct sx_cpu *c, const struct sx_itlb_entry *e, gpa_t gpa)
{
	unsigned off = (unsigned)(gpa & ~PAGE_MASK), n = (unsigned)PAGE_SIZE - off;
	u8 bytes[SX_BLOCK_MAX * SX_INSN_MAX]; /* the page's may change before they are kept */
	struct sx_cache *k = c->cache;
	struct sx_block *b;

	if (k->used + BLOCK_BYTES_MAX > k->room)
		make_room(c);
	b = (struct sx_block *)(void *)(k->arena + k->used);
	*b = (struct sx_block){
		.code = &e->block->code[e->block_page],
		.word = sx_code_mark(c, e->block, e->block_page),
		.mode = c->mode,
		.gpa = gpa,
	};
	if (n > sizeof(bytes))
		n = sizeof(bytes);
	memcpy(bytes, e->host + off, n);
	if (!decode_run(c, b, bytes, n))
		return NULL;
	block_add(k, b);
	sx_count(c, SX_N_BLOCK_DECODED);
	b->is_watched = is_watched(c, b);
	b->first_fn = b->insn[0].fn;
	sx_native_watch(c, b);
	return b;
}

/* The page was written since: is the block's code what it was? */
static bool revalidate(struct sx_cpu *c, struct sx_block *b, const struct sx_itlb_entry *e)
{
	u32 word = sx_code_mark(c, e->block, e->block_page), old = b->word;

	if (b->ends_in_fault || /* the bytes that made it are not kept */
	    memcmp(sx_block_bytes(b), e->host + (b->gpa & ~PAGE_MASK), b->n_bytes))
		return false;
	sx_count(c, SX_N_BLOCK_REVALIDATED);
	b->word = word;
	sx_native_revalidated(c, b, e->host);
	if (b->native || !b->is_bare)
		return true;
	b->word = old; /* nobody is to enter it */
	return false;
}

static void unlink_block(struct sx_cache *k, struct sx_block *b)
{
	u32 *slot = hash_slot(k, b->gpa, b->mode);
	struct sx_block *before = block_at(k, *slot);

	b->is_gone = true;
	if (before == b) {
		*slot = b->next;
		return;
	}
	while (block_at(k, before->next) != b)
		before = block_at(k, before->next);
	before->next = b->next;
}

/* Good or stale; NULL: there is none. */
static struct sx_block *find_decoded(struct sx_cpu *c, const struct sx_itlb_entry *e, gpa_t gpa)
{
	const u32 *code = &e->block->code[e->block_page];
	struct sx_block *b = block_at(c->cache, *hash_slot(c->cache, gpa, c->mode));

	while (b && (b->gpa != gpa || b->mode != c->mode || b->code != code))
		b = block_at(c->cache, b->next);
	return b;
}

static struct sx_block *find_physical(struct sx_cpu *c, const struct sx_itlb_entry *e, gpa_t gpa)
{
	struct sx_block *b = find_decoded(c, e, gpa);

	if (!b || sx_block_is_fresh(b) || revalidate(c, b, e))
		return b;
	sx_count(c, SX_N_BLOCK_STALE);
	unlink_block(c->cache, b);
	return NULL;
}

/* --- finding --- */

static void check_limit(struct sx_cpu *c, const struct sx_block *b)
{
	u32 limit = c->seg[X86_CS].limit;

	if (c->gpr[SX_RIP] + b->insn[0].len - 1 > limit)
		sx_throw_gp(c, NULL, 0);
}

static struct sx_block *find_at(struct sx_cpu *c, u64 lin)
{
	const struct sx_itlb_entry *e = sx_translate_code(c, lin);
	unsigned off = (unsigned)(lin & ~PAGE_MASK), left = (unsigned)PAGE_SIZE - off;
	gpa_t gpa = (e->page & PAGE_MASK) + off;
	const struct sx_itlb_entry first = *e; /* another page's may take its place */
	bool is_global = e->page & SX_TLB_GLOBAL;
	struct sx_block *b;

	if (!e->host)
		return find_crossing(c, lin, *e, 0);
	b = find_physical(c, e, gpa);
	if (!b)
		b = block_new(c, e, gpa);
	if (!b)
		return find_crossing(c, lin, first, left);
	remember(c, lin, is_global, b);
	return b;
}

/* Making a block may wait for other vCPUs and serve their flushes: then what was found is old. */
static struct sx_block *find_settled(struct sx_cpu *c, u64 lin)
{
	struct sx_block *b;
	u32 generation;

	sx_count(c, SX_N_BLOCK_FOUND);
	do {
		generation = c->jump_generation[lin >> 63];
		b = find_at(c, lin);
	} while (generation != c->jump_generation[lin >> 63]);
	return b;
}

/* It went stale behind sx_jump_find. NULL: to the run loop, nothing was executed. */
static noinline struct sx_block *crossing_again(struct sx_cpu *c, struct sx_block *b)
{
	u32 mode = c->mode;

	c->retired -= b->n_insns;
	c->block = NULL;
	crossing_forget(c, b);
	if (!sx_cache_has_room(c))
		return NULL;
	c->mode = b->mode; /* a single step's, perhaps */
	b = find_settled(c, sx_code_lin(c));
	c->mode = mode;
	return b;
}

struct sx_block *sx_block_find(struct sx_cpu *c)
{
	struct sx_block *b = sx_jump_find(c);

	if (!b)
		b = find_settled(c, sx_code_lin(c));
	if (unlikely(exceeds_limit(c, b))) {
		u32 mode = c->mode;

		c->mode |= SX_MODE_STEP;
		b = find_settled(c, sx_code_lin(c));
		c->mode = mode;
		check_limit(c, b);
	}
	return b;
}

struct sx_block *sx_block_find_good(struct sx_cpu *c, u64 lin)
{
	const struct sx_itlb_entry *e = sx_translate_code_quietly(c, lin);
	struct sx_block *b;

	if (!e || !e->host || c->mode & SX_MODE_LIMITED)
		return NULL;
	b = find_decoded(c, e, (e->page & PAGE_MASK) + (lin & ~PAGE_MASK));
	if (!b || b->is_watched || !sx_block_is_fresh(b))
		return NULL;
	remember(c, lin, e->page & SX_TLB_GLOBAL, b);
	return b;
}

void sx_chain_slow(struct sx_cpu *c, unsigned which)
{
	struct sx_block *from = c->block, *b = sx_jump_find(c);

	if (!b)
		return;
	/* It goes wherever this page is mapped: not an instruction whose second page may be another there, nor what is
	 * at RIP now because the guest has changed a translation that it hasn't invalidated yet. */
	if (!b->is_crossing && b->code == from->code)
		from->out[which] = b;
	sx_block_enter(c, b);
}

/*
 * Decoded code: blocks of instructions, found by RIP or by guest-physical address.
 *
 * A block is a run of up to SX_BLOCK_MAX instructions inside one page, ended by whatever changes
 * control or mode, and by a closing entry that is no instruction. It is keyed by the physical
 * address of its first byte and the mode word, so that all mappings of a page share it; in front
 * of that stands the jump cache, by linear address, which a TLB flush drops by counting its
 * generation up.
 *
 * A block is good as long as the code word of its page, in gmem, is the one it was decoded under:
 * checked at each entry. When only the word differs, and the bytes do not, the block is taken
 * again. An instruction that crosses into another page makes a block of its own, good while both
 * pages' words are.
 *
 * All belongs to one vCPU. Blocks are never freed one by one: when the arena is full, all go but those
 * that were translated, of which what the interpreter needs goes (they are bare then). When these are too
 * many, or the memory for host code is full, all go. Both happen only in the run loop, when no block is
 * being executed; afterwards blocks may be elsewhere.
 */
#ifndef ACCEL_SOFT_BLOCK_H
#define ACCEL_SOFT_BLOCK_H

#include "accel/soft/cpu.h"
#include "accel/soft/decode.h"
#include "accel/soft/insn.h"

#define SX_BLOCK_MAX 64

/* A boot decodes some 80,000 of them for each vCPU, of five instructions. */
struct sx_block {
	u32 *code; /* the page's code word */
	u32 word;  /* under which it was decoded */
	u32 mode;  /* enum sx_mode */
	gpa_t gpa;
	u32 native;              /* host code of it: where in sx_native's, or 0; see native.h */
	u32 plain;               /* ... without shared checks: native_window.c */
	sx_insn_fn *first_fn;    /* its first handler, where insn[0] has another in front of it */
	struct sx_block *out[2]; /* where its end leads, not taken and taken, inside the page */
	u32 next : 24; /* in the hash: where in the arena, by SX_BLOCK_ALIGN; or SX_BLOCK_NONE */
	u32 is_watched : 1; /* a code breakpoint may be in it: single steps */
	u32 n_insns : 7;    /* without entries that are no instructions */
	u32 n_entries : 8;  /* without the closing one, of which there is the handler only */
	u32 n_bytes : 10;
	u32 heat : 5;          /* how often it was entered, up to its translation */
	u32 ends_in_fault : 1; /* its last entry raises what decoding met */
	u32 is_crossing : 1; /* one instruction across two pages: a struct sx_crossing is in front of it */
	u32 is_bare : 1; /* its instructions were dropped: it is good for its host code */
	u32 is_gone : 1; /* nobody finds it any more */
	struct sx_insn insn[];
};
static_assert(sizeof(struct sx_block) == 64,
	      "as small as it gets, and entries lie in one cache line each");
#define SX_BLOCK_ALIGN    32u
#define SX_BLOCK_NONE     0xffffffu
#define SX_BLOCK_HEAT_MAX 31u

struct sx_crossing {
	u32 *code2; /* the second page's code word; NULL: it is compared at each execution */
	u32 word2;
	sx_insn_fn *whole_fn; /* its first handler once word2 was found good */
};

static inline struct sx_crossing *sx_block_crossing(const struct sx_block *b)
{
	return (struct sx_crossing *)(uintptr_t)b - 1;
}

static inline u32 *sx_block_code2(const struct sx_block *b)
{
	return b->is_crossing ? sx_block_crossing(b)->code2 : NULL;
}

/* n_bytes, as they were decoded. */
static inline u8 *sx_block_bytes(const struct sx_block *b)
{
	const struct sx_insn *closing = &b->insn[b->n_entries];

	return (u8 *)(uintptr_t)closing + sizeof(closing->fn);
}
static_assert(!offsetof(struct sx_insn, fn), "the closing entry's only part");

/*
 * 24 bytes each. A guest that sleeps for each request of its disk goes through thousands of blocks
 * in between: with 2^12 entries, each tenth jump missed.
 */
#define SX_JUMP_BITS 14
struct sx_jump {
	u64 lin;
	u32 mode;
	u32 generation;
	struct sx_block *block;
};

/*
 * Code segments with a base or a limit, numbered, since a block of their code is good for one of them: where its RIP
 * is a function of the linear address, and whether the limit reaches was looked at before the jump cache had it.
 * Numbers are given away once; when too many are, all blocks go.
 */
#define SX_SEGMENTS     (1u << SX_MODE_SEGMENT_BITS)
#define SX_SEGMENTS_MAX (SX_SEGMENTS / 4 * 3)

#define SX_ROOM_MIN (64 * KIB) /* with less nearly all would be dropped, not swept */

struct sx_cache {
	struct sx_jump jump[1u << SX_JUMP_BITS];
	u64 segments[SX_SEGMENTS]; /* by a hash; limit << 32 | base, inverted: 0 is free */
	unsigned n_segments;
	u64 code_breakpoints; /* sx_cpu's, which blocks of SX_MODE_BREAK are made for */
	u32 *hash;            /* as sx_block.next; from SX_BLOCK_NONE on: none */
	u8 *arena;
	u64 used, room; /* room: all of it, unless a test wants it full sooner: SX_ROOM_MIN */
	u8 *crossing;   /* blocks of instructions that cross pages */
	bool is_dropped; /* room for host code is full, or breakpoints are others: start over in the run loop */
	bool is_full; /* it is to make room for blocks */
};

/*
 * 1 where the compiler makes jumps of the calls between handlers, so that blocks may chain; the build
 * says so (meson.build). Else each block returns to the run loop, or the stack would grow.
 */
#ifndef SX_CHAINS_BLOCKS
#define SX_CHAINS_BLOCKS 0
#endif

void sx_cache_init(struct sx_cpu *c);
void sx_cache_fini(struct sx_cpu *c);
/* Run loop only, which does it before the next block. */
static inline bool sx_cache_is_full(const struct sx_cache *k)
{
	return k->is_dropped || k->is_full;
}
void sx_cache_start_over(struct sx_cpu *c);
/* The code segment's number, as the mode word has it. */
u32 sx_cache_segment(struct sx_cpu *c, u32 base, u32 limit);
/* For a block, where the others are to stay. False: sx_cache_is_full. */
bool sx_cache_has_room(const struct sx_cpu *c);

struct sx_decode_mode sx_block_decode_mode(const struct sx_cpu *c, u32 mode);

/* The block at RIP, decoded now if need be; raises the fault that the fetch meets. Run loop. */
struct sx_block *sx_block_find(struct sx_cpu *c);
/* The one at linear address lin if it is decoded already, in one page, and good; raises nothing. */
struct sx_block *sx_block_find_good(struct sx_cpu *c, u64 lin);

/* Handlers that are no instructions: the end of a block; leaving it for the run loop. */
void sx_block_end(struct sx_cpu *c, const struct sx_insn *i);
void sx_block_leave(struct sx_cpu *c, const struct sx_insn *i);

/* Blocks of one instruction, which callouts enter, would take the slots of the blocks that native code
 * jumps to: they are elsewhere. */
static inline struct sx_jump *sx_jump_slot(struct sx_cache *k, u64 lin, u32 mode)
{
	u64 step = mode & SX_MODE_STEP ? 1u << (SX_JUMP_BITS - 1) : 0;

	return &k->jump[(lin ^ lin >> SX_JUMP_BITS ^ step) & ((1u << SX_JUMP_BITS) - 1)];
}

static inline bool sx_block_is_fresh(const struct sx_block *b)
{
	return __atomic_load_n(b->code, __ATOMIC_ACQUIRE) == b->word;
}

static inline u64 sx_code_lin(const struct sx_cpu *c)
{
	return (c->gpr[SX_RIP] + c->code_base) & c->code_mask;
}

/* The block at RIP if the jump cache has a good one, else NULL. */
static always_inline struct sx_block *sx_jump_find(struct sx_cpu *c)
{
	u64 lin = sx_code_lin(c);
	const struct sx_jump *j = sx_jump_slot(c->cache, lin, c->mode);

	if (likely(j->lin == lin && j->mode == c->mode &&
		   j->generation == c->jump_generation[lin >> 63]) &&
	    likely(sx_block_is_fresh(j->block)))
		return j->block;
	return NULL;
}

static always_inline void sx_block_enter(struct sx_cpu *c, struct sx_block *b)
{
	c->block = b;
	c->retired += b->n_insns;
	b->insn[0].fn(c, b->insn);
}

/* Is the run loop wanted before another block is entered? */
static always_inline bool sx_is_wanted(const struct sx_cpu *c)
{
	return __atomic_load_n(&c->request, __ATOMIC_RELAXED) ||
	       c->retired >= __atomic_load_n(&c->stop_at, __ATOMIC_RELAXED);
}

static always_inline bool sx_may_chain(const struct sx_cpu *c)
{
	return SX_CHAINS_BLOCKS && likely(!sx_is_wanted(c) && !c->is_stepping);
}

/* How blocks end. RIP is set; go on with the block there, or return to the run loop. */
static always_inline void sx_jump(struct sx_cpu *c)
{
	struct sx_block *b;

	if (!sx_may_chain(c))
		return;
	b = sx_jump_find(c);
	if (likely(b))
		sx_block_enter(c, b);
}

void sx_chain_slow(struct sx_cpu *c, unsigned which);

/* The same for a fixed target, which this block remembers. which: 1 taken, 0 not; it is in the
 * block's own page: may be remembered, since whoever maps this page there, maps both. */
static always_inline void sx_chain(struct sx_cpu *c, unsigned which, bool is_in_page)
{
	struct sx_block *b = c->block->out[which];

	if (!sx_may_chain(c))
		return;
	if (!is_in_page)
		sx_jump(c);
	else if (likely(b) && likely(sx_block_is_fresh(b)))
		sx_block_enter(c, b);
	else
		sx_chain_slow(c, which);
}

#endif

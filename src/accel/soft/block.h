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
 * again. An instruction that crosses into another page makes a block of its own, decoded at each
 * execution.
 *
 * All belongs to one vCPU. Blocks are never freed one by one: when the arena is full, all go; that
 * happens only in the run loop, when no block is being executed.
 */
#ifndef ACCEL_SOFT_BLOCK_H
#define ACCEL_SOFT_BLOCK_H

#include "accel/soft/cpu.h"
#include "accel/soft/insn.h"

#define SX_BLOCK_MAX 64

struct sx_block {
	u32 *code;    /* the page's code word */
	u32 word;     /* under which it was decoded */
	u32 mode;     /* enum sx_mode */
	u16 n_insns;  /* without the closing entry */
	u16 n_bytes;
	bool is_scratch; /* crosses pages: not kept */
	gpa_t gpa;
	struct sx_block *next;   /* in the hash */
	struct sx_block *out[2]; /* inside the page: where its last jump leads; not taken, taken */
	u8 *bytes;               /* n_bytes, as they were decoded */
	struct sx_insn insn[];
};

#define SX_JUMP_BITS 12
struct sx_jump {
	u64 lin;
	u32 mode;
	u32 generation;
	struct sx_block *block;
};

struct sx_cache {
	struct sx_jump jump[1u << SX_JUMP_BITS];
	struct sx_block **hash;
	u8 *arena;
	u64 used;
	struct sx_block *scratch; /* for instructions that cross pages */
	bool is_dropped;          /* full: start over when the run loop comes by */
	u64 n_decoded;            /* statistics: blocks made */
};

void sx_cache_init(struct sx_cpu *c);
void sx_cache_fini(struct sx_cpu *c);
void sx_cache_drop(struct sx_cpu *c); /* run loop only */

/* The block at RIP, decoded now if need be; raises the fault that the fetch meets. Run loop. */
struct sx_block *sx_block_find(struct sx_cpu *c);

static inline struct sx_jump *sx_jump_slot(struct sx_cache *k, u64 lin)
{
	return &k->jump[(lin ^ lin >> SX_JUMP_BITS) & ((1u << SX_JUMP_BITS) - 1)];
}

static inline bool sx_block_is_fresh(const struct sx_block *b)
{
	return __atomic_load_n(b->code, __ATOMIC_ACQUIRE) == b->word;
}

#endif

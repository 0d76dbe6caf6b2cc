/*
 * The software TLB: from a linear address to host memory in a compare and an add.
 *
 * Three direct-mapped sets, one for each way in which data is accessed: as supervisor with SMAP in
 * force, as user, as supervisor with SMAP lifted (EFLAGS.AC, or no SMAP). An entry's tag is the page's linear
 * address, or SX_TLB_NONE in a low bit when that kind of access must take the slow path: it is not
 * permitted, the entry's D bit is not yet set, the page holds decoded code, or the dirty log waits
 * for the next write.
 *
 * An access of n bytes compares the tag with the page of its last byte but looks in the slot of
 * its first: an access that crosses into the next page finds a tag from another slot's residue
 * class, and so misses. One compare serves permission, presence and page crossing.
 *
 * Large pages are entered as 4 KiB pieces; pages of the guest that are not RAM are not entered.
 */
#ifndef ACCEL_SOFT_TLB_H
#define ACCEL_SOFT_TLB_H

#include "base/base.h"

struct gmem_block;
struct sx_cpu;

#define SX_TLB_BITS 11
#define SX_TLB_SIZE (1u << SX_TLB_BITS)
#define SX_TLB_NONE ((u64)1) /* no tag equals a page address with this bit */

enum sx_tlb_set {
	SX_TLB_SUPERVISOR,
	SX_TLB_USER,
	SX_TLB_SUPERVISOR_AC,
	SX_TLB_EMPTY, /* never filled: every access takes the slow path */
	SX_TLB_SETS,
};

struct sx_tlb_entry {
	u64 read, write; /* tags */
	u64 addend;      /* host address = linear address + addend */
	u64 page;        /* guest-physical page address | SX_TLB_GLOBAL; SX_TLB_NONE: not in use */
};
#define SX_TLB_GLOBAL BIT(1)

/* Code fetches: few pages at a time, with what a block needs to know of them. */
#define SX_ITLB_SIZE 256u
struct sx_itlb_entry {
	u64 tag; /* linear page address | SX_MODE_USER's 1 << 3; SX_TLB_NONE: empty */
	u64 page;
	u8 *host; /* NULL: not memory */
	struct gmem_block *block;
	u64 block_page; /* the page's number in block */
};

struct sx_tlbs {
	struct sx_tlb_entry set[SX_TLB_SETS][SX_TLB_SIZE];
	/* Slots that may be in use, so that a flush costs what was filled. */
	u16 filled[SX_TLB_SETS][SX_TLB_SIZE];
	u32 n_filled[SX_TLB_SETS];
	struct sx_itlb_entry code[SX_ITLB_SIZE];
	/*
	 * A range, in each half of the linear addresses, that covers all large pages entered: an
	 * INVLPG inside it flushes everything.
	 */
	struct {
		u64 base, mask; /* mask 0: no large page */
	} large[2];
};

static inline struct sx_tlb_entry *sx_tlb_slot(struct sx_tlb_entry *set, u64 lin)
{
	return &set[(lin >> PAGE_SHIFT) & (SX_TLB_SIZE - 1)];
}

void sx_tlb_init(struct sx_cpu *c);
void sx_tlb_select(struct sx_cpu *c);              /* after CPL, CR4.SMAP or AC changed */
void sx_tlb_flush(struct sx_cpu *c);               /* everything, global pages too */
void sx_tlb_flush_local(struct sx_cpu *c);         /* all but global pages: MOV CR3 */
void sx_tlb_flush_page(struct sx_cpu *c, u64 lin); /* INVLPG */
void sx_tlb_flush_writes(struct sx_cpu *c);        /* write tags of all pages */
void sx_tlb_flush_writes_to(struct sx_cpu *c, const u8 *host); /* write tags of one page */

#endif

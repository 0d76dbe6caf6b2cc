/*
 * The software TLB: from a linear address to host memory in a compare and an add.
 *
 * Direct-mapped tables, one for each way in which data is accessed: as supervisor with SMAP in force,
 * as user, as supervisor with SMAP lifted (EFLAGS.AC, or no SMAP). An entry's tag is the page's linear
 * address, or SX_TLB_NONE in a low bit when that kind of access must take the slow path: it is not
 * permitted, the entry's D bit is not yet set, the page holds decoded code, or the dirty log waits
 * for the next write.
 *
 * An access of n bytes compares the tag with the page of its last byte but looks in the slot of
 * its first: an access that crosses into the next page finds a tag from another slot's residue
 * class, and so misses. One compare serves permission, presence and page crossing.
 *
 * A table begins small and grows when it was filled over and over where something stood. Large pages are
 * entered as 4 KiB pieces; pages of the guest that are not RAM are not entered.
 *
 * Address spaces (CR4.PCIDE): the tables for user pages and for SMAP lifted exist once for each of the
 * address spaces used last, so that a CR3 write that keeps translations only chooses among them. The
 * supervisor's is shared, since a kernel's own pages are global; what isn't is dropped by each switch.
 * Without PCIDE there is one address space, number 0. What else depends on the address space (code
 * fetches, the jump cache's user half) is stamped with its generation, a number that no other address
 * space, and no time before its last flush, has had.
 */
#ifndef ACCEL_SOFT_TLB_H
#define ACCEL_SOFT_TLB_H

#include "base/base.h"

struct gmem_block;
struct sx_cpu;

#define SX_TLB_NONE ((u64)1) /* no tag equals a page address with this bit */

enum sx_tlb_set {
	SX_TLB_SUPERVISOR,
	SX_TLB_USER,
	SX_TLB_SUPERVISOR_AC,
	SX_TLB_EMPTY, /* never filled: every access takes the slow path */
	SX_TLB_SETS,
};

/* What native code chooses among where EFLAGS.AC changes. */
struct sx_tlb_way {
	struct sx_tlb_entry *entry;
	u32 mask; /* as sx_cpu.tlb_mask */
	u32 set;  /* enum sx_tlb_set */
};

struct sx_tlb_entry {
	u64 read, write; /* tags */
	u64 addend;      /* host address = linear address + addend */
	u64 page;        /* guest-physical page address | SX_TLB_*; SX_TLB_NONE: not in use */
};
#define SX_TLB_ENTRY_SHIFT 5
#define SX_TLB_GLOBAL      BIT(1)
#define SX_TLB_LARGE_SHIFT 2 /* log2 of the page's size in 4 KiB pages */
#define SX_TLB_LARGE       ((u64)31 << SX_TLB_LARGE_SHIFT)

/* Spans of accesses to the stack's page, in bytes: 16, 64, 256, 1024. */
#define SX_STACK_SPANS   4
#define SX_STACK_SPAN(k) (16u << 2 * (k))

/* Good as long as the limits aren't 0: below the k-th are the offsets in it where SX_STACK_SPAN(k) bytes may begin. */
struct sx_stack_page {
	u64 page, addend, limit[SX_STACK_SPANS];
};

/* Pages that native code has found by the TLB and keeps: SX_STRIDES for reads of each span, then for writes of each. */
#define SX_STRIDES     8
#define SX_STRIDES_ALL (2 * SX_STACK_SPANS * SX_STRIDES)
struct sx_strides {
	u64 limit[SX_STRIDES_ALL], page[SX_STRIDES_ALL], addend[SX_STRIDES_ALL];
};

#define SX_TLB_MIN_BITS 9
#define SX_TLB_MAX_BITS 14

/* A kernel's table has few pages that aren't global: a switch of address spaces looks at these alone. */
#define SX_TLB_LOCALS 32

struct sx_tlb {
	struct sx_tlb_entry *entry; /* there is room for SX_TLB_MAX_BITS */
	u32 mask;                   /* slots - 1, times the entry's size */
	u32 replaced;               /* entries since it had its size */
	/* Slots that may be in use, so that a flush costs what was filled. */
	u16 *filled;
	u32 n_filled;
	u32 n_local; /* how often a page that isn't global was entered since the last local flush, */
	u16 local[SX_TLB_LOCALS]; /* where, the first times */
};

#define SX_SPACES 8u
struct sx_space {
	u64 pcid;
	u64 used;       /* when it was chosen last */
	u32 generation; /* never 0 */
	/* Pages whose code the jump cache may have, by a hash: others' INVLPG leave it alone. */
	u64 code_pages[16];
};

/* Code fetches: few pages at a time, with what a block needs to know of them. */
#define SX_ITLB_SIZE 512u
struct sx_itlb_entry {
	u64 tag; /* linear page address | SX_MODE_USER's 1 << 3; SX_TLB_NONE: empty */
	u64 page;
	u8 *host; /* NULL: not memory */
	struct gmem_block *block;
	u64 block_page; /* the page's number in block */
	u32 generation; /* of its address space, or of global pages */
};

/* Page tables that walks went through, by the 2 MiB of linear addresses that they serve: mmu.c. */
#define SX_WALK_BITS 9
struct sx_walk_entry {
	u64 tag;        /* lin >> 21 and the address space */
	u64 value;      /* the entry that leads to the table, or is the leaf */
	u32 generation; /* tlbs.walk_generation, else not in use */
	u8 leaf_bits;   /* 0: a table */
	bool writable, user, nx;
};

/*
 * Which entry may write a host page, so that taking write permission from a page, which each new page
 * of code needs, seldom has to look through all tables. By a hash of the page.
 */
#define SX_WRITER_BITS 13
#define SX_WRITERS     4
struct sx_tlb_writers {
	struct sx_tlb_writer {
		u64 host; /* 0: none */
		struct sx_tlb *table;
		u64 lin;
	} of[SX_WRITERS];
	bool has_more; /* entries that have no place here */
};

static inline u64 sx_tlb_writers_slot(u64 host)
{
	return (host >> PAGE_SHIFT) * 0x9e3779b97f4a7c15 >> (64 - SX_WRITER_BITS);
}

/* Linear addresses where pieces of large pages were entered, in units of 2 MiB and of 1 GiB, hashed. Where another
 * address meets one of theirs, an INVLPG looks through all that is filled: the kernel's map of the memory alone
 * has 512 of them for each GiB. */
#define SX_LARGE_BITS 16
struct sx_tlbs {
	struct sx_tlb supervisor, empty, user[SX_SPACES], supervisor_ac[SX_SPACES];
	void *room; /* of all of them */
	struct sx_space space[SX_SPACES];
	unsigned current;           /* space */
	struct sx_tlb_entry *in_gs; /* what GS's base is, in the thread of the vCPU */
	u64 clock;
	bool has_global_low;      /* a global page of the lower half was entered, */
	bool has_global_low_code; /* code fetched from one */
	u32 generation;           /* the last one given away */
	u32 global_generation;    /* of code on global pages */
	u32 walk_generation;
	u64 kernel_code_pages[16]; /* as code_pages, for the jump cache's upper half */
	u64 large[2][(1u << SX_LARGE_BITS) / 64];
	struct sx_itlb_entry code[SX_ITLB_SIZE];
	struct sx_tlb_writers writers[1u << SX_WRITER_BITS];
	struct sx_walk_entry walk[1u << SX_WALK_BITS];
};

static inline struct sx_tlb_entry *sx_tlb_slot(struct sx_tlb_entry *table, u32 mask, u64 lin)
{
	u64 off = lin >> (PAGE_SHIFT - SX_TLB_ENTRY_SHIFT) & mask;

	return (struct sx_tlb_entry *)(void *)((u8 *)table + off);
}

void sx_tlb_init(struct sx_cpu *c);
void sx_tlb_fini(struct sx_cpu *c);
void sx_tlb_select(struct sx_cpu *c); /* after CPL, CR4.SMAP or AC changed */
void sx_tlb_choose(struct sx_cpu *c); /* after CPL or AC changed, and nothing else */
void sx_tlb_enter(struct sx_cpu *c);  /* before anything is executed by this thread */

/* The slot of lin in a set of the present address space. */
struct sx_tlb_entry *sx_tlb_find(struct sx_cpu *c, enum sx_tlb_set set, u64 lin);
/* Makes room in it for another page's: clear but for being known as filled. */
struct sx_tlb_entry *sx_tlb_replace(struct sx_cpu *c, enum sx_tlb_set set, u64 lin, bool is_global);
/* The entry of lin, which sx_tlb_replace gave, gets its tags. */
void sx_tlb_set_tags(struct sx_cpu *c, enum sx_tlb_set set, struct sx_tlb_entry *e, u64 page,
		     bool is_writable);
/* A piece of a page of 2^leaf_bits bytes was entered at lin. */
void sx_tlb_note_large(struct sx_cpu *c, u64 lin, unsigned leaf_bits);

/* Native code may use the page of an entry with a write tag, of the table in force, for accesses by RSP. */
void sx_tlb_note_stack(struct sx_cpu *c, const struct sx_tlb_entry *e);
/* Before anything that the entry says may not be so any more. Evicting it is no such thing. */
void sx_tlb_forget_stack(struct sx_cpu *c);

/* Code at lin goes into the jump cache. */
void sx_tlb_note_code(struct sx_cpu *c, u64 lin, bool is_global);
struct sx_itlb_entry *sx_itlb_slot(struct sx_cpu *c, u64 lin);
static inline bool sx_itlb_is_fresh(const struct sx_tlbs *t, const struct sx_itlb_entry *e)
{
	return e->generation ==
	       (e->page & SX_TLB_GLOBAL ? t->global_generation : t->space[t->current].generation);
}

void sx_tlb_flush(struct sx_cpu *c);               /* everything, global pages too */
void sx_tlb_flush_local(struct sx_cpu *c);         /* all but global pages, in all address spaces */
void sx_tlb_flush_page(struct sx_cpu *c, u64 lin); /* INVLPG */
/* Another address space, for MOV CR3; keeps what is known of it or forgets all but global pages. */
void sx_tlb_switch(struct sx_cpu *c, u64 pcid, bool keeps);
/* Address space pcid alone, present or not: all but global pages, one page. */
void sx_tlb_flush_space(struct sx_cpu *c, u64 pcid);
void sx_tlb_flush_space_page(struct sx_cpu *c, u64 pcid, u64 lin);
void sx_tlb_flush_writes(struct sx_cpu *c);                    /* write tags of all pages */
void sx_tlb_flush_writes_to(struct sx_cpu *c, const u8 *host); /* write tags of one page */

#endif

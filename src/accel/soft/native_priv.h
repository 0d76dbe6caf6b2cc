/*
 * The translator's inside.
 */
#ifndef ACCEL_SOFT_NATIVE_PRIV_H
#define ACCEL_SOFT_NATIVE_PRIV_H

#include "accel/soft/native.h"
#include "accel/soft/native_emit.h"
#include "accel/soft/native_mode.h"

/* Enters native code and comes back with RIP set, and what is to be done. Addresses are offsets in its memory. */
typedef uintptr_t sx_native_enter_fn(const u8 *code);
enum native_left {
	NATIVE_GO_ON = 0,
	NATIVE_STEP = 1, /* the instruction at RIP by the interpreter */
	/* With an address, in the bits above NATIVE_TAG_BITS: */
	NATIVE_LINK = 2,       /* of a jump's distance, which may lead to the block at RIP, ... */
	NATIVE_LINK_ENTRY = 3, /* ... by its entry */
	NATIVE_REPLACE = 4,    /* of the entry of a stale block: the one at RIP takes its place */
	NATIVE_INTERPRET = 5,  /* of the head of the block at RIP, which is the interpreter's now */
	NATIVE_LINK_PLAIN = 6, /* as LINK, to its plain code */
	NATIVE_LINK_FAR =
		7, /* executable, of the end of a jump to RIP in another page: native_far.c */
	NATIVE_LINK_LOOP = 8, /* as LINK, by its look at the request word */
};
#define NATIVE_TAG_BITS 4
/* Above 32 bits, of jumps inside a page and of NATIVE_REPLACE: of the head of the block that they are of. */
#define NATIVE_FROM_SHIFT 32
static inline u32 native_tagged(const struct sx_native *n, const void *written,
				enum native_left tag)
{
	return (u32)((const u8 *)written - n->write) << NATIVE_TAG_BITS | tag;
}

/* native_common.c: entry, exit, callout and missed returns, once for each vCPU. */
void sx_native_emit_common(struct sx_cpu *c);
/* Jumps to the native code at the RIP in R11, if it is known. Else goes on at the fields returned in miss, with
 * R11 as it was. Changes R10, R14. */
void sx_native_emit_look_up(struct emit *e, const struct sx_cpu *c, u8 *miss[2]);
/* The same, but R10 has where the target's entry in native_targets is, and nothing is jumped to. */
void sx_native_emit_find(struct emit *e, const struct sx_cpu *c, u8 *miss[2]);
/* The same by one branch, whose field is returned, and in the slot that the register `by` leads to, R10 or R11. R11 is
 * 0 then; where it goes on else, it is the entry's address less than it was. */
u8 *sx_native_emit_find_once(struct emit *e, const struct sx_cpu *c, unsigned by);
void sx_native_emit_go_to_found(struct emit *e, const struct sx_cpu *c);
/* Calls native_find[which] for the RIP in R11, and goes on at `again` (as written) where the table has it now, else
 * behind itself, with R11 as it was. Changes R10, R14. */
void sx_native_emit_call_find(struct emit *e, const struct sx_cpu *c, unsigned which, u8 *again);
/* native_find.c. Jumps to lin find the code next time. */
void sx_native_remember(struct sx_cpu *c, u64 lin, u8 *code);
/* Was the native code of b made for that linear address, if that matters to it? */
bool sx_native_is_for(const struct sx_cpu *c, const struct sx_block *b, u64 lin);
/* native.c. Is it, as written, in the code of blocks? */
bool sx_native_owns(const struct sx_native *n, const void *at);
/* The guest's registers that a C function may change go to memory, or come back. */
void sx_native_each_volatile(struct emit *e, const struct sx_cpu *c, bool is_store);
/* Calls a function in C whose address is kept in *function, with the vCPU as its first argument, on the thread's own stack. It
 * raises no exceptions. */
void sx_native_emit_call_c(struct emit *e, const struct sx_cpu *c, const void *function);

#define GUEST_RSP H_R15
#define IN_MEMORY 0xffu
/* The host register of a guest's. */
static inline unsigned host_of(unsigned guest)
{
	switch (guest) {
	case X86_RSP:
		return GUEST_RSP;
	case X86_R10:
	case X86_R11:
	case X86_R14:
	case X86_R15:
		return IN_MEMORY;
	}
	if (guest >= SX_REG_HIGH) /* without REX */
		return guest - SX_REG_HIGH + 4;
	return guest;
}

static inline struct opd opd_gpr(const struct sx_cpu *c, unsigned guest)
{
	return opd_near(&c->gpr[guest]);
}

/* What flags an instruction reads and writes. */
enum {
	FLAGS_READ = 1,
	FLAGS_WRITE = 2, /* all of them */
	FLAGS_MERGE = 4, /* some of them, or only sometimes: the rest must be there */
};

/* A general register before an instruction: delta more than it was when it got its version of the block. */
struct known {
	i32 delta;
	u8 version;
};

/* A jump behind which the translation goes on, at the next item: native_trace.c. */
enum seam {
	SEAM_NONE,
	SEAM_JUMP,      /* it always goes there */
	SEAM_NOT_TAKEN, /* it goes on behind itself, or out to its target */
	SEAM_TAKEN,     /* it goes on at its target, or out behind itself */
};

/* One instruction of the block being translated. */
struct item {
	struct sx_insn i; /* as decoded */
	u32 off;          /* in the page */
	u8 flags;         /* FLAGS_* */
	u8 seam;          /* enum seam */
	bool is_native;   /* else a callout, or the end */
	bool is_live;     /* flags are needed by it or behind it */
	bool is_live_after;
	bool is_live_out; /* ... where a seam leads out */
	u8 window[2];     /* 1 + that of its operand, of its access by the stack pointer; 0: none */
	struct known known[X86_GPRS];
};

/* A memory operand; registers as in struct sx_insn. */
struct access {
	u8 base, index, scale; /* base: SX_REG_RIP: disp is from the page's start */
	u8 seg;                /* whose base is added, or ACCESS_FLAT */
	u8 width;              /* bytes of the offset */
	bool has_limit;        /* of the segment, which is looked at; all is of 32 bits then */
	bool is_write;
	bool is_stack; /* implied, by the stack pointer */
	u16 size;
	i32 disp;
};
#define ACCESS_FLAT 0xffu

/* Accesses of a block that share a check: native_window.c. lo, hi: by the registers as they were with delta 0. */
struct window {
	u8 base, index, scale;
	u8 base_version, index_version;
	u8 place, first, last;       /* instructions: before which its check is; its accesses' */
	bool is_write, starts_write; /* one of them is, the first is */
	i32 lo, hi;
};
#define SX_WINDOWS ARRAY_SIZE(((struct sx_cpu *)NULL)->native_windows)

/* Where the truth about the flags is. */
enum flags_home { FLAGS_HOST, FLAGS_MEMORY, FLAGS_DEAD };

/* Code out of line: what happened, and where the jump is that leads to it. */
enum slow_kind {
	SLOW_CALLOUT,   /* the instruction by the interpreter, then back to `rejoin` */
	SLOW_STEP,      /* the same, for one that ends the block: native code is left */
	SLOW_SPLIT,     /* windows are open: to the plain code of the block that begins there */
	SLOW_EDGE,      /* a jump into the page that isn't linked yet */
	SLOW_FAR,       /* a jump out of the page */
	SLOW_FIND,      /* a target in R11 that native_targets has not: to `rejoin`, or as STEP */
	SLOW_RETURN,    /* one that isn't the last call's: to R11 */
	SLOW_FULL,      /* the return stack */
	SLOW_ENTRY,     /* the page was written since, or somebody wants the vCPU */
	SLOW_INTERPRET, /* SIMD isn't ready: the whole block by the interpreter */
	SLOW_NEXT,      /* it isn't any more after a callout: the rest by the interpreter */
};
struct slow {
	enum slow_kind kind;
	u8 *field; /* the jump's distance */
	u8 *stub;  /* where it leads */
	u32 index; /* of the instruction */
	/* EDGE, FAR: */
	i64 target;            /* offset in the page */
	enum native_left link; /* how it will lead there */
	bool spills_flags;     /* they are in EFLAGS, and wanted there */
	bool has_upper;        /* at the jump */
	/* CALLOUT, FULL, FIND: */
	u8 *rejoin;
	bool loads_flags;
	/* Of a TLB's check: what it was for, as sx_native_fill has it (0: it is none), of what address, where
	 * to go on with what is to be added to it, and the registers that must be in place there. */
	u32 what;
	u8 stride; /* 1 + which of sx_strides it looks at first; 0: none */
	u16 span;  /* then: of its bytes */
	struct opd linear;
	u8 *filled;
	u16 xmm_there, ymm_there;
	u16 xmm_dirty, xmm_valid; /* at the jump, and where it comes back */
	u16 ymm_dirty, ymm_valid; /* the upper halves */
	u32 x87_off;              /* at the jump */
};
#define SLOW_MAX  480
#define EDGE_MAX  240
#define ITEMS_MAX 112 /* more than a block has, for traces */

#define X87_NONE (~(u32)0)

struct translation {
	struct sx_cpu *c;
	struct sx_block *b;
	struct emit e;
	struct item items[ITEMS_MAX];
	unsigned n_items;
	struct sx_native_block *head; /* as written */
	u8 *entry, *loop, *inner; /* as written: with the checks, with the second, behind them */
	const struct sx_block
		*at;        /* the decoded block that the items have come to; NULL: not known */
	u8 *cold, *hot_end; /* where the code out of line begins, where the other ends */
	u64 lin;            /* of the block's page, */
	u32 base;           /* CS's base */
	bool is_bound;      /* ... and they are constants to it */
	const u8 *page;     /* `bytes`, which are the block's page's; NULL: not to be had */
	u32 first, end;     /* bytes of it that were looked at */
	enum flags_home flags;
	bool is_live_at_end; /* flags; where the end is a conditional jump, if it isn't taken */
	bool is_live_taken;  /* ... if it is */
	unsigned fpu_needs;  /* the block's: enum sx_fpu_need */
	u16 xmm_valid,
		xmm_dirty; /* XMM registers that are in the host's; newer there than in c->fpu */
	u16 ymm_valid, ymm_dirty; /* the same of upper halves */
	bool has_upper;           /* the host's upper halves may not be zero */
	u32 x87_off; /* of the x87 instruction whose address c->fpu.fip hasn't got yet; X87_NONE */
	bool is_plain; /* without windows */
	bool closes; /* the trace goes on in code that there is, since that leads back to its head */
	unsigned origin; /* the load of an indirect jump's target; n_items: none: native_origin.c */
	bool is_origin_noted; /* in c->native_origin */
	u16 steady; /* general registers that change in steps, or not at all, in a loop that it is; else none */
	struct window windows[SX_WINDOWS];
	unsigned n_windows, next_window; /* whose check is emitted next */
	/* Unless e.changed says otherwise: R14 has what is to be added in this one's; R10 the registers' sum at
	 * instruction r10_index, where the window's lo is r10_disp further. */
	const struct window *held, *in_r10;
	u8 r10_index;
	i32 r10_disp;
	struct slow slow[SLOW_MAX + 1]; /* the last: where there is no room */
	unsigned n_slow;
	struct sx_native_edge edges[EDGE_MAX];
	unsigned n_edges;
	u8 bytes[PAGE_SIZE];
};

/* native_effects.c. What it writes of rm and reg, which are those of an integer instruction; bytes of rm. */
enum { NATIVE_WRITES_RM = 1, NATIVE_WRITES_REG = 2 };
unsigned sx_native_writes(const struct sx_insn *i);
unsigned sx_native_rm_bytes(const struct sx_insn *i);
/* General registers that may be others afterwards, by the guest's numbers. */
u16 sx_native_changes(const struct item *it, u32 mode);
bool sx_native_adds(const struct sx_insn *i, unsigned *reg, i64 *by);
/* The accesses that go by sx_native_memory and sx_native_aligned, in their order. */
unsigned sx_native_accesses(const struct translation *t, const struct item *it,
			    struct access out[2]);
/* It may fault, or be left to the interpreter, for another reason than that a page is missing. */
bool sx_native_may_call_out(const struct item *it, u32 mode);

/* native_window.c */
void sx_native_plan_windows(struct translation *t);
/* Is one open behind the instruction that was before it? */
bool sx_native_is_shared_across(const struct translation *t, unsigned index);
bool sx_native_has_checks(const struct translation *t, unsigned index);
void sx_native_emit_checks(struct translation *t, unsigned index);
struct window *sx_native_window_of(struct translation *t, unsigned index, const struct access *a);
/* Was its operand's alignment looked at with the window? */
bool sx_native_is_aligned(const struct translation *t, unsigned index, const struct window *w);
struct opd sx_native_shared(struct translation *t, unsigned index, const struct access *a,
			    struct window *w);

/* native_classify.c: which flags it touches, and whether native_insn can do it. */
void sx_native_classify(struct item *it, u32 mode);
bool sx_native_is_high_byte(const struct sx_insn *i);

/* RIP of what is at off in the page, where the block is bound. */
static inline u32 sx_native_ip(const struct translation *t, i64 off)
{
	return (u32)((i64)t->lin + off) - t->base;
}

/* native_trace.c. Does the translation go on behind the jump it, the last so far? Then it is a seam. */
bool sx_native_goes_on(struct translation *t, struct item *it);
/* Does its end lead to its beginning? */
bool sx_native_is_loop(const struct translation *t);
/* General registers that a loop, which the trace is, changes by steps of one size, or not at all. */
u16 sx_native_steady(const struct translation *t);
/* Is the byte there part of an instruction that it has? */
bool sx_native_is_in_trace(const struct translation *t, i64 off);
/* Where it goes on behind it, and where it leads out, in the page. */
i64 sx_native_seam_next(const struct translation *t, const struct item *it);
i64 sx_native_seam_out(const struct translation *t, const struct item *it);

/* native_flow.c: where a relative jump, which is at `it`, leads, from the page's start. */
i64 sx_native_target(const struct translation *t, const struct item *it);
/* Does it stay in the segment? */
bool sx_native_jumps_well(const struct translation *t, const struct item *it);
/* A conditional jump behind which it goes on. */
void sx_native_seam(struct translation *t, unsigned index);
/* The instruction ends the block. */
void sx_native_end(struct translation *t, unsigned index);
/* Is it an instruction whole in the page? One that goes on in the next is found by its linear address only. */
bool sx_native_is_whole(struct translation *t, i64 off);
/* reg = the canonical address that has the low 48 bits of the one in `from`. */
void sx_native_canonical(struct emit *e, unsigned reg, unsigned from);
/* To the code at target in the page, from the instruction at `from`. */
void sx_native_go(struct translation *t, i64 target, i64 from);
void sx_native_slow_edge(struct translation *t, const struct slow *s);
void sx_native_slow_far(struct translation *t, const struct slow *s);
void sx_native_slow_return(struct translation *t, const struct slow *s);
void sx_native_slow_full(struct translation *t, const struct slow *s);

/* native_origin.c. Looks for it; before the instruction: notes it, if it is that; R10 = its address, or false. */
void sx_native_find_origin(struct translation *t);
void sx_native_note_origin(struct translation *t, unsigned index);
bool sx_native_origin(struct translation *t);

/* native_far.c: to the code at target, in another page. */
void sx_native_far(struct translation *t, i64 target);
void sx_native_emit_far_miss(struct emit *e, struct sx_cpu *c);
/* The jump whose end is at `end`, as written, leads to entry, which is the linear address lin's. */
void sx_native_link_far(struct sx_cpu *c, u8 *end, u64 lin, const u8 *entry);

/* native_block.c */
void sx_native_jump_to_exec(struct translation *t, const u8 *exec);
void sx_native_leave_with(struct translation *t, u32 left, i64 target);
/* The jump at field leads to target in the page once it is linked; the code that asks for that. */
void sx_native_add_edge(struct translation *t, u8 *field, enum native_left tag, i64 target);
void sx_native_spill_at_end(struct translation *t);
/* To the counted instructions; nothing where none are. */
void sx_native_add_retired(struct translation *t, i64 n);
/* Calls call_out or end_out for the instruction. */
void sx_native_call_out(struct translation *t, unsigned index, const u8 *function);

/* native_simd.c: MMX and SSE. */
bool sx_native_is_simd(const struct sx_insn *i);
bool sx_native_simd_writes_rm(const struct sx_insn *i);
void sx_native_simd(struct translation *t, unsigned index);
static inline bool sx_native_wants_alignment(const struct sx_insn *i)
{
	return sx_insn_form(i)->attr & SX_A_ALIGN;
}
/* The memory operand, checked, aligned where the instruction wants that. */
struct opd sx_native_vector_memory(struct translation *t, unsigned index, bool is_write);
/* Low halves, upper halves. */
void sx_native_store_vectors(struct translation *t, u16 low, u16 high);
void sx_native_load_vectors(struct translation *t, u16 low, u16 high);
/* c->fpu has all XMM registers, the host's none, and the address of the last x87 instruction. */
void sx_native_flush_fpu(struct translation *t);

/* native_vex.c; the two that store and load: for blocks that need AVX. */
bool sx_native_is_vex(const struct sx_insn *i);
bool sx_native_vex_writes_rm(const struct sx_insn *i);
u8 sx_native_vex_flags(const struct sx_insn *i); /* FLAGS_* */
unsigned sx_native_vex_needs(const struct sx_insn *i);
void sx_native_vex(struct translation *t, unsigned index);
void sx_native_vex_store(struct translation *t, u16 low, u16 high);
void sx_native_vex_load(struct translation *t, u16 low, u16 high);

/* native_x87.c */
bool sx_native_is_x87(const struct sx_insn *i);
bool sx_native_x87_is_store(const struct sx_insn *i);
u8 sx_native_x87_flags(const struct sx_insn *i); /* FLAGS_* */
void sx_native_x87(struct translation *t, unsigned index);
void sx_native_store_fip(struct translation *t, u32 off); /* X87_NONE: does nothing */
unsigned sx_native_fpu_needs(const struct sx_insn *i);

/* native_odd.c: integer instructions that need more than their own opcode. */
bool sx_native_is_odd(const struct sx_insn *i);
u8 sx_native_odd_flags(const struct sx_insn *i); /* FLAGS_* */
void sx_native_odd(struct translation *t, unsigned index);

/* native_system.c: what a kernel executes all the time. Is it one that may be translated there? */
bool sx_native_is_system(const struct sx_insn *i);
/* It may, in this block: its flags are set. */
bool sx_native_system_classify(struct translation *t, struct item *it);
/* False: it is none of those. */
bool sx_native_system(struct translation *t, unsigned index);
/* As sx_flags_of_cc, to R11, and sx_cc_of_flags, of R11, which goes. R14 is scratch. */
void sx_native_flags_of_cc(struct translation *t);
void sx_native_cc_of_flags(struct translation *t);
/* native_syscall.c: SYSCALL and SYSRET, in front of the callout for what it leaves to that; nothing, if it is another. */
void sx_native_syscall(struct translation *t, unsigned index);
/* native_string.c */
bool sx_native_is_string(const struct sx_insn *i, u32 mode);
void sx_native_string_insn(struct translation *t, unsigned index);
void sx_native_emit_strings(struct emit *e, struct sx_cpu *c);

/* native_segment.c */
bool sx_native_is_segment(const struct sx_insn *i);
void sx_native_segment(struct translation *t, unsigned index);

/* native_stack.c */
bool sx_native_is_stack(const struct sx_insn *i);
void sx_native_stack_insn(struct translation *t, unsigned index);
/* PUSHA, POPA. */
void sx_native_stack_all(struct translation *t, unsigned index);
/* An operand on the stack, at rSP (or rBP) + disp, before that moves. */
struct access sx_native_stack_access(const struct translation *t, unsigned reg, i32 disp,
				     unsigned size, bool is_write);
/* The guest's rSP = the host register + disp, to the stack's width. */
void sx_native_stack_move(struct translation *t, unsigned reg, i32 disp);

/* native_insn.c */
void sx_native_insn(struct translation *t, unsigned index);
void sx_native_load_flags(struct translation *t);
void sx_native_spill_flags(struct translation *t);

/* native_mem.c. Out of line: a look into the TLB, whose page is kept in the slow path's stride. */
void sx_native_slow_stride(struct translation *t, const struct slow *s);
/* The code out of line of a check: fills the TLB, or goes on behind itself. */
void sx_native_slow_fill(struct translation *t, const struct slow *s);
/* reg = the operand's offset, LEA's result, cut to size. R10, R11 are scratch. */
void sx_native_offset(struct translation *t, const struct item *it, unsigned reg, unsigned size);
struct access sx_native_access(const struct translation *t, const struct item *it, unsigned size,
			       bool is_write);
/* r10 = the operand's linear address; the same, r10 being its offset, perhaps too wide. R11 is scratch. */
void sx_native_address(struct translation *t, unsigned index, const struct access *a);
void sx_native_linear(struct translation *t, unsigned index, const struct access *a,
		      bool may_rejoin);
/* The operand, checked: in terms of R10 and R14, which are to be left alone until it was used. R11 is scratch.
 * What isn't plain is the interpreter's. */
struct opd sx_native_memory(struct translation *t, unsigned index, const struct access *a,
			    bool may_rejoin);
struct opd sx_native_aligned(struct translation *t, unsigned index, const struct access *a);
/* lin is a multiple of size, else the instruction is the interpreter's. R11 is scratch. */
void sx_native_check_alignment(struct translation *t, unsigned index, struct opd lin,
			       unsigned size);
/* r14 = the TLB's slot of the linear address in reg. */
void sx_native_slot(struct emit *e, const struct sx_cpu *c, unsigned reg);
/* r10 = host address of size bytes at the linear address in r10; else to the slow path. */
void sx_native_check(struct translation *t, unsigned index, unsigned size, bool is_write,
		     bool may_rejoin);
/* Never NULL. */
struct slow *sx_native_add_slow(struct translation *t, enum slow_kind kind, u8 *field,
				unsigned index);
/* It is a check's, whose code ends here: of the address lin; what: as sx_native_fill has it. */
void sx_native_set_fill(struct translation *t, struct slow *s, struct opd lin, u32 what);
/* The linear address as a host register and a distance, which are the guest's own, or R10; R11 is scratch. */
struct opd sx_native_lin(struct translation *t, unsigned index, const struct access *a);
/* r14 = what is to be added to a linear address in lin's page, if it has all of size bytes. */
struct slow *sx_native_check_at(struct translation *t, unsigned index, struct opd lin,
				unsigned size, bool is_write, enum slow_kind kind);

/* The host register that has the guest's, by way of scratch if it is in memory. */
static inline unsigned guest_in(struct translation *t, unsigned guest, unsigned scratch)
{
	if (host_of(guest) != IN_MEMORY)
		return host_of(guest);
	e_load(&t->e, scratch, opd_gpr(t->c, guest));
	return scratch;
}

/* The opcode of the instruction's row, with map and prefixes. */
u32 sx_native_opcode(const struct sx_insn *i);

#endif

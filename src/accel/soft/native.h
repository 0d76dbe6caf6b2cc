/*
 * Native code: hot blocks of decoded instructions as host instructions.
 *
 * A block that was entered often is translated; its first handler then enters the native code (sx_native_enter).
 * Guest registers live in host registers there, 11 of them in the same one; RSP is in R15, and R10, R11, R14, R15 stay
 * in memory, because their host registers are the translator's scratch. Flags are in EFLAGS, or in c->cc in the
 * interpreter's form.
 *
 * What the translator doesn't know, and every access that isn't to plain memory, is done by the interpreter,
 * one instruction at a time (a callout), on a state that is complete in memory. So faults, devices,
 * code that changes itself and page crossings have no second implementation. Where the TLB merely hasn't
 * got the page, it is filled by a call (fill) and the instruction goes on.
 *
 * While native code runs, gpr[SX_RIP] is the linear address of the block's page: jumps inside it leave RIP
 * alone. In 16- and 32-bit code whose CS has a base it isn't even RIP, and both ways are converted where native code
 * is entered, left, or calls out. Everywhere else it is RIP.
 *
 * A block that is entered from another page, by a return, or by a split (native_window.c), looks whether its page was
 * written and whether somebody wants the vCPU. Patched jumps in the page come behind that: backwards to the second look,
 * so that every loop has it, forwards behind both. Who writes code asks for all vCPUs (sx_ask_to_look_at_code), whose
 * way back is the first look. Jumps to other pages are patched under conditions (native_far.c); else, and where they are
 * indirect, they look the target up in native_targets, and what that hasn't got by a call (native_find.c). A call pushes
 * where it returns to on a stack of its own, which is the host's stack while native code runs, and calls; a return that
 * finds its target there returns, so that the host predicts it. What these remember is good for one native_key: mode and
 * TLB generation.
 *
 * Memory: one reservation for a vCPU holds struct sx_cpu and, near it, code that can be executed; the
 * same pages are mapped a second time for writing. No page is ever writable and executable by one address.
 *
 *     [ struct sx_cpu | guard | code, read and execute ]        [ code, read and write ]
 */
#ifndef ACCEL_SOFT_NATIVE_H
#define ACCEL_SOFT_NATIVE_H

#include "accel/soft/cpu.h"
#include "accel/soft/insn.h"
#include "accel/soft/native_perf.h"

struct err;
struct sx_block;

/* What is known of a block's code, whose address stands in front of it. */
struct sx_native_block {
	u32 *code;  /* the page's code word ... */
	u32 *code2; /* of an instruction across two pages: the same of the second; else NULL */
	u64 page;   /* linear, which it is bound to: native_mode.h */
	u32 word;   /* ... under which the block is good */
	u32 mode;
	/* In the memory of native code: its code, the same behind the look at the word, and behind all checks, its
	 * edges and behind them bytes. */
	u32 entry, loop, inner, edges;
	u16 n_edges;
	/* Bytes of the page that it was made of or that were looked at; those that aren't the block's are kept. */
	u16 first, n_bytes;
	u8 word_at, word2_at; /* from entry on: where the words stand in its code */
	u8 fpu_needs;         /* enum sx_fpu_need */
};

/* A jump of a block into its own page, by offsets in the memory of native code. */
struct sx_native_edge {
	u32 field; /* the jump's distance */
	u32 stub;  /* where it leads while it isn't linked */
};

/* One instruction at lin, for callouts: as struct sx_native_target. */
#define SX_STEP_BITS 10
struct sx_native_step {
	u64 lin, key;
	struct sx_block *block;
};

struct sx_native {
	u8 *exec, *write; /* the two mappings */
	/* Two parts: code that is executed all the time, from the start; from cold_start on what is out of line, and
	 * what is known of blocks. So the first is dense. */
	u64 size, used;
	u64 cold_start, cold_size, cold_used;
	u64 common; /* bytes at the start: code that all blocks share */
	/* Executable addresses of that: out, in, out with RIP in R11; see native_common.c for others. */
	const u8 *leave, *enter, *leave_by[2], *leave_to, *return_miss, *call_out, *end_out, *fill,
		*fill_stack, *segment, *tsc, *invlpg;
	const u8 *find[3],
		*find_or_leave; /* as sx_cpu.native_find, and to the slot in R10; RIP in R11 */
	const u8 *look_up;      /* RIP in R11 */
	const u8 *far_miss[2];  /* native_far.c; of 64-bit code, of other */
	const u8 *string, *string_short[2][4]; /* native_string.c; STOS, MOVS */
	bool has_rorx;                         /* the host has BMI2 */
	bool has_gs_base; /* ... and lets programs set GS's base: sx_tlb_choose */
	u8 next_stride
		[2 * SX_STACK_SPANS]; /* of struct sx_strides: each kind's are given away in turn */
	u32 heat;                     /* how often a block is entered before it is translated */
	bool is_undone; /* a callout did nothing, for want of room: the instruction at RIP comes first */
	struct sx_perf *perf; /* where names of code go */
	struct sx_native_step steps[1u << SX_STEP_BITS];
};

/*
 * The memory of one vCPU, zeroed, with room for native code as the engine wants it. Before the process
 * is confined: afterwards nothing can be made executable. Where nothing can be from the start, AUTO
 * goes on without and writes the reason into note. perf is borrowed. Freed by sx_native_free.
 */
int sx_native_new(enum accel_engine engine, struct sx_perf *perf, struct sx_cpu **out, char *note,
		  size_t note_size, struct err *err);
void sx_native_free(struct sx_cpu *c);

/* What stands in front of a block's code. */
struct sx_native_block *sx_native_head(const struct sx_cpu *c, const u8 *code);

/* All code goes; with the decoded blocks, when none is being executed. */
void sx_native_drop(struct sx_cpu *c);
/* What is remembered of jumps, calls and callouts; of callouts alone. */
void sx_native_forget(struct sx_cpu *c);
void sx_native_forget_steps(struct sx_cpu *c);

/* A new block: native code may be made of it once it is hot. */
void sx_native_watch(struct sx_cpu *c, struct sx_block *b);
/* The block's page was written, its bytes are the same: it is good under another word. page: as it is. */
void sx_native_revalidated(struct sx_cpu *c, struct sx_block *b, const u8 *page);

/* One of an instruction across two pages (code2) was found again, perhaps on other pages, or written ones. */
void sx_native_refound(struct sx_cpu *c, struct sx_block *b);

/* native_block.c: false: it isn't worth it, or there is no room. */
bool sx_native_translate(struct sx_cpu *c, struct sx_block *b);
bool sx_native_translate_plain(struct sx_cpu *c, struct sx_block *b);
/* Called by native code: an instruction by the interpreter. what: its offset in the page; with it, so many were
 * counted and not executed (<< 12); NATIVE_UNKNOWN: it isn't translated. */
enum native_callout sx_native_callout(struct sx_cpu *c, u32 what, const struct sx_native_block *n);
#define NATIVE_OFF           0xfffu
#define NATIVE_REST(w)       ((w) >> 12 & 127)
#define NATIVE_UNKNOWN       BIT32(31)
#define NATIVE_SYSCALL       BIT32(30)
#define NATIVE_SYSRET        BIT32(29) /* to 64-bit code */
#define NATIVE_IRET          BIT32(28) /* of 64 bits */
#define NATIVE_SYSCALL_BYTES 2
/* The same for one that ends the block: RIP is set. Never GOES: it may go on there. */
enum native_callout sx_native_end_callout(struct sx_cpu *c, u32 what,
					  const struct sx_native_block *n);
/* native_find.c. Called by native code where native_targets hasn't got lin: true: it has now. The other: for the jump
 * out of its page at native_target, which is linked. */
bool sx_native_find(struct sx_cpu *c, u64 lin);
bool sx_native_find_far(struct sx_cpu *c, u64 lin);
/* Called by native code where the TLB hasn't got lin: the host address for an access of size bytes, or 0:
 * the instruction is the interpreter's. what: size and these. */
#define SX_NATIVE_WRITE BIT32(16)
#define SX_NATIVE_STACK BIT32(17) /* it is RSP's: the page may become the stack's */
#define SX_NATIVE_PROBE BIT32(18) /* no write yet: only if the TLB lets it be one already */
#define SX_NATIVE_ONCE  BIT32(19) /* one load: a copy of two pages' bytes does */
u64 sx_native_fill(struct sx_cpu *c, u64 lin, u32 what);
/* Called by native code. True: jumps may lead elsewhere now. */
bool sx_native_invlpg(struct sx_cpu *c, u64 lin);
/* Called by native code: MOVS, STOS, CMPS, SCAS whose addresses are 64 bits wide, or 32 in flat segments, page by page,
 * by the registers in memory; false: what is left of it is the interpreter's (interp_string.c). what: enum sx_op and these. */
#define SX_STRING_OP         0xfffu
#define SX_STRING_SIZE_SHIFT 12
#define SX_STRING_REPEATS    0x10000u
#define SX_STRING_REPNE      0x20000u
bool sx_native_string(struct sx_cpu *c, u32 what);

#endif

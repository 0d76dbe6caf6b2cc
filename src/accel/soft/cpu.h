/*
 * The state of one software CPU, laid out for speed.
 *
 * It holds what struct x86_cpu_state holds (state.c converts), and what the interpreter derives
 * from it: the mode word, software TLBs, decoded blocks. The hot fields come first. All of it
 * belongs to the vCPU's thread, save the few atomics that say otherwise.
 *
 * Three conventions that the whole folder rests on:
 *
 * - gpr[] has two more slots than the guest: SX_ZERO always holds 0 (an absent base or index),
 *   SX_RIP holds the RIP of the current block's first instruction. An instruction knows its offset
 *   in the block, so RIP costs nothing until someone asks (sx_rip in exec.h).
 * - The arithmetic flags live in `cc` as the host's LAHF and SETO leave them in AX: OF in bit 0,
 *   CF 8, PF 10, AF 12, ZF 14, SF 15. The rest of RFLAGS is in `sysflags` (sx_rflags, flags.h).
 * - A handler changes no guest state before its last access that can fault; faults leave by
 *   sx_throw (exec.h), which unwinds to the run loop.
 */
#ifndef ACCEL_SOFT_CPU_H
#define ACCEL_SOFT_CPU_H

#include "accel/accel.h"
#include "accel/soft/count.h"
#include "accel/soft/tlb.h"
#include "clock/tsc_line.h"

struct gmem_map;
struct gmem_range;
struct sx_accel;
struct sx_block;
struct sx_cache;
struct sx_insn;
struct sx_lockstep;
struct sx_native;
struct sx_native_block;

enum {
	SX_ZERO = X86_GPRS, /* reads as 0, never written */
	SX_RIP,             /* RIP of the current block's first instruction */
	SX_RIP_NEXT,        /* scratch: RIP of the next instruction, where a displacement is huge */
	SX_SLOTS,
};

/* One more segment than the guest: base 0, no limit, for 64-bit addresses without FS or GS. */
#define SX_SEG_NONE X86_SEGS
#define SX_SEGS     (X86_SEGS + 1)

/*
 * The mode word: all that decoding and the choice of handlers depend on. It is part of a block's
 * key, and is recomputed (sx_mode_update, segment.h) when CS, SS, CPL, CR0, EFER or a segment's
 * flatness change.
 */
enum sx_mode {
	SX_MODE_64 = 1 << 0,   /* 64-bit code: EFER.LMA and CS.L */
	SX_MODE_32 = 1 << 1,   /* CS.D, outside 64-bit code */
	SX_MODE_SS32 = 1 << 2, /* SS.B, outside 64-bit code */
	SX_MODE_USER = 1 << 3, /* CPL 3 */
	SX_MODE_PE = 1 << 4,   /* protected mode, not virtual-8086 */
	SX_MODE_V86 = 1 << 5,  /* virtual-8086 */
	/* Outside 64-bit code: CS's base is 0, DS, ES, SS have base 0, limit 4 GiB, and are usable as they should be. */
	SX_MODE_FLAT = 1 << 6,
	SX_MODE_LIMITED = 1 << 7, /* CS's limit is below 4 GiB */
	SX_MODE_STEP =
		1 << 8, /* blocks of one instruction: TF, I/O breakpoints, interrupt shadow */
	SX_MODE_MIDDLE = 1 << 9, /* CPL 1 or 2: not translated */
	SX_MODE_BREAK =
		1
		<< 10, /* there are code breakpoints: blocks that may have one are known (debug.h) */
	/* Above: which CS it is, by base and limit: a number of block.h's table. 0: base 0, 4 GiB, or 64-bit code. */
	SX_MODE_SEGMENT = 1 << 12,
};
#define SX_MODE_SEGMENT_BITS 12

/* Bits of `request`: any thread sets them (sx_request), the vCPU serves them between blocks. */
enum sx_request {
	SX_REQ_KICK = 1 << 0,         /* look at is_wanted and at the APIC's pending events */
	SX_REQ_FLUSH_TLB = 1 << 1,    /* the memory map changed */
	SX_REQ_FLUSH_WRITES = 1 << 2, /* write permission was revoked: new code pages, dirty log */
	SX_REQ_CLOCK = 1 << 3,        /* write the paravirtual clock page again */
	/* Set by the vCPU itself. */
	SX_REQ_STEP = 1 << 4,       /* leave the chain of blocks after every one */
	SX_REQ_RESET = 1 << 5,      /* triple fault */
	SX_REQ_BROKEN = 1 << 6,     /* lockstep found a difference */
	SX_REQ_FLUSH_PAGE = 1 << 7, /* as FLUSH_WRITES, of one page: sx_cpu.flush_page */
};

struct sx_seg {
	u64 base;
	u32 limit; /* in bytes */
	u32 attr;  /* X86_ATTR_* */
	u16 selector;
};

/* The FPU's and SSE's state, live in XSAVE's standard form (SDM 1, 10.5.1 and 13.4). */
struct sx_fpu {
	u16 fcw, fsw;
	u8 ftw; /* abridged: a bit for each physical register that is not empty */
	u8 reserved1;
	u16 fop;
	u64 fip, fdp;
	u32 mxcsr, mxcsr_mask;
	u8 st[8][16]; /* ST(0) first */
	u8 xmm[16][16];
	u8 reserved2[96];
	u64 header[8];
	u8 ymm_high[16][16];
} __attribute__((aligned(64)));
static_assert(offsetof(struct sx_fpu, mxcsr) == X86_FXSAVE_MXCSR, "XSAVE's layout");
static_assert(offsetof(struct sx_fpu, st) == X86_FXSAVE_ST0, "XSAVE's layout");
static_assert(offsetof(struct sx_fpu, xmm) == X86_FXSAVE_XMM0, "XSAVE's layout");
static_assert(offsetof(struct sx_fpu, header) == X86_XSAVE_HEADER, "XSAVE's layout");
static_assert(offsetof(struct sx_fpu, ymm_high) == X86_XSAVE_YMM, "XSAVE's layout");
static_assert(sizeof(struct sx_fpu) == X86_XSAVE_SIZE, "XSAVE's layout");

/* What of it handlers may use at once (fpu.h): it was checked, or is in the host's registers. */
struct sx_fpu_live {
	bool sse; /* CR0 and CR4 let SSE instructions run */
	bool fp;  /* so they do, and the host's MXCSR is the guest's: all exceptions masked */
	bool avx; /* CR0, CR4 and XCR0 let AVX instructions run, and SSE ones */
	bool x87; /* CR0 lets x87 run; the host's x87 registers are the guest's, fpu's are stale */
	bool is_x87_unmasked; /* the guest wants to see some of its exceptions */
	bool x87_masked;      /* x87, and it wants to see none: for native code */
};

/* Where native code goes on at lin: good as long as key is the vCPU's native_key. */
#define SX_TARGET_BITS 13
struct sx_native_target {
	u64 lin, key;
	u8 *code;
} __attribute__((aligned(32)));
/* The low bits of an address, by which those of one page differ, meet its higher ones above the others. */
#define SX_TARGET_TURN (32 - SX_TARGET_BITS)
static inline u32 sx_native_target_slot(u64 lin)
{
	u32 turned = (u32)lin >> SX_TARGET_TURN | (u32)lin << (32 - SX_TARGET_TURN);

	return (turned ^ (u32)lin) / sizeof(struct sx_native_target) % (1u << SX_TARGET_BITS);
}
/* Address spaces have code at the same addresses: each begins elsewhere in the table, by so many slots. */
#define SX_TARGET_STEP 1024u
/* What native_link is where no such jump may be taken as linked, and what stands in one that never was. */
#define SX_LINK_NONE  (~(u32)0)
#define SX_LINK_NEVER (~(u32)1)
/* A call's: where native code goes on when it returns to rip. */
struct sx_native_return {
	u8 *code;
	u64 rip, key;
};
#define SX_RETURNS 512
/* Beneath the return stack: signals are handled on it. */
#define SX_RETURNS_SLACK (64 * KIB)

/* Where a callout has it go on: behind the instruction, out of native code, in native code at RIP. */
enum native_callout { NATIVE_STAYS, NATIVE_LEAVES, NATIVE_GOES };

/* An event to be delivered through the IDT. */
struct sx_event {
	bool is_set;
	u8 vector;
	u8 kind; /* enum x86_event */
	bool has_code;
	u32 code;
	u64 dr6;       /* debug exceptions: bits to set in DR6 */
	u8 insn_len;   /* soft ones: return to after the instruction */
	bool is_int_n; /* soft ones: INT n, which virtual-8086 mode may trap */
};

struct sx_cpu {
	u64 gpr[SX_SLOTS];
	u16 cc;
	/* Atomic, written by any thread. Also the futex that a halted vCPU waits on. */
	u32 request;
	struct sx_tlb_entry *tlb; /* of the current privilege: one of tlbs */
	u32 tlb_mask;             /* ... of its slots, times their size */
	u32 mode;                 /* enum sx_mode */
	u32 jump_generation[2];   /* of the jump cache's entries: user half, kernel half; 31 bits */
	bool is_stepping;         /* blocks return when they end */
	struct sx_block *block;   /* being executed */
	u64 retired;              /* instructions of all blocks entered ... */
	bool counts_insns;        /* ... by native code too, else by the interpreter alone */
	u64 stop_at;              /* atomic: at so many, the run loop is wanted; counted clocks */
	struct sx_cache *cache;   /* decoded code */
	struct sx_native *native; /* NULL: nothing is translated */
	/* For native code: what it calls, and registers that didn't fit (native.h). */
	enum native_callout (*native_callout)(struct sx_cpu *c, u32 what,
					      const struct sx_native_block *n);
	enum native_callout (*native_end_callout)(struct sx_cpu *c, u32 what,
						  const struct sx_native_block *n);
	u64 (*native_fill)(struct sx_cpu *c, u64 lin, u32 what);
	u64 (*native_tsc)(struct sx_cpu *c);
	bool (*native_invlpg)(struct sx_cpu *c, u64 lin);
	bool (*native_segment)(struct sx_cpu *c, u16 selector, u32 seg);
	struct tsc_line
		tsc_line; /* the guest's TSC, its offset in it; without length: ask sx_tsc */
	bool (*native_string)(struct sx_cpu *c, u32 what);
	bool (*native_find[2])(struct sx_cpu *c, u64 lin); /* sx_native_find, sx_native_find_far */
	u64 native_target, native_lin;
	u64 native_origin;                    /* native_origin.c */
	struct sx_native_target *native_slot; /* to be filled: native_common.c */
	u32 native_what;                      /* of a fill at hand */
	u64 native_windows
		[32]; /* what is to be added to addresses, of each of a block's: native_window.c */
	u8 crossing[64]; /* a copy of two pages' bytes, for one load (SX_NATIVE_ONCE) */
	/* The page that the stack was in last, as user and as supervisor: of the privilege at hand, and of the other. */
	struct sx_stack_page stack, other_stack;
	/* The same of user code's accesses that step through memory in a loop: native_window.c. */
	struct sx_strides strides;
	bool has_strides; /* some limits aren't 0 */
	u64 native_key;   /* under which jumps and returns are remembered: sx_native_key_update */
	u32 native_link;  /* under which jumps out of their page are linked; SX_LINK_NONE */
	i32 native_relink; /* before it is negative, so many of these go another way than they are linked */
	struct sx_native_target *native_targets_at; /* the address space's part of native_targets */
	bool has_old_links; /* they are under generations that may come again: none is good until code is dropped */
	bool has_odd_code; /* native code ran as supervisor at low addresses, as user at high ones */
	u64 native_rsp;    /* top of the return stack */
	u64 native_limit;  /* it doesn't grow beyond this */
	u64 host_rsp;      /* the thread's own stack, while native code runs */
	struct sx_tlb_way native_ways[2]; /* the supervisor's, with EFLAGS.AC clear and set */
	struct sx_tlb_way native_user_way;
	u64 seg_base[SX_SEGS]; /* as in seg[], for address arithmetic */
	/* Outside 64-bit code: where accesses end at most that need no other look at the segment, reads and
	 * writes. 0: nowhere. */
	u64 seg_end[2][X86_SEGS];

	u64 sysflags; /* RFLAGS without the arithmetic flags */
	unsigned cpl;
	enum sx_tlb_set tlb_set; /* that data accesses belong to */
	bool has_local_kernel_code; /* the jump cache's kernel half has code of pages that aren't global */
	/* Code's linear address: (RIP + code_base) & code_mask. 64-bit code: 0 and all ones; else CS's
	 * base and 2^32 - 1. */
	u64 code_base, code_mask;
	void *unwind[5]; /* __builtin_setjmp's, in the run loop */
	struct sx_event event;
	bool is_delivering; /* an event is on its way through the IDT ... */
	u8 delivering;      /* ... this vector */
	bool delivering_exception;
	bool is_ext; /* the EXT bit of error codes: what is delivered is no software interrupt */

	struct sx_seg seg[X86_SEGS];
	struct sx_seg ldt, tr;
	struct x86_table gdt, idt;
	u64 cr0, cr2, cr3, cr4, efer;
	u64 dr[4], dr6, dr7;
	u64 pae_pdpte[4];
	u64 xcr0;
	u64 star, lstar, cstar, sfmask, kernel_gs_base;
	u64 sysenter_cs, sysenter_esp, sysenter_eip;
	u64 pat, misc_enable, spec_ctrl, tsc_aux, tsc_adjust;
	u64 mtrr_def_type, mtrr_fixed[11], mtrr_base[X86_MTRR_VARIABLE],
		mtrr_mask[X86_MTRR_VARIABLE];
	u64 mcg_status, smbase, tsc_offset;
	u64 kvm_system_time, kvm_wall_clock, kvm_poll_control;
	u32 run_state;        /* enum x86_run_state */
	u32 interrupt_shadow; /* X86_SHADOW_*: holds for the next instruction */
	bool nmi_blocked, nmi_pending;
	bool is_smm;               /* seat for system management mode: always false */
	bool has_data_breakpoints; /* an enabled DR7 data breakpoint: TLBs hold none of its pages */
	bool steps_to_break;       /* breakpoints that only single steps find */
	u64 code_breakpoints;      /* where in their pages: sx_debug_covers */
	u64 pending_dr6;           /* data breakpoints hit by the current instruction */
	u32 pauses;                /* PAUSE instructions: a spinning guest lets others run */

	struct sx_fpu_live fpu_live;
	struct sx_fpu fpu;

	struct sx_tlbs tlbs;

	struct sx_native_target
		native_targets[(1u << SX_TARGET_BITS) + (SX_SPACES - 1) * SX_TARGET_STEP];
	u8 native_stack_slack[SX_RETURNS_SLACK];
	struct sx_native_return
		native_returns[SX_RETURNS + 1]; /* grows down; the last never fits */

	/* Paging, from CR0, CR4, EFER (mmu.c). */
	bool has_nx, has_1g_pages;
	u64 phys_mask;    /* bits of a physical address */
	u64 reserved_pte; /* what no entry may set */

	struct vcpu vcpu;
	struct sx_accel *accel;
	struct x86_cpuid cpuid;
	u64 features;               /* of cpuid, as the decoder wants them */
	const struct gmem_map *map; /* held (gmem_enter) while the vCPU is inside */
	const struct gmem_range *last_range;
	u64 apic_page; /* where the xAPIC registers are; ~0 when they are not */
	/* Atomic: the thread may use guest memory and its TLBs. Cleared while it waits or is in a
	 * device's callback; then its flushes are served when it comes back. */
	u32 is_inside;
	/* Atomic, all of sync.c's. */
	u32 is_sleeping;
	u32 flush_wanted, flush_done;
	const u8 *flush_page; /* NULL: none */
	u32 sync_seq, sync_waiters;
	bool holds_split_lock;
	bool intr_waits; /* an interrupt waits for IF to be set */
	bool nmi_waits;  /* an NMI waits for IRET */

	struct sx_counts counts;
	struct sx_lockstep *lockstep; /* NULL: translated code is trusted */
	bool is_counted;              /* the clock is retired instructions */
	u64 random;                   /* then: what RDRAND goes on from */

	/* A handler of the current block was replaced, to leave the block: mem.c. */
	struct sx_insn *replaced;
	void (*replaced_fn)(struct sx_cpu *c, const struct sx_insn *i);
};

static inline struct sx_cpu *sx_cpu_of(struct vcpu *v)
{
	return container_of(v, struct sx_cpu, vcpu);
}

static inline bool sx_is_odd_code(const struct sx_cpu *c, u64 lin)
{
	return c->mode & SX_MODE_64 && !(lin >> 63) != !!(c->mode & SX_MODE_USER);
}

/*
 * After the mode word or a generation changed. The key has the generation of the half in which such code usually
 * is; that of the other, too, once there was code elsewhere. Code of 16 and 32 bits is in the lower half, and its
 * key has the mode where the other's has the higher half's. Of the mode what may differ in native code.
 * A jump that is linked belongs to a block, and so to a mode: the generation is enough.
 */
static inline void sx_native_key_update(struct sx_cpu *c)
{
	bool is_user = c->mode & SX_MODE_USER;
	u64 low = is_user || c->has_odd_code ? c->jump_generation[0] : 0;
	u64 high = !is_user || c->has_odd_code ? c->jump_generation[1] : 0;

	if (c->mode & SX_MODE_64)
		c->native_key = low << 33 | high << 2 | is_user;
	else
		c->native_key = (u64)c->jump_generation[0] << 33 | (u64)c->mode << 2 | 2 | is_user;
	static_assert((u64)SX_MODE_SEGMENT << (SX_MODE_SEGMENT_BITS + 1) << 2 <= 1ull << 33, "");
	c->native_targets_at = c->native_targets;
	if (!(c->mode & SX_MODE_64) || is_user)
		c->native_targets_at += c->tlbs.current * SX_TARGET_STEP;
	c->native_link = c->jump_generation[c->mode & SX_MODE_64 && !is_user];
	if (c->has_odd_code || c->has_old_links)
		c->native_link = SX_LINK_NONE;
}

static inline bool sx_is_64(const struct sx_cpu *c)
{
	return c->mode & SX_MODE_64;
}

static inline bool sx_is_long(const struct sx_cpu *c)
{
	return c->efer & X86_EFER_LMA;
}

static inline bool sx_is_protected(const struct sx_cpu *c)
{
	return c->mode & SX_MODE_PE;
}

static inline bool sx_is_v86(const struct sx_cpu *c)
{
	return c->mode & SX_MODE_V86;
}

/* The address space that CR3 names. */
static inline u64 sx_pcid(const struct sx_cpu *c)
{
	return c->cr4 & X86_CR4_PCIDE ? c->cr3 & X86_CR3_PCID_MASK : 0;
}

static inline void sx_count(struct sx_cpu *c, enum sx_count which)
{
	c->counts.n[which]++;
}

/* The statistics that others read. */
static inline void sx_publish_insns(struct sx_cpu *c)
{
	c->vcpu.insns = c->counts_insns || !c->native ? c->retired : 0;
}

/* The statistics that others read: one exit more, and the instructions so far. */
static inline void sx_count_exit(struct sx_cpu *c, enum sx_count which)
{
	sx_count(c, which);
	c->vcpu.exits++;
	sx_publish_insns(c);
}

#endif

/*
 * What a vCPU did, counted: blocks and translations, TLB misses, callouts, exits, requests, faults.
 *
 * Always on: a counter is one add to the vCPU's own memory, on paths that cost a hundred times that.
 * Nothing that a TLB hit, or an instruction of translated code, passes through is counted but the
 * instructions themselves (sx_cpu.retired). Readers are other threads: a figure may be a moment old.
 *
 * A counter more is a line here and a sx_count where it happens.
 */
#ifndef ACCEL_SOFT_COUNT_H
#define ACCEL_SOFT_COUNT_H

#include "base/base.h"

struct sx_cpu;
struct vcpu;
struct vcpu_counter;

/* clang-format off */
/* X(NAME, group, name): the group and the name that the control socket shows. */
#define SX_COUNTS(X) \
	X(BLOCK_DECODED, "blocks", "decoded") \
	X(BLOCK_REVALIDATED, "blocks", "revalidated") /* its page was written, it was not */ \
	X(BLOCK_STALE, "blocks", "stale") /* it was */ \
	X(BLOCK_FOUND, "blocks", "looked-up") /* the jump cache hadn't got it */ \
	X(BLOCK_CROSSING, "blocks", "crossing") /* lookups of an instruction across two pages */ \
	X(BLOCK_SWEEP, "blocks", "sweeps") /* of blocks that aren't translated: the memory for them was full */ \
	X(BLOCK_DROP, "blocks", "drops") /* of all blocks, and all host code */ \
	X(TRANSLATED, "translations", "blocks") \
	X(TRANSLATED_INSN, "translations", "instructions") \
	X(TRANSLATED_BYTE, "translations", "bytes") \
	X(TRANSLATED_HOT, "translations", "hot-bytes") /* of the bytes: not out of line */ \
	X(TRANSLATED_PLAIN, "translations", "plain") /* of the blocks: once more, without shared checks */ \
	X(TRANSLATION_REFUSED, "translations", "refused") /* not worth it */ \
	X(MISS_READ, "tlb-misses", "read") \
	X(MISS_WRITE, "tlb-misses", "write") \
	X(MISS_CODE, "tlb-misses", "code") \
	X(MISS_PROTECTED, "tlb-misses", "write-withheld") /* of the writes: readable by the TLB */ \
	X(MISS_CODE_PAGE, "tlb-misses", "code-page") /* of the writes: decoded code stands there */ \
	X(MISS_DEVICE, "tlb-misses", "device") /* of all: no memory there */ \
	X(MISS_CONFLICT, "tlb-misses", "conflict") /* of all: another page stood in its slot */ \
	X(MISS_WALK, "tlb-misses", "whole-walk") /* of all: from the top of the tables */ \
	X(MISS_CROSSING, "tlb-misses", "crossing") /* accesses over two pages */ \
	X(FLUSH_ALL, "tlb-flushes", "all") \
	X(FLUSH_LOCAL, "tlb-flushes", "local") /* CR3 */ \
	X(SWITCH, "tlb-flushes", "spared") /* CR3, with an address space that is still known */ \
	X(TLB_GROWS, "tlb-flushes", "grows") /* none, but a table became larger */ \
	X(FLUSH_PAGE, "tlb-flushes", "page") \
	X(FLUSH_CODE, "tlb-flushes", "user-code") /* of the jump cache's lower half */ \
	X(FLUSH_KERNEL_CODE, "tlb-flushes", "kernel-code") /* of its upper half */ \
	X(FLUSH_WRITES, "tlb-flushes", "writes") \
	X(FLUSH_SEARCH, "tlb-flushes", "searches") /* of all tables for who writes a page */ \
	X(CALLOUT_MEMORY, "callouts", "memory") /* the TLB hadn't got it */ \
	X(CALLOUT_UNKNOWN, "callouts", "untranslated") /* nobody translates it */ \
	X(CALLOUT_LEAVES, "callouts", "left") /* of them: native code was left after it */ \
	X(LEFT_GO_ON, "native-exits", "go-on") /* nothing found, an end that isn't translated, a request */ \
	X(LEFT_LINK, "native-exits", "link") \
	X(LEFT_SPLIT, "native-exits", "split") /* a shared check failed, the plain code wasn't linked yet */ \
	X(LEFT_REPLACE, "native-exits", "replace") \
	X(LEFT_INTERPRET, "native-exits", "simd") \
	X(LEFT_STEP, "native-exits", "step") /* the TLB hadn't got what ended the block */ \
	X(NATIVE_FOUND, "native-exits", "spared") /* none: a jump's target was looked up without leaving */ \
	X(EXIT_PORT_READ, "exits", "port-read") \
	X(EXIT_PORT_WRITE, "exits", "port-write") \
	X(EXIT_MMIO_READ, "exits", "mmio-read") \
	X(EXIT_MMIO_WRITE, "exits", "mmio-write") \
	X(EXIT_HALT, "exits", "halt") \
	X(REQUEST_KICK, "requests", "kick") \
	X(REQUEST_FLUSH_TLB, "requests", "flush-tlb") \
	X(REQUEST_FLUSH_WRITES, "requests", "flush-writes") \
	X(REQUEST_FLUSH_PAGE, "requests", "flush-page") /* of writes, to one page */ \
	X(REQUEST_CLOCK, "requests", "clock") \
	X(LOCKSTEP_STRETCH, "lockstep", "stretches") /* compared, and the same */ \
	X(LOCKSTEP_INSN, "lockstep", "instructions") /* in them */ \
	X(LOCKSTEP_SKIPPED, "lockstep", "skipped") /* instructions that were not compared */ \
	X(LOCKSTEP_ONCE, "lockstep", "once") /* what can't be done twice */ \
	X(LOCKSTEP_FLAGS, "lockstep", "flags") /* flags differed that nobody needed */ \
	X(CODE_PAGE, "code-pages", "marked") /* a page became one with decoded code */ \
	X(CODE_WRITTEN, "code-pages", "written") \
	X(EVENT_INTERRUPT, "events", "interrupts") \
	X(EVENT_SOFT, "events", "software-interrupts") \
	X(EVENT_NMI, "events", "nmis")
/* clang-format on */

enum sx_count {
#define X(name, group, text) SX_N_##name,
	SX_COUNTS(X)
#undef X
		SX_N_COUNTS,
};

#define SX_N_VECTORS 32

struct sx_counts {
	u64 n[SX_N_COUNTS];
	u64 exceptions[SX_N_VECTORS]; /* delivered, by vector */
	u64 *callouts; /* instructions that native code left to the interpreter, by enum sx_op */
};

void sx_counts_init(struct sx_cpu *c);
void sx_counts_fini(struct sx_cpu *c);

/* vcpu_ops.count. Any thread. */
void sx_counts_visit(struct vcpu *v, void (*visit)(void *opaque, const struct vcpu_counter *n),
		     void *opaque);

#endif

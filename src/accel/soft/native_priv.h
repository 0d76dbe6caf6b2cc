/*
 * The translator's inside.
 */
#ifndef ACCEL_SOFT_NATIVE_PRIV_H
#define ACCEL_SOFT_NATIVE_PRIV_H

#include "accel/soft/native.h"
#include "accel/soft/native_emit.h"

/*
 * Enters native code and comes back with RIP set. Returns what is to be done: nothing, the instruction
 * there by the interpreter, or a link: the address, as written, of a jump's distance, or of a stale
 * block's entry with bit 0 set.
 */
typedef uintptr_t sx_native_enter_fn(const u8 *code);
#define NATIVE_GO_ON 0
#define NATIVE_STEP  2

/* native_common.c: entry, exit, look-up and callout, once for each vCPU. */
void sx_native_emit_common(struct sx_cpu *c);

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

/* One instruction of the block being translated. */
struct item {
	struct sx_insn i; /* as decoded */
	u32 off;          /* in the block */
	u8 flags;         /* FLAGS_* */
	bool is_native;   /* else a callout, or the end */
	bool is_live;     /* flags are needed by it or behind it */
	bool is_live_after;
};

/* Where the truth about the flags is. */
enum flags_home { FLAGS_HOST, FLAGS_MEMORY, FLAGS_DEAD };

struct slow {       /* code out of line */
	u8 *field;  /* the jump there */
	u8 *rejoin; /* where it comes back; NULL: it leaves native code */
	u32 index;
	bool loads_flags;
	bool is_edge; /* an end to be linked; field is its jump */
};
#define SLOW_MAX 256

struct translation {
	struct sx_cpu *c;
	struct sx_block *b;
	struct emit e;
	struct item items[64];
	unsigned n_items;
	struct sx_native_block *head; /* as written */
	u8 *entry;                    /* as written */
	enum flags_home flags;
	struct slow slow[SLOW_MAX];
	unsigned n_slow;
};

/* native_insn.c */
/* Which flags it touches, and whether native_insn can do it. */
void sx_native_classify(struct item *it);
void sx_native_insn(struct translation *t, unsigned index);
void sx_native_load_flags(struct translation *t);
void sx_native_spill_flags(struct translation *t);
/* r10 = host address of size bytes at the linear address in r10; else to the slow path. */
void sx_native_check(struct translation *t, unsigned index, unsigned size, bool is_write,
		     bool may_rejoin);
void sx_native_address(struct translation *t, const struct item *it);

#endif

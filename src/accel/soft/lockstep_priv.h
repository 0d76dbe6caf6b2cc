/*
 * Lockstep's inside.
 */
#ifndef ACCEL_SOFT_LOCKSTEP_PRIV_H
#define ACCEL_SOFT_LOCKSTEP_PRIV_H

#include "accel/soft/lockstep.h"

#define LOCKSTEP_PAGES 96

struct lockstep_page {
	u8 *host;
	struct gmem_block *block;
	u64 page;                               /* its number there */
	bool is_table;                          /* a walk wrote it */
	u8 before[PAGE_SIZE], after[PAGE_SIZE]; /* the first engine's */
};

struct lockstep_cpu {
	u8 bytes[offsetof(struct sx_cpu, tlbs)];
	bool has_nx, has_1g_pages;
	u64 phys_mask, reserved_pte;
	struct x86_cpu_state state;
	u64 retired;
};

/* Since a difference was found. */
enum lockstep_doubt {
	LOCKSTEP_TRUSTS,  /* none was */
	LOCKSTEP_REPEATS, /* does it come again? */
	LOCKSTEP_NARROWS, /* it did: in which block? */
};

struct sx_lockstep {
	u64 stretch; /* instructions to compare at once */
	enum lockstep_doubt doubt;
	u64 narrow_until; /* the stretch that differed ends there */
	bool is_recording;
	bool is_once; /* the stretch ended before something that can't be done twice */
	/* An engine went on to something that can't be done twice, perhaps by a walk, which the other one didn't. */
	bool has_walked_on;
	bool is_after_translated; /* pages' `after` is the translated code's, not the interpreter's */
	bool is_full;             /* it ended because it wrote too many pages */
	bool must_flush;          /* TLBs have what the start must not have */
	u32 request;              /* bits that were set meanwhile */
	struct lockstep_cpu start, interpreted, translated;
	unsigned n_pages;
	struct lockstep_page pages[LOCKSTEP_PAGES];
	char difference[128];
};

/* lockstep_report.c: `after` of the pages against what is in memory, the two states. */
bool sx_lockstep_differs(const struct sx_lockstep *l, bool ignores_flags);
/* Writes all there is to know of the stretch to the log, and the short of it into difference. */
void sx_lockstep_report(struct sx_cpu *c, u64 n, const char *what);

#endif

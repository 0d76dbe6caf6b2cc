/*
 * What far transfers and event delivery share: stacks of other privileges.
 */
#ifndef ACCEL_SOFT_FAR_H
#define ACCEL_SOFT_FAR_H

#include "accel/soft/segment.h"

/* A stack that is being written before it becomes the stack: nothing but memory changes. */
struct sx_pusher {
	u64 base;
	u32 limit, attr; /* of its segment; unused in long mode */
	u64 mask;        /* of sp */
	u64 sp;
	unsigned size;  /* of what is pushed */
	unsigned cpl;   /* whose rights the writes have */
	bool is_long;   /* no segment */
	u32 fault_code; /* of #SS when the limit is passed */
};

struct sx_pusher sx_pusher_on_stack(struct sx_cpu *c, unsigned size);
/* The same, addressed as 64-bit code or other code does. */
struct sx_pusher sx_pusher_of_code(struct sx_cpu *c, unsigned size, bool is_64);
struct sx_pusher sx_pusher_flat(struct sx_cpu *c, u64 rsp, unsigned cpl); /* 8-byte pushes */
/* On the stack that the TSS has for privilege cpl: legacy modes. Raises #TS and #SS. */
struct sx_pusher sx_pusher_on_tss_stack(struct sx_cpu *c, const struct sx_insn *i, unsigned cpl,
					unsigned size, u16 *out_selector, struct sx_desc *out_ss);
void sx_pusher_push(struct sx_cpu *c, const struct sx_insn *i, struct sx_pusher *p, u64 v);
void sx_pusher_commit(struct sx_cpu *c, const struct sx_pusher *p); /* RSP is set */

/* A return to an outer privilege: after CPL was set. */
void sx_drop_data_segments(struct sx_cpu *c);
/* IRET was executed. */
void sx_unblock_nmi(struct sx_cpu *c);

/* A stack pointer of the 64-bit TSS. */
u64 sx_tss64_stack(struct sx_cpu *c, const struct sx_insn *i, unsigned off);

#endif

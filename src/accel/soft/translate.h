/*
 * From linear to host addresses by the long way: walk, enter into the TLB, and say what is there.
 */
#ifndef ACCEL_SOFT_TRANSLATE_H
#define ACCEL_SOFT_TRANSLATE_H

#include "accel/soft/cpu.h"
#include "accel/soft/mmu.h"

struct gmem_block;

/* Good until a device is called. */
struct sx_xlat {
	u8 *host; /* of the byte at lin; NULL: the access goes to a device */
	gpa_t gpa;
	/* With host: */
	struct gmem_block *block;
	u64 block_page; /* the page's number in it */
	u32 *code;      /* the page's code word */
	bool is_code;   /* decoded code stands there: sx_code_written first */
	bool is_readonly;
};

/* Raises what the access raises. A write is noted in the dirty log. */
void sx_translate(struct sx_cpu *c, const struct sx_insn *i, u64 lin, enum sx_access access,
		  enum sx_tlb_set set, struct sx_xlat *out);

/*
 * Before the second half of a write whose first half was a device's: what is there now, in the map and for code and dirty
 * log. The page tables aren't asked again, which may fault.
 */
void sx_translate_again(struct sx_cpu *c, struct sx_xlat *x);

/*
 * For those who can't be faulted: host memory of size bytes at lin for an access as the present mode has
 * it, entered into the TLB. NULL: a fault, a device, a page crossing, a write to code, a breakpoint's page.
 */
u8 *sx_translate_fill(struct sx_cpu *c, u64 lin, unsigned size, enum sx_access access);

/* The page that RIP's linear address is in; host is NULL when it is not memory. Raises faults. */
const struct sx_itlb_entry *sx_translate_code(struct sx_cpu *c, u64 lin);
/* For those who can't be faulted: NULL where it would raise one. */
const struct sx_itlb_entry *sx_translate_code_quietly(struct sx_cpu *c, u64 lin);

/* Does the instruction's memory operand, or its implied one, lie in the stack segment? */
bool sx_uses_stack(const struct sx_cpu *c, const struct sx_insn *i);

/* Alignment checks are on: CR0.AM, EFLAGS.AC, CPL 3 (SDM 3A, 6.15, #AC). */
static inline bool sx_checks_alignment(const struct sx_cpu *c)
{
	return c->cpl == 3 && (c->cr0 & X86_CR0_AM) && (c->sysflags & X86_FLAG_AC);
}

#endif

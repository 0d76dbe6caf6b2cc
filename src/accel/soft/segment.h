/*
 * Segments and descriptors (SDM 3A, chapters 3 and 5), and the mode that follows from them.
 */
#ifndef ACCEL_SOFT_SEGMENT_H
#define ACCEL_SOFT_SEGMENT_H

#include "accel/soft/cpu.h"
#include "accel/soft/insn.h"

/* System descriptor types (SDM 3A, table 3-2). In IA-32e mode the 32-bit ones are 64-bit. */
enum sx_desc_type {
	SX_TYPE_TSS16 = 1,
	SX_TYPE_LDT = 2,
	SX_TYPE_TSS16_BUSY = 3,
	SX_TYPE_CALL16 = 4,
	SX_TYPE_TASK_GATE = 5,
	SX_TYPE_INT16 = 6,
	SX_TYPE_TRAP16 = 7,
	SX_TYPE_TSS32 = 9,
	SX_TYPE_TSS32_BUSY = 11,
	SX_TYPE_CALL32 = 12,
	SX_TYPE_INT32 = 14,
	SX_TYPE_TRAP32 = 15,
};
/* Bits of a code or data descriptor's type. */
#define SX_TYPE_ACCESSED   1u
#define SX_TYPE_WRITABLE   2u /* data */
#define SX_TYPE_READABLE   2u /* code */
#define SX_TYPE_DOWN       4u /* data: expands down */
#define SX_TYPE_CONFORMING 4u /* code */
#define SX_TYPE_CODE       8u

#define SX_SELECTOR_LDT 4u
#define SX_ATTR_MASK    0xf0ffu /* of bits 8 to 23 of the second doubleword */

/* What SYSCALL and its kin make of CS and SS; without DPL, and CS without its size. */
#define SX_FLAT_CODE (X86_ATTR_G | X86_ATTR_P | X86_ATTR_S | 0xb)
#define SX_FLAT_DATA (X86_ATTR_G | X86_ATTR_DB | X86_ATTR_P | X86_ATTR_S | 0x3)

struct sx_desc {
	u32 low, high;
	u64 lin; /* where it was read */
};

static inline u32 sx_desc_attr(const struct sx_desc *d)
{
	return d->high >> 8 & SX_ATTR_MASK;
}

static inline unsigned sx_desc_type(const struct sx_desc *d)
{
	return d->high >> 8 & 15;
}

static inline unsigned sx_desc_dpl(const struct sx_desc *d)
{
	return d->high >> 13 & 3;
}

static inline bool sx_desc_is_present(const struct sx_desc *d)
{
	return d->high & BIT32(15);
}

/* Code or data, not system. */
static inline bool sx_desc_is_segment(const struct sx_desc *d)
{
	return d->high & BIT32(12);
}

static inline bool sx_desc_is_code(const struct sx_desc *d)
{
	return sx_desc_is_segment(d) && (sx_desc_type(d) & SX_TYPE_CODE);
}

static inline bool sx_desc_is_conforming(const struct sx_desc *d)
{
	return sx_desc_type(d) & SX_TYPE_CONFORMING;
}

static inline bool sx_selector_is_null(u16 selector)
{
	return !(selector & ~3u);
}

u64 sx_desc_base(const struct sx_desc *d);
u32 sx_desc_limit(const struct sx_desc *d);

static inline unsigned sx_iopl(const struct sx_cpu *c)
{
	return c->sysflags >> X86_FLAG_IOPL_SHIFT & 3;
}

/* The descriptor, or false: beyond its table. */
bool sx_desc_find(struct sx_cpu *c, const struct sx_insn *i, u16 selector, struct sx_desc *out);
/* The GDT's, where the TLB has it; false: nothing is known. Null selectors have none. */
bool sx_desc_peek(struct sx_cpu *c, u16 selector, struct sx_desc *out);
/* The descriptor; beyond its table raises the vector with the selector. */
void sx_desc_read(struct sx_cpu *c, const struct sx_insn *i, u16 selector, enum x86_vector vector,
		  struct sx_desc *out);
/* Bits 63 to 32 of the base of a 16-byte system descriptor. */
u64 sx_desc_base_high(struct sx_cpu *c, const struct sx_insn *i, u16 selector,
		      const struct sx_desc *d, enum x86_vector vector);
void sx_desc_set_accessed(struct sx_cpu *c, const struct sx_insn *i, struct sx_desc *d);

/* MOV Sreg, POP Sreg, LDS and so on: not CS. All checks; SS holds off interrupts. */
void sx_seg_load(struct sx_cpu *c, const struct sx_insn *i, unsigned seg, u16 selector);
/* The same in protected mode, of DS, ES, FS, GS, where the mode stays what it is and nothing is raised. False: nothing was done. */
bool sx_seg_load_quietly(struct sx_cpu *c, u16 selector, u32 seg);
/* Takes a descriptor that was checked. */
void sx_seg_set(struct sx_cpu *c, unsigned seg, u16 selector, const struct sx_desc *d);
void sx_seg_set_null(struct sx_cpu *c, unsigned seg, u16 selector);
void sx_seg_set_real(struct sx_cpu *c, unsigned seg, u16 selector);
void sx_seg_set_v86(struct sx_cpu *c, unsigned seg, u16 selector);
/* Checks a selector for SS at privilege cpl; raises vector. out is set. */
void sx_seg_check_stack(struct sx_cpu *c, const struct sx_insn *i, u16 selector, unsigned cpl,
			enum x86_vector vector, struct sx_desc *out);

/* CS changes: the mode follows. rpl of the selector becomes cpl. */
void sx_cs_set(struct sx_cpu *c, u16 selector, const struct sx_desc *d, unsigned cpl);
void sx_cpl_set(struct sx_cpu *c, unsigned cpl);

/* Recomputes c->mode and what hangs on it, after anything it is made of changed. */
void sx_mode_update(struct sx_cpu *c);

#endif

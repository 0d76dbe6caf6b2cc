/*
 * What instruction handlers are made of: operands, guest memory, faults, the step to the next one.
 *
 * A handler has the type sx_insn_fn. It ends in SX_NEXT, which calls the next instruction's handler
 * (a sibling call: no stack grows in optimized builds, and at most a block's length in others).
 * The last instruction of a block changes RIP and goes through sx_jump or sx_chain (block.h) or simply
 * returns to the run loop.
 *
 * Faults: sx_throw and everything that touches guest memory leave by a long jump to the run loop,
 * with RIP at the instruction. So a handler holds no resource while it calls them, and changes no
 * guest state before the last of them. `i` is NULL outside of instructions, while an event is
 * delivered: RIP is then what gpr[SX_RIP] says.
 */
#ifndef ACCEL_SOFT_EXEC_H
#define ACCEL_SOFT_EXEC_H

#include <string.h>

#include "accel/soft/block.h"
#include "accel/soft/cpu.h"
#include "accel/soft/flags.h"
#include "accel/soft/insn.h"
#include "accel/soft/mmu.h"
#include "base/bytes.h"

/* Flags of a decoded instruction that the binder adds (bind.c). */
#define SX_IF_SEGMENTED (1 << 12) /* its address needs masking or a limit check: sx_ea_slow */

#define SX_NEXT(c, i)                                                                              \
	do {                                                                                       \
		(i)[1].fn((c), (i) + 1);                                                           \
		return;                                                                            \
	} while (0)

/*
 * A handler whose work takes the address of a local variable: in one function with SX_NEXT, the
 * variable would live on, the call would be no jump, and the stack grow at each execution
 * (tests/unit/soft/check-jumps looks for such handlers). work must not be inlined.
 */
#define SX_HANDLER_OF(name, work)                                                                  \
	static void name(struct sx_cpu *c, const struct sx_insn *i)                                \
	{                                                                                          \
		work(c, i);                                                                        \
		SX_NEXT(c, i);                                                                     \
	}

/* --- faults --- */

/* Raises an exception; code is ignored by vectors that have none. */
noreturn void sx_throw(struct sx_cpu *c, const struct sx_insn *i, enum x86_vector vector, u32 code);
/* Back to the run loop, with nothing done. */
noreturn void sx_throw_nothing(struct sx_cpu *c, const struct sx_insn *i);
noreturn void sx_throw_page_fault(struct sx_cpu *c, const struct sx_insn *i, u64 lin, u32 code);
/* #DB; dr6: its cause. RIP must have been settled as the kind of trap wants it. */
noreturn void sx_throw_debug(struct sx_cpu *c, const struct sx_insn *i, u64 dr6);
noreturn static inline void sx_throw_ud(struct sx_cpu *c, const struct sx_insn *i)
{
	sx_throw(c, i, X86_UD, 0);
}
noreturn static inline void sx_throw_gp(struct sx_cpu *c, const struct sx_insn *i, u32 code)
{
	sx_throw(c, i, X86_GP, code);
}

/* RIP of an instruction of the current block, and of the one that follows. */
u64 sx_rip(const struct sx_cpu *c, const struct sx_insn *i);
u64 sx_next_rip(const struct sx_cpu *c, const struct sx_insn *i);

/* --- general registers ---
 *
 * The binder has turned the numbers of byte registers into byte offsets into gpr[], so that AH to
 * BH are no special case. 32-bit results clear the upper half.
 */

typedef u16 __attribute__((may_alias)) sx_u16_alias;

static always_inline u64 sx_reg_get(const struct sx_cpu *c, unsigned n, unsigned size)
{
	switch (size) {
	case 1:
		return ((const u8 *)c->gpr)[n];
	case 2:
		return (u16)c->gpr[n];
	case 4:
		return (u32)c->gpr[n];
	default:
		return c->gpr[n];
	}
}

static always_inline void sx_reg_set(struct sx_cpu *c, unsigned n, u64 v, unsigned size)
{
	switch (size) {
	case 1:
		((u8 *)c->gpr)[n] = (u8)v;
		break;
	case 2:
		((sx_u16_alias *)&c->gpr[n])[0] = (u16)v;
		break;
	case 4:
		c->gpr[n] = (u32)v;
		break;
	default:
		c->gpr[n] = v;
		break;
	}
}

/* --- memory by linear address (mem.c has the slow halves) --- */

u64 sx_load_slow(struct sx_cpu *c, const struct sx_insn *i, u64 lin, unsigned size);
/* Of two pages that the TLB has, for native code: true: done, else nothing is. */
bool sx_load_crossing(struct sx_cpu *c, u64 lin, void *buf, unsigned size);
void sx_store_slow(struct sx_cpu *c, const struct sx_insn *i, u64 lin, u64 value, unsigned size);
void sx_load_bytes_slow(struct sx_cpu *c, const struct sx_insn *i, u64 lin, void *buf,
			unsigned size);
void sx_store_bytes_slow(struct sx_cpu *c, const struct sx_insn *i, u64 lin, const void *buf,
			 unsigned size);
u8 *sx_host_rw_slow(struct sx_cpu *c, const struct sx_insn *i, u64 lin, unsigned size);

/* Host address of size bytes at lin when the TLB has them readable, writable; else NULL. */
static always_inline u8 *sx_tlb_read(struct sx_cpu *c, u64 lin, unsigned size)
{
	const struct sx_tlb_entry *e = sx_tlb_slot(c->tlb, c->tlb_mask, lin);

	if (likely(e->read == ((lin + size - 1) & PAGE_MASK)))
		return (u8 *)(lin + e->addend);
	return NULL;
}

static always_inline u8 *sx_tlb_write(struct sx_cpu *c, u64 lin, unsigned size)
{
	const struct sx_tlb_entry *e = sx_tlb_slot(c->tlb, c->tlb_mask, lin);

	if (likely(e->write == ((lin + size - 1) & PAGE_MASK)))
		return (u8 *)(lin + e->addend);
	return NULL;
}

typedef u16 __attribute__((aligned(1), may_alias)) sx_u16_unaligned;
typedef u32 __attribute__((aligned(1), may_alias)) sx_u32_unaligned;
typedef u64 __attribute__((aligned(1), may_alias)) sx_u64_unaligned;

/* size 1, 2, 4 or 8, a constant where speed matters. */
static always_inline u64 sx_host_load(const u8 *p, unsigned size)
{
	switch (size) {
	case 1:
		return *p;
	case 2:
		return *(const sx_u16_unaligned *)p;
	case 4:
		return *(const sx_u32_unaligned *)p;
	default:
		return *(const sx_u64_unaligned *)p;
	}
}

static always_inline void sx_host_store(u8 *p, u64 value, unsigned size)
{
	switch (size) {
	case 1:
		*p = (u8)value;
		break;
	case 2:
		*(sx_u16_unaligned *)p = (u16)value;
		break;
	case 4:
		*(sx_u32_unaligned *)p = (u32)value;
		break;
	default:
		*(sx_u64_unaligned *)p = value;
		break;
	}
}

static always_inline u64 sx_load(struct sx_cpu *c, const struct sx_insn *i, u64 lin, unsigned size)
{
	const struct sx_tlb_entry *e = sx_tlb_slot(c->tlb, c->tlb_mask, lin);

	if (likely(e->read == ((lin + size - 1) & PAGE_MASK)))
		return sx_host_load((const u8 *)(lin + e->addend), size);
	return sx_load_slow(c, i, lin, size);
}

static always_inline void sx_store(struct sx_cpu *c, const struct sx_insn *i, u64 lin, u64 value,
				   unsigned size)
{
	const struct sx_tlb_entry *e = sx_tlb_slot(c->tlb, c->tlb_mask, lin);

	if (likely(e->write == ((lin + size - 1) & PAGE_MASK)))
		sx_host_store((u8 *)(lin + e->addend), value, size);
	else
		sx_store_slow(c, i, lin, value, size);
}

/* Any size up to a page; 16-byte copies of aligned operands are single accesses. */
static always_inline void sx_load_bytes(struct sx_cpu *c, const struct sx_insn *i, u64 lin,
					void *buf, unsigned size)
{
	const u8 *p = sx_tlb_read(c, lin, size);

	if (likely(p))
		memcpy(buf, p, size);
	else
		sx_load_bytes_slow(c, i, lin, buf, size);
}

static always_inline void sx_store_bytes(struct sx_cpu *c, const struct sx_insn *i, u64 lin,
					 const void *buf, unsigned size)
{
	u8 *p = sx_tlb_write(c, lin, size);

	if (likely(p))
		memcpy(p, buf, size);
	else
		sx_store_bytes_slow(c, i, lin, buf, size);
}

/*
 * Host memory to read, change and write size bytes at lin: permission for both is checked, faults
 * are raised. NULL: it is not plain memory, or crosses a page; use sx_load, then sx_store.
 */
static always_inline u8 *sx_host_rw(struct sx_cpu *c, const struct sx_insn *i, u64 lin,
				    unsigned size)
{
	u8 *p = sx_tlb_write(c, lin, size);

	return likely(p) ? p : sx_host_rw_slow(c, i, lin, size);
}

/* Raises what a write of size bytes at lin would raise, and changes nothing. */
void sx_probe_write(struct sx_cpu *c, const struct sx_insn *i, u64 lin, unsigned size);
/* Privileged structures (descriptor tables, TSS): as supervisor, whatever the CPL. */
u64 sx_load_system(struct sx_cpu *c, const struct sx_insn *i, u64 lin, unsigned size);
void sx_store_system(struct sx_cpu *c, const struct sx_insn *i, u64 lin, u64 value, unsigned size);
u8 *sx_host_rw_system(struct sx_cpu *c, const struct sx_insn *i, u64 lin, unsigned size);
/* size bytes of them in host memory, where the TLB has them in one page; else NULL. */
const u8 *sx_system_bytes(struct sx_cpu *c, u64 lin, unsigned size);

/* For atomic operations that no single host access can do: split over pages, or on registers of a
 * device. All vCPUs' such operations exclude each other. */
void sx_split_lock(struct sx_cpu *c);
void sx_split_unlock(struct sx_cpu *c);

/* --- addresses --- */

u64 sx_ea_slow(struct sx_cpu *c, const struct sx_insn *i, unsigned size, bool is_write);
/* Linear address of size bytes at offset off of a segment, limit and type checked. */
u64 sx_seg_lin(struct sx_cpu *c, const struct sx_insn *i, unsigned seg, u64 off, unsigned size,
	       bool is_write);

/* The offset part of the memory operand's address, cut to the address size: LEA's result. */
static always_inline u64 sx_offset(const struct sx_cpu *c, const struct sx_insn *i)
{
	u64 a = c->gpr[i->base] + (c->gpr[i->index] << i->scale) + (u64)(i64)i->disp;

	if (unlikely(i->flags & (SX_IF_ADDR16 | SX_IF_ADDR32)))
		a &= i->flags & SX_IF_ADDR32 ? 0xffffffff : 0xffff;
	return a;
}

/* Linear address of the memory operand, of size bytes, segment limits checked. */
static always_inline u64 sx_ea(struct sx_cpu *c, const struct sx_insn *i, unsigned size,
			       bool is_write)
{
	if (unlikely(i->flags & SX_IF_SEGMENTED))
		return sx_ea_slow(c, i, size, is_write);
	return c->gpr[i->base] + (c->gpr[i->index] << i->scale) + (u64)(i64)i->disp +
	       c->seg_base[i->seg];
}

/* --- the stack --- */

static always_inline u64 sx_stack_mask(const struct sx_cpu *c)
{
	return c->mode & SX_MODE_64 ? ~(u64)0 : c->mode & SX_MODE_SS32 ? 0xffffffff : 0xffff;
}

/* Linear address of size bytes at stack offset off. */
static inline u64 sx_stack_lin(struct sx_cpu *c, const struct sx_insn *i, u64 off, unsigned size,
			       bool is_write)
{
	off &= sx_stack_mask(c);
	return c->mode & SX_MODE_64 ? off : sx_seg_lin(c, i, X86_SS, off, size, is_write);
}

/* A new stack pointer, cut to the stack's width: 32 bits clear the upper half, 16 bits leave the rest alone. */
static always_inline u64 sx_stack_merge(u64 mask, u64 old, u64 value)
{
	return mask == 0xffff ? (old & ~mask) | (value & mask) : value & mask;
}

/* RSP moved by delta, to the stack's width. */
static always_inline void sx_stack_move(struct sx_cpu *c, u64 delta)
{
	u64 rsp = c->gpr[X86_RSP];

	c->gpr[X86_RSP] = sx_stack_merge(sx_stack_mask(c), rsp, rsp + delta);
}

static inline void sx_push(struct sx_cpu *c, const struct sx_insn *i, u64 v, unsigned size)
{
	u64 lin = sx_stack_lin(c, i, c->gpr[X86_RSP] - size, size, true);

	sx_store(c, i, lin, v, size);
	sx_stack_move(c, -(u64)size);
}

/* The n-th value of size bytes on the stack; RSP stays. */
static inline u64 sx_stack_load(struct sx_cpu *c, const struct sx_insn *i, unsigned n,
				unsigned size)
{
	u64 off = c->gpr[X86_RSP] + (u64)n * size;

	return sx_load(c, i, sx_stack_lin(c, i, off, size, false), size);
}

/* Changes the flags in mask; their effects on mode, TLB and interrupts follow. */
void sx_set_rflags(struct sx_cpu *c, u64 value, u64 mask);

/*
 * The common case apart: most addresses are a register and a displacement, and most of them hit the
 * TLB. Handlers for it come beside the general ones, and leave all else to these by a sibling call,
 * so that they need neither stack nor saved registers. `general` is the handler that does it all.
 */
static inline bool sx_is_plain(const struct sx_insn *i)
{
	return (i->flags & (SX_IF_MEM | SX_IF_SEGMENTED)) == SX_IF_MEM && i->index == SX_ZERO &&
	       i->seg == SX_SEG_NONE;
}

static always_inline u64 sx_ea_plain(const struct sx_cpu *c, const struct sx_insn *i)
{
	return c->gpr[i->base] + (u64)(i64)i->disp;
}

#define SX_TRY_LOAD(c, i, address, size, general)                                                  \
	({                                                                                         \
		u64 try_lin_ = (address);                                                          \
		const struct sx_tlb_entry *try_e_ =                                                \
			sx_tlb_slot((c)->tlb, (c)->tlb_mask, try_lin_);                            \
                                                                                                   \
		if (unlikely(try_e_->read != ((try_lin_ + (size)-1) & PAGE_MASK))) {               \
			general((c), (i));                                                         \
			return;                                                                    \
		}                                                                                  \
		sx_host_load((const u8 *)(try_lin_ + try_e_->addend), (size));                     \
	})

#define SX_TRY_STORE(c, i, address, value, size, general)                                          \
	do {                                                                                       \
		u64 try_lin_ = (address);                                                          \
		const struct sx_tlb_entry *try_e_ =                                                \
			sx_tlb_slot((c)->tlb, (c)->tlb_mask, try_lin_);                            \
                                                                                                   \
		if (unlikely(try_e_->write != ((try_lin_ + (size)-1) & PAGE_MASK))) {              \
			general((c), (i));                                                         \
			return;                                                                    \
		}                                                                                  \
		sx_host_store((u8 *)(try_lin_ + try_e_->addend), (value), (size));                 \
	} while (0)

/* The operand rm, register or memory: for handlers that serve both. */
static inline u64 sx_rm_load(struct sx_cpu *c, const struct sx_insn *i, unsigned size)
{
	if (i->flags & SX_IF_MEM)
		return sx_load(c, i, sx_ea(c, i, size, false), size);
	return sx_reg_get(c, i->rm, size);
}

static inline void sx_rm_store(struct sx_cpu *c, const struct sx_insn *i, u64 v, unsigned size)
{
	if (i->flags & SX_IF_MEM)
		sx_store(c, i, sx_ea(c, i, size, true), v, size);
	else
		sx_reg_set(c, i->rm, v, size);
}

/* Sign-extends the low size bytes. */
static always_inline u64 sx_sign_extend(u64 v, unsigned size)
{
	unsigned unused_bits = 64 - size * 8;

	return (u64)((i64)(v << unused_bits) >> unused_bits);
}

#endif

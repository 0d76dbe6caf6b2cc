/*
 * Executing x87 instructions: the guest's registers are in the host's, and each instruction is the
 * same one on the host (fpu_stubs.S).
 *
 * The binder leaves in imm what handlers need beside the operands: the stub's offset below, the
 * instruction's offset in its block above, for the instruction pointer. As on processors that say
 * so in CPUID.7.EBX (bits 6 and 13), the opcode and the operand's address are noted only when an
 * unmasked exception is raised, and the selectors read as 0.
 *
 * A store into plain memory lets the host's instruction write to it directly; any other place is
 * probed first and written last, so that a page fault finds nothing changed.
 */
#include "accel/soft/fpu.h"

#include <string.h>

#include "accel/soft/exec.h"

#define STUB_SIZE 4

extern const char sx_x87_reg[], sx_x87_mem[];
u64 sx_x87_call_flags(u64 rflags, const void *stub);

static always_inline const void *x87_stub(const struct sx_insn *i)
{
	return sx_x87_reg + (u32)i->imm;
}

static always_inline void x87_call(const struct sx_insn *i)
{
	((void (*)(void))x87_stub(i))();
}

static always_inline void x87_call_mem(const struct sx_insn *i, void *operand)
{
	((void (*)(void *))(sx_x87_mem + (u32)i->imm))(operand);
}

static always_inline void x87_begin(struct sx_cpu *c, const struct sx_insn *i)
{
	if (unlikely(!c->fpu_live.x87))
		sx_x87_enter(c, i);
}

static always_inline void x87_note_ip(struct sx_cpu *c, const struct sx_insn *i)
{
	c->fpu.fip = (c->gpr[SX_RIP] + (i->imm >> 32)) & c->code_mask;
}

/* The opcode's low three bits and ModRM, from the instruction's bytes: they follow the prefixes. */
static u16 x87_opcode(const struct sx_cpu *c, const struct sx_insn *i)
{
	const u8 *p = sx_block_bytes(c->block) + (i->imm >> 32);
	unsigned n = 0;

	while (n + 2u < i->len && (p[n] & 0xf8) != 0xd8)
		n++;
	return (u16)((p[n] & 7) << 8 | p[n + 1]);
}

/* Out of line: only guests that unmask exceptions come here. Was the result withheld? */
static noinline bool x87_settle(struct sx_cpu *c, const struct sx_insn *i)
{
	if (!sx_x87_settle(c))
		return false;
	c->fpu.fop = x87_opcode(c, i);
	if (sx_insn_is_mem(i))
		c->fpu.fdp = sx_offset(c, i);
	return c->fpu.fsw & ~c->fpu.fcw & SX_MXCSR_FLAGS & ~SX_FP_PRECISION;
}

static always_inline bool x87_end(struct sx_cpu *c, const struct sx_insn *i)
{
	return unlikely(c->fpu_live.is_x87_unmasked) && x87_settle(c, i);
}

/* --- computing --- */

static void x87_registers(struct sx_cpu *c, const struct sx_insn *i)
{
	x87_begin(c, i);
	x87_note_ip(c, i);
	x87_call(i);
	x87_end(c, i);
	SX_NEXT(c, i);
}

/* FCOMI and its kin set RFLAGS, FCMOVcc reads them. */
static void x87_flags(struct sx_cpu *c, const struct sx_insn *i)
{
	u64 rflags;

	x87_begin(c, i);
	x87_note_ip(c, i);
	rflags = sx_x87_call_flags(sx_flags_of_cc(c->cc) | X86_FLAG_ONE, x87_stub(i));
	c->cc = sx_cc_of_flags(rflags);
	x87_end(c, i);
	SX_NEXT(c, i);
}

static always_inline void x87_load(struct sx_cpu *c, const struct sx_insn *i, unsigned size)
{
	u8 operand[16];

	x87_begin(c, i);
	sx_load_bytes(c, i, sx_ea(c, i, size, false), operand, size);
	x87_begin(c, i); /* a device that was read took the registers back */
	x87_note_ip(c, i);
	x87_call_mem(i, operand);
	x87_end(c, i);
}

static always_inline void x87_store(struct sx_cpu *c, const struct sx_insn *i, unsigned size)
{
	u8 operand[16];

	x87_begin(c, i);

	u64 lin = sx_ea(c, i, size, true);
	u8 *p = sx_tlb_write(c, lin, size);

	if (unlikely(!p)) {
		sx_probe_write(c, i, lin, size);
		x87_begin(c, i);
	}
	x87_note_ip(c, i);
	x87_call_mem(i, p ? p : operand);
	if (!x87_end(c, i) && !p)
		sx_store_bytes(c, i, lin, operand, size);
}

#define X87_MEMORY(size)                                                                           \
	static void x87_load_##size(struct sx_cpu *c, const struct sx_insn *i)                     \
	{                                                                                          \
		x87_load(c, i, size);                                                              \
		SX_NEXT(c, i);                                                                     \
	}                                                                                          \
	static void x87_store_##size(struct sx_cpu *c, const struct sx_insn *i)                    \
	{                                                                                          \
		x87_store(c, i, size);                                                             \
		SX_NEXT(c, i);                                                                     \
	}
X87_MEMORY(2)
X87_MEMORY(4)
X87_MEMORY(8)
X87_MEMORY(10)

/* --- control --- */

static void x87_fwait(struct sx_cpu *c, const struct sx_insn *i)
{
	if ((c->cr0 & X86_CR0_MP) && (c->cr0 & X86_CR0_TS))
		sx_throw(c, i, X86_NM, 0);
	/* Nothing is pending while the registers are live: sx_x87_settle. */
	if (!c->fpu_live.x87)
		sx_x87_wait(c, i);
	SX_NEXT(c, i);
}

/* FENI, FDISI, FSETPM: nothing since the 80387, not even a wait. */
static void x87_ignored(struct sx_cpu *c, const struct sx_insn *i)
{
	if (!c->fpu_live.x87)
		sx_x87_enter_no_wait(c, i);
	SX_NEXT(c, i);
}

static void x87_fnclex(struct sx_cpu *c, const struct sx_insn *i)
{
	sx_x87_enter_no_wait(c, i);
	c->fpu.fsw &= 0x7f00;
	SX_NEXT(c, i);
}

static void x87_fninit(struct sx_cpu *c, const struct sx_insn *i)
{
	sx_x87_enter_no_wait(c, i);
	sx_fpu_init_x87(&c->fpu);
	SX_NEXT(c, i);
}

static noinline void x87_fldcw_work(struct sx_cpu *c, const struct sx_insn *i)
{
	u16 fcw;

	x87_begin(c, i);
	fcw = (u16)sx_load(c, i, sx_ea(c, i, 2, false), 2);
	x87_begin(c, i);
	x87_call_mem(i, &fcw);
	sx_x87_note_masks(c, fcw);
	if (c->fpu_live.is_x87_unmasked)
		sx_x87_settle(c);
}
SX_HANDLER_OF(x87_fldcw, x87_fldcw_work)

static always_inline u16 x87_control_word(struct sx_cpu *c, const struct sx_insn *i)
{
	u16 fcw;

	if (unlikely(!c->fpu_live.x87)) {
		sx_x87_enter_no_wait(c, i);
		return c->fpu.fcw;
	}
	__asm__ volatile("fnstcw %0" : "=m"(fcw));
	return fcw;
}

static always_inline u16 x87_status_word(struct sx_cpu *c, const struct sx_insn *i)
{
	u16 fsw;

	if (unlikely(!c->fpu_live.x87)) {
		sx_x87_enter_no_wait(c, i);
		return c->fpu.fsw;
	}
	__asm__ volatile("fnstsw %0" : "=a"(fsw));
	return fsw;
}

static void x87_fnstcw(struct sx_cpu *c, const struct sx_insn *i)
{
	u16 fcw = x87_control_word(c, i);

	sx_store(c, i, sx_ea(c, i, 2, true), fcw, 2);
	SX_NEXT(c, i);
}

static void x87_fnstsw(struct sx_cpu *c, const struct sx_insn *i)
{
	u16 fsw = x87_status_word(c, i);

	sx_store(c, i, sx_ea(c, i, 2, true), fsw, 2);
	SX_NEXT(c, i);
}

static void x87_fnstsw_ax(struct sx_cpu *c, const struct sx_insn *i)
{
	u16 fsw = x87_status_word(c, i);

	c->gpr[X86_RAX] = (c->gpr[X86_RAX] & ~(u64)0xffff) | fsw;
	SX_NEXT(c, i);
}

/* --- choosing --- */

static sx_insn_fn *x87_bind_load(unsigned size)
{
	switch (size) {
	case 2:
		return x87_load_2;
	case 4:
		return x87_load_4;
	case 8:
		return x87_load_8;
	default:
		return x87_load_10;
	}
}

static sx_insn_fn *x87_bind_store(unsigned size)
{
	switch (size) {
	case 2:
		return x87_store_2;
	case 4:
		return x87_store_4;
	case 8:
		return x87_store_8;
	default:
		return x87_store_10;
	}
}

static bool x87_is_store(enum sx_op op)
{
	return op == SX_FST || op == SX_FSTP || op == SX_FIST || op == SX_FISTP ||
	       op == SX_FISTTP || op == SX_FBSTP;
}

static bool x87_uses_flags(enum sx_op op)
{
	return op == SX_FCMOVCC || op == SX_FCOMI || op == SX_FCOMIP || op == SX_FUCOMI ||
	       op == SX_FUCOMIP;
}

/* Those that are not a stub and no more, in an array by operation. */
static sx_insn_fn *x87_bind_control(const struct sx_insn *i)
{
	static const struct {
		enum sx_op op;
		sx_insn_fn *fn;
	} table[] = {
		{SX_FWAIT, x87_fwait},   {SX_FNCLEX, x87_fnclex}, {SX_FNINIT, x87_fninit},
		{SX_FNSTCW, x87_fnstcw}, {SX_FLDCW, x87_fldcw},
	};

	for (unsigned n = 0; n < ARRAY_SIZE(table); n++)
		if (table[n].op == sx_insn_op(i))
			return table[n].fn;
	if (sx_insn_op(i) == SX_FNOP && sx_insn_form(i)->opcode == 0xdb)
		return x87_ignored;
	if (sx_insn_op(i) == SX_FNSTSW)
		return sx_insn_is_mem(i) ? x87_fnstsw : x87_fnstsw_ax;
	return NULL;
}

static unsigned x87_stub_index(const struct sx_insn *i)
{
	const struct sx_form *f = sx_insn_form(i);
	unsigned opcode = f->opcode & 7u;

	if (sx_insn_is_mem(i))
		return opcode * 8 + f->ext;
	if (f->modrm == SX_MODRM_EXACT)
		return opcode * 64 + (f->ext & 63u);
	return opcode * 64 + (unsigned)f->ext * 8 + (i->rm & 7u);
}

sx_insn_fn *sx_x87_bind(struct sx_insn *i, unsigned off)
{
	enum sx_op op = sx_insn_op(i);
	sx_insn_fn *fn = x87_bind_control(i);

	if (op < SX_FADD || op > SX_FNSAVE)
		return NULL;
	if (op != SX_FWAIT)
		i->imm = (u64)off << 32 | x87_stub_index(i) * STUB_SIZE;
	if (fn)
		return fn;
	if (!sx_insn_is_mem(i))
		return x87_uses_flags(op) ? x87_flags : x87_registers;
	return x87_is_store(op) ? x87_bind_store(i->size) : x87_bind_load(i->size);
}

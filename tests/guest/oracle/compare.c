/*
 * Judges a case: two results, less what the architecture leaves undefined.
 *
 * Undefined flags and results are those of SDM 2, instruction by instruction. Not compared either:
 * x87's last-instruction pointers, which this CPU keeps only for unmasked exceptions, and what
 * Linux says instead of the CPU about faults on kernel addresses.
 */
#include <stdio.h>
#include <string.h>

#include "accel/soft/disasm.h"
#include "arch/x86/regs.h"
#include "base/bytes.h"
#include "tests/guest/oracle/oracle.h"

struct compare {
	const struct oracle_case *c;
	const struct oracle_result *native, *soft;
	bool is_quiet;
	unsigned n_different;
};

static const char *const compare_gprs[X86_GPRS] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp",
						   "rsi", "rdi", "r8",  "r9",  "r10", "r11",
						   "r12", "r13", "r14", "r15"};

#define ALL_BUT(flags) (X86_FLAGS_ARITH & ~(flags))

static unsigned compare_shift_count(const struct oracle_case *c)
{
	u8 shape = sx_insn_form(&c->insn)->shape;
	u64 count = shape == SX_SHAPE_RM_CL || shape == SX_SHAPE_RM_REG_CL ? c->gpr[X86_RCX]
									   : c->insn.imm;

	return (unsigned)(count & (c->insn.size == 8 ? 63 : 31));
}

static u64 compare_undefined_by_shift(const struct oracle_case *c, unsigned op)
{
	unsigned count = compare_shift_count(c), bits = c->insn.size * 8u;
	u64 flags = 0;

	if (!count)
		return 0;
	if (count != 1)
		flags |= X86_FLAG_OF;
	if (op >= SX_SHL)
		flags |= X86_FLAG_AF;
	if ((op == SX_SHL || op == SX_SHR) && count >= bits)
		flags |= X86_FLAG_CF;
	if ((op == SX_SHLD || op == SX_SHRD) && count > bits)
		flags = X86_FLAGS_ARITH;
	return flags;
}

static u64 compare_undefined_flags(const struct oracle_case *c)
{
	unsigned op = sx_insn_op(&c->insn);

	switch ((int)op) {
	case SX_AND:
	case SX_OR:
	case SX_XOR:
	case SX_TEST:
		return X86_FLAG_AF;
	case SX_MUL:
	case SX_IMUL1:
	case SX_IMUL:
	case SX_IMUL3:
		return ALL_BUT(X86_FLAG_CF | X86_FLAG_OF);
	case SX_DIV:
	case SX_IDIV:
		return X86_FLAGS_ARITH;
	case SX_ROL:
	case SX_ROR:
	case SX_RCL:
	case SX_RCR:
	case SX_SHL:
	case SX_SHR:
	case SX_SAR:
	case SX_SHLD:
	case SX_SHRD:
		return compare_undefined_by_shift(c, op);
	case SX_BT:
	case SX_BTS:
	case SX_BTR:
	case SX_BTC:
		return ALL_BUT(X86_FLAG_CF | X86_FLAG_ZF);
	case SX_BSF:
	case SX_BSR:
		return ALL_BUT(X86_FLAG_ZF);
	case SX_TZCNT:
	case SX_LZCNT:
		return ALL_BUT(X86_FLAG_CF | X86_FLAG_ZF);
	case SX_ANDN:
	case SX_BLSR:
	case SX_BLSI:
	case SX_BZHI:
	case SX_BLSMSK:
		return X86_FLAG_AF | X86_FLAG_PF;
	case SX_BEXTR:
		return X86_FLAG_AF | X86_FLAG_PF | X86_FLAG_SF;
	case SX_DAA:
	case SX_DAS:
		return X86_FLAG_OF;
	case SX_AAA:
	case SX_AAS:
		return ALL_BUT(X86_FLAG_AF | X86_FLAG_CF);
	case SX_AAM:
	case SX_AAD:
		return X86_FLAG_OF | X86_FLAG_AF | X86_FLAG_CF;
	}
	return 0;
}

/* Is the destination register undefined? */
static bool compare_is_undefined(const struct oracle_case *c)
{
	switch ((int)sx_insn_op(&c->insn)) {
	case SX_SHLD:
	case SX_SHRD:
		return compare_shift_count(c) > c->insn.size * 8u;
	case SX_BSWAP:
		return c->insn.size == 2;
	}
	return false;
}

static void compare_value(struct compare *k, const char *name, u64 native, u64 soft)
{
	if (native == soft)
		return;
	k->n_different++;
	if (!k->is_quiet)
		printf("  %-8s native %#lx, soft %#lx\n", name, native, soft);
}

static void compare_bytes(struct compare *k, const char *name, const u8 *native, const u8 *soft,
			  unsigned size)
{
	if (!memcmp(native, soft, size))
		return;
	k->n_different++;
	if (k->is_quiet)
		return;
	printf("  %-8s native ", name);
	for (unsigned i = size; i-- > 0;)
		printf("%02x", native[i]);
	printf(", soft ");
	for (unsigned i = size; i-- > 0;)
		printf("%02x", soft[i]);
	printf("\n");
}

/* The instruction did not complete. */
static bool compare_is_fault(const struct compare *k)
{
	return k->native->vector != X86_BP && k->native->vector != X86_DB;
}

/* Large operands are accessed piece by piece, in an order that is not defined. */
static bool compare_is_piecemeal(const struct compare *k)
{
	const struct sx_operand *rm = sx_form_rm(sx_insn_form(&k->c->insn));

	return rm && BIT(rm->size) & (BIT(SX_SZ_FX) | BIT(SX_SZ_XS) | BIT(SX_SZ_ENV) |
				      BIT(SX_SZ_SAVE) | BIT(SX_SZ_T));
}

/* Which of several faults an operand raises is not defined when it is both misaligned and beyond
 * its segment's limit, nor when it is large and more than one of its pieces is at fault. */
static bool compare_is_either_fault(const struct compare *k)
{
	bool is_misaligned = sx_insn_form(&k->c->insn)->attr & SX_A_ALIGN &&
			     oracle_address(k->c) & (MAX(k->c->insn.size, 16u) - 1u);
	u64 either = BIT(X86_GP) | BIT(X86_SSEG);

	/* A call's target is looked at before or after the push. */
	if (sx_insn_op(&k->c->insn) == SX_CALL_RM || sx_insn_op(&k->c->insn) == SX_CALL_FAR_M)
		return BIT(k->native->vector) & (either | BIT(X86_PF)) &&
		       BIT(k->soft->vector) & (either | BIT(X86_PF)) &&
		       k->native->vector != k->soft->vector;
	/* BOUND may compare with the first bound before it looks at the second. */
	if (sx_insn_op(&k->c->insn) == SX_BOUND) {
		either |= BIT(X86_BR) | BIT(X86_PF) | BIT(X86_AC);
		return BIT(k->native->vector) & either && BIT(k->soft->vector) & either;
	}
	if (compare_is_piecemeal(k))
		either |= BIT(X86_AC) | BIT(X86_PF);
	return (is_misaligned || compare_is_piecemeal(k)) && BIT(k->native->vector) & either &&
	       BIT(k->soft->vector) & either;
}

/* x87 stores nothing when it raises an exception that is not masked; our CPU checks first whether
 * it could. */
static bool compare_is_suppressed_store(const struct compare *k)
{
	const struct sx_form *f = sx_insn_form(&k->c->insn);

	return f->op >= SX_FST && f->op <= SX_FBSTP && bytes_load(k->native->fx + 2, 2) & 0x80 &&
	       !compare_is_fault(k) && k->soft->rip == k->c->rip;
}

/* The dot products raise unmasked exceptions of their steps, which ours does not see when they are
 * exact (simd_fp.c). */
static bool compare_is_dot_product(const struct compare *k)
{
	unsigned op = sx_insn_op(&k->c->insn);

	return (op == SX_DPPS || op == SX_DPPD) && k->native->vector == X86_XM &&
	       k->soft->vector == X86_BP;
}

/* A masked store whose mask is empty may fault or not. */
static bool compare_is_empty_store(const struct compare *k)
{
	unsigned op = sx_insn_op(&k->c->insn), rm = k->c->insn.rm;
	unsigned top = (unsigned)bytes_load(k->c->fx + 2, 2) >> 11 & 7;
	u64 off = op == SX_MASKMOVQ ? X86_FXSAVE_ST0 + ((rm - top) & 7) * 16
				    : X86_FXSAVE_XMM0 + rm * 16;
	u64 signs = 0;

	if (op != SX_MASKMOVQ && op != SX_MASKMOVDQU)
		return false;
	for (unsigned i = 0; i < k->c->insn.size; i++)
		signs |= k->c->fx[off + i] & 0x80;
	return !signs && compare_is_fault(k) && k->soft->vector == X86_BP;
}

static void compare_page_fault(struct compare *k)
{
	u64 operand = oracle_address(k->c);

	unsigned op = sx_insn_op(&k->c->insn);

	if (compare_is_piecemeal(k) && k->native->cr2 - operand < 1024 &&
	    k->soft->cr2 - operand < 1024)
		return;
	/* Any element. */
	if (k->c->insn.flags & SX_IF_VSIB)
		return;
	/* Any byte of the operand, written or not. */
	if ((op == SX_MASKMOVQ || op == SX_MASKMOVDQU) && k->native->cr2 - k->soft->cr2 + 16 < 32)
		return;
	compare_value(k, "cr2", k->native->cr2, k->soft->cr2);
}

static void compare_exception(struct compare *k)
{
	/* Memory of this process's, or the kernel's. */
	bool is_foreign = k->native->vector == X86_PF && k->native->cr2 >= ORACLE_SAFE_END;

	if (compare_is_either_fault(k))
		return;
	compare_value(k, "vector", k->native->vector, k->soft->vector);
	compare_value(k, "rip", k->native->rip, k->soft->rip);
	if (k->native->vector != k->soft->vector || is_foreign)
		return;
	if (BIT(k->native->vector) &
	    (BIT(X86_TS) | BIT(X86_NP) | BIT(X86_SSEG) | BIT(X86_GP) | BIT(X86_PF) | BIT(X86_AC)))
		compare_value(k, "error", k->native->error, k->soft->error);
	if (k->native->vector == X86_PF)
		compare_page_fault(k);
}

/* IRET to the user clears the lower bits of null selectors; in CS and SS there are none. */
static void compare_selector(struct compare *k, const char *name, u16 native, u16 soft)
{
	compare_value(k, name, native & ~3 ? native : 0, soft & ~3 ? soft : 0);
}

/* RETF with an immediate carries out of SP into ESP on a 16-bit stack; no manual says so. */
static u64 compare_stack_mask(const struct compare *k)
{
	if (k->c->mode == ORACLE_16 && sx_insn_op(&k->c->insn) == SX_RETF)
		return 0xffff;
	/* Once in 32-bit code, what is above ESP is undefined. */
	return k->c->bits == 64 && k->native->cs == ORACLE_CS64 ? ~(u64)0 : 0xffffffff;
}

static void compare_registers(struct compare *k)
{
	const struct oracle_result *n = k->native, *s = k->soft;
	u64 mask = k->c->bits == 64 ? ~(u64)0 : 0xffffffff;
	u64 flags = X86_FLAGS_ARITH | X86_FLAG_TF | X86_FLAG_IF | X86_FLAG_DF | X86_FLAG_IOPL |
		    X86_FLAG_NT | X86_FLAG_AC | X86_FLAG_ID | X86_FLAG_RF;

	for (unsigned i = 0; i < X86_GPRS && !compare_is_undefined(k->c); i++) {
		u64 m = i == X86_RSP ? compare_stack_mask(k) : mask;

		compare_value(k, compare_gprs[i], n->gpr[i] & m, s->gpr[i] & m);
	}
	flags &= ~compare_undefined_flags(k->c);
	compare_value(k, "rflags", n->rflags & flags, s->rflags & flags);
	compare_value(k, "cs", n->cs, s->cs);
	compare_value(k, "ss", n->ss, s->ss);
	compare_selector(k, "ds", n->ds, s->ds);
	compare_selector(k, "es", n->es, s->es);
	compare_selector(k, "fs", n->fs, s->fs);
	compare_selector(k, "gs", n->gs, s->gs);
	compare_value(k, "fs base", n->fs_base, s->fs_base);
	compare_value(k, "gs base", n->gs_base, s->gs_base);
}

static void compare_fx(struct compare *k)
{
	const u8 *n = k->native->fx, *s = k->soft->fx;
	char name[16];

	/* Which elements of a gather came before the one that faults is not defined. */
	if (k->c->insn.flags & SX_IF_VSIB && compare_is_fault(k))
		return;
	/* An MMX instruction that faults has already marked the registers, or not. */
	if (sx_form_is_mmx(sx_insn_form(&k->c->insn)) && compare_is_fault(k))
		return;
	compare_value(k, "fcw", bytes_load(n, 2), bytes_load(s, 2));
	compare_value(k, "fsw", bytes_load(n + 2, 2), bytes_load(s + 2, 2));
	compare_value(k, "ftw", n[4], s[4]);
	/* Which flags are set beside those of the unmasked exception raised is not defined. */
	if (k->native->vector != X86_XM || k->soft->vector != X86_XM)
		compare_value(k, "mxcsr", bytes_load(n + X86_FXSAVE_MXCSR, 4),
			      bytes_load(s + X86_FXSAVE_MXCSR, 4));
	if (!memcmp(n + X86_FXSAVE_ST0, s + X86_FXSAVE_ST0, (8 + 16) * 16) &&
	    !memcmp(k->native->ymm_high, k->soft->ymm_high, sizeof(k->soft->ymm_high)))
		return; /* nearly always: no names are made */
	for (unsigned i = 0; i < 8; i++) {
		snprintf(name, sizeof(name), "st%u", i);
		compare_bytes(k, name, n + X86_FXSAVE_ST0 + i * 16, s + X86_FXSAVE_ST0 + i * 16,
			      10);
	}
	for (unsigned i = 0; i < 16; i++) {
		snprintf(name, sizeof(name), "xmm%u", i);
		compare_bytes(k, name, n + X86_FXSAVE_XMM0 + i * 16, s + X86_FXSAVE_XMM0 + i * 16,
			      16);
		snprintf(name, sizeof(name), "ymmh%u", i);
		compare_bytes(k, name, k->native->ymm_high[i], k->soft->ymm_high[i], 16);
	}
}

/* Bytes of the memory operand that hold x87's instruction and data pointers. */
static bool compare_is_pointer_byte(const struct oracle_case *c, u64 off)
{
	switch ((int)sx_insn_op(&c->insn)) {
	case SX_FNSTENV:
	case SX_FNSAVE:
		return c->insn.size == 2 ? off >= 6 && off < 14 : off >= 12 && off < 28;
	case SX_FXSAVE:
	case SX_XSAVE:
	case SX_XSAVEOPT:
	case SX_XSAVEC:
		return off >= 6 && off < 24;
	}
	return false;
}

/* Of several stores some may have been done before a later one faults, or before the target of a
 * call is found to be beyond its limit. */
static bool compare_is_partial(const struct compare *k)
{
	switch ((int)sx_insn_op(&k->c->insn)) {
	case SX_CALL:
	case SX_CALL_RM:
	case SX_CALL_FAR:
	case SX_CALL_FAR_M:
	case SX_PUSHA:
	case SX_ENTER:
		return compare_is_fault(k);
	}
	return compare_is_fault(k) && compare_is_piecemeal(k);
}

static void compare_data(struct compare *k)
{
	u64 operand = oracle_address(k->c) - ORACLE_DATA;
	unsigned shown = 0;

	if (!memcmp(k->native->data, k->soft->data, ORACLE_DATA_SIZE) ||
	    compare_is_undefined(k->c) || compare_is_partial(k))
		return;
	for (u64 i = 0; i < ORACLE_DATA_SIZE; i++) {
		char name[24];

		if (k->native->data[i] == k->soft->data[i] ||
		    compare_is_pointer_byte(k->c, i - operand))
			continue;
		k->n_different++;
		snprintf(name, sizeof(name), "[%#lx]", ORACLE_DATA + i);
		if (shown++ < 16 && !k->is_quiet)
			printf("  %-8s native %#x, soft %#x (operand%+ld)\n", name,
			       k->native->data[i], k->soft->data[i], (i64)(i - operand));
	}
}

void oracle_print_case(const struct oracle_case *c)
{
	static const char *const modes[] = {"64-bit", "32-bit", "32-bit segmented", "16-bit"};
	char text[SX_DISASM_MAX] = "(no instruction)";

	if (c->insn.form)
		sx_disasm(&c->insn, c->rip, text, sizeof(text));
	printf("case %lu: %s, rip %#lx: %s;", c->number, modes[c->mode], c->rip, text);
	for (unsigned i = 0; i < c->len; i++)
		printf(" %02x", c->code[i]);
	printf("\n  rax %#lx rcx %#lx rdx %#lx rbx %#lx rsp %#lx rbp %#lx rsi %#lx rdi %#lx\n",
	       c->gpr[0], c->gpr[1], c->gpr[2], c->gpr[3], c->gpr[4], c->gpr[5], c->gpr[6],
	       c->gpr[7]);
	printf("  r8 %#lx r9 %#lx r10 %#lx r11 %#lx r12 %#lx r13 %#lx r14 %#lx r15 %#lx\n",
	       c->gpr[8], c->gpr[9], c->gpr[10], c->gpr[11], c->gpr[12], c->gpr[13], c->gpr[14],
	       c->gpr[15]);
	printf("  rflags %#lx gs base %#lx fcw %#lx fsw %#lx ftw %#x mxcsr %#lx", c->rflags,
	       c->gs_base, bytes_load(c->fx, 2), bytes_load(c->fx + 2, 2), c->fx[4],
	       bytes_load(c->fx + X86_FXSAVE_MXCSR, 4));
	if (c->insn.flags & SX_IF_MEM)
		printf(", operand at %#lx", oracle_address(c));
	printf("\n");
}

bool oracle_differs(const struct oracle_case *c, const struct oracle_result *native,
		    const struct oracle_result *soft, bool is_quiet)
{
	struct compare k = {.c = c, .native = native, .soft = soft, .is_quiet = is_quiet};

	if (native->is_hung || soft->is_hung || soft->is_broken) {
		if (!is_quiet)
			printf("  native %s, soft %s\n", native->is_hung ? "does not end" : "ends",
			       soft->is_broken ? "gives up"
			       : soft->is_hung ? "does not end"
					       : "ends");
		return true;
	}
	if (compare_is_suppressed_store(&k) || compare_is_empty_store(&k) ||
	    compare_is_dot_product(&k))
		return false;
	compare_exception(&k);
	compare_registers(&k);
	compare_fx(&k);
	compare_data(&k);
	return k.n_different > 0;
}

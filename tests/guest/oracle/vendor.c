/*
 * The software CPU is Intel's (docs/design/soft.md); the host's need not be. Where AMD's manual
 * (APM 3) has an instruction do something else than Intel's (SDM 2), a case is disguised before it
 * runs on an AMD host: encoded, or its operands laid out, so that AMD's processor is asked for what
 * Intel's does. Afterwards its result is settled: what only the disguise left behind is taken away,
 * and what AMD's processor must have done instead is looked for, and then replaced by what Intel's
 * does. So the comparison stays exact: a host that does anything else is a difference.
 *
 *   66 before a near branch in 64-bit code    AMD: IP is cut to 16 bits; Intel: ignored (SDM 2,
 *                                             Jcc, JMP, CALL, RET)
 *   REX.W of far pointers in memory           AMD: ignored; Intel: m16:64 (SDM 2, LSS, CALL, JMP)
 *   MOVSXD of 16 bits, in memory              AMD: 32 bits are read; Intel: 16 (SDM 2, MOVSXD)
 *   IRETQ, RETFQ to code of 32 or 16 bits     AMD: the limit is compared with all of RIP; Intel:
 *                                             with EIP
 *   0F 0D with a register                     AMD: #UD (PREFETCH); Intel: a reserved NOP
 *   16, 32 bytes, misaligned, EFLAGS.AC       AMD: #AC; Intel: "may or may not" (SDM 2, MOVUPS)
 *   x87's environment, state, EFLAGS.AC       AMD: no #AC; Intel: as SDM 3A, table 6-7 says
 *   far pointers, EFLAGS.AC                   AMD: #AC before the segment's limit; Intel: #GP, #SS
 *                                             before #AC (SDM 3A, table 6-2)
 *   SHA with a misaligned operand             AMD: runs; Intel: #GP (SDM 2, table 2-21)
 *   PUSH Sreg of 32 bits                      AMD: extended by zeros; Intel: 16 bits are written,
 *                                             the others stay (SDM 2, PUSH)
 *   MXCSR and its mask                        AMD: have bit 17, misaligned exception mask
 *   REP CMPS, REP SCAS that fault             AMD: flags of the last comparison; Intel: those
 *                                             before the instruction (SDM 2, REP)
 *   which fault, of several                   AMD: IRET looks at RIP before SS, RETF reads
 *                                             the outer stack before CS, CMPS may read [rSI] first
 *   INT1                                      AMD: a hypervisor that intercepts #DB gives it back
 *                                             with the instruction's own address
 */
#include <cpuid.h>
#include <string.h>

#include "arch/x86/regs.h"
#include "base/bytes.h"
#include "tests/guest/oracle/oracle.h"

#define VENDOR_AMD_EBX     0x68747541u /* "Auth" */
#define VENDOR_HYGON_EBX   0x6f677948u /* "Hygo" */
#define VENDOR_MXCSR_VALID 0xffffu     /* of the software CPU */
#define VENDOR_REX         0x40        /* ignored, unless an opcode follows; no bits: harmless */
#define VENDOR_LDT_LIMIT   (ORACLE_CODE_SIZE - 1)
#define VENDOR_NO_LIMIT    (~(u64)0)

static struct {
	bool is_amd;
	u32 mxcsr_mask;
	const u8 *image;
} vendor;

void oracle_vendor_init(const u8 *image)
{
	static u8 fx[X86_FXSAVE_SIZE] __attribute__((aligned(16)));
	u32 eax, ebx, ecx, edx;

	__cpuid(0, eax, ebx, ecx, edx);
	vendor.is_amd = ebx == VENDOR_AMD_EBX || ebx == VENDOR_HYGON_EBX;
	asm volatile("fxsave64 %0" : "=m"(fx));
	vendor.mxcsr_mask = (u32)bytes_load(fx + X86_FXSAVE_MXCSR + 4, 4);
	vendor.image = image;
}

/* --- looking at a case --- */

static bool vendor_is(const struct oracle_case *c, const enum sx_op *ops, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		if (sx_insn_op(&c->insn) == ops[i])
			return true;
	}
	return false;
}

static bool vendor_is_near_branch(const struct oracle_case *c)
{
	static const enum sx_op ops[] = {SX_JCC,  SX_JMP,  SX_CALL, SX_LOOPNE,  SX_LOOPE,
					 SX_LOOP, SX_JCXZ, SX_RET,  SX_CALL_RM, SX_JMP_RM};

	return c->bits == 64 && vendor_is(c, ops, ARRAY_SIZE(ops));
}

/* A far pointer of ten bytes in memory. */
static bool vendor_is_far64(const struct oracle_case *c)
{
	static const enum sx_op ops[] = {SX_CALL_FAR_M, SX_JMP_FAR_M, SX_LSS, SX_LFS, SX_LGS};

	return c->insn.flags & SX_IF_REXW && vendor_is(c, ops, ARRAY_SIZE(ops));
}

/* The pointer of a far jump or call in a segment with a limit, where alignment counts: which fault
 * comes first? */
static bool vendor_is_checked_far(const struct oracle_case *c)
{
	static const enum sx_op ops[] = {SX_CALL_FAR_M, SX_JMP_FAR_M};

	return (c->mode == ORACLE_16 || c->mode == ORACLE_32_SEGMENTED) &&
	       c->rflags & X86_FLAG_AC && vendor_is(c, ops, ARRAY_SIZE(ops));
}

static bool vendor_is_unaligned16(const struct oracle_case *c)
{
	const struct sx_form *f = sx_insn_form(&c->insn);

	return c->insn.flags & SX_IF_MEM && f->op > SX_STMXCSR && !(f->attr & SX_A_ALIGN) &&
	       sx_insn_rm_bytes(&c->insn) >= 16;
}

/* SHA's memory operands must be aligned on Intel's processors alone. */
static bool vendor_is_unaligned_sha(const struct oracle_case *c)
{
	return sx_insn_form(&c->insn)->feature == SX_F_SHA && c->insn.flags & SX_IF_MEM &&
	       oracle_address(c) & 15;
}

/* Nor does AMD's check x87's environment and state for alignment. */
static bool vendor_is_checked_x87(const struct oracle_case *c)
{
	const struct sx_operand *rm = sx_form_rm(sx_insn_form(&c->insn));

	return rm && (rm->size == SX_SZ_ENV || rm->size == SX_SZ_SAVE) && c->rflags & X86_FLAG_AC;
}

static u64 vendor_stack(const struct oracle_case *c, u64 rsp)
{
	u64 offset = c->mode == ORACLE_16 ? (u16)rsp : c->bits == 64 ? rsp : (u32)rsp;

	return c->data_base + offset;
}

static bool vendor_is_data(u64 address, u64 size)
{
	return address >= ORACLE_DATA && range_fits(address - ORACLE_DATA, size, ORACLE_DATA_SIZE);
}

static bool vendor_is_writable(u64 address, u64 size)
{
	return address >= ORACLE_DATA && range_fits(address - ORACLE_DATA, size, ORACLE_DATA_RW);
}

/* What the case began with, in its data. */
static void vendor_original(const struct oracle_case *c, u64 address, u8 *out, unsigned size)
{
	for (unsigned n = 0; n < size; n++) {
		u64 off = address + n - ORACLE_DATA;

		out[n] = vendor.image[off];
		for (unsigned i = 0; i < c->n_patches; i++) {
			const struct oracle_patch *p = &c->patches[i];

			if (off - p->off < p->size)
				out[n] = p->bytes[off - p->off];
		}
	}
}

/* A slot of the operand's size on the stack, as the case began. 0 when it isn't in the data. */
static u64 vendor_slot(const struct oracle_case *c, unsigned n)
{
	u64 address = vendor_stack(c, c->gpr[X86_RSP]) + n * c->insn.size;
	u8 bytes[8] = {0};

	if (vendor_is_data(address, c->insn.size))
		vendor_original(c, address, bytes, c->insn.size);
	return bytes_load(bytes, 8);
}

/* The limit of the code segment that a selector names, for those of this CPL. */
static u64 vendor_code_limit(u64 selector)
{
	switch (selector & 0xffff) {
	case ORACLE_LDT_CODE16:
	case ORACLE_LDT_CODE32:
		return VENDOR_LDT_LIMIT;
	case ORACLE_CS32:
		return 0xffffffff;
	}
	return VENDOR_NO_LIMIT;
}

static bool vendor_is_stack_selector(u64 selector)
{
	switch (selector & 0xffff) {
	case ORACLE_SS:
	case ORACLE_LDT_DATA32:
	case ORACLE_LDT_DATA16:
	case ORACLE_LDT_GS:
		return true;
	}
	return false;
}

/* --- before: disguise --- */

static bool vendor_is_prefix(u8 byte)
{
	static const u8 prefixes[] = {0x66, 0x67, 0x26, 0x2e, 0x36, 0x3e,
				      0x64, 0x65, 0xf0, 0xf2, 0xf3};

	return memchr(prefixes, byte, sizeof(prefixes));
}

/* Where the instruction takes MXCSR from; 0: it doesn't. */
static u64 vendor_mxcsr_source(const struct oracle_case *c)
{
	switch ((int)sx_insn_op(&c->insn)) {
	case SX_LDMXCSR:
		return oracle_address(c);
	case SX_FXRSTOR:
	case SX_XRSTOR:
		return oracle_address(c) + X86_FXSAVE_MXCSR;
	}
	return 0;
}

/* Has it the bit that AMD's MXCSR has and Intel's hasn't? */
static bool vendor_has_mm(const struct oracle_case *c, u64 address, u8 *out)
{
	if (!vendor_is_data(address, 4))
		return false;
	vendor_original(c, address + 2, out, 1);
	return *out & 2;
}

/* A reserved bit comes beside it: neither takes it. */
static void vendor_hide_mm(struct oracle_case *out)
{
	u64 address = vendor_mxcsr_source(out);
	u8 b;

	if (vendor_has_mm(out, address, &b)) {
		b |= 1;
		oracle_patch(out, address + 2, &b, 1);
	}
}

/* Where the opcode stands, behind prefixes and REX. */
static unsigned vendor_opcode(const struct oracle_case *c)
{
	unsigned n = 0;

	while (vendor_is_prefix(c->code[n]))
		n++;
	return c->bits == 64 && (c->code[n] & 0xf0) == VENDOR_REX ? n + 1 : n;
}

static void vendor_hide_66(struct oracle_case *out)
{
	for (unsigned n = 0; vendor_is_prefix(out->code[n]); n++) {
		if (out->code[n] == 0x66)
			out->code[n] = VENDOR_REX;
	}
}

/* The selector moves to where a far pointer of six bytes has it. */
static void vendor_hide_far64(struct oracle_case *out)
{
	u64 address = oracle_address(out);
	u8 selector[2];

	out->code[vendor_opcode(out) - 1] &= (u8)~8;
	vendor_hide_66(out);
	if (!vendor_is_writable(address, 10))
		return;
	vendor_original(out, address + 8, selector, 2);
	oracle_patch(out, address + 4, selector, 2);
}

static void vendor_hide_rip(struct oracle_case *out)
{
	if (out->insn.size == 8 && vendor_code_limit(vendor_slot(out, 1)) != VENDOR_NO_LIMIT)
		oracle_patch(out, vendor_stack(out, out->gpr[X86_RSP]) + 4, &(u32){0}, 4);
}

/* Does a far call's pointer name the segment of 64-bit code? */
static bool vendor_calls_64(const struct oracle_case *c)
{
	u64 address = oracle_address(c) + c->insn.size;
	u8 selector[8] = {0};

	if (sx_insn_op(&c->insn) == SX_CALL_FAR)
		return (c->insn.imm >> 32 | 3) == ORACLE_CS64;
	if (vendor_is_data(address, 2))
		vendor_original(c, address, selector, 2);
	return (bytes_load(selector, 2) | 3) == ORACLE_CS64;
}

/*
 * Settling would take the pointer for what a far call pushes, or the other way round, if it is pushed there; and what is pushed
 * upon code stays, in other bytes than Intel's.
 */
static bool vendor_can_push(const struct oracle_case *c, u64 rsp)
{
	u64 stack = vendor_stack(c, rsp);

	return stack - oracle_address(c) >= 10 + 16 && stack - ORACLE_CODE >= ORACLE_CODE_SIZE + 16;
}

/* Where alignment counts, or the operand can't be laid out otherwise, there is no disguise. */
static bool vendor_can_hide(const struct oracle_case *c)
{
	u64 address = oracle_address(c), mxcsr = vendor_mxcsr_source(c);
	u8 b;

	if (vendor_is_far64(c) && c->rflags & X86_FLAG_AC)
		return false;
	if (vendor_is_far64(c) && sx_insn_op(&c->insn) == SX_CALL_FAR_M &&
	    !(vendor_can_push(c, c->gpr[X86_RSP]) && vendor_can_push(c, (u32)c->gpr[X86_RSP])))
		return false;
	if (vendor_is_far64(c) && address + 10 > ORACLE_DATA &&
	    address < ORACLE_DATA + ORACLE_DATA_SIZE && !vendor_is_writable(address, 10))
		return false;
	return !mxcsr || vendor_is_writable(mxcsr, 4) || !vendor_has_mm(c, mxcsr, &b);
}

bool oracle_vendor_runs(const struct oracle_case *c)
{
	unsigned op = sx_insn_op(&c->insn);

	if (!vendor.is_amd)
		return true;
	/* The stack of 64-bit code begins at all of RSP, whose upper half is not defined where
	 * 16-bit code calls (SDM 1, 3.4.1.1): there Linux has left an address of its own, and
	 * answers this process's access to it by trying again, forever. */
	if (vendor_is_unaligned_sha(c) || vendor_is_checked_x87(c) || vendor_is_checked_far(c))
		return false;
	if (c->mode == ORACLE_16 && (op == SX_CALL_FAR || op == SX_CALL_FAR_M))
		return !vendor_calls_64(c);
	return vendor_can_hide(c);
}

void oracle_vendor_disguise(const struct oracle_case *c, struct oracle_case *out)
{
	*out = *c;
	if (!vendor.is_amd)
		return;
	if (vendor_is_near_branch(c))
		vendor_hide_66(out);
	if (vendor_is_far64(c))
		vendor_hide_far64(out);
	if (vendor_is_unaligned16(c))
		out->rflags &= ~X86_FLAG_AC;
	switch ((int)sx_insn_op(&c->insn)) {
	case SX_IRET:
	case SX_RETF:
		vendor_hide_rip(out);
		break;
	case SX_LDMXCSR:
	case SX_FXRSTOR:
	case SX_XRSTOR:
		vendor_hide_mm(out);
		break;
	case SX_MOVSXD:
		if (c->insn.size == 2) /* as MOV, which is the same */
			out->code[vendor_opcode(c)] = 0x8b;
		break;
	case SX_NOP:
		if (sx_insn_form(&c->insn)->map == SX_MAP_0F &&
		    sx_insn_form(&c->insn)->opcode == 0x0d)
			out->code[vendor_opcode(c) + 1] = 0x1f;
		break;
	}
}

/* --- afterwards: settle --- */

static u8 *vendor_data(u64 address)
{
	return (u8 *)address; /* the native side's data are where they are in the case */
}

static void vendor_restore(const struct oracle_case *c, u64 address, unsigned size)
{
	if (vendor_is_writable(address, size))
		vendor_original(c, address, vendor_data(address), size);
}

static bool vendor_is_complete(const struct oracle_case *c, const struct oracle_result *native)
{
	return native->vector == X86_BP && native->rip == c->rip + c->len + 1;
}

/* A far call has pushed two slots of four bytes: of eight they would have been. */
static void vendor_settle_far_call(const struct oracle_case *c, struct oracle_result *native)
{
	u64 rsp = c->gpr[X86_RSP], ip = c->rip + c->len, stack;

	/* To code of 32 bits only the lower half counts. */
	if (native->gpr[X86_RSP] == (u32)(rsp - 8))
		rsp = (u32)rsp;
	stack = vendor_stack(c, rsp);
	if (native->vector == X86_PF && native->rip == c->rip &&
	    (u32)native->cr2 == (u32)(stack - 4))
		native->cr2 -= 4;
	if (native->gpr[X86_RSP] != rsp - 8 || !vendor_is_writable(stack - 16, 16))
		return;
	if (bytes_load(vendor_data(stack - 8), 4) != ip ||
	    bytes_load(vendor_data(stack - 4), 4) != c->cs)
		return;
	bytes_store(vendor_data(stack - 16), ip, 8);
	bytes_store(vendor_data(stack - 8), c->cs, 8);
	native->gpr[X86_RSP] -= 8;
}

static void vendor_settle_far64(const struct oracle_case *c, struct oracle_result *native)
{
	u64 address = oracle_address(c);
	u8 offset[8];

	if (!vendor_is_writable(address, 10))
		return;
	vendor_restore(c, address + 4, 2);
	vendor_original(c, address, offset, 8);
	if (sx_insn_op(&c->insn) == SX_CALL_FAR_M)
		vendor_settle_far_call(c, native);
	else if (sx_insn_op(&c->insn) != SX_JMP_FAR_M && vendor_is_complete(c, native))
		native->gpr[c->insn.reg] |= bytes_load(offset, 8) & ~(u64)0xffffffff;
}

static void vendor_settle_push(const struct oracle_case *c, struct oracle_result *native)
{
	u64 upper = vendor_stack(c, native->gpr[X86_RSP]) + 2;

	if (c->insn.size == 4 && vendor_is_complete(c, native) && vendor_is_writable(upper, 2) &&
	    !bytes_load(vendor_data(upper), 2))
		vendor_restore(c, upper, 2);
}

static void vendor_settle_mxcsr_mask(const struct oracle_case *c,
				     const struct oracle_result *native)
{
	u64 at = oracle_address(c) + X86_FXSAVE_MXCSR + 4;

	if (vendor_is_complete(c, native) && vendor_is_writable(at, 4) &&
	    bytes_load(vendor_data(at), 4) == vendor.mxcsr_mask)
		bytes_store(vendor_data(at), VENDOR_MXCSR_VALID, 4);
}

/* Does reading the outer stack fault so? */
static bool vendor_is_outer_fault(const struct oracle_case *c, const struct oracle_result *native)
{
	u64 outer = vendor_stack(c, c->gpr[X86_RSP]) + 2u * c->insn.size + (c->insn.imm & 0xffff);

	if (native->vector == X86_AC)
		return c->rflags & X86_FLAG_AC && outer % c->insn.size;
	if (vendor_is_data(outer, 2u * c->insn.size))
		return false;
	return native->vector == X86_SSEG ||
	       (native->vector == X86_PF && native->cr2 - outer < 2u * c->insn.size);
}

/* AMD's RETF reads the outer stack before it looks at the code segment. */
static void vendor_settle_retf(const struct oracle_case *c, struct oracle_result *native)
{
	u64 selector = vendor_slot(c, 1) & 0xffff;

	if (native->rip == c->rip && (selector & 3) != 3 && vendor_is_outer_fault(c, native)) {
		native->vector = X86_GP;
		native->error = selector & ~3u;
	}
}

/* AMD's IRET looks at RIP, whether the limit allows it or whether it is canonical, before it looks at
 * SS. */
static void vendor_settle_iret(const struct oracle_case *c, struct oracle_result *native)
{
	u64 ip = vendor_slot(c, 0), cs = vendor_slot(c, 1), ss = vendor_slot(c, 4) & 0xffff;
	u64 limit = vendor_code_limit(cs);
	bool is_beyond =
		limit != VENDOR_NO_LIMIT ? (u32)ip > limit : (u64)((i64)(ip << 16) >> 16) != ip;

	/* A CS of 0 comes before either. */
	if (native->vector == X86_GP && native->rip == c->rip && !native->error && c->bits == 64 &&
	    cs & 0xfffc && is_beyond && !vendor_is_stack_selector(ss))
		native->error = ss & ~3u;
}

static u64 vendor_flags_of_sub(u64 a, u64 b, unsigned size)
{
	unsigned top = size * 8 - 1;
	u64 r = (a - b) & bytes_mask(size), flags = 0;

	flags |= a < b ? X86_FLAG_CF : 0;
	flags |= __builtin_parity((u8)r) ? 0 : X86_FLAG_PF;
	flags |= (a ^ b ^ r) & 0x10 ? X86_FLAG_AF : 0;
	flags |= r ? 0 : X86_FLAG_ZF;
	flags |= r >> top & 1 ? X86_FLAG_SF : 0;
	flags |= ((a ^ b) & (a ^ r)) >> top & 1 ? X86_FLAG_OF : 0;
	return flags;
}

/* What is in the code's pages: the instruction, and INT3 around it. */
static bool vendor_code_value(const struct oracle_case *c, u64 address, unsigned size, u64 *out)
{
	u64 off = address - (c->code_base + c->rip);

	if (address < ORACLE_CODE || !range_fits(address - ORACLE_CODE, size, ORACLE_CODE_SIZE))
		return false;
	*out = 0;
	for (unsigned n = 0; n < size; n++)
		*out |= (u64)(off + n < c->len ? c->code[off + n] : 0xcc) << n * 8;
	return true;
}

/* The element at rSI or rDI, or the one before it. False: it is in neither data nor code. */
static bool vendor_element(const struct oracle_case *c, u64 offset, bool is_source, bool is_before,
			   u64 *out_address, u64 *out)
{
	unsigned size = c->insn.size;
	u64 mask = bytes_mask(sx_insn_addrsize(&c->insn));
	u64 base = c->data_base;

	if (is_before)
		offset += c->rflags & X86_FLAG_DF ? size : 0u - (u64)size;
	if (is_source && c->insn.seg == X86_GS)
		base = c->gs ? ORACLE_DATA + ORACLE_GS_OFFSET : c->gs_base;
	else if (is_source && c->insn.seg == X86_CS)
		base = c->code_base;
	*out_address = (offset & mask) + base;
	if (!vendor_is_data(*out_address, size))
		return vendor_code_value(c, *out_address, size, out);
	*out = bytes_load(vendor_data(*out_address), size);
	return true;
}

static u64 vendor_first_fault(u64 address)
{
	return vendor_is_data(address, 1) ? ORACLE_DATA + ORACLE_DATA_SIZE : address;
}

/* #GP by a source in GS, which is null, where the destination would have been a page fault. */
static void vendor_settle_null_source(const struct oracle_case *c, struct oracle_result *native)
{
	u64 at, value;

	if (native->vector != X86_GP || c->bits == 64 || c->gs || c->insn.seg != X86_GS ||
	    vendor_element(c, native->gpr[X86_RDI], false, false, &at, &value))
		return;
	native->vector = X86_PF;
	native->error = 4; /* a read by user code, no page */
	native->cr2 = vendor_first_fault(at);
}

static void vendor_settle_string(const struct oracle_case *c, struct oracle_result *native)
{
	bool is_cmps = sx_insn_op(&c->insn) == SX_CMPS;
	u64 mask = bytes_mask(sx_insn_addrsize(&c->insn));
	u64 si = native->gpr[X86_RSI], di = native->gpr[X86_RDI], at_si, at_di, a, b;
	u64 flags;

	if (native->rip != c->rip || native->vector == X86_BP)
		return;
	if (is_cmps)
		vendor_settle_null_source(c, native);
	if (is_cmps && native->vector == X86_PF &&
	    !vendor_element(c, si, true, false, &at_si, &a) &&
	    !vendor_element(c, di, false, false, &at_di, &b) &&
	    native->cr2 == vendor_first_fault(at_si))
		native->cr2 = vendor_first_fault(at_di);
	if (!((native->gpr[X86_RCX] ^ c->gpr[X86_RCX]) & mask))
		return;
	a = c->gpr[X86_RAX] & bytes_mask(c->insn.size);
	if ((is_cmps && !vendor_element(c, si, true, true, &at_si, &a)) ||
	    !vendor_element(c, di, false, true, &at_di, &b))
		return;
	flags = vendor_flags_of_sub(a, b, c->insn.size);
	if ((native->rflags & X86_FLAGS_ARITH) == flags)
		native->rflags ^= flags ^ (c->rflags & X86_FLAGS_ARITH);
}

void oracle_vendor_settle(const struct oracle_case *c, struct oracle_result *native)
{
	if (!vendor.is_amd)
		return;
	if (vendor_is_far64(c))
		vendor_settle_far64(c, native);
	if (vendor_is_unaligned16(c))
		native->rflags |= c->rflags & X86_FLAG_AC;
	switch ((int)sx_insn_op(&c->insn)) {
	case SX_PUSH_SEG:
		vendor_settle_push(c, native);
		break;
	case SX_FXSAVE:
	case SX_XSAVE:
	case SX_XSAVEOPT:
	case SX_XSAVEC:
		vendor_settle_mxcsr_mask(c, native);
		break;
	case SX_IRET:
		vendor_restore(c, vendor_stack(c, c->gpr[X86_RSP]) + 4, 4);
		vendor_settle_iret(c, native);
		break;
	case SX_RETF:
		vendor_restore(c, vendor_stack(c, c->gpr[X86_RSP]) + 4, 4);
		vendor_settle_retf(c, native);
		break;
	case SX_CMPS:
	case SX_SCAS:
		vendor_settle_string(c, native);
		break;
	case SX_LDMXCSR:
	case SX_FXRSTOR:
	case SX_XRSTOR:
		vendor_restore(c, vendor_mxcsr_source(c), 4);
		break;
	case SX_INT1:
		if (native->rip == c->rip)
			native->rip += c->len;
		break;
	}
}

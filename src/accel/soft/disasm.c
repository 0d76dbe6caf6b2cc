/*
 * The disassembler (disasm.h): mnemonic from the operation, operands from the table row.
 */
#include "accel/soft/disasm.h"

#include <stdarg.h>
#include <stdio.h>

#include "accel/soft/decode.h"
#include "arch/x86/regs.h"
#include "base/bytes.h"

struct disasm {
	const struct sx_insn *insn;
	const struct sx_form *form;
	u64 rip;
	char *buf;
	size_t size, len;
};

static const char *const disasm_mnemonics[] = {[SX_OP_NONE] = "(none)",
#define X(name, text) [SX_##name] = text,
					       SX_OPS(X)
#undef X
};

static const char *const disasm_conditions[16] = {"o", "no", "b", "ae", "e", "ne", "be", "a",
						  "s", "ns", "p", "np", "l", "ge", "le", "g"};

static const char *const disasm_fcmov_conditions[16] = {
	[2] = "b",  [3] = "nb",  [4] = "e",  [5] = "ne",
	[6] = "be", [7] = "nbe", [10] = "u", [11] = "nu",
};

static const char *const disasm_segments[] = {"es", "cs", "ss", "ds", "fs", "gs"};

printf_like(2, 3) static void disasm_put(struct disasm *d, const char *fmt, ...)
{
	va_list ap;
	int n;

	if (d->len >= d->size)
		return;
	va_start(ap, fmt);
	n = vsnprintf(d->buf + d->len, d->size - d->len, fmt, ap);
	va_end(ap);
	d->len = MIN(d->len + (size_t)n, d->size);
}

static void disasm_gpr(struct disasm *d, unsigned n, unsigned bytes)
{
	static const char *const legacy[] = {"ax", "cx", "dx", "bx", "sp", "bp", "si", "di"};
	static const char *const low[] = {"al", "cl", "dl", "bl", "spl", "bpl", "sil", "dil"};
	static const char *const high[] = {"ah", "ch", "dh", "bh"};

	if (n >= SX_REG_HIGH)
		disasm_put(d, "%s", high[n - SX_REG_HIGH]);
	else if (n >= 8)
		disasm_put(d, "r%u%s", n,
			   bytes == 1   ? "b"
			   : bytes == 2 ? "w"
			   : bytes == 4 ? "d"
					: "");
	else if (bytes == 1)
		disasm_put(d, "%s", low[n]);
	else
		disasm_put(d, "%s%s", bytes == 8 ? "r" : bytes == 4 ? "e" : "", legacy[n]);
}

static void disasm_disp(struct disasm *d, bool is_first)
{
	i64 disp = d->insn->disp;

	if (is_first)
		disasm_put(d, "0x%lx", (u64)disp & bytes_mask(sx_insn_addrsize(d->insn)));
	else if (disp < 0)
		disasm_put(d, "-0x%lx", -(u64)disp);
	else if (disp)
		disasm_put(d, "+0x%lx", (u64)disp);
}

static const char *disasm_ptr_name(unsigned bytes)
{
	switch (bytes) {
	case 1:
		return "BYTE PTR ";
	case 2:
		return "WORD PTR ";
	case 4:
		return "DWORD PTR ";
	case 6:
		return "FWORD PTR ";
	case 8:
		return "QWORD PTR ";
	case 10:
		return "TBYTE PTR ";
	case 16:
		return "XMMWORD PTR ";
	case 32:
		return "YMMWORD PTR ";
	}
	return "";
}

static void disasm_mem(struct disasm *d, unsigned bytes)
{
	const struct sx_insn *insn = d->insn;
	unsigned addrsize = sx_insn_addrsize(insn);
	bool is_first = true;

	disasm_put(d, "%s", disasm_ptr_name(bytes));
	if (insn->flags & SX_IF_SEG)
		disasm_put(d, "%s:", disasm_segments[insn->seg]);
	disasm_put(d, "[");
	if (insn->flags & SX_IF_RIP) {
		disasm_put(d, addrsize == 4 ? "eip" : "rip");
		is_first = false;
	} else if (insn->base != SX_REG_ZERO) {
		disasm_gpr(d, insn->base, addrsize);
		is_first = false;
	}
	if (insn->index != SX_REG_ZERO) {
		disasm_put(d, is_first ? "" : "+");
		if (insn->flags & SX_IF_VSIB)
			disasm_put(d, "%s%u", sx_insn_index_bytes(insn) == 32 ? "ymm" : "xmm",
				   insn->index);
		else
			disasm_gpr(d, insn->index, addrsize);
		disasm_put(d, "*%u", 1u << insn->scale);
		is_first = false;
	}
	disasm_disp(d, is_first);
	disasm_put(d, "]");
}

static void disasm_string(struct disasm *d, unsigned reg, unsigned bytes, const char *seg)
{
	disasm_put(d, "%s%s:[", disasm_ptr_name(bytes), seg);
	disasm_gpr(d, reg, sx_insn_addrsize(d->insn));
	disasm_put(d, "]");
}

/* A vector register or memory. */
static void disasm_vector(struct disasm *d, const char *prefix, unsigned n, bool is_rm,
			  unsigned bytes)
{
	if (is_rm && sx_insn_is_mem(d->insn))
		disasm_mem(d, bytes);
	else
		disasm_put(d, "%s%u", prefix, n);
}

static void disasm_general(struct disasm *d, const struct sx_operand *o, unsigned bytes)
{
	if (sx_insn_is_mem(d->insn))
		disasm_mem(d, bytes);
	else
		disasm_gpr(d, d->insn->rm, o->kind == SX_OPD_EX ? 4 : bytes);
}

static void disasm_immediate(struct disasm *d, unsigned bytes)
{
	u64 imm = d->insn->imm & bytes_mask(MIN(bytes ? bytes : 8, 8u));

	if (d->form->shape == SX_SHAPE_ENTER)
		imm = bytes == 2 ? d->insn->imm & 0xffff : d->insn->imm >> 16;
	disasm_put(d, "0x%lx", imm);
}

static void disasm_target(struct disasm *d)
{
	u64 target = d->rip + d->insn->len + d->insn->imm;

	disasm_put(d, "0x%lx", target & bytes_mask(d->insn->size));
}

static void disasm_operand(struct disasm *d, const struct sx_operand *o)
{
	const struct sx_insn *insn = d->insn;
	unsigned bytes = sx_insn_operand_bytes(insn, o->size);

	switch ((enum sx_operand_kind)o->kind) {
	case SX_OPD_E:
	case SX_OPD_EX:
	case SX_OPD_M:
	case SX_OPD_R:
	case SX_OPD_Z:
		disasm_general(d, o, bytes);
		break;
	case SX_OPD_G:
		disasm_gpr(d, insn->reg, bytes);
		break;
	case SX_OPD_ACC:
		disasm_gpr(d, X86_RAX, bytes);
		break;
	case SX_OPD_CL:
		disasm_put(d, "cl");
		break;
	case SX_OPD_DX:
		disasm_put(d, "dx");
		break;
	case SX_OPD_ONE:
		disasm_put(d, "1");
		break;
	case SX_OPD_I:
	case SX_OPD_IS:
		disasm_immediate(d, bytes);
		break;
	case SX_OPD_J:
		disasm_target(d);
		break;
	case SX_OPD_A:
		disasm_put(d, "0x%lx:0x%lx", insn->imm >> 32, insn->imm & 0xffffffff);
		break;
	case SX_OPD_O:
		if (sx_insn_is_mem(insn))
			disasm_mem(d, bytes);
		else
			disasm_put(d, "%s:0x%lx", disasm_segments[insn->seg], insn->imm);
		break;
	case SX_OPD_X:
		disasm_string(d, X86_RSI, bytes, disasm_segments[insn->seg]);
		break;
	case SX_OPD_Y:
		disasm_string(d, X86_RDI, bytes, "es");
		break;
	case SX_OPD_S:
	case SX_OPD_SEG:
		disasm_put(d, "%s", disasm_segments[insn->reg]);
		break;
	case SX_OPD_C:
		disasm_put(d, "cr%u", insn->reg);
		break;
	case SX_OPD_D:
		disasm_put(d, "dr%u", insn->reg);
		break;
	case SX_OPD_P:
		disasm_vector(d, "mm", insn->reg, false, bytes);
		break;
	case SX_OPD_V:
		disasm_vector(d, bytes == 32 ? "ymm" : "xmm", insn->reg, false, bytes);
		break;
	case SX_OPD_H:
		disasm_vector(d, bytes == 32 ? "ymm" : "xmm", insn->cc, false, bytes);
		break;
	case SX_OPD_L:
		disasm_vector(d, bytes == 32 ? "ymm" : "xmm", (unsigned)insn->imm, false, bytes);
		break;
	case SX_OPD_B:
		disasm_gpr(d, insn->cc, bytes);
		break;
	case SX_OPD_VM:
		disasm_mem(d, bytes);
		break;
	case SX_OPD_Q:
	case SX_OPD_N:
		disasm_vector(d, "mm", insn->rm, true, bytes);
		break;
	case SX_OPD_W:
	case SX_OPD_U:
		disasm_vector(d, bytes == 32 ? "ymm" : "xmm", insn->rm, true, bytes);
		break;
	case SX_OPD_XMM0:
		disasm_put(d, "xmm0");
		break;
	case SX_OPD_STI:
		disasm_put(d, "st(%u)", insn->rm);
		break;
	case SX_OPD_NONE:
		break;
	}
}

/* Operations whose word depends on the operand size. */
static const char *disasm_sized_mnemonic(const struct sx_insn *insn, enum sx_op op)
{
	bool is_2 = insn->size == 2, is_8 = insn->size == 8, is_w = insn->flags & SX_IF_REXW;

	if (op == SX_CBW)
		return is_8 ? "cdqe" : is_2 ? "cbw" : "cwde";
	if (op == SX_CWD)
		return is_8 ? "cqo" : is_2 ? "cwd" : "cdq";
	if (op == SX_MOVD && is_w)
		return "movq";
	if (op == SX_PINSRD && is_w)
		return "pinsrq";
	if (op == SX_PEXTRD && is_w)
		return "pextrq";
	if (op == SX_IRET)
		return is_8 ? "iretq" : is_2 ? "iretw" : "iretd";
	return disasm_mnemonics[op];
}

static void disasm_mnemonic(struct disasm *d)
{
	const struct sx_insn *insn = d->insn;
	enum sx_op op = d->form->op;

	if (insn->flags & SX_IF_LOCK)
		disasm_put(d, "lock ");
	if (d->form->prefix == SX_P_ANY && insn->flags & SX_IF_REP)
		disasm_put(d, "rep ");
	if (d->form->prefix == SX_P_ANY && insn->flags & SX_IF_REPNE)
		disasm_put(d, "repnz ");
	if (insn->flags & SX_IF_VEX && (op >= SX_LDMXCSR))
		disasm_put(d, "v");
	disasm_put(d, "%s", disasm_sized_mnemonic(insn, op));
	if (op == SX_FCMOVCC)
		disasm_put(d, "%s", disasm_fcmov_conditions[insn->cc]);
	else if (d->form->attr & SX_A_CC)
		disasm_put(d, "%s", disasm_conditions[insn->cc]);
}

void sx_disasm(const struct sx_insn *insn, u64 rip, char *buf, size_t size)
{
	struct disasm d = {
		.insn = insn, .form = sx_insn_form(insn), .rip = rip, .buf = buf, .size = size};

	assert(size > 0);
	buf[0] = 0;
	disasm_mnemonic(&d);
	for (unsigned i = 0; i < ARRAY_SIZE(d.form->opd) && d.form->opd[i].kind; i++) {
		disasm_put(&d, i ? "," : " ");
		disasm_operand(&d, &d.form->opd[i]);
	}
}

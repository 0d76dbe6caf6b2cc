/*
 * The instruction table: every form of every instruction, once.
 *
 * A form is one encoding: prefix, map, opcode, ModRM restriction, operands, the CPUID feature that
 * gates it, and what the decoder must check. It drives the decoder, the disassembler, the
 * instruction oracle, and whoever executes an instruction by copying it (SIMD). The rows are in
 * isa_*.inc, by topic; the index from opcode to rows is made when the project is built (mkisa.c).
 * Operand letters are those of SDM 2D, appendix A.2. Constant data, any thread.
 */
#ifndef ACCEL_SOFT_ISA_H
#define ACCEL_SOFT_ISA_H

#include "accel/soft/isa_ops.h"
#include "base/base.h"

struct x86_cpuid;

enum sx_map {
	SX_MAP_ONE, /* one-byte opcodes */
	SX_MAP_0F,
	SX_MAP_0F38,
	SX_MAP_0F3A,
	SX_MAP_V0F, /* the same after a VEX prefix */
	SX_MAP_V0F38,
	SX_MAP_V0F3A,
	SX_MAPS,
};

/* What the form asks of the prefixes 66, F3, F2. The last of F3 and F2 counts; 66 with one of them
 * is no mandatory prefix. */
enum sx_prefix {
	SX_P_ANY,  /* none is mandatory: 66 is the operand size, F2 and F3 repeat or mean nothing */
	SX_P_NONE, /* none of the three */
	SX_P_NO_REP, /* neither F3 nor F2; 66 is the operand size */
	SX_P_66,
	SX_P_F3,
	SX_P_F2,
};

/* What the form asks of the ModRM byte. */
enum sx_modrm {
	SX_MODRM_ABSENT,
	SX_MODRM_ANY,
	SX_MODRM_MEM,   /* mod is not 3 */
	SX_MODRM_REG,   /* mod is 3 */
	SX_MODRM_EXACT, /* the byte is ext */
};
#define SX_EXT_ANY 0xff

enum sx_operand_kind {
	SX_OPD_NONE,
	SX_OPD_E,   /* rm: general register or memory */
	SX_OPD_EX,  /* rm: 32-bit general register, or memory of the size */
	SX_OPD_M,   /* rm: memory only */
	SX_OPD_R,   /* rm: general register only */
	SX_OPD_G,   /* reg: general register */
	SX_OPD_Z,   /* general register in the opcode's low bits (to rm) */
	SX_OPD_ACC, /* rAX */
	SX_OPD_CL,
	SX_OPD_DX,
	SX_OPD_ONE,  /* the constant 1 */
	SX_OPD_I,    /* immediate, zero-extended when of size B or W, else sign-extended from 32 */
	SX_OPD_IS,   /* immediate byte, sign-extended to the operand size */
	SX_OPD_J,    /* relative target */
	SX_OPD_A,    /* far pointer */
	SX_OPD_O,    /* memory offset without ModRM */
	SX_OPD_X,    /* string source, seg:rSI */
	SX_OPD_Y,    /* string destination, ES:rDI */
	SX_OPD_S,    /* reg: segment register */
	SX_OPD_SEG,  /* segment register in the opcode (to reg) */
	SX_OPD_C,    /* reg: control register */
	SX_OPD_D,    /* reg: debug register */
	SX_OPD_P,    /* reg: MMX */
	SX_OPD_Q,    /* rm: MMX or memory */
	SX_OPD_N,    /* rm: MMX only */
	SX_OPD_V,    /* reg: XMM */
	SX_OPD_W,    /* rm: XMM or memory */
	SX_OPD_U,    /* rm: XMM only */
	SX_OPD_XMM0, /* implied */
	SX_OPD_STI,  /* rm: ST(i) */
	SX_OPD_H,    /* VEX.vvvv: XMM or YMM */
	SX_OPD_B,    /* VEX.vvvv: general register */
	SX_OPD_L,    /* immediate byte, bits 4 to 7: XMM or YMM */
	SX_OPD_VM,   /* rm: memory whose index register is an XMM or YMM; size: an element's */
};

enum sx_operand_size {
	SX_SZ_NONE, /* no access, or by nature (LEA, INVLPG, prefetch) */
	SX_SZ_B,    /* 1 */
	SX_SZ_W,    /* 2 */
	SX_SZ_D,    /* 4 */
	SX_SZ_Q,    /* 8 */
	SX_SZ_T,    /* 10: x87 extended real, packed decimal */
	SX_SZ_DQ,   /* 16 */
	SX_SZ_V,    /* operand size: 2, 4, 8 */
	SX_SZ_Z,    /* 2 or 4: the immediate of a 64-bit operation is 4 bytes */
	SX_SZ_Y,    /* 4, or 8 with REX.W (and, where said, always 8 in 64-bit code) */
	SX_SZ_P,    /* far pointer: operand size + 2 */
	SX_SZ_A,    /* two of the operand size: BOUND */
	SX_SZ_S,    /* descriptor table register: 6, in 64-bit code 10 */
	SX_SZ_ENV,  /* x87 environment: 14, 28 */
	SX_SZ_SAVE, /* x87 state: 94, 108 */
	SX_SZ_FX,   /* 512 */
	SX_SZ_XS,   /* XSAVE area, by XCR0 */
	SX_SZ_QQ,   /* 32 */
	SX_SZ_X,    /* 16, with VEX.L 32 */
	SX_SZ_HX,   /* half of that */
	SX_SZ_QX,   /* a quarter */
	SX_SZ_EX,   /* an eighth */
};

struct sx_operand {
	u8 kind; /* enum sx_operand_kind */
	u8 size; /* enum sx_operand_size */
};

/* Where the operands are in struct sx_insn: insn.h. */
enum sx_shape {
	SX_SHAPE_NONE,
	SX_SHAPE_RM,
	SX_SHAPE_RM_REG,
	SX_SHAPE_REG_RM,
	SX_SHAPE_RM_IMM,
	SX_SHAPE_REG_RM_IMM,
	SX_SHAPE_RM_REG_IMM,
	SX_SHAPE_RM_CL,
	SX_SHAPE_RM_REG_CL,
	SX_SHAPE_IMM,
	SX_SHAPE_REL,
	SX_SHAPE_FAR,
	SX_SHAPE_ENTER,
	SX_SHAPE_SEG,
	SX_SHAPE_VEX,
};

enum sx_attr {
	SX_A_LOCK = 1 << 0,     /* LOCK is allowed with a memory destination */
	SX_A_D64 = 1 << 1,      /* operand size 8 in 64-bit code, 2 with 66 */
	SX_A_F64 = 1 << 2,      /* operand size 8 in 64-bit code, always */
	SX_A_NO64 = 1 << 3,     /* #UD in 64-bit code */
	SX_A_64 = 1 << 4,       /* #UD outside 64-bit code */
	SX_A_PROT = 1 << 5,     /* #UD in real and v8086 mode */
	SX_A_END = 1 << 6,      /* ends a block */
	SX_A_CC = 1 << 7,       /* 16 opcodes, condition in the low four bits */
	SX_A_ALIGN = 1 << 8,    /* memory operand of 16 or 32 bytes must be aligned, else #GP(0) */
	SX_A_W1 = 1 << 9,       /* only with REX.W */
	SX_A_W0 = 1 << 10,      /* only without REX.W */
	SX_A_CPL0 = 1 << 11,    /* #GP(0) above CPL 0, always (the executor checks) */
	SX_A_IO = 1 << 12,      /* subject to IOPL or the I/O permission map */
	SX_A_A64 = 1 << 13,     /* only with 64-bit addresses */
	SX_A_NOA64 = 1 << 14,   /* only without 64-bit addresses */
	SX_A_NOREXB = 1 << 15,  /* only without REX.B: NOP is not XCHG r8, rAX */
	SX_A_MODREG = 1 << 16,  /* ModRM.mod is ignored: always a register */
	SX_A_SRCSIZE = 1 << 17, /* sx_insn.size is operand 2's */
	SX_A_L0 = 1 << 18,      /* only without VEX.L */
	SX_A_L1 = 1 << 19,      /* only with VEX.L */
};

/* What CPUID must advertise; bit numbers of sx_decode_mode.features. */
enum sx_feature {
	SX_F_BASE, /* always */
	SX_F_FPU,
	SX_F_TSC,
	SX_F_MSR,
	SX_F_CX8,
	SX_F_SEP,
	SX_F_CMOV,
	SX_F_CLFSH,
	SX_F_MMX,
	SX_F_FXSR,
	SX_F_SSE,
	SX_F_SSE2,
	SX_F_SSE3,
	SX_F_PCLMUL,
	SX_F_MONITOR,
	SX_F_VMX,
	SX_F_SSSE3,
	SX_F_CX16,
	SX_F_SSE41,
	SX_F_SSE42,
	SX_F_MOVBE,
	SX_F_POPCNT,
	SX_F_AES,
	SX_F_XSAVE,
	SX_F_RDRAND,
	SX_F_FSGSBASE,
	SX_F_BMI1,
	SX_F_INVPCID,
	SX_F_RDSEED,
	SX_F_ADX,
	SX_F_SMAP,
	SX_F_CLFLUSHOPT,
	SX_F_CLWB,
	SX_F_SHA,
	SX_F_PKU,
	SX_F_RDPID,
	SX_F_SERIALIZE,
	SX_F_XSAVEOPT,
	SX_F_XSAVEC,
	SX_F_XGETBV1,
	SX_F_XSAVES,
	SX_F_LAHF64, /* LAHF, SAHF in 64-bit code */
	SX_F_LZCNT,
	SX_F_SYSCALL,
	SX_F_RDTSCP,
	SX_F_WBNOINVD,
	SX_F_SVM,
	SX_F_AVX,
	SX_F_AVX2,
	SX_F_BMI2,
	SX_F_FMA,
	SX_F_F16C,
	SX_F_AVX_AES, /* AVX and AES */
	SX_F_AVX_PCLMUL,
	SX_F_SMM, /* RSM: set while in system-management mode */
	SX_FEATURES,
};

static_assert(SX_FEATURES <= 64, "features are bits of a u64");

struct sx_form {
	u16 op;    /* enum sx_op */
	u8 map;    /* enum sx_map */
	u8 opcode; /* the lowest, when registers or conditions are in its low bits */
	u8 prefix; /* enum sx_prefix */
	u8 modrm;  /* enum sx_modrm */
	u8 ext;    /* ModRM.reg, or SX_EXT_ANY; the whole byte for SX_MODRM_EXACT */
	u8 shape;  /* enum sx_shape */
	struct sx_operand opd[4];
	u8 feature; /* enum sx_feature */
	u32 attr;   /* enum sx_attr */
};

extern const struct sx_form sx_forms[];
extern const unsigned sx_form_count; /* row 0 is no instruction */

/* The rows of an opcode: sx_isa_rows[sx_isa_start[i]] up to sx_isa_start[i + 1], where i is
 * map * 256 + opcode, in the table's order (made by mkisa). */
extern const u16 sx_isa_start[SX_MAPS * 256 + 1];
extern const u16 sx_isa_rows[];

/* The decoder's feature mask for a CPU that says this. */
u64 sx_features_from_cpuid(const struct x86_cpuid *cpuid);

const char *sx_op_name(enum sx_op op); /* "SX_ADD" without the prefix: "ADD" */

/* The operand that is memory or rm; NULL: none. */
const struct sx_operand *sx_form_rm(const struct sx_form *f);

/* Encoded with a VEX prefix; takes a register from its vvvv. */
static inline bool sx_form_is_vex(const struct sx_form *f)
{
	return f->map >= SX_MAP_V0F;
}
bool sx_form_has_vvvv(const struct sx_form *f);

/* Has an MMX (P, Q, N) or XMM (V, W, U, H) register operand. */
bool sx_form_is_mmx(const struct sx_form *f);
bool sx_form_is_xmm(const struct sx_form *f);

#endif

/*
 * A decoded instruction, as the interpreter runs it.
 *
 * 32 bytes, so that two share a cache line. What an instruction is and where it keeps its operands
 * does not depend on how it was encoded: the decoder (decode.h) brings encodings that mean the same
 * to the same shape:
 *
 *   shape (isa.h)   operand 1 / 2 / 3     examples
 *   NONE            -                     CLC, CPUID, string operations
 *   RM              rm                    NOT, PUSH r (50+r), POP r, BSWAP, INC r (40+r), MUL
 *   RM_REG          rm, reg               ADD Ev,Gv; XCHG; XCHG rAX,r (90+r: reg = 0); CMPXCHG
 *   REG_RM          reg, rm               ADD Gv,Ev; MOVZX; CMOVCC; LEA; LES; PADDB; CRC32
 *   RM_IMM          rm, imm               ADD Ev,Iz; ADD rAX,Iz (rm = 0); SHL Ev,1 (imm = 1);
 *                                         MOV r,Iv (B8+r); BT Ev,Ib; PSRLW Nq,Ib
 *   REG_RM_IMM      reg, rm, imm          IMUL3; PSHUFD; ROUNDSS
 *   RM_REG_IMM      rm, reg, imm          SHLD Ev,Gv,Ib; PEXTRD
 *   RM_CL           rm, CL                SHL Ev,CL
 *   RM_REG_CL       rm, reg, CL           SHLD Ev,Gv,CL
 *   IMM             imm                   INT, RET Iw, PUSH_IMM, IN (port), AAM, MOVABS (address)
 *   REL             imm                   JMP, CALL, JCC, LOOP: imm is the signed distance from
 *                                         the next instruction; IP is cut to `size` bytes
 *   FAR             imm                   JMP_FAR, CALL_FAR: imm = selector << 32 | offset
 *   ENTER           imm                   imm = nesting level << 16 | frame size
 *   VEX             by kind               VEX prefix: reg, rm, cc (VEX.vvvv), imm, as the row lists them
 *   SEG             reg                   PUSH_SEG, POP_SEG: reg is a segment register
 *
 * rm is a register when SX_IF_MEM is clear; else memory at
 *
 *   seg.base + ((gpr[base] + (gpr[index] << scale) + disp) cut to the address size)
 *
 * where a missing base or index is SX_REG_ZERO. With SX_IF_RIP the address is relative to the next
 * instruction, and base is SX_REG_RIP: RIP + len + disp. MOV to and from moffs looks like any other
 * MOV, except for 64-bit addresses: MOVABS_LOAD and MOVABS_STORE with the address in imm.
 *
 * Registers in reg and rm are of the kind the form names (isa.h): general (0-15), MMX (0-7), XMM
 * (0-15), ST(i), segment, control, debug. A byte register AH, CH, DH, BH is SX_REG_HIGH + 0..3.
 */
#ifndef ACCEL_SOFT_INSN_H
#define ACCEL_SOFT_INSN_H

#include "accel/soft/isa.h"
#include "base/base.h"

struct sx_cpu;
struct sx_insn;

#define SX_REG_ZERO 16 /* a slot that is always 0: no base, no index */
#define SX_REG_RIP  17 /* only as base, only with SX_IF_RIP */
#define SX_REG_HIGH 20 /* AH, CH, DH, BH */

enum sx_insn_flag {
	SX_IF_MEM = 1 << 0,    /* rm is memory */
	SX_IF_RIP = 1 << 1,    /* RIP-relative */
	SX_IF_LOCK = 1 << 2,   /* F0, on a form that allows it (implicit XCHG LOCK is not told) */
	SX_IF_REP = 1 << 3,    /* F3 was the last repeat prefix */
	SX_IF_REPNE = 1 << 4,  /* F2 was the last repeat prefix */
	SX_IF_ADDR16 = 1 << 5, /* address size 2 */
	SX_IF_ADDR32 = 1 << 6, /* address size 4; neither: 8 */
	SX_IF_SEG = 1 << 7,    /* a segment override that has an effect was given */
	SX_IF_REXW = 1 << 8,   /* REX.W */
	SX_IF_66 = 1 << 9,     /* an operand-size prefix was given */
	SX_IF_END = 1 << 10,   /* a block ends here: control leaves, or the mode may change */
	SX_IF_VEX = 1 << 11,
	SX_IF_L = 1 << 13,    /* VEX.L: 32 bytes */
	SX_IF_VSIB = 1 << 14, /* index is an XMM or YMM register */
};

typedef void sx_insn_fn(struct sx_cpu *cpu, const struct sx_insn *insn);

struct sx_insn {
	sx_insn_fn *fn; /* bound by the interpreter; NULL from the decoder */
	u64 imm;        /* sign-extended to 64 bits where the instruction does so */
	i32 disp;
	u16 form;  /* row of the instruction table: sx_insn_form(), sx_insn_op() */
	u16 flags; /* enum sx_insn_flag */
	u8 len;    /* 1-15 */
	u8 size;   /* operand size: 1, 2, 4, 8; SIMD and x87: bytes of the memory operand */
	u8 reg;
	union {
		u8 rm;
		u8 base;
	};
	u8 index;
	u8 scale; /* 0-3 */
	/* Of the memory operand or string source: enum x86_seg. In 64-bit code, overrides other
	 * than FS and GS are ignored (SDM 1, 3.4.2.1). */
	u8 seg;
	u8 cc; /* JCC, SETCC, CMOVCC, FCMOVCC: condition 0-15; with SX_IF_VEX: vvvv */
};

static_assert(sizeof(struct sx_insn) == 32, "two decoded instructions share a cache line");

static inline const struct sx_form *sx_insn_form(const struct sx_insn *insn)
{
	return &sx_forms[insn->form];
}

static inline enum sx_op sx_insn_op(const struct sx_insn *insn)
{
	return sx_forms[insn->form].op;
}

static inline bool sx_insn_is_mem(const struct sx_insn *insn)
{
	return insn->flags & SX_IF_MEM;
}

static inline unsigned sx_insn_addrsize(const struct sx_insn *insn)
{
	return insn->flags & SX_IF_ADDR16 ? 2 : insn->flags & SX_IF_ADDR32 ? 4 : 8;
}

#endif

/*
 * The decoder: bytes to struct sx_insn, in 16-, 32- and 64-bit code.
 *
 * It knows everything about an instruction that its bytes, the code segment's kind and the CPU's
 * features say, and raises what follows from these alone: #UD for what does not exist or may not be
 * locked, #GP for more than 15 bytes. Privilege, CR0 and CR4 are the executor's. Pure function.
 */
#ifndef ACCEL_SOFT_DECODE_H
#define ACCEL_SOFT_DECODE_H

#include "accel/soft/insn.h"

#define SX_INSN_MAX 15

struct sx_decode_mode {
	u8 bits;           /* 16, 32 or 64: default of the code segment */
	bool is_protected; /* CR0.PE and not RFLAGS.VM */
	u64 features;      /* BIT(enum sx_feature) */
};

enum sx_decode_result {
	SX_DECODE_NEED_MORE = -1, /* the instruction goes beyond avail bytes */
	SX_DECODE_UD = -2,
	SX_DECODE_GP = -3, /* longer than 15 bytes */
};

/*
 * Length (1-15), or one of the above; then *out isn't good for anything. avail may be less than an
 * instruction's length: where the bytes at hand already say #UD, that is said, since the processor
 * would not fetch the rest.
 */
int sx_decode(const struct sx_decode_mode *mode, const u8 *bytes, unsigned avail,
	      struct sx_insn *out);

/* Bytes of an operand of this instruction whose table entry says size; 0: it is not accessed, or
 * (XSAVE) XCR0 tells. */
unsigned sx_insn_operand_bytes(const struct sx_insn *insn, enum sx_operand_size size);

/* Of a gather: bytes of the index register. */
unsigned sx_insn_index_bytes(const struct sx_insn *insn);

/* The same of the rm or memory operand; 0 also when there is none. */
unsigned sx_insn_rm_bytes(const struct sx_insn *insn);

#endif

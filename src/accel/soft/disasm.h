/*
 * The disassembler: a decoded instruction as text, Intel syntax. For logs, tests and the oracle.
 */
#ifndef ACCEL_SOFT_DISASM_H
#define ACCEL_SOFT_DISASM_H

#include "accel/soft/insn.h"

#define SX_DISASM_MAX 128

/* Writes at most size bytes with the final 0. rip is the instruction's address, for relative
 * targets. Pure function. */
void sx_disasm(const struct sx_insn *insn, u64 rip, char *buf, size_t size);

#endif

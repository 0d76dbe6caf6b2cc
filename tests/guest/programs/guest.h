/*
 * What the guest programs share: reporting, checks, expected faults, descriptor tables.
 *
 * A program is a flat binary, loaded and started at LOAD in real mode with all segment bases 0. It
 * checks itself against the manuals: a check that fails ends it with its source line as exit code; 0
 * is success. What it says goes to a port, and is compared between accelerators, as memory and
 * registers are when it ends: so it must leave nothing there that may differ, such as time stamps.
 *
 * FAULT_* expect an instruction to fault: the handlers (protected.h and others) note vector,
 * error code and where, and go on at the place that was set before.
 */
#ifndef TESTS_GUEST_PROGRAMS_GUEST_H
#define TESTS_GUEST_PROGRAMS_GUEST_H

#define LOAD	  0x8000
#define STACK	  0x7c00
#define PORT_SAY  0xe8
#define PORT_EXIT 0xf4
#define MMIO	  0xd0000000
#define ROM	  0xfff00000
#define RAM_END	  0x200000

/* Scratch memory: below the program for real mode, above 1 MiB for the rest. */
#define SCRATCH 0x6000
#define TABLES	0x100000 /* page tables, 64 KiB */
#define HEAP	0x110000
#define NO_CODE 0xdead	 /* noted as the error code of vectors that have none */

/* Vectors. */
#define DE 0
#define DB 1
#define BP 3
#define OF 4
#define BR 5
#define UD 6
#define NM 7
#define DF 8
#define TS 10
#define NP 11
#define SSF 12
#define GP 13
#define PF 14
#define MF 16
#define AC 17
#define XM 19

/* RFLAGS. */
#define FLAG_CF 0x1
#define FLAG_PF 0x4
#define FLAG_AF 0x10
#define FLAG_ZF 0x40
#define FLAG_SF 0x80
#define FLAG_TF 0x100
#define FLAG_IF 0x200
#define FLAG_DF 0x400
#define FLAG_OF 0x800
#define FLAG_NT 0x4000
#define FLAG_RF 0x10000
#define FLAG_VM 0x20000
#define FLAG_AC 0x40000

/* Ends the program. */
#define EXIT(code)                                                                                 \
	movl $code, %eax;                                                                          \
	outl %eax, $PORT_EXIT;                                                                     \
	4: hlt;                                                                                    \
	jmp 4b

#define FAIL EXIT(__LINE__)

/* Says 32 bits; EAX is lost. */
#define SAY(value)                                                                                 \
	movl value, %eax;                                                                          \
	outl %eax, $PORT_SAY

/* The condition must hold for the flags as they are; EAX is lost only when it does not. */
#define CHECK(cc)                                                                                  \
	j##cc 1f;                                                                                  \
	FAIL;                                                                                      \
	1:

/* 32-bit compare; both as operands of CMP. */
#define CHECK_EQ(a, b)                                                                             \
	cmpl b, a;                                                                                 \
	CHECK(e)

#define CHECK_EQ16(a, b)                                                                           \
	cmpw b, a;                                                                                 \
	CHECK(e)

#define CHECK_EQ8(a, b)                                                                            \
	cmpb b, a;                                                                                 \
	CHECK(e)

/* A segment descriptor. flags: 4 bits G, D, L, AVL; access: the byte of P, DPL, S, type. */
#define DESCRIPTOR(base, limit, access, flags)                                                     \
	.word (limit) & 0xffff;                                                                    \
	.word (base) & 0xffff;                                                                     \
	.byte ((base) >> 16) & 0xff;                                                               \
	.byte access;                                                                              \
	.byte ((flags) << 4) | (((limit) >> 16) & 0xf);                                            \
	.byte ((base) >> 24) & 0xff

/* A gate: type with P and DPL; count: parameters of a call gate. */
#define GATE(selector, offset, access, count)                                                      \
	.word (offset) & 0xffff;                                                                   \
	.word selector;                                                                            \
	.byte count;                                                                               \
	.byte access;                                                                              \
	.word ((offset) >> 16) & 0xffff

#endif

/*
 * Host stubs of the guest's SIMD instructions: each is the guest's very instruction on fixed
 * registers. All are functions of the type sx_simd_stub (simd_priv.h) by the System V ABI:
 *
 *   sx_simd_NAME      xmm0 = NAME(xmm0, xmm1); xmm2 is the implied XMM0 of those that have one.
 *                     Operands and results in general registers and RFLAGS pass through the low
 *                     part of an XMM register too.
 *   sx_mmx_NAME       the same on the low 64 bits, computed in MMX registers. The host's x87
 *                     registers must be free: they are left empty.
 *   sx_simd_imm_NAME  256 stubs of SX_SIMD_SLOT bytes, by immediate.
 *   sx_mmx_imm_NAME   256 stubs of SX_MMX_SLOT bytes.
 *
 * What MXCSR holds is the caller's business (simd_fp.c).
 */
#include "accel/soft/simd_ops.h"

	.text

#define STUB(symbol, ...)                                                                          \
	.balign 16; .globl symbol; .hidden symbol; .type symbol, @function;                        \
	symbol: __VA_ARGS__; ret; .size symbol, . - symbol;

/* 256 times, with `imm` counting; .org refuses to go back when a stub outgrows its slot. */
#define STUBS_IMM(symbol, slot, ...)                                                               \
	.balign 16; .globl symbol; .hidden symbol; .type symbol, @function;                        \
	symbol: imm = 0; .rept 256; __VA_ARGS__; ret; imm = imm + 1;                               \
	.org symbol + slot * imm, 0xcc; .endr; .size symbol, . - symbol;

#define XMM(op, OP) STUB(sx_simd_##op, op %xmm1, %xmm0)
SX_SIMD_MMX_AND_XMM(XMM)
SX_SIMD_XMM(XMM)
SX_SIMD_FP(XMM)

/* The source goes to mm1 before the destination goes to mm0; EMMS gives the registers back. */
#define MMX(op, OP)                                                                                    \
	STUB(sx_mmx_##op, movdq2q %xmm1, %mm1; movdq2q %xmm0, %mm0; op %mm1, %mm0;                 \
	     movq2dq %mm0, %xmm0; emms)
SX_SIMD_MMX_AND_XMM(MMX)

#define XMM0(op, OP)                                                                                   \
	STUB(sx_simd_##op, movdqa %xmm0, %xmm3; movdqa %xmm2, %xmm0; op %xmm0, %xmm1, %xmm3;       \
	     movdqa %xmm3, %xmm0)
SX_SIMD_XMM0(XMM0)

#define XMM_IMM(op, OP) STUBS_IMM(sx_simd_imm_##op, SX_SIMD_SLOT, op $imm, %xmm1, %xmm0)
SX_SIMD_XMM_IMM(XMM_IMM)
SX_SIMD_FP_IMM(XMM_IMM)

#define XMM_IMM_ALONE(op, OP) STUBS_IMM(sx_simd_imm_##op, SX_SIMD_SLOT, op $imm, %xmm0)
SX_SIMD_XMM_IMM_ALONE(XMM_IMM_ALONE)

#define MMX_IMM(op, OP)                                                                                \
	STUBS_IMM(sx_mmx_imm_##op, SX_MMX_SLOT, movdq2q %xmm1, %mm1; movdq2q %xmm0, %mm0;                   \
		  op $imm, %mm1, %mm0; movq2dq %mm0, %xmm0; emms)
SX_SIMD_MMX_IMM(MMX_IMM)

#define FROM_GPR(op, OP)                                                                               \
	STUB(sx_simd_##op##_32, movd %xmm1, %eax; op##l %eax, %xmm0)                               \
	STUB(sx_simd_##op##_64, movq %xmm1, %rax; op##q %rax, %xmm0)
SX_SIMD_FROM_GPR(FROM_GPR)

#define TO_GPR(op, OP)                                                                                 \
	STUB(sx_simd_##op##_32, op %xmm1, %eax; movd %eax, %xmm0)                                  \
	STUB(sx_simd_##op##_64, op %xmm1, %rax; movq %rax, %xmm0)
SX_SIMD_TO_GPR(TO_GPR)

/* By memory (the red zone), which leaves the host's MMX registers alone. */
#define FROM_MMX(op, OP) STUB(sx_simd_##op, movq %xmm1, -8(%rsp); op -8(%rsp), %xmm0)
SX_SIMD_FROM_MMX(FROM_MMX)

#define TO_MMX(op, OP) STUB(sx_simd_##op, op %xmm1, %mm0; movq2dq %mm0, %xmm0; emms)
SX_SIMD_TO_MMX(TO_MMX)

#define TO_FLAGS(op, OP) STUB(sx_simd_##op, op %xmm1, %xmm0; pushfq; popq %rax; movq %rax, %xmm0)
SX_SIMD_TO_FLAGS_FP(TO_FLAGS)
SX_SIMD_TO_FLAGS(TO_FLAGS)

#define STRING(op, OP) STUBS_IMM(sx_simd_imm_##op, SX_SIMD_SLOT, op $imm, %xmm1, %xmm0)
SX_SIMD_STRING(STRING)

/* void sx_simd_string_call(struct sx_simd_string *s, stub): simd_string.c. */
	.balign 16
	.globl sx_simd_string_call
	.hidden sx_simd_string_call
	.type sx_simd_string_call, @function
sx_simd_string_call:
	movdqu 0(%rdi), %xmm0
	movdqu 16(%rdi), %xmm1
	movl 32(%rdi), %eax
	movl 36(%rdi), %edx
	call *%rsi
	pushfq
	popq 48(%rdi)
	movl %ecx, 40(%rdi)
	movdqu %xmm0, 0(%rdi)
	ret
	.size sx_simd_string_call, . - sx_simd_string_call

/*
 * void sx_vex_call(struct vex_frame *x, stub): simd_vex.c, which says what is where; mkvex.c makes the stubs.
 * _flags: with RFLAGS. _gpr: with RFLAGS, without vector registers.
 */
.macro vex_gprs_in
	movq %rsi, %r8
	movq 128(%rdi), %rax
	movq 136(%rdi), %rcx
	movq 144(%rdi), %rsi
	movq 152(%rdi), %rdx
.endm
.macro vex_gprs_out
	movq %rax, 128(%rdi)
	movq %rcx, 136(%rdi)
	movq %rsi, 144(%rdi)
.endm
.macro vex_vectors_in
	vmovdqa 0(%rdi), %ymm0
	vmovdqa 32(%rdi), %ymm1
	vmovdqa 64(%rdi), %ymm6
	vmovdqa 96(%rdi), %ymm3
.endm
.macro vex_vectors_out
	vmovdqa %ymm0, 0(%rdi)
	vmovdqa %ymm1, 32(%rdi)
	vmovdqa %ymm6, 64(%rdi)
	vzeroupper
.endm
.macro vex_call_with_flags
	pushq 160(%rdi)
	popfq
	call *%r8
	pushfq
	popq 160(%rdi)
.endm
.macro vex_function name
	.balign 16
	.globl \name
	.hidden \name
	.type \name, @function
\name:
.endm

vex_function sx_vex_call
	vex_gprs_in
	vex_vectors_in
	call *%r8
	vex_vectors_out
	vex_gprs_out
	ret
	.size sx_vex_call, . - sx_vex_call

vex_function sx_vex_call_flags
	vex_gprs_in
	vex_vectors_in
	vex_call_with_flags
	vex_vectors_out
	vex_gprs_out
	ret
	.size sx_vex_call_flags, . - sx_vex_call_flags

vex_function sx_vex_call_gpr
	vex_gprs_in
	vex_call_with_flags
	vex_gprs_out
	ret
	.size sx_vex_call_gpr, . - sx_vex_call_gpr

	.section .note.GNU-stack, "", @progbits

/*
 * YMM registers of two tasks that take turns, by XSAVE and XRSTOR, in loops that are hot enough for a translator:
 * what each has added up at the end is known. Where CPUID has no AVX2 it does nothing.
 */
#include "guest.inc"

#define AREA_A 0x6000	/* aligned to 64 */
#define AREA_B 0x6400
#define ROUNDS 500

.macro CHECK_EQUAL value
	cmpq	\value, %rax
	je	9f
	EXIT	1
9:
.endm

/* ymm\n = \n + base, in each of its four parts. */
.macro FILL base
	.set	n, 0
	.rept	16
	FILL_ONE %n, \base
	.set	n, n + 1
	.endr
.endm
.altmacro
.macro FILL_ONE n, base
	movl	$(\base + \n), %eax
	vmovd	%eax, %xmm\n
	vpbroadcastq %xmm\n, %ymm\n
.endm
.macro ADD_ONE n, step
	vpaddq	\step, %ymm\n, %ymm\n
.endm
.macro ADD_ALL step
	.set	n, 0
	.rept	16
	ADD_ONE	%n, <\step>
	.set	n, n + 1
	.endr
.endm
/* The sum of all parts of all registers, in RAX. */
.macro SUM
	.set	n, 1
	.rept	15
	SUM_ONE	%n
	.set	n, n + 1
	.endr
	vextracti128 $1, %ymm0, %xmm1
	vpaddq	%xmm1, %xmm0, %xmm0
	vpextrq	$1, %xmm0, %rdx
	vmovq	%xmm0, %rax
	addq	%rdx, %rax
.endm
.macro SUM_ONE n
	vpaddq	%ymm\n, %ymm0, %ymm0
.endm

.macro SAVE area
	movl	$7, %eax
	xorl	%edx, %edx
	xsave	\area
.endm
.macro RESTORE area
	movl	$7, %eax
	xorl	%edx, %edx
	xrstor	\area
.endm

	.code16
	.globl	_start
_start:
	ENTER_PROTECTED
	ENTER_LONG
	movl	$1, %eax
	cpuid
	andl	$0x14000000, %ecx	/* XSAVE, AVX */
	cmpl	$0x14000000, %ecx
	jne	none
	movl	$7, %eax
	xorl	%ecx, %ecx
	cpuid
	testl	$0x20, %ebx		/* AVX2 */
	jz	none

	movq	%cr0, %rax
	andq	$~0x4, %rax		/* EM off */
	orq	$0x22, %rax		/* MP, NE */
	movq	%rax, %cr0
	movq	%cr4, %rax
	orq	$0x40000, %rax		/* OSXSAVE */
	movq	%rax, %cr4
	xorl	%ecx, %ecx
	xorl	%edx, %edx
	movl	$7, %eax
	xsetbv

	/* Headers are zero: memory is. */
	FILL	1
	SAVE	AREA_A
	FILL	100
	SAVE	AREA_B
	movl	$ROUNDS, %ebx
turn:	RESTORE	AREA_A
	ADD_ALL	one
	SAVE	AREA_A
	/* What a task doesn't see must not matter to it. */
	vzeroupper
	xorps	%xmm3, %xmm3
	RESTORE	AREA_B
	ADD_ALL	three
	SAVE	AREA_B
	vzeroall
	decl	%ebx
	jnz	turn

	RESTORE	AREA_A
	SUM
	CHECK_EQUAL $(4 * (16 * 1 + 120 + 16 * ROUNDS))
	RESTORE	AREA_B
	SUM
	CHECK_EQUAL $(4 * (16 * 100 + 120 + 16 * 3 * ROUNDS))

	/* SSE leaves the upper half alone, AVX of 16 bytes clears it. */
	vmovdqu	three, %ymm5
	paddq	three, %xmm5
	vextracti128 $1, %ymm5, %xmm6
	vmovq	%xmm6, %rax
	CHECK_EQUAL $3
	vmovdqu	three, %ymm5
	vpaddq	three, %xmm5, %xmm5
	vextracti128 $1, %ymm5, %xmm6
	vmovq	%xmm6, %rax
	CHECK_EQUAL $0

	/* An initial component isn't stored, and XRSTOR makes it initial. */
	vmovdqu	three, %ymm5
	vzeroupper
	SAVE	AREA_A
	movl	AREA_A + 512, %eax
	andl	$4, %eax
	movl	%eax, %eax
	CHECK_EQUAL $0
	vmovdqu	three, %ymm5
	RESTORE	AREA_A
	vextracti128 $1, %ymm5, %xmm6
	vmovq	%xmm6, %rax
	CHECK_EQUAL $0
none:
	EXIT

	.balign	32
one:	.quad	1, 1, 1, 1
three:	.quad	3, 3, 3, 3
	GDT

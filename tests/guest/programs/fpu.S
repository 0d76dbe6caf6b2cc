/* x87 and SSE: results, flags, control words; FXSAVE, and XSAVE where CPUID has it. */
#include "guest.inc"

#define AREA 0x6000	/* aligned to 64 */

	.code16
	.globl	_start
_start:
	ENTER_PROTECTED
	ENTER_LONG
	movq	%cr0, %rax
	andq	$~0x4, %rax		/* EM off */
	orq	$0x22, %rax		/* MP, NE */
	movq	%rax, %cr0
	fninit
	fnstcw	AREA
	fnstsw	AREA + 2
	movl	AREA, %eax
	SAY	%eax

	/* Arithmetic in all formats, and the conditions of comparisons. */
	fldl	one_third
	fldl	pi
	fmul	%st(1), %st
	fstpt	AREA
	SAY64	AREA
	movzwl	AREA + 8, %eax
	SAY	%eax
	fldpi
	fsqrt
	fstl	AREA
	SAY64	AREA
	fcompp
	fnstsw	%ax
	andw	$0x4500, %ax
	SAY	%ax
	fildl	minus_seven
	fldl	pi
	fprem
	fstpl	AREA
	SAY64	AREA
	fistl	AREA
	movl	AREA, %eax
	SAY	%eax
	fbstp	AREA
	SAY64	AREA
	fldz
	fld1
	fdivp				/* 1 / 0 or 0 / 1, as the assembler has it: flags tell */
	fnstsw	%ax
	andw	$0x3f, %ax
	SAY	%ax
	fstps	AREA
	movl	AREA, %eax
	SAY	%eax
	fnclex

	/* SSE: packed and scalar, conversions, MXCSR's sticky flags. */
	movapd	vector_a, %xmm0
	movapd	vector_b, %xmm1
	movapd	%xmm0, %xmm2
	divpd	%xmm1, %xmm2
	movapd	%xmm2, AREA
	SAY64	AREA
	SAY64	AREA + 8
	sqrtsd	%xmm1, %xmm3
	movq	%xmm3, %rax
	movq	%rax, AREA
	SAY64	AREA
	cvttsd2si %xmm3, %rax
	SAY	%eax
	cvtsi2sdq minus_seven, %xmm4
	ucomisd	%xmm4, %xmm3
	setb	%al
	SAY	%al
	stmxcsr	AREA
	movl	AREA, %eax
	SAY	%eax
	movdqa	%xmm0, %xmm5
	paddq	%xmm1, %xmm5
	pshufd	$0x1b, %xmm5, %xmm6
	pmuludq	%xmm6, %xmm5
	movdqa	%xmm5, AREA
	SAY64	AREA
	SAY64	AREA + 8

	/* FXSAVE: what is state of it (no pointers to the last instruction, no MXCSR mask). */
	fldl	pi
	movl	$AREA, %edi
	xorl	%eax, %eax
	movl	$0x300 / 4, %ecx
	cld
	rep stosl
	fxsave64 AREA
	movl	AREA, %eax
	SAY	%eax
	movzbl	AREA + 4, %eax
	SAY	%eax
	movl	$AREA + 32, %esi
	movl	$(416 - 32) / 4, %ecx
	call	sum

	/* XSAVE: the header, XCR0, and restoring from an area that says "initial". */
	movl	$1, %eax
	cpuid
	btl	$26, %ecx
	jnc	1f
	movq	%cr4, %rax
	orq	$0x40000, %rax
	movq	%rax, %cr4
	xorl	%ecx, %ecx
	xorl	%edx, %edx
	movl	$3, %eax
	xsetbv
	xgetbv
	SAY	%eax
	movl	$0xd, %eax
	xorl	%ecx, %ecx
	cpuid
	movl	%ebx, %eax		/* the area's size for what is on */
	SAY	%eax
	movl	$3, %eax
	xorl	%edx, %edx
	xsave64	AREA
	SAY64	AREA + 512
	movq	$1, AREA + 512		/* SSE: initial */
	xrstor64 AREA
	movq	%xmm5, %rax
	movq	%rax, AREA
	SAY64	AREA
1:
	/* Where the last x87 instruction was, QEMU's TCG doesn't keep. */
	xorl	%eax, %eax
	movw	%ax, AREA + 6
	movl	$AREA + 8, %edi
	movl	$4, %ecx
	rep stosl
	fninit
	EXIT

sum:	xorl	%ebx, %ebx
1:	lodsl
	roll	$5, %ebx
	addl	%eax, %ebx
	loop	1b
	movl	%ebx, %eax
	SAY	%eax
	ret

	.balign	16
vector_a:	.double	1.5, -2.25e10
vector_b:	.double	3.0, 7.0e-5
one_third:	.double	0.3333333333333333
pi:		.double	3.141592653589793
minus_seven:	.quad	-7
	GDT

/* What LAR, LSL, VERR and VERW tell of selectors, from protected mode. */
#include "guest.inc"

	.code16
	.globl	_start
_start:
	ENTER_PROTECTED
	movl	$selectors, %esi
1:	lodsl
	movl	%eax, %ecx
	cmpl	$0xffffffff, %ecx
	je	2f
	xorl	%eax, %eax
	larl	%ecx, %eax
	pushfl
	andl	$0xf0ff00, %eax		/* the rest is undefined (SDM 2A, LAR) */
	SAY	%eax
	popfl
	setz	%al
	SAY	%al
	xorl	%eax, %eax
	lsll	%ecx, %eax
	SAY	%eax
	verr	%cx
	setz	%al
	SAY	%al
	verw	%cx
	setz	%al
	SAY	%al
	arpl	%cx, %dx
	jmp	1b
2:	EXIT

	.balign	4
selectors:
	.long	0, 3, SEL_CODE32, SEL_DATA, SEL_CODE64, SEL_USER_DATA, SEL_USER_CODE, SEL_TSS, 4
	.long	0xfff8, 0xffffffff
	GDT	1

	.balign	8
tss:	.fill	26, 4, 0

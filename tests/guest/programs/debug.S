/* Debugging: single steps, instruction and data breakpoints, DR6 and DR7, INT3. */
#include "guest.inc"

	.code16
	.globl	_start
_start:
	ENTER_PROTECTED
	ENTER_LONG
	lidt	idtr
	movq	%dr6, %rax
	SAY	%eax
	movq	%dr7, %rax
	SAY	%eax

	/* Single steps: one trap after each instruction, also through a branch; REP is one each. */
	pushfq
	orq	$0x100, (%rsp)
	popfq
	nop
	movl	$3, %ecx
	jmp	1f
	nop
1:	movl	$0x6000, %edi
	xorl	%eax, %eax
	cld
	rep stosb
	pushfq
	andq	$~0x100, (%rsp)
	popfq
	nop

	/* An instruction breakpoint: a fault, before; RF gets past it. */
	movl	$breakpoint, %eax
	movq	%rax, %dr0
	movl	$0x402, %eax		/* G0 */
	movq	%rax, %dr7
breakpoint:
	nop
	/* Data: a write to four bytes; a read or write to two. */
	movl	$0x6100, %eax
	movq	%rax, %dr1
	movl	$0x6200, %eax
	movq	%rax, %dr2
	movl	$0x07d00428, %eax	/* 1: write, 4 bytes; 2: either, 2 bytes; G1, G2 */
	movq	%rax, %dr7
	movl	0x6100, %eax		/* a read: nothing */
	movl	$1, 0x6100
	movb	$1, 0x6103
	movb	$1, 0x6104		/* beyond */
	movw	0x6200, %ax
	movl	$0x400, %eax
	movq	%rax, %dr7
	movl	$2, 0x6100		/* off */

	int3
	int	$3
	/* DR4 and DR5 stand for 6 and 7 unless CR4.DE says no. */
	.byte	0x0f, 0x21, 0xe0	/* mov %dr4, %rax */
	SAY	%eax
	movq	%cr4, %rax
	orq	$8, %rax
	movq	%rax, %cr4
	.byte	0x0f, 0x21, 0xe0
	nop
	EXIT

/* Vector, where, DR6; then DR6 is made ready for the next. #UD is skipped: three bytes. */
on_fault:
	pushq	%rax
	movb	8(%rsp), %al
	SAY	%al
	movl	24(%rsp), %eax
	SAY	%eax
	movq	%dr6, %rax
	SAY	%eax
	movl	$0xffff0ff0, %eax
	movq	%rax, %dr6
	cmpb	$6, 8(%rsp)
	jne	1f
	addq	$3, 24(%rsp)
1:	cmpq	$breakpoint, 24(%rsp)
	jne	1f
	btsq	$16, 40(%rsp)		/* RF: on with the instruction */
	jmp	2f
1:	btrq	$16, 40(%rsp)
2:	popq	%rax
	addq	$16, %rsp
	iretq

	INTERRUPT_TABLE on_fault, 1
	GDT

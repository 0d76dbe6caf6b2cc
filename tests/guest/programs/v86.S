/* Virtual-8086 mode: entry by IRET, segments, privileged instructions, software interrupts, exit. */
#include "guest.inc"

	.set	SEL_TSS32, 0x30

	.code16
	.globl	_start
_start:
	ENTER_PROTECTED
	lidtl	idtr
	movw	$SEL_TSS32, %ax
	ltr	%ax
	xorl	%ebp, %ebp
	pushl	$0x0800			/* GS, FS, DS, ES */
	pushl	$0x0700
	pushl	$0x0600
	pushl	$0x0500
	pushl	$0			/* SS */
	pushl	$0x7000
	pushl	$0x00020002		/* VM, IOPL 0 */
	pushl	$0x0800			/* CS: the base of this program */
	pushl	$virtual - 0x8000
	iretl

	.code16
virtual:
	movw	%cs, %ax
	SAY	%ax
	movw	%es, %ax
	SAY	%ax
	movw	$0x1234, 0x10		/* DS is 0x600: linear 0x6010 */
	movw	%fs:2, %ax
	/* IOPL 0: these fault. The handler skips one byte, or two for INT. */
	cli
	pushf
	sti
	int	$0x20
	hlt
	/* Segment arithmetic and wrap-around. */
	movw	$0x0601, %ax
	movw	%ax, %ds
	movw	0, %ax
	SAY	%ax
	lcall	$0x0000, $far_there
	movl	$0x12345, %eax		/* 32-bit registers work */
	SAY	%eax
	int	$0x21			/* the handler ends the program */
far_there:
	movw	%cs, %ax
	SAY	%ax
	lret

	.code32
/* Vector, code, CS:EIP, flags. */
on_fault:
	movl	$SEL_DATA, %ecx
	movw	%cx, %ds
	popl	%edx
	movb	%dl, %al
	SAY	%al
	popl	%eax
	SAY	%eax
	movl	(%esp), %eax
	SAY	%eax
	movl	4(%esp), %eax
	SAY	%eax
	movl	8(%esp), %eax
	andl	$~0x108d5, %eax		/* neither arithmetic flags nor RF, which TCG doesn't set */
	SAY	%eax
	movl	12(%esp), %eax		/* ESP, ES and DS of virtual-8086 mode */
	SAY	%eax
	movl	20(%esp), %eax
	SAY	%eax
	movl	24(%esp), %eax
	SAY	%eax
	movzwl	4(%esp), %edx		/* the instruction */
	shll	$4, %edx
	addl	(%esp), %edx
	incl	(%esp)
	cmpb	$0xcd, (%edx)
	jne	1f
	incl	(%esp)
	cmpb	$0x21, 1(%edx)
	je	2f
1:	andl	$~0x10000, 8(%esp)
	iretl
2:	andl	$~0x10000, 8(%esp)
	EXIT

	INTERRUPT_TABLE on_fault

	.balign	8
gdt:	.quad	0
	.quad	0x00cf9b000000ffff
	.quad	0x00cf93000000ffff
	.quad	0x00af9b000000ffff
	.quad	0x00cff3000000ffff
	.quad	0x00affb000000ffff
	.word	tss_end - tss - 1, tss, 0x8900, 0
gdt_end:
gdtr:	.word	gdt_end - gdt - 1
	.long	gdt
	.balign	8
tss:	.long	0
	.long	0x7800, SEL_DATA
	.fill	22, 4, 0
	.word	0, 104
	.fill	32, 1, 0		/* ports below 256 are allowed */
	.byte	0xff
tss_end:

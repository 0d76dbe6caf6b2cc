/*
 * Hot code of each mode that isn't 64-bit: real mode, 16-bit and 32-bit code whose segments have bases and limits,
 * virtual-8086 mode; without paging, with 32-bit paging, with PAE. The same work comes to the same in all of them, and
 * what a limit forbids in the middle of it leaves the state that it should. For engines that translate what is hot.
 */
#include "guest.inc"

	.set SEL_CODE16, 0x20
	.set SEL_DATA16, 0x28
	.set SEL_CODE32B, 0x30
	.set SEL_DATA32B, 0x38
	.set SEL_TSS32, 0x40
	.set DATA_SEG, 0x0600	/* real mode's; base 0x6000 */
	.set TABLES, 0x100000
	.set V86_STACK, 0x1000	/* in DATA_SEG */

	.code16
	.globl _start
_start:
	movw	$DATA_SEG, %ax
	movw	%ax, %ds
	lcall	$LOAD >> 4, $real_work - LOAD
	xorw	%ax, %ax
	movw	%ax, %ds
	movw	%bx, result
	movw	%bx, %ax
	SAY	%ax
	ENTER_PROTECTED
	lidtl	idtr
	movw	$SEL_TSS32, %ax
	ltr	%ax
	call	all_modes

	/* 32-bit paging: 512 pages at their own addresses. */
	movl	$TABLES + 0x1007, TABLES
	movl	$TABLES + 0x1000, %edi
	movl	$7, %eax
	movl	$512, %ecx
1:	stosl
	addl	$0x1000, %eax
	loop	1b
	movl	$TABLES, %eax
	call	page
	call	all_modes
	call	unpage

	/* PAE: a large page. */
	movl	$TABLES + 0x3001, TABLES + 0x2000
	movl	$0, TABLES + 0x2004
	movl	$0x87, TABLES + 0x3000
	movl	$0, TABLES + 0x3004
	movl	%cr4, %eax
	orl	$0x20, %eax
	movl	%eax, %cr4
	movl	$TABLES + 0x2000, %eax
	call	page
	call	all_modes
	EXIT

page:	movl	%eax, %cr3
	movl	%cr0, %eax
	orl	$0x80000000, %eax
	movl	%eax, %cr0
	ret
unpage:	movl	%cr0, %eax
	andl	$0x7fffffff, %eax
	movl	%eax, %cr0
	ret

fail:	EXIT	1

/* Says what the work came to, which is what it came to at first. */
.macro SAME
	movw	$SEL_DATA, %ax
	movw	%ax, %ds
	movl	%ebx, %eax
	SAY	%ax
	cmpw	result, %ax
	jne	fail
.endm

/* Goes on behind it when on_fault has said what came. */
.macro UNTIL_FAULT selector:req, offset:req
	movl	$1f, %ss:resume	/* DS is the data segment by then */
	movl	%esp, %ss:resume_esp
	lcall	$\selector, $\offset - LOAD
	jmp	fail
1:
.endm

.macro ENTER_V86 label
	movl	$1f, resume
	movl	%esp, resume_esp
	pushl	$DATA_SEG		/* GS, FS, DS, ES */
	pushl	$DATA_SEG
	pushl	$DATA_SEG
	pushl	$DATA_SEG
	pushl	$DATA_SEG		/* SS */
	pushl	$V86_STACK
	pushl	$0x20002		/* VM */
	pushl	$LOAD >> 4
	pushl	$\label - LOAD
	iretl
1:
.endm

all_modes:
	movw	$SEL_DATA16, %ax
	movw	%ax, %ds
	lcall	$SEL_CODE16, $far_work16 - LOAD
	SAME
	movw	$SEL_DATA16, %ax
	movw	%ax, %ds
	UNTIL_FAULT SEL_CODE16, limit16

	movw	$SEL_DATA32B, %ax
	movw	%ax, %ds
	lcall	$SEL_CODE32B, $far_work32 - LOAD
	SAME
	movw	$SEL_DATA32B, %ax
	movw	%ax, %ds
	UNTIL_FAULT SEL_CODE32B, limit32

	ENTER_V86 v86_work
	SAME
	ENTER_V86 limit16
	ret

/* Vector, error code, where, EBX and ESI. */
on_fault:
	movw	$SEL_DATA, %dx
	movw	%dx, %ds
	movw	%dx, %es
	popl	%eax
	SAY	%al
	popl	%eax
	SAY	%eax
	movl	(%esp), %eax
	SAY	%eax
	movw	4(%esp), %ax
	SAY	%ax
	movl	%ebx, %eax
	SAY	%eax
	movl	%esi, %eax
	SAY	%eax
	movl	resume_esp, %esp
	jmp	*resume

	.code16
real_work:
	call	work16
	lret
far_work16:
	call	work16
	lretl
v86_work:
	call	work16
	int	$0x21			/* IOPL 0: #GP */

work16:
	movw	$0x1234, 0x100
	movw	$0x100, %si
	xorl	%ebx, %ebx
	movw	$2000, %bp
1:	addw	(%si), %bx
	movw	%bx, 2(%si)
	addw	%cs:table - LOAD, %bx
	rolw	$3, %bx
	pushw	%bx
	call	2f
	popw	%ax
	xorw	%ax, %bx
	movb	2(%si), %al
	addb	%al, %bh
	incl	%ebx
	decw	%bp
	jnz	1b
	ret
2:	addw	$7, %bx
	jc	3f
	xorw	$0x55, %bx
3:	ret

/* The first word that isn't whole inside 64 KiB. */
limit16:
	xorl	%ebx, %ebx
	movl	$0xf000, %esi
1:	movw	(%si), %ax
	adcw	%ax, %bx		/* so that all flags count when it faults */
	incw	%si
	jmp	1b

	.code32
far_work32:
	call	work32
	lret
work32:
	movw	$0x1234, 0x100
	movl	$0x100, %esi
	xorl	%ebx, %ebx
	movl	$2000, %ebp
1:	addw	(%esi), %bx
	movw	%bx, 2(%esi)
	addw	%cs:table - LOAD, %bx
	rolw	$3, %bx
	pushl	%ebx
	call	2f
	popl	%eax
	xorw	%ax, %bx
	movb	2(%esi), %al
	addb	%al, %bh
	incl	%ebx
	decl	%ebp
	jnz	1b
	ret
2:	addw	$7, %bx
	jc	3f
	xorw	$0x55, %bx
3:	ret
limit32:
	xorl	%ebx, %ebx
	movl	$0xf000, %esi
1:	movw	(%esi), %ax
	adcw	%ax, %bx		/* so that all flags count when it faults */
	incl	%esi
	jmp	1b

	.balign	4
table:	.word	0x4321
result:	.word	0
resume:	.long	0
resume_esp:
	.long	0

	INTERRUPT_TABLE on_fault

	.balign	8
gdt:	.quad	0
	.quad	0x00cf9b000000ffff	/* 0x08: flat code, data */
	.quad	0x00cf93000000ffff
	.quad	0
	.quad	0x00009b008000ffff	/* 0x20: 16-bit code from LOAD, data from 0x6000 */
	.quad	0x000093006000ffff
	.quad	0x00409b008000ffff	/* 0x30: the same, 32-bit */
	.quad	0x004093006000ffff
	.word	103, tss, 0x8900, 0
gdt_end:
gdtr:	.word	gdt_end - gdt - 1
	.long	gdt
	.balign	8
tss:	.long	0
	.long	0x7800, SEL_DATA
	.fill	22, 4, 0
	.word	0, 104

/*
 * Segment limits and types in protected mode. Checks itself, because QEMU's TCG, on which one of the
 * lanes stands, looks at neither: says the number of the first wrong case and exits with 1.
 */
#include "guest.inc"

	.set	SEL_SMALL, 0x30
	.set	SEL_READONLY, 0x38
	.set	SEL_DOWN, 0x40
	.set	SEL_EXEC_ONLY, 0x48
	.set	SEL_DPL3, 0x50
	.set	NONE, -1

/* insn must raise vector with code (NONE: without one), or nothing at all. */
.macro EXPECT vector, code, insn
	incl	%edi
	movl	$NONE, seen
	movl	$NONE, seen + 4
	movl	$9f, %ebx
	\insn
9:	cmpl	$\vector, seen
	jne	wrong
	cmpl	$\code, seen + 4
	jne	wrong
.endm

	.code16
	.globl	_start
_start:
	ENTER_PROTECTED
	lidtl	idtr
	xorl	%edi, %edi
	movw	$SEL_SMALL, %ax
	movw	%ax, %fs
	EXPECT	NONE, NONE, "movb %fs:0xf, %al"
	EXPECT	13, 0, "movb %fs:0x10, %al"
	EXPECT	13, 0, "movw %fs:0xf, %ax"
	EXPECT	13, 0, "movl %fs:0xd, %eax"
	EXPECT	NONE, NONE, "movl %fs:0xc, %eax"
	EXPECT	13, 0, "movl %eax, %fs:0xffffffff"
	movw	$SEL_READONLY, %ax
	movw	%ax, %fs
	EXPECT	NONE, NONE, "movb %fs:0, %al"
	EXPECT	13, 0, "movb $1, %fs:0x6000"
	EXPECT	13, 0, "incl %fs:0x6000"
	EXPECT	NONE, NONE, "movl %cs:0x8000, %eax"
	EXPECT	13, 0, "movl %eax, %cs:0x6000"
	movw	$SEL_DOWN, %ax
	movw	%ax, %gs
	EXPECT	13, 0, "movb %gs:0xfff, %al"
	EXPECT	NONE, NONE, "movb %gs:0x1000, %al"
	EXPECT	NONE, NONE, "movb %gs:0xffffffff, %al"
	EXPECT	13, SEL_EXEC_ONLY, "movw $SEL_EXEC_ONLY, %ax; movw %ax, %fs"
	EXPECT	13, SEL_READONLY, "movw $SEL_READONLY, %ax; movw %ax, %ss"
	EXPECT	13, SEL_DATA, "movw $SEL_DATA + 3, %ax; movw %ax, %ss"
	EXPECT	NONE, NONE, "movw $SEL_DPL3, %ax; movw %ax, %fs"
	EXPECT	13, SEL_DPL3, "movw $SEL_DPL3, %ax; movw %ax, %ss"
	EXPECT	NONE, NONE, "movw $0, %ax; movw %ax, %fs"
	EXPECT	13, 0, "movb %fs:0, %al"
	EXPECT	13, 0x202, "int $0x40"
	EXPECT	13, 0x90, "ljmpl $0x90, $0"
	EXPECT	13, 0, "ljmpl $0, $0"
	EXPECT	13, 0, "movl $0x80000001, %eax; xorl $1, %eax; movl %eax, %cr0"
	EXPECT	13, 0, "movl $0x80000000, %eax; movl %eax, %cr4"
	EXIT

wrong:	movl	%edi, %eax
	SAY	%eax
	movl	seen, %eax
	SAY	%eax
	movl	seen + 4, %eax
	SAY	%eax
	EXIT	1

seen:	.long	0, 0

/* On with the next case. */
on_fault:
	popl	%ds:seen
	popl	%ds:seen + 4
	movl	%ebx, (%esp)
	iretl

	INTERRUPT_TABLE on_fault

	.balign 8
gdt:	.quad	0
	.quad	0x00cf9b000000ffff
	.quad	0x00cf93000000ffff
	.quad	0x00af9b000000ffff
	.quad	0x00cff3000000ffff
	.quad	0x00affb000000ffff
	.quad	0x004093006000000f	/* 0x30: 16 bytes at 0x6000 */
	.quad	0x00cf91000000ffff	/* 0x38: read-only */
	.quad	0x00c0970000000000	/* 0x40: expands down to 4 KiB */
	.quad	0x00cf99000000ffff	/* 0x48: execute-only code */
	.quad	0x00cff3000000ffff	/* 0x50: the user's data */
gdt_end:
gdtr:	.word	gdt_end - gdt - 1
	.long	gdt

/* Protected mode: the switch, exceptions with their error codes, gates. */
#include "guest.inc"

	.set	SEL_ABSENT, 0x30

	.code16
	.globl	_start
_start:
	ENTER_PROTECTED
	lidtl	idtr
	movl	%cr0, %eax
	andl	$0x80000011, %eax
	SAY	%eax
	/* What segment registers hold. */
	movw	%cs, %ax
	SAY	%ax

	/* Each fault says vector, error code, and where; then goes on at the address in EBX. */
.macro FAULT insn
	movl	$9f, %ebx
	\insn
9:
.endm
	FAULT	"movw $0xfff8, %ax; movw %ax, %fs"	/* #GP: beyond the table */
	FAULT	"movw $SEL_CODE32, %ax; movw %ax, %ss"	/* #GP: code as stack */
	FAULT	"movw $0, %ax; movw %ax, %ss"		/* #GP(0): null stack */
	FAULT	"movw $SEL_ABSENT, %ax; movw %ax, %fs"	/* #NP */
	FAULT	"ud2"
	FAULT	"int $0x30"				/* a gate: it says, and comes back */
	FAULT	"into"
	movl	$0x7fffffff, %eax
	addl	$1, %eax
	FAULT	"into"
	FAULT	"xorl %ecx, %ecx; divl %ecx"
	FAULT	"movl $7, %eax; boundl %eax, bounds"
	FAULT	"ljmpl $SEL_DATA, $0"			/* #GP: data as code */
	FAULT	"xorl %ecx, %ecx; lldt %cx"		/* a null LDT is fine */
	EXIT

on_fault:
	popl	%eax
	SAY	%al
	movl	%eax, %edx
	popl	%eax
	SAY	%eax
	movl	(%esp), %eax
	SAY	%eax
	movl	8(%esp), %eax
	andl	$0x00020202, %eax	/* IF, VM and the constant bit */
	SAY	%eax
	andl	$~0x10000, 8(%esp)	/* RF: QEMU's TCG doesn't set it */
	cmpl	$0x30, %edx
	je	1f
	movl	%ebx, (%esp)
1:	iretl

bounds:	.long	0, 5

	INTERRUPT_TABLE on_fault

	.balign 8
gdt:	.quad	0
	.quad	0x00cf9b000000ffff
	.quad	0x00cf93000000ffff
	.quad	0x00af9b000000ffff
	.quad	0x00cff3000000ffff
	.quad	0x00affb000000ffff
	.quad	0x00cf13000000ffff	/* 0x30: not present */
gdt_end:
gdtr:	.word	gdt_end - gdt - 1
	.long	gdt

/*
 * What QEMU's TCG lets pass in long mode: reserved bits in page tables, addresses that are not
 * canonical in model-specific registers, moves to guarded debug registers. Checks itself, as
 * strict32.S does.
 */
#include "guest.inc"

#define PD 0x3000
#define PT 0x4000
	.set	AT0, 0x200000
	.set	AT1, 0x201000
	.set	NONE, -1

.macro EXPECT vector, code, insn
	incl	%edi
	movl	$NONE, seen
	movl	$NONE, seen + 4
	movq	$9f, %rbx
	\insn
9:	cmpl	$\vector, seen
	jne	wrong
	cmpl	$\code, seen + 4
	jne	wrong
.endm
.macro WRITE_MSR index, high, low
	movl	$\index, %ecx
	movl	$\high, %edx
	movl	$\low, %eax
	wrmsr
.endm

	.code16
	.globl	_start
_start:
	ENTER_PROTECTED
	movl	$PT | 7, PD + 8
	movl	$0, PD + 12
	movl	$0x13003, PT		/* a reserved bit, 51 */
	movl	$0x00080000, PT + 4
	movl	$0x13003, PT + 8
	movl	$0, PT + 12
	ENTER_LONG
	lidt	idtr
	xorl	%edi, %edi
	EXPECT	14, 0x9, "movb AT0, %al"
	EXPECT	14, 0xb, "movb $1, AT0"
	EXPECT	NONE, NONE, "movb $1, AT1"
	EXPECT	13, 0, "WRITE_MSR 0xc0000082, 0x8000, 0"	/* LSTAR */
	EXPECT	13, 0, "WRITE_MSR 0xc0000100, 0x8000, 0"	/* FS base */
	EXPECT	13, 0, "WRITE_MSR 0xc0000102, 0x8000, 0"	/* kernel GS base */
	EXPECT	13, 0, "WRITE_MSR 0xc0000080, 0, 0x801"		/* EFER.LME off while paging */
	EXPECT	13, 0, "WRITE_MSR 0xc0000080, 1, 0xd01"		/* EFER, a reserved bit */
	EXPECT	13, 0, "WRITE_MSR 0x277, 0x02000000, 0"		/* PAT, a reserved type */
	EXPECT	13, 0, "movq %cr4, %rax; btcq $5, %rax; movq %rax, %cr4" /* PAE off */
	EXPECT	13, 0, "movq %cr0, %rax; btsq $32, %rax; movq %rax, %cr0"
	EXPECT	1, NONE, "movl $0x2400, %eax; movq %rax, %dr7; movq %dr0, %rax"	/* GD */
	EXPECT	NONE, NONE, "movq %dr0, %rax"
	EXPECT	13, 0, "movl $2, %ecx; xorl %edx, %edx; movl $1, %eax; rdmsr" /* no such MSR */
	EXIT

wrong:	movl	%edi, %eax
	SAY	%eax
	movl	seen, %eax
	SAY	%eax
	movl	seen + 4, %eax
	SAY	%eax
	EXIT	1

seen:	.long	0, 0

on_fault:
	popq	%rax
	movl	%eax, seen
	popq	%rax
	movl	%eax, seen + 4
	movq	%rbx, (%rsp)
	iretq

	INTERRUPT_TABLE on_fault, 1
	GDT

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
	FAULT	"int $0x40"				/* a gate: it says, and comes back */
	FAULT	"into"
	movl	$0x7fffffff, %eax
	addl	$1, %eax
	FAULT	"into"
	FAULT	"xorl %ecx, %ecx; divl %ecx"
	FAULT	"movl $7, %eax; boundl %eax, bounds"
	FAULT	"ljmpl $SEL_DATA, $0"			/* #GP: data as code */
	FAULT	"xorl %ecx, %ecx; lldt %cx"		/* a null LDT is fine */
	EXIT

/* A stub for each vector: pushes a code where the processor doesn't, then the vector. */
.macro STUB vector, has_code=0
stub\vector:
	.if \has_code == 0
	pushl	$0xffffffff
	.endif
	pushl	$\vector
	jmp	on_fault
.endm
	STUB	0
	STUB	4
	STUB	5
	STUB	6
	STUB	8, 1
	STUB	10, 1
	STUB	11, 1
	STUB	12, 1
	STUB	13, 1
	STUB	14, 1
	STUB	64

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
	cmpl	$64, %edx
	je	1f
	movl	%ebx, (%esp)
1:	iretl

bounds:	.long	0, 5

	.macro	GATE32 handler
	.word	\handler, SEL_CODE32, 0x8e00, 0
	.endm
	.macro	NO_GATE count
	.fill	\count, 8, 0
	.endm
	.balign	8
idt:	GATE32	stub0
	NO_GATE	3
	GATE32	stub4
	GATE32	stub5
	GATE32	stub6
	NO_GATE	1
	GATE32	stub8
	NO_GATE	1
	GATE32	stub10
	GATE32	stub11
	GATE32	stub12
	GATE32	stub13
	GATE32	stub14
	NO_GATE	49
	GATE32	stub64
idt_end:
idtr:	.word	idt_end - idt - 1
	.long	idt

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

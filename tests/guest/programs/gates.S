/*
 * Privilege in protected mode: to ring 3 and back by interrupt and call gates with parameters, the
 * I/O permission bitmap, IOPL, conforming code, hardware task switches by jump, call and IRET.
 */
#include "guest.inc"

	.set	SEL_USER_CODE32, 0x23
	.set	SEL_USER_DATA32, 0x2b
	.set	SEL_GATE, 0x33
	.set	SEL_TSS0, 0x38
	.set	SEL_TSS1, 0x40
	.set	SEL_CONFORMING, 0x48
	.set	SEL_TASK_GATE, 0x53

/* The user may write one port only, a byte at a time. */
.macro SAYB
	.rept	4
	out	%al, $PORT_SAY
	rorl	$8, %eax
	.endr
.endm
.macro FAULT insn
	movl	$9f, %ebx
	\insn
9:
.endm

	.code16
	.globl	_start
_start:
	ENTER_PROTECTED
	lidtl	idtr
	movw	$SEL_TSS0, %ax
	ltr	%ax
	str	%eax
	SAY	%eax
	movl	gdt + SEL_TSS0 + 4, %eax	/* busy now */
	SAY	%eax
	FAULT	"movw $SEL_TSS0, %ax; ltr %ax"	/* #GP: busy */
	pushl	$SEL_USER_DATA32
	pushl	$0x7000
	pushl	$0x2
	pushl	$SEL_USER_CODE32
	pushl	$user
	iretl

user:	movw	%ss, %ax
	movw	$SEL_USER_DATA32, %ax
	movw	%ax, %ds
	movw	%ax, %es
	int	$0x20			/* says; on another stack */
	FAULT	"cli"			/* #GP: IOPL is 0 */
	FAULT	"hlt"
	FAULT	"movl %cr0, %eax"
	FAULT	"int $0xd"		/* #GP: the gate is the supervisor's */
	FAULT	"out %al, $0xe9"	/* the bitmap forbids it */
	movb	$0x77, %al
	out	%al, $PORT_SAY		/* and allows this */
	FAULT	"out %ax, $0xe8"	/* but not both of its ports */
	FAULT	"movw $SEL_DATA, %ax; movw %ax, %fs"
	FAULT	"ljmpl $SEL_CODE32, $0"
	pushl	$0x11111111
	pushl	$0x22222222
	lcall	$SEL_GATE, $0		/* with two parameters */
	movl	%esp, %eax
	SAYB
	lcall	$SEL_CONFORMING, $conforming
	/* RETF to the same ring, and POPF: IF and IOPL stay as they are. */
	pushl	$0x3202
	popfl
	pushfl
	popl	%eax
	SAYB
	int	$0x21			/* to the supervisor for good */

/* In ring 0, by the gate: the parameters were copied to this stack. */
gate_entry:
	movw	%cs, %ax
	SAY	%ax
	movl	8(%esp), %eax
	SAY	%eax
	movl	12(%esp), %eax
	SAY	%eax
	movl	16(%esp), %eax		/* the user's stack pointer */
	SAY	%eax
	lretl	$8

conforming:
	movw	%cs, %ax
	SAYB
	lretl

supervisor:
	movw	$SEL_DATA, %ax
	movw	%ax, %ds
	movw	%ax, %es
	/* Task switches: jump to task 1, which jumps back; call it, which comes back by IRET. */
	ljmpl	$SEL_TSS1, $0
	movb	$0xb1, %al
	SAY	%al
	lcall	$SEL_TASK_GATE, $0
	movb	$0xb2, %al
	SAY	%al
	str	%eax
	SAY	%eax
	movl	gdt + SEL_TSS0 + 4, %eax
	SAY	%eax
	movl	gdt + SEL_TSS1 + 4, %eax
	SAY	%eax
	clts				/* set by each switch; KVM's emulation forgets it */
	EXIT

task1:	movb	$0xa1, %al
	SAY	%al
	str	%ecx
	movl	%ecx, %eax
	SAY	%eax
	movl	%edx, %eax		/* from its TSS */
	SAY	%eax
	clts
	ljmpl	$SEL_TSS0, $0
	movb	$0xa2, %al		/* called now: NT, and a link */
	SAY	%al
	pushfl
	popl	%eax
	andl	$0x4000, %eax
	SAY	%eax
	movzwl	tss1, %eax
	SAY	%eax
	iretl

on_fault:
	pushl	%eax
	pushl	%edx
	movl	8(%esp), %edx
	movb	%dl, %al
	SAY	%al
	cmpb	$0x21, %dl
	je	supervisor_stack
	movl	12(%esp), %eax
	SAY	%eax
	movl	16(%esp), %eax
	SAY	%eax
	movl	20(%esp), %eax
	SAY	%eax
	cmpb	$0x20, %dl
	je	2f
	movl	%ebx, 16(%esp)
1:	andl	$~0x10000, 24(%esp)	/* RF: QEMU's TCG doesn't set it */
	popl	%edx
	popl	%eax
	addl	$8, %esp
	iretl
2:	movl	%esp, %eax		/* whence it came: SS and ESP are on the stack */
	SAY	%eax
	movl	28(%esp), %eax
	SAY	%eax
	movl	32(%esp), %eax
	SAY	%eax
	jmp	1b
supervisor_stack:
	movl	$0x7c00, %esp
	jmp	supervisor

	INTERRUPT_TABLE on_fault

	.balign	8
gdt:	.quad	0
	.quad	0x00cf9b000000ffff
	.quad	0x00cf93000000ffff
	.quad	0x00af9b000000ffff
	.quad	0x00cffb000000ffff		/* 0x20: user code, 32 bits */
	.quad	0x00cff3000000ffff		/* 0x28: user data */
	.word	gate_entry, SEL_CODE32, 0xec02, 0 /* 0x30: call gate, two parameters */
	.word	tss0_end - tss0 - 1, tss0, 0x8900, 0
	.word	103, tss1, 0x8900, 0
	.quad	0x00cf9f000000ffff		/* 0x48: conforming code */
	.word	0, SEL_TSS1, 0xe500, 0		/* 0x50: task gate */
gdt_end:
gdtr:	.word	gdt_end - gdt - 1
	.long	gdt

	.balign	8
tss0:	.long	0
	.long	0x7800, SEL_DATA		/* ESP0, SS0 */
	.fill	22, 4, 0
	.word	0, bitmap - tss0
bitmap:	.fill	29, 1, 0xff
	.byte	0xfe				/* port 0xe8 */
	.fill	3, 1, 0xff
tss0_end:
	.balign	8
tss1:	.long	0, 0, 0, 0, 0, 0, 0
	.long	0				/* CR3 */
	.long	task1, 0x2
	.long	0, 0, 0xd00d, 0			/* EAX, ECX, EDX, EBX */
	.long	0x7400, 0, 0, 0			/* ESP, EBP, ESI, EDI */
	.long	SEL_DATA, SEL_CODE32, SEL_DATA, SEL_DATA, SEL_DATA, SEL_DATA
	.long	0				/* LDT */
	.word	0, 104

/* CPUID, whole; the model-specific registers that every vCPU has: reset values, writes, faults. */
#include "guest.inc"

	.code16
	.globl	_start
_start:
	ENTER_PROTECTED
	ENTER_LONG
	lidt	idtr
	movq	$leaves, %rsi
1:	lodsl
	movl	%eax, %edi
	lodsl
	movl	%eax, %ecx
	movl	%edi, %eax
	cmpl	$0xffffffff, %edi
	je	2f
	cpuid
	out	%eax, $PORT_SAY
	movl	%ebx, %eax
	out	%eax, $PORT_SAY
	movl	%ecx, %eax
	out	%eax, $PORT_SAY
	movl	%edx, %eax
	out	%eax, $PORT_SAY
	jmp	1b

	/* Reset values, and those that this program changed. */
2:	movq	$to_read, %rsi
1:	lodsl
	movl	%eax, %ecx
	cmpl	$0xffffffff, %ecx
	je	2f
	movq	$1b, %rbx
	rdmsr
	out	%eax, $PORT_SAY
	movl	%edx, %eax
	out	%eax, $PORT_SAY
	jmp	1b

	/* What is written is read back, or faults. */
2:	movq	$to_write, %rsi
1:	lodsl
	movl	%eax, %ecx
	cmpl	$0xffffffff, %ecx
	je	2f
	movl	4(%rsi), %edx
	lodsl
	addq	$4, %rsi
	movq	$1b, %rbx
	wrmsr
	rdmsr
	out	%eax, $PORT_SAY
	movl	%edx, %eax
	out	%eax, $PORT_SAY
	jmp	1b
2:	EXIT

on_gp:
	popq	%rax			/* the error code */
	out	%eax, $PORT_SAY
	movq	%rbx, (%rsp)
	btrq	$16, 16(%rsp)		/* RF: QEMU's TCG doesn't set it */
	iretq

	.balign	4
leaves:	.long	0, 0, 1, 0, 2, 0, 4, 0, 4, 1, 4, 2, 4, 3, 4, 4, 6, 0, 7, 0, 7, 1, 0xa, 0
	.long	0xb, 0, 0xb, 1, 0xb, 2, 0xd, 0, 0xd, 1, 0xd, 2, 0x15, 0, 0x16, 0, 0x17, 0
	.long	0x40000000, 0, 0x40000001, 0, 0x40000010, 0, 0x80000000, 0, 0x80000001, 0
	.long	0x80000002, 0, 0x80000006, 0, 0x80000007, 0, 0x80000008, 0, 0x80000009, 0
	.long	0xffffffff, 0
to_read:
	.long	0x1b, 0xfe, 0x174, 0x175, 0x176, 0x277, 0x2ff, 0x200, 0x201, 0x250, 0x268
	.long	0xc0000080, 0xc0000081, 0xc0000082, 0xc0000084, 0xc0000100, 0xc0000101
	.long	0xc0000102, 0x12345678
	.long	0xffffffff
to_write:
	.long	0x277, 0x00070106, 0x00070406
	.long	0x277, 0x02070106, 0x00070406	/* a reserved type */
	.long	0xc0000082, 0x81234567, 0xffffffff
	.long	0xc0000084, 0x00047700, 0
	.long	0xc0000081, 0x00000000, 0x00230010
	.long	0xc0000102, 0x12340000, 0xffff8880
	.long	0x174, 0x10, 0
	.long	0x175, 0x8000, 0
	.long	0x250, 0x06060606, 0x06060606
	.long	0x200, 0x80000006, 0
	.long	0x201, 0xc0000800, 0x0
	.long	0xffffffff

	.balign	16
idt:	.fill	13 * 2, 8, 0
	.word	on_gp, SEL_CODE64, 0x8e00, 0
	.quad	0
idt_end:
idtr:	.word	idt_end - idt - 1
	.quad	idt
	GDT

/* The fast ways into the kernel: SYSCALL and SYSRET in 64-bit mode, SWAPGS, SYSENTER in 32-bit mode. */
#include "guest.inc"

	.code16
	.globl	_start
_start:
	ENTER_PROTECTED
	lidtl	idtr32

	/* SYSENTER and SYSEXIT, in protected mode: CS and SS are derived from one selector. */
	movl	$0x174, %ecx
	xorl	%edx, %edx
	movl	$SEL_CODE32, %eax
	wrmsr
	incl	%ecx
	movl	$0x7600, %eax
	wrmsr
	incl	%ecx
	movl	$enter_here, %eax
	wrmsr
	sysenter
enter_here:
	movw	%cs, %ax
	SAY	%ax
	movw	%ss, %ax
	SAY	%ax
	movl	%esp, %eax
	SAY	%eax

	ENTER_LONG
	lidt	idtr
	movw	$SEL_TSS, %ax
	ltr	%ax
	movl	$0xc0000081, %ecx	/* STAR: kernel 0x18, user 0x1b + 8 and + 16 */
	movl	$0x001b0018, %edx
	xorl	%eax, %eax
	wrmsr
	incl	%ecx			/* LSTAR */
	movl	$kernel, %eax
	xorl	%edx, %edx
	wrmsr
	movl	$0xc0000084, %ecx	/* SFMASK: DF, IF, TF, CF */
	movl	$0x701, %eax
	wrmsr
	movl	$0xc0000102, %ecx	/* the kernel's GS */
	movl	$0x12345000, %eax
	wrmsr
	movl	$0xc0000101, %ecx	/* the user's */
	movl	$0x00678000, %eax
	wrmsr
	movl	$user, %ecx
	movl	$0x2, %r11d
	sysretq

user:	movw	%cs, %ax
	movw	%ax, %r8w
	movw	%ss, %ax
	movw	%ax, %r9w
	stc
	std
	movl	$1, %eax
	syscall
back:	movl	$2, %eax
	syscall
	hlt				/* #GP: says, and ends */

kernel:	cmpl	$1, %eax
	jne	1f
	movq	%rcx, %r12
	movq	%r11, %r13
	movzwl	%r8w, %eax
	SAY	%eax
	movzwl	%r9w, %eax
	SAY	%eax
	SAY64	%r12
	SAY64	%r13
	pushfq
	popq	%r14
	SAY64	%r14
	movw	%cs, %ax
	SAY	%ax
	movw	%ss, %ax
	SAY	%ax
	SAY64	%rsp			/* still the user's */
	swapgs
	movl	$0xc0000101, %ecx
	rdmsr
	out	%eax, $PORT_SAY
	swapgs
	rdmsr
	out	%eax, $PORT_SAY
	movq	%r12, %rcx
	movq	%r13, %r11
	sysretq
1:	cld
	movb	$0x22, %al
	SAY	%al
	sysretq

on_fault:
	popq	%rax
	SAY	%al
	popq	%rax
	SAY	%eax
	SAY64	(%rsp)
	SAY64	8(%rsp)
	SAY64	32(%rsp)
	andl	$~0x10000, 16(%rsp)	/* RF: QEMU's TCG doesn't set it */
	EXIT

idtr32:	.word	0
	.long	0
	INTERRUPT_TABLE on_fault, 1
	.balign	8
tss:	.long	0
	.quad	0x7800
	.fill	23, 4, 0
	GDT	1

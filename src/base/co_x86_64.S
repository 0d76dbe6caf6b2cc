/*
 * The switch between stacks, for co.c. What the calling convention lets a function change needs no
 * care; the control words of x87 and SSE are the thread's, and nobody here changes them.
 */
	.text
	.globl	co_switch
	.hidden	co_switch
	.type	co_switch, @function
/* co_switch(void **from, void *to) */
co_switch:
	push	%rbp
	push	%rbx
	push	%r12
	push	%r13
	push	%r14
	push	%r15
	mov	%rsp, (%rdi)
	mov	%rsi, %rsp
	pop	%r15
	pop	%r14
	pop	%r13
	pop	%r12
	pop	%rbx
	pop	%rbp
	ret
	.size	co_switch, . - co_switch

	.globl	co_entry
	.hidden	co_entry
	.type	co_entry, @function
/* Returned to on a new stack, which is 8 off a multiple of 16 then. Backtraces end here. */
co_entry:
	.cfi_startproc
	.cfi_undefined %rip
	xor	%ebp, %ebp
	sub	$8, %rsp
	call	co_main
	ud2
	.cfi_endproc
	.size	co_entry, . - co_entry
	.section .note.GNU-stack, "", @progbits

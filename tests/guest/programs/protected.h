/*
 * 32-bit protected mode for guest programs: flat and odd segments, an IDT whose handlers note what
 * came and go on, ring 3 and back, two TSSs.
 *
 * A program includes this after its code. It starts with ENTER_PROTECTED, and may then use
 *
 *   FAULT(vector, code, instruction)   it must fault, at itself, with that error code
 *   TRAP(vector, instruction)          it must trap, at the next one
 *   TO_USER(label)                     goes on at label with CPL 3; INT $64 brings it back to the
 *                                      address in `kernel_return`, CPL 0, on the first stack; so
 *                                      does any fault while `fault_returns` is set
 *
 * All of it uses SS for its own data, so that DS may be anything.
 */
#ifndef TESTS_GUEST_PROGRAMS_PROTECTED_H
#define TESTS_GUEST_PROGRAMS_PROTECTED_H

#define SEL_CODE	0x08
#define SEL_DATA	0x10
#define SEL_USER_CODE	0x1b
#define SEL_USER_DATA	0x23
#define SEL_CODE16	0x28
#define SEL_DATA16	0x30
#define SEL_TSS		0x38
#define SEL_TSS2	0x40
#define SEL_LDT		0x48
#define SEL_CONFORMING	0x50
#define SEL_SMALL	0x58 /* 16 bytes at SCRATCH */
#define SEL_DOWN	0x60 /* expand-down: offsets above 0xfff */
#define SEL_ABSENT	0x68
#define SEL_GATE	0x70 /* call gate to CPL 0, two parameters, for CPL 3 */
#define SEL_TASK_GATE	0x78
#define SEL_RDONLY	0x80
#define SEL_EXECONLY	0x88
#define SEL_CODE64	0x90

#define KERNEL_STACK	0x7c00 /* of interrupts out of CPL 3 */
#define USER_STACK	0x7000
#define TSS_SIZE	0x68
#define IO_BITMAP_BYTES 0x90

#define FAULT(vec, code, ...)                                                                      \
	movl $8f, %ss:resume;                                                                      \
	7: __VA_ARGS__;                                                                            \
	FAIL;                                                                                      \
	8: CHECK_EQ(%ss:last_vector, $vec);                                                        \
	CHECK_EQ(%ss:last_code, $code);                                                            \
	CHECK_EQ(%ss:last_eip, $7b)

#define TRAP(vec, ...)                                                                             \
	movl $-1, %ss:last_vector;                                                                 \
	__VA_ARGS__;                                                                               \
	7: CHECK_EQ(%ss:last_vector, $vec);                                                        \
	CHECK_EQ(%ss:last_eip, $7b)

#define TO_USER(label)                                                                             \
	pushl $SEL_USER_DATA;                                                                      \
	pushl $USER_STACK;                                                                         \
	pushl $2;                                                                                  \
	pushl $SEL_USER_CODE;                                                                      \
	pushl $label;                                                                              \
	iretl

	.macro ENTER_PROTECTED
	.code16
	cli
	cld
	xorw %ax, %ax
	movw %ax, %ds
	movw %ax, %ss
	lgdtl gdt_pointer
	lidtl idt_pointer
	movl %cr0, %eax
	orb $0x21, %al /* PE, NE */
	movl %eax, %cr0
	ljmpl $SEL_CODE, $protected_start
	.code32
protected_start:
	movw $SEL_DATA, %ax
	movw %ax, %ds
	movw %ax, %es
	movw %ax, %ss
	movl $STACK, %esp
	/* The IDT: a gate for each stub, for all privileges from 64 on and for INT3 and INTO. */
	movl $stubs, %eax
	movl $idt, %edi
	movl $96, %ecx
901:	movw %ax, (%edi)
	movw $SEL_CODE, 2(%edi)
	movw $0x8e00, 4(%edi)
	movw $0, 6(%edi)
	addl $16, %eax
	addl $8, %edi
	decl %ecx
	jnz 901b
	movw $0xee00, idt + 8 * BP + 4
	movw $0xee00, idt + 8 * OF + 4
	movl $32, %ecx
	movl $idt + 8 * 64 + 4, %edi
902:	movw $0xee00, (%edi)
	addl $8, %edi
	decl %ecx
	jnz 902b
	/* The TSS, with a bitmap that lets ports 0x300 to 0x307 through. */
	movl $KERNEL_STACK, tss + 4
	movl $SEL_DATA, tss + 8
	movw $TSS_SIZE, tss + 0x66
	movl $tss + TSS_SIZE, %edi
	movl $IO_BITMAP_BYTES, %ecx
	movb $0xff, %al
	rep stosb
	movb $0, tss + TSS_SIZE + 0x60
	movb $0, tss + TSS_SIZE + (PORT_SAY / 8)
	movb $0, tss + TSS_SIZE + (PORT_EXIT / 8)
	movw $SEL_TSS, %ax
	ltr %ax
	movw $SEL_LDT, %ax
	lldt %ax
	.endm

	.macro PROTECTED_DATA
	.code32
	.balign 16
stubs:
n = 0
	.rept 96
	.org stubs + 16 * n, 0x90
	.if n == DF || (n >= TS && n <= PF) || n == AC
	.else
	pushl $NO_CODE
	.endif
	pushl $n
	jmp on_vector
n = n + 1
	.endr
	.org stubs + 16 * n, 0x90

/* Stack: DS, 8 registers, vector, code, EIP, CS, EFLAGS, ESP, SS. */
on_vector:
	pushal
	pushl %ds
	movw $SEL_DATA, %ax
	movw %ax, %ds
	movl 36(%esp), %eax
	movl %eax, last_vector
	cmpl $64, %eax
	je on_return
	movl 40(%esp), %eax
	movl %eax, last_code
	movl 44(%esp), %eax
	movl %eax, last_eip
	movl 48(%esp), %eax
	movl %eax, last_cs
	movl 52(%esp), %eax
	movl %eax, last_eflags
	andl $~FLAG_TF, 52(%esp)
	movl %cr2, %eax
	movl %eax, last_cr2
	cmpl $0, fault_returns
	jne on_return
	movl resume, %eax
	movl $0, resume
	testl %eax, %eax
	jz 903f
	movl %eax, 44(%esp)
903:	popl %ds
	popal
	addl $8, %esp
	iretl
/* Back to the kernel, with its stack as it was at TO_USER's start. */
on_return:
	movw $SEL_DATA, %ax
	movw %ax, %es
	movw %ax, %fs
	movw %ax, %gs
	movl $STACK, %esp
	movl $0, fault_returns
	jmp *kernel_return

	.balign 4
last_vector:	.long 0
last_code:	.long 0
last_eip:	.long 0
last_cs:	.long 0
last_eflags:	.long 0
last_cr2:	.long 0
resume:		.long 0
kernel_return:	.long 0
fault_returns:	.long 0

	.balign 16
gdt:	.quad 0
	DESCRIPTOR(0, 0xfffff, 0x9b, 0xc)
	DESCRIPTOR(0, 0xfffff, 0x93, 0xc)
	DESCRIPTOR(0, 0xfffff, 0xfb, 0xc)
	DESCRIPTOR(0, 0xfffff, 0xf3, 0xc)
	DESCRIPTOR(0, 0xffff, 0x9b, 0)
	DESCRIPTOR(0, 0xffff, 0x93, 0)
	.word TSS_SIZE + IO_BITMAP_BYTES - 1, tss, 0x8900, 0
	.word TSS_SIZE - 1, tss2, 0x8900, 0
	.word 15, ldt, 0x8200, 0
	DESCRIPTOR(0, 0xfffff, 0x9f, 0xc)
	DESCRIPTOR(SCRATCH, 0xf, 0x93, 0x4)
	DESCRIPTOR(0, 0xfff, 0x97, 0x4)
	DESCRIPTOR(0, 0xfffff, 0x13, 0xc)
	.word gate_target, SEL_CODE, 0xec02, 0
	.word 0, SEL_TSS2, 0xe500, 0
	DESCRIPTOR(0, 0xfffff, 0x91, 0xc)
	DESCRIPTOR(0, 0xfffff, 0x99, 0xc)
	DESCRIPTOR(0, 0xfffff, 0x9b, 0xa)
gdt_end:
ldt:	.quad 0
	DESCRIPTOR(0, 0xfffff, 0xf3, 0xc)
gdt_pointer:
	.word gdt_end - gdt - 1
	.long gdt
idt_pointer:
	.word 96 * 8 - 1
	.long idt
	.balign 16
tss:	.fill TSS_SIZE + IO_BITMAP_BYTES, 1, 0
	.balign 16
tss2:	.fill TSS_SIZE, 1, 0
	.balign 16
idt:	.fill 96, 8, 0
	.endm

#endif

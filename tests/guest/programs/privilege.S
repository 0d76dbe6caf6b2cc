/*
 * Protection in 32-bit mode: rings, gates, stacks, I/O permission, what returns do to segments,
 * descriptor checks with their error codes.
 */
#include "assert.inc"
#include "protected.inc"

	.globl _start
_start:
	ENTER_PROTECTED

	/* --- segments --- */

	movw $SEL_SMALL, %ax
	movw %ax, %fs
	movb $7, %fs:15
	FAULT(GP, 0, movb $7, %fs:16)
	FAULT(GP, 0, movw $7, %fs:15)
	FAULT(GP, 0, movl $7, %fs:-1)
	movw $SEL_DOWN, %ax
	movw %ax, %fs
	movl $7, %fs:(SCRATCH + 0x20)
	FAULT(GP, 0, movb %fs:0xfff, %al)
	movb %fs:0x1000, %al
	movw $SEL_EXECONLY, %ax
	FAULT(GP, SEL_EXECONLY, movw %ax, %gs)
	movw $SEL_ABSENT, %ax
	FAULT(NP, SEL_ABSENT, movw %ax, %gs)
	FAULT(NP, SEL_ABSENT, movw %ax, %ds)
	FAULT(SSF, SEL_ABSENT, movw %ax, %ss)
	movw $SEL_RDONLY, %ax
	FAULT(GP, SEL_RDONLY, movw %ax, %ss)
	movw %ax, %gs
	FAULT(GP, 0, movb $1, %gs:SCRATCH)
	movb %gs:SCRATCH, %al
	movw $SEL_USER_DATA, %ax
	FAULT(GP, SEL_USER_DATA & ~3, movw %ax, %ss)
	movw $SEL_DATA | 1, %ax
	FAULT(GP, SEL_DATA, movw %ax, %ss)
	xorw %ax, %ax
	FAULT(GP, 0, movw %ax, %ss)
	movw %ax, %gs
	FAULT(GP, 0, movb %gs:0, %al)
	movw $gdt_end - gdt, %ax
	FAULT(GP, gdt_end - gdt, movw %ax, %gs)
	movw $0xf, %ax /* the LDT's */
	movw %ax, %gs
	movb %gs:0, %al
	movw $0x17, %ax /* beyond it */
	FAULT(GP, 0x14, movw %ax, %gs)
	movw $SEL_GATE, %ax
	FAULT(GP, SEL_GATE, movw %ax, %gs)
	movw $SEL_DATA, %ax
	movw %ax, %ds
	movw %ax, %fs
	movw %ax, %gs

	/* --- far transfers inside ring 0 --- */

	lcalll $SEL_CONFORMING, $conforming
	CHECK_EQ(%eax, $SEL_CONFORMING)
	CHECK_EQ(%esp, $STACK)
	lcalll $SEL_CODE16, $code16
	CHECK_EQ(%eax, $SEL_CODE16)
	FAULT(GP, SEL_DATA, ljmpl $SEL_DATA, $0)
	FAULT(GP, 0, ljmpl $0, $0)
	FAULT(GP, SEL_USER_CODE & ~3, ljmpl $SEL_USER_CODE, $0)
	FAULT(GP, SEL_LDT, ljmpl $SEL_LDT, $0)
	FAULT(GP, SEL_TSS, ljmpl $SEL_TSS, $0)	/* busy */
	lcalll $SEL_GATE, $0x12345678		/* the same privilege: no parameters copied */
	CHECK_EQ(gate_saw, $STACK - 8)
	CHECK_EQ(%esp, $(STACK + 8 - 0))
	movl $STACK, %esp
	pushl $SEL_DATA
	pushl $0
	FAULT(GP, SEL_DATA, lretl)
	movl $STACK, %esp

	/* --- ring 3 --- */

	movl $in_kernel_1, kernel_return
	TO_USER(in_user_1)
in_user_1:
	movw %cs, %ax
	CHECK_EQ16(%ax, $SEL_USER_CODE)
	/* DS to GS had privilege 0: they are null now. */
	movw %ds, %ax
	CHECK_EQ16(%ax, $0)
	movw $SEL_USER_DATA, %ax
	movw %ax, %ds
	movw %ax, %es
	FAULT(GP, 0, cli)
	FAULT(GP, 0, sti)
	FAULT(GP, 0, hlt)
	FAULT(GP, 0, movl %cr0, %eax)
	FAULT(GP, 0, movl %eax, %dr7)
	FAULT(GP, 0, lgdtl gdt_pointer)
	FAULT(GP, 0, ltr %ax)
	FAULT(GP, 0, clts)
	FAULT(GP, 0, rdmsr)
	FAULT(GP, 0, invlpg 0)
	movw $SEL_DATA, %ax
	FAULT(GP, SEL_DATA, movw %ax, %gs)
	FAULT(GP, 8 * 32 + 2, int $32)		/* a gate for ring 0 */
	FAULT(GP, 8 * 200 + 2, int $200)	/* beyond the IDT */
	TRAP(BP, int3)
	CHECK_EQ(last_cs, $SEL_USER_CODE)
	/* The I/O bitmap. */
	movw $0x300, %dx
	inb %dx, %al
	inl %dx, %eax
	movw $0x306, %dx
	inw %dx, %ax
	FAULT(GP, 0, inl %dx, %eax)	/* reaches beyond what is allowed */
	movw $0x310, %dx
	FAULT(GP, 0, outb %al, %dx)
	movw $0x5000, %dx
	FAULT(GP, 0, outb %al, %dx)	/* beyond the bitmap */
	/* POPF changes neither IF nor IOPL, and says nothing. */
	pushl $0x3202
	popfl
	pushfl
	popl %eax
	andl $0x3200, %eax
	CHECK_EQ(%eax, $0)
	/* Conforming code keeps the privilege. */
	lcalll $SEL_CONFORMING, $conforming
	CHECK_EQ(%eax, $(SEL_CONFORMING | 3))
	FAULT(GP, SEL_CODE, ljmpl $SEL_CODE, $0)
	/* A call gate: two parameters go along to the inner stack, RET drops both copies. */
	pushl $0x22222222
	pushl $0x11111111
	lcalll $SEL_GATE, $0
	CHECK_EQ(%esp, $USER_STACK)
	CHECK_EQ(gate_saw, $(KERNEL_STACK - 24))
	CHECK_EQ(gate_saw + 4, $0x11111111)
	CHECK_EQ(gate_saw + 8, $0x22222222)
	CHECK_EQ(gate_saw + 12, $USER_STACK - 8)
	int $64
in_kernel_1:
	movw %cs, %ax
	CHECK_EQ16(%ax, $SEL_CODE)
	/* With IOPL 3 the same is allowed. */
	movl $in_kernel_2, kernel_return
	pushl $SEL_USER_DATA
	pushl $USER_STACK
	pushl $0x3002
	pushl $SEL_USER_CODE
	pushl $in_user_2
	iretl
in_user_2:
	sti
	cli
	movw $0x310, %dx
	inb %dx, %al
	FAULT(GP, 0, hlt)
	int $64
in_kernel_2:
	/* Interrupts of ring 3 came on the TSS's stack; IRET to an outer ring checks its SS. */
	pushl $SEL_DATA
	pushl $USER_STACK
	pushl $2
	pushl $SEL_USER_CODE
	pushl $in_user_2
	FAULT(GP, SEL_DATA, iretl)
	movl $STACK, %esp
	pushl $2
	pushl $SEL_DATA
	pushl $0
	FAULT(GP, SEL_DATA, iretl)
	movl $STACK, %esp

	/* --- selectors, asked about --- */

	xorl %eax, %eax
	movl $SEL_CODE, %ecx
	larl %ecx, %eax
	CHECK(z)
	CHECK_EQ(%eax, $0x00cf9b00)
	lsll %ecx, %eax
	CHECK_EQ(%eax, $0xffffffff)
	movl $SEL_SMALL, %ecx
	lsll %ecx, %eax
	CHECK_EQ(%eax, $0xf)
	movl $SEL_GATE, %ecx
	larl %ecx, %eax
	CHECK(z)
	lsll %ecx, %eax
	CHECK(nz)
	movw $SEL_RDONLY, %ax
	verr %ax
	CHECK(z)
	verw %ax
	CHECK(nz)
	movw $SEL_EXECONLY, %ax
	verr %ax
	CHECK(nz)
	movw $SEL_DATA, %ax
	movw $3, %cx
	arpl %cx, %ax
	CHECK(z)
	CHECK_EQ16(%ax, $(SEL_DATA | 3))
	arpl %cx, %ax
	CHECK(nz)
	str %ax
	CHECK_EQ16(%ax, $SEL_TSS)
	sldt %ax
	CHECK_EQ16(%ax, $SEL_LDT)

	/* --- single steps and interrupts --- */

	pushfl
	orl $FLAG_TF, (%esp)
	movl $-1, last_vector
	popfl
	nop
7:	CHECK_EQ(last_vector, $DB)
	CHECK_EQ(last_eip, $7b)
	movl %dr6, %eax
	andl $0x4000, %eax
	CHECK_EQ(%eax, $0x4000)
	EXIT(0)

conforming:
	movl %cs, %eax
	lretl

	.code16
code16:
	movl %cs, %eax
	lretl
	.code32

/* Notes its stack: ESP, and what lies above the return address. */
gate_target:
	movl %esp, %ss:gate_saw
	movl 8(%esp), %eax
	movl %eax, %ss:gate_saw + 4
	movl 12(%esp), %eax
	movl %eax, %ss:gate_saw + 8
	movl 16(%esp), %eax
	movl %eax, %ss:gate_saw + 12
	lretl $8
	.balign 4
gate_saw: .fill 4, 4, 0

	PROTECTED_DATA

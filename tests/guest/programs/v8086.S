/*
 * Virtual-8086 mode (SDM 3B, chapter 20): getting in and out, what is privileged there, ports,
 * segments.
 */
#include "assert.inc"
#include "protected.inc"

#define V86_STACK 0x6f00

/* To label in virtual-8086 mode: all segments base 0 but ES, FS, GS; back by INT $64. */
#define TO_V86(label, flags)                                                                       \
	pushl $0x300; /* GS */                                                                     \
	pushl $0x200; /* FS */                                                                     \
	pushl $0;     /* DS */                                                                     \
	pushl $0x100; /* ES */                                                                     \
	pushl $0;     /* SS */                                                                     \
	pushl $V86_STACK;                                                                          \
	pushl $(FLAG_VM | 2 | (flags));                                                            \
	pushl $0; /* CS */                                                                         \
	pushl $label;                                                                              \
	iretl

#define IOPL3 0x3000

	.globl _start
_start:
	ENTER_PROTECTED

	/* --- IOPL 3: interrupts go through the IDT, and the interrupt flag is real --- */

	movl $back_1, kernel_return
	TO_V86(v86_1, IOPL3)
	.code16
v86_1:
	movw %es, %ax
	CHECK_EQ16(%ax, $0x100)
	movw %gs, %ax
	CHECK_EQ16(%ax, $0x300)
	movl $0x13579bdf, SCRATCH
	movw $SCRATCH / 16, %ax
	movw %ax, %fs
	CHECK_EQ(%fs:0, $0x13579bdf)
	pushw $SCRATCH / 16
	popw %es
	CHECK_EQ(%es:0, $0x13579bdf)
	smsww %ax
	testb $1, %al
	CHECK(nz)
	pushfl
	popl %eax
	andl $FLAG_VM | IOPL3, %eax
	CHECK_EQ(%eax, $IOPL3)
	sti
	pushfw
	popw %ax
	testw $FLAG_IF, %ax
	CHECK(nz)
	cli
	lcallw $0x10, $(v86_far - 0x100)
	CHECK_EQ16(%ax, $0x10)
	FAULT(GP, 0, hlt)
	FAULT(GP, 0, movl %cr0, %eax)
	FAULT(GP, 0, clts)
	FAULT(UD, NO_CODE, .byte 0x0f, 0x00, 0xc8)	/* STR */
	FAULT(UD, NO_CODE, .byte 0x63, 0xc0)		/* ARPL */
	FAULT(GP, 0, lgdtl gdt_pointer)
	FAULT(GP, 0, movl 0xfffd, %eax)
	movw $0xffff, %bp
	FAULT(SSF, 0, movw (%bp), %ax)
	xorw %cx, %cx
	FAULT(DE, NO_CODE, divw %cx)
	TRAP(BP, int3)
	CHECK_EQ(last_cs, $0)
	FAULT(GP, 8 * 32 + 2, int $32)			/* the gate is for ring 0 */
	/* Ports: the bitmap decides, whatever IOPL is. */
	movw $0x300, %dx
	inb %dx, %al
	movw $0x310, %dx
	FAULT(GP, 0, inb %dx, %al)
	int $64
v86_far:
	movw %cs, %ax
	lretw
	.code32
back_1:
	/* The monitor's data segments were null, and its stack held the guest's. */
	CHECK_EQ(KERNEL_STACK - 4, $0x300)
	CHECK_EQ(KERNEL_STACK - 8, $(SCRATCH / 16))
	CHECK_EQ(KERNEL_STACK - 16, $(SCRATCH / 16))
	CHECK_EQ(KERNEL_STACK - 20, $0)
	CHECK_EQ(KERNEL_STACK - 24, $V86_STACK)
	testl $FLAG_VM, KERNEL_STACK - 28
	CHECK(nz)
	CHECK_EQ(KERNEL_STACK - 32, $0)

	/* --- IOPL 0: the sensitive instructions fault --- */

	movl $back_2, kernel_return
	TO_V86(v86_2, 0)
	.code16
v86_2:
	FAULT(GP, 0, cli)
	FAULT(GP, 0, sti)
	FAULT(GP, 0, pushfw)
	FAULT(GP, 0, popfw)
	FAULT(GP, 0, pushfl)
	FAULT(GP, 0, iretw)
	FAULT(GP, 0, int $64)
	TRAP(BP, int3)			/* not by IOPL */
	movw $0x300, %dx
	inb %dx, %al
	/* No way back but a fault. */
	movl $1, fault_returns
	hlt
	FAIL
	.code32
back_2:
	CHECK_EQ(last_vector, $GP)

	/* IRET does not set VM at CPL 3; a ring 3 program that tries stays what it is. */
	movl $back_3, kernel_return
	TO_USER(in_user)
in_user:
	pushl $FLAG_VM | 2
	pushl $SEL_USER_CODE
	pushl $1f
	iretl
1:	pushfl
	popl %eax
	testl $FLAG_VM, %eax
	CHECK(z)
	int $64
back_3:
	EXIT(0)

gate_target:
	lretl $8

	PROTECTED_DATA

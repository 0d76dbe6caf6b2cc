/*
 * Real mode: segments, limits, interrupts through the vector table, 16-bit wrap-around, 32-bit
 * operands and addresses, string instructions, big real mode.
 */
#include "assert.inc"

	.code16
	.globl _start
_start:
	cli
	cld
	xorw %ax, %ax
	movw %ax, %ds
	movw %ax, %es
	movw %ax, %ss
	movl $STACK, %esp

	/* Every vector that may come leads to its own entry. */
	xorl %eax, %eax
	movw $entry_0, %ax
	movl %eax, 4 * DE
	movw $entry_1, %ax
	movl %eax, 4 * DB
	movw $entry_3, %ax
	movl %eax, 4 * BP
	movw $entry_4, %ax
	movl %eax, 4 * OF
	movw $entry_5, %ax
	movl %eax, 4 * BR
	movw $entry_6, %ax
	movl %eax, 4 * UD
	movw $entry_12, %ax
	movl %eax, 4 * SSF
	movw $entry_13, %ax
	movl %eax, 4 * GP
	movw $entry_33, %ax
	movl %eax, 4 * 33
	jmp addresses

/* The instruction must fault: the vector comes with its own address. */
#define FAULT(vec, ...)                                                                            \
	movw $8f, %cs:resume;                                                                      \
	7: __VA_ARGS__;                                                                            \
	FAIL;                                                                                      \
	8: CHECK_EQ16(%cs:vector, $vec);                                                           \
	CHECK_EQ16(%cs:vector_ip, $7b)

/* The instruction must trap: the vector comes with the next instruction's address. */
#define TRAP(vec, ...)                                                                             \
	movw $0, %cs:resume;                                                                       \
	movw $-1, %cs:vector;                                                                      \
	__VA_ARGS__;                                                                               \
	7: CHECK_EQ16(%cs:vector, $vec);                                                           \
	CHECK_EQ16(%cs:vector_ip, $7b)

#define ENTRY(n)                                                                                   \
	entry_##n: pushw $n;                                                                       \
	jmp entry

	ENTRY(0)
	ENTRY(1)
	ENTRY(3)
	ENTRY(4)
	ENTRY(5)
	ENTRY(6)
	ENTRY(12)
	ENTRY(13)
	ENTRY(33)
/* Notes what came, and goes on at `resume`, or where it was interrupted. Stack: BP, vector, IP, CS,
 * FLAGS. */
entry:
	pushw %bp
	movw %sp, %bp
	pushw %ax
	movw 2(%bp), %ax
	movw %ax, %cs:vector
	movw 4(%bp), %ax
	movw %ax, %cs:vector_ip
	movw 8(%bp), %ax
	movw %ax, %cs:vector_flags
	andw $~FLAG_TF, 8(%bp)
	movw %cs:resume, %ax
	testw %ax, %ax
	jz 1f
	movw %ax, 4(%bp)
1:	popw %ax
	popw %bp
	addw $2, %sp
	iretw

vector:		.word 0
vector_ip:	.word 0
vector_flags:	.word 0
resume:		.word 0

addresses:
	/* A segment's base is its number times 16. */
	movw $0x1234, %ax
	movw %ax, %es
	movl $0x11223344, %es:0x10
	movw $0x1000, %ax
	movw %ax, %ds
	CHECK_EQ(0x2350, $0x11223344)
	xorw %ax, %ax
	movw %ax, %ds
	movw %ax, %es

	/* 16-bit addresses wrap; 32-bit ones meet the limit. */
	movl $0xabcdef01, SCRATCH
	movw $0xfff0, %bx
	movw $SCRATCH + 0x10, %si
	CHECK_EQ((%bx,%si), $0xabcdef01)
	movl $0x10000, %ebx
	FAULT(GP, movb (%ebx), %al)
	movl $0xffff, %ebx
	FAULT(GP, movw (%ebx), %ax)
	FAULT(GP, movw 0xffff, %ax)
	movw $0xffff, %bp
	FAULT(SSF, movw (%bp), %ax)
	FAULT(GP, movw %ds:(%bp), %ax)
	FAULT(GP, fnstcw 0xffff)
	FAULT(GP, movl %eax, 0xfffd)
	movl $0xfffffffc, %ebx
	FAULT(GP, movl (%ebx), %eax)

	/* --- the stack --- */

	movw $0x5000, %ax
	movw %ax, %ss
	xorw %sp, %sp
	pushw $0x1357
	CHECK_EQ16(%sp, $0xfffe)
	pushw %sp
	popw %ax
	CHECK_EQ16(%ax, $0xfffe)
	pushl $-2
	CHECK_EQ16(%sp, $0xfffa)
	popw %ax
	popw %bx
	CHECK_EQ16(%ax, $0xfffe)
	CHECK_EQ16(%bx, $0xffff)
	/* The address of POP's operand uses SP as it is after the pop. */
	movl $0x50000, %esp
	movw $STACK, %sp
	pushw $0x2468
	pushw $0x1111
	popw %ax
	popl %eax
	xorw %ax, %ax
	movw %ax, %ss
	movl $STACK, %esp
	movw $0x7777, %bp
	enterw $8, $0
	CHECK_EQ16(%sp, $(STACK - 10))
	CHECK_EQ16(%bp, $(STACK - 2))
	leavew
	CHECK_EQ16(%sp, $STACK)
	CHECK_EQ16(%bp, $0x7777)
	movl $0x11111111, %eax
	movl $0x22222222, %ecx
	movl $0x33333333, %edx
	movl $0x44444444, %ebx
	movl $0x55555555, %ebp
	movl $0x66666666, %esi
	movl $0x77777777, %edi
	pushaw
	CHECK_EQ16(STACK - 16, $0x7777)
	CHECK_EQ16(STACK - 10, $STACK)
	CHECK_EQ16(STACK - 2, $0x1111)
	pushal
	CHECK_EQ(STACK - 48, $0x77777777)
	popal
	movl $0, %ecx
	popaw
	CHECK_EQ(%ecx, $0x2222)
	CHECK_EQ16(%sp, $STACK)

	/* --- interrupts --- */

	TRAP(33, int $33)
	TRAP(BP, int3)
	movb $0x7f, %al
	addb $1, %al
	TRAP(OF, into)
	xorw %ax, %ax
	movw $-1, %cs:vector
	into
	CHECK_EQ16(%cs:vector, $-1)
	xorw %bx, %bx
	FAULT(DE, divw %bx)
	FAULT(DE, idivb %bl)
	FAULT(DE, aam $0)
	movw $0x100, %ax
	movb $1, %bl
	FAULT(DE, divb %bl)
	FAULT(UD, ud2)
	FAULT(UD, .byte 0xf0, 0x89, 0xc0)	/* LOCK MOV */
	FAULT(UD, .byte 0xf0, 0x00, 0xc0)	/* LOCK ADD between registers */
	FAULT(UD, .byte 0x0f, 0x00, 0xc0)	/* SLDT outside protected mode */
	FAULT(UD, .byte 0x63, 0xc0)		/* ARPL */
	FAULT(UD, .byte 0x8e, 0xc8)		/* MOV to CS */
	FAULT(UD, .byte 0x8d, 0xc0)		/* LEA of a register */

	/* Single steps: after the instruction that follows the one that sets TF. */
	movw $0, %cs:resume
	movw $-1, %cs:vector
	pushfw
	orw $FLAG_TF, -2 + STACK
	popfw
	nop
7:	CHECK_EQ16(%cs:vector, $DB)
	CHECK_EQ16(%cs:vector_ip, $7b)
	/* Loading SS holds the trap off for one instruction. */
	movw %ss, %dx
	pushfw
	orw $FLAG_TF, -2 + STACK
	popfw
	movw %dx, %ss
	nop
7:	CHECK_EQ16(%cs:vector_ip, $7b)

	/* IRET restores the flags that real mode has: all. */
	pushw $0x7cd5 + 0x8000
	pushw %cs
	pushw $7f
	iretw
7:	pushfw
	popw %ax
	CHECK_EQ16(%ax, $0x7cd7)
	pushw $0x0002
	popfw
	pushfw
	popw %ax
	CHECK_EQ16(%ax, $2)

	/* --- far transfers --- */

	lcallw $0x10, $(far_procedure - 0x100)
	CHECK_EQ16(%ax, $0x10)
	CHECK_EQ16(%sp, $STACK)
	pushw $0x9999
	lcallw *far_pointer
	CHECK_EQ16(%ax, $0x20)
	CHECK_EQ16(%sp, $STACK)
	jmp strings

far_procedure:
	movw %cs, %ax
	lretw
far_procedure_2:
	movw %cs, %ax
	lretw $2
far_pointer:
	.word far_procedure_2 - 0x200, 0x20

	/* --- string instructions --- */

strings:
	/* DI wraps inside the segment; CX counts, not ECX. */
	movw $0x5000, %ax
	movw %ax, %es
	movw $0xfffe, %di
	movl $0x10004, %ecx
	movb $0x5a, %al
	rep stosb
	CHECK_EQ16(%di, $2)
	CHECK_EQ(%ecx, $0x10000)
	CHECK_EQ16(%es:0, $0x5a5a)
	CHECK_EQ16(%es:0xfffe, $0x5a5a)
	movw $0xffff, %di
	FAULT(GP, stosw)
	CHECK_EQ16(%di, $0xffff)
	/* A fault in the middle leaves the registers at the element that faulted. */
	movw $0xfffb, %di
	movw $4, %cx
	FAULT(GP, rep stosw)
	CHECK_EQ16(%di, $0xffff)
	CHECK_EQ16(%cx, $2)
	/* Downwards, overlapping. */
	xorw %ax, %ax
	movw %ax, %es
	movl $0x04030201, SCRATCH
	movl $0x08070605, SCRATCH + 4
	movw $SCRATCH + 5, %si
	movw $SCRATCH + 7, %di
	movw $6, %cx
	std
	rep movsb
	cld
	CHECK_EQ(SCRATCH, $0x02010201)
	CHECK_EQ(SCRATCH + 4, $0x06050403)
	CHECK_EQ16(%si, $(SCRATCH - 1))
	/* Upwards, overlapping: the pattern spreads. */
	movw $SCRATCH, %si
	movw $SCRATCH + 1, %di
	movw $7, %cx
	rep movsb
	CHECK_EQ(SCRATCH + 4, $0x01010101)
	/* Comparisons stop at the element that decides. */
	movb $9, SCRATCH + 5
	movw $SCRATCH, %di
	movw $8, %cx
	movb $9, %al
	repne scasb
	CHECK(e)
	CHECK_EQ16(%cx, $2)
	CHECK_EQ16(%di, $(SCRATCH + 6))
	movw $SCRATCH, %si
	movw $SCRATCH + 1, %di
	movw $7, %cx
	repe cmpsb
	CHECK(b)
	CHECK_EQ16(%cx, $2)
	/* A count of zero changes nothing, flags included. */
	xorw %cx, %cx
	cmpw $1, %cx
	repne scasb
	CHECK(b)
	/* 32-bit addresses and counts by prefix. */
	movl $SCRATCH, %esi
	movl $0, %ecx
	addr32 rep lodsb
	movl $2, %ecx
	addr32 rep lodsw
	CHECK_EQ(%esi, $(SCRATCH + 4))
	CHECK_EQ(%ecx, $0)
	/* Ports. */
	movw $0x300, %dx
	movw $SCRATCH, %di
	movw $3, %cx
	rep insw
	CHECK_EQ16(%di, $(SCRATCH + 6))
	movw $SCRATCH, %si
	movw $3, %cx
	rep outsb
	CHECK_EQ16(%si, $(SCRATCH + 3))
	inl %dx, %eax
	outl %eax, $PORT_SAY
	inb $0x71, %al
	outb %al, $PORT_SAY

	/* --- big real mode: limits survive leaving protected mode --- */

	lgdtw gdt_pointer
	movl %cr0, %eax
	orb $1, %al
	movl %eax, %cr0
	movw $8, %bx
	movw %bx, %es
	andb $~1, %al
	movl %eax, %cr0
	movl $HEAP, %ebx
	movl $0x600df00d, %es:(%ebx)
	CHECK_EQ(%es:(%ebx), $0x600df00d)
	/* A new value keeps the limit and changes the base. */
	movw $0x10, %ax
	movw %ax, %es
	CHECK_EQ(%es:-0x100(%ebx), $0x600df00d)
	smsww %ax
	SAY(%eax)
	EXIT(0)

	.balign 8
gdt:	.quad 0
	DESCRIPTOR(0, 0xfffff, 0x93, 0xc)
gdt_pointer:
	.word . - gdt - 1
	.long gdt

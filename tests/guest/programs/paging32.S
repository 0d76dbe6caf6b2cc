/* 32-bit paging: two levels, 4 MiB pages, accessed and dirty bits, faults with CR2; then PAE. */
#include "guest.inc"

#define PD   0x1000	/* two levels: the directory */
#define PT   0x2000	/* for linear 0x400000 and up */
#define PDPT 0x3000	/* PAE: four entries */
#define PPD  0x4000
#define PPT  0x5000
	.set	AT0, 0x400000
	.set	AT1, 0x401000
	.set	AT2, 0x402000
	.set	AT3, 0x403000

.macro FAULT insn
	movl	$9f, %ebx
	\insn
9:
.endm
.macro SHOW address
	movl	\address, %eax
	SAY	%eax
.endm

	.code16
	.globl	_start
_start:
	ENTER_PROTECTED
	lidtl	idtr

	movl	$0x00000083, PD		/* 4 MiB at its own address: needs CR4.PSE */
	movl	$PT | 7, PD + 4
	movl	$0x10003, PT
	movl	$0x11001, PT + 4
	movl	$0, PT + 8
	movl	$0x12007, PT + 12
	movl	$0, PD + 8
	movl	%cr4, %eax
	orl	$0x10, %eax
	movl	%eax, %cr4
	movl	$PD, %eax
	movl	%eax, %cr3
	movl	%cr0, %eax
	orl	$0x80010000, %eax
	movl	%eax, %cr0
	jmp	1f
1:	SHOW	PD
	movl	$0x11223344, AT0 + 0x10
	SHOW	0x10010
	SHOW	PT
	SHOW	PD + 4
	movb	AT1, %al
	SHOW	PT + 4
	FAULT	"movl $1, AT1"
	FAULT	"movb AT2, %al"
	FAULT	"movl $1, 0x800000"
	FAULT	"movb $1, 0xfffffff0"
	/* The page moves: until INVLPG the processor may keep the old one; then it may not. */
	movl	$0x12003, PT
	invlpg	AT0
	movl	$0x55667788, AT0 + 0x10
	SHOW	0x12010
	SHOW	0x10010
	/* A large page made small ones at its upper end is another matter: CR3 is loaded anew. */
	movl	$0x00400083, PD + 4
	movl	%cr3, %eax
	movl	%eax, %cr3
	FAULT	"movl AT2, %eax"	/* beyond RAM: reads the bus */
	SAY	%eax

	/* Off, and on again with PAE: 64-bit entries, NX. */
	movl	%cr0, %eax
	andl	$0x7fffffff, %eax
	movl	%eax, %cr0
	xorl	%eax, %eax
	movl	$PDPT, %edi
	movl	$0x3000 / 4, %ecx
	cld
	rep stosl
	movl	$PPD | 1, PDPT
	movl	$0x00000083, PPD	/* 2 MiB */
	movl	$PPT | 7, PPD + 16
	movl	$0x10003, PPT
	movl	$0x11001, PPT + 8
	movl	$0x12003, PPT + 16
	movl	$0x80000000, PPT + 20
	movb	$0xc3, 0x10000
	movb	$0xc3, 0x12000
	movl	$0xc0000080, %ecx
	rdmsr
	orl	$0x800, %eax		/* NXE */
	wrmsr
	movl	%cr4, %eax
	orl	$0x20, %eax
	movl	%eax, %cr4
	movl	$PDPT, %eax
	movl	%eax, %cr3
	movl	%cr0, %eax
	orl	$0x80000000, %eax
	movl	%eax, %cr0
	jmp	1f
1:	movl	$AT0, %eax
	call	*%eax
	SHOW	PPT
	SHOW	PPD + 16
	FAULT	"movl $1, AT1"
	FAULT	"movl $AT2, %eax; call *%eax"	/* NX */
	FAULT	"movb AT3, %al"
	FAULT	"movb 0x40000000, %al"		/* no such entry in the PDPT */
	movl	$0, PDPT		/* AMD's processors and TCG set A in it, Intel's don't */
	EXIT

on_fault:
	popl	%eax
	SAY	%al
	cmpb	$14, %al
	popl	%eax
	SAY	%eax
	jne	1f
	movl	%cr2, %eax
	SAY	%eax
1:	movl	(%esp), %eax
	SAY	%eax
	movl	%ebx, (%esp)
	andl	$~0x10000, 8(%esp)	/* RF: QEMU's TCG doesn't set it */
	iretl

	INTERRUPT_TABLE on_fault
	GDT

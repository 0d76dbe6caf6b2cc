/* Long mode paging: page faults with CR2 and error codes, accessed and dirty bits, WP, NX, INVLPG. */
#include "guest.inc"

#define PML4 0x1000
#define PD   0x3000
#define PT   0x4000	/* maps linear 0x200000 and up */
#define PTE(page) (PT + (page) * 8)
	.set	AT0, 0x200000
	.set	AT1, 0x201000
	.set	AT2, 0x202000
	.set	AT3, 0x203000
	.set	AT5, 0x205000

	.code16
	.globl	_start
_start:
	ENTER_PROTECTED
	movl	$PT | 7, PD + 8
	movl	$0, PD + 12
	movl	$0x10003, PTE(0)	/* a writable page */
	movl	$0, PTE(0) + 4
	movl	$0x11001, PTE(1)	/* read-only */
	movl	$0, PTE(1) + 4
	movl	$0, PTE(2)		/* absent */
	movl	$0, PTE(2) + 4
	movl	$0x12003, PTE(3)	/* not executable */
	movl	$0x80000000, PTE(3) + 4
	movl	$0x14007, PTE(5)	/* the user's */
	movl	$0, PTE(5) + 4
	movl	$0xc3c3c3c3, 0x10000	/* ret */
	movl	$0xc3c3c3c3, 0x12000
	ENTER_LONG
	lidt	idtr
	movw	$SEL_TSS, %ax
	ltr	%ax
	movw	$0, %ax
	movw	%ax, %fs

.macro FAULT insn
	movq	$9f, %rbx
	\insn
9:
.endm
	/* Reading sets A, writing D. */
	SAY64	PTE(0)
	movb	AT0, %al
	SAY64	PTE(0)
	movb	$0xc3, AT0
	SAY64	PTE(0)
	SAY64	PD + 8

	FAULT	"movb AT1, %al"		/* fine */
	FAULT	"movb $1, AT1"		/* W, P: WP is on */
	SAY64	PTE(1)
	FAULT	"movb AT2 + 0x123, %al"	/* not present, read */
	FAULT	"movb $1, AT2 + 0x456"	/* not present, write */
	FAULT	"movl $1, AT0 + 0xffe"	/* across into a read-only page */
	movzwl	AT0 + 0xffe, %eax
	SAY	%eax				/* nothing was written */
	FAULT	"movq $AT3, %rax; call *%rax"	/* NX: an instruction fetch */
	movq	$AT0, %rax
	call	*%rax				/* runs: it is a RET */
	FAULT	"movabs $0x8000000000000000, %rax; movb (%rax), %al"	/* #GP: not canonical */
	FAULT	"movabs $0x0000800000000000, %rax; pushq (%rax)"
	/* CR0.WP off: the supervisor may write. */
	movq	%cr0, %rcx
	andq	$~0x10000, %rcx
	movq	%rcx, %cr0
	FAULT	"movb $0x42, AT1"
	orq	$0x10000, %rcx
	movq	%rcx, %cr0
	SAY64	PTE(1)
	movb	AT1, %al
	SAY	%al
	/* A page made present, and one made absent and flushed. */
	movl	$0x15003, PTE(2)
	movb	$0x99, 0x15123
	movb	AT2 + 0x123, %al
	SAY	%al
	movl	$0, PTE(0)
	invlpg	AT0
	FAULT	"movb AT0, %al"
	/* As the user: no access to the supervisor's pages; faults come with the U bit. The rest of
	 * memory is made the user's already, by the large page. */
	pushq	$SEL_USER_DATA
	pushq	$0x7000
	pushq	$0x2
	pushq	$SEL_USER_CODE
	pushq	$in_user
	iretq
in_user:
	movb	AT5, %al		/* fine */
	FAULT	"movb AT1, %al"	/* P, U */
	FAULT	"movb $1, AT2 + 8"	/* P, W, U */
	FAULT	"movb AT0 + 7, %al"	/* U, absent */
	FAULT	"hlt"			/* #GP */
	movq	$finish, %rbx
	movq	%cr3, %rax		/* #GP, and out of here: see on_fault */
finish:

/* Vector, error code, CR2 for page faults, address; goes on at RBX, at SEL_CODE64 for the last. */
on_fault:
	popq	%rdx
	movb	%dl, %al
	SAY	%al
	popq	%rax
	SAY	%eax
	cmpb	$14, %dl
	jne	1f
	SAY64	%cr2
1:	SAY64	(%rsp)
	btrq	$16, 16(%rsp)		/* RF: QEMU's TCG doesn't set it (SDM 3B, 17.3.1.1) */
	movq	%rbx, (%rsp)
	cmpq	$finish, %rbx
	je	2f
	iretq
2:	EXIT

	INTERRUPT_TABLE on_fault, 1

	.balign	8
tss:	.long	0
	.quad	0x7800			/* RSP0 */
	.fill	23, 4, 0
	GDT	1

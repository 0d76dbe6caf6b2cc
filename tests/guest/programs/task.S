/*
 * Hardware task switches (SDM 3A, chapter 7): by JMP, CALL, IRET, a task gate and an interrupt
 * through one; NT, back links, busy bits, TS, CR3, the debug trap, bad TSSs.
 */
#include "assert.inc"
#include "protected.inc"

#define BUSY(sel) gdt + (sel) + 5

	.globl _start
_start:
	ENTER_PROTECTED

	/* The second task: ring 0, a stack of its own, recognizable registers. */
	movl $task2, tss2 + 0x20
	movl $2, tss2 + 0x24
	movl $0x11111111, tss2 + 0x28
	movl $0x22222222, tss2 + 0x2c
	movl $USER_STACK, tss2 + 0x38
	movl $0x77777777, tss2 + 0x44
	movl $SEL_DATA, tss2 + 0x48
	movl $SEL_CODE, tss2 + 0x4c
	movl $SEL_DATA, tss2 + 0x50
	movl $SEL_DATA, tss2 + 0x54
	movl $SEL_DATA, tss2 + 0x58
	movl $SEL_RDONLY, tss2 + 0x5c
	movl $SEL_LDT, tss2 + 0x60
	movl $TSS_SIZE << 16, tss2 + 0x64

	/* CALL nests: NT, back link, both busy. IRET goes back. */
	movl $0xabcdef01, %ebx
	lcalll $SEL_TSS2, $0
	CHECK_EQ(%ebx, $0xabcdef01)
	CHECK_EQ(%esp, $STACK)
	CHECK_EQ(saw_flags, $FLAG_NT)
	CHECK_EQ(saw_ecx, $0x22222222)
	CHECK_EQ(saw_edi, $0x77777777)
	CHECK_EQ16(saw_gs, $SEL_RDONLY)
	CHECK_EQ16(saw_tr, $SEL_TSS2)
	CHECK_EQ16(tss2, $SEL_TSS)
	CHECK_EQ8(saw_busy, $0x8b)
	CHECK_EQ8(saw_busy_outer, $0x8b)
	CHECK_EQ8(BUSY(SEL_TSS2), $0x89)
	CHECK_EQ8(BUSY(SEL_TSS), $0x8b)
	str %ax
	CHECK_EQ16(%ax, $SEL_TSS)
	pushfl
	popl %eax
	andl $FLAG_NT, %eax
	CHECK_EQ(%eax, $0)
	/* The old task's registers were saved; and TS was set. */
	CHECK_EQ(tss2 + 0x44, $0x99999999)
	CHECK_EQ(tss + 0x34, $0xabcdef01)
	testb $8, saw_cr0
	CHECK(nz)
	clts

	/* It goes on after its IRET; a JMP does not nest. */
	movl $-1, saw_flags
	ljmpl $SEL_TSS2, $0
	CHECK_EQ(saw_flags, $0)
	CHECK_EQ8(saw_busy, $0x8b)
	CHECK_EQ8(saw_busy_outer, $0x89)
	CHECK_EQ8(BUSY(SEL_TSS2), $0x89)
	clts

	/* By a task gate, and by an interrupt through one. */
	movl $-1, saw_flags
	lcalll $SEL_TASK_GATE, $0
	CHECK_EQ(saw_flags, $FLAG_NT)
	clts
	movw $SEL_TSS2, idt + 8 * 40 + 2
	movw $0x8500, idt + 8 * 40 + 4
	movl $-1, saw_flags
	int $40
	CHECK_EQ(saw_flags, $FLAG_NT)
	clts
	/* An exception with an error code pushes it on the new task's stack. */
	movw $SEL_TSS2, idt + 8 * GP + 2
	movw $0x8500, idt + 8 * GP + 4
	movw $0xfff8, %ax
7:	movw %ax, %gs
	CHECK_EQ(saw_code, $0xfff8)
	CHECK_EQ(saw_eip, $7b)
	clts
	movw $SEL_CODE, idt + 8 * GP + 2
	movw $0x8e00, idt + 8 * GP + 4

	/* The T flag: a debug trap in the new task, before its first instruction. */
	movw $1, tss2 + 0x64
	movl $-1, saw_flags
	movl $-1, last_vector
	lcalll $SEL_TSS2, $0
	CHECK_EQ(last_vector, $DB)
	movl %dr6, %eax
	andl $0x8000, %eax
	CHECK_EQ(%eax, $0x8000)
	movw $0, tss2 + 0x64
	clts

	/* Refused: busy, not present, too short. */
	FAULT(GP, SEL_TSS, lcalll $SEL_TSS, $0)
	andb $0x7f, BUSY(SEL_TSS2)
	FAULT(NP, SEL_TSS2, lcalll $SEL_TSS2, $0)
	orb $0x80, BUSY(SEL_TSS2)
	movw $TSS_SIZE - 2, gdt + SEL_TSS2
	FAULT(TS, SEL_TSS2, lcalll $SEL_TSS2, $0)
	movw $TSS_SIZE - 1, gdt + SEL_TSS2
	/* IRET with NT wants a busy task behind it. */
	movw $SEL_TSS2, tss
	pushfl
	orl $FLAG_NT, (%esp)
	popfl
	FAULT(TS, SEL_TSS2, iretl)
	pushfl
	andl $~FLAG_NT, (%esp)
	popfl

	/* A bad segment in the new task is its own fault: it comes with the new task's registers. */
	movl $bad_task, tss2 + 0x20
	movl $SEL_ABSENT, tss2 + 0x5c
	movl $SEL_DATA, tss2 + 0x54
	movl $8f, resume
	ljmpl $SEL_TSS2, $0
	FAIL
bad_task:
	FAIL
8:	CHECK_EQ(last_vector, $NP)
	CHECK_EQ(last_code, $SEL_ABSENT)
	CHECK_EQ(last_eip, $bad_task)
	str %ax
	CHECK_EQ16(%ax, $SEL_TSS2)
	EXIT(0)

/* The second task, over and over. */
task2:
	pushfl
	andl $FLAG_NT, (%esp)
	popl saw_flags
	movl %ecx, saw_ecx
	movl %edi, saw_edi
	movw %gs, saw_gs
	str saw_tr
	movb BUSY(SEL_TSS2), %al
	movb %al, saw_busy
	movb BUSY(SEL_TSS), %al
	movb %al, saw_busy_outer
	movl %cr0, %eax
	movl %eax, saw_cr0
	movl $0x99999999, %edi
	/* An error code was pushed, or nothing. The task that faulted skips its instruction. */
	cmpl $USER_STACK, %esp
	je 1f
	popl saw_code
	movl tss + 0x20, %eax
	movl %eax, saw_eip
	addl $2, tss + 0x20
1:	testl $FLAG_NT, saw_flags
	jz 1f
	iretl
	jmp task2
1:	ljmpl $SEL_TSS, $0
	jmp task2

	.balign 4
saw_flags:	.long 0
saw_ecx:	.long 0
saw_edi:	.long 0
saw_cr0:	.long 0
saw_code:	.long 0
saw_eip:	.long 0
saw_gs:		.word 0
saw_tr:		.word 0
saw_busy:	.byte 0
saw_busy_outer:	.byte 0

gate_target:
	lretl $8

	PROTECTED_DATA

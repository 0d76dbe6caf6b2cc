/*
 * A guest that is never idle and knows when something of it was lost: for saving and restoring.
 *
 * Every CPU counts. Each step writes the count, times a number, into the next word of the CPU's own
 * ring of memory, and checks that the word holds what it wrote there one round ago; that the TSC did
 * not step back; and now and then halts until its local APIC's timer, periodic, has interrupted it.
 * The boot CPU says a dot on the serial port each 64th of its interrupts, an X once something was wrong.
 *
 * At REPORT: magic, failures, CPUs that were started; then, 64 bytes for each CPU: steps (64-bit),
 * interrupts, the last TSC (64-bit).
 *
 * Multiboot 1, 32-bit without paging.
 */
#define REPORT 0x200000
#define MAGIC 0x79737562 /* "busy" */
#define RINGS 0x400000
#define RING_SHIFT 20
#define RING_WORDS 0x3c00 /* of each CPU, 60 KiB in each MiB */
#define FACTOR 2654435761
#define TRAMPOLINE 0x8000
#define APIC 0xfee00000
#define APIC_ID 0x20
#define APIC_EOI 0xb0
#define APIC_SVR 0xf0
#define APIC_ICR 0x300
#define APIC_TIMER 0x320
#define APIC_INITIAL 0x380
#define APIC_DIVIDE 0x3e0
#define PERIOD_NS 300000
#define VECTOR 0x40
#define COM1 0x3f8

	.code32
	.text
	.globl _start
header:
	.long 0x1badb002, 0x10000, -(0x1badb002 + 0x10000)
	.long header, header, end, end, _start

_start:
	cli
	movl $MAGIC, REPORT
	lgdt gdt_pointer
	ljmp $8, $1f
1:	mov $16, %ax
	mov %ax, %ds
	mov %ax, %es
	mov %ax, %ss

	mov $trampoline, %esi
	mov $TRAMPOLINE, %edi
	mov $trampoline_end - trampoline, %ecx
	rep movsb

	mov $idt + VECTOR * 8, %edi
	mov $interrupt, %eax
	mov %ax, (%edi)
	movw $8, 2(%edi)
	movw $0x8e00, 4(%edi)
	shr $16, %eax
	mov %ax, 6(%edi)

	movl $0x1ff, APIC + APIC_SVR
	movl $0xc4500, APIC + APIC_ICR	/* INIT, all others */
	mov $100000, %ecx
1:	pause
	loop 1b
	movl $0xc4608, APIC + APIC_ICR	/* SIPI at 0x8000 */

cpu:
	lidt idt_pointer
	mov APIC + APIC_ID, %ebx
	shr $24, %ebx			/* ebx: which CPU */
	mov %ebx, %eax
	shl $12, %eax
	lea stacks + 0x1000(%eax), %esp
	mov %ebx, %ebp
	shl $6, %ebp
	add $REPORT + 64, %ebp		/* ebp: its report */
	shl $RING_SHIFT, %ebx
	add $RINGS, %ebx		/* ebx: its ring */
	lock incl REPORT + 8
	movl $0x1ff, APIC + APIC_SVR
	movl $0xb, APIC + APIC_DIVIDE	/* by 1 */
	movl $0x20000 | VECTOR, APIC + APIC_TIMER
	movl $PERIOD_NS, APIC + APIC_INITIAL
	sti

	xor %edi, %edi			/* edi: the word's number, esi: the step */
	xor %esi, %esi
step:
	imul $FACTOR, %esi, %eax
	mov %esi, %edx
	sub $RING_WORDS, %edx
	jb 1f
	imul $FACTOR, %edx, %edx
	cmp %edx, (%ebx, %edi, 4)
	je 1f
	lock incl REPORT + 4
1:	mov %eax, (%ebx, %edi, 4)
	inc %edi
	cmp $RING_WORDS, %edi
	jb 1f
	xor %edi, %edi
1:	inc %esi
	addl $1, (%ebp)
	adcl $0, 4(%ebp)

	rdtsc
	cmp 20(%ebp), %edx
	ja 1f
	jb 2f
	cmp 16(%ebp), %eax
	jae 1f
2:	lock incl REPORT + 4
1:	mov %eax, 16(%ebp)
	mov %edx, 20(%ebp)

	test $0xfff, %esi
	jnz step
	hlt
	jmp step

interrupt:
	push %eax
	push %edx
	incl 8(%ebp)
	cmp $REPORT + 64, %ebp
	jne 1f
	testb $63, 8(%ebp)
	jnz 1f
	mov $COM1, %edx
	mov $'.', %al
	cmpl $0, REPORT + 4
	je 2f
	mov $'X', %al
2:	out %al, %dx
1:	movl $0, APIC + APIC_EOI
	pop %edx
	pop %eax
	iret

	.code16
trampoline:
	cli
	xor %ax, %ax
	mov %ax, %ds
	lgdtl TRAMPOLINE + (trampoline_gdt - trampoline)
	mov %cr0, %eax
	or $1, %al
	mov %eax, %cr0
	ljmpl $8, $TRAMPOLINE + (trampoline_32 - trampoline)
trampoline_gdt:
	.word 23
	.long gdt
	.code32
trampoline_32:
	mov $16, %ax
	mov %ax, %ds
	mov %ax, %es
	mov %ax, %ss
	mov $cpu, %eax
	jmp *%eax
trampoline_end:

	.balign 8
gdt:	.quad 0, 0x00cf9a000000ffff, 0x00cf92000000ffff
gdt_pointer:
	.word 23
	.long gdt
idt_pointer:
	.word 0x7ff
	.long idt
	.balign 4096
idt:	.skip 0x800
	.balign 4096
stacks:	.skip 0x1000 * 8
end:

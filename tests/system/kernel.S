/*
 * A test kernel that does what its command line says, letter by letter: quick guests for the lanes.
 *
 *   h  says hello on the serial port        n  counts its boots, and says "boot N"
 *   o  powers off                           3  powers off when that was the third
 *   r  resets the board (port 0xcf9)        t  triple fault
 *   k  resets it by the keyboard controller p  tells a panic (pvpanic)
 *   e  shows each key in hexadecimal, up to a Z      b  waits for the power button
 *   l  computes, for ever
 *   w  halts, for ever                      x  ends by the debug exit port, with 5
 *   H  writes what follows to the port that the hostile guest process listens to (tests/hostile)
 *
 * Multiboot 1: the letters are the last word of the command line. 32-bit, interrupts off, no stack
 * but its own.
 */
#define COM1 0x3f8
#define PVPANIC 0x505
#define PM1_STS 0x600
#define PM1_CNT 0x604
#define RESET 0xcf9
#define KEYBOARD 0x64
#define DEBUG_EXIT 0xf4
#define HOSTILE 0x5a0
#define BUTTON 0x100
#define SLEEP_S5 0x2000
#define BOOTS 0x200000 /* memory that a reset leaves as it is */

	.code32
	.text
	.globl _start
header:
	.long 0x1badb002, 0x10000, -(0x1badb002 + 0x10000)
	.long header, header, end, end, _start

_start:
	mov $stack, %esp
	mov 16(%ebx), %esi	/* the command line */
	mov %esi, %edi
1:	lodsb			/* behind its last space */
	cmp $' ', %al
	jne 2f
	mov %esi, %edi
2:	test %al, %al
	jnz 1b
	mov %edi, %esi

next:
	lodsb
	mov $table, %edi
1:	cmpb $0, (%edi)
	je wait
	cmp %al, (%edi)
	je 2f
	add $5, %edi
	jmp 1b
2:	push $next
	jmp *1(%edi)

table:
	.irp letter, h, n, o, 3, r, k, t, p, e, b, w, x, H, l
	.ascii "\letter"
	.long do_\letter
	.endr
	.byte 0

do_l:
	inc %eax
	jmp do_l

do_h:
	mov $hello, %edi
	/* falls through */
say:	/* the string at edi */
	mov (%edi), %al
	inc %edi
	test %al, %al
	jz 1f
	call put
	jmp say
1:	ret

put:	/* al */
	mov %al, %ah
	mov $COM1 + 5, %dx
1:	in %dx, %al
	test $0x20, %al
	jz 1b
	mov %ah, %al
	mov $COM1, %dx
	out %al, %dx
	ret

do_n:
	incl BOOTS
	mov $boot, %edi
	call say
	mov BOOTS, %al
	add $'0', %al
	call put
	mov $line, %edi
	jmp say

do_3:
	cmpl $3, BOOTS
	jb 1f
do_o:
	mov $PM1_CNT, %dx
	mov $SLEEP_S5, %ax
	out %ax, %dx
	jmp wait
1:	ret

do_r:
	mov $RESET, %dx
	mov $6, %al
	out %al, %dx
	jmp wait

do_k:
	mov $0xfe, %al
	out %al, $KEYBOARD
	jmp wait

do_t:
	lidt no_idt
	int3

do_p:
	mov $PVPANIC, %dx
	mov $1, %al
	out %al, %dx
	ret

do_e:
	mov $COM1 + 5, %dx
1:	in %dx, %al
	test $1, %al
	jz 1b
	mov $COM1, %dx
	in %dx, %al
	mov %al, %cl
	mov %al, %bl
	shr $4, %bl
	call put_digit
	mov %cl, %bl
	call put_digit
	mov $line, %edi
	call say
	cmp $'Z', %cl
	jne do_e
	ret
put_digit:
	and $15, %ebx
	mov digits(%ebx), %al
	jmp put

do_b:
	mov $PM1_STS, %dx
1:	in %dx, %ax
	test $BUTTON, %ax
	jz 1b
	out %ax, %dx
	mov $pressed, %edi
	jmp say

do_x:
	mov $5, %al
	out %al, $DEBUG_EXIT
	jmp wait

do_H:
	mov $HOSTILE, %dx
	lodsb
	out %al, %dx
	ret

do_w:
wait:
	cli
1:	hlt
	jmp 1b

no_idt:	.word 0
	.long 0
hello:	.asciz "hello\r\n"
boot:	.asciz "boot "
line:	.asciz "\r\n"
pressed: .asciz "button\r\n"
digits:	.ascii "0123456789abcdef"
	.align 16
	.skip 256
stack:
end:

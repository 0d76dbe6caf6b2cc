/* Self-modifying code: the next instruction, a loop's body, and another page's, changed by stores. */
#include "guest.inc"

	.code16
	.globl	_start
_start:
	cld
	/* The immediate of the very next instruction. */
	movb	$0x21, patch1 + 1
patch1:	movb	$0x00, %al
	SAY	%al

	/* An instruction in a loop that has run before. */
	movw	$5, %cx
1:
patch2:	movb	$0x30, %al
	SAY	%al
	incb	patch2 + 1
	loop	1b

	/* One opcode becomes another: INC AX to DEC AX. */
	movw	$100, %ax
	call	patch3
	movb	$0x48, patch3
	call	patch3
	SAY	%ax

	/* Code copied to another page, run, changed by a string store, run again. */
	movw	$template, %si
	movw	$0x6ff8, %di		/* across a page's end */
	movw	$template_end - template, %cx
	rep movsb
	call	*there
	SAY	%ax
	movb	$0x90, %al
	movw	$0x6ffe, %di
	movw	$4, %cx
	rep stosb
	call	*there
	SAY	%ax
	EXIT

patch3:	incw	%ax
	ret

there:	.word	0x6ff8
template:
	xorw	%ax, %ax
	.rept	12
	incw	%ax
	.endr
	ret
template_end:

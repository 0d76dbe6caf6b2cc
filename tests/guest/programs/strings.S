/* String instructions: all widths, both directions, REP prefixes, ports, segment wrap. */
#include "guest.inc"

#define FROM 0x6000
#define TO   0x6800

	.code16
	.globl	_start
_start:
	cld
	movw	$FROM, %di
	movw	$0x100, %cx
	movb	$1, %al
1:	stosb
	addb	$7, %al
	loop	1b

	movw	$FROM, %si
	movw	$TO, %di
	movw	$0x21, %cx
	rep movsb
	call	where
	movw	$8, %cx
	rep movsw
	call	where
	movl	$5, %ecx
	rep movsl
	call	where
	/* Overlapping, one byte apart: fills. */
	movw	$TO, %si
	movw	$TO + 1, %di
	movw	$0x20, %cx
	rep movsb
	call	where
	call	sum
	/* Downwards. */
	std
	movw	$FROM + 0x40, %si
	movw	$TO + 0x60, %di
	movw	$0x10, %cx
	rep movsw
	call	where
	movb	$0x5a, %al
	movw	$9, %cx
	rep stosb
	call	where
	cld
	call	sum
	/* Comparisons end at a difference, or at the count. */
	movw	$FROM, %si
	movw	$FROM, %di
	movb	$0xee, FROM + 0x12
	movb	$0xee, TO + 0x12
	movw	$TO, %di
	movw	$0x40, %cx
	repe cmpsb
	pushfw
	call	where
	popw	%ax
	andw	$0x8d5, %ax
	SAY	%ax
	movw	$FROM, %di
	movw	$0x200, %cx
	movb	$0xee, %al
	repne scasb
	call	where
	movw	$3, %cx
	movw	$FROM, %di
	movl	FROM, %eax
	repe scasl
	call	where
	/* A count of zero does nothing, flags included. */
	xorw	%cx, %cx
	stc
	repe cmpsb
	call	where
	/* LODS, and the ports. */
	movw	$FROM, %si
	lodsw
	SAY	%ax
	lodsl
	SAY	%eax
	movw	$PORT_SAY, %dx
	movw	$5, %cx
	rep outsb
	movw	$2, %cx
	rep outsl
	call	where
	movw	$0x70, %dx
	movw	$TO, %di
	movw	$6, %cx
	rep insb
	movw	$3, %cx
	rep insw
	call	where
	call	sum
	/* 16-bit addresses wrap within the segment. */
	movw	$0x5000, %ax
	movw	%ax, %es
	movw	$0xfffd, %di
	movw	$6, %cx
	movb	$0x77, %al
	rep stosb
	call	where
	movb	%es:2, %al
	SAY	%al
	xorw	%ax, %ax
	movw	%ax, %es
	EXIT

/* Reports CX, SI, DI; keeps flags. */
where:
	pushfw
	pushw	%ax
	movw	%cx, %ax
	SAY	%ax
	movw	%si, %ax
	SAY	%ax
	movw	%di, %ax
	SAY	%ax
	popw	%ax
	popfw
	ret

/* Reports a checksum of the destination. */
sum:
	pushw	%si
	xorl	%ebx, %ebx
	movw	$TO, %si
	movw	$0x40, %cx
1:	lodsl
	roll	$3, %ebx
	addl	%eax, %ebx
	loop	1b
	movl	%ebx, %eax
	SAY	%eax
	popw	%si
	ret

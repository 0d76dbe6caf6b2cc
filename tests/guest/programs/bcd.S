/* Decimal adjustment, over many values of AL (SDM 2A, DAA and following). */
#include "guest.inc"

	.code16
	.globl	_start
_start:
	xorw	%di, %di
1:	movw	%di, %ax
	addb	$0x27, %al
	daa
	pushfw
	SAY	%al
	popw	%ax
	andw	$(0x8d5 & ~FLAG_OF), %ax
	SAY	%ax
	movw	%di, %ax
	subb	$0x48, %al
	das
	SAY	%al
	movw	%di, %ax
	aaa
	SAY	%ax
	movw	%di, %ax
	aam
	SAY	%ax
	movw	%di, %ax
	aad
	SAY	%al
	addw	$13, %di
	cmpw	$0x100, %di
	jb	1b
	EXIT

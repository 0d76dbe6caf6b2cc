/* Real mode: integer arithmetic and its flags, 8, 16 and 32 bits, multiplication, division. */
#include "guest.inc"

	.code16
	.globl	_start
_start:
	xorw	%bx, %bx
	movw	$operands, %si
next_pair:
	movl	(%si), %ecx
	movl	4(%si), %edx
	call	pair
	addw	$8, %si
	cmpw	$operands_end, %si
	jne	next_pair
	call	divide
	EXIT

/* One operation on %ecx, %edx: its result and flags. */
.macro TRY insn, undefined=0
	movl	%ecx, %eax
	stc
	\insn
	pushfw
	SAY	%eax
	popw	%ax
	andw	$(0x8d5 & ~(\undefined)), %ax
	SAY	%ax
.endm

pair:
	TRY	"addl %edx, %eax"
	TRY	"adcl %edx, %eax"
	TRY	"subl %edx, %eax"
	TRY	"sbbl %edx, %eax"
	TRY	"addw %dx, %ax"
	TRY	"adcb %dh, %al"
	TRY	"sbbb %dl, %ah"
	TRY	"andl %edx, %eax", FLAG_AF
	TRY	"orw %dx, %ax", FLAG_AF
	TRY	"xorb %dl, %al", FLAG_AF
	TRY	"negl %eax"
	TRY	"notl %eax"
	TRY	"incw %ax"
	TRY	"decb %al"
	TRY	"cmpl %edx, %eax"
	TRY	"testl %edx, %eax", FLAG_AF
	TRY	"shll $1, %eax", FLAG_AF
	TRY	"sarl $1, %eax", FLAG_AF
	TRY	"shrw $5, %ax", FLAG_AF|FLAG_OF
	TRY	"roll $1, %eax"
	TRY	"rorw $1, %ax"
	TRY	"rcll $1, %eax"
	TRY	"rcrb $1, %al"
	TRY	"shldl $7, %edx, %eax", FLAG_AF|FLAG_OF
	TRY	"shrdl $9, %edx, %eax", FLAG_AF|FLAG_OF
	TRY	"btl $3, %eax", FLAG_OF|FLAG_SF|FLAG_AF|FLAG_PF
	TRY	"btsl $31, %eax", FLAG_OF|FLAG_SF|FLAG_AF|FLAG_PF
	TRY	"imull %edx, %eax", FLAG_SF|FLAG_ZF|FLAG_AF|FLAG_PF
	TRY	"imulw $-3, %dx, %ax", FLAG_SF|FLAG_ZF|FLAG_AF|FLAG_PF
	TRY	"bswapl %eax"
	TRY	"cwtl"
	TRY	"movsbl %dl, %eax"
	TRY	"xaddl %eax, %eax"
	pushl	%edx
	TRY	"mull %edx", FLAG_SF|FLAG_ZF|FLAG_AF|FLAG_PF
	movl	%edx, %eax
	SAY	%eax
	popl	%edx
	testl	%edx, %edx
	jz	1f
	bsfl	%edx, %eax
	SAY	%eax
	bsrl	%edx, %eax
	SAY	%eax
1:	ret

/* Quotients and remainders; a divide error goes to vector 0 with the IP of the instruction. */
divide:
	movw	$on_divide_error, 0
	movw	$0, 2
	movl	$0x12345678, %eax
	movl	$0x9, %edx
	movl	$0xfedc, %ecx
	divl	%ecx
	SAY	%eax
	movl	%edx, %eax
	SAY	%eax
	movw	$-30000, %ax
	cwtd
	movw	$-7, %cx
	idivw	%cx
	SAY	%ax
	movw	%dx, %ax
	SAY	%ax
	movw	$0x100, %ax
	movb	$1, %cl
	divb	%cl			/* too large a quotient */
	SAY	%ax
	xorw	%cx, %cx
	divw	%cx			/* by zero */
	SAY	%ax
	ret

on_divide_error:
	movw	%sp, %bp
	movw	(%bp), %ax		/* IP of the instruction itself */
	SAY	%ax
	addw	$2, (%bp)		/* both are two bytes long */
	movw	$0xdead, %ax
	iretw

	.balign	4
operands:
	.long	0, 0
	.long	1, 0xffffffff
	.long	0x7fffffff, 1
	.long	0x80000000, 0x80000000
	.long	0x12345678, 0x9abcdef0
	.long	0xdeadbeef, 0x00ff00ff
	.long	0xffff7fff, 0x00018001
operands_end:

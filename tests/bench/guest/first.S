/*
 * The smallest guest: a Multiboot kernel whose first instructions write a byte to the serial port.
 *
 * When that byte arrives on the host, the first guest instruction has been run. Then it either ends
 * the machine by the debug exit port, or, with any command line that ends in "stay", halts for good.
 */
#define MB_MAGIC 0x1badb002
#define MB_FLAGS 0x00010000 /* the addresses below count, not an ELF header */
#define MB_INFO_CMDLINE 4   /* flag bit 2: the command line's address, at offset 16 */
#define COM1 0x3f8
#define DEBUG_EXIT 0xf4

	.code32
	.text
	.globl _start
header:
	.long MB_MAGIC, MB_FLAGS, -(MB_MAGIC + MB_FLAGS)
	.long header, header, end, end, _start
_start:
	movw $COM1, %dx
	movb $'!', %al
	outb %al, %dx
	testl $MB_INFO_CMDLINE, (%ebx)
	jz leave
	movl 16(%ebx), %esi
1:	lodsb
	testb %al, %al
	jnz 1b
	cmpl $0x79617473, -5(%esi) /* "stay" */
	je stay
leave:
	movl $1, %eax /* status 3: programs end with 1 when they fail */
	outl %eax, $DEBUG_EXIT
stay:
	cli
	hlt
	jmp stay
end:

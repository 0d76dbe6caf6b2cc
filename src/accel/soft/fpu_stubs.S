/*
 * Host stubs of the guest's x87 instructions: the very same encodings, on the host's x87 registers,
 * which hold the guest's while c->fpu_live.x87 says so (fpu.h).
 *
 *   sx_x87_reg   512 stubs of 4 bytes: opcode 0xd8 + n, ModRM 0xc0 + m, at n * 64 + m
 *   sx_x87_mem   64 stubs of 4 bytes: opcode 0xd8 + n, /r, with the operand at (%rdi), at n * 8 + r
 *
 * Undefined encodings are there too, so that the index is the encoding; the binder never takes
 * them (fpu_bind.c).
 */
	.text

	.balign 16
	.globl sx_x87_reg
	.hidden sx_x87_reg
	.type sx_x87_reg, @function
sx_x87_reg:
opcode = 0xd8
	.rept 8
modrm = 0xc0
	.rept 64
	.byte opcode, modrm
	ret
	int3
modrm = modrm + 1
	.endr
opcode = opcode + 1
	.endr
	.size sx_x87_reg, . - sx_x87_reg

	.globl sx_x87_mem
	.hidden sx_x87_mem
	.type sx_x87_mem, @function
sx_x87_mem:
opcode = 0xd8
	.rept 8
modrm = 7
	.rept 8
	.byte opcode, modrm
	ret
	int3
modrm = modrm + 8
	.endr
opcode = opcode + 1
	.endr
	.size sx_x87_mem, . - sx_x87_mem

/* u64 sx_x87_call_flags(u64 rflags, stub): with these flags set; returns those that come out. */
	.globl sx_x87_call_flags
	.hidden sx_x87_call_flags
	.type sx_x87_call_flags, @function
	.balign 16
sx_x87_call_flags:
	pushq %rdi
	popfq
	call *%rsi
	pushfq
	popq %rax
	ret
	.size sx_x87_call_flags, . - sx_x87_call_flags

	.section .note.GNU-stack, "", @progbits

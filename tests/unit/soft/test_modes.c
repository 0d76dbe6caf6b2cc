/*
 * Code of 16 and 32 bits, on both engines and in lockstep: what it computes, where addresses and RIP wrap, what
 * segments forbid and with what state, changes of mode in hot code.
 */
#include <string.h>

#include "base/err.h"
#include "modes_fixture.h"
#include "test.h"

static u32 load32(struct core *k, u64 gpa)
{
	u32 v;

	memcpy(&v, core_ram(k, gpa), sizeof(v));
	return v;
}

/* --- flat 32-bit code --- */

/* What 64-bit code hasn't got, and what is of another width in it; 1000 times. */
/* clang-format off */
CODE(flat32, ".code32\n mov $1000, %ebp\n xor %ebx, %ebx\n mov $0x20000, %esi\n movl $7, 0x20010\n"
	"1: mov 0x20010, %eax\n add %eax, %ebx\n mov %eax, 0x20014\n movb %al, 0x20018\n mov 0x20018, %al\n"
	"inc %eax\n dec %ebx\n push %eax\n push $3\n push 0x20014\n call 2f\n pop %eax\n add %eax, %ebx\n"
	"pushw $5\n push %si\n pop %di\n popw 0x2001c\n addw 0x2001c, %bx\n"
	"push %ebp\n mov %esp, %ebp\n sub $16, %esp\n movl $9, -4(%ebp)\n add -4(%ebp), %ebx\n leave\n"
	"pusha\n mov $1, %eax\n popa\n push %esp\n pop %ecx\n sub %esp, %ecx\n add %ecx, %ebx\n"
	"mov $0x20100, %edi\n mov $10, %ecx\n mov $0x01010101, %eax\n rep stosl\n"
	"mov $0x20100, %esi\n mov $40, %ecx\n rep movsb\n add 0x20124, %ebx\n"
	"mov $0x20100, %edi\n mov $100, %ecx\n mov $0, %al\n cld\n repne scasb\n add %ecx, %ebx\n"
	"mov $100, %edx\n bts %edx, 0x20200\n adc $0, %ebx\n"
	"mov $0x100, %di\n lea (%bx,%di), %ax\n addr16 lea 5(%bx), %ecx\n xor %ecx, %ebx\n"
	"xor %edx, %edx\n mov $77777, %eax\n mov $10, %ecx\n div %ecx\n add %edx, %ebx\n"
	"mov $3, %ecx\n 3: inc %ebx\n loop 3b\n jecxz 4f\n ud2\n 4: aam\n sub $1, %ebp\n jnz 1b\n" STOP
	"5: jmp 5b\n 2: mov 4(%esp), %eax\n add 8(%esp), %eax\n add %eax, %ebx\n ret $8\n");
/* clang-format on */

TEST(flat_32_bit_code_computes_the_same_and_stays_native)
{
	EACH_WAY(is_lockstep)
	{
		struct core k;
		struct x86_cpu_state s;

		program_begin(&k, &s, PROGRAM(core_protected_mode, flat32), is_lockstep);
		program_run(&k, &s);
		CHECK_EQ(s.gpr[X86_RBX], 0xebe8000f);
		CHECK_EQ(s.gpr[X86_RSP], CORE_STACK);
		if (core_is_translated(&k) && !is_lockstep)
			CHECK(core_count(&k, SX_N_TRANSLATED) > 5);
		core_fini(&k);
	}
}

/* Fifteen bytes up to 4 GiB, the rest from 0 on: an access, a string, a loop's address. */
/* clang-format off */
CODE(wraps32, ".code32\n mov $100, %ebp\n xor %ebx, %ebx\n"
	"1: mov $0xfffffff0, %esi\n mov $0x20010, %edi\n movl $5, 0x20000\n"
	"add 0x20010(%esi), %ebx\n"             /* wraps to 0x20000 */
	"lea 0x20(%esi), %eax\n add %eax, %ebx\n"
	"mov $0xfffff000, %ecx\n mov 0x21000(%ecx,%ecx,1), %edx\n" /* 0x1f000 */
	"add %edx, %ebx\n dec %ebp\n jnz 1b\n" STOP);
/* clang-format on */

TEST(addresses_wrap_at_4_gib)
{
	EACH_WAY(is_lockstep)
	{
		struct core k;
		struct x86_cpu_state s;

		program_begin(&k, &s, PROGRAM(core_protected_mode, wraps32), is_lockstep);
		core_ram(&k, 0x1f000)[0] = 3;
		program_run(&k, &s);
		CHECK_EQ(s.gpr[X86_RBX], 100 * (5 + 0x10 + 3));
		core_fini(&k);
	}
}

/* Upper halves that 64-bit code left are no part of addresses, counts, stack pointers. */
CODE(upper, ".code32\n mov $50, %ebp\n xor %ebx, %ebx\n"
	    "1: add (%esi), %ebx\n push %ebx\n pop %edx\n call 2f\n"
	    "push %ecx\n mov $0x20100, %edi\n rep stosb\n pop %ecx\n dec %ebp\n jnz 1b\n" STOP
	    "3: jmp 3b\n 2: ret\n");

TEST(upper_halves_of_registers_are_no_part_of_32_bit_addresses)
{
	EACH_WAY(is_lockstep)
	{
		struct core k;
		struct x86_cpu_state s;

		program_begin(&k, &s, PROGRAM(core_protected_mode, upper), is_lockstep);
		memcpy(core_ram(&k, 0x20000), &(u32){2}, 4);
		s.gpr[X86_RSI] = 0xabcd00020000;
		s.gpr[X86_RCX] = 0xabcd00000010;
		s.gpr[X86_RSP] |= 0xffffc90000000000;
		program_run(&k, &s);
		CHECK_EQ(s.gpr[X86_RBX], 100);
		CHECK_EQ((u32)s.gpr[X86_RSP], CORE_STACK);
		core_fini(&k);
	}
}

/* --- segments with bases and limits --- */

/* GDT: FS from 0x20000, 0x1000 bytes; GS as Linux has its TLS, 4 GiB from an address that makes offsets negative. */
#define SEL_FS 0x48
#define SEL_GS 0x50

static void protected_with_segments(struct core *k, struct x86_cpu_state *s)
{
	core_protected_mode(k, s);
	s->seg[X86_FS] = (struct x86_segment){
		.base = 0x20000, .limit = 0xfff, .attr = 0x4093, .selector = SEL_FS};
	s->seg[X86_GS] = (struct x86_segment){
		.base = 0x21000, .limit = 0xffffffff, .attr = 0xc093, .selector = SEL_GS};
}

/* clang-format off */
CODE(tls, ".code32\n mov $100, %ebp\n xor %ebx, %ebx\n movl $3, %fs:0xffc\n movl $4, %gs:-8\n"
	"1: add %fs:0xffc, %ebx\n add %gs:0xfffffff8, %ebx\n mov $0xffffffff, %eax\n add %gs:-7(%eax), %ebx\n"
	"dec %ebp\n jnz 1b\n" STOP);
/* The load at 1 reaches beyond the limit when ESI has grown: the gate's handler takes what was pushed. */
CODE(beyond, ".code32\n mov $0x800, %esi\n xor %ebx, %ebx\n"
	"1: mov %fs:(%esi), %eax\n 2: add $1, %ebx\n add $4, %esi\n sub $2, %esi\n jmp 1b\n"
	".org beyond + 0x40\n pop %edi\n pop %edx\n" STOP);
/* clang-format on */

TEST(segments_have_bases_in_32_bit_code)
{
	EACH_WAY(is_lockstep)
	{
		struct core k;
		struct x86_cpu_state s;

		program_begin(&k, &s, PROGRAM(protected_with_segments, tls), is_lockstep);
		program_run(&k, &s);
		CHECK_EQ(s.gpr[X86_RBX], 100 * 11);
		CHECK_EQ(load32(&k, 0x20ffc), 3);
		CHECK_EQ(load32(&k, 0x20ff8), 4);
		core_fini(&k);
	}
}

static void set_gate32(struct core *k, unsigned vector, u32 offset, u16 selector)
{
	u32 gate[2] = {(u32)selector << 16 | (offset & 0xffff), (offset & 0xffff0000) | 0x8e00};

	memcpy(core_ram(k, CORE_IDT + vector * 8), gate, sizeof(gate));
}

TEST(a_segments_limit_raises_a_fault_with_the_instructions_state)
{
	EACH_WAY(is_lockstep)
	{
		struct core k;
		struct x86_cpu_state s;

		program_begin(&k, &s, PROGRAM(protected_with_segments, beyond), is_lockstep);
		set_gate32(&k, X86_GP, CORE_CODE + 0x40, CORE_CS32);
		program_run(&k, &s);
		CHECK_EQ(s.gpr[X86_RSI], 0xffe); /* the first whose four bytes aren't all inside */
		CHECK_EQ(s.gpr[X86_RBX], (0xffe - 0x800) / 2);
		CHECK_EQ(s.gpr[X86_RDI], 0);
		CHECK_EQ(s.gpr[X86_RDX], CORE_CODE + 7);
		core_fini(&k);
	}
}

/* --- changes of mode --- */

/* 64-bit kernel code calls a 32-bit program (as compatibility mode is), which calls it by INT: each 200 times. */
/* clang-format off */
CODE(compat, "mov $200, %ebp\n xor %ebx, %ebx\n"
	"1: pushq $0x2b\n pushq $0x208000\n pushq $2\n pushq $0x23\n pushq $0x210000\n iretq\n"
	".org compat + 0x40\n add $40, %rsp\n dec %ebp\n jnz 1b\n" STOP);
CODE(compat_user, ".code32\n call 2f\n push $5\n pop %ecx\n 1: inc %ebx\n dec %ecx\n jnz 1b\n int $0x80\n"
	"2: inc %ebx\n ret\n");
/* clang-format on */

TEST(a_32_bit_program_under_a_64_bit_kernel)
{
	EACH_WAY(is_lockstep)
	{
		struct core k;
		struct x86_cpu_state s;

		program_begin(&k, &s, PROGRAM(core_long_mode, compat), is_lockstep);
		core_load(&k, 0x210000, compat_user, CODE_SIZE(compat_user));
		core_set_gate(&k, 0x80, CORE_CODE + 0x40, CORE_CS64, 0, 0xee);
		program_run(&k, &s);
		CHECK_EQ(s.gpr[X86_RBX], 200 * 6);
		core_fini(&k);
	}
}

/* An outer return takes DS away from the program, which then may not use it, hot or not. */
/* clang-format off */
CODE(drops_ds, ".code32\n mov $100, %ebp\n 0: mov 0x20000, %eax\n dec %ebp\n jnz 0b\n xor %ebx, %ebx\n"
	"push $0x2b\n push $0x208000\n push $2\n push $0x23\n push $0x10060\n iretl\n"
	".org drops_ds + 0x60\n inc %ebx\n mov 0x20000, %eax\n ud2\n"
	".org drops_ds + 0x80\n mov %ds, %edx\n pop %eax\n pop %ecx\n mov $0x10, %edi\n mov %di, %ds\n" STOP);
/* clang-format on */

TEST(an_outer_return_takes_the_data_segments_away)
{
	EACH_WAY(is_lockstep)
	{
		struct core k;
		struct x86_cpu_state s;

		program_begin(&k, &s, PROGRAM(core_protected_mode, drops_ds), is_lockstep);
		set_gate32(&k, X86_GP, CORE_CODE + 0x80, CORE_CS32);
		memcpy(core_ram(&k, CORE_TSS + 8), &(u16){CORE_DS}, 2); /* SS0 */
		program_run(&k, &s);
		CHECK_EQ(s.gpr[X86_RBX], 1);
		CHECK_EQ(s.gpr[X86_RDX], 0);
		CHECK_EQ(s.gpr[X86_RCX], 0x10061);
		core_fini(&k);
	}
}

/* --- segment registers of protected mode --- */

/*
 * As a kernel of 32 bits has them at its entries: flat ones that don't change, FS and GS that do. Once DS is null, which
 * changes the mode, and once FS's descriptor gets another base.
 */
/* clang-format off */
CODE(loads32, ".code32\n mov $300, %ebp\n xor %ebx, %ebx\n"
	"1: mov $0x10, %eax\n mov %eax, %ds\n mov %eax, %es\n mov $0x48, %eax\n mov %eax, %fs\n mov %ebp, %fs:0x10\n"
	"push %fs\n push %ds\n mov $0x10, %eax\n mov %eax, %fs\n mov %fs:0x20010, %ecx\n add %ecx, %ebx\n"
	"pop %es\n pop %gs\n add %gs:0x10, %ebx\n xor %eax, %eax\n mov %eax, %gs\n"
	"cmp $100, %ebp\n jne 2f\n mov %eax, %ds\n mov $0x10, %eax\n mov %eax, %ds\n"
	"2: cmp $50, %ebp\n jne 3f\n movb $3, 0x10804c\n"
	"3: dec %ebp\n jnz 1b\n" STOP);
/* clang-format on */

TEST(loads_of_flat_and_other_segments_stay_native)
{
	static const u64 descriptor = 0x000093020000ffff; /* base 0x20000, 64 KiB */

	EACH_WAY(is_lockstep)
	{
		struct core k;
		struct x86_cpu_state s;

		program_begin(&k, &s, PROGRAM(core_protected_mode, loads32), is_lockstep);
		core_load(&k, CORE_GDT + 0x48, &descriptor, sizeof(descriptor));
		s.gdt.limit = 0x4f;
		program_run(&k, &s);
		CHECK_EQ(s.gpr[X86_RBX], 91525);
		CHECK_EQ(s.seg[X86_FS].limit, 0xffffffff);
		CHECK_EQ(s.seg[X86_GS].attr, X86_ATTR_UNUSABLE);
		if (core_is_translated(&k) && !is_lockstep)
			CHECK(core_count(&k, SX_N_CALLOUT_UNKNOWN) +
				      core_count(&k, SX_N_CALLOUT_MEMORY) <
			      30);
		core_fini(&k);
	}
}

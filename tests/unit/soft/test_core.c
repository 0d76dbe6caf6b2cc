/*
 * The software CPU as a whole, on small programs.
 */
#include "accel/soft/flags.h"
#include "core_fixture.h"
#include "test.h"

CODE(sum_loop, "xor %eax, %eax\n mov $1000, %ecx\n 1: add %rcx, %rax\n dec %ecx\n jnz 1b\n"
	       "mov %rax, %rbx\n" STOP);

TEST(a_loop_in_long_mode_sums)
{
	struct core k;
	struct x86_cpu_state s;

	core_init(&k);
	core_long_mode(&k, &s);
	core_load(&k, CORE_CODE, sum_loop, CODE_SIZE(sum_loop));
	CHECK_EQ(core_run(&k, &s), VCPU_STOP_REQUEST);
	CHECK_EQ(s.gpr[X86_RBX], 500500);
	core_fini(&k);
}

CODE(memory_64, "mov $0x200ffc, %rdi\n"
		"mov $0x1122334455667788, %rax\n mov %rax, (%rdi)\n" /* crosses a page */
		"mov 4(%rdi), %ebx\n"
		"lock addl $1, (%rdi)\n"
		"mov (%rdi), %rcx\n"
		"lea mem_here(%rip), %rdx\n mem_here:\n"
		"call 1f\n jmp 2f\n 1: push %rdx\n pop %rsi\n ret\n 2:\n" STOP);

TEST(memory_is_read_and_written_across_pages)
{
	struct core k;
	struct x86_cpu_state s;

	core_init(&k);
	core_long_mode(&k, &s);
	core_load(&k, CORE_CODE, memory_64, CODE_SIZE(memory_64));
	CHECK_EQ(core_run(&k, &s), VCPU_STOP_REQUEST);
	CHECK_EQ(s.gpr[X86_RBX], 0x11223344);
	CHECK_EQ(s.gpr[X86_RCX], 0x1122334455667789);
	CHECK_EQ(s.gpr[X86_RSI], s.gpr[X86_RDX]);
	CHECK_EQ(s.gpr[X86_RSP], CORE_STACK);
	core_fini(&k);
}

CODE(fault_64, "mov $0x5555000000, %rax\n fault_at: mov (%rax), %rbx\n" STOP);
CODE(fault_handler, "pop %rbx\n pop %rcx\n mov %cr2, %rdx\n" STOP);

TEST(a_page_fault_reaches_its_handler)
{
	struct core k;
	struct x86_cpu_state s;

	core_init(&k);
	core_long_mode(&k, &s);
	core_load(&k, CORE_CODE, fault_64, CODE_SIZE(fault_64));
	core_load(&k, CORE_CODE + 0x1000, fault_handler, CODE_SIZE(fault_handler));
	core_set_gate(&k, X86_PF, CORE_CODE + 0x1000, CORE_CS64, 1, 0x8e);
	CHECK_EQ(core_run(&k, &s), VCPU_STOP_REQUEST);
	CHECK_EQ(s.gpr[X86_RBX], 0);
	CHECK_EQ(s.gpr[X86_RCX], CORE_CODE + 10);
	CHECK_EQ(s.gpr[X86_RDX], 0x5555000000);
	core_fini(&k);
}

TEST(a_fault_without_handlers_resets)
{
	struct core k;
	struct x86_cpu_state s;

	core_init(&k);
	core_long_mode(&k, &s);
	core_load(&k, CORE_CODE, fault_64, CODE_SIZE(fault_64));
	CHECK_EQ(core_run(&k, &s), VCPU_STOP_RESET);
	core_fini(&k);
}

CODE(real_mode, ".code16\n mov $0x1234, %ax\n mov %ax, %ds\n movw $0x5678, 0x10\n"
		"mov 0x10, %bx\n push %bx\n pop %cx\n int $0x21\n" STOP);
CODE(real_handler, ".code16\n mov $0x99, %dl\n iret\n");

TEST(real_mode_runs_and_interrupts)
{
	struct core k;
	struct x86_cpu_state s;

	core_init(&k);
	core_real_mode(&k, &s);
	core_load(&k, CORE_CODE, real_mode, CODE_SIZE(real_mode));
	core_load(&k, 0x5000, real_handler, CODE_SIZE(real_handler));
	core_load(&k, 0x21 * 4, "\x00\x00\x00\x05", 4);
	CHECK_EQ(core_run(&k, &s), VCPU_STOP_REQUEST);
	CHECK_EQ(s.gpr[X86_RCX] & 0xffff, 0x5678);
	CHECK_EQ(s.gpr[X86_RDX] & 0xff, 0x99);
	CHECK_EQ(*core_ram(&k, 0x12350), 0x78);
	core_fini(&k);
}

/* All undefined ones are set before, by flags that are or aren't what the host has. */
/* clang-format off */
CODE(products,
     "mov $3, %ebx\n mov $0xd5, %ah\n sahf\n imul %ebx, %ebx\n pushf\n pop %rsi\n"
     "xor %eax, %eax\n cmp %al, %al\n mov $0x40000000, %eax\n mul %eax\n pushf\n pop %rdi\n"
     "mov $0xd5, %ah\n sahf\n mov $0x80, %al\n imulb %al\n pushf\n pop %rbp\n"
     "mov $0xd4, %ah\n sahf\n imul $-1, %rbx, %rcx\n pushf\n pop %r8\n" STOP);
/* clang-format on */

TEST(flags_that_products_leave_undefined_are_clear)
{
	const u64 both = X86_FLAG_CF | X86_FLAG_OF;
	struct core k;
	struct x86_cpu_state s;

	core_init(&k);
	core_long_mode(&k, &s);
	core_load(&k, CORE_CODE, products, CODE_SIZE(products));
	CHECK_EQ(core_run(&k, &s), VCPU_STOP_REQUEST);
	CHECK_EQ(s.gpr[X86_RSI] & X86_FLAGS_ARITH, 0);
	CHECK_EQ(s.gpr[X86_RDI] & X86_FLAGS_ARITH, both);
	CHECK_EQ(s.gpr[X86_RBP] & X86_FLAGS_ARITH, both);
	CHECK_EQ(s.gpr[X86_R8] & X86_FLAGS_ARITH, 0);
	core_fini(&k);
}

TEST(both_ways_to_judge_a_condition_agree)
{
	for (u32 f = 0; f < 32; f++) {
		u32 cc = (f & 1 ? SX_CC_OF : 0) | (f & 2 ? SX_CC_CF : 0) | (f & 4 ? SX_CC_PF : 0) |
			 (f & 8 ? SX_CC_ZF : 0) | (f & 16 ? SX_CC_SF : 0) | SX_CC_AF | 0x200;

		for (unsigned n = 0; n < 16; n++)
			CHECK_EQ(sx_condition_is(cc, n), sx_condition(cc, n));
	}
}

/*
 * Accesses near each other, of which translated code looks only the first up: over page boundaries that host memory
 * doesn't have, up to faults, device registers, pages that are mapped anew, and on the stack.
 */
#include <string.h>

#include "accel/soft/cpu.h"
#include "base/err.h"
#include "core_fixture.h"
#include "mem/gmem.h"
#include "test.h"

/* 4 KiB pages from AT on, in no order: two of memory, one of a device, none. */
#define AT      0x400000u
#define PT      0x113000u
#define FIRST   0x510000u
#define SECOND  0x500000u
#define OTHER   0x520000u
#define DEVICE  (AT + 0x2000)
#define NOWHERE (AT + 0x3000)
#define LOOPS   40

static void put(struct core *k, u64 gpa, u64 v)
{
	core_load(k, gpa, &v, sizeof(v));
}

static u64 get(struct core *k, u64 gpa)
{
	u64 v;

	memcpy(&v, core_ram(k, gpa), sizeof(v));
	return v;
}

static void begin(struct core *k, struct x86_cpu_state *s, const void *code, size_t size)
{
	core_init(k);
	core_long_mode(k, s);
	put(k, 0x102010, PT | 7);
	put(k, PT, FIRST | 7);
	put(k, PT + 8, SECOND | 7);
	put(k, PT + 16, CORE_MMIO | 7);
	core_load(k, CORE_CODE, code, size);
	core_set_gate(k, X86_PF, CORE_CODE + 0x100, CORE_CS64, 1, 0x8e);
	put(k, CORE_TSS + 0x24, CORE_STACK); /* IST 1 */
	s->gpr[X86_RBX] = 0;
	s->gpr[X86_RCX] = LOOPS;
}

/* What stands behind STOP may be executed. Faults end the program: RIP in R15, the flags in R14, the error code in R13. */
#define ON_FAULT(name)                                                                             \
	".org " name " + 0x100\n mov (%rsp), %r13\n mov 8(%rsp), %r15\n mov 24(%rsp), %r14\n" STOP

/* clang-format off */
CODE(fields, "mov $0x400ff8, %ebx\n"
	     "1: incq -8(%rbx)\n mov -8(%rbx), %rax\n mov %rax, (%rbx)\n mov %rax, 8(%rbx)\n"
	     "mov 8(%rbx), %rdx\n add %rdx, 16(%rbx)\n mov 16(%rbx), %rsi\n add $8, %rbx\n"
	     "mov %ecx, 16(%rbx)\n sub $8, %rbx\n mov 4(%rbx), %r8\n dec %ecx\n jnz 1b\n" STOP);
/* clang-format on */

TEST(a_window_over_two_pages)
{
	struct core k;
	struct x86_cpu_state s;

	begin(&k, &s, fields, CODE_SIZE(fields));
	CHECK_EQ(core_run(&k, &s), VCPU_STOP_REQUEST);
	CHECK_EQ(get(&k, FIRST + 0xff0), LOOPS);
	CHECK_EQ(get(&k, FIRST + 0xff8), LOOPS);
	CHECK_EQ(get(&k, SECOND), LOOPS);
	CHECK_EQ(get(&k, SECOND + 8), LOOPS * (LOOPS + 1) / 2);
	CHECK_EQ(get(&k, SECOND + 16), 1);
	CHECK_EQ(s.gpr[X86_RSI], LOOPS * (LOOPS + 1) / 2);
	CHECK_EQ(s.gpr[X86_R8], (u64)LOOPS << 32);
	core_fini(&k);
}

/* The second store is on a page that isn't there; the one behind it isn't reached. */
CODE(faults, "mov $0x401008, %ebx\n mov $1, %edi\n"
	     "1: mov %edi, -8(%rbx)\n inc %edi\n cmp $20, %edi\n mov %edi, (%rbx)\n sete %r9b\n"
	     "mov %edi, 8(%rbx)\n jne 1b\n"
	     "mov $0x402ff8, %ebx\n sub $0x1000, %rbx\n mov $0x113010, %esi\n movq $0, (%rsi)\n"
	     "invlpg 8(%rbx)\n cmp %rbx, %rbx\n mov %edi, (%rbx)\n mov $7, %edi\n"
	     "2: mov %edi, 8(%rbx)\n mov %edi, 16(%rbx)\n" STOP ON_FAULT("faults"));

TEST(a_window_whose_second_page_is_missing)
{
	struct core k;
	struct x86_cpu_state s;

	begin(&k, &s, faults, CODE_SIZE(faults));
	CHECK_EQ(core_run(&k, &s), VCPU_STOP_REQUEST);
	CHECK_EQ(s.cr2, AT + 0x2000);
	CHECK_EQ(s.gpr[X86_R13], X86_PF_W);
	CHECK_EQ(s.gpr[X86_RDI], 7);
	CHECK_EQ(s.gpr[X86_R14] & X86_FLAG_ZF, X86_FLAG_ZF);
	CHECK_EQ((u32)get(&k, SECOND + 0xff8), 20);
	CHECK_EQ((u32)get(&k, SECOND), 19);
	core_fini(&k);
}

/* Between a read and a write near it, and behind flags that are still wanted, D and A are looked at. */
CODE(bits,
     "mov $0x400100, %ebx\n mov $0x401100, %edi\n mov $0x113000, %edx\n"
     "mov (%rbx), %eax\n mov (%rdx), %r8\n mov %eax, 8(%rbx)\n mov (%rdx), %r9\n"
     "cmp %eax, %eax\n mov 8(%rdx), %r10\n mov %eax, (%rdi)\n mov 8(%rdx), %r11\n sete %cl\n" STOP);

TEST(accessed_and_dirty_bits_are_set_by_the_access)
{
	struct core k;
	struct x86_cpu_state s;

	begin(&k, &s, bits, CODE_SIZE(bits));
	CHECK_EQ(core_run(&k, &s), VCPU_STOP_REQUEST);
	CHECK_EQ(s.gpr[X86_R8], FIRST | 7 | X86_PTE_A);
	CHECK_EQ(s.gpr[X86_R9], FIRST | 7 | X86_PTE_A | X86_PTE_D);
	CHECK_EQ(s.gpr[X86_R10], SECOND | 7);
	CHECK_EQ(s.gpr[X86_R11], SECOND | 7 | X86_PTE_A | X86_PTE_D);
	CHECK_EQ((u8)s.gpr[X86_RCX], 1);
	core_fini(&k);
}

/* A call to no address at all pushes nothing, moves that aren't aligned touch nothing. */
/* clang-format off */
CODE(without,
     "mov $0x400800, %esp\n movabs $0x123456789abcdef0, %rax\n mov $0x113000, %edx\n"
     "call *%rax\n mov (%rdx), %r8\n mov $0x401108, %ebx\n movaps (%rbx), %xmm0\n mov 8(%rdx), %r9\n"
     "mov $0x401208, %ebx\n movaps %xmm0, (%rbx)\n movups %xmm0, -16(%rbx)\n mov 8(%rdx), %r10\n" STOP
     /* On a stack of its own: goes on behind the instruction. */
     ".org without + 0x100\n add $8, %rsp\n mov (%rsp), %rsi\n movzwl (%rsi), %edi\n"
     "lea 2(%rsi), %rsi\n cmp $0xd0ff, %edi\n je 1f\n inc %rsi\n 1: mov %rsi, (%rsp)\n iretq\n");
/* clang-format on */

TEST(what_an_instruction_that_faults_would_have_touched)
{
	struct core k;
	struct x86_cpu_state s;

	begin(&k, &s, without, CODE_SIZE(without));
	s.cr4 |= X86_CR4_OSFXSR;
	core_set_gate(&k, X86_GP, CORE_CODE + 0x100, CORE_CS64, 1, 0x8e);
	CHECK_EQ(core_run(&k, &s), VCPU_STOP_REQUEST);
	CHECK_EQ(s.gpr[X86_R8], FIRST | 7);
	CHECK_EQ(s.gpr[X86_R9], SECOND | 7);
	CHECK_EQ(s.gpr[X86_R10], SECOND | 7 | X86_PTE_A | X86_PTE_D);
	core_fini(&k);
}

/* Each register of a device is read and written as often as the code says. */
CODE(device,
     "mov $0x402010, %ebx\n"
     "1: mov (%rbx), %eax\n mov 4(%rbx), %edx\n cmp %eax, %edx\n mov %edx, 8(%rbx)\n setne %r9b\n"
     "add 12(%rbx), %edx\n dec %ecx\n jnz 1b\n" STOP);

TEST(device_registers_in_a_window)
{
	struct core k;
	struct x86_cpu_state s;

	begin(&k, &s, device, CODE_SIZE(device));
	k.mmio_value = 5;
	CHECK_EQ(core_run(&k, &s), VCPU_STOP_REQUEST);
	CHECK_EQ(k.mmio_reads, 3 * LOOPS);
	CHECK_EQ(k.mmio_writes, LOOPS);
	CHECK_EQ((u32)s.gpr[X86_RDX], 10);
	core_fini(&k);
}

/* --- the stack --- */

/* Frames on both pages, and one that lies over the boundary. */
/* clang-format off */
CODE(frames, "mov $0x401020, %esp\n xor %ebx, %ebx\n xor %edi, %edi\n"
	     "1: push %rcx\n push $3\n call 2f\n pop %rax\n pop %rdx\n add %rdx, %rdi\n dec %ecx\n jnz 1b\n" STOP
	     "3: jmp 3b\n 2: push %rbp\n mov %rsp, %rbp\n sub $0x28, %rsp\n mov %rcx, (%rsp)\n mov %rcx, 0x20(%rsp)\n"
	     "push 16(%rbp)\n pop %rax\n add %rax, %rbx\n mov 0x1c(%rsp), %rsi\n add 0x20(%rsp), %rbx\n leave\n ret\n");
/* clang-format on */

TEST(frames_on_both_sides_of_a_page_boundary)
{
	struct core k;
	struct x86_cpu_state s;

	begin(&k, &s, frames, CODE_SIZE(frames));
	CHECK_EQ(core_run(&k, &s), VCPU_STOP_REQUEST);
	CHECK_EQ(s.gpr[X86_RBX], 3 * LOOPS + LOOPS * (LOOPS + 1) / 2);
	CHECK_EQ(s.gpr[X86_RDI], LOOPS * (LOOPS + 1) / 2);
	CHECK_EQ(s.gpr[X86_RSP], AT + 0x1020);
	CHECK_EQ(get(&k, SECOND + 0x18), 1); /* RCX of the last time round */
	core_fini(&k);
}

/* Its second page is another one then, and none at last. */
CODE(across,
     "mov $0x400ffc, %ebx\n mov $0x400ff8, %esi\n mov $0x113008, %edx\n xor %edi, %edi\n"
     "1: mov %rcx, (%rbx)\n mov (%rbx), %rax\n add %rax, %rdi\n incq (%rbx)\n add (%rbx), %rdi\n"
     "movups (%rsi), %xmm0\n movups %xmm0, (%rsi)\n"
     "movzwl 3(%rbx), %r8d\n movb $5, 4(%rbx)\n mov (%rbx), %r9\n"
     "dec %ecx\n jnz 1b\n"
     "movq $0x520007, (%rdx)\n invlpg 4(%rbx)\n mov (%rbx), %r10\n"
     "movq $0, (%rdx)\n invlpg 4(%rbx)\n mov (%rbx), %r11\n" STOP ON_FAULT("across"));

TEST(a_value_that_lies_across_two_pages)
{
	struct core k;
	struct x86_cpu_state s;

	begin(&k, &s, across, CODE_SIZE(across));
	put(&k, OTHER, 0x1122334455667788);
	CHECK_EQ(core_run(&k, &s), VCPU_STOP_REQUEST);
	CHECK_EQ(s.gpr[X86_RDI], LOOPS * (LOOPS + 1) + LOOPS);
	CHECK_EQ(s.gpr[X86_R8], 0);
	CHECK_EQ(s.gpr[X86_R9], 0x500000002);
	CHECK_EQ(s.gpr[X86_R10], 0x5566778800000002);
	CHECK_EQ(s.gpr[X86_R11], 0);
	CHECK_EQ(s.cr2, AT + 0x1000);
	CHECK_EQ(s.gpr[X86_R13], 0);
	CHECK_EQ((u32)(get(&k, FIRST + 0xff8) >> 32), 2);
	CHECK_EQ((u32)get(&k, SECOND), 5);
	core_fini(&k);
}

/* XMM14 is put away between two accesses of a window, which R14 is for. */
CODE(vectors, "mov $0x400808, %esp\n xor %edi, %edi\n"
	      "1: call 2f\n add %rax, %rdi\n dec %ecx\n jnz 1b\n movd %xmm14, %esi\n" STOP
	      "3: jmp 3b\n 2: movd %ecx, %xmm14\n push %rcx\n pop %rax\n ret\n");

TEST(a_return_behind_a_vector_register_of_a_windows_number)
{
	struct core k;
	struct x86_cpu_state s;

	begin(&k, &s, vectors, CODE_SIZE(vectors));
	CHECK_EQ(core_run(&k, &s), VCPU_STOP_REQUEST);
	CHECK_EQ(s.gpr[X86_RDI], LOOPS * (LOOPS + 1) / 2);
	CHECK_EQ(s.gpr[X86_RSI], 1);
	core_fini(&k);
}

/* The page that the stack is on leads elsewhere after each INVLPG. */
CODE(moved, "mov $0x400808, %esp\n mov $0x113000, %edx\n xor %ebx, %ebx\n"
	    "1: push $1\n pop %rax\n add %rax, %rbx\n xorl $0x30000, (%rdx)\n invlpg (%rsp)\n"
	    "push $2\n mov (%rsp), %rax\n add %rax, %rbx\n xorl $0x30000, (%rdx)\n invlpg (%rsp)\n"
	    "pop %rax\n add %rax, %rbx\n dec %ecx\n jnz 1b\n" STOP);

TEST(the_page_of_the_stack_is_mapped_anew)
{
	struct core k;
	struct x86_cpu_state s;

	begin(&k, &s, moved, CODE_SIZE(moved));
	CHECK_EQ(core_run(&k, &s), VCPU_STOP_REQUEST);
	CHECK_EQ(s.gpr[X86_RBX], (1 + 2 + 1) * LOOPS);
	CHECK_EQ(get(&k, FIRST + 0x800), 1);
	CHECK_EQ(get(&k, OTHER + 0x800), 2);
	core_fini(&k);
}

/* Two stacks in turn. In the middle of it the one that isn't in use is mapped elsewhere, and at last may not be written. */
CODE(turns,
     "mov $0x400808, %esp\n mov $0x401808, %esi\n mov $0x113008, %edx\n xor %ebx, %ebx\n"
     "1: push $1\n pop %rax\n add %rax, %rbx\n xchg %rsi, %rsp\n push %rcx\n pop %rax\n add %rax, "
     "%rbx\n"
     "xchg %rsi, %rsp\n cmp $20, %ecx\n jne 2f\n movl $0x520007, (%rdx)\n invlpg -8(%rsi)\n"
     "2: dec %ecx\n jnz 1b\n"
     "andl $~2, (%rdx)\n invlpg -8(%rsi)\n xchg %rsi, %rsp\n pop %rdi\n push %rdi\n" STOP ON_FAULT(
	     "turns"));

TEST(two_stacks_in_turn)
{
	struct core k;
	struct x86_cpu_state s;

	begin(&k, &s, turns, CODE_SIZE(turns));
	put(&k, OTHER + 0x808, 0x77);
	CHECK_EQ(core_run(&k, &s), VCPU_STOP_REQUEST);
	CHECK_EQ(s.gpr[X86_RBX], LOOPS + LOOPS * (LOOPS + 1) / 2);
	CHECK_EQ(get(&k, SECOND + 0x800), 20);
	CHECK_EQ(get(&k, OTHER + 0x800), 1);
	CHECK_EQ(s.gpr[X86_RDI], 0x77);
	CHECK_EQ(s.cr2, AT + 0x1808);
	CHECK_EQ(s.gpr[X86_R13], X86_PF_P | X86_PF_W);
	core_fini(&k);
}

/* A supervisor's stack on a user's page is good as long as AC is set. */
CODE(lifted, "mov %cr4, %rax\n bts $21, %rax\n mov %rax, %cr4\n mov $0x400808, %esp\n"
	     "1: stac\n push $1\n pop %rax\n dec %ecx\n jnz 1b\n clac\n"
	     "2: push $2\n" STOP ON_FAULT("lifted"));

TEST(the_stack_on_a_page_that_smap_guards)
{
	struct core k;
	struct x86_cpu_state s;

	begin(&k, &s, lifted, CODE_SIZE(lifted));
	CHECK_EQ(core_run(&k, &s), VCPU_STOP_REQUEST);
	CHECK_EQ(s.cr2, AT + 0x800);
	CHECK_EQ(s.gpr[X86_R13], X86_PF_P | X86_PF_W);
	CHECK_EQ(get(&k, FIRST + 0x800), 1);
	core_fini(&k);
}

/* Code comes to stand on the stack's page: stores to it are seen. */
CODE(on_stack,
     "mov $0x400808, %esp\n xor %ebx, %ebx\n"
     "1: movl $0xc301c383, 0x400100\n movb %cl, 0x400102\n push %rcx\n mov $0x400100, %eax\n"
     "call *%rax\n pop %rdx\n cmp %edx, %ecx\n jne 2f\n dec %ecx\n jnz 1b\n" STOP
     "3: jmp 3b\n 2: mov $0, %ebx\n" STOP);

TEST(code_on_the_page_of_the_stack)
{
	struct core k;
	struct x86_cpu_state s;

	begin(&k, &s, on_stack, CODE_SIZE(on_stack));
	CHECK_EQ(core_run(&k, &s), VCPU_STOP_REQUEST);
	CHECK_EQ(s.gpr[X86_RBX], LOOPS * (LOOPS + 1) / 2);
	core_fini(&k);
}

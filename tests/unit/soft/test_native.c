/*
 * The translator: what its memory may be, what it does when that is full, that it is at work at all.
 *
 * What translated code computes is the business of the other programs here, which run on both engines,
 * of tests/guest, and of the oracle.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "accel/soft/block.h"
#include "accel/soft/native.h"
#include "base/err.h"
#include "core_fixture.h"
#include "test.h"

static struct sx_native *native_of(struct core *k)
{
	return sx_cpu_of(k->vcpu[0])->native;
}

struct wanted_count {
	const char *group, *name;
	u64 sum;
};

static void add_count(void *opaque, const struct vcpu_counter *n)
{
	struct wanted_count *w = opaque;

	if (!strcmp(n->group, w->group) && (!w->name || !strcmp(n->name, w->name)))
		w->sum += n->value;
}

/* name NULL: all of the group. */
static u64 count_of(struct core *k, const char *group, const char *name)
{
	struct wanted_count w = {.group = group, .name = name};

	vcpu_count(k->vcpu[0], add_count, &w);
	return w.sum;
}

/* clang-format off */
CODE(count, "xor %ebx, %ebx\n mov $100000, %ecx\n"
	    "1: add %ecx, %ebx\n dec %ecx\n jnz 1b\n" STOP);
/* clang-format on */

TEST(a_loop_is_translated_and_stays_in_native_code)
{
	struct core k;
	struct x86_cpu_state s;

	core_init(&k);
	core_long_mode(&k, &s);
	core_load(&k, CORE_CODE, count, CODE_SIZE(count));
	CHECK_EQ(core_run(&k, &s), VCPU_STOP_REQUEST);
	CHECK_EQ(s.gpr[X86_RBX], 5000050000 & 0xffffffff);
	CHECK(count_of(&k, "translations", "blocks") >= 2);
	CHECK(count_of(&k, "native-exits", NULL) < 100);
	core_fini(&k);
}

/* clang-format off */
CODE(counted, "mov $100, %ecx\n"
	      "1: mov (0x30000), %eax\n sidt (0x30100)\n"
	      "inc %ebx\n cmp $50, %ebx\n jb 1b\n" STOP);
/* clang-format on */

TEST(what_the_interpreter_does_for_native_code_is_counted_by_name)
{
	struct core k;
	struct x86_cpu_state s;

	core_init(&k);
	core_long_mode(&k, &s);
	s.gpr[X86_RBX] = 0;
	core_load(&k, CORE_CODE, counted, CODE_SIZE(counted));
	CHECK_EQ(core_run(&k, &s), VCPU_STOP_REQUEST);
	CHECK(count_of(&k, "callout-instructions", "SIDT") >= 25);
	CHECK(count_of(&k, "callouts", "untranslated") >= 25);
	CHECK(count_of(&k, "tlb-misses", "read") >= 1);
	CHECK(count_of(&k, "tlb-misses", "write") >= 1);
	CHECK(count_of(&k, "blocks", "decoded") >= 2);
	CHECK(count_of(&k, "code-pages", "marked") >= 1);
	core_fini(&k);
}

static unsigned remembered_callouts(struct core *k)
{
	unsigned n = 0;

	for (unsigned i = 0; i < 1u << SX_STEP_BITS; i++)
		n += native_of(k)->steps[i].key != 0;
	return n;
}

/* What was remembered under the same number the last time would be good again. */
TEST(callouts_are_forgotten_when_generations_come_round)
{
	struct core k;
	struct x86_cpu_state s;

	core_init(&k);
	core_long_mode(&k, &s);
	s.gpr[X86_RBX] = 0;
	core_load(&k, CORE_CODE, counted, CODE_SIZE(counted));
	CHECK_EQ(core_run(&k, &s), VCPU_STOP_REQUEST);
	CHECK(remembered_callouts(&k) > 0);
	sx_cpu_of(k.vcpu[0])->tlbs.generation = 0x7fffffff;
	sx_tlb_flush(sx_cpu_of(k.vcpu[0]));
	CHECK_EQ(remembered_callouts(&k), 0);
	core_fini(&k);
}

TEST(retired_instructions_are_counted_exactly)
{
	struct core k;
	struct x86_cpu_state s;

	core_init(&k);
	sx_cpu_of(k.vcpu[0])->counts_insns = true;
	core_long_mode(&k, &s);
	core_load(&k, CORE_CODE, count, CODE_SIZE(count));
	CHECK_EQ(core_run(&k, &s), VCPU_STOP_REQUEST);
	CHECK_EQ(sx_cpu_of(k.vcpu[0])->retired, 2 + 3 * 100000 + 2); /* STOP is two */
	core_fini(&k);
}

/* No mapping is writable and executable, and what is executable is written elsewhere. */
TEST(no_memory_is_writable_and_executable)
{
	struct core k;
	char line[512];
	FILE *maps;
	unsigned n_exec = 0;

	core_init(&k);
	maps = fopen("/proc/self/maps", "r");
	CHECK(maps);
	while (fgets(line, sizeof(line), maps)) {
		CHECK(!strstr(line, "rwx") && !strstr(line, "-wx"));
		if (strstr(line, "posada-code") && strstr(line, " r-x"))
			n_exec++;
	}
	fclose(maps);
	CHECK_EQ(n_exec, CORE_CPUS);
	core_fini(&k);
}

/* 256 functions of one instruction each, called in turn, 20 times. */
/* clang-format off */
CODE(many, "mov $20, %ecx\n xor %ebx, %ebx\n"
	   "2: lea functions-many+0x10000, %edx\n mov $256, %esi\n"
	   "3: call *%rdx\n add $16, %rdx\n dec %esi\n jnz 3b\n"
	   "dec %ecx\n jnz 2b\n" STOP
	   ".balign 16\n"
	   "functions: .rept 256\n inc %ebx\n ret\n .balign 16\n .endr\n");
/* clang-format on */

TEST(native_code_starts_over_when_its_room_is_full)
{
	struct core k;
	struct x86_cpu_state s;

	core_init(&k);
	core_long_mode(&k, &s);
	native_of(&k)->size = native_of(&k)->used + 160 * KIB;
	core_load(&k, CORE_CODE, many, CODE_SIZE(many));
	CHECK_EQ(core_run(&k, &s), VCPU_STOP_REQUEST);
	CHECK_EQ(s.gpr[X86_RBX], 20 * 256);
	CHECK(count_of(&k, "blocks", "drops") > 1);
	core_fini(&k);
}

/* R10, R11, R14, R15 and RSP, which have no host register of their own name, in every position. */
/* clang-format off */
CODE(scratch, "mov $0x1111, %r10d\n mov $0x2222, %r11d\n mov $0x20000, %r14d\n mov $8, %r15d\n"
	      "mov %r10, (%r14)\n mov %r11, (%r14,%r15)\n add (%r14), %r11\n"
	      "lea 3(%r14,%r15,2), %r10\n xchg %r10, %r15\n xadd %r10, %r11\n"
	      "mov %rsp, %rbp\n push %r10\n push %r11\n pop %r14\n pop %rbx\n"
	      "sub %rbp, %rsp\n add %rsp, %rbx\n mov %rbp, %rsp\n add %r14, %rbx\n add %r15, %rbx\n" STOP);
/* clang-format on */

TEST(guest_registers_in_memory_work_in_every_position)
{
	struct core k;
	struct x86_cpu_state s;

	core_init(&k);
	core_long_mode(&k, &s);
	core_load(&k, CORE_CODE, scratch, CODE_SIZE(scratch));
	CHECK_EQ(core_run(&k, &s), VCPU_STOP_REQUEST);
	CHECK_EQ(s.gpr[X86_RBX], 0x3333 + 0x333b + 0x20013);
	core_fini(&k);
}

/* clang-format off */
CODE(odd, "mov $0x20000, %ebx\n movq $5, (%rbx)\n mov $1000, %ecx\n xor %esi, %esi\n mov $7, %r8d\n"
	  "1: mov $0x3fff, %eax\n xor %edx, %edx\n divq (%rbx)\n add %rdx, %rsi\n"
	  "mov $-100, %eax\n cltd\n idivl (%rbx)\n sub %eax, %esi\n"
	  "bsf %ecx, %edx\n mov %r8d, %r10d\n bts %r10, 8(%rbx)\n adc $0, %esi\n"
	  "pushq (%rbx)\n pop %rdx\n mov %ds, %eax\n dec %ecx\n jnz 1b\n mov 8(%rbx), %rdi\n" STOP);
/* clang-format on */

TEST(odd_integer_instructions_stay_in_native_code)
{
	struct core k;
	struct x86_cpu_state s;

	core_init(&k);
	core_long_mode(&k, &s);
	core_load(&k, CORE_CODE, odd, CODE_SIZE(odd));
	CHECK_EQ(core_run(&k, &s), VCPU_STOP_REQUEST);
	CHECK_EQ(s.gpr[X86_RSI], 1000 * (3 + 20) + 999);
	CHECK_EQ(s.gpr[X86_RDI], 0x80);
	CHECK_EQ(s.gpr[X86_RDX], 5);
	CHECK(count_of(&k, "callouts", "untranslated") < 10);
	core_fini(&k);
}

/* x87 and MMX, with a control word that changes; in a block that is entered often. */
/* clang-format off */
CODE(x87_loop, "fninit\n fldz\n mov $0x20000, %ebx\n movw $0xf7f, (%rbx)\n movw $0x37f, 2(%rbx)\n"
	       "mov $1000, %ecx\n"
	       "1: fldcw (%rbx)\n fld1\n faddp\n fldcw 2(%rbx)\n dec %ecx\n jnz 1b\n"
	       "fistpl 4(%rbx)\n mov 4(%rbx), %esi\n fnstcw 8(%rbx)\n movzwl 8(%rbx), %edi\n" STOP);
CODE(mmx_loop, "mov $1, %eax\n movd %eax, %mm1\n pxor %mm0, %mm0\n mov $1000, %ecx\n"
	       "1: paddd %mm1, %mm0\n pshufw $0xe4, %mm0, %mm2\n dec %ecx\n jnz 1b\n"
	       "movd %mm2, %esi\n emms\n" STOP);
CODE(x87_unmasked, "fninit\n mov $0x20000, %ebx\n movw $0x37b, (%rbx)\n mov $100, %ecx\n xor %eax, %eax\n"
		   "1: fld1\n fstp %st(0)\n dec %ecx\n jnz 1b\n fldcw (%rbx)\n fld1\n fldz\n fdivrp\n"
		   "fnstsw %ax\n mov %eax, %esi\n" STOP);
/* clang-format on */

TEST(x87_and_mmx_stay_in_native_code)
{
	struct core k;
	struct x86_cpu_state s;

	core_init(&k);
	core_long_mode(&k, &s);
	core_load(&k, CORE_CODE, x87_loop, CODE_SIZE(x87_loop));
	CHECK_EQ(core_run(&k, &s), VCPU_STOP_REQUEST);
	CHECK_EQ((u32)s.gpr[X86_RSI], 1000);
	CHECK_EQ((u32)s.gpr[X86_RDI], 0x37f);
	CHECK(count_of(&k, "callouts", "untranslated") < 10);
	core_load(&k, CORE_CODE, mmx_loop, CODE_SIZE(mmx_loop));
	core_long_mode(&k, &s);
	CHECK_EQ(core_run(&k, &s), VCPU_STOP_REQUEST);
	CHECK_EQ((u32)s.gpr[X86_RSI], 1000);
	CHECK(count_of(&k, "callouts", "untranslated") < 20);
	core_fini(&k);
}

TEST(an_x87_exception_that_is_unmasked_in_native_code_is_seen)
{
	struct core k;
	struct x86_cpu_state s;

	core_init(&k);
	core_long_mode(&k, &s);
	core_load(&k, CORE_CODE, x87_unmasked, CODE_SIZE(x87_unmasked));
	CHECK_EQ(core_run(&k, &s), VCPU_STOP_REQUEST);
	CHECK_EQ(s.gpr[X86_RSI] & 0x84, 0x84); /* ZE and ES */
	core_fini(&k);
}

/* AVX on memory that is and isn't aligned, FMA, BMI, VZEROUPPER; SSE in between keeps the upper half. */
/* clang-format off */
CODE(avx_loop, "mov $0x20000, %ebx\n mov $1, %eax\n vmovd %eax, %xmm1\n vpbroadcastd %xmm1, %ymm1\n"
	       "vpxor %ymm0, %ymm0, %ymm0\n mov $1000, %ecx\n xor %edi, %edi\n mov $-1, %r15\n"
	       "1: vpaddd %ymm1, %ymm0, %ymm0\n vmovdqu %ymm0, 3(%rbx)\n paddd %xmm1, %xmm0\n"
	       "vmovdqu 3(%rbx), %ymm2\n blsr %r15, %r10\n andn %r15, %r10, %r11\n add %r11, %rdi\n"
	       "dec %ecx\n jnz 1b\n"
	       "vextracti128 $1, %ymm0, %xmm3\n vmovd %xmm3, %esi\n vmovd %xmm0, %ebp\n"
	       "vzeroupper\n vextracti128 $1, %ymm0, %xmm3\n vmovd %xmm3, %edx\n" STOP);
/* clang-format on */

TEST(avx_and_bmi_stay_in_native_code)
{
	struct core k;
	struct x86_cpu_state s;

	if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("bmi"))
		SKIP("this processor has no AVX2");
	core_init(&k);
	sx_cpu_of(k.vcpu[0])->features = ~(u64)0;
	core_long_mode(&k, &s);
	s.cr4 |= X86_CR4_OSXSAVE;
	s.xcr0 = X86_XCR0_X87 | X86_XCR0_SSE | X86_XCR0_AVX;
	core_load(&k, CORE_CODE, avx_loop, CODE_SIZE(avx_loop));
	CHECK_EQ(core_run(&k, &s), VCPU_STOP_REQUEST);
	CHECK_EQ((u32)s.gpr[X86_RSI], 1000); /* the upper half */
	CHECK_EQ((u32)s.gpr[X86_RBP], 2000);
	CHECK_EQ((u32)s.gpr[X86_RDX], 0);
	CHECK_EQ(s.gpr[X86_RDI], 1000);
	CHECK_EQ(s.xsave[X86_XSAVE_HEADER], 7); /* for whoever restores it, KVM too */
	CHECK(count_of(&k, "callouts", "untranslated") < 3);
	core_fini(&k);
}

/* The load at offset 8 faults; the handler at 0x40 takes the RIP that was pushed. */
CODE(fault_code, "mov $1, %ebx\n add $2, %ebx\n mov 8(%rdx), %eax\n add $100, %ebx\n" STOP
		 ".org fault_code + 0x40\n mov 8(%rsp), %rcx\n" STOP);

TEST(a_translated_fault_has_the_state_of_its_instruction)
{
	static const u64 nowhere = 0x7000000000;
	struct core k;
	struct x86_cpu_state s;

	core_init(&k);
	core_long_mode(&k, &s);
	core_load(&k, CORE_CODE, fault_code, CODE_SIZE(fault_code));
	core_set_gate(&k, X86_PF, CORE_CODE + 0x40, CORE_CS64, 0, 0x8e);
	s.gpr[X86_RDX] = nowhere;
	CHECK_EQ(core_run(&k, &s), VCPU_STOP_REQUEST);
	CHECK_EQ(s.cr2, nowhere + 8);
	CHECK_EQ(s.gpr[X86_RBX], 3);
	CHECK_EQ(s.gpr[X86_RCX], CORE_CODE + 8);
	core_fini(&k);
}

/* --- calls and returns --- */

/* Deeper than the return stack: most of the way back is not on it. */
/* clang-format off */
CODE(deep, "mov $3, %ebp\n xor %ebx, %ebx\n"
	   "1: mov $2000, %ecx\n call 2f\n dec %ebp\n jnz 1b\n" STOP
	   "2: dec %ecx\n jz 3f\n call 2b\n 3: inc %ebx\n ret\n");
/* clang-format on */

TEST(recursion_deeper_than_the_return_stack)
{
	struct core k;
	struct x86_cpu_state s;

	core_init(&k);
	core_long_mode(&k, &s);
	core_load(&k, CORE_CODE, deep, CODE_SIZE(deep));
	CHECK_EQ(core_run(&k, &s), VCPU_STOP_REQUEST);
	CHECK_EQ(s.gpr[X86_RBX], 3 * 2000);
	core_fini(&k);
}

/* What a retpoline does, a jump out of ten calls as longjmp does it, returns that nobody called for, and a
 * call whose return address is thrown away: forty times each. */
/* clang-format off */
CODE(odd_returns, "mov $40, %ebp\n xor %ebx, %ebx\n"
	"1: lea 5f(%rip), %rax\n call 2f\n"               /* a retpoline to 5 */
	"mov %rsp, %rdi\n lea 6f(%rip), %rsi\n mov $10, %ecx\n call 3f\n ud2\n"
	"6: lea 7f(%rip), %rax\n push %rax\n lea 8f(%rip), %rax\n push %rax\n ret\n"
	"7: call 4f\n 4: add $8, %rsp\n"
	"dec %ebp\n jnz 1b\n" STOP
	"2: call 9f\n ud2\n 9: mov %rax, (%rsp)\n ret\n"
	"3: dec %ecx\n jz 10f\n call 3b\n ud2\n 10: mov %rdi, %rsp\n jmp *%rsi\n"
	"5: inc %ebx\n ret\n"
	"8: add $100, %ebx\n ret\n");
/* clang-format on */

TEST(returns_that_belong_to_no_call)
{
	struct core k;
	struct x86_cpu_state s;

	core_init(&k);
	core_long_mode(&k, &s);
	core_load(&k, CORE_CODE, odd_returns, CODE_SIZE(odd_returns));
	u64 rsp = s.gpr[X86_RSP];
	CHECK_EQ(core_run(&k, &s), VCPU_STOP_REQUEST);
	CHECK_EQ(s.gpr[X86_RBX], 40 * 101);
	CHECK_EQ(s.gpr[X86_RSP], rsp);
	core_fini(&k);
}

/* The function, in another page, changes what its caller adds, as it is about to return to it. */
/* clang-format off */
CODE(written_below, "mov $40, %ebp\n xor %ebx, %ebx\n"
	"1: call 3f\n 2: add $1, %ebx\n dec %ebp\n jnz 1b\n" STOP
	".org written_below + 0x1000\n"
	"3: cmp $20, %ebp\n jne 4f\n movb $5, 0x10000 + 2 + 2b - written_below\n 4: ret\n");
/* clang-format on */

TEST(a_return_to_code_that_was_written_since_the_call)
{
	struct core k;
	struct x86_cpu_state s;

	core_init(&k);
	core_long_mode(&k, &s);
	core_load(&k, CORE_CODE, written_below, CODE_SIZE(written_below));
	CHECK_EQ(core_run(&k, &s), VCPU_STOP_REQUEST);
	CHECK_EQ(s.gpr[X86_RBX], 20 * 1 + 20 * 5);
	core_fini(&k);
}

/* The same, but it maps another page there. Its caller is at 4 MiB, the page directory at 0x102000; memory at 6
 * MiB has the same code with another number. */
#define REMAPPED 0x400000u
/* clang-format off */
CODE(remapped, "mov $40, %ebp\n xor %ebx, %ebx\n"
	"1: mov $0x10000, %eax\n call *%rax\n 2: add $1, %ebx\n dec %ebp\n jnz 1b\n" STOP);
CODE(remapped_5, "mov $40, %ebp\n xor %ebx, %ebx\n"
	"1: mov $0x10000, %eax\n call *%rax\n 2: add $5, %ebx\n dec %ebp\n jnz 1b\n" STOP);
CODE(remaps, "cmp $20, %ebp\n jne 1f\n xorl $0x200000, 0x102010\n invlpg 0x400000\n 1: ret\n");
CODE(reloads, "cmp $20, %ebp\n jne 1f\n xorl $0x200000, 0x102010\n mov %cr3, %rax\n mov %rax, %cr3\n 1: ret\n");
/* clang-format on */

static u64 run_remapped(const u8 *function, size_t size)
{
	struct core k;
	struct x86_cpu_state s;

	core_init(&k);
	core_long_mode(&k, &s);
	core_load(&k, CORE_CODE, function, size);
	core_load(&k, REMAPPED, remapped, CODE_SIZE(remapped));
	core_load(&k, REMAPPED + 0x200000, remapped_5, CODE_SIZE(remapped_5));
	s.rip = REMAPPED;
	CHECK_EQ(core_run(&k, &s), VCPU_STOP_REQUEST);
	core_fini(&k);
	return s.gpr[X86_RBX];
}

TEST(a_return_to_a_page_that_was_mapped_anew_since_the_call)
{
	CHECK_EQ(run_remapped(remaps, CODE_SIZE(remaps)), 20 * 1 + 20 * 5);
	CHECK_EQ(run_remapped(reloads, CODE_SIZE(reloads)), 20 * 1 + 20 * 5);
}

/* User code calls; an interrupt handler takes its stack and returns for it, as supervisor. */
/* clang-format off */
CODE(to_user, "push $0x2b\n push $0x208000\n push $2\n push $0x33\n push $0x210000\n iretq\n");
CODE(user_calls, "mov $40, %ebp\n 1: call 2f\n mov %cs, %ebx\n dec %ebp\n jnz 1b\n" STOP
	"2: cmp $1, %ebp\n jne 3f\n int $0x80\n 3: ret\n");
CODE(returns_for_it, "mov 24(%rsp), %rsp\n ret\n");
/* clang-format on */

TEST(a_return_at_another_privilege_than_the_call)
{
	struct core k;
	struct x86_cpu_state s;

	core_init(&k);
	core_long_mode(&k, &s);
	core_load(&k, CORE_CODE, to_user, CODE_SIZE(to_user));
	core_load(&k, 0x210000, user_calls, CODE_SIZE(user_calls));
	core_load(&k, CORE_CODE + 0x1000, returns_for_it, CODE_SIZE(returns_for_it));
	core_set_gate(&k, 0x80, CORE_CODE + 0x1000, CORE_CS64, 0, 0xee);
	CHECK_EQ(core_run(&k, &s), VCPU_STOP_REQUEST);
	CHECK_EQ(s.gpr[X86_RBX], CORE_CS64);
	CHECK_EQ(s.gpr[X86_RBP], 0);
	core_fini(&k);
}

/* A target that isn't canonical faults at the jump, whichever it is; the handler counts and goes on behind it.
 * All three are two bytes or one. */
/* clang-format off */
CODE(not_canonical, "mov $40, %ebp\n xor %ebx, %ebx\n mov $1, %edx\n shl $52, %rdx\n"
	"1: jmp *%rdx\n 2: call *%rdx\n 3: push %rdx\n ret\n 4: pop %rcx\n"
	"dec %ebp\n jnz 1b\n" STOP
	".org not_canonical + 0x100\n"
	"add $8, %rsp\n mov (%rsp), %rax\n inc %ebx\n mov (%rax), %cl\n inc %rax\n"
	"cmp $0xc3, %cl\n je 5f\n inc %rax\n 5: mov %rax, (%rsp)\n iretq\n");
/* clang-format on */

TEST(a_target_that_is_not_canonical)
{
	struct core k;
	struct x86_cpu_state s;

	core_init(&k);
	core_long_mode(&k, &s);
	u64 rsp = s.gpr[X86_RSP];
	core_load(&k, CORE_CODE, not_canonical, CODE_SIZE(not_canonical));
	core_set_gate(&k, X86_GP, CORE_CODE + 0x100, CORE_CS64, 0, 0x8e);
	CHECK_EQ(core_run(&k, &s), VCPU_STOP_REQUEST);
	CHECK_EQ(s.gpr[X86_RBX], 3 * 40);
	CHECK_EQ(s.gpr[X86_RSP], rsp);
	core_fini(&k);
}

/* The block at 1 drops the flags of ADD, since what follows it writes them all; then that is changed to read
 * them. The block's own bytes stay. */
/* clang-format off */
CODE(looked_ahead, "mov $60, %ebp\n xor %ebx, %ebx\n"
	"1: mov $-1, %eax\n add $1, %eax\n jmp 2f\n"
	".org looked_ahead + 0x40\n"
	"2: xor %ecx, %ecx\n setc %cl\n add %ecx, %ebx\n nop\n"
	"cmp $30, %ebp\n jne 3f\n movw $0x9090, 0x10040\n"  /* now ECX is whatever, but CF is ADD's */
	"xor %ecx, %ecx\n"
	"3: mov $0, %ecx\n dec %ebp\n jnz 1b\n" STOP);
/* clang-format on */

TEST(flags_that_were_dropped_for_code_that_has_changed)
{
	struct core k;
	struct x86_cpu_state s;

	core_init(&k);
	core_long_mode(&k, &s);
	core_load(&k, CORE_CODE, looked_ahead, CODE_SIZE(looked_ahead));
	CHECK_EQ(core_run(&k, &s), VCPU_STOP_REQUEST);
	CHECK_EQ(s.gpr[X86_RBX], 29);
	core_fini(&k);
}

/* At CPL 1 what only CPL 0 may do faults, with IOPL 0 also what IOPL guards. The handler counts and goes on behind
 * it; HLT ends. */
/* clang-format off */
CODE(at_cpl_1, "mov $40, %ebp\n xor %ebx, %ebx\n 1: cli\n sti\n swapgs\n dec %ebp\n jnz 1b\n hlt\n");
CODE(counts_faults, "add $8, %rsp\n mov (%rsp), %rax\n mov (%rax), %cl\n cmp $0xf4, %cl\n je 2f\n"
	"inc %ebx\n inc %rax\n cmp $0x0f, %cl\n jne 1f\n add $2, %rax\n" /* SWAPGS has three bytes */
	"1: mov %rax, (%rsp)\n iretq\n 2: " STOP);
/* clang-format on */
#define CPL_1_CODE 0x00afbb000000ffff
#define CPL_1_DATA 0x00cfb3000000ffff

TEST(system_instructions_at_privilege_1_fault)
{
	static const u64 descriptors[] = {CPL_1_CODE, CPL_1_DATA};
	struct core k;
	struct x86_cpu_state s;

	core_init(&k);
	core_long_mode(&k, &s);
	core_load(&k, CORE_CODE, at_cpl_1, CODE_SIZE(at_cpl_1));
	core_load(&k, CORE_CODE + 0x1000, counts_faults, CODE_SIZE(counts_faults));
	core_load(&k, CORE_GDT + 0x48, descriptors, sizeof(descriptors));
	s.gdt.limit = 0x57;
	s.seg[X86_CS] = (struct x86_segment){.limit = 0xffffffff, .attr = 0xa0bb, .selector = 0x49};
	s.seg[X86_SS] = (struct x86_segment){.limit = 0xffffffff, .attr = 0xc0b3, .selector = 0x51};
	core_set_gate(&k, X86_GP, CORE_CODE + 0x1000, CORE_CS64, 0, 0x8e);
	CHECK_EQ(core_run(&k, &s), VCPU_STOP_REQUEST);
	CHECK_EQ(s.gpr[X86_RBX], 3 * 40);
	core_fini(&k);
}

/* --- instructions across two pages --- */

/* The last byte of the number, in the second page, changes after 21 rounds. */
/* clang-format off */
CODE(across, "mov $40, %ebp\n xor %ebx, %ebx\n jmp 1f\n"
	".org across + 0xff0\n 1: inc %ecx\n"
	".org across + 0xffd, 0x90\n add $0x11223344, %ebx\n"
	"cmp $20, %ebp\n jne 2f\n movb $1, 0x11002\n"
	"2: dec %ebp\n jnz 1b\n" STOP);
/* clang-format on */

TEST(an_instruction_across_pages_is_translated_until_it_changes)
{
	struct core k;
	struct x86_cpu_state s;

	core_init(&k);
	core_long_mode(&k, &s);
	core_load(&k, CORE_CODE, across, CODE_SIZE(across));
	CHECK_EQ(core_run(&k, &s), VCPU_STOP_REQUEST);
	CHECK_EQ(s.gpr[X86_RBX], (u32)(21 * 0x11223344u + 19 * 0x01223344u));
	CHECK(count_of(&k, "blocks", "crossing") < 20);
	core_fini(&k);
}

/* A function whose first instruction begins in the last bytes of one page; the page behind it is mapped elsewhere
 * by the caller, at every round or after 21. */
#define ACROSS (REMAPPED - 3)
/* clang-format off */
CODE(across_function, "add $0x11223344, %ebx\n ret\n");
CODE(across_other, "add $0x55663344, %ebx\n ret\n");
CODE(remaps_once, "mov $40, %ebp\n xor %ebx, %ebx\n 1: mov $0x3ffffd, %eax\n call *%rax\n"
	"cmp $20, %ebp\n jne 2f\n xorl $0x200000, 0x102010\n invlpg 0x400000\n"
	"2: dec %ebp\n jnz 1b\n" STOP);
CODE(remaps_always, "mov $40, %ebp\n xor %ebx, %ebx\n 1: mov $0x3ffffd, %eax\n call *%rax\n"
	"xorl $0x200000, 0x102010\n mov %cr3, %rax\n mov %rax, %cr3\n"
	"dec %ebp\n jnz 1b\n" STOP);
/* clang-format on */

static u64 run_across(const u8 *caller, size_t size)
{
	struct core k;
	struct x86_cpu_state s;

	core_init(&k);
	core_long_mode(&k, &s);
	core_load(&k, CORE_CODE, caller, size);
	core_load(&k, ACROSS, across_function, CODE_SIZE(across_function));
	core_load(&k, REMAPPED + 0x200000, across_other + 3, CODE_SIZE(across_other) - 3);
	CHECK_EQ(core_run(&k, &s), VCPU_STOP_REQUEST);
	core_fini(&k);
	return s.gpr[X86_RBX];
}

TEST(the_second_page_of_an_instruction_is_mapped_anew)
{
	CHECK_EQ(run_across(remaps_once, CODE_SIZE(remaps_once)),
		 (u32)(21 * 0x11223344u + 19 * 0x55663344u));
	CHECK_EQ(run_across(remaps_always, CODE_SIZE(remaps_always)),
		 (u32)(20 * 0x11223344u + 20 * 0x55663344u));
}

/* SSE, whose state isn't ready at first, and a store that has to go the interpreter's way. */
/* clang-format off */
CODE(across_sse, "mov $40, %ebp\n xor %ebx, %ebx\n mov $1, %eax\n movd %eax, %xmm1\n pxor %xmm0, %xmm0\n jmp 1f\n"
	".org across_sse + 0xffe\n 1: paddd %xmm1, %xmm0\n"
	"jmp 2f\n"
	".org across_sse + 0x1ffd\n 2: movd %xmm0, 0x30ffe(%rax,%rax)\n"
	"dec %ebp\n jnz 1b\n movd %xmm0, %ebx\n" STOP);
/* clang-format on */

TEST(sse_instructions_across_pages)
{
	struct core k;
	struct x86_cpu_state s;
	u32 stored;

	core_init(&k);
	core_long_mode(&k, &s);
	core_load(&k, CORE_CODE, across_sse, CODE_SIZE(across_sse));
	CHECK_EQ(core_run(&k, &s), VCPU_STOP_REQUEST);
	memcpy(&stored, core_ram(&k, 0x31000), 4);
	CHECK_EQ(s.gpr[X86_RBX], 40);
	CHECK_EQ(stored, 40);
	core_fini(&k);
}

/* clang-format off */
CODE(short_movsxd, "mov $0x7ffffe, %esi\n movw $0x8765, (%rsi)\n xor %edx, %edx\n mov $3, %ecx\n"
		   "1: .byte 0x66, 0x63, 0x16\n dec %ecx\n jnz 1b\n" STOP);
/* clang-format on */

/* Of 16 bits; behind the memory is nothing that may be read. */
TEST(movsxd_reads_no_more_than_its_operand)
{
	struct core k;
	struct x86_cpu_state s;

	static_assert(CORE_RAM == 0x800000, "its last two bytes");
	core_init(&k);
	core_long_mode(&k, &s);
	core_load(&k, CORE_CODE, short_movsxd, CODE_SIZE(short_movsxd));
	CHECK_EQ(core_run(&k, &s), VCPU_STOP_REQUEST);
	CHECK_EQ(s.gpr[X86_RDX], 0x8765);
	core_fini(&k);
}

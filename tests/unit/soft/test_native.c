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

TEST(retired_instructions_are_counted_exactly)
{
	struct core k;
	struct x86_cpu_state s;

	core_init(&k);
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
	native_of(&k)->size = native_of(&k)->used + 48 * KIB;
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

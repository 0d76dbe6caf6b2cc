/*
 * What a kernel does all the time: flags through the stack, SMAP's AC, the TSC, control registers. On both engines;
 * each loop is long enough to be translated.
 */
#include <string.h>

#include "clock/vclock.h"
#include "core_fixture.h"
#include "test.h"

#define HANDLER (CORE_CODE + 0x1000)
#define RESULTS (CORE_DATA + 0x1000)

static void set_handler(struct core *k, unsigned vector, const void *code, size_t size)
{
	core_load(k, HANDLER + vector * 0x40, code, size);
	core_set_gate(k, vector, HANDLER + vector * 0x40, CORE_CS64, 0, 0x8e);
}
#define SET_HANDLER(k, vector, name) set_handler(k, vector, name, CODE_SIZE(name))

/* 64-bit user code at CORE_DATA + 0x10000. */
#define USER_CODE (CORE_DATA + 0x10000)
CODE(enter_user, "push $0x2b\n push $0x208000\n push $2\n push $0x33\n push $0x210000\n iretq\n");

static void load_user(struct core *k, const void *code, size_t size)
{
	core_load(k, CORE_CODE, enter_user, CODE_SIZE(enter_user));
	core_load(k, USER_CODE, code, size);
}

/* --- pages that are mapped elsewhere --- */

/* Two pages in turn at one address; before and behind, and on the stack, within one block. */
/* clang-format off */
CODE(remap, "mov $40, %ebp\n xor %ebx, %ebx\n mov $0x400000, %edi\n"
	    "1: mov 8(%rdi), %eax\n push %rax\n xorl $0x200000, 0x102010\n stc\n invlpg (%rdi)\n"
	    "adc 8(%rdi), %ebx\n pop %rax\n shl $16, %eax\n add %eax, %ebx\n dec %ebp\n jnz 1b\n" STOP);
/* clang-format on */

TEST(invlpg_is_seen_by_the_next_access_of_the_block)
{
	const u64 values[] = {1, 2};
	struct core k;
	struct x86_cpu_state s;

	core_init(&k);
	core_long_mode(&k, &s);
	core_load(&k, CORE_CODE, remap, CODE_SIZE(remap));
	core_load(&k, 0x400008, &values[0], sizeof(values[0]));
	core_load(&k, 0x600008, &values[1], sizeof(values[1]));
	CHECK_EQ(core_run(&k, &s), VCPU_STOP_REQUEST);
	/* 20 of each before it, 20 of each behind it and the carry flag, which it leaves alone. */
	CHECK_EQ(s.gpr[X86_RBX], (u64)(20 * 1 + 20 * 2) << 16 | (20 * 1 + 20 * 2 + 40));
	core_fini(&k);
}

/* --- flags --- */

/* Four rounds, so that the last ones are translated. */
/* clang-format off */
CODE(through_the_stack, "mov $4, %ebp\n 2: xor %ecx, %ecx\n"
	"1: mov (%rsi,%rcx,8), %rax\n push %rax\n popf\n pushf\n pop %rax\n"
	"mov %rax, 0x1000(%rsi,%rcx,8)\n"
	"push $2\n popf\n inc %ecx\n cmp %edi, %ecx\n jb 1b\n dec %ebp\n jnz 2b\n" STOP);
/* clang-format on */

static const u64 flag_values[] = {
	2,        0x8d5 | 2,         0x400, 0x200, 0x601, 0x4000, 0x40000, 0x200000, 0x3000,
	0x244a97, ~(u64)X86_FLAG_TF,
};

static void check_flags(struct core *k, struct x86_cpu_state *s, u64 changeable)
{
	u64 result;

	s->gpr[X86_RSI] = CORE_DATA;
	s->gpr[X86_RDI] = ARRAY_SIZE(flag_values);
	core_load(k, CORE_DATA, flag_values, sizeof(flag_values));
	CHECK_EQ(core_run(k, s), VCPU_STOP_REQUEST);
	for (size_t n = 0; n < ARRAY_SIZE(flag_values); n++) {
		memcpy(&result, core_ram(k, RESULTS + n * 8), 8);
		CHECK_EQ(result, (flag_values[n] & changeable) | X86_FLAG_ONE);
	}
}

#define FLAGS_OF_ALL (X86_FLAGS_ARITH | X86_FLAG_DF | X86_FLAG_NT | X86_FLAG_AC | X86_FLAG_ID)

TEST(popf_changes_what_privilege_lets_it)
{
	struct core k;
	struct x86_cpu_state s;

	core_init(&k);
	core_long_mode(&k, &s);
	core_load(&k, CORE_CODE, through_the_stack, CODE_SIZE(through_the_stack));
	check_flags(&k, &s, FLAGS_OF_ALL | X86_FLAG_IF | X86_FLAG_IOPL);
	core_fini(&k);
}

CODE(as_user,
     "mov $4, %ebp\n 2: xor %ecx, %ecx\n"
     "1: mov (%rsi,%rcx,8), %rax\n push %rax\n popf\n pushf\n pop %rax\n"
     "mov %rax, 0x1000(%rsi,%rcx,8)\n"
     "push $2\n popf\n inc %ecx\n cmp %edi, %ecx\n jb 1b\n dec %ebp\n jnz 2b\n int $0x80\n");
CODE(stop, STOP);

TEST(popf_of_a_user_leaves_if_and_iopl_alone)
{
	struct core k;
	struct x86_cpu_state s;

	core_init(&k);
	core_long_mode(&k, &s);
	load_user(&k, as_user, CODE_SIZE(as_user));
	SET_HANDLER(&k, 0x80, stop);
	core_set_gate(&k, 0x80, HANDLER + 0x80 * 0x40, CORE_CS64, 0, 0xee);
	check_flags(&k, &s, FLAGS_OF_ALL);
	core_fini(&k);
}

/* The 20th time, an interrupt waits for POPF. */
/* clang-format off */
CODE(popf_window, "mov $40, %ebp\n xor %ecx, %ecx\n"
	"1: pushf\n orl $0x200, (%rsp)\n cmp $20, %ebp\n jne 2f\n out %al, $0x80\n"
	"2: popf\n inc %ecx\n inc %ecx\n cli\n dec %ebp\n jnz 1b\n" STOP);
CODE(note_ecx, "mov %ecx, %ebx\n inc %edx\n iretq\n");
/* clang-format on */

static void interrupt(unused void *opaque, struct core *k, unused u16 port)
{
	k->apic[0].vector = 0x40;
	k->apic[0].pending = APIC_PENDING_INTR;
	vcpu_kick(k->vcpu[0]);
}

TEST(an_interrupt_comes_right_behind_popf)
{
	struct core k;
	struct x86_cpu_state s;

	core_init(&k);
	core_long_mode(&k, &s);
	k.on_port = interrupt;
	core_load(&k, CORE_CODE, popf_window, CODE_SIZE(popf_window));
	SET_HANDLER(&k, 0x40, note_ecx);
	s.gpr[X86_RDX] = 0;
	CHECK_EQ(core_run(&k, &s), VCPU_STOP_REQUEST);
	CHECK_EQ(s.gpr[X86_RDX], 1);
	CHECK_EQ(s.gpr[X86_RBX], 2 * 20);
	CHECK_EQ(s.gpr[X86_RCX], 2 * 40);
	core_fini(&k);
}

/* TF by POPF: the trap comes behind the next instruction. */
/* clang-format off */
CODE(popf_tf, "mov $40, %ebp\n xor %ebx, %ebx\n xor %edx, %edx\n"
	"1: xor %ecx, %ecx\n pushf\n orl $0x100, (%rsp)\n popf\n inc %ecx\n inc %ecx\n"
	"dec %ebp\n jnz 1b\n" STOP);
CODE(trapped, "add %ecx, %ebx\n inc %edx\n andl $0xfffffeff, 16(%rsp)\n iretq\n");
/* clang-format on */

TEST(a_single_step_that_popf_asks_for)
{
	struct core k;
	struct x86_cpu_state s;

	core_init(&k);
	core_long_mode(&k, &s);
	core_load(&k, CORE_CODE, popf_tf, CODE_SIZE(popf_tf));
	SET_HANDLER(&k, X86_DB, trapped);
	CHECK_EQ(core_run(&k, &s), VCPU_STOP_REQUEST);
	CHECK_EQ(s.gpr[X86_RDX], 40);
	CHECK_EQ(s.gpr[X86_RBX], 40);
	core_fini(&k);
}

CODE(direction,
     "mov $40, %ebp\n lea 0x800(%rsi), %rdi\n mov %rdi, %rdx\n"
     "1: std\n lodsb\n stosb\n cld\n stosb\n pushf\n pop %rax\n test $0x400, %eax\n jnz 2f\n"
     "dec %ebp\n jnz 1b\n 2: sub %rdx, %rdi\n" STOP);

TEST(the_direction_flag)
{
	struct core k;
	struct x86_cpu_state s;

	core_init(&k);
	core_long_mode(&k, &s);
	core_load(&k, CORE_CODE, direction, CODE_SIZE(direction));
	s.gpr[X86_RSI] = CORE_DATA + 0x100;
	CHECK_EQ(core_run(&k, &s), VCPU_STOP_REQUEST);
	CHECK_EQ(s.gpr[X86_RBP], 0);
	CHECK_EQ(s.gpr[X86_RDI], 0);
	CHECK_EQ(s.gpr[X86_RSI], CORE_DATA + 0x100 - 40);
	core_fini(&k);
}

/* PUSHF on a page that isn't there: RSP is as it was. */
CODE(pushf_faults, "mov $5, %ecx\n 1: dec %ecx\n jnz 1b\n mov %rdx, %rsp\n pushf\n");
CODE(on_fault, "pop %rbx\n mov 24(%rsp), %rcx\n" STOP);

TEST(pushf_faults_precisely)
{
	static const u64 nowhere = 0x7000000000;
	struct core k;
	struct x86_cpu_state s;

	core_init(&k);
	core_long_mode(&k, &s);
	core_load(&k, CORE_CODE, pushf_faults, CODE_SIZE(pushf_faults));
	SET_HANDLER(&k, X86_PF, on_fault);
	core_set_gate(&k, X86_PF, HANDLER + X86_PF * 0x40, CORE_CS64, 1, 0x8e);
	s.gpr[X86_RDX] = nowhere;
	CHECK_EQ(core_run(&k, &s), VCPU_STOP_REQUEST);
	CHECK_EQ(s.cr2, nowhere - 8);
	CHECK_EQ(s.gpr[X86_RBX], X86_PF_W);
	CHECK_EQ(s.gpr[X86_RCX], nowhere);
	core_fini(&k);
}

/* --- SMAP --- */

/* Three user pages' worth of loads with AC; then one without. */
/* clang-format off */
CODE(smap, "mov $40, %ebp\n xor %ebx, %ebx\n"
	"1: stac\n add (%rsi), %ebx\n add %ebx, 8(%rsi)\n clac\n movl $1, 0x30000\n dec %ebp\n jnz 1b\n"
	"mov (%rsi), %eax\n");
CODE(on_smap, "pop %rcx\n" STOP);
/* clang-format on */

TEST(user_pages_are_to_be_had_between_stac_and_clac)
{
	struct core k;
	struct x86_cpu_state s;
	u32 one = 1;

	core_init(&k);
	core_long_mode(&k, &s);
	core_load(&k, CORE_CODE, smap, CODE_SIZE(smap));
	core_load(&k, CORE_DATA, &one, sizeof(one));
	SET_HANDLER(&k, X86_PF, on_smap);
	s.cr4 |= X86_CR4_SMAP;
	s.gpr[X86_RSI] = CORE_DATA;
	CHECK_EQ(core_run(&k, &s), VCPU_STOP_REQUEST);
	CHECK_EQ(s.gpr[X86_RBX], 40);
	CHECK_EQ(s.gpr[X86_RBP], 0);
	CHECK_EQ(s.cr2, CORE_DATA);
	CHECK_EQ(s.gpr[X86_RCX], X86_PF_P);
	CHECK(!(s.rflags & X86_FLAG_AC));
	core_fini(&k);
}

/* --- time, control registers --- */

/* EBX: how often it went backwards; R8: the first, RDI: the last. */
/* clang-format off */
CODE(times, "mov $40, %ebp\n xor %ebx, %ebx\n xor %edi, %edi\n"
	"1: mov $0x55555555, %rsi\n rdtsc\n shl $32, %rdx\n or %rdx, %rax\n cmp %rdi, %rax\n adc $0, %ebx\n"
	"test %rdi, %rdi\n cmovz %rax, %r8\n mov %rax, %rdi\n"
	"rdtscp\n shl $32, %rdx\n or %rdx, %rax\n cmp %rdi, %rax\n adc $0, %ebx\n mov %rax, %rdi\n"
	"dec %ebp\n jnz 1b\n" STOP);
/* clang-format on */

TEST(the_tsc_is_the_clocks)
{
	struct core k;
	struct x86_cpu_state s;
	u64 before;

	core_init(&k);
	core_long_mode(&k, &s);
	core_load(&k, CORE_CODE, times, CODE_SIZE(times));
	s.tsc_aux = 0x12345;
	before = vclock_tsc(k.clock) + s.tsc_offset;
	CHECK_EQ(core_run(&k, &s), VCPU_STOP_REQUEST);
	CHECK_EQ(s.gpr[X86_RBX], 0);
	CHECK_EQ(s.gpr[X86_RCX], 0x12345);
	CHECK_EQ(s.gpr[X86_RSI], 0x55555555);
	CHECK(s.gpr[X86_R8] >= before);
	CHECK(s.gpr[X86_RDI] <= vclock_tsc(k.clock) + s.tsc_offset);
	core_fini(&k);
}

/* Each of them faults; the handler counts and goes on behind it. */
CODE(forbidden_time,
     "mov $40, %ebp\n xor %ebx, %ebx\n 1: rdtsc\n rdtscp\n dec %ebp\n jnz 1b\n int $0x80\n");
CODE(skip_time_insn, "add $8, %rsp\n mov (%rsp), %rax\n cmpb $0x31, 1(%rax)\n je 1f\n inc %rax\n"
		     "1: add $2, %rax\n mov %rax, (%rsp)\n inc %ebx\n iretq\n");

TEST(user_code_has_no_tsc_under_tsd)
{
	struct core k;
	struct x86_cpu_state s;

	core_init(&k);
	core_long_mode(&k, &s);
	load_user(&k, forbidden_time, CODE_SIZE(forbidden_time));
	SET_HANDLER(&k, 0x80, stop);
	core_set_gate(&k, 0x80, HANDLER + 0x80 * 0x40, CORE_CS64, 0, 0xee);
	SET_HANDLER(&k, X86_GP, skip_time_insn);
	s.cr4 |= X86_CR4_TSD;
	CHECK_EQ(core_run(&k, &s), VCPU_STOP_REQUEST);
	CHECK_EQ(s.gpr[X86_RBX], 80);
	core_fini(&k);
}

CODE(control,
     "mov $40, %ebp\n 1: mov %cr0, %rax\n mov %cr2, %r10\n mov %cr3, %r11\n mov %cr4, %rdx\n"
     "mov %rax, %rbx\n dec %ebp\n jnz 1b\n" STOP);

TEST(control_registers_are_read)
{
	struct core k;
	struct x86_cpu_state s;

	core_init(&k);
	core_long_mode(&k, &s);
	core_load(&k, CORE_CODE, control, CODE_SIZE(control));
	s.cr2 = 0x123456789abc;
	CHECK_EQ(core_run(&k, &s), VCPU_STOP_REQUEST);
	CHECK_EQ(s.gpr[X86_RBX], s.cr0);
	CHECK_EQ(s.gpr[X86_R10], s.cr2);
	CHECK_EQ(s.gpr[X86_R11], s.cr3);
	CHECK_EQ(s.gpr[X86_RDX], s.cr4);
	core_fini(&k);
}

/* --- the bases of FS and GS --- */

/* To each of them and back, by registers of either kind; once it isn't an address. */
/* clang-format off */
CODE(bases, "mov $0x10000, %eax\n mov %cr4, %rcx\n or %rax, %rcx\n mov %rcx, %cr4\n mov $60, %ebp\n xor %ebx, %ebx\n"
	"movabs $0x8000123400208000, %rdx\n movabs $0x123400208000, %r11\n"
	"1: lea (%r11,%rbp), %rsi\n wrfsbase %rsi\n wrgsbase %r11\n rdfsbase %r15\n rdgsbase %rdi\n"
	"cmp %rsi, %r15\n jne 2f\n cmp %r11, %rdi\n jne 2f\n wrfsbase %esi\n rdfsbase %r10\n mov %esi, %esi\n"
	"cmp %rsi, %r10\n jne 2f\n rdgsbase %r14d\n mov %edi, %edi\n cmp %rdi, %r14\n jne 2f\n inc %ebx\n"
	"incl %fs:0\n 2: cmp $20, %ebp\n jne 3f\n wrgsbase %rdx\n 3: dec %ebp\n jnz 1b\n" STOP);
CODE(on_bases_gp, "addq $5, 8(%rsp)\n add $8, %rsp\n inc %r9d\n iretq\n");
/* clang-format on */

TEST(bases_of_fs_and_gs)
{
	struct core k;
	struct x86_cpu_state s;

	core_init(&k);
	core_long_mode(&k, &s);
	core_load(&k, CORE_CODE, bases, CODE_SIZE(bases));
	core_load(&k, CORE_CODE + 0x1000, on_bases_gp, CODE_SIZE(on_bases_gp));
	core_set_gate(&k, X86_GP, CORE_CODE + 0x1000, CORE_CS64, 0, 0x8e);
	s.gpr[X86_R9] = 0;
	CHECK_EQ(core_run(&k, &s), VCPU_STOP_REQUEST);
	CHECK_EQ(s.gpr[X86_RBX], 60);
	CHECK_EQ(s.gpr[X86_R9], 1);
	CHECK_EQ(s.seg[X86_GS].base, 0x123400208000);
	CHECK_EQ(s.seg[X86_FS].base, 0x208001);
	CHECK_EQ(*core_ram(&k, 0x208001), 1);
	if (core_is_translated(&k))
		CHECK(core_count(&k, SX_N_CALLOUT_UNKNOWN) < 40);
	core_fini(&k);
}

/*
 * SYSCALL and SYSRET between user code at low and a kernel at high addresses, where translated code does them by
 * itself. On both engines; each loop is long enough to be translated, and something happens in its middle.
 */
#include <string.h>

#include "core_fixture.h"
#include "test.h"

#define HIGH    0xffffff8000000000 /* the same memory */
#define KERNEL  (CORE_CODE + 0x1000)
#define HANDLER (CORE_CODE + 0x2000)
#define USER    (CORE_DATA + 0x10000)
#define USER_STACK                                                                                 \
	0x408000u /* its 2 MiB are the stack's alone: entry 2 of the page directory at 0x102000 */
#define RESULTS 0x20000u
#define ROUNDS  60
#define EVENT   20 /* the round, counted down, in which something happens */

/* clang-format off */
CODE(to_user, "mov $0x210000, %ecx\n mov $2, %r11d\n sysretq\n");
/* Pushes where it is, calls, and pops what should be the same: RBX counts what isn't, RDI has it. */
CODE(calls, "mov $60, %ebp\n xor %ebx, %ebx\n"
	"1: push %rbp\n syscall\n pop %rax\n cmp %rax, %rbp\n je 2f\n inc %ebx\n mov %rax, %rdi\n"
	"2: dec %ebp\n jnz 1b\n int $0x80\n");
CODE(stop, STOP);
/* The kernel uses a stack of its own; in one round it jumps to the code behind. */
#define AS_KERNEL(event_)                                                                          \
	"mov %rsp, %r8\n mov $0x88000, %esp\n push %r8\n push %rcx\n push %r11\n"                  \
	"cmp $20, %ebp\n jne 1f\n" event_                                                          \
	"1: pop %r11\n pop %rcx\n pop %r8\n mov %r8, %rsp\n"
CODE(answers, AS_KERNEL("") "sysretq\n");
CODE(remaps, AS_KERNEL("xorl $0x200000, 0x102010\n invlpg 0x400000\n") "sysretq\n");
CODE(remaps_all, AS_KERNEL("xorl $0x200000, 0x102010\n mov %cr3, %rax\n mov %rax, %cr3\n") "sysretq\n");
CODE(protects, AS_KERNEL("andl $~2, 0x102010\n invlpg 0x407000\n") "sysretq\n");
CODE(returns_nowhere, AS_KERNEL("movb $0x80, 14(%rsp)\n") "sysretq\n");
CODE(returns_with_tf, AS_KERNEL("orl $0x100, (%rsp)\n") "sysretq\n");
CODE(returns_with_ac, AS_KERNEL("orl $0x40000, (%rsp)\n") "sysretq\n");
CODE(returns_with_if, AS_KERNEL("orl $0x200, (%rsp)\n") "sysretq\n");
CODE(disables, AS_KERNEL("mov $0xc0000080, %ecx\n rdmsr\n and $~1, %eax\n wrmsr\n") "sysretq\n");
/* An exception's frame to registers; without an error code there is none to be popped. */
CODE(with_code, "pop %rsi\n mov (%rsp), %rdi\n mov 8(%rsp), %r12\n mov 16(%rsp), %r13\n" STOP);
CODE(without_code, "mov (%rsp), %rdi\n mov 8(%rsp), %r12\n mov 16(%rsp), %r13\n" STOP);
/* clang-format on */

static void set_gate(struct core *k, unsigned vector, const void *code, size_t size)
{
	core_load(k, HANDLER + vector * 0x40, code, size);
	core_set_gate(k, vector, HIGH + HANDLER + vector * 0x40, CORE_CS64, 0, 0xee);
}

static void prepare(struct core *k, struct x86_cpu_state *s)
{
	core_init(k);
	core_long_mode(k, s);
	memcpy(core_ram(k, CORE_TABLES + 511 * 8), core_ram(k, CORE_TABLES), 8);
	core_load(k, CORE_CODE, to_user, CODE_SIZE(to_user));
	core_load(k, USER, calls, CODE_SIZE(calls));
	set_gate(k, 0x80, stop, CODE_SIZE(stop));
	s->rip = HIGH + CORE_CODE;
	s->gpr[X86_RSP] = USER_STACK;
	s->efer |= X86_EFER_SCE;
	s->star = (u64)0x20 << 48 | (u64)CORE_CS64 << 32;
	s->lstar = HIGH + KERNEL;
	s->sfmask = X86_FLAG_AC | X86_FLAG_IF | X86_FLAG_DF | X86_FLAG_CF;
}

#define PREPARE(k, s, kernel)                                                                      \
	do {                                                                                       \
		prepare((k), (s));                                                                 \
		core_load((k), KERNEL, kernel, CODE_SIZE(kernel));                                 \
	} while (0)

TEST(calls_and_returns_stay_in_native_code)
{
	struct core k;
	struct x86_cpu_state s;

	PREPARE(&k, &s, answers);
	CHECK_EQ(core_run(&k, &s), VCPU_STOP_REQUEST);
	CHECK_EQ(s.gpr[X86_RBX], 0);
	if (core_is_translated(&k))
		CHECK(core_count(&k, SX_N_CALLOUT_UNKNOWN) < ROUNDS / 2);
	core_fini(&k);
}

/* --- what they make of the state --- */

/* clang-format off */
CODE(with_flags, "mov $60, %ebp\n"
	"1: mov %r14, %rax\n push %rax\n popf\n syscall\n"
	"pushf\n pop %rax\n mov %rax, 0x200000\n mov %cs, %eax\n mov %rax, 0x200008\n mov %ss, %eax\n mov %rax, 0x200010\n"
	"push $2\n popf\n dec %ebp\n jnz 1b\n int $0x80\n");
CODE(looks, "mov %rsp, %r8\n mov $0x88000, %esp\n pushf\n pop %rax\n mov %rax, 0x20000\n mov %r11, 0x20008\n mov %rcx, 0x20010\n"
	"mov %cs, %eax\n mov %rax, 0x20018\n mov %ss, %eax\n mov %rax, 0x20020\n mov %r8, %rsp\n sysretq\n");
/* clang-format on */

static u64 result(struct core *k, u64 at)
{
	u64 v;

	memcpy(&v, core_ram(k, at), sizeof(v));
	return v;
}

TEST(flags_segments_and_addresses)
{
	static const u64 flags[] = {0x2, 0x8d7, 0x402, 0xcd7, 0x2008d7, 0x46};

	for (size_t n = 0; n < ARRAY_SIZE(flags); n++) {
		u64 all = flags[n] | X86_FLAG_ONE;
		struct x86_cpu_state s;
		struct core k;

		PREPARE(&k, &s, looks);
		core_load(&k, USER, with_flags, CODE_SIZE(with_flags));
		s.gpr[X86_R14] = all;
		CHECK_EQ(core_run(&k, &s), VCPU_STOP_REQUEST);
		CHECK_EQ(result(&k, RESULTS), all & ~s.sfmask);
		CHECK_EQ(result(&k, RESULTS + 8), all);
		CHECK_EQ(result(&k, RESULTS + 0x10), USER + 12);
		CHECK_EQ(result(&k, RESULTS + 0x18), CORE_CS64);
		CHECK_EQ(result(&k, RESULTS + 0x20), CORE_DS);
		CHECK_EQ(result(&k, CORE_DATA), all);
		CHECK_EQ(result(&k, CORE_DATA + 8), CORE_USER_CS64);
		CHECK_EQ(result(&k, CORE_DATA + 0x10), CORE_USER_DS);
		core_fini(&k);
	}
}

/* --- the stack's page, which is kept for both privileges --- */

static void check_remapped(struct core *k, struct x86_cpu_state *s)
{
	u64 other = 0x5555;

	core_load(k, 0x600000 + USER_STACK - 0x400000 - 8, &other, sizeof(other));
	CHECK_EQ(core_run(k, s), VCPU_STOP_REQUEST);
	CHECK_EQ(s->gpr[X86_RBX], 1);
	CHECK_EQ(s->gpr[X86_RDI], other);
	core_fini(k);
}

TEST(a_users_stack_is_mapped_elsewhere_meanwhile)
{
	struct core k;
	struct x86_cpu_state s;

	PREPARE(&k, &s, remaps);
	check_remapped(&k, &s);
	PREPARE(&k, &s, remaps_all);
	check_remapped(&k, &s);
}

TEST(a_users_stack_is_write_protected_meanwhile)
{
	struct core k;
	struct x86_cpu_state s;

	PREPARE(&k, &s, protects);
	set_gate(&k, X86_PF, with_code, CODE_SIZE(with_code));
	CHECK_EQ(core_run(&k, &s), VCPU_STOP_REQUEST);
	CHECK_EQ(s.gpr[X86_RSI], X86_PF_P | X86_PF_W | X86_PF_U);
	CHECK_EQ(s.gpr[X86_RBP], EVENT - 1); /* it was popped, and isn't pushed */
	CHECK_EQ(s.cr2, USER_STACK - 8);
	core_fini(&k);
}

/* --- returns that are more than stores --- */

TEST(a_return_to_no_address_faults_before_it)
{
	struct core k;
	struct x86_cpu_state s;

	PREPARE(&k, &s, returns_nowhere);
	set_gate(&k, X86_GP, with_code, CODE_SIZE(with_code));
	CHECK_EQ(core_run(&k, &s), VCPU_STOP_REQUEST);
	CHECK_EQ(s.gpr[X86_RBP], EVENT);
	CHECK_EQ(s.gpr[X86_RSI], 0);
	CHECK_EQ(s.gpr[X86_RDI], HIGH + KERNEL + CODE_SIZE(returns_nowhere) - 3);
	CHECK_EQ(s.gpr[X86_R12], CORE_CS64);
	core_fini(&k);
}

TEST(a_return_with_tf_traps_at_once)
{
	struct core k;
	struct x86_cpu_state s;

	PREPARE(&k, &s, returns_with_tf);
	set_gate(&k, X86_DB, without_code, CODE_SIZE(without_code));
	CHECK_EQ(core_run(&k, &s), VCPU_STOP_REQUEST);
	CHECK_EQ(s.gpr[X86_RBP], EVENT);
	CHECK_EQ(s.gpr[X86_RDI], USER + 10);
	CHECK_EQ(s.gpr[X86_R12], CORE_USER_CS64);
	CHECK(s.gpr[X86_R13] & X86_FLAG_TF);
	CHECK(s.dr6 & X86_DR6_BS);
	core_fini(&k);
}

/* An access to the stack's page that isn't aligned. */
CODE(misaligned,
     "mov $60, %ebp\n"
     "1: push %rbp\n syscall\n mov -3(%rsp), %eax\n pop %rax\n dec %ebp\n jnz 1b\n int $0x80\n");

TEST(a_return_with_ac_checks_alignment)
{
	struct core k;
	struct x86_cpu_state s;

	PREPARE(&k, &s, returns_with_ac);
	core_load(&k, USER, misaligned, CODE_SIZE(misaligned));
	s.cr0 |= X86_CR0_AM;
	set_gate(&k, X86_AC, with_code, CODE_SIZE(with_code));
	CHECK_EQ(core_run(&k, &s), VCPU_STOP_REQUEST);
	CHECK_EQ(s.gpr[X86_RBP], EVENT);
	CHECK_EQ(s.gpr[X86_RDI], USER + 8);
	core_fini(&k);
}

TEST(an_interrupt_that_waits_comes_right_behind_the_return)
{
	struct core k;
	struct x86_cpu_state s;

	PREPARE(&k, &s, returns_with_if);
	set_gate(&k, 0x40, without_code, CODE_SIZE(without_code));
	k.apic[0].pending = APIC_PENDING_INTR;
	k.apic[0].vector = 0x40;
	CHECK_EQ(core_run(&k, &s), VCPU_STOP_REQUEST);
	CHECK_EQ(s.gpr[X86_RBP], EVENT);
	CHECK_EQ(s.gpr[X86_RDI], USER + 10);
	CHECK(s.gpr[X86_R13] & X86_FLAG_IF);
	core_fini(&k);
}

TEST(a_return_where_they_are_disabled_is_no_instruction)
{
	struct core k;
	struct x86_cpu_state s;

	PREPARE(&k, &s, disables);
	set_gate(&k, X86_UD, without_code, CODE_SIZE(without_code));
	CHECK_EQ(core_run(&k, &s), VCPU_STOP_REQUEST);
	CHECK_EQ(s.gpr[X86_RBP], EVENT);
	CHECK_EQ(s.gpr[X86_RDI], HIGH + KERNEL + CODE_SIZE(disables) - 3);
	core_fini(&k);
}

/* A prefix more is a byte more. */
CODE(long_calls, "mov $60, %ebp\n xor %ebx, %ebx\n"
		 "1: .byte 0x48\n syscall\n 2: dec %ebp\n jnz 1b\n mov %rcx, %rbx\n int $0x80\n");

TEST(a_call_with_a_prefix_returns_behind_it)
{
	struct core k;
	struct x86_cpu_state s;

	PREPARE(&k, &s, answers);
	core_load(&k, USER, long_calls, CODE_SIZE(long_calls));
	CHECK_EQ(core_run(&k, &s), VCPU_STOP_REQUEST);
	CHECK_EQ(s.gpr[X86_RBX], USER + 10);
	core_fini(&k);
}

/* --- breakpoints that the kernel sets, on pages that user code keeps --- */

/* clang-format off */
CODE(steps, "mov $60, %ebp\n"
	"1: mov $0x400000, %edi\n mov $100, %ecx\n"
	"2: mov %rbp, (%rdi)\n add $8, %rdi\n dec %ecx\n jnz 2b\n"
	"syscall\n dec %ebp\n jnz 1b\n int $0x80\n");
#define SET_BREAKPOINT(at_, dr7_) "mov $" at_ ", %eax\n mov %rax, %dr0\n mov $" dr7_ ", %eax\n mov %rax, %dr7\n"
CODE(watches_steps, AS_KERNEL(SET_BREAKPOINT("0x400100", "0x90401")) "sysretq\n");
CODE(watches_pushes, AS_KERNEL(SET_BREAKPOINT("0x407ff8", "0x90401")) "sysretq\n");
CODE(watches_pops, AS_KERNEL(SET_BREAKPOINT("0x407ff8", "0xb0401")) "sysretq\n");
CODE(notes_rdi, "mov %rdi, %rsi\n mov (%rsp), %rdi\n mov 8(%rsp), %r12\n mov 16(%rsp), %r13\n" STOP);
/* clang-format on */

/* The user's code traps behind the instruction that ends at `behind`, in that round. */
static void check_trap(struct core *k, struct x86_cpu_state *s, u64 behind, unsigned round)
{
	set_gate(k, X86_DB, notes_rdi, CODE_SIZE(notes_rdi));
	CHECK_EQ(core_run(k, s), VCPU_STOP_REQUEST);
	CHECK_EQ(s->gpr[X86_RDI], USER + behind);
	CHECK_EQ(s->gpr[X86_R12], CORE_USER_CS64);
	CHECK_EQ(s->gpr[X86_RBP], round);
	CHECK_EQ(s->dr6 & 15, 1);
}

TEST(a_breakpoint_on_a_page_that_a_loop_keeps)
{
	struct core k;
	struct x86_cpu_state s;

	PREPARE(&k, &s, watches_steps);
	core_load(&k, USER, steps, CODE_SIZE(steps));
	check_trap(&k, &s, 18, EVENT - 1);
	CHECK_EQ(s.gpr[X86_RSI], 0x400100);
	CHECK_EQ((u32)s.gpr[X86_RCX], 100 - 0x100 / 8);
	core_fini(&k);
}

TEST(a_breakpoint_on_the_stack_of_who_called)
{
	struct core k;
	struct x86_cpu_state s;

	PREPARE(&k, &s, watches_pushes);
	check_trap(&k, &s, 8, EVENT - 1);
	core_fini(&k);
	PREPARE(&k, &s, watches_pops);
	check_trap(&k, &s, 11, EVENT);
	core_fini(&k);
}

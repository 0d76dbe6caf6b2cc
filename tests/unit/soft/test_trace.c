/*
 * Traces: translations that go on behind jumps. Here everything is translated at once, so which side of a conditional jump
 * one goes on at is decided by its address: each program runs at several, so that both sides have been in a trace.
 */
#include <pthread.h>
#include <string.h>

#include "accel/soft/block.h"
#include "accel/soft/cpu.h"
#include "accel/soft/native.h"
#include "base/err.h"
#include "core_fixture.h"
#include "test.h"

#define PLACES 24u

typedef void check_fn(struct core *k, const struct x86_cpu_state *s, u64 at);

/* clang-format off */
CODE(fault_handler, "add $8, %rsp\n mov (%rsp), %r12\n mov 0x10(%rsp), %r13\n mov %cr2, %r14\n mov %rdi, %rdx\n iretq\n");
/* clang-format on */
#define HANDLER 0x18000u

static void run_everywhere(const u8 *code, size_t size, check_fn *check)
{
	for (u64 at = CORE_CODE; at < CORE_CODE + PLACES; at++) {
		struct core k;
		struct x86_cpu_state s;

		core_init(&k);
		core_long_mode(&k, &s);
		core_load(&k, at, code, size);
		core_load(&k, HANDLER, fault_handler, CODE_SIZE(fault_handler));
		core_set_gate(&k, X86_PF, HANDLER, CORE_CS64, 0, 0x8e);
		s.rip = at;
		s.gpr[X86_RDX] = s.gpr[X86_RDI] = CORE_DATA;
		CHECK_EQ(core_run(&k, &s), VCPU_STOP_REQUEST);
		check(&k, &s, at);
		core_fini(&k);
	}
}

/* --- flags --- */

/* Each way out finds flags in EFLAGS that it reads: carries, zeros, and those of INC, which keeps CF. */
/* clang-format off */
CODE(flags, "mov $3000, %ebp\n mov $1, %ebx\n xor %esi, %esi\n xor %edi, %edi\n xor %r10d, %r10d\n"
	"1: imul $1103515245, %ebx, %ebx\n add $12345, %ebx\n mov %ebx, %eax\n"
	"add %ebx, %eax\n jc 2f\n sbb $1, %esi\n jmp 3f\n"
	"2: adc $5, %edi\n"
	"3: test $0x10000, %ebx\n jnz 4f\n lea 1(%rsi), %esi\n jmp 5f\n"
	"4: lea 1(%rdi), %edi\n"
	"5: setz %cl\n movzx %cl, %ecx\n add %ecx, %r10d\n"
	"cmp $0x40000000, %ebx\n inc %r10d\n jb 6f\n add $3, %esi\n jmp 7f\n"
	"6: adc $7, %edi\n"
	"7: dec %ebp\n jnz 1b\n" STOP);
/* clang-format on */

static void check_flags(unused struct core *k, const struct x86_cpu_state *s, unused u64 at)
{
	u32 rbx = 1, rsi = 0, rdi = 0, r10 = 0;

	for (unsigned i = 0; i < 3000; i++) {
		rbx = rbx * 1103515245 + 12345;
		if (rbx >> 31)
			rdi += 6;
		else
			rsi -= 1;
		if (rbx & 0x10000)
			rdi++;
		else
			rsi++, r10++;
		r10++;
		if (rbx < 0x40000000)
			rdi += 8;
		else
			rsi += 3;
	}
	CHECK_EQ(s->gpr[X86_RSI], rsi);
	CHECK_EQ(s->gpr[X86_RDI], rdi);
	CHECK_EQ(s->gpr[X86_R10], r10);
}

TEST(flags_are_there_on_both_ways)
{
	run_everywhere(flags, CODE_SIZE(flags), check_flags);
}

/* --- vectors --- */

/* Sums in XMM registers, a third of which are made on each way. */
/* clang-format off */
CODE(vectors, "mov $999, %ebp\n xor %ecx, %ecx\n mov $1, %eax\n movq %rax, %xmm3\n pxor %xmm0, %xmm0\n"
	"movdqa %xmm0, %xmm1\n movdqa %xmm0, %xmm2\n"
	"1: inc %ecx\n paddq %xmm3, %xmm0\n cmp $2, %ecx\n jb 3f\n paddq %xmm3, %xmm1\n jne 2f\n jmp 3f\n"
	"2: paddq %xmm3, %xmm2\n xor %ecx, %ecx\n"
	"3: dec %ebp\n jnz 1b\n movq %xmm0, %rbx\n movq %xmm1, %rsi\n movq %xmm2, %rdi\n" STOP);
/* clang-format on */

static void check_vectors(unused struct core *k, const struct x86_cpu_state *s, unused u64 at)
{
	CHECK_EQ(s->gpr[X86_RBX], 999);
	CHECK_EQ(s->gpr[X86_RSI], 666);
	CHECK_EQ(s->gpr[X86_RDI], 333);
}

TEST(vector_registers_are_kept_over_jumps)
{
	run_everywhere(vectors, CODE_SIZE(vectors), check_vectors);
}

/* --- faults --- */

/* The load at 3 is from nowhere in one round of 60, with CF set; its handler takes what it saw and mends RDX. */
/* clang-format off */
CODE(faults, "mov $60, %ebp\n xor %ebx, %ebx\n mov $0x7000000000, %rsi\n"
	"1: inc %ebx\n cmp $20, %ebp\n jne 2f\n mov %rsi, %rdx\n"
	"2: test %ebp, %ebp\n jz 4f\n add %ebx, 0x80(%rdi)\n cmp $21, %ebp\n jmp 3f\n .fill 20, 1, 0xcc\n"
	"3: mov 0x10(%rdx), %eax\n adc $0, %ebx\n dec %ebp\n jnz 1b\n"
	"4: " STOP);
/* clang-format on */

static void check_faults(struct core *k, const struct x86_cpu_state *s, u64 at)
{
	const u8 *load = memmem(core_ram(k, at), 0x100, "\x8b\x42\x10", 3);
	u32 rbx = 0, sum = 0;

	for (u32 ebp = 60; ebp; ebp--) {
		sum += ++rbx;
		rbx += ebp < 21;
	}
	CHECK_EQ(s->gpr[X86_RBX], rbx);
	CHECK_EQ(s->gpr[X86_R12], at + (u64)(load - core_ram(k, at)));
	CHECK_EQ(s->gpr[X86_R14], 0x7000000010);
	CHECK_EQ(*(const u32 *)(const void *)core_ram(k, CORE_DATA + 0x80), sum);
}

TEST(a_fault_behind_a_jump_has_the_state_of_its_instruction)
{
	run_everywhere(faults, CODE_SIZE(faults), check_faults);
}

/* --- code that changes --- */

/* In each round it writes the number that it adds behind the next jump, and now and then the jump. */
/* clang-format off */
CODE(rewrites, "mov $60, %ebp\n xor %ebx, %ebx\n xor %esi, %esi\n"
	"1: mov %ebp, %eax\n and $0x3f, %eax\n mov %al, 3f+2(%rip)\n cmp $30, %ebp\n jne 2f\n movb $0x75, 4f(%rip)\n"
	"2: jmp 3f\n .fill 7, 1, 0xcc\n"
	"3: add $0, %ebx\n test %ebp, %ebp\n"
	"4: jz 5f\n inc %esi\n"
	"5: dec %ebp\n jnz 1b\n" STOP);
/* clang-format on */

static void check_rewrites(unused struct core *k, const struct x86_cpu_state *s, unused u64 at)
{
	CHECK_EQ(s->gpr[X86_RBX], 60 * 61 / 2);
	CHECK_EQ(s->gpr[X86_RSI], 30);
}

TEST(a_trace_that_changes_what_comes_later_in_it)
{
	run_everywhere(rewrites, CODE_SIZE(rewrites), check_rewrites);
}

/* --- interrupts --- */

/* Round and round by jumps of which each may be inside a trace: the interrupt finds its way in. */
/* clang-format off */
CODE(endless, "xor %ebx, %ebx\n sti\n jmp 2f\n"
	"1: inc %ebx\n jmp 3f\n"
	"2: incl (%rdi)\n jmp 1b\n"
	"3: test $1, %bl\n jnz 2b\n jmp 1b\n");
CODE(ends, STOP);
/* clang-format on */

#define ROUNDS_BEFORE 10000

static void *interrupt_later(void *arg)
{
	struct core *k = arg;

	while (__atomic_load_n((u32 *)(void *)core_ram(k, CORE_DATA), __ATOMIC_RELAXED) <
	       ROUNDS_BEFORE)
		sched_yield();
	__atomic_store_n(&k->apic[0].pending, APIC_PENDING_INTR, __ATOMIC_RELEASE);
	vcpu_kick(k->vcpu[0]);
	return NULL;
}

TEST(a_loop_of_jumps_is_interrupted)
{
	for (u64 at = CORE_CODE; at < CORE_CODE + PLACES; at++) {
		struct core k;
		struct x86_cpu_state s;
		pthread_t thread;

		core_init(&k);
		core_long_mode(&k, &s);
		core_load(&k, at, endless, CODE_SIZE(endless));
		core_load(&k, HANDLER, ends, CODE_SIZE(ends));
		core_set_gate(&k, 0x40, HANDLER, CORE_CS64, 0, 0x8e);
		k.apic[0].vector = 0x40;
		s.rip = at;
		s.gpr[X86_RDI] = CORE_DATA;
		CHECK_EQ(pthread_create(&thread, NULL, interrupt_later, &k), 0);
		CHECK_EQ(core_run(&k, &s), VCPU_STOP_REQUEST);
		CHECK_EQ(pthread_join(thread, NULL), 0);
		core_fini(&k);
	}
}

/* --- loops of user code that step through memory --- */

#define USER_CODE 0x210000u
/* clang-format off */
CODE(to_user, "pushq $0x2b\n pushq $0x208000\n pushq $0x202\n pushq $0x33\n pushq $0x210000\n iretq\n");

/* Eight bytes every 24 and four every 20, over page boundaries, and a place that stays. */
CODE(steps, "mov $0x300ff1, %esi\n mov $0x320ffa, %edi\n mov $0x310000, %ebp\n mov $20, %r8d\n"
	"mov $2000, %ecx\n xor %eax, %eax\n xor %ebx, %ebx\n"
	"1: add (%rsi), %rax\n add $24, %rsi\n mov %ecx, (%rdi)\n add %r8, %rdi\n add 0x10(%rbp), %rbx\n"
	"dec %ecx\n jnz 1b\n mov %rax, %rdx\n int $0x80\n");
/* clang-format on */

static void load_user(struct core *k, struct x86_cpu_state *s, const u8 *code, size_t size)
{
	core_long_mode(k, s);
	core_load(k, CORE_CODE, to_user, CODE_SIZE(to_user));
	core_load(k, USER_CODE, code, size);
	core_load(k, HANDLER, ends, CODE_SIZE(ends));
	core_set_gate(k, 0x80, HANDLER, CORE_CS64, 0, 0xee);
	core_set_gate(k, X86_PF, HANDLER, CORE_CS64, 0, 0x8e);
	for (u32 at = 0x300000; at < 0x310000; at++)
		*core_ram(k, at) = (u8)(at * 7 + (at >> 8));
	*core_ram(k, 0x310010) = 3;
}

static void run_user(struct core *k, struct x86_cpu_state *s, const u8 *code, size_t size)
{
	core_init(k);
	load_user(k, s, code, size);
	CHECK_EQ(core_run(k, s), VCPU_STOP_REQUEST);
}

/* A loop of two blocks, of which one was left by its other side as often while they became hot: it is one trace all the
 * same, whose accesses step. */
/* clang-format off */
CODE(undecided, "mov $0x300000, %esi\n mov $2000, %ecx\n xor %ebx, %ebx\n mov $1, %edi\n jmp 2f\n"
	"1: add $4, %rsi\n dec %ecx\n jz 3f\n"
	"2: add (%rsi), %ebx\n test %edi, %ecx\n jz 1b\n"
	"dec %ecx\n cmp $1800, %ecx\n ja 2b\n xor %edi, %edi\n jmp 2b\n"
	"3: int $0x80\n");
/* clang-format on */

static u32 undecided_sum(struct core *k)
{
	u32 at = 0x300000, ecx = 2000, edi = 1, sum = 0, v;

	for (;;) {
		memcpy(&v, core_ram(k, at), 4);
		sum += v;
		if (ecx & edi) {
			edi = --ecx > 1800;
			continue;
		}
		at += 4;
		if (!--ecx)
			return sum;
	}
}

/* A flush forgets how long pages are good, not which they were. */
static bool has_kept(struct core *k, u64 page)
{
	const struct sx_strides *s = &sx_cpu_of(k->vcpu[0])->strides;

	for (unsigned n = 0; n < ARRAY_SIZE(s->page); n++) {
		if (s->page[n] == page)
			return true;
	}
	return false;
}

TEST(a_loop_whose_way_was_not_clear_is_one_trace)
{
	struct core k;
	struct x86_cpu_state s;

	core_init(&k);
	sx_cpu_of(k.vcpu[0])->native->heat = 24;
	load_user(&k, &s, undecided, CODE_SIZE(undecided));
	CHECK_EQ(core_run(&k, &s), VCPU_STOP_REQUEST);
	CHECK_EQ((u32)s.gpr[X86_RBX], undecided_sum(&k));
	if (SX_CHAINS_BLOCKS) /* else nothing is known of where blocks lead */
		CHECK(has_kept(&k, 0x301000));
	core_fini(&k);
}

TEST(a_loop_that_steps_over_pages)
{
	struct core k;
	struct x86_cpu_state s;
	u64 sum = 0;

	run_user(&k, &s, steps, CODE_SIZE(steps));
	for (u32 i = 0; i < 2000; i++) {
		u64 value;
		u32 stored;

		memcpy(&value, core_ram(&k, 0x300ff1 + 24 * i), sizeof(value));
		memcpy(&stored, core_ram(&k, 0x320ffa + 20 * i), sizeof(stored));
		sum += value;
		CHECK_EQ(stored, 2000 - i);
	}
	CHECK_EQ(s.gpr[X86_RDX], sum);
	CHECK_EQ(s.gpr[X86_RBX], 6000);
	core_fini(&k);
}

/* Off the end of memory. */
CODE(steps_off, "mov $0x7fe004, %edi\n xor %ecx, %ecx\n 1: inc %ecx\n mov %rcx, (%rdi)\n add $8, "
		"%rdi\n jmp 1b\n");

TEST(a_loop_that_steps_off_the_end)
{
	struct core k;
	struct x86_cpu_state s;

	run_user(&k, &s, steps_off, CODE_SIZE(steps_off));
	CHECK_EQ(s.cr2, CORE_RAM);
	CHECK_EQ(s.gpr[X86_RDI], CORE_RAM - 4);
	CHECK_EQ(s.gpr[X86_RCX], 0x400);
	core_fini(&k);
}

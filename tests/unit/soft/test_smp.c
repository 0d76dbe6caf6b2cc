/*
 * Two CPUs on two threads, and a third thread that changes memory under them. Built for
 * ThreadSanitizer, too.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/epoch.h"
#include "base/err.h"
#include "clock/vclock.h"
#include "core_fixture.h"
#include "mem/gmem.h"
#include "test.h"

#define ROUNDS 20000

/* Guests race on their own memory; that is theirs to get right. So does a copy that is made again. */
const char *__tsan_default_suppressions(void);
__attribute__((visibility("default"))) const char *__tsan_default_suppressions(void)
{
	return "race:sx_host_load\nrace:sx_host_store\nrace:copy_pages\n";
}

struct runner {
	struct core *k;
	unsigned id;
	struct x86_cpu_state s;
	enum vcpu_stop stop;
	pthread_t thread;
};

static void *run_thread(void *arg)
{
	struct runner *r = arg;
	struct err err = ERR_INIT;

	gmem_attach_thread(r->k->gmem);
	r->k->vcpu[r->id]->ops->set_state(r->k->vcpu[r->id], &r->s, &err);
	r->stop = vcpu_run(r->k->vcpu[r->id]);
	r->k->vcpu[r->id]->ops->get_state(r->k->vcpu[r->id], &r->s, &err);
	gmem_detach_thread(r->k->gmem);
	return NULL;
}

static void start(struct runner *r, struct core *k, unsigned id, const struct x86_cpu_state *s,
		  u64 rip)
{
	r->k = k;
	r->id = id;
	r->s = *s;
	r->s.rip = rip;
	r->s.gpr[X86_RSP] -= id * 0x2000;
	CHECK_EQ(pthread_create(&r->thread, NULL, run_thread, r), 0);
}

static void start_two(struct runner r[2], struct core *k)
{
	struct x86_cpu_state s;

	core_long_mode(k, &s);
	start(&r[0], k, 0, &s, CORE_CODE);
	start(&r[1], k, 1, &s, CORE_CODE + 0x1000);
}

static void finish(struct runner *r)
{
	CHECK_EQ(pthread_join(r->thread, NULL), 0);
	CHECK_EQ(r->stop, VCPU_STOP_REQUEST);
}

/* Each adds to one counter, half of it across a cache line and page. */
CODE(count_up,
     "mov $20000, %ecx\n 1: lock incl 0x200000\n lock incl 0x200ffe\n dec %ecx\n jnz 1b\n");
CODE(stop_0, "xor %eax, %eax\n out %al, $0xf4\n");
CODE(stop_1, "xor %eax, %eax\n out %al, $0xf5\n");

static void load_two(struct core *k, const void *code, size_t size)
{
	core_load(k, CORE_CODE, code, size);
	core_load(k, CORE_CODE + size, stop_0, CODE_SIZE(stop_0));
	core_load(k, CORE_CODE + 0x1000, code, size);
	core_load(k, CORE_CODE + 0x1000 + size, stop_1, CODE_SIZE(stop_1));
}

TEST(locked_increments_of_two_cpus_add_up)
{
	struct core k;
	struct runner r[2];
	u32 v;

	core_init(&k);
	load_two(&k, count_up, CODE_SIZE(count_up));
	start_two(r, &k);
	finish(&r[0]);
	finish(&r[1]);
	memcpy(&v, core_ram(&k, 0x200000), 4);
	CHECK_EQ(v, 2 * ROUNDS);
	memcpy(&v, core_ram(&k, 0x200ffe), 4);
	CHECK_EQ(v, 2 * ROUNDS);
	core_fini(&k);
}

/* Each notes the latest time that anybody has seen, and counts those that are earlier. */
CODE(look_at_time, "mov $30000, %ecx\n"
		   "1: mov 0x200000, %r8\n lfence\n rdtsc\n shl $32, %rdx\n or %rdx, %rax\n"
		   "cmp %r8, %rax\n jae 2f\n lock incl 0x201000\n"
		   "2: mov %rax, %rbx\n mov 0x200000, %rax\n"
		   "3: cmp %rax, %rbx\n jbe 4f\n lock cmpxchg %rbx, 0x200000\n jne 3b\n"
		   "4: dec %ecx\n jnz 1b\n");

TEST(the_tsc_is_one_for_all_cpus)
{
	struct core k;
	struct runner r[2];
	u64 latest;
	u32 n;

	core_init(&k);
	load_two(&k, look_at_time, CODE_SIZE(look_at_time));
	start_two(r, &k);
	finish(&r[0]);
	finish(&r[1]);
	memcpy(&n, core_ram(&k, 0x201000), 4);
	CHECK_EQ(n, 0);
	memcpy(&latest, core_ram(&k, 0x200000), 8);
	latest -= r[0].s.tsc_offset;
	CHECK(latest && latest <= vclock_tsc(k.clock));
	/* Nor does it go back where the clock stands and is started again. */
	vclock_stop(k.clock);
	CHECK(latest <= vclock_tsc(k.clock));
	vclock_start(k.clock);
	start_two(r, &k);
	finish(&r[0]);
	finish(&r[1]);
	memcpy(&n, core_ram(&k, 0x201000), 4);
	CHECK_EQ(n, 0);
	core_fini(&k);
}

/*
 * CPU 0 writes a function's immediate, serializes by a flag, and waits for CPU 1, which calls it,
 * to answer: no stale code is ever run. Both write to the code page in turn, so that write
 * permission is taken from one for the other again and again.
 */
CODE(writer, "mov $1, %ecx\n"
	     "1: mov %ecx, 0x300001\n" /* mov $imm, %eax; ret */
	     "mov %ecx, 0x200000\n"
	     "2: pause\n cmp %ecx, 0x201000\n jne 2b\n"
	     "inc %ecx\n cmp $2000, %ecx\n jne 1b\n");
CODE(caller, "mov $1, %ecx\n mov $0x300000, %edx\n xor %ebx, %ebx\n"
	     "1: pause\n cmp %ecx, 0x200000\n jne 1b\n"
	     "call *%rdx\n cmp %ecx, %eax\n je 2f\n inc %ebx\n 2: mov %ecx, 0x300800\n"
	     "mov %ecx, 0x201000\n"
	     "inc %ecx\n cmp $2000, %ecx\n jne 1b\n");

static void add_page_flushes(void *opaque, const struct vcpu_counter *n)
{
	if (!strcmp(n->group, "requests") && !strcmp(n->name, "flush-page"))
		*(u64 *)opaque += n->value;
}

TEST(code_written_by_another_cpu_is_never_stale)
{
	struct core k;
	struct runner r[2];
	u64 flushes = 0;

	core_init(&k);
	core_load(&k, CORE_CODE, writer, CODE_SIZE(writer));
	core_load(&k, CORE_CODE + CODE_SIZE(writer), stop_0, CODE_SIZE(stop_0));
	core_load(&k, CORE_CODE + 0x1000, caller, CODE_SIZE(caller));
	core_load(&k, CORE_CODE + 0x1000 + CODE_SIZE(caller), stop_1, CODE_SIZE(stop_1));
	core_load(&k, 0x300000, "\xb8\0\0\0\0\xc3", 6);
	start_two(r, &k);
	finish(&r[0]);
	finish(&r[1]);
	CHECK_EQ(r[1].s.gpr[X86_RBX], 0);
	vcpu_count(k.vcpu[0], add_page_flushes, &flushes);
	vcpu_count(k.vcpu[1], add_page_flushes, &flushes);
	CHECK(flushes > 0);
	core_fini(&k);
}

/* Both look at a byte of a window that is mapped to one block, then the other, then gone. */
CODE(watcher, "1: cmpb $2, 0x400000\n jne 1b\n");

TEST(a_changed_map_is_seen_by_running_cpus)
{
	struct core k;
	struct runner r[2];
	struct err err;
	struct gmem_block *other;
	struct gmem_range ranges[3];

	core_init(&k);
	CHECK_EQ(gmem_block_new(k.gmem, "other", GMEM_ANON, 2 * MIB, -1, &other, &err), 0);
	other->hva[0] = 2;
	load_two(&k, watcher, CODE_SIZE(watcher));
	start_two(r, &k);
	for (unsigned n = 0; n < 50; n++) {
		/* The window is left out, and back as it was. */
		ranges[0] = (struct gmem_range){0, 4 * MIB, k.ram, 0, false};
		ranges[1] = (struct gmem_range){6 * MIB, 2 * MIB, k.ram, 6 * MIB, false};
		gmem_set_map(k.gmem, ranges, 2);
		ranges[2] = (struct gmem_range){4 * MIB, 2 * MIB, k.ram, 4 * MIB, false};
		gmem_set_map(k.gmem, ranges, 3);
	}
	ranges[2].block = other;
	ranges[2].offset = 0;
	gmem_set_map(k.gmem, ranges, 3);
	finish(&r[0]);
	finish(&r[1]);
	core_fini(&k);
}

CODE(ap_start, ".code16\n mov $0x77, %al\n mov %al, %cs:0x100\n xor %al, %al\n out %al, $0xf5\n");

TEST(init_and_sipi_start_a_waiting_cpu)
{
	struct core k;
	struct runner r = {.id = 1};

	core_init(&k);
	core_load(&k, CORE_CODE, ap_start, CODE_SIZE(ap_start));
	r.k = &k;
	x86_cpu_reset(&r.s, false);
	CHECK_EQ(r.s.run_state, X86_WAIT_FOR_SIPI);
	CHECK_EQ(pthread_create(&r.thread, NULL, run_thread, &r), 0);
	__atomic_store_n(&k.apic[1].pending, APIC_PENDING_INIT, __ATOMIC_RELEASE);
	vcpu_kick(k.vcpu[1]);
	while (__atomic_load_n(&k.apic[1].pending, __ATOMIC_ACQUIRE))
		sched_yield();
	__atomic_store_n(&k.apic[1].pending, APIC_PENDING_SIPI, __ATOMIC_RELEASE);
	vcpu_kick(k.vcpu[1]);
	finish(&r);
	CHECK_EQ(*core_ram(&k, CORE_CODE + 0x100), 0x77);
	core_fini(&k);
}

/*
 * Each sleeps until the other wakes it, with interrupts off but for the sleep: who goes on behind HLT though nobody
 * woke it is asleep where nobody can wake it. What each writes to a port wakes the other.
 */
CODE(sleeps_first, "mov $2000, %ecx\n 1: sti\n hlt\n cli\n out %al, $0x80\n dec %ecx\n jnz 1b\n");
CODE(wakes_first, "mov $2000, %ecx\n 1: out %al, $0x81\n sti\n hlt\n cli\n dec %ecx\n jnz 1b\n");
CODE(returns, "iretq\n");

/* Each port is written by one of them alone, so that its number says who wakes whom. */
static void wake_other(unused void *opaque, struct core *k, u16 port)
{
	unsigned id = port - 0x80;

	__atomic_fetch_or(&k->apic[id].pending, APIC_PENDING_INTR, __ATOMIC_RELEASE);
	vcpu_kick(k->vcpu[id]);
}

TEST(two_cpus_wake_each_other_from_hlt)
{
	struct core k;
	struct runner r[2];

	core_init(&k);
	k.on_port = wake_other;
	k.apic[0].vector = k.apic[1].vector = 0x40;
	core_load(&k, CORE_CODE, wakes_first, CODE_SIZE(wakes_first));
	core_load(&k, CORE_CODE + CODE_SIZE(wakes_first), stop_0, CODE_SIZE(stop_0));
	core_load(&k, CORE_CODE + 0x1000, sleeps_first, CODE_SIZE(sleeps_first));
	core_load(&k, CORE_CODE + 0x1000 + CODE_SIZE(sleeps_first), stop_1, CODE_SIZE(stop_1));
	core_load(&k, CORE_CODE + 0x2000, returns, CODE_SIZE(returns));
	core_set_gate(&k, 0x40, CORE_CODE + 0x2000, CORE_CS64, 0, 0x8e);
	start_two(r, &k);
	finish(&r[0]);
	finish(&r[1]);
	CHECK_EQ((u32)r[0].s.gpr[X86_RCX], 0);
	CHECK_EQ((u32)r[1].s.gpr[X86_RCX], 0);
	core_fini(&k);
}

/*
 * User code that reads one place in a loop, until the other CPU has mapped another page there and told it by an
 * interrupt, in which it forgets the old one; and writes another place, which says how far it is.
 */
/* clang-format off */
CODE(enters_user, "pushq $0x2b\n pushq $0x208000\n pushq $0x202\n pushq $0x33\n pushq $0x220000\n iretq\n");
CODE(reads_on, "mov $0x400000, %edi\n mov $0x210000, %esi\n"
	"1: incl (%rsi)\n mov 8(%rdi), %eax\n cmp $0x77, %eax\n jne 1b\n int $0x41\n");
CODE(invalidates, "invlpg 0x400000\n iretq\n");
CODE(maps_another, "1: cmpl $10000, 0x210000\n jb 1b\n xorl $0x200000, 0x102010\n out %al, $0x80\n");
/* clang-format on */

TEST(a_page_that_a_loop_reads_is_mapped_anew_by_another_cpu)
{
	struct core k;
	struct runner r[2];

	core_init(&k);
	k.on_port = wake_other;
	k.apic[0].vector = 0x40;
	core_load(&k, CORE_CODE, enters_user, CODE_SIZE(enters_user));
	core_load(&k, 0x220000, reads_on, CODE_SIZE(reads_on));
	core_load(&k, CORE_CODE + 0x1000, maps_another, CODE_SIZE(maps_another));
	core_load(&k, CORE_CODE + 0x1000 + CODE_SIZE(maps_another), stop_1, CODE_SIZE(stop_1));
	core_load(&k, CORE_CODE + 0x2000, invalidates, CODE_SIZE(invalidates));
	core_load(&k, CORE_CODE + 0x3000, stop_0, CODE_SIZE(stop_0));
	core_set_gate(&k, 0x40, CORE_CODE + 0x2000, CORE_CS64, 0, 0x8e);
	core_set_gate(&k, 0x41, CORE_CODE + 0x3000, CORE_CS64, 0, 0xee);
	*core_ram(&k, 0x600008) = 0x77;
	start_two(r, &k);
	finish(&r[0]);
	finish(&r[1]);
	CHECK_EQ((u32)r[0].s.gpr[X86_RSI], 0x210000);
	core_fini(&k);
}

/*
 * A loop that counts in memory and never leaves its page, without interrupts, until somebody else overwrites the jump at
 * its end.
 */
#define TURNS_AT 0x200000u
#define JUMP_AT  (CORE_CODE + 0x100c)
CODE(turns, "1: inc %ecx\n mov %ecx, 0x200000\n jnz 2f\n nop\n 2: jmp 1b\n");
CODE(overwrites_turns, "1: cmpl $100000, 0x200000\n jb 1b\n movw $0x9090, 0x1100c\n");

static void load_turns(struct core *k)
{
	core_load(k, CORE_CODE + 0x1000, turns, CODE_SIZE(turns));
	core_load(k, CORE_CODE + 0x1000 + CODE_SIZE(turns), stop_1, CODE_SIZE(stop_1));
	CHECK_EQ(*core_ram(k, JUMP_AT), 0xeb);
}

TEST(a_loop_whose_code_another_cpu_overwrites_ends)
{
	for (unsigned n = 0; n < 10; n++) {
		struct core k;
		struct runner r[2];

		core_init(&k);
		load_turns(&k);
		core_load(&k, CORE_CODE, overwrites_turns, CODE_SIZE(overwrites_turns));
		core_load(&k, CORE_CODE + CODE_SIZE(overwrites_turns), stop_0, CODE_SIZE(stop_0));
		start_two(r, &k);
		finish(&r[0]);
		finish(&r[1]);
		core_fini(&k);
	}
}

TEST(a_loop_whose_code_a_device_overwrites_ends)
{
	for (unsigned n = 0; n < 10; n++) {
		struct core k;
		struct x86_cpu_state s;
		struct runner r;

		core_init(&k);
		load_turns(&k);
		core_long_mode(&k, &s);
		start(&r, &k, 1, &s, CORE_CODE + 0x1000);
		while (__atomic_load_n((u32 *)(void *)core_ram(&k, TURNS_AT), __ATOMIC_RELAXED) <
		       100000)
			sched_yield();
		CHECK_EQ(gmem_write(k.gmem, JUMP_AT, "\x90\x90", 2), 0);
		finish(&r);
		core_fini(&k);
	}
}

/* --- loops that keep pages, and what others do with these --- */

/*
 * User code that steps through two pages, storing the round that it is in: into the immediate of a function of the other
 * CPU's, too, which sits among them: of a byte, so that none is half old. Who calls it between two looks at the round is
 * given one that is between these, or the next, of which the byte can tell fewer than 256.
 */
/* clang-format off */
CODE(steps_over_code, "xor %ebx, %ebx\n"
	"1: inc %ebx\n mov $0x300000, %edi\n mov $32, %ecx\n"
	"2: mov %bl, (%rdi)\n add $256, %rdi\n dec %ecx\n jnz 2b\n"
	"mov %ebx, 0x210000\n cmp $6000, %ebx\n jb 1b\n int $0x41\n");
CODE(calls_among_steps, "mov $0x3000ff, %edx\n xor %ebp, %ebp\n xor %ebx, %ebx\n"
	"1: mov 0x210000, %ecx\n call *%rdx\n mov 0x210000, %esi\n inc %esi\n sub %ecx, %esi\n"
	"cmp $255, %esi\n ja 2f\n incl %ebp\n sub %cl, %al\n movzbl %al, %eax\n cmp %esi, %eax\n jbe 2f\n inc %ebx\n"
	"2: cmp $6000, %ecx\n jb 1b\n");
/* clang-format on */

static void start_in_user_mode(struct core *k, const void *code, size_t size)
{
	core_load(k, CORE_CODE, enters_user, CODE_SIZE(enters_user));
	core_load(k, 0x220000, code, size);
	core_load(k, CORE_CODE + 0x3000, stop_0, CODE_SIZE(stop_0));
	core_set_gate(k, 0x41, CORE_CODE + 0x3000, CORE_CS64, 0, 0xee);
}

TEST(a_page_that_a_loop_writes_becomes_code_of_another_cpu)
{
	struct core k;
	struct runner r[2];

	core_init(&k);
	start_in_user_mode(&k, steps_over_code, CODE_SIZE(steps_over_code));
	core_load(&k, 0x3000ff, "\xb0\0\xc3", 3);
	core_load(&k, CORE_CODE + 0x1000, calls_among_steps, CODE_SIZE(calls_among_steps));
	core_load(&k, CORE_CODE + 0x1000 + CODE_SIZE(calls_among_steps), stop_1, CODE_SIZE(stop_1));
	start_two(r, &k);
	finish(&r[0]);
	finish(&r[1]);
	CHECK_EQ(r[1].s.gpr[X86_RBX], 0);
	CHECK((u32)r[1].s.gpr[X86_RBP]);
	core_fini(&k);
}

/* The same over 1 MiB and on the stack, while its memory is copied by the dirty log. */
/* clang-format off */
CODE(steps_on, "xor %ebx, %ebx\n"
	"1: inc %ebx\n mov $0x300000, %edi\n mov $4096, %ecx\n"
	"2: mov %rbx, (%rdi)\n add $256, %rdi\n push %rbx\n pop %rax\n dec %ecx\n jnz 2b\n"
	"cmpb $0, 0x210000\n je 1b\n int $0x41\n");
/* clang-format on */

#define LOGGED     (CORE_RAM / PAGE_SIZE)
#define COPY_ROUND 40

static noinline void copy_pages(struct core *k, u8 *copy, const u64 *bits)
{
	for (unsigned n = 0; n < LOGGED; n++) {
		if (bits[n / 64] & BIT(n % 64))
			memcpy(copy + n * PAGE_SIZE, core_ram(k, n * PAGE_SIZE), PAGE_SIZE);
	}
}

static void copy_dirty(struct core *k, u8 *copy)
{
	u64 bits[LOGGED / 64];

	gmem_log_take(k->gmem, k->ram, bits);
	copy_pages(k, copy, bits);
}

TEST(memory_copied_by_the_dirty_log_while_loops_write_it)
{
	u8 *copy = malloc(CORE_RAM);
	u64 all[LOGGED / 64];
	struct err err = ERR_INIT;
	struct runner r;
	struct core k;
	struct x86_cpu_state s;

	core_init(&k);
	start_in_user_mode(&k, steps_on, CODE_SIZE(steps_on));
	core_long_mode(&k, &s);
	start(&r, &k, 0, &s, CORE_CODE);
	while (__atomic_load_n((u64 *)(void *)core_ram(&k, 0x300000), __ATOMIC_RELAXED) < 3)
		sched_yield();
	CHECK_EQ(gmem_log_start(k.gmem, &err), 0);
	memset(all, 0xff, sizeof(all));
	copy_pages(&k, copy, all);
	for (unsigned n = 0; n < COPY_ROUND; n++)
		copy_dirty(&k, copy);
	*core_ram(&k, 0x210000) = 1;
	gmem_block_written(k.ram, 0x210000, 1);
	finish(&r);
	copy_dirty(&k, copy);
	CHECK(!memcmp(copy, core_ram(&k, 0), CORE_RAM));
	gmem_log_stop(k.gmem);
	free(copy);
	core_fini(&k);
}

/*
 * As Linux patches code: a breakpoint on the first byte, a word to all CPUs, the other bytes, a word, the first byte. The
 * patched instruction is in the middle of a straight run, and its bytes are all the same: a mixture would be seen.
 */
/* clang-format off */
#define ALL_HAVE_IT "incl 0x200000\n mov 0x200000, %eax\n 7: pause\n cmp %eax, 0x201000\n jne 7b\n"
CODE(patches, "mov $100, %ebx\n mov $0x11111111, %r8d\n"
	"1: movl $0, 0x202000\n movb $0xcc, 0x30000a\n" ALL_HAVE_IT
	"xor $0x33333333, %r8d\n mov %r8d, 0x30000b\n" ALL_HAVE_IT
	"movb $0xb8, 0x30000a\n" ALL_HAVE_IT "mov %r8d, 0x202000\n"
	"dec %ebx\n jnz 1b\n movl $1, 0x203000\n");
/* What it calls: the constant, among what shares its trace. R12 counts mixtures, R13 old constants behind the last word. */
CODE(is_patched, "xor %esi, %esi\n lea 1(%rdi), %r9\n nop\n nop\n nop\n nop\n mov $0x11111111, %eax\n"
	"lea 1(%rdi), %r9\n jmp 1f\n 1: ret\n");
CODE(calls_patched, "mov $0x300000, %r8d\n xor %r12d, %r12d\n xor %r13d, %r13d\n"
	"1: xor %eax, %eax\n cpuid\n mov 0x202000, %ebp\n mov 0x200000, %ecx\n mov %ecx, 0x201000\n call *%r8\n"
	"cmp $0x99, %eax\n je 3f\n cmp $0x11111111, %eax\n je 2f\n cmp $0x22222222, %eax\n je 2f\n inc %r12d\n"
	"2: test %ebp, %ebp\n jz 3f\n cmp %eax, %ebp\n je 3f\n inc %r13d\n"
	"3: cmpl $0, 0x203000\n je 1b\n");
/* Few of them: ThreadSanitizer has no room for many long jumps. */
CODE(is_patching, "addq $4, (%rsp)\n mov $2000, %ecx\n 1: pause\n dec %ecx\n jnz 1b\n mov $0x99, %eax\n iretq\n");
/* clang-format on */

TEST(code_patched_by_way_of_a_breakpoint)
{
	struct core k;
	struct runner r[2];

	core_init(&k);
	core_load(&k, 0x300000, is_patched, CODE_SIZE(is_patched));
	CHECK_EQ(*core_ram(&k, 0x30000a), 0xb8);
	core_load(&k, CORE_CODE, patches, CODE_SIZE(patches));
	core_load(&k, CORE_CODE + CODE_SIZE(patches), stop_0, CODE_SIZE(stop_0));
	core_load(&k, CORE_CODE + 0x1000, calls_patched, CODE_SIZE(calls_patched));
	core_load(&k, CORE_CODE + 0x1000 + CODE_SIZE(calls_patched), stop_1, CODE_SIZE(stop_1));
	core_load(&k, CORE_CODE + 0x2000, is_patching, CODE_SIZE(is_patching));
	core_set_gate(&k, X86_BP, CORE_CODE + 0x2000, CORE_CS64, 0, 0x8e);
	start_two(r, &k);
	finish(&r[0]);
	finish(&r[1]);
	CHECK_EQ(r[1].s.gpr[X86_R12], 0);
	CHECK_EQ(r[1].s.gpr[X86_R13], 0);
	core_fini(&k);
}

/*
 * A loop whose condition stands behind its body, as compilers lay them out, waits for something that lies across two pages
 * and that an interrupt's handler writes. The other thread sees it waiting.
 */
/* clang-format off */
CODE(waits_across_pages, "mov $0x200000, %esi\n sti\n jmp 2f\n"
	"1: mov 0xffc(%rsi), %rax\n or 0x1004(%rsi), %rax\n jnz 3f\n"
	"2: incl 0x210000\n jmp 1b\n"
	"3: nop\n" STOP);
CODE(ends_the_wait, "incl 0x201004\n iretq\n");
/* clang-format on */

TEST(a_loop_over_two_pages_is_interrupted)
{
	struct runner r;
	struct core k;
	struct x86_cpu_state s;

	core_init(&k);
	core_load(&k, CORE_CODE, waits_across_pages, CODE_SIZE(waits_across_pages));
	core_load(&k, CORE_CODE + 0x2000, ends_the_wait, CODE_SIZE(ends_the_wait));
	core_set_gate(&k, 0x40, CORE_CODE + 0x2000, CORE_CS64, 0, 0x8e);
	core_long_mode(&k, &s);
	start(&r, &k, 0, &s, CORE_CODE);
	while (__atomic_load_n((u32 *)(void *)core_ram(&k, 0x210000), __ATOMIC_RELAXED) < 1000)
		sched_yield();
	k.apic[0].vector = 0x40;
	wake_other(NULL, &k, 0x80);
	finish(&r);
	core_fini(&k);
}

/* --- a program that moves --- */

/* Flags from turn to turn, vectors, x87, the stack, strings; what it has come to is in registers at its end. */
/* clang-format off */
CODE(many_kinds, "mov $100000, %ebp\n xor %ebx, %ebx\n xor %edx, %edx\n mov $3, %r8d\n fninit\n fldz\n"
	"cvtsi2sd %ebp, %xmm1\n xorps %xmm2, %xmm2\n xorps %xmm3, %xmm3\n"
	"1: add %rbp, %rbx\n adc $7, %rdx\n lea 5(%rdx,%rbx), %r9\n push %r9\n push %rdx\n"
	"mov %ebp, 0x200ffe\n fildl 0x200ffe\n faddp\n"
	"cvtsi2sd %ebp, %xmm0\n addsd %xmm0, %xmm2\n divsd %xmm1, %xmm2\n paddq %xmm0, %xmm3\n"
	"mov $0x201000, %edi\n mov $24, %ecx\n mov %rbx, %rax\n rep stosb\n"
	"2: ror $3, %r9\n adc %r9, %r10\n dec %r8d\n jnz 2b\n mov $3, %r8d\n"
	"call 4f\n pop %rax\n pop %r11\n xor %rax, %r10\n sub %r11, %r14\n sbb $0, %r15\n"
	"dec %ebp\n jnz 1b\n fistpll 0x200000\n mov 0x200000, %rsi\n movq %xmm3, %r12\n movq %xmm2, %r13\n out %al, $0x80\n"
	"3: jmp 3b\n"
	"4: cmp %rbx, 0x201008\n jb 5f\n rol $1, %r10\n 5: ret\n");
/* clang-format on */

struct mover {
	struct core *k;
	unsigned at; /* the CPU that has it */
	bool is_over;
};

static void want(struct core *k, unsigned id)
{
	__atomic_store_n(&k->vcpu[id]->is_wanted, true, __ATOMIC_RELEASE);
	vcpu_kick(k->vcpu[id]);
}

static void *keep_moving(void *arg)
{
	struct mover *m = arg;

	while (!__atomic_load_n(&m->is_over, __ATOMIC_ACQUIRE)) {
		want(m->k, __atomic_load_n(&m->at, __ATOMIC_ACQUIRE));
		sched_yield();
	}
	return NULL;
}

static void is_over(void *opaque, struct core *k, unused u16 port)
{
	struct mover *m = opaque;

	__atomic_store_n(&m->is_over, true, __ATOMIC_RELEASE);
	want(k, m->at);
}

/* From CPU to CPU, as a saved guest goes from process to process; times: how often. */
static void run_moving(struct core *k, struct x86_cpu_state *s, bool moves, unsigned *times)
{
	struct mover m = {.k = k};
	struct err err = ERR_INIT;
	pthread_t thread;

	k->on_port = is_over;
	k->on_port_opaque = &m;
	if (moves)
		CHECK_EQ(pthread_create(&thread, NULL, keep_moving, &m), 0);
	for (*times = 0; !m.is_over; ++*times) {
		struct vcpu *v = k->vcpu[m.at];

		__atomic_store_n(&v->is_wanted, false, __ATOMIC_RELEASE);
		CHECK_EQ(v->ops->set_state(v, s, &err), 0);
		CHECK_EQ(vcpu_run(v), VCPU_STOP_REQUEST);
		CHECK_EQ(v->ops->get_state(v, s, &err), 0);
		__atomic_store_n(&m.at, 1 - m.at, __ATOMIC_RELEASE);
	}
	if (moves)
		CHECK_EQ(pthread_join(thread, NULL), 0);
	k->on_port = NULL;
	k->on_port_opaque = NULL;
}

TEST(a_program_that_moves_from_cpu_to_cpu_comes_to_the_same)
{
	struct x86_cpu_state begin, s, t;
	unsigned times, tries = 0;
	struct core k;

	core_init(&k);
	core_load(&k, CORE_CODE, many_kinds, CODE_SIZE(many_kinds));
	core_long_mode(&k, &begin);
	s = begin;
	run_moving(&k, &s, false, &times);
	CHECK_EQ(times, 1);
	do { /* it ends within milliseconds, in which a busy host may run no other thread */
		t = begin;
		run_moving(&k, &t, true, &times);
		CHECK(!memcmp(s.gpr, t.gpr, sizeof(s.gpr)));
		CHECK_EQ(s.rflags, t.rflags);
	} while (times <= 2 && ++tries < 100);
	CHECK(times > 2);
	core_fini(&k);
}

/* --- a write to registers and to memory behind them, while the map changes --- */

/* 4 MiB on are devices, 6 MiB on memory: each write lies across. */
CODE(writes_across,
     "mov $3000, %ecx\n mov $0x5ffffc, %edi\n 1: mov %rcx, (%rdi)\n dec %ecx\n jnz 1b\n");

/* The same map, another object; the first is freed once nobody reads it. */
static void change_map(unused void *opaque, struct core *k, unused gpa_t gpa)
{
	struct gmem_range range = {0, CORE_RAM, k->ram, 0, false};

	gmem_set_map(k->gmem, &range, 1);
}

static void *keep_collecting(void *arg)
{
	struct mover *m = arg;

	while (!__atomic_load_n(&m->is_over, __ATOMIC_ACQUIRE))
		epoch_collect(m->k->epoch);
	return NULL;
}

TEST(the_map_is_changed_between_the_halves_of_a_write)
{
	u64 devices = CORE_MMIO | 0x83;
	struct core k;
	struct mover m = {.k = &k};
	struct x86_cpu_state s;
	pthread_t thread;

	core_init(&k);
	core_load(&k, CORE_CODE, writes_across, CODE_SIZE(writes_across));
	core_load(&k, CORE_CODE + CODE_SIZE(writes_across), stop_0, CODE_SIZE(stop_0));
	core_long_mode(&k, &s);
	core_load(&k, CORE_TABLES + 0x2000 + 2 * 8, &devices, 8);
	k.on_mmio = change_map;
	CHECK_EQ(pthread_create(&thread, NULL, keep_collecting, &m), 0);
	CHECK_EQ(core_run(&k, &s), VCPU_STOP_REQUEST);
	__atomic_store_n(&m.is_over, true, __ATOMIC_RELEASE);
	CHECK_EQ(pthread_join(thread, NULL), 0);
	CHECK_EQ(k.mmio_writes, 3000);
	core_fini(&k);
}

static void map_with(struct core *k, bool is_readonly)
{
	struct gmem_range ranges[] = {
		{0, 3 * MIB, k->ram, 0, false},
		{3 * MIB, MIB, k->ram, 3 * MIB, is_readonly},
		{4 * MIB, CORE_RAM - 4 * MIB, k->ram, 4 * MIB, false},
	};

	gmem_set_map(k->gmem, ranges, ARRAY_SIZE(ranges));
}

static bool is_changing(struct core *k, unsigned n_writes)
{
	u64 *first = (void *)core_ram(k, 0x300000),
	    before = __atomic_load_n(first, __ATOMIC_RELAXED);
	unsigned from = __atomic_load_n(&k->mmio_writes, __ATOMIC_RELAXED);

	while (__atomic_load_n(&k->mmio_writes, __ATOMIC_RELAXED) - from < n_writes)
		sched_yield();
	return __atomic_load_n(first, __ATOMIC_RELAXED) != before;
}

TEST(memory_that_becomes_read_only_while_a_loop_writes_it)
{
	u64 *first;
	struct runner r;
	struct core k;
	struct x86_cpu_state s;

	core_init(&k);
	first = (void *)core_ram(&k, 0x300000);
	start_in_user_mode(&k, steps_on, CODE_SIZE(steps_on));
	core_long_mode(&k, &s);
	start(&r, &k, 0, &s, CORE_CODE);
	for (unsigned n = 0; n < 5; n++) {
		u64 from = __atomic_load_n(first, __ATOMIC_RELAXED);

		while (__atomic_load_n(first, __ATOMIC_RELAXED) < from + 2)
			sched_yield();
		map_with(&k, true);
		CHECK(!is_changing(&k, 5000)); /* more than a turn has */
		map_with(&k, false);
	}
	*core_ram(&k, 0x210000) = 1;
	finish(&r);
	core_fini(&k);
}

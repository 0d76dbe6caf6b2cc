/*
 * Programs by chance come to the same on both engines: registers, memory, bits of page tables. Signals meanwhile
 * bring the translated one interrupts, kicks, and pages of code that may have been written.
 *
 * RANDOM_SEED and RANDOM_COUNT say which programs, RANDOM_QUIET=1 is without signals, and RANDOM_LOCKSTEP=1 has them run in
 * lockstep, which tells the block that is wrong; both ways are tests.
 */
#include <signal.h>
#include <stdlib.h>
#include <sys/time.h>

#include "accel/soft/block.h"
#include "accel/soft/cpu.h"
#include "accel/soft/native.h"
#include "base/bytes.h"
#include "mem/gmem.h"
#include "random_guest.h"
#include "test.h"

#define COUNT     150
#define PERIOD_US 50
#define TICK_US   4000 /* of the host's processor */
/* What an interpreted program may take; translated ones that change their own code all the time take much more. */
#define LIMIT_US (5 * TICK_US)
#define SLOWER   500

static struct core *running;
static bool is_disturbing, is_stopped;
static unsigned n_signals, n_ticks, max_ticks;

static bool is_halted(struct core *k)
{
	return sx_cpu_of(k->vcpu[0])->run_state == X86_HALTED;
}

static void stop(struct core *k)
{
	is_stopped = true;
	__atomic_store_n(&k->vcpu[0]->is_wanted, true, __ATOMIC_RELEASE);
	vcpu_kick(k->vcpu[0]);
}

static void on_tick(unused int signal)
{
	if (++n_ticks >= max_ticks)
		stop(running);
}

static void disturb(struct core *k, unsigned n)
{
	u64 text = n & 32 ? GUEST_KERNEL_TEXT : GUEST_USER_TEXT;

	if (n % 4 < 2) {
		k->apic[0].vector = GUEST_IRQ_VECTOR;
		__atomic_fetch_or(&k->apic[0].pending, APIC_PENDING_INTR, __ATOMIC_ACQ_REL);
	} else if (n % 4 == 2) {
		gmem_code_written(k->ram, text / PAGE_SIZE + n / 4 % GUEST_TEXT_PAGES);
	}
	vcpu_kick(k->vcpu[0]);
}

static void on_alarm(unused int signal)
{
	n_signals++;
	if (is_halted(running))
		stop(running);
	if (is_disturbing)
		disturb(running, n_signals);
}

static void set_timers(unsigned period_us, unsigned tick_us)
{
	const struct itimerval period = {{0, period_us}, {0, period_us}},
			       tick = {{0, tick_us}, {0, tick_us}};

	setitimer(ITIMER_REAL, &period, NULL);
	setitimer(ITIMER_PROF, &tick, NULL);
}

static u64 number(const char *name, u64 otherwise)
{
	const char *text = getenv(name);

	return text ? strtoull(text, NULL, 0) : otherwise;
}

/* --- two machines --- */

static bool has_vex(void)
{
	return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2") &&
	       __builtin_cpu_supports("fma");
}

static void make(struct core *k, bool is_translated)
{
	setenv("SOFT_MODEL", has_vex() ? "posada-v3" : "posada-v2", 1);
	if (is_translated)
		setenv("SOFT_ENGINE", "translator", 1);
	else
		unsetenv("SOFT_ENGINE");
	if (is_translated && getenv("RANDOM_LOCKSTEP"))
		core_init_lockstep(k);
	else
		core_init(k);
}

/* False: it went astray, or took too long, and what it did may depend on when it was interrupted. */
static bool run(struct core *k, struct x86_cpu_state *s, u64 seed, unsigned limit_us,
		bool is_disturbed)
{
	enum vcpu_stop why;
	u64 constants;

	random_guest_load(k, s, seed, has_vex());
	constants = random_guest_constants(k);
	running = k;
	is_disturbing = is_disturbed;
	is_stopped = false;
	n_ticks = 0;
	max_ticks = limit_us / TICK_US;
	set_timers(is_disturbed ? PERIOD_US : PERIOD_US * 20, TICK_US);
	why = core_run(k, s);
	set_timers(0, 0);
	if (why == VCPU_STOP_RESET)
		return false;
	if (why != VCPU_STOP_REQUEST)
		print_message("seed %lu: %s\n", seed, k->vcpu[0]->broken);
	CHECK_EQ(why, VCPU_STOP_REQUEST);
	return !is_stopped && constants == random_guest_constants(k);
}

/* --- differences --- */

static unsigned differ_u64(const char *name, u64 n, u64 a, u64 b)
{
	if (a == b)
		return 0;
	print_message("%s %#lx: %#lx interpreted, %#lx translated\n", name, n, a, b);
	return 1;
}

static unsigned differ_page(struct core k[2], u64 gpa)
{
	u64 ignored = random_guest_is_upper_table(gpa) ? X86_PTE_A | X86_PTE_D : 0;
	unsigned n = 0;

	if (gpa == GUEST_IRQ_PAGE || !memcmp(core_ram(&k[0], gpa), core_ram(&k[1], gpa), PAGE_SIZE))
		return 0;
	for (u64 at = gpa; at < gpa + PAGE_SIZE; at += 8)
		n += differ_u64("memory", at, bytes_load(core_ram(&k[0], at), 8) | ignored,
				bytes_load(core_ram(&k[1], at), 8) | ignored);
	return n;
}

static unsigned differ(struct core k[2], const struct x86_cpu_state s[2])
{
	unsigned n = 0;

	for (unsigned r = 0; r < X86_GPRS; r++)
		n += differ_u64("register", r, s[0].gpr[r], s[1].gpr[r]);
	n += differ_u64("RIP", 0, s[0].rip, s[1].rip);
	n += differ_u64("RFLAGS", 0, s[0].rflags, s[1].rflags);
	n += differ_u64("CR", 2, s[0].cr2, s[1].cr2);
	n += differ_u64("CR", 3, s[0].cr3, s[1].cr3);
	n += differ_u64("CR", 4, s[0].cr4, s[1].cr4);
	n += differ_u64("GS", 0, s[0].seg[X86_GS].base, s[1].seg[X86_GS].base);
	n += differ_u64("XSAVE", 0, 0, !!memcmp(s[0].xsave, s[1].xsave, sizeof(s[0].xsave)));
	for (u64 gpa = 0; gpa < CORE_RAM; gpa += PAGE_SIZE)
		n += differ_page(k, gpa);
	return n;
}

/* Did both come to an end? */
static bool run_both(struct core k[2], struct x86_cpu_state s[2], u64 seed, u64 room)
{
	struct sx_cpu *c = sx_cpu_of(k[1].vcpu[0]);
	bool is_disturbed = !getenv("RANDOM_QUIET") && !getenv("RANDOM_LOCKSTEP");

	if (!run(&k[0], &s[0], seed, LIMIT_US, false))
		return false;
	c->native->heat = 1 + seed % 4;
	/* Every other program has its blocks swept, if they are many. */
	c->cache->room = seed % 8 < 4 ? room : SX_ROOM_MIN;
	return run(&k[1], &s[1], seed, LIMIT_US * SLOWER, is_disturbed) || !is_stopped ||
	       is_halted(&k[1]);
}

static void make_both(struct core k[2])
{
	signal(SIGALRM, on_alarm);
	signal(SIGPROF, on_tick);
	make(&k[0], false);
	make(&k[1], true);
}

/* False: it was left out. */
static bool come_to_the_same(struct core k[2], u64 seed, u64 room)
{
	struct x86_cpu_state s[2];

	if (!run_both(k, s, seed, room))
		return false;
	if (differ(k, s)) {
		print_message("program %lu differs\n", seed);
		CHECK(false);
	}
	return true;
}

TEST(programs_by_chance_come_to_the_same_on_both_engines)
{
	u64 seed = number("RANDOM_SEED", 1), count = number("RANDOM_COUNT", COUNT), left_out = 0,
	    room;
	struct core k[2];

	make_both(k);
	room = sx_cpu_of(k[1].vcpu[0])->cache->room;
	for (u64 end = seed + count; seed < end; seed++)
		left_out += !come_to_the_same(k, seed, room);
	print_message("%u signals; %lu programs of %lu went astray; swept %lu times\n", n_signals,
		      left_out, count, core_count(&k[1], SX_N_BLOCK_SWEEP));
	CHECK(left_out * 10 <= count);
	core_fini(&k[0]);
	core_fini(&k[1]);
}

/*
 * In lockstep: an interrupt behind STI where there was no room for a block; D set of a store that wasn't done yet; A, which may be
 * set, of a division by 0. The last went round for ever: IDIV's way out was that to another page of a loop.
 */
TEST(programs_that_differed_once_come_to_the_same)
{
	static const u64 seeds[] = {52, 9000100, 9000268, 5030723};
	struct core k[2];
	u64 room;

	make_both(k);
	room = sx_cpu_of(k[1].vcpu[0])->cache->room;
	for (unsigned n = 0; n < ARRAY_SIZE(seeds); n++)
		CHECK(come_to_the_same(k, seeds[n], room));
	core_fini(&k[0]);
	core_fini(&k[1]);
}

/* So that its number is enough to repeat it, and a program that one engine didn't run makes no difference later. */
TEST(programs_begin_the_same_whatever_was_before)
{
	static u8 scribble[CORE_RAM];
	struct x86_cpu_state s[2];
	struct core k[2];

	make(&k[0], false);
	make(&k[1], true);
	memset(scribble, 0x5a, sizeof(scribble));
	core_load(&k[1], 0, scribble, sizeof(scribble));
	k[1].mmio_value = 0x5a;
	k[1].apic[0].base += PAGE_SIZE;
	k[1].apic[0].cr8 = 5;
	for (unsigned n = 0; n < 2; n++)
		random_guest_load(&k[n], &s[n], 1, has_vex());
	CHECK(!memcmp(core_ram(&k[0], 0), core_ram(&k[1], 0), CORE_RAM));
	CHECK(!memcmp(&s[0], &s[1], sizeof(s[0])));
	CHECK_EQ(k[0].mmio_value, k[1].mmio_value);
	CHECK_EQ(k[0].apic[0].base, k[1].apic[0].base);
	CHECK_EQ(k[0].apic[0].cr8, k[1].apic[0].cr8);
	core_fini(&k[0]);
	core_fini(&k[1]);
}

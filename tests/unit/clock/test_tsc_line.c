/* clock/tsc_line: the VM's TSC by lines from the host's never goes back, and stays with the clock. */
#include "test.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/loop.h"
#include "base/time.h"
#include "clock/tsc.h"
#include "clock/tsc_line.h"
#include "clock/vclock.h"

#define HOST_HZ 2500000000
#define VM_HZ   2000000000

/* A host whose TSC is a little faster than it says, and a reading of the clock that is a little off. */
static u64 vm_of(u64 host, i64 ppm)
{
	return (u64)((u128)host * VM_HZ / HOST_HZ * (1000000 + (u64)ppm) / 1000000);
}

static u64 noise(unsigned *seed)
{
	return (unsigned)rand_r(seed) % 200;
}

static u64 apart(u64 a, u64 b)
{
	return a > b ? a - b : b - a;
}

TEST(lines_stay_with_a_clock_of_another_rate_and_never_go_back)
{
	unsigned seed = 1;
	struct tsc_lines l;
	u64 last = 0, worst = 0, host = 1000;

	CHECK(tsc_lines_start(&l, HOST_HZ, VM_HZ, 0));
	for (unsigned k = 0; k < 2000000; k++) {
		u64 tsc;

		host += 1 + (unsigned)rand_r(&seed) % (k % 1000 ? 2000 : 40000000);
		if (!tsc_line_holds(&l.line, host))
			CHECK(tsc_lines_go_on(
				&l, (struct tsc_pair){host, vm_of(host, 300) + noise(&seed)}));
		CHECK(tsc_line_holds(&l.line, host));
		tsc = tsc_line_at(&l.line, host);
		CHECK(tsc >= last);
		last = tsc;
		if (k > 500000)
			worst = MAX(worst, apart(tsc, vm_of(host, 300)));
	}
	CHECK(worst < VM_HZ / 1000000); /* a microsecond's */
}

TEST(a_host_that_slept_leads_forwards)
{
	struct tsc_lines l;
	u64 last;

	CHECK(tsc_lines_start(&l, HOST_HZ, VM_HZ, 5000));
	CHECK(tsc_lines_go_on(&l, (struct tsc_pair){HOST_HZ, VM_HZ}));
	last = tsc_line_at(&l.line, HOST_HZ + 100000);
	/* The clock stood meanwhile, and the TSC began anew. */
	CHECK(!tsc_line_holds(&l.line, 777));
	CHECK(tsc_lines_go_on(&l, (struct tsc_pair){777, VM_HZ + 1000}));
	CHECK(tsc_line_holds(&l.line, 777));
	CHECK(tsc_line_at(&l.line, 777) >= last);
	CHECK(tsc_line_at(&l.line, 777) - last < VM_HZ / 100);
}

TEST(a_line_that_is_ahead_slows_down_until_the_clock_is_there)
{
	const u64 ahead = VM_HZ / 100000; /* 10 us */
	struct tsc_lines l;
	u64 host = HOST_HZ, last = 0;

	CHECK(tsc_lines_start(&l, HOST_HZ, VM_HZ, vm_of(HOST_HZ, 0) + ahead));
	for (unsigned k = 0; k < 40; k++, host += HOST_HZ / 200) {
		CHECK(tsc_lines_go_on(&l, (struct tsc_pair){host, vm_of(host, 0)}));
		CHECK(tsc_line_at(&l.line, host) >= last);
		last = tsc_line_at(&l.line, host + l.line.length - 1);
		CHECK(last > tsc_line_at(&l.line, host));
	}
	CHECK(apart(last, vm_of(l.line.start + l.line.length, 0)) < 100);
}

TEST(a_tsc_that_is_no_clock_is_given_up)
{
	struct tsc_lines l;
	u64 host = HOST_HZ;
	unsigned k = 0;

	CHECK(tsc_lines_start(&l, HOST_HZ, VM_HZ, 0));
	for (; k < 100 && tsc_lines_go_on(&l, (struct tsc_pair){host, vm_of(host, 0) / 2}); k++)
		host += HOST_HZ;
	CHECK(k < 100);
	CHECK(!tsc_lines_start(&l, 0, VM_HZ, 0));
	CHECK(!tsc_lines_start(&l, VCLOCK_MIN_TSC_HZ, VCLOCK_MAX_TSC_HZ, 0));
}

/* --- the clock itself --- */

struct bench {
	struct loop *loop;
	struct vclock *clock;
	u64 latest; /* atomic: what anybody has read */
	bool is_over;
	unsigned backwards;
};

static void bench_init(struct bench *b)
{
	struct err err = ERR_INIT;

	*b = (struct bench){0};
	CHECK_EQ(loop_new(&b->loop, &err), 0);
	b->clock = vclock_new(b->loop, 0);
	vclock_follow_tsc(b->clock, true);
}

static void bench_fini(struct bench *b)
{
	vclock_free(b->clock);
	loop_free(b->loop);
}

static void note(struct bench *b, u64 before, u64 tsc)
{
	u64 seen = __atomic_load_n(&b->latest, __ATOMIC_SEQ_CST);

	if (tsc < before)
		__atomic_fetch_add(&b->backwards, 1, __ATOMIC_RELAXED);
	while (tsc > seen && !__atomic_compare_exchange_n(&b->latest, &seen, tsc, false,
							  __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
		;
}

/* As a vCPU does: by a line of its own, as long as that holds. */
static void *read_all_the_time(void *opaque)
{
	struct bench *b = opaque;
	struct tsc_line line = {0};

	while (!__atomic_load_n(&b->is_over, __ATOMIC_RELAXED)) {
		u64 before = __atomic_load_n(&b->latest, __ATOMIC_SEQ_CST), host = tsc_read();

		if (tsc_line_holds(&line, host))
			note(b, before, tsc_line_at(&line, host));
		else if (!vclock_tsc_line(b->clock, &line))
			note(b, before, vclock_tsc(b->clock));
	}
	return NULL;
}

TEST(four_readers_never_see_it_go_back)
{
	pthread_t thread[4];
	struct bench b;

	bench_init(&b);
	vclock_start(b.clock);
	for (unsigned k = 0; k < ARRAY_SIZE(thread); k++)
		CHECK_EQ(pthread_create(&thread[k], NULL, read_all_the_time, &b), 0);
	for (u64 end = time_mono_ns() + 300 * NSEC_PER_MSEC; time_mono_ns() < end;) {
		u64 before = __atomic_load_n(&b.latest, __ATOMIC_SEQ_CST);

		note(&b, before, vclock_tsc(b.clock));
	}
	__atomic_store_n(&b.is_over, true, __ATOMIC_RELAXED);
	for (unsigned k = 0; k < ARRAY_SIZE(thread); k++)
		pthread_join(thread[k], NULL);
	CHECK_EQ(b.backwards, 0);
	CHECK(vclock_tsc(b.clock) >= b.latest);
	vclock_stop(b.clock);
	CHECK(vclock_tsc(b.clock) >= b.latest);
	bench_fini(&b);
}

TEST(it_has_the_clocks_rate_over_a_second)
{
	u64 slack;
	struct bench b;

	bench_init(&b);
	slack = vclock_tsc_hz(b.clock) / 20000; /* 50 us */
	vclock_start(b.clock);
	for (u64 end = time_mono_ns() + NSEC_PER_SEC; time_mono_ns() < end;) {
		u64 before = vclock_now_ns(b.clock), tsc = vclock_tsc(b.clock);
		u64 after = vclock_now_ns(b.clock);

		CHECK(tsc + slack >= time_muldiv(before, vclock_tsc_hz(b.clock), NSEC_PER_SEC));
		CHECK(tsc <= time_muldiv(after, vclock_tsc_hz(b.clock), NSEC_PER_SEC) + slack);
	}
	vclock_stop(b.clock);
	bench_fini(&b);
}

TEST(it_stands_with_the_clock_and_goes_on_from_there)
{
	struct tsc_line line;
	struct bench b;
	u64 last = 0;

	bench_init(&b);
	for (unsigned k = 0; k < 200; k++) {
		CHECK(!vclock_tsc_line(b.clock, &line));
		vclock_start(b.clock);
		CHECK(vclock_tsc(b.clock) >= last);
		for (unsigned n = 0; n < 100; n++)
			last = vclock_tsc(b.clock);
		vclock_stop(b.clock);
		CHECK(vclock_tsc(b.clock) >= last);
		last = vclock_tsc(b.clock);
		CHECK_EQ(vclock_tsc(b.clock), last);
		CHECK(vclock_tsc_to_ns(b.clock, last) <= vclock_now_ns(b.clock));
	}
	bench_fini(&b);
}

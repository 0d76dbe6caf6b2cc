/* clock/: the VM's clock stops, starts, is saved, and fires timers on its own time. */
#include "test.h"

#include <pthread.h>

#include "base/err.h"
#include "base/loop.h"
#include "base/time.h"
#include "clock/vclock.h"
#include "state/state.h"

struct bench {
	struct loop *loop;
	struct vclock *clock;
	struct vtimer timer;
	u64 fired_ns;
};

static void bench_on_timer(void *opaque)
{
	struct bench *b = opaque;

	b->fired_ns = vclock_now_ns(b->clock);
	loop_quit(b->loop);
}

static void bench_init(struct bench *b)
{
	struct err err = ERR_INIT;

	*b = (struct bench){0};
	CHECK_EQ(loop_new(&b->loop, &err), 0);
	b->clock = vclock_new(b->loop, 1000000000);
	vtimer_init(&b->timer, b->clock, bench_on_timer, b);
}

static void bench_fini(struct bench *b)
{
	vtimer_disarm(&b->timer);
	vclock_free(b->clock);
	loop_free(b->loop);
}

static void spin_ns(u64 ns)
{
	for (u64 end = time_mono_ns() + ns; time_mono_ns() < end;)
		;
}

TEST(a_stopped_clock_stands)
{
	struct bench b;
	u64 at;

	bench_init(&b);
	spin_ns(100000);
	CHECK_EQ(vclock_now_ns(b.clock), 0);
	vclock_start(b.clock);
	spin_ns(100000);
	vclock_stop(b.clock);
	at = vclock_now_ns(b.clock);
	CHECK(at >= 100000);
	spin_ns(100000);
	CHECK_EQ(vclock_now_ns(b.clock), at);
	CHECK_EQ(vclock_tsc(b.clock), at); /* 1 GHz */
	bench_fini(&b);
}

TEST(a_timer_fires_at_its_deadline_and_not_while_stopped)
{
	struct bench b;

	bench_init(&b);
	vtimer_arm(&b.timer, 2 * NSEC_PER_MSEC);
	vclock_start(b.clock);
	vclock_stop(b.clock);
	CHECK(b.timer.is_armed);
	CHECK_EQ(b.fired_ns, 0);
	vclock_start(b.clock);
	loop_run(b.loop);
	CHECK(b.fired_ns >= 2 * NSEC_PER_MSEC);
	CHECK(!b.timer.is_armed);
	bench_fini(&b);
}

TEST(a_counted_clock_goes_by_the_count_and_says_when_a_timer_is_due)
{
	struct bench b;
	u64 count = 500, due = 1;

	bench_init(&b);
	vclock_count(b.clock, &count, &due);
	CHECK_EQ(due, UINT64_MAX);
	vclock_start(b.clock);
	spin_ns(10000);
	CHECK_EQ(vclock_now_ns(b.clock), 0);
	vtimer_arm(&b.timer, 70);
	CHECK_EQ(due, 570);
	count = 569;
	vclock_fire(b.clock);
	CHECK_EQ(b.fired_ns, 0);
	count = 572;
	vclock_fire(b.clock);
	CHECK_EQ(b.fired_ns, 72);
	CHECK_EQ(due, UINT64_MAX);
	CHECK(!vclock_skip(b.clock));
	vtimer_arm(&b.timer, 1000);
	CHECK(vclock_skip(b.clock));
	CHECK_EQ(vclock_now_ns(b.clock), 1000);
	vclock_fire(b.clock);
	CHECK_EQ(b.fired_ns, 1000);
	vclock_stop(b.clock);
	bench_fini(&b);
}

TEST(tsc_and_time_convert_both_ways)
{
	struct bench b;

	bench_init(&b);
	for (u64 tsc = 1; tsc; tsc <<= 1)
		CHECK(vclock_tsc_to_ns(b.clock, tsc) >= tsc);
	bench_fini(&b);
}

/* Whatever the frequency: the product is taken whole, and rounded down. */
TEST(the_tsc_is_exact)
{
	static const u64 hz[] = {1000000000, 1, 999999999, 2599998731, 3000000007, 17999999999};
	struct loop *loop;
	struct err err = ERR_INIT;
	u64 due;

	CHECK_EQ(loop_new(&loop, &err), 0);
	for (size_t k = 0; k < ARRAY_SIZE(hz); k++) {
		AUTO(vclock_free) struct vclock *c = vclock_new(loop, hz[k]);
		u64 count = 0;

		vclock_count(c, &count, &due);
		vclock_start(c);
		for (u64 ns = 1; ns < (u64)1 << 58; ns = ns * 7 + 999999999) {
			count = ns;
			CHECK_EQ(vclock_tsc(c), time_muldiv(ns, hz[k], NSEC_PER_SEC));
		}
		vclock_stop(c);
	}
	loop_free(loop);
}

TEST(time_wall_and_frequency_are_saved)
{
	AUTO(state_writer_free) struct state_writer *w = state_writer_new();
	struct err err = ERR_INIT;
	struct state_reader *r;
	struct bench a, b;
	const char *name;
	const void *data;
	size_t size;
	u32 instance;

	bench_init(&a);
	vclock_set_wall_ns(a.clock, 1000 * NSEC_PER_SEC);
	vclock_start(a.clock);
	spin_ns(10000);
	vclock_stop(a.clock);
	state_save(w, &vclock_state, 0, a.clock);
	data = state_writer_finish(w, &size);

	bench_init(&b);
	r = state_reader_new(data, size);
	CHECK_EQ(state_reader_next(r, &name, &instance, &err), 1);
	CHECK_EQ(state_load(r, &vclock_state, b.clock, &err), 0);
	CHECK_EQ(vclock_now_ns(b.clock), vclock_now_ns(a.clock));
	CHECK_EQ(vclock_wall_ns(b.clock), vclock_wall_ns(a.clock));
	state_reader_free(r);
	bench_fini(&a);
	bench_fini(&b);
}

/* clock/host_sleep: what the host slept passes for the wall clock alone. */
#include "base/err.h"
#include "base/loop.h"
#include "base/time.h"
#include "clock/host_sleep.h"
#include "clock/vclock.h"
#include "test.h"

static u64 slept_ns;

static u64 fake_slept(void)
{
	return slept_ns;
}

TEST(a_sleep_passes_for_the_wall_clock_and_for_nothing_else)
{
	struct err err = ERR_INIT;
	struct host_sleep s;
	struct vclock *clock;
	struct loop *loop;
	u64 wall, now;

	CHECK_EQ(loop_new(&loop, &err), 0);
	clock = vclock_new(loop, 1000000000);
	CHECK_EQ(host_sleep_init(&s, loop, clock, &err), 0);
	s.slept = fake_slept;
	s.slept_ns = slept_ns = 5 * NSEC_PER_SEC;
	vclock_set_wall_ns(clock, 1000 * NSEC_PER_SEC);
	wall = vclock_wall_ns(clock);
	now = vclock_now_ns(clock); /* it stands: nothing else moves it */
	host_sleep_look(&s);
	CHECK_EQ(vclock_wall_ns(clock), wall);
	slept_ns += 3600 * NSEC_PER_SEC;
	host_sleep_look(&s);
	CHECK_EQ(vclock_wall_ns(clock), wall + 3600 * NSEC_PER_SEC);
	host_sleep_look(&s);
	CHECK_EQ(vclock_wall_ns(clock), wall + 3600 * NSEC_PER_SEC);
	CHECK_EQ(vclock_now_ns(clock), now);
	host_sleep_fini(&s);
	host_sleep_fini(&s);
	vclock_free(clock);
	loop_free(loop);
}

TEST(the_hosts_sleep_is_what_its_two_clocks_differ_by)
{
	u64 once = time_slept_ns();

	CHECK(time_slept_ns() - once <= NSEC_PER_MSEC);
}

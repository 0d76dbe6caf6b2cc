/* dev/hpet: counter, one-shot, periodic, level, legacy replacement. */
#include "dev/hpet.h"

#include "bus/device.h"
#include "bus/io.h"
#include "dev/hpet_regs.h"
#include "dev/pit.h"
#include "dev/rtc.h"
#include "device_check.h"
#include "fake_clock.h"
#include "fake_irq.h"

#define TICKS(n)   ((u64)(n)*10) /* nanoseconds */
#define CONFIG(n)  (HPET_REG_TIMERS + HPET_TIMER_SIZE * (n) + HPET_TIMER_CONFIG)
#define COMPARE(n) (HPET_REG_TIMERS + HPET_TIMER_SIZE * (n) + HPET_TIMER_COMPARE)

struct fixture {
	struct vclock *clock;
	struct fake_irq irq0, irq8, pin11;
	struct pit *pit;
	struct rtc *rtc;
	struct hpet *h;
	struct io_region *io;
};

static void fixture_init(struct fixture *f)
{
	struct hpet_config c = {0};

	*f = (struct fixture){.clock = fake_clock_new()};
	f->pit = pit_new(f->clock, fake_irq_line(&f->irq0));
	f->rtc = rtc_new(f->clock, fake_irq_line(&f->irq8));
	c.clock = f->clock;
	c.pins[11] = fake_irq_line(&f->pin11);
	c.legacy[0] = fake_irq_line(&f->irq0);
	c.legacy[1] = fake_irq_line(&f->irq8);
	c.pit = f->pit;
	c.rtc = f->rtc;
	f->h = hpet_new(&c);
	f->io = hpet_io(f->h);
}

static void fixture_fini(struct fixture *f)
{
	device_free(hpet_device(f->h));
	device_free(rtc_device(f->rtc));
	device_free(pit_device(f->pit));
	vclock_free(f->clock);
}

static void set(struct fixture *f, u64 reg, u64 value)
{
	io_write(f->io, reg, value, 8);
}

static u64 get(struct fixture *f, u64 reg)
{
	return io_read(f->io, reg, 8);
}

TEST(capabilities_tell_three_timers_at_100_mhz)
{
	struct fixture f;

	fixture_init(&f);
	CHECK_EQ(get(&f, HPET_REG_CAPS), (u64)10000000 << 32 | 0x8086a201);
	CHECK_EQ(hpet_id(f.h), 0x8086a201);
	CHECK_EQ(get(&f, CONFIG(0)), (u64)0xc20 << 32 | 0x30);
	CHECK_EQ(io_read(f.io, CONFIG(2) + 4, 4), 0xc20);
	CHECK_EQ(get(&f, CONFIG(3)), 0);
	set(&f, HPET_REG_CAPS, 0);
	CHECK_EQ(get(&f, HPET_REG_CAPS) & 0xff, 1);
	fixture_fini(&f);
}

TEST(the_counter_stands_until_enabled_and_can_be_set)
{
	struct fixture f;

	fixture_init(&f);
	fake_clock_advance(f.clock, TICKS(1000));
	CHECK_EQ(get(&f, HPET_REG_COUNTER), 0);
	set(&f, HPET_REG_CONFIG, HPET_ENABLE);
	fake_clock_advance(f.clock, TICKS(1000));
	CHECK_EQ(get(&f, HPET_REG_COUNTER), 1000);
	set(&f, HPET_REG_CONFIG, 0);
	fake_clock_advance(f.clock, TICKS(1000));
	CHECK_EQ(get(&f, HPET_REG_COUNTER), 1000);
	io_write(f.io, HPET_REG_COUNTER + 4, 7, 4);
	CHECK_EQ(get(&f, HPET_REG_COUNTER), (u64)7 << 32 | 1000);
	set(&f, HPET_REG_CONFIG, HPET_ENABLE);
	fake_clock_advance(f.clock, TICKS(5));
	CHECK_EQ(io_read(f.io, HPET_REG_COUNTER, 4), 1005);
	CHECK_SURVIVES_SAVE_AND_LOAD(hpet_device(f.h));
	CHECK_STANDS_DAMAGED_STATE(hpet_device(f.h));
	CHECK_EQ(get(&f, HPET_REG_COUNTER), (u64)7 << 32 | 1005);
	fixture_fini(&f);
}

TEST(a_one_shot_matches_once_and_never_late)
{
	struct fixture f;

	fixture_init(&f);
	set(&f, HPET_REG_CONFIG, HPET_ENABLE);
	set(&f, CONFIG(2), HPET_TN_ENABLE | 11 << 9);
	set(&f, COMPARE(2), 500);
	fake_clock_advance(f.clock, TICKS(499));
	CHECK_EQ(f.pin11.rises, 0);
	fake_clock_advance(f.clock, TICKS(1));
	CHECK_EQ(f.pin11.rises, 1);
	CHECK(!f.pin11.level);
	set(&f, COMPARE(2), 400); /* has passed */
	fake_clock_advance(f.clock, 100 * NSEC_PER_SEC);
	CHECK_EQ(f.pin11.rises, 1);
	CHECK(fake_clock_is_idle(f.clock));
	set(&f, CONFIG(2), HPET_TN_ENABLE | HPET_TN_32BIT | 11 << 9);
	set(&f, COMPARE(2), get(&f, HPET_REG_COUNTER) - 100); /* comes round in 43 s */
	fake_clock_advance(f.clock, 50 * NSEC_PER_SEC);
	CHECK_EQ(f.pin11.rises, 2);
	fixture_fini(&f);
}

/* As Linux programs it: set-value, comparator, then the period. */
TEST(a_periodic_timer_keeps_its_beat)
{
	struct fixture f;

	fixture_init(&f);
	set(&f, HPET_REG_CONFIG, HPET_ENABLE | HPET_LEGACY);
	set(&f, CONFIG(0), HPET_TN_ENABLE | HPET_TN_PERIODIC | HPET_TN_SET_VALUE | HPET_TN_32BIT);
	CHECK_EQ(get(&f, CONFIG(0)) & HPET_TN_SET_VALUE, HPET_TN_SET_VALUE);
	io_write(f.io, COMPARE(0), 150000, 4);
	CHECK_EQ(get(&f, CONFIG(0)) & HPET_TN_SET_VALUE, 0);
	io_write(f.io, COMPARE(0), 100000, 4);
	unsigned before = f.irq0.rises;
	fake_clock_advance(f.clock, TICKS(1049999));
	CHECK_EQ(f.irq0.rises - before, 9);
	fake_clock_advance(f.clock, TICKS(1));
	CHECK_EQ(f.irq0.rises - before, 10);
	CHECK_EQ(get(&f, COMPARE(0)), 1150000);
	CHECK_SURVIVES_SAVE_AND_LOAD(hpet_device(f.h));
	before = f.irq0.rises;
	fake_clock_advance(f.clock, TICKS(1000000));
	CHECK_EQ(f.irq0.rises - before, 10);
	fixture_fini(&f);
}

TEST(the_shortest_period_does_not_occupy_the_host)
{
	struct fixture f;

	fixture_init(&f);
	set(&f, HPET_REG_CONFIG, HPET_ENABLE);
	set(&f, CONFIG(1), HPET_TN_ENABLE | HPET_TN_PERIODIC | HPET_TN_SET_VALUE | 11 << 9);
	set(&f, COMPARE(1), 1);
	fake_clock_advance(f.clock, NSEC_PER_SEC);
	CHECK(f.pin11.rises > 1000);
	CHECK(fake_clock_fired(f.clock) <= 10001);
	set(&f, COMPARE(1), 0); /* no period */
	fake_clock_advance(f.clock, NSEC_PER_SEC);
	fixture_fini(&f);
}

TEST(levels_stand_until_their_status_is_cleared)
{
	struct fixture f;

	fixture_init(&f);
	set(&f, HPET_REG_CONFIG, HPET_ENABLE);
	set(&f, CONFIG(1), HPET_TN_ENABLE | HPET_TN_LEVEL | 11 << 9);
	set(&f, COMPARE(1), 100);
	fake_clock_advance(f.clock, TICKS(100));
	CHECK(f.pin11.level);
	CHECK_EQ(get(&f, HPET_REG_STATUS), 2);
	CHECK_SURVIVES_SAVE_AND_LOAD(hpet_device(f.h));
	set(&f, HPET_REG_STATUS, 5);
	CHECK_EQ(get(&f, HPET_REG_STATUS), 2);
	io_write(f.io, HPET_REG_STATUS, 2, 4);
	CHECK(!f.pin11.level);
	set(&f, COMPARE(1), 200);
	fake_clock_advance(f.clock, TICKS(100));
	CHECK(f.pin11.level);
	set(&f, CONFIG(1), HPET_TN_LEVEL | 11 << 9); /* masked */
	CHECK(!f.pin11.level);
	fixture_fini(&f);
}

TEST(a_route_that_is_not_there_goes_nowhere)
{
	struct fixture f;

	fixture_init(&f);
	set(&f, HPET_REG_CONFIG, HPET_ENABLE);
	for (u64 route = 0; route < 32; route++) {
		set(&f, CONFIG(0), HPET_TN_ENABLE | route << 9);
		set(&f, COMPARE(0), get(&f, HPET_REG_COUNTER) + 10);
		fake_clock_advance(f.clock, TICKS(10));
	}
	CHECK_EQ(f.pin11.rises, 1);
	fixture_fini(&f);
}

TEST(legacy_replacement_cuts_timer_and_clock_off)
{
	struct fixture f;
	unsigned before;

	fixture_init(&f);
	io_write(pit_io(f.pit), 3, 0x34, 1);
	io_write(pit_io(f.pit), 0, 0x9c, 1);
	io_write(pit_io(f.pit), 0, 0x2e, 1); /* 100 Hz */
	io_write(rtc_io(f.rtc), 0, 0x0b, 1);
	io_write(rtc_io(f.rtc), 1, 0x12, 1); /* each second */
	set(&f, HPET_REG_CONFIG, HPET_ENABLE | HPET_LEGACY);
	before = f.irq0.rises;
	fake_clock_advance(f.clock, 2 * NSEC_PER_SEC);
	CHECK_EQ(f.irq0.rises, before);
	CHECK_EQ(f.irq8.rises, 0);
	CHECK_SURVIVES_SAVE_AND_LOAD(hpet_device(f.h)); /* with a reset, which connects them */
	before = f.irq0.rises;
	fake_clock_advance(f.clock, NSEC_PER_SEC);
	CHECK_EQ(f.irq0.rises, before);
	CHECK(!f.irq8.level);
	set(&f, HPET_REG_CONFIG, HPET_ENABLE);
	CHECK(f.irq8.level); /* its flag waited */
	before = f.irq0.rises;
	fake_clock_advance(f.clock, NSEC_PER_SEC);
	CHECK_EQ(f.irq0.rises - before, 100);
	fixture_fini(&f);
}

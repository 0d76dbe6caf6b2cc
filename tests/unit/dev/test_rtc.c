/* dev/rtc: calendar, time registers, alarms, periodic and update interrupts, CMOS. */
#include "dev/rtc.h"

#include <time.h>

#include "bus/device.h"
#include "bus/io.h"
#include "dev/rtc_calendar.h"
#include "dev/rtc_regs.h"
#include "device_check.h"
#include "fake_clock.h"
#include "fake_irq.h"

#define A_DAY 1700000000 /* Tue 14 Nov 2023, 22:13:20 UTC */

struct fixture {
	struct vclock *clock;
	struct fake_irq irq;
	struct rtc *rtc;
};

static void fixture_init(struct fixture *f)
{
	*f = (struct fixture){.clock = fake_clock_new()};
	vclock_set_wall_ns(f->clock, A_DAY * NSEC_PER_SEC);
	f->rtc = rtc_new(f->clock, fake_irq_line(&f->irq));
}

static void fixture_fini(struct fixture *f)
{
	device_free(rtc_device(f->rtc));
	vclock_free(f->clock);
}

static u8 get(struct fixture *f, u8 index)
{
	io_write(rtc_io(f->rtc), 0, index, 1);
	return (u8)io_read(rtc_io(f->rtc), 1, 1);
}

static void set(struct fixture *f, u8 index, u8 value)
{
	io_write(rtc_io(f->rtc), 0, index, 1);
	io_write(rtc_io(f->rtc), 1, value, 1);
}

TEST(the_calendar_agrees_with_the_c_library)
{
	for (u64 s = 0; s < 9000000000; s += 86400 * 13 + 7919) {
		time_t t = (time_t)s;
		struct rtc_date d;
		struct tm tm;

		gmtime_r(&t, &tm);
		rtc_date_of(s, &d);
		CHECK_EQ(d.year, tm.tm_year + 1900);
		CHECK_EQ(d.month, tm.tm_mon + 1);
		CHECK_EQ(d.day, tm.tm_mday);
		CHECK_EQ(d.hour, tm.tm_hour);
		CHECK_EQ(d.minute, tm.tm_min);
		CHECK_EQ(d.second, tm.tm_sec);
		CHECK_EQ(d.weekday, tm.tm_wday);
		CHECK_EQ(rtc_date_seconds(&d), s);
	}
}

TEST(alarms_find_their_next_second)
{
	u64 noon = 12 * 3600;

	CHECK_EQ(rtc_alarm_after(noon, 12, 0, 0), noon + 86400);
	CHECK_EQ(rtc_alarm_after(noon, 12, 0, 1), noon + 1);
	CHECK_EQ(rtc_alarm_after(noon, 11, 59, 59), noon + 86399);
	CHECK_EQ(rtc_alarm_after(noon, RTC_ALARM_ANY, RTC_ALARM_ANY, RTC_ALARM_ANY), noon + 1);
	CHECK_EQ(rtc_alarm_after(noon, RTC_ALARM_ANY, 30, RTC_ALARM_ANY), noon + 1800);
	CHECK_EQ(rtc_alarm_after(noon, RTC_ALARM_ANY, RTC_ALARM_ANY, 0), noon + 60);
	CHECK_EQ(rtc_alarm_after(noon, 77, 0, 0), 0);
}

TEST(time_is_shown_in_each_format)
{
	struct fixture f;

	fixture_init(&f);
	CHECK_EQ(get(&f, RTC_SECONDS), 0x20);
	CHECK_EQ(get(&f, RTC_MINUTES), 0x13);
	CHECK_EQ(get(&f, RTC_HOURS), 0x22);
	CHECK_EQ(get(&f, RTC_WEEKDAY), 3);
	CHECK_EQ(get(&f, RTC_DAY), 0x14);
	CHECK_EQ(get(&f, RTC_MONTH), 0x11);
	CHECK_EQ(get(&f, RTC_YEAR), 0x23);
	CHECK_EQ(get(&f, RTC_CENTURY), 0x20);
	CHECK_EQ(get(&f, RTC_D), 0x80);
	set(&f, RTC_B, RTC_B_BINARY);
	CHECK_EQ(get(&f, RTC_HOURS), 10 | RTC_PM);
	CHECK_EQ(get(&f, RTC_YEAR), 23);
	fake_clock_advance(f.clock, 2 * 3600 * NSEC_PER_SEC);
	CHECK_EQ(get(&f, RTC_HOURS), 12); /* 0 o'clock */
	CHECK_EQ(get(&f, RTC_DAY), 15);
	fixture_fini(&f);
}

TEST(an_update_announces_itself)
{
	struct fixture f;

	fixture_init(&f);
	CHECK_EQ(get(&f, RTC_A), 0x26);
	fake_clock_advance(f.clock, NSEC_PER_SEC - 200000);
	CHECK_EQ(get(&f, RTC_A), 0xa6);
	CHECK_EQ(get(&f, RTC_SECONDS), 0x20);
	fake_clock_advance(f.clock, 200000);
	CHECK_EQ(get(&f, RTC_A), 0x26);
	CHECK_EQ(get(&f, RTC_SECONDS), 0x21);
	fixture_fini(&f);
}

/* As Linux sets it: SET, the divider's reset, the registers, and back. */
TEST(the_guest_sets_the_time_and_keeps_it)
{
	struct fixture f;

	fixture_init(&f);
	set(&f, RTC_B, RTC_B_24H | RTC_B_SET);
	set(&f, RTC_A, 0x76);
	set(&f, RTC_YEAR, 0x99);
	set(&f, RTC_CENTURY, 0x19);
	set(&f, RTC_MONTH, 0x12);
	set(&f, RTC_DAY, 0x31);
	set(&f, RTC_HOURS, 0x23);
	set(&f, RTC_MINUTES, 0x59);
	set(&f, RTC_SECONDS, 0x59);
	fake_clock_advance(f.clock, 10 * NSEC_PER_SEC); /* it stands */
	CHECK_EQ(get(&f, RTC_SECONDS), 0x59);
	CHECK_EQ(get(&f, RTC_A) & RTC_A_UIP, 0);
	set(&f, RTC_B, RTC_B_24H);
	set(&f, RTC_A, 0x26);
	fake_clock_advance(f.clock, NSEC_PER_SEC / 2 - 1);
	CHECK_EQ(get(&f, RTC_SECONDS), 0x59);
	fake_clock_advance(f.clock, 1); /* the first update comes half a second later */
	CHECK_EQ(get(&f, RTC_SECONDS), 0);
	CHECK_EQ(get(&f, RTC_YEAR), 0);
	CHECK_EQ(get(&f, RTC_CENTURY), 0x20);
	CHECK_SURVIVES_SAVE_AND_LOAD(rtc_device(f.rtc));
	CHECK_STANDS_DAMAGED_STATE(rtc_device(f.rtc));
	device_reset(rtc_device(f.rtc)); /* there is a battery */
	CHECK_EQ(get(&f, RTC_CENTURY), 0x20);
	set(&f, RTC_MINUTES, 0x30); /* without SET */
	CHECK_EQ(get(&f, RTC_MINUTES), 0x30);
	CHECK_EQ(get(&f, RTC_SECONDS), 0);
	fixture_fini(&f);
}

TEST(nonsense_in_the_time_registers_does_no_harm)
{
	struct fixture f;

	fixture_init(&f);
	for (unsigned v = 0; v < 256; v++) {
		set(&f, RTC_B, RTC_B_SET | (v & 6));
		for (u8 reg = 0; reg <= RTC_YEAR; reg++)
			set(&f, reg, (u8)v);
		set(&f, RTC_CENTURY, (u8)v);
		set(&f, RTC_B, (v & 6) | RTC_EVENTS);
		fake_clock_advance(f.clock, 3 * NSEC_PER_MSEC);
		(void)get(&f, RTC_C);
	}
	fixture_fini(&f);
}

TEST(periodic_interrupts_come_at_their_rate)
{
	struct fixture f;
	unsigned n = 0;

	fixture_init(&f);
	set(&f, RTC_A, 0x2a); /* 64 Hz */
	set(&f, RTC_B, RTC_B_24H | RTC_PERIODIC);
	for (int i = 0; i < 1000; i++) {
		fake_clock_advance(f.clock, NSEC_PER_MSEC);
		if (!f.irq.level)
			continue;
		CHECK_EQ(get(&f, RTC_C) & (RTC_C_IRQF | RTC_PERIODIC), RTC_C_IRQF | RTC_PERIODIC);
		CHECK(!f.irq.level);
		n++;
	}
	CHECK_EQ(n, 64);
	/* Nobody looks: no more wake-ups. */
	u64 fired = fake_clock_fired(f.clock);
	fake_clock_advance(f.clock, 10 * NSEC_PER_SEC);
	CHECK_EQ(fake_clock_fired(f.clock), fired + 1);
	CHECK_SURVIVES_SAVE_AND_LOAD(rtc_device(f.rtc));
	fixture_fini(&f);
}

TEST(flags_can_be_polled_without_interrupts)
{
	struct fixture f;

	fixture_init(&f);
	CHECK_EQ(get(&f, RTC_C), 0);
	fake_clock_advance(f.clock, 2 * NSEC_PER_MSEC);
	CHECK_EQ(get(&f, RTC_C), RTC_PERIODIC);
	fake_clock_advance(f.clock, NSEC_PER_SEC);
	CHECK_EQ(get(&f, RTC_C), RTC_PERIODIC | RTC_UPDATE);
	CHECK(!f.irq.sets || !f.irq.rises);
	CHECK(fake_clock_is_idle(f.clock));
	fixture_fini(&f);
}

TEST(an_alarm_goes_off_when_it_is_time)
{
	struct fixture f;

	fixture_init(&f);
	set(&f, RTC_HOURS_ALARM, 0x22);
	set(&f, RTC_MINUTES_ALARM, 0x14);
	set(&f, RTC_SECONDS_ALARM, 0x05);
	set(&f, RTC_B, RTC_B_24H | RTC_ALARM);
	fake_clock_advance(f.clock, 44 * NSEC_PER_SEC);
	CHECK(!f.irq.level);
	CHECK_EQ(fake_clock_fired(f.clock), 0);
	fake_clock_advance(f.clock, NSEC_PER_SEC);
	CHECK(f.irq.level);
	CHECK_EQ(get(&f, RTC_C) & (RTC_C_IRQF | RTC_ALARM), RTC_C_IRQF | RTC_ALARM);
	CHECK(!f.irq.level);
	fixture_fini(&f);
}

TEST(update_interrupts_come_each_second_unless_held)
{
	struct fixture f;
	unsigned n = 0;

	fixture_init(&f);
	set(&f, RTC_B, RTC_B_24H | RTC_UPDATE);
	for (int i = 0; i < 50; i++) {
		fake_clock_advance(f.clock, 100 * NSEC_PER_MSEC);
		n += f.irq.level;
		(void)get(&f, RTC_C);
	}
	CHECK_EQ(n, 5);
	set(&f, RTC_B, RTC_B_24H | RTC_B_SET | RTC_UPDATE);
	CHECK_EQ(get(&f, RTC_B), RTC_B_24H | RTC_B_SET);
	fake_clock_advance(f.clock, 2 * NSEC_PER_SEC);
	CHECK(!f.irq.level);
	fixture_fini(&f);
}

TEST(memory_has_two_banks)
{
	struct fixture f;

	fixture_init(&f);
	rtc_set_cmos(f.rtc, 0x34, 0xaa);
	rtc_set_cmos(f.rtc, 0xf0, 0x55);
	CHECK_EQ(get(&f, 0x80 | 0x34), 0xaa); /* bit 7 is the NMI mask */
	io_write(rtc_io(f.rtc), 2, 0x70, 1);
	CHECK_EQ(io_read(rtc_io(f.rtc), 3, 1), 0x55);
	io_write(rtc_io(f.rtc), 3, 0x66, 1);
	CHECK_EQ(io_read(rtc_io(f.rtc), 3, 1), 0x66);
	set(&f, RTC_C, 0xff);
	set(&f, RTC_D, 0);
	CHECK_EQ(get(&f, RTC_C), 0);
	CHECK_EQ(get(&f, RTC_D), 0x80);
	CHECK_SURVIVES_SAVE_AND_LOAD(rtc_device(f.rtc));
	fixture_fini(&f);
}

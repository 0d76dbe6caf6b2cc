/*
 * MC146818 real-time clock.
 *
 * Nothing counts: time registers are worked out from the VM's wall clock plus an offset when they
 * are read. Events (periodic, alarm, update) that came since we looked last are accounted for when
 * somebody looks, and a timer is armed only for events that would interrupt and whose flag is not
 * set already. While SET or the divider's reset holds the clock, the registers stand as written.
 *
 * Time inside, "rtc time", is nanoseconds since 1970 in whatever zone the guest keeps it.
 *
 * Not modelled: daylight saving (DSE), the square wave output, the date alarm.
 */
#include "dev/rtc.h"

#include "base/alloc.h"
#include "base/err.h"
#include "base/time.h"
#include "bus/device.h"
#include "bus/io.h"
#include "clock/vclock.h"
#include "dev/rtc_calendar.h"
#include "dev/rtc_regs.h"
#include "state/state.h"

/* Later dates (from the year 2550) can't be told in nanoseconds. */
#define RTC_LAST_SECOND (UINT64_MAX / NSEC_PER_SEC - 86400 * 365)

struct rtc {
	struct device dev; /* holds the lock for all below */
	struct io_region io;
	struct vclock *clock;
	struct irq_line irq;
	bool is_cut_off; /* from irq, by the HPET, whose state it is */
	struct vtimer timer;
	u64 offset_ns; /* rtc time less the VM's wall clock; wraps */
	u64 seen_ns;   /* rtc time up to which events are accounted for */
	u8 index[2];   /* of the lower and upper 128 bytes */
	u8 cmos[RTC_CMOS_SIZE];
};

/* --- time --- */

static bool rtc_is_held(const struct rtc *rtc)
{
	return rtc->cmos[RTC_B] & RTC_B_SET || RTC_A_DIVIDER(rtc->cmos[RTC_A]) >= RTC_DIVIDER_RESET;
}

static u64 rtc_now_ns(const struct rtc *rtc)
{
	return vclock_wall_ns(rtc->clock) + rtc->offset_ns;
}

static bool rtc_is_binary(const struct rtc *rtc)
{
	return rtc->cmos[RTC_B] & RTC_B_BINARY;
}

static u8 rtc_encode(const struct rtc *rtc, unsigned v)
{
	return (u8)(rtc_is_binary(rtc) ? v : v / 10 << 4 | v % 10);
}

static unsigned rtc_decode(const struct rtc *rtc, u8 v)
{
	return rtc_is_binary(rtc) ? v : (v >> 4) * 10u + (v & 0xf);
}

static u8 rtc_encode_hours(const struct rtc *rtc, unsigned hours)
{
	if (rtc->cmos[RTC_B] & RTC_B_24H)
		return rtc_encode(rtc, hours);
	return rtc_encode(rtc, hours % 12 ? hours % 12 : 12) | (hours >= 12 ? RTC_PM : 0);
}

static unsigned rtc_decode_hours(const struct rtc *rtc, u8 v)
{
	unsigned hours;

	if (rtc->cmos[RTC_B] & RTC_B_24H)
		return rtc_decode(rtc, v);
	hours = rtc_decode(rtc, v & ~RTC_PM) % 12;
	return v & RTC_PM ? hours + 12 : hours;
}

/* The time registers, brought up to now; while the clock is held they are what they are. */
static void rtc_show_time(struct rtc *rtc)
{
	struct rtc_date d;

	if (rtc_is_held(rtc))
		return;
	rtc_date_of(rtc_now_ns(rtc) / NSEC_PER_SEC, &d);
	rtc->cmos[RTC_SECONDS] = rtc_encode(rtc, d.second);
	rtc->cmos[RTC_MINUTES] = rtc_encode(rtc, d.minute);
	rtc->cmos[RTC_HOURS] = rtc_encode_hours(rtc, d.hour);
	rtc->cmos[RTC_WEEKDAY] = rtc_encode(rtc, d.weekday + 1);
	rtc->cmos[RTC_DAY] = rtc_encode(rtc, d.day);
	rtc->cmos[RTC_MONTH] = rtc_encode(rtc, d.month);
	rtc->cmos[RTC_YEAR] = rtc_encode(rtc, d.year % 100);
	rtc->cmos[RTC_CENTURY] = rtc_encode(rtc, d.year / 100);
}

/* The clock goes on from what the registers say, phase_ns into that second. */
static void rtc_take_time(struct rtc *rtc, u64 phase_ns)
{
	struct rtc_date d = {
		.second = rtc_decode(rtc, rtc->cmos[RTC_SECONDS]),
		.minute = rtc_decode(rtc, rtc->cmos[RTC_MINUTES]),
		.hour = rtc_decode_hours(rtc, rtc->cmos[RTC_HOURS]),
		.day = rtc_decode(rtc, rtc->cmos[RTC_DAY]),
		.month = rtc_decode(rtc, rtc->cmos[RTC_MONTH]),
		.year = rtc_decode(rtc, rtc->cmos[RTC_YEAR]) +
			100 * rtc_decode(rtc, rtc->cmos[RTC_CENTURY]),
	};
	u64 ns = MIN(rtc_date_seconds(&d), RTC_LAST_SECOND) * NSEC_PER_SEC + phase_ns;

	rtc->offset_ns = ns - vclock_wall_ns(rtc->clock);
	rtc->seen_ns = ns;
}

/* --- events --- */

static bool rtc_has_rate(const struct rtc *rtc)
{
	return RTC_A_RATE(rtc->cmos[RTC_A]) && RTC_A_DIVIDER(rtc->cmos[RTC_A]) < RTC_DIVIDER_RESET;
}

/* Oscillator periods between periodic events: rates 1 and 2 are those of 8 and 9. */
static u64 rtc_period(const struct rtc *rtc)
{
	unsigned rate = RTC_A_RATE(rtc->cmos[RTC_A]);

	return (u64)1 << ((rate < 3 ? rate + 7 : rate) - 1);
}

/* Periodic events between the beginning of time and ns. */
static u64 rtc_periods(const struct rtc *rtc, u64 ns)
{
	return time_muldiv(ns, RTC_OSCILLATOR_HZ, NSEC_PER_SEC) / rtc_period(rtc);
}

static u64 rtc_next_periodic_ns(const struct rtc *rtc, u64 after_ns)
{
	return time_muldiv_up((rtc_periods(rtc, after_ns) + 1) * rtc_period(rtc), NSEC_PER_SEC,
			      RTC_OSCILLATOR_HZ);
}

static unsigned rtc_alarm_unit(const struct rtc *rtc, u8 reg)
{
	u8 v = rtc->cmos[reg];

	if (v >= RTC_ANY)
		return RTC_ALARM_ANY;
	return reg == RTC_HOURS_ALARM ? rtc_decode_hours(rtc, v) : rtc_decode(rtc, v);
}

/* The first second after this one that the alarm matches; 0: none. */
static u64 rtc_next_alarm(const struct rtc *rtc, u64 second)
{
	return rtc_alarm_after(second, rtc_alarm_unit(rtc, RTC_HOURS_ALARM),
			       rtc_alarm_unit(rtc, RTC_MINUTES_ALARM),
			       rtc_alarm_unit(rtc, RTC_SECONDS_ALARM));
}

/* When the next event of these kinds comes after rtc time ns; U64_MAX: never. */
static u64 rtc_next_event_ns(const struct rtc *rtc, u32 kinds, u64 ns)
{
	u64 next = UINT64_MAX, second = ns / NSEC_PER_SEC;

	if (kinds & RTC_PERIODIC && rtc_has_rate(rtc))
		next = MIN(next, rtc_next_periodic_ns(rtc, ns));
	if (kinds & RTC_UPDATE && !rtc_is_held(rtc))
		next = MIN(next, (second + 1) * NSEC_PER_SEC);
	if (kinds & RTC_ALARM && !rtc_is_held(rtc)) {
		u64 alarm = rtc_next_alarm(rtc, second);

		if (alarm)
			next = MIN(next, alarm * NSEC_PER_SEC);
	}
	return next;
}

/* Sets the flags of what came since we looked last. */
static void rtc_account(struct rtc *rtc)
{
	static const u8 kinds[] = {RTC_PERIODIC, RTC_ALARM, RTC_UPDATE};
	u64 now = rtc_now_ns(rtc);

	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
		if (rtc_next_event_ns(rtc, kinds[i], rtc->seen_ns) <= now)
			rtc->cmos[RTC_C] |= kinds[i];
	rtc->seen_ns = now;
}

static void rtc_update_irq(struct rtc *rtc)
{
	bool level = rtc->cmos[RTC_B] & rtc->cmos[RTC_C] & RTC_EVENTS;

	if (level)
		rtc->cmos[RTC_C] |= RTC_C_IRQF;
	else
		rtc->cmos[RTC_C] &= ~RTC_C_IRQF;
	if (!rtc->is_cut_off)
		irq_set(&rtc->irq, level);
}

void rtc_connect_irq(struct rtc *rtc, bool is_connected)
{
	device_lock(&rtc->dev);
	irq_set(&rtc->irq, false);
	rtc->is_cut_off = !is_connected;
	rtc_update_irq(rtc);
	device_unlock(&rtc->dev);
}

/* After anything that events depend on has changed. */
static void rtc_update(struct rtc *rtc)
{
	u32 wanted = rtc->cmos[RTC_B] & RTC_EVENTS & ~rtc->cmos[RTC_C];
	u64 now = rtc_now_ns(rtc), next;

	rtc_update_irq(rtc);
	next = rtc_next_event_ns(rtc, wanted, now);
	if (next == UINT64_MAX)
		vtimer_disarm(&rtc->timer);
	else
		vtimer_arm(&rtc->timer, vclock_now_ns(rtc->clock) + (next - now));
}

static void rtc_on_timer(void *opaque)
{
	struct rtc *rtc = opaque;

	device_lock(&rtc->dev);
	rtc_account(rtc);
	rtc_update(rtc);
	device_unlock(&rtc->dev);
}

/* --- registers --- */

static u8 rtc_read_a(const struct rtc *rtc)
{
	bool is_updating =
		!rtc_is_held(rtc) && rtc_now_ns(rtc) % NSEC_PER_SEC >= NSEC_PER_SEC - RTC_UIP_NS;

	return rtc->cmos[RTC_A] | (is_updating ? RTC_A_UIP : 0);
}

/* Reading clears the flags and the interrupt. */
static u8 rtc_read_c(struct rtc *rtc)
{
	u8 v;

	rtc_account(rtc);
	rtc_update_irq(rtc);
	v = rtc->cmos[RTC_C];
	rtc->cmos[RTC_C] = 0;
	rtc_update(rtc);
	return v;
}

static u8 rtc_read_cmos(struct rtc *rtc, u8 index)
{
	switch (index) {
	case RTC_A:
		return rtc_read_a(rtc);
	case RTC_C:
		return rtc_read_c(rtc);
	}
	if (index < RTC_A || index == RTC_CENTURY)
		rtc_show_time(rtc);
	return rtc->cmos[index];
}

/*
 * A and B can hold and release the clock. Holding keeps the registers at the time of the hold; on
 * release it goes on from what was written, in mid-second after the divider's reset (datasheet,
 * "Divider control"), else in the phase it kept.
 */
static void rtc_write_control(struct rtc *rtc, u8 index, u8 value)
{
	bool was_held = rtc_is_held(rtc);
	bool was_reset = RTC_A_DIVIDER(rtc->cmos[RTC_A]) >= RTC_DIVIDER_RESET;

	rtc_account(rtc);
	rtc_show_time(rtc);
	rtc->cmos[index] = value;
	if (was_held && !rtc_is_held(rtc))
		rtc_take_time(rtc, was_reset ? NSEC_PER_SEC / 2 : rtc_now_ns(rtc) % NSEC_PER_SEC);
	rtc_update(rtc);
}

static void rtc_write_time(struct rtc *rtc, u8 index, u8 value)
{
	rtc_account(rtc);
	rtc_show_time(rtc);
	rtc->cmos[index] = value;
	if (!rtc_is_held(rtc))
		rtc_take_time(rtc, rtc_now_ns(rtc) % NSEC_PER_SEC);
	rtc_update(rtc);
}

static void rtc_write_cmos(struct rtc *rtc, u8 index, u8 value)
{
	switch (index) {
	case RTC_SECONDS:
	case RTC_MINUTES:
	case RTC_HOURS:
	case RTC_WEEKDAY:
	case RTC_DAY:
	case RTC_MONTH:
	case RTC_YEAR:
	case RTC_CENTURY:
		rtc_write_time(rtc, index, value);
		break;
	case RTC_SECONDS_ALARM:
	case RTC_MINUTES_ALARM:
	case RTC_HOURS_ALARM:
		rtc_account(rtc);
		rtc->cmos[index] = value;
		rtc_update(rtc);
		break;
	case RTC_A:
		rtc_write_control(rtc, index, value & ~RTC_A_UIP);
		break;
	case RTC_B: /* SET clears the update enable */
		rtc_write_control(rtc, index, value & RTC_B_SET ? value & ~RTC_UPDATE : value);
		break;
	case RTC_C:
	case RTC_D:
		break;
	default:
		rtc->cmos[index] = value;
		break;
	}
}

/* Even ports hold the index (bit 7 is the NMI mask, or nothing), odd ports the data. */
static u64 rtc_read(struct device *dev, u64 off, unused unsigned size)
{
	struct rtc *rtc = container_of(dev, struct rtc, dev);
	unsigned bank = (unsigned)off / 2;

	if (off % 2 == 0)
		return rtc->index[bank];
	return rtc_read_cmos(rtc, (u8)(bank * 128 + (rtc->index[bank] & 0x7f)));
}

static void rtc_write(struct device *dev, u64 off, u64 value, unused unsigned size)
{
	struct rtc *rtc = container_of(dev, struct rtc, dev);
	unsigned bank = (unsigned)off / 2;

	if (off % 2 == 0)
		rtc->index[bank] = (u8)value;
	else
		rtc_write_cmos(rtc, (u8)(bank * 128 + (rtc->index[bank] & 0x7f)), (u8)value);
}

void rtc_set_cmos(struct rtc *rtc, u8 index, u8 value)
{
	assert(index >= RTC_FIRST_FREE && index != RTC_CENTURY);
	device_lock(&rtc->dev);
	rtc->cmos[index] = value;
	device_unlock(&rtc->dev);
}

/* --- the device --- */

/* The battery keeps time and memory; a reset takes the interrupts away (datasheet, "RESET"). */
static void rtc_reset(struct device *dev)
{
	struct rtc *rtc = container_of(dev, struct rtc, dev);

	rtc->index[0] = rtc->index[1] = 0;
	rtc->cmos[RTC_B] &= ~(RTC_EVENTS | RTC_SQUARE_WAVE);
	rtc->cmos[RTC_C] = 0;
	rtc->seen_ns = rtc_now_ns(rtc);
	rtc_update(rtc);
}

static void rtc_free(struct device *dev)
{
	struct rtc *rtc = container_of(dev, struct rtc, dev);

	vtimer_disarm(&rtc->timer);
	io_region_fini(&rtc->io);
	device_fini(dev);
	free(rtc);
}

static void rtc_before_save(void *object)
{
	struct rtc *rtc = object;

	rtc_account(rtc);
	rtc_show_time(rtc);
	rtc_update_irq(rtc);
}

static int rtc_after_load(void *object, unused u16 version, struct err *err)
{
	struct rtc *rtc = object;

	if (rtc->cmos[RTC_A] & RTC_A_UIP)
		return err_set(err, -EINVAL, "register A is not valid");
	rtc->cmos[RTC_D] = RTC_D_VALID;
	rtc_update(rtc);
	return 0;
}

static const struct state_field rtc_fields[] = {
	STATE_U(struct rtc, offset_ns),
	STATE_U(struct rtc, seen_ns),
	STATE_U_ARRAY(struct rtc, index),
	STATE_RAW(struct rtc, cmos),
	STATE_END,
};

static const struct state_table rtc_state = {
	.name = "rtc",
	.version = 1,
	.fields = rtc_fields,
	.before_save = rtc_before_save,
	.after_load = rtc_after_load,
};

static const struct device_ops rtc_device_ops = {
	.type = "rtc",
	.offset = offsetof(struct rtc, dev),
	.state = &rtc_state,
	.reset = rtc_reset,
	.free = rtc_free,
};

static const struct io_ops rtc_io_ops = {.read = rtc_read, .write = rtc_write, .max_size = 1};

struct rtc *rtc_new(struct vclock *clock, struct irq_line irq8)
{
	struct rtc *rtc = NEW(struct rtc);

	rtc->clock = clock;
	rtc->irq = irq8;
	rtc->cmos[RTC_A] = 0x26; /* 32768 Hz, 1024 periodic events a second */
	rtc->cmos[RTC_B] = RTC_B_24H;
	rtc->cmos[RTC_D] = RTC_D_VALID;
	vtimer_init(&rtc->timer, clock, rtc_on_timer, rtc);
	device_init(&rtc->dev, &rtc_device_ops, "rtc");
	io_region_init(&rtc->io, "rtc", &rtc->dev, &rtc_io_ops, 4);
	device_reset(&rtc->dev);
	return rtc;
}

struct device *rtc_device(struct rtc *rtc)
{
	return &rtc->dev;
}

struct io_region *rtc_io(struct rtc *rtc)
{
	return &rtc->io;
}

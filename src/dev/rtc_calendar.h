/*
 * The calendar arithmetic of the real-time clock: pure functions on seconds since 1970.
 */
#ifndef DEV_RTC_CALENDAR_H
#define DEV_RTC_CALENDAR_H

#include "base/base.h"

struct rtc_date {
	unsigned year, month, day; /* 1970 and on, 1 to 12, 1 to 31 */
	unsigned hour, minute, second;
	unsigned weekday; /* 0 is Sunday */
};

void rtc_date_of(u64 seconds, struct rtc_date *out);
/* Whatever a guest may have written: overflowing fields carry, dates before 1970 give 0. */
u64 rtc_date_seconds(const struct rtc_date *d);

#define RTC_ALARM_ANY 0xffu
/* The first second after this one whose time of day matches, each unit or RTC_ALARM_ANY; 0: none. */
u64 rtc_alarm_after(u64 second, unsigned hour, unsigned minute, unsigned sec);

#endif

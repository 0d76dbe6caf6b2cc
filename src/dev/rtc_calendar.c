/*
 * Gregorian calendar, counted in eras of 400 years that begin on 1 March, so that the leap day is
 * a year's last.
 */
#include "dev/rtc_calendar.h"

#define DAY_SECONDS     86400
#define ERA_DAYS        146097
#define DAYS_0_TO_1970  719468                 /* from 1 March of year 0 to 1 January 1970 */
#define DAYS_BEFORE(mp) ((153 * (mp) + 2) / 5) /* of a year from March, months mp 0 to 11 */

void rtc_date_of(u64 seconds, struct rtc_date *out)
{
	u64 days = seconds / DAY_SECONDS, time = seconds % DAY_SECONDS;
	u64 since = days + DAYS_0_TO_1970, era = since / ERA_DAYS, doe = since % ERA_DAYS;
	u64 yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
	u64 doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
	u64 mp = (5 * doy + 2) / 153;

	out->day = (unsigned)(doy - DAYS_BEFORE(mp) + 1);
	out->month = (unsigned)(mp < 10 ? mp + 3 : mp - 9);
	out->year = (unsigned)(era * 400 + yoe + (out->month <= 2));
	out->hour = (unsigned)(time / 3600);
	out->minute = (unsigned)(time / 60 % 60);
	out->second = (unsigned)(time % 60);
	out->weekday = (unsigned)((days + 4) % 7); /* 1 January 1970 was a Thursday */
}

u64 rtc_date_seconds(const struct rtc_date *d)
{
	unsigned month = d->month ? (d->month - 1) % 12 + 1 : 1;
	u64 year = d->year - (month <= 2 && d->year);
	u64 mp = month > 2 ? month - 3 : month + 9;
	u64 doy = DAYS_BEFORE(mp) + (d->day ? d->day - 1 : 0);
	u64 days = year * 365 + year / 4 - year / 100 + year / 400 + doy;

	if (days < DAYS_0_TO_1970)
		return 0;
	return (days - DAYS_0_TO_1970) * DAY_SECONDS + d->hour * 3600 + d->minute * 60 + d->second;
}

u64 rtc_alarm_after(u64 second, unsigned hour, unsigned minute, unsigned sec)
{
	for (u64 at = second + 1; at <= second + DAY_SECONDS;) {
		u64 time = at % DAY_SECONDS;

		if (hour != RTC_ALARM_ANY && time / 3600 != hour)
			at += 3600 - time % 3600;
		else if (minute != RTC_ALARM_ANY && time / 60 % 60 != minute)
			at += 60 - time % 60;
		else if (sec != RTC_ALARM_ANY && time % 60 != sec)
			at++;
		else
			return at;
	}
	return 0;
}

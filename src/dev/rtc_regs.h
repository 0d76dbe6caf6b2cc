/*
 * Registers of the MC146818 as the guest sees them (datasheet ADI-856; 82801IB, 13.6). Facts only.
 */
#ifndef DEV_RTC_REGS_H
#define DEV_RTC_REGS_H

#include "base/base.h"

/* clang-format off */
enum {
	RTC_SECONDS, RTC_SECONDS_ALARM, RTC_MINUTES, RTC_MINUTES_ALARM, RTC_HOURS, RTC_HOURS_ALARM,
	RTC_WEEKDAY, RTC_DAY, RTC_MONTH, RTC_YEAR, RTC_A, RTC_B, RTC_C, RTC_D,
};

#define RTC_A_UIP	BIT32(7)
#define RTC_A_DIVIDER(a) ((a) >> 4 & 7)
#define RTC_A_RATE(a)	((a) & 0xf)
#define RTC_DIVIDER_RESET 6	/* and 7 */

#define RTC_B_SET	BIT32(7)
#define RTC_B_BINARY	BIT32(2)
#define RTC_B_24H	BIT32(1)
/* Enables in B, flags in C. */
#define RTC_PERIODIC	BIT32(6)
#define RTC_ALARM	BIT32(5)
#define RTC_UPDATE	BIT32(4)
#define RTC_SQUARE_WAVE	BIT32(3)
#define RTC_EVENTS	(RTC_PERIODIC | RTC_ALARM | RTC_UPDATE)
#define RTC_C_IRQF	BIT32(7)
#define RTC_D_VALID	BIT32(7)

#define RTC_PM		0x80	/* in the hours, 12-hour mode */
#define RTC_ANY		0xc0	/* an alarm byte from here on matches always */
/* clang-format on */

#define RTC_OSCILLATOR_HZ 32768
#define RTC_UIP_NS        (244 * NSEC_PER_USEC) /* before the update */

#endif

/*
 * The real-time clock (MC146818) with 256 bytes of battery-backed memory.
 *
 * It shows the VM's wall clock plus an offset, which the guest changes by setting the time.
 * Threads: any; everything locks the device.
 */
#ifndef DEV_RTC_H
#define DEV_RTC_H

#include "base/base.h"
#include "irq/irq.h"

struct device;
struct io_region;
struct rtc;
struct vclock;

#define RTC_PORT      0x70 /* four ports: index and data, of the lower and of the upper 128 bytes */
#define RTC_CMOS_SIZE 256
#define RTC_CENTURY   0x32 /* the FADT's CENTURY */

struct rtc *rtc_new(struct vclock *clock, struct irq_line irq8);
struct device *rtc_device(struct rtc *rtc);
struct io_region *rtc_io(struct rtc *rtc);

/* What firmware looks for beyond the clock's own registers (index RTC_FIRST_FREE and up). */
#define RTC_FIRST_FREE 0x0e
void rtc_set_cmos(struct rtc *rtc, u8 index, u8 value);

/* While the HPET takes IRQ 8 over, events are flagged and go nowhere. */
void rtc_connect_irq(struct rtc *rtc, bool is_connected);

#endif

/*
 * The high precision event timer: a 64-bit counter of 100 MHz and three timers.
 *
 * Threads: any; everything locks the device. Lock order: HPET, then PIT and RTC.
 */
#ifndef DEV_HPET_H
#define DEV_HPET_H

#include "base/base.h"
#include "irq/irq.h"

struct device;
struct hpet;
struct io_region;
struct pit;
struct rtc;
struct vclock;

#define HPET_IO_SIZE 0x400
#define HPET_PINS    24
/* The IOAPIC's pins that timers may be routed to: a board connects nothing else there. */
#define HPET_ROUTES (BIT32(5) | BIT32(10) | BIT32(11))

struct hpet_config {
	struct vclock *clock;            /* borrowed */
	struct irq_line pins[HPET_PINS]; /* of the IOAPIC */
	struct irq_line legacy[2];       /* IRQ 0 and IRQ 8, of which legacy replacement */
	struct pit *pit;                 /* cuts off these two; borrowed; NULL: not there */
	struct rtc *rtc;
};

struct hpet *hpet_new(const struct hpet_config *config);
struct device *hpet_device(struct hpet *h);
struct io_region *hpet_io(struct hpet *h);
u32 hpet_id(const struct hpet *h); /* low half of the capabilities: the ACPI table's block id */

#endif

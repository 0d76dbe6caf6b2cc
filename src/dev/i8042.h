/*
 * The keyboard controller (i8042) with a keyboard and a mouse behind it, neither of which anybody
 * touches yet. Software uses it to reset the machine. Threads: any; everything locks the device.
 */
#ifndef DEV_I8042_H
#define DEV_I8042_H

#include "dev/power.h"
#include "irq/irq.h"

struct device;
struct i8042;
struct io_region;

#define I8042_DATA   0x60 /* one port each */
#define I8042_STATUS 0x64

/* keyboard: IRQ 1; mouse: IRQ 12. events.power_off is not used here. */
struct i8042 *i8042_new(struct irq_line keyboard, struct irq_line mouse,
			const struct power_events *events);
struct device *i8042_device(struct i8042 *c);
struct io_region *i8042_data_io(struct i8042 *c);
struct io_region *i8042_status_io(struct i8042 *c);

#endif

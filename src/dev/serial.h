/*
 * A serial port, 16550A, on a byte stream.
 *
 * Threads: registers on any, the stream's callbacks on its loop; everything locks the device.
 */
#ifndef DEV_SERIAL_H
#define DEV_SERIAL_H

#include "base/base.h"
#include "irq/irq.h"

struct chr;
struct device;
struct io_region;
struct serial;

#define SERIAL_PORTS 8 /* of the region */
#define SERIAL_COM1  0x3f8
#define SERIAL_COM2  0x2f8

/* Becomes the user of chr, which is borrowed, lives longer, and is there. name: "serial0". */
struct serial *serial_new(const char *name, struct chr *chr, struct irq_line irq);
struct device *serial_device(struct serial *s);
struct io_region *serial_io(struct serial *s);

#endif

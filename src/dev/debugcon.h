/*
 * The debug console of firmware and test kernels: a port whose bytes go to a stream. For boards
 * that are asked for it. Threads: any; everything locks the device.
 */
#ifndef DEV_DEBUGCON_H
#define DEV_DEBUGCON_H

#include "base/base.h"

struct chr;
struct debugcon;
struct device;
struct io_region;

#define DEBUGCON_PORT    0x402 /* SeaBIOS, OVMF */
#define DEBUGCON_PORT_E9 0xe9  /* Bochs */

/* chr is borrowed; debugcon only writes to it and doesn't become its user. */
struct debugcon *debugcon_new(const char *name, struct chr *chr);
struct device *debugcon_device(struct debugcon *d);
struct io_region *debugcon_io(struct debugcon *d);

#endif

/*
 * The registers that reset the machine: the ICH9's reset control (0xcf9) and system control port A
 * (0x92). Threads: any; everything locks the device.
 */
#ifndef DEV_RESET_PORT_H
#define DEV_RESET_PORT_H

#include "dev/power.h"

struct device;
struct io_region;
struct reset_port;

#define RESET_CONTROL_PORT 0xcf9
#define RESET_CONTROL_FULL 0x0e /* what the FADT's RESET_VALUE writes */
#define RESET_PORT_A       0x92

struct reset_port *reset_port_new(const struct power_events *events);
struct device *reset_port_device(struct reset_port *r);
/*
 * 0xcf9 lies within PCI's configuration address, of which it takes byte accesses only: whoever owns
 * 0xcf8 hands those on with io_read and io_write. This region isn't to be mapped over that.
 */
struct io_region *reset_port_control_io(struct reset_port *r);
struct io_region *reset_port_a_io(struct reset_port *r);

#endif

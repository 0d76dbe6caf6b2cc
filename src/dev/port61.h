/*
 * Port 0x61, NMI status and control (82801IB, 13.7.1): gate and output of the timer's channel 2,
 * the speaker's enable, the refresh toggle. Everything locks the device, then the timer.
 */
#ifndef DEV_PORT61_H
#define DEV_PORT61_H

#include "base/base.h"

struct device;
struct io_region;
struct pit;
struct port61;
struct vclock;

#define PORT61_PORT 0x61

struct port61 *port61_new(struct vclock *clock, struct pit *pit); /* pit is borrowed */
struct device *port61_device(struct port61 *p);
struct io_region *port61_io(struct port61 *p);

#endif

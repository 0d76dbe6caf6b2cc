/*
 * pvpanic: the guest's kernel says that it crashed. Threads: any; everything locks the device.
 */
#ifndef DEV_PVPANIC_H
#define DEV_PVPANIC_H

#include "base/base.h"

struct device;
struct io_region;
struct pvpanic;

#define PVPANIC_PORT 0x505

/*
 * on_panic is called on a vCPU's thread with the device locked: note it, wake someone, return.
 * Crashes that the guest takes care of by itself (it has a crash kernel loaded) are not told.
 */
struct pvpanic *pvpanic_new(void (*on_panic)(void *opaque), void *opaque);
struct device *pvpanic_device(struct pvpanic *p);
struct io_region *pvpanic_io(struct pvpanic *p);

#endif

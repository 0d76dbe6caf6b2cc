/*
 * isa-debug-exit: a test kernel ends its machine with a code. For boards that are asked for it.
 * Threads: any; everything locks the device.
 */
#ifndef DEV_DEBUG_EXIT_H
#define DEV_DEBUG_EXIT_H

#include "base/base.h"

struct debug_exit;
struct device;
struct io_region;

#define DEBUG_EXIT_PORT 0xf4 /* four ports, of which test kernels write one or all */

/* on_exit is called on a vCPU's thread with the device locked: note it, wake someone, return. */
struct debug_exit *debug_exit_new(void (*on_exit)(void *opaque, u8 code), void *opaque);
struct device *debug_exit_device(struct debug_exit *d);
struct io_region *debug_exit_io(struct debug_exit *d);

#endif

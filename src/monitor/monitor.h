/*
 * The monitor: one guest's control socket, and what happens when the guest stops, resets or crashes.
 *
 * Runs on the main loop's thread. The control socket's end is the guest's end: its launcher or
 * manager is gone, unless it said otherwise.
 */
#ifndef MONITOR_MONITOR_H
#define MONITOR_MONITOR_H

#include "base/base.h"

struct confine_report;
struct err;
struct guest_config;
struct loop;
struct monitor;

/* Watches control on the loop; confinement is told by `status`, memory by smaps_fd, an open
 * /proc/self/smaps or -1 (all borrowed). Machine events follow the configuration's policies. */
struct monitor *monitor_new(struct loop *loop, int control, struct guest_config *config,
			    const struct confine_report *confinement, int smaps_fd);
void monitor_free(struct monitor *m); /* with the machine */

/* Builds the machine, starts it, runs the loop to the end, and tells the peer how it ended. */
int monitor_run(struct monitor *m, struct err *err);

#endif

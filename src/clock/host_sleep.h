/*
 * The host's sleep. While a host is suspended its CLOCK_MONOTONIC stands, and so does the VM's clock: the guest
 * notices nothing, but that its wall clock is late afterwards. This watches for the host waking up and puts
 * the time it slept onto the wall clock, and onto nothing else.
 *
 * A step of the host's wall clock by hand or by NTP isn't sleep and isn't passed on. Main thread.
 */
#ifndef CLOCK_HOST_SLEEP_H
#define CLOCK_HOST_SLEEP_H

#include "base/base.h"
#include "base/loop.h"

struct err;
struct vclock;

struct host_sleep {
	struct vclock *clock;
	struct loop *loop;
	struct loop_fd timer; /* becomes readable when CLOCK_REALTIME is set, as waking up does */
	u64 slept_ns;         /* of the host's life, when last looked */
	u64 (*slept)(void);   /* time_slept_ns; a test's own */
};

/* Borrows loop and clock. Before the process is confined. Negative errno with a sentence. */
int host_sleep_init(struct host_sleep *s, struct loop *loop, struct vclock *clock, struct err *err);
void host_sleep_fini(struct host_sleep *s); /* harmless on zeroed memory */

/* Looks now. */
void host_sleep_look(struct host_sleep *s);

#endif

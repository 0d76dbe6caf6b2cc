/*
 * Host time. Devices never use this: they ask the VM's clock (clock/vclock.h). Any thread.
 */
#ifndef BASE_TIME_H
#define BASE_TIME_H

#include "base/base.h"

u64 time_mono_ns(void);  /* CLOCK_MONOTONIC: does not run while the host is suspended */
u64 time_real_ns(void);  /* CLOCK_REALTIME: nanoseconds since 1970, UTC */
u64 time_cpu_ns(void);   /* CPU time of the calling thread */
u64 time_slept_ns(void); /* how long the host has been suspended since it was started */
bool time_is_tsc(void);  /* do these go by the TSC? Asks sysfs */

/* value * mul / div without overflow in between; div is not 0 and the result fits in 64 bits. */
static inline u64 time_muldiv(u64 value, u64 mul, u64 div)
{
	return (u64)((u128)value * mul / div);
}

/* The same, rounded up: the time at which so many ticks have surely passed. */
static inline u64 time_muldiv_up(u64 value, u64 mul, u64 div)
{
	return (u64)(((u128)value * mul + div - 1) / div);
}

#endif

/*
 * Host time. See time.h.
 */
#include "base/time.h"

#include <time.h>

static u64 time_read(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return (u64)ts.tv_sec * NSEC_PER_SEC + (u64)ts.tv_nsec;
}

u64 time_mono_ns(void)
{
	return time_read(CLOCK_MONOTONIC);
}

u64 time_real_ns(void)
{
	return time_read(CLOCK_REALTIME);
}

u64 time_cpu_ns(void)
{
	return time_read(CLOCK_THREAD_CPUTIME_ID);
}

/*
 * Host time. See time.h.
 */
#include "base/time.h"

#include <fcntl.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

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

/* The monotonic clock first: what passes between the two readings is no sleep, and never less than none. */
u64 time_slept_ns(void)
{
	u64 mono = time_read(CLOCK_MONOTONIC), boot = time_read(CLOCK_BOOTTIME);

	/* To the millisecond, which no reading takes: else each look would find a little. */
	return (boot - mono) / NSEC_PER_MSEC * NSEC_PER_MSEC;
}

u64 time_cpu_ns(void)
{
	return time_read(CLOCK_THREAD_CPUTIME_ID);
}

bool time_is_tsc(void)
{
	char name[32] = "";
	int fd = open("/sys/devices/system/clocksource/clocksource0/current_clocksource",
		      O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return false;
	if (read(fd, name, sizeof(name) - 1) < 0)
		name[0] = '\0';
	close(fd);
	return !strcmp(name, "tsc\n");
}

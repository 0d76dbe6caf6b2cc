/*
 * The host's TSC frequency, which a guest's TSC takes over unless its configuration names another.
 */
#ifndef CLOCK_TSC_H
#define CLOCK_TSC_H

#include "base/base.h"

#define VCLOCK_FALLBACK_TSC_HZ ((u64)2000000000)
#define VCLOCK_MIN_TSC_HZ      ((u64)100000000)
#define VCLOCK_MAX_TSC_HZ      ((u64)18000000000)
#define VCLOCK_MAX_WAIT_NS     ((u64)1 << 50) /* 13 days; then the timer looks again */

/* From CPUID leaf 0x15 or the hypervisor's 0x40000010, else measured against CLOCK_MONOTONIC in
 * under a millisecond; 0 when there is no invariant TSC. */
u64 tsc_host_hz(void);

/* The host's, not before what stands in front. */
static inline u64 tsc_read(void)
{
	__builtin_ia32_lfence();
	return __builtin_ia32_rdtsc();
}

#endif

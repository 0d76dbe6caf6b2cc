/*
 * The host's TSC frequency: asked of CPUID, or measured. See tsc.h.
 */
#include "clock/tsc.h"

#include <cpuid.h>
#include <x86intrin.h>

#include "base/time.h"

static bool tsc_is_invariant(void)
{
	u32 a, b, c, d;

	return __get_cpuid(0x80000007, &a, &b, &c, &d) && (d & BIT32(8));
}

/* SDM 2A, CPUID leaf 15H: crystal clock (ecx) times ebx / eax. */
static u64 tsc_hz_of_cpuid(void)
{
	u32 a, b, c, d;

	if (__get_cpuid_max(0, NULL) < 0x15)
		return 0;
	__cpuid_count(0x15, 0, a, b, c, d);
	return a && b && c ? time_muldiv(c, b, a) : 0;
}

struct tsc_reading {
	u64 ns, tsc;
};

/* Both clocks at one moment: of a few readings the one that was interrupted the least. */
static struct tsc_reading tsc_read_both(void)
{
	struct tsc_reading best = {0};
	u64 best_gap = UINT64_MAX;

	for (unsigned i = 0; i < 8; i++) {
		u64 before = __rdtsc();
		u64 ns = time_mono_ns();
		u64 gap = __rdtsc() - before;

		if (gap < best_gap) {
			best_gap = gap;
			best = (struct tsc_reading){.ns = ns, .tsc = before + gap / 2};
		}
	}
	return best;
}

static u64 tsc_measure_hz(void)
{
	const u64 span_ns = 500 * NSEC_PER_USEC;
	struct tsc_reading from = tsc_read_both(), to;

	do {
		to = tsc_read_both();
	} while (to.ns - from.ns < span_ns);
	return time_muldiv(to.tsc - from.tsc, NSEC_PER_SEC, to.ns - from.ns);
}

u64 tsc_host_hz(void)
{
	u64 hz;

	if (!tsc_is_invariant())
		return 0;
	hz = tsc_hz_of_cpuid();
	if (!hz) {
		/* To the nearest MHz: the guest's clock follows this number exactly anyway. */
		hz = (tsc_measure_hz() + 500000) / 1000000 * 1000000;
	}
	return hz < VCLOCK_MIN_TSC_HZ || hz > VCLOCK_MAX_TSC_HZ ? 0 : hz;
}

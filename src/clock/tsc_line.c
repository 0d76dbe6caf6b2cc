/*
 * Lines from the host's TSC to the VM's: see tsc_line.h.
 */
#include "clock/tsc_line.h"

#include "base/time.h"

#define MEASURE_NS       (64 * NSEC_PER_MSEC)
#define MEASURE_FIRST_NS NSEC_PER_MSEC /* and again from the same beginning, until it was so long */

static u64 host_ticks(const struct tsc_lines *l, u64 ns)
{
	return time_muldiv(ns, l->host_hz, NSEC_PER_SEC);
}

static u64 nominal_rate(const struct tsc_lines *l)
{
	return time_muldiv(l->vm_hz, (u64)1 << TSC_LINE_SHIFT, l->host_hz);
}

bool tsc_lines_start(struct tsc_lines *l, u64 host_hz, u64 vm_hz, u64 floor)
{
	*l = (struct tsc_lines){
		.host_hz = host_hz,
		.vm_hz = vm_hz,
		.floor = floor,
		.length_ns = TSC_LINE_MIN_NS,
	};
	if (!host_hz || host_ticks(l, TSC_LINE_MAX_NS) >> 27)
		return false;
	l->rate = nominal_rate(l);
	return l->rate && l->rate < (u64)1 << 35;
}

/* Ticks of the VM's to those of the host's. 0: that can't be: the frequencies are known to a hundredth and better. */
static u64 rate_of(const struct tsc_lines *l, u64 vm, u64 host)
{
	u64 nominal = nominal_rate(l), rate;

	if (host >> 60 || vm >> 60) /* backwards */
		return 0;
	rate = time_muldiv(vm, (u64)1 << TSC_LINE_SHIFT, host);
	return rate > nominal - nominal / 100 && rate < nominal + nominal / 100 ? rate : 0;
}

/* The rate since the last measurement. After a sleep of the host's, one is bad. */
static void measure(struct tsc_lines *l, struct tsc_pair now)
{
	u64 passed = now.host - l->since.host, rate;

	if (l->since.host && passed < host_ticks(l, l->is_measured ? MEASURE_NS : MEASURE_FIRST_NS))
		return;
	rate = l->since.host ? rate_of(l, now.vm - l->since.vm, passed) : l->rate;
	l->n_bad = rate ? 0 : l->n_bad + 1;
	if (rate)
		l->rate = rate;
	if (!rate || passed >= host_ticks(l, MEASURE_NS)) {
		l->is_measured = rate && l->since.host;
		l->since = now;
	}
}

u64 tsc_lines_end(const struct tsc_lines *l, u64 host)
{
	u64 passed = host - l->line.start;

	if (!l->line.length)
		return l->floor;
	return tsc_line_at(&l->line, l->line.start + MIN(passed, l->line.length));
}

bool tsc_lines_go_on(struct tsc_lines *l, struct tsc_pair now)
{
	u64 length = host_ticks(l, l->length_ns), mul;

	measure(l, now);
	if (l->n_bad >= TSC_LINE_MAX_BAD)
		return false;
	l->floor = tsc_lines_end(l, now.host);
	mul = l->rate;
	/* Ahead of the clock: it goes more slowly until the two have met, but it goes. */
	if (now.vm < l->floor) {
		u64 ahead = l->floor - now.vm;
		u64 ticks = time_muldiv(length, mul, (u64)1 << TSC_LINE_SHIFT);

		mul -= ahead < ticks / 2 ? time_muldiv(mul, ahead, ticks) : mul / 2;
	}
	l->line = (struct tsc_line){
		.start = now.host,
		.length = length,
		.mul = mul,
		.base = MAX(now.vm, l->floor),
	};
	l->length_ns = MIN(l->length_ns * 2, TSC_LINE_MAX_NS);
	return true;
}

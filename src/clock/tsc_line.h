/*
 * The VM's TSC from the host's by a multiplication, where the host's own clock is its TSC.
 *
 * A line says what the VM's TSC is for a stretch of the host's, a few milliseconds. One line follows another:
 * each begins where its TSC is by the VM's clock, but never before what the last one may have given away, and is as
 * steep as the two clocks were against each other lately. So for each value of the host's TSC there is one value,
 * whoever asks and whatever copy of the line he has, and a later one is never less. What the line is away
 * from the clock is what reading both takes, and what their rates change within a line: tens of nanoseconds.
 *
 * No locks here: vclock.c has one for the lines; a line itself is copied.
 */
#ifndef CLOCK_TSC_LINE_H
#define CLOCK_TSC_LINE_H

#include "base/base.h"

#define TSC_LINE_SHIFT    28
#define TSC_LINE_MAX_NS   (4 * NSEC_PER_MSEC)
#define TSC_LINE_MIN_NS   (100 * NSEC_PER_USEC) /* of the first ones, whose rate is a guess */
#define TSC_LINE_MAX_BAD  8
#define TSC_LINE_MAX_SKEW 65536 /* ticks, between the host's CPUs */

struct tsc_line {
	u64 start;  /* of the host's TSC */
	u64 length; /* in its ticks, below 2^27; 0: there is no line */
	u64 mul;    /* VM's ticks for a tick, << TSC_LINE_SHIFT; below 2^36 */
	u64 base;   /* the VM's TSC at start */
};

static inline bool tsc_line_holds(const struct tsc_line *l, u64 host)
{
	return host - l->start < l->length;
}

static inline u64 tsc_line_at(const struct tsc_line *l, u64 host)
{
	return l->base + ((host - l->start) * l->mul >> TSC_LINE_SHIFT);
}

/* Both at one moment. */
struct tsc_pair {
	u64 host, vm;
};

struct tsc_lines {
	struct tsc_line line;
	u64 host_hz, vm_hz;
	u64 floor;             /* nothing less is given away any more */
	struct tsc_pair since; /* the rate is measured from here */
	u64 rate;              /* as tsc_line.mul */
	u64 length_ns;         /* of the next line */
	bool is_measured;      /* the rate is, over a while */
	unsigned n_bad;        /* measurements in a row that can't be true */
};

/* Nothing is given away that is less than floor. False: these frequencies are out of a line's reach. */
bool tsc_lines_start(struct tsc_lines *l, u64 host_hz, u64 vm_hz, u64 floor);
/* The line goes on from now, which it doesn't hold any more. False: the host's TSC is no clock after all. */
bool tsc_lines_go_on(struct tsc_lines *l, struct tsc_pair now);
/* All that was given away until host is less than this or the same. */
u64 tsc_lines_end(const struct tsc_lines *l, u64 host);

#endif

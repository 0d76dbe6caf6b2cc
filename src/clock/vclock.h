/*
 * The VM's clock: the only time that devices and guests see.
 *
 * It counts nanoseconds from 0 at the guest's power-on, stops while the VM is paused, is saved and
 * restored, and so never jumps because the host did something else. The guest's TSC and the wall
 * clock that the RTC shows are derived from it. Any thread, unless stated.
 */
#ifndef CLOCK_VCLOCK_H
#define CLOCK_VCLOCK_H

#include "base/base.h"
#include "base/list.h"
#include "base/loop.h"

struct state_table;
struct tsc_line;
struct vclock;

/* Stopped at 0 until vclock_start. Timers fire on the loop (borrowed). tsc_hz: 0 takes the host's. */
struct vclock *vclock_new(struct loop *loop, u64 tsc_hz);
void vclock_free(struct vclock *c); /* all timers disarmed */
AUTO_FN(vclock_free, struct vclock *)

/*
 * Before it is first started: a nanosecond passes for each one that *count grows by, instead of the
 * host's. *due is kept at the count at which the earliest timer is due (all ones: none is): whoever
 * counts calls vclock_fire then. Both are accessed atomically, and outlive the clock's running.
 */
void vclock_count(struct vclock *c, const u64 *count, u64 *due);
void vclock_fire(
	struct vclock *c); /* timers that are due. On the loop's thread; harmless on others */
/* Nobody counts until something happens: it is the earliest timer's time now. False: there is none. */
bool vclock_skip(struct vclock *c);

void vclock_start(struct vclock *c);
void vclock_stop(struct vclock *c); /* on return no timer callback begins until vclock_start */

u64 vclock_now_ns(const struct vclock *c);
u64 vclock_wall_ns(const struct vclock *c); /* UTC since 1970, as the guest should believe */
void vclock_set_wall_ns(struct vclock *c, u64 wall_ns);

/* The guest's TSC is tsc_hz ticks a second of this clock. Under KVM the accelerator keeps to it. */
u64 vclock_tsc_hz(const struct vclock *c);
u64 vclock_tsc(struct vclock *c);
u64 vclock_tsc_to_ns(const struct vclock *c, u64 tsc); /* the clock's time at which it shows tsc */

/*
 * When it is started next, the TSC goes by lines from the host's (tsc_line.h), which whoever reads it all the
 * time may have a copy of. Who starts and stops the clock calls this. Only where the host's own clock is its TSC: is_host_clock says so. It is
 * the same TSC, to tens of nanoseconds; vclock_tsc goes by it, too.
 */
void vclock_follow_tsc(struct vclock *c, bool is_host_clock);
/* The line that holds at present, good until the clock is stopped. False: there is none, ask vclock_tsc. */
bool vclock_tsc_line(struct vclock *c, struct tsc_line *out);

/* One-shot; may be armed again in its callback, which runs on the loop with no lock held. */
struct vtimer {
	struct vclock *clock;
	void (*fn)(void *opaque);
	void *opaque;
	u64 deadline_ns; /* valid while armed */
	bool is_armed;   /* clock's lock */
	struct list node;
	struct loop_timer host;
};

void vtimer_init(struct vtimer *t, struct vclock *c, void (*fn)(void *opaque), void *opaque);
void vtimer_arm(struct vtimer *t, u64 deadline_ns); /* of the VM's clock; the past fires at once */
void vtimer_disarm(struct vtimer *t);               /* a callback that has begun may still finish */

/* Saves the time, the wall offset and the TSC frequency; load while stopped. */
extern const struct state_table vclock_state;

#endif

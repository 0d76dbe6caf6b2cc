/*
 * A VM clock that stands until the test moves it: the functions of clock/vclock.h over a plain
 * number. A program that links this has no other clock.
 *
 * Timers fire inside fake_clock_advance, each at its own deadline, on the caller's thread.
 */
#ifndef TESTS_LIB_FAKE_CLOCK_H
#define TESTS_LIB_FAKE_CLOCK_H

#include "clock/vclock.h"

#define FAKE_CLOCK_TSC_HZ (2 * NSEC_PER_SEC)

struct vclock *fake_clock_new(void); /* at 0; the wall clock at 0 as well; vclock_free frees it */
void fake_clock_advance(struct vclock *c, u64 ns);
u64 fake_clock_fired(const struct vclock *c);    /* timer callbacks so far */
bool fake_clock_is_idle(const struct vclock *c); /* no timer is armed */

#endif

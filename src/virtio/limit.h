/*
 * I/O limits: how many bytes and operations a second a device may do, and how much of it at once.
 *
 * Two token buckets. What is done takes tokens, also more than there are, as long as there are some:
 * a large operation leaves a debt, and the next one waits until it is paid. So the rate is exact in
 * the long run, whatever the sizes. The time is the VM clock's: a paused guest saves nothing up
 * beyond its burst.
 *
 *     device: limit_take(bytes) true -> do it
 *                               false -> keep it, first in, first out ... ready() -> try again
 *
 * All of a limit belongs to the owner's lock; ready() is called on the loop's thread without it.
 */
#ifndef VIRTIO_LIMIT_H
#define VIRTIO_LIMIT_H

#include "base/base.h"
#include "clock/vclock.h"

struct state_table;

struct limit_rates {
	u64 bytes, ops;             /* a second; 0: no limit */
	u64 burst_bytes, burst_ops; /* at once; 0: a tenth of a second's */
};                                  /* none above LIMIT_RATE_MAX */

#define LIMIT_RATE_MAX ((u64)1 << 40)

struct limit_bucket {
	u64 rate, burst; /* rate 0: no limit */
	u64 full_at_ns;  /* when it would be full if nothing more were taken */
};

struct limit {
	struct limit_bucket bytes, ops;
	struct vtimer timer;
};

/* No limits yet. The clock is borrowed until limit_fini. */
void limit_init(struct limit *l, struct vclock *clock, void (*ready)(void *opaque), void *opaque);
void limit_fini(struct limit *l);

/* Debts are forgiven, and a timer that runs fires at once: ready() comes soon if someone waits. */
void limit_set(struct limit *l, const struct limit_rates *r);
void limit_get(const struct limit *l, struct limit_rates *out);

/* May an operation begin? Else ready() is called in time. */
bool limit_allows(struct limit *l);
/* Counts one of so many bytes, allowed or not. */
void limit_charge(struct limit *l, u64 bytes);
/* Both: counted when it is allowed. */
bool limit_take(struct limit *l, u64 bytes);

extern const struct state_table limit_state;

#endif

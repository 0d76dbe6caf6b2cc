/*
 * I/O limits by token buckets. See limit.h.
 *
 * A bucket is one number, the time at which it would be full (as in the generic cell rate algorithm
 * of ATM): taking moves it on by what the taken tokens take to come in, and there are tokens as long
 * as it is less than a burst's time ahead.
 *
 * Whoever waits, waits for a slice at least, if the burst is longer than that: a fast limit doesn't
 * become a timer for each operation.
 */
#include "virtio/limit.h"

#include "base/err.h"
#include "base/time.h"
#include "state/state.h"

#define LIMIT_DEFAULT_BURST 10 /* a second's part */
#define LIMIT_SLICE_NS      NSEC_PER_MSEC

static u64 bucket_time_ns(const struct limit_bucket *b, u64 amount)
{
	u128 ns = ((u128)amount * NSEC_PER_SEC + b->rate / 2) / b->rate;

	return (u64)MIN(ns, (u128)UINT32_MAX * NSEC_PER_SEC);
}

static void bucket_set(struct limit_bucket *b, u64 rate, u64 burst, u64 now)
{
	*b = (struct limit_bucket){
		.rate = rate,
		.burst = burst ? burst : MAX(rate / LIMIT_DEFAULT_BURST, (u64)1),
		.full_at_ns = now,
	};
}

/* When there are tokens: now, or later. */
static u64 bucket_ready_at(const struct limit_bucket *b, u64 now)
{
	u64 burst_ns = b->rate ? MAX(bucket_time_ns(b, b->burst), (u64)1) : 0;
	u64 slice_ns = MIN(LIMIT_SLICE_NS, burst_ns / 2);

	if (!b->rate || b->full_at_ns < now + burst_ns)
		return now;
	return MAX(b->full_at_ns - burst_ns + 1, now + slice_ns);
}

static void bucket_take(struct limit_bucket *b, u64 amount, u64 now)
{
	if (b->rate)
		b->full_at_ns = MAX(b->full_at_ns, now) + bucket_time_ns(b, amount);
}

void limit_init(struct limit *l, struct vclock *clock, void (*ready)(void *opaque), void *opaque)
{
	*l = (struct limit){0};
	vtimer_init(&l->timer, clock, ready, opaque);
}

void limit_fini(struct limit *l)
{
	if (l->timer.clock)
		vtimer_disarm(&l->timer);
}

void limit_set(struct limit *l, const struct limit_rates *r)
{
	u64 now = vclock_now_ns(l->timer.clock);

	bucket_set(&l->bytes, r->bytes, r->burst_bytes, now);
	bucket_set(&l->ops, r->ops, r->burst_ops, now);
	vtimer_arm(&l->timer, now);
}

void limit_get(const struct limit *l, struct limit_rates *out)
{
	*out = (struct limit_rates){.bytes = l->bytes.rate, .ops = l->ops.rate};
	out->burst_bytes = out->bytes ? l->bytes.burst : 0;
	out->burst_ops = out->ops ? l->ops.burst : 0;
}

static bool limit_is_off(const struct limit *l)
{
	return likely(!l->bytes.rate && !l->ops.rate);
}

bool limit_allows(struct limit *l)
{
	u64 now, ready;

	if (limit_is_off(l))
		return true;
	now = vclock_now_ns(l->timer.clock);
	ready = MAX(bucket_ready_at(&l->bytes, now), bucket_ready_at(&l->ops, now));
	if (ready > now)
		vtimer_arm(&l->timer, ready);
	return ready <= now;
}

void limit_charge(struct limit *l, u64 bytes)
{
	u64 now;

	if (limit_is_off(l))
		return;
	now = vclock_now_ns(l->timer.clock);
	bucket_take(&l->bytes, bytes, now);
	bucket_take(&l->ops, 1, now);
}

bool limit_take(struct limit *l, u64 bytes)
{
	bool is_allowed = limit_allows(l);

	if (is_allowed)
		limit_charge(l, bytes);
	return is_allowed;
}

/* --- state: limits that were changed while the guest ran go with it --- */

static int limit_bucket_after_load(void *object, unused u16 version, struct err *err)
{
	const struct limit_bucket *b = object;

	if (b->rate > LIMIT_RATE_MAX || b->burst > LIMIT_RATE_MAX || b->full_at_ns > INT64_MAX)
		return err_set(err, -EINVAL, "impossible I/O limits");
	return 0;
}

static const struct state_field limit_bucket_fields[] = {
	STATE_U(struct limit_bucket, rate),
	STATE_U(struct limit_bucket, burst),
	STATE_U(struct limit_bucket, full_at_ns),
	STATE_END,
};

static const struct state_table limit_bucket_state = {
	.name = "limit-bucket",
	.version = 1,
	.fields = limit_bucket_fields,
	.after_load = limit_bucket_after_load,
};

static const struct state_field limit_fields[] = {
	STATE_SUB(struct limit, bytes, &limit_bucket_state),
	STATE_SUB(struct limit, ops, &limit_bucket_state),
	STATE_END,
};

const struct state_table limit_state = {
	.name = "limit",
	.version = 1,
	.fields = limit_fields,
};

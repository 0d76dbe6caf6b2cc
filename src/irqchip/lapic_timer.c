/*
 * The local APIC's timer (SDM 3A, 10.5.4): one-shot, periodic and TSC-deadline, on the VM's clock.
 *
 * The counter runs at 1 GHz before the divider, KVM's rate, so one tick is a nanosecond. Nothing
 * counts: the clock at which the count began is kept, and current values are worked out. The host
 * timer fires on the loop; it posts the vector, and the vCPU is kicked by that. The lock orders it
 * against the vCPU's thread, which programs the timer.
 */
#include "irqchip/lapic_priv.h"

/* Shorter periods are stretched: a guest can't keep the loop busy by itself. */
#define LAPIC_TIMER_MIN_PERIOD_NS (200 * NSEC_PER_USEC)

/* Decades away at any TSC frequency, and still a number of nanoseconds. */
#define LAPIC_TIMER_TSC_MAX BIT(61)

static u32 lapic_timer_mode(const struct lapic *l)
{
	return LAPIC_LVT_TIMER_MODE(lapic_load(&l->lvt[LAPIC_LVT_TIMER]));
}

/* Nanoseconds of a tick: 2, 4, ... 128, 1 for the codes 0 to 7 (SDM 3A, figure 10-10). */
static u64 lapic_timer_tick_ns(const struct lapic_timer *t)
{
	u32 code = (t->divide & 3) | (t->divide & 8) >> 1;

	return (u64)1 << ((code + 1) & 7);
}

static u64 lapic_timer_period_ns(const struct lapic *l)
{
	u64 ns = l->timer.initial * lapic_timer_tick_ns(&l->timer);

	if (lapic_timer_mode(l) == LAPIC_TIMER_PERIODIC && ns < LAPIC_TIMER_MIN_PERIOD_NS)
		return LAPIC_TIMER_MIN_PERIOD_NS;
	return ns;
}

static void lapic_timer_stop(struct lapic *l)
{
	l->timer.is_running = false;
	vtimer_disarm(&l->timer.host);
}

static void lapic_timer_run(struct lapic *l, u64 target_ns)
{
	l->timer.is_running = true;
	l->timer.target_ns = target_ns;
	vtimer_arm(&l->timer.host, target_ns);
}

/* The CPU's TSC is the VM clock's plus an offset of either sign; what is out of the clock's reach
 * is cut to its ends. */
static void lapic_timer_run_deadline(struct lapic *l)
{
	struct lapic_timer *t = &l->timer;
	__int128 tsc = (__int128)t->tsc_deadline - (i64)t->tsc_offset;

	if (!t->tsc_deadline) {
		lapic_timer_stop(l);
		return;
	}
	tsc = MAX(tsc, (__int128)0);
	tsc = MIN(tsc, (__int128)LAPIC_TIMER_TSC_MAX);
	lapic_timer_run(l, vclock_tsc_to_ns(l->bus->config.clock, (u64)tsc));
}

static void lapic_timer_expire(struct lapic *l, u64 now)
{
	struct lapic_timer *t = &l->timer;

	switch (lapic_timer_mode(l)) {
	case LAPIC_TIMER_PERIODIC: {
		u64 period = lapic_timer_period_ns(l);

		/* Ticks that were missed are gone, as they would be in the request register. */
		t->start_ns += (now - t->start_ns) / period * period;
		lapic_timer_run(l, t->start_ns + period);
		break;
	}
	case LAPIC_TIMER_DEADLINE:
		t->tsc_deadline = 0;
		t->is_running = false;
		break;
	default:
		t->is_running = false;
		break;
	}
	lapic_post_lvt(l, LAPIC_LVT_TIMER);
}

/* Under the lock. A timer that was stopped or moved while its callback was on the way is not due. */
static void lapic_timer_check(struct lapic *l)
{
	u64 now = vclock_now_ns(l->bus->config.clock);

	if (l->timer.is_running && now >= l->timer.target_ns)
		lapic_timer_expire(l, now);
}

static void lapic_timer_fire(void *opaque)
{
	struct lapic *l = opaque;

	pthread_mutex_lock(&l->timer.lock);
	lapic_timer_check(l);
	pthread_mutex_unlock(&l->timer.lock);
}

void lapic_timer_init(struct lapic *l)
{
	pthread_mutex_init(&l->timer.lock, NULL);
	vtimer_init(&l->timer.host, l->bus->config.clock, lapic_timer_fire, l);
}

void lapic_timer_fini(struct lapic *l)
{
	vtimer_disarm(&l->timer.host);
	pthread_mutex_destroy(&l->timer.lock);
}

void lapic_timer_reset(struct lapic *l)
{
	struct lapic_timer *t = &l->timer;

	pthread_mutex_lock(&t->lock);
	lapic_timer_stop(l);
	t->initial = t->divide = 0;
	t->start_ns = 0;
	t->tsc_deadline = 0;
	pthread_mutex_unlock(&t->lock);
}

/* Entering or leaving TSC-deadline mode disarms the timer (SDM 3A, 10.5.4.1). */
void lapic_timer_set_lvt(struct lapic *l, u32 value)
{
	struct lapic_timer *t = &l->timer;
	bool was_deadline, is_deadline = LAPIC_LVT_TIMER_MODE(value) == LAPIC_TIMER_DEADLINE;

	pthread_mutex_lock(&t->lock);
	was_deadline = lapic_timer_mode(l) == LAPIC_TIMER_DEADLINE;
	lapic_store(&l->lvt[LAPIC_LVT_TIMER], value);
	if (was_deadline != is_deadline) {
		lapic_timer_stop(l);
		t->initial = 0;
		t->tsc_deadline = 0;
	}
	pthread_mutex_unlock(&t->lock);
}

void lapic_timer_set_initial(struct lapic *l, u32 value)
{
	struct lapic_timer *t = &l->timer;

	pthread_mutex_lock(&t->lock);
	if (lapic_timer_mode(l) != LAPIC_TIMER_DEADLINE) {
		t->initial = value;
		t->start_ns = vclock_now_ns(l->bus->config.clock);
		if (value)
			lapic_timer_run(l, t->start_ns + lapic_timer_period_ns(l));
		else
			lapic_timer_stop(l);
	}
	pthread_mutex_unlock(&t->lock);
}

/* Ticks left at now; under the lock. */
static u32 lapic_timer_left(const struct lapic *l, u64 now)
{
	const struct lapic_timer *t = &l->timer;

	if (!t->is_running || now >= t->target_ns || lapic_timer_mode(l) == LAPIC_TIMER_DEADLINE)
		return 0;
	return (u32)MIN((t->target_ns - now) / lapic_timer_tick_ns(t), (u64)t->initial);
}

/* A running count goes on from where it is, at the new rate. */
void lapic_timer_set_divide(struct lapic *l, u32 value)
{
	struct lapic_timer *t = &l->timer;

	pthread_mutex_lock(&t->lock);
	u64 now = vclock_now_ns(l->bus->config.clock);
	u32 left = lapic_timer_left(l, now);

	t->divide = value & LAPIC_TIMER_DIVIDE_BITS;
	if (left) {
		t->start_ns = now - (u64)(t->initial - left) * lapic_timer_tick_ns(t);
		lapic_timer_run(l, now + left * lapic_timer_tick_ns(t));
	}
	pthread_mutex_unlock(&t->lock);
}

/* Outside TSC-deadline mode the MSR reads 0 and writes are ignored (SDM 3A, 10.5.4.1). */
void lapic_timer_set_deadline(struct lapic *l, u64 tsc)
{
	struct lapic_timer *t = &l->timer;

	pthread_mutex_lock(&t->lock);
	if (lapic_timer_mode(l) == LAPIC_TIMER_DEADLINE) {
		t->tsc_deadline = tsc;
		lapic_timer_run_deadline(l);
	}
	pthread_mutex_unlock(&t->lock);
}

void lapic_timer_set_tsc_offset(struct lapic *l, u64 offset)
{
	pthread_mutex_lock(&l->timer.lock);
	l->timer.tsc_offset = offset;
	if (lapic_timer_mode(l) == LAPIC_TIMER_DEADLINE)
		lapic_timer_run_deadline(l);
	pthread_mutex_unlock(&l->timer.lock);
}

u32 lapic_timer_initial(struct lapic *l)
{
	pthread_mutex_lock(&l->timer.lock);
	u32 v = l->timer.initial;
	pthread_mutex_unlock(&l->timer.lock);
	return v;
}

u32 lapic_timer_divide(struct lapic *l)
{
	pthread_mutex_lock(&l->timer.lock);
	u32 v = l->timer.divide;
	pthread_mutex_unlock(&l->timer.lock);
	return v;
}

u32 lapic_timer_current(struct lapic *l)
{
	pthread_mutex_lock(&l->timer.lock);
	u32 v = lapic_timer_left(l, vclock_now_ns(l->bus->config.clock));
	pthread_mutex_unlock(&l->timer.lock);
	return v;
}

u64 lapic_timer_deadline(struct lapic *l)
{
	pthread_mutex_lock(&l->timer.lock);
	u64 v = l->timer.tsc_deadline;
	pthread_mutex_unlock(&l->timer.lock);
	return v;
}

/* A timer that is due is fired first: what has been saved as running is not over. */
void lapic_timer_save(struct lapic *l, struct x86_lapic_state *out)
{
	struct lapic_timer *t = &l->timer;

	pthread_mutex_lock(&t->lock);
	lapic_timer_check(l);
	out->timer_initial = t->initial;
	out->timer_divide = t->divide;
	out->timer_start_ns = t->start_ns;
	out->tsc_deadline = t->tsc_deadline;
	pthread_mutex_unlock(&t->lock);
}

/* lvt[] is loaded already. A one-shot count that ended before now stays ended. */
void lapic_timer_load(struct lapic *l, const struct x86_lapic_state *in)
{
	struct lapic_timer *t = &l->timer;
	u64 now = vclock_now_ns(l->bus->config.clock);

	pthread_mutex_lock(&t->lock);
	lapic_timer_stop(l);
	t->initial = in->timer_initial;
	t->divide = in->timer_divide;
	t->start_ns = in->timer_start_ns;
	t->tsc_deadline = in->tsc_deadline;
	if (lapic_timer_mode(l) == LAPIC_TIMER_DEADLINE) {
		lapic_timer_run_deadline(l);
	} else if (t->initial) {
		u64 target = t->start_ns + lapic_timer_period_ns(l);

		if (lapic_timer_mode(l) == LAPIC_TIMER_PERIODIC || target > now)
			lapic_timer_run(l, target);
	}
	pthread_mutex_unlock(&t->lock);
}

/*
 * The VM's clock, moved by hand. See fake_clock.h.
 */
#include "fake_clock.h"

#include <pthread.h>

#include "base/alloc.h"
#include "base/time.h"
#include "state/state.h"

struct vclock {
	pthread_mutex_t lock; /* guards all below */
	u64 now_ns;
	u64 wall_offset_ns;
	u64 fired;
	struct list armed;
};

struct vclock *fake_clock_new(void)
{
	struct vclock *c = NEW(struct vclock);

	pthread_mutex_init(&c->lock, NULL);
	list_init(&c->armed);
	return c;
}

void vclock_free(struct vclock *c)
{
	if (!c)
		return;
	assert(list_is_empty(&c->armed));
	pthread_mutex_destroy(&c->lock);
	free(c);
}

/* The earliest timer that is due by until, disarmed, and the clock moved to its deadline. */
static struct vtimer *fake_clock_next(struct vclock *c, u64 until)
{
	struct vtimer *first = NULL;

	pthread_mutex_lock(&c->lock);
	list_for_each (node, &c->armed) {
		struct vtimer *t = list_entry(node, struct vtimer, node);

		if (t->deadline_ns <= until && (!first || t->deadline_ns < first->deadline_ns))
			first = t;
	}
	c->now_ns = first ? MAX(c->now_ns, first->deadline_ns) : until;
	if (first) {
		first->is_armed = false;
		list_remove(&first->node);
		c->fired++;
	}
	pthread_mutex_unlock(&c->lock);
	return first;
}

void fake_clock_advance(struct vclock *c, u64 ns)
{
	u64 until = vclock_now_ns(c) + ns;
	struct vtimer *t;

	while ((t = fake_clock_next(c, until)))
		t->fn(t->opaque);
}

u64 fake_clock_fired(const struct vclock *c)
{
	return c->fired;
}

bool fake_clock_is_idle(const struct vclock *c)
{
	return list_is_empty(&c->armed);
}

static u64 fake_clock_get(const struct vclock *c, const u64 *field)
{
	struct vclock *writable = (struct vclock *)c;
	u64 v;

	pthread_mutex_lock(&writable->lock);
	v = *field;
	pthread_mutex_unlock(&writable->lock);
	return v;
}

u64 vclock_now_ns(const struct vclock *c)
{
	return fake_clock_get(c, &c->now_ns);
}

u64 vclock_wall_ns(const struct vclock *c)
{
	return vclock_now_ns(c) + fake_clock_get(c, &c->wall_offset_ns);
}

void vclock_set_wall_ns(struct vclock *c, u64 wall_ns)
{
	pthread_mutex_lock(&c->lock);
	c->wall_offset_ns = wall_ns - c->now_ns;
	pthread_mutex_unlock(&c->lock);
}

u64 vclock_tsc_hz(unused const struct vclock *c)
{
	return FAKE_CLOCK_TSC_HZ;
}

u64 vclock_tsc(struct vclock *c)
{
	return time_muldiv(vclock_now_ns(c), FAKE_CLOCK_TSC_HZ, NSEC_PER_SEC);
}

u64 vclock_tsc_to_ns(unused const struct vclock *c, u64 tsc)
{
	return time_muldiv(tsc, NSEC_PER_SEC, FAKE_CLOCK_TSC_HZ);
}

void vtimer_init(struct vtimer *t, struct vclock *c, void (*fn)(void *opaque), void *opaque)
{
	*t = (struct vtimer){.clock = c, .fn = fn, .opaque = opaque};
	list_init(&t->node);
}

void vtimer_arm(struct vtimer *t, u64 deadline_ns)
{
	pthread_mutex_lock(&t->clock->lock);
	t->deadline_ns = deadline_ns;
	if (!t->is_armed)
		list_append(&t->clock->armed, &t->node);
	t->is_armed = true;
	pthread_mutex_unlock(&t->clock->lock);
}

void vtimer_disarm(struct vtimer *t)
{
	pthread_mutex_lock(&t->clock->lock);
	list_remove(&t->node);
	t->is_armed = false;
	pthread_mutex_unlock(&t->clock->lock);
}

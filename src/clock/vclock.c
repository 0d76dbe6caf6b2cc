/*
 * The VM's clock.
 *
 * While it runs, its time is the host's monotonic time plus an offset that is read without a lock
 * (one aligned 64-bit word; stopping and starting happen while no vCPU runs). While it is stopped
 * it stands. Armed timers are kept in a list, so that stopping can take them off the loop and
 * starting can put them back at their new host deadlines. A counted clock has another source than the
 * host's time, and nothing on the loop: whoever counts is told when to come.
 */
#include "clock/vclock.h"

#include <pthread.h>
#include <string.h>

#include "base/alloc.h"
#include "base/err.h"
#include "base/time.h"
#include "clock/tsc.h"
#include "clock/tsc_line.h"
#include "state/state.h"

struct vclock {
	struct loop *loop;
	u64 tsc_hz;
	u64 host_tsc_hz;    /* 0: the host's TSC can't be used */
	u64 wall_offset_ns; /* wall time less the clock's; wraps */

	const u64 *count; /* instead of the host's time; NULL: that */
	u64 *due;
	bool is_running; /* atomic */
	u64 offset_ns;   /* atomic: clock less host monotonic, while running; wraps */
	u64 stopped_ns;  /* the time it stands at, while stopped; what is saved */

	bool follows_tsc; /* atomic: while running; the TSC's lines are in use */
	bool may_follow_tsc;
	pthread_mutex_t lines_lock; /* below all others; guards the lines */
	struct tsc_lines lines;
	u64 tsc_floor; /* atomic: the TSC was this already, by lines that aren't followed any more */

	pthread_mutex_t lock; /* guards the list, and is_running against arming */
	pthread_cond_t idle;
	struct list armed;
	struct vtimer *firing; /* whose callback is running */
};

struct vclock *vclock_new(struct loop *loop, u64 tsc_hz)
{
	struct vclock *c = NEW(struct vclock);

	c->loop = loop;
	c->host_tsc_hz = tsc_host_hz();
	c->tsc_hz = tsc_hz ? tsc_hz : c->host_tsc_hz ? c->host_tsc_hz : VCLOCK_FALLBACK_TSC_HZ;
	c->wall_offset_ns = time_real_ns();
	pthread_mutex_init(&c->lock, NULL);
	pthread_mutex_init(&c->lines_lock, NULL);
	pthread_cond_init(&c->idle, NULL);
	list_init(&c->armed);
	return c;
}

void vclock_free(struct vclock *c)
{
	if (!c)
		return;
	assert(list_is_empty(&c->armed));
	pthread_cond_destroy(&c->idle);
	pthread_mutex_destroy(&c->lines_lock);
	pthread_mutex_destroy(&c->lock);
	free(c);
}

/* What the clock's time is an offset to. */
static u64 vclock_source_ns(const struct vclock *c)
{
	return c->count ? __atomic_load_n(c->count, __ATOMIC_RELAXED) : time_mono_ns();
}

u64 vclock_now_ns(const struct vclock *c)
{
	if (!__atomic_load_n(&c->is_running, __ATOMIC_ACQUIRE))
		return __atomic_load_n(&c->stopped_ns, __ATOMIC_RELAXED);
	return vclock_source_ns(c) + __atomic_load_n(&c->offset_ns, __ATOMIC_RELAXED);
}

u64 vclock_wall_ns(const struct vclock *c)
{
	return vclock_now_ns(c) + __atomic_load_n(&c->wall_offset_ns, __ATOMIC_RELAXED);
}

void vclock_set_wall_ns(struct vclock *c, u64 wall_ns)
{
	__atomic_store_n(&c->wall_offset_ns, wall_ns - vclock_now_ns(c), __ATOMIC_RELAXED);
}

u64 vclock_tsc_hz(const struct vclock *c)
{
	return c->tsc_hz;
}

/* What the TSC is at a time of the clock's, rounded down. */
static u64 vclock_tsc_at(const struct vclock *c, u64 ns)
{
	u64 rest = ns % NSEC_PER_SEC;

	/* ns * hz / 10^9 without a division of 128 bits: guests ask all the time. */
	static_assert(VCLOCK_MAX_TSC_HZ <= UINT64_MAX / NSEC_PER_SEC, "rest * hz fits");
	return ns / NSEC_PER_SEC * c->tsc_hz + rest * c->tsc_hz / NSEC_PER_SEC;
}

static bool vclock_tsc_by_line(struct vclock *c, u64 *out)
{
	struct tsc_line line;
	u64 host;

	do {
		if (!vclock_tsc_line(c, &line))
			return false;
		host = tsc_read();
	} while (!tsc_line_holds(&line, host));
	*out = tsc_line_at(&line, host);
	return true;
}

u64 vclock_tsc(struct vclock *c)
{
	u64 tsc;

	if (vclock_tsc_by_line(c, &tsc))
		return tsc;
	tsc = vclock_tsc_at(c, vclock_now_ns(c));
	/* What lines gave away before they were given up counts. */
	return MAX(tsc, __atomic_load_n(&c->tsc_floor, __ATOMIC_RELAXED));
}

u64 vclock_tsc_to_ns(const struct vclock *c, u64 tsc)
{
	/* Rounded up: at the time returned, the TSC has reached tsc. */
	u128 ns = ((u128)tsc * NSEC_PER_SEC + c->tsc_hz - 1) / c->tsc_hz;

	return ns > UINT64_MAX ? UINT64_MAX : (u64)ns;
}

/* --- the TSC by lines --- */

void vclock_follow_tsc(struct vclock *c, bool is_host_clock)
{
	c->may_follow_tsc = is_host_clock;
}

/* Both clocks at one moment: of a few readings the one that was interrupted the least. */
static struct tsc_pair vclock_read_pair(const struct vclock *c)
{
	u64 best_gap = UINT64_MAX, ns = 0;
	struct tsc_pair pair = {0};

	for (unsigned i = 0; i < 4; i++) {
		u64 before = tsc_read(), now = vclock_now_ns(c), gap = tsc_read() - before;

		if (gap < best_gap) {
			best_gap = gap;
			pair.host = before + gap / 2;
			ns = now;
		}
	}
	pair.vm = vclock_tsc_at(c, ns);
	return pair;
}

/* Under the lock: the line that holds now. */
static bool vclock_hold_line(struct vclock *c)
{
	const struct tsc_line *line = &c->lines.line;
	u64 host;

	if (!__atomic_load_n(&c->follows_tsc, __ATOMIC_RELAXED))
		return false;
	/* The TSC of the CPU that began the line may have been a little ahead of this one's. */
	do {
		host = tsc_read();
	} while (line->start - host < TSC_LINE_MAX_SKEW && line->start != host);
	if (tsc_line_holds(line, host))
		return true;
	if (tsc_lines_go_on(&c->lines, vclock_read_pair(c)))
		return true;
	__atomic_store_n(&c->tsc_floor, tsc_lines_end(&c->lines, tsc_read()), __ATOMIC_RELAXED);
	__atomic_store_n(&c->follows_tsc, false, __ATOMIC_RELEASE);
	c->may_follow_tsc = false;
	return false;
}

bool vclock_tsc_line(struct vclock *c, struct tsc_line *out)
{
	bool has_line;

	if (!__atomic_load_n(&c->follows_tsc, __ATOMIC_ACQUIRE))
		return false;
	pthread_mutex_lock(&c->lines_lock);
	has_line = vclock_hold_line(c);
	if (has_line)
		*out = c->lines.line;
	pthread_mutex_unlock(&c->lines_lock);
	return has_line;
}

/* While the clock starts or stops. */
static void vclock_start_lines(struct vclock *c)
{
	bool follows;

	pthread_mutex_lock(&c->lines_lock);
	follows = c->may_follow_tsc && !c->count &&
		  tsc_lines_start(&c->lines, c->host_tsc_hz, c->tsc_hz,
				  vclock_tsc_at(c, c->stopped_ns));
	__atomic_store_n(&c->tsc_floor, 0, __ATOMIC_RELAXED);
	__atomic_store_n(&c->follows_tsc, follows, __ATOMIC_RELEASE);
	pthread_mutex_unlock(&c->lines_lock);
}

/* The time at which the clock stands: the TSC was never more than it is then. */
static u64 vclock_end_lines(struct vclock *c)
{
	u64 now = vclock_now_ns(c), tsc;

	pthread_mutex_lock(&c->lines_lock);
	tsc = c->follows_tsc ? tsc_lines_end(&c->lines, tsc_read()) : c->tsc_floor;
	__atomic_store_n(&c->follows_tsc, false, __ATOMIC_RELEASE);
	pthread_mutex_unlock(&c->lines_lock);
	return MAX(now, vclock_tsc_to_ns(c, tsc));
}

/* --- timers --- */

static struct vtimer *vclock_earliest(struct vclock *c)
{
	struct vtimer *earliest = NULL;

	list_for_each (node, &c->armed) {
		struct vtimer *t = list_entry(node, struct vtimer, node);

		if (!earliest || t->deadline_ns < earliest->deadline_ns)
			earliest = t;
	}
	return earliest;
}

/* The count at a time of the clock's; 0: it is past. */
static u64 vclock_count_at(const struct vclock *c, u64 ns)
{
	u64 now = vclock_now_ns(c);

	return ns <= now ? 0 : ns - now + vclock_source_ns(c);
}

/* Under the lock: what a counted clock tells whoever counts. */
static void vclock_tell_due(struct vclock *c)
{
	const struct vtimer *t = c->is_running ? vclock_earliest(c) : NULL;

	if (c->count)
		__atomic_store_n(c->due, t ? vclock_count_at(c, t->deadline_ns) : UINT64_MAX,
				 __ATOMIC_RELEASE);
}

/* Under the lock, while running. A deadline beyond the host clock's end never comes. */
static void vclock_put_on_loop(struct vclock *c, struct vtimer *t)
{
	u64 offset = __atomic_load_n(&c->offset_ns, __ATOMIC_RELAXED);
	u64 now = vclock_source_ns(c) + offset;
	u64 wait = t->deadline_ns > now ? t->deadline_ns - now : 0;

	if (c->count)
		vclock_tell_due(c);
	else
		loop_timer_arm(c->loop, &t->host, now - offset + MIN(wait, VCLOCK_MAX_WAIT_NS));
}

static void vclock_on_timer(struct loop_timer *host)
{
	struct vtimer *t = container_of(host, struct vtimer, host);
	struct vclock *c = t->clock;
	bool is_due;

	pthread_mutex_lock(&c->lock);
	/* It may have been disarmed, armed anew or stopped between the loop's decision and this. */
	is_due = t->is_armed && c->is_running;
	if (is_due && vclock_now_ns(c) < t->deadline_ns) {
		vclock_put_on_loop(c, t);
		is_due = false;
	}
	if (is_due) {
		t->is_armed = false;
		list_remove(&t->node);
		c->firing = t;
	}
	pthread_mutex_unlock(&c->lock);
	if (!is_due)
		return;

	t->fn(t->opaque);

	pthread_mutex_lock(&c->lock);
	c->firing = NULL;
	pthread_cond_broadcast(&c->idle);
	pthread_mutex_unlock(&c->lock);
}

void vtimer_init(struct vtimer *t, struct vclock *c, void (*fn)(void *opaque), void *opaque)
{
	*t = (struct vtimer){.clock = c, .fn = fn, .opaque = opaque};
	t->host.fn = vclock_on_timer;
	list_init(&t->node);
}

void vtimer_arm(struct vtimer *t, u64 deadline_ns)
{
	struct vclock *c = t->clock;

	pthread_mutex_lock(&c->lock);
	t->deadline_ns = deadline_ns;
	if (!t->is_armed) {
		t->is_armed = true;
		list_append(&c->armed, &t->node);
	}
	if (c->is_running)
		vclock_put_on_loop(c, t);
	pthread_mutex_unlock(&c->lock);
}

void vtimer_disarm(struct vtimer *t)
{
	struct vclock *c = t->clock;

	pthread_mutex_lock(&c->lock);
	if (t->is_armed) {
		t->is_armed = false;
		list_remove(&t->node);
		loop_timer_disarm(c->loop, &t->host);
		vclock_tell_due(c);
	}
	pthread_mutex_unlock(&c->lock);
}

/* --- counted --- */

void vclock_count(struct vclock *c, const u64 *count, u64 *due)
{
	pthread_mutex_lock(&c->lock);
	assert(!c->is_running && !c->count);
	c->count = count;
	c->due = due;
	vclock_tell_due(c);
	pthread_mutex_unlock(&c->lock);
}

/* Under the lock: the next that is due is no longer armed. NULL: none is. */
static struct vtimer *vclock_take_due(struct vclock *c)
{
	struct vtimer *t = c->is_running ? vclock_earliest(c) : NULL;

	if (!t || t->deadline_ns > vclock_now_ns(c))
		return NULL;
	t->is_armed = false;
	list_remove(&t->node);
	vclock_tell_due(c);
	return t;
}

void vclock_fire(struct vclock *c)
{
	struct vtimer *t;

	pthread_mutex_lock(&c->lock);
	while (c->count && (t = vclock_take_due(c))) {
		c->firing = t;
		pthread_mutex_unlock(&c->lock);
		t->fn(t->opaque);
		pthread_mutex_lock(&c->lock);
		c->firing = NULL;
		pthread_cond_broadcast(&c->idle);
	}
	pthread_mutex_unlock(&c->lock);
}

bool vclock_skip(struct vclock *c)
{
	const struct vtimer *t;
	u64 now;

	pthread_mutex_lock(&c->lock);
	now = vclock_now_ns(c);
	t = c->is_running ? vclock_earliest(c) : NULL;
	if (t && t->deadline_ns > now) {
		__atomic_store_n(&c->offset_ns, c->offset_ns + (t->deadline_ns - now),
				 __ATOMIC_RELAXED);
		vclock_tell_due(c);
	}
	pthread_mutex_unlock(&c->lock);
	return t;
}

/* --- running and standing --- */

void vclock_start(struct vclock *c)
{
	pthread_mutex_lock(&c->lock);
	if (!c->is_running) {
		__atomic_store_n(&c->offset_ns, c->stopped_ns - vclock_source_ns(c),
				 __ATOMIC_RELAXED);
		vclock_start_lines(c);
		__atomic_store_n(&c->is_running, true, __ATOMIC_RELEASE);
		list_for_each (node, &c->armed)
			vclock_put_on_loop(c, list_entry(node, struct vtimer, node));
	}
	pthread_mutex_unlock(&c->lock);
}

void vclock_stop(struct vclock *c)
{
	pthread_mutex_lock(&c->lock);
	if (c->is_running) {
		__atomic_store_n(&c->stopped_ns, vclock_end_lines(c), __ATOMIC_RELAXED);
		__atomic_store_n(&c->is_running, false, __ATOMIC_RELEASE);
		list_for_each (node, &c->armed)
			loop_timer_disarm(c->loop, &list_entry(node, struct vtimer, node)->host);
		vclock_tell_due(c);
	}
	/* On the loop's own thread, the callback that is running is the caller. */
	while (c->firing && !loop_is_current(c->loop))
		pthread_cond_wait(&c->idle, &c->lock);
	pthread_mutex_unlock(&c->lock);
}

/* --- state --- */

static int vclock_after_load(void *object, u16 version, struct err *err)
{
	struct vclock *c = object;

	(void)version;
	if (c->tsc_hz < VCLOCK_MIN_TSC_HZ || c->tsc_hz > VCLOCK_MAX_TSC_HZ)
		return err_set(err, -EINVAL, "a TSC of %lu Hz", c->tsc_hz);
	return 0;
}

static void vclock_before_save(void *object)
{
	struct vclock *c = object;

	assert(!c->is_running);
}

static const struct state_field vclock_fields[] = {
	STATE_U(struct vclock, stopped_ns),
	STATE_U(struct vclock, wall_offset_ns),
	STATE_U(struct vclock, tsc_hz),
	STATE_END,
};

const struct state_table vclock_state = {
	.name = "clock",
	.version = 1,
	.fields = vclock_fields,
	.before_save = vclock_before_save,
	.after_load = vclock_after_load,
};

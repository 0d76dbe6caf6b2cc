/*
 * An event loop over epoll. One eventfd wakes it for posted tasks and for quitting, one timerfd for
 * the earliest timer of a binary heap. The heap and the task list are under the loop's mutex, which
 * is never held while a callback runs.
 */
#include "base/loop.h"

#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/time.h"

struct loop {
	int epoll_fd;
	struct loop_fd wake;  /* eventfd */
	struct loop_fd clock; /* timerfd */
	bool is_quitting;     /* atomic */
	u64 events;           /* handled; its thread's */
	pthread_t thread;
	bool is_running; /* atomic; thread is valid when set */

	pthread_mutex_t lock; /* guards all below */
	struct list tasks;
	struct loop_timer **heap;
	size_t n_timers, heap_size;
	u64 armed_ns; /* what the timerfd is set to; 0: disarmed */
};

/* --- timers: a binary heap, earliest first; slot i holds children 2i + 1, 2i + 2 --- */

static void loop_heap_put(struct loop *l, size_t i, struct loop_timer *t)
{
	l->heap[i] = t;
	t->heap_slot = i + 1;
}

static void loop_heap_up(struct loop *l, size_t i)
{
	struct loop_timer *t = l->heap[i];

	for (; i && l->heap[(i - 1) / 2]->deadline_ns > t->deadline_ns; i = (i - 1) / 2)
		loop_heap_put(l, i, l->heap[(i - 1) / 2]);
	loop_heap_put(l, i, t);
}

static void loop_heap_down(struct loop *l, size_t i)
{
	struct loop_timer *t = l->heap[i];

	for (;;) {
		size_t child = 2 * i + 1;

		if (child >= l->n_timers)
			break;
		if (child + 1 < l->n_timers &&
		    l->heap[child + 1]->deadline_ns < l->heap[child]->deadline_ns)
			child++;
		if (l->heap[child]->deadline_ns >= t->deadline_ns)
			break;
		loop_heap_put(l, i, l->heap[child]);
		i = child;
	}
	loop_heap_put(l, i, t);
}

static void loop_heap_insert(struct loop *l, struct loop_timer *t)
{
	if (l->n_timers == l->heap_size) {
		size_t size = l->heap_size ? l->heap_size * 2 : 16;

		l->heap = mem_grow(l->heap, l->heap_size, size, sizeof(struct loop_timer *));
		l->heap_size = size;
	}
	l->heap[l->n_timers] = t;
	loop_heap_up(l, l->n_timers++);
}

static void loop_heap_remove(struct loop *l, struct loop_timer *t)
{
	size_t i = t->heap_slot - 1;
	struct loop_timer *last = l->heap[--l->n_timers];

	t->heap_slot = 0;
	if (last == t)
		return;
	loop_heap_put(l, i, last);
	loop_heap_up(l, i);
	loop_heap_down(l, last->heap_slot - 1);
}

/*
 * Set the timerfd for the earliest timer, unless it fires before that anyway: it is then set anew. A
 * guest that goes to sleep and wakes thousands of times a second moves its timer each time. Under the
 * lock.
 */
static void loop_set_clock(struct loop *l)
{
	u64 next = l->n_timers ? MAX(l->heap[0]->deadline_ns, (u64)1) : 0;
	struct itimerspec its = {0};

	if (!next || (l->armed_ns && l->armed_ns <= next))
		return;
	l->armed_ns = next;
	its.it_value.tv_sec = (time_t)MIN(next / NSEC_PER_SEC, (u64)INT64_MAX / 2);
	its.it_value.tv_nsec = (long)(next % NSEC_PER_SEC);
	timerfd_settime(l->clock.fd, TFD_TIMER_ABSTIME, &its, NULL);
}

void loop_timer_arm(struct loop *l, struct loop_timer *t, u64 deadline_ns)
{
	pthread_mutex_lock(&l->lock);
	if (t->heap_slot)
		loop_heap_remove(l, t);
	t->deadline_ns = deadline_ns;
	loop_heap_insert(l, t);
	loop_set_clock(l);
	pthread_mutex_unlock(&l->lock);
}

void loop_timer_disarm(struct loop *l, struct loop_timer *t)
{
	pthread_mutex_lock(&l->lock);
	/* The timerfd may fire once for nothing: cheaper than setting it here. */
	if (t->heap_slot)
		loop_heap_remove(l, t);
	pthread_mutex_unlock(&l->lock);
}

static void loop_on_clock(struct loop_fd *w, u32 events)
{
	struct loop *l = container_of(w, struct loop, clock);
	u64 expirations;

	(void)events;
	if (read(w->fd, &expirations, sizeof(expirations)) < 0 && errno != EAGAIN)
		return;

	pthread_mutex_lock(&l->lock);
	l->armed_ns = 0;
	/* Timers armed by the callbacks for the past wait for the next round: no starvation. */
	for (u64 now = time_mono_ns(); l->n_timers && l->heap[0]->deadline_ns <= now;) {
		struct loop_timer *t = l->heap[0];

		loop_heap_remove(l, t);
		pthread_mutex_unlock(&l->lock);
		t->fn(t);
		pthread_mutex_lock(&l->lock);
	}
	loop_set_clock(l);
	pthread_mutex_unlock(&l->lock);
}

/* --- tasks --- */

static void loop_wake(struct loop *l)
{
	u64 one = 1;

	/* EAGAIN: the counter is full, so the loop is awake. */
	if (write(l->wake.fd, &one, sizeof(one)) < 0)
		assert(errno == EAGAIN);
}

void loop_task_post(struct loop *l, struct loop_task *t)
{
	bool was_posted;

	pthread_mutex_lock(&l->lock);
	was_posted = t->is_posted;
	if (!was_posted) {
		t->is_posted = true;
		list_append(&l->tasks, &t->node);
	}
	pthread_mutex_unlock(&l->lock);
	if (!was_posted && !loop_is_current(l))
		loop_wake(l);
}

void loop_task_cancel(struct loop *l, struct loop_task *t)
{
	pthread_mutex_lock(&l->lock);
	if (t->is_posted) {
		t->is_posted = false;
		list_remove(&t->node);
	}
	pthread_mutex_unlock(&l->lock);
}

/* Runs the tasks that are posted now; those that they post stay for the next round. */
static void loop_run_tasks(struct loop *l)
{
	struct list last;

	pthread_mutex_lock(&l->lock);
	/* A marker ends this round. */
	list_append(&l->tasks, &last);
	while (l->tasks.next != &last) {
		struct loop_task *t = list_entry(l->tasks.next, struct loop_task, node);

		list_remove(&t->node);
		t->is_posted = false;
		pthread_mutex_unlock(&l->lock);
		t->fn(t);
		pthread_mutex_lock(&l->lock);
	}
	list_remove(&last);
	pthread_mutex_unlock(&l->lock);
}

static bool loop_has_tasks(struct loop *l)
{
	bool has;

	pthread_mutex_lock(&l->lock);
	has = !list_is_empty(&l->tasks);
	pthread_mutex_unlock(&l->lock);
	return has;
}

/* Only wakes: what is posted runs in loop_wait_and_handle. */
static void loop_on_wake(struct loop_fd *w, u32 events)
{
	u64 count;

	(void)events;
	if (read(w->fd, &count, sizeof(count)) < 0)
		assert(errno == EAGAIN);
}

/* --- descriptors --- */

int loop_fd_add(struct loop *l, struct loop_fd *w)
{
	struct epoll_event ev = {.events = w->events, .data.ptr = w};

	assert(!w->is_added);
	if (epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, w->fd, &ev) < 0)
		return -errno;
	w->is_added = true;
	return 0;
}

void loop_fd_change(struct loop *l, struct loop_fd *w, u32 events)
{
	struct epoll_event ev = {.events = events, .data.ptr = w};

	assert(w->is_added);
	if (w->events == events)
		return;
	w->events = events;
	if (epoll_ctl(l->epoll_fd, EPOLL_CTL_MOD, w->fd, &ev) < 0)
		unreachable_code();
}

void loop_fd_remove(struct loop *l, struct loop_fd *w)
{
	if (!w->is_added)
		return;
	epoll_ctl(l->epoll_fd, EPOLL_CTL_DEL, w->fd, NULL);
	w->is_added = false;
}

/* --- the loop --- */

int loop_new(struct loop **out, struct err *err)
{
	struct loop *l = NEW(struct loop);
	int r;

	pthread_mutex_init(&l->lock, NULL);
	list_init(&l->tasks);
	l->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	l->wake = (struct loop_fd){.events = EPOLLIN, .fn = loop_on_wake};
	l->wake.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	l->clock = (struct loop_fd){.events = EPOLLIN, .fn = loop_on_clock};
	l->clock.fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	r = l->epoll_fd < 0 || l->wake.fd < 0 || l->clock.fd < 0 ? -errno : 0;
	if (!r)
		r = loop_fd_add(l, &l->wake);
	if (!r)
		r = loop_fd_add(l, &l->clock);
	if (r < 0) {
		loop_free(l);
		return err_errno(err, r, "cannot make an event loop");
	}
	*out = l;
	return 0;
}

void loop_free(struct loop *l)
{
	if (!l)
		return;
	assert(!l->is_running);
	fd_close(l->clock.fd);
	fd_close(l->wake.fd);
	fd_close(l->epoll_fd);
	pthread_mutex_destroy(&l->lock);
	free(l->heap);
	free(l);
}

void loop_quit(struct loop *l)
{
	__atomic_store_n(&l->is_quitting, true, __ATOMIC_RELEASE);
	loop_wake(l);
}

u64 loop_events(const struct loop *l)
{
	return l->events;
}

bool loop_is_current(const struct loop *l)
{
	return __atomic_load_n(&l->is_running, __ATOMIC_ACQUIRE) &&
	       pthread_equal(__atomic_load_n(&l->thread, __ATOMIC_RELAXED), pthread_self());
}

static void loop_wait_and_handle(struct loop *l, int timeout_ms)
{
	/* One at a time: a callback may remove and free any other watch. */
	struct epoll_event ev;
	int n = epoll_wait(l->epoll_fd, &ev, 1, loop_has_tasks(l) ? 0 : timeout_ms);

	if (n == 1) {
		struct loop_fd *w = ev.data.ptr;

		l->events++;
		w->fn(w, ev.events);
	}
	if (loop_has_tasks(l))
		loop_run_tasks(l);
}

static void loop_set_running(struct loop *l, bool is_running)
{
	if (is_running)
		__atomic_store_n(&l->thread, pthread_self(), __ATOMIC_RELAXED);
	__atomic_store_n(&l->is_running, is_running, __ATOMIC_RELEASE);
}

void loop_run(struct loop *l)
{
	loop_set_running(l, true);
	while (!__atomic_load_n(&l->is_quitting, __ATOMIC_ACQUIRE))
		loop_wait_and_handle(l, -1);
	loop_set_running(l, false);
}

void loop_step(struct loop *l, bool may_wait)
{
	loop_set_running(l, true);
	loop_wait_and_handle(l, may_wait ? -1 : 0);
	loop_set_running(l, false);
}

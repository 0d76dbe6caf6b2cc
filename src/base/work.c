/*
 * Work for other threads. See work.h.
 */
#include "base/work.h"

#include <pthread.h>

#include "base/alloc.h"
#include "base/co.h"
#include "base/err.h"
#include "base/list.h"
#include "base/loop.h"

#define WORK_STACK (256 * KIB)

/* On the stack of the coroutine that waits for it. */
struct work {
	struct list node;
	void (*fn)(void *arg);
	void *arg;
	struct co *co;
	bool is_done; /* the loop's thread */
};

struct work_pool {
	struct loop *loop;
	struct loop_task finish;
	pthread_t *threads;
	unsigned n_threads;
	int (*enter)(void *opaque, struct err *err);
	void *enter_opaque;

	/* The loop's thread's. */
	struct list busy; /* in work_busy, while n_out */
	unsigned n_out;

	pthread_mutex_t lock; /* guards all below */
	pthread_cond_t has_work, has_begun, has_finished;
	struct list queue, finished;
	unsigned n_begun;
	struct err failure; /* of a thread that could not begin */
	bool is_quitting;
};

/* Pools in which something is being run for this thread: for work_settle. */
static _Thread_local struct {
	struct list pools;
	bool is_made;
} work_busy;

static void work_count(struct work_pool *p)
{
	if (!work_busy.is_made)
		list_init(&work_busy.pools);
	work_busy.is_made = true;
	if (p->n_out++ == 0)
		list_append(&work_busy.pools, &p->busy);
}

static void work_begin(struct work_pool *p)
{
	struct err err = ERR_INIT;
	int r = p->enter ? p->enter(p->enter_opaque, &err) : 0;

	pthread_mutex_lock(&p->lock);
	if (r < 0)
		p->failure = err;
	p->n_begun++;
	pthread_cond_signal(&p->has_begun);
	pthread_mutex_unlock(&p->lock);
}

static void *work_thread(void *arg)
{
	struct work_pool *p = arg;

	work_begin(p);
	pthread_mutex_lock(&p->lock);
	for (;;) {
		struct work *w;

		while (list_is_empty(&p->queue) && !p->is_quitting)
			pthread_cond_wait(&p->has_work, &p->lock);
		if (p->is_quitting)
			break;
		w = list_entry(p->queue.next, struct work, node);
		list_remove(&w->node);
		pthread_mutex_unlock(&p->lock);
		w->fn(w->arg);
		pthread_mutex_lock(&p->lock);
		list_append(&p->finished, &w->node);
		pthread_cond_signal(&p->has_finished);
		loop_task_post(p->loop, &p->finish);
	}
	pthread_mutex_unlock(&p->lock);
	return NULL;
}

static void work_finish(struct work_pool *p)
{
	pthread_mutex_lock(&p->lock);
	while (!list_is_empty(&p->finished)) {
		struct work *w = list_entry(p->finished.next, struct work, node);

		list_remove(&w->node);
		pthread_mutex_unlock(&p->lock);
		if (--p->n_out == 0)
			list_remove(&p->busy);
		w->is_done = true;
		co_wake(w->co);
		pthread_mutex_lock(&p->lock);
	}
	pthread_mutex_unlock(&p->lock);
}

static void work_on_finish(struct loop_task *t)
{
	work_finish(container_of(t, struct work_pool, finish));
}

bool work_settle(void)
{
	struct work_pool *p;

	if (!work_busy.is_made || list_is_empty(&work_busy.pools))
		return false;
	p = list_entry(work_busy.pools.next, struct work_pool, busy);
	pthread_mutex_lock(&p->lock);
	while (list_is_empty(&p->finished))
		pthread_cond_wait(&p->has_finished, &p->lock);
	pthread_mutex_unlock(&p->lock);
	work_finish(p);
	return true;
}

void work_run(struct work_pool *p, void (*fn)(void *arg), void *arg)
{
	struct work w = {.fn = fn, .arg = arg, .co = co_self()};

	if (!p || !w.co) {
		fn(arg);
		return;
	}
	work_count(p);
	pthread_mutex_lock(&p->lock);
	list_append(&p->queue, &w.node);
	pthread_cond_signal(&p->has_work);
	pthread_mutex_unlock(&p->lock);
	while (!w.is_done)
		co_wait();
}

void work_pool_free(struct work_pool *p)
{
	if (!p)
		return;
	pthread_mutex_lock(&p->lock);
	p->is_quitting = true;
	pthread_cond_broadcast(&p->has_work);
	pthread_mutex_unlock(&p->lock);
	for (unsigned i = 0; i < p->n_threads; i++)
		pthread_join(p->threads[i], NULL);
	assert(list_is_empty(&p->finished) && list_is_empty(&p->queue));
	loop_task_cancel(p->loop, &p->finish);
	pthread_cond_destroy(&p->has_work);
	pthread_cond_destroy(&p->has_begun);
	pthread_cond_destroy(&p->has_finished);
	pthread_mutex_destroy(&p->lock);
	free(p->threads);
	free(p);
}

static int work_start(struct work_pool *p, unsigned n, struct err *err)
{
	pthread_attr_t attr;
	int r = 0;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, WORK_STACK);
	while (r == 0 && p->n_threads < n) {
		r = -pthread_create(&p->threads[p->n_threads], &attr, work_thread, p);
		if (r == 0)
			p->n_threads++;
	}
	pthread_attr_destroy(&attr);
	pthread_mutex_lock(&p->lock);
	while (p->n_begun < p->n_threads)
		pthread_cond_wait(&p->has_begun, &p->lock);
	pthread_mutex_unlock(&p->lock);
	if (r < 0)
		return err_errno(err, r, "cannot start threads");
	*err = p->failure;
	return err->code;
}

int work_pool_new(struct loop *loop, unsigned n_threads,
		  int (*enter)(void *opaque, struct err *err), void *opaque, struct work_pool **out,
		  struct err *err)
{
	AUTO(work_pool_free) struct work_pool *p = NEW(struct work_pool);
	int r;

	p->loop = loop;
	p->enter = enter;
	p->enter_opaque = opaque;
	p->threads = NEW_ARRAY(pthread_t, n_threads);
	p->finish.fn = work_on_finish;
	list_init(&p->finish.node);
	list_init(&p->queue);
	list_init(&p->finished);
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->has_work, NULL);
	pthread_cond_init(&p->has_begun, NULL);
	pthread_cond_init(&p->has_finished, NULL);
	r = work_start(p, n_threads, err);
	if (r == 0)
		*out = take(p);
	return r;
}

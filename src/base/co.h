/*
 * Coroutines: functions that wait in their middle without stopping their thread.
 *
 * A coroutine runs on a stack of its own, from a pool made ahead: starting one allocates nothing. It
 * belongs to the thread that started it, and nothing there runs beside it: what several coroutines
 * use changes only where one of them waits. Waiting is co_wait, or anything whose contract says that
 * it waits.
 *
 *     static void job(void *arg)              the loop: a completion calls co_wake(waiter)
 *     {
 *             start_reading(arg, co_self());
 *             while (!is_read(arg))
 *                     co_wait();
 *             ...
 *     }
 *
 * co_start and co_wake outside of all coroutines run the coroutine at once, and then whatever it
 * woke or started itself, until all of them wait; inside a coroutine they only make the other ready.
 * So a coroutine's stack is never beneath another's.
 *
 * Threads: a pool and its coroutines belong to one thread at a time, which may be another one later.
 */
#ifndef BASE_CO_H
#define BASE_CO_H

#include "base/base.h"
#include "base/list.h"

struct co;
struct co_pool;
struct err;

typedef void co_fn(void *arg);

#define CO_STACK (256 * KIB) /* address space; memory is taken as it is touched */

int co_pool_new(unsigned n, struct co_pool **out, struct err *err);
void co_pool_free(struct co_pool *p); /* all of them have ended; NULL is fine */
AUTO_FN(co_pool_free, struct co_pool *)

bool co_pool_is_empty(const struct co_pool *p); /* no coroutine is free */
/* One must be free. */
void co_start(struct co_pool *p, co_fn *fn, void *arg);
struct co *co_self(void); /* NULL outside of all */
/* Until the next co_wake. Who waits for a condition looks at it again: see co_queue. */
void co_wait(void);
/* It is in co_wait, or was made ready already. Its thread. */
void co_wake(struct co *c);

/* Coroutines that wait for something to become true. */
struct co_queue {
	struct list waiting;
};

void co_queue_init(struct co_queue *q);
void co_queue_wait(struct co_queue *q);
void co_queue_wake_all(struct co_queue *q); /* those that wait now; callable outside, too */

/*
 * A lock that is held while waiting, given away in the order in which it was asked for. Outside of
 * coroutines it may be taken only when it is free.
 */
struct co_mutex {
	bool is_locked;
	struct list waiting;
};

void co_mutex_init(struct co_mutex *m);
void co_lock(struct co_mutex *m);
void co_unlock(struct co_mutex *m);

#endif

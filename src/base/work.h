/*
 * Work for other threads: what a coroutine has computed elsewhere while its own thread goes on
 * (compression, checksums).
 *
 * Threads: a pool belongs to its loop's thread; what is run on its threads touches only what it was
 * given.
 */
#ifndef BASE_WORK_H
#define BASE_WORK_H

#include "base/base.h"

struct err;
struct loop;
struct work_pool;

/* enter, unless NULL, is run first by each thread, to confine itself. */
int work_pool_new(struct loop *loop, unsigned n_threads,
		  int (*enter)(void *opaque, struct err *err), void *opaque, struct work_pool **out,
		  struct err *err);
void work_pool_free(struct work_pool *p); /* nothing is being run; NULL is fine */
AUTO_FN(work_pool_free, struct work_pool *)

/* fn(arg) on one of the threads; waits, as co.h says. Without a pool, or outside of coroutines: here. */
void work_run(struct work_pool *p, void (*fn)(void *arg), void *arg);
/*
 * Outside of coroutines, for who waits for one while the loop doesn't run: until something that is being run
 * for this thread is done. false: nothing is.
 */
bool work_settle(void);

#endif

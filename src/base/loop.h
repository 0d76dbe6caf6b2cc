/*
 * An event loop: file descriptors, timers and posted tasks, on one thread.
 *
 * Callbacks run on the thread inside loop_run, one at a time, with no lock held. Descriptor watches
 * belong to that thread; timers and tasks may be armed and posted from anywhere. Objects are
 * embedded in their users and borrowed by the loop while armed: free them on the loop's thread, or
 * when it no longer runs.
 */
#ifndef BASE_LOOP_H
#define BASE_LOOP_H

#include <sys/epoll.h>

#include "base/base.h"
#include "base/list.h"

struct err;
struct loop;

int loop_new(struct loop **out, struct err *err);
void loop_free(struct loop *l); /* NULL is fine; not while it runs */
AUTO_FN(loop_free, struct loop *)

void loop_run(struct loop *l);  /* until loop_quit */
void loop_quit(struct loop *l); /* any thread; a loop_run that comes later returns at once */
/* Handles one event, for which it may wait; for tests, which step until they see what they want. */
void loop_step(struct loop *l, bool may_wait);
u64 loop_events(const struct loop *l);      /* handled so far, of descriptors; on its thread */
bool loop_is_current(const struct loop *l); /* is this thread inside loop_run(l)? any thread */

/* A watched descriptor (borrowed). events are EPOLLIN, EPOLLOUT; level-triggered, unless EPOLLET is
 * among them: an eventfd that nobody reads is told with each write. */
struct loop_fd {
	int fd;
	u32 events;
	void (*fn)(struct loop_fd *w, u32 events); /* also gets EPOLLHUP and EPOLLERR */
	bool is_added;                             /* the loop's */
};
int loop_fd_add(struct loop *l, struct loop_fd *w);
void loop_fd_change(struct loop *l, struct loop_fd *w, u32 events);
void loop_fd_remove(struct loop *l, struct loop_fd *w); /* harmless when not added */

/*
 * A one-shot timer on CLOCK_MONOTONIC; it may be armed again in its callback. A callback that has
 * begun on the loop while another thread disarms still finishes: check your state under your lock.
 */
struct loop_timer {
	void (*fn)(struct loop_timer *t);
	u64 deadline_ns;  /* the loop's */
	size_t heap_slot; /* the loop's: place in its heap + 1, 0 when not armed */
};
void loop_timer_arm(struct loop *l, struct loop_timer *t, u64 deadline_ns); /* any thread */
void loop_timer_disarm(struct loop *l, struct loop_timer *t);               /* any thread */

/* A function to be run once on the loop's thread. Posting one that is pending does nothing. */
struct loop_task {
	struct list node; /* the loop's; list_init before first use */
	void (*fn)(struct loop_task *t);
	bool is_posted; /* the loop's, under its lock */
};
/* Any thread. From a callback of the loop: it runs next, before the loop waits, and costs no wake-up. */
void loop_task_post(struct loop *l, struct loop_task *t);
/* Before t is freed: harmless when it isn't posted. Its function may be running, elsewhere. */
void loop_task_cancel(struct loop *l, struct loop_task *t); /* any thread */

#endif

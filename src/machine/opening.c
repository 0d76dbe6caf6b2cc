/*
 * Disks that are opened while the guest runs. Who has one may be a server that is slow, or says nothing: so it
 * is done in a coroutine on the I/O thread, which serves the other disks meanwhile, and the main thread goes on
 * and is told the end.
 *
 *     main:   pc_open_later ...........................> pc_on_opened_task: done(disk, or why not)
 *     I/O:         pc_open: coroutine --- waits --- end
 */
#include <pthread.h>

#include "base/alloc.h"
#include "base/co.h"
#include "base/err.h"
#include "block/block.h"
#include "machine/machine_priv.h"
#include "nbd/client.h"
#include "vm/vm.h"

struct pc_open {
	struct list node; /* the machine's; the main thread's */
	struct machine *m;
	struct guest_disk *disk;
	bool is_target;
	pc_opened_fn *done;
	void *opaque;
	pthread_mutex_t lock;
	pthread_cond_t ended;
	bool is_over; /* guarded by lock: the I/O thread is through with all below */
	struct nbdc_opening remotes;
	struct blk *blk; /* NULL: err says why */
	struct err err;
};

/* --- on the I/O thread --- */

static void pc_open(void *arg)
{
	struct pc_open *o = arg;
	struct machine *m = o->m;

	int r = o->is_target ? pc_open_target(m, o->disk, &o->remotes, &o->blk, &o->err)
			     : pc_open_disk(m, o->disk, &o->remotes, &o->blk, &o->err);

	if (r < 0)
		o->blk = NULL;
	nbdc_opening_end(&o->remotes);
	pthread_mutex_lock(&o->lock);
	o->is_over = true;
	pthread_cond_signal(&o->ended);
	/* It is gone as soon as the lock is free and the main thread looks. */
	loop_task_post(vm_main_loop(m->vm), &m->opened_task);
	pthread_mutex_unlock(&o->lock);
}

static void pc_start_open(void *arg)
{
	struct pc_open *o = arg;

	co_start(o->m->opening, pc_open, o);
}

static void pc_give_up_open(void *arg)
{
	struct pc_open *o = arg;

	nbdc_opening_give_up(&o->remotes);
}

static void pc_free_blk(void *blk)
{
	blk_free(blk);
}

/* --- the main thread --- */

int pc_open_later(struct machine *m, struct guest_disk *d, bool is_target, pc_opened_fn *done,
		  void *opaque, struct err *err)
{
	struct pc_open *o;
	unsigned n = 0;

	list_for_each (at, &m->opens)
		n++;
	if (n == PC_OPENS_MAX)
		return err_set(err, -EBUSY, "%u other disks are being opened", n);
	o = NEW(struct pc_open);
	*o = (struct pc_open){.m = m,
			      .disk = d,
			      .is_target = is_target,
			      .done = done,
			      .opaque = opaque,
			      .err = ERR_INIT};
	pthread_mutex_init(&o->lock, NULL);
	pthread_cond_init(&o->ended, NULL);
	nbdc_opening_init(&o->remotes);
	list_append(&m->opens, &o->node);
	vm_call_on_io(m->vm, pc_start_open, o);
	return 0;
}

static bool pc_open_is_over(struct pc_open *o, bool is_waited_for)
{
	bool is_over;

	pthread_mutex_lock(&o->lock);
	while (!o->is_over && is_waited_for)
		pthread_cond_wait(&o->ended, &o->lock);
	is_over = o->is_over;
	pthread_mutex_unlock(&o->lock);
	return is_over;
}

static void pc_end_open(struct pc_open *o)
{
	struct machine *m = o->m;

	list_remove(&o->node);
	if (m->is_ending && o->blk) {
		pc_close_disk(m, o->blk);
		o->blk = NULL;
		err_set(&o->err, -ECANCELED, "the guest ends");
	}
	o->done(o->opaque, o->blk, &o->err);
	pthread_cond_destroy(&o->ended);
	pthread_mutex_destroy(&o->lock);
	free(o);
}

static void pc_on_opened_task(struct loop_task *t)
{
	struct machine *m = container_of(t, struct machine, opened_task);

	list_for_each_safe (at, &m->opens) {
		struct pc_open *o = list_entry(at, struct pc_open, node);

		if (pc_open_is_over(o, false))
			pc_end_open(o);
	}
}

void pc_close_disk(struct machine *m, struct blk *b)
{
	vm_call_on_io(m->vm, pc_free_blk, b);
}

int pc_init_opening(struct machine *m, struct err *err)
{
	list_init(&m->opens);
	list_init(&m->opened_task.node);
	m->opened_task.fn = pc_on_opened_task;
	return co_pool_new(PC_OPENS_MAX, &m->opening, err);
}

/* The I/O thread runs still. A server that was given up costs a moment; a file takes what it takes. */
void pc_fini_opening(struct machine *m)
{
	if (!m->opening)
		return;
	m->is_ending = true;
	list_for_each_safe (at, &m->opens) {
		struct pc_open *o = list_entry(at, struct pc_open, node);

		vm_call_on_io(m->vm, pc_give_up_open, o);
		pc_open_is_over(o, true);
		pc_end_open(o);
	}
	if (m->vm)
		loop_task_cancel(vm_main_loop(m->vm), &m->opened_task);
	co_pool_free(m->opening);
}

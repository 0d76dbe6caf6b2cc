/*
 * Guests whose clock counts instructions: time passes, and devices work, only while the vCPU waits
 * for it, so that what it meets, and at which instruction, doesn't depend on the host.
 *
 * The I/O loop is idle when it went round with no descriptor ready and no request in flight. It is
 * told to go round by a task that posts itself again: with one posted, the loop doesn't wait.
 */
#include "base/base.h"
#include "bus/device.h"
#include "clock/vclock.h"
#include "vm/vm_priv.h"

#define IDLE_ROUNDS 2 /* tasks that were posted in the first run in the second */

struct vm_finish {
	struct loop_task task;
	struct vm *vm;
	u64 events;
	unsigned n_idle;
	pthread_mutex_t lock;
	pthread_cond_t finished;
	bool is_done;
};

static bool vm_finish_is_idle(struct vm_finish *f)
{
	u64 events = loop_events(f->vm->io_loop);
	bool is_idle = events == f->events;

	f->events = events;
	vclock_fire(f->vm->clock);
	return !device_set_settle(&f->vm->devices) && is_idle;
}

static void vm_on_finish(struct loop_task *task)
{
	struct vm_finish *f = container_of(task, struct vm_finish, task);

	f->n_idle = vm_finish_is_idle(f) ? f->n_idle + 1 : 0;
	if (f->n_idle < IDLE_ROUNDS) {
		loop_task_post(f->vm->io_loop, &f->task);
		return;
	}
	pthread_mutex_lock(&f->lock);
	f->is_done = true;
	pthread_cond_signal(&f->finished);
	pthread_mutex_unlock(&f->lock);
}

void vm_finish_io(struct vm *vm)
{
	struct vm_finish f = {.task.fn = vm_on_finish, .vm = vm};

	list_init(&f.task.node);
	pthread_mutex_init(&f.lock, NULL);
	pthread_cond_init(&f.finished, NULL);
	loop_task_post(vm->io_loop, &f.task);
	pthread_mutex_lock(&f.lock);
	while (!f.is_done)
		pthread_cond_wait(&f.finished, &f.lock);
	pthread_mutex_unlock(&f.lock);
	pthread_cond_destroy(&f.finished);
	pthread_mutex_destroy(&f.lock);
}

bool vm_skip_time(struct vm *vm)
{
	bool had_timer = vclock_skip(vm->clock);

	vm_finish_io(vm);
	return had_timer;
}

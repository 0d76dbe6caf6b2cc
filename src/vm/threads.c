/*
 * The bodies of the vm's threads.
 *
 * A thread enters its role (its seccomp filter), says so, and goes to work. A vCPU thread is either
 * inside vcpu_run or parked: waiting, under the vm's lock, for the run state to allow it in.
 */
#include <stdio.h>

#include "base/err.h"
#include "mem/gmem.h"
#include "vm/vm_priv.h"

/* Enters the role; false when the thread should end. */
static bool vm_thread_begin(struct vm_thread *t, enum vm_role role)
{
	struct vm *vm = t->vm;
	struct err err = ERR_INIT;
	char name[16] = "io";
	int r;

	if (t->vcpu)
		snprintf(name, sizeof(name), "vcpu%u", t->vcpu->id);
	pthread_setname_np(pthread_self(), name);
	r = vm->ops.enter_role(vm->ops.opaque, role, &err);
	gmem_attach_thread(vm->gmem);
	pthread_mutex_lock(&vm->lock);
	if (r < 0)
		vm->failure = err;
	t->is_ready = true;
	t->is_parked = true;
	pthread_cond_broadcast(&vm->changed);
	pthread_mutex_unlock(&vm->lock);
	return r == 0;
}

static void vm_thread_end(struct vm_thread *t)
{
	gmem_detach_thread(t->vm->gmem);
}

void *vm_io_thread_main(void *arg)
{
	struct vm_thread *t = arg;

	if (vm_thread_begin(t, VM_ROLE_IO))
		loop_run(t->vm->io_loop);
	vm_thread_end(t);
	return NULL;
}

/* Parks until the guest runs: false when the thread should end instead. */
static bool vm_vcpu_park(struct vm_thread *t)
{
	struct vm *vm = t->vm;
	bool is_ending;

	pthread_mutex_lock(&vm->lock);
	t->is_parked = true;
	t->n_outs++;
	pthread_cond_broadcast(&vm->changed);
	while ((!vm->is_running || !__atomic_load_n(&vm->is_heard, __ATOMIC_ACQUIRE)) &&
	       !vm->is_ending)
		pthread_cond_wait(&vm->changed, &vm->lock);
	if (vm->is_counted && !vm->is_ending) /* see vm_hold_vcpus */
		__atomic_store_n(&t->vcpu->is_wanted, false, __ATOMIC_RELEASE);
	is_ending = vm->is_ending;
	t->is_parked = is_ending;
	pthread_mutex_unlock(&vm->lock);
	return !is_ending;
}

/*
 * Tells the main loop, and waits, parked, until it has paused or reset the VM to deal with it. The
 * VM may run again before this thread gets the lock back: the stops are counted, not looked at.
 */
static void vm_vcpu_tell(struct vm_thread *t, enum vm_event event)
{
	struct vm *vm = t->vm;
	u64 stops;

	pthread_mutex_lock(&vm->lock);
	stops = vm->n_stops;
	t->is_parked = true;
	pthread_cond_broadcast(&vm->changed);
	vm_notify(vm, event);
	while (vm->n_stops == stops && !vm->is_ending)
		pthread_cond_wait(&vm->changed, &vm->lock);
	pthread_mutex_unlock(&vm->lock);
}

/* The accelerator can't go on: the vCPU stays out until it is reset or freed. */
static void vm_vcpu_fail(struct vm_thread *t)
{
	struct vm *vm = t->vm;

	pthread_mutex_lock(&vm->lock);
	if (!vm->failure.code)
		err_set(&vm->failure, -EIO, "vCPU %u: %s", t->vcpu->id, t->vcpu->broken);
	pthread_mutex_unlock(&vm->lock);
	vm_vcpu_tell(t, VM_EVENT_BROKEN);
}

void *vm_vcpu_thread_main(void *arg)
{
	struct vm_thread *t = arg;

	if (!vm_thread_begin(t, VM_ROLE_VCPU)) {
		vm_thread_end(t);
		return NULL;
	}
	while (vm_vcpu_park(t)) {
		switch (vcpu_run(t->vcpu)) {
		case VCPU_STOP_REQUEST:
			break;
		case VCPU_STOP_RESET:
			vm_vcpu_tell(t, VM_EVENT_RESET);
			break;
		case VCPU_STOP_BROKEN:
			vm_vcpu_fail(t);
			break;
		}
	}
	vm_thread_end(t);
	return NULL;
}

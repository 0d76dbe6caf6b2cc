/*
 * One running guest: construction, the run state, events. The threads' bodies are in threads.c.
 *
 * Pausing: the main thread clears is_running, marks every vCPU as wanted and kicks it, and waits
 * until each thread has parked itself. A vCPU that a kick finds outside vcpu_run sees the mark
 * before it enters (accel.h), so no kick is lost.
 */
#include "vm/vm.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "base/epoch.h"
#include "base/err.h"
#include "bus/io.h"
#include "clock/vclock.h"
#include "mem/gmem.h"
#include "vm/vm_priv.h"

#define VM_PORTS 0x10000

static void vm_on_events(struct loop_task *task)
{
	struct vm *vm = container_of(task, struct vm, event_task);
	u32 events = __atomic_exchange_n(&vm->events, 0, __ATOMIC_ACQ_REL);

	/* The most final alone: who powers off does not want the reset that came with it, and what a
	 * panicked guest did on its way down is not for the one that is started after it. */
	static const enum vm_event order[] = {VM_EVENT_BROKEN, VM_EVENT_PANIC, VM_EVENT_POWEROFF,
					      VM_EVENT_RESET};

	for (size_t i = 0; i < ARRAY_SIZE(order); i++) {
		if (events & BIT32(order[i])) {
			vm->ops.event(vm->ops.opaque, order[i]);
			break;
		}
	}
	pthread_mutex_lock(&vm->lock);
	__atomic_store_n(&vm->is_heard, true, __ATOMIC_RELEASE);
	pthread_cond_broadcast(&vm->changed);
	pthread_mutex_unlock(&vm->lock);
}

/* A guest that is to be repeated stops where it told, until it was heard. */
static void vm_hold_vcpus(struct vm *vm)
{
	__atomic_store_n(&vm->is_heard, false, __ATOMIC_RELEASE);
	for (unsigned i = 0; i < vm->n_vcpus; i++) {
		__atomic_store_n(&vm->vcpus[i]->is_wanted, true, __ATOMIC_RELEASE);
		vcpu_kick(vm->vcpus[i]);
	}
}

void vm_notify(struct vm *vm, enum vm_event event)
{
	__atomic_fetch_or(&vm->events, BIT32(event), __ATOMIC_ACQ_REL);
	if (vm->is_counted)
		vm_hold_vcpus(vm);
	loop_task_post(vm->main_loop, &vm->event_task);
}

int vm_new(const struct vm_setup *setup, struct loop *main_loop, const struct vm_ops *ops,
	   struct vm **out, struct err *err)
{
	struct vm *vm = NEW(struct vm);
	int r;

	snprintf(vm->name, sizeof(vm->name), "%s", setup->name);
	vm->ops = *ops;
	vm->is_counted = setup->is_counted;
	vm->is_heard = true;
	vm->main_loop = main_loop;
	pthread_mutex_init(&vm->lock, NULL);
	pthread_cond_init(&vm->changed, NULL);
	list_init(&vm->event_task.node);
	vm->event_task.fn = vm_on_events;
	device_set_init(&vm->devices);
	vm->epoch = epoch_new();
	epoch_attach(vm->epoch);
	vm->gmem = gmem_new(vm->epoch, setup->track_code);
	vm->ports = io_space_new("ports", vm->epoch, VM_PORTS);
	vm->memory = io_space_new("memory", vm->epoch, 0);
	r = loop_new(&vm->io_loop, err);
	if (r < 0) {
		vm_free(vm);
		return r;
	}
	vm->clock = vclock_new(vm->io_loop, setup->tsc_hz);
	if (setup->is_counted)
		vclock_set_wall_ns(vm->clock, VM_COUNTED_WALL_NS);
	*out = vm;
	return 0;
}

static void vm_end_threads(struct vm *vm)
{
	pthread_mutex_lock(&vm->lock);
	vm->is_ending = true;
	pthread_cond_broadcast(&vm->changed);
	pthread_mutex_unlock(&vm->lock);
	for (unsigned i = 0; i < vm->n_vcpus; i++) {
		if (!vm->vcpu_threads[i].is_started)
			continue;
		__atomic_store_n(&vm->vcpus[i]->is_wanted, true, __ATOMIC_RELEASE);
		vcpu_kick(vm->vcpus[i]);
		pthread_join(vm->vcpu_threads[i].thread, NULL);
	}
	if (vm->io_thread.is_started) {
		loop_quit(vm->io_loop);
		pthread_join(vm->io_thread.thread, NULL);
		vm->io_thread.is_started = false;
	}
}

void vm_free_devices(struct vm *vm)
{
	if (vm->is_running)
		vm_pause(vm);
	vm_end_threads(vm);
	for (unsigned i = 0; i < vm->n_vcpus; i++)
		vcpu_free(vm->vcpus[i]);
	vm->n_vcpus = 0;
	device_set_fini(&vm->devices);
}

void vm_free(struct vm *vm)
{
	if (!vm)
		return;
	vm_free_devices(vm);
	if (vm->memory)
		io_space_set_doorbell_ops(vm->memory, NULL, NULL);
	accel_free(vm->accel);
	vclock_free(vm->clock);
	loop_free(vm->io_loop);
	io_space_free(vm->memory);
	io_space_free(vm->ports);
	gmem_free(vm->gmem);
	epoch_detach(vm->epoch);
	epoch_free(vm->epoch);
	pthread_cond_destroy(&vm->changed);
	pthread_mutex_destroy(&vm->lock);
	free(vm);
}

struct gmem *vm_gmem(struct vm *vm)
{
	return vm->gmem;
}

struct io_space *vm_ports(struct vm *vm)
{
	return vm->ports;
}

struct io_space *vm_memory(struct vm *vm)
{
	return vm->memory;
}

struct vclock *vm_clock(struct vm *vm)
{
	return vm->clock;
}

struct loop *vm_io_loop(struct vm *vm)
{
	return vm->io_loop;
}

struct loop *vm_main_loop(struct vm *vm)
{
	return vm->main_loop;
}

struct device_set *vm_devices(struct vm *vm)
{
	return &vm->devices;
}

struct accel *vm_accel(struct vm *vm)
{
	return vm->accel;
}

unsigned vm_vcpu_count(const struct vm *vm)
{
	return vm->n_vcpus;
}

struct vcpu *vm_vcpu(struct vm *vm, unsigned id)
{
	assert(id < vm->n_vcpus);
	return vm->vcpus[id];
}

u64 vm_vcpu_cpu_ns(const struct vm *vm, unsigned id)
{
	const struct vm_thread *t = &vm->vcpu_threads[id];
	struct timespec ts;
	clockid_t clock;

	if (!t->is_started || pthread_getcpuclockid(t->thread, &clock) ||
	    clock_gettime(clock, &ts) < 0)
		return 0;
	return (u64)ts.tv_sec * NSEC_PER_SEC + (u64)ts.tv_nsec;
}

const char *vm_broken_text(const struct vm *vm)
{
	return vm->failure.text;
}

/* --- the accelerator --- */

static int vm_bell_ring(struct vm *vm, u64 addr, const struct io_doorbell *b, bool is_add)
{
	return vm->accel->ops->doorbell(vm->accel, addr, b->size, false, b->is_any_value, b->value,
					b->fd, is_add);
}

static int vm_bell_add(void *opaque, u64 addr, const struct io_doorbell *b)
{
	return vm_bell_ring(opaque, addr, b, true);
}

static void vm_bell_remove(void *opaque, u64 addr, const struct io_doorbell *b)
{
	vm_bell_ring(opaque, addr, b, false);
}

void vm_set_accel(struct vm *vm, struct accel *a)
{
	static const struct io_doorbell_ops bells = {.add = vm_bell_add, .remove = vm_bell_remove};

	assert(!vm->accel);
	vm->accel = a;
	if (a->ops->doorbell)
		io_space_set_doorbell_ops(vm->memory, &bells, vm);
}

void vm_add_vcpu(struct vm *vm, struct vcpu *v)
{
	assert(vm->n_vcpus < ACCEL_MAX_VCPUS && v->id == vm->n_vcpus);
	vm->vcpus[vm->n_vcpus++] = v;
}

/* --- run state --- */

static int vm_start_thread(struct vm_thread *t, void *(*main)(void *), struct err *err)
{
	int r = pthread_create(&t->thread, NULL, main, t);

	if (r)
		return err_errno(err, -r, "cannot start a thread");
	t->is_started = true;
	return 0;
}

static bool vm_all_ready(const struct vm *vm)
{
	bool is_ready = vm->io_thread.is_ready;

	for (unsigned i = 0; i < vm->n_vcpus; i++)
		is_ready = is_ready && vm->vcpu_threads[i].is_ready;
	return is_ready;
}

int vm_start(struct vm *vm, struct err *err)
{
	int r;

	vm->io_thread.vm = vm;
	r = vm_start_thread(&vm->io_thread, vm_io_thread_main, err);
	for (unsigned i = 0; i < vm->n_vcpus && !r; i++) {
		vm->vcpu_threads[i] = (struct vm_thread){.vm = vm, .vcpu = vm->vcpus[i]};
		r = vm_start_thread(&vm->vcpu_threads[i], vm_vcpu_thread_main, err);
	}
	if (r < 0)
		return r;

	pthread_mutex_lock(&vm->lock);
	while (!vm_all_ready(vm) && !vm->failure.code)
		pthread_cond_wait(&vm->changed, &vm->lock);
	if (vm->failure.code) {
		*err = vm->failure;
		r = err->code;
	}
	pthread_mutex_unlock(&vm->lock);
	return r ? r : vm->ops.enter_role(vm->ops.opaque, VM_ROLE_MAIN, err);
}

bool vm_is_running(const struct vm *vm)
{
	return vm->is_running;
}

static void vm_resume_devices(void *arg)
{
	device_set_resume(&((struct vm *)arg)->devices);
}

static void vm_quiesce_devices(void *arg)
{
	device_set_quiesce(&((struct vm *)arg)->devices);
}

void vm_resume(struct vm *vm)
{
	if (vm->is_running)
		return;
	vclock_start(vm->clock);
	if (vm->accel->ops->clock_changed)
		vm->accel->ops->clock_changed(vm->accel, true);
	vm_call_on_io(vm, vm_resume_devices, vm);
	pthread_mutex_lock(&vm->lock);
	vm->is_running = true;
	for (unsigned i = 0; i < vm->n_vcpus; i++)
		__atomic_store_n(&vm->vcpus[i]->is_wanted, false, __ATOMIC_RELEASE);
	pthread_cond_broadcast(&vm->changed);
	pthread_mutex_unlock(&vm->lock);
}

static bool vm_all_parked(const struct vm *vm)
{
	bool is_parked = true;

	for (unsigned i = 0; i < vm->n_vcpus; i++)
		is_parked = is_parked && vm->vcpu_threads[i].is_parked;
	return is_parked;
}

/* From here on no vCPU is to run, and one that waits for the main loop has been heard. */
static void vm_count_stop(struct vm *vm)
{
	pthread_mutex_lock(&vm->lock);
	vm->is_running = false;
	vm->n_stops++;
	pthread_cond_broadcast(&vm->changed);
	pthread_mutex_unlock(&vm->lock);
}

void vm_pause(struct vm *vm)
{
	if (!vm->is_running)
		return;
	vm_count_stop(vm);
	for (unsigned i = 0; i < vm->n_vcpus; i++) {
		__atomic_store_n(&vm->vcpus[i]->is_wanted, true, __ATOMIC_RELEASE);
		vcpu_kick(vm->vcpus[i]);
	}
	pthread_mutex_lock(&vm->lock);
	while (!vm_all_parked(vm))
		pthread_cond_wait(&vm->changed, &vm->lock);
	pthread_mutex_unlock(&vm->lock);
	vm_call_on_io(vm, vm_quiesce_devices, vm);
	vclock_stop(vm->clock);
	if (vm->accel->ops->clock_changed)
		vm->accel->ops->clock_changed(vm->accel, false);
}

/* --- waiting until nobody is inside --- */

static bool vm_was_out(const struct vm_thread *t, u64 n_outs)
{
	return t->is_parked || t->n_outs != n_outs;
}

/* A vCPU that was kicked comes out, and in again at once: what it is wanted for is that alone. */
void vm_settle(struct vm *vm)
{
	u64 n_outs[ACCEL_MAX_VCPUS];

	if (!vm->is_running)
		return;
	pthread_mutex_lock(&vm->lock);
	for (unsigned i = 0; i < vm->n_vcpus; i++)
		n_outs[i] = vm->vcpu_threads[i].n_outs;
	pthread_mutex_unlock(&vm->lock);
	for (unsigned i = 0; i < vm->n_vcpus; i++) {
		__atomic_store_n(&vm->vcpus[i]->is_wanted, true, __ATOMIC_RELEASE);
		vcpu_kick(vm->vcpus[i]);
	}
	pthread_mutex_lock(&vm->lock);
	for (unsigned i = 0; i < vm->n_vcpus; i++) {
		while (!vm_was_out(&vm->vcpu_threads[i], n_outs[i]))
			pthread_cond_wait(&vm->changed, &vm->lock);
		__atomic_store_n(&vm->vcpus[i]->is_wanted, false, __ATOMIC_RELEASE);
	}
	pthread_mutex_unlock(&vm->lock);
}

static void vm_reset_devices(void *arg)
{
	device_set_reset(&((struct vm *)arg)->devices);
}

int vm_reset(struct vm *vm, struct err *err)
{
	bool was_running = vm->is_running;
	int r;

	vm_pause(vm);
	vm_count_stop(vm);
	vm_call_on_io(vm, vm_reset_devices, vm);
	r = vm->ops.rewind(vm->ops.opaque, err);
	/* What the old guest still had to say is gone with it. */
	__atomic_store_n(&vm->events, 0, __ATOMIC_RELEASE);
	if (!r && was_running)
		vm_resume(vm);
	return r;
}

/* --- calls across threads --- */

struct vm_call {
	struct loop_task task;
	void (*fn)(void *arg);
	void *arg;
	pthread_mutex_t lock;
	pthread_cond_t finished;
	bool is_done;
};

static void vm_on_call(struct loop_task *task)
{
	struct vm_call *c = container_of(task, struct vm_call, task);

	c->fn(c->arg);
	pthread_mutex_lock(&c->lock);
	c->is_done = true;
	pthread_cond_signal(&c->finished);
	pthread_mutex_unlock(&c->lock);
}

void vm_call_on_io(struct vm *vm, void (*fn)(void *arg), void *arg)
{
	struct vm_call c = {.task.fn = vm_on_call, .fn = fn, .arg = arg};

	if (!vm->io_thread.is_started || loop_is_current(vm->io_loop)) {
		fn(arg);
		return;
	}
	list_init(&c.task.node);
	pthread_mutex_init(&c.lock, NULL);
	pthread_cond_init(&c.finished, NULL);
	loop_task_post(vm->io_loop, &c.task);
	pthread_mutex_lock(&c.lock);
	while (!c.is_done)
		pthread_cond_wait(&c.finished, &c.lock);
	pthread_mutex_unlock(&c.lock);
	pthread_cond_destroy(&c.finished);
	pthread_mutex_destroy(&c.lock);
}

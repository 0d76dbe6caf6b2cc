/* vm/: threads enter their roles, pause and resume lose nothing, events reach the main loop. */
#include "test.h"

#include <pthread.h>
#include <sched.h>

#include "base/alloc.h"
#include "base/err.h"
#include "base/loop.h"
#include "clock/vclock.h"
#include "vm/vm.h"

/* A vCPU that counts rounds until it is wanted, or does what the test tells it. */
struct fake_vcpu {
	struct vcpu vcpu;
	u64 rounds;       /* atomic */
	int next_stop;    /* atomic: enum vcpu_stop to return once, or -1 */
	bool has_stopped; /* atomic: it did */
};

static enum vcpu_stop fake_run(struct vcpu *v)
{
	struct fake_vcpu *f = container_of(v, struct fake_vcpu, vcpu);

	for (;;) {
		int stop = __atomic_exchange_n(&f->next_stop, -1, __ATOMIC_ACQ_REL);

		if (stop == VCPU_STOP_BROKEN)
			vcpu_broken(v, 0, "as told");
		if (stop >= 0) {
			__atomic_store_n(&f->has_stopped, true, __ATOMIC_RELEASE);
			return (enum vcpu_stop)stop;
		}
		if (vcpu_is_wanted(v))
			return VCPU_STOP_REQUEST;
		__atomic_add_fetch(&f->rounds, 1, __ATOMIC_RELAXED);
		sched_yield();
	}
}

static void fake_kick(struct vcpu *v)
{
	(void)v;
}

static void fake_vcpu_free(struct vcpu *v)
{
	free(container_of(v, struct fake_vcpu, vcpu));
}

static const struct vcpu_ops fake_vcpu_ops = {
	.run = fake_run, .kick = fake_kick, .free = fake_vcpu_free};

static void fake_accel_free(struct accel *a)
{
	free(a);
}

static const struct accel_ops fake_accel_ops = {.free = fake_accel_free};

struct bench {
	struct loop *loop;
	struct vm *vm;
	struct fake_vcpu *vcpus[2];
	unsigned roles[3]; /* atomic: threads that entered each */
	bool refuse_vcpus;
	int events[8], n_events, wanted_events;
	int rewinds;
};

static int bench_enter_role(void *opaque, enum vm_role role, struct err *err)
{
	struct bench *b = opaque;

	if (role == VM_ROLE_VCPU && b->refuse_vcpus)
		return err_set(err, -EPERM, "no role for vCPUs");
	__atomic_add_fetch(&b->roles[role], 1, __ATOMIC_RELAXED);
	return 0;
}

static void bench_event(void *opaque, enum vm_event event)
{
	struct bench *b = opaque;

	b->events[b->n_events++] = (int)event;
	if (b->n_events == b->wanted_events)
		loop_quit(b->loop);
}

static int bench_rewind(void *opaque, struct err *err)
{
	struct bench *b = opaque;

	(void)err;
	CHECK(!vm_is_running(b->vm));
	b->rewinds++;
	return 0;
}

static void bench_init(struct bench *b)
{
	const struct vm_setup setup = {.name = "test"};
	const struct vm_ops ops = {bench_enter_role, bench_event, bench_rewind, b};
	struct accel *a = NEW(struct accel);
	struct err err = ERR_INIT;

	*b = (struct bench){0};
	CHECK_EQ(loop_new(&b->loop, &err), 0);
	CHECK_EQ(vm_new(&setup, b->loop, &ops, &b->vm, &err), 0);
	a->ops = &fake_accel_ops;
	vm_set_accel(b->vm, a);
	for (unsigned i = 0; i < 2; i++) {
		b->vcpus[i] = NEW(struct fake_vcpu);
		b->vcpus[i]->vcpu = (struct vcpu){.ops = &fake_vcpu_ops, .accel = a, .id = i};
		b->vcpus[i]->next_stop = -1;
		vm_add_vcpu(b->vm, &b->vcpus[i]->vcpu);
	}
}

static void bench_fini(struct bench *b)
{
	vm_free(b->vm);
	loop_free(b->loop);
}

static u64 bench_rounds(const struct bench *b, unsigned i)
{
	return __atomic_load_n(&b->vcpus[i]->rounds, __ATOMIC_RELAXED);
}

static void bench_wait_for_rounds(const struct bench *b)
{
	for (unsigned i = 0; i < 2; i++) {
		for (u64 from = bench_rounds(b, i); bench_rounds(b, i) == from;)
			sched_yield();
	}
}

TEST(every_thread_enters_its_role_before_anything_runs)
{
	struct err err = ERR_INIT;
	struct bench b;

	bench_init(&b);
	CHECK_EQ(vm_start(b.vm, &err), 0);
	CHECK_EQ(b.roles[VM_ROLE_VCPU], 2);
	CHECK_EQ(b.roles[VM_ROLE_IO], 1);
	CHECK_EQ(b.roles[VM_ROLE_MAIN], 1);
	CHECK_EQ(bench_rounds(&b, 0) + bench_rounds(&b, 1), 0);
	CHECK_EQ(vclock_now_ns(vm_clock(b.vm)), 0);
	bench_fini(&b);
}

TEST(a_thread_that_cannot_enter_its_role_stops_the_start)
{
	struct err err = ERR_INIT;
	struct bench b;

	bench_init(&b);
	b.refuse_vcpus = true;
	CHECK_EQ(vm_start(b.vm, &err), -EPERM);
	CHECK_STR(err.text, "no role for vCPUs");
	bench_fini(&b);
}

TEST(pause_stops_every_vcpu_and_the_clock_and_resume_goes_on)
{
	struct err err = ERR_INIT;
	struct bench b;

	bench_init(&b);
	CHECK_EQ(vm_start(b.vm, &err), 0);
	for (int i = 0; i < 200; i++) {
		u64 rounds[2], now;

		vm_resume(b.vm);
		bench_wait_for_rounds(&b);
		vm_pause(b.vm);
		now = vclock_now_ns(vm_clock(b.vm));
		rounds[0] = bench_rounds(&b, 0);
		rounds[1] = bench_rounds(&b, 1);
		sched_yield();
		CHECK_EQ(bench_rounds(&b, 0), rounds[0]);
		CHECK_EQ(bench_rounds(&b, 1), rounds[1]);
		CHECK_EQ(vclock_now_ns(vm_clock(b.vm)), now);
	}
	bench_fini(&b);
}

TEST(a_triple_fault_asks_for_a_reset_that_brings_the_vcpu_back)
{
	struct err err = ERR_INIT;
	struct bench b;

	bench_init(&b);
	CHECK_EQ(vm_start(b.vm, &err), 0);
	vm_resume(b.vm);
	b.wanted_events = 1;
	__atomic_store_n(&b.vcpus[1]->next_stop, VCPU_STOP_RESET, __ATOMIC_RELEASE);
	loop_run(b.loop);
	CHECK_EQ(b.events[0], VM_EVENT_RESET);
	CHECK_EQ(vm_reset(b.vm, &err), 0);
	CHECK_EQ(b.rewinds, 1);
	CHECK(vm_is_running(b.vm));
	bench_wait_for_rounds(&b);
	bench_fini(&b);
}

TEST(a_vcpu_comes_back_from_every_one_of_many_resets)
{
	struct err err = ERR_INIT;
	struct bench b;

	bench_init(&b);
	CHECK_EQ(vm_start(b.vm, &err), 0);
	vm_resume(b.vm);
	for (int i = 0; i < 500; i++) {
		b.n_events = 0;
		b.wanted_events = 1;
		__atomic_store_n(&b.vcpus[1]->next_stop, VCPU_STOP_RESET, __ATOMIC_RELEASE);
		loop_run(b.loop);
		CHECK_EQ(vm_reset(b.vm, &err), 0);
		bench_wait_for_rounds(&b);
	}
	CHECK_EQ(b.rewinds, 500);
	bench_fini(&b);
}

TEST(a_vcpu_that_asked_for_a_reset_comes_back_when_it_is_done_while_paused)
{
	struct err err = ERR_INIT;
	struct bench b;

	bench_init(&b);
	CHECK_EQ(vm_start(b.vm, &err), 0);
	vm_resume(b.vm);
	__atomic_store_n(&b.vcpus[1]->next_stop, VCPU_STOP_RESET, __ATOMIC_RELEASE);
	while (!__atomic_load_n(&b.vcpus[1]->has_stopped, __ATOMIC_ACQUIRE))
		sched_yield();
	vm_pause(b.vm);
	b.wanted_events = 1;
	loop_run(b.loop);
	CHECK_EQ(vm_reset(b.vm, &err), 0);
	CHECK(!vm_is_running(b.vm));
	vm_resume(b.vm);
	bench_wait_for_rounds(&b);
	bench_fini(&b);
}

TEST(a_broken_vcpu_says_why)
{
	struct err err = ERR_INIT;
	struct bench b;

	bench_init(&b);
	CHECK_EQ(vm_start(b.vm, &err), 0);
	vm_resume(b.vm);
	b.wanted_events = 1;
	__atomic_store_n(&b.vcpus[0]->next_stop, VCPU_STOP_BROKEN, __ATOMIC_RELEASE);
	loop_run(b.loop);
	CHECK_EQ(b.events[0], VM_EVENT_BROKEN);
	CHECK_STR(vm_broken_text(b.vm), "vCPU 0: as told");
	bench_fini(&b);
}

static void *notify_resets(void *arg)
{
	vm_notify(arg, VM_EVENT_RESET);
	vm_notify(arg, VM_EVENT_RESET);
	return NULL;
}

static void *notify_end(void *arg)
{
	vm_notify(arg, VM_EVENT_RESET);
	vm_notify(arg, VM_EVENT_POWEROFF);
	vm_notify(arg, VM_EVENT_PANIC);
	return NULL;
}

/* The events that the loop hands over for what fn tells at once. */
static void bench_tell(struct bench *b, void *(*fn)(void *))
{
	pthread_t thread;

	b->n_events = 0;
	CHECK_EQ(pthread_create(&thread, NULL, fn, b->vm), 0);
	pthread_join(thread, NULL);
	while (!b->n_events)
		loop_step(b->loop, true);
	loop_step(b->loop, false);
}

TEST(events_of_one_kind_are_merged_and_the_most_final_one_stands_alone)
{
	struct err err = ERR_INIT;
	struct bench b;

	bench_init(&b);
	CHECK_EQ(vm_start(b.vm, &err), 0);
	bench_tell(&b, notify_resets);
	CHECK_EQ(b.n_events, 1);
	CHECK_EQ(b.events[0], VM_EVENT_RESET);
	bench_tell(&b, notify_end);
	CHECK_EQ(b.n_events, 1);
	CHECK_EQ(b.events[0], VM_EVENT_PANIC);
	bench_fini(&b);
}

static void note_thread(void *arg)
{
	*(pthread_t *)arg = pthread_self();
}

TEST(calls_run_on_the_io_thread_once_it_is_there)
{
	struct err err = ERR_INIT;
	pthread_t who;
	struct bench b;

	bench_init(&b);
	vm_call_on_io(b.vm, note_thread, &who);
	CHECK(pthread_equal(who, pthread_self()));
	CHECK_EQ(vm_start(b.vm, &err), 0);
	vm_call_on_io(b.vm, note_thread, &who);
	CHECK(!pthread_equal(who, pthread_self()));
	bench_fini(&b);
}

TEST(settling_waits_until_each_vcpu_was_out)
{
	struct err err = ERR_INIT;
	struct bench b;

	bench_init(&b);
	CHECK_EQ(vm_start(b.vm, &err), 0);
	vm_settle(b.vm); /* paused: nobody is inside */
	vm_resume(b.vm);
	for (unsigned i = 0; i < 1000; i++)
		vm_settle(b.vm);
	bench_wait_for_rounds(&b); /* and they are in again */
	vm_pause(b.vm);
	vm_settle(b.vm);
	bench_fini(&b);
}

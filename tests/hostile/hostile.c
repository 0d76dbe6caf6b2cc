/*
 * The guest process as it is, but for a port that makes it hostile.
 *
 * The linker puts __wrap_machine_new where the monitor calls machine_new, so that everything else,
 * confinement above all, is the product's own code in its own order. A byte written to the port says
 * who tries: v the vCPU's thread, i the I/O thread, m the main thread; or what the vCPU's thread
 * does that should end the process: 3 a 32-bit system call, x one of x32, M memory without end. P
 * wakes the translator's planted bugs (planted.c), W and R report what came of them.
 */
#include <liburing.h>
#include <pthread.h>

#include "base/alloc.h"
#include "base/loop.h"
#include "bus/device.h"
#include "bus/io.h"
#include "hostile.h"
#include "machine/machine.h"

struct hostile {
	struct device dev;
	struct io_region io;
	struct vm *vm;
	struct loop_task main_task;
	bool is_main_hostile;
	pthread_barrier_t main_done; /* the vCPU waits for the main thread */
};

/* The disk's ring, noted when it is made: an attacker would find it in memory. */
static struct io_uring *disk_ring;

int __real_io_uring_queue_init_params(unsigned entries, struct io_uring *ring,
				      struct io_uring_params *p);
int __wrap_io_uring_queue_init_params(unsigned entries, struct io_uring *ring,
				      struct io_uring_params *p);
int __real_machine_new(struct guest_config *config, struct loop *main_loop,
		       const struct machine_ops *ops, struct machine **out, struct err *err);
int __wrap_machine_new(struct guest_config *config, struct loop *main_loop,
		       const struct machine_ops *ops, struct machine **out, struct err *err);

int __wrap_io_uring_queue_init_params(unsigned entries, struct io_uring *ring,
				      struct io_uring_params *p)
{
	if (!disk_ring) /* later ones are spares, for disks that are plugged in */
		disk_ring = ring;
	return __real_io_uring_queue_init_params(entries, ring, p);
}

static void hostile_on_io(unused void *arg)
{
	attempts_run("io", disk_ring);
}

static void hostile_on_main(struct loop_task *t)
{
	struct hostile *h = container_of(t, struct hostile, main_task);

	if (h->is_main_hostile)
		attempts_run("main", disk_ring);
	attempts_print();
	pthread_barrier_wait(&h->main_done);
}

static void hostile_write(struct device *dev, unused u64 off, u64 value, unused unsigned size)
{
	struct hostile *h = container_of(dev, struct hostile, dev);

	switch (value) {
	case 'v':
		attempts_run("vcpu", NULL);
		break;
	case 'i':
		vm_call_on_io(h->vm, hostile_on_io, h);
		break;
	case '3':
		attempts_run_int80();
		break;
	case 'x':
		attempts_run_x32();
		break;
	case 'M':
		attempts_run_memory();
		break;
	case 'P':
		planted_begin(h->vm);
		break;
	case 'W':
		planted_report_write();
		break;
	case 'R':
		planted_report_calls();
		break;
	}
	h->is_main_hostile = value == 'm';
	loop_task_post(vm_main_loop(h->vm), &h->main_task);
	pthread_barrier_wait(&h->main_done);
}

static u64 hostile_read(unused struct device *dev, unused u64 off, unused unsigned size)
{
	return IO_ONES;
}

static void hostile_reset(unused struct device *dev)
{
}

static void hostile_free(struct device *dev)
{
	struct hostile *h = container_of(dev, struct hostile, dev);

	io_region_fini(&h->io);
	pthread_barrier_destroy(&h->main_done);
	device_fini(dev);
	free(h);
}

static void hostile_add(struct vm *vm)
{
	static const struct io_ops io = {
		.read = hostile_read, .write = hostile_write, .max_size = 1, .is_unlocked = true};
	static const struct device_ops device = {
		.type = "hostile",
		.offset = offsetof(struct hostile, dev),
		.reset = hostile_reset,
		.free = hostile_free,
	};
	struct hostile *h = NEW(struct hostile);
	int failed;

	h->vm = vm;
	device_init(&h->dev, &device, "hostile");
	io_region_init(&h->io, "hostile", &h->dev, &io, 1);
	list_init(&h->main_task.node);
	h->main_task.fn = hostile_on_main;
	pthread_barrier_init(&h->main_done, NULL, 2);
	device_adopt(vm_devices(vm), &h->dev);
	failed = io_map(vm_ports(vm), HOSTILE_PORT, &h->io, 0);
	assert(!failed);
}

int __wrap_machine_new(struct guest_config *config, struct loop *main_loop,
		       const struct machine_ops *ops, struct machine **out, struct err *err)
{
	int r = __real_machine_new(config, main_loop, ops, out, err);

	if (!r)
		hostile_add(machine_vm(*out));
	planted_init();
	return r;
}

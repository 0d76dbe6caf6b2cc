/*
 * One running guest: its address spaces, its clock, its vCPU threads and I/O loop, its run state.
 *
 * The board (machine/) fills it in: memory, devices, accelerator, vCPUs. The vm then starts the
 * threads, and pauses, resumes and resets the whole. Threads: a main loop (the caller's), one I/O
 * loop thread that owns the devices' backends and timers, a thread per vCPU. Functions are for the
 * main loop's thread unless they say otherwise.
 *
 * Lock order: vm, bus, device, backend or interrupt chip, clock, loop.
 */
#ifndef VM_VM_H
#define VM_VM_H

#include "accel/accel.h"
#include "base/base.h"
#include "bus/device.h"

struct err;
struct gmem;
struct io_space;
struct loop;
struct vclock;

struct vm;

/* Thread roles: each enters its own seccomp filter (confine/). */
enum vm_role {
	VM_ROLE_MAIN,
	VM_ROLE_IO,
	VM_ROLE_VCPU,
};

/* What the guest, or the accelerator under it, asks of whoever runs the VM. */
enum vm_event {
	VM_EVENT_POWEROFF, /* ACPI S5 */
	VM_EVENT_RESET,    /* by register, keyboard controller or triple fault */
	VM_EVENT_PANIC,    /* pvpanic: the guest's kernel says that it crashed */
	VM_EVENT_BROKEN,   /* the host failed the guest: vm_broken_text says why */
};

struct vm_ops {
	/* Called once on each thread of the role before it runs guest work; failing is final. */
	int (*enter_role)(void *opaque, enum vm_role role, struct err *err);
	/* On the main loop, after the event. The VM runs on unless this pauses, resets or stops. */
	void (*event)(void *opaque, enum vm_event event);
	/* Puts guest memory and vCPU states back to their start: on reset, after the devices. */
	int (*rewind)(void *opaque, struct err *err);
	void *opaque;
};

/* 1 January 2026: a counted clock knows no other. */
#define VM_COUNTED_WALL_NS ((u64)1767225600 * NSEC_PER_SEC)

struct vm_setup {
	const char *name; /* copied; for thread names and messages */
	u64 tsc_hz;       /* 0: the host's */
	bool track_code;  /* soft */
	bool is_counted; /* the clock counts instructions; its wall time begins at VM_COUNTED_WALL_NS */
};

/* main_loop is borrowed. The calling thread becomes attached to the guest's memory. */
int vm_new(const struct vm_setup *setup, struct loop *main_loop, const struct vm_ops *ops,
	   struct vm **out, struct err *err);
/* Stops the threads, frees vCPUs, devices, accelerator, memory, in that order. */
void vm_free(struct vm *vm);
/* The first half of that: then the board frees what its devices borrowed, while clock and loop are
 * still there. */
void vm_free_devices(struct vm *vm);
AUTO_FN(vm_free, struct vm *)

struct gmem *vm_gmem(struct vm *vm);
struct io_space *vm_ports(struct vm *vm);
struct io_space *vm_memory(struct vm *vm);
struct vclock *vm_clock(struct vm *vm);
struct loop *vm_io_loop(struct vm *vm);
struct loop *vm_main_loop(struct vm *vm);
struct device_set *vm_devices(struct vm *vm);

/* Takes them over, in this order, before vm_start. */
void vm_set_accel(struct vm *vm, struct accel *a);
struct accel *vm_accel(struct vm *vm);
void vm_add_vcpu(struct vm *vm, struct vcpu *v);
unsigned vm_vcpu_count(const struct vm *vm);
struct vcpu *vm_vcpu(struct vm *vm, unsigned id);

/* Starts all threads, paused; returns when each has entered its role. */
int vm_start(struct vm *vm, struct err *err);
void vm_resume(struct vm *vm);
/* On return no vCPU is in the guest, the clock stands, device backends are quiet. */
void vm_pause(struct vm *vm);
/* What the vCPU's thread has used of the host's processors; 0 before vm_start. */
u64 vm_vcpu_cpu_ns(const struct vm *vm, unsigned id);
bool vm_is_running(const struct vm *vm);
/* Devices, then vCPUs and memory (ops->rewind) to power-on; paused or running as it was. */
int vm_reset(struct vm *vm, struct err *err);

/* Tell the main loop: any thread, with any device lock held. Events of one kind are merged, and of
 * several that the loop finds at once it hands on the most final: BROKEN, PANIC, POWEROFF, RESET. */
void vm_notify(struct vm *vm, enum vm_event event);
const char *vm_broken_text(const struct vm *vm);

/* On return each vCPU thread was out of the guest, and so out of every device's callbacks, at least
 * once since the call: what was out of reach before it may be freed. The guest runs on. */
void vm_settle(struct vm *vm);

/*
 * For a guest whose clock is counted: waits until the devices have done all that the guest asked of
 * them, and timers that are due have fired. The vCPU's thread, or one that knows it to be waiting.
 */
void vm_finish_io(struct vm *vm);
/* The same, after the clock went on to the earliest timer. False: there is none. */
bool vm_skip_time(struct vm *vm);

/* Runs fn(arg) on the I/O loop's thread and waits for it (or here, when that is this thread). */
void vm_call_on_io(struct vm *vm, void (*fn)(void *arg), void *arg);

#endif

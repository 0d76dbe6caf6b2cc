/*
 * The vm's inside, shared by its files.
 */
#ifndef VM_VM_PRIV_H
#define VM_VM_PRIV_H

#include <pthread.h>

#include "base/err.h"
#include "base/loop.h"
#include "vm/vm.h"

struct vm_thread {
	struct vm *vm;
	struct vcpu *vcpu; /* NULL: the I/O thread */
	pthread_t thread;
	bool is_started;
	bool is_ready;  /* vm's lock: it has entered its role */
	bool is_parked; /* vm's lock: out of the guest, waiting */
	u64 n_outs;     /* vm's lock: how often it was out of the guest */
};

struct vm {
	char name[64];
	struct vm_ops ops;
	struct epoch *epoch;
	struct gmem *gmem;
	struct io_space *ports, *memory;
	struct vclock *clock;
	struct loop *main_loop, *io_loop;
	struct device_set devices;
	struct accel *accel;
	struct vcpu *vcpus[ACCEL_MAX_VCPUS];
	unsigned n_vcpus;
	bool is_counted; /* the clock ... */
	bool is_heard;   /* atomic: ... and the main loop has dealt with the last event */
	struct vm_thread io_thread, vcpu_threads[ACCEL_MAX_VCPUS];

	struct loop_task event_task; /* on the main loop */
	u32 events;                  /* atomic: bits of enum vm_event */

	pthread_mutex_t lock; /* guards all below */
	pthread_cond_t changed;
	bool is_running;    /* vCPUs should be in the guest */
	bool is_ending;     /* threads should end */
	u64 n_stops;        /* pauses and resets so far */
	struct err failure; /* why a thread could not enter its role, or BROKEN */
};

void *vm_io_thread_main(void *arg);
void *vm_vcpu_thread_main(void *arg);

#endif

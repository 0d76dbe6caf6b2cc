/*
 * The accelerator object: what its vCPUs share.
 */
#ifndef ACCEL_SOFT_ACCEL_PRIV_H
#define ACCEL_SOFT_ACCEL_PRIV_H

#include <pthread.h>

#include "accel/soft/cpu.h"
#include "accel/soft/native_perf.h"
#include "mem/gmem.h"

struct sx_accel {
	struct accel accel;
	struct gmem_listener listener;
	enum accel_engine engine;
	bool is_counted; /* accel_config's */
	u64 seed;
	bool is_lockstep;
	struct sx_perf perf;
	struct sx_cpu *vcpu[ACCEL_MAX_VCPUS]; /* atomic; by id, NULL where there is none */
	/* Held from the marking of a code page until no vCPU can write it any more. Outermost. */
	pthread_mutex_t code_lock;
	/* Held over atomic operations that no host instruction can do. Innermost but for devices'. */
	pthread_mutex_t split_lock;
};

#endif

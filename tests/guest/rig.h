/*
 * A bare machine for tiny guests: memory, a clock, an accelerator and its vCPUs, and a board that
 * only writes down what the guest says.
 *
 * Memory is 2 MiB of RAM at 0 and a read-only page at RIG_ROM. Everything the guest does to ports
 * and to addresses without memory is recorded in order; reads give values that depend on nothing but
 * the address and how many reads came before. Writing RIG_PORT_EXIT ends the run.
 */
#ifndef TESTS_GUEST_RIG_H
#define TESTS_GUEST_RIG_H

#include <pthread.h>

#include "accel/accel.h"
#include "base/base.h"

struct err;
struct lapic_bus;

#define RIG_RAM_SIZE  (2 * MIB)
#define RIG_ROM       ((gpa_t)0xfff00000)
#define RIG_MMIO      ((gpa_t)0xd0000000)
#define RIG_LOAD      0x8000u /* where programs are loaded and started */
#define RIG_STACK     0x7c00u
#define RIG_PORT_SAY  0xe8u /* what a program reports */
#define RIG_PORT_EXIT 0xf4u
#define RIG_LOG_MAX   16384

struct rig_event {
	u64 addr;
	u64 value;
	u8 size;
	bool is_port, is_write;
};

struct rig {
	struct loop *loop;
	struct epoch *epoch;
	struct gmem *gmem;
	struct vclock *clock;
	struct accel *accel;
	struct lapic_bus *lapics; /* where the accelerator has none */
	struct vcpu *vcpus[4];
	unsigned n_vcpus;
	struct gmem_block *ram, *rom;
	int kvm_fd;

	pthread_mutex_t lock; /* guards all below */
	struct rig_event log[RIG_LOG_MAX];
	unsigned n_log; /* counts on when the log is full */
	unsigned n_reads;
	bool has_exited;
	u32 exit_code;
	bool pic_is_pending;
	u8 pic_vector;
	unsigned eois;
	u8 last_eoi;
};

/* Which accelerators this build has, by name; NULL ends. The software CPU thrice: its interpreter, its translator, and
 * the one held to the other. */
extern const char *const rig_accel_names[];

/*
 * features: what the vCPUs may have, NULL: all that the accelerator has (CPU model "host"). The
 * calling thread becomes attached. -ENOENT, -EACCES...: the accelerator is not available here, with
 * the reason.
 */
int rig_open(struct rig *r, const char *accel, unsigned n_vcpus,
	     const struct x86_features *features, struct err *err);
void rig_close(struct rig *r);

/* What an accelerator has, without keeping it. */
int rig_features(const char *accel, struct x86_features *out, struct err *err);

/* Copies a program to RIG_LOAD and points vCPU 0 at it: real mode, segments 0, RIG_STACK. */
void rig_load(struct rig *r, const void *program, size_t size);
/* Runs vCPU id until a guest writes RIG_PORT_EXIT or it stops for another reason. */
enum vcpu_stop rig_run(struct rig *r, unsigned id);
/* Clears the log and the exit, for another run. */
void rig_clear(struct rig *r);

/* The value of the nth write to RIG_PORT_SAY; its existence is checked. */
u64 rig_said(struct rig *r, unsigned n);

#endif

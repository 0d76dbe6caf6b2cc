/*
 * The inside of accel/kvm, shared by its files.
 *
 * Locks: slots_lock orders vCPUs entering the guest against changes of memory slots; irq_lock
 * guards the interrupt routes. Neither is held while the other is taken, nor across a callback.
 */
#ifndef ACCEL_KVM_KV_PRIV_H
#define ACCEL_KVM_KV_PRIV_H

#include <linux/kvm.h>
#include <pthread.h>
#include <sys/ioctl.h>
#include <sys/types.h>

#include "accel/accel.h"
#include "mem/gmem.h"

#define KV_API_VERSION   12
#define KV_IOAPIC_PINS   24
#define KV_MAX_IRQFDS    2048
#define KV_MAX_MSRS      64
#define KV_LAPIC_HZ      NSEC_PER_SEC /* KVM's local APIC timers count nanoseconds */
#define KV_TSC_TOLERANCE 250          /* parts per million, as the kernel's own default */

/* A memory slot as the kernel has it; size 0: free. */
struct kv_slot {
	gpa_t gpa;
	u64 size;
	struct gmem_block *block;
	u64 offset; /* of its first byte in the block */
	bool is_readonly;
	bool is_logged;
};

/* A host TSC value and the VM's TSC (vclock_tsc) at the same moment. */
struct kv_time_anchor {
	u64 host_tsc;
	u64 vm_tsc;
};

/* An interrupt route: an IOAPIC pin's, or an irqfd's (handle = number - KV_IOAPIC_PINS). */
struct kv_route {
	bool is_used;
	struct msi_msg msg;
};

struct kv_vcpu;

struct kv_accel {
	struct accel accel;
	int kvm_fd; /* /dev/kvm: borrowed */
	int fd;     /* the VM's */
	size_t run_size;
	u64 host_tsc_khz; /* what KVM takes the host's TSC for */
	u64 tsc_khz;      /* the guest's */
	bool has_sregs2, has_xcrs, has_any_length_bells, has_tsc_offset, is_tsc_scaled;

	/* The MSRs of struct x86_cpu_state that this kernel has: indexes into kv_msrs. */
	u8 msrs[KV_MAX_MSRS];
	unsigned n_msrs;

	struct kv_vcpu *vcpus[ACCEL_MAX_VCPUS]; /* main thread, while none runs */
	struct kv_time_anchor anchor;           /* likewise */

	struct gmem_listener listener;
	struct kv_slot *slots; /* with all below: gmem's lock, under which listeners are told */
	unsigned n_slots, max_slots;
	bool is_logging;

	pthread_mutex_t slots_lock; /* guards is_remapping against vCPUs entering */
	pthread_cond_t slots_cond;
	bool is_remapping; /* atomic too: vCPUs look at it without the lock */
	int slots_error;   /* atomic: a slot could not be set, the guest can't go on */

	pthread_mutex_t irq_lock; /* guards all below */
	struct kv_route routes[KV_IOAPIC_PINS + KV_MAX_IRQFDS];
	unsigned n_routes; /* highest in use + 1 */
	struct kvm_irq_routing *routing;
};

struct kv_vcpu {
	struct vcpu vcpu;
	struct kv_accel *kv;
	int fd;
	struct kvm_run *run;
	pid_t tid;            /* atomic: the thread inside kv_run, or 0 */
	bool is_kicked;       /* atomic: leave kv_run */
	bool is_in_guest;     /* atomic: may be using memory slots */
	bool has_half_exit;   /* the last exit's I/O is completed by the next KVM_RUN */
	bool is_window_stale; /* run->ready_for_interrupt_injection is of an older state */
	u64 paused_deadline;  /* IA32_TSC_DEADLINE when the clock was stopped */
};

static inline struct kv_accel *kv_accel_of(struct accel *a)
{
	return container_of(a, struct kv_accel, accel);
}

static inline struct kv_vcpu *kv_vcpu_of(struct vcpu *v)
{
	return container_of(v, struct kv_vcpu, vcpu);
}

/* ioctl that restarts after signals: negative errno or the result. */
int kv_ioctl(int fd, unsigned long request, void *arg);
int kv_has(const struct kv_accel *kv, int capability); /* KVM_CHECK_EXTENSION */

/* vcpu.c, run.c */
int kv_vcpu_new(struct accel *a, unsigned id, const struct x86_cpuid *cpuid, struct vcpu_apic *apic,
		struct vcpu **out, struct err *err);
int kv_set_signal_handler(void);
enum vcpu_stop kv_run(struct vcpu *v);
void kv_kick(struct vcpu *v);
/* Makes the vCPU go round its loop without leaving kv_run. Any thread. */
void kv_nudge(struct kv_vcpu *k);

/* state.c, msrs.c, lapic.c: see struct vcpu_ops */
int kv_get_state(struct vcpu *v, struct x86_cpu_state *out, struct err *err);
int kv_set_state(struct vcpu *v, const struct x86_cpu_state *in, struct err *err);
int kv_get_lapic(struct vcpu *v, struct x86_lapic_state *out, struct err *err);
int kv_set_lapic(struct vcpu *v, const struct x86_lapic_state *in, struct err *err);
void kv_msrs_probe(struct kv_accel *kv, int vcpu_fd);
int kv_msrs_get(struct kv_vcpu *k, struct x86_cpu_state *out, struct err *err);
int kv_msrs_set(struct kv_vcpu *k, const struct x86_cpu_state *in, struct err *err);
int kv_msr_read(int fd, u32 msr, u64 *out);
int kv_msr_write(int fd, u32 msr, u64 value);

/* time.c */
void kv_time_init(struct kv_accel *kv);
int kv_time_init_vcpu(struct kv_vcpu *k, struct err *err);
void kv_clock_changed(struct accel *a, bool is_running);
/* The guest's TSC less the VM clock's. */
u64 kv_tsc_get_offset(struct kv_vcpu *k);
void kv_tsc_set_offset(struct kv_vcpu *k, u64 offset);

/* slots.c */
int kv_slots_init(struct kv_accel *kv, struct err *err);
void kv_slots_fini(struct kv_accel *kv);
/* Before and after KVM_RUN: the memory slots stand still in between. */
void kv_slots_enter(struct kv_vcpu *k);
void kv_slots_leave(struct kv_vcpu *k);

/* irq.c: see struct accel_ops */
int kv_irq_init(struct kv_accel *kv, struct err *err);
void kv_irq_fini(struct kv_accel *kv);
void kv_send_msi(struct accel *a, const struct msi_msg *msg);
void kv_set_ioapic_route(struct accel *a, unsigned pin, const struct msi_msg *msg, bool is_level,
			 bool is_masked);
void kv_pic_changed(struct accel *a);
int kv_irqfd_add(struct accel *a, int fd, const struct msi_msg *msg, u32 *out_handle);
int kv_irqfd_change(struct accel *a, u32 handle, const struct msi_msg *msg);
void kv_irqfd_remove(struct accel *a, u32 handle, int fd);

#endif

/*
 * The accelerator contract: who runs the guest's instructions.
 *
 * Two makers fill it in, accel/kvm and accel/soft; neither knows the other, nor the devices. What
 * an accelerator does is struct accel_ops and struct vcpu_ops; what it calls is struct accel_host
 * (ports, memory-mapped registers, interrupt acknowledgement). Both sides can therefore be tested
 * against a fake of the other.
 *
 * Threads: each vCPU belongs to the thread that calls vcpu_run. Kicks and interrupts come from any
 * thread. State is read and written only while the vCPU is not in vcpu_run.
 */
#ifndef ACCEL_ACCEL_H
#define ACCEL_ACCEL_H

#include "arch/x86/cpu_state.h"
#include "arch/x86/cpuid.h"
#include "base/base.h"
#include "irq/irq.h"

struct accel;
struct err;
struct gmem;
struct vclock;
struct vcpu;
struct vcpu_counter;

#define ACCEL_MAX_VCPUS 32

/* Why vcpu_run returned. */
enum vcpu_stop {
	VCPU_STOP_REQUEST, /* someone kicked it: look at what is wanted, and run it again */
	VCPU_STOP_RESET,   /* triple fault: some guests reboot this way */
	VCPU_STOP_BROKEN,  /* the accelerator can't go on; vcpu->broken says why */
};

/* What the accelerator calls, on vCPU threads, with no lock of its own held. */
struct accel_host {
	void *opaque;
	u64 (*port_read)(void *opaque, u16 port, unsigned size);
	void (*port_write)(void *opaque, u16 port, u64 value, unsigned size);
	u64 (*mmio_read)(void *opaque, gpa_t gpa, unsigned size);
	void (*mmio_write)(void *opaque, gpa_t gpa, u64 value, unsigned size);
	/* The interrupt controller pair (PIC) on vCPU 0's LINT0: is INTR up; acknowledge, giving
	 * the vector. Any thread. */
	bool (*pic_is_pending)(void *opaque);
	u8 (*pic_acknowledge)(void *opaque);
	/* Where the clock is counted (accel_config), else NULL. The vCPU's thread, which waits: devices do
	 * what the guest asked of them, timers that are due fire. skip: the guest sleeps, the clock goes
	 * on to the earliest timer first; false: there is none. */
	void (*settle)(void *opaque);
	bool (*skip)(void *opaque);
	/* A level-triggered interrupt with this vector was ended by a local APIC (KVM's own). */
	void (*eoi)(void *opaque, u8 vector);
};

/*
 * The local APIC of a vCPU, where the accelerator has none in the kernel: soft asks these, the
 * chip's model (irqchip/lapic.h) answers. vCPU thread only. The chip calls vcpu_kick when
 * `pending` has become true.
 */
enum {
	APIC_PENDING_INTR = 1 << 0, /* a vector above the processor priority, or the PIC's */
	APIC_PENDING_NMI = 1 << 1,
	APIC_PENDING_INIT = 1 << 2,
	APIC_PENDING_SIPI = 1 << 3,
};
struct vcpu_apic {
	const struct vcpu_apic_ops *ops;
};
struct vcpu_apic_ops {
	unsigned (*pending)(struct vcpu_apic *a); /* APIC_PENDING_* */
	/* INTA cycle: the vector, or -1 when it is gone (a level dropped meanwhile). */
	int (*acknowledge)(struct vcpu_apic *a);
	void (*take_nmi)(struct vcpu_apic *a);
	void (*take_init)(struct vcpu_apic *a); /* resets the APIC as INIT does */
	u8 (*take_sipi)(struct vcpu_apic *a);   /* start page */
	u64 (*base)(struct vcpu_apic *a);       /* IA32_APIC_BASE */
	/* MSRs APIC_BASE, TSC_DEADLINE and 0x800-0x8ff: false means #GP. */
	bool (*msr_read)(struct vcpu_apic *a, u32 msr, u64 *out);
	bool (*msr_write)(struct vcpu_apic *a, u32 msr, u64 value);
	/* The register page, 4 KiB at base, when xAPIC mode is enabled. */
	u32 (*mmio_read)(struct vcpu_apic *a, u32 off);
	void (*mmio_write)(struct vcpu_apic *a, u32 off, u32 value);
	u8 (*get_cr8)(struct vcpu_apic *a);
	void (*set_cr8)(struct vcpu_apic *a, u8 value);
	/* The vCPU's TSC is now vclock_tsc plus offset: its deadlines are meant in that. */
	void (*set_tsc_offset)(struct vcpu_apic *a, u64 offset);
};

struct vcpu_ops {
	enum vcpu_stop (*run)(struct vcpu *v);
	/* Makes run return VCPU_STOP_REQUEST soon, or at once when it is entered next; a halted vCPU
	 * looks for interrupts again. Any thread; async-signal-safe. */
	void (*kick)(struct vcpu *v);
	/* Completes whatever an exit left half done, so that the state is architectural. */
	int (*get_state)(struct vcpu *v, struct x86_cpu_state *out, struct err *err);
	int (*set_state)(struct vcpu *v, const struct x86_cpu_state *in, struct err *err);
	/* Only where the accelerator has the local APIC itself (accel->has_lapic). */
	int (*get_lapic)(struct vcpu *v, struct x86_lapic_state *out, struct err *err);
	int (*set_lapic)(struct vcpu *v, const struct x86_lapic_state *in, struct err *err);
	/* Tells what else was counted: vcpu_count. NULL: nothing was. */
	void (*count)(struct vcpu *v, void (*visit)(void *opaque, const struct vcpu_counter *n),
		      void *opaque);
	void (*free)(struct vcpu *v);
};

/* One figure of an accelerator's own; both names are constants. */
struct vcpu_counter {
	const char *group, *name;
	u64 value;
};

struct vcpu {
	const struct vcpu_ops *ops;
	struct accel *accel;
	unsigned id;            /* index and x2APIC id */
	struct vcpu_apic *apic; /* NULL where the accelerator has its own */
	/* Set (release) before a kick by whoever wants the thread out of run; run looks at it
	 * (acquire) before it enters the guest and returns VCPU_STOP_REQUEST. The vm clears it. */
	bool is_wanted;
	char broken[160]; /* why VCPU_STOP_BROKEN */
	u64 exits;        /* statistics; vCPU thread writes */
	u64 insns;        /* soft: instructions retired */
};

struct accel_ops {
	/* cpuid is copied. apic: soft only (borrowed), else NULL. */
	int (*vcpu_new)(struct accel *a, unsigned id, const struct x86_cpuid *cpuid,
			struct vcpu_apic *apic, struct vcpu **out, struct err *err);
	/* Where the accelerator has the local APICs: MSIs go to it. Any thread. */
	void (*send_msi)(struct accel *a, const struct msi_msg *msg);
	/* Tells which vectors of which pins need `eoi`, for IOAPIC pin routes (kernel APICs). */
	void (*set_ioapic_route)(struct accel *a, unsigned pin, const struct msi_msg *msg,
				 bool is_level, bool is_masked);
	/* The PIC's INTR output changed: look at pic_is_pending (kernel APICs). Any thread. */
	void (*pic_changed)(struct accel *a);
	/* An eventfd whose signal sends msg without us; -ENOTSUP when it can't. */
	int (*irqfd_add)(struct accel *a, int fd, const struct msi_msg *msg, u32 *out_handle);
	int (*irqfd_change)(struct accel *a, u32 handle, const struct msi_msg *msg);
	void (*irqfd_remove)(struct accel *a, u32 handle, int fd);
	/* A write to a register that signals an eventfd without an exit; NULL: none. */
	int (*doorbell)(struct accel *a, u64 addr, unsigned size, bool is_port, bool is_any_value,
			u64 value, int fd, bool is_add);
	/* The VM's clock was stopped or started: keep TSC and paravirtual clock in step. */
	void (*clock_changed)(struct accel *a, bool is_running);
	void (*free)(struct accel *a);
};

struct accel {
	const struct accel_ops *ops;
	const char *name; /* "kvm", "soft" */
	bool has_lapic;   /* local APICs live in the accelerator */
	struct x86_features features;
	char note[160]; /* what people should know of how it runs; empty: nothing special */
	struct gmem *gmem;
	struct vclock *clock;
	/* The paravirtual clock less the VM's, wraps: what their rates, which KVM takes from different
	 * sources, have led to. Valid while the clock stands; a guest keeps it wherever it runs. */
	u64 kvmclock_ahead_ns;
	struct accel_host host;
};

/* How the software CPU executes. */
enum accel_engine {
	ACCEL_ENGINE_AUTO,        /* hot code is translated, where the host lets us */
	ACCEL_ENGINE_INTERPRETER, /* nothing is */
	ACCEL_ENGINE_TRANSLATOR, /* all that can be is, at once: for tests; fails where it can't be had */
};

/* Common to every maker: what it is made from. All borrowed, longer-lived than the accelerator. */
struct accel_config {
	struct gmem *gmem;
	struct vclock *clock;
	struct accel_host host;
	int kvm_fd;               /* /dev/kvm, for kvm; borrowed */
	enum accel_engine engine; /* soft */
	/* soft, one vCPU: the clock passes by retired instructions (vclock_count), randomness follows from
	 * the seed, devices work while the vCPU waits: the same guest does the same again. */
	bool is_counted;
	u64 seed;         /* of a counted one */
	bool is_lockstep; /* with it: translated code is run beside the interpreter, and compared */
	int perf_fd; /* soft: names of translated code go there, for perf; 0 or less: nowhere */
	bool is_tsc_host_clock; /* the host's own clock is its TSC: soft's may be made of it */
};

static inline enum vcpu_stop vcpu_run(struct vcpu *v)
{
	return v->ops->run(v);
}

static inline void vcpu_kick(struct vcpu *v)
{
	v->ops->kick(v);
}

static inline bool vcpu_is_wanted(const struct vcpu *v)
{
	return __atomic_load_n(&v->is_wanted, __ATOMIC_ACQUIRE);
}

/* For makers: notes why and returns VCPU_STOP_BROKEN. */
enum vcpu_stop vcpu_broken(struct vcpu *v, int code, const char *fmt, ...) printf_like(3, 4);

/* Visits every figure, the groups each in one go. Any thread: figures may be a moment old. */
void vcpu_count(struct vcpu *v, void (*visit)(void *opaque, const struct vcpu_counter *n),
		void *opaque);

void vcpu_free(struct vcpu *v);   /* NULL is fine */
void accel_free(struct accel *a); /* its vCPUs must be gone */
AUTO_FN(vcpu_free, struct vcpu *)
AUTO_FN(accel_free, struct accel *)

#endif

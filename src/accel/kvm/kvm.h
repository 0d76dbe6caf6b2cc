/*
 * The KVM accelerator: hardware virtualization by /dev/kvm, with a split irqchip (local APICs in the
 * kernel; PIC, IOAPIC and PIT are ours).
 */
#ifndef ACCEL_KVM_KVM_H
#define ACCEL_KVM_KVM_H

#include "accel/accel.h"

/* Opens the device: -EACCES names the group to join, -ENOENT says that there is none. */
int kv_open(int *out_fd, struct err *err);

struct kv_measured {
	u64 insns_per_s; /* of guest code in a scratch VM; 0 when it runs none */
	u64 tsc_hz;      /* as kv_tsc_hz */
};

/* Takes a few milliseconds, at most about ten on a kernel that only emulates. */
int kv_measure(int fd, struct kv_measured *out, struct err *err);
/* Below this a kernel only emulates: hardware does billions, emulation half a million. */
#define KV_HARDWARE_INSNS_PER_S ((u64)50000000)

/* What KVM takes the host's TSC for: the frequency to give a VM that has none of its own, since
 * many processors can't run a guest's TSC at another. By a scratch VM, too. */
int kv_tsc_hz(int fd, u64 *out, struct err *err);

int kv_accel_new(const struct accel_config *config, struct accel **out, struct err *err);

#endif

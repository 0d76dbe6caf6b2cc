/*
 * Time: the guest's TSC and its paravirtual clock, kept in step with the VM's clock.
 *
 * KVM's TSC is the host's (perhaps scaled) plus an offset per vCPU, and never stands still. The
 * VM's clock does, when the VM is paused. So each time the clock is stopped or started we note an
 * anchor, host TSC and VM TSC at one moment; a vCPU's own offset (struct x86_cpu_state.tsc_offset)
 * is what its TSC has beyond the VM's at the anchor, and starting the clock gives the vCPUs new
 * KVM offsets that continue from there. The host's TSC and its monotonic clock drift apart by a few
 * parts in a million: the difference lands in the vCPUs' offsets, the same in all, so that a
 * guest's TSC never steps back.
 *
 * Kernels before 5.16 can't tell a TSC offset; there the TSC itself is read and written, and KVM
 * takes writes close to each other as meant to be the same.
 */
#include <x86intrin.h>

#include "accel/kvm/kv_priv.h"
#include "base/err.h"
#include "base/time.h"
#include "clock/vclock.h"

static u64 kv_scale_tsc(const struct kv_accel *kv, u64 host_tsc)
{
	if (!kv->is_tsc_scaled)
		return host_tsc;
	return time_muldiv(host_tsc, kv->tsc_khz, kv->host_tsc_khz);
}

static struct kv_time_anchor kv_anchor_now(const struct kv_accel *kv)
{
	return (struct kv_time_anchor){
		.host_tsc = __rdtsc(),
		.vm_tsc = vclock_tsc(kv->accel.clock),
	};
}

/* KVM's offset: guest TSC less scaled host TSC. Wraps, as the register does. */
static u64 kv_kernel_offset(struct kv_vcpu *k)
{
	u64 value = 0;
	struct kvm_device_attr attr = {
		.group = KVM_VCPU_TSC_CTRL,
		.attr = KVM_VCPU_TSC_OFFSET,
		.addr = (u64)&value,
	};

	if (k->kv->has_tsc_offset && kv_ioctl(k->fd, KVM_GET_DEVICE_ATTR, &attr) >= 0)
		return value;
	kv_msr_read(k->fd, X86_MSR_TSC, &value);
	return value - kv_scale_tsc(k->kv, __rdtsc());
}

static void kv_set_kernel_offset(struct kv_vcpu *k, u64 value)
{
	struct kvm_device_attr attr = {
		.group = KVM_VCPU_TSC_CTRL,
		.attr = KVM_VCPU_TSC_OFFSET,
		.addr = (u64)&value,
	};

	if (k->kv->has_tsc_offset && kv_ioctl(k->fd, KVM_SET_DEVICE_ATTR, &attr) >= 0)
		return;
	kv_msr_write(k->fd, X86_MSR_TSC, value + kv_scale_tsc(k->kv, __rdtsc()));
}

u64 kv_tsc_get_offset(struct kv_vcpu *k)
{
	const struct kv_time_anchor *at = &k->kv->anchor;

	return kv_kernel_offset(k) + kv_scale_tsc(k->kv, at->host_tsc) - at->vm_tsc;
}

void kv_tsc_set_offset(struct kv_vcpu *k, u64 offset)
{
	const struct kv_time_anchor *at = &k->kv->anchor;

	kv_set_kernel_offset(k, offset + at->vm_tsc - kv_scale_tsc(k->kv, at->host_tsc));
}

/* --- set-up --- */

void kv_time_init(struct kv_accel *kv)
{
	kv->tsc_khz = vclock_tsc_hz(kv->accel.clock) / 1000;
	kv->anchor = kv_anchor_now(kv);
}

static bool kv_tsc_is_close(u64 a_khz, u64 b_khz)
{
	u64 apart = a_khz > b_khz ? a_khz - b_khz : b_khz - a_khz;

	return apart <= b_khz * KV_TSC_TOLERANCE / 1000000;
}

int kv_time_init_vcpu(struct kv_vcpu *k, struct err *err)
{
	struct kv_accel *kv = k->kv;
	struct kvm_device_attr attr = {.group = KVM_VCPU_TSC_CTRL, .attr = KVM_VCPU_TSC_OFFSET};
	int r = kv_ioctl(k->fd, KVM_GET_TSC_KHZ, NULL);

	kv->host_tsc_khz = r > 0 ? (u64)r : kv->tsc_khz;
	kv->has_tsc_offset = kv_ioctl(k->fd, KVM_HAS_DEVICE_ATTR, &attr) >= 0;
	if (!kv_tsc_is_close(kv->tsc_khz, kv->host_tsc_khz)) {
		r = kv_has(kv, KVM_CAP_TSC_CONTROL)
			    ? kv_ioctl(k->fd, KVM_SET_TSC_KHZ, (void *)kv->tsc_khz)
			    : -ENOTSUP;
		if (r < 0)
			return err_set(err, -ENOTSUP,
				       "the guest's TSC runs at %lu kHz, this host's at %lu kHz, "
				       "and its processor can't scale it",
				       kv->tsc_khz, kv->host_tsc_khz);
		kv->is_tsc_scaled = true;
	}
	kv_tsc_set_offset(k, 0);
	return 0;
}

/* --- stopping and starting --- */

/* Nanoseconds of KVM's paravirtual clock. */
static u64 kv_kvmclock_now(const struct kv_accel *kv)
{
	struct kvm_clock_data data = {0};

	return kv_ioctl(kv->fd, KVM_GET_CLOCK, &data) < 0 ? vclock_now_ns(kv->accel.clock)
							  : data.clock;
}

static void kv_clock_stopped(struct kv_accel *kv)
{
	kv->anchor = kv_anchor_now(kv);
	kv->accel.kvmclock_ahead_ns = kv_kvmclock_now(kv) - vclock_now_ns(kv->accel.clock);
	for (unsigned i = 0; i < ACCEL_MAX_VCPUS; i++) {
		struct kv_vcpu *k = kv->vcpus[i];

		if (!k)
			continue;
		/* The kernel's timer runs on and clears the deadline when it has fired. */
		if (kv_msr_read(k->fd, X86_MSR_TSC_DEADLINE, &k->paused_deadline) < 0)
			k->paused_deadline = 0;
		/* Tells the guest's watchdogs; fails harmlessly where it has no kvmclock on. */
		(void)kv_ioctl(k->fd, KVM_KVMCLOCK_CTRL, NULL);
	}
}

static void kv_clock_started(struct kv_accel *kv)
{
	struct kvm_clock_data data = {0};
	u64 offsets[ACCEL_MAX_VCPUS] = {0};

	for (unsigned i = 0; i < ACCEL_MAX_VCPUS; i++)
		if (kv->vcpus[i])
			offsets[i] = kv_tsc_get_offset(kv->vcpus[i]);
	kv->anchor = kv_anchor_now(kv);
	data.clock = vclock_now_ns(kv->accel.clock) + kv->accel.kvmclock_ahead_ns;
	(void)kv_ioctl(kv->fd, KVM_SET_CLOCK, &data);
	for (unsigned i = 0; i < ACCEL_MAX_VCPUS; i++) {
		struct kv_vcpu *k = kv->vcpus[i];

		if (!k)
			continue;
		kv_tsc_set_offset(k, offsets[i]);
		if (k->paused_deadline)
			(void)kv_msr_write(k->fd, X86_MSR_TSC_DEADLINE, k->paused_deadline);
		k->paused_deadline = 0;
	}
}

void kv_clock_changed(struct accel *a, bool is_running)
{
	if (is_running)
		kv_clock_started(kv_accel_of(a));
	else
		kv_clock_stopped(kv_accel_of(a));
}

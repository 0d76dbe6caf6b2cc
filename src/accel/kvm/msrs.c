/*
 * The model-specific registers of struct x86_cpu_state: which exist here, reading and writing them.
 *
 * What a kernel's KVM lacks (a feature that neither this host nor the guest has) must stand at its
 * reset value in a state that is set; reading gives that value. KVM's poll control is not here: no
 * CPU model offers it.
 */
#include <string.h>

#include "accel/kvm/kv_priv.h"
#include "base/err.h"

struct kv_msr {
	u32 index;
	u32 offset; /* in struct x86_cpu_state */
};

/* clang-format off */
#define KV_MSR(index_, member_) { (index_), offsetof(struct x86_cpu_state, member_) }
#define KV_MTRR_PAIR(n_)                                                                           \
	KV_MSR(X86_MSR_MTRR_PHYSBASE0 + 2 * (n_), mtrr_base[n_]),                                  \
	KV_MSR(X86_MSR_MTRR_PHYSBASE0 + 2 * (n_) + 1, mtrr_mask[n_])

static const struct kv_msr kv_msrs[] = {
	KV_MSR(X86_MSR_STAR, star),
	KV_MSR(X86_MSR_LSTAR, lstar),
	KV_MSR(X86_MSR_CSTAR, cstar),
	KV_MSR(X86_MSR_SFMASK, sfmask),
	KV_MSR(X86_MSR_KERNEL_GS_BASE, kernel_gs_base),
	KV_MSR(X86_MSR_SYSENTER_CS, sysenter_cs),
	KV_MSR(X86_MSR_SYSENTER_ESP, sysenter_esp),
	KV_MSR(X86_MSR_SYSENTER_EIP, sysenter_eip),
	KV_MSR(X86_MSR_PAT, pat),
	KV_MSR(X86_MSR_MISC_ENABLE, misc_enable),
	KV_MSR(X86_MSR_SPEC_CTRL, spec_ctrl),
	KV_MSR(X86_MSR_TSC_AUX, tsc_aux),
	KV_MSR(X86_MSR_TSC_ADJUST, tsc_adjust),
	KV_MSR(X86_MSR_MTRR_DEF_TYPE, mtrr_def_type),
	KV_MSR(X86_MSR_MTRR_FIX64K, mtrr_fixed[0]),
	KV_MSR(X86_MSR_MTRR_FIX16K_8, mtrr_fixed[1]),
	KV_MSR(X86_MSR_MTRR_FIX16K_A, mtrr_fixed[2]),
	KV_MSR(X86_MSR_MTRR_FIX4K_C0 + 0, mtrr_fixed[3]),
	KV_MSR(X86_MSR_MTRR_FIX4K_C0 + 1, mtrr_fixed[4]),
	KV_MSR(X86_MSR_MTRR_FIX4K_C0 + 2, mtrr_fixed[5]),
	KV_MSR(X86_MSR_MTRR_FIX4K_C0 + 3, mtrr_fixed[6]),
	KV_MSR(X86_MSR_MTRR_FIX4K_C0 + 4, mtrr_fixed[7]),
	KV_MSR(X86_MSR_MTRR_FIX4K_C0 + 5, mtrr_fixed[8]),
	KV_MSR(X86_MSR_MTRR_FIX4K_C0 + 6, mtrr_fixed[9]),
	KV_MSR(X86_MSR_MTRR_FIX4K_C0 + 7, mtrr_fixed[10]),
	KV_MTRR_PAIR(0), KV_MTRR_PAIR(1), KV_MTRR_PAIR(2), KV_MTRR_PAIR(3),
	KV_MTRR_PAIR(4), KV_MTRR_PAIR(5), KV_MTRR_PAIR(6), KV_MTRR_PAIR(7),
	KV_MSR(X86_MSR_MCG_STATUS, mcg_status),
	KV_MSR(X86_MSR_SMBASE, smbase),
	KV_MSR(X86_MSR_KVM_SYSTEM_TIME, kvm_system_time),
	KV_MSR(X86_MSR_KVM_WALL_CLOCK, kvm_wall_clock),
};
/* clang-format on */
static_assert(ARRAY_SIZE(kv_msrs) <= KV_MAX_MSRS, "struct kv_accel.msrs holds them all");

struct kv_msr_buffer {
	struct kvm_msrs head;
	struct kvm_msr_entry entries[KV_MAX_MSRS];
};

static u64 *kv_msr_field(struct x86_cpu_state *s, const struct kv_msr *m)
{
	return (u64 *)((char *)s + m->offset);
}

static u64 kv_msr_value(const struct x86_cpu_state *s, const struct kv_msr *m)
{
	return *(const u64 *)((const char *)s + m->offset);
}

int kv_msr_read(int fd, u32 msr, u64 *out)
{
	struct kv_msr_buffer b = {.head.nmsrs = 1, .entries[0].index = msr};
	int r = kv_ioctl(fd, KVM_GET_MSRS, &b);

	if (r != 1)
		return r < 0 ? r : -ENOENT;
	*out = b.entries[0].data;
	return 0;
}

int kv_msr_write(int fd, u32 msr, u64 value)
{
	struct kv_msr_buffer b = {
		.head.nmsrs = 1,
		.entries[0] = {.index = msr, .data = value},
	};
	int r = kv_ioctl(fd, KVM_SET_MSRS, &b);

	if (r != 1)
		return r < 0 ? r : -ENOENT;
	return 0;
}

void kv_msrs_probe(struct kv_accel *kv, int vcpu_fd)
{
	u64 ignored;

	kv->n_msrs = 0;
	for (unsigned i = 0; i < ARRAY_SIZE(kv_msrs); i++)
		if (kv_msr_read(vcpu_fd, kv_msrs[i].index, &ignored) == 0)
			kv->msrs[kv->n_msrs++] = (u8)i;
}

int kv_msrs_get(struct kv_vcpu *k, struct x86_cpu_state *out, struct err *err)
{
	const struct kv_accel *kv = k->kv;
	struct kv_msr_buffer b = {.head.nmsrs = kv->n_msrs};
	int r;

	for (unsigned i = 0; i < kv->n_msrs; i++)
		b.entries[i].index = kv_msrs[kv->msrs[i]].index;
	r = kv_ioctl(k->fd, KVM_GET_MSRS, &b);
	if (r < 0)
		return err_errno(err, r, "cannot read MSRs");
	if (r < (int)kv->n_msrs)
		return err_set(err, -EIO, "cannot read MSR %#x", b.entries[r].index);
	for (unsigned i = 0; i < kv->n_msrs; i++)
		*kv_msr_field(out, &kv_msrs[kv->msrs[i]]) = b.entries[i].data;
	return 0;
}

static bool kv_msr_is_here(const struct kv_accel *kv, unsigned which)
{
	return memchr(kv->msrs, (int)which, kv->n_msrs) != NULL;
}

static int kv_msrs_check_missing(const struct kv_accel *kv, const struct x86_cpu_state *in,
				 struct err *err)
{
	struct x86_cpu_state reset;

	x86_cpu_reset(&reset, true);
	for (unsigned i = 0; i < ARRAY_SIZE(kv_msrs); i++) {
		u64 wanted = kv_msr_value(in, &kv_msrs[i]);

		if (!kv_msr_is_here(kv, i) && wanted != kv_msr_value(&reset, &kv_msrs[i]))
			return err_set(err, -ENOTSUP,
				       "this host has no MSR %#x, which should be %#lx",
				       kv_msrs[i].index, wanted);
	}
	return 0;
}

int kv_msrs_set(struct kv_vcpu *k, const struct x86_cpu_state *in, struct err *err)
{
	const struct kv_accel *kv = k->kv;
	struct kv_msr_buffer b = {.head.nmsrs = kv->n_msrs};
	int r = kv_msrs_check_missing(kv, in, err);

	if (r < 0)
		return r;
	for (unsigned i = 0; i < kv->n_msrs; i++) {
		const struct kv_msr *m = &kv_msrs[kv->msrs[i]];

		b.entries[i].index = m->index;
		b.entries[i].data = kv_msr_value(in, m);
	}
	r = kv_ioctl(k->fd, KVM_SET_MSRS, &b);
	if (r < 0)
		return err_errno(err, r, "cannot write MSRs");
	if (r < (int)kv->n_msrs)
		return err_set(err, -EINVAL, "MSR %#x can't be %#lx", b.entries[r].index,
			       (u64)b.entries[r].data);
	return 0;
}

/*
 * Making and freeing vCPUs.
 */
#include <string.h>
#include <sys/mman.h>

#include "accel/kvm/kv_priv.h"
#include "base/alloc.h"
#include "base/err.h"
#include "base/fd.h"

/* One bank, as the software CPU has: nothing ever reports through it. */
#define KV_MCG_CAP ((u64)1)

static int kv_vcpu_set_cpuid(struct kv_vcpu *k, const struct x86_cpuid *c)
{
	size_t size = sizeof(struct kvm_cpuid2) + c->n * sizeof(struct kvm_cpuid_entry2);
	struct kvm_cpuid2 *table = mem_alloc(1, size);
	int r;

	table->nent = c->n;
	for (u32 i = 0; i < c->n; i++) {
		const struct x86_cpuid_entry *e = &c->e[i];

		table->entries[i] = (struct kvm_cpuid_entry2){
			.function = e->leaf,
			.index = e->subleaf,
			.flags = e->has_subleaf ? KVM_CPUID_FLAG_SIGNIFCANT_INDEX : 0,
			.eax = e->eax,
			.ebx = e->ebx,
			.ecx = e->ecx,
			.edx = e->edx,
		};
	}
	r = kv_ioctl(k->fd, KVM_SET_CPUID2, table);
	free(table);
	return r;
}

/* What CPUID announces and needs setting up: machine checks, promises, paravirtual features. */
static int kv_vcpu_set_features(struct kv_vcpu *k, const struct x86_cpuid *c, struct err *err)
{
	struct kvm_enable_cap enforce = {.cap = KVM_CAP_ENFORCE_PV_FEATURE_CPUID, .args = {1}};
	u64 mcg_cap = KV_MCG_CAP;
	int r;

	if (kv_has(k->kv, KVM_CAP_MCE)) {
		r = kv_ioctl(k->fd, KVM_X86_SETUP_MCE, &mcg_cap);
		if (r < 0)
			return err_errno(err, r, "KVM refuses the machine-check banks");
	}
	if (x86_cpuid_reg(c, 7, 0, 3) & X86_7_EDX_ARCH_CAPABILITIES) {
		r = kv_msr_write(k->fd, X86_MSR_ARCH_CAPABILITIES, c->arch_capabilities);
		if (r < 0)
			return err_errno(err, r, "KVM refuses IA32_ARCH_CAPABILITIES %#lx",
					 c->arch_capabilities);
	}
	/* Kernels before 5.10 can't: there a guest may use what CPUID doesn't offer. */
	if (kv_has(k->kv, KVM_CAP_ENFORCE_PV_FEATURE_CPUID))
		(void)kv_ioctl(k->fd, KVM_ENABLE_CAP, &enforce);
	return 0;
}

static void kv_vcpu_free(struct vcpu *v)
{
	struct kv_vcpu *k = kv_vcpu_of(v);

	if (k->kv->vcpus[v->id] == k)
		k->kv->vcpus[v->id] = NULL;
	if (k->run)
		munmap(k->run, k->kv->run_size);
	fd_close(k->fd);
	free(k);
}

static int kv_vcpu_open(struct kv_vcpu *k, struct err *err)
{
	void *run;

	k->fd = kv_ioctl(k->kv->fd, KVM_CREATE_VCPU, (void *)(u64)k->vcpu.id);
	if (k->fd < 0)
		return err_errno(err, k->fd, "KVM can't make it");
	run = mmap(NULL, k->kv->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, k->fd, 0);
	if (run == MAP_FAILED)
		return err_errno(err, -errno, "cannot map its run area");
	k->run = run;
	return 0;
}

static int kv_vcpu_set_up(struct kv_vcpu *k, const struct x86_cpuid *cpuid, struct err *err)
{
	int r = kv_vcpu_open(k, err);

	if (r < 0)
		return r;
	r = kv_vcpu_set_cpuid(k, cpuid);
	if (r < 0)
		return err_errno(err, r, "KVM refuses the CPU model");
	r = kv_vcpu_set_features(k, cpuid, err);
	if (r < 0)
		return r;
	r = kv_time_init_vcpu(k, err);
	if (r < 0)
		return r;
	kv_msrs_probe(k->kv, k->fd);
	return 0;
}

static const struct vcpu_ops kv_vcpu_ops = {
	.run = kv_run,
	.kick = kv_kick,
	.get_state = kv_get_state,
	.set_state = kv_set_state,
	.get_lapic = kv_get_lapic,
	.set_lapic = kv_set_lapic,
	.free = kv_vcpu_free,
};

int kv_vcpu_new(struct accel *a, unsigned id, const struct x86_cpuid *cpuid,
		unused struct vcpu_apic *apic, struct vcpu **out, struct err *err)
{
	struct kv_accel *kv = kv_accel_of(a);
	struct kv_vcpu *k = NEW(struct kv_vcpu);
	AUTO(vcpu_free) struct vcpu *v = &k->vcpu;
	int r;

	assert(id < ACCEL_MAX_VCPUS && !kv->vcpus[id]);
	*v = (struct vcpu){.ops = &kv_vcpu_ops, .accel = a, .id = id};
	k->kv = kv;
	k->fd = -1;
	k->is_window_stale = true;
	r = kv_vcpu_set_up(k, cpuid, err);
	if (r < 0)
		return r;
	kv->vcpus[id] = k;
	*out = take(v);
	return 0;
}

/*
 * The KVM accelerator: the VM, its features, its doorbells. See kvm.h.
 *
 * The interrupt chips are split (DESIGN 9.3): local APICs in the kernel, PIC, IOAPIC and PIT ours.
 * On Intel processors that can't run real mode by themselves KVM needs four pages of guest-physical
 * space where there is no RAM: they lie between the board's local APICs (0xfee00000) and its
 * firmware flash (0xff000000 at the lowest), in what every PC's chip set reserves for message
 * signalled interrupts and local APICs, so that no guest looks there.
 */
#include <string.h>

#include "accel/kvm/kv_priv.h"
#include "accel/kvm/kvm.h"
#include "base/alloc.h"
#include "base/err.h"
#include "base/fd.h"
#include "clock/vclock.h"

#define KV_IDENTITY_MAP_GPA ((u64)0xfeffc000)
#define KV_TSS_GPA          ((unsigned long)0xfeffd000) /* three pages */

int kv_has(const struct kv_accel *kv, int capability)
{
	int r = ioctl(kv->fd >= 0 ? kv->fd : kv->kvm_fd, KVM_CHECK_EXTENSION, (long)capability);

	return MAX(r, 0);
}

/* --- what this KVM can give a guest --- */

#define KV_CPUID_ENTRIES 256

static struct kvm_cpuid2 *kv_supported_cpuid(int kvm_fd)
{
	struct kvm_cpuid2 *c = mem_alloc(1, sizeof(*c) + KV_CPUID_ENTRIES * sizeof(c->entries[0]));

	c->nent = KV_CPUID_ENTRIES;
	if (kv_ioctl(kvm_fd, KVM_GET_SUPPORTED_CPUID, c) < 0)
		c->nent = 0;
	return c;
}

static u64 kv_host_arch_capabilities(int kvm_fd)
{
	u64 value;

	/* On /dev/kvm itself: what the host's processor and KVM together promise. */
	return kv_msr_read(kvm_fd, X86_MSR_ARCH_CAPABILITIES, &value) < 0 ? 0 : value;
}

static void kv_find_features(struct kv_accel *kv, struct x86_features *out)
{
	struct kvm_cpuid2 *c = kv_supported_cpuid(kv->kvm_fd);

	for (u32 i = 0; i < c->nent; i++) {
		const struct kvm_cpuid_entry2 *e = &c->entries[i];

		if (e->function == 1) {
			out->leaf1_ecx = e->ecx;
			out->leaf1_edx = e->edx;
		} else if (e->function == 7 && e->index == 0) {
			out->leaf7_ebx = e->ebx;
			out->leaf7_ecx = e->ecx;
			out->leaf7_edx = e->edx;
		} else if (e->function == 0xd && e->index == 1) {
			out->leafd1_eax = e->eax;
		} else if (e->function == 0x80000001) {
			out->ext1_ecx = e->ecx;
			out->ext1_edx = e->edx;
		} else if (e->function == 0x80000008) {
			out->phys_bits = e->eax & 0xff;
			out->ext8_ebx = e->ebx;
		}
	}
	free(c);
	out->leaf1_ecx |= BIT32(31); /* hypervisor */
	if (kv_has(kv, KVM_CAP_TSC_DEADLINE_TIMER))
		out->leaf1_ecx |= BIT32(24);
	out->arch_capabilities = kv_host_arch_capabilities(kv->kvm_fd);
}

/* --- the VM --- */

static int kv_vm_create(struct kv_accel *kv, struct err *err)
{
	int r = kv_ioctl(kv->kvm_fd, KVM_CREATE_VM, NULL);

	if (r == -EBUSY)
		return err_set(err, r,
			       "KVM can't start a VM: another hypervisor (VirtualBox, VMware) has "
			       "the processor's virtualization");
	if (r < 0)
		return err_errno(err, r, "KVM can't start a VM");
	kv->fd = r;
	return 0;
}

static const struct {
	int capability;
	const char *name;
} kv_needed[] = {
	{KVM_CAP_USER_MEMORY, "user memory"},       {KVM_CAP_SPLIT_IRQCHIP, "a split irqchip"},
	{KVM_CAP_IMMEDIATE_EXIT, "immediate_exit"}, {KVM_CAP_SIGNAL_MSI, "MSIs from user space"},
	{KVM_CAP_IRQ_ROUTING, "interrupt routing"}, {KVM_CAP_IRQFD, "irqfds"},
	{KVM_CAP_IOEVENTFD, "ioeventfds"},          {KVM_CAP_READONLY_MEM, "read-only memory"},
	{KVM_CAP_VCPU_EVENTS, "vCPU events"},       {KVM_CAP_DEBUGREGS, "debug registers"},
	{KVM_CAP_MP_STATE, "vCPU run states"},      {KVM_CAP_XSAVE, "the XSAVE area"},
};

static int kv_check_capabilities(const struct kv_accel *kv, struct err *err)
{
	for (size_t i = 0; i < ARRAY_SIZE(kv_needed); i++)
		if (!kv_has(kv, kv_needed[i].capability))
			return err_set(err, -ENOTSUP, "this kernel's KVM lacks %s",
				       kv_needed[i].name);
	return 0;
}

static int kv_vm_set_up(struct kv_accel *kv, struct err *err)
{
	struct kvm_enable_cap split = {.cap = KVM_CAP_SPLIT_IRQCHIP, .args = {KV_IOAPIC_PINS}};
	u64 identity = KV_IDENTITY_MAP_GPA;
	int r;

	if (kv_has(kv, KVM_CAP_SET_IDENTITY_MAP_ADDR)) {
		r = kv_ioctl(kv->fd, KVM_SET_IDENTITY_MAP_ADDR, &identity);
		if (r < 0)
			return err_errno(err, r, "KVM refuses its identity map's place");
	}
	r = kv_ioctl(kv->fd, KVM_SET_TSS_ADDR, (void *)KV_TSS_GPA);
	if (r < 0)
		return err_errno(err, r, "KVM refuses its task segment's place");
	r = kv_ioctl(kv->fd, KVM_ENABLE_CAP, &split);
	if (r < 0)
		return err_errno(err, r, "KVM refuses a split irqchip");
	r = kv_ioctl(kv->kvm_fd, KVM_GET_VCPU_MMAP_SIZE, NULL);
	if (r < 0)
		return err_errno(err, r, "KVM doesn't say how large a vCPU's run area is");
	kv->run_size = (size_t)r;
	kv->has_sregs2 = kv_has(kv, KVM_CAP_SREGS2);
	kv->has_xcrs = kv_has(kv, KVM_CAP_XCRS);
	kv->has_any_length_bells = kv_has(kv, KVM_CAP_IOEVENTFD_ANY_LENGTH);
	return 0;
}

/* --- doorbells --- */

static int kv_doorbell(struct accel *a, u64 addr, unsigned size, bool is_port, bool is_any_value,
		       u64 value, int fd, bool is_add)
{
	struct kv_accel *kv = kv_accel_of(a);
	struct kvm_ioeventfd bell = {
		.addr = addr,
		.len = size,
		.fd = fd,
		.datamatch = value,
		.flags = (is_port ? KVM_IOEVENTFD_FLAG_PIO : 0u) |
			 (is_any_value ? 0u : KVM_IOEVENTFD_FLAG_DATAMATCH) |
			 (is_add ? 0u : KVM_IOEVENTFD_FLAG_DEASSIGN),
	};

	if (!size && !kv->has_any_length_bells)
		return -ENOTSUP;
	return kv_ioctl(kv->fd, KVM_IOEVENTFD, &bell);
}

/* --- life --- */

static void kv_accel_free(struct accel *a)
{
	struct kv_accel *kv = kv_accel_of(a);

	for (unsigned i = 0; i < ACCEL_MAX_VCPUS; i++)
		assert(!kv->vcpus[i]);
	kv_slots_fini(kv);
	kv_irq_fini(kv);
	fd_close(kv->fd);
	free(kv);
}

static const struct accel_ops kv_accel_ops = {
	.vcpu_new = kv_vcpu_new,
	.send_msi = kv_send_msi,
	.set_ioapic_route = kv_set_ioapic_route,
	.pic_changed = kv_pic_changed,
	.irqfd_add = kv_irqfd_add,
	.irqfd_change = kv_irqfd_change,
	.irqfd_remove = kv_irqfd_remove,
	.doorbell = kv_doorbell,
	.clock_changed = kv_clock_changed,
	.free = kv_accel_free,
};

int kv_accel_new(const struct accel_config *config, struct accel **out, struct err *err)
{
	struct kv_accel *kv = NEW(struct kv_accel);
	AUTO(accel_free) struct accel *a = &kv->accel;
	int r;

	kv->accel = (struct accel){
		.ops = &kv_accel_ops,
		.name = "kvm",
		.has_lapic = true,
		.gmem = config->gmem,
		.clock = config->clock,
		.host = config->host,
	};
	kv->kvm_fd = config->kvm_fd;
	kv->fd = -1;
	list_init(&kv->listener.node);
	r = kv_vm_create(kv, err);
	if (r < 0)
		return r;
	r = kv_check_capabilities(kv, err);
	if (r < 0)
		return r;
	r = kv_vm_set_up(kv, err);
	if (r < 0)
		return r;
	r = kv_set_signal_handler();
	if (r < 0)
		return err_errno(err, r, "cannot set the handler of vCPU signals");
	r = kv_irq_init(kv, err);
	if (r < 0)
		return r;
	kv_find_features(kv, &kv->accel.features);
	kv_time_init(kv);
	r = kv_slots_init(kv, err);
	if (r < 0)
		return r;
	*out = take(a);
	return 0;
}

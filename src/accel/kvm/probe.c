/*
 * Is this KVM hardware, or a kernel that only emulates? Measured, in a scratch VM.
 *
 * The guest is five bytes in real mode: a loop that counts ECX down, and HLT. There is no interrupt
 * chip, so HLT comes straight back, and closing the VM is cheap. A first run, which pays for page
 * faults and cold code, doesn't count. Then runs grow fourfold until one is long enough to be told
 * from the price of entering the guest, and the best rate counts: the probe ends as soon as it is
 * clearly hardware's, or after three such runs. Time is the thread's CPU time: a loaded host doesn't
 * look like a slow one.
 */
#include <string.h>
#include <sys/mman.h>

#include "accel/kvm/kv_priv.h"
#include "accel/kvm/kvm.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/time.h"

#define PROBE_GPA          0x1000u
#define PROBE_FIRST_COUNT  64u
#define PROBE_LAST_COUNT   (PROBE_FIRST_COUNT << 18)
#define PROBE_GROWTH       4u
#define PROBE_LONG_NS      (300 * NSEC_PER_USEC)
#define PROBE_LONG_RUNS    3
#define PROBE_SURELY       (4 * KV_HARDWARE_INSNS_PER_S)
#define PROBE_INSNS_A_LOOP 2u

struct kv_probe {
	int vm_fd, vcpu_fd;
	u8 *page;
	struct kvm_run *run;
	size_t run_size;
};

static void kv_probe_end(struct kv_probe *p)
{
	if (p->run)
		munmap(p->run, p->run_size);
	fd_close(p->vcpu_fd);
	fd_close(p->vm_fd);
	if (p->page)
		munmap(p->page, PAGE_SIZE);
}

static int kv_probe_add_memory(struct kv_probe *p)
{
	static const u8 code[] = {
		0x66, 0x49, /* 1: dec %ecx */
		0x75, 0xfc, /* jnz 1b */
		0xf4,       /* hlt */
	};
	struct kvm_userspace_memory_region region = {
		.guest_phys_addr = PROBE_GPA,
		.memory_size = PAGE_SIZE,
	};

	p->page = mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p->page == MAP_FAILED) {
		p->page = NULL;
		return -errno;
	}
	memcpy(p->page, code, sizeof(code));
	region.userspace_addr = (u64)p->page;
	return kv_ioctl(p->vm_fd, KVM_SET_USER_MEMORY_REGION, &region);
}

static int kv_probe_add_vcpu(struct kv_probe *p, int fd)
{
	struct kvm_sregs sregs;
	int r = kv_ioctl(fd, KVM_GET_VCPU_MMAP_SIZE, NULL);

	if (r < 0)
		return r;
	p->run_size = (size_t)r;
	p->vcpu_fd = kv_ioctl(p->vm_fd, KVM_CREATE_VCPU, NULL);
	if (p->vcpu_fd < 0)
		return p->vcpu_fd;
	p->run = mmap(NULL, p->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, p->vcpu_fd, 0);
	if (p->run == MAP_FAILED) {
		p->run = NULL;
		return -errno;
	}
	r = kv_ioctl(p->vcpu_fd, KVM_GET_SREGS, &sregs);
	if (r < 0)
		return r;
	sregs.cs.base = 0;
	sregs.cs.selector = 0;
	return kv_ioctl(p->vcpu_fd, KVM_SET_SREGS, &sregs);
}

static int kv_probe_explain(int code, struct err *err)
{
	if (code == -EBUSY)
		return err_set(err, code,
			       "/dev/kvm can't start a VM: another hypervisor "
			       "(VirtualBox, VMware) has the processor's virtualization");
	return err_errno(err, code, "/dev/kvm can't start a VM");
}

static int kv_probe_begin(struct kv_probe *p, int fd)
{
	int r;

	p->vm_fd = kv_ioctl(fd, KVM_CREATE_VM, NULL);
	if (p->vm_fd < 0)
		return p->vm_fd;
	r = kv_probe_add_memory(p);
	return r < 0 ? r : kv_probe_add_vcpu(p, fd);
}

/* Runs the loop count times: true when the guest got to its HLT. */
static bool kv_probe_run(struct kv_probe *p, u32 count, u64 *out_ns)
{
	struct kvm_regs regs = {.rip = PROBE_GPA, .rflags = X86_FLAG_ONE, .rcx = count};
	u64 from;

	if (kv_ioctl(p->vcpu_fd, KVM_SET_REGS, &regs) < 0)
		return false;
	from = time_cpu_ns();
	if (kv_ioctl(p->vcpu_fd, KVM_RUN, NULL) < 0 || p->run->exit_reason != KVM_EXIT_HLT)
		return false;
	*out_ns = time_cpu_ns() - from;
	return true;
}

static u64 kv_probe_best_rate(struct kv_probe *p)
{
	u32 count = PROBE_FIRST_COUNT;
	unsigned long_runs = 0;
	u64 best = 0, ns;

	if (!kv_probe_run(p, count, &ns))
		return 0;
	while (long_runs < PROBE_LONG_RUNS && best < PROBE_SURELY && kv_probe_run(p, count, &ns)) {
		u64 insns = (u64)count * PROBE_INSNS_A_LOOP;
		u64 rate = time_muldiv(insns, NSEC_PER_SEC, ns ? ns : 1);

		best = MAX(best, rate);
		if (ns >= PROBE_LONG_NS || count == PROBE_LAST_COUNT)
			long_runs++;
		else
			count *= PROBE_GROWTH;
	}
	return best;
}

static int kv_probe_tsc_hz(struct kv_probe *p, u64 *out)
{
	int r = kv_ioctl(p->vcpu_fd, KVM_GET_TSC_KHZ, NULL);

	*out = r > 0 ? (u64)r * 1000 : 0;
	return r;
}

int kv_measure(int fd, struct kv_measured *out, struct err *err)
{
	struct kv_probe p = {.vm_fd = -1, .vcpu_fd = -1};
	int r = kv_probe_begin(&p, fd);

	if (r >= 0)
		r = kv_probe_tsc_hz(&p, &out->tsc_hz);
	if (r >= 0)
		out->insns_per_s = kv_probe_best_rate(&p);
	kv_probe_end(&p);
	return r < 0 ? kv_probe_explain(r, err) : 0;
}

int kv_tsc_hz(int fd, u64 *out, struct err *err)
{
	struct kv_probe p = {.vm_fd = -1, .vcpu_fd = -1};
	int r = kv_probe_begin(&p, fd);

	if (r >= 0)
		r = kv_probe_tsc_hz(&p, out);
	kv_probe_end(&p);
	return r < 0 ? kv_probe_explain(r, err) : 0;
}

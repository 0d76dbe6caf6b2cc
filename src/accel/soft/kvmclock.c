/*
 * The paravirtual clock: what KVM gives its guests, from the VM's clock (Linux,
 * Documentation/virt/kvm/x86/msr.rst, MSR_KVM_SYSTEM_TIME_NEW and MSR_KVM_WALL_CLOCK_NEW).
 *
 * The guest computes system_time + ((tsc - tsc_timestamp) << shift) * mul / 2^32. The TSC is the
 * VM's clock by another unit, so one pair of readings holds until the TSC is written or the clock
 * is set; the page is written then, under an odd version.
 */
#include "accel/soft/accel_priv.h"
#include "accel/soft/system.h"
#include "base/bytes.h"
#include "clock/vclock.h"

/* struct pvclock_vcpu_time_info */
struct time_page {
	le32 version;
	le32 pad;
	le64 tsc_timestamp;
	le64 system_time;
	le32 tsc_to_system_mul;
	u8 tsc_shift;
	u8 flags;
	u8 pad2[2];
};
static_assert(sizeof(struct time_page) == 32, "the guest's layout");

/* struct pvclock_wall_clock */
struct wall_page {
	le32 version;
	le32 sec;
	le32 nsec;
};
static_assert(sizeof(struct wall_page) == 12, "the guest's layout");

#define FLAG_TSC_STABLE 1
#define ENABLED         1

/* Ticks to nanoseconds: ((ticks << shift) * mul) >> 32, with mul in [2^31, 2^32). */
static void scale_of(u64 hz, u32 *out_mul, i8 *out_shift)
{
	u64 ticks = hz, ns = NSEC_PER_SEC;
	i8 shift = 0;

	while (ticks > 2 * ns || ticks >> 32) {
		ticks >>= 1;
		shift--;
	}
	while (ticks <= ns) {
		ticks <<= 1;
		shift++;
	}
	*out_mul = (u32)((ns << 32) / ticks);
	*out_shift = shift;
}

/* Writes the page under an odd version, then makes it even. The page may be no memory: ignored. */
static void publish(struct sx_cpu *c, gpa_t gpa, void *page, u64 size)
{
	struct gmem *g = c->accel->accel.gmem;
	le32 version;
	u32 v;

	if (gmem_read(g, gpa, &version, sizeof(version)) < 0)
		return;
	v = (le32_get(version) | 1) + 2;
	version = le32_of(v);
	memcpy(page, &version, sizeof(version));
	if (gmem_write(g, gpa, page, size) < 0)
		return;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	version = le32_of(v + 1);
	if (gmem_write(g, gpa, &version, sizeof(version)) < 0)
		return;
}

void sx_kvmclock_write_time(struct sx_cpu *c)
{
	struct vclock *clock = c->accel->accel.clock;
	u64 tsc = vclock_tsc(clock), hz = vclock_tsc_hz(clock);
	u64 system_time = vclock_tsc_to_ns(clock, tsc) + c->accel->accel.kvmclock_ahead_ns;
	struct time_page p = {
		.tsc_timestamp = le64_of(tsc + c->tsc_offset),
		.system_time = le64_of(system_time),
		.flags = FLAG_TSC_STABLE,
	};
	u32 mul;
	i8 shift;

	scale_of(hz, &mul, &shift);
	p.tsc_to_system_mul = le32_of(mul);
	p.tsc_shift = (u8)shift;
	publish(c, c->kvm_system_time & ~(u64)ENABLED, &p, sizeof(p));
}

/* The wall clock at the moment when the paravirtual clock was 0. */
void sx_kvmclock_write_wall(struct sx_cpu *c, gpa_t gpa)
{
	const struct accel *a = &c->accel->accel;
	u64 ns = vclock_wall_ns(a->clock) - vclock_now_ns(a->clock) - a->kvmclock_ahead_ns;
	struct wall_page p = {
		.sec = le32_of((u32)(ns / NSEC_PER_SEC)),
		.nsec = le32_of((u32)(ns % NSEC_PER_SEC)),
	};

	if (gpa)
		publish(c, gpa, &p, sizeof(p));
}

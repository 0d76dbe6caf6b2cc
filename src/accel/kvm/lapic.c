/*
 * The local APIC's state: the kernel's register page to and from struct x86_lapic_state.
 *
 * The kernel keeps the registers as xAPIC lays them out (SDM 3A, table 10-1), in either mode. A
 * running count is turned into the VM clock's time at which it began, and back.
 */
#include <string.h>

#include "accel/kvm/kv_priv.h"
#include "base/bytes.h"
#include "base/err.h"
#include "clock/vclock.h"

enum {
	APIC_ID = 0x20,
	APIC_VERSION = 0x30,
	APIC_TPR = 0x80,
	APIC_LDR = 0xd0,
	APIC_DFR = 0xe0,
	APIC_SVR = 0xf0,
	APIC_ISR = 0x100,
	APIC_TMR = 0x180,
	APIC_IRR = 0x200,
	APIC_ESR = 0x280,
	APIC_ICR = 0x300,
	APIC_ICR2 = 0x310,
	APIC_TIMER_INITIAL = 0x380,
	APIC_TIMER_CURRENT = 0x390,
	APIC_TIMER_DIVIDE = 0x3e0,
};

/* By enum x86_lapic_lvt. */
static const u16 kv_lvt_offset[LAPIC_LVTS] = {0x2f0, 0x320, 0x330, 0x340, 0x350, 0x360, 0x370};

#define LVT_TIMER_PERIODIC BIT32(17)
#define LVT_TIMER_DEADLINE BIT32(18)

static u32 kv_apic_read(const struct kvm_lapic_state *a, unsigned offset)
{
	return le32_load(a->regs + offset);
}

static void kv_apic_write(struct kvm_lapic_state *a, unsigned offset, u32 value)
{
	le32_store(a->regs + offset, value);
}

static void kv_apic_read_bitmap(const struct kvm_lapic_state *a, unsigned offset, u32 out[8])
{
	for (unsigned i = 0; i < 8; i++)
		out[i] = kv_apic_read(a, offset + 16 * i);
}

static void kv_apic_write_bitmap(struct kvm_lapic_state *a, unsigned offset, const u32 in[8])
{
	for (unsigned i = 0; i < 8; i++)
		kv_apic_write(a, offset + 16 * i, in[i]);
}

/* Nanoseconds of a timer tick (SDM 3A, figure 10-10): codes 0 to 7 divide by 2, 4, ... 128, 1. */
static u64 kv_timer_tick_ns(u32 divide)
{
	u32 code = (divide & 3) | (divide & 8) >> 1;

	return (NSEC_PER_SEC / KV_LAPIC_HZ) << ((code + 1) & 7);
}

static void kv_lapic_from_regs(const struct kvm_lapic_state *a, u64 now_ns,
			       struct x86_lapic_state *out)
{
	out->tpr = kv_apic_read(a, APIC_TPR);
	out->ldr = kv_apic_read(a, APIC_LDR);
	out->dfr = kv_apic_read(a, APIC_DFR);
	out->svr = kv_apic_read(a, APIC_SVR);
	out->esr = kv_apic_read(a, APIC_ESR);
	out->icr = (u64)kv_apic_read(a, APIC_ICR2) << 32 | kv_apic_read(a, APIC_ICR);
	kv_apic_read_bitmap(a, APIC_ISR, out->isr);
	kv_apic_read_bitmap(a, APIC_TMR, out->tmr);
	kv_apic_read_bitmap(a, APIC_IRR, out->irr);
	for (unsigned i = 0; i < LAPIC_LVTS; i++)
		out->lvt[i] = kv_apic_read(a, kv_lvt_offset[i]);
	out->timer_initial = kv_apic_read(a, APIC_TIMER_INITIAL);
	out->timer_divide = kv_apic_read(a, APIC_TIMER_DIVIDE);
	if (out->timer_initial) {
		u32 gone = out->timer_initial - kv_apic_read(a, APIC_TIMER_CURRENT);

		out->timer_start_ns = now_ns - gone * kv_timer_tick_ns(out->timer_divide);
	}
}

/* What is left of the count, for the kernel to go on from; 0: it is over. */
static u32 kv_timer_current(const struct x86_lapic_state *s, u64 now_ns)
{
	u64 gone = (now_ns - s->timer_start_ns) / kv_timer_tick_ns(s->timer_divide);

	if (!s->timer_initial || (s->lvt[LAPIC_LVT_TIMER] & LVT_TIMER_DEADLINE))
		return 0;
	if (s->lvt[LAPIC_LVT_TIMER] & LVT_TIMER_PERIODIC)
		gone %= s->timer_initial;
	return gone < s->timer_initial ? s->timer_initial - (u32)gone : 0;
}

static void kv_lapic_to_regs(const struct x86_lapic_state *in, u64 now_ns,
			     struct kvm_lapic_state *a)
{
	kv_apic_write(a, APIC_ID, in->id << 24);
	kv_apic_write(a, APIC_TPR, in->tpr);
	kv_apic_write(a, APIC_LDR, in->ldr);
	kv_apic_write(a, APIC_DFR, in->dfr);
	kv_apic_write(a, APIC_SVR, in->svr);
	kv_apic_write(a, APIC_ESR, in->esr);
	kv_apic_write(a, APIC_ICR, (u32)in->icr);
	kv_apic_write(a, APIC_ICR2, (u32)(in->icr >> 32));
	kv_apic_write_bitmap(a, APIC_ISR, in->isr);
	kv_apic_write_bitmap(a, APIC_TMR, in->tmr);
	kv_apic_write_bitmap(a, APIC_IRR, in->irr);
	for (unsigned i = 0; i < LAPIC_LVTS; i++)
		kv_apic_write(a, kv_lvt_offset[i], in->lvt[i]);
	kv_apic_write(a, APIC_TIMER_INITIAL, in->timer_initial);
	kv_apic_write(a, APIC_TIMER_DIVIDE, in->timer_divide);
	kv_apic_write(a, APIC_TIMER_CURRENT, kv_timer_current(in, now_ns));
}

int kv_get_lapic(struct vcpu *v, struct x86_lapic_state *out, struct err *err)
{
	struct kv_vcpu *k = kv_vcpu_of(v);
	struct kvm_lapic_state regs;
	int r = kv_ioctl(k->fd, KVM_GET_LAPIC, &regs);

	if (r < 0)
		return err_errno(err, r, "cannot read the local APIC");
	memset(out, 0, sizeof(*out));
	r = kv_msr_read(k->fd, X86_MSR_APIC_BASE, &out->base);
	if (r < 0)
		return err_errno(err, r, "cannot read IA32_APIC_BASE");
	out->id = v->id;
	kv_lapic_from_regs(&regs, vclock_now_ns(v->accel->clock), out);
	/* While the clock stands the kernel's timer may have fired: it will be armed again. */
	if (k->paused_deadline)
		out->tsc_deadline = k->paused_deadline;
	else if (kv_msr_read(k->fd, X86_MSR_TSC_DEADLINE, &out->tsc_deadline) < 0)
		out->tsc_deadline = 0;
	return 0;
}

/* INIT and SIPI on their way have no place of their own in KVM's state but these. */
static int kv_lapic_set_pending(struct kv_vcpu *k, const struct x86_lapic_state *in)
{
	struct kvm_mp_state mp = {.mp_state = KVM_MP_STATE_INIT_RECEIVED};
	struct kvm_vcpu_events ev;
	int r = 0;

	if (in->init_pending)
		r = kv_ioctl(k->fd, KVM_SET_MP_STATE, &mp);
	if (r < 0 || !in->sipi_pending)
		return r;
	r = kv_ioctl(k->fd, KVM_GET_VCPU_EVENTS, &ev);
	if (r < 0)
		return r;
	ev.flags |= KVM_VCPUEVENT_VALID_SIPI_VECTOR;
	ev.sipi_vector = in->sipi_vector;
	r = kv_ioctl(k->fd, KVM_SET_VCPU_EVENTS, &ev);
	mp.mp_state = KVM_MP_STATE_SIPI_RECEIVED;
	return r < 0 ? r : kv_ioctl(k->fd, KVM_SET_MP_STATE, &mp);
}

int kv_set_lapic(struct vcpu *v, const struct x86_lapic_state *in, struct err *err)
{
	struct kv_vcpu *k = kv_vcpu_of(v);
	struct kvm_lapic_state regs;
	int r;

	if (in->id != v->id)
		return err_set(err, -EINVAL, "the local APIC's id is %u, not %u", in->id, v->id);
	r = kv_msr_write(k->fd, X86_MSR_APIC_BASE, in->base);
	if (r < 0)
		return err_set(err, -EINVAL, "IA32_APIC_BASE can't be %#lx", in->base);
	/* From the kernel's own first, for the registers that are not state (the version). */
	r = kv_ioctl(k->fd, KVM_GET_LAPIC, &regs);
	if (r >= 0) {
		kv_lapic_to_regs(in, vclock_now_ns(v->accel->clock), &regs);
		r = kv_ioctl(k->fd, KVM_SET_LAPIC, &regs);
	}
	if (r >= 0)
		r = kv_lapic_set_pending(k, in);
	if (r < 0)
		return err_errno(err, r, "cannot set the local APIC");
	/* Zero disarms; a deadline is armed when the clock starts, if it stands now. */
	(void)kv_msr_write(k->fd, X86_MSR_TSC_DEADLINE, in->tsc_deadline);
	k->paused_deadline = in->tsc_deadline;
	return 0;
}

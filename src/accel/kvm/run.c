/*
 * Running a vCPU: the loop around KVM_RUN, its exits, and getting a vCPU out of it.
 *
 * Getting out. KVM_RUN returns at once while run->immediate_exit is set, and returns when a signal
 * with a handler arrives. A kicker says what it wants (is_wanted, is_kicked, is_remapping, the PIC's
 * output), sets immediate_exit, then signals the thread. The loop clears immediate_exit first and
 * looks at the wishes after that: a kicker that came before the clearing is seen by looking, one
 * that comes after leaves immediate_exit set for KVM_RUN to find. All of it sequentially
 * consistent. The signal is only needed for a thread that is inside KVM_RUN; elsewhere it does
 * nothing (its handler is empty and restarts system calls).
 *
 * Half exits. The instruction behind a port or MMIO exit is completed by the next KVM_RUN. Before
 * the loop is left that is done with immediate_exit set, so that the state is architectural.
 *
 * The PIC. Its interrupts go into the vCPU by way of the pending event, not by KVM_INTERRUPT: what
 * that hands over is in no state that could be read back, and would be lost in a save.
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "accel/kvm/kv_priv.h"
#include "base/bytes.h"

#define KV_KICK_SIGNAL (SIGRTMIN + 1)

/* --- getting out --- */

static void kv_on_signal(unused int number)
{
}

int kv_set_signal_handler(void)
{
	struct sigaction action = {.sa_handler = kv_on_signal, .sa_flags = SA_RESTART};

	return sigaction(KV_KICK_SIGNAL, &action, NULL) < 0 ? -errno : 0;
}

static void kv_set_immediate_exit(struct kv_vcpu *k, u8 value)
{
	__atomic_store_n(&k->run->immediate_exit, value, __ATOMIC_SEQ_CST);
}

void kv_nudge(struct kv_vcpu *k)
{
	pid_t tid;

	kv_set_immediate_exit(k, 1);
	tid = __atomic_load_n(&k->tid, __ATOMIC_SEQ_CST);
	if (tid)
		syscall(SYS_tgkill, getpid(), tid, KV_KICK_SIGNAL);
}

void kv_kick(struct vcpu *v)
{
	struct kv_vcpu *k = kv_vcpu_of(v);

	__atomic_store_n(&k->is_kicked, true, __ATOMIC_SEQ_CST);
	kv_nudge(k);
}

static bool kv_should_stop(struct kv_vcpu *k)
{
	return __atomic_exchange_n(&k->is_kicked, false, __ATOMIC_SEQ_CST) ||
	       vcpu_is_wanted(&k->vcpu);
}

/* --- the PIC --- */

static void kv_inject(struct kv_vcpu *k, u8 vector)
{
	struct kvm_mp_state mp = {.mp_state = KVM_MP_STATE_RUNNABLE};
	struct kvm_vcpu_events ev;

	if (kv_ioctl(k->fd, KVM_GET_VCPU_EVENTS, &ev) < 0)
		return;
	ev.flags = 0; /* what came in meanwhile, an NMI or INIT, is left alone */
	ev.interrupt.injected = 1;
	ev.interrupt.nr = vector;
	ev.interrupt.soft = 0;
	(void)kv_ioctl(k->fd, KVM_SET_VCPU_EVENTS, &ev);
	(void)kv_ioctl(k->fd, KVM_SET_MP_STATE, &mp); /* it may be in HLT */
}

/* Hands over what the PIC has, or asks KVM to come back as soon as the guest can take it. */
static void kv_offer_extint(struct kv_vcpu *k)
{
	const struct accel_host *host = &k->kv->accel.host;
	struct kvm_run *run = k->run;

	run->request_interrupt_window = 0;
	if (k->vcpu.id != 0 || !host->pic_is_pending || !host->pic_is_pending(host->opaque))
		return;
	if (k->is_window_stale) {
		kv_set_immediate_exit(k, 1); /* round once, for fresh flags */
		k->is_window_stale = false;
	} else if (run->ready_for_interrupt_injection && run->if_flag) {
		kv_inject(k, host->pic_acknowledge(host->opaque));
		run->request_interrupt_window = host->pic_is_pending(host->opaque);
		/* KVM's answer is from before this interrupt. */
		run->ready_for_interrupt_injection = 0;
	} else {
		run->request_interrupt_window = 1;
	}
}

/* --- exits --- */

static void kv_exit_port(struct kv_vcpu *k)
{
	const struct accel_host *host = &k->kv->accel.host;
	struct kvm_run *run = k->run;
	u8 *data = (u8 *)run + run->io.data_offset;
	unsigned size = run->io.size;

	for (u32 i = 0; i < run->io.count; i++, data += size) {
		if (run->io.direction == KVM_EXIT_IO_OUT)
			host->port_write(host->opaque, run->io.port, bytes_load(data, size), size);
		else
			bytes_store(data, host->port_read(host->opaque, run->io.port, size), size);
	}
	k->has_half_exit = true;
}

/* An access across a page's end comes in parts of any length: cut them into registers' sizes. */
static void kv_exit_mmio(struct kv_vcpu *k)
{
	const struct accel_host *host = &k->kv->accel.host;
	struct kvm_run *run = k->run;
	u32 len = MIN(run->mmio.len, (u32)sizeof(run->mmio.data));

	for (u32 at = 0, size; at < len; at += size) {
		gpa_t gpa = run->mmio.phys_addr + at;
		u8 *data = run->mmio.data + at;

		size = BIT32(31 - __builtin_clz(len - at));
		if (run->mmio.is_write)
			host->mmio_write(host->opaque, gpa, bytes_load(data, size), size);
		else
			bytes_store(data, host->mmio_read(host->opaque, gpa, size), size);
	}
	k->has_half_exit = true;
}

static enum vcpu_stop kv_exit_internal_error(struct kv_vcpu *k)
{
	struct kvm_run *run = k->run;
	struct kvm_regs regs = {0};
	char bytes[3 * 15 + 1] = "";

	(void)kv_ioctl(k->fd, KVM_GET_REGS, &regs);
	if (run->internal.suberror != KVM_INTERNAL_ERROR_EMULATION)
		return vcpu_broken(&k->vcpu, 0, "KVM's internal error %u at RIP %#llx",
				   run->internal.suberror, regs.rip);
	if (run->emulation_failure.ndata >= 1 &&
	    (run->emulation_failure.flags & KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES)) {
		unsigned n = MIN(run->emulation_failure.insn_size, (u8)15);

		for (unsigned i = 0; i < n; i++)
			snprintf(bytes + 3 * i, 4, " %02x", run->emulation_failure.insn_bytes[i]);
	}
	return vcpu_broken(&k->vcpu, 0, "KVM can't emulate the instruction at RIP %#llx%s%s",
			   regs.rip, *bytes ? ":" : "", bytes);
}

/* True when the loop ends with *out. */
static bool kv_exit(struct kv_vcpu *k, enum vcpu_stop *out)
{
	const struct accel_host *host = &k->kv->accel.host;
	struct kvm_run *run = k->run;

	switch (run->exit_reason) {
	case KVM_EXIT_IO:
		kv_exit_port(k);
		return false;
	case KVM_EXIT_MMIO:
		kv_exit_mmio(k);
		return false;
	case KVM_EXIT_IRQ_WINDOW_OPEN:
	case KVM_EXIT_INTR:
		return false;
	case KVM_EXIT_IOAPIC_EOI:
		host->eoi(host->opaque, run->eoi.vector);
		return false;
	case KVM_EXIT_SHUTDOWN:
		*out = VCPU_STOP_RESET;
		return true;
	case KVM_EXIT_FAIL_ENTRY:
		*out = vcpu_broken(&k->vcpu, 0, "the processor refuses the guest's state (%#llx)",
				   run->fail_entry.hardware_entry_failure_reason);
		return true;
	case KVM_EXIT_INTERNAL_ERROR:
		*out = kv_exit_internal_error(k);
		return true;
	default:
		*out = vcpu_broken(&k->vcpu, 0, "KVM's exit %u is unknown", run->exit_reason);
		return true;
	}
}

/* --- the loop --- */

/* One KVM_RUN and its exit: true when the loop ends with *out. */
static bool kv_enter(struct kv_vcpu *k, enum vcpu_stop *out)
{
	int r;

	kv_slots_enter(k);
	r = ioctl(k->fd, KVM_RUN, 0) < 0 ? -errno : 0;
	kv_slots_leave(k);
	k->vcpu.exits++;
	k->has_half_exit = false;
	if (r == -EINTR || r == -EAGAIN)
		return false;
	if (r < 0) {
		*out = vcpu_broken(&k->vcpu, r, "KVM_RUN failed");
		return true;
	}
	return kv_exit(k, out);
}

/* Leaves with VCPU_STOP_REQUEST, once the last instruction is complete. */
static enum vcpu_stop kv_settle(struct kv_vcpu *k)
{
	enum vcpu_stop stop;

	k->run->request_interrupt_window = 0;
	while (k->has_half_exit) {
		kv_set_immediate_exit(k, 1);
		if (kv_enter(k, &stop))
			return stop;
	}
	return VCPU_STOP_REQUEST;
}

static enum vcpu_stop kv_loop(struct kv_vcpu *k)
{
	enum vcpu_stop stop;

	for (;;) {
		int slots_error = __atomic_load_n(&k->kv->slots_error, __ATOMIC_ACQUIRE);

		kv_set_immediate_exit(k, 0);
		if (kv_should_stop(k))
			return kv_settle(k);
		if (slots_error)
			return vcpu_broken(&k->vcpu, slots_error, "KVM refuses the guest's memory");
		kv_offer_extint(k);
		if (kv_enter(k, &stop))
			return stop;
	}
}

enum vcpu_stop kv_run(struct vcpu *v)
{
	struct kv_vcpu *k = kv_vcpu_of(v);
	enum vcpu_stop stop;

	__atomic_store_n(&k->tid, gettid(), __ATOMIC_SEQ_CST);
	stop = kv_loop(k);
	__atomic_store_n(&k->tid, 0, __ATOMIC_SEQ_CST);
	return stop;
}

/*
 * The run loop: events, requests, blocks.
 *
 * Exceptions come back here by a long jump, with RIP at the instruction and the event noted. Blocks
 * chain to each other without returning as long as nothing is requested; what has to be looked at
 * between instructions (TF, breakpoints, an interrupt shadow) sets SX_REQ_STEP, so
 * that each block returns.
 */
#include "accel/soft/run.h"

#include "accel/soft/accel_priv.h"
#include "accel/soft/debug.h"
#include "accel/soft/event.h"
#include "accel/soft/exec.h"
#include "accel/soft/fpu.h"
#include "accel/soft/gate64.h"
#include "accel/soft/lockstep.h"
#include "accel/soft/segment.h"
#include "accel/soft/state.h"
#include "accel/soft/sync.h"
#include "accel/soft/system.h"

/* --- interrupts --- */

/* INIT: the power-on state, but for what SDM 3A, table 9-1 says INIT leaves alone. */
static void take_init(struct sx_cpu *c)
{
	struct vcpu_apic *a = c->vcpu.apic;
	bool is_bsp = a->ops->base(a) & X86_APIC_BASE_BSP;

	a->ops->take_init(a);
	sx_state_init(c, is_bsp);
	sx_apic_base_changed(c);
}

/* SIPI: real mode at the page that it names (SDM 3A, 8.4.3). */
static void take_sipi(struct sx_cpu *c)
{
	u8 page = c->vcpu.apic->ops->take_sipi(c->vcpu.apic);

	if (c->run_state != X86_WAIT_FOR_SIPI)
		return;
	sx_seg_set_real(c, X86_CS, (u16)(page << 8));
	c->gpr[SX_RIP] = 0;
	c->run_state = X86_RUNNABLE;
	sx_mode_update(c);
}

static bool take_nmi(struct sx_cpu *c, unsigned pending)
{
	if (!(pending & APIC_PENDING_NMI) && !c->nmi_pending)
		return false;
	c->nmi_waits = c->nmi_blocked;
	if (c->nmi_blocked)
		return false;
	if (c->nmi_pending)
		c->nmi_pending = false;
	else
		c->vcpu.apic->ops->take_nmi(c->vcpu.apic);
	c->run_state = X86_RUNNABLE;
	sx_event_set(c, X86_EVENT_NMI, X86_NMI);
	return true;
}

static void take_interrupt(struct sx_cpu *c, unsigned pending)
{
	int vector;

	/* Look again when IF is set next: for this one, or for others behind it. */
	c->intr_waits = pending & APIC_PENDING_INTR;
	if (!(pending & APIC_PENDING_INTR) || !(c->sysflags & X86_FLAG_IF))
		return;
	vector = c->vcpu.apic->ops->acknowledge(c->vcpu.apic);
	if (vector < 0)
		return;
	c->run_state = X86_RUNNABLE;
	sx_event_set(c, X86_EVENT_INTERRUPT, (u8)vector);
}

static void look_for_events(struct sx_cpu *c)
{
	struct vcpu_apic *a = c->vcpu.apic;
	unsigned pending = a->ops->pending(a);

	if (pending & APIC_PENDING_INIT) {
		take_init(c);
		pending = a->ops->pending(a);
	}
	if (pending & APIC_PENDING_SIPI)
		take_sipi(c);
	if (c->run_state == X86_WAIT_FOR_SIPI)
		return;
	if (!take_nmi(c, pending))
		take_interrupt(c, pending);
}

/* --- requests --- */

/* True: leave the run loop with *stop. */
static bool serve(struct sx_cpu *c, enum vcpu_stop *stop)
{
	u32 keep = SX_REQ_STEP | SX_REQ_FLUSHES;
	u32 r;

	/* After STI and MOV SS no event may come between; but who wants the vCPU gets it: code that
	 * does nothing but MOV SS would never end, and the shadow is part of the state. */
	if (c->interrupt_shadow && !vcpu_is_wanted(&c->vcpu))
		keep |= SX_REQ_KICK;
	r = __atomic_fetch_and(&c->request, keep, __ATOMIC_SEQ_CST);
	if (r & SX_REQ_FLUSHES)
		sx_serve_flushes(c);
	if (r & SX_REQ_BROKEN) {
		*stop = vcpu_broken(&c->vcpu, 0, "%s", sx_lockstep_difference(c));
		return true;
	}
	if (r & SX_REQ_RESET) {
		*stop = VCPU_STOP_RESET;
		return true;
	}
	if ((r & SX_REQ_CLOCK) && (c->kvm_system_time & 1)) {
		sx_count(c, SX_N_REQUEST_CLOCK);
		sx_kvmclock_write_time(c);
	}
	if (!(r & ~keep & SX_REQ_KICK))
		return false;
	sx_count(c, SX_N_REQUEST_KICK);
	sx_publish_insns(c);
	if (vcpu_is_wanted(&c->vcpu)) {
		/* What else the kick was for is looked at when run is entered again. */
		*stop = VCPU_STOP_REQUEST;
		return true;
	}
	look_for_events(c);
	return false;
}

/* --- instructions --- */

/* One instruction, with what is to be seen before and after it (SDM 3B, 17.3.1). What MOV SS and POP
 * SS hold off waits for the next one; their single-step trap is lost (SDM 3A, 6.8.3). */
static void execute_step(struct sx_cpu *c)
{
	bool traps = c->sysflags & X86_FLAG_TF;
	bool is_shadowed = c->interrupt_shadow & X86_SHADOW_MOV_SS;
	struct sx_block *b;
	u64 hits;
	enum sx_op op;

	if (!(c->sysflags & X86_FLAG_RF) && !is_shadowed) {
		hits = sx_debug_match_code(c, sx_code_lin(c));
		if (hits)
			sx_throw_debug(c, NULL, hits);
	}
	b = sx_block_find(c);
	op = sx_insn_op(&b->insn[0]);
	c->sysflags &= ~X86_FLAG_RF;
	c->interrupt_shadow = 0;
	if (!is_shadowed)
		c->pending_dr6 = 0;
	sx_block_enter(c, b);
	c->block = NULL;
	sx_mode_update(c);
	if (c->interrupt_shadow & X86_SHADOW_MOV_SS)
		return;

	hits = c->pending_dr6;
	/* System calls mask TF before the trap would come. */
	if (traps && op != SX_SYSCALL && op != SX_SYSENTER)
		hits |= X86_DR6_BS;
	c->pending_dr6 = 0;
	if (hits)
		sx_throw_debug(c, NULL, hits);
}

/* A data breakpoint was met; what MOV SS and POP SS hold off waits for the next instruction. */
static noinline void trap_on_data(struct sx_cpu *c)
{
	u64 hits = c->pending_dr6;

	if (c->interrupt_shadow & X86_SHADOW_MOV_SS)
		return;
	c->pending_dr6 = 0;
	sx_throw_debug(c, NULL, hits);
}

/* A block with a code breakpoint, perhaps. */
static noinline void execute_watched(struct sx_cpu *c)
{
	c->mode |= SX_MODE_STEP;
	c->is_stepping = true;
	execute_step(c);
	c->is_stepping = false;
}

static void execute(struct sx_cpu *c)
{
	struct sx_block *b;

	if (unlikely(c->lockstep)) {
		sx_lockstep_run(c);
		return;
	}
	b = sx_block_find(c);
	if (unlikely(b->is_watched)) {
		execute_watched(c);
		return;
	}
	sx_block_enter(c, b);
	c->block = NULL;
	if (unlikely(c->pending_dr6))
		trap_on_data(c);
}

/* A data breakpoint that MOV SS held off until a software interrupt is taken at its handler. */
static void deliver(struct sx_cpu *c)
{
	u64 hits = c->event.kind == X86_EVENT_SOFT ? c->pending_dr6 : 0;

	if (sx_deliver_fast(c))
		return;
	c->pending_dr6 = 0;
	sx_event_deliver(c);
	if (c->pending_dr6) { /* what it pushed is nobody's instruction */
		c->pending_dr6 = 0;
		sx_mode_update(c);
	}
	if (hits)
		sx_throw_debug(c, NULL, hits);
}

static noinline enum vcpu_stop run_loop_body(struct sx_cpu *c)
{
	enum vcpu_stop stop;

	for (;;) {
		if (c->event.is_set)
			deliver(c);
		if (__atomic_load_n(&c->request, __ATOMIC_RELAXED) & ~(u32)SX_REQ_STEP) {
			if (serve(c, &stop))
				return stop;
			if (c->event.is_set)
				continue;
		}
		if (unlikely(c->retired >= __atomic_load_n(&c->stop_at, __ATOMIC_RELAXED)))
			sx_settle_devices(c); /* a counted clock has come to a timer */
		else if (unlikely(c->run_state != X86_RUNNABLE))
			sx_wait_request(c);
		else if (unlikely(sx_cache_is_full(c->cache)))
			sx_cache_start_over(c);
		else if (unlikely(c->mode & SX_MODE_STEP))
			execute_step(c);
		else
			execute(c);
	}
}

/*
 * Comes back here by a long jump when an exception was raised. This function only calls, and not by a jump: clang
 * gives a place on the stack that it read before the call to something else, though it is read again behind the
 * long jump.
 */
static noinline enum vcpu_stop run_loop(struct sx_cpu *c)
{
	enum vcpu_stop stop;

	if (__builtin_setjmp(c->unwind)) {
		c->is_stepping = false;
		c->interrupt_shadow = 0;
		if (!c->event.is_set) /* it is begun again */
			c->pending_dr6 = 0;
		sx_mode_update(c); /* whatever the instruction was executed under */
	}
	stop = run_loop_body(c);
	__asm__ volatile("" : : : "memory");
	return stop;
}

static void come_inside(struct sx_cpu *c)
{
	struct gmem *g = c->accel->accel.gmem;

	gmem_enter(g);
	c->map = gmem_current_map(g);
	c->last_range = NULL;
	c->tsc_line.length = 0; /* the clock may have stood */
	sx_outside_end(c);
}

static void go_outside(struct sx_cpu *c)
{
	sx_fpu_sync(c);
	sx_publish_insns(c);
	sx_outside_begin(c);
	gmem_leave(c->accel->accel.gmem);
}

enum vcpu_stop sx_run(struct vcpu *v)
{
	struct sx_cpu *c = sx_cpu_of(v);
	enum vcpu_stop stop;

	if (vcpu_is_wanted(v))
		return VCPU_STOP_REQUEST;
	come_inside(c);
	sx_tlb_enter(c);
	sx_apic_base_changed(c);
	/* Whatever came while we were away. */
	__atomic_fetch_or(&c->request, SX_REQ_KICK, __ATOMIC_RELAXED);
	stop = run_loop(c);
	go_outside(c);
	return stop;
}

/* As run_loop, once. */
static noinline bool step_raw(struct sx_cpu *c)
{
	if (__builtin_setjmp(c->unwind))
		return false;
	if (c->event.is_set) {
		sx_event_deliver(c);
		return true;
	}
	if (sx_cache_is_full(c->cache))
		sx_cache_start_over(c);
	c->mode |= SX_MODE_STEP;
	__atomic_fetch_or(&c->request, SX_REQ_STEP, __ATOMIC_RELAXED);
	execute(c);
	return true;
}

bool sx_step_raw(struct sx_cpu *c)
{
	bool is_done;

	come_inside(c);
	is_done = step_raw(c);
	sx_mode_update(c);
	go_outside(c);
	return is_done;
}

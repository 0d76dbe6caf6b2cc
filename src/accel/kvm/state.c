/*
 * A vCPU's architectural state: from the kernel's structures to struct x86_cpu_state and back.
 */
#include <string.h>

#include "accel/kvm/kv_priv.h"
#include "base/bytes.h"
#include "base/err.h"

/* KVM_GET_SREGS and its successor agree up to the flags; the older one ends in a bitmap there. */
static_assert(offsetof(struct kvm_sregs, interrupt_bitmap) == offsetof(struct kvm_sregs2, flags),
	      "both kinds of special registers begin alike");

/* --- segments --- */

static struct x86_segment kv_segment_get(const struct kvm_segment *s)
{
	u32 attr = s->type | (s->s ? X86_ATTR_S : 0) | (u32)s->dpl << X86_ATTR_DPL_SHIFT |
		   (s->present ? X86_ATTR_P : 0) | (s->avl ? X86_ATTR_AVL : 0) |
		   (s->l ? X86_ATTR_L : 0) | (s->db ? X86_ATTR_DB : 0) | (s->g ? X86_ATTR_G : 0) |
		   (s->unusable ? X86_ATTR_UNUSABLE : 0);

	return (struct x86_segment){
		.base = s->base, .limit = s->limit, .attr = attr, .selector = s->selector};
}

static struct kvm_segment kv_segment_set(const struct x86_segment *s)
{
	return (struct kvm_segment){
		.base = s->base,
		.limit = s->limit,
		.selector = s->selector,
		.type = s->attr & X86_ATTR_TYPE,
		.s = !!(s->attr & X86_ATTR_S),
		.dpl = (s->attr & X86_ATTR_DPL) >> X86_ATTR_DPL_SHIFT,
		.present = !!(s->attr & X86_ATTR_P),
		.avl = !!(s->attr & X86_ATTR_AVL),
		.l = !!(s->attr & X86_ATTR_L),
		.db = !!(s->attr & X86_ATTR_DB),
		.g = !!(s->attr & X86_ATTR_G),
		.unusable = !!(s->attr & X86_ATTR_UNUSABLE),
	};
}

static void kv_segments_get(const struct kvm_sregs2 *s, struct x86_cpu_state *out)
{
	const struct kvm_segment *segs[X86_SEGS] = {&s->es, &s->cs, &s->ss, &s->ds, &s->fs, &s->gs};

	for (unsigned i = 0; i < X86_SEGS; i++)
		out->seg[i] = kv_segment_get(segs[i]);
	out->ldt = kv_segment_get(&s->ldt);
	out->tr = kv_segment_get(&s->tr);
	out->gdt = (struct x86_table){.base = s->gdt.base, .limit = s->gdt.limit};
	out->idt = (struct x86_table){.base = s->idt.base, .limit = s->idt.limit};
}

static void kv_segments_set(const struct x86_cpu_state *in, struct kvm_sregs2 *s)
{
	struct kvm_segment *segs[X86_SEGS] = {&s->es, &s->cs, &s->ss, &s->ds, &s->fs, &s->gs};

	for (unsigned i = 0; i < X86_SEGS; i++)
		*segs[i] = kv_segment_set(&in->seg[i]);
	s->ldt = kv_segment_set(&in->ldt);
	s->tr = kv_segment_set(&in->tr);
	s->gdt = (struct kvm_dtable){.base = in->gdt.base, .limit = in->gdt.limit};
	s->idt = (struct kvm_dtable){.base = in->idt.base, .limit = in->idt.limit};
}

/* --- special registers --- */

static int kv_sregs_read(struct kv_vcpu *k, struct kvm_sregs2 *out)
{
	struct kvm_sregs old;
	int r;

	if (k->kv->has_sregs2)
		return kv_ioctl(k->fd, KVM_GET_SREGS2, out);
	memset(out, 0, sizeof(*out));
	r = kv_ioctl(k->fd, KVM_GET_SREGS, &old);
	memcpy(out, &old, offsetof(struct kvm_sregs2, flags));
	return r;
}

static int kv_sregs_write(struct kv_vcpu *k, struct kvm_sregs2 *s)
{
	struct kvm_sregs old = {0};

	if (k->kv->has_sregs2)
		return kv_ioctl(k->fd, KVM_SET_SREGS2, s);
	memcpy(&old, s, offsetof(struct kvm_sregs2, flags));
	return kv_ioctl(k->fd, KVM_SET_SREGS, &old);
}

static int kv_sregs_get(struct kv_vcpu *k, struct x86_cpu_state *out)
{
	struct kvm_sregs2 s;
	int r = kv_sregs_read(k, &s);

	if (r < 0)
		return r;
	kv_segments_get(&s, out);
	out->cr0 = s.cr0;
	out->cr2 = s.cr2;
	out->cr3 = s.cr3;
	out->cr4 = s.cr4;
	out->efer = s.efer;
	if (s.flags & KVM_SREGS2_FLAGS_PDPTRS_VALID)
		for (unsigned i = 0; i < 4; i++)
			out->pae_pdpte[i] = s.pdptrs[i];
	return 0;
}

static bool kv_is_pae_paging(const struct x86_cpu_state *s)
{
	return (s->cr0 & X86_CR0_PG) && (s->cr4 & X86_CR4_PAE) && !(s->efer & X86_EFER_LMA);
}

/* The local APIC's base and CR8 belong to struct x86_lapic_state: they stay as they are. */
static int kv_sregs_set(struct kv_vcpu *k, const struct x86_cpu_state *in)
{
	struct kvm_sregs2 s;
	int r = kv_sregs_read(k, &s);

	if (r < 0)
		return r;
	kv_segments_set(in, &s);
	s.cr0 = in->cr0;
	s.cr2 = in->cr2;
	s.cr3 = in->cr3;
	s.cr4 = in->cr4;
	s.efer = in->efer;
	s.flags = kv_is_pae_paging(in) ? KVM_SREGS2_FLAGS_PDPTRS_VALID : 0;
	for (unsigned i = 0; i < 4; i++)
		s.pdptrs[i] = in->pae_pdpte[i];
	return kv_sregs_write(k, &s);
}

/* --- general registers --- */

static int kv_regs_get(struct kv_vcpu *k, struct x86_cpu_state *out)
{
	struct kvm_regs r;
	int ret = kv_ioctl(k->fd, KVM_GET_REGS, &r);
	const u64 gpr[X86_GPRS] = {r.rax, r.rcx, r.rdx, r.rbx, r.rsp, r.rbp, r.rsi, r.rdi,
				   r.r8,  r.r9,  r.r10, r.r11, r.r12, r.r13, r.r14, r.r15};

	memcpy(out->gpr, gpr, sizeof(gpr));
	out->rip = r.rip;
	out->rflags = r.rflags;
	return ret;
}

static int kv_regs_set(struct kv_vcpu *k, const struct x86_cpu_state *in)
{
	const u64 *g = in->gpr;
	struct kvm_regs r = {
		.rax = g[X86_RAX],
		.rcx = g[X86_RCX],
		.rdx = g[X86_RDX],
		.rbx = g[X86_RBX],
		.rsp = g[X86_RSP],
		.rbp = g[X86_RBP],
		.rsi = g[X86_RSI],
		.rdi = g[X86_RDI],
		.r8 = g[X86_R8],
		.r9 = g[X86_R9],
		.r10 = g[X86_R10],
		.r11 = g[X86_R11],
		.r12 = g[X86_R12],
		.r13 = g[X86_R13],
		.r14 = g[X86_R14],
		.r15 = g[X86_R15],
		.rip = in->rip,
		.rflags = in->rflags,
	};

	return kv_ioctl(k->fd, KVM_SET_REGS, &r);
}

/* --- x87, SSE, AVX --- */

#define FXSAVE_FCW         0
#define FXSAVE_FTW         4
#define FXSAVE_MXCSR_MASK  28
#define FXSAVE_UNUSED      416 /* reserved, then "available to software" (SDM 1, 10.5.1) */
#define FXSAVE_FCW_INITIAL 0x37f
#define XSTATE_YMM_SIZE    256

/*
 * One form for one state: a component that the processor keeps as "initial" (its bit in XSTATE_BV
 * is off) is written out, and what is no state (the MXCSR mask, software's bytes) is zero.
 */
static void kv_xsave_canonical(u8 *x, u64 xcr0)
{
	u64 present = le64_load(x + X86_XSAVE_HEADER);

	if (!(present & X86_XCR0_X87)) {
		memset(x, 0, X86_FXSAVE_MXCSR);
		memset(x + X86_FXSAVE_ST0, 0, X86_FXSAVE_XMM0 - X86_FXSAVE_ST0);
		le16_store(x + FXSAVE_FCW, FXSAVE_FCW_INITIAL);
	}
	if (!(present & X86_XCR0_SSE))
		memset(x + X86_FXSAVE_XMM0, 0, FXSAVE_UNUSED - X86_FXSAVE_XMM0);
	if (!(present & X86_XCR0_AVX))
		memset(x + X86_XSAVE_YMM, 0, XSTATE_YMM_SIZE);
	memset(x + FXSAVE_MXCSR_MASK, 0, 4);
	memset(x + FXSAVE_UNUSED, 0, X86_FXSAVE_SIZE - FXSAVE_UNUSED);
	memset(x + X86_XSAVE_HEADER, 0, X86_XSAVE_YMM - X86_XSAVE_HEADER);
	le64_store(x + X86_XSAVE_HEADER, X86_XCR0_X87 | X86_XCR0_SSE | (xcr0 & X86_XCR0_AVX));
}

static int kv_fpu_get(struct kv_vcpu *k, struct x86_cpu_state *out)
{
	struct kvm_xcrs xcrs;
	struct kvm_xsave area;
	int r;

	if (k->kv->has_xcrs) {
		r = kv_ioctl(k->fd, KVM_GET_XCRS, &xcrs);
		if (r < 0)
			return r;
		if (xcrs.nr_xcrs)
			out->xcr0 = xcrs.xcrs[0].value;
	}
	r = kv_ioctl(k->fd, KVM_GET_XSAVE, &area);
	if (r < 0)
		return r;
	memcpy(out->xsave, area.region, X86_XSAVE_SIZE);
	kv_xsave_canonical(out->xsave, out->xcr0);
	return 0;
}

static int kv_fpu_set(struct kv_vcpu *k, const struct x86_cpu_state *in)
{
	struct kvm_xcrs xcrs = {.nr_xcrs = 1, .xcrs[0] = {.xcr = 0, .value = in->xcr0}};
	struct kvm_xsave area = {0};
	int r;

	if (k->kv->has_xcrs) {
		r = kv_ioctl(k->fd, KVM_SET_XCRS, &xcrs);
		if (r < 0)
			return r;
	}
	memcpy(area.region, in->xsave, X86_XSAVE_SIZE);
	return kv_ioctl(k->fd, KVM_SET_XSAVE, &area);
}

/* --- debug registers, events, run state --- */

static int kv_debug_get(struct kv_vcpu *k, struct x86_cpu_state *out)
{
	struct kvm_debugregs d;
	int r = kv_ioctl(k->fd, KVM_GET_DEBUGREGS, &d);

	for (unsigned i = 0; i < 4; i++)
		out->dr[i] = d.db[i];
	out->dr6 = d.dr6;
	out->dr7 = d.dr7;
	return r;
}

static int kv_debug_set(struct kv_vcpu *k, const struct x86_cpu_state *in)
{
	struct kvm_debugregs d = {.dr6 = in->dr6, .dr7 = in->dr7};

	for (unsigned i = 0; i < 4; i++)
		d.db[i] = in->dr[i];
	return kv_ioctl(k->fd, KVM_SET_DEBUGREGS, &d);
}

static_assert(X86_SHADOW_STI == KVM_X86_SHADOW_INT_STI >> 1 &&
		      X86_SHADOW_MOV_SS == KVM_X86_SHADOW_INT_MOV_SS << 1,
	      "the two shadow bits change places");

static u32 kv_shadow_swap(u32 shadow)
{
	return (shadow & 1) << 1 | (shadow & 2) >> 1;
}

static int kv_events_get(struct kv_vcpu *k, struct x86_cpu_state *out)
{
	struct kvm_vcpu_events ev = {0};
	int r = kv_ioctl(k->fd, KVM_GET_VCPU_EVENTS, &ev);

	out->interrupt_shadow = kv_shadow_swap(ev.interrupt.shadow);
	out->nmi_blocked = ev.nmi.masked;
	out->nmi_pending = ev.nmi.pending;
	out->event_pending = ev.exception.injected || ev.interrupt.injected || ev.nmi.injected;
	if (ev.exception.injected) {
		out->event_kind = X86_EVENT_EXCEPTION;
		out->event_vector = ev.exception.nr;
		out->event_has_code = ev.exception.has_error_code;
		out->event_code = ev.exception.has_error_code ? ev.exception.error_code : 0;
	} else if (ev.interrupt.injected) {
		out->event_kind = ev.interrupt.soft ? X86_EVENT_SOFT : X86_EVENT_INTERRUPT;
		out->event_vector = ev.interrupt.nr;
	} else if (ev.nmi.injected) {
		out->event_kind = X86_EVENT_NMI;
		out->event_vector = X86_NMI;
	}
	return r;
}

static int kv_events_set(struct kv_vcpu *k, const struct x86_cpu_state *in)
{
	bool is_soft = in->event_kind == X86_EVENT_SOFT;
	bool is_interrupt = is_soft || in->event_kind == X86_EVENT_INTERRUPT;
	struct kvm_vcpu_events ev = {
		.flags = KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SHADOW,
		.interrupt.shadow = (u8)kv_shadow_swap(in->interrupt_shadow),
		.nmi.masked = in->nmi_blocked,
		.nmi.pending = in->nmi_pending,
	};

	if (in->event_pending && in->event_kind == X86_EVENT_EXCEPTION) {
		ev.exception.injected = 1;
		ev.exception.nr = in->event_vector;
		ev.exception.has_error_code = in->event_has_code;
		ev.exception.error_code = in->event_code;
	} else if (in->event_pending && is_interrupt) {
		ev.interrupt.injected = 1;
		ev.interrupt.nr = in->event_vector;
		ev.interrupt.soft = is_soft;
	} else if (in->event_pending) {
		ev.nmi.injected = 1;
	}
	return kv_ioctl(k->fd, KVM_SET_VCPU_EVENTS, &ev);
}

static int kv_run_state_get(struct kv_vcpu *k, struct x86_cpu_state *out)
{
	struct kvm_mp_state mp = {0};
	int r = kv_ioctl(k->fd, KVM_GET_MP_STATE, &mp);

	switch (mp.mp_state) {
	case KVM_MP_STATE_HALTED:
		out->run_state = X86_HALTED;
		break;
	case KVM_MP_STATE_UNINITIALIZED:
	case KVM_MP_STATE_INIT_RECEIVED:
		out->run_state = X86_WAIT_FOR_SIPI;
		break;
	default:
		out->run_state = X86_RUNNABLE;
		break;
	}
	return r;
}

static int kv_run_state_set(struct kv_vcpu *k, const struct x86_cpu_state *in)
{
	static const u32 states[] = {
		[X86_RUNNABLE] = KVM_MP_STATE_RUNNABLE,
		[X86_HALTED] = KVM_MP_STATE_HALTED,
		/* Not "uninitialized", in which a SIPI without an INIT before is ignored. */
		[X86_WAIT_FOR_SIPI] = KVM_MP_STATE_INIT_RECEIVED,
	};
	struct kvm_mp_state mp = {.mp_state = states[in->run_state]};

	return kv_ioctl(k->fd, KVM_SET_MP_STATE, &mp);
}

/* --- all of it --- */

struct kv_state_part {
	const char *name;
	int (*get)(struct kv_vcpu *k, struct x86_cpu_state *out);
	int (*set)(struct kv_vcpu *k, const struct x86_cpu_state *in);
};

/* In the order of setting. Run state comes first in getting, too: reading it makes KVM take an INIT
 * or SIPI that is on its way, which changes the rest. */
static const struct kv_state_part kv_state_parts[] = {
	{"the run state", kv_run_state_get, kv_run_state_set},
	{"the special registers", kv_sregs_get, kv_sregs_set},
	{"the general registers", kv_regs_get, kv_regs_set},
	{"the x87 and SSE registers", kv_fpu_get, kv_fpu_set},
	{"the debug registers", kv_debug_get, kv_debug_set},
	{"the pending events", kv_events_get, kv_events_set},
};

int kv_get_state(struct vcpu *v, struct x86_cpu_state *out, struct err *err)
{
	struct kv_vcpu *k = kv_vcpu_of(v);

	assert(!k->has_half_exit);
	x86_cpu_reset(out, v->id == 0); /* for what this kernel doesn't have */
	memset(out->pae_pdpte, 0, sizeof(out->pae_pdpte));
	for (size_t i = 0; i < ARRAY_SIZE(kv_state_parts); i++) {
		int r = kv_state_parts[i].get(k, out);

		if (r < 0)
			return err_errno(err, r, "cannot read %s", kv_state_parts[i].name);
	}
	out->tsc_offset = kv_tsc_get_offset(k);
	return kv_msrs_get(k, out, err);
}

int kv_set_state(struct vcpu *v, const struct x86_cpu_state *in, struct err *err)
{
	struct kv_vcpu *k = kv_vcpu_of(v);

	k->has_half_exit = false;
	k->is_window_stale = true;
	assert(in->run_state <= X86_WAIT_FOR_SIPI);
	for (size_t i = 0; i < ARRAY_SIZE(kv_state_parts); i++) {
		int r = kv_state_parts[i].set(k, in);

		if (r < 0)
			return err_errno(err, r, "KVM refuses %s", kv_state_parts[i].name);
	}
	kv_tsc_set_offset(k, in->tsc_offset);
	return kv_msrs_set(k, in, err);
}

/*
 * Architectural state in and out (arch/x86/cpu_state.h), and INIT.
 */
#include "accel/soft/state.h"

#include <string.h>

#include "accel/soft/debug.h"
#include "accel/soft/flags.h"
#include "accel/soft/fpu.h"
#include "accel/soft/mmu.h"
#include "accel/soft/segment.h"
#include "base/bytes.h"
#include "base/err.h"

/* Fields that have the same name and meaning on both sides. */
/* clang-format off */
#define SAME_FIELDS(X)                                                                             \
	X(gdt) X(idt)                                                                              \
	X(cr0) X(cr2) X(cr3) X(cr4) X(efer) X(dr6) X(dr7) X(xcr0)                                  \
	X(star) X(lstar) X(cstar) X(sfmask) X(kernel_gs_base)                                      \
	X(sysenter_cs) X(sysenter_esp) X(sysenter_eip)                                             \
	X(pat) X(misc_enable) X(spec_ctrl) X(tsc_aux) X(tsc_adjust) X(mtrr_def_type)               \
	X(mcg_status) X(smbase) X(tsc_offset)                                                      \
	X(kvm_system_time) X(kvm_wall_clock) X(kvm_poll_control)                                   \
	X(run_state) X(interrupt_shadow) X(nmi_blocked) X(nmi_pending)
#define SAME_ARRAYS(X) X(dr) X(pae_pdpte) X(mtrr_fixed) X(mtrr_base) X(mtrr_mask)
/* clang-format on */

static struct x86_segment segment_out(const struct sx_seg *s)
{
	return (struct x86_segment){s->base, s->limit, s->attr, s->selector};
}

static struct sx_seg segment_in(const struct x86_segment *s)
{
	return (struct sx_seg){s->base, s->limit, s->attr, s->selector};
}

void sx_state_save(struct sx_cpu *c, struct x86_cpu_state *out)
{
	struct x86_cpu_state s = {
		.rip = c->gpr[SX_RIP],
		.rflags = sx_rflags(c),
		.ldt = segment_out(&c->ldt),
		.tr = segment_out(&c->tr),
		.event_pending = c->event.is_set,
		.event_vector = c->event.vector,
		.event_kind = c->event.kind,
		.event_has_code = c->event.has_code,
		.event_code = c->event.code,
	};

	sx_fpu_sync(c);
	memcpy(s.gpr, c->gpr, sizeof(s.gpr));
	memcpy(s.xsave, &c->fpu, sizeof(s.xsave));
	/* XSTATE_BV: all components that are on count, whatever is in them. */
	le64_store(s.xsave + X86_XSAVE_HEADER,
		   X86_XCR0_X87 | X86_XCR0_SSE | (c->xcr0 & X86_XCR0_AVX));
	for (unsigned k = 0; k < X86_SEGS; k++)
		s.seg[k] = segment_out(&c->seg[k]);
#define X(field) s.field = c->field;
	SAME_FIELDS(X)
#undef X
#define X(field) memcpy(s.field, c->field, sizeof(s.field));
	SAME_ARRAYS(X)
#undef X
	*out = s;
}

/* The privilege is SS's DPL, except where segments have none (SDM 3A, 5.5). */
static unsigned cpl_of(const struct x86_cpu_state *s)
{
	if (!(s->cr0 & X86_CR0_PE))
		return 0;
	if (s->rflags & X86_FLAG_VM)
		return 3;
	return s->seg[X86_CS].selector & 3;
}

/* The host's own registers will hold these: reserved bits must not reach them. */
static void load_fpu(struct sx_cpu *c, const struct x86_cpu_state *in)
{
	memcpy(&c->fpu, in->xsave, sizeof(in->xsave));
	c->fpu.mxcsr &= SX_MXCSR_VALID;
	c->fpu.fcw = sx_x87_valid_fcw(c->fpu.fcw);
}

void sx_state_load(struct sx_cpu *c, const struct x86_cpu_state *in)
{
	sx_fpu_sync(c);
	memcpy(c->gpr, in->gpr, sizeof(in->gpr));
	load_fpu(c, in);
	c->gpr[SX_RIP] = in->rip;
	c->cc = sx_cc_of_flags(in->rflags);
	c->sysflags = (in->rflags & ~(u64)X86_FLAGS_ARITH) | X86_FLAG_ONE;
	for (unsigned k = 0; k < X86_SEGS; k++)
		c->seg[k] = segment_in(&in->seg[k]);
	c->ldt = segment_in(&in->ldt);
	c->tr = segment_in(&in->tr);
#define X(field) c->field = in->field;
	SAME_FIELDS(X)
#undef X
#define X(field) memcpy(c->field, in->field, sizeof(c->field));
	SAME_ARRAYS(X)
#undef X
	c->event = (struct sx_event){
		.is_set = in->event_pending,
		.vector = in->event_vector,
		.kind = in->event_kind,
		.has_code = in->event_has_code,
		.code = in->event_code,
	};
	c->cpl = cpl_of(in);
	c->intr_waits = c->nmi_waits = false;
	c->pending_dr6 = 0; /* of an instruction before INIT or another state */
	c->block = NULL;
	sx_mmu_update(c);
	sx_debug_update(c); /* the TLB and the mode, too */
	if (!sx_debug_keeps_rf(c))
		c->sysflags &= ~(u64)X86_FLAG_RF;
}

int sx_state_get(struct vcpu *v, struct x86_cpu_state *out, unused struct err *err)
{
	sx_state_save(sx_cpu_of(v), out);
	return 0;
}

/* Values from a saved state are as hostile as a guest: what our own code relies on is checked. */
int sx_state_set(struct vcpu *v, const struct x86_cpu_state *in, struct err *err)
{
	bool is_long = in->efer & X86_EFER_LMA;

	if (in->run_state > X86_WAIT_FOR_SIPI)
		return err_set(err, -EINVAL, "vCPU %u: run state %u", v->id, in->run_state);
	if (is_long && (!(in->cr0 & X86_CR0_PG) || !(in->cr4 & X86_CR4_PAE)))
		return err_set(err, -EINVAL, "vCPU %u: long mode without paging", v->id);
	if ((in->cr0 & X86_CR0_PG) && !(in->cr0 & X86_CR0_PE))
		return err_set(err, -EINVAL, "vCPU %u: paging in real mode", v->id);
	if (!(in->xcr0 & X86_XCR0_X87))
		return err_set(err, -EINVAL, "vCPU %u: XCR0 %#lx", v->id, in->xcr0);
	if (in->event_pending && in->event_kind > X86_EVENT_SOFT)
		return err_set(err, -EINVAL, "vCPU %u: event kind %u", v->id, in->event_kind);
	sx_state_load(sx_cpu_of(v), in);
	return 0;
}

/* Left alone by INIT (SDM 3A, table 9-1): x87 and SSE state, time, MTRRs, most MSRs. */
void sx_state_init(struct sx_cpu *c, bool is_bsp)
{
	struct x86_cpu_state old, s;

	sx_state_save(c, &old);
	x86_cpu_reset(&s, is_bsp);
	memcpy(s.xsave, old.xsave, sizeof(s.xsave));
	memcpy(s.mtrr_fixed, old.mtrr_fixed, sizeof(s.mtrr_fixed));
	memcpy(s.mtrr_base, old.mtrr_base, sizeof(s.mtrr_base));
	memcpy(s.mtrr_mask, old.mtrr_mask, sizeof(s.mtrr_mask));
	s.mtrr_def_type = old.mtrr_def_type;
	s.cr0 = (s.cr0 & ~(X86_CR0_CD | X86_CR0_NW)) | (old.cr0 & (X86_CR0_CD | X86_CR0_NW));
	s.pat = old.pat;
	s.misc_enable = old.misc_enable;
	s.tsc_aux = old.tsc_aux;
	s.tsc_adjust = old.tsc_adjust;
	s.tsc_offset = old.tsc_offset;
	s.smbase = old.smbase;
	s.star = old.star;
	s.lstar = old.lstar;
	s.cstar = old.cstar;
	s.sfmask = old.sfmask;
	s.kernel_gs_base = old.kernel_gs_base;
	s.sysenter_cs = old.sysenter_cs;
	s.sysenter_esp = old.sysenter_esp;
	s.sysenter_eip = old.sysenter_eip;
	s.kvm_system_time = old.kvm_system_time;
	s.kvm_wall_clock = old.kvm_wall_clock;
	s.kvm_poll_control = old.kvm_poll_control;
	s.xcr0 = old.xcr0;
	sx_state_load(c, &s);
}

/*
 * The state of a vCPU and of its local APIC: power-on values and state tables. See cpu_state.h.
 *
 * What is loaded comes from a stranger. The checks here refuse what no engine could have saved and
 * what would make one misbehave (enumerations, XCR0, MXCSR); anything else an engine has to
 * withstand anyway, because a guest can bring it about.
 */
#include "arch/x86/cpu_state.h"

#include <string.h>

#include "base/bytes.h"
#include "base/err.h"
#include "state/state.h"

/* Attributes after reset (SDM 3A, table 9-1): present, accessed, writable data or readable code. */
#define RESET_ATTR_DATA (X86_ATTR_P | X86_ATTR_S | 0x3u)
#define RESET_ATTR_CODE (X86_ATTR_P | X86_ATTR_S | 0xbu)
#define RESET_ATTR_LDT  (X86_ATTR_P | 0x2u)
#define RESET_ATTR_TSS  (X86_ATTR_P | 0xbu) /* busy: what VM entry demands of a loaded TR */

#define RESET_LIMIT    0xffffu
#define RESET_CS_BASE  0xffff0000u
#define RESET_CS       0xf000u
#define RESET_RIP      0xfff0u
#define RESET_SIGN     0x600u /* EDX: the family; the exact model is CPUID's to tell */
#define RESET_PAT      ((u64)0x0007040600070406) /* SDM 3A, 11.12.4 */
#define RESET_SMBASE   0x30000u                  /* SDM 3C, 30.11 */
#define RESET_FTW_FULL 0xffu /* FTW 5555H: every register holds a zero, in FXSAVE's short form */

#define MISC_ENABLE_FAST_STRINGS     BIT(0)
#define MISC_ENABLE_BTS_UNAVAILABLE  BIT(11)
#define MISC_ENABLE_PEBS_UNAVAILABLE BIT(12)
#define RESET_MISC_ENABLE                                                                          \
	(MISC_ENABLE_FAST_STRINGS | MISC_ENABLE_BTS_UNAVAILABLE | MISC_ENABLE_PEBS_UNAVAILABLE)

#define FXSAVE_FTW     4
#define MXCSR_RESERVED 0xffff0000u /* without misaligned SSE, which we never offer */

static void reset_segments(struct x86_cpu_state *s)
{
	for (unsigned i = 0; i < X86_SEGS; i++)
		s->seg[i] = (struct x86_segment){.limit = RESET_LIMIT, .attr = RESET_ATTR_DATA};
	s->seg[X86_CS].selector = RESET_CS;
	s->seg[X86_CS].base = RESET_CS_BASE;
	s->seg[X86_CS].attr = RESET_ATTR_CODE;
	s->ldt = (struct x86_segment){.limit = RESET_LIMIT, .attr = RESET_ATTR_LDT};
	s->tr = (struct x86_segment){.limit = RESET_LIMIT, .attr = RESET_ATTR_TSS};
	s->gdt.limit = RESET_LIMIT;
	s->idt.limit = RESET_LIMIT;
}

static void reset_fpu(struct x86_cpu_state *s)
{
	s->xcr0 = X86_XCR0_X87;
	le16_store(s->xsave, X86_FCW_RESET);
	s->xsave[FXSAVE_FTW] = RESET_FTW_FULL;
	le32_store(s->xsave + X86_FXSAVE_MXCSR, X86_MXCSR_RESET);
	/* XSTATE_BV: x87 differs from its XSAVE "initial" state, which is FNINIT's. */
	le64_store(s->xsave + X86_XSAVE_HEADER, X86_XCR0_X87 | X86_XCR0_SSE);
}

void x86_cpu_reset(struct x86_cpu_state *s, bool is_bsp)
{
	memset(s, 0, sizeof(*s));
	s->gpr[X86_RDX] = RESET_SIGN;
	s->rip = RESET_RIP;
	s->rflags = X86_FLAG_ONE;
	reset_segments(s);
	s->cr0 = X86_CR0_CD | X86_CR0_NW | X86_CR0_ET;
	s->dr6 = X86_DR6_RESET;
	s->dr7 = X86_DR7_RESET;
	reset_fpu(s);
	s->pat = RESET_PAT;
	s->misc_enable = RESET_MISC_ENABLE;
	s->smbase = RESET_SMBASE;
	s->kvm_poll_control = 1; /* Documentation/virt/kvm/x86/msr.rst: polling is allowed */
	s->run_state = is_bsp ? X86_RUNNABLE : X86_WAIT_FOR_SIPI;
}

static int check_xsave(const struct x86_cpu_state *s, struct err *err)
{
	u64 known = X86_XCR0_X87 | X86_XCR0_SSE | X86_XCR0_AVX;
	bool is_avx_alone = (s->xcr0 & X86_XCR0_AVX) && !(s->xcr0 & X86_XCR0_SSE);

	if (!(s->xcr0 & X86_XCR0_X87) || (s->xcr0 & ~known) || is_avx_alone)
		return err_set(err, -EINVAL, "XCR0 %#lx is impossible", s->xcr0);
	if (le64_load(s->xsave + X86_XSAVE_HEADER) & ~known)
		return err_set(err, -EINVAL, "the XSAVE area holds unknown components");
	if (le32_load(s->xsave + X86_FXSAVE_MXCSR) & MXCSR_RESERVED)
		return err_set(err, -EINVAL, "MXCSR has reserved bits set");
	/* XCOMP_BV and the rest of the header must be zero in standard form (SDM 1, 13.4.2). */
	for (unsigned i = 8; i < 64; i++)
		if (s->xsave[X86_XSAVE_HEADER + i])
			return err_set(err, -EINVAL, "the XSAVE area is not in standard form");
	return 0;
}

static int cpu_state_after_load(void *object, unused u16 version, struct err *err)
{
	const struct x86_cpu_state *s = object;

	if (s->run_state > X86_WAIT_FOR_SIPI)
		return err_set(err, -EINVAL, "run state %u is unknown", s->run_state);
	if (s->event_kind > X86_EVENT_SOFT)
		return err_set(err, -EINVAL, "event kind %u is unknown", s->event_kind);
	if (s->interrupt_shadow & ~(X86_SHADOW_STI | X86_SHADOW_MOV_SS))
		return err_set(err, -EINVAL, "interrupt shadow %#x is unknown",
			       s->interrupt_shadow);
	return check_xsave(s, err);
}

static int lapic_state_after_load(void *object, unused u16 version, struct err *err)
{
	const struct x86_lapic_state *s = object;

	if ((s->base & X86_APIC_BASE_X2APIC) && !(s->base & X86_APIC_BASE_ENABLE))
		return err_set(err, -EINVAL, "APIC base %#lx is impossible", s->base);
	return 0;
}

static const struct state_table segment_table = {
	.name = "x86-segment",
	.version = 1,
	.fields =
		(const struct state_field[]){
			STATE_U(struct x86_segment, base),
			STATE_U(struct x86_segment, limit),
			STATE_U(struct x86_segment, attr),
			STATE_U(struct x86_segment, selector),
			STATE_END,
		},
};

static const struct state_table table_table = {
	.name = "x86-table",
	.version = 1,
	.fields =
		(const struct state_field[]){
			STATE_U(struct x86_table, base),
			STATE_U(struct x86_table, limit),
			STATE_END,
		},
};

/* clang-format off */
#define CPU_U(member_)       STATE_U(struct x86_cpu_state, member_)
#define CPU_U_ARRAY(member_) STATE_U_ARRAY(struct x86_cpu_state, member_)
#define CPU_B(member_)       STATE_B(struct x86_cpu_state, member_)

const struct state_table x86_cpu_state_table = {
	.name = "x86-cpu",
	.version = 1,
	.after_load = cpu_state_after_load,
	.fields = (const struct state_field[]){
		CPU_U_ARRAY(gpr),
		CPU_U(rip),
		CPU_U(rflags),
		STATE_SUB_ARRAY(struct x86_cpu_state, seg, &segment_table),
		STATE_SUB(struct x86_cpu_state, ldt, &segment_table),
		STATE_SUB(struct x86_cpu_state, tr, &segment_table),
		STATE_SUB(struct x86_cpu_state, gdt, &table_table),
		STATE_SUB(struct x86_cpu_state, idt, &table_table),
		CPU_U(cr0), CPU_U(cr2), CPU_U(cr3), CPU_U(cr4), CPU_U(efer),
		CPU_U_ARRAY(dr), CPU_U(dr6), CPU_U(dr7),
		CPU_U_ARRAY(pae_pdpte),
		CPU_U(xcr0),
		STATE_RAW(struct x86_cpu_state, xsave),
		CPU_U(star), CPU_U(lstar), CPU_U(cstar), CPU_U(sfmask), CPU_U(kernel_gs_base),
		CPU_U(sysenter_cs), CPU_U(sysenter_esp), CPU_U(sysenter_eip),
		CPU_U(pat),
		CPU_U(misc_enable),
		CPU_U(spec_ctrl),
		CPU_U(tsc_aux),
		CPU_U(tsc_adjust),
		CPU_U(mtrr_def_type), CPU_U_ARRAY(mtrr_fixed),
		CPU_U_ARRAY(mtrr_base), CPU_U_ARRAY(mtrr_mask),
		CPU_U(mcg_status),
		CPU_U(smbase),
		CPU_U(tsc_offset),
		CPU_U(kvm_system_time), CPU_U(kvm_wall_clock), CPU_U(kvm_poll_control),
		CPU_U(run_state),
		CPU_U(interrupt_shadow),
		CPU_B(nmi_blocked),
		CPU_B(nmi_pending),
		CPU_B(event_pending),
		CPU_U(event_vector),
		CPU_U(event_kind),
		CPU_B(event_has_code),
		CPU_U(event_code),
		STATE_END,
	},
};

#define LAPIC_U(member_)       STATE_U(struct x86_lapic_state, member_)
#define LAPIC_U_ARRAY(member_) STATE_U_ARRAY(struct x86_lapic_state, member_)
#define LAPIC_B(member_)       STATE_B(struct x86_lapic_state, member_)

const struct state_table x86_lapic_state_table = {
	.name = "x86-lapic",
	.version = 1,
	.after_load = lapic_state_after_load,
	.fields = (const struct state_field[]){
		LAPIC_U(base),
		LAPIC_U(id),
		LAPIC_U(tpr), LAPIC_U(ldr), LAPIC_U(dfr), LAPIC_U(svr),
		LAPIC_U(esr), LAPIC_U(esr_pending),
		LAPIC_U(icr),
		LAPIC_U_ARRAY(isr), LAPIC_U_ARRAY(tmr), LAPIC_U_ARRAY(irr),
		LAPIC_U_ARRAY(lvt),
		LAPIC_U(timer_initial), LAPIC_U(timer_divide),
		LAPIC_U(timer_start_ns),
		LAPIC_U(tsc_deadline),
		LAPIC_B(init_pending), LAPIC_B(sipi_pending), LAPIC_B(nmi_pending),
		LAPIC_B(extint_pending),
		LAPIC_U(sipi_vector),
		STATE_END,
	},
};
/* clang-format on */

/*
 * The architectural state of one x86-64 vCPU: what an accelerator gets and sets, and what is saved.
 *
 * No trace of the accelerator that ran it, so that a guest can move between them. The local APIC's
 * state is separate (struct x86_lapic_state), since it is a device as well.
 */
#ifndef ARCH_X86_CPU_STATE_H
#define ARCH_X86_CPU_STATE_H

#include "arch/x86/regs.h"
#include "base/base.h"

struct state_table;

struct x86_segment {
	u64 base;
	u32 limit; /* in bytes, G applied */
	u32 attr;  /* X86_ATTR_* */
	u16 selector;
};

struct x86_table {
	u64 base;
	u16 limit;
};

/* The XSAVE area in standard (not compacted) form: legacy 512 bytes, header 64, AVX upper halves
 * 256 (SDM 1, 13.4). FXSAVE's layout is its first part. */
#define X86_XSAVE_SIZE   832
#define X86_XSAVE_HEADER 512
#define X86_XSAVE_YMM    576
#define X86_FXSAVE_SIZE  512
#define X86_FXSAVE_MXCSR 24
#define X86_FXSAVE_ST0   32
#define X86_FXSAVE_XMM0  160
#define X86_MXCSR_RESET  0x1f80
#define X86_FCW_RESET    0x040

enum x86_run_state {
	X86_RUNNABLE,
	X86_HALTED,        /* HLT until an interrupt */
	X86_WAIT_FOR_SIPI, /* an AP after INIT */
};

/* Why interrupts are held off for one instruction. */
#define X86_SHADOW_STI    BIT32(0)
#define X86_SHADOW_MOV_SS BIT32(1)

struct x86_cpu_state {
	u64 gpr[X86_GPRS];
	u64 rip;
	u64 rflags;
	struct x86_segment seg[X86_SEGS];
	struct x86_segment ldt, tr;
	struct x86_table gdt, idt;
	u64 cr0, cr2, cr3, cr4;
	u64 efer;
	u64 dr[4], dr6, dr7;
	u64 pae_pdpte[4]; /* loaded by MOV CR3 in PAE mode (SDM 3A, 4.4.1) */
	u64 xcr0;
	u8 xsave[X86_XSAVE_SIZE] __attribute__((aligned(64)));

	u64 star, lstar, cstar, sfmask, kernel_gs_base; /* FS and GS base: in seg */
	u64 sysenter_cs, sysenter_esp, sysenter_eip;
	u64 pat;
	u64 misc_enable;
	u64 spec_ctrl;
	u64 tsc_aux;
	u64 tsc_adjust;
	u64 mtrr_def_type, mtrr_fixed[11], mtrr_base[X86_MTRR_VARIABLE],
		mtrr_mask[X86_MTRR_VARIABLE];
	u64 mcg_status;
	u64 smbase;
	/* TSC less the VM clock's (vclock_tsc): the guest's own writes to it. */
	u64 tsc_offset;
	u64 kvm_system_time, kvm_wall_clock, kvm_poll_control;

	u32 run_state; /* enum x86_run_state */
	u32 interrupt_shadow;
	bool nmi_blocked; /* between NMI and IRET */
	bool nmi_pending;
	/* An event that was being delivered when the vCPU stopped: to be injected on resume. */
	bool event_pending;
	u8 event_vector;
	u8 event_kind; /* enum x86_event */
	bool event_has_code;
	u32 event_code;
};

enum x86_event {
	X86_EVENT_INTERRUPT, /* external */
	X86_EVENT_NMI,
	X86_EVENT_EXCEPTION,
	X86_EVENT_SOFT, /* INT n, INT3, INTO */
};

extern const struct state_table x86_cpu_state_table;

/* To the state after power-on (SDM 3A, table 9-1): BSP runnable, APs waiting for SIPI. */
void x86_cpu_reset(struct x86_cpu_state *s, bool is_bsp);

/* A local APIC's registers (SDM 3A, 10.4.1; x2APIC 10.12). */
struct x86_lapic_state {
	u64 base; /* IA32_APIC_BASE */
	u32 id;   /* x2APIC id; xAPIC's is its low 8 bits */
	u32 tpr, ldr, dfr, svr, esr, esr_pending;
	u64 icr;
	u32 isr[8], tmr[8], irr[8];
	u32 lvt[7]; /* CMCI, timer, thermal, perf, LINT0, LINT1, error: LAPIC_LVT_* */
	u32 timer_initial, timer_divide;
	u64 timer_start_ns; /* VM clock at which the running count began */
	u64 tsc_deadline;
	bool init_pending, sipi_pending, nmi_pending;
	bool extint_pending; /* a message, not a wire, asked for the PIC's vector */
	u8 sipi_vector;
};

enum x86_lapic_lvt {
	LAPIC_LVT_CMCI,
	LAPIC_LVT_TIMER,
	LAPIC_LVT_THERMAL,
	LAPIC_LVT_PERF,
	LAPIC_LVT_LINT0,
	LAPIC_LVT_LINT1,
	LAPIC_LVT_ERROR,
	LAPIC_LVTS,
};

extern const struct state_table x86_lapic_state_table;

#endif

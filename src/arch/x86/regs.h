/*
 * x86 architectural constants: control and debug registers, flags, segments, vectors, MSRs, page
 * tables. Names follow the Intel SDM (volumes 3A and 4). Facts only, no code.
 */
#ifndef ARCH_X86_REGS_H
#define ARCH_X86_REGS_H

#include "base/base.h"

/* clang-format off */

/* General registers in their encoding's order (SDM 2, 2.1.5). */
enum x86_gpr {
	X86_RAX, X86_RCX, X86_RDX, X86_RBX, X86_RSP, X86_RBP, X86_RSI, X86_RDI,
	X86_R8, X86_R9, X86_R10, X86_R11, X86_R12, X86_R13, X86_R14, X86_R15,
	X86_GPRS,
};

/* Segment registers in their encoding's order. */
enum x86_seg { X86_ES, X86_CS, X86_SS, X86_DS, X86_FS, X86_GS, X86_SEGS };

/* RFLAGS (SDM 1, 3.4.3). */
#define X86_FLAG_CF   BIT(0)
#define X86_FLAG_ONE  BIT(1)	/* always set */
#define X86_FLAG_PF   BIT(2)
#define X86_FLAG_AF   BIT(4)
#define X86_FLAG_ZF   BIT(6)
#define X86_FLAG_SF   BIT(7)
#define X86_FLAG_TF   BIT(8)
#define X86_FLAG_IF   BIT(9)
#define X86_FLAG_DF   BIT(10)
#define X86_FLAG_OF   BIT(11)
#define X86_FLAG_IOPL (BIT(12) | BIT(13))
#define X86_FLAG_IOPL_SHIFT 12
#define X86_FLAG_NT   BIT(14)
#define X86_FLAG_RF   BIT(16)
#define X86_FLAG_VM   BIT(17)
#define X86_FLAG_AC   BIT(18)
#define X86_FLAG_VIF  BIT(19)
#define X86_FLAG_VIP  BIT(20)
#define X86_FLAG_ID   BIT(21)
#define X86_FLAGS_ARITH (X86_FLAG_CF | X86_FLAG_PF | X86_FLAG_AF | X86_FLAG_ZF | X86_FLAG_SF | X86_FLAG_OF)

/* CR0 (SDM 3A, 2.5). */
#define X86_CR0_PE BIT(0)
#define X86_CR0_MP BIT(1)
#define X86_CR0_EM BIT(2)
#define X86_CR0_TS BIT(3)
#define X86_CR0_ET BIT(4)
#define X86_CR0_NE BIT(5)
#define X86_CR0_WP BIT(16)
#define X86_CR0_AM BIT(18)
#define X86_CR0_NW BIT(29)
#define X86_CR0_CD BIT(30)
#define X86_CR0_PG BIT(31)

/* CR4. */
#define X86_CR4_VME	   BIT(0)
#define X86_CR4_PVI	   BIT(1)
#define X86_CR4_TSD	   BIT(2)
#define X86_CR4_DE	   BIT(3)
#define X86_CR4_PSE	   BIT(4)
#define X86_CR4_PAE	   BIT(5)
#define X86_CR4_MCE	   BIT(6)
#define X86_CR4_PGE	   BIT(7)
#define X86_CR4_PCE	   BIT(8)
#define X86_CR4_OSFXSR	   BIT(9)
#define X86_CR4_OSXMMEXCPT BIT(10)
#define X86_CR4_UMIP	   BIT(11)
#define X86_CR4_LA57	   BIT(12)
#define X86_CR4_VMXE	   BIT(13)
#define X86_CR4_SMXE	   BIT(14)
#define X86_CR4_FSGSBASE   BIT(16)
#define X86_CR4_PCIDE	   BIT(17)
#define X86_CR4_OSXSAVE	   BIT(18)
#define X86_CR4_SMEP	   BIT(20)
#define X86_CR4_SMAP	   BIT(21)
#define X86_CR4_PKE	   BIT(22)
#define X86_CR3_NOFLUSH	   BIT(63)	/* in the value moved, with PCIDE */
#define X86_CR3_PCID_MASK  ((u64)0xfff)

/* EFER. */
#define X86_EFER_SCE BIT(0)
#define X86_EFER_LME BIT(8)
#define X86_EFER_LMA BIT(10)
#define X86_EFER_NXE BIT(11)

/* XCR0. */
#define X86_XCR0_X87 BIT(0)
#define X86_XCR0_SSE BIT(1)
#define X86_XCR0_AVX BIT(2)

/* DR6, DR7 (SDM 3B, 17.2). */
#define X86_DR6_RESET ((u64)0xffff0ff0)
#define X86_DR6_BD    BIT(13)
#define X86_DR6_BS    BIT(14)
#define X86_DR6_BT    BIT(15)
#define X86_DR7_RESET ((u64)0x400)
#define X86_DR7_GD    BIT(13)

/* Exception vectors (SDM 3A, 6.3.1). */
enum x86_vector {
	X86_DE = 0, X86_DB = 1, X86_NMI = 2, X86_BP = 3, X86_OF = 4, X86_BR = 5, X86_UD = 6,
	X86_NM = 7, X86_DF = 8, X86_TS = 10, X86_NP = 11, X86_SSEG = 12, X86_GP = 13, X86_PF = 14,
	X86_MF = 16, X86_AC = 17, X86_MC = 18, X86_XM = 19,
};

/* Page-fault error code (SDM 3A, 4.7). */
#define X86_PF_P    BIT32(0)
#define X86_PF_W    BIT32(1)
#define X86_PF_U    BIT32(2)
#define X86_PF_RSVD BIT32(3)
#define X86_PF_I    BIT32(4)
#define X86_PF_PK   BIT32(5)

/* Page-table entries (SDM 3A, 4.5). */
#define X86_PTE_P   BIT(0)
#define X86_PTE_W   BIT(1)
#define X86_PTE_U   BIT(2)
#define X86_PTE_PWT BIT(3)
#define X86_PTE_PCD BIT(4)
#define X86_PTE_A   BIT(5)
#define X86_PTE_D   BIT(6)
#define X86_PTE_PS  BIT(7)
#define X86_PTE_G   BIT(8)
#define X86_PTE_NX  BIT(63)

/*
 * Segment attributes as in a descriptor's second doubleword, bits 8 to 23 (the VMX access rights,
 * SDM 3C 24.4.1): type 0-3, S 4, DPL 5-6, P 7, AVL 12, L 13, D/B 14, G 15, unusable 16.
 */
#define X86_ATTR_TYPE	  0xfu
#define X86_ATTR_S	  BIT32(4)
#define X86_ATTR_DPL_SHIFT 5
#define X86_ATTR_DPL	  (3u << X86_ATTR_DPL_SHIFT)
#define X86_ATTR_P	  BIT32(7)
#define X86_ATTR_AVL	  BIT32(12)
#define X86_ATTR_L	  BIT32(13)
#define X86_ATTR_DB	  BIT32(14)
#define X86_ATTR_G	  BIT32(15)
#define X86_ATTR_UNUSABLE BIT32(16)

/* MSRs (SDM 4). */
#define X86_MSR_TSC		0x10
#define X86_MSR_APIC_BASE	0x1b
#define X86_MSR_FEATURE_CONTROL 0x3a
#define X86_MSR_TSC_ADJUST	0x3b
#define X86_MSR_SPEC_CTRL	0x48
#define X86_MSR_PRED_CMD	0x49
#define X86_MSR_BIOS_SIGN_ID	0x8b
#define X86_MSR_SMBASE		0x9e
#define X86_MSR_MTRRCAP		0xfe
#define X86_MSR_ARCH_CAPABILITIES 0x10a
#define X86_MSR_SYSENTER_CS	0x174
#define X86_MSR_SYSENTER_ESP	0x175
#define X86_MSR_SYSENTER_EIP	0x176
#define X86_MSR_MCG_CAP		0x179
#define X86_MSR_MCG_STATUS	0x17a
#define X86_MSR_MISC_ENABLE	0x1a0
#define X86_MSR_DEBUGCTL	0x1d9
#define X86_MSR_MTRR_PHYSBASE0	0x200	/* base, mask pairs */
#define X86_MSR_MTRR_FIX64K	0x250
#define X86_MSR_MTRR_FIX16K_8	0x258
#define X86_MSR_MTRR_FIX16K_A	0x259
#define X86_MSR_MTRR_FIX4K_C0	0x268	/* to 0x26f */
#define X86_MSR_PAT		0x277
#define X86_MSR_MTRR_DEF_TYPE	0x2ff
#define X86_MSR_TSC_DEADLINE	0x6e0
#define X86_MSR_X2APIC		0x800	/* to 0x8ff */
#define X86_MSR_XSS		0xda0
#define X86_MSR_EFER		0xc0000080
#define X86_MSR_STAR		0xc0000081
#define X86_MSR_LSTAR		0xc0000082
#define X86_MSR_CSTAR		0xc0000083
#define X86_MSR_SFMASK		0xc0000084
#define X86_MSR_FS_BASE		0xc0000100
#define X86_MSR_GS_BASE		0xc0000101
#define X86_MSR_KERNEL_GS_BASE	0xc0000102
#define X86_MSR_TSC_AUX		0xc0000103
/* Paravirtual clock and wake-up, Linux Documentation/virt/kvm/x86/msr.rst. */
#define X86_MSR_KVM_WALL_CLOCK	0x4b564d00
#define X86_MSR_KVM_SYSTEM_TIME 0x4b564d01
#define X86_MSR_KVM_ASYNC_PF_EN 0x4b564d02
#define X86_MSR_KVM_STEAL_TIME	0x4b564d03
#define X86_MSR_KVM_PV_EOI_EN	0x4b564d04
#define X86_MSR_KVM_POLL_CONTROL 0x4b564d05

#define X86_MTRR_VARIABLE 8	/* pairs that we have */
#define X86_7_EDX_ARCH_CAPABILITIES BIT32(29) /* CPUID leaf 7 */
#define X86_APIC_BASE_ADDR 0xfee00000u
#define X86_APIC_BASE_BSP    BIT(8)
#define X86_APIC_BASE_X2APIC BIT(10)
#define X86_APIC_BASE_ENABLE BIT(11)

/* clang-format on */

#endif

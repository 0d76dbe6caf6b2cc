/*
 * The local APIC's registers as the guest sees them (SDM 3A, 10.4.1 and 10.12.1). Facts only.
 */
#ifndef IRQCHIP_LAPIC_REGS_H
#define IRQCHIP_LAPIC_REGS_H

#include "base/base.h"

/* clang-format off */

/* Offsets in the xAPIC page; the x2APIC MSR is 0x800 + offset / 16. */
#define LAPIC_REG_ID		0x020
#define LAPIC_REG_VERSION	0x030
#define LAPIC_REG_TPR		0x080
#define LAPIC_REG_APR		0x090
#define LAPIC_REG_PPR		0x0a0
#define LAPIC_REG_EOI		0x0b0
#define LAPIC_REG_LDR		0x0d0
#define LAPIC_REG_DFR		0x0e0
#define LAPIC_REG_SVR		0x0f0
#define LAPIC_REG_ISR		0x100	/* eight, 0x10 apart */
#define LAPIC_REG_TMR		0x180
#define LAPIC_REG_IRR		0x200
#define LAPIC_REG_ESR		0x280
#define LAPIC_REG_ICR		0x300	/* x2APIC: all 64 bits */
#define LAPIC_REG_ICR_HIGH	0x310
#define LAPIC_REG_LVT_TIMER	0x320
#define LAPIC_REG_LVT_THERMAL	0x330
#define LAPIC_REG_LVT_PERF	0x340
#define LAPIC_REG_LVT_LINT0	0x350
#define LAPIC_REG_LVT_LINT1	0x360
#define LAPIC_REG_LVT_ERROR	0x370
#define LAPIC_REG_TIMER_INITIAL	0x380
#define LAPIC_REG_TIMER_CURRENT	0x390
#define LAPIC_REG_TIMER_DIVIDE	0x3e0
#define LAPIC_REG_SELF_IPI	0x3f0	/* x2APIC only */
#define LAPIC_REG_END		0x400

/* Version 0x14, six LVT entries, EOI broadcasts can be suppressed. */
#define LAPIC_VERSION		0x01050014u

#define LAPIC_SVR_ENABLE	BIT32(8)
#define LAPIC_SVR_NO_BROADCAST	BIT32(12)
#define LAPIC_SVR_BITS		(0xffu | LAPIC_SVR_ENABLE | LAPIC_SVR_NO_BROADCAST)
#define LAPIC_SVR_RESET		0xffu
#define LAPIC_DFR_RESET		0xffffffffu
#define LAPIC_DFR_FIXED		0x0fffffffu	/* bits that read as one */

#define LAPIC_LVT_VECTOR	0xffu
#define LAPIC_LVT_MODE(v)	(((v) >> 8) & 7)
#define LAPIC_LVT_MASKED	BIT32(16)
#define LAPIC_LVT_TIMER_MODE(v)	(((v) >> 17) & 3)
#define LAPIC_TIMER_ONE_SHOT	0
#define LAPIC_TIMER_PERIODIC	1
#define LAPIC_TIMER_DEADLINE	2

#define LAPIC_TIMER_DIVIDE_BITS	0xbu

/* Interrupt command register (SDM 3A, 10.6.1). */
#define LAPIC_ICR_STATUS	BIT32(12)
#define LAPIC_ICR_ASSERT	BIT32(14)
#define LAPIC_ICR_LEVEL		BIT32(15)
#define LAPIC_ICR_LOGICAL	BIT32(11)
#define LAPIC_ICR_SHORTHAND(v)	(((v) >> 18) & 3)
#define LAPIC_ICR_RESERVED	0xfff32000u
#define LAPIC_TO_DESTINATION	0
#define LAPIC_TO_SELF		1
#define LAPIC_TO_ALL		2
#define LAPIC_TO_OTHERS		3

/* Error status (SDM 3A, 10.5.3). */
#define LAPIC_ESR_SEND_VECTOR	BIT32(5)
#define LAPIC_ESR_RECV_VECTOR	BIT32(6)
#define LAPIC_ESR_REGISTER	BIT32(7)
#define LAPIC_ESR_BITS		0xffu

/* Delivery modes, of LVTs, the ICR and messages (SDM 3A, 10.5.1, 10.6.1, 10.11.2). */
#define LAPIC_MODE_FIXED	0
#define LAPIC_MODE_LOWEST	1
#define LAPIC_MODE_SMI		2
#define LAPIC_MODE_NMI		4
#define LAPIC_MODE_INIT		5
#define LAPIC_MODE_SIPI		6
#define LAPIC_MODE_EXTINT	7

/* Messages (SDM 3A, 10.11). Bits 5 to 11 of the address are bits 8 to 14 of the destination where
 * the paravirtual leaf says so (Linux, arch/x86/include/asm/msidef.h: virt_destid_8_14). */
#define LAPIC_MSI_BASE		0xfee00000u
#define LAPIC_MSI_BASE_MASK	0xfff00000u
#define LAPIC_MSI_LOGICAL	BIT32(2)
#define LAPIC_MSI_HINT		BIT32(3)
#define LAPIC_MSI_DEST(a)	((((a) >> 12) & 0xff) | ((((a) >> 5) & 0x7f) << 8))
#define LAPIC_MSI_LEVEL		BIT32(15)

/* clang-format on */

#endif

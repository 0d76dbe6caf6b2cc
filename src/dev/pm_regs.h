/*
 * ACPI power management registers (ACPI 6.4, 4.8; 82801IB, 13.8). Facts only.
 */
#ifndef DEV_PM_REGS_H
#define DEV_PM_REGS_H

#include "base/base.h"

/* clang-format off */
/* Offsets from PMBASE. */
#define PM_PM1_STS	0x00
#define PM_PM1_EN	0x02
#define PM_PM1_CNT	0x04
#define PM_TIMER	0x08
#define PM_GPE0_STS	0x20
#define PM_GPE0_EN	0x28
#define PM_SMI_EN	0x30
#define PM_SMI_STS	0x34
#define PM_SIZE		0x80

#define PM_GPE0_LEN	16	/* bytes, status and enable together */
#define PM_GPES		64

#define PM_PM1_TIMER	BIT32(0)
#define PM_PM1_GLOBAL	BIT32(5)
#define PM_PM1_BUTTON	BIT32(8)
#define PM_PM1_RTC	BIT32(10)
#define PM_PM1_WAKE	BIT32(15)
#define PM_PM1_EVENTS	(PM_PM1_TIMER | PM_PM1_GLOBAL | PM_PM1_BUTTON | PM_PM1_RTC)

#define PM_CNT_SCI_EN	BIT32(0)
#define PM_CNT_TYPE(v)	((v) >> 10 & 7)
#define PM_CNT_SLP_EN	BIT32(13)
#define PM_CNT_BITS	0x1c07u		/* that are kept */

/* SLP_TYP of power off: QEMU's, which guest firmware writes without asking, and the ICH9's own. */
#define PM_S5_TYPE	0
#define PM_S5_TYPE_ICH9	7

#define PM_SMI_APMC	BIT32(5)

/* Port 0xb2 passes the registers to the guest's ACPI code, and back to firmware. */
#define PM_APM_PORT	0xb2	/* and the status byte */
#define PM_APM_ACPI_ENABLE  0x02
#define PM_APM_ACPI_DISABLE 0x03

#define PM_TIMER_HZ	3579545
#define PM_TIMER_BITS	24
/* clang-format on */

#endif

/*
 * Registers of the HPET (IA-PC HPET specification 1.0a, 2.3). Facts only.
 */
#ifndef DEV_HPET_REGS_H
#define DEV_HPET_REGS_H

#include "base/base.h"

/* clang-format off */
#define HPET_REG_CAPS	 0x000
#define HPET_REG_CONFIG	 0x010
#define HPET_REG_STATUS	 0x020
#define HPET_REG_COUNTER 0x0f0
#define HPET_REG_TIMERS	 0x100	/* 0x20 for each */
#define HPET_TIMER_SIZE	 0x20
#define HPET_TIMER_CONFIG  0x00
#define HPET_TIMER_COMPARE 0x08

#define HPET_CAP_REVISION  1u
#define HPET_CAP_TIMERS(n) (((n) - 1u) << 8)
#define HPET_CAP_64BIT	   BIT32(13)
#define HPET_CAP_LEGACY	   BIT32(15)
#define HPET_CAP_VENDOR	   0x80860000u
#define HPET_CAP_PERIOD_SHIFT 32	/* femtoseconds of a tick */

#define HPET_ENABLE	BIT(0)
#define HPET_LEGACY	BIT(1)

#define HPET_TN_LEVEL	  BIT(1)
#define HPET_TN_ENABLE	  BIT(2)
#define HPET_TN_PERIODIC  BIT(3)
#define HPET_TN_CAN_PERIODIC BIT(4)
#define HPET_TN_IS_64BIT  BIT(5)
#define HPET_TN_SET_VALUE BIT(6)
#define HPET_TN_32BIT	  BIT(8)
#define HPET_TN_ROUTE(c)  ((c) >> 9 & 0x1f)
#define HPET_TN_ROUTE_CAP_SHIFT 32
#define HPET_TN_WRITABLE  (HPET_TN_LEVEL | HPET_TN_ENABLE | HPET_TN_PERIODIC | \
			   HPET_TN_SET_VALUE | HPET_TN_32BIT | 0x3e00)
/* clang-format on */

#endif

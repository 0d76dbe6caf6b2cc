/*
 * Registers of the 16550A (PC16550D datasheet, section 8). Facts only.
 */
#ifndef DEV_SERIAL_REGS_H
#define DEV_SERIAL_REGS_H

#include "base/base.h"

/* clang-format off */
enum {
	SERIAL_DATA,	/* RBR, THR; the divisor's low byte */
	SERIAL_IER,	/* the divisor's high byte */
	SERIAL_IIR,	/* read; FCR when written */
	SERIAL_LCR,
	SERIAL_MCR,
	SERIAL_LSR,
	SERIAL_MSR,
	SERIAL_SCR,
	SERIAL_REGS,
};
#define SERIAL_FCR SERIAL_IIR

#define SERIAL_IER_RDA	BIT32(0)
#define SERIAL_IER_THRE	BIT32(1)
#define SERIAL_IER_RLS	BIT32(2)
#define SERIAL_IER_MSR	BIT32(3)
#define SERIAL_IER_BITS	0x0f

#define SERIAL_IIR_NONE	   0x01
#define SERIAL_IIR_MSR	   0x00
#define SERIAL_IIR_THRE	   0x02
#define SERIAL_IIR_RDA	   0x04
#define SERIAL_IIR_RLS	   0x06
#define SERIAL_IIR_TIMEOUT 0x0c
#define SERIAL_IIR_FIFOS   0xc0

#define SERIAL_FCR_ENABLE   BIT32(0)
#define SERIAL_FCR_CLEAR_RX BIT32(1)
#define SERIAL_FCR_CLEAR_TX BIT32(2)
#define SERIAL_FCR_TRIGGER(v) ((v) >> 6 & 3)

#define SERIAL_LCR_DLAB	 BIT32(7)

#define SERIAL_MCR_DTR	BIT32(0)
#define SERIAL_MCR_RTS	BIT32(1)
#define SERIAL_MCR_OUT1	BIT32(2)
#define SERIAL_MCR_OUT2	BIT32(3)	/* in a PC, lets the interrupt out */
#define SERIAL_MCR_LOOP	BIT32(4)
#define SERIAL_MCR_BITS	0x1f

#define SERIAL_LSR_DR	BIT32(0)
#define SERIAL_LSR_OE	BIT32(1)
#define SERIAL_LSR_THRE	BIT32(5)
#define SERIAL_LSR_TEMT	BIT32(6)

#define SERIAL_MSR_DELTAS 0x0f	/* of the four below, in this order; of RI the falling edge */
#define SERIAL_MSR_CTS	BIT32(4)
#define SERIAL_MSR_DSR	BIT32(5)
#define SERIAL_MSR_RI	BIT32(6)
#define SERIAL_MSR_DCD	BIT32(7)
/* clang-format on */

#endif

/*
 * ICH9 LPC bridge, device 31 function 0, and its root complex registers (Intel I/O Controller Hub
 * 9 Family datasheet, 316972, sections 10.1 and 13.1).
 */
#ifndef PCI_ICH9_LPC_REGS_H
#define PCI_ICH9_LPC_REGS_H

#include "base/base.h"

#define ICH9_LPC_VENDOR   0x8086
#define ICH9_LPC_DEVICE   0x2918
#define ICH9_LPC_REVISION 0x02

#define ICH9_PMBASE      0x40
#define ICH9_PMBASE_BASE 0xff80u
#define ICH9_PMBASE_IO   0x0001u

#define ICH9_ACPI_CNTL        0x44
#define ICH9_ACPI_CNTL_ENABLE BIT32(7)
#define ICH9_ACPI_CNTL_SCI    0x07u /* 0 to 2: IRQ 9 to 11; 4, 5: IRQ 20, 21 */

#define ICH9_PIRQA_ROUT   0x60 /* to PIRQD at 0x63 */
#define ICH9_PIRQE_ROUT   0x68 /* to PIRQH at 0x6b */
#define ICH9_PIRQ_OFF     BIT32(7)
#define ICH9_PIRQ_IRQ     0x0fu
#define ICH9_SIRQ_CNTL    0x64
#define ICH9_PIC_IRQS     16
#define ICH9_PIRQ_CAN_USE 0xdef8u /* IRQs 3 to 7, 9 to 12, 14, 15 */

#define ICH9_LPC_IO_DEC      0x80
#define ICH9_LPC_EN          0x82
#define ICH9_GEN_DEC         0x84 /* four of 4 bytes */
#define ICH9_GEN_PMCON1      0xa0
#define ICH9_GEN_PMCON1_LOCK BIT32(4) /* SMI_LOCK */
#define ICH9_BIOS_CNTL       0xdc
#define ICH9_RCBA            0xf0
#define ICH9_RCBA_BASE       0xffffc000u
#define ICH9_RCBA_ENABLE     BIT32(0)
#define ICH9_RCRB_SIZE       (16 * KIB)

/* In the root complex register block. */
#define ICH9_RCRB_D31IR   0x3140 /* which PIRQ a device's pins drive, a nibble each; 2 bytes */
#define ICH9_RCRB_D30IR   0x3142
#define ICH9_RCRB_D29IR   0x3144
#define ICH9_RCRB_D28IR   0x3146
#define ICH9_RCRB_D27IR   0x3148
#define ICH9_RCRB_D26IR   0x314c
#define ICH9_RCRB_D25IR   0x3150
#define ICH9_RCRB_HPTC    0x3404
#define ICH9_RCRB_HPTC_ON BIT32(7) /* the HPET is at 0xfed00000 */
#define ICH9_RCRB_GCS     0x3410
#define ICH9_RCRB_GCS_NR  BIT32(5) /* NO_REBOOT: the TCO watchdog, which isn't here, is off */

#endif

/*
 * machine=pc-1: where everything is. A guest's ABI: a value here changes only with a new machine
 * version.
 */
#ifndef MACHINE_LAYOUT_H
#define MACHINE_LAYOUT_H

#include "base/base.h"

/* RAM: all below 2.75 GiB if it fits there, else 2 GiB, and the rest from 4 GiB (as Q35 has it). */
#define PC_LOW_MAX   ((u64)0xb0000000)
#define PC_LOW_SPLIT ((u64)0x80000000)
#define PC_HIGH_GPA  (4 * GIB)
#define PC_VGA_GPA   ((gpa_t)0xa0000) /* 128 KiB, nothing behind them */
#define PC_PAM_GPA   ((gpa_t)0xc0000) /* 256 KiB of RAM under the PAM registers' rule */
#define PC_PAM_END   ((gpa_t)0x100000)

/* Memory-mapped registers. */
#define PC_ECAM_GPA    ((gpa_t)0xb0000000) /* PCIEXBAR: 256 buses of 1 MiB */
#define PC_ECAM_SIZE   (256 * MIB)
#define PC_MMIO32_GPA  ((gpa_t)0xc0000000) /* window for 32-bit BARs, up to the chips */
#define PC_MMIO32_END  ((gpa_t)0xfe000000)
#define PC_HPET_GPA    ((gpa_t)0xfed00000)
#define PC_RCBA_GPA    ((gpa_t)0xfed1c000)
#define PC_RCBA_SIZE   (16 * KIB)
#define PC_MMIO64_SIZE (32 * GIB) /* window for 64-bit BARs, above RAM, aligned to its size */

/* Ports. */
#define PC_PCI_PORTS      0x1000 /* to 0xffff: for BARs */
#define PC_PCI_PORTS_LAST 0xffff
#define PC_PM_BASE        0x600
#define PC_PM_SIZE        0x80
#define PC_RESET_PORT     0xcf9
#define PC_SLOTS_PORT     0xae00 /* dev/acpi_slots.h */
#define PC_GPE_SLOTS      1

/* Interrupts (ISA numbers; PIRQA to PIRQH are pins 16 to 23 of the IOAPIC). */
#define PC_IRQ_TIMER    0
#define PC_IRQ_KEYBOARD 1
#define PC_IRQ_COM1     4
#define PC_IRQ_RTC      8
#define PC_IRQ_SCI      9
#define PC_IRQ_MOUSE    12
#define PC_GSI_TIMER    2
#define PC_GSI_PIRQA    16

/* Bus 0: host bridge 00.0, root ports from 01.0 on, eight to a slot, LPC bridge 1f.0. */
#define PC_SLOT_ROOT_PORTS 1
#define PC_SLOT_LPC        31
#define PC_ROOT_PORTS      14 /* at least */
#define PC_ROOT_PORTS_MAX  32

/* Disks that may be added to those that a guest starts with: rings are made for them at its start. */
#define PC_LATER_DISKS 8

/* CPUs that the tables have room for: some may come later. Each costs a guest memory. */
#define PC_CPU_SLOTS 8

/* What takes the place of firmware when a kernel is started directly. */
#define PC_RSDP_GPA ((gpa_t)0xe0000)

#endif

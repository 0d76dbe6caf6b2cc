/*
 * PCI configuration space: registers common to all functions.
 *
 * PCI Local Bus 3.0 section 6.1 and 6.2, PCI-to-PCI Bridge 1.2 section 3.2, PCI Express Base 3.0
 * sections 7.5 and 7.8. Registers of one chip are in that chip's file.
 */
#ifndef PCI_PCI_REGS_H
#define PCI_PCI_REGS_H

#include "base/base.h"

#define PCI_CONFIG_SIZE  256  /* bytes that a conventional function has */
#define PCIE_CONFIG_SIZE 4096 /* a PCI Express one */

/* Both header types. */
#define PCI_VENDOR_ID       0x00
#define PCI_DEVICE_ID       0x02
#define PCI_COMMAND         0x04
#define PCI_STATUS          0x06
#define PCI_REVISION        0x08
#define PCI_CLASS_PROG      0x09 /* three bytes: interface, subclass, class */
#define PCI_CACHE_LINE      0x0c
#define PCI_HEADER_TYPE     0x0e
#define PCI_BAR0            0x10
#define PCI_CAPABILITY_LIST 0x34
#define PCI_INTERRUPT_LINE  0x3c
#define PCI_INTERRUPT_PIN   0x3d
#define PCI_CAPABILITIES    0x40 /* where the first may stand */

#define PCI_CLASS_BRIDGE_HOST 0x0600 /* class and subclass */
#define PCI_CLASS_BRIDGE_ISA  0x0601
#define PCI_CLASS_BRIDGE_PCI  0x0604

#define PCI_COMMAND_IO           BIT32(0)
#define PCI_COMMAND_MEMORY       BIT32(1)
#define PCI_COMMAND_MASTER       BIT32(2)
#define PCI_COMMAND_PARITY       BIT32(6)
#define PCI_COMMAND_SERR         BIT32(8)
#define PCI_COMMAND_INTX_DISABLE BIT32(10)

#define PCI_STATUS_INTX         BIT32(3)
#define PCI_STATUS_CAPABILITIES BIT32(4)
#define PCI_STATUS_ERRORS       0xf900u /* written 1 to clear */

#define PCI_HEADER_BRIDGE        0x01
#define PCI_HEADER_MULTIFUNCTION 0x80

/* Type 0 only. */
#define PCI_SUBSYSTEM_VENDOR_ID 0x2c
#define PCI_SUBSYSTEM_ID        0x2e

#define PCI_BAR_IS_IO    BIT32(0)
#define PCI_BAR_IS_64    BIT32(2)
#define PCI_BAR_PREFETCH BIT32(3)

/* Type 1 only: bridges. */
#define PCI_PRIMARY_BUS       0x18
#define PCI_SECONDARY_BUS     0x19
#define PCI_SUBORDINATE_BUS   0x1a
#define PCI_IO_BASE           0x1c
#define PCI_SECONDARY_STATUS  0x1e
#define PCI_MEMORY_BASE       0x20
#define PCI_MEMORY_LIMIT      0x22
#define PCI_PREF_BASE         0x24
#define PCI_PREF_LIMIT        0x26
#define PCI_PREF_BASE_UPPER   0x28
#define PCI_PREF_LIMIT_UPPER  0x2c
#define PCI_BRIDGE_CONTROL    0x3e
#define PCI_BRIDGE_WINDOW     0xfff0u /* address bits 31:20 in a base or limit */
#define PCI_BRIDGE_PREF_IS_64 0x0001u
#define PCI_BRIDGE_ALIGN      MIB

#define PCI_BRIDGE_CONTROL_PARITY BIT32(0)
#define PCI_BRIDGE_CONTROL_SERR   BIT32(1)
#define PCI_BRIDGE_CONTROL_RESET  BIT32(6)

/* Capabilities: id, next, then what the id says. */
#define PCI_CAP_ID_MSI       0x05
#define PCI_CAP_ID_VENDOR    0x09
#define PCI_CAP_ID_SUBSYSTEM 0x0d
#define PCI_CAP_ID_EXPRESS   0x10
#define PCI_CAP_ID_MSIX      0x11

#define PCI_SUBSYSTEM_CAP_SIZE 8 /* of a bridge: reserved word, vendor, id */

/* MSI-X: offsets from the capability, bits of its words. */
#define PCI_MSIX_CONTROL        2
#define PCI_MSIX_TABLE          4
#define PCI_MSIX_PBA            8
#define PCI_MSIX_CAP_SIZE       12
#define PCI_MSIX_CONTROL_MASK   BIT32(14)
#define PCI_MSIX_CONTROL_ENABLE BIT32(15)
#define PCI_MSIX_ENTRY_SIZE     16
#define PCI_MSIX_ENTRY_CONTROL  12
#define PCI_MSIX_ENTRY_MASKED   BIT32(0)

/* MSI with a 64-bit address and a mask. */
#define PCI_MSI_CONTROL        2
#define PCI_MSI_ADDRESS        4
#define PCI_MSI_ADDRESS_UPPER  8
#define PCI_MSI_DATA           12
#define PCI_MSI_MASK           16
#define PCI_MSI_PENDING        20
#define PCI_MSI_CAP_SIZE       24
#define PCI_MSI_CONTROL_ENABLE BIT32(0)
#define PCI_MSI_CONTROL_64     BIT32(7)
#define PCI_MSI_CONTROL_MASKS  BIT32(8)

/* PCI Express capability, version 2. */
#define PCIE_FLAGS           0x02
#define PCIE_DEVICE_CAP      0x04
#define PCIE_DEVICE_CONTROL  0x08
#define PCIE_DEVICE_STATUS   0x0a
#define PCIE_LINK_CAP        0x0c
#define PCIE_LINK_CONTROL    0x10
#define PCIE_LINK_STATUS     0x12
#define PCIE_SLOT_CAP        0x14
#define PCIE_SLOT_CONTROL    0x18
#define PCIE_SLOT_STATUS     0x1a
#define PCIE_ROOT_CONTROL    0x1c
#define PCIE_ROOT_CAP        0x1e
#define PCIE_ROOT_STATUS     0x20
#define PCIE_DEVICE_CAP2     0x24
#define PCIE_DEVICE_CONTROL2 0x28
#define PCIE_LINK_CAP2       0x2c
#define PCIE_LINK_CONTROL2   0x30
#define PCIE_CAP_SIZE        0x3c

#define PCIE_FLAGS_VERSION 2
#define PCIE_FLAGS_SLOT    BIT32(8)

#define PCIE_DEVICE_CAP_RBER      BIT32(15) /* role-based error reporting */
#define PCIE_DEVICE_CAP_FLR       BIT32(28)
#define PCIE_DEVICE_CONTROL_BITS  0x7fffu /* all but the reset */
#define PCIE_DEVICE_CONTROL_FLR   BIT32(15)
#define PCIE_DEVICE_STATUS_ERRORS 0x000fu

#define PCIE_LINK_2_5GT         1u        /* speed, in capability and status */
#define PCIE_LINK_X1            BIT32(4)  /* width, likewise */
#define PCIE_LINK_CAP_DLLLARC   BIT32(20) /* reports whether the link is up */
#define PCIE_LINK_CAP_PORT(n)   ((u32)(n) << 24)
#define PCIE_LINK_CONTROL_BITS  0x0cfbu
#define PCIE_LINK_STATUS_ACTIVE BIT32(13)

#define PCIE_SLOT_CAP_BUTTON     BIT32(0) /* attention button */
#define PCIE_SLOT_CAP_ATTENTION  BIT32(3) /* indicators */
#define PCIE_SLOT_CAP_POWER_LED  BIT32(4)
#define PCIE_SLOT_CAP_SURPRISE   BIT32(5)
#define PCIE_SLOT_CAP_HOTPLUG    BIT32(6)
#define PCIE_SLOT_CAP_NO_COMMAND BIT32(18) /* commands complete at once, without an event */
#define PCIE_SLOT_CAP_NUMBER(n)  ((u32)(n) << 19)

#define PCIE_SLOT_CONTROL_EVENTS    0x001fu  /* one for each of the status's events */
#define PCIE_SLOT_CONTROL_IRQ       BIT32(5) /* hot-plug interrupt enable */
#define PCIE_SLOT_CONTROL_ATTENTION 0x00c0u  /* indicators: on 1, blinking 2, off 3 */
#define PCIE_SLOT_CONTROL_POWER_LED 0x0300u
#define PCIE_SLOT_CONTROL_LINK      BIT32(12) /* data link layer state changed enable */
#define PCIE_SLOT_CONTROL_BITS      0x1fffu
#define PCIE_SLOT_CONTROL_ATTN_OFF  0x00c0u
#define PCIE_SLOT_CONTROL_LED_ON    0x0100u
#define PCIE_SLOT_CONTROL_LED_BLINK 0x0200u
#define PCIE_SLOT_CONTROL_LED_OFF   0x0300u

#define PCIE_SLOT_STATUS_BUTTON   BIT32(0)
#define PCIE_SLOT_STATUS_PRESENCE BIT32(3) /* it changed */
#define PCIE_SLOT_STATUS_PRESENT  BIT32(6)
#define PCIE_SLOT_STATUS_LINK     BIT32(8) /* its state changed */
#define PCIE_SLOT_STATUS_EVENTS   0x011fu

#define PCIE_ROOT_CONTROL_BITS 0x001fu
#define PCIE_ROOT_STATUS_PME   BIT32(16)

#endif

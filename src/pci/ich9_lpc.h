/*
 * ICH9's LPC bridge (8086:2918 at 00:1f.0): where the ACPI registers are, which ISA interrupt the
 * PCI wires drive, and the root complex register block.
 *
 * PIRQA to PIRQH always drive pins 16 to 23 of the IOAPIC; they also drive the 8259 lines that the
 * guest routes them to. Which wire a slot's pin is on is fixed (pci_pirq_of).
 */
#ifndef PCI_ICH9_LPC_H
#define PCI_ICH9_LPC_H

#include "pci/pci.h"

struct ich9_pm {
	u16 base; /* port of the ACPI register block */
	bool is_enabled;
	u8 sci; /* IRQ: 9, 10, 11, 20 or 21 */
};

struct ich9_lpc_config {
	struct irq_line apic[PCI_PIRQS]; /* pins 16 to 23 */
	struct irq_line isa[16];         /* of the 8259, each ours alone; NULL set: none */
	/* The ACPI block was moved or switched, by the guest, a reset or a load. PCI root's lock is
	 * held. */
	void (*pm_changed)(void *opaque, const struct ich9_pm *pm);
	void *opaque;
};

/* Connects itself to root's interrupt wires. Its device frees it. */
struct pci_device *ich9_lpc_new(struct pci_root *root, const struct ich9_lpc_config *config);

/* What firmware does before a kernel: the ACPI block at base, on; PIRQs to ISA interrupts (0: to
 * none); the root complex registers at rcba. */
void ich9_lpc_set_up(struct pci_device *lpc, u16 pm_base, const u8 irq_of_pirq[PCI_PIRQS],
		     u32 rcba);

#endif

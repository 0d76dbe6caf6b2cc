/*
 * What firmware does for PCI, for guests that start without any: bus numbers, addresses, interrupt
 * lines.
 *
 * A kernel that is loaded directly then finds the hierarchy set up, as behind a BIOS, and has
 * nothing to correct or to complain about.
 */
#ifndef PCI_ASSIGN_H
#define PCI_ASSIGN_H

#include "pci/pci.h"

struct err;

/* What the board's ACPI tables give to the host bridge (_CRS). */
struct pci_resources {
	struct pci_window ports;
	struct pci_window memory32; /* below 4 GiB */
	struct pci_window memory64; /* above RAM */
	u8 irq_of_pirq[PCI_PIRQS];  /* for the interrupt line registers */
};

/*
 * After a reset, before vCPUs run: numbers the buses, opens the bridges' windows (with room in
 * those of hotplug slots), places every BAR and enables decoding. -ENOSPC, with a sentence, when
 * the resources are too small.
 */
int pci_assign_resources(struct pci_root *root, const struct pci_resources *res, struct err *err);

#endif

/*
 * PCI-to-PCI bridges as PCI Express root ports: a link with one slot (PCI Express Base 3.0, 7.8).
 *
 * Bus numbers and windows are the guest's to set; they begin closed. The slot says that it is
 * hotplug-capable and whether something is in it. Ports are not forwarded: an Express function
 * doesn't need them, and Linux would else look for 4 KiB of them for every port.
 */
#ifndef PCI_BRIDGE_H
#define PCI_BRIDGE_H

#include "pci/pci.h"

/*
 * On bus 0 of root at devfn; slot_number is what the guest calls the slot: stable, above 0, and
 * its own. The device that it is frees it, after what is plugged into it.
 */
struct pci_device *pci_root_port_new(struct pci_root *root, u8 devfn, unsigned slot_number,
				     const char *name);

/* Puts a function into the slot, which must be empty: before the guest runs. */
void pci_root_port_plug(struct pci_device *port, struct pci_device *p);

#endif

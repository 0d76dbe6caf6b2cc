/*
 * MSI: one message of a function, with a 64-bit address and a mask (PCI 3.0, 6.8.1).
 *
 * It all stands in configuration space and so under the root's lock. The message is sent while MSI
 * is enabled, the function may master the bus, and it isn't masked; masked, it stays pending.
 */
#ifndef PCI_MSI_H
#define PCI_MSI_H

#include "pci/pci.h"

struct pci_msi {
	struct pci_device *pci;
	struct msi_sink sink;
	u8 cap;
	bool is_pending; /* root's lock */
};

/* Adds the capability to p, before it is attached. */
void pci_msi_init(struct pci_msi *m, struct pci_device *p, const struct msi_sink *sink);

/* Under the root's lock, as all below. Disabled: nothing. */
void pci_msi_notify(struct pci_msi *m);
bool pci_msi_is_enabled(const struct pci_msi *m);

/* For the function's hook: its configuration was written. For its reset. */
void pci_msi_update(struct pci_msi *m);
void pci_msi_reset(struct pci_msi *m);

/* Of struct pci_msi: stands behind the function's own in the concrete device's table. */
extern const struct state_table pci_msi_state;

#endif

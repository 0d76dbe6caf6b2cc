/*
 * The slot of a root port: see bridge.h for what may happen in it, slot.c for how. For this folder.
 */
#ifndef PCI_SLOT_PRIV_H
#define PCI_SLOT_PRIV_H

#include "pci/bridge.h"
#include "pci/msi.h"
#include "pci/pci_priv.h"

struct pci_slot {
	struct pci_device *port;
	struct pci_msi msi;
	void (*let_go)(void *opaque, struct pci_device *port);
	void *opaque;

	/* Root's lock. */
	bool is_asked;   /* the button was pressed, and the function isn't out yet */
	bool is_lost;    /* it seems to be gone, and isn't out yet */
	bool is_leaving; /* the guest let go: out of reach until it is pulled */
	bool is_wanted;  /* an event that the guest wants to hear of stands */
};

/* Adds the Express and MSI capabilities to the port, before it is attached; the slot is empty. */
void pci_slot_init(struct pci_slot *s, struct pci_device *port,
		   const struct pci_root_port_config *c);
void pci_slot_reset(struct pci_slot *s); /* behind the port's own */
void pci_slot_update(
	struct pci_slot *s); /* the port's configuration was written; root's lock held */
extern const struct state_table pci_slot_state;

/* bridge.c */
struct pci_slot *pci_root_port_slot(struct pci_device *port);

#endif

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

struct pci_root_port_config {
	u8 devfn;             /* on bus 0 */
	unsigned slot_number; /* what the guest calls the slot: stable, above 0, and its own */
	const char *name;
	struct msi_sink sink; /* for hot-plug events; a guest may use INTx instead */
	/* The guest let the function go that it was asked for (pci_root_port_ask): take it out. With
	 * the root's lock held, on any thread. Optional. */
	void (*let_go)(void *opaque, struct pci_device *port);
	void *opaque;
};

/* The device that it is frees it, after what is plugged into it. */
struct pci_device *pci_root_port_new(struct pci_root *root, const struct pci_root_port_config *c);

/*
 * What happens in the slot (PCI Express Base 3.0, 6.7). Each takes the root's lock.
 *
 *     plug                  in from the start: before the guest runs
 *     insert                now: the guest is told that something is there
 *     ask                   presses the attention button; when the guest has turned the power indicator
 *                           off, let_go is called, and the function is out of reach for good
 *     lose                  it seems to be gone; let_go is called when the guest has noticed
 *     pull                  out, at once; the guest is told that nothing is there any more
 *
 * A function that was pulled is reached by no new access. Threads that reached it before may still
 * be inside: free it when each has been out of the guest (vm_settle).
 */
void pci_root_port_plug(struct pci_device *port, struct pci_device *p);
void pci_root_port_insert(struct pci_device *port, struct pci_device *p);
/* -EALREADY: the guest is at it. Asking again is for a guest that forgot or declined. */
int pci_root_port_ask(struct pci_device *port);
void pci_root_port_lose(struct pci_device *port);
void pci_root_port_pull(struct pci_device *port);

bool pci_root_port_is_asked(struct pci_device *port); /* and hasn't let go yet */
/* A guest that starts anew has forgotten what it was asked: let_go is called now. */
void pci_root_port_finish_ask(struct pci_device *port);

#endif

/*
 * What the files of pci/ share of a hierarchy.
 */
#ifndef PCI_PCI_PRIV_H
#define PCI_PCI_PRIV_H

#include <pthread.h>

#include "pci/pci.h"

/* Fixed devices, which boards map at priority 0 and up, win over whatever the guest puts there. */
#define PCI_BAR_PRIORITY (-1)

struct pci_root {
	struct pci_bus bus0;
	struct io_space *ports, *memory;
	pthread_mutex_t lock; /* configuration spaces of all functions */

	pthread_mutex_t intx_lock; /* guards all below; inside device locks */
	struct irq_line pirqs[PCI_PIRQS];
	u32 pirq_users[PCI_PIRQS]; /* functions that hold the wire high */
};

/* bars.c: maps what should be mapped and nothing else, behind p too. */
void pci_update_mappings(struct pci_device *p);
u64 pci_bar_address(const struct pci_device *p, unsigned n);
static inline u32 pci_bar_offset(unsigned n)
{
	return PCI_BAR0 + n * 4;
}
static inline bool pci_bar_is_64(const struct pci_bar *b)
{
	return b->type == PCI_BAR_MEM64 || b->type == PCI_BAR_MEM64_PREFETCH;
}

/* device.c: takes p out of its bus: no access finds it any more. Root's lock held. p still knows its
 * bus, for threads that found it before. */
void pci_unlink(struct pci_device *p);

/* intx.c: the wire that the function's pin ends at; it has a pin. */
unsigned pci_pirq_of_function(const struct pci_device *p);
void pci_intx_update_disable(struct pci_device *p, bool is_disabled);

/* root.c: what a change of the bytes means. Root's lock held. */
void pci_config_apply(struct pci_device *p);

/* bridge.c */
struct pci_window pci_bridge_memory_window(const struct pci_device *bridge);
struct pci_window pci_bridge_prefetch_window(const struct pci_device *bridge);
void pci_bridge_set_memory_window(struct pci_device *bridge, struct pci_window w);
void pci_bridge_set_prefetch_window(struct pci_device *bridge, struct pci_window w);

#endif

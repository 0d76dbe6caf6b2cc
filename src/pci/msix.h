/*
 * MSI-X: a function's table of messages (PCI 3.0, 6.8.2).
 *
 * The table and the pending bits stand in a BAR of 4 KiB of their own. A message is sent while
 * MSI-X is enabled, the function may master the bus, and neither the function nor the vector is
 * masked; else it stays pending.
 *
 * Its lock is inside device locks and outside the interrupt chip's: pci_msix_notify may be called
 * from any thread, with device locks held.
 */
#ifndef PCI_MSIX_H
#define PCI_MSIX_H

#include <pthread.h>

#include "pci/pci.h"

#define PCI_MSIX_MAX      128 /* vectors of a function */
#define PCI_MSIX_BAR_SIZE 4096
#define PCI_MSIX_PBA_OFF  2048 /* of the pending bits, in the BAR */

struct pci_msix_entry {
	u64 address;
	u32 data;
	u32 control;
};

struct pci_msix {
	struct pci_device *pci;
	struct io_region region;
	struct msi_sink sink;
	u16 n;
	u8 cap;

	pthread_mutex_t lock; /* guards all below */
	struct pci_msix_entry entries[PCI_MSIX_MAX];
	u64 pending[PCI_MSIX_MAX / 64];
	bool is_enabled; /* atomic for readers */
	bool is_masked;  /* the whole function, or it may not master the bus */
};

/* Adds the capability and the BAR to p, before it is attached. n vectors, at most PCI_MSIX_MAX. */
void pci_msix_init(struct pci_msix *m, struct pci_device *p, unsigned n, unsigned bar,
		   const struct msi_sink *sink);
void pci_msix_fini(struct pci_msix *m);

/* Sends the vector's message, or has it pend. Vectors that aren't there, and disabled: nothing. */
void pci_msix_notify(struct pci_msix *m, unsigned vector);

static inline bool pci_msix_is_enabled(const struct pci_msix *m)
{
	return __atomic_load_n(&m->is_enabled, __ATOMIC_ACQUIRE);
}

/* For pci/: the function's configuration changed; it is reset. */
void pci_msix_update(struct pci_msix *m);
void pci_msix_reset(struct pci_msix *m);

/* Of struct pci_msix: stands behind the function's own in the concrete device's table. */
extern const struct state_table pci_msix_state;

#endif

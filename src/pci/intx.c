/*
 * Interrupt pins: level-triggered wires shared by functions (PCI 3.0, 2.2.6 and 6.2.4).
 *
 * Each bridge turns the pins of the slots behind it (PCI-to-PCI Bridge 1.2, 9.1); what arrives at
 * bus 0 drives one of the eight PIRQs. A wire is high while any function holds it.
 */
#include "pci/pci_priv.h"

unsigned pci_pirq_of_function(const struct pci_device *p)
{
	unsigned pin = pci_get(p, PCI_INTERRUPT_PIN, 1);

	for (; p->bus->bridge; p = p->bus->bridge)
		pin = (pin - PCI_INTX_A + PCI_SLOT(p->devfn)) % 4 + PCI_INTX_A;
	return pci_pirq_of(PCI_SLOT(p->devfn), pin);
}

static void pci_intx_update(struct pci_device *p)
{
	bool is_asserted = p->intx_level && !p->is_intx_disabled;
	struct pci_root *root = p->bus->root;
	unsigned pirq = pci_pirq_of_function(p);

	if (is_asserted == p->is_intx_asserted)
		return;
	p->is_intx_asserted = is_asserted;
	if (is_asserted && root->pirq_users[pirq]++ == 0)
		irq_set(&root->pirqs[pirq], true);
	if (!is_asserted && --root->pirq_users[pirq] == 0)
		irq_set(&root->pirqs[pirq], false);
}

void pci_set_intx(struct pci_device *p, bool level)
{
	struct pci_root *root = p->bus->root;

	if (!pci_get(p, PCI_INTERRUPT_PIN, 1))
		return;
	pthread_mutex_lock(&root->intx_lock);
	__atomic_store_n(&p->intx_level, level, __ATOMIC_RELAXED);
	pci_intx_update(p);
	pthread_mutex_unlock(&root->intx_lock);
}

void pci_intx_update_disable(struct pci_device *p, bool is_disabled)
{
	struct pci_root *root;

	if (!p->bus || !pci_get(p, PCI_INTERRUPT_PIN, 1))
		return;
	root = p->bus->root;
	pthread_mutex_lock(&root->intx_lock);
	p->is_intx_disabled = is_disabled;
	pci_intx_update(p);
	pthread_mutex_unlock(&root->intx_lock);
}

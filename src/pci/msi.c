/*
 * MSI with one message. See msi.h.
 */
#include "pci/msi.h"

#include "pci/pci_priv.h"
#include "state/state.h"

bool pci_msi_is_enabled(const struct pci_msi *m)
{
	return pci_get(m->pci, m->cap + PCI_MSI_CONTROL, 2) & PCI_MSI_CONTROL_ENABLE;
}

static void pci_msi_set_pending(struct pci_msi *m, bool is_pending)
{
	m->is_pending = is_pending;
	pci_set(m->pci, m->cap + PCI_MSI_PENDING, is_pending, 4);
}

static void pci_msi_send(struct pci_msi *m)
{
	const struct msi_msg msg = {
		.address = (u64)pci_get(m->pci, m->cap + PCI_MSI_ADDRESS_UPPER, 4) << 32 |
			   pci_get(m->pci, m->cap + PCI_MSI_ADDRESS, 4),
		.data = pci_get(m->pci, m->cap + PCI_MSI_DATA, 2),
	};

	pci_msi_set_pending(m, false);
	msi_send(&m->sink, &msg);
}

void pci_msi_update(struct pci_msi *m)
{
	bool is_masked = pci_get(m->pci, m->cap + PCI_MSI_MASK, 4) & 1 || !pci_is_master(m->pci);

	if (!pci_msi_is_enabled(m))
		pci_msi_set_pending(m, false);
	else if (m->is_pending && !is_masked)
		pci_msi_send(m);
}

void pci_msi_notify(struct pci_msi *m)
{
	pci_msi_set_pending(m, true);
	pci_msi_update(m);
}

void pci_msi_reset(struct pci_msi *m)
{
	pci_msi_set_pending(m, false);
}

void pci_msi_init(struct pci_msi *m, struct pci_device *p, const struct msi_sink *sink)
{
	m->pci = p;
	m->sink = *sink;
	m->cap = pci_add_capability(p, PCI_CAP_ID_MSI, PCI_MSI_CAP_SIZE);
	pci_set(p, m->cap + PCI_MSI_CONTROL, PCI_MSI_CONTROL_64 | PCI_MSI_CONTROL_MASKS, 2);
	pci_set_writable(p, m->cap + PCI_MSI_CONTROL, PCI_MSI_CONTROL_ENABLE, 2);
	pci_set_writable(p, m->cap + PCI_MSI_ADDRESS, UINT32_MAX & ~3u, 4);
	pci_set_writable(p, m->cap + PCI_MSI_ADDRESS_UPPER, UINT32_MAX, 4);
	pci_set_writable(p, m->cap + PCI_MSI_DATA, UINT16_MAX, 2);
	pci_set_writable(p, m->cap + PCI_MSI_MASK, 1, 4);
}

/* --- saved state --- */

/* The function's bytes were loaded before. */
static int pci_msi_after_load(void *object, unused u16 version, unused struct err *err)
{
	struct pci_msi *m = object;

	pci_msi_set_pending(m, m->is_pending);
	return 0;
}

static const struct state_field pci_msi_fields[] = {
	STATE_B(struct pci_msi, is_pending),
	STATE_END,
};

const struct state_table pci_msi_state = {
	.name = "msi",
	.version = 1,
	.fields = pci_msi_fields,
	.after_load = pci_msi_after_load,
};

/*
 * MSI-X: table, masks, pending bits. See msix.h.
 */
#include "pci/msix.h"

#include <string.h>

#include "base/bytes.h"
#include "state/state.h"

static_assert(PCI_MSIX_MAX * PCI_MSIX_ENTRY_SIZE <= PCI_MSIX_PBA_OFF, "table before pending bits");
static_assert(sizeof(struct pci_msix_entry) == PCI_MSIX_ENTRY_SIZE,
	      "an entry as the guest sees it");

static bool pci_msix_is_pending(const struct pci_msix *m, unsigned vector)
{
	return m->pending[vector / 64] & BIT(vector % 64);
}

static void pci_msix_set_pending(struct pci_msix *m, unsigned vector, bool is_pending)
{
	if (is_pending)
		m->pending[vector / 64] |= BIT(vector % 64);
	else
		m->pending[vector / 64] &= ~BIT(vector % 64);
}

static bool pci_msix_is_open(const struct pci_msix *m, unsigned vector)
{
	return m->is_enabled && !m->is_masked &&
	       !(m->entries[vector].control & PCI_MSIX_ENTRY_MASKED);
}

static void pci_msix_send(struct pci_msix *m, unsigned vector)
{
	const struct pci_msix_entry *e = &m->entries[vector];
	const struct msi_msg msg = {.address = e->address, .data = e->data};

	pci_msix_set_pending(m, vector, false);
	msi_send(&m->sink, &msg);
}

static void pci_msix_send_pending(struct pci_msix *m, unsigned vector)
{
	if (pci_msix_is_pending(m, vector) && pci_msix_is_open(m, vector))
		pci_msix_send(m, vector);
}

void pci_msix_notify(struct pci_msix *m, unsigned vector)
{
	if (vector >= m->n)
		return;
	pthread_mutex_lock(&m->lock);
	if (pci_msix_is_open(m, vector))
		pci_msix_send(m, vector);
	else if (m->is_enabled)
		pci_msix_set_pending(m, vector, true);
	pthread_mutex_unlock(&m->lock);
}

void pci_msix_update(struct pci_msix *m)
{
	u32 control = pci_get(m->pci, m->cap + PCI_MSIX_CONTROL, 2);

	pthread_mutex_lock(&m->lock);
	__atomic_store_n(&m->is_enabled, control & PCI_MSIX_CONTROL_ENABLE, __ATOMIC_RELEASE);
	m->is_masked = control & PCI_MSIX_CONTROL_MASK || !pci_is_master(m->pci);
	for (unsigned i = 0; i < m->n; i++)
		pci_msix_send_pending(m, i);
	pthread_mutex_unlock(&m->lock);
}

void pci_msix_reset(struct pci_msix *m)
{
	pthread_mutex_lock(&m->lock);
	memset(m->entries, 0, sizeof(m->entries));
	memset(m->pending, 0, sizeof(m->pending));
	for (unsigned i = 0; i < PCI_MSIX_MAX; i++)
		m->entries[i].control = PCI_MSIX_ENTRY_MASKED;
	pthread_mutex_unlock(&m->lock);
}

/* --- the BAR; its callbacks lock for themselves --- */

static struct pci_msix *pci_msix_of(struct device *d)
{
	return container_of(d, struct pci_device, dev)->msix;
}

static u64 pci_msix_read(struct device *d, u64 off, unsigned size)
{
	struct pci_msix *m = pci_msix_of(d);
	u64 value = 0;

	pthread_mutex_lock(&m->lock);
	if (range_fits(off, size, (u64)m->n * PCI_MSIX_ENTRY_SIZE))
		value = bytes_load((const u8 *)m->entries + off, size);
	else if (off >= PCI_MSIX_PBA_OFF &&
		 range_fits(off - PCI_MSIX_PBA_OFF, size, sizeof(m->pending)))
		value = bytes_load((const u8 *)m->pending + (off - PCI_MSIX_PBA_OFF), size);
	pthread_mutex_unlock(&m->lock);
	return value;
}

static void pci_msix_write(struct device *d, u64 off, u64 value, unsigned size)
{
	struct pci_msix *m = pci_msix_of(d);
	unsigned vector = (unsigned)(off / PCI_MSIX_ENTRY_SIZE);

	if (vector >= m->n)
		return; /* the pending bits are read-only, the rest is nothing */
	pthread_mutex_lock(&m->lock);
	bytes_store((u8 *)m->entries + off, value, size);
	m->entries[vector].control &= PCI_MSIX_ENTRY_MASKED;
	pci_msix_send_pending(m, vector);
	pthread_mutex_unlock(&m->lock);
}

static const struct io_ops pci_msix_io_ops = {
	.read = pci_msix_read,
	.write = pci_msix_write,
	.min_size = 4,
	.max_size = 4,
	.is_unlocked = true,
};

void pci_msix_init(struct pci_msix *m, struct pci_device *p, unsigned n, unsigned bar,
		   const struct msi_sink *sink)
{
	assert(n > 0 && n <= PCI_MSIX_MAX);
	m->pci = p;
	m->n = (u16)n;
	m->sink = *sink;
	pthread_mutex_init(&m->lock, NULL);
	pci_msix_reset(m);

	m->cap = pci_add_capability(p, PCI_CAP_ID_MSIX, PCI_MSIX_CAP_SIZE);
	pci_set(p, m->cap + PCI_MSIX_CONTROL, n - 1, 2);
	pci_set_writable(p, m->cap + PCI_MSIX_CONTROL,
			 PCI_MSIX_CONTROL_MASK | PCI_MSIX_CONTROL_ENABLE, 2);
	pci_set(p, m->cap + PCI_MSIX_TABLE, bar, 4);
	pci_set(p, m->cap + PCI_MSIX_PBA, PCI_MSIX_PBA_OFF | bar, 4);

	io_region_init(&m->region, "msix", &p->dev, &pci_msix_io_ops, PCI_MSIX_BAR_SIZE);
	pci_add_bar(p, bar, PCI_BAR_MEM32, &m->region);
	p->msix = m;
}

void pci_msix_fini(struct pci_msix *m)
{
	io_region_fini(&m->region);
	pthread_mutex_destroy(&m->lock);
}

/* --- saved state --- */

static int pci_msix_after_load(void *object, unused u16 version, unused struct err *err)
{
	struct pci_msix *m = object;

	for (unsigned i = 0; i < PCI_MSIX_MAX; i++)
		m->entries[i].control &= PCI_MSIX_ENTRY_MASKED;
	pci_msix_update(m);
	return 0;
}

static const struct state_field pci_msix_entry_fields[] = {
	STATE_U(struct pci_msix_entry, address),
	STATE_U(struct pci_msix_entry, data),
	STATE_U(struct pci_msix_entry, control),
	STATE_END,
};

static const struct state_table pci_msix_entry_state = {
	.name = "msix-entry",
	.version = 1,
	.fields = pci_msix_entry_fields,
};

static const struct state_field pci_msix_fields[] = {
	STATE_SUB_ARRAY(struct pci_msix, entries, &pci_msix_entry_state),
	STATE_U_ARRAY(struct pci_msix, pending),
	STATE_END,
};

const struct state_table pci_msix_state = {
	.name = "msix",
	.version = 1,
	.fields = pci_msix_fields,
	.after_load = pci_msix_after_load,
};

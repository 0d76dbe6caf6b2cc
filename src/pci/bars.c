/*
 * Base address registers: where the guest put a function's regions (PCI 3.0, 6.2.5.1).
 *
 * Sizing needs no code: the address bits below a BAR's size can't be written. A region stands in
 * the address space while its function decodes, its address is a place at all, and every bridge
 * above forwards to it. Any write that could matter comes here and the whole is worked out anew;
 * config writes are rare and trees are small.
 */
#include "base/bytes.h"
#include "pci/pci_priv.h"

static u32 pci_bar_flags(enum pci_bar_type type)
{
	switch (type) {
	case PCI_BAR_IO:
		return PCI_BAR_IS_IO;
	case PCI_BAR_MEM32:
		return 0;
	case PCI_BAR_MEM64:
		return PCI_BAR_IS_64;
	case PCI_BAR_MEM64_PREFETCH:
		return PCI_BAR_IS_64 | PCI_BAR_PREFETCH;
	}
	unreachable_code();
}

void pci_add_bar(struct pci_device *p, unsigned n, enum pci_bar_type type, struct io_region *region)
{
	struct pci_bar *b = &p->bars[n];

	assert(!p->bus && n < PCI_BARS && !b->region);
	assert(is_power_of_two(region->size) && region->size >= 16 && region->size <= GIB);
	b->type = type;
	b->region = region;
	pci_set(p, pci_bar_offset(n), pci_bar_flags(type), 4);
	pci_set_writable(p, pci_bar_offset(n), (u32) ~(region->size - 1), 4);
	if (pci_bar_is_64(b)) {
		assert(n + 1 < PCI_BARS && !p->bars[n + 1].region);
		pci_set_writable(p, pci_bar_offset(n + 1), UINT32_MAX, 4);
	}
}

u64 pci_bar_address(const struct pci_device *p, unsigned n)
{
	const struct pci_bar *b = &p->bars[n];
	u64 low = pci_get(p, pci_bar_offset(n), 4) & ~(b->region->size - 1);

	if (pci_bar_is_64(b))
		return (u64)pci_get(p, pci_bar_offset(n + 1), 4) << 32 | low;
	return low & UINT32_MAX;
}

static bool pci_window_holds(struct pci_window w, u64 first, u64 last)
{
	return first >= w.first && last <= w.last;
}

/* Root ports forward no ports: Express functions don't need any. */
static bool pci_is_forwarded(const struct pci_device *p, bool is_io, u64 first, u64 last)
{
	for (const struct pci_device *b = p->bus->bridge; b; b = b->bus->bridge) {
		if (is_io || b->is_link_down || !(pci_get(b, PCI_COMMAND, 2) & PCI_COMMAND_MEMORY))
			return false;
		if (!pci_window_holds(pci_bridge_memory_window(b), first, last) &&
		    !pci_window_holds(pci_bridge_prefetch_window(b), first, last))
			return false;
	}
	return true;
}

static bool pci_bar_is_placed(const struct pci_device *p, unsigned n, u64 first)
{
	const struct pci_bar *b = &p->bars[n];
	bool is_io = b->type == PCI_BAR_IO;
	u32 decodes = is_io ? PCI_COMMAND_IO : PCI_COMMAND_MEMORY;
	u64 last = first + (b->region->size - 1);

	if (!p->bus || list_is_empty(&p->node) || !(pci_get(p, PCI_COMMAND, 2) & decodes))
		return false;
	/* Nowhere yet, or all ones while the guest finds out the size. */
	if (first == 0 || last == UINT64_MAX || (!pci_bar_is_64(b) && last == UINT32_MAX))
		return false;
	return pci_is_forwarded(p, is_io, first, last);
}

static void pci_update_bar(struct pci_device *p, unsigned n)
{
	struct pci_bar *b = &p->bars[n];
	u64 address = pci_bar_address(p, n);
	bool is_placed = pci_bar_is_placed(p, n, address);

	if (b->region->space && (!is_placed || b->region->base != address))
		io_unmap(b->region);
	if (!is_placed || b->region->space)
		return;

	struct pci_root *root = p->bus->root;

	/* Beyond the space: a port above 64 Ki stays unmapped. */
	(void)io_map(b->type == PCI_BAR_IO ? root->ports : root->memory, address, b->region,
		     PCI_BAR_PRIORITY);
}

void pci_update_mappings(struct pci_device *p)
{
	for (unsigned n = 0; n < PCI_BARS; n++)
		if (p->bars[n].region)
			pci_update_bar(p, n);
	if (!p->secondary)
		return;
	list_for_each (node, &p->secondary->functions)
		pci_update_mappings(list_entry(node, struct pci_device, node));
}

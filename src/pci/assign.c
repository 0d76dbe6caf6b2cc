/*
 * Resource assignment. See assign.h.
 *
 * Of each kind of memory, a bus is laid out by placing what it holds largest alignment first, BARs
 * and the windows of bridges alike, so that little is lost in gaps. The same walk, without writing,
 * measures the window that a bridge needs.
 */
#include "pci/assign.h"

#include "base/err.h"
#include "pci/pci_priv.h"

/* Room in each slot's windows for what may be plugged in later. */
#define SPARE_MEMORY32 (2 * MIB)
#define SPARE_MEMORY64 (64 * MIB)

enum pci_kind { PCI_KIND_PORTS, PCI_KIND_MEMORY32, PCI_KIND_MEMORY64 };

static enum pci_kind pci_bar_kind(const struct pci_bar *b)
{
	if (b->type == PCI_BAR_IO)
		return PCI_KIND_PORTS;
	return b->type == PCI_BAR_MEM64_PREFETCH ? PCI_KIND_MEMORY64 : PCI_KIND_MEMORY32;
}

/* --- bus numbers --- */

static u8 pci_number_buses(struct pci_bus *bus, u8 number)
{
	u8 last = number;

	list_for_each (node, &bus->functions) {
		struct pci_device *p = list_entry(node, struct pci_device, node);

		if (!p->secondary)
			continue;
		pci_set(p, PCI_PRIMARY_BUS, number, 1);
		pci_set(p, PCI_SECONDARY_BUS, last + 1u, 1);
		last = pci_number_buses(p->secondary, last + 1);
		pci_set(p, PCI_SUBORDINATE_BUS, last, 1);
	}
	return last;
}

/* --- addresses --- */

struct pci_layout {
	enum pci_kind kind;
	bool is_final; /* write what is placed */
	u64 at;
};

static void pci_layout_bus(struct pci_layout *l, struct pci_bus *bus);

static u64 pci_window_need(struct pci_device *bridge, enum pci_kind kind)
{
	struct pci_layout measure = {.kind = kind};

	if (kind == PCI_KIND_PORTS)
		return 0;
	pci_layout_bus(&measure, bridge->secondary);
	return align_up(
		MAX(measure.at, kind == PCI_KIND_MEMORY32 ? SPARE_MEMORY32 : SPARE_MEMORY64),
		PCI_BRIDGE_ALIGN);
}

/* The largest BAR behind a bridge aligns its window; measured from 0 it would else not fit. */
static u64 pci_bus_align(const struct pci_bus *bus, enum pci_kind kind)
{
	u64 align = PCI_BRIDGE_ALIGN;

	list_for_each (node, &bus->functions) {
		const struct pci_device *p = list_entry(node, struct pci_device, node);

		for (unsigned n = 0; n < PCI_BARS; n++)
			if (p->bars[n].region && pci_bar_kind(&p->bars[n]) == kind)
				align = MAX(align, p->bars[n].region->size);
		if (p->secondary)
			align = MAX(align, pci_bus_align(p->secondary, kind));
	}
	return align;
}

static void pci_place_bar(struct pci_layout *l, struct pci_device *p, unsigned n)
{
	const struct pci_bar *b = &p->bars[n];

	l->at = align_up(l->at, b->region->size);
	if (l->is_final) {
		u32 flags = pci_get(p, pci_bar_offset(n), 4) & 0xf;

		pci_set(p, pci_bar_offset(n), (u32)l->at | flags, 4);
		if (pci_bar_is_64(b))
			pci_set(p, pci_bar_offset(n + 1), (u32)(l->at >> 32), 4);
	}
	l->at += b->region->size;
}

static void pci_place_window(struct pci_layout *l, struct pci_device *bridge, u64 align)
{
	u64 size = pci_window_need(bridge, l->kind);

	if (!size)
		return;
	l->at = align_up(l->at, align);
	if (l->is_final) {
		struct pci_layout inside = {.kind = l->kind, .is_final = true, .at = l->at};
		struct pci_window w = {.first = l->at, .last = l->at + size - 1};

		if (l->kind == PCI_KIND_MEMORY32)
			pci_bridge_set_memory_window(bridge, w);
		else
			pci_bridge_set_prefetch_window(bridge, w);
		pci_layout_bus(&inside, bridge->secondary);
	}
	l->at += size;
}

static void pci_layout_function(struct pci_layout *l, struct pci_device *p, u64 align)
{
	for (unsigned n = 0; n < PCI_BARS; n++)
		if (p->bars[n].region && p->bars[n].region->size == align &&
		    pci_bar_kind(&p->bars[n]) == l->kind)
			pci_place_bar(l, p, n);
	if (p->secondary && pci_bus_align(p->secondary, l->kind) == align)
		pci_place_window(l, p, align);
}

static void pci_layout_bus(struct pci_layout *l, struct pci_bus *bus)
{
	for (u64 align = pci_bus_align(bus, l->kind); align >= 16; align /= 2)
		list_for_each (node, &bus->functions)
			pci_layout_function(l, list_entry(node, struct pci_device, node), align);
}

static int pci_layout_root(struct pci_root *root, enum pci_kind kind, struct pci_window w,
			   const char *what, struct err *err)
{
	struct pci_layout measure = {.kind = kind, .at = w.first};
	struct pci_layout final = {.kind = kind, .at = w.first, .is_final = true};

	pci_layout_bus(&measure, &root->bus0);
	if (measure.at > w.first && (w.last < w.first || measure.at - 1 > w.last))
		return err_set(err, -ENOSPC, "PCI needs %lu KiB of %s and has %lu KiB",
			       (measure.at - w.first) / KIB, what,
			       w.last < w.first ? 0 : (w.last - w.first + 1) / KIB);
	pci_layout_bus(&final, &root->bus0);
	return 0;
}

/* --- the rest --- */

static void pci_enable_bus(struct pci_bus *bus, const struct pci_resources *res)
{
	list_for_each (node, &bus->functions) {
		struct pci_device *p = list_entry(node, struct pci_device, node);
		u32 command = pci_get(p, PCI_COMMAND, 2) | PCI_COMMAND_IO | PCI_COMMAND_MEMORY;

		if (p->secondary)
			command = PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER;
		pci_set(p, PCI_COMMAND, command, 2);
		if (pci_get(p, PCI_INTERRUPT_PIN, 1))
			pci_set(p, PCI_INTERRUPT_LINE, res->irq_of_pirq[pci_pirq_of_function(p)],
				1);
		if (p->secondary)
			pci_enable_bus(p->secondary, res);
		pci_config_apply(p);
	}
}

int pci_assign_resources(struct pci_root *root, const struct pci_resources *res, struct err *err)
{
	int r;

	pthread_mutex_lock(&root->lock);
	pci_number_buses(&root->bus0, 0);
	r = pci_layout_root(root, PCI_KIND_PORTS, res->ports, "I/O ports", err);
	if (!r)
		r = pci_layout_root(root, PCI_KIND_MEMORY32, res->memory32, "memory below 4 GiB",
				    err);
	if (!r)
		r = pci_layout_root(root, PCI_KIND_MEMORY64, res->memory64, "memory above 4 GiB",
				    err);
	if (!r)
		pci_enable_bus(&root->bus0, res);
	pthread_mutex_unlock(&root->lock);
	return r;
}

/*
 * The hierarchy: finding a function by its number, and reading and writing its configuration.
 *
 * Bus numbers are whatever the guest wrote into the bridges; an access descends from bus 0 through
 * the first bridge whose range holds its bus (PCI-to-PCI Bridge 1.2, 3.1.2). The tree is ours and
 * finite, so no numbering makes this loop.
 */
#include <string.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "pci/msix.h"
#include "pci/pci_priv.h"

struct pci_root *pci_root_new(struct io_space *ports, struct io_space *memory)
{
	struct pci_root *r = NEW(struct pci_root);

	r->bus0.root = r;
	list_init(&r->bus0.functions);
	r->ports = ports;
	r->memory = memory;
	pthread_mutex_init(&r->lock, NULL);
	pthread_mutex_init(&r->intx_lock, NULL);
	return r;
}

void pci_root_free(struct pci_root *r)
{
	if (!r)
		return;
	assert(list_is_empty(&r->bus0.functions));
	pthread_mutex_destroy(&r->lock);
	pthread_mutex_destroy(&r->intx_lock);
	free(r);
}

void pci_root_connect(struct pci_root *r, const struct irq_line pirqs[PCI_PIRQS])
{
	memcpy(r->pirqs, pirqs, sizeof(r->pirqs));
}

struct pci_bus *pci_root_bus(struct pci_root *r)
{
	return &r->bus0;
}

struct io_space *pci_root_ports(struct pci_root *r)
{
	return r->ports;
}

struct io_space *pci_root_memory(struct pci_root *r)
{
	return r->memory;
}

/* --- finding --- */

static struct pci_bus *pci_bus_below(struct pci_bus *bus, u8 number)
{
	list_for_each (node, &bus->functions) {
		struct pci_device *p = list_entry(node, struct pci_device, node);

		if (!p->secondary || p->is_link_down)
			continue;

		u8 first = p->config[PCI_SECONDARY_BUS], last = p->config[PCI_SUBORDINATE_BUS];

		if (first && number == first)
			return p->secondary;
		if (first && number > first && number <= last)
			return pci_bus_below(p->secondary, number);
	}
	return NULL;
}

static struct pci_device *pci_find(struct pci_root *r, u8 number, u8 devfn)
{
	struct pci_bus *bus = number ? pci_bus_below(&r->bus0, number) : &r->bus0;

	if (!bus)
		return NULL;
	list_for_each (node, &bus->functions) {
		struct pci_device *p = list_entry(node, struct pci_device, node);

		if (p->devfn == devfn)
			return p;
	}
	return NULL;
}

/* --- reading --- */

static u32 pci_device_read(struct pci_device *p, u32 off, unsigned size)
{
	u32 value;

	/* An Express function without extended capabilities reads as zeros there (7.9.1). */
	if (off >= PCI_CONFIG_SIZE)
		return p->express_cap ? 0 : (u32)IO_ONES;
	if (p->ops->config_reading)
		p->ops->config_reading(p, off, size);
	value = pci_get(p, off, size);
	if (pci_touches(off, size, PCI_STATUS, 1) &&
	    __atomic_load_n(&p->intx_level, __ATOMIC_RELAXED))
		value |= (u32)PCI_STATUS_INTX << (PCI_STATUS - off) * 8;
	return value;
}

u32 pci_config_read(struct pci_root *r, u8 bus, u8 devfn, u32 off, unsigned size)
{
	struct pci_device *p;
	u32 value = (u32)IO_ONES;

	assert(range_fits(off, size, PCIE_CONFIG_SIZE));
	pthread_mutex_lock(&r->lock);
	p = pci_find(r, bus, devfn);
	if (p)
		value = pci_device_read(p, off, size);
	pthread_mutex_unlock(&r->lock);
	return value & (u32)bytes_mask(size);
}

/* --- writing --- */

/* The bit of a register, as this write has it: false when it doesn't reach there. */
static bool pci_writes_bit(u32 off, unsigned size, u32 value, u32 reg, u32 bit)
{
	for (unsigned i = 0; i < size; i++, value >>= 8)
		if (off + i >= reg && off + i < reg + 4 &&
		    value & 0xff & bit >> (off + i - reg) * 8)
			return true;
	return false;
}

static void pci_store_masked(struct pci_device *p, u32 off, u32 value, unsigned size)
{
	for (unsigned i = 0; i < size; i++, value >>= 8) {
		u8 *byte = &p->config[off + i];
		u8 mask = p->writable[off + i];

		*byte = (u8)((*byte & ~mask) | (value & mask));
		*byte &= (u8) ~(value & p->clearable[off + i]);
	}
}

/* PCI-to-PCI Bridge 1.2, 3.2.5.18: a reset of everything behind the bridge. */
static void pci_reset_secondary(struct pci_device *bridge)
{
	list_for_each (node, &bridge->secondary->functions)
		device_reset(&list_entry(node, struct pci_device, node)->dev);
}

void pci_config_apply(struct pci_device *p)
{
	u32 command = pci_get(p, PCI_COMMAND, 2);

	__atomic_store_n(&p->is_master, command & PCI_COMMAND_MASTER, __ATOMIC_RELEASE);
	pci_intx_update_disable(p, command & PCI_COMMAND_INTX_DISABLE);
	pci_update_mappings(p);
	if (p->msix)
		pci_msix_update(p->msix);
}

static void pci_device_write(struct pci_device *p, u32 off, u32 value, unsigned size)
{
	bool was_in_reset = p->config[PCI_BRIDGE_CONTROL] & PCI_BRIDGE_CONTROL_RESET;

	pci_store_masked(p, off, value, size);
	pci_config_apply(p);
	if (p->secondary && !was_in_reset &&
	    p->config[PCI_BRIDGE_CONTROL] & PCI_BRIDGE_CONTROL_RESET)
		pci_reset_secondary(p);
	if (p->express_cap &&
	    pci_get(p, p->express_cap + PCIE_DEVICE_CAP, 4) & PCIE_DEVICE_CAP_FLR &&
	    pci_writes_bit(off, size, value, p->express_cap + PCIE_DEVICE_CONTROL,
			   PCIE_DEVICE_CONTROL_FLR))
		device_reset(&p->dev);
	if (p->ops->config_written)
		p->ops->config_written(p, off, size);
}

void pci_config_write(struct pci_root *r, u8 bus, u8 devfn, u32 off, u32 value, unsigned size)
{
	struct pci_device *p;

	assert(range_fits(off, size, PCIE_CONFIG_SIZE));
	if (off >= PCI_CONFIG_SIZE)
		return;
	pthread_mutex_lock(&r->lock);
	p = pci_find(r, bus, devfn);
	if (p)
		pci_device_write(p, off, value, size);
	pthread_mutex_unlock(&r->lock);
	/* p may be unplugged by now, but isn't freed before this thread was out of the guest. */
	if (p && p->ops->config_settled)
		p->ops->config_settled(p, off, size);
}

/*
 * A function: its bytes and masks, capabilities, place, reset and saved state. See pci.h.
 */
#include <string.h>

#include "base/bytes.h"
#include "base/err.h"
#include "pci/msix.h"
#include "pci/pci_priv.h"
#include "state/state.h"

void pci_set(struct pci_device *p, u32 off, u32 value, unsigned size)
{
	assert(range_fits(off, size, PCI_CONFIG_SIZE));
	bytes_store(&p->config[off], value, size);
}

u32 pci_get(const struct pci_device *p, u32 off, unsigned size)
{
	assert(range_fits(off, size, PCI_CONFIG_SIZE));
	return (u32)bytes_load(&p->config[off], size);
}

void pci_set_writable(struct pci_device *p, u32 off, u32 mask, unsigned size)
{
	assert(range_fits(off, size, PCI_CONFIG_SIZE));
	bytes_store(&p->writable[off], mask, size);
}

void pci_set_clearable(struct pci_device *p, u32 off, u32 mask, unsigned size)
{
	assert(range_fits(off, size, PCI_CONFIG_SIZE));
	bytes_store(&p->clearable[off], mask, size);
}

void pci_device_init(struct pci_device *p, const struct pci_ops *ops,
		     const struct device_ops *dev_ops, const char *name, const struct pci_ids *ids)
{
	device_init(&p->dev, dev_ops, name);
	p->ops = ops;
	list_init(&p->node);
	p->next_cap = PCI_CAPABILITIES;
	p->last_cap = PCI_CAPABILITY_LIST;

	pci_set(p, PCI_VENDOR_ID, ids->vendor, 2);
	pci_set(p, PCI_DEVICE_ID, ids->device, 2);
	pci_set(p, PCI_REVISION, ids->revision, 1);
	pci_set(p, PCI_CLASS_PROG, ids->class_code & 0xff, 1);
	pci_set(p, PCI_CLASS_PROG + 1, ids->class_code >> 8, 2);
	if (ids->class_code >> 8 != PCI_CLASS_BRIDGE_PCI) {
		pci_set(p, PCI_SUBSYSTEM_VENDOR_ID, ids->subsystem_vendor, 2);
		pci_set(p, PCI_SUBSYSTEM_ID, ids->subsystem, 2);
	}
	pci_set_writable(p, PCI_COMMAND,
			 PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER |
				 PCI_COMMAND_PARITY | PCI_COMMAND_SERR | PCI_COMMAND_INTX_DISABLE,
			 2);
	pci_set_clearable(p, PCI_STATUS, PCI_STATUS_ERRORS, 2);
	pci_set_writable(p, PCI_CACHE_LINE, 0xff, 1);
	pci_set_writable(p, PCI_INTERRUPT_LINE, 0xff, 1);
}

u8 pci_add_capability(struct pci_device *p, u8 id, u8 size)
{
	u8 at = p->next_cap;

	assert(!p->bus && range_fits(at, size, PCI_CONFIG_SIZE));
	pci_set(p, p->last_cap, at, 1);
	pci_set(p, at, id, 1);
	pci_set(p, PCI_STATUS, pci_get(p, PCI_STATUS, 2) | PCI_STATUS_CAPABILITIES, 2);
	p->last_cap = at + 1;
	p->next_cap = (u8)align_up(at + size, 4);
	return at;
}

/* 7.8: the registers that Linux, firmware and Windows look at; one lane of 2.5 GT/s, always up. */
u8 pci_add_express(struct pci_device *p, enum pcie_type type)
{
	u8 at = pci_add_capability(p, PCI_CAP_ID_EXPRESS, PCIE_CAP_SIZE);
	u32 device_cap = PCIE_DEVICE_CAP_RBER;

	if (type != PCIE_ROOT_PORT)
		device_cap |= PCIE_DEVICE_CAP_FLR;
	p->express_cap = at;
	pci_set(p, at + PCIE_FLAGS, PCIE_FLAGS_VERSION | (u32)type << 4, 2);
	pci_set(p, at + PCIE_DEVICE_CAP, device_cap, 4);
	pci_set_writable(p, at + PCIE_DEVICE_CONTROL, PCIE_DEVICE_CONTROL_BITS, 2);
	pci_set_clearable(p, at + PCIE_DEVICE_STATUS, PCIE_DEVICE_STATUS_ERRORS, 2);
	if (type == PCIE_INTEGRATED)
		return at; /* no link: those registers are 0 */
	pci_set(p, at + PCIE_LINK_CAP, PCIE_LINK_2_5GT | PCIE_LINK_X1, 4);
	pci_set(p, at + PCIE_LINK_STATUS, PCIE_LINK_2_5GT | PCIE_LINK_X1, 2);
	pci_set(p, at + PCIE_LINK_CAP2, PCIE_LINK_2_5GT << 1, 4);
	pci_set(p, at + PCIE_LINK_CONTROL2, PCIE_LINK_2_5GT, 2);
	pci_set_writable(p, at + PCIE_LINK_CONTROL, PCIE_LINK_CONTROL_BITS, 2);
	return at;
}

void pci_set_interrupt_pin(struct pci_device *p, unsigned pin)
{
	assert(!p->bus && pin >= PCI_INTX_A && pin < PCI_INTX_A + 4);
	pci_set(p, PCI_INTERRUPT_PIN, pin, 1);
}

/* --- place --- */

/* 6.2.1: function 0 says whether there are others; here all of them say it. */
static void pci_mark_multifunction(struct pci_bus *bus, unsigned slot)
{
	u8 mark = 0;

	list_for_each (node, &bus->functions) {
		struct pci_device *p = list_entry(node, struct pci_device, node);

		if (PCI_SLOT(p->devfn) == slot && PCI_FUNCTION(p->devfn))
			mark = PCI_HEADER_MULTIFUNCTION;
	}
	list_for_each (node, &bus->functions) {
		struct pci_device *p = list_entry(node, struct pci_device, node);

		if (PCI_SLOT(p->devfn) == slot) {
			p->config[PCI_HEADER_TYPE] |= mark;
			p->initial[PCI_HEADER_TYPE] |= mark;
		}
	}
}

static bool pci_bus_has(const struct pci_bus *bus, u8 devfn)
{
	list_for_each (node, &bus->functions)
		if (list_entry(node, struct pci_device, node)->devfn == devfn)
			return true;
	return false;
}

void pci_attach(struct pci_device *p, struct pci_bus *bus, u8 devfn)
{
	assert(!p->bus && !pci_bus_has(bus, devfn));
	memcpy(p->initial, p->config, sizeof(p->initial));
	p->devfn = devfn;
	pthread_mutex_lock(&bus->root->lock);
	p->bus = bus;
	list_append(&bus->functions, &p->node);
	pci_mark_multifunction(bus, PCI_SLOT(devfn));
	pthread_mutex_unlock(&bus->root->lock);
}

void pci_unlink(struct pci_device *p)
{
	list_remove(&p->node);
	pci_update_mappings(p);
}

static void pci_detach(struct pci_device *p)
{
	struct pci_root *root = p->bus->root;

	pci_set_intx(p, false);
	pthread_mutex_lock(&root->lock);
	list_remove(&p->node);
	p->bus = NULL;
	pthread_mutex_unlock(&root->lock);
}

void pci_device_fini(struct pci_device *p)
{
	if (p->bus)
		pci_detach(p);
	for (unsigned n = 0; n < PCI_BARS; n++)
		if (p->bars[n].region)
			io_unmap(p->bars[n].region);
	device_fini(&p->dev);
}

void pci_device_reset(struct pci_device *p)
{
	assert(p->bus);
	memcpy(p->config, p->initial, sizeof(p->config));
	if (p->msix)
		pci_msix_reset(p->msix);
	pci_config_apply(p);
}

/* --- saved state --- */

/* The guest's bits are taken, the others are ours; a function of another kind is refused. */
static int pci_after_load(void *object, unused u16 version, struct err *err)
{
	struct pci_device *p = object;

	if (memcmp(p->config, p->initial, PCI_COMMAND))
		return err_set(err, -EINVAL, "a PCI function %04x:%04x instead of %04x:%04x",
			       pci_get(p, PCI_VENDOR_ID, 2), pci_get(p, PCI_DEVICE_ID, 2),
			       le16_load(p->initial), le16_load(&p->initial[PCI_DEVICE_ID]));
	for (u32 i = 0; i < PCI_CONFIG_SIZE; i++) {
		u8 guest = p->writable[i] | p->clearable[i];

		p->config[i] = (u8)((p->config[i] & guest) | (p->initial[i] & ~guest));
	}
	pci_config_apply(p);
	pci_set_intx(p, p->intx_level);
	return 0;
}

static const struct state_field pci_device_fields[] = {
	STATE_RAW(struct pci_device, config),
	STATE_B(struct pci_device, intx_level),
	STATE_END,
};

const struct state_table pci_device_state = {
	.name = "pci",
	.version = 1,
	.fields = pci_device_fields,
	.after_load = pci_after_load,
};

/*
 * Root ports. See bridge.h; header registers: PCI-to-PCI Bridge Architecture 1.2, section 3.2.
 */
#include "pci/bridge.h"

#include "base/alloc.h"
#include "pci/slot_priv.h"
#include "state/state.h"

/* The generic virtual root port, an id for which no guest has a chipset's workarounds. */
#define ROOT_PORT_VENDOR 0x1b36
#define ROOT_PORT_DEVICE 0x000c

struct pci_root_port {
	struct pci_device pci;
	struct pci_bus secondary;
	struct pci_slot slot;
};

/* --- windows --- */

struct pci_window pci_bridge_memory_window(const struct pci_device *b)
{
	return (struct pci_window){
		.first = (u64)(pci_get(b, PCI_MEMORY_BASE, 2) & PCI_BRIDGE_WINDOW) << 16,
		.last = (u64)(pci_get(b, PCI_MEMORY_LIMIT, 2) & PCI_BRIDGE_WINDOW) << 16 |
			(PCI_BRIDGE_ALIGN - 1),
	};
}

struct pci_window pci_bridge_prefetch_window(const struct pci_device *b)
{
	return (struct pci_window){
		.first = (u64)pci_get(b, PCI_PREF_BASE_UPPER, 4) << 32 |
			 (u64)(pci_get(b, PCI_PREF_BASE, 2) & PCI_BRIDGE_WINDOW) << 16,
		.last = (u64)pci_get(b, PCI_PREF_LIMIT_UPPER, 4) << 32 |
			(u64)(pci_get(b, PCI_PREF_LIMIT, 2) & PCI_BRIDGE_WINDOW) << 16 |
			(PCI_BRIDGE_ALIGN - 1),
	};
}

static u32 pci_window_bits(u64 address)
{
	return (u32)(address >> 16) & PCI_BRIDGE_WINDOW;
}

void pci_bridge_set_memory_window(struct pci_device *b, struct pci_window w)
{
	assert(w.last <= UINT32_MAX);
	pci_set(b, PCI_MEMORY_BASE, pci_window_bits(w.first), 2);
	pci_set(b, PCI_MEMORY_LIMIT, pci_window_bits(w.last), 2);
}

void pci_bridge_set_prefetch_window(struct pci_device *b, struct pci_window w)
{
	pci_set(b, PCI_PREF_BASE, pci_window_bits(w.first) | PCI_BRIDGE_PREF_IS_64, 2);
	pci_set(b, PCI_PREF_LIMIT, pci_window_bits(w.last) | PCI_BRIDGE_PREF_IS_64, 2);
	pci_set(b, PCI_PREF_BASE_UPPER, (u32)(w.first >> 32), 4);
	pci_set(b, PCI_PREF_LIMIT_UPPER, (u32)(w.last >> 32), 4);
}

/* --- the header and capabilities --- */

static void pci_bridge_init_header(struct pci_device *p)
{
	static const struct pci_window closed = {.first = UINT32_MAX, .last = 0};

	pci_set(p, PCI_HEADER_TYPE, PCI_HEADER_BRIDGE, 1);
	pci_bridge_set_memory_window(p, closed);
	pci_bridge_set_prefetch_window(p, closed);
	pci_set_writable(p, PCI_PRIMARY_BUS, 0xffffff, 4);
	pci_set_clearable(p, PCI_SECONDARY_STATUS, PCI_STATUS_ERRORS, 2);
	for (u32 off = PCI_MEMORY_BASE; off <= PCI_PREF_LIMIT; off += 2)
		pci_set_writable(p, off, PCI_BRIDGE_WINDOW, 2);
	pci_set_writable(p, PCI_PREF_BASE_UPPER, UINT32_MAX, 4);
	pci_set_writable(p, PCI_PREF_LIMIT_UPPER, UINT32_MAX, 4);
	pci_set_writable(
		p, PCI_BRIDGE_CONTROL,
		PCI_BRIDGE_CONTROL_PARITY | PCI_BRIDGE_CONTROL_SERR | PCI_BRIDGE_CONTROL_RESET, 2);
}

static void pci_root_port_add_subsystem(struct pci_device *p)
{
	u8 at = pci_add_capability(p, PCI_CAP_ID_SUBSYSTEM, PCI_SUBSYSTEM_CAP_SIZE);

	pci_set(p, at + 4, ROOT_PORT_VENDOR, 2);
}

/* --- the device --- */

static struct pci_root_port *pci_root_port_of(struct device *d)
{
	return container_of(d, struct pci_root_port, pci.dev);
}

struct pci_slot *pci_root_port_slot(struct pci_device *p)
{
	assert(p->secondary);
	return &container_of(p, struct pci_root_port, pci)->slot;
}

static void pci_root_port_reset(struct device *d)
{
	struct pci_root_port *rp = pci_root_port_of(d);

	pci_device_reset(&rp->pci);
	pci_slot_reset(&rp->slot);
}

static void pci_root_port_written(struct pci_device *p, unused u32 off, unused unsigned size)
{
	pci_slot_update(pci_root_port_slot(p));
}

static void pci_root_port_free(struct device *d)
{
	struct pci_root_port *rp = pci_root_port_of(d);

	assert(list_is_empty(&rp->secondary.functions));
	pci_device_fini(&rp->pci);
	free(rp);
}

static const struct state_field pci_root_port_fields[] = {
	STATE_SUB(struct pci_root_port, pci, &pci_device_state),
	STATE_SUB(struct pci_root_port, slot, &pci_slot_state),
	STATE_END,
};

static const struct state_table pci_root_port_state = {
	.name = "pcie-root-port",
	.version = 1,
	.fields = pci_root_port_fields,
};

static const struct device_ops pci_root_port_device_ops = {
	.type = "pcie-root-port",
	.offset = offsetof(struct pci_root_port, pci.dev),
	.state = &pci_root_port_state,
	.reset = pci_root_port_reset,
	.free = pci_root_port_free,
};

static const struct pci_ops pci_root_port_ops = {.config_written = pci_root_port_written};

struct pci_device *pci_root_port_new(struct pci_root *root, const struct pci_root_port_config *c)
{
	static const struct pci_ids ids = {
		.vendor = ROOT_PORT_VENDOR,
		.device = ROOT_PORT_DEVICE,
		.class_code = PCI_CLASS_BRIDGE_PCI << 8,
	};
	struct pci_root_port *rp = NEW(struct pci_root_port);
	struct pci_device *p = &rp->pci;

	pci_device_init(p, &pci_root_port_ops, &pci_root_port_device_ops, c->name, &ids);
	pci_bridge_init_header(p);
	pci_slot_init(&rp->slot, p, c);
	pci_root_port_add_subsystem(p);
	pci_set_interrupt_pin(p, PCI_INTX_A + PCI_FUNCTION(c->devfn) % 4);

	list_init(&rp->secondary.functions);
	rp->secondary.root = root;
	rp->secondary.bridge = p;
	p->secondary = &rp->secondary;
	pci_attach(p, &root->bus0, c->devfn);
	return p;
}

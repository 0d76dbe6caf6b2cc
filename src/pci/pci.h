/*
 * PCI: functions, buses, and the hierarchy that the guest configures.
 *
 *     config ports, ECAM (pci/q35.h) -> pci_config_read/write -> function's bytes and masks
 *                                                             -> BARs mapped, moved, unmapped
 *                                                             -> the function's hooks
 *
 * A concrete function embeds struct pci_device, which embeds struct device. It fills its
 * configuration space in with the helpers below, then is attached to a bus; what it holds then is
 * also what a reset brings back. Registers behind BARs are io regions: they are in the address
 * space while the function decodes, every bridge above forwards, and only then. Where BARs overlap
 * each other or anything else, the older mapping wins, and fixed devices win over BARs.
 *
 * Locks. The root's lock guards the configuration spaces of all its functions; it is taken for each
 * access before everything else (lock order: PCI root, device, backend, MSI-X table and INTx,
 * interrupt chip). Interrupts are raised without it, from any thread. Resets happen under it, or
 * while no vCPU runs.
 */
#ifndef PCI_PCI_H
#define PCI_PCI_H

#include "base/base.h"
#include "bus/device.h"
#include "bus/io.h"
#include "irq/irq.h"
#include "pci/pci_regs.h"

struct pci_bus;
struct pci_device;
struct pci_msix;
struct pci_root;
struct state_table;

#define PCI_BARS   6
#define PCI_PIRQS  8 /* interrupt wires between the slots of bus 0 and the chips: PIRQA to PIRQH */
#define PCI_INTX_A 1 /* an interrupt pin; 0 is none */

#define PCI_DEVFN(slot, fn) ((u8)((slot) << 3 | (fn)))
#define PCI_SLOT(devfn)     ((devfn) >> 3)
#define PCI_FUNCTION(devfn) ((devfn)&7)

/* --- the hierarchy --- */

/* A run of addresses; empty when last < first. */
struct pci_window {
	u64 first, last;
};

struct pci_bus {
	struct pci_root *root;
	struct pci_device *bridge; /* above it; NULL for bus 0 */
	struct list functions;
};

/* Borrows the spaces. */
struct pci_root *pci_root_new(struct io_space *ports, struct io_space *memory);
void pci_root_free(struct pci_root *r); /* all functions are gone by then */
AUTO_FN(pci_root_free, struct pci_root *)
/* Where the interrupt wires of bus 0 go (copied): the LPC bridge's inputs. Before vCPUs run. */
void pci_root_connect(struct pci_root *r, const struct irq_line pirqs[PCI_PIRQS]);
struct pci_bus *pci_root_bus(struct pci_root *r); /* bus 0 */
struct io_space *pci_root_ports(struct pci_root *r);
struct io_space *pci_root_memory(struct pci_root *r);

/* The wire that a pin (PCI_INTX_A up) of a slot on bus 0 drives: for the ACPI tables too. */
static inline unsigned pci_pirq_of(unsigned slot, unsigned pin)
{
	return (slot + pin - PCI_INTX_A) % PCI_PIRQS;
}

/* size is 1, 2 or 4, off aligned to it. Nothing there: all ones, dropped. Any attached thread. */
u32 pci_config_read(struct pci_root *r, u8 bus, u8 devfn, u32 off, unsigned size);
void pci_config_write(struct pci_root *r, u8 bus, u8 devfn, u32 off, u32 value, unsigned size);

/* --- functions --- */

/* All optional. */
struct pci_ops {
	/* Size bytes at off are about to be read: bring them up to date. Root's lock held. */
	void (*config_reading)(struct pci_device *p, u32 off, unsigned size);
	/* Size bytes at off were written, masks applied, BARs moved. Root's lock held. */
	void (*config_written)(struct pci_device *p, u32 off, unsigned size);
	/* The same, a moment later and without any lock: for what has to wait for vCPUs. */
	void (*config_settled)(struct pci_device *p, u32 off, unsigned size);
};

enum pci_bar_type {
	PCI_BAR_IO,
	PCI_BAR_MEM32,
	PCI_BAR_MEM64,          /* takes the next BAR too */
	PCI_BAR_MEM64_PREFETCH, /* likewise; may lie above 4 GiB behind a bridge */
};

struct pci_bar {
	enum pci_bar_type type;
	struct io_region *region; /* NULL: no such BAR; the function's */
};

struct pci_device {
	struct device dev;
	const struct pci_ops *ops;

	struct pci_bus *bus; /* NULL while not attached */
	u8 devfn;
	struct list node;
	struct pci_bus *secondary; /* of a bridge, which owns it */
	bool is_link_down;         /* root's lock: of a bridge: nothing behind it is reached */

	/* Root's lock. */
	u8 config[PCI_CONFIG_SIZE];
	u8 writable[PCI_CONFIG_SIZE];  /* bits that the guest can write */
	u8 clearable[PCI_CONFIG_SIZE]; /* bits that it clears by writing 1 */
	u8 initial[PCI_CONFIG_SIZE];
	u8 next_cap; /* where the next capability goes, and where its link is */
	u8 last_cap;
	u8 express_cap; /* 0: a conventional function */
	struct pci_bar bars[PCI_BARS];
	struct pci_msix *msix; /* the function's, or NULL */

	/* Root's INTx lock. */
	bool intx_level; /* what the device says */
	bool is_intx_disabled;
	bool is_intx_asserted; /* counted on the wire */

	bool is_master; /* atomic: may it write to memory, and so send messages? */
};

struct pci_ids {
	u16 vendor, device;
	u16 subsystem_vendor, subsystem;
	u32 class_code; /* class << 16 | subclass << 8 | interface */
	u8 revision;
};

void pci_device_init(struct pci_device *p, const struct pci_ops *ops,
		     const struct device_ops *dev_ops, const char *name, const struct pci_ids *ids);
void pci_device_fini(struct pci_device *p); /* detaches, unmaps */

/* Values before attaching, or later from a hook: bytes as they are, whatever the guest may write. */
void pci_set(struct pci_device *p, u32 off, u32 value, unsigned size);
u32 pci_get(const struct pci_device *p, u32 off, unsigned size);
void pci_set_writable(struct pci_device *p, u32 off, u32 mask, unsigned size);
void pci_set_clearable(struct pci_device *p, u32 off, u32 mask, unsigned size);

/* Appends a capability of size bytes, header included; returns its offset. */
u8 pci_add_capability(struct pci_device *p, u8 id, u8 size);

enum pcie_type { /* PCI Express Base 3.0, 7.8.2 */
		 PCIE_ENDPOINT = 0,
		 PCIE_ROOT_PORT = 4,
		 PCIE_INTEGRATED = 9, /* an endpoint on bus 0 */
};
/* Makes it an Express function. Endpoints can be reset by themselves (FLR). */
u8 pci_add_express(struct pci_device *p, enum pcie_type type);

/* The region (borrowed, a power of two of at least 16 bytes) is mapped as the guest says. */
void pci_add_bar(struct pci_device *p, unsigned n, enum pci_bar_type type,
		 struct io_region *region);
void pci_set_interrupt_pin(struct pci_device *p, unsigned pin);

/* Into an empty place of the bus. Slots with several functions are marked so here. */
void pci_attach(struct pci_device *p, struct pci_bus *bus, u8 devfn);

/* For the function's own reset: configuration space, BARs, MSI-X, INTx as when attached. */
void pci_device_reset(struct pci_device *p);

/* Drives the function's interrupt pin. Any thread, device locks held. */
void pci_set_intx(struct pci_device *p, bool level);

static inline bool pci_is_master(const struct pci_device *p)
{
	return __atomic_load_n(&p->is_master, __ATOMIC_ACQUIRE);
}

/* Of struct pci_device: the concrete function's table begins with it. Loading maps the BARs. */
extern const struct state_table pci_device_state;

/* Does [off, off + size) share a byte with [reg, reg + reg_size)? For the hooks. */
static inline bool pci_touches(u32 off, unsigned size, u32 reg, unsigned reg_size)
{
	return range_overlaps(off, size, reg, reg_size);
}

#endif

/*
 * ICH9's LPC bridge. See ich9_lpc.h; registers in ich9_lpc_regs.h.
 */
#include "pci/ich9_lpc.h"

#include "base/alloc.h"
#include "pci/ich9_lpc_regs.h"
#include "pci/pci_priv.h"
#include "state/state.h"

struct ich9_lpc {
	struct pci_device pci;
	struct io_region rcrb;
	struct ich9_lpc_config config;
	struct ich9_pm pm; /* as last told; root's lock */

	pthread_mutex_t irq_lock; /* guards all below; inside the root's INTx lock */
	u8 routes[PCI_PIRQS];     /* PIRQx_ROUT */
	bool pirq_levels[PCI_PIRQS];
	u16 isa_levels; /* bits of the ISA lines that are high */
};

static struct ich9_lpc *ich9_of(struct pci_device *p)
{
	return container_of(p, struct ich9_lpc, pci);
}

/* --- interrupt wires --- */

static u16 ich9_isa_line(u8 route)
{
	u32 irq = route & ICH9_PIRQ_IRQ;

	if (route & ICH9_PIRQ_OFF || !(ICH9_PIRQ_CAN_USE & BIT32(irq)))
		return 0;
	return (u16)BIT32(irq);
}

static void ich9_update_isa(struct ich9_lpc *l)
{
	u16 levels = 0;

	for (unsigned i = 0; i < PCI_PIRQS; i++)
		if (l->pirq_levels[i])
			levels |= ich9_isa_line(l->routes[i]);
	for (unsigned irq = 0; irq < ICH9_PIC_IRQS; irq++)
		if ((levels ^ l->isa_levels) & BIT32(irq))
			irq_set(&l->config.isa[irq], levels & BIT32(irq));
	l->isa_levels = levels;
}

static void ich9_set_pirq(void *opaque, unsigned pirq, bool level)
{
	struct ich9_lpc *l = opaque;

	pthread_mutex_lock(&l->irq_lock);
	l->pirq_levels[pirq] = level;
	irq_set(&l->config.apic[pirq], level);
	ich9_update_isa(l);
	pthread_mutex_unlock(&l->irq_lock);
}

static u32 ich9_route_reg(unsigned pirq)
{
	return pirq < 4 ? ICH9_PIRQA_ROUT + pirq : ICH9_PIRQE_ROUT + pirq - 4;
}

static void ich9_apply_routes(struct ich9_lpc *l)
{
	pthread_mutex_lock(&l->irq_lock);
	for (unsigned i = 0; i < PCI_PIRQS; i++)
		l->routes[i] = l->pci.config[ich9_route_reg(i)];
	ich9_update_isa(l);
	pthread_mutex_unlock(&l->irq_lock);
}

/* --- the ACPI block --- */

static u8 ich9_sci(u32 acpi_cntl)
{
	static const u8 irqs[] = {9, 10, 11, 9, 20, 21, 9, 9}; /* reserved values: as at reset */

	return irqs[acpi_cntl & ICH9_ACPI_CNTL_SCI];
}

static void ich9_apply_pm(struct ich9_lpc *l)
{
	u32 acpi_cntl = pci_get(&l->pci, ICH9_ACPI_CNTL, 1);
	struct ich9_pm pm = {
		.base = pci_get(&l->pci, ICH9_PMBASE, 2) & ICH9_PMBASE_BASE,
		.is_enabled = acpi_cntl & ICH9_ACPI_CNTL_ENABLE,
		.sci = ich9_sci(acpi_cntl),
	};

	if (pm.base == l->pm.base && pm.is_enabled == l->pm.is_enabled && pm.sci == l->pm.sci)
		return;
	l->pm = pm;
	l->config.pm_changed(l->config.opaque, &pm);
}

/* --- root complex register block --- */

static u32 ich9_routes_of_slot(unsigned slot)
{
	u32 routes = 0;

	for (unsigned pin = 0; pin < 4; pin++)
		routes |= pci_pirq_of(slot, PCI_INTX_A + pin) << pin * 4;
	return routes;
}

/* 13.1: what tells how the board is wired; all else reads as 0, and nothing can be written. */
static u64 ich9_rcrb_read(unused struct device *d, u64 off, unused unsigned size)
{
	switch (off) {
	case ICH9_RCRB_D31IR:
		return ich9_routes_of_slot(31) | ich9_routes_of_slot(30) << 16;
	case ICH9_RCRB_D29IR:
		return ich9_routes_of_slot(29) | ich9_routes_of_slot(28) << 16;
	case ICH9_RCRB_D27IR:
		return ich9_routes_of_slot(27);
	case ICH9_RCRB_D26IR:
		return ich9_routes_of_slot(26);
	case ICH9_RCRB_D25IR:
		return ich9_routes_of_slot(25);
	case ICH9_RCRB_HPTC:
		return ICH9_RCRB_HPTC_ON;
	case ICH9_RCRB_GCS:
		return ICH9_RCRB_GCS_NR;
	default:
		return 0;
	}
}

static const struct io_ops ich9_rcrb_ops = {
	.read = ich9_rcrb_read,
	.min_size = 4,
	.max_size = 4,
};

static void ich9_apply_rcba(struct ich9_lpc *l)
{
	u32 reg = pci_get(&l->pci, ICH9_RCBA, 4);
	u32 base = reg & ICH9_RCBA_BASE;

	if (l->rcrb.space && (l->rcrb.base != base || !(reg & ICH9_RCBA_ENABLE)))
		io_unmap(&l->rcrb);
	if (!l->rcrb.space && reg & ICH9_RCBA_ENABLE)
		(void)io_map(l->pci.bus->root->memory, base, &l->rcrb, PCI_BAR_PRIORITY);
}

/* --- the device --- */

/* SMI_LOCK, once set, stays until reset. */
static void ich9_apply_lock(struct pci_device *p)
{
	bool is_locked = pci_get(p, ICH9_GEN_PMCON1, 2) & ICH9_GEN_PMCON1_LOCK;

	pci_set_writable(p, ICH9_GEN_PMCON1, is_locked ? 0 : ICH9_GEN_PMCON1_LOCK, 2);
}

static void ich9_apply(struct ich9_lpc *l)
{
	ich9_apply_lock(&l->pci);
	ich9_apply_routes(l);
	ich9_apply_pm(l);
	ich9_apply_rcba(l);
}

static void ich9_config_written(struct pci_device *p, unused u32 off, unused unsigned size)
{
	ich9_apply(ich9_of(p));
}

static void ich9_reset(struct device *d)
{
	struct ich9_lpc *l = container_of(d, struct ich9_lpc, pci.dev);

	pci_device_reset(&l->pci);
	ich9_apply(l);
}

static void ich9_free(struct device *d)
{
	struct ich9_lpc *l = container_of(d, struct ich9_lpc, pci.dev);

	io_region_fini(&l->rcrb);
	pci_device_fini(&l->pci);
	pthread_mutex_destroy(&l->irq_lock);
	free(l);
}

static int ich9_after_load(void *object, unused u16 version, unused struct err *err)
{
	ich9_apply(object);
	return 0;
}

static const struct state_field ich9_fields[] = {
	STATE_SUB(struct ich9_lpc, pci, &pci_device_state),
	STATE_END,
};

static const struct state_table ich9_state = {
	.name = "ich9-lpc",
	.version = 1,
	.fields = ich9_fields,
	.after_load = ich9_after_load,
};

static const struct device_ops ich9_device_ops = {
	.type = "ich9-lpc",
	.offset = offsetof(struct ich9_lpc, pci.dev),
	.state = &ich9_state,
	.reset = ich9_reset,
	.free = ich9_free,
};

static const struct pci_ops ich9_pci_ops = {
	.config_written = ich9_config_written,
};

/* Decode ranges are kept for the guest that reads them back: what they decode isn't here. */
static void ich9_init_registers(struct pci_device *p)
{
	pci_set(p, ICH9_PMBASE, ICH9_PMBASE_IO, 4);
	pci_set_writable(p, ICH9_PMBASE, ICH9_PMBASE_BASE, 4);
	pci_set_writable(p, ICH9_ACPI_CNTL, ICH9_ACPI_CNTL_ENABLE | ICH9_ACPI_CNTL_SCI, 1);
	for (unsigned i = 0; i < PCI_PIRQS; i++) {
		pci_set(p, ich9_route_reg(i), ICH9_PIRQ_OFF, 1);
		pci_set_writable(p, ich9_route_reg(i), ICH9_PIRQ_OFF | ICH9_PIRQ_IRQ, 1);
	}
	pci_set(p, ICH9_SIRQ_CNTL, 0x10, 1);
	pci_set_writable(p, ICH9_SIRQ_CNTL, 0xff, 1);
	pci_set_writable(p, ICH9_LPC_IO_DEC, 0xffff, 2);
	pci_set_writable(p, ICH9_LPC_EN, 0xffff, 2);
	for (unsigned i = 0; i < 4; i++)
		pci_set_writable(p, ICH9_GEN_DEC + i * 4, 0x00fcfffd, 4);
	pci_set_writable(p, ICH9_BIOS_CNTL, 0x1f, 1);
	pci_set_writable(p, ICH9_RCBA, ICH9_RCBA_BASE | ICH9_RCBA_ENABLE, 4);
	ich9_apply_lock(p);
}

struct pci_device *ich9_lpc_new(struct pci_root *root, const struct ich9_lpc_config *config)
{
	static const struct pci_ids ids = {
		.vendor = ICH9_LPC_VENDOR,
		.device = ICH9_LPC_DEVICE,
		.revision = ICH9_LPC_REVISION,
		.class_code = PCI_CLASS_BRIDGE_ISA << 8,
	};
	struct ich9_lpc *l = NEW(struct ich9_lpc);
	struct irq_line pirqs[PCI_PIRQS];

	l->config = *config;
	l->pm.sci = ich9_sci(0);
	pthread_mutex_init(&l->irq_lock, NULL);
	pci_device_init(&l->pci, &ich9_pci_ops, &ich9_device_ops, "ich9-lpc", &ids);
	ich9_init_registers(&l->pci);
	io_region_init(&l->rcrb, "rcrb", &l->pci.dev, &ich9_rcrb_ops, ICH9_RCRB_SIZE);
	for (unsigned i = 0; i < PCI_PIRQS; i++)
		pirqs[i] = (struct irq_line){.set = ich9_set_pirq, .opaque = l, .pin = i};
	pci_root_connect(root, pirqs);
	pci_attach(&l->pci, pci_root_bus(root), PCI_DEVFN(31, 0));
	return &l->pci;
}

static void ich9_set(struct pci_device *p, u32 off, u32 value, unsigned size)
{
	pci_config_write(p->bus->root, 0, p->devfn, off, value, size);
}

void ich9_lpc_set_up(struct pci_device *lpc, u16 pm_base, const u8 irq_of_pirq[PCI_PIRQS], u32 rcba)
{
	assert(is_aligned(pm_base, 0x80) && is_aligned(rcba, ICH9_RCRB_SIZE));
	ich9_set(lpc, ICH9_PMBASE, pm_base | ICH9_PMBASE_IO, 4);
	ich9_set(lpc, ICH9_ACPI_CNTL, ICH9_ACPI_CNTL_ENABLE, 1);
	for (unsigned i = 0; i < PCI_PIRQS; i++)
		ich9_set(lpc, ich9_route_reg(i), irq_of_pirq[i] ? irq_of_pirq[i] : ICH9_PIRQ_OFF,
			 1);
	ich9_set(lpc, ICH9_RCBA, rcba | ICH9_RCBA_ENABLE, 4);
}

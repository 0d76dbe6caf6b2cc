/* See bench.h. */
#include "bench.h"

#include "base/alloc.h"
#include "base/epoch.h"

static u64 card_read(unused struct device *d, u64 off, unused unsigned size)
{
	return 0xc0 + off;
}

const struct io_ops card_io_ops = {.read = card_read};

static void card_written(struct pci_device *p, unused u32 off, unused unsigned size)
{
	container_of(p, struct card, pci)->writes++;
}

static void card_settled(struct pci_device *p, unused u32 off, unused unsigned size)
{
	container_of(p, struct card, pci)->settled++;
}

static const struct pci_ops card_pci_ops = {
	.config_written = card_written,
	.config_settled = card_settled,
};

static void card_reset(struct device *d)
{
	struct card *c = container_of(d, struct card, pci.dev);

	c->resets++;
	pci_device_reset(&c->pci);
}

static void card_free(struct device *d)
{
	struct card *c = container_of(d, struct card, pci.dev);

	pci_device_fini(&c->pci);
	pci_msix_fini(&c->msix);
	free(c);
}

static const struct state_field card_fields[] = {
	STATE_SUB(struct card, pci, &pci_device_state),
	STATE_SUB(struct card, msix, &pci_msix_state),
	STATE_END,
};

static const struct state_table card_state = {
	.name = "card",
	.version = 1,
	.fields = card_fields,
};

static const struct device_ops card_device_ops = {
	.type = "card",
	.offset = offsetof(struct card, pci.dev),
	.state = &card_state,
	.reset = card_reset,
	.free = card_free,
};

static void bench_send(void *opaque, const struct msi_msg *msg)
{
	struct bench *b = opaque;

	b->n_msgs++;
	b->msg = *msg;
}

static void bench_set_pirq(void *opaque, unsigned pin, bool level)
{
	struct bench *b = opaque;

	CHECK(b->pirq[pin] != level);
	b->pirq[pin] = level;
}

void bench_init(struct bench *b)
{
	struct irq_line pirqs[PCI_PIRQS];

	*b = (struct bench){0};
	b->epoch = epoch_new();
	epoch_attach(b->epoch);
	b->ports = io_space_new("ports", b->epoch, 0x10000);
	b->memory = io_space_new("memory", b->epoch, 0);
	b->root = pci_root_new(b->ports, b->memory);
	for (unsigned i = 0; i < PCI_PIRQS; i++)
		pirqs[i] = (struct irq_line){bench_set_pirq, b, i};
	pci_root_connect(b->root, pirqs);
	device_set_init(&b->devices);
}

void bench_fini(struct bench *b)
{
	device_set_fini(&b->devices);
	pci_root_free(b->root);
	io_space_free(b->ports);
	io_space_free(b->memory);
	epoch_detach(b->epoch);
	epoch_free(b->epoch);
}

struct card *bench_card(struct bench *b, const char *name)
{
	static const struct pci_ids ids = {
		.vendor = 0x1234,
		.device = 0x5678,
		.subsystem_vendor = 0x9abc,
		.subsystem = 0xdef0,
		.class_code = 0x020000,
		.revision = 3,
	};
	const struct msi_sink sink = {bench_send, b};
	struct card *c = NEW(struct card);

	pci_device_init(&c->pci, &card_pci_ops, &card_device_ops, name, &ids);
	pci_add_express(&c->pci, PCIE_ENDPOINT);
	pci_msix_init(&c->msix, &c->pci, 3, CARD_BAR_MSIX, &sink);
	io_region_init(&c->mem32, "mem32", &c->pci.dev, &card_io_ops, 0x2000);
	io_region_init(&c->io, "io", &c->pci.dev, &card_io_ops, 0x20);
	io_region_init(&c->mem64, "mem64", &c->pci.dev, &card_io_ops, 0x10000);
	pci_add_bar(&c->pci, CARD_BAR_MEM32, PCI_BAR_MEM32, &c->mem32);
	pci_add_bar(&c->pci, CARD_BAR_IO, PCI_BAR_IO, &c->io);
	pci_add_bar(&c->pci, CARD_BAR_MEM64, PCI_BAR_MEM64_PREFETCH, &c->mem64);
	pci_set_interrupt_pin(&c->pci, PCI_INTX_A);
	device_adopt(&b->devices, &c->pci.dev);
	return c;
}

struct card *bench_card_on_bus0(struct bench *b, u8 devfn)
{
	struct card *c = bench_card(b, "card");

	pci_attach(&c->pci, pci_root_bus(b->root), devfn);
	return c;
}

static void bench_let_go(void *opaque, struct pci_device *port)
{
	((struct bench *)opaque)->let_go = port;
}

struct pci_device *bench_port(struct bench *b, u8 devfn, const char *name)
{
	const struct pci_root_port_config c = {
		.devfn = devfn,
		.slot_number = 1u + devfn,
		.name = name,
		.sink = {bench_send, b},
		.let_go = bench_let_go,
		.opaque = b,
	};
	struct pci_device *p = pci_root_port_new(b->root, &c);

	device_adopt(&b->devices, &p->dev);
	return p;
}

u32 rd(struct bench *b, u8 bus, u8 devfn, u32 off, unsigned size)
{
	return pci_config_read(b->root, bus, devfn, off, size);
}

void wr(struct bench *b, u8 bus, u8 devfn, u32 off, u32 value, unsigned size)
{
	pci_config_write(b->root, bus, devfn, off, value, size);
}

u8 find_cap(struct bench *b, u8 bus, u8 devfn, u8 id)
{
	u8 at = (u8)rd(b, bus, devfn, PCI_CAPABILITY_LIST, 1);

	while (at && rd(b, bus, devfn, at, 1) != id)
		at = (u8)rd(b, bus, devfn, at + 1u, 1);
	return at;
}

void open_port(struct bench *b, u8 devfn, u8 secondary, u8 subordinate)
{
	wr(b, 0, devfn, PCI_PRIMARY_BUS, (u32)subordinate << 16 | (u32)secondary << 8, 4);
}

int bench_load(struct bench *b, const void *data, size_t size, struct err *err)
{
	AUTO(state_reader_free) struct state_reader *r = state_reader_new(data, size);
	const char *name;
	u32 instance;
	int ret;

	while ((ret = state_reader_next(r, &name, &instance, err)) > 0) {
		ret = device_set_load(&b->devices, r, name, instance, err);
		if (ret < 0)
			return ret;
	}
	return ret;
}

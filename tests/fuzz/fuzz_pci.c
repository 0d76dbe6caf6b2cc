/*
 * PCI registers: configuration space by ports and ECAM, BARs, MSI-X, the virtio registers.
 *
 * The input is a list of accesses, as a guest without any manners makes them, on a small board:
 * host and LPC bridges, two root ports, a virtio device behind one. Then the board is saved, loaded
 * into another, and that one has to look the same.
 */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/epoch.h"
#include "base/err.h"
#include "fake_guest.h"
#include "pci/assign.h"
#include "pci/bridge.h"
#include "pci/config_ports.h"
#include "pci/ich9_lpc.h"
#include "pci/q35.h"
#include "state/state.h"
#include "virtio/virtio_pci.h"

#define ECAM 0xb0000000

struct board {
	struct epoch *epoch;
	struct io_space *ports, *memory;
	struct loop *loop;
	struct pci_root *root;
	struct pci_device *host, *port, *function;
	struct virtio_device *sink;
	struct device_set devices;
};

/* --- a virtio device that takes all it gets --- */

static void sink_notify(unused struct virtio_device *v, struct vq *q)
{
	struct vq_chain *c;

	while ((c = vq_pop(q)))
		vq_push(c, (u32)vq_writable(c));
	vq_publish(q);
}

static void sink_free(struct device *d)
{
	struct virtio_device *v = container_of(d, struct virtio_device, dev);

	virtio_device_fini(v);
	free(v);
}

static const struct virtio_ops sink_ops = {.id = VIRTIO_ID_RNG};

static const struct device_ops sink_device_ops = {
	.type = "virtio-device",
	.offset = offsetof(struct virtio_device, dev),
	.state = &virtio_device_state,
	.reset = virtio_dev_reset,
	.quiesce = virtio_dev_quiesce,
	.resume = virtio_dev_resume,
	.free = sink_free,
};

static void ignore_msi(unused void *opaque, unused const struct msi_msg *msg)
{
}

/* A function, for port0. */
static void board_add_sink(struct board *b, struct fake_guest *g)
{
	static const struct virtio_queue_spec spec = {
		.size = 16,
		.max_segs = 4,
		.notify = sink_notify,
	};
	const struct msi_sink msi = {ignore_msi, NULL};
	struct virtio_device *v = NEW(struct virtio_device);
	struct err err = ERR_INIT;

	virtio_device_init(v, &sink_ops, &sink_device_ops, "sink", b->loop, g->gmem);
	for (unsigned i = 0; i < 2; i++) {
		int r = virtio_add_queue(v, &spec, &err);

		assert(!r);
	}
	device_adopt(&b->devices, &v->dev);

	struct pci_device *p = virtio_pci_new(v, &msi);

	device_adopt(&b->devices, &p->dev);
	b->function = p;
	b->sink = v;
}

/* Another of its kind takes its place. */
static void board_swap_sink(struct board *b, struct fake_guest *g)
{
	pci_root_port_pull(b->port);
	device_set_quiesce(&b->devices);
	device_free(&b->function->dev);
	device_free(&b->sink->dev);
	board_add_sink(b, g);
	pci_root_port_insert(b->port, b->function);
	device_set_resume(&b->devices);
}

/* --- the board --- */

static void board_let_go(unused void *opaque, unused struct pci_device *port)
{
}

static void ignore_memory(unused void *opaque)
{
}

static void ignore_pm(unused void *opaque, unused const struct ich9_pm *pm)
{
}

static void board_add_chips(struct board *b)
{
	static const struct q35_ops ops = {.memory_changed = ignore_memory};
	const struct ich9_lpc_config lpc = {.pm_changed = ignore_pm};
	struct pci_config_ports *ports = pci_config_ports_new(b->root, NULL);
	int r;

	b->host = q35_host_new(b->root, &ops, b);
	device_adopt(&b->devices, &b->host->dev);
	device_adopt(&b->devices, &ich9_lpc_new(b->root, &lpc)->dev);
	device_adopt(&b->devices, pci_config_ports_device(ports));
	r = io_map(b->ports, PCI_CONFIG_PORT, pci_config_ports_io(ports), 0);
	assert(!r);
}

static void board_init(struct board *b, struct fake_guest *g)
{
	struct err err = ERR_INIT;
	int r;

	*b = (struct board){.epoch = epoch_new()};
	epoch_attach(b->epoch);
	b->ports = io_space_new("ports", b->epoch, 0x10000);
	b->memory = io_space_new("memory", b->epoch, 0);
	r = loop_new(&b->loop, &err);
	assert(!r);
	b->root = pci_root_new(b->ports, b->memory);
	device_set_init(&b->devices);
	board_add_chips(b);
	for (unsigned i = 0; i < 2; i++) {
		const struct pci_root_port_config c = {
			.devfn = PCI_DEVFN(1, i),
			.slot_number = i + 1,
			.name = i ? "port1" : "port0",
			.let_go = board_let_go,
		};
		struct pci_device *port = pci_root_port_new(b->root, &c);

		device_adopt(&b->devices, &port->dev);
		if (i == 0)
			b->port = port;
	}
	board_add_sink(b, g);
	pci_root_port_plug(b->port, b->function);
}

static void board_fini(struct board *b)
{
	device_set_fini(&b->devices);
	pci_root_free(b->root);
	io_space_free(b->ports);
	io_space_free(b->memory);
	loop_free(b->loop);
	epoch_detach(b->epoch);
	epoch_free(b->epoch);
}

static void board_start(struct board *b)
{
	static const struct pci_resources res = {
		.ports = {0xc000, 0xffff},
		.memory32 = {0xc0000000, 0xcfffffff},
		.memory64 = {0x100000000, 0x1ffffffff},
	};
	struct err err = ERR_INIT;
	int r = pci_assign_resources(b->root, &res, &err);

	assert(!r);
	q35_enable_ecam(b->host, ECAM);
	pci_config_write(b->root, 1, 0, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, 2);
}

static void board_check_saved(struct board *b, struct fake_guest *g)
{
	static const u8 functions[] = {PCI_DEVFN(0, 0), PCI_DEVFN(1, 0), PCI_DEVFN(1, 1),
				       PCI_DEVFN(31, 0)};
	AUTO(state_writer_free) struct state_writer *w = state_writer_new();
	struct err err = ERR_INIT;
	struct board other;
	const char *name;
	size_t size;
	u32 instance;
	int r;

	device_set_quiesce(&b->devices);
	device_set_save(&b->devices, w);
	const void *data = state_writer_finish(w, &size);
	AUTO(state_reader_free) struct state_reader *reader = state_reader_new(data, size);

	board_init(&other, g);
	while ((r = state_reader_next(reader, &name, &instance, &err)) > 0) {
		r = device_set_load(&other.devices, reader, name, instance, &err);
		assert(!r);
	}
	assert(!r);
	for (unsigned i = 0; i < ARRAY_SIZE(functions); i++)
		for (u32 off = 0; off < PCI_CONFIG_SIZE; off += 4)
			assert(pci_config_read(b->root, 0, functions[i], off, 4) ==
			       pci_config_read(other.root, 0, functions[i], off, 4));
	device_set_resume(&other.devices);
	board_fini(&other);
}

/* --- accesses --- */

/* Where something is, at first; then offsets from it, or any address at all. */
static const u64 bases[] = {ECAM,        ECAM + 0x8000, ECAM + 0x100000, 0xc0000000,
			    0x100000000, 0x100001000,   0x100003000,     0};

struct access {
	u8 what;
	u8 base;
	le16 off;
	le64 value;
} packed;

/* Rarer than accesses: only if the byte of the base says just so. */
static void board_event(struct board *b, struct fake_guest *g, u8 which)
{
	switch (which) {
	case 0x77:
		device_set_reset(&b->devices);
		break;
	case 0x78:
		(void)pci_root_port_ask(b->port);
		break;
	case 0x79:
		board_swap_sink(b, g);
		break;
	}
}

static void board_access(struct board *b, struct fake_guest *g, const struct access *a)
{
	unsigned size = (unsigned)BIT32(a->what >> 4 & 3);
	u64 address = bases[a->base % ARRAY_SIZE(bases)] + le16_get(a->off);
	u64 value = le64_get(a->value);

	switch (a->what & 7) {
	case 0:
		io_space_read(b->memory, address, size);
		break;
	case 1:
	case 2:
		io_space_write(b->memory, address, value, size);
		break;
	case 3:
		io_space_write(b->ports, 0xcf8 + (le16_get(a->off) & 7), value, size);
		break;
	case 4:
		io_space_read(b->ports, 0xcf8 + (le16_get(a->off) & 7), size);
		break;
	case 5:
		io_space_write(b->memory, value, le16_get(a->off), size);
		break;
	case 6:
		loop_step(b->loop, false);
		break;
	default:
		board_event(b, g, a->base);
		break;
	}
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size);

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	static struct fake_guest g;
	struct board b;

	if (!g.gmem)
		fake_guest_init(&g);
	board_init(&b, &g);
	board_start(&b);
	for (; size >= sizeof(struct access); size -= sizeof(struct access)) {
		struct access a;

		memcpy(&a, data, sizeof(a));
		data += sizeof(a);
		board_access(&b, &g, &a);
	}
	board_check_saved(&b, &g);
	board_fini(&b);
	assert(g.ram->pins == 0);
	return 0;
}

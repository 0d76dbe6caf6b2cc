/* pci/: configuration accesses, BARs, bridges, interrupts, MSI-X, assignment, saved state. */
#include "bench.h"

#include "base/err.h"
#include "pci/assign.h"
#include "pci/config_ports.h"

#define SLOT3 PCI_DEVFN(3, 0)

TEST(identity_is_read_only_and_absence_reads_as_ones)
{
	struct bench b;

	bench_init(&b);
	bench_card_on_bus0(&b, SLOT3);
	CHECK_EQ(rd(&b, 0, SLOT3, 0, 4), 0x56781234);
	CHECK_EQ(rd(&b, 0, SLOT3, PCI_REVISION, 4), 0x02000003);
	CHECK_EQ(rd(&b, 0, SLOT3, PCI_SUBSYSTEM_VENDOR_ID, 4), 0xdef09abc);
	wr(&b, 0, SLOT3, 0, 0, 4);
	CHECK_EQ(rd(&b, 0, SLOT3, 0, 2), 0x1234);
	CHECK_EQ(rd(&b, 0, SLOT3, 3, 1), 0x56);
	CHECK_EQ(rd(&b, 0, PCI_DEVFN(4, 0), 0, 4), 0xffffffff);
	CHECK_EQ(rd(&b, 7, SLOT3, 0, 2), 0xffff);
	wr(&b, 7, SLOT3, 0, 0, 4);
	CHECK_EQ(rd(&b, 0, SLOT3, PCI_HEADER_TYPE, 1), 0);
	CHECK_EQ(rd(&b, 0, SLOT3, 0x100, 4), 0); /* no extended capabilities */
	wr(&b, 0, SLOT3, 0x100, 0xffffffff, 4);
	CHECK_EQ(rd(&b, 0, SLOT3, 0xffc, 4), 0);
	bench_fini(&b);
}

TEST(hooks_see_writes)
{
	struct bench b;

	bench_init(&b);
	struct card *c = bench_card_on_bus0(&b, SLOT3);

	wr(&b, 0, SLOT3, PCI_CACHE_LINE, 0x10, 1);
	CHECK_EQ(c->writes, 1);
	CHECK_EQ(c->settled, 1);
	CHECK_EQ(rd(&b, 0, SLOT3, PCI_CACHE_LINE, 1), 0x10);
	bench_fini(&b);
}

TEST(functions_of_a_slot_are_marked)
{
	struct bench b;

	bench_init(&b);
	bench_port(&b, PCI_DEVFN(1, 0), "rp0");
	CHECK_EQ(rd(&b, 0, PCI_DEVFN(1, 0), PCI_HEADER_TYPE, 1), 1);
	bench_port(&b, PCI_DEVFN(1, 1), "rp1");
	CHECK_EQ(rd(&b, 0, PCI_DEVFN(1, 0), PCI_HEADER_TYPE, 1), 0x81);
	CHECK_EQ(rd(&b, 0, PCI_DEVFN(1, 1), PCI_HEADER_TYPE, 1), 0x81);
	bench_fini(&b);
}

TEST(bars_tell_their_size_and_move)
{
	struct bench b;

	bench_init(&b);
	bench_card_on_bus0(&b, SLOT3);
	wr(&b, 0, SLOT3, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_IO, 2);
	wr(&b, 0, SLOT3, PCI_BAR0, 0xffffffff, 4);
	CHECK_EQ(rd(&b, 0, SLOT3, PCI_BAR0, 4), 0xffffe000);
	CHECK(!io_space_has(b.memory, 0xffffe000));
	wr(&b, 0, SLOT3, PCI_BAR0, 0xc0000000, 4);
	CHECK_EQ(io_space_read(b.memory, 0xc0000004, 1), 0xc4);
	wr(&b, 0, SLOT3, PCI_BAR0, 0xd0000000, 4);
	CHECK(!io_space_has(b.memory, 0xc0000000));
	CHECK(io_space_has(b.memory, 0xd0001fff));
	CHECK(!io_space_has(b.memory, 0xd0002000));

	wr(&b, 0, SLOT3, PCI_BAR0 + 8, 0xffffffff, 4);
	CHECK_EQ(rd(&b, 0, SLOT3, PCI_BAR0 + 8, 4), 0xffffffe1);
	CHECK(!io_space_has(b.ports, 0xffe0)); /* beyond 64 Ki: nowhere */
	wr(&b, 0, SLOT3, PCI_BAR0 + 8, 0xc000, 4);
	CHECK_EQ(io_space_read(b.ports, 0xc003, 1), 0xc3);

	wr(&b, 0, SLOT3, PCI_BAR0 + 16, 0xffffffff, 4);
	wr(&b, 0, SLOT3, PCI_BAR0 + 20, 0xffffffff, 4);
	CHECK_EQ(rd(&b, 0, SLOT3, PCI_BAR0 + 16, 4), 0xffff000c);
	CHECK_EQ(rd(&b, 0, SLOT3, PCI_BAR0 + 20, 4), 0xffffffff);
	wr(&b, 0, SLOT3, PCI_BAR0 + 16, 0x00010000, 4);
	wr(&b, 0, SLOT3, PCI_BAR0 + 20, 0x12, 4);
	CHECK_EQ(io_space_read(b.memory, 0x1200010008, 1), 0xc8);
	wr(&b, 0, SLOT3, PCI_COMMAND, 0, 2);
	CHECK(!io_space_has(b.memory, 0xd0000000));
	CHECK(!io_space_has(b.memory, 0x1200010000));
	CHECK(!io_space_has(b.ports, 0xc000));
	CHECK_EQ(rd(&b, 0, SLOT3, PCI_BAR0 + 12, 4), 0); /* no such BAR */
	bench_fini(&b);
}

TEST(overlapping_bars_harm_nobody)
{
	struct io_region fixed;
	struct bench b;

	bench_init(&b);
	struct card *c = bench_card_on_bus0(&b, SLOT3);

	io_region_init(&fixed, "fixed", &c->pci.dev, &card_io_ops, 0x1000);
	CHECK_EQ(io_map(b.memory, 0xfec00000, &fixed, 0), 0);
	wr(&b, 0, SLOT3, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
	wr(&b, 0, SLOT3, PCI_BAR0, 0xfebff000 & ~0x1fffu, 4);
	wr(&b, 0, SLOT3, PCI_BAR0 + 4, 0xfec00000, 4);
	wr(&b, 0, SLOT3, PCI_BAR0 + 16, 0xfec00000, 4);
	CHECK_EQ(io_space_read(b.memory, 0xfec00010, 1), 0xd0); /* still the fixed one's */
	wr(&b, 0, SLOT3, PCI_COMMAND, 0, 2);
	CHECK_EQ(io_space_read(b.memory, 0xfec00010, 1), 0xd0);
	io_region_fini(&fixed);
	bench_fini(&b);
}

/* --- bridges --- */

TEST(bus_numbers_are_the_guests)
{
	struct bench b;

	bench_init(&b);
	struct pci_device *port = bench_port(&b, PCI_DEVFN(1, 0), "rp");
	struct card *c = bench_card(&b, "card");

	pci_root_port_plug(port, &c->pci);
	CHECK_EQ(rd(&b, 1, 0, 0, 4), 0xffffffff);
	open_port(&b, PCI_DEVFN(1, 0), 5, 6);
	CHECK_EQ(rd(&b, 5, 0, 0, 4), 0x56781234);
	CHECK_EQ(rd(&b, 5, PCI_DEVFN(1, 0), 0, 4), 0xffffffff);
	CHECK_EQ(rd(&b, 6, 0, 0, 4), 0xffffffff);
	open_port(&b, PCI_DEVFN(1, 0), 9, 9);
	CHECK_EQ(rd(&b, 5, 0, 0, 4), 0xffffffff);
	CHECK_EQ(rd(&b, 9, 0, 0, 4), 0x56781234);
	bench_fini(&b);
}

TEST(bridges_forward_their_windows_only)
{
	u8 rp = PCI_DEVFN(1, 0);
	struct bench b;

	bench_init(&b);
	struct pci_device *port = bench_port(&b, rp, "rp");
	struct card *c = bench_card(&b, "card");

	pci_root_port_plug(port, &c->pci);
	open_port(&b, rp, 1, 1);
	wr(&b, 1, 0, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_IO, 2);
	wr(&b, 1, 0, PCI_BAR0, 0xc0100000, 4);
	wr(&b, 1, 0, PCI_BAR0 + 8, 0xc000, 4);
	wr(&b, 1, 0, PCI_BAR0 + 16, 0x00200000, 4);
	wr(&b, 1, 0, PCI_BAR0 + 20, 0x8, 4);
	CHECK(!io_space_has(b.memory, 0xc0100000));
	wr(&b, 0, rp, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_IO, 2);
	CHECK(!io_space_has(b.memory, 0xc0100000)); /* the window is closed */
	wr(&b, 0, rp, PCI_MEMORY_BASE, 0xc010c010, 4);
	CHECK(io_space_has(b.memory, 0xc0100000));
	CHECK(!io_space_has(b.memory, 0x800200000));
	wr(&b, 0, rp, PCI_PREF_BASE_UPPER, 8, 4);
	wr(&b, 0, rp, PCI_PREF_LIMIT_UPPER, 8, 4);
	wr(&b, 0, rp, PCI_PREF_BASE, 0x00200020, 4);
	CHECK_EQ(rd(&b, 0, rp, PCI_PREF_BASE, 4), 0x00210021);
	CHECK(io_space_has(b.memory, 0x800200000));
	CHECK(!io_space_has(b.ports, 0xc000));      /* ports aren't forwarded */
	CHECK_EQ(rd(&b, 0, rp, PCI_IO_BASE, 2), 0); /* and there is no window to set */
	wr(&b, 0, rp, PCI_IO_BASE, 0xf0f0, 2);
	CHECK_EQ(rd(&b, 0, rp, PCI_IO_BASE, 2), 0);
	wr(&b, 0, rp, PCI_COMMAND, 0, 2);
	CHECK(!io_space_has(b.memory, 0xc0100000));
	CHECK(!io_space_has(b.memory, 0x800200000));
	bench_fini(&b);
}

TEST(a_slot_shows_what_is_in_it)
{
	u8 rp = PCI_DEVFN(1, 0);
	struct bench b;

	bench_init(&b);
	struct pci_device *port = bench_port(&b, rp, "rp");
	u8 cap = find_cap(&b, 0, rp, PCI_CAP_ID_EXPRESS);

	CHECK(cap);
	CHECK_EQ(rd(&b, 0, rp, cap + 2u, 2), 0x142); /* version 2, root port, slot */
	CHECK_EQ(rd(&b, 0, rp, cap + (u32)PCIE_SLOT_CAP, 4) >> 19, 1u + rp);
	CHECK(!(rd(&b, 0, rp, cap + (u32)PCIE_SLOT_STATUS, 2) & PCIE_SLOT_STATUS_PRESENT));
	pci_root_port_plug(port, &bench_card(&b, "card")->pci);
	CHECK(rd(&b, 0, rp, cap + (u32)PCIE_SLOT_STATUS, 2) & PCIE_SLOT_STATUS_PRESENT);
	CHECK(rd(&b, 0, rp, cap + (u32)PCIE_LINK_STATUS, 2) & PCIE_LINK_STATUS_ACTIVE);
	wr(&b, 0, rp, cap + (u32)PCIE_SLOT_STATUS, 0xffff, 2);
	device_set_reset(&b.devices);
	CHECK(rd(&b, 0, rp, cap + (u32)PCIE_SLOT_STATUS, 2) & PCIE_SLOT_STATUS_PRESENT);
	bench_fini(&b);
}

TEST(resets_reach_functions)
{
	u8 rp = PCI_DEVFN(1, 0);
	struct bench b;

	bench_init(&b);
	struct pci_device *port = bench_port(&b, rp, "rp");
	struct card *c = bench_card(&b, "card");

	pci_root_port_plug(port, &c->pci);
	open_port(&b, rp, 1, 1);
	wr(&b, 1, 0, PCI_INTERRUPT_LINE, 11, 1);
	wr(&b, 0, rp, PCI_BRIDGE_CONTROL, PCI_BRIDGE_CONTROL_RESET, 2);
	CHECK_EQ(c->resets, 1);
	CHECK_EQ(rd(&b, 1, 0, PCI_INTERRUPT_LINE, 1), 0);
	wr(&b, 0, rp, PCI_BRIDGE_CONTROL, PCI_BRIDGE_CONTROL_RESET, 2);
	CHECK_EQ(c->resets, 1); /* an edge */
	wr(&b, 0, rp, PCI_BRIDGE_CONTROL, 0, 2);

	u32 control = find_cap(&b, 1, 0, PCI_CAP_ID_EXPRESS) + (u32)PCIE_DEVICE_CONTROL;

	wr(&b, 1, 0, control, 0x2810, 2);
	CHECK_EQ(c->resets, 1);
	CHECK_EQ(rd(&b, 1, 0, control, 2), 0x2810);
	wr(&b, 1, 0, control + 1, 0x80, 1);
	CHECK_EQ(c->resets, 2);
	CHECK_EQ(rd(&b, 1, 0, control, 2), 0);
	bench_fini(&b);
}

/* --- interrupts --- */

TEST(pins_share_wires)
{
	struct bench b;

	bench_init(&b);
	struct card *c = bench_card_on_bus0(&b, SLOT3);
	struct card *d = bench_card(&b, "other");
	unsigned wire = pci_pirq_of(3, PCI_INTX_A);

	pci_attach(&d->pci, pci_root_bus(b.root), PCI_DEVFN(11, 0)); /* eight slots on: the same */
	pci_set_intx(&c->pci, true);
	CHECK(b.pirq[wire]);
	CHECK(rd(&b, 0, SLOT3, PCI_STATUS, 2) & PCI_STATUS_INTX);
	pci_set_intx(&c->pci, true);
	pci_set_intx(&d->pci, true);
	pci_set_intx(&c->pci, false);
	CHECK(b.pirq[wire]);
	wr(&b, 0, PCI_DEVFN(11, 0), PCI_COMMAND, PCI_COMMAND_INTX_DISABLE, 2);
	CHECK(!b.pirq[wire]);
	CHECK(rd(&b, 0, PCI_DEVFN(11, 0), PCI_STATUS, 1) & PCI_STATUS_INTX);
	CHECK(rd(&b, 0, PCI_DEVFN(11, 0), PCI_COMMAND, 4) & (u32)PCI_STATUS_INTX << 16);
	wr(&b, 0, PCI_DEVFN(11, 0), PCI_COMMAND, 0, 2);
	CHECK(b.pirq[wire]);
	pci_set_intx(&d->pci, false);
	CHECK(!b.pirq[wire]);
	bench_fini(&b);
}

TEST(bridges_turn_pins)
{
	struct bench b;

	bench_init(&b);
	struct pci_device *port = bench_port(&b, PCI_DEVFN(2, 5), "rp");
	struct card *c = bench_card(&b, "card");

	pci_root_port_plug(port, &c->pci);
	pci_set_intx(&c->pci, true); /* slot 0: INTA stays INTA, of the port's slot */
	CHECK(b.pirq[pci_pirq_of(2, PCI_INTX_A)]);
	pci_set_intx(&c->pci, false);
	bench_fini(&b);
}

#define MSIX_GPA 0xc0004000ul

static void msix_open(struct bench *b)
{
	u8 cap = find_cap(b, 0, SLOT3, PCI_CAP_ID_MSIX);

	wr(b, 0, SLOT3, PCI_BAR0 + 4, MSIX_GPA, 4);
	wr(b, 0, SLOT3, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, 2);
	wr(b, 0, SLOT3, cap + (u32)PCI_MSIX_CONTROL, PCI_MSIX_CONTROL_ENABLE, 2);
}

static void msix_set(struct bench *b, unsigned vector, u64 address, u32 data, u32 control)
{
	io_space_write(b->memory, MSIX_GPA + vector * 16, address, 8);
	io_space_write(b->memory, MSIX_GPA + vector * 16 + 8, data, 4);
	io_space_write(b->memory, MSIX_GPA + vector * 16 + 12, control, 4);
}

TEST(msix_sends_and_masks)
{
	struct bench b;

	bench_init(&b);
	struct card *c = bench_card_on_bus0(&b, SLOT3);
	u8 cap = find_cap(&b, 0, SLOT3, PCI_CAP_ID_MSIX);

	CHECK_EQ(rd(&b, 0, SLOT3, cap + (u32)PCI_MSIX_CONTROL, 2), 2); /* three vectors */
	pci_msix_notify(&c->msix, 1);
	CHECK_EQ(b.n_msgs, 0);
	msix_open(&b);
	CHECK(pci_msix_is_enabled(&c->msix));
	CHECK_EQ(b.n_msgs, 0); /* nothing pends while disabled */
	CHECK_EQ(io_space_read(b.memory, MSIX_GPA + 16 + 12, 4), 1);
	pci_msix_notify(&c->msix, 1);
	CHECK_EQ(b.n_msgs, 0);
	CHECK_EQ(io_space_read(b.memory, MSIX_GPA + PCI_MSIX_PBA_OFF, 8), 2);
	msix_set(&b, 1, 0x1fee01000, 0x4041, 0xfffffffe);
	CHECK_EQ(b.n_msgs, 1);
	CHECK_EQ(b.msg.address, 0x1fee01000);
	CHECK_EQ(b.msg.data, 0x4041);
	CHECK_EQ(io_space_read(b.memory, MSIX_GPA + PCI_MSIX_PBA_OFF, 8), 0);
	CHECK_EQ(io_space_read(b.memory, MSIX_GPA + 16 + 12, 4), 0);
	pci_msix_notify(&c->msix, 1);
	CHECK_EQ(b.n_msgs, 2);

	wr(&b, 0, SLOT3, cap + (u32)PCI_MSIX_CONTROL,
	   PCI_MSIX_CONTROL_ENABLE | PCI_MSIX_CONTROL_MASK, 2);
	pci_msix_notify(&c->msix, 1);
	pci_msix_notify(&c->msix, 1);
	CHECK_EQ(b.n_msgs, 2);
	wr(&b, 0, SLOT3, cap + (u32)PCI_MSIX_CONTROL, PCI_MSIX_CONTROL_ENABLE, 2);
	CHECK_EQ(b.n_msgs, 3);
	wr(&b, 0, SLOT3, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
	pci_msix_notify(&c->msix, 1);
	CHECK_EQ(b.n_msgs, 3); /* may not master the bus */
	wr(&b, 0, SLOT3, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, 2);
	CHECK_EQ(b.n_msgs, 4);
	pci_msix_notify(&c->msix, 3);
	pci_msix_notify(&c->msix, 0xffff);
	CHECK_EQ(b.n_msgs, 4);
	bench_fini(&b);
}

TEST(msix_bar_ignores_what_is_not_there)
{
	struct bench b;

	bench_init(&b);
	bench_card_on_bus0(&b, SLOT3);
	msix_open(&b);
	io_space_write(b.memory, MSIX_GPA + 3 * 16, UINT64_MAX, 8);
	io_space_write(b.memory, MSIX_GPA + PCI_MSIX_PBA_OFF, UINT64_MAX, 8);
	CHECK_EQ(io_space_read(b.memory, MSIX_GPA + 3 * 16, 8), 0);
	CHECK_EQ(io_space_read(b.memory, MSIX_GPA + PCI_MSIX_PBA_OFF, 8), 0);
	CHECK_EQ(io_space_read(b.memory, MSIX_GPA + 0xff8, 8), 0);
	bench_fini(&b);
}

/* --- configuration ports --- */

TEST(ports_reach_configuration_space)
{
	struct bench b;

	bench_init(&b);
	struct card *c = bench_card_on_bus0(&b, SLOT3);
	struct io_region cf9;

	io_region_init(&cf9, "cf9", &c->pci.dev, &card_io_ops, 1);

	struct pci_config_ports *p = pci_config_ports_new(b.root, &cf9);

	device_adopt(&b.devices, pci_config_ports_device(p));
	CHECK_EQ(io_map(b.ports, PCI_CONFIG_PORT, pci_config_ports_io(p), 0), 0);
	CHECK_EQ(io_space_read(b.ports, 0xcfc, 4), 0xffffffff);
	io_space_write(b.ports, 0xcf8, 0x80001800, 4);
	CHECK_EQ(io_space_read(b.ports, 0xcf8, 4), 0x80001800);
	CHECK_EQ(io_space_read(b.ports, 0xcfc, 4), 0x56781234);
	CHECK_EQ(io_space_read(b.ports, 0xcfe, 2), 0x5678);
	CHECK_EQ(io_space_read(b.ports, 0xcff, 1), 0x56);
	io_space_write(b.ports, 0xcf8, 0x8000183c, 4);
	io_space_write(b.ports, 0xcfc, 0x0b, 1);
	CHECK_EQ(rd(&b, 0, SLOT3, PCI_INTERRUPT_LINE, 1), 0x0b);
	CHECK_EQ(io_space_read(b.ports, 0xcf9, 1), 0xc0); /* the other device's */
	CHECK_EQ(io_space_read(b.ports, 0xcf8, 1), 0xff);
	io_space_write(b.ports, 0xcf8, 0, 1);
	CHECK_EQ(io_space_read(b.ports, 0xcf8, 4), 0x8000183c);
	io_space_write(b.ports, 0xcf8, 0x00001800, 4);
	CHECK_EQ(io_space_read(b.ports, 0xcfc, 2), 0xffff);
	io_space_write(b.ports, 0xcfc, 0, 4);
	bench_fini(&b);
}

/* --- assignment --- */

static const struct pci_resources resources = {
	.ports = {0xc000, 0xffff},
	.memory32 = {0xc0000000, 0xfdffffff},
	.memory64 = {0x800000000, 0xfffffffff},
	.irq_of_pirq = {10, 10, 11, 11, 10, 10, 11, 11},
};

TEST(assignment_leaves_nothing_to_do)
{
	struct err err = ERR_INIT;
	struct pci_device *ports[3];
	struct bench b;

	bench_init(&b);
	for (u8 i = 0; i < 3; i++)
		ports[i] = bench_port(&b, PCI_DEVFN(1, i), (const char *[]){"a", "b", "c"}[i]);
	bench_card_on_bus0(&b, SLOT3);
	pci_root_port_plug(ports[0], &bench_card(&b, "card0")->pci);
	pci_root_port_plug(ports[2], &bench_card(&b, "card2")->pci);
	CHECK_EQ(pci_assign_resources(b.root, &resources, &err), 0);

	for (u8 i = 0; i < 3; i++) {
		u8 rp = PCI_DEVFN(1, i);
		u32 memory = rd(&b, 0, rp, PCI_MEMORY_BASE, 4);
		u32 pref = rd(&b, 0, rp, PCI_PREF_BASE, 4);

		CHECK_EQ(rd(&b, 0, rp, PCI_PRIMARY_BUS, 4), (i + 1u) << 16 | (i + 1u) << 8);
		CHECK((memory & 0xffff) < memory >> 16);
		CHECK((pref & 0xffff) < pref >> 16);
		CHECK_EQ(rd(&b, 0, rp, PCI_PREF_BASE_UPPER, 4), 8);
	}
	/* Every BAR is somewhere, decoded and forwarded. */
	static const u8 places[][2] = {{0, SLOT3}, {1, 0}, {3, 0}};

	for (unsigned i = 0; i < ARRAY_SIZE(places); i++) {
		u8 bus = places[i][0], devfn = places[i][1];
		u64 mem64 = (rd(&b, bus, devfn, PCI_BAR0 + 16, 4) & ~0xfu) |
			    (u64)rd(&b, bus, devfn, PCI_BAR0 + 20, 4) << 32;

		CHECK(io_space_has(b.memory, rd(&b, bus, devfn, PCI_BAR0, 4)));
		CHECK(io_space_has(b.memory, rd(&b, bus, devfn, PCI_BAR0 + 4, 4)));
		CHECK(mem64 >= 0x800000000 && io_space_has(b.memory, mem64));
		CHECK(rd(&b, bus, devfn, PCI_INTERRUPT_LINE, 1) >= 10);
	}
	CHECK(io_space_has(b.ports, rd(&b, 0, SLOT3, PCI_BAR0 + 8, 4) & ~3u));
	/* It is repeatable after a reset. */
	device_set_reset(&b.devices);
	CHECK(!io_space_has(b.memory, 0xc0000000));
	CHECK_EQ(pci_assign_resources(b.root, &resources, &err), 0);
	bench_fini(&b);
}

TEST(too_small_resources_are_explained)
{
	struct pci_resources small = resources;
	struct err err = ERR_INIT;
	struct bench b;

	bench_init(&b);
	bench_port(&b, PCI_DEVFN(1, 0), "rp");
	small.memory32.last = small.memory32.first + MIB - 1;
	CHECK_EQ(pci_assign_resources(b.root, &small, &err), -ENOSPC);
	CHECK_ERR(err, "below 4 GiB");
	small = resources;
	small.memory64 = (struct pci_window){1, 0};
	CHECK_EQ(pci_assign_resources(b.root, &small, &err), -ENOSPC);
	CHECK_ERR(err, "has 0 KiB");
	bench_fini(&b);
}

/* --- saved state --- */

static void bench_build(struct bench *b, struct card **out)
{
	bench_init(b);
	struct pci_device *port = bench_port(b, PCI_DEVFN(1, 0), "rp");

	*out = bench_card(b, "card");
	pci_root_port_plug(port, &(*out)->pci);
}

TEST(a_loaded_hierarchy_is_mapped_again)
{
	AUTO(state_writer_free) struct state_writer *w = state_writer_new();
	struct err err = ERR_INIT;
	struct bench b, b2;
	struct card *c, *c2;
	const void *data;
	size_t size;

	bench_build(&b, &c);
	CHECK_EQ(pci_assign_resources(b.root, &resources, &err), 0);
	wr(&b, 1, 0, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, 2);
	wr(&b, 1, 0, find_cap(&b, 1, 0, PCI_CAP_ID_MSIX) + (u32)PCI_MSIX_CONTROL,
	   PCI_MSIX_CONTROL_ENABLE, 2);
	pci_msix_notify(&c->msix, 2);
	pci_set_intx(&c->pci, true);
	device_set_save(&b.devices, w);
	data = state_writer_finish(w, &size);

	bench_build(&b2, &c2);
	CHECK_EQ(bench_load(&b2, data, size, &err), 0);
	CHECK_EQ(c2->mem32.base, c->mem32.base);
	CHECK_EQ(c2->mem64.base, c->mem64.base);
	CHECK_EQ(c2->mem64.space, b2.memory);
	CHECK(pci_msix_is_enabled(&c2->msix));
	CHECK(pci_is_master(&c2->pci));
	CHECK_EQ(c2->msix.pending[0], BIT(2));
	CHECK(b2.pirq[pci_pirq_of(1, PCI_INTX_A)]);
	for (u32 off = 0; off < PCI_CONFIG_SIZE; off += 4) {
		CHECK_EQ(rd(&b2, 1, 0, off, 4), rd(&b, 1, 0, off, 4));
		CHECK_EQ(rd(&b2, 0, PCI_DEVFN(1, 0), off, 4), rd(&b, 0, PCI_DEVFN(1, 0), off, 4));
	}
	bench_fini(&b2);
	bench_fini(&b);
}

TEST(a_function_of_another_kind_is_refused)
{
	AUTO(state_writer_free) struct state_writer *w = state_writer_new();
	struct err err = ERR_INIT;
	struct bench b, b2;
	struct card *c, *c2;
	const void *data;
	size_t size;

	bench_build(&b, &c);
	pci_set(&c->pci, PCI_DEVICE_ID, 0x1111, 2);
	device_set_save(&b.devices, w);
	data = state_writer_finish(w, &size);
	bench_build(&b2, &c2);
	CHECK_EQ(bench_load(&b2, data, size, &err), -EINVAL);
	CHECK_ERR(err, "1234:1111 instead of 1234:5678");
	bench_fini(&b2);
	bench_fini(&b);
}

/* pci/q35, pci/ich9_lpc: what the board is told, where registers move, what is locked. */
#include "test.h"

#include "base/epoch.h"
#include "base/err.h"
#include "pci/ich9_lpc.h"
#include "pci/ich9_lpc_regs.h"
#include "pci/pci.h"
#include "pci/q35.h"
#include "pci/q35_regs.h"
#include "state/state.h"

#define LPC PCI_DEVFN(31, 0)

struct bench {
	struct epoch *epoch;
	struct io_space *ports, *memory;
	struct pci_root *root;
	struct device_set devices;
	struct pci_device *host, *lpc;
	unsigned memory_changes, changes_to_make;
	unsigned pm_changes;
	struct ich9_pm pm;
	bool apic[PCI_PIRQS], isa[16];
};

static void bench_memory_changed(void *opaque)
{
	struct bench *b = opaque;

	b->memory_changes++;
	/* As when another vCPU writes meanwhile: this call must not nest. */
	if (b->changes_to_make) {
		unsigned before = b->memory_changes;

		b->changes_to_make--;
		pci_config_write(b->root, 0, 0, Q35_PAM0 + 1, 0x11, 1);
		CHECK_EQ(b->memory_changes, before);
	}
}

static void bench_pm_changed(void *opaque, const struct ich9_pm *pm)
{
	struct bench *b = opaque;

	b->pm_changes++;
	b->pm = *pm;
}

static void bench_set_line(void *opaque, unsigned pin, bool level)
{
	bool *lines = opaque;

	lines[pin] = level;
}

static void bench_init(struct bench *b)
{
	static const struct q35_ops ops = {.memory_changed = bench_memory_changed};
	struct ich9_lpc_config lpc = {.pm_changed = bench_pm_changed, .opaque = b};

	*b = (struct bench){0};
	b->epoch = epoch_new();
	epoch_attach(b->epoch);
	b->ports = io_space_new("ports", b->epoch, 0x10000);
	b->memory = io_space_new("memory", b->epoch, 0);
	b->root = pci_root_new(b->ports, b->memory);
	device_set_init(&b->devices);
	b->host = q35_host_new(b->root, &ops, b);
	device_adopt(&b->devices, &b->host->dev);
	for (unsigned i = 0; i < PCI_PIRQS; i++)
		lpc.apic[i] = (struct irq_line){bench_set_line, b->apic, i};
	for (unsigned i = 3; i < 16; i++)
		lpc.isa[i] = (struct irq_line){bench_set_line, b->isa, i};
	b->lpc = ich9_lpc_new(b->root, &lpc);
	device_adopt(&b->devices, &b->lpc->dev);
}

static void bench_fini(struct bench *b)
{
	device_set_fini(&b->devices);
	pci_root_free(b->root);
	io_space_free(b->ports);
	io_space_free(b->memory);
	epoch_detach(b->epoch);
	epoch_free(b->epoch);
}

static u32 rd(struct bench *b, u8 devfn, u32 off, unsigned size)
{
	return pci_config_read(b->root, 0, devfn, off, size);
}

static void wr(struct bench *b, u8 devfn, u32 off, u32 value, unsigned size)
{
	pci_config_write(b->root, 0, devfn, off, value, size);
}

TEST(both_bridges_are_who_they_are)
{
	struct bench b;

	bench_init(&b);
	CHECK_EQ(rd(&b, 0, 0, 4), 0x29c08086);
	CHECK_EQ(rd(&b, 0, PCI_CLASS_PROG + 1, 2), 0x0600);
	CHECK_EQ(rd(&b, LPC, 0, 4), 0x29188086);
	CHECK_EQ(rd(&b, LPC, PCI_CLASS_PROG + 1, 2), 0x0601);
	CHECK_EQ(rd(&b, 0, 0x100, 4), 0xffffffff); /* conventional: nothing beyond 256 bytes */
	bench_fini(&b);
}

TEST(configuration_space_is_in_memory_where_pciexbar_says)
{
	struct bench b;

	bench_init(&b);
	CHECK(!io_space_has(b.memory, 0xb0000000));
	q35_enable_ecam(b.host, 0xb0000000);
	CHECK_EQ(io_space_read(b.memory, 0xb0000000, 4), 0x29c08086);
	CHECK_EQ(io_space_read(b.memory, 0xb0000000 + (LPC << 12), 8), 0x0000000029188086);
	CHECK_EQ(io_space_read(b.memory, 0xbffff000, 2), 0xffff);
	io_space_write(b.memory, 0xb0000000 + (LPC << 12) + PCI_INTERRUPT_LINE, 7, 1);
	CHECK_EQ(rd(&b, LPC, PCI_INTERRUPT_LINE, 1), 7);

	/* Moved through itself; shorter; off. */
	io_space_write(b.memory, 0xb0000000 + Q35_PCIEXBAR, 0xe4000005, 4);
	CHECK(!io_space_has(b.memory, 0xb0000000));
	CHECK_EQ(io_space_read(b.memory, 0xe4000000, 4), 0x29c08086);
	CHECK(io_space_has(b.memory, 0xe7ffffff));
	CHECK(!io_space_has(b.memory, 0xe8000000));
	wr(&b, 0, Q35_PCIEXBAR, 0xe8000003, 4);
	CHECK(io_space_has(b.memory, 0xefffffff));
	CHECK(!io_space_has(b.memory, 0xf0000000));
	wr(&b, 0, Q35_PCIEXBAR, 0xe8000007, 4); /* reserved length */
	CHECK(!io_space_has(b.memory, 0xe8000000));
	wr(&b, 0, Q35_PCIEXBAR + 4, 0xffffffff, 4);
	wr(&b, 0, Q35_PCIEXBAR, 0xffffffff & ~6u, 4);
	CHECK_EQ(io_space_read(b.memory, 0xff0000000, 4), 0x29c08086);
	device_set_reset(&b.devices);
	CHECK(!io_space_has(b.memory, 0xff0000000));
	bench_fini(&b);
}

TEST(pam_segments_are_told)
{
	struct q35_pam pam;
	struct bench b;

	bench_init(&b);
	pam = q35_pam_segment(b.host, 0);
	CHECK_EQ(pam.gpa, 0xc0000);
	CHECK_EQ(pam.size, 16 * KIB);
	CHECK(!pam.is_readable && !pam.is_writable);
	wr(&b, 0, Q35_PAM0 + 2, 0x21, 1); /* 0xc8000 readable, 0xcc000 writable */
	CHECK_EQ(b.memory_changes, 1);
	pam = q35_pam_segment(b.host, 2);
	CHECK_EQ(pam.gpa, 0xc8000);
	CHECK(pam.is_readable && !pam.is_writable);
	pam = q35_pam_segment(b.host, 3);
	CHECK_EQ(pam.gpa, 0xcc000);
	CHECK(!pam.is_readable && pam.is_writable);
	wr(&b, 0, Q35_PAM0, 0xff, 1);
	CHECK_EQ(rd(&b, 0, Q35_PAM0, 1), 0x30);
	pam = q35_pam_segment(b.host, 12);
	CHECK_EQ(pam.gpa, 0xf0000);
	CHECK_EQ(pam.size, 64 * KIB);
	CHECK(pam.is_readable && pam.is_writable);
	q35_open_pam(b.host);
	for (unsigned i = 0; i < Q35_PAM_SEGMENTS; i++) {
		pam = q35_pam_segment(b.host, i);
		CHECK(pam.is_readable && pam.is_writable);
	}
	b.memory_changes = 0;
	wr(&b, 0, PCI_INTERRUPT_LINE, 0, 1);
	CHECK_EQ(b.memory_changes, 0);
	bench_fini(&b);
}

TEST(changes_during_a_change_are_told_after_it)
{
	struct bench b;

	bench_init(&b);
	b.changes_to_make = 3;
	wr(&b, 0, Q35_PAM0 + 2, 0x33, 1);
	CHECK_EQ(b.changes_to_make, 0);
	CHECK_EQ(b.memory_changes, 4);
	wr(&b, 0, Q35_PAM0 + 2, 0x11, 1);
	CHECK_EQ(b.memory_changes, 5);
	bench_fini(&b);
}

TEST(smram_locks_until_reset)
{
	struct q35_smram s;
	struct bench b;

	bench_init(&b);
	CHECK_EQ(rd(&b, 0, Q35_SMRAM, 1), 0x02);
	wr(&b, 0, Q35_SMRAM, Q35_SMRAM_OPEN | Q35_SMRAM_ON, 1);
	wr(&b, 0, Q35_TSEGMB, 0x7f800000, 4);
	wr(&b, 0, Q35_ESMRAMC, 0x04 | Q35_ESMRAMC_TSEG_ON, 1);
	s = q35_smram(b.host);
	CHECK(s.is_legacy_on && s.is_legacy_open && s.has_tseg);
	CHECK_EQ(s.tseg, 0x7f800000);
	CHECK_EQ(s.tseg_size, 8 * MIB);
	wr(&b, 0, Q35_SMRAM, Q35_SMRAM_OPEN | Q35_SMRAM_ON | Q35_SMRAM_LOCK, 1);
	s = q35_smram(b.host);
	CHECK(s.is_legacy_on && !s.is_legacy_open);
	wr(&b, 0, Q35_SMRAM, Q35_SMRAM_OPEN, 1);
	wr(&b, 0, Q35_ESMRAMC, 0, 1);
	CHECK_EQ(rd(&b, 0, Q35_SMRAM, 1), 0x1a);
	CHECK_EQ(rd(&b, 0, Q35_ESMRAMC, 1), 0x3d);
	device_set_reset(&b.devices);
	CHECK_EQ(rd(&b, 0, Q35_SMRAM, 1), 0x02);
	wr(&b, 0, Q35_SMRAM, Q35_SMRAM_OPEN, 1);
	CHECK_EQ(rd(&b, 0, Q35_SMRAM, 1), 0x42);
	bench_fini(&b);
}

TEST(memory_size_is_readable_and_survives_reset)
{
	struct bench b;

	bench_init(&b);
	q35_set_memory_size(b.host, 2 * GIB, GIB);
	device_set_reset(&b.devices);
	CHECK_EQ(rd(&b, 0, Q35_TOLUD, 2), 0x8000);
	CHECK_EQ(rd(&b, 0, Q35_TOUUD, 2), 0x1400);
	CHECK_EQ(rd(&b, 0, Q35_TOM, 2), 48);
	bench_fini(&b);
}

TEST(the_acpi_block_moves)
{
	struct bench b;

	bench_init(&b);
	CHECK_EQ(rd(&b, LPC, ICH9_PMBASE, 4), 1);
	wr(&b, LPC, ICH9_PMBASE, 0x0000067f, 4);
	CHECK_EQ(b.pm_changes, 1);
	CHECK_EQ(b.pm.base, 0x600);
	CHECK(!b.pm.is_enabled);
	wr(&b, LPC, ICH9_ACPI_CNTL, 0x84, 1);
	CHECK_EQ(b.pm_changes, 2);
	CHECK(b.pm.is_enabled);
	CHECK_EQ(b.pm.sci, 20);
	wr(&b, LPC, ICH9_ACPI_CNTL, 0x84, 1);
	CHECK_EQ(b.pm_changes, 2);
	device_set_reset(&b.devices);
	CHECK_EQ(b.pm_changes, 3);
	CHECK(!b.pm.is_enabled && b.pm.base == 0 && b.pm.sci == 9);
	bench_fini(&b);
}

/* A function with a pin, at a slot of bus 0: the wire is the slot's. */
static void plain_reset(struct device *d)
{
	pci_device_reset(container_of(d, struct pci_device, dev));
}

static void plain_free(struct device *d)
{
	pci_device_fini(container_of(d, struct pci_device, dev));
}

static const struct device_ops plain_ops = {
	.type = "plain",
	.offset = offsetof(struct pci_device, dev),
	.state = &pci_device_state,
	.reset = plain_reset,
	.free = plain_free,
};

static void bench_add_plain(struct bench *b, struct pci_device *p, unsigned slot, const char *name)
{
	static const struct pci_ids ids = {.vendor = 1, .device = 2, .class_code = 0xff0000};
	static const struct pci_ops ops;

	*p = (struct pci_device){0};
	pci_device_init(p, &ops, &plain_ops, name, &ids);
	pci_set_interrupt_pin(p, PCI_INTX_A);
	pci_attach(p, pci_root_bus(b->root), PCI_DEVFN(slot, 0));
	device_adopt(&b->devices, &p->dev);
}

TEST(wires_reach_both_chips)
{
	struct pci_device p, q;
	struct bench b;

	bench_init(&b);
	bench_add_plain(&b, &p, 8, "p");  /* PIRQA */
	bench_add_plain(&b, &q, 13, "q"); /* PIRQF */
	pci_set_intx(&p, true);
	CHECK(b.apic[0]);
	for (unsigned i = 0; i < 16; i++)
		CHECK(!b.isa[i]);
	wr(&b, LPC, ICH9_PIRQA_ROUT, 11, 1);
	CHECK(b.isa[11]);
	wr(&b, LPC, ICH9_PIRQE_ROUT + 1, 11, 1);
	pci_set_intx(&q, true);
	CHECK(b.apic[5]);
	pci_set_intx(&p, false);
	CHECK(!b.apic[0] && b.isa[11]); /* shared */
	wr(&b, LPC, ICH9_PIRQE_ROUT + 1, 10, 1);
	CHECK(!b.isa[11] && b.isa[10]);
	wr(&b, LPC, ICH9_PIRQE_ROUT + 1, 8, 1); /* reserved */
	CHECK(!b.isa[10] && !b.isa[8]);
	wr(&b, LPC, ICH9_PIRQE_ROUT + 1, 0x80 | 10, 1);
	CHECK(!b.isa[10]);
	wr(&b, LPC, ICH9_PIRQE_ROUT + 1, 10, 1);
	device_set_reset(&b.devices);
	CHECK(!b.isa[10]);
	CHECK(b.apic[5]); /* the device didn't let go */
	bench_fini(&b);
}

TEST(the_root_complex_block_tells_the_wiring)
{
	u64 rcba = 0xfed1c000;
	struct bench b;

	bench_init(&b);
	wr(&b, LPC, ICH9_RCBA, 0xfed1c001, 4);
	for (unsigned pin = 0; pin < 4; pin++)
		CHECK_EQ(io_space_read(b.memory, rcba + ICH9_RCRB_D31IR, 2) >> pin * 4 & 0xf,
			 pci_pirq_of(31, PCI_INTX_A + pin));
	CHECK_EQ(io_space_read(b.memory, rcba + ICH9_RCRB_D30IR, 2) & 0xf,
		 pci_pirq_of(30, PCI_INTX_A));
	CHECK_EQ(io_space_read(b.memory, rcba + ICH9_RCRB_HPTC, 4), 0x80);
	io_space_write(b.memory, rcba + ICH9_RCRB_HPTC, 0, 4);
	CHECK_EQ(io_space_read(b.memory, rcba + ICH9_RCRB_HPTC, 4), 0x80);
	CHECK_EQ(io_space_read(b.memory, rcba + ICH9_RCRB_GCS, 4), 0x20); /* no watchdog */
	wr(&b, LPC, ICH9_RCBA, 0xfed1c000, 4);
	CHECK(!io_space_has(b.memory, rcba));
	bench_fini(&b);
}

TEST(firmwares_part_can_be_done_for_it)
{
	static const u8 irqs[PCI_PIRQS] = {10, 10, 11, 11, 0, 0, 5, 5};
	struct bench b;

	bench_init(&b);
	ich9_lpc_set_up(b.lpc, 0x600, irqs, 0xfed1c000);
	CHECK_EQ(b.pm.base, 0x600);
	CHECK(b.pm.is_enabled && b.pm.sci == 9);
	CHECK_EQ(rd(&b, LPC, ICH9_PIRQA_ROUT, 4), 0x0b0b0a0a);
	CHECK_EQ(rd(&b, LPC, ICH9_PIRQE_ROUT, 4), 0x05058080);
	CHECK(io_space_has(b.memory, 0xfed1c000));
	bench_fini(&b);
}

static void bench_load(struct bench *b, const void *data, size_t size)
{
	AUTO(state_reader_free) struct state_reader *r = state_reader_new(data, size);
	struct err err = ERR_INIT;
	const char *name;
	u32 instance;

	while (state_reader_next(r, &name, &instance, &err) > 0)
		CHECK_EQ(device_set_load(&b->devices, r, name, instance, &err), 0);
	CHECK_EQ(err.code, 0);
}

TEST(what_was_saved_is_there_after_loading)
{
	static const u8 irqs[PCI_PIRQS] = {10, 10, 11, 11, 10, 10, 11, 11};
	AUTO(state_writer_free) struct state_writer *w = state_writer_new();
	struct bench b, b2;
	const void *data;
	size_t size;

	bench_init(&b);
	ich9_lpc_set_up(b.lpc, 0x600, irqs, 0xfed1c000);
	q35_enable_ecam(b.host, 0xb0000000);
	q35_open_pam(b.host);
	wr(&b, 0, Q35_SMRAM, Q35_SMRAM_ON | Q35_SMRAM_LOCK, 1);
	device_set_save(&b.devices, w);
	data = state_writer_finish(w, &size);

	bench_init(&b2);
	bench_load(&b2, data, size);
	CHECK_EQ(b2.pm.base, 0x600);
	CHECK(b2.pm.is_enabled);
	CHECK_EQ(b2.memory_changes, 1);
	CHECK(io_space_has(b2.memory, 0xfed1c000));
	CHECK_EQ(io_space_read(b2.memory, 0xb0000000, 4), 0x29c08086);
	CHECK(q35_pam_segment(b2.host, 12).is_writable);
	wr(&b2, 0, Q35_SMRAM, Q35_SMRAM_OPEN, 1);
	CHECK(!(rd(&b2, 0, Q35_SMRAM, 1) & Q35_SMRAM_OPEN));
	bench_fini(&b2);
	bench_fini(&b);
}

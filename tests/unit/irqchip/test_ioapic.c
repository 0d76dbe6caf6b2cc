/* irqchip/ioapic: registers, edges, levels, routes. */
#include "irqchip/ioapic.h"

#include "bus/device.h"
#include "bus/io.h"
#include "device_check.h"
#include "fake_irq.h"

#define WINDOW 0x10
#define EOI    0x40

struct routes {
	unsigned n, pin;
	struct msi_msg msg;
	bool is_level, is_masked;
};

static void routes_note(void *opaque, unsigned pin, const struct msi_msg *msg, bool is_level,
			bool is_masked)
{
	struct routes *r = (struct routes *)opaque;

	*r = (struct routes){r->n + 1, pin, *msg, is_level, is_masked};
}

static struct ioapic *ioapic_make(struct fake_msi *msi, struct routes *routes)
{
	struct ioapic_config config = {
		.sink = fake_msi_sink(msi),
		.on_route_change = routes ? routes_note : NULL,
		.opaque = routes,
	};

	return ioapic_new(&config);
}

static void reg_write(struct ioapic *io, u32 reg, u32 value)
{
	io_write(ioapic_io(io), 0, reg, 4);
	io_write(ioapic_io(io), WINDOW, value, 4);
}

static u32 reg_read(struct ioapic *io, u32 reg)
{
	io_write(ioapic_io(io), 0, reg, 4);
	return (u32)io_read(ioapic_io(io), WINDOW, 4);
}

static void pin_write(struct ioapic *io, unsigned pin, u64 entry)
{
	reg_write(io, 0x11 + 2 * pin, (u32)(entry >> 32));
	reg_write(io, 0x10 + 2 * pin, (u32)entry);
}

TEST(registers_are_those_of_version_0x20)
{
	struct fake_msi msi = {0};
	struct ioapic *io = ioapic_make(&msi, NULL);

	CHECK_EQ(reg_read(io, 1), 0x00170020);
	CHECK_EQ(reg_read(io, 0x10), 0x10000);
	reg_write(io, 0, 0xffffffff);
	CHECK_EQ(reg_read(io, 0), 0x0f000000);
	CHECK_EQ(reg_read(io, 2), 0x0f000000);
	reg_write(io, 0x3f, 0xffffffff);
	reg_write(io, 0x3e, 0xffffffff);
	CHECK_EQ(reg_read(io, 0x3f), 0xfffe0000);
	CHECK_EQ(reg_read(io, 0x3e), 0x1afff); /* status and remote IRR are read-only */
	CHECK_EQ(reg_read(io, 0x40), 0xffffffff);
	CHECK_EQ(io_read(ioapic_io(io), 0x20, 4), 0xffffffff);
	io_write(ioapic_io(io), 0, 1, 1); /* by the byte */
	CHECK_EQ(io_read(ioapic_io(io), WINDOW, 1), 0x20);
	CHECK_EQ(msi.n, 0);
	device_free(ioapic_device(io));
}

TEST(an_edge_is_sent_once_and_lost_when_masked)
{
	struct fake_msi msi = {0};
	struct ioapic *io = ioapic_make(&msi, NULL);
	struct irq_line line = ioapic_line(io, 4);

	irq_pulse(&line);
	pin_write(io, 4, (u64)3 << 56 | 0x41);
	CHECK_EQ(msi.n, 0);
	irq_set(&line, true);
	CHECK_EQ(msi.n, 1);
	CHECK_EQ(msi.last.address, 0xfee03000);
	CHECK_EQ(msi.last.data, 0x41);
	irq_set(&line, true);
	irq_set(&line, false);
	CHECK_EQ(msi.n, 1);
	irq_pulse(&line);
	CHECK_EQ(msi.n, 2);
	CHECK_SURVIVES_SAVE_AND_LOAD(ioapic_device(io));
	CHECK_STANDS_DAMAGED_STATE(ioapic_device(io));
	device_free(ioapic_device(io));
}

TEST(a_level_is_sent_again_after_its_end_while_it_stands)
{
	struct fake_msi msi = {0};
	struct ioapic *io = ioapic_make(&msi, NULL);
	struct irq_line line = ioapic_line(io, 10);

	pin_write(io, 10, (u64)0xff << 56 | 0x8000 | 0x2000 | 0x800 | 0x100 | 0x52);
	irq_set(&line, true);
	CHECK_EQ(msi.n, 1);
	CHECK_EQ(msi.last.address, 0xfeeff004);
	CHECK_EQ(msi.last.data, 0xc152);
	CHECK_EQ(reg_read(io, 0x10 + 20) & 0x4000, 0x4000);
	irq_set(&line, false);
	irq_set(&line, true);
	CHECK_EQ(msi.n, 1);
	CHECK_SURVIVES_SAVE_AND_LOAD(ioapic_device(io));
	ioapic_eoi(io, 0x53); /* another's */
	CHECK_EQ(msi.n, 1);
	ioapic_eoi(io, 0x52);
	CHECK_EQ(msi.n, 2);
	irq_set(&line, false);
	io_write(ioapic_io(io), EOI, 0x52, 4);
	CHECK_EQ(msi.n, 2);
	CHECK_EQ(reg_read(io, 0x10 + 20) & 0x4000, 0);
	device_free(ioapic_device(io));
}

TEST(a_level_waits_behind_the_mask)
{
	struct fake_msi msi = {0};
	struct ioapic *io = ioapic_make(&msi, NULL);
	struct irq_line line = ioapic_line(io, 23);

	pin_write(io, 23, 0x18052);
	irq_set(&line, true);
	CHECK_EQ(msi.n, 0);
	pin_write(io, 23, 0x8052);
	CHECK_EQ(msi.n, 1);
	/* Old guests end an interrupt by a turn to edge mode and back. */
	pin_write(io, 23, 0x10052);
	pin_write(io, 23, 0x8052);
	CHECK_EQ(msi.n, 2);
	device_free(ioapic_device(io));
}

TEST(route_changes_are_told)
{
	struct fake_msi msi = {0};
	struct routes routes = {0};
	struct ioapic *io = ioapic_make(&msi, &routes);

	CHECK_EQ(routes.n, 0); /* all masked: nothing new */
	pin_write(io, 9, 0x18061);
	CHECK_EQ(routes.n, 0);
	pin_write(io, 9, (u64)1 << 56 | (u64)1 << 49 | 0x8061);
	CHECK_EQ(routes.n, 1);
	CHECK_EQ(routes.pin, 9);
	CHECK_EQ(routes.msg.address, 0xfee01020); /* destination 0x101 */
	CHECK_EQ(routes.msg.data, 0xc061);
	CHECK(routes.is_level && !routes.is_masked);
	pin_write(io, 9, (u64)1 << 56 | (u64)1 << 49 | 0x8061);
	CHECK_EQ(routes.n, 1);
	CHECK_SURVIVES_SAVE_AND_LOAD(ioapic_device(io)); /* with a reset between */
	CHECK_EQ(routes.n, 3);
	CHECK(!routes.is_masked);
	device_reset(ioapic_device(io));
	CHECK_EQ(routes.n, 4);
	CHECK(routes.is_masked);
	device_free(ioapic_device(io));
}

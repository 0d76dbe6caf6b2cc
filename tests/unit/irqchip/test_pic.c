/* irqchip/pic: command words, priorities, cascade, ISA lines. */
#include "irqchip/pic.h"

#include "bus/device.h"
#include "bus/io.h"
#include "device_check.h"
#include "fake_irq.h"
#include "irqchip/ioapic.h"

static void command(struct io_region *io, u8 value)
{
	io_write(io, 0, value, 1);
}

static void data(struct io_region *io, u8 value)
{
	io_write(io, 1, value, 1);
}

static void pic_set_up(struct pic *pic, u8 icw4)
{
	command(pic_master_io(pic), 0x11);
	data(pic_master_io(pic), 0x30);
	data(pic_master_io(pic), 0x04);
	data(pic_master_io(pic), icw4);
	command(pic_slave_io(pic), 0x11);
	data(pic_slave_io(pic), 0x38);
	data(pic_slave_io(pic), 0x02);
	data(pic_slave_io(pic), icw4);
	data(pic_master_io(pic), 0);
	data(pic_slave_io(pic), 0);
}

static void raise(struct pic *pic, unsigned irq)
{
	struct irq_line line = pic_line(pic, irq);

	irq_set(&line, true);
}

static void lower(struct pic *pic, unsigned irq)
{
	struct irq_line line = pic_line(pic, irq);

	irq_set(&line, false);
}

static struct pic *pic_make(struct fake_irq *intr, u8 icw4)
{
	struct pic *pic = pic_new(fake_irq_line(intr));

	pic_set_up(pic, icw4);
	return pic;
}

TEST(an_edge_is_acknowledged_and_ended)
{
	struct fake_irq intr = {0};
	struct pic *pic = pic_make(&intr, 1);

	raise(pic, 4);
	CHECK(intr.level && pic_is_pending(pic));
	CHECK_EQ(io_read(pic_master_io(pic), 0, 1), 0x10); /* IRR */
	CHECK_SURVIVES_SAVE_AND_LOAD(pic_device(pic));
	CHECK_STANDS_DAMAGED_STATE(pic_device(pic));
	CHECK_EQ(pic_acknowledge(pic), 0x34);
	CHECK(!intr.level);
	command(pic_master_io(pic), 0x0b);
	CHECK_EQ(io_read(pic_master_io(pic), 0, 1), 0x10); /* ISR */
	raise(pic, 4);                                     /* still high: no new edge */
	CHECK(!intr.level);
	lower(pic, 4);
	raise(pic, 4);
	CHECK(!intr.level); /* in service */
	command(pic_master_io(pic), 0x20);
	CHECK(intr.level);
	CHECK_EQ(pic_acknowledge(pic), 0x34);
	device_free(pic_device(pic));
}

TEST(nothing_interrupts_before_initialization)
{
	struct fake_irq intr = {0};
	struct pic *pic = pic_new(fake_irq_line(&intr));

	raise(pic, 0);
	raise(pic, 8);
	CHECK_EQ(intr.rises, 0);
	pic_set_up(pic, 1); /* forgets edges that came before */
	CHECK(!intr.level);
	lower(pic, 0);
	raise(pic, 0);
	CHECK(intr.level);
	device_reset(pic_device(pic));
	CHECK(!intr.level);
	device_free(pic_device(pic));
}

TEST(a_pulse_is_not_lost_and_a_mask_holds_it)
{
	struct fake_irq intr = {0};
	struct pic *pic = pic_make(&intr, 1);

	data(pic_master_io(pic), 0x02);
	raise(pic, 1);
	lower(pic, 1);
	CHECK(!intr.level);
	CHECK_EQ(io_read(pic_master_io(pic), 1, 1), 2);
	data(pic_master_io(pic), 0);
	CHECK_EQ(pic_acknowledge(pic), 0x31);
	CHECK_EQ(pic_acknowledge(pic), 0x37); /* nothing there: spurious, not in service */
	command(pic_master_io(pic), 0x0b);
	CHECK_EQ(io_read(pic_master_io(pic), 0, 1), 2);
	device_free(pic_device(pic));
}

TEST(the_slave_comes_through_input_2)
{
	struct fake_irq intr = {0};
	struct pic *pic = pic_make(&intr, 1);

	raise(pic, 12);
	CHECK(intr.level);
	CHECK_EQ(pic_acknowledge(pic), 0x3c);
	command(pic_master_io(pic), 0x0b);
	command(pic_slave_io(pic), 0x0b);
	CHECK_EQ(io_read(pic_master_io(pic), 0, 1), 0x04);
	CHECK_EQ(io_read(pic_slave_io(pic), 0, 1), 0x10);
	raise(pic, 8); /* higher, but the master serves its input 2 */
	CHECK(!intr.level);
	raise(pic, 1);
	CHECK_EQ(pic_acknowledge(pic), 0x31);
	command(pic_master_io(pic), 0x61);
	command(pic_slave_io(pic), 0x20);  /* ends 12 */
	command(pic_master_io(pic), 0x62); /* specific: input 2 */
	CHECK_EQ(pic_acknowledge(pic), 0x38);
	device_free(pic_device(pic));
}

TEST(special_fully_nested_mode_lets_the_slave_nest)
{
	struct fake_irq intr = {0};
	struct pic *pic = pic_make(&intr, 0x11);

	raise(pic, 12);
	CHECK_EQ(pic_acknowledge(pic), 0x3c);
	raise(pic, 13);
	CHECK(!intr.level);
	raise(pic, 9);
	CHECK(intr.level);
	CHECK_EQ(pic_acknowledge(pic), 0x39);
	device_free(pic_device(pic));
}

TEST(a_masked_slave_request_leaves_the_master)
{
	struct fake_irq intr = {0};
	struct pic *pic = pic_make(&intr, 1);

	raise(pic, 14);
	CHECK(intr.level);
	data(pic_slave_io(pic), 0xff);
	CHECK(!intr.level);
	device_free(pic_device(pic));
}

TEST(levels_follow_their_line)
{
	struct fake_irq intr = {0};
	struct pic *pic = pic_make(&intr, 1);

	io_write(pic_edge_level_io(pic), 0, 0xff, 1);
	io_write(pic_edge_level_io(pic), 1, 0xff, 1);
	CHECK_EQ(io_read(pic_edge_level_io(pic), 0, 2), 0xdef8);
	raise(pic, 11);
	lower(pic, 11);
	CHECK(!intr.level);
	raise(pic, 11);
	CHECK_EQ(pic_acknowledge(pic), 0x3b);
	command(pic_slave_io(pic), 0x20);
	command(pic_master_io(pic), 0x20);
	CHECK(intr.level); /* it still stands */
	CHECK_SURVIVES_SAVE_AND_LOAD(pic_device(pic));
	device_free(pic_device(pic));
}

TEST(automatic_end_needs_no_command_and_may_rotate)
{
	struct fake_irq intr = {0};
	struct pic *pic = pic_make(&intr, 3);

	raise(pic, 0);
	CHECK_EQ(pic_acknowledge(pic), 0x30);
	command(pic_master_io(pic), 0x0b);
	CHECK_EQ(io_read(pic_master_io(pic), 0, 1), 0);
	command(pic_master_io(pic), 0x80);
	lower(pic, 0);
	raise(pic, 0);
	raise(pic, 5);
	CHECK_EQ(pic_acknowledge(pic), 0x30);
	lower(pic, 0);
	raise(pic, 0); /* now the lowest */
	CHECK_EQ(pic_acknowledge(pic), 0x35);
	CHECK_EQ(pic_acknowledge(pic), 0x30);
	device_free(pic_device(pic));
}

TEST(priorities_rotate_and_can_be_set)
{
	struct fake_irq intr = {0};
	struct pic *pic = pic_make(&intr, 1);

	command(pic_master_io(pic), 0xc3); /* 3 is the lowest, 4 the highest */
	raise(pic, 1);
	raise(pic, 4);
	CHECK_EQ(pic_acknowledge(pic), 0x34);
	command(pic_master_io(pic), 0xa0); /* end, and 4 becomes the lowest */
	lower(pic, 4);
	raise(pic, 4);
	CHECK_EQ(pic_acknowledge(pic), 0x31);
	command(pic_master_io(pic), 0xe1); /* specific end, and rotate */
	CHECK_EQ(pic_acknowledge(pic), 0x34);
	device_free(pic_device(pic));
}

TEST(special_mask_mode_lets_lower_ones_in)
{
	struct fake_irq intr = {0};
	struct pic *pic = pic_make(&intr, 1);

	raise(pic, 3);
	CHECK_EQ(pic_acknowledge(pic), 0x33);
	raise(pic, 6);
	CHECK(!intr.level);
	data(pic_master_io(pic), 0x08);
	CHECK(!intr.level);
	command(pic_master_io(pic), 0x68);
	CHECK(intr.level);
	CHECK_EQ(pic_acknowledge(pic), 0x36);
	command(pic_master_io(pic), 0x20); /* ends 6, not the masked 3 */
	command(pic_master_io(pic), 0x0b);
	CHECK_EQ(io_read(pic_master_io(pic), 0, 1), 0x08);
	device_free(pic_device(pic));
}

TEST(initialization_may_be_short)
{
	struct fake_irq intr = {0};
	struct pic *pic = pic_new(fake_irq_line(&intr));

	command(pic_master_io(pic), 0x12); /* single, no ICW4 */
	data(pic_master_io(pic), 0x47);
	data(pic_master_io(pic), 0xfd);
	CHECK_EQ(io_read(pic_master_io(pic), 1, 1), 0xfd);
	raise(pic, 1);
	CHECK_EQ(pic_acknowledge(pic), 0x41);
	command(pic_master_io(pic), 0x40); /* no operation */
	command(pic_master_io(pic), 0x21);
	command(pic_master_io(pic), 0x20); /* nothing is in service */
	command(pic_master_io(pic), 0x0b);
	CHECK_EQ(io_read(pic_master_io(pic), 0, 1), 0);
	command(pic_master_io(pic), 0x10); /* ICW3, no ICW4 */
	data(pic_master_io(pic), 0x50);
	data(pic_master_io(pic), 0x04);
	data(pic_master_io(pic), 0xfe);
	CHECK_EQ(io_read(pic_master_io(pic), 1, 1), 0xfe);
	device_free(pic_device(pic));
}

TEST(polling_acknowledges)
{
	struct fake_irq intr = {0};
	struct pic *pic = pic_make(&intr, 1);

	raise(pic, 7);
	command(pic_master_io(pic), 0x0c);
	CHECK_EQ(io_read(pic_master_io(pic), 0, 1), 0x87);
	CHECK(!intr.level);
	command(pic_master_io(pic), 0x0c);
	CHECK_EQ(io_read(pic_master_io(pic), 0, 1) & 0x80, 0);
	command(pic_master_io(pic), 0x0b);
	CHECK_EQ(io_read(pic_master_io(pic), 0, 1), 0x80);
	device_free(pic_device(pic));
}

TEST(isa_lines_reach_both_chips_and_irq_0_the_ioapics_pin_2)
{
	struct fake_irq intr = {0};
	struct fake_msi msi = {0};
	struct ioapic_config config = {.sink = fake_msi_sink(&msi)};
	struct ioapic *ioapic = ioapic_new(&config);
	struct pic *pic = pic_make(&intr, 1);
	struct isa_irqs irqs;
	struct irq_line line;

	isa_irqs_init(&irqs, pic, ioapic);
	io_write(ioapic_io(ioapic), 0, 0x14, 4);
	io_write(ioapic_io(ioapic), 0x10, 0x77, 4);
	line = isa_irq_line(&irqs, 0);
	irq_set(&line, true);
	CHECK_EQ(msi.n, 1);
	CHECK_EQ(msi.last.data, 0x77);
	CHECK_EQ(pic_acknowledge(pic), 0x30);
	device_free(pic_device(pic));
	device_free(ioapic_device(ioapic));
}

/* dev/reset_port: rising edges reset. */
#include "dev/reset_port.h"

#include "bus/device.h"
#include "bus/io.h"
#include "device_check.h"

static void count(void *opaque)
{
	(*(unsigned *)opaque)++;
}

TEST(the_reset_control_resets_on_a_rising_bit)
{
	unsigned resets = 0;
	struct power_events events = {.reset = count, .opaque = &resets};
	struct reset_port *r = reset_port_new(&events);
	struct io_region *io = reset_port_control_io(r);

	io_write(io, 0, 0x02, 1);
	CHECK_EQ(resets, 0);
	CHECK_EQ(io_read(io, 0, 1), 0x02);
	CHECK_SURVIVES_SAVE_AND_LOAD(reset_port_device(r));
	CHECK_STANDS_DAMAGED_STATE(reset_port_device(r));
	io_write(io, 0, 0x06, 1);
	CHECK_EQ(resets, 1);
	io_write(io, 0, 0x06, 1);
	CHECK_EQ(resets, 1);
	device_reset(reset_port_device(r));
	io_write(io, 0, RESET_CONTROL_FULL, 1);
	CHECK_EQ(resets, 2);
	device_free(reset_port_device(r));
}

TEST(port_a_resets_and_keeps_a20)
{
	unsigned resets = 0;
	struct power_events events = {.reset = count, .opaque = &resets};
	struct reset_port *r = reset_port_new(&events);
	struct io_region *io = reset_port_a_io(r);

	CHECK_EQ(io_read(io, 0, 1), 0x02);
	io_write(io, 0, 0xf0, 1);
	CHECK_EQ(io_read(io, 0, 1), 0);
	io_write(io, 0, 0x01, 1);
	CHECK_EQ(resets, 1);
	io_write(io, 0, 0x01, 1);
	CHECK_EQ(resets, 1);
	device_free(reset_port_device(r));
}

/* dev/pit, dev/port61: modes, latches, the interrupt, channel 2 by port 0x61. */
#include "dev/pit.h"

#include "base/time.h"
#include "bus/device.h"
#include "bus/io.h"
#include "dev/port61.h"
#include "device_check.h"
#include "fake_clock.h"
#include "fake_irq.h"

struct fixture {
	struct vclock *clock;
	struct fake_irq irq;
	struct pit *pit;
	struct port61 *port61;
};

static void fixture_init(struct fixture *f)
{
	*f = (struct fixture){.clock = fake_clock_new()};
	f->pit = pit_new(f->clock, fake_irq_line(&f->irq));
	f->port61 = port61_new(f->clock, f->pit);
}

static void fixture_fini(struct fixture *f)
{
	device_free(port61_device(f->port61));
	device_free(pit_device(f->pit));
	vclock_free(f->clock);
}

static void control(struct fixture *f, u8 v)
{
	io_write(pit_io(f->pit), 3, v, 1);
}

static void load16(struct fixture *f, unsigned channel, u16 v)
{
	io_write(pit_io(f->pit), channel, v & 0xff, 1);
	io_write(pit_io(f->pit), channel, v >> 8, 1);
}

static u8 read8(struct fixture *f, unsigned channel)
{
	return (u8)io_read(pit_io(f->pit), channel, 1);
}

static u16 latched16(struct fixture *f, unsigned channel)
{
	u8 low;

	control(f, (u8)(channel << 6));
	low = read8(f, channel);
	return (u16)(read8(f, channel) << 8 | low);
}

/* So many input clocks, and a bit, so that the last one has surely passed. */
static void advance(struct fixture *f, u64 ticks)
{
	fake_clock_advance(f->clock, time_muldiv(ticks, NSEC_PER_SEC, PIT_HZ) + 1);
}

TEST(the_rate_generator_ticks_and_nothing_else_fires)
{
	struct fixture f;

	fixture_init(&f);
	CHECK(fake_clock_is_idle(f.clock));
	control(&f, 0x34);
	load16(&f, 0, 11932); /* 100 Hz */
	unsigned before = f.irq.rises;
	fake_clock_advance(f.clock, NSEC_PER_SEC + NSEC_PER_MSEC);
	CHECK_EQ(f.irq.rises - before, 100);
	CHECK_EQ(fake_clock_fired(f.clock), 100);
	CHECK_SURVIVES_SAVE_AND_LOAD(pit_device(f.pit));
	CHECK_STANDS_DAMAGED_STATE(pit_device(f.pit));
	before = f.irq.rises;
	fake_clock_advance(f.clock, NSEC_PER_SEC);
	CHECK_EQ(f.irq.rises - before, 100);
	fixture_fini(&f);
}

TEST(square_waves_interrupt_once_a_period)
{
	struct fixture f;

	fixture_init(&f);
	control(&f, 0x36);
	load16(&f, 0, 0); /* 65536: 18.2 Hz */
	unsigned before = f.irq.rises;
	fake_clock_advance(f.clock, NSEC_PER_SEC);
	CHECK_EQ(f.irq.rises - before, 18);
	fixture_fini(&f);
}

TEST(the_shortest_period_does_not_occupy_the_host)
{
	struct fixture f;

	fixture_init(&f);
	control(&f, 0x14);
	io_write(pit_io(f.pit), 0, 1, 1);
	fake_clock_advance(f.clock, NSEC_PER_SEC);
	CHECK_EQ(fake_clock_fired(f.clock), 10000);
	u64 fired = fake_clock_fired(f.clock);
	control(&f, 0x34);
	load16(&f, 0, 20);
	fake_clock_advance(f.clock, NSEC_PER_SEC);
	CHECK(fake_clock_fired(f.clock) - fired <= 10001);
	fixture_fini(&f);
}

TEST(mode_0_raises_its_output_once)
{
	struct fixture f;

	fixture_init(&f);
	control(&f, 0x30);
	CHECK(!f.irq.level);
	advance(&f, 100);
	CHECK(!f.irq.level); /* no count yet */
	load16(&f, 0, 1000);
	advance(&f, 998);
	CHECK(!f.irq.level);
	CHECK_EQ(latched16(&f, 0), 2);
	advance(&f, 3);
	CHECK(f.irq.level);
	CHECK_EQ(latched16(&f, 0), 0xffff); /* it counts on */
	CHECK_EQ(fake_clock_fired(f.clock), 1);
	CHECK(fake_clock_is_idle(f.clock));
	fixture_fini(&f);
}

TEST(mode_4_strobes_after_its_count)
{
	struct fixture f;

	fixture_init(&f);
	control(&f, 0x38);
	CHECK(f.irq.level);
	load16(&f, 0, 500);
	unsigned before = f.irq.rises;
	advance(&f, 490);
	CHECK_EQ(f.irq.rises, before);
	advance(&f, 12);
	CHECK_EQ(f.irq.rises, before + 1);
	CHECK(fake_clock_is_idle(f.clock));
	fixture_fini(&f);
}

TEST(counters_count_down_and_latches_hold)
{
	struct fixture f;

	fixture_init(&f);
	control(&f, 0x34);
	load16(&f, 0, 1000);
	advance(&f, 300);
	CHECK_EQ(latched16(&f, 0), 700);
	control(&f, 0);
	advance(&f, 100);
	control(&f, 0); /* latched already */
	CHECK_EQ(read8(&f, 0), 700 & 0xff);
	CHECK_EQ(read8(&f, 0), 700 >> 8);
	CHECK_EQ(latched16(&f, 0), 600);
	control(&f, 0x36);
	load16(&f, 0, 1000);
	advance(&f, 100);
	CHECK_EQ(latched16(&f, 0), 800); /* by two */
	fixture_fini(&f);
}

TEST(read_back_gives_status_then_count)
{
	struct fixture f;

	fixture_init(&f);
	control(&f, 0x70);
	control(&f, 0xe4);            /* status of channel 1 */
	CHECK_EQ(read8(&f, 1), 0x70); /* output low, no count */
	load16(&f, 1, 100);
	advance(&f, 101);
	control(&f, 0xc4); /* both */
	CHECK_EQ(read8(&f, 1), 0xb0);
	CHECK_EQ(read8(&f, 1), 0xff);
	CHECK_EQ(read8(&f, 1), 0xff);
	CHECK_EQ(io_read(pit_io(f.pit), 3, 1), 0xff);
	fixture_fini(&f);
}

TEST(bcd_counts_in_decimal)
{
	struct fixture f;

	fixture_init(&f);
	control(&f, 0x71);
	load16(&f, 1, 0x1234);
	advance(&f, 35);
	CHECK_EQ(latched16(&f, 1), 0x1199);
	control(&f, 0x71);
	load16(&f, 1, 0xffff); /* not decimal: no harm */
	(void)latched16(&f, 1);
	fixture_fini(&f);
}

TEST(single_byte_accesses_touch_one_half)
{
	struct fixture f;

	fixture_init(&f);
	control(&f, 0x54);
	io_write(pit_io(f.pit), 1, 200, 1);
	CHECK_EQ(read8(&f, 1), 200);
	CHECK_EQ(read8(&f, 1), 200);
	control(&f, 0x64);
	io_write(pit_io(f.pit), 1, 2, 1);
	CHECK_EQ(read8(&f, 1), 2);
	fixture_fini(&f);
}

/* As Linux calibrates: mode 0 on channel 2, gate up, wait for the output in bit 5. */
TEST(port_0x61_gates_channel_2_and_shows_its_output)
{
	struct fixture f;
	struct io_region *io;

	fixture_init(&f);
	io = port61_io(f.port61);
	control(&f, 0xb0);
	load16(&f, 2, 1000);
	advance(&f, 2000);
	CHECK_EQ(io_read(io, 0, 1) & 0x21, 0); /* the gate is down: it doesn't count */
	io_write(io, 0, 0x01, 1);
	advance(&f, 500);
	CHECK_EQ(io_read(io, 0, 1) & 0x21, 0x01);
	io_write(io, 0, 0x00, 1); /* paused */
	advance(&f, 5000);
	CHECK_SURVIVES_SAVE_AND_LOAD(pit_device(f.pit));
	io_write(io, 0, 0x0d, 1);
	CHECK_EQ(io_read(io, 0, 1) & 0x2f, 0x0d);
	advance(&f, 498);
	CHECK_EQ(io_read(io, 0, 1) & 0x20, 0);
	advance(&f, 3);
	CHECK_EQ(io_read(io, 0, 1) & 0x20, 0x20);
	CHECK_SURVIVES_SAVE_AND_LOAD(port61_device(f.port61));
	CHECK_STANDS_DAMAGED_STATE(port61_device(f.port61));
	fixture_fini(&f);
}

TEST(a_rising_gate_triggers_the_one_shot)
{
	struct fixture f;
	struct io_region *io;

	fixture_init(&f);
	io = port61_io(f.port61);
	control(&f, 0xb2);
	CHECK(pit_out(f.pit, 2));
	load16(&f, 2, 100);
	CHECK(pit_out(f.pit, 2)); /* armed */
	io_write(io, 0, 1, 1);
	CHECK(!pit_out(f.pit, 2));
	advance(&f, 60);
	io_write(io, 0, 0, 1);
	io_write(io, 0, 1, 1); /* again */
	advance(&f, 60);
	CHECK(!pit_out(f.pit, 2));
	advance(&f, 60);
	CHECK(pit_out(f.pit, 2));
	fixture_fini(&f);
}

TEST(a_low_gate_stops_the_square_wave)
{
	struct fixture f;

	fixture_init(&f);
	control(&f, 0xb6);
	io_write(port61_io(f.port61), 0, 1, 1); /* before there is a count */
	load16(&f, 2, 1000);
	advance(&f, 700);
	CHECK(!pit_out(f.pit, 2));
	io_write(port61_io(f.port61), 0, 0, 1);
	CHECK(pit_out(f.pit, 2));
	advance(&f, 10000);
	io_write(port61_io(f.port61), 0, 1, 1); /* from the beginning */
	advance(&f, 100);
	CHECK(pit_out(f.pit, 2));
	advance(&f, 600);
	CHECK(!pit_out(f.pit, 2));
	fixture_fini(&f);
}

TEST(channel_0_may_be_gated_too)
{
	struct fixture f;

	fixture_init(&f);
	control(&f, 0x30);
	load16(&f, 0, 1000);
	pit_set_gate(f.pit, 0, false);
	CHECK(fake_clock_is_idle(f.clock));
	advance(&f, 5000);
	CHECK(!f.irq.level);
	pit_set_gate(f.pit, 0, true);
	advance(&f, 1001);
	CHECK(f.irq.level);
	fixture_fini(&f);
}

TEST(the_refresh_bit_toggles)
{
	struct fixture f;
	u64 first;

	fixture_init(&f);
	first = io_read(port61_io(f.port61), 0, 1) & 0x10;
	fake_clock_advance(f.clock, 15085);
	CHECK(first != (io_read(port61_io(f.port61), 0, 1) & 0x10));
	fixture_fini(&f);
}

/* dev/serial: transmit, receive, interrupts, loopback, a stream that takes nothing. */
#include "dev/serial.h"

#include "bus/device.h"
#include "bus/io.h"
#include "chr/chr.h"
#include "dev/serial_regs.h"
#include "device_check.h"
#include "fake_irq.h"

struct fixture {
	struct chr *chr;
	struct fake_irq irq;
	struct serial *s;
	struct io_region *io;
};

static void fixture_init(struct fixture *f, size_t capacity)
{
	*f = (struct fixture){.chr = chr_ring_new(capacity)};
	f->s = serial_new("serial0", f->chr, fake_irq_line(&f->irq));
	f->io = serial_io(f->s);
	io_write(f->io, SERIAL_MCR, SERIAL_MCR_OUT2 | SERIAL_MCR_RTS | SERIAL_MCR_DTR, 1);
}

static void fixture_fini(struct fixture *f)
{
	device_free(serial_device(f->s));
	chr_free(f->chr);
}

static u8 get(struct fixture *f, unsigned reg)
{
	return (u8)io_read(f->io, reg, 1);
}

static void set(struct fixture *f, unsigned reg, u8 value)
{
	io_write(f->io, reg, value, 1);
}

TEST(bytes_go_out_at_once)
{
	struct fixture f;
	char out[8];

	fixture_init(&f, 64);
	for (const char *p = "hello"; *p; p++) {
		CHECK_EQ(get(&f, SERIAL_LSR), SERIAL_LSR_THRE | SERIAL_LSR_TEMT);
		set(&f, SERIAL_DATA, (u8)*p);
	}
	CHECK_EQ(chr_ring_output(f.chr, out, sizeof(out)), 5);
	CHECK_MEM(out, "hello", 5);
	fixture_fini(&f);
}

TEST(what_the_stream_does_not_take_waits)
{
	struct fixture f;
	char out[32];

	fixture_init(&f, 4);
	set(&f, SERIAL_FCR, 1);
	set(&f, SERIAL_IER, SERIAL_IER_THRE);
	CHECK_EQ(get(&f, SERIAL_IIR), 0xc2);
	for (int i = 0; i < 21; i++) /* 4 in the stream, 16 in the FIFO, one lost */
		set(&f, SERIAL_DATA, (u8)('a' + i));
	CHECK_EQ(get(&f, SERIAL_LSR), 0);
	CHECK(!f.irq.level);
	CHECK_SURVIVES_SAVE_AND_LOAD(serial_device(f.s));
	CHECK_STANDS_DAMAGED_STATE(serial_device(f.s));
	CHECK_EQ(chr_ring_output(f.chr, out, 4), 4);
	CHECK_MEM(out, "abcd", 4);
	CHECK_EQ(get(&f, SERIAL_LSR), 0);
	for (int i = 0; i < 4; i++)
		CHECK_EQ(chr_ring_output(f.chr, out + 4 * i, 4), 4);
	CHECK_MEM(out, "efghijklmnopqrst", 16);
	CHECK_EQ(get(&f, SERIAL_LSR), SERIAL_LSR_THRE | SERIAL_LSR_TEMT);
	CHECK(f.irq.level);
	CHECK_EQ(get(&f, SERIAL_IIR), 0xc2);
	CHECK(!f.irq.level); /* reading it took it away */
	CHECK_EQ(get(&f, SERIAL_IIR), 0xc1);
	fixture_fini(&f);
}

TEST(input_waits_in_the_stream_until_there_is_room)
{
	struct fixture f;

	fixture_init(&f, 64);
	set(&f, SERIAL_IER, SERIAL_IER_RDA);
	CHECK_EQ(chr_ring_input(f.chr, "ab", 2), 1); /* no FIFO: one byte */
	CHECK(f.irq.level);
	CHECK_EQ(get(&f, SERIAL_IIR), 0x04);
	CHECK_EQ(get(&f, SERIAL_LSR) & SERIAL_LSR_DR, SERIAL_LSR_DR);
	(void)chr_ring_was_accepted(f.chr);
	CHECK_EQ(get(&f, SERIAL_DATA), 'a');
	CHECK(!f.irq.level);
	CHECK(chr_ring_was_accepted(f.chr));
	set(&f, SERIAL_FCR, 0x81); /* trigger at 8 */
	CHECK_EQ(chr_ring_input(f.chr, "0123456789abcdefgh", 18), 16);
	CHECK_EQ(get(&f, SERIAL_IIR), 0xc4);
	for (int i = 0; i < 9; i++)
		CHECK_EQ(get(&f, SERIAL_DATA), "0123456789"[i]);
	CHECK_EQ(get(&f, SERIAL_IIR), 0xcc); /* below the trigger */
	CHECK_SURVIVES_SAVE_AND_LOAD(serial_device(f.s));
	CHECK_EQ(get(&f, SERIAL_DATA), '9');
	set(&f, SERIAL_FCR, 0x83); /* clear */
	CHECK_EQ(get(&f, SERIAL_LSR) & SERIAL_LSR_DR, 0);
	CHECK_EQ(get(&f, SERIAL_DATA), 0);
	CHECK(!f.irq.level);
	fixture_fini(&f);
}

/* As Linux looks for it: loopback's modem lines, the IER's width, FIFOs in IIR. */
TEST(drivers_recognise_a_16550a)
{
	struct fixture f;

	fixture_init(&f, 64);
	set(&f, SERIAL_IER, 0xff);
	CHECK_EQ(get(&f, SERIAL_IER), 0x0f);
	set(&f, SERIAL_IER, 0);
	set(&f, SERIAL_MCR, SERIAL_MCR_LOOP | 0x0a);
	CHECK_EQ(get(&f, SERIAL_MSR) & 0xf0, 0x90);
	set(&f, SERIAL_MCR, 0);
	set(&f, SERIAL_SCR, 0xa5);
	CHECK_EQ(get(&f, SERIAL_SCR), 0xa5);
	set(&f, SERIAL_FCR, 0);
	CHECK_EQ(get(&f, SERIAL_IIR), 0x01);
	set(&f, SERIAL_FCR, 0x21);
	CHECK_EQ(get(&f, SERIAL_IIR), 0xc1);
	set(&f, SERIAL_LCR, SERIAL_LCR_DLAB | 3);
	set(&f, SERIAL_DATA, 0x34);
	set(&f, SERIAL_IER, 0x12);
	CHECK_EQ(io_read(f.io, 0, 2), 0x1234);
	set(&f, SERIAL_LCR, 3);
	CHECK_EQ(get(&f, SERIAL_IER), 0);
	fixture_fini(&f);
}

TEST(loopback_returns_bytes_and_overruns)
{
	struct fixture f;
	char out[4];

	fixture_init(&f, 64);
	set(&f, SERIAL_MCR, SERIAL_MCR_LOOP | SERIAL_MCR_OUT2);
	set(&f, SERIAL_IER, SERIAL_IER_RLS | SERIAL_IER_RDA);
	set(&f, SERIAL_DATA, 'x');
	CHECK_EQ(chr_ring_input(f.chr, "y", 1), 0);
	CHECK_EQ(get(&f, SERIAL_IIR), 0x04);
	CHECK(!f.irq.level); /* OUT2 doesn't reach its pin */
	set(&f, SERIAL_DATA, 'z');
	CHECK_EQ(get(&f, SERIAL_IIR), 0x06);
	CHECK_EQ(get(&f, SERIAL_LSR) & SERIAL_LSR_OE, SERIAL_LSR_OE);
	CHECK_EQ(get(&f, SERIAL_LSR) & SERIAL_LSR_OE, 0);
	CHECK_EQ(get(&f, SERIAL_DATA), 'x');
	CHECK_EQ(chr_ring_output(f.chr, out, sizeof(out)), 0);
	fixture_fini(&f);
}

TEST(modem_lines_follow_the_peer)
{
	struct fixture f;

	fixture_init(&f, 64);
	CHECK_EQ(get(&f, SERIAL_MSR) & 0xf0, 0xb0);
	(void)get(&f, SERIAL_MSR);
	set(&f, SERIAL_IER, SERIAL_IER_MSR);
	CHECK(!f.irq.level);
	chr_ring_set_open(f.chr, false);
	CHECK(f.irq.level);
	CHECK_EQ(get(&f, SERIAL_IIR), 0x00);
	CHECK_EQ(get(&f, SERIAL_MSR), 0x0b);
	CHECK(!f.irq.level);
	chr_ring_set_open(f.chr, true);
	CHECK_EQ(get(&f, SERIAL_MSR), 0xbb);
	fixture_fini(&f);
}

TEST(out2_lets_the_interrupt_out)
{
	struct fixture f;

	fixture_init(&f, 64);
	set(&f, SERIAL_MCR, 0);
	set(&f, SERIAL_IER, SERIAL_IER_THRE);
	CHECK_EQ(get(&f, SERIAL_LSR) & SERIAL_LSR_THRE, SERIAL_LSR_THRE);
	CHECK(!f.irq.level);
	set(&f, SERIAL_MCR, SERIAL_MCR_OUT2);
	CHECK(f.irq.level);
	device_reset(serial_device(f.s));
	CHECK(!f.irq.level);
	fixture_fini(&f);
}

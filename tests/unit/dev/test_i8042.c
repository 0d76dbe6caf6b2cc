/* dev/i8042, dev/ps2: what drivers probe for, interrupts, reset. */
#include "dev/i8042.h"

#include "bus/device.h"
#include "bus/io.h"
#include "device_check.h"
#include "fake_irq.h"

#define FULL  0x01
#define MOUSE 0x20

struct fixture {
	struct i8042 *c;
	struct fake_irq keyboard, mouse;
	unsigned resets;
};

static void fixture_reset(void *opaque)
{
	((struct fixture *)opaque)->resets++;
}

static void fixture_init(struct fixture *f)
{
	struct power_events events = {.reset = fixture_reset, .opaque = f};

	*f = (struct fixture){0};
	f->c = i8042_new(fake_irq_line(&f->keyboard), fake_irq_line(&f->mouse), &events);
}

static void fixture_fini(struct fixture *f)
{
	device_free(i8042_device(f->c));
}

static void command(struct fixture *f, u8 v)
{
	io_write(i8042_status_io(f->c), 0, v, 1);
}

static void data(struct fixture *f, u8 v)
{
	io_write(i8042_data_io(f->c), 0, v, 1);
}

static u8 status(struct fixture *f)
{
	return (u8)io_read(i8042_status_io(f->c), 0, 1);
}

/* The next byte, or -1 when there is none; -2 when it isn't from where it should be. */
static int take_byte(struct fixture *f, bool is_mouse)
{
	u8 s = status(f);

	if (!(s & FULL))
		return -1;
	if (!(s & MOUSE) == is_mouse)
		return -2;
	return (int)io_read(i8042_data_io(f->c), 0, 1);
}

TEST(the_controller_passes_its_tests)
{
	struct fixture f;

	fixture_init(&f);
	CHECK_EQ(status(&f), 0x14);
	command(&f, 0xaa);
	CHECK_EQ(take_byte(&f, false), 0x55);
	command(&f, 0xab);
	CHECK_EQ(take_byte(&f, false), 0);
	command(&f, 0xa9);
	CHECK_EQ(take_byte(&f, false), 0);
	CHECK_EQ(take_byte(&f, false), -1);
	CHECK_EQ(status(&f) & 0x08, 0x08);
	fixture_fini(&f);
}

/* Linux, drivers/input/serio/i8042.c: command byte, AUX loop, AUX enable and disable. */
TEST(linux_finds_a_controller_with_a_mouse_port)
{
	struct fixture f;
	int ccb;

	fixture_init(&f);
	command(&f, 0x20);
	ccb = take_byte(&f, false);
	CHECK_EQ(ccb, 0x44);
	command(&f, 0x60);
	data(&f, (u8)(ccb | 0x30));
	command(&f, 0xd3);
	data(&f, 0x5a);
	CHECK_EQ(take_byte(&f, true), 0x5a);
	command(&f, 0xa8);
	command(&f, 0x20);
	CHECK_EQ(take_byte(&f, false) & 0x20, 0);
	command(&f, 0xa7);
	command(&f, 0x20);
	CHECK_EQ(take_byte(&f, false) & 0x20, 0x20);
	command(&f, 0x60); /* the AUX interrupt is tried the same way */
	data(&f, 0x46);
	command(&f, 0xd3);
	data(&f, 0xa5);
	CHECK(f.mouse.level && !f.keyboard.level);
	CHECK_EQ(take_byte(&f, true), 0xa5);
	CHECK(!f.mouse.level);
	command(&f, 0x65);
	data(&f, 0x99);
	command(&f, 0x25);
	CHECK_EQ(take_byte(&f, false), 0x99);
	fixture_fini(&f);
}

TEST(the_keyboard_identifies_itself_translated_or_not)
{
	struct fixture f;

	fixture_init(&f);
	data(&f, 0xf2);
	CHECK_EQ(take_byte(&f, false), 0xfa);
	CHECK_EQ(take_byte(&f, false), 0xab);
	CHECK_EQ(take_byte(&f, false), 0x41);
	command(&f, 0x60);
	data(&f, 0x04);
	data(&f, 0xf2);
	CHECK_EQ(take_byte(&f, false), 0xfa);
	CHECK_EQ(take_byte(&f, false), 0xab);
	CHECK_EQ(take_byte(&f, false), 0x83);
	CHECK_EQ(take_byte(&f, false), -1);
	fixture_fini(&f);
}

TEST(each_byte_is_an_edge)
{
	struct fixture f;

	fixture_init(&f);
	command(&f, 0x60);
	data(&f, 0x45);
	data(&f, 0xff); /* reset: acknowledge, self test */
	CHECK_EQ(f.keyboard.rises, 1);
	CHECK_SURVIVES_SAVE_AND_LOAD(i8042_device(f.c));
	CHECK_STANDS_DAMAGED_STATE(i8042_device(f.c));
	f.keyboard.rises = 1;
	CHECK_EQ(take_byte(&f, false), 0xfa);
	CHECK_EQ(f.keyboard.rises, 2);
	CHECK_EQ(take_byte(&f, false), 0xaa);
	CHECK(!f.keyboard.level);
	CHECK_EQ(f.mouse.rises, 0);
	fixture_fini(&f);
}

TEST(keyboard_commands_with_arguments)
{
	static const struct {
		u8 send[2];
		int answers[3];
	} cases[] = {
		{{0xed, 0x07}, {0xfa, 0xfa, -1}},   {{0xf3, 0x00}, {0xfa, 0xfa, -1}},
		{{0xf0, 0x00}, {0xfa, 0xfa, 0x41}}, {{0xf0, 0x03}, {0xfa, 0xfa, -1}},
		{{0xf0, 0x04}, {0xfa, 0xfe, -1}},   {{0xee, 0xee}, {0xee, 0xee, -1}},
		{{0xf4, 0xf5}, {0xfa, 0xfa, -1}},   {{0x00, 0xf6}, {0xfe, 0xfa, -1}},
		{{0xed, 0xf4}, {0xfa, 0xfa, -1}},   {{0xf4, 0xfe}, {0xfa, 0xfa, -1}},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct fixture f;

		fixture_init(&f);
		data(&f, cases[i].send[0]);
		CHECK_EQ(take_byte(&f, false), cases[i].answers[0]);
		data(&f, cases[i].send[1]);
		CHECK_EQ(take_byte(&f, false), cases[i].answers[1]);
		CHECK_EQ(take_byte(&f, false), cases[i].answers[2]);
		fixture_fini(&f);
	}
}

static void to_mouse(struct fixture *f, u8 v)
{
	command(f, 0xd4);
	data(f, v);
}

TEST(the_mouse_answers)
{
	struct fixture f;

	fixture_init(&f);
	to_mouse(&f, 0xff);
	CHECK_EQ(take_byte(&f, true), 0xfa);
	CHECK_EQ(take_byte(&f, true), 0xaa);
	CHECK_EQ(take_byte(&f, true), 0x00);
	to_mouse(&f, 0xf2);
	CHECK_EQ(take_byte(&f, true), 0xfa);
	CHECK_EQ(take_byte(&f, true), 0x00);
	to_mouse(&f, 0xf3);
	CHECK_EQ(take_byte(&f, true), 0xfa);
	to_mouse(&f, 40);
	CHECK_EQ(take_byte(&f, true), 0xfa);
	to_mouse(&f, 0xe8);
	CHECK_EQ(take_byte(&f, true), 0xfa);
	to_mouse(&f, 3);
	CHECK_EQ(take_byte(&f, true), 0xfa);
	to_mouse(&f, 0xf4);
	CHECK_EQ(take_byte(&f, true), 0xfa);
	to_mouse(&f, 0xe9);
	CHECK_EQ(take_byte(&f, true), 0xfa);
	CHECK_EQ(take_byte(&f, true), 0x20);
	CHECK_EQ(take_byte(&f, true), 3);
	CHECK_EQ(take_byte(&f, true), 40);
	to_mouse(&f, 0xeb);
	CHECK_SURVIVES_SAVE_AND_LOAD(i8042_device(f.c));
	CHECK_EQ(take_byte(&f, true), 0xfa);
	CHECK_EQ(take_byte(&f, true), 0x08);
	to_mouse(&f, 0xee); /* wrap: what was to come is dropped, and all comes back */
	CHECK_EQ(take_byte(&f, true), 0);
	CHECK_EQ(take_byte(&f, true), 0xfa);
	to_mouse(&f, 0xe9);
	CHECK_EQ(take_byte(&f, true), 0xe9);
	to_mouse(&f, 0xec);
	CHECK_EQ(take_byte(&f, true), 0xfa);
	to_mouse(&f, 0xe7);
	CHECK_EQ(take_byte(&f, true), 0xfa);
	to_mouse(&f, 0xf0);
	CHECK_EQ(take_byte(&f, true), 0xfa);
	to_mouse(&f, 0xe9);
	CHECK_EQ(take_byte(&f, true), 0xfa);
	CHECK_EQ(take_byte(&f, true), 0x70);
	CHECK_EQ(take_byte(&f, true), 3);
	CHECK_EQ(take_byte(&f, true), 40);
	to_mouse(&f, 0xfe); /* the last byte again */
	CHECK_EQ(take_byte(&f, true), 40);
	to_mouse(&f, 0xf6);
	CHECK_EQ(take_byte(&f, true), 0xfa);
	to_mouse(&f, 0xbb);
	CHECK_EQ(take_byte(&f, true), 0xfe);
	CHECK_EQ(take_byte(&f, true), -1);
	fixture_fini(&f);
}

TEST(a_disabled_interface_holds_its_bytes_back)
{
	struct fixture f;

	fixture_init(&f);
	to_mouse(&f, 0xf2);
	CHECK_EQ(take_byte(&f, true), 0xfa);
	command(&f, 0xa7);
	CHECK_EQ(take_byte(&f, true), 0); /* it stood in the buffer already */
	to_mouse(&f, 0xf2);               /* enables */
	CHECK_EQ(take_byte(&f, true), 0xfa);
	command(&f, 0xad);
	command(&f, 0xa7);
	CHECK_EQ(take_byte(&f, true), 0);
	fixture_fini(&f);
}

TEST(pulses_and_the_output_port_reset)
{
	struct fixture f;

	fixture_init(&f);
	command(&f, 0xfe);
	CHECK_EQ(f.resets, 1);
	command(&f, 0xff); /* pulses nothing */
	CHECK_EQ(f.resets, 1);
	command(&f, 0xd0);
	CHECK_EQ(take_byte(&f, false), 0x03);
	command(&f, 0xdd);
	command(&f, 0xd0);
	CHECK_EQ(take_byte(&f, false), 0x01);
	command(&f, 0xdf);
	command(&f, 0xd0);
	CHECK_EQ(take_byte(&f, false), 0x03);
	command(&f, 0xd2);
	data(&f, 0x1c);
	command(&f, 0xd0); /* a byte stands in the buffer */
	CHECK_EQ(take_byte(&f, false), 0x1c);
	CHECK_EQ(take_byte(&f, false), 0x13);
	command(&f, 0xd1);
	data(&f, 0x03);
	CHECK_EQ(f.resets, 1);
	command(&f, 0xd1);
	data(&f, 0x02);
	CHECK_EQ(f.resets, 2);
	command(&f, 0xc0);
	CHECK_EQ(take_byte(&f, false), 0x80);
	command(&f, 0x99);
	CHECK_EQ(i8042_device(f.c)->guest_errors, 1);
	fixture_fini(&f);
}

TEST(a_flood_of_answers_ends_at_the_queues_size)
{
	struct fixture f;
	int n = 0;

	fixture_init(&f);
	for (int i = 0; i < 1000; i++) {
		command(&f, 0xaa);
		command(&f, 0xd3);
		data(&f, (u8)i);
	}
	while (status(&f) & FULL) {
		(void)io_read(i8042_data_io(f.c), 0, 1);
		n++;
	}
	CHECK_EQ(n, 1 + 16 + 16);
	fixture_fini(&f);
}

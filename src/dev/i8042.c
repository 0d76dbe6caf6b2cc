/*
 * 8042 keyboard controller (IBM PS/2 Hardware Interface Technical Reference; 82801IB, 5.15).
 *
 * One byte at a time stands in the output buffer for the guest to read. It comes from the
 * controller's own answers first, then from the keyboard, then from the mouse, the latter two as
 * far as their interfaces are enabled. A command that wants an argument takes the next byte at the
 * data port.
 *
 * A20 is always open: the output port's bit is kept and moves nothing.
 */
#include "dev/i8042.h"

#include "base/alloc.h"
#include "base/err.h"
#include "bus/device.h"
#include "bus/io.h"
#include "dev/ps2.h"
#include "state/state.h"

/* clang-format off */
#define I8042_STATUS_OUT	BIT32(0)	/* the output buffer is full */
#define I8042_STATUS_SYSTEM	BIT32(2)
#define I8042_STATUS_COMMAND	BIT32(3)	/* what was written last was a command */
#define I8042_STATUS_UNLOCKED	BIT32(4)
#define I8042_STATUS_MOUSE	BIT32(5)	/* the byte is the mouse's */

/* The command byte, at address 0 of the controller's memory. */
#define I8042_CCB		0
#define I8042_CCB_KEYBOARD_IRQ	BIT32(0)
#define I8042_CCB_MOUSE_IRQ	BIT32(1)
#define I8042_CCB_SYSTEM	BIT32(2)
#define I8042_CCB_NO_KEYBOARD	BIT32(4)
#define I8042_CCB_NO_MOUSE	BIT32(5)
#define I8042_CCB_TRANSLATE	BIT32(6)
#define I8042_RAM		32

#define I8042_READ_RAM		0x20	/* to 0x3f */
#define I8042_WRITE_RAM		0x60	/* to 0x7f */
#define I8042_MOUSE_DISABLE	0xa7
#define I8042_MOUSE_ENABLE	0xa8
#define I8042_MOUSE_TEST	0xa9
#define I8042_SELF_TEST		0xaa
#define I8042_KEYBOARD_TEST	0xab
#define I8042_KEYBOARD_DISABLE	0xad
#define I8042_KEYBOARD_ENABLE	0xae
#define I8042_READ_INPUT	0xc0
#define I8042_READ_OUTPUT	0xd0
#define I8042_WRITE_OUTPUT	0xd1
#define I8042_FROM_KEYBOARD	0xd2	/* the argument, as if it had come from there */
#define I8042_FROM_MOUSE	0xd3
#define I8042_TO_MOUSE		0xd4
#define I8042_A20_OFF		0xdd
#define I8042_A20_ON		0xdf
#define I8042_PULSE		0xf0	/* to 0xff: a clear bit pulses its output */

#define I8042_OUTPUT_NO_RESET	BIT32(0)
#define I8042_OUTPUT_A20	BIT32(1)
#define I8042_OUTPUT_KEYBOARD	BIT32(4)
#define I8042_OUTPUT_MOUSE	BIT32(5)
#define I8042_OUTPUT_KEPT	0xcfu
/* clang-format on */

struct i8042 {
	struct device dev; /* holds the lock for all below */
	struct io_region data_io, status_io;
	struct irq_line keyboard_irq, mouse_irq;
	struct power_events events;

	u8 ram[I8042_RAM];
	u8 output;  /* port, without the buffer bits */
	u8 command; /* waits for its argument; 0: none */
	bool wrote_command;
	bool is_full;  /* the output buffer */
	bool is_mouse; /* whose byte it is */
	u8 byte;
	struct ps2_queue answers, mouse_answers; /* the controller's own */
	struct ps2_keyboard keyboard;
	struct ps2_mouse mouse;
};

/* --- the output buffer --- */

static void i8042_update_irqs(struct i8042 *c)
{
	u8 ccb = c->ram[I8042_CCB];

	irq_set(&c->keyboard_irq, c->is_full && !c->is_mouse && ccb & I8042_CCB_KEYBOARD_IRQ);
	irq_set(&c->mouse_irq, c->is_full && c->is_mouse && ccb & I8042_CCB_MOUSE_IRQ);
}

/* Scan codes of set 2 in set 1, of the few that the keyboard's answers contain. */
static u8 i8042_translate(u8 byte)
{
	switch (byte) {
	case 0x01:
		return 0x43;
	case 0x02:
	case 0x83:
		return 0x41;
	case 0x03:
		return 0x3f;
	}
	return byte;
}

static void i8042_show(struct i8042 *c, struct ps2_queue *from, bool is_mouse)
{
	c->byte = ps2_queue_take(from);
	if (from == &c->keyboard.out && c->ram[I8042_CCB] & I8042_CCB_TRANSLATE)
		c->byte = i8042_translate(c->byte);
	c->is_full = true;
	c->is_mouse = is_mouse;
}

/* Shows the next byte, if there is one and the last was read. */
static void i8042_update(struct i8042 *c)
{
	u8 ccb = c->ram[I8042_CCB];

	if (!c->is_full) {
		if (c->answers.n)
			i8042_show(c, &c->answers, false);
		else if (c->mouse_answers.n)
			i8042_show(c, &c->mouse_answers, true);
		else if (c->keyboard.out.n && !(ccb & I8042_CCB_NO_KEYBOARD))
			i8042_show(c, &c->keyboard.out, false);
		else if (c->mouse.out.n && !(ccb & I8042_CCB_NO_MOUSE))
			i8042_show(c, &c->mouse.out, true);
	}
	i8042_update_irqs(c);
}

static void i8042_answer(struct i8042 *c, u8 byte)
{
	ps2_queue_put(&c->answers, byte);
}

/* --- commands --- */

static void i8042_write_output(struct i8042 *c, u8 value)
{
	c->output = value & I8042_OUTPUT_KEPT;
	if (!(value & I8042_OUTPUT_NO_RESET))
		c->events.reset(c->events.opaque);
}

static u8 i8042_read_output(const struct i8042 *c)
{
	u8 v = c->output;

	if (c->is_full)
		v |= c->is_mouse ? I8042_OUTPUT_MOUSE : I8042_OUTPUT_KEYBOARD;
	return v;
}

static void i8042_set_ccb(struct i8042 *c, u32 bit, bool on)
{
	u8 *ccb = &c->ram[I8042_CCB];

	*ccb = on ? *ccb | (u8)bit : *ccb & ~(u8)bit;
}

static void i8042_self_test(struct i8042 *c)
{
	c->ram[I8042_CCB] |= I8042_CCB_SYSTEM | I8042_CCB_NO_KEYBOARD | I8042_CCB_NO_MOUSE;
	i8042_answer(c, 0x55);
}

/* Those without a fixed code: the controller's memory, and pulses. False: none of them. */
static bool i8042_do_range(struct i8042 *c, u8 command)
{
	if (command >= I8042_READ_RAM && command < I8042_READ_RAM + I8042_RAM)
		i8042_answer(c, c->ram[command - I8042_READ_RAM]);
	else if (command >= I8042_WRITE_RAM && command < I8042_WRITE_RAM + I8042_RAM)
		c->command = command;
	else if (command >= I8042_PULSE && !(command & I8042_OUTPUT_NO_RESET))
		c->events.reset(c->events.opaque);
	else
		return command >= I8042_PULSE;
	return true;
}

static void i8042_do(struct i8042 *c, u8 command)
{
	switch (command) {
	case I8042_MOUSE_DISABLE:
	case I8042_MOUSE_ENABLE:
		i8042_set_ccb(c, I8042_CCB_NO_MOUSE, command == I8042_MOUSE_DISABLE);
		break;
	case I8042_KEYBOARD_DISABLE:
	case I8042_KEYBOARD_ENABLE:
		i8042_set_ccb(c, I8042_CCB_NO_KEYBOARD, command == I8042_KEYBOARD_DISABLE);
		break;
	case I8042_MOUSE_TEST:
	case I8042_KEYBOARD_TEST:
		i8042_answer(c, 0); /* nothing wrong with the wires */
		break;
	case I8042_SELF_TEST:
		i8042_self_test(c);
		break;
	case I8042_READ_INPUT:
		i8042_answer(c, 0x80); /* the lock is open */
		break;
	case I8042_READ_OUTPUT:
		i8042_answer(c, i8042_read_output(c));
		break;
	case I8042_WRITE_OUTPUT:
	case I8042_FROM_KEYBOARD:
	case I8042_FROM_MOUSE:
	case I8042_TO_MOUSE:
		c->command = command;
		break;
	case I8042_A20_OFF:
		c->output &= ~I8042_OUTPUT_A20;
		break;
	case I8042_A20_ON:
		c->output |= I8042_OUTPUT_A20;
		break;
	default:
		if (!i8042_do_range(c, command))
			guest_error(&c->dev, "unknown command %#x", command);
		break;
	}
}

static void i8042_take_argument(struct i8042 *c, u8 command, u8 value)
{
	switch (command) {
	case I8042_WRITE_OUTPUT:
		i8042_write_output(c, value);
		break;
	case I8042_FROM_KEYBOARD:
		i8042_answer(c, value);
		break;
	case I8042_FROM_MOUSE:
		ps2_queue_put(&c->mouse_answers, value);
		break;
	case I8042_TO_MOUSE:
		i8042_set_ccb(c, I8042_CCB_NO_MOUSE, false);
		ps2_mouse_write(&c->mouse, value);
		break;
	default:
		c->ram[command - I8042_WRITE_RAM] = value;
		break;
	}
}

/* --- ports --- */

static u64 i8042_data_read(struct device *dev, unused u64 off, unused unsigned size)
{
	struct i8042 *c = container_of(dev, struct i8042, dev);
	u8 byte = c->byte;

	/* The lines fall before the next byte raises them: each byte is an edge. */
	c->is_full = false;
	i8042_update_irqs(c);
	i8042_update(c);
	return byte;
}

/* Talking to the keyboard enables its interface. */
static void i8042_data_write(struct device *dev, unused u64 off, u64 value, unused unsigned size)
{
	struct i8042 *c = container_of(dev, struct i8042, dev);
	u8 command = c->command;

	c->command = 0;
	c->wrote_command = false;
	if (command) {
		i8042_take_argument(c, command, (u8)value);
	} else {
		i8042_set_ccb(c, I8042_CCB_NO_KEYBOARD, false);
		ps2_keyboard_write(&c->keyboard, (u8)value);
	}
	i8042_update(c);
}

static u64 i8042_status_read(struct device *dev, unused u64 off, unused unsigned size)
{
	const struct i8042 *c = container_of(dev, struct i8042, dev);
	u8 v = I8042_STATUS_UNLOCKED;

	if (c->is_full)
		v |= I8042_STATUS_OUT;
	if (c->is_full && c->is_mouse)
		v |= I8042_STATUS_MOUSE;
	if (c->ram[I8042_CCB] & I8042_CCB_SYSTEM)
		v |= I8042_STATUS_SYSTEM;
	if (c->wrote_command)
		v |= I8042_STATUS_COMMAND;
	return v;
}

static void i8042_status_write(struct device *dev, unused u64 off, u64 value, unused unsigned size)
{
	struct i8042 *c = container_of(dev, struct i8042, dev);

	c->command = 0;
	c->wrote_command = true;
	i8042_do(c, (u8)value);
	i8042_update(c);
}

/* --- the device --- */

/* As firmware leaves it: tested, both interfaces and translation on, no interrupts. */
static void i8042_reset(struct device *dev)
{
	struct i8042 *c = container_of(dev, struct i8042, dev);

	for (unsigned i = 0; i < I8042_RAM; i++)
		c->ram[i] = 0;
	c->ram[I8042_CCB] = I8042_CCB_SYSTEM | I8042_CCB_TRANSLATE;
	c->output = I8042_OUTPUT_NO_RESET | I8042_OUTPUT_A20;
	c->command = c->byte = 0;
	c->wrote_command = c->is_full = c->is_mouse = false;
	c->answers = c->mouse_answers = (struct ps2_queue){0};
	ps2_keyboard_reset(&c->keyboard);
	ps2_mouse_reset(&c->mouse);
	i8042_update_irqs(c);
}

static void i8042_free(struct device *dev)
{
	struct i8042 *c = container_of(dev, struct i8042, dev);

	io_region_fini(&c->data_io);
	io_region_fini(&c->status_io);
	device_fini(dev);
	free(c);
}

static bool i8042_is_argument_command(u8 command)
{
	return command == 0 || command == I8042_WRITE_OUTPUT || command == I8042_FROM_KEYBOARD ||
	       command == I8042_FROM_MOUSE || command == I8042_TO_MOUSE ||
	       (command >= I8042_WRITE_RAM && command < I8042_WRITE_RAM + I8042_RAM);
}

static int i8042_after_load(void *object, unused u16 version, struct err *err)
{
	const struct i8042 *c = object;

	if (!ps2_queue_is_valid(&c->answers) || !ps2_queue_is_valid(&c->mouse_answers) ||
	    !ps2_queue_is_valid(&c->keyboard.out) || !ps2_queue_is_valid(&c->mouse.out) ||
	    c->output & ~I8042_OUTPUT_KEPT || !i8042_is_argument_command(c->command))
		return err_set(err, -EINVAL, "registers out of range");
	return 0;
}

static const struct state_field i8042_fields[] = {
	STATE_RAW(struct i8042, ram),
	STATE_U(struct i8042, output),
	STATE_U(struct i8042, command),
	STATE_B(struct i8042, wrote_command),
	STATE_B(struct i8042, is_full),
	STATE_B(struct i8042, is_mouse),
	STATE_U(struct i8042, byte),
	STATE_SUB(struct i8042, answers, &ps2_queue_state),
	STATE_SUB(struct i8042, mouse_answers, &ps2_queue_state),
	STATE_SUB(struct i8042, keyboard, &ps2_keyboard_state),
	STATE_SUB(struct i8042, mouse, &ps2_mouse_state),
	STATE_END,
};

static const struct state_table i8042_state = {
	.name = "i8042",
	.version = 1,
	.fields = i8042_fields,
	.after_load = i8042_after_load,
};

static const struct device_ops i8042_device_ops = {
	.type = "i8042",
	.offset = offsetof(struct i8042, dev),
	.state = &i8042_state,
	.reset = i8042_reset,
	.free = i8042_free,
};

static const struct io_ops i8042_data_ops = {
	.read = i8042_data_read, .write = i8042_data_write, .max_size = 1};
static const struct io_ops i8042_status_ops = {
	.read = i8042_status_read, .write = i8042_status_write, .max_size = 1};

struct i8042 *i8042_new(struct irq_line keyboard, struct irq_line mouse,
			const struct power_events *events)
{
	struct i8042 *c = NEW(struct i8042);

	c->keyboard_irq = keyboard;
	c->mouse_irq = mouse;
	c->events = *events;
	device_init(&c->dev, &i8042_device_ops, "i8042");
	io_region_init(&c->data_io, "i8042-data", &c->dev, &i8042_data_ops, 1);
	io_region_init(&c->status_io, "i8042-status", &c->dev, &i8042_status_ops, 1);
	device_reset(&c->dev);
	return c;
}

struct device *i8042_device(struct i8042 *c)
{
	return &c->dev;
}

struct io_region *i8042_data_io(struct i8042 *c)
{
	return &c->data_io;
}

struct io_region *i8042_status_io(struct i8042 *c)
{
	return &c->status_io;
}

/*
 * Reset control (82801IB, 13.7.5) and system control port A (13.7.2). A20 is always open: the bit
 * is kept and moves nothing.
 */
#include "dev/reset_port.h"

#include "base/alloc.h"
#include "base/err.h"
#include "bus/device.h"
#include "bus/io.h"
#include "state/state.h"

/* clang-format off */
#define RESET_CPU	BIT32(2)	/* a rising edge does it */
#define RESET_KEPT	0x0eu
#define RESET_A_INIT	BIT32(0)	/* a rising edge does it */
#define RESET_A_A20	BIT32(1)
#define RESET_A_KEPT	(RESET_A_INIT | RESET_A_A20)
/* clang-format on */

struct reset_port {
	struct device dev; /* holds the lock for all below */
	struct io_region control_io, a_io;
	struct power_events events;
	u8 control, a;
};

static void reset_port_rise(struct reset_port *r, u8 old, u8 new, u32 bit)
{
	if (new & ~old & bit)
		r->events.reset(r->events.opaque);
}

static u64 reset_port_control_read(struct device *dev, unused u64 off, unused unsigned size)
{
	return container_of(dev, struct reset_port, dev)->control;
}

static void reset_port_control_write(struct device *dev, unused u64 off, u64 value,
				     unused unsigned size)
{
	struct reset_port *r = container_of(dev, struct reset_port, dev);
	u8 old = r->control;

	r->control = value & RESET_KEPT;
	reset_port_rise(r, old, r->control, RESET_CPU);
}

static u64 reset_port_a_read(struct device *dev, unused u64 off, unused unsigned size)
{
	return container_of(dev, struct reset_port, dev)->a;
}

static void reset_port_a_write(struct device *dev, unused u64 off, u64 value, unused unsigned size)
{
	struct reset_port *r = container_of(dev, struct reset_port, dev);
	u8 old = r->a;

	r->a = value & RESET_A_KEPT;
	reset_port_rise(r, old, r->a, RESET_A_INIT);
}

static void reset_port_reset(struct device *dev)
{
	struct reset_port *r = container_of(dev, struct reset_port, dev);

	r->control = 0;
	r->a = RESET_A_A20;
}

static void reset_port_free(struct device *dev)
{
	struct reset_port *r = container_of(dev, struct reset_port, dev);

	io_region_fini(&r->control_io);
	io_region_fini(&r->a_io);
	device_fini(dev);
	free(r);
}

static int reset_port_after_load(void *object, unused u16 version, struct err *err)
{
	const struct reset_port *r = object;

	if (r->control & ~RESET_KEPT || r->a & ~RESET_A_KEPT)
		return err_set(err, -EINVAL, "reserved bits are set");
	return 0;
}

static const struct state_field reset_port_fields[] = {
	STATE_U(struct reset_port, control),
	STATE_U(struct reset_port, a),
	STATE_END,
};

static const struct state_table reset_port_state = {
	.name = "reset-port",
	.version = 1,
	.fields = reset_port_fields,
	.after_load = reset_port_after_load,
};

static const struct device_ops reset_port_device_ops = {
	.type = "reset-port",
	.offset = offsetof(struct reset_port, dev),
	.state = &reset_port_state,
	.reset = reset_port_reset,
	.free = reset_port_free,
};

static const struct io_ops reset_port_control_ops = {
	.read = reset_port_control_read, .write = reset_port_control_write, .max_size = 1};
static const struct io_ops reset_port_a_ops = {
	.read = reset_port_a_read, .write = reset_port_a_write, .max_size = 1};

struct reset_port *reset_port_new(const struct power_events *events)
{
	struct reset_port *r = NEW(struct reset_port);

	r->events = *events;
	device_init(&r->dev, &reset_port_device_ops, "reset-port");
	io_region_init(&r->control_io, "reset-control", &r->dev, &reset_port_control_ops, 1);
	io_region_init(&r->a_io, "port-a", &r->dev, &reset_port_a_ops, 1);
	device_reset(&r->dev);
	return r;
}

struct device *reset_port_device(struct reset_port *r)
{
	return &r->dev;
}

struct io_region *reset_port_control_io(struct reset_port *r)
{
	return &r->control_io;
}

struct io_region *reset_port_a_io(struct reset_port *r)
{
	return &r->a_io;
}

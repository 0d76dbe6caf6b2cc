/*
 * NMI status and control. The gate of channel 2 is the timer's state, not ours. There is no
 * speaker, and there are no sources of NMI here: the error bits stay clear.
 */
#include "dev/port61.h"

#include "base/alloc.h"
#include "base/err.h"
#include "bus/device.h"
#include "bus/io.h"
#include "clock/vclock.h"
#include "dev/pit.h"
#include "state/state.h"

/* clang-format off */
#define PORT61_GATE	BIT32(0)
#define PORT61_SPEAKER	BIT32(1)
#define PORT61_NO_SERR	BIT32(2)
#define PORT61_NO_IOCHK	BIT32(3)
#define PORT61_REFRESH	BIT32(4)
#define PORT61_OUT	BIT32(5)
#define PORT61_KEPT	(PORT61_SPEAKER | PORT61_NO_SERR | PORT61_NO_IOCHK)
/* clang-format on */

#define PORT61_CHANNEL    2
#define PORT61_REFRESH_NS 15085 /* between toggles */

struct port61 {
	struct device dev; /* holds the lock for all below */
	struct io_region io;
	struct vclock *clock;
	struct pit *pit;
	u8 kept; /* PORT61_KEPT */
};

static u64 port61_read(struct device *dev, unused u64 off, unused unsigned size)
{
	struct port61 *p = container_of(dev, struct port61, dev);
	u8 v = p->kept;

	if (pit_gate(p->pit, PORT61_CHANNEL))
		v |= PORT61_GATE;
	if (pit_out(p->pit, PORT61_CHANNEL))
		v |= PORT61_OUT;
	if (vclock_now_ns(p->clock) / PORT61_REFRESH_NS & 1)
		v |= PORT61_REFRESH;
	return v;
}

static void port61_write(struct device *dev, unused u64 off, u64 value, unused unsigned size)
{
	struct port61 *p = container_of(dev, struct port61, dev);

	p->kept = value & PORT61_KEPT;
	pit_set_gate(p->pit, PORT61_CHANNEL, value & PORT61_GATE);
}

static void port61_reset(struct device *dev)
{
	container_of(dev, struct port61, dev)->kept = 0;
}

static void port61_free(struct device *dev)
{
	struct port61 *p = container_of(dev, struct port61, dev);

	io_region_fini(&p->io);
	device_fini(dev);
	free(p);
}

static int port61_after_load(void *object, unused u16 version, struct err *err)
{
	const struct port61 *p = object;

	if (p->kept & ~PORT61_KEPT)
		return err_set(err, -EINVAL, "reserved bits are set");
	return 0;
}

static const struct state_field port61_fields[] = {
	STATE_U(struct port61, kept),
	STATE_END,
};

static const struct state_table port61_state = {
	.name = "port61",
	.version = 1,
	.fields = port61_fields,
	.after_load = port61_after_load,
};

static const struct device_ops port61_device_ops = {
	.type = "port61",
	.offset = offsetof(struct port61, dev),
	.state = &port61_state,
	.reset = port61_reset,
	.free = port61_free,
};

static const struct io_ops port61_io_ops = {
	.read = port61_read, .write = port61_write, .max_size = 1};

struct port61 *port61_new(struct vclock *clock, struct pit *pit)
{
	struct port61 *p = NEW(struct port61);

	p->clock = clock;
	p->pit = pit;
	device_init(&p->dev, &port61_device_ops, "port61");
	io_region_init(&p->io, "port61", &p->dev, &port61_io_ops, 1);
	device_reset(&p->dev);
	return p;
}

struct device *port61_device(struct port61 *p)
{
	return &p->dev;
}

struct io_region *port61_io(struct port61 *p)
{
	return &p->io;
}

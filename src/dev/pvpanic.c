/*
 * pvpanic, the ISA device (QEMU, docs/specs/pvpanic): reading says which events are understood,
 * writing tells one. It keeps nothing, so there is nothing to save.
 */
#include "dev/pvpanic.h"

#include "base/alloc.h"
#include "bus/device.h"
#include "bus/io.h"

#define PVPANIC_PANICKED     BIT32(0)
#define PVPANIC_CRASH_LOADED BIT32(1)

struct pvpanic {
	struct device dev;
	struct io_region io;
	void (*on_panic)(void *opaque);
	void *opaque;
};

static u64 pvpanic_read(unused struct device *dev, unused u64 off, unused unsigned size)
{
	return PVPANIC_PANICKED | PVPANIC_CRASH_LOADED;
}

static void pvpanic_write(struct device *dev, unused u64 off, u64 value, unused unsigned size)
{
	struct pvpanic *p = container_of(dev, struct pvpanic, dev);

	if (value & ~(u64)(PVPANIC_PANICKED | PVPANIC_CRASH_LOADED))
		guest_error(dev, "unknown event %#lx", value);
	if (value & PVPANIC_PANICKED)
		p->on_panic(p->opaque);
}

static void pvpanic_reset(unused struct device *dev)
{
}

static void pvpanic_free(struct device *dev)
{
	struct pvpanic *p = container_of(dev, struct pvpanic, dev);

	io_region_fini(&p->io);
	device_fini(dev);
	free(p);
}

static const struct device_ops pvpanic_device_ops = {
	.type = "pvpanic",
	.offset = offsetof(struct pvpanic, dev),
	.reset = pvpanic_reset,
	.free = pvpanic_free,
};

static const struct io_ops pvpanic_io_ops = {
	.read = pvpanic_read, .write = pvpanic_write, .max_size = 1};

struct pvpanic *pvpanic_new(void (*on_panic)(void *opaque), void *opaque)
{
	struct pvpanic *p = NEW(struct pvpanic);

	p->on_panic = on_panic;
	p->opaque = opaque;
	device_init(&p->dev, &pvpanic_device_ops, "pvpanic");
	io_region_init(&p->io, "pvpanic", &p->dev, &pvpanic_io_ops, 1);
	return p;
}

struct device *pvpanic_device(struct pvpanic *p)
{
	return &p->dev;
}

struct io_region *pvpanic_io(struct pvpanic *p)
{
	return &p->io;
}

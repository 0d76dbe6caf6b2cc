/*
 * isa-debug-exit as QEMU has it: a write is the end, its low byte the code. It keeps nothing, so
 * there is nothing to save.
 */
#include "dev/debug_exit.h"

#include "base/alloc.h"
#include "bus/device.h"
#include "bus/io.h"

struct debug_exit {
	struct device dev;
	struct io_region io;
	void (*on_exit)(void *opaque, u8 code);
	void *opaque;
};

static u64 debug_exit_read(unused struct device *dev, unused u64 off, unused unsigned size)
{
	return 0;
}

static void debug_exit_write(struct device *dev, u64 off, u64 value, unused unsigned size)
{
	struct debug_exit *d = container_of(dev, struct debug_exit, dev);

	if (off == 0)
		d->on_exit(d->opaque, (u8)value);
}

static void debug_exit_reset(unused struct device *dev)
{
}

static void debug_exit_free(struct device *dev)
{
	struct debug_exit *d = container_of(dev, struct debug_exit, dev);

	io_region_fini(&d->io);
	device_fini(dev);
	free(d);
}

static const struct device_ops debug_exit_device_ops = {
	.type = "debug-exit",
	.offset = offsetof(struct debug_exit, dev),
	.reset = debug_exit_reset,
	.free = debug_exit_free,
};

static const struct io_ops debug_exit_io_ops = {
	.read = debug_exit_read, .write = debug_exit_write, .max_size = 4};

struct debug_exit *debug_exit_new(void (*on_exit)(void *opaque, u8 code), void *opaque)
{
	struct debug_exit *d = NEW(struct debug_exit);

	d->on_exit = on_exit;
	d->opaque = opaque;
	device_init(&d->dev, &debug_exit_device_ops, "debug-exit");
	io_region_init(&d->io, "debug-exit", &d->dev, &debug_exit_io_ops, 4);
	return d;
}

struct device *debug_exit_device(struct debug_exit *d)
{
	return &d->dev;
}

struct io_region *debug_exit_io(struct debug_exit *d)
{
	return &d->io;
}

/*
 * Debug console: writes a byte, reads 0xe9, by which software knows that it is there. What the
 * stream doesn't take is lost, as nobody may wait for it. It keeps nothing to be saved.
 */
#include "dev/debugcon.h"

#include "base/alloc.h"
#include "bus/device.h"
#include "bus/io.h"
#include "chr/chr.h"

#define DEBUGCON_PRESENT 0xe9

struct debugcon {
	struct device dev;
	struct io_region io;
	struct chr *chr;
};

static u64 debugcon_read(unused struct device *dev, unused u64 off, unused unsigned size)
{
	return DEBUGCON_PRESENT;
}

static void debugcon_write(struct device *dev, unused u64 off, u64 value, unused unsigned size)
{
	struct debugcon *d = container_of(dev, struct debugcon, dev);
	u8 byte = (u8)value;

	if (!chr_write(d->chr, &byte, 1))
		guest_error(dev, "a byte was lost");
}

static void debugcon_reset(unused struct device *dev)
{
}

static void debugcon_free(struct device *dev)
{
	struct debugcon *d = container_of(dev, struct debugcon, dev);

	io_region_fini(&d->io);
	device_fini(dev);
	free(d);
}

static const struct device_ops debugcon_device_ops = {
	.type = "debugcon",
	.offset = offsetof(struct debugcon, dev),
	.reset = debugcon_reset,
	.free = debugcon_free,
};

static const struct io_ops debugcon_io_ops = {
	.read = debugcon_read, .write = debugcon_write, .max_size = 1};

struct debugcon *debugcon_new(const char *name, struct chr *chr)
{
	struct debugcon *d = NEW(struct debugcon);

	d->chr = chr;
	device_init(&d->dev, &debugcon_device_ops, name);
	io_region_init(&d->io, d->dev.name, &d->dev, &debugcon_io_ops, 1);
	return d;
}

struct device *debugcon_device(struct debugcon *d)
{
	return &d->dev;
}

struct io_region *debugcon_io(struct debugcon *d)
{
	return &d->io;
}

/*
 * Hot-plug of PCI slots by ACPI. See acpi_slots.h.
 */
#include "dev/acpi_slots.h"

#include "base/alloc.h"
#include "bus/device.h"
#include "bus/io.h"
#include "state/state.h"

struct acpi_slots {
	struct device dev; /* holds the lock for all below */
	struct io_region io;
	u32 inserted, wanted; /* that the guest hasn't read yet */
	u32 asked;            /* whose removal it was asked for */
	void (*let_go)(void *opaque, u32 slots);
	void *opaque;
};

static struct acpi_slots *acpi_slots_of(struct device *dev)
{
	return container_of(dev, struct acpi_slots, dev);
}

static u64 acpi_slots_read(struct device *dev, u64 off, unsigned size)
{
	struct acpi_slots *s = acpi_slots_of(dev);

	switch (off) {
	case ACPI_SLOTS_INSERTED:
		return s->inserted;
	case ACPI_SLOTS_WANTED:
		return s->wanted;
	case ACPI_SLOTS_EJECTED:
		return 0;
	}
	guest_error(dev, "%u-byte read at unknown register %#lx", size, off);
	return IO_ONES;
}

static void acpi_slots_eject(struct acpi_slots *s, u32 slots)
{
	u32 obeyed = slots & s->asked;

	if (slots != obeyed)
		guest_error(&s->dev, "ejects slots %#x that nobody asked for", slots & ~obeyed);
	s->asked &= ~obeyed;
	if (obeyed)
		s->let_go(s->opaque, obeyed);
}

static void acpi_slots_write(struct device *dev, u64 off, u64 value, unsigned size)
{
	struct acpi_slots *s = acpi_slots_of(dev);

	switch (off) {
	case ACPI_SLOTS_INSERTED:
		s->inserted &= ~(u32)value;
		break;
	case ACPI_SLOTS_WANTED:
		s->wanted &= ~(u32)value;
		break;
	case ACPI_SLOTS_EJECTED:
		acpi_slots_eject(s, (u32)value);
		break;
	default:
		guest_error(dev, "%u-byte write at unknown register %#lx", size, off);
	}
}

static void acpi_slots_reset(struct device *dev)
{
	struct acpi_slots *s = acpi_slots_of(dev);

	/* A guest that starts anew looks at all slots by itself. What was asked for is the board's to
	 * finish. */
	s->inserted = s->wanted = 0;
}

static void acpi_slots_free(struct device *dev)
{
	struct acpi_slots *s = acpi_slots_of(dev);

	io_region_fini(&s->io);
	device_fini(dev);
	free(s);
}

static const struct state_field acpi_slots_fields[] = {
	STATE_U(struct acpi_slots, inserted),
	STATE_U(struct acpi_slots, wanted),
	STATE_U(struct acpi_slots, asked),
	STATE_END,
};

static const struct state_table acpi_slots_state = {
	.name = "acpi-slots",
	.version = 1,
	.fields = acpi_slots_fields,
};

static const struct device_ops acpi_slots_device_ops = {
	.type = "acpi-slots",
	.offset = offsetof(struct acpi_slots, dev),
	.state = &acpi_slots_state,
	.reset = acpi_slots_reset,
	.free = acpi_slots_free,
};

static const struct io_ops acpi_slots_io_ops = {
	.read = acpi_slots_read, .write = acpi_slots_write, .min_size = 4, .max_size = 4};

struct acpi_slots *acpi_slots_new(void (*let_go)(void *opaque, u32 slots), void *opaque)
{
	struct acpi_slots *s = NEW(struct acpi_slots);

	s->let_go = let_go;
	s->opaque = opaque;
	device_init(&s->dev, &acpi_slots_device_ops, "acpi-slots");
	io_region_init(&s->io, "acpi-slots", &s->dev, &acpi_slots_io_ops, ACPI_SLOTS_PORTS);
	return s;
}

struct device *acpi_slots_device(struct acpi_slots *s)
{
	return &s->dev;
}

struct io_region *acpi_slots_io(struct acpi_slots *s)
{
	return &s->io;
}

/* --- the board's side --- */

void acpi_slots_insert(struct acpi_slots *s, unsigned slot)
{
	device_lock(&s->dev);
	s->inserted |= BIT32(slot);
	device_unlock(&s->dev);
}

void acpi_slots_ask(struct acpi_slots *s, unsigned slot)
{
	device_lock(&s->dev);
	s->wanted |= BIT32(slot);
	s->asked |= BIT32(slot);
	device_unlock(&s->dev);
}

bool acpi_slots_is_asked(struct acpi_slots *s, unsigned slot)
{
	bool is_asked;

	device_lock(&s->dev);
	is_asked = s->asked & BIT32(slot);
	device_unlock(&s->dev);
	return is_asked;
}

void acpi_slots_forget(struct acpi_slots *s, unsigned slot)
{
	device_lock(&s->dev);
	s->inserted &= ~BIT32(slot);
	s->wanted &= ~BIT32(slot);
	s->asked &= ~BIT32(slot);
	device_unlock(&s->dev);
}

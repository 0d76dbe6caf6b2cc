/*
 * The I/O APIC: an index register, a window, 24 redirection entries (82093AA, section 3).
 *
 * An edge on an unmasked pin sends one message; edges on masked pins are lost. A level is sent
 * once, which sets remote IRR; the local APIC's end of interrupt clears that, and the level is sent
 * again when it still stands. Version 0x20 adds a register to end an interrupt by vector.
 */
#include "irqchip/ioapic.h"

#include "base/alloc.h"
#include "base/err.h"
#include "bus/device.h"
#include "bus/io.h"
#include "irqchip/lapic_regs.h"
#include "state/state.h"

/* clang-format off */
#define IOAPIC_SELECT	0x00
#define IOAPIC_WINDOW	0x10
#define IOAPIC_EOI	0x40
#define IOAPIC_SIZE	0x1000

#define IOAPIC_REG_ID		0
#define IOAPIC_REG_VERSION	1
#define IOAPIC_REG_ARBITRATION	2
#define IOAPIC_REG_REDIRECTION	0x10	/* two for each pin, low half first */

#define IOAPIC_VERSION	(0x20u | (IOAPIC_PINS - 1) << 16)
#define IOAPIC_ID_BITS	0x0f000000u

/* A redirection entry. */
#define IOAPIC_VECTOR(e)	((u8)(e))
#define IOAPIC_MODE(e)		((u32)((e) >> 8) & 7)
#define IOAPIC_LOGICAL		BIT(11)
#define IOAPIC_STATUS		BIT(12)
#define IOAPIC_REMOTE_IRR	BIT(14)
#define IOAPIC_LEVEL		BIT(15)
#define IOAPIC_MASKED		BIT(16)
#define IOAPIC_DEST(e)		((u32)((e) >> 56))
#define IOAPIC_DEST_HIGH(e)	((u32)((e) >> 49) & 0x7f)	/* see LAPIC_MSI_DEST */
#define IOAPIC_READ_ONLY	(IOAPIC_STATUS | IOAPIC_REMOTE_IRR)
#define IOAPIC_BITS		0xfffe00000001ffffull
/* clang-format on */

struct ioapic {
	struct device dev; /* holds the lock for all below */
	struct io_region io;
	struct ioapic_config config;
	u32 select;
	u32 id;
	u32 lines; /* levels, a bit for each pin */
	u64 redirection[IOAPIC_PINS];
	u64 told[IOAPIC_PINS]; /* the entries that on_route_change knows: not saved */
};

static struct msi_msg ioapic_message(u64 entry)
{
	u32 address = LAPIC_MSI_BASE | IOAPIC_DEST(entry) << 12 | IOAPIC_DEST_HIGH(entry) << 5;
	u32 data = IOAPIC_VECTOR(entry) | IOAPIC_MODE(entry) << 8;

	if (entry & IOAPIC_LOGICAL)
		address |= LAPIC_MSI_LOGICAL;
	if (entry & IOAPIC_LEVEL)
		data |= LAPIC_MSI_LEVEL | BIT32(14);
	return (struct msi_msg){.address = address, .data = data};
}

/* Tells only what makes a difference: an accelerator's routes are dear, and guests write each entry
 * in halves and more than once while it is masked. */
static void ioapic_tell_route(struct ioapic *io, unsigned pin)
{
	u64 entry = io->redirection[pin] & ~IOAPIC_READ_ONLY, told = io->told[pin];
	struct msi_msg msg = ioapic_message(entry);

	if (!io->config.on_route_change || entry == told || entry & told & IOAPIC_MASKED)
		return;
	io->told[pin] = entry;
	io->config.on_route_change(io->config.opaque, pin, &msg, entry & IOAPIC_LEVEL,
				   entry & IOAPIC_MASKED);
}

static void ioapic_send(struct ioapic *io, unsigned pin)
{
	struct msi_msg msg = ioapic_message(io->redirection[pin]);

	msi_send(&io->config.sink, &msg);
}

/* Sends a level that stands, is let through, and has not been sent. */
static void ioapic_send_level(struct ioapic *io, unsigned pin)
{
	u64 *entry = &io->redirection[pin];

	if (!(*entry & IOAPIC_LEVEL) || *entry & (IOAPIC_MASKED | IOAPIC_REMOTE_IRR) ||
	    !(io->lines & BIT32(pin)))
		return;
	*entry |= IOAPIC_REMOTE_IRR;
	ioapic_send(io, pin);
}

static void ioapic_set_line(void *opaque, unsigned pin, bool level)
{
	struct ioapic *io = opaque;
	u32 bit = BIT32(pin);
	bool was;

	device_lock(&io->dev);
	was = io->lines & bit;
	io->lines = level ? io->lines | bit : io->lines & ~bit;
	if (io->redirection[pin] & IOAPIC_LEVEL)
		ioapic_send_level(io, pin);
	else if (level && !was && !(io->redirection[pin] & IOAPIC_MASKED))
		ioapic_send(io, pin);
	device_unlock(&io->dev);
}

static void ioapic_end(struct ioapic *io, u8 vector)
{
	for (unsigned pin = 0; pin < IOAPIC_PINS; pin++) {
		u64 *entry = &io->redirection[pin];

		if (IOAPIC_VECTOR(*entry) != vector || !(*entry & IOAPIC_REMOTE_IRR))
			continue;
		*entry &= ~IOAPIC_REMOTE_IRR;
		ioapic_send_level(io, pin);
	}
}

void ioapic_eoi(struct ioapic *io, u8 vector)
{
	device_lock(&io->dev);
	ioapic_end(io, vector);
	device_unlock(&io->dev);
}

/* --- registers --- */

static u32 ioapic_read_window(struct ioapic *io)
{
	u32 index = io->select - IOAPIC_REG_REDIRECTION;

	switch (io->select) {
	case IOAPIC_REG_ID:
	case IOAPIC_REG_ARBITRATION:
		return io->id;
	case IOAPIC_REG_VERSION:
		return IOAPIC_VERSION;
	}
	if (io->select >= IOAPIC_REG_REDIRECTION && index < 2 * IOAPIC_PINS)
		return (u32)(io->redirection[index / 2] >> (index % 2 * 32));
	guest_error(&io->dev, "read of unknown register %#x", io->select);
	return 0xffffffff;
}

/* Changing to edge mode forgets a level that was sent: guests end interrupts so, too. */
static void ioapic_write_entry(struct ioapic *io, u32 index, u32 value)
{
	unsigned pin = index / 2, shift = index % 2 * 32;
	u64 mask = (u64)0xffffffff << shift & IOAPIC_BITS & ~IOAPIC_READ_ONLY;
	u64 *entry = &io->redirection[pin];

	*entry = (*entry & ~mask) | ((u64)value << shift & mask);
	if (!(*entry & IOAPIC_LEVEL))
		*entry &= ~IOAPIC_REMOTE_IRR;
	ioapic_tell_route(io, pin);
	ioapic_send_level(io, pin);
}

static void ioapic_write_window(struct ioapic *io, u32 value)
{
	u32 index = io->select - IOAPIC_REG_REDIRECTION;

	if (io->select == IOAPIC_REG_ID)
		io->id = value & IOAPIC_ID_BITS;
	else if (io->select >= IOAPIC_REG_REDIRECTION && index < 2 * IOAPIC_PINS)
		ioapic_write_entry(io, index, value);
	else
		guest_error(&io->dev, "write to register %#x", io->select);
}

static u64 ioapic_read(struct device *dev, u64 off, unsigned size)
{
	struct ioapic *io = container_of(dev, struct ioapic, dev);

	switch (off) {
	case IOAPIC_SELECT:
		return io->select;
	case IOAPIC_WINDOW:
		return ioapic_read_window(io);
	}
	guest_error(dev, "%u-byte read at %#lx", size, off);
	return IO_ONES;
}

static void ioapic_write(struct device *dev, u64 off, u64 value, unsigned size)
{
	struct ioapic *io = container_of(dev, struct ioapic, dev);

	switch (off) {
	case IOAPIC_SELECT:
		io->select = value & 0xff;
		break;
	case IOAPIC_WINDOW:
		ioapic_write_window(io, (u32)value);
		break;
	case IOAPIC_EOI:
		ioapic_end(io, (u8)value);
		break;
	default:
		guest_error(dev, "%u-byte write at %#lx", size, off);
		break;
	}
}

/* --- the device --- */

static void ioapic_reset(struct device *dev)
{
	struct ioapic *io = container_of(dev, struct ioapic, dev);

	io->select = 0;
	io->id = 0;
	for (unsigned pin = 0; pin < IOAPIC_PINS; pin++) {
		io->redirection[pin] = IOAPIC_MASKED;
		ioapic_tell_route(io, pin);
	}
}

static void ioapic_free(struct device *dev)
{
	struct ioapic *io = container_of(dev, struct ioapic, dev);

	io_region_fini(&io->io);
	device_fini(dev);
	free(io);
}

static int ioapic_after_load(void *object, unused u16 version, struct err *err)
{
	struct ioapic *io = object;

	if (io->select > 0xff || io->id & ~IOAPIC_ID_BITS || io->lines >> IOAPIC_PINS)
		return err_set(err, -EINVAL, "registers out of range");
	for (unsigned pin = 0; pin < IOAPIC_PINS; pin++) {
		if (io->redirection[pin] & ~IOAPIC_BITS)
			return err_set(err, -EINVAL, "pin %u: reserved bits are set", pin);
		ioapic_tell_route(io, pin);
	}
	return 0;
}

static const struct state_field ioapic_fields[] = {
	STATE_U(struct ioapic, select),
	STATE_U(struct ioapic, id),
	STATE_U(struct ioapic, lines),
	STATE_U_ARRAY(struct ioapic, redirection),
	STATE_END,
};

static const struct state_table ioapic_state = {
	.name = "ioapic",
	.version = 1,
	.fields = ioapic_fields,
	.after_load = ioapic_after_load,
};

static const struct device_ops ioapic_device_ops = {
	.type = "ioapic",
	.offset = offsetof(struct ioapic, dev),
	.state = &ioapic_state,
	.reset = ioapic_reset,
	.free = ioapic_free,
};

static const struct io_ops ioapic_io_ops = {
	.read = ioapic_read,
	.write = ioapic_write,
	.min_size = 4,
	.max_size = 4,
};

struct ioapic *ioapic_new(const struct ioapic_config *config)
{
	struct ioapic *io = NEW(struct ioapic);

	io->config = *config;
	for (unsigned pin = 0; pin < IOAPIC_PINS; pin++)
		io->told[pin] = IOAPIC_MASKED;
	device_init(&io->dev, &ioapic_device_ops, "ioapic");
	io_region_init(&io->io, "ioapic", &io->dev, &ioapic_io_ops, IOAPIC_SIZE);
	device_reset(&io->dev);
	return io;
}

struct device *ioapic_device(struct ioapic *io)
{
	return &io->dev;
}

struct io_region *ioapic_io(struct ioapic *io)
{
	return &io->io;
}

struct irq_line ioapic_line(struct ioapic *io, unsigned pin)
{
	assert(pin < IOAPIC_PINS);
	return (struct irq_line){.set = ioapic_set_line, .opaque = io, .pin = pin};
}

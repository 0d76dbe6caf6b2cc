/*
 * 8254 programmable interval timer (datasheet 231164; 82801IB, 13.3).
 *
 * Nothing counts: a channel keeps the VM clock at which its count was loaded, and works out counter
 * and output from that. Only channel 0 has a timer, for the rising edges of its output. In periodic
 * modes the line falls and rises again together at the end of a period: nobody looks at it between.
 * Ticks that come too late because the host was busy are merged into one.
 *
 * A new count takes effect at once, also where the chip would finish the running period.
 */
#include "dev/pit.h"

#include "base/alloc.h"
#include "base/err.h"
#include "base/time.h"
#include "bus/device.h"
#include "bus/io.h"
#include "clock/vclock.h"
#include "state/state.h"

/* Shorter periods don't interrupt more often: a guest can't keep the loop busy by itself. */
#define PIT_MIN_PERIOD_NS (100 * NSEC_PER_USEC)

/* clang-format off */
#define PIT_CONTROL	3		/* the port behind the channels' */
#define PIT_READ_BACK	3		/* the "channel" of that command */
#define PIT_NO_COUNT	BIT32(5)	/* in a read-back command */
#define PIT_NO_STATUS	BIT32(4)
#define PIT_STATUS_OUT	BIT32(7)
#define PIT_STATUS_NULL	BIT32(6)
/* clang-format on */

enum pit_access { PIT_LATCH, PIT_LOW, PIT_HIGH, PIT_BOTH };

struct pit_channel {
	u8 mode;   /* 0 to 5 */
	u8 access; /* enum pit_access: which bytes are read and written */
	bool is_bcd;
	bool gate;
	bool is_loaded;   /* a count was written since the control word */
	bool is_counting; /* else ticks says how far it came */
	u32 count;        /* 1 to 65536 */
	u64 start_ns;     /* VM clock at which the count was loaded; wraps */
	u64 ticks;
	bool writes_high, reads_high; /* PIT_BOTH: the next byte is the high one */
	u8 low_byte;                  /* written, waits for the high one */
	u8 latched_bytes;             /* of the latched count, not yet read */
	u16 latched_count;
	bool is_status_latched;
	u8 latched_status;
};

struct pit {
	struct device dev; /* holds the lock for all below */
	struct io_region io;
	struct vclock *clock;
	struct irq_line irq;
	bool is_cut_off; /* from irq, by the HPET, whose state it is */
	struct vtimer timer;
	u64 edge_ns; /* VM clock of channel 0's next rising edge */
	bool has_edge;
	struct pit_channel channels[PIT_CHANNELS];
};

/* --- counting --- */

/* Input clocks since the count was loaded. */
static u64 pit_ticks(const struct pit *pit, const struct pit_channel *c)
{
	if (!c->is_counting)
		return c->ticks;
	return time_muldiv(vclock_now_ns(pit->clock) - c->start_ns, PIT_HZ, NSEC_PER_SEC);
}

/* The time at which so many have passed. */
static u64 pit_ticks_to_ns(u64 ticks)
{
	return time_muldiv_up(ticks, NSEC_PER_SEC, PIT_HZ);
}

static void pit_start(struct pit *pit, struct pit_channel *c, u64 ticks)
{
	c->is_counting = true;
	c->start_ns = vclock_now_ns(pit->clock) - pit_ticks_to_ns(ticks);
}

static void pit_stop(struct pit_channel *c, u64 ticks)
{
	c->is_counting = false;
	c->ticks = ticks;
}

static bool pit_is_periodic(const struct pit_channel *c)
{
	return c->mode == 2 || c->mode == 3;
}

/* Modes 1 and 5 wait for a rising gate. */
static bool pit_wants_trigger(const struct pit_channel *c)
{
	return c->mode == 1 || c->mode == 5;
}

static bool pit_channel_out(const struct pit *pit, const struct pit_channel *c)
{
	u64 d;

	if (!c->is_loaded || (pit_is_periodic(c) && !c->gate))
		return c->mode != 0;
	d = pit_ticks(pit, c);
	switch (c->mode) {
	case 0:
	case 1:
		return d >= c->count;
	case 2:
		return d % c->count != c->count - 1;
	case 3:
		return d % c->count < (c->count + 1) / 2;
	default:
		return d != c->count;
	}
}

static u16 pit_to_bcd(u32 v)
{
	return (u16)(v / 1000 % 10 << 12 | v / 100 % 10 << 8 | v / 10 % 10 << 4 | v % 10);
}

static u32 pit_from_bcd(u16 v)
{
	return (v >> 12) * 1000u + (v >> 8 & 0xf) * 100u + (v >> 4 & 0xf) * 10u + (v & 0xf);
}

/* What the counting element shows. */
static u16 pit_counter(const struct pit *pit, const struct pit_channel *c)
{
	u64 d = pit_ticks(pit, c);
	u64 span = c->is_bcd ? 10000 : 65536;
	u64 v;

	if (c->mode == 2)
		v = c->count - d % c->count;
	else if (c->mode == 3) /* counts by two, twice a period */
		v = c->count - 2 * d % c->count;
	else
		v = c->count + span - d % span;
	return c->is_bcd ? pit_to_bcd((u32)(v % span)) : (u16)v;
}

/* --- channel 0's output --- */

static void pit_set_irq(struct pit *pit, bool level)
{
	if (!pit->is_cut_off)
		irq_set(&pit->irq, level);
}

static u64 pit_next_edge_ticks(const struct pit_channel *c, u64 d)
{
	if (pit_is_periodic(c))
		return (d / c->count + 1) * c->count;
	return c->mode == 4 || c->mode == 5 ? c->count + 1 : c->count;
}

static void pit_arm(struct pit *pit)
{
	const struct pit_channel *c = &pit->channels[0];
	u64 now = vclock_now_ns(pit->clock), d = pit_ticks(pit, c);
	u64 edge = pit_next_edge_ticks(c, d);

	pit->has_edge = c->is_loaded && c->is_counting && d < edge;
	if (!pit->has_edge) {
		vtimer_disarm(&pit->timer);
		return;
	}
	pit->edge_ns = c->start_ns + pit_ticks_to_ns(edge);
	if (pit_is_periodic(c) && pit_ticks_to_ns(c->count) < PIT_MIN_PERIOD_NS)
		pit->edge_ns = now + PIT_MIN_PERIOD_NS;
	vtimer_arm(&pit->timer, pit->edge_ns);
}

/* After channel 0 was programmed. */
static void pit_update(struct pit *pit)
{
	pit_set_irq(pit, pit_channel_out(pit, &pit->channels[0]));
	pit_arm(pit);
}

static void pit_check(struct pit *pit)
{
	if (!pit->has_edge || vclock_now_ns(pit->clock) < pit->edge_ns)
		return;
	pit_set_irq(pit, false);
	pit_set_irq(pit, true);
	pit_arm(pit);
}

static void pit_on_timer(void *opaque)
{
	struct pit *pit = opaque;

	device_lock(&pit->dev);
	pit_check(pit);
	device_unlock(&pit->dev);
}

void pit_connect_irq(struct pit *pit, bool is_connected)
{
	device_lock(&pit->dev);
	irq_set(&pit->irq, is_connected && pit_channel_out(pit, &pit->channels[0]));
	pit->is_cut_off = !is_connected;
	device_unlock(&pit->dev);
}

/* --- gates --- */

static void pit_channel_set_gate(struct pit *pit, struct pit_channel *c, bool level)
{
	if (c->gate == level)
		return;
	if (!c->is_loaded) {
		c->gate = level;
		return;
	}
	if (level)
		pit_start(pit, c, pit_is_periodic(c) || pit_wants_trigger(c) ? 0 : c->ticks);
	else if (pit_is_periodic(c))
		pit_stop(c, 0);
	else if (!pit_wants_trigger(c))
		pit_stop(c, pit_ticks(pit, c));
	c->gate = level;
}

void pit_set_gate(struct pit *pit, unsigned channel, bool level)
{
	assert(channel < PIT_CHANNELS);
	device_lock(&pit->dev);
	pit_channel_set_gate(pit, &pit->channels[channel], level);
	if (channel == 0)
		pit_update(pit);
	device_unlock(&pit->dev);
}

bool pit_gate(struct pit *pit, unsigned channel)
{
	bool v;

	assert(channel < PIT_CHANNELS);
	device_lock(&pit->dev);
	v = pit->channels[channel].gate;
	device_unlock(&pit->dev);
	return v;
}

bool pit_out(struct pit *pit, unsigned channel)
{
	bool v;

	assert(channel < PIT_CHANNELS);
	device_lock(&pit->dev);
	v = pit_channel_out(pit, &pit->channels[channel]);
	device_unlock(&pit->dev);
	return v;
}

/* --- registers --- */

/* 0 stands for the largest count. */
static void pit_load(struct pit *pit, struct pit_channel *c, u16 value)
{
	u32 max = c->is_bcd ? 10000 : 65536;

	c->count = c->is_bcd ? pit_from_bcd(value) % max : value;
	if (!c->count)
		c->count = max;
	c->is_loaded = true;
	if (pit_wants_trigger(c))
		pit_stop(c, c->count + 1); /* as if it were over, until the trigger */
	else if (c->gate)
		pit_start(pit, c, 0);
	else
		pit_stop(c, 0);
}

static void pit_write_count(struct pit *pit, struct pit_channel *c, u8 value)
{
	switch (c->access) {
	case PIT_LOW:
		pit_load(pit, c, value);
		break;
	case PIT_HIGH:
		pit_load(pit, c, (u16)(value << 8));
		break;
	default:
		if (c->writes_high)
			pit_load(pit, c, (u16)(value << 8 | c->low_byte));
		else
			c->low_byte = value;
		c->writes_high = !c->writes_high;
		break;
	}
}

/* A count that is latched already stays until it is read (datasheet, "Counter latch command"). */
static void pit_latch_count(struct pit *pit, struct pit_channel *c)
{
	if (c->latched_bytes)
		return;
	c->latched_count = pit_counter(pit, c);
	c->latched_bytes = c->access == PIT_BOTH ? 2 : 1;
}

static void pit_latch_status(struct pit *pit, struct pit_channel *c)
{
	if (c->is_status_latched)
		return;
	c->latched_status = (u8)(c->access << 4 | c->mode << 1 | c->is_bcd);
	if (pit_channel_out(pit, c))
		c->latched_status |= PIT_STATUS_OUT;
	if (!c->is_loaded)
		c->latched_status |= PIT_STATUS_NULL;
	c->is_status_latched = true;
}

static void pit_read_back(struct pit *pit, u8 command)
{
	for (unsigned i = 0; i < PIT_CHANNELS; i++) {
		if (!(command & 2u << i))
			continue;
		if (!(command & PIT_NO_COUNT))
			pit_latch_count(pit, &pit->channels[i]);
		if (!(command & PIT_NO_STATUS))
			pit_latch_status(pit, &pit->channels[i]);
	}
}

static void pit_write_control(struct pit *pit, u8 value)
{
	unsigned channel = value >> 6, access = value >> 4 & 3, mode = value >> 1 & 7;
	struct pit_channel *c = &pit->channels[channel % PIT_CHANNELS];

	if (channel == PIT_READ_BACK) {
		pit_read_back(pit, value);
		return;
	}
	if (access == PIT_LATCH) {
		pit_latch_count(pit, c);
		return;
	}
	*c = (struct pit_channel){.gate = c->gate, .count = 65536};
	c->access = (u8)access;
	c->mode = (u8)(mode > 5 ? mode - 4 : mode);
	c->is_bcd = value & 1;
	if (channel == 0)
		pit_update(pit);
}

static u8 pit_read_count(struct pit *pit, struct pit_channel *c)
{
	u16 v = c->latched_bytes ? c->latched_count : pit_counter(pit, c);
	bool is_high = c->access == PIT_HIGH || (c->access == PIT_BOTH && c->reads_high);

	if (c->access == PIT_BOTH)
		c->reads_high = !c->reads_high;
	if (c->latched_bytes)
		c->latched_bytes--;
	return (u8)(is_high ? v >> 8 : v);
}

static u64 pit_read(struct device *dev, u64 off, unused unsigned size)
{
	struct pit *pit = container_of(dev, struct pit, dev);
	struct pit_channel *c;

	if (off == PIT_CONTROL)
		return IO_ONES; /* write-only */
	c = &pit->channels[off];
	if (c->is_status_latched) {
		c->is_status_latched = false;
		return c->latched_status;
	}
	return pit_read_count(pit, c);
}

static void pit_write(struct device *dev, u64 off, u64 value, unused unsigned size)
{
	struct pit *pit = container_of(dev, struct pit, dev);

	if (off == PIT_CONTROL) {
		pit_write_control(pit, (u8)value);
		return;
	}
	pit_write_count(pit, &pit->channels[off], (u8)value);
	if (off == 0)
		pit_update(pit);
}

/* --- the device --- */

/* The chip has no reset: this is what firmware leaves, with nothing counting. */
static void pit_reset(struct device *dev)
{
	struct pit *pit = container_of(dev, struct pit, dev);

	for (unsigned i = 0; i < PIT_CHANNELS; i++)
		pit->channels[i] = (struct pit_channel){
			.mode = 3, .access = PIT_BOTH, .count = 65536, .gate = i != 2};
	pit_update(pit);
}

static void pit_free(struct device *dev)
{
	struct pit *pit = container_of(dev, struct pit, dev);

	vtimer_disarm(&pit->timer);
	io_region_fini(&pit->io);
	device_fini(dev);
	free(pit);
}

static void pit_before_save(void *object)
{
	pit_check(object);
}

static int pit_after_load(void *object, unused u16 version, struct err *err)
{
	struct pit *pit = object;

	for (unsigned i = 0; i < PIT_CHANNELS; i++) {
		const struct pit_channel *c = &pit->channels[i];

		if (c->mode > 5 || c->access == PIT_LATCH || c->access > PIT_BOTH || !c->count ||
		    c->count > 65536 || c->latched_bytes > 2)
			return err_set(err, -EINVAL, "channel %u: registers out of range", i);
	}
	pit_arm(pit);
	return 0;
}

static const struct state_field pit_channel_fields[] = {
	STATE_U(struct pit_channel, mode),
	STATE_U(struct pit_channel, access),
	STATE_B(struct pit_channel, is_bcd),
	STATE_B(struct pit_channel, gate),
	STATE_B(struct pit_channel, is_loaded),
	STATE_B(struct pit_channel, is_counting),
	STATE_U(struct pit_channel, count),
	STATE_U(struct pit_channel, start_ns),
	STATE_U(struct pit_channel, ticks),
	STATE_B(struct pit_channel, writes_high),
	STATE_B(struct pit_channel, reads_high),
	STATE_U(struct pit_channel, low_byte),
	STATE_U(struct pit_channel, latched_bytes),
	STATE_U(struct pit_channel, latched_count),
	STATE_B(struct pit_channel, is_status_latched),
	STATE_U(struct pit_channel, latched_status),
	STATE_END,
};

static const struct state_table pit_channel_state = {
	.name = "pit-channel",
	.version = 1,
	.fields = pit_channel_fields,
};

static const struct state_field pit_fields[] = {
	STATE_SUB_ARRAY(struct pit, channels, &pit_channel_state),
	STATE_END,
};

static const struct state_table pit_state = {
	.name = "pit",
	.version = 1,
	.fields = pit_fields,
	.before_save = pit_before_save,
	.after_load = pit_after_load,
};

static const struct device_ops pit_device_ops = {
	.type = "pit",
	.offset = offsetof(struct pit, dev),
	.state = &pit_state,
	.reset = pit_reset,
	.free = pit_free,
};

static const struct io_ops pit_io_ops = {.read = pit_read, .write = pit_write, .max_size = 1};

struct pit *pit_new(struct vclock *clock, struct irq_line irq0)
{
	struct pit *pit = NEW(struct pit);

	pit->clock = clock;
	pit->irq = irq0;
	vtimer_init(&pit->timer, clock, pit_on_timer, pit);
	device_init(&pit->dev, &pit_device_ops, "pit");
	io_region_init(&pit->io, "pit", &pit->dev, &pit_io_ops, 4);
	device_reset(&pit->dev);
	return pit;
}

struct device *pit_device(struct pit *pit)
{
	return &pit->dev;
}

struct io_region *pit_io(struct pit *pit)
{
	return &pit->io;
}

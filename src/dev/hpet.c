/*
 * High precision event timer (IA-PC HPET specification 1.0a).
 *
 * The main counter is the VM's clock, shifted; while it is disabled it stands. A timer's match is
 * worked out when anything changes, and a host timer armed for it. One-shot timers match when the
 * counter reaches the comparator, never because it has passed it; periodic ones add their period to
 * the comparator at each match. Matches that come too late because the host was busy are merged.
 *
 * Not offered: delivery by FSB messages.
 */
#include "dev/hpet.h"

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/err.h"
#include "bus/device.h"
#include "bus/io.h"
#include "clock/vclock.h"
#include "dev/hpet_regs.h"
#include "dev/pit.h"
#include "dev/rtc.h"
#include "state/state.h"

#define HPET_TIMERS    3
#define HPET_TICK_NS   10
#define HPET_PERIOD_FS ((u64)HPET_TICK_NS * 1000000)
/* Shorter periods don't interrupt more often: a guest can't keep the loop busy by itself. */
#define HPET_MIN_PERIOD_TICKS (100 * NSEC_PER_USEC / HPET_TICK_NS)

/* Decades: it never comes. */
#define HPET_MAX_WAIT_TICKS BIT(58)

struct hpet_timer {
	struct hpet *hpet;
	struct vtimer host;
	u64 config; /* HPET_TN_WRITABLE bits */
	u64 compare;
	u64 period;
	u64 match; /* counter value that it waits for; valid when waiting */
	bool is_waiting;
};

struct hpet {
	struct device dev; /* holds the lock for all below */
	struct io_region io;
	struct hpet_config board;
	u64 config, status;
	u64 offset; /* enabled: counter less the clock's ticks; else the counter; wraps */
	struct hpet_timer timers[HPET_TIMERS];
};

static unsigned hpet_timer_index(const struct hpet_timer *t)
{
	return (unsigned)(t - t->hpet->timers);
}

/* --- counter --- */

static u64 hpet_clock_ticks(const struct hpet *h)
{
	return vclock_now_ns(h->board.clock) / HPET_TICK_NS;
}

static u64 hpet_counter(const struct hpet *h)
{
	return h->config & HPET_ENABLE ? hpet_clock_ticks(h) + h->offset : h->offset;
}

/* --- interrupts --- */

static const struct irq_line *hpet_timer_line(const struct hpet_timer *t)
{
	const struct hpet_config *board = &t->hpet->board;
	unsigned index = hpet_timer_index(t), route = HPET_TN_ROUTE(t->config);

	if (t->hpet->config & HPET_LEGACY && index < ARRAY_SIZE(board->legacy))
		return &board->legacy[index];
	return HPET_ROUTES >> route & 1 ? &board->pins[route] : NULL;
}

static void hpet_timer_set_line(const struct hpet_timer *t, bool level)
{
	const struct irq_line *line = hpet_timer_line(t);

	if (line)
		irq_set(line, level);
}

static void hpet_timer_interrupt(struct hpet_timer *t)
{
	if (t->config & HPET_TN_LEVEL)
		t->hpet->status |= BIT(hpet_timer_index(t));
	if (!(t->config & HPET_TN_ENABLE))
		return;
	hpet_timer_set_line(t, true);
	if (!(t->config & HPET_TN_LEVEL))
		hpet_timer_set_line(t, false);
}

/* The level that stands, after its line, mode or status changed. */
static void hpet_timer_update_line(const struct hpet_timer *t)
{
	bool is_pending = t->hpet->status >> hpet_timer_index(t) & 1;

	hpet_timer_set_line(t,
			    is_pending && t->config & HPET_TN_LEVEL && t->config & HPET_TN_ENABLE);
}

/* --- matching --- */

static u64 hpet_timer_mask(const struct hpet_timer *t)
{
	return t->config & HPET_TN_32BIT ? 0xffffffff : ~(u64)0;
}

/* Ticks from counter until it reaches the comparator: a whole round when it stands there. */
static u64 hpet_timer_wait(const struct hpet_timer *t, u64 counter)
{
	u64 mask = hpet_timer_mask(t), wait = (t->compare - counter) & mask;

	if (wait)
		return wait;
	return t->config & HPET_TN_32BIT ? BIT(32) : mask;
}

static bool hpet_timer_is_periodic(const struct hpet_timer *t)
{
	return t->config & HPET_TN_PERIODIC && t->period;
}

static void hpet_timer_arm(struct hpet_timer *t, bool has_matched)
{
	const struct hpet *h = t->hpet;
	u64 counter = hpet_counter(h), wait = hpet_timer_wait(t, counter);

	t->is_waiting = h->config & HPET_ENABLE && wait < HPET_MAX_WAIT_TICKS;
	if (!t->is_waiting) {
		vtimer_disarm(&t->host);
		return;
	}
	if (has_matched && hpet_timer_is_periodic(t))
		wait = MAX(wait, HPET_MIN_PERIOD_TICKS);
	t->match = counter + wait;
	vtimer_arm(&t->host, (t->match - h->offset) * HPET_TICK_NS);
}

/* Moves a periodic comparator to the first multiple that is still to come. */
static void hpet_timer_advance(struct hpet_timer *t, u64 counter)
{
	u64 mask = hpet_timer_mask(t), behind = (counter - t->compare) & mask;

	t->compare = (t->compare + (behind / t->period + 1) * t->period) & mask;
}

static void hpet_timer_check(struct hpet_timer *t)
{
	u64 counter = hpet_counter(t->hpet);

	if (!t->is_waiting || (i64)(counter - t->match) < 0)
		return;
	if (hpet_timer_is_periodic(t))
		hpet_timer_advance(t, counter);
	hpet_timer_interrupt(t);
	hpet_timer_arm(t, true);
}

static void hpet_on_timer(void *opaque)
{
	struct hpet_timer *t = opaque;

	device_lock(&t->hpet->dev);
	hpet_timer_check(t);
	device_unlock(&t->hpet->dev);
}

/* --- registers: read and written as whole 64-bit ones --- */

static u64 hpet_caps(void)
{
	return HPET_CAP_REVISION | HPET_CAP_TIMERS(HPET_TIMERS) | HPET_CAP_64BIT | HPET_CAP_LEGACY |
	       HPET_CAP_VENDOR | HPET_PERIOD_FS << HPET_CAP_PERIOD_SHIFT;
}

/* The timer at off and the register in it, or NULL. */
static struct hpet_timer *hpet_find_timer(struct hpet *h, u64 off, u64 *out_reg)
{
	u64 index = (off - HPET_REG_TIMERS) / HPET_TIMER_SIZE;

	if (off < HPET_REG_TIMERS || index >= HPET_TIMERS)
		return NULL;
	*out_reg = off % HPET_TIMER_SIZE;
	return &h->timers[index];
}

static u64 hpet_timer_read(const struct hpet_timer *t, u64 reg)
{
	switch (reg) {
	case HPET_TIMER_CONFIG:
		return t->config | HPET_TN_CAN_PERIODIC | HPET_TN_IS_64BIT |
		       (u64)HPET_ROUTES << HPET_TN_ROUTE_CAP_SHIFT;
	case HPET_TIMER_COMPARE:
		return t->compare;
	}
	return 0;
}

static u64 hpet_read_reg(struct hpet *h, u64 off)
{
	u64 reg;
	struct hpet_timer *t = hpet_find_timer(h, off, &reg);

	if (t)
		return hpet_timer_read(t, reg);
	switch (off) {
	case HPET_REG_CAPS:
		return hpet_caps();
	case HPET_REG_CONFIG:
		return h->config;
	case HPET_REG_STATUS:
		return h->status;
	case HPET_REG_COUNTER:
		return hpet_counter(h);
	}
	return 0;
}

static void hpet_connect_legacy(struct hpet *h, bool is_connected)
{
	if (h->board.pit)
		pit_connect_irq(h->board.pit, is_connected);
	if (h->board.rtc)
		rtc_connect_irq(h->board.rtc, is_connected);
}

/* Turning the counter off or on keeps its value. */
static void hpet_write_config(struct hpet *h, u64 value)
{
	u64 counter = hpet_counter(h), changed = h->config ^ value;

	for (unsigned i = 0; i < HPET_TIMERS && changed & HPET_LEGACY; i++)
		hpet_timer_set_line(&h->timers[i], false);
	h->config = value & (HPET_ENABLE | HPET_LEGACY);
	if (changed & HPET_LEGACY)
		hpet_connect_legacy(h, !(value & HPET_LEGACY));
	h->offset = value & HPET_ENABLE ? counter - hpet_clock_ticks(h) : counter;
	for (unsigned i = 0; i < HPET_TIMERS; i++) {
		hpet_timer_update_line(&h->timers[i]);
		hpet_timer_arm(&h->timers[i], false);
	}
}

static void hpet_write_status(struct hpet *h, u64 value)
{
	h->status &= ~value;
	for (unsigned i = 0; i < HPET_TIMERS; i++)
		if (value >> i & 1)
			hpet_timer_update_line(&h->timers[i]);
}

static void hpet_write_counter(struct hpet *h, u64 value)
{
	h->offset = h->config & HPET_ENABLE ? value - hpet_clock_ticks(h) : value;
	for (unsigned i = 0; i < HPET_TIMERS; i++)
		hpet_timer_arm(&h->timers[i], false);
}

static void hpet_timer_write_config(struct hpet_timer *t, u64 value)
{
	hpet_timer_set_line(t, false); /* of the old route */
	t->config = value & HPET_TN_WRITABLE;
	t->compare &= hpet_timer_mask(t);
	t->period &= hpet_timer_mask(t);
	if (!(t->config & HPET_TN_LEVEL))
		t->hpet->status &= ~BIT(hpet_timer_index(t));
	hpet_timer_update_line(t);
	hpet_timer_arm(t, false);
}

/*
 * In periodic mode a write sets the period, and the comparator as well if the "set value" bit was
 * set before (2.3.9.2.2), which that clears.
 */
static void hpet_timer_write_compare(struct hpet_timer *t, u64 value)
{
	value &= hpet_timer_mask(t);
	if (!(t->config & HPET_TN_PERIODIC) || t->config & HPET_TN_SET_VALUE)
		t->compare = value;
	if (t->config & HPET_TN_PERIODIC)
		t->period = value;
	t->config &= ~HPET_TN_SET_VALUE;
	hpet_timer_arm(t, false);
}

static void hpet_write_reg(struct hpet *h, u64 off, u64 value)
{
	u64 reg;
	struct hpet_timer *t = hpet_find_timer(h, off, &reg);

	if (t) {
		if (reg == HPET_TIMER_CONFIG)
			hpet_timer_write_config(t, value);
		else if (reg == HPET_TIMER_COMPARE)
			hpet_timer_write_compare(t, value);
		return;
	}
	switch (off) {
	case HPET_REG_CONFIG:
		hpet_write_config(h, value);
		break;
	case HPET_REG_STATUS:
		hpet_write_status(h, value);
		break;
	case HPET_REG_COUNTER:
		hpet_write_counter(h, value);
		break;
	default:
		guest_error(&h->dev, "write at %#lx", off);
		break;
	}
}

static void hpet_check(struct hpet *h)
{
	for (unsigned i = 0; i < HPET_TIMERS; i++)
		hpet_timer_check(&h->timers[i]);
}

static u64 hpet_read(struct device *dev, u64 off, unused unsigned size)
{
	struct hpet *h = container_of(dev, struct hpet, dev);

	hpet_check(h);
	return hpet_read_reg(h, align_down(off, 8)) >> off % 8 * 8;
}

/* What a half of the comparator leaves out is what the register held; of the status, nothing. */
static void hpet_write(struct device *dev, u64 off, u64 value, unsigned size)
{
	struct hpet *h = container_of(dev, struct hpet, dev);
	u64 reg = align_down(off, 8), shift = off % 8 * 8;
	u64 mask = bytes_mask(size) << shift;
	u64 old = reg == HPET_REG_STATUS ? 0 : hpet_read_reg(h, reg);

	hpet_check(h);
	hpet_write_reg(h, reg, (old & ~mask) | (value << shift & mask));
}

/* --- the device --- */

static void hpet_reset(struct device *dev)
{
	struct hpet *h = container_of(dev, struct hpet, dev);

	for (unsigned i = 0; i < HPET_TIMERS; i++) {
		struct hpet_timer *t = &h->timers[i];

		hpet_timer_set_line(t, false);
		vtimer_disarm(&t->host);
		t->config = t->period = 0;
		t->compare = ~(u64)0;
		t->is_waiting = false;
	}
	hpet_connect_legacy(h, true);
	h->config = h->status = h->offset = 0;
}

static void hpet_free(struct device *dev)
{
	struct hpet *h = container_of(dev, struct hpet, dev);

	for (unsigned i = 0; i < HPET_TIMERS; i++)
		vtimer_disarm(&h->timers[i].host);
	io_region_fini(&h->io);
	device_fini(dev);
	free(h);
}

static void hpet_before_save(void *object)
{
	hpet_check(object);
}

static int hpet_after_load(void *object, unused u16 version, struct err *err)
{
	struct hpet *h = object;

	if (h->config & ~(HPET_ENABLE | HPET_LEGACY) || h->status >> HPET_TIMERS)
		return err_set(err, -EINVAL, "reserved bits are set");
	for (unsigned i = 0; i < HPET_TIMERS; i++) {
		struct hpet_timer *t = &h->timers[i];
		u64 mask = hpet_timer_mask(t);

		if (t->config & ~HPET_TN_WRITABLE || t->compare & ~mask || t->period & ~mask)
			return err_set(err, -EINVAL, "timer %u: reserved bits are set", i);
		hpet_timer_arm(t, false);
	}
	hpet_connect_legacy(h, !(h->config & HPET_LEGACY));
	return 0;
}

static const struct state_field hpet_timer_fields[] = {
	STATE_U(struct hpet_timer, config),
	STATE_U(struct hpet_timer, compare),
	STATE_U(struct hpet_timer, period),
	STATE_END,
};

static const struct state_table hpet_timer_state = {
	.name = "hpet-timer",
	.version = 1,
	.fields = hpet_timer_fields,
};

static const struct state_field hpet_fields[] = {
	STATE_U(struct hpet, config),
	STATE_U(struct hpet, status),
	STATE_U(struct hpet, offset),
	STATE_SUB_ARRAY(struct hpet, timers, &hpet_timer_state),
	STATE_END,
};

static const struct state_table hpet_state = {
	.name = "hpet",
	.version = 1,
	.fields = hpet_fields,
	.before_save = hpet_before_save,
	.after_load = hpet_after_load,
};

static const struct device_ops hpet_device_ops = {
	.type = "hpet",
	.offset = offsetof(struct hpet, dev),
	.state = &hpet_state,
	.reset = hpet_reset,
	.free = hpet_free,
};

static const struct io_ops hpet_io_ops = {
	.read = hpet_read, .write = hpet_write, .min_size = 4, .max_size = 8};

struct hpet *hpet_new(const struct hpet_config *config)
{
	struct hpet *h = NEW(struct hpet);

	h->board = *config;
	for (unsigned i = 0; i < HPET_TIMERS; i++) {
		h->timers[i].hpet = h;
		vtimer_init(&h->timers[i].host, config->clock, hpet_on_timer, &h->timers[i]);
	}
	device_init(&h->dev, &hpet_device_ops, "hpet");
	io_region_init(&h->io, "hpet", &h->dev, &hpet_io_ops, HPET_IO_SIZE);
	device_reset(&h->dev);
	return h;
}

struct device *hpet_device(struct hpet *h)
{
	return &h->dev;
}

struct io_region *hpet_io(struct hpet *h)
{
	return &h->io;
}

u32 hpet_id(unused const struct hpet *h)
{
	return (u32)hpet_caps();
}

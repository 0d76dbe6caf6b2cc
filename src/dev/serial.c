/*
 * 16550A UART (PC16550D datasheet).
 *
 * Bytes have no duration: what is written goes to the stream at once, and waits in the transmit
 * FIFO only while the stream takes nothing; what comes in fills the receive FIFO as far as it has
 * room. Below the trigger level the receiver says "timeout" at once instead of four characters
 * later. The line settings are kept and mean nothing.
 */
#include "dev/serial.h"

#include <string.h>

#include "base/alloc.h"
#include "base/err.h"
#include "bus/device.h"
#include "bus/io.h"
#include "chr/chr.h"
#include "dev/serial_regs.h"
#include "state/state.h"

#define SERIAL_FIFO          16
#define SERIAL_RESET_DIVISOR 12 /* 9600 baud */

struct serial_fifo {
	u8 data[SERIAL_FIFO];
	u8 start, n;
};

struct serial {
	struct device dev; /* holds the lock for all below */
	struct io_region io;
	struct irq_line irq;
	struct chr *chr;
	struct chr_user user;
	u8 ier, fcr, lcr, mcr, scr;
	u8 lsr; /* SERIAL_LSR_OE; the rest follows from the FIFOs */
	u8 msr;
	u16 divisor;
	bool is_thre; /* the transmitter-empty interrupt is pending */
	struct serial_fifo rx, tx;
};

/* --- FIFOs: without FCR's enable they hold one byte --- */

static unsigned serial_fifo_size(const struct serial *s)
{
	return s->fcr & SERIAL_FCR_ENABLE ? SERIAL_FIFO : 1;
}

static void serial_fifo_put(struct serial_fifo *f, u8 byte)
{
	assert(f->n < SERIAL_FIFO);
	f->data[(f->start + f->n++) % SERIAL_FIFO] = byte;
}

static u8 serial_fifo_take(struct serial_fifo *f)
{
	u8 byte = f->data[f->start];

	assert(f->n);
	f->start = (f->start + 1) % SERIAL_FIFO;
	f->n--;
	return byte;
}

static void serial_fifo_clear(struct serial_fifo *f)
{
	*f = (struct serial_fifo){0};
}

/* --- interrupts --- */

static u8 serial_trigger(const struct serial *s)
{
	static const u8 levels[] = {1, 4, 8, 14};

	return s->fcr & SERIAL_FCR_ENABLE ? levels[SERIAL_FCR_TRIGGER(s->fcr)] : 1;
}

/* The source of highest priority (datasheet, table IV). */
static u8 serial_source(const struct serial *s)
{
	if (s->ier & SERIAL_IER_RLS && s->lsr & SERIAL_LSR_OE)
		return SERIAL_IIR_RLS;
	if (s->ier & SERIAL_IER_RDA && s->rx.n)
		return s->rx.n >= serial_trigger(s) ? SERIAL_IIR_RDA : SERIAL_IIR_TIMEOUT;
	if (s->ier & SERIAL_IER_THRE && s->is_thre)
		return SERIAL_IIR_THRE;
	if (s->ier & SERIAL_IER_MSR && s->msr & SERIAL_MSR_DELTAS)
		return SERIAL_IIR_MSR;
	return SERIAL_IIR_NONE;
}

static void serial_update_irq(struct serial *s)
{
	irq_set(&s->irq, serial_source(s) != SERIAL_IIR_NONE && s->mcr & SERIAL_MCR_OUT2 &&
				 !(s->mcr & SERIAL_MCR_LOOP));
}

/* --- modem lines: the peer holds CTS, DSR and DCD as long as it is there --- */

static u8 serial_modem_lines(const struct serial *s)
{
	u8 v = 0;

	if (!(s->mcr & SERIAL_MCR_LOOP))
		return chr_is_open(s->chr) ? SERIAL_MSR_CTS | SERIAL_MSR_DSR | SERIAL_MSR_DCD : 0;
	if (s->mcr & SERIAL_MCR_RTS)
		v |= SERIAL_MSR_CTS;
	if (s->mcr & SERIAL_MCR_DTR)
		v |= SERIAL_MSR_DSR;
	if (s->mcr & SERIAL_MCR_OUT1)
		v |= SERIAL_MSR_RI;
	if (s->mcr & SERIAL_MCR_OUT2)
		v |= SERIAL_MSR_DCD;
	return v;
}

static void serial_update_modem(struct serial *s)
{
	u8 old = s->msr & ~SERIAL_MSR_DELTAS, new = serial_modem_lines(s);
	u8 changed = (old ^ new) & (SERIAL_MSR_CTS | SERIAL_MSR_DSR | SERIAL_MSR_DCD);

	changed |= old & ~new &SERIAL_MSR_RI;
	s->msr = new | (s->msr & SERIAL_MSR_DELTAS) | changed >> 4;
}

/* --- transmitting --- */

/* Hands on what the stream takes. An emptied transmitter interrupts. */
static void serial_flush(struct serial *s)
{
	while (s->tx.n) {
		size_t run = MIN((unsigned)s->tx.n, (unsigned)(SERIAL_FIFO - s->tx.start));
		size_t taken = chr_write(s->chr, &s->tx.data[s->tx.start], run);

		s->tx.start = (u8)((s->tx.start + taken) % SERIAL_FIFO);
		s->tx.n -= (u8)taken;
		if (taken < run)
			return;
	}
	s->is_thre = true;
}

static void serial_loop_back(struct serial *s, u8 byte)
{
	if (s->rx.n < serial_fifo_size(s))
		serial_fifo_put(&s->rx, byte);
	else
		s->lsr |= SERIAL_LSR_OE;
	s->is_thre = true;
}

/* A byte written to a full transmitter is lost (datasheet, "Transmitter holding register"). */
static void serial_transmit(struct serial *s, u8 byte)
{
	s->is_thre = false;
	if (s->mcr & SERIAL_MCR_LOOP) {
		serial_loop_back(s, byte);
		return;
	}
	if (s->tx.n < serial_fifo_size(s))
		serial_fifo_put(&s->tx, byte);
	else
		guest_error(&s->dev, "byte written to a full transmitter");
	serial_flush(s);
}

/* --- the stream's side --- */

static size_t serial_room(const struct serial *s)
{
	unsigned size = serial_fifo_size(s);

	return s->mcr & SERIAL_MCR_LOOP || s->rx.n >= size ? 0 : size - s->rx.n;
}

static size_t serial_on_can_receive(void *opaque)
{
	struct serial *s = opaque;
	size_t n;

	device_lock(&s->dev);
	n = serial_room(s);
	device_unlock(&s->dev);
	return n;
}

static void serial_on_receive(void *opaque, const u8 *data, size_t size)
{
	struct serial *s = opaque;

	device_lock(&s->dev);
	for (size_t i = 0; i < size; i++) {
		/* The guest may have taken room away since it was asked for. */
		if (serial_room(s))
			serial_fifo_put(&s->rx, data[i]);
		else
			s->lsr |= SERIAL_LSR_OE;
	}
	serial_update_irq(s);
	device_unlock(&s->dev);
}

static void serial_on_room(void *opaque)
{
	struct serial *s = opaque;

	device_lock(&s->dev);
	if (s->tx.n)
		serial_flush(s);
	serial_update_irq(s);
	device_unlock(&s->dev);
}

static void serial_on_event(void *opaque, unused bool is_open)
{
	struct serial *s = opaque;

	device_lock(&s->dev);
	serial_update_modem(s);
	serial_update_irq(s);
	device_unlock(&s->dev);
}

/* --- registers --- */

static u8 serial_read_data(struct serial *s)
{
	u8 byte;

	if (!s->rx.n)
		return 0;
	byte = serial_fifo_take(&s->rx);
	chr_accept(s->chr);
	return byte;
}

/* Reading it takes the transmitter's interrupt away, if it is the one that is shown. */
static u8 serial_read_iir(struct serial *s)
{
	u8 v = serial_source(s);

	if (v == SERIAL_IIR_THRE)
		s->is_thre = false;
	return v | (s->fcr & SERIAL_FCR_ENABLE ? SERIAL_IIR_FIFOS : 0);
}

static u8 serial_read_lsr(struct serial *s)
{
	u8 v = s->lsr;

	if (s->rx.n)
		v |= SERIAL_LSR_DR;
	if (!s->tx.n)
		v |= SERIAL_LSR_THRE | SERIAL_LSR_TEMT;
	s->lsr = 0;
	return v;
}

static u8 serial_read_msr(struct serial *s)
{
	u8 v = s->msr;

	s->msr &= ~SERIAL_MSR_DELTAS;
	return v;
}

static u8 serial_read_reg(struct serial *s, u64 off)
{
	bool is_divisor = s->lcr & SERIAL_LCR_DLAB;

	switch (off) {
	case SERIAL_DATA:
		return is_divisor ? (u8)s->divisor : serial_read_data(s);
	case SERIAL_IER:
		return is_divisor ? (u8)(s->divisor >> 8) : s->ier;
	case SERIAL_IIR:
		return serial_read_iir(s);
	case SERIAL_LCR:
		return s->lcr;
	case SERIAL_MCR:
		return s->mcr;
	case SERIAL_LSR:
		return serial_read_lsr(s);
	case SERIAL_MSR:
		return serial_read_msr(s);
	default:
		return s->scr;
	}
}

/* Enabling the transmitter's interrupt while it is empty raises it. */
static void serial_write_ier(struct serial *s, u8 value)
{
	u8 old = s->ier;

	s->ier = value & SERIAL_IER_BITS;
	if (s->ier & ~old & SERIAL_IER_THRE && !s->tx.n)
		s->is_thre = true;
}

/* Switching the FIFOs on or off clears them; the other bits count only with the enable. */
static void serial_write_fcr(struct serial *s, u8 value)
{
	bool is_switch = (value ^ s->fcr) & SERIAL_FCR_ENABLE;

	if (!(value & SERIAL_FCR_ENABLE))
		value = 0;
	if (is_switch || value & SERIAL_FCR_CLEAR_RX)
		serial_fifo_clear(&s->rx);
	if (is_switch || value & SERIAL_FCR_CLEAR_TX) {
		serial_fifo_clear(&s->tx);
		s->is_thre = true;
	}
	s->fcr = value & ~(SERIAL_FCR_CLEAR_RX | SERIAL_FCR_CLEAR_TX);
	chr_accept(s->chr);
}

static void serial_write_mcr(struct serial *s, u8 value)
{
	s->mcr = value & SERIAL_MCR_BITS;
	serial_update_modem(s);
	chr_accept(s->chr);
}

static void serial_write_reg(struct serial *s, u64 off, u8 value)
{
	bool is_divisor = s->lcr & SERIAL_LCR_DLAB;

	switch (off) {
	case SERIAL_DATA:
		if (is_divisor)
			s->divisor = (u16)((s->divisor & 0xff00) | value);
		else
			serial_transmit(s, value);
		break;
	case SERIAL_IER:
		if (is_divisor)
			s->divisor = (u16)(value << 8 | (s->divisor & 0xff));
		else
			serial_write_ier(s, value);
		break;
	case SERIAL_FCR:
		serial_write_fcr(s, value);
		break;
	case SERIAL_LCR:
		s->lcr = value;
		break;
	case SERIAL_MCR:
		serial_write_mcr(s, value);
		break;
	case SERIAL_SCR:
		s->scr = value;
		break;
	default: /* LSR and MSR: factory test, nothing */
		break;
	}
}

static u64 serial_read(struct device *dev, u64 off, unused unsigned size)
{
	struct serial *s = container_of(dev, struct serial, dev);
	u8 v = serial_read_reg(s, off);

	serial_update_irq(s);
	return v;
}

static void serial_write(struct device *dev, u64 off, u64 value, unused unsigned size)
{
	struct serial *s = container_of(dev, struct serial, dev);

	serial_write_reg(s, off, (u8)value);
	serial_update_irq(s);
}

/* --- the device --- */

static void serial_reset(struct device *dev)
{
	struct serial *s = container_of(dev, struct serial, dev);

	s->ier = s->fcr = s->lcr = s->mcr = s->scr = s->lsr = 0;
	s->divisor = SERIAL_RESET_DIVISOR;
	s->is_thre = false;
	serial_fifo_clear(&s->rx);
	serial_fifo_clear(&s->tx);
	s->msr = serial_modem_lines(s);
	serial_update_irq(s);
	chr_accept(s->chr);
}

static void serial_free(struct device *dev)
{
	struct serial *s = container_of(dev, struct serial, dev);

	chr_attach(s->chr, NULL);
	io_region_fini(&s->io);
	device_fini(dev);
	free(s);
}

/* The peer need not be the one of old: modem lines are looked at anew. */
static int serial_after_load(void *object, unused u16 version, struct err *err)
{
	struct serial *s = object;

	if (s->rx.n > SERIAL_FIFO || s->tx.n > SERIAL_FIFO || s->rx.start >= SERIAL_FIFO ||
	    s->tx.start >= SERIAL_FIFO || s->ier & ~SERIAL_IER_BITS || s->mcr & ~SERIAL_MCR_BITS ||
	    s->lsr & ~SERIAL_LSR_OE)
		return err_set(err, -EINVAL, "registers out of range");
	serial_update_modem(s);
	if (s->tx.n)
		serial_flush(s);
	serial_update_irq(s);
	chr_accept(s->chr);
	return 0;
}

static const struct state_field serial_fifo_fields[] = {
	STATE_RAW(struct serial_fifo, data),
	STATE_U(struct serial_fifo, start),
	STATE_U(struct serial_fifo, n),
	STATE_END,
};

static const struct state_table serial_fifo_state = {
	.name = "serial-fifo",
	.version = 1,
	.fields = serial_fifo_fields,
};

static const struct state_field serial_fields[] = {
	STATE_U(struct serial, ier),
	STATE_U(struct serial, fcr),
	STATE_U(struct serial, lcr),
	STATE_U(struct serial, mcr),
	STATE_U(struct serial, scr),
	STATE_U(struct serial, lsr),
	STATE_U(struct serial, msr),
	STATE_U(struct serial, divisor),
	STATE_B(struct serial, is_thre),
	STATE_SUB(struct serial, rx, &serial_fifo_state),
	STATE_SUB(struct serial, tx, &serial_fifo_state),
	STATE_END,
};

static const struct state_table serial_state = {
	.name = "serial",
	.version = 1,
	.fields = serial_fields,
	.after_load = serial_after_load,
};

static const struct device_ops serial_device_ops = {
	.type = "serial",
	.offset = offsetof(struct serial, dev),
	.state = &serial_state,
	.reset = serial_reset,
	.free = serial_free,
};

static const struct io_ops serial_io_ops = {
	.read = serial_read, .write = serial_write, .max_size = 1};

struct serial *serial_new(const char *name, struct chr *chr, struct irq_line irq)
{
	struct serial *s = NEW(struct serial);

	s->chr = chr;
	s->irq = irq;
	s->user = (struct chr_user){
		.can_receive = serial_on_can_receive,
		.receive = serial_on_receive,
		.room = serial_on_room,
		.event = serial_on_event,
		.opaque = s,
	};
	device_init(&s->dev, &serial_device_ops, name);
	io_region_init(&s->io, s->dev.name, &s->dev, &serial_io_ops, SERIAL_PORTS);
	chr_attach(chr, &s->user);
	device_reset(&s->dev);
	return s;
}

struct device *serial_device(struct serial *s)
{
	return &s->dev;
}

struct io_region *serial_io(struct serial *s)
{
	return &s->io;
}

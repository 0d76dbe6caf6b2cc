/*
 * Two 8259A interrupt controllers (8259A datasheet, 231468), cascaded as in every PC, with the
 * ICH9's edge/level registers, which replace the LTIM bit of ICW1.
 *
 * irr latches edges and follows levels; isr holds what is being served; the highest request that is
 * neither masked nor below the one in service raises INT. The slave's INT is the master's input 2.
 * An edge stays latched when its line falls before the acknowledge, where the chip would answer
 * with a spurious interrupt: short pulses are not lost.
 *
 * Not modelled: 8080 mode (ICW4 bit 0 clear is taken as 8086), buffered mode.
 */
#include "irqchip/pic.h"

#include "base/alloc.h"
#include "base/err.h"
#include "bus/device.h"
#include "bus/io.h"
#include "irqchip/ioapic.h"
#include "state/state.h"

/* clang-format off */
#define PIC_CASCADE	2	/* the master's input */
#define PIC_SPURIOUS	7

#define PIC_ICW1	BIT32(4)	/* in a write to the even port */
#define PIC_ICW1_IC4	BIT32(0)
#define PIC_ICW1_SINGLE	BIT32(1)
#define PIC_OCW3	BIT32(3)
#define PIC_OCW3_READ	BIT32(1)	/* the bit below says which */
#define PIC_OCW3_POLL	BIT32(2)
#define PIC_OCW3_SMM	BIT32(5)
#define PIC_OCW3_ESMM	BIT32(6)
#define PIC_ICW4_AEOI	BIT32(1)
#define PIC_ICW4_SFNM	BIT32(4)
/* clang-format on */

/* Inputs that can't be level-triggered: timer, keyboard, cascade; RTC, and the FPU's. */
static const u8 pic_edge_only[2] = {0x07, 0x21};

enum pic_init { PIC_READY, PIC_WANTS_ICW2, PIC_WANTS_ICW3, PIC_WANTS_ICW4 };

struct pic_chip {
	u8 irr, imr, isr;
	u8 lines;      /* input levels */
	u8 elcr;       /* inputs that are level-triggered */
	u8 base;       /* vector of input 0 */
	u8 lowest;     /* the input of lowest priority: rotation */
	u8 init_state; /* enum pic_init: which command word comes next */
	bool wants_icw4, is_single;
	bool reads_isr, polls;
	bool special_mask, auto_eoi, rotates_on_auto_eoi, special_nested;
};

struct pic {
	struct device dev; /* holds the lock for all below */
	struct io_region io[2], elcr_io;
	struct irq_line intr;
	bool is_intr; /* as last set */
	struct pic_chip chips[2];
};

/* --- priorities --- */

/* 0 is the highest; 8 when bits is empty. */
static unsigned pic_priority(const struct pic_chip *c, u8 bits)
{
	for (unsigned p = 0; p < 8; p++)
		if (bits & 1u << ((c->lowest + 1 + p) & 7))
			return p;
	return 8;
}

static unsigned pic_input_at(const struct pic_chip *c, unsigned priority)
{
	return (c->lowest + 1 + priority) & 7;
}

/*
 * The input that asks for service, or -1. In special mask mode only what is masked is out of the
 * order; in special fully nested mode the master lets its slave interrupt the slave's service.
 */
static int pic_request(const struct pic *pic, unsigned chip)
{
	const struct pic_chip *c = &pic->chips[chip];
	u8 serving = c->isr;
	unsigned wanted = pic_priority(c, c->irr & ~c->imr);

	if (wanted == 8)
		return -1;
	if (c->special_mask)
		serving &= ~c->imr;
	if (c->special_nested && chip == 0)
		serving &= ~(1u << PIC_CASCADE);
	if (wanted >= pic_priority(c, serving))
		return -1;
	return (int)pic_input_at(c, wanted);
}

/* --- inputs and the output --- */

static void pic_set_input(struct pic_chip *c, unsigned input, bool level)
{
	u8 bit = (u8)(1u << input);

	if (c->elcr & bit)
		c->irr = level ? c->irr | bit : c->irr & ~bit;
	else if (level && !(c->lines & bit))
		c->irr |= bit;
	c->lines = level ? c->lines | bit : c->lines & ~bit;
}

static void pic_update(struct pic *pic)
{
	u8 *irr = &pic->chips[0].irr;
	bool intr;

	/* The slave drops its INT while it is acknowledged: to the master it is as good as a level. */
	*irr &= ~(1u << PIC_CASCADE);
	if (pic_request(pic, 1) >= 0)
		*irr |= 1u << PIC_CASCADE;
	intr = pic_request(pic, 0) >= 0;
	if (intr != pic->is_intr) {
		pic->is_intr = intr;
		irq_set(&pic->intr, intr);
	}
}

static void pic_set_line(void *opaque, unsigned irq, bool level)
{
	struct pic *pic = opaque;

	device_lock(&pic->dev);
	pic_set_input(&pic->chips[irq / 8], irq % 8, level);
	pic_update(pic);
	device_unlock(&pic->dev);
}

/* The chip's part of an INTA cycle, or of a poll. */
static void pic_serve(struct pic_chip *c, unsigned input)
{
	u8 bit = (u8)(1u << input);

	if (!(c->elcr & bit))
		c->irr &= ~bit;
	if (!c->auto_eoi)
		c->isr |= bit;
	else if (c->rotates_on_auto_eoi)
		c->lowest = (u8)input;
}

/* A request that has gone meanwhile gives input 7, without service: a spurious interrupt. */
u8 pic_acknowledge(struct pic *pic)
{
	int input, slave;
	u8 vector;

	device_lock(&pic->dev);
	input = pic_request(pic, 0);
	if (input < 0) {
		vector = pic->chips[0].base + PIC_SPURIOUS;
	} else if (input == PIC_CASCADE) {
		slave = pic_request(pic, 1);
		pic_serve(&pic->chips[0], PIC_CASCADE);
		if (slave >= 0)
			pic_serve(&pic->chips[1], (unsigned)slave);
		vector = pic->chips[1].base + (u8)(slave < 0 ? PIC_SPURIOUS : slave);
	} else {
		pic_serve(&pic->chips[0], (unsigned)input);
		vector = pic->chips[0].base + (u8)input;
	}
	pic_update(pic);
	device_unlock(&pic->dev);
	return vector;
}

bool pic_is_pending(struct pic *pic)
{
	bool v;

	device_lock(&pic->dev);
	v = pic->is_intr;
	device_unlock(&pic->dev);
	return v;
}

/* --- command words --- */

/* ICW1 clears everything but the edge/level register and the inputs. */
static void pic_write_icw1(struct pic_chip *c, u8 value)
{
	*c = (struct pic_chip){.elcr = c->elcr, .lines = c->lines, .base = c->base, .lowest = 7};
	c->irr = c->lines & c->elcr;
	c->init_state = PIC_WANTS_ICW2;
	c->wants_icw4 = value & PIC_ICW1_IC4;
	c->is_single = value & PIC_ICW1_SINGLE;
}

static void pic_write_ocw3(struct pic_chip *c, u8 value)
{
	if (value & PIC_OCW3_POLL)
		c->polls = true;
	else if (value & PIC_OCW3_READ)
		c->reads_isr = value & 1;
	if (value & PIC_OCW3_ESMM)
		c->special_mask = value & PIC_OCW3_SMM;
}

/* End of interrupt and rotation: R, SL, EOI in bits 7 to 5 (datasheet, "OCW2"). */
static void pic_write_ocw2(struct pic_chip *c, u8 value)
{
	u8 serving = c->special_mask ? c->isr & ~c->imr : c->isr;
	unsigned highest = pic_priority(c, serving), input = value & 7;

	switch (value >> 5) {
	case 0: /* rotate in automatic EOI mode: clear, set */
	case 4:
		c->rotates_on_auto_eoi = value >> 7;
		break;
	case 1: /* non-specific EOI, without and with rotation */
	case 5:
		if (highest == 8)
			break;
		input = pic_input_at(c, highest);
		c->isr &= ~(1u << input);
		if (value >> 7)
			c->lowest = (u8)input;
		break;
	case 3: /* specific EOI, without and with rotation */
	case 7:
		c->isr &= ~(1u << input);
		if (value >> 7)
			c->lowest = (u8)input;
		break;
	case 6: /* set priority */
		c->lowest = (u8)input;
		break;
	default: /* 2: no operation */
		break;
	}
}

static void pic_write_data(struct pic_chip *c, u8 value)
{
	switch (c->init_state) {
	case PIC_WANTS_ICW2:
		c->base = value & 0xf8;
		c->init_state = !c->is_single   ? PIC_WANTS_ICW3
				: c->wants_icw4 ? PIC_WANTS_ICW4
						: PIC_READY;
		break;
	case PIC_WANTS_ICW3: /* the wiring is the board's */
		c->init_state = c->wants_icw4 ? PIC_WANTS_ICW4 : PIC_READY;
		break;
	case PIC_WANTS_ICW4:
		c->auto_eoi = value & PIC_ICW4_AEOI;
		c->special_nested = value & PIC_ICW4_SFNM;
		c->init_state = PIC_READY;
		break;
	default:
		c->imr = value;
		break;
	}
}

/* Bit 7 says that there was a request, the low bits which; it counts as acknowledged. */
static u8 pic_read_poll(struct pic *pic, unsigned chip)
{
	int input = pic_request(pic, chip);

	pic->chips[chip].polls = false;
	if (input < 0)
		return PIC_SPURIOUS;
	pic_serve(&pic->chips[chip], (unsigned)input);
	return (u8)(0x80 | input);
}

/* --- ports --- */

static u64 pic_chip_read(struct pic *pic, unsigned chip, u64 off)
{
	struct pic_chip *c = &pic->chips[chip];
	u8 v;

	if (c->polls) {
		v = pic_read_poll(pic, chip);
		pic_update(pic);
		return v;
	}
	if (off == 1)
		return c->imr;
	return c->reads_isr ? c->isr : c->irr;
}

static void pic_chip_write(struct pic *pic, unsigned chip, u64 off, u8 value)
{
	struct pic_chip *c = &pic->chips[chip];

	if (off == 1)
		pic_write_data(c, value);
	else if (value & PIC_ICW1)
		pic_write_icw1(c, value);
	else if (value & PIC_OCW3)
		pic_write_ocw3(c, value);
	else
		pic_write_ocw2(c, value);
	pic_update(pic);
}

static u64 pic_master_read(struct device *dev, u64 off, unused unsigned size)
{
	return pic_chip_read(container_of(dev, struct pic, dev), 0, off);
}

static void pic_master_write(struct device *dev, u64 off, u64 value, unused unsigned size)
{
	pic_chip_write(container_of(dev, struct pic, dev), 0, off, (u8)value);
}

static u64 pic_slave_read(struct device *dev, u64 off, unused unsigned size)
{
	return pic_chip_read(container_of(dev, struct pic, dev), 1, off);
}

static void pic_slave_write(struct device *dev, u64 off, u64 value, unused unsigned size)
{
	pic_chip_write(container_of(dev, struct pic, dev), 1, off, (u8)value);
}

static u64 pic_elcr_read(struct device *dev, u64 off, unused unsigned size)
{
	return container_of(dev, struct pic, dev)->chips[off].elcr;
}

static void pic_elcr_write(struct device *dev, u64 off, u64 value, unused unsigned size)
{
	struct pic *pic = container_of(dev, struct pic, dev);
	struct pic_chip *c = &pic->chips[off];

	c->elcr = (u8)value & ~pic_edge_only[off];
	c->irr = (c->irr & ~c->elcr) | (c->lines & c->elcr);
	pic_update(pic);
}

/* --- the device --- */

/*
 * Until it is initialized the chip asks for nothing: all is masked. The inputs are other devices'
 * outputs: they keep their levels.
 */
static void pic_reset(struct device *dev)
{
	struct pic *pic = container_of(dev, struct pic, dev);

	for (unsigned i = 0; i < 2; i++) {
		struct pic_chip *c = &pic->chips[i];

		*c = (struct pic_chip){.lines = c->lines, .lowest = 7, .imr = 0xff};
	}
	pic_update(pic);
}

static void pic_free(struct device *dev)
{
	struct pic *pic = container_of(dev, struct pic, dev);

	io_region_fini(&pic->io[0]);
	io_region_fini(&pic->io[1]);
	io_region_fini(&pic->elcr_io);
	device_fini(dev);
	free(pic);
}

static int pic_after_load(void *object, unused u16 version, struct err *err)
{
	struct pic *pic = object;

	for (unsigned i = 0; i < 2; i++) {
		const struct pic_chip *c = &pic->chips[i];

		if (c->init_state > PIC_WANTS_ICW4 || c->lowest > 7 || c->base & 7 ||
		    c->elcr & pic_edge_only[i])
			return err_set(err, -EINVAL, "chip %u: registers out of range", i);
	}
	irq_set(&pic->intr, pic->is_intr);
	pic_update(pic);
	return 0;
}

static const struct state_field pic_chip_fields[] = {
	STATE_U(struct pic_chip, irr),
	STATE_U(struct pic_chip, imr),
	STATE_U(struct pic_chip, isr),
	STATE_U(struct pic_chip, lines),
	STATE_U(struct pic_chip, elcr),
	STATE_U(struct pic_chip, base),
	STATE_U(struct pic_chip, lowest),
	STATE_U(struct pic_chip, init_state),
	STATE_B(struct pic_chip, wants_icw4),
	STATE_B(struct pic_chip, is_single),
	STATE_B(struct pic_chip, reads_isr),
	STATE_B(struct pic_chip, polls),
	STATE_B(struct pic_chip, special_mask),
	STATE_B(struct pic_chip, auto_eoi),
	STATE_B(struct pic_chip, rotates_on_auto_eoi),
	STATE_B(struct pic_chip, special_nested),
	STATE_END,
};

static const struct state_table pic_chip_state = {
	.name = "pic-chip",
	.version = 1,
	.fields = pic_chip_fields,
};

static const struct state_field pic_fields[] = {
	STATE_SUB_ARRAY(struct pic, chips, &pic_chip_state),
	STATE_B(struct pic, is_intr),
	STATE_END,
};

static const struct state_table pic_state = {
	.name = "pic",
	.version = 1,
	.fields = pic_fields,
	.after_load = pic_after_load,
};

static const struct device_ops pic_device_ops = {
	.type = "pic",
	.offset = offsetof(struct pic, dev),
	.state = &pic_state,
	.reset = pic_reset,
	.free = pic_free,
};

static const struct io_ops pic_master_ops = {
	.read = pic_master_read, .write = pic_master_write, .max_size = 1};
static const struct io_ops pic_slave_ops = {
	.read = pic_slave_read, .write = pic_slave_write, .max_size = 1};
static const struct io_ops pic_elcr_ops = {
	.read = pic_elcr_read, .write = pic_elcr_write, .max_size = 1};

struct pic *pic_new(struct irq_line intr)
{
	struct pic *pic = NEW(struct pic);

	pic->intr = intr;
	device_init(&pic->dev, &pic_device_ops, "pic");
	io_region_init(&pic->io[0], "pic-master", &pic->dev, &pic_master_ops, 2);
	io_region_init(&pic->io[1], "pic-slave", &pic->dev, &pic_slave_ops, 2);
	io_region_init(&pic->elcr_io, "pic-edge-level", &pic->dev, &pic_elcr_ops, 2);
	device_reset(&pic->dev);
	return pic;
}

struct device *pic_device(struct pic *pic)
{
	return &pic->dev;
}

struct io_region *pic_master_io(struct pic *pic)
{
	return &pic->io[0];
}

struct io_region *pic_slave_io(struct pic *pic)
{
	return &pic->io[1];
}

struct io_region *pic_edge_level_io(struct pic *pic)
{
	return &pic->elcr_io;
}

struct irq_line pic_line(struct pic *pic, unsigned irq)
{
	assert(irq < PIC_LINES);
	return (struct irq_line){.set = pic_set_line, .opaque = pic, .pin = irq};
}

/* --- ISA interrupts --- */

static void isa_irq_set(void *opaque, unsigned irq, bool level)
{
	const struct isa_irqs *irqs = opaque;

	irq_set(&irqs->pic[irq], level);
	irq_set(&irqs->ioapic[irq], level);
}

/* IRQ 2 is the cascade: no line of its own. */
void isa_irqs_init(struct isa_irqs *irqs, struct pic *pic, struct ioapic *ioapic)
{
	*irqs = (struct isa_irqs){0};
	for (unsigned irq = 0; irq < PIC_LINES; irq++) {
		if (irq == PIC_CASCADE)
			continue;
		irqs->pic[irq] = pic_line(pic, irq);
		irqs->ioapic[irq] = ioapic_line(ioapic, irq == 0 ? PIC_CASCADE : irq);
	}
}

struct irq_line isa_irq_line(struct isa_irqs *irqs, unsigned irq)
{
	assert(irq < PIC_LINES && irq != PIC_CASCADE);
	return (struct irq_line){.set = isa_irq_set, .opaque = irqs, .pin = irq};
}

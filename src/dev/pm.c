/*
 * ACPI power management of the ICH9 (82801IB, 13.8; ACPI 6.4, 4.8).
 *
 * Status bits latch events until 1 is written to them; the SCI stands while ACPI is on and an
 * enabled event is latched. The PM timer is the VM's clock; its status bit is set whenever the top
 * bit changes, which is accounted for when somebody looks, and by a timer if it is enabled.
 *
 * There is no SMM: SMI registers are kept, and the APM port only turns ACPI on and off, as firmware
 * would in SMM. There is no sleep but S5.
 */
#include "dev/pm.h"

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/err.h"
#include "base/time.h"
#include "bus/device.h"
#include "bus/io.h"
#include "clock/vclock.h"
#include "state/state.h"

struct pm {
	struct device dev; /* holds the lock for all below */
	struct io_region io, apm_io;
	struct vclock *clock;
	struct irq_line sci;
	struct power_events events;
	struct vtimer timer;
	u16 pm1_sts, pm1_en, pm1_cnt;
	u64 gpe_sts, gpe_en;
	u32 smi_en, smi_sts;
	u8 apm[2];  /* control, status */
	u64 halves; /* half-rounds of the PM timer that are accounted for */
};

/* --- the PM timer --- */

static u64 pm_ticks(const struct pm *pm)
{
	return time_muldiv(vclock_now_ns(pm->clock), PM_TIMER_HZ, NSEC_PER_SEC);
}

/* Its status is set when the top bit changes, twice a round (ACPI 6.4, 4.8.3.1). */
static void pm_account(struct pm *pm)
{
	u64 halves = pm_ticks(pm) >> (PM_TIMER_BITS - 1);

	if (halves != pm->halves)
		pm->pm1_sts |= PM_PM1_TIMER;
	pm->halves = halves;
}

static void pm_arm(struct pm *pm)
{
	u64 ticks = (pm->halves + 1) << (PM_TIMER_BITS - 1);

	if (pm->pm1_en & ~pm->pm1_sts & PM_PM1_TIMER)
		vtimer_arm(&pm->timer, time_muldiv_up(ticks, NSEC_PER_SEC, PM_TIMER_HZ));
	else
		vtimer_disarm(&pm->timer);
}

/* --- events --- */

static void pm_update(struct pm *pm)
{
	pm_account(pm);
	irq_set(&pm->sci,
		pm->pm1_cnt & PM_CNT_SCI_EN &&
			(pm->pm1_sts & pm->pm1_en & PM_PM1_EVENTS || pm->gpe_sts & pm->gpe_en));
	pm_arm(pm);
}

static void pm_on_timer(void *opaque)
{
	struct pm *pm = opaque;

	device_lock(&pm->dev);
	pm_update(pm);
	device_unlock(&pm->dev);
}

void pm_press_power_button(struct pm *pm)
{
	device_lock(&pm->dev);
	pm->pm1_sts |= PM_PM1_BUTTON;
	pm_update(pm);
	device_unlock(&pm->dev);
}

void pm_raise_gpe(struct pm *pm, unsigned gpe)
{
	assert(gpe < PM_GPES);
	device_lock(&pm->dev);
	pm->gpe_sts |= BIT(gpe);
	pm_update(pm);
	device_unlock(&pm->dev);
}

bool pm_gpe_is_enabled(struct pm *pm, unsigned gpe)
{
	bool is_enabled;

	assert(gpe < PM_GPES);
	device_lock(&pm->dev);
	is_enabled = pm->pm1_cnt & PM_CNT_SCI_EN && pm->gpe_en & BIT(gpe);
	device_unlock(&pm->dev);
	return is_enabled;
}

/* --- registers --- */

static void pm_sleep(struct pm *pm, u16 cnt)
{
	switch (PM_CNT_TYPE(cnt)) {
	case PM_S5_TYPE:
	case PM_S5_TYPE_ICH9:
		pm->events.power_off(pm->events.opaque);
		break;
	default:
		guest_error(&pm->dev, "sleep of type %u", PM_CNT_TYPE(cnt));
		break;
	}
}

/* SCI_EN is firmware's to change, by the APM port (ACPI 6.4, 4.8.2.5). */
static void pm_write_cnt(struct pm *pm, u16 value)
{
	pm->pm1_cnt = (u16)((pm->pm1_cnt & PM_CNT_SCI_EN) | (value & PM_CNT_BITS & ~PM_CNT_SCI_EN));
	if (value & PM_CNT_SLP_EN)
		pm_sleep(pm, value);
}

/* Registers are of different widths, and software reads parts of them: byte by byte serves all. */
static u8 pm_read_byte(struct pm *pm, u64 off)
{
	if (off < PM_PM1_EN)
		return (u8)(pm->pm1_sts >> off * 8);
	if (off < PM_PM1_CNT)
		return (u8)(pm->pm1_en >> (off - PM_PM1_EN) * 8);
	if (off < PM_PM1_CNT + 2)
		return (u8)(pm->pm1_cnt >> (off - PM_PM1_CNT) * 8);
	if (off >= PM_GPE0_STS && off < PM_GPE0_EN)
		return (u8)(pm->gpe_sts >> (off - PM_GPE0_STS) * 8);
	if (off >= PM_GPE0_EN && off < PM_SMI_EN)
		return (u8)(pm->gpe_en >> (off - PM_GPE0_EN) * 8);
	if (off >= PM_SMI_EN && off < PM_SMI_STS)
		return (u8)(pm->smi_en >> (off - PM_SMI_EN) * 8);
	if (off >= PM_SMI_STS && off < PM_SMI_STS + 4)
		return (u8)(pm->smi_sts >> (off - PM_SMI_STS) * 8);
	return 0;
}

static u64 pm_read(struct device *dev, u64 off, unsigned size)
{
	struct pm *pm = container_of(dev, struct pm, dev);
	u64 v = 0;

	if (off >= PM_TIMER && off < PM_TIMER + 4)
		return (pm_ticks(pm) & (BIT(PM_TIMER_BITS) - 1)) >> (off - PM_TIMER) * 8;
	pm_account(pm);
	for (unsigned i = 0; i < size; i++)
		v |= (u64)pm_read_byte(pm, off + i) << i * 8;
	return v;
}

/* value's bytes at their place in a register of which off is byte number at. */
static u64 pm_merge(u64 old, u64 value, unsigned size, u64 at)
{
	u64 mask = bytes_mask(size) << at * 8;

	return (old & ~mask) | (value << at * 8 & mask);
}

/* The control register's second byte alone starts a sleep, too. */
static void pm_write_part(struct pm *pm, u64 off, u64 value, unsigned size)
{
	if (off < PM_PM1_EN)
		pm->pm1_sts &= (u16) ~(value << off * 8);
	else if (off < PM_PM1_CNT)
		pm->pm1_en =
			(u16)pm_merge(pm->pm1_en, value, size, off - PM_PM1_EN) & PM_PM1_EVENTS;
	else if (off < PM_PM1_CNT + 2)
		pm_write_cnt(pm, (u16)pm_merge(pm->pm1_cnt, value, size, off - PM_PM1_CNT));
	else if (off >= PM_GPE0_STS && off < PM_GPE0_EN)
		pm->gpe_sts &= ~(value << (off - PM_GPE0_STS) * 8);
	else if (off >= PM_GPE0_EN && off < PM_SMI_EN)
		pm->gpe_en = pm_merge(pm->gpe_en, value, size, off - PM_GPE0_EN);
	else if (off >= PM_SMI_EN && off < PM_SMI_STS)
		pm->smi_en = (u32)pm_merge(pm->smi_en, value, size, off - PM_SMI_EN);
	else if (off >= PM_SMI_STS && off < PM_SMI_STS + 4)
		pm->smi_sts &= (u32) ~(value << (off - PM_SMI_STS) * 8);
}

/* Status and enable may be written together as one doubleword. */
static void pm_write(struct device *dev, u64 off, u64 value, unsigned size)
{
	struct pm *pm = container_of(dev, struct pm, dev);

	pm_account(pm);
	if (size == 4 && off < PM_GPE0_STS) {
		pm_write_part(pm, off, value & 0xffff, 2);
		pm_write_part(pm, off + 2, value >> 16, 2);
	} else {
		pm_write_part(pm, off, value, size);
	}
	pm_update(pm);
}

static u64 pm_apm_read(struct device *dev, u64 off, unused unsigned size)
{
	return container_of(dev, struct pm, dev)->apm[off];
}

static void pm_apm_write(struct device *dev, u64 off, u64 value, unused unsigned size)
{
	struct pm *pm = container_of(dev, struct pm, dev);

	pm->apm[off] = (u8)value;
	if (off)
		return;
	if (pm->smi_en & PM_SMI_APMC)
		pm->smi_sts |= PM_SMI_APMC;
	if (value == PM_APM_ACPI_ENABLE)
		pm->pm1_cnt |= PM_CNT_SCI_EN;
	else if (value == PM_APM_ACPI_DISABLE)
		pm->pm1_cnt &= ~PM_CNT_SCI_EN;
	pm_update(pm);
}

/* --- the device --- */

static void pm_reset(struct device *dev)
{
	struct pm *pm = container_of(dev, struct pm, dev);

	pm->pm1_sts = pm->pm1_en = pm->pm1_cnt = 0;
	pm->gpe_sts = pm->gpe_en = 0;
	pm->smi_en = pm->smi_sts = 0;
	pm->apm[0] = pm->apm[1] = 0;
	pm->halves = pm_ticks(pm) >> (PM_TIMER_BITS - 1);
	pm_update(pm);
}

static void pm_free(struct device *dev)
{
	struct pm *pm = container_of(dev, struct pm, dev);

	vtimer_disarm(&pm->timer);
	io_region_fini(&pm->io);
	io_region_fini(&pm->apm_io);
	device_fini(dev);
	free(pm);
}

static void pm_before_save(void *object)
{
	pm_account(object);
}

static int pm_after_load(void *object, unused u16 version, struct err *err)
{
	struct pm *pm = object;

	if (pm->pm1_en & ~PM_PM1_EVENTS || pm->pm1_cnt & ~PM_CNT_BITS)
		return err_set(err, -EINVAL, "reserved bits are set");
	pm_update(pm);
	return 0;
}

static const struct state_field pm_fields[] = {
	STATE_U(struct pm, pm1_sts), STATE_U(struct pm, pm1_en),
	STATE_U(struct pm, pm1_cnt), STATE_U(struct pm, gpe_sts),
	STATE_U(struct pm, gpe_en),  STATE_U(struct pm, smi_en),
	STATE_U(struct pm, smi_sts), STATE_U_ARRAY(struct pm, apm),
	STATE_U(struct pm, halves),  STATE_END,
};

static const struct state_table pm_state = {
	.name = "pm",
	.version = 1,
	.fields = pm_fields,
	.before_save = pm_before_save,
	.after_load = pm_after_load,
};

static const struct device_ops pm_device_ops = {
	.type = "pm",
	.offset = offsetof(struct pm, dev),
	.state = &pm_state,
	.reset = pm_reset,
	.free = pm_free,
};

static const struct io_ops pm_io_ops = {.read = pm_read, .write = pm_write, .max_size = 4};
static const struct io_ops pm_apm_ops = {.read = pm_apm_read, .write = pm_apm_write, .max_size = 1};

struct pm *pm_new(struct vclock *clock, struct irq_line sci, const struct power_events *events)
{
	struct pm *pm = NEW(struct pm);

	pm->clock = clock;
	pm->sci = sci;
	pm->events = *events;
	vtimer_init(&pm->timer, clock, pm_on_timer, pm);
	device_init(&pm->dev, &pm_device_ops, "pm");
	io_region_init(&pm->io, "pm", &pm->dev, &pm_io_ops, PM_SIZE);
	io_region_init(&pm->apm_io, "apm", &pm->dev, &pm_apm_ops, 2);
	device_reset(&pm->dev);
	return pm;
}

struct device *pm_device(struct pm *pm)
{
	return &pm->dev;
}

struct io_region *pm_io(struct pm *pm)
{
	return &pm->io;
}

struct io_region *pm_apm_io(struct pm *pm)
{
	return &pm->apm_io;
}

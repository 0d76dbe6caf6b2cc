/* dev/pm: the PM timer, events, the SCI, enable, S5. */
#include "dev/pm.h"

#include "bus/device.h"
#include "bus/io.h"
#include "device_check.h"
#include "fake_clock.h"
#include "fake_irq.h"

#define HALF_ROUND_NS (((u64)1 << 23) * NSEC_PER_SEC / PM_TIMER_HZ + 1)

struct fixture {
	struct vclock *clock;
	struct fake_irq sci;
	struct pm *pm;
	struct io_region *io;
	unsigned offs;
};

static void fixture_off(void *opaque)
{
	((struct fixture *)opaque)->offs++;
}

static void fixture_init(struct fixture *f)
{
	struct power_events events = {.power_off = fixture_off, .opaque = f};

	*f = (struct fixture){.clock = fake_clock_new()};
	f->pm = pm_new(f->clock, fake_irq_line(&f->sci), &events);
	f->io = pm_io(f->pm);
}

static void fixture_fini(struct fixture *f)
{
	device_free(pm_device(f->pm));
	vclock_free(f->clock);
}

static void acpi_enable(struct fixture *f)
{
	io_write(pm_apm_io(f->pm), 0, PM_APM_ACPI_ENABLE, 1);
}

TEST(acpi_is_turned_on_and_off_by_the_apm_port)
{
	struct fixture f;

	fixture_init(&f);
	io_write(f.io, PM_PM1_CNT, PM_CNT_SCI_EN, 2); /* not the guest's to set */
	CHECK_EQ(io_read(f.io, PM_PM1_CNT, 2), 0);
	acpi_enable(&f);
	CHECK_EQ(io_read(f.io, PM_PM1_CNT, 2), PM_CNT_SCI_EN);
	io_write(f.io, PM_PM1_CNT, 0, 2);
	CHECK_EQ(io_read(f.io, PM_PM1_CNT, 2), PM_CNT_SCI_EN);
	io_write(pm_apm_io(f.pm), 1, 0x77, 1);
	CHECK_EQ(io_read(pm_apm_io(f.pm), 0, 2), 0x7702);
	io_write(pm_apm_io(f.pm), 0, PM_APM_ACPI_DISABLE, 1);
	CHECK_EQ(io_read(f.io, PM_PM1_CNT, 2), 0);
	fixture_fini(&f);
}

TEST(the_power_button_raises_the_sci_until_it_is_cleared)
{
	struct fixture f;

	fixture_init(&f);
	acpi_enable(&f);
	pm_press_power_button(f.pm);
	CHECK(!f.sci.level);
	io_write(f.io, PM_PM1_EN, PM_PM1_BUTTON, 2);
	CHECK(f.sci.level);
	CHECK_EQ(io_read(f.io, PM_PM1_STS, 2), PM_PM1_BUTTON);
	CHECK_EQ(io_read(f.io, PM_PM1_STS + 1, 1), PM_PM1_BUTTON >> 8);
	CHECK_SURVIVES_SAVE_AND_LOAD(pm_device(f.pm));
	CHECK_STANDS_DAMAGED_STATE(pm_device(f.pm));
	io_write(f.io, PM_PM1_STS, 0, 2);
	CHECK(f.sci.level);
	io_write(f.io, PM_PM1_STS + 1, PM_PM1_BUTTON >> 8, 1);
	CHECK(!f.sci.level);
	fixture_fini(&f);
}

TEST(status_and_enable_can_be_written_together)
{
	struct fixture f;

	fixture_init(&f);
	pm_press_power_button(f.pm);
	io_write(f.io, PM_PM1_STS, PM_PM1_BUTTON | PM_PM1_GLOBAL << 16 | BIT(31), 4);
	CHECK_EQ(io_read(f.io, PM_PM1_STS, 4), PM_PM1_GLOBAL << 16);
	fixture_fini(&f);
}

TEST(the_pm_timer_runs_at_its_rate_and_has_24_bits)
{
	struct fixture f;

	fixture_init(&f);
	CHECK_EQ(io_read(f.io, PM_TIMER, 4), 0);
	fake_clock_advance(f.clock, NSEC_PER_SEC);
	CHECK_EQ(io_read(f.io, PM_TIMER, 4), PM_TIMER_HZ);
	CHECK_EQ(io_read(f.io, PM_TIMER + 1, 1), PM_TIMER_HZ >> 8 & 0xff);
	fake_clock_advance(f.clock, 4 * NSEC_PER_SEC);
	CHECK_EQ(io_read(f.io, PM_TIMER, 4), 5 * PM_TIMER_HZ - BIT(24));
	CHECK(fake_clock_is_idle(f.clock));
	fixture_fini(&f);
}

TEST(the_timers_top_bit_is_an_event)
{
	struct fixture f;

	fixture_init(&f);
	acpi_enable(&f);
	fake_clock_advance(f.clock, HALF_ROUND_NS);
	CHECK_EQ(io_read(f.io, PM_PM1_STS, 2), PM_PM1_TIMER);
	io_write(f.io, PM_PM1_STS, PM_PM1_TIMER, 2);
	io_write(f.io, PM_PM1_EN, PM_PM1_TIMER, 2);
	CHECK(!f.sci.level);
	fake_clock_advance(f.clock, HALF_ROUND_NS);
	CHECK(f.sci.level);
	CHECK(fake_clock_is_idle(f.clock)); /* until it is cleared */
	io_write(f.io, PM_PM1_STS, PM_PM1_TIMER, 2);
	CHECK(!f.sci.level);
	CHECK(!fake_clock_is_idle(f.clock));
	fixture_fini(&f);
}

TEST(general_purpose_events_are_sixty_four)
{
	struct fixture f;

	fixture_init(&f);
	acpi_enable(&f);
	pm_raise_gpe(f.pm, 1);
	pm_raise_gpe(f.pm, 63);
	CHECK(!f.sci.level);
	CHECK_EQ(io_read(f.io, PM_GPE0_STS, 4), 2);
	CHECK_EQ(io_read(f.io, PM_GPE0_STS + 7, 1), 0x80);
	io_write(f.io, PM_GPE0_EN + 7, 0x80, 1);
	CHECK(f.sci.level);
	CHECK_SURVIVES_SAVE_AND_LOAD(pm_device(f.pm));
	io_write(f.io, PM_GPE0_STS + 4, 0xffffffff, 4);
	CHECK(!f.sci.level);
	CHECK_EQ(io_read(f.io, PM_GPE0_STS, 8), 2);
	fixture_fini(&f);
}

TEST(s5_powers_off_and_other_sleeps_do_not)
{
	struct fixture f;

	fixture_init(&f);
	io_write(f.io, PM_PM1_CNT, 5 << 10 | PM_CNT_SLP_EN, 2);
	CHECK_EQ(f.offs, 0);
	CHECK_EQ(pm_device(f.pm)->guest_errors, 1);
	io_write(f.io, PM_PM1_CNT, PM_S5_TYPE << 10, 2);
	CHECK_EQ(f.offs, 0);
	io_write(f.io, PM_PM1_CNT, PM_S5_TYPE << 10 | PM_CNT_SLP_EN, 2);
	CHECK_EQ(f.offs, 1);
	io_write(f.io, PM_PM1_CNT + 1, (PM_S5_TYPE_ICH9 << 10 | PM_CNT_SLP_EN) >> 8, 1);
	CHECK_EQ(f.offs, 2);
	CHECK_EQ(io_read(f.io, PM_PM1_CNT, 2), PM_S5_TYPE_ICH9 << 10);
	fixture_fini(&f);
}

TEST(registers_that_do_nothing_are_kept_and_holes_read_zero)
{
	struct fixture f;

	fixture_init(&f);
	io_write(f.io, PM_SMI_EN, 0x12345678, 4);
	CHECK_EQ(io_read(f.io, PM_SMI_EN, 4), 0x12345678);
	io_write(f.io, PM_SMI_EN, PM_SMI_APMC, 4);
	acpi_enable(&f);
	CHECK_EQ(io_read(f.io, PM_SMI_STS, 4), PM_SMI_APMC);
	io_write(f.io, PM_SMI_STS, PM_SMI_APMC, 4);
	CHECK_EQ(io_read(f.io, PM_SMI_STS, 4), 0);
	io_write(f.io, 0x60, 0xffffffff, 4);
	CHECK_EQ(io_read(f.io, 0x60, 4), 0);
	device_reset(pm_device(f.pm));
	CHECK_EQ(io_read(f.io, PM_SMI_EN, 4), 0);
	fixture_fini(&f);
}

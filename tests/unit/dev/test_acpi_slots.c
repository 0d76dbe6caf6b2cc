/* dev/acpi_slots: hot-plug of slots by ACPI. */
#include "bus/device.h"
#include "bus/io.h"
#include "dev/acpi_slots.h"
#include "device_check.h"
#include "test.h"

static void note(void *opaque, u32 slots)
{
	*(u32 *)opaque |= slots;
}

static u32 get(struct acpi_slots *s, u64 off)
{
	return (u32)io_read(acpi_slots_io(s), off, 4);
}

TEST(what_was_put_in_is_told_until_it_is_cleared)
{
	u32 gone = 0;
	struct acpi_slots *s = acpi_slots_new(note, &gone);

	acpi_slots_insert(s, 0);
	acpi_slots_insert(s, 31);
	CHECK_EQ(get(s, ACPI_SLOTS_INSERTED), 0x80000001);
	io_write(acpi_slots_io(s), ACPI_SLOTS_INSERTED, 1, 4);
	CHECK_EQ(get(s, ACPI_SLOTS_INSERTED), 0x80000000);
	CHECK_EQ(get(s, ACPI_SLOTS_WANTED), 0);
	device_free(acpi_slots_device(s));
}

TEST(a_slot_goes_when_it_was_asked_for_and_once)
{
	u32 gone = 0;
	struct acpi_slots *s = acpi_slots_new(note, &gone);

	acpi_slots_ask(s, 3);
	CHECK(acpi_slots_is_asked(s, 3));
	CHECK_EQ(get(s, ACPI_SLOTS_WANTED), 8);
	io_write(acpi_slots_io(s), ACPI_SLOTS_WANTED, 8, 4);
	CHECK(acpi_slots_is_asked(s, 3)); /* it only knows now */
	io_write(acpi_slots_io(s), ACPI_SLOTS_EJECTED, 8, 4);
	CHECK_EQ(gone, 8);
	CHECK(!acpi_slots_is_asked(s, 3));
	gone = 0;
	io_write(acpi_slots_io(s), ACPI_SLOTS_EJECTED, 8, 4);
	CHECK_EQ(gone, 0);
	CHECK_EQ(acpi_slots_device(s)->guest_errors, 1);
	device_free(acpi_slots_device(s));
}

TEST(a_guest_that_ejects_what_nobody_asked_for_is_not_obeyed)
{
	u32 gone = 0;
	struct acpi_slots *s = acpi_slots_new(note, &gone);

	acpi_slots_ask(s, 1);
	io_write(acpi_slots_io(s), ACPI_SLOTS_EJECTED, 0xffffffff, 4);
	CHECK_EQ(gone, 2);
	CHECK_EQ(get(s, ACPI_SLOTS_EJECTED), 0);
	device_free(acpi_slots_device(s));
}

TEST(what_was_asked_for_outlives_a_reset_and_a_slot_may_be_forgotten)
{
	u32 gone = 0;
	struct acpi_slots *s = acpi_slots_new(note, &gone);

	acpi_slots_ask(s, 1);
	acpi_slots_ask(s, 2);
	acpi_slots_insert(s, 4);
	CHECK_SURVIVES_SAVE_AND_LOAD(acpi_slots_device(s));
	CHECK_STANDS_DAMAGED_STATE(acpi_slots_device(s));
	device_reset(acpi_slots_device(s));
	CHECK_EQ(get(s, ACPI_SLOTS_INSERTED), 0);
	CHECK_EQ(get(s, ACPI_SLOTS_WANTED), 0);
	CHECK(acpi_slots_is_asked(s, 1));
	acpi_slots_forget(s, 1);
	CHECK(!acpi_slots_is_asked(s, 1) && acpi_slots_is_asked(s, 2));
	device_free(acpi_slots_device(s));
}

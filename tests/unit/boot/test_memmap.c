/*
 * The memory map: carving, joining, finding room.
 */
#include "boot/memmap.h"
#include "test.h"

static void check_entry(const struct boot_memmap *m, u32 i, gpa_t gpa, u64 size, int type)
{
	CHECK(i < m->n);
	CHECK_EQ(m->e[i].gpa, gpa);
	CHECK_EQ(m->e[i].size, size);
	CHECK_EQ(m->e[i].type, type);
}

TEST(a_pc_has_its_legacy_holes)
{
	struct boot_memmap m;

	boot_memmap_init(&m, 2 * GIB, GIB);
	CHECK_EQ(m.n, 5);
	check_entry(&m, 0, 0, 0x9fc00, BOOT_MEM_RAM);
	check_entry(&m, 1, 0x9fc00, 0x400, BOOT_MEM_RESERVED);
	check_entry(&m, 2, 0xe0000, 0x20000, BOOT_MEM_RESERVED);
	check_entry(&m, 3, MIB, 2 * GIB - MIB, BOOT_MEM_RAM);
	check_entry(&m, 4, 4 * GIB, GIB, BOOT_MEM_RAM);
	CHECK_EQ(boot_memmap_ram_bytes(&m), 0x9fc00 + 3 * GIB - MIB);
}

TEST(a_range_is_cut_out_of_the_middle)
{
	struct boot_memmap m;

	boot_memmap_init(&m, 64 * MIB, 0);
	boot_memmap_set(&m, 32 * MIB, MIB, BOOT_MEM_ACPI);
	CHECK_EQ(m.n, 6);
	check_entry(&m, 3, MIB, 31 * MIB, BOOT_MEM_RAM);
	check_entry(&m, 4, 32 * MIB, MIB, BOOT_MEM_ACPI);
	check_entry(&m, 5, 33 * MIB, 31 * MIB, BOOT_MEM_RAM);
}

TEST(neighbours_of_one_type_become_one)
{
	struct boot_memmap m;

	boot_memmap_init(&m, 64 * MIB, 0);
	boot_memmap_set(&m, 32 * MIB, MIB, BOOT_MEM_RESERVED);
	boot_memmap_set(&m, 33 * MIB, MIB, BOOT_MEM_RESERVED);
	check_entry(&m, 4, 32 * MIB, 2 * MIB, BOOT_MEM_RESERVED);
	boot_memmap_set(&m, 32 * MIB, 2 * MIB, BOOT_MEM_RAM);
	CHECK_EQ(m.n, 4);
	check_entry(&m, 3, MIB, 63 * MIB, BOOT_MEM_RAM);
}

TEST(a_range_may_cover_several_or_lie_outside)
{
	struct boot_memmap m;

	boot_memmap_init(&m, 64 * MIB, 16 * MIB);
	boot_memmap_set(&m, 0, MIB, BOOT_MEM_NVS);
	check_entry(&m, 0, 0, MIB, BOOT_MEM_NVS);
	check_entry(&m, 1, MIB, 63 * MIB, BOOT_MEM_RAM);
	boot_memmap_set(&m, 0xb0000000, 256 * MIB, BOOT_MEM_RESERVED);
	check_entry(&m, 2, 0xb0000000, 256 * MIB, BOOT_MEM_RESERVED);
	boot_memmap_set(&m, 8 * GIB, MIB, BOOT_MEM_RESERVED);
	check_entry(&m, 4, 8 * GIB, MIB, BOOT_MEM_RESERVED);
}

TEST(room_is_found_low_and_high)
{
	struct boot_memmap m;
	gpa_t at = 0;

	boot_memmap_init(&m, 64 * MIB, 16 * MIB);
	CHECK(boot_memmap_find_low(&m, MIB, 2 * MIB, 0, 4 * GIB, &at));
	CHECK_EQ(at, 2 * MIB);
	CHECK(boot_memmap_find_low(&m, 20 * MIB, 2 * MIB, 16 * MIB, 4 * GIB, &at));
	CHECK_EQ(at, 16 * MIB);
	CHECK(!boot_memmap_find_low(&m, 20 * MIB, 2 * MIB, 45 * MIB, 4 * GIB, &at));
	CHECK(boot_memmap_find_high(&m, 5 * MIB - 1, MIB, 0, 4 * GIB, &at));
	CHECK_EQ(at, 59 * MIB);
	CHECK(boot_memmap_find_high(&m, 5 * MIB, MIB, 0, 40 * MIB, &at));
	CHECK_EQ(at, 35 * MIB);
	CHECK(boot_memmap_find_high(&m, MIB, MIB, 0, ~(gpa_t)0, &at));
	CHECK_EQ(at, 4 * GIB + 15 * MIB);
	CHECK(!boot_memmap_find_high(&m, 64 * MIB, MIB, 0, ~(gpa_t)0, &at));
	CHECK_EQ(boot_memmap_largest(&m, 0, 4 * GIB), 63 * MIB);
	CHECK_EQ(boot_memmap_largest(&m, 0, 2 * MIB), MIB);
}

TEST(ram_is_ram_only_as_a_whole)
{
	struct boot_memmap m;

	boot_memmap_init(&m, 64 * MIB, 0);
	CHECK(boot_memmap_is_ram(&m, MIB, 63 * MIB));
	CHECK(!boot_memmap_is_ram(&m, MIB, 63 * MIB + 1));
	CHECK(!boot_memmap_is_ram(&m, 0x9f000, 0x1000));
	CHECK(!boot_memmap_is_ram(&m, MIB, ~(u64)0));
}

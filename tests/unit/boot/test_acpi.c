/*
 * ACPI tables: found from the RSDP as a guest finds them, their checksums and addresses; and all of
 * them disassembled and compiled again by ACPICA's compiler, which finds nothing to complain of.
 */
#include "boot/acpi.h"

#include <stdio.h>
#include <unistd.h>

#include "base/alloc.h"
#include "boot/acpi_wire.h"
#include "fixture.h"
#include "test.h"

#define AREA ((gpa_t)GUEST_RAM - ACPI_AREA_SIZE)

static const struct acpi_root_port root_ports[] = {{1, 0, 1}, {1, 1, 2}, {2, 0, 3}};

static const struct acpi_isa_device isa[] = {
	{.name = "RTC", .hid = "PNP0B00", .io = {{0x70, 2}}, .irq = 8},
	{.name = "KBD", .hid = "PNP0303", .io = {{0x60, 1}, {0x64, 1}}, .irq = 1},
	{.name = "MOU", .hid = "PNP0F13", .irq = 12},
	{.name = "COM1", .hid = "PNP0501", .uid = 1, .io = {{0x3f8, 8}}, .irq = 4},
	{.name = "PEVT", .hid = "QEMU0001", .io = {{0x505, 1}}},
	{.name = "FWCF", .hid = "QEMU0002", .io = {{0x510, 12}}},
};

static const struct acpi_reserved reserved[] = {
	{.base = 0xb0000000, .size = 256 * MIB},
	{.base = 0x600, .size = 128, .is_ports = true},
	{.base = 64 * GIB, .size = 256 * MIB},
};

static struct acpi_config make_config(void)
{
	struct acpi_config c = {
		.n_cpus = 2,
		.max_cpus = 32,
		.lapic_gpa = 0xfee00000,
		.ioapic_gpa = 0xfec00000,
		.timer_gsi = 2,
		.pm = {.pm1_event = 0x600,
		       .pm1_control = 0x604,
		       .timer = 0x608,
		       .gpe0 = 0x620,
		       .gpe0_len = 16,
		       .smi_cmd = 0xb2,
		       .acpi_enable = 2,
		       .acpi_disable = 3,
		       .sci = 9,
		       .hotplug_gpe = 1,
		       .hotplug_port = 0xae00,
		       .reset_port = 0xcf9,
		       .reset_value = 6},
		.rtc_century = 0x32,
		.has_i8042 = true,
		.hpet_gpa = 0xfed00000,
		.hpet_id = 0x8086a201,
		.ecam_gpa = 0xb0000000,
		.last_bus = 255,
		.mem32 = {0xc0000000, 0xfec00000 - 0xc0000000},
		.mem64 = {64 * GIB, 64 * GIB},
		.osc_granted = ACPI_OSC_HOTPLUG | ACPI_OSC_PCIE_CAP,
		.lpc_dev = 31,
		.root_ports = root_ports,
		.n_root_ports = ARRAY_SIZE(root_ports),
		.isa = isa,
		.n_isa = ARRAY_SIZE(isa),
		.reserved = reserved,
		.n_reserved = ARRAY_SIZE(reserved),
	};

	for (unsigned dev = 0; dev < ACPI_PCI_DEVICES; dev++)
		for (unsigned pin = 0; pin < ACPI_PCI_PINS; pin++)
			c.pin_gsi[dev][pin] = (u8)(16 + (dev + pin) % 8);
	return c;
}

static u8 sum_of(const u8 *p, size_t size)
{
	u8 sum = 0;

	for (size_t i = 0; i < size; i++)
		sum = (u8)(sum + p[i]);
	return sum;
}

/* A whole table from guest memory, its checksum verified; to be freed. */
static u8 *read_table(struct guest *t, gpa_t gpa, const char *signature, u32 *out_size)
{
	u32 size = guest_u32(t, gpa + 4);
	u8 *table = NEW_ARRAY(u8, size);

	CHECK(range_fits(gpa - AREA, size, ACPI_AREA_SIZE));
	guest_read(t, gpa, table, size);
	CHECK_MEM(table, signature, 4);
	CHECK_EQ(sum_of(table, size), 0);
	*out_size = size;
	return table;
}

/* Where the XSDT's table with this signature lies; 0: it has none. */
static gpa_t find_table(struct guest *t, const char *signature)
{
	gpa_t xsdt = guest_u64(t, GUEST_RSDP + 24);
	u32 size, wanted;
	AUTO(free_ptr) u8 *table = read_table(t, xsdt, "XSDT", &size);

	memcpy(&wanted, signature, 4);
	for (u32 at = sizeof(struct acpi_header_wire); at < size; at += 8) {
		gpa_t gpa = le64_load(table + at);

		if (guest_u32(t, gpa) == wanted)
			return gpa;
	}
	return 0;
}

static struct guest *guest_with_tables(const struct acpi_config *c)
{
	struct guest *t = guest_new(false);

	CHECK_EQ(acpi_write(c, t->gmem, GUEST_RSDP, AREA, ACPI_AREA_SIZE, &t->err), 0);
	return t;
}

TEST(the_root_pointer_leads_to_every_table)
{
	static const char *const signatures[] = {"FACP", "APIC", "MCFG", "HPET"};
	const struct acpi_config c = make_config();
	struct guest *t = guest_with_tables(&c);
	u8 rsdp[36];

	guest_read(t, GUEST_RSDP, rsdp, sizeof(rsdp));
	CHECK_MEM(rsdp, "RSD PTR ", 8);
	CHECK_EQ(sum_of(rsdp, 20), 0);
	CHECK_EQ(sum_of(rsdp, 36), 0);
	for (unsigned i = 0; i < ARRAY_SIZE(signatures); i++) {
		gpa_t gpa = find_table(t, signatures[i]);
		u32 size;

		CHECK(gpa);
		free(read_table(t, gpa, signatures[i], &size));
	}
	/* Those who know ACPI 1.0 find the same by the RSDT. */
	CHECK_EQ(guest_u32(t, guest_u32(t, GUEST_RSDP + 16) + 36), find_table(t, "FACP"));
	guest_free(t);
}

TEST(the_fadt_says_where_power_management_is)
{
	const struct acpi_config c = make_config();
	struct guest *t = guest_with_tables(&c);
	struct acpi_fadt_wire f;
	u32 size;

	guest_read(t, find_table(t, "FACP"), &f, sizeof(f));
	CHECK_EQ(le32_get(f.h.length), sizeof(f));
	CHECK_EQ(le32_get(f.pm1a_event), 0x600);
	CHECK_EQ(le64_get(f.x_pm1a_event.address), 0x600);
	CHECK_EQ(f.x_pm1a_event.bit_width, 32);
	CHECK_EQ(le64_get(f.x_gpe0.address), 0x620);
	CHECK_EQ(f.x_gpe0.bit_width, 128);
	CHECK_EQ(le64_get(f.reset.address), 0xcf9);
	CHECK_EQ(f.reset_value, 6);
	CHECK_EQ(le16_get(f.boot_arch),
		 ACPI_BOOT_LEGACY_DEVICES | ACPI_BOOT_8042 | ACPI_BOOT_NO_VGA);
	CHECK(!(le32_get(f.flags) & ACPI_FADT_TMR_VAL_EXT));
	CHECK_EQ(le32_get(f.dsdt), le64_get(f.x_dsdt));
	free(read_table(t, le32_get(f.dsdt), "DSDT", &size));
	CHECK(is_aligned(le32_get(f.facs), 64));
	CHECK_EQ(guest_u32(t, le32_get(f.facs) + 4), 64);
	guest_free(t);
}

TEST(the_madt_has_processors_present_and_to_come)
{
	struct acpi_config c = make_config();
	struct guest *t;
	unsigned enabled = 0, to_come = 0, overrides = 0;
	u8 *m;
	u32 size;

	c.max_cpus = 256; /* the last APIC id needs an x2APIC entry */
	t = guest_with_tables(&c);
	m = read_table(t, find_table(t, "APIC"), "APIC", &size);
	for (u32 at = sizeof(struct acpi_madt_wire); at < size; at += m[at + 1]) {
		bool is_x2apic = m[at] == ACPI_MADT_X2APIC;

		CHECK(m[at + 1] >= 6 && at + m[at + 1] <= size);
		if (m[at] == ACPI_MADT_LAPIC || is_x2apic) {
			u32 flags = le32_load(m + at + (is_x2apic ? 8 : 4));

			enabled += flags == ACPI_LAPIC_ENABLED;
			to_come += flags == ACPI_LAPIC_MAY_COME;
		}
		overrides += m[at] == ACPI_MADT_OVERRIDE;
	}
	CHECK_EQ(enabled, 2);
	CHECK_EQ(to_come, 254);
	CHECK_EQ(overrides, 2);
	free(m);
	guest_free(t);
}

TEST(a_board_without_hpet_has_no_table_for_it)
{
	struct acpi_config c = make_config();
	struct guest *t;

	c.hpet_gpa = 0;
	t = guest_with_tables(&c);
	CHECK_EQ(find_table(t, "HPET"), 0);
	guest_free(t);
}

TEST(an_area_too_small_or_without_memory_is_an_error)
{
	const struct acpi_config c = make_config();
	struct guest *t = guest_new(false);

	CHECK_EQ(acpi_write(&c, t->gmem, GUEST_RSDP, AREA, PAGE_SIZE, &t->err), -ENOSPC);
	CHECK_ERR(t->err, "need more than 4096 bytes");
	CHECK_EQ(acpi_write(&c, t->gmem, GUEST_RSDP, GUEST_RAM, ACPI_AREA_SIZE, &t->err), -EFAULT);
	CHECK_ERR(t->err, "no memory for the ACPI tables");
	guest_free(t);
}

TEST(the_largest_board_fits_the_area)
{
	static struct acpi_root_port ports[64];
	struct acpi_config c = make_config();

	c.n_cpus = c.max_cpus = ACPI_MAX_CPUS;
	for (unsigned i = 0; i < ARRAY_SIZE(ports); i++)
		ports[i] = (struct acpi_root_port){(u8)(1 + i / 8), (u8)(i % 8), (u16)(i + 1)};
	c.root_ports = ports;
	c.n_root_ports = ARRAY_SIZE(ports);
	guest_free(guest_with_tables(&c));
}

static void write_table(struct guest *t, const char *dir, const char *name, gpa_t gpa)
{
	char path[256];
	u32 size = guest_u32(t, gpa + 4);
	AUTO(free_ptr) u8 *table = NEW_ARRAY(u8, size);
	FILE *f;

	guest_read(t, gpa, table, size);
	snprintf(path, sizeof(path), "%s/%s.aml", dir, name);
	f = fopen(path, "wb");
	CHECK(f);
	CHECK_EQ(fwrite(table, 1, size, f), size);
	fclose(f);
}

static int run(const char *dir, const char *command)
{
	AUTO(free) char *line = str_format("cd '%s' && %s", dir, command);

	return system(line);
}

TEST(the_compiler_of_acpica_finds_no_error)
{
	static const char *const signatures[] = {"FACP", "APIC", "MCFG", "HPET"};
	struct acpi_config c = make_config();
	char dir[] = "/tmp/posada-acpi-XXXXXX";
	struct guest *t;

	if (system("command -v iasl >/dev/null") != 0)
		SKIP("iasl (package acpica-tools) is not installed");
	c.has_vga = true;
	t = guest_with_tables(&c);
	CHECK(mkdtemp(dir));
	for (unsigned i = 0; i < ARRAY_SIZE(signatures); i++)
		write_table(t, dir, signatures[i], find_table(t, signatures[i]));
	write_table(t, dir, "DSDT", guest_u32(t, find_table(t, "FACP") + 40));
	guest_free(t);

	CHECK_EQ(run(dir, "for f in *.aml; do iasl -d $f || exit 1; done >out 2>&1"), 0);
	CHECK_EQ(run(dir, "! grep -iE 'error|warning|invalid|unknown' out *.dsl"), 0);
	/* The same bytes again but for the header, which names the compiler; and not a word. */
	CHECK_EQ(run(dir, "iasl -p again DSDT.dsl >out 2>&1"), 0);
	CHECK_EQ(run(dir, "grep '0 Errors, 0 Warnings, 0 Remarks' out || (cat out; false)"), 0);
	CHECK_EQ(run(dir, "cmp -i 36 DSDT.aml again.aml"), 0);
	CHECK_EQ(run(dir, "rm -rf \"$PWD\""), 0);
}

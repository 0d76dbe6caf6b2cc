/*
 * SMBIOS 3 tables. See smbios.h; section numbers are DSP0134's (version 3.4).
 *
 * Each structure is a fixed part, then its strings, each ended by a zero, then one more zero.
 * Fields hold a string's number, from 1.
 */
#include "boot/smbios.h"

#include <string.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/err.h"
#include "mem/gmem.h"

#define SMBIOS_HANDLE_SYSTEM  0x0100
#define SMBIOS_HANDLE_CHASSIS 0x0300
#define SMBIOS_HANDLE_CPU     0x0400
#define SMBIOS_HANDLE_MEMORY  0x1000
#define SMBIOS_HANDLE_DIMM    0x1100
#define SMBIOS_HANDLE_RANGE   0x1300
#define SMBIOS_HANDLE_BOOT    0x2000
#define SMBIOS_HANDLE_END     0x7f00
#define SMBIOS_HANDLE_NONE    0xfffe

#define SMBIOS_STRINGS_MAX 6
#define SMBIOS_STRING_MAX  64 /* characters: older readers expect no more (6.1.3) */
#define SMBIOS_CPUS_MAX    32 /* sockets described; more would say nothing new */

/* The 64-bit entry point (5.2.2). */
struct smbios_entry_wire {
	char anchor[5];
	u8 checksum;
	u8 length;
	u8 major, minor, docrev;
	u8 revision;
	u8 reserved;
	le32 max_size;
	le64 table;
} packed;
static_assert(sizeof(struct smbios_entry_wire) == 24, "DSP0134 5.2.2");

struct smbios_header_wire {
	u8 type;
	u8 length;
	le16 handle;
} packed;

struct smbios_firmware_wire { /* type 0 (7.1) */
	struct smbios_header_wire h;
	u8 vendor, version;
	le16 segment;
	u8 release_date;
	u8 rom_size;
	le64 characteristics;
	u8 characteristics_ext[2];
	u8 major, minor, ec_major, ec_minor;
	le16 ext_rom_size;
} packed;
static_assert(sizeof(struct smbios_firmware_wire) == 26, "DSP0134 7.1");
#define SMBIOS_FW_NO_CHARACTERISTICS BIT(3)
#define SMBIOS_FW_EXT2_VIRTUAL       BIT32(4) /* the table describes a virtual machine */

struct smbios_system_wire { /* type 1 (7.2) */
	struct smbios_header_wire h;
	u8 manufacturer, product, version, serial;
	u8 uuid[16];
	u8 wake_up;
	u8 sku, family;
} packed;
static_assert(sizeof(struct smbios_system_wire) == 27, "DSP0134 7.2");
#define SMBIOS_WAKE_POWER_SWITCH 6

struct smbios_chassis_wire { /* type 3 (7.4) */
	struct smbios_header_wire h;
	u8 manufacturer, type, version, serial, asset_tag;
	u8 boot_state, power_state, thermal_state, security;
	le32 oem;
	u8 height, power_cords, n_elements, element_size, sku;
} packed;
static_assert(sizeof(struct smbios_chassis_wire) == 22, "DSP0134 7.4");
#define SMBIOS_CHASSIS_OTHER    1
#define SMBIOS_STATE_SAFE       3
#define SMBIOS_SECURITY_UNKNOWN 2

struct smbios_cpu_wire { /* type 4 (7.5) */
	struct smbios_header_wire h;
	u8 socket, type, family, manufacturer;
	le64 id;
	u8 version, voltage;
	le16 external_clock, max_speed, current_speed;
	u8 status, upgrade;
	le16 l1, l2, l3;
	u8 serial, asset_tag, part;
	u8 cores, cores_enabled, threads;
	le16 characteristics;
	le16 family2;
	le16 cores2, cores_enabled2, threads2;
} packed;
static_assert(sizeof(struct smbios_cpu_wire) == 48, "DSP0134 7.5");
#define SMBIOS_CPU_CENTRAL       3
#define SMBIOS_CPU_FAMILY_OTHER  1
#define SMBIOS_CPU_ENABLED       0x41 /* socket populated, enabled */
#define SMBIOS_CPU_UPGRADE_OTHER 1
#define SMBIOS_CPU_NO_CACHE      0xffff
#define SMBIOS_CPU_64BIT         BIT32(2)

struct smbios_memory_wire { /* type 16 (7.17) */
	struct smbios_header_wire h;
	u8 location, use, error_correction;
	le32 capacity_kib;
	le16 error_handle;
	le16 n_devices;
	le64 capacity_bytes;
} packed;
static_assert(sizeof(struct smbios_memory_wire) == 23, "DSP0134 7.17");
#define SMBIOS_MEMORY_OTHER    1
#define SMBIOS_MEMORY_SYSTEM   3
#define SMBIOS_MEMORY_ECC      6 /* multi-bit */
#define SMBIOS_MEMORY_EXTENDED 0x80000000u

struct smbios_dimm_wire { /* type 17 (7.18), version 2.8 */
	struct smbios_header_wire h;
	le16 array, error_handle, total_width, data_width, size_mib;
	u8 form_factor, set, locator, bank, type;
	le16 detail, speed;
	u8 manufacturer, serial, asset_tag, part, attributes;
	le32 ext_size_mib;
	le16 configured_speed, min_voltage, max_voltage, configured_voltage;
} packed;
static_assert(sizeof(struct smbios_dimm_wire) == 40, "DSP0134 7.18");
#define SMBIOS_DIMM_FORM     9 /* DIMM */
#define SMBIOS_DIMM_RAM      7
#define SMBIOS_DIMM_OTHER    BIT32(1)
#define SMBIOS_DIMM_UNKNOWN  0xffff
#define SMBIOS_DIMM_EXTENDED 0x7fff
#define SMBIOS_DIMM_EXT_MAX  BIT(31) /* MiB */

struct smbios_range_wire { /* type 19 (7.20) */
	struct smbios_header_wire h;
	le32 start_kib, end_kib; /* the last KiB's */
	le16 array;
	u8 partition_width;
	le64 start, end;
} packed;
static_assert(sizeof(struct smbios_range_wire) == 31, "DSP0134 7.20");
#define SMBIOS_RANGE_EXTENDED 0xffffffffu

struct smbios_boot_wire { /* type 32 (7.33) */
	struct smbios_header_wire h;
	u8 reserved[6];
	u8 status; /* 0: no errors */
} packed;
static_assert(sizeof(struct smbios_boot_wire) == 11, "DSP0134 7.33");

struct smbios_builder {
	u8 data[SMBIOS_AREA_SIZE];
	u64 used;
	bool is_full;
	const char *strings[SMBIOS_STRINGS_MAX]; /* of the structure being made */
	u8 n_strings;
};

static struct smbios_header_wire smbios_header(u8 type, u64 length, unsigned handle)
{
	return (struct smbios_header_wire){type, (u8)length, le16_of((u16)handle)};
}

/* The number of a string in the structure being made. */
static u8 smbios_string(struct smbios_builder *b, const char *s)
{
	if (!s || !*s)
		return 0;
	assert(b->n_strings < SMBIOS_STRINGS_MAX);
	b->strings[b->n_strings++] = s;
	return b->n_strings;
}

static void smbios_append(struct smbios_builder *b, const void *data, u64 size)
{
	if (!range_fits(b->used, size, sizeof(b->data))) {
		b->is_full = true;
		return;
	}
	memcpy(b->data + b->used, data, size);
	b->used += size;
}

/* Ends a structure: its fixed part, its strings. */
static void smbios_add(struct smbios_builder *b, const void *fixed, u64 size)
{
	smbios_append(b, fixed, size);
	for (u8 i = 0; i < b->n_strings; i++) {
		smbios_append(b, b->strings[i], strnlen(b->strings[i], SMBIOS_STRING_MAX));
		smbios_append(b, "", 1);
	}
	smbios_append(b, "\0", b->n_strings ? 1 : 2);
	b->n_strings = 0;
}

static void smbios_add_firmware(struct smbios_builder *b, const struct smbios_config *c)
{
	const struct smbios_firmware_wire t = {
		.h = smbios_header(0, sizeof(t), 0),
		.vendor = smbios_string(b, c->manufacturer),
		.version = smbios_string(b, c->firmware_version),
		.segment = le16_of(0xe800),
		.release_date = smbios_string(b, "01/01/2026"),
		.characteristics = le64_of(SMBIOS_FW_NO_CHARACTERISTICS),
		.characteristics_ext = {0, SMBIOS_FW_EXT2_VIRTUAL},
		.major = 0xff, /* not given */
		.minor = 0xff,
		.ec_major = 0xff,
		.ec_minor = 0xff,
	};

	smbios_add(b, &t, sizeof(t));
}

/* Fields 1 to 3 of the UUID are little-endian (7.2.1). */
static void smbios_encode_uuid(const u8 text_order[16], u8 out[16])
{
	static const u8 from[16] = {3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15};

	for (unsigned i = 0; i < 16; i++)
		out[i] = text_order[from[i]];
}

static void smbios_add_system(struct smbios_builder *b, const struct smbios_config *c)
{
	struct smbios_system_wire t = {
		.h = smbios_header(1, sizeof(t), SMBIOS_HANDLE_SYSTEM),
		.manufacturer = smbios_string(b, c->manufacturer),
		.product = smbios_string(b, c->product),
		.version = smbios_string(b, c->version),
		.serial = smbios_string(b, c->serial),
		.wake_up = SMBIOS_WAKE_POWER_SWITCH,
	};

	smbios_encode_uuid(c->uuid, t.uuid);
	smbios_add(b, &t, sizeof(t));
}

static void smbios_add_chassis(struct smbios_builder *b, const struct smbios_config *c)
{
	const struct smbios_chassis_wire t = {
		.h = smbios_header(3, sizeof(t), SMBIOS_HANDLE_CHASSIS),
		.manufacturer = smbios_string(b, c->manufacturer),
		.type = SMBIOS_CHASSIS_OTHER,
		.version = smbios_string(b, c->version),
		.boot_state = SMBIOS_STATE_SAFE,
		.power_state = SMBIOS_STATE_SAFE,
		.thermal_state = SMBIOS_STATE_SAFE,
		.security = SMBIOS_SECURITY_UNKNOWN,
	};

	smbios_add(b, &t, sizeof(t));
}

static void smbios_add_cpu(struct smbios_builder *b, const struct smbios_config *c, u32 i)
{
	char socket[] = "CPU 00";
	struct smbios_cpu_wire t = {
		.h = smbios_header(4, sizeof(t), SMBIOS_HANDLE_CPU + i),
		.type = SMBIOS_CPU_CENTRAL,
		.family = SMBIOS_CPU_FAMILY_OTHER,
		.status = SMBIOS_CPU_ENABLED,
		.upgrade = SMBIOS_CPU_UPGRADE_OTHER,
		.l1 = le16_of(SMBIOS_CPU_NO_CACHE),
		.l2 = le16_of(SMBIOS_CPU_NO_CACHE),
		.l3 = le16_of(SMBIOS_CPU_NO_CACHE),
		.cores = 1,
		.cores_enabled = 1,
		.threads = 1,
		.characteristics = le16_of(SMBIOS_CPU_64BIT),
		.family2 = le16_of(SMBIOS_CPU_FAMILY_OTHER),
		.cores2 = le16_of(1),
		.cores_enabled2 = le16_of(1),
		.threads2 = le16_of(1),
	};

	socket[4] = (char)('0' + i / 10);
	socket[5] = (char)('0' + i % 10);
	t.socket = smbios_string(b, socket);
	t.manufacturer = smbios_string(b, c->manufacturer);
	t.version = smbios_string(b, c->cpu_name);
	smbios_add(b, &t, sizeof(t));
}

static void smbios_add_memory(struct smbios_builder *b, const struct smbios_config *c)
{
	u64 bytes = c->low_size + c->high_size;
	bool is_extended = bytes / KIB >= SMBIOS_MEMORY_EXTENDED;
	const struct smbios_memory_wire t = {
		.h = smbios_header(16, sizeof(t), SMBIOS_HANDLE_MEMORY),
		.location = SMBIOS_MEMORY_OTHER,
		.use = SMBIOS_MEMORY_SYSTEM,
		.error_correction = SMBIOS_MEMORY_ECC,
		.capacity_kib = le32_of(is_extended ? SMBIOS_MEMORY_EXTENDED : (u32)(bytes / KIB)),
		.error_handle = le16_of(SMBIOS_HANDLE_NONE),
		.n_devices = le16_of(1),
		.capacity_bytes = le64_of(is_extended ? bytes : 0),
	};

	smbios_add(b, &t, sizeof(t));
}

static void smbios_add_dimm(struct smbios_builder *b, const struct smbios_config *c)
{
	u64 mib = (c->low_size + c->high_size) / MIB;
	bool is_extended = mib >= SMBIOS_DIMM_EXTENDED;
	const struct smbios_dimm_wire t = {
		.h = smbios_header(17, sizeof(t), SMBIOS_HANDLE_DIMM),
		.array = le16_of(SMBIOS_HANDLE_MEMORY),
		.error_handle = le16_of(SMBIOS_HANDLE_NONE),
		.total_width = le16_of(SMBIOS_DIMM_UNKNOWN),
		.data_width = le16_of(SMBIOS_DIMM_UNKNOWN),
		.size_mib = le16_of(is_extended ? SMBIOS_DIMM_EXTENDED : (u16)mib),
		.form_factor = SMBIOS_DIMM_FORM,
		.locator = smbios_string(b, "DIMM 0"),
		.type = SMBIOS_DIMM_RAM,
		.detail = le16_of(SMBIOS_DIMM_OTHER),
		.manufacturer = smbios_string(b, c->manufacturer),
		.ext_size_mib = le32_of(is_extended ? (u32)MIN(mib, SMBIOS_DIMM_EXT_MAX - 1) : 0),
	};

	smbios_add(b, &t, sizeof(t));
}

static void smbios_add_range(struct smbios_builder *b, unsigned index, u64 start, u64 size)
{
	u64 last = start + size - 1;
	bool is_extended = last / KIB >= SMBIOS_RANGE_EXTENDED;
	const struct smbios_range_wire t = {
		.h = smbios_header(19, sizeof(t), SMBIOS_HANDLE_RANGE + index),
		.start_kib = le32_of(is_extended ? SMBIOS_RANGE_EXTENDED : (u32)(start / KIB)),
		.end_kib = le32_of(is_extended ? SMBIOS_RANGE_EXTENDED : (u32)(last / KIB)),
		.array = le16_of(SMBIOS_HANDLE_MEMORY),
		.partition_width = 1,
		.start = le64_of(is_extended ? start : 0),
		.end = le64_of(is_extended ? last : 0),
	};

	smbios_add(b, &t, sizeof(t));
}

static void smbios_add_all(struct smbios_builder *b, const struct smbios_config *c)
{
	const struct smbios_boot_wire boot = {
		.h = smbios_header(32, sizeof(boot), SMBIOS_HANDLE_BOOT),
	};
	const struct smbios_header_wire end = smbios_header(127, sizeof(end), SMBIOS_HANDLE_END);

	smbios_add_firmware(b, c);
	smbios_add_system(b, c);
	smbios_add_chassis(b, c);
	for (u32 i = 0; i < MIN(c->n_cpus, (u32)SMBIOS_CPUS_MAX); i++)
		smbios_add_cpu(b, c, i);
	smbios_add_memory(b, c);
	smbios_add_dimm(b, c);
	smbios_add_range(b, 0, 0, c->low_size);
	if (c->high_size)
		smbios_add_range(b, 1, 4 * GIB, c->high_size);
	smbios_add(b, &boot, sizeof(boot));
	smbios_add(b, &end, sizeof(end));
}

static struct smbios_entry_wire smbios_entry(gpa_t table, u64 size)
{
	struct smbios_entry_wire e = {
		.anchor = {'_', 'S', 'M', '3', '_'},
		.length = sizeof(e),
		.major = 3,
		.minor = 4,
		.revision = 1,
		.max_size = le32_of((u32)size),
		.table = le64_of(table),
	};
	const u8 *p = (const void *)&e;
	u8 sum = 0;

	for (size_t i = 0; i < sizeof(e); i++)
		sum = (u8)(sum + p[i]);
	e.checksum = (u8)-sum;
	return e;
}

int smbios_write(const struct smbios_config *c, struct gmem *g, gpa_t area, struct err *err)
{
	AUTO(free_ptr) struct smbios_builder *b = NEW(struct smbios_builder);
	const u64 first = align_up(sizeof(struct smbios_entry_wire), 16);
	struct smbios_entry_wire entry;

	assert(is_aligned(area, 16));
	b->used = first;
	smbios_add_all(b, c);
	if (b->is_full)
		return err_set(err, -ENOSPC, "the SMBIOS tables need more than %lu bytes",
			       SMBIOS_AREA_SIZE);
	entry = smbios_entry(area + first, b->used - first);
	memcpy(b->data, &entry, sizeof(entry));
	if (gmem_write_rom(g, area, b->data, b->used) < 0)
		return err_set(err, -EFAULT, "no memory for the SMBIOS tables at %#lx", area);
	return 0;
}

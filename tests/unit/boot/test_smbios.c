/*
 * SMBIOS: the entry point's checksum, and a walk over the structures as a guest does it.
 */
#include "boot/smbios.h"

#include "fixture.h"
#include "test.h"

#define ENTRY_SIZE 24

static struct smbios_config make_config(void)
{
	return (struct smbios_config){
		.manufacturer = "posada",
		.product = "Virtual Machine",
		.version = "pc-1",
		.uuid = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15},
		.firmware_version = "0.1.0",
		.cpu_name = "posada-v2",
		.n_cpus = 2,
		.low_size = GUEST_RAM,
		.high_size = 6 * GIB,
	};
}

/* How many structures of each type there are, by walking them to the end mark. */
static void count_types(const u8 *p, size_t size, unsigned counts[256])
{
	size_t at = 0;

	memset(counts, 0, 256 * sizeof(counts[0]));
	for (;;) {
		CHECK(at + 4 <= size);
		counts[p[at]]++;
		if (p[at] == 127)
			break;
		at += p[at + 1];
		while (p[at] || p[at + 1])
			CHECK(++at + 1 < size);
		at += 2;
	}
	CHECK_EQ(at + 6, size);
}

TEST(the_entry_point_leads_to_all_structures)
{
	struct guest *t = guest_new(false);
	const struct smbios_config c = make_config();
	u8 e[ENTRY_SIZE], tables[4096], sum = 0;
	unsigned counts[256];
	u32 size;

	CHECK_EQ(smbios_write(&c, t->gmem, SMBIOS_GPA, &t->err), 0);
	guest_read(t, SMBIOS_GPA, e, sizeof(e));
	CHECK_MEM(e, "_SM3_", 5);
	for (unsigned i = 0; i < sizeof(e); i++)
		sum = (u8)(sum + e[i]);
	CHECK_EQ(sum, 0);
	size = guest_u32(t, SMBIOS_GPA + 12);
	CHECK(size <= sizeof(tables));
	guest_read(t, guest_u64(t, SMBIOS_GPA + 16), tables, size);
	count_types(tables, size, counts);
	CHECK_EQ(counts[0], 1);
	CHECK_EQ(counts[1], 1);
	CHECK_EQ(counts[3], 1);
	CHECK_EQ(counts[4], 2);
	CHECK_EQ(counts[16], 1);
	CHECK_EQ(counts[17], 1);
	CHECK_EQ(counts[19], 2);
	CHECK_EQ(counts[32], 1);
	CHECK(memmem(tables, size, "posada\0Virtual Machine\0pc-1\0\0", 29));
	CHECK(memmem(tables, size, "\3\2\1\0\5\4\7\6\10\11\12\13\14\15\16\17", 16));
	guest_free(t);
}

TEST(many_processors_and_long_names_fit)
{
	struct guest *t = guest_new(false);
	struct smbios_config c = make_config();
	char name[1000];

	memset(name, 'n', sizeof(name) - 1);
	name[sizeof(name) - 1] = 0;
	c.cpu_name = c.manufacturer = c.product = c.version = c.serial = name;
	c.n_cpus = 256;
	CHECK_EQ(smbios_write(&c, t->gmem, SMBIOS_GPA, &t->err), 0);
	guest_free(t);
}

TEST(an_area_without_memory_is_an_error)
{
	struct guest *t = guest_new(false);
	const struct smbios_config c = make_config();

	CHECK_EQ(smbios_write(&c, t->gmem, GUEST_RAM, &t->err), -EFAULT);
	CHECK_ERR(t->err, "no memory for the SMBIOS tables");
	guest_free(t);
}

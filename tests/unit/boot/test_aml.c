/*
 * AML as bytes: lengths, names, integers, resources.
 */
#include "boot/aml.h"
#include "test.h"

static void check_bytes(struct aml *a, const void *bytes, size_t size)
{
	CHECK_EQ(a->len, size);
	CHECK_MEM(a->data, bytes, size);
	aml_fini(a);
}

#define CHECK_AML(a, ...)                                                                          \
	do {                                                                                       \
		const u8 wanted_[] = {__VA_ARGS__};                                                \
		check_bytes(a, wanted_, sizeof(wanted_));                                          \
	} while (0)

TEST(integers_take_the_shortest_form)
{
	struct aml a;

	aml_init(&a);
	aml_int(&a, 0);
	aml_int(&a, 1);
	aml_int(&a, 2);
	aml_int(&a, 0x100);
	aml_int(&a, 0x10000);
	aml_int(&a, 0x100000000);
	CHECK_AML(&a, 0, 1, 0x0a, 2, 0x0b, 0, 1, 0x0c, 0, 0, 1, 0, 0x0e, 0, 0, 0, 0, 1, 0, 0, 0);
}

TEST(paths_have_prefixes_and_padded_segments)
{
	struct aml a;

	aml_init(&a);
	aml_path(&a, "FOO");
	CHECK_AML(&a, 'F', 'O', 'O', '_');
	aml_path(&a, "\\_SB.PCI0");
	CHECK_AML(&a, '\\', 0x2e, '_', 'S', 'B', '_', 'P', 'C', 'I', '0');
	aml_path(&a, "^A.B.C");
	CHECK_AML(&a, '^', 0x2f, 3, 'A', '_', '_', '_', 'B', '_', '_', '_', 'C', '_', '_', '_');
	aml_path(&a, "\\");
	CHECK_AML(&a, '\\', 0);
}

TEST(a_short_block_has_one_length_byte)
{
	struct aml a;

	aml_init(&a);
	aml_package(&a, 2);
	aml_int(&a, 1);
	aml_string(&a, "x");
	aml_end(&a);
	CHECK_AML(&a, 0x12, 6, 2, 1, 0x0d, 'x', 0);
}

TEST(lengths_grow_with_the_content)
{
	static const struct {
		size_t content, bytes; /* bytes of the length itself */
	} cases[] = {{61, 1}, {62, 1}, {63, 2}, {4093, 2}, {4094, 3}, {5000, 3}};
	struct aml a;

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		u64 length;

		aml_init(&a);
		aml_if(&a);
		for (size_t n = 0; n < cases[i].content; n++)
			aml_int(&a, 1);
		aml_end(&a);
		CHECK_EQ(a.len, 1 + cases[i].bytes + cases[i].content);
		length = a.data[1];
		if (cases[i].bytes > 1) {
			CHECK_EQ(a.data[1] >> 6, cases[i].bytes - 1);
			length = (length & 0xf) | (u64)a.data[2] << 4;
			length |= cases[i].bytes > 2 ? (u64)a.data[3] << 12 : 0;
		}
		CHECK_EQ(length, a.len - 1);
		CHECK_EQ(a.data[a.len - 1], 1);
		aml_fini(&a);
	}
}

TEST(ids_are_packed)
{
	struct aml a;

	aml_init(&a);
	aml_eisaid(&a, "PNP0A08");
	CHECK_AML(&a, 0x0c, 0x41, 0xd0, 0x0a, 0x08);
	aml_name_hid(&a, "_HID", "QEMU0001");
	CHECK_AML(&a, 0x08, '_', 'H', 'I', 'D', 0x0d, 'Q', 'E', 'M', 'U', '0', '0', '0', '1', 0);
	aml_uuid(&a, "33DB4D5B-1FF7-401C-9657-7441C03DD766");
	CHECK_AML(&a, 0x11, 19, 0x0a, 16, 0x5b, 0x4d, 0xdb, 0x33, 0xf7, 0x1f, 0x1c, 0x40, 0x96,
		  0x57, 0x74, 0x41, 0xc0, 0x3d, 0xd7, 0x66);
}

TEST(resources_are_templates)
{
	struct aml_res r = {0};
	struct aml a;

	aml_init(&a);
	aml_res_io(&r, 0x3f8, 8);
	aml_res_irq(&r, 4);
	aml_name_crs(&a, &r);
	CHECK_AML(&a, 0x08, '_', 'C', 'R', 'S', 0x11, 16, 0x0a, 13, 0x47, 1, 0xf8, 3, 0xf8, 3, 1, 8,
		  0x22, 0x10, 0, 0x79, 0);
	r.len = 0;
	aml_res_window_bus(&r, 0, 255);
	CHECK_EQ(r.len, 16);
	CHECK_EQ(r.data[1], 13);
	CHECK_EQ(r.data[14] | r.data[15] << 8, 256);
	aml_fini(&a);
}

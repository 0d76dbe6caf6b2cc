/* arch/x86: CPU models and the CPUID instruction. */
#include "test.h"

#include "arch/x86/cpuid.h"
#include "arch/x86/regs.h"
#include "base/err.h"

static void build(const char *model, unsigned n_cpus, unsigned id, u64 tsc_hz,
		  struct x86_cpuid *out)
{
	struct x86_cpuid_config config = {
		.model = model, .n_cpus = n_cpus, .id = id, .tsc_hz = tsc_hz};
	struct err err = ERR_INIT;
	struct x86_features f;

	x86_features_of_model("posada-v3", &f); /* v3 has all of v2 */
	if (x86_cpuid_build(&config, &f, out, &err) < 0)
		fail_msg("%s", err.text);
}

static void query(const struct x86_cpuid *c, u32 leaf, u32 subleaf, u32 out[4])
{
	x86_cpuid_query(c, leaf, subleaf, 0, 1, X86_APIC_BASE_ENABLE, out);
}

TEST(models_are_known_by_name)
{
	CHECK(x86_cpu_model_is_known("posada-base"));
	CHECK(x86_cpu_model_is_known("posada-v2"));
	CHECK(x86_cpu_model_is_known("posada-v3"));
	CHECK(x86_cpu_model_is_known("host"));
	CHECK(!x86_cpu_model_is_known("pentium"));
	CHECK(!x86_cpu_model_is_known(""));
}

TEST(an_unknown_model_is_refused_with_the_known_ones)
{
	struct x86_cpuid_config config = {.model = "i8088", .n_cpus = 1, .tsc_hz = 1000000000};
	struct x86_features f = {0};
	struct err err = ERR_INIT;
	struct x86_cpuid c;

	CHECK_EQ(x86_cpuid_build(&config, &f, &c, &err), -EINVAL);
	CHECK_ERR(err, "i8088");
	CHECK_ERR(err, "posada-v3");
}

TEST(a_larger_model_has_all_of_the_smaller)
{
	static const char *const models[] = {"posada-base", "posada-v2", "posada-v3"};
	struct err err = ERR_INIT;
	struct x86_cpuid c;

	for (size_t i = 0; i < ARRAY_SIZE(models); i++) {
		struct x86_features f;

		x86_features_of_model(models[i], &f);
		for (size_t j = 0; j < ARRAY_SIZE(models); j++) {
			struct x86_cpuid_config config = {
				.model = models[j], .n_cpus = 1, .tsc_hz = 1000000000};

			CHECK_EQ(x86_cpuid_build(&config, &f, &c, &err) == 0, j <= i);
		}
	}
}

TEST(no_model_offers_what_the_software_cpu_lacks_everywhere)
{
	struct x86_features f;

	x86_features_of_model("posada-v3", &f);
	CHECK(!(f.leaf1_edx & BIT32(1))); /* VME */
}

TEST(what_an_engine_lacks_is_named)
{
	struct x86_cpuid_config config = {.model = "posada-v2", .n_cpus = 1, .tsc_hz = 1000000000};
	struct x86_features full, f;
	struct err err = ERR_INIT;
	struct x86_cpuid c;

	x86_features_of_model("posada-v2", &full);
	CHECK_EQ(x86_cpuid_build(&config, &full, &c, &err), 0);
	f = full;
	f.leaf1_ecx &= ~BIT32(20);
	CHECK_EQ(x86_cpuid_build(&config, &f, &c, &err), -ENOTSUP);
	CHECK_ERR(err, "'sse4.2'");
	f = full;
	f.leaf7_ebx &= ~BIT32(20);
	CHECK_EQ(x86_cpuid_build(&config, &f, &c, &err), -ENOTSUP);
	CHECK_ERR(err, "'smap'");
	f = full;
	f.arch_capabilities &= ~X86_ARCH_CAP_RDCL_NO;
	CHECK_EQ(x86_cpuid_build(&config, &f, &c, &err), -ENOTSUP);
	CHECK_ERR(err, "Meltdown");
	f = full;
	f.phys_bits = 36;
	CHECK_EQ(x86_cpuid_build(&config, &f, &c, &err), -ENOTSUP);
	CHECK_ERR(err, "36");
	config.model = "posada-v3";
	CHECK_EQ(x86_cpuid_build(&config, &full, &c, &err), -ENOTSUP);
	CHECK_ERR(err, "'fma'");
}

/* The x86-64 psABI's microarchitecture levels, table 3.1. */
TEST(the_models_reach_their_psabi_levels)
{
	const u32 v2_1_ecx = BIT32(0) | BIT32(9) | BIT32(13) | BIT32(19) | BIT32(20) | BIT32(23);
	const u32 v3_1_ecx = BIT32(12) | BIT32(22) | BIT32(26) | BIT32(28) | BIT32(29);
	const u32 v3_7_ebx = BIT32(3) | BIT32(5) | BIT32(8);
	struct x86_cpuid c;

	build("posada-v2", 1, 0, 2000000000, &c);
	CHECK_EQ(x86_cpuid_reg(&c, 1, 0, 2) & v2_1_ecx, v2_1_ecx);
	CHECK_EQ(x86_cpuid_reg(&c, 1, 0, 2) & BIT32(28), 0);
	CHECK_EQ(x86_cpuid_reg(&c, 0x80000001, 0, 2) & 1, 1);
	CHECK_EQ(x86_cpuid_reg(&c, 0xd, 0, 0), 3);
	build("posada-v3", 1, 0, 2000000000, &c);
	CHECK_EQ(x86_cpuid_reg(&c, 1, 0, 2) & v3_1_ecx, v3_1_ecx);
	CHECK_EQ(x86_cpuid_reg(&c, 7, 0, 1) & v3_7_ebx, v3_7_ebx);
	CHECK(x86_cpuid_reg(&c, 0x80000001, 0, 2) & BIT32(5));
	CHECK_EQ(x86_cpuid_reg(&c, 0xd, 0, 0), 7);
	CHECK_EQ(x86_cpuid_reg(&c, 0xd, 0, 2), 832);
}

TEST(vendor_hypervisor_and_brand_read_as_text)
{
	struct x86_cpuid c;
	char text[49] = "";
	u32 r[4];

	build("posada-v2", 1, 0, 2000000000, &c);
	query(&c, 0, 0, r);
	memcpy(text, &r[1], 4);
	memcpy(text + 4, &r[3], 4);
	memcpy(text + 8, &r[2], 4);
	CHECK_STR(text, "GenuineIntel");
	query(&c, 0x40000000, 0, r);
	CHECK_MEM(&r[1], "KVMKVMKVM\0\0\0", 12);
	for (u32 i = 0; i < 3; i++)
		query(&c, 0x80000002 + i, 0, (u32 *)(void *)(text + (size_t)16 * i));
	CHECK_STR(text, "posada virtual CPU, x86-64-v2");
}

TEST(topology_numbers_cores_of_one_package)
{
	struct x86_cpuid c;
	u32 r[4];

	build("posada-v2", 6, 5, 2000000000, &c);
	query(&c, 1, 0, r);
	CHECK_EQ(r[1] >> 24, 5);
	CHECK_EQ(r[1] >> 16 & 0xff, 8);
	CHECK(r[3] & BIT32(28));
	query(&c, 0xb, 0, r);
	CHECK_EQ(r[0], 0);
	CHECK_EQ(r[2], 0x100);
	CHECK_EQ(r[3], 5);
	query(&c, 0xb, 1, r);
	CHECK_EQ(r[0], 3);
	CHECK_EQ(r[1], 6);
	CHECK_EQ(r[2], 0x201);
	query(&c, 0xb, 7, r); /* beyond the last level (SDM 2A, leaf 0BH) */
	CHECK_EQ(r[1], 0);
	CHECK_EQ(r[2], 7);
	CHECK_EQ(r[3], 5);
	build("posada-v2", 1, 0, 2000000000, &c);
	query(&c, 1, 0, r);
	CHECK(!(r[3] & BIT32(28)));
	query(&c, 0xb, 1, r);
	CHECK_EQ(r[0], 0);
}

TEST(caches_have_the_sizes_they_are_said_to_have)
{
	const u64 sizes[] = {32 * KIB, 32 * KIB, MIB, 16 * MIB};
	struct x86_cpuid c;
	u32 r[4];

	build("posada-v2", 4, 0, 2000000000, &c);
	for (u32 i = 0; i < 4; i++) {
		query(&c, 4, i, r);
		u64 ways = (r[1] >> 22) + 1, line = (r[1] & 0xfff) + 1, sets = (u64)r[2] + 1;

		CHECK_EQ(ways * line * sets, sizes[i]);
	}
	query(&c, 4, 4, r);
	CHECK_EQ(r[0] & 0x1f, 0);
}

/* Linux: crystal kHz * numerator / denominator, in 32 bits. */
static void check_frequency(u64 tsc_hz)
{
	struct x86_cpuid c;
	u32 r[4];

	build("posada-v2", 1, 0, tsc_hz, &c);
	query(&c, 0x15, 0, r);
	u64 khz = r[2] / 1000 * (u64)r[1];
	CHECK(khz <= UINT32_MAX);
	khz /= r[0];
	u64 apart = khz > tsc_hz / 1000 ? khz - tsc_hz / 1000 : tsc_hz / 1000 - khz;
	CHECK(apart <= 1 + tsc_hz / 1000 / 500000);
	query(&c, 0x40000010, 0, r);
	CHECK_EQ(r[0], tsc_hz / 1000);
	CHECK_EQ(r[1], 1000000);
}

TEST(the_tsc_frequency_is_told_exactly_enough)
{
	check_frequency(2600000000);
	check_frequency(2599998000);
	check_frequency(1000000000);
	check_frequency(3693123456);
	check_frequency(4200000001);
	check_frequency(100000000);
	check_frequency(799999999);
}

TEST(leaves_beyond_the_last_read_as_the_highest_basic_one)
{
	struct x86_cpuid c;
	u32 r[4], last[4];

	build("posada-v2", 1, 0, 2000000000, &c);
	query(&c, 0x16, 0, last);
	CHECK_EQ(last[0], 2000);
	query(&c, 0x17, 0, r);
	CHECK_MEM(r, last, sizeof(r));
	query(&c, 0x80000009, 0, r);
	CHECK_MEM(r, last, sizeof(r));
	query(&c, 0x40000011, 0, r);
	CHECK_MEM(r, last, sizeof(r));
	query(&c, 0x40000100, 0, r);
	CHECK_MEM(r, last, sizeof(r));
	query(&c, 0xc0000000, 0, r);
	CHECK_MEM(r, last, sizeof(r));
	/* Within the range, what isn't there is zero. */
	query(&c, 0xa, 0, r);
	CHECK(!r[0] && !r[1] && !r[2] && !r[3]);
	query(&c, 7, 1, r);
	CHECK(!r[0] && !r[1] && !r[2] && !r[3]);
	query(&c, 0x40000005, 0, r);
	CHECK(!r[0] && !r[1] && !r[2] && !r[3]);
}

TEST(dynamic_bits_follow_the_state)
{
	struct x86_cpuid c;
	u32 r[4];

	build("posada-v3", 1, 0, 2000000000, &c);
	x86_cpuid_query(&c, 1, 0, 0, 1, 0, r);
	CHECK(!(r[2] & BIT32(27)));
	CHECK(!(r[3] & BIT32(9)));
	x86_cpuid_query(&c, 1, 0, X86_CR4_OSXSAVE, 1, X86_APIC_BASE_ENABLE, r);
	CHECK(r[2] & BIT32(27));
	CHECK(r[3] & BIT32(9));
	x86_cpuid_query(&c, 0xd, 0, 0, 3, 0, r);
	CHECK_EQ(r[1], 576);
	x86_cpuid_query(&c, 0xd, 0, 0, 7, 0, r);
	CHECK_EQ(r[1], 832);
}

TEST(host_takes_what_there_is_and_nothing_that_state_cannot_hold)
{
	struct x86_cpuid_config config = {
		.model = "host", .n_cpus = 2, .id = 1, .tsc_hz = 2000000000};
	struct x86_features f;
	struct err err = ERR_INIT;
	struct x86_cpuid c;

	memset(&f, 0xff, sizeof(f));
	f.phys_bits = 46;
	f.brand = NULL;
	CHECK_EQ(x86_cpuid_build(&config, &f, &c, &err), 0);
	CHECK_EQ(x86_cpuid_reg(&c, 7, 0, 1) & BIT32(16), 0); /* AVX-512 */
	CHECK_EQ(x86_cpuid_reg(&c, 7, 0, 2) & BIT32(3), 0);  /* protection keys */
	CHECK_EQ(x86_cpuid_reg(&c, 1, 0, 2) & BIT32(5), 0);  /* VMX */
	CHECK_EQ(x86_cpuid_reg(&c, 0xd, 0, 0), 7);
	CHECK_EQ(x86_cpuid_reg(&c, 0x80000008, 0, 0) & 0xff, 46);
	f.leaf1_ecx = 0;
	CHECK_EQ(x86_cpuid_build(&config, &f, &c, &err), 0);
	CHECK_EQ(x86_cpuid_reg(&c, 0xd, 0, 0), 0);
	CHECK_EQ(x86_cpuid_reg(&c, 7, 0, 1) & BIT32(5), 0); /* AVX2 without AVX */
	CHECK(x86_cpuid_reg(&c, 1, 0, 2) & BIT32(31));
	f.brand = "an engine of its own";
	CHECK_EQ(x86_cpuid_build(&config, &f, &c, &err), 0);
	CHECK_EQ(x86_cpuid_reg(&c, 0, 0, 1), 0x756e6547); /* Genu... */
	CHECK_EQ(x86_cpuid_reg(&c, 1, 0, 0), 0x00040601);
	CHECK_EQ(x86_cpuid_reg(&c, 0x80000002, 0, 0), 0x65206e61); /* an e... */
	x86_features_of_host(&f);
	CHECK(f.leaf1_edx & BIT32(26));
	CHECK(f.phys_bits >= 36);
}

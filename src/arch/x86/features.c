/*
 * CPU features: their names, the models as sets of them, and what a host has. See cpuid.h.
 *
 * A model is a row of feature words. Everything that has to do with one word (its place in struct
 * x86_features, the names of its bits, what we ever pass on to a guest) stands in one table, so
 * that refusing a model can name what is missing. docs/design/cpu-models.md argues the choices.
 */
#include <cpuid.h>
#include <string.h>

#include "arch/x86/features_priv.h"
#include "base/err.h"

/* clang-format off */
#define F(n_) BIT32(n_)

static const char *const names_1_ecx[32] = {
	[0] = "sse3", [1] = "pclmulqdq", [9] = "ssse3", [12] = "fma", [13] = "cmpxchg16b",
	[17] = "pcid", [19] = "sse4.1", [20] = "sse4.2", [21] = "x2apic", [22] = "movbe",
	[23] = "popcnt", [24] = "tsc-deadline", [25] = "aes", [26] = "xsave", [28] = "avx",
	[29] = "f16c", [30] = "rdrand", [31] = "hypervisor",
};
static const char *const names_1_edx[32] = {
	[0] = "fpu", [1] = "vme", [2] = "de", [3] = "pse", [4] = "tsc", [5] = "msr", [6] = "pae",
	[7] = "mce", [8] = "cmpxchg8b", [9] = "apic", [11] = "sysenter", [12] = "mtrr", [13] = "pge",
	[14] = "mca", [15] = "cmov", [16] = "pat", [17] = "pse36", [19] = "clflush", [23] = "mmx",
	[24] = "fxsr", [25] = "sse", [26] = "sse2", [27] = "ss",
};
static const char *const names_7_ebx[32] = {
	[0] = "fsgsbase", [1] = "tsc-adjust", [3] = "bmi1", [5] = "avx2", [7] = "smep", [8] = "bmi2",
	[9] = "erms", [10] = "invpcid", [18] = "rdseed", [19] = "adx", [20] = "smap",
	[23] = "clflushopt", [24] = "clwb", [29] = "sha",
};
static const char *const names_7_ecx[32] = {
	[2] = "umip", [8] = "gfni", [9] = "vaes", [10] = "vpclmulqdq", [22] = "rdpid",
	[27] = "movdiri", [28] = "movdir64b",
};
static const char *const names_7_edx[32] = {
	[4] = "fsrm", [10] = "md-clear", [14] = "serialize", [26] = "spec-ctrl", [27] = "stibp",
	[29] = "arch-capabilities", [31] = "ssbd",
};
static const char *const names_d1_eax[32] = {
	[0] = "xsaveopt", [1] = "xsavec", [2] = "xgetbv1",
};
static const char *const names_ext1_ecx[32] = {
	[0] = "lahf", [4] = "cr8-legacy", [5] = "lzcnt", [6] = "sse4a", [8] = "prefetchw",
};
static const char *const names_ext1_edx[32] = {
	[11] = "syscall", [20] = "nx", [22] = "mmxext", [25] = "fxsr-opt", [26] = "1g-pages",
	[27] = "rdtscp", [29] = "long-mode",
};
static const char *const names_ext8_ebx[32] = {
	[0] = "clzero", [9] = "wbnoinvd", [12] = "ibpb", [14] = "ibrs", [15] = "amd-stibp",
	[24] = "amd-ssbd",
};

/* A bit is passed on to a guest when it has a name: its state is in struct x86_cpu_state. */
static const struct x86_feature_word words[X86_FEATURE_WORDS] = {
	{ offsetof(struct x86_features, leaf1_ecx), names_1_ecx },
	{ offsetof(struct x86_features, leaf1_edx), names_1_edx },
	{ offsetof(struct x86_features, leaf7_ebx), names_7_ebx },
	{ offsetof(struct x86_features, leaf7_ecx), names_7_ecx },
	{ offsetof(struct x86_features, leaf7_edx), names_7_edx },
	{ offsetof(struct x86_features, leafd1_eax), names_d1_eax },
	{ offsetof(struct x86_features, ext1_ecx), names_ext1_ecx },
	{ offsetof(struct x86_features, ext1_edx), names_ext1_edx },
	{ offsetof(struct x86_features, ext8_ebx), names_ext8_ebx },
};

#define MODEL_ARCH_CAPS (X86_ARCH_CAP_RDCL_NO | X86_ARCH_CAP_SKIP_L1DFL | X86_ARCH_CAP_MDS_NO | \
			 X86_ARCH_CAP_PSCHANGE_MC_NO)

#define V2_1_ECX    (F(0) | F(1) | F(9) | F(13) | F(17) | F(19) | F(20) | F(21) | F(22) | F(23) | \
		     F(24) | F(25) | F(26) | F(30) | F(31))
#define V2_7_EBX    (F(0) | F(1) | F(7) | F(9) | F(10) | F(18) | F(20))
#define V2_EXT1_ECX F(0)
/* What every KVM emulates by itself is in all models: x2APIC, TSC deadline, ARCH_CAPABILITIES. */
#define BASE_1_ECX  (F(0) | F(9) | F(13) | F(19) | F(20) | F(21) | F(23) | F(24) | F(31))
#define MODEL_COMMON                                                                               \
	.leaf1_edx = 0x078bfbfd, /* all of names_1_edx but "vme" and "ss" */                       \
	.phys_bits = 39, /* what every x86-64-v2 processor can address */                          \
	.arch_capabilities = MODEL_ARCH_CAPS
#define MODEL_COMMON_V2                                                                            \
	MODEL_COMMON,                                                                              \
	.leaf7_ecx = F(2),                                                                         \
	.leaf7_edx = F(26) | F(27) | F(29) | F(31),                                                \
	.ext1_edx = F(11) | F(20) | F(26) | F(27) | F(29)

const struct x86_model x86_models[] = {
	{
		.name = "posada-base",
		.brand = "posada virtual CPU, base",
		.features = {
			.leaf1_ecx = BASE_1_ECX,
			.leaf7_edx = F(29),
			.ext1_ecx = V2_EXT1_ECX,
			.ext1_edx = F(11) | F(20) | F(27) | F(29),
			MODEL_COMMON,
		},
	},
	{
		.name = "posada-v2",
		.brand = "posada virtual CPU, x86-64-v2",
		.features = {
			.leaf1_ecx = V2_1_ECX,
			.leaf7_ebx = V2_7_EBX,
			.ext1_ecx = V2_EXT1_ECX,
			MODEL_COMMON_V2,
		},
	},
	{
		.name = "posada-v3",
		.brand = "posada virtual CPU, x86-64-v3",
		.features = {
			.leaf1_ecx = V2_1_ECX | F(12) | F(28) | F(29),
			.leaf7_ebx = V2_7_EBX | F(3) | F(5) | F(8) | F(19),
			.leafd1_eax = F(0),
			.ext1_ecx = V2_EXT1_ECX | F(5),
			MODEL_COMMON_V2,
		},
	},
	{ .name = NULL },
};
/* clang-format on */

const struct x86_model *x86_model_find(const char *name)
{
	for (const struct x86_model *m = x86_models; m->name; m++)
		if (!strcmp(m->name, name))
			return m;
	return NULL;
}

bool x86_cpu_model_is_known(const char *model)
{
	return !strcmp(model, X86_MODEL_HOST) || x86_model_find(model);
}

const char *x86_cpu_model_names(void)
{
	return "posada-base, posada-v2, posada-v3, host";
}

void x86_features_of_model(const char *model, struct x86_features *out)
{
	const struct x86_model *m = x86_model_find(model);

	assert(m);
	*out = m->features;
}

static u32 *word_of(struct x86_features *f, const struct x86_feature_word *w)
{
	return (u32 *)((char *)f + w->offset);
}

static u32 word_get(const struct x86_features *f, const struct x86_feature_word *w)
{
	return *(const u32 *)((const char *)f + w->offset);
}

static const char *first_missing(const struct x86_features *wanted, const struct x86_features *has)
{
	for (unsigned i = 0; i < X86_FEATURE_WORDS; i++) {
		u32 missing = word_get(wanted, &words[i]) & ~word_get(has, &words[i]);

		if (missing)
			return words[i].names[__builtin_ctz(missing)];
	}
	return NULL;
}

int x86_features_check(const struct x86_model *m, const struct x86_features *engine,
		       struct err *err)
{
	const struct x86_features *f = &m->features;
	const char *missing = first_missing(f, engine);
	u64 leaks = f->arch_capabilities & ~engine->arch_capabilities;

	if (missing)
		return err_set(err, -ENOTSUP,
			       "CPU model '%s' needs '%s', which is not available here; "
			       "'host' takes what there is",
			       m->name, missing);
	if (leaks)
		return err_set(err, -ENOTSUP,
			       "CPU model '%s' promises a processor without %s, which this host's "
			       "has; 'host' tells the guest what it must guard against",
			       m->name, leaks & X86_ARCH_CAP_RDCL_NO ? "Meltdown and L1TF" : "MDS");
	if (engine->phys_bits < f->phys_bits)
		return err_set(err, -ENOTSUP,
			       "CPU model '%s' needs %u physical address bits, and there are %u",
			       m->name, f->phys_bits, engine->phys_bits);
	return 0;
}

static bool lacks_any(u32 word, u32 needed)
{
	return (word & needed) != needed;
}

/* What makes no sense without what it stands on is dropped: the engine may lack the latter. */
static void drop_orphans(struct x86_features *f)
{
	if (lacks_any(f->leaf1_ecx, X86_1_ECX_XSAVE)) {
		f->leaf1_ecx &= ~X86_1_ECX_AVX;
		f->leafd1_eax = 0;
	}
	if (lacks_any(f->leaf1_ecx, X86_1_ECX_AVX)) {
		f->leaf1_ecx &= ~(F(12) | F(29)); /* FMA, F16C */
		f->leaf7_ebx &= ~F(5);            /* AVX2 */
		f->leaf7_ecx &= ~(F(9) | F(10));  /* VAES, VPCLMULQDQ */
	}
	if (lacks_any(f->leaf7_edx, F(29)))
		f->arch_capabilities = 0;
}

void x86_features_pass_through(struct x86_features *f)
{
	for (unsigned i = 0; i < X86_FEATURE_WORDS; i++) {
		u32 named = 0;

		for (unsigned bit = 0; bit < 32; bit++)
			named |= words[i].names[bit] ? BIT32(bit) : 0;
		*word_of(f, &words[i]) &= named;
	}
	f->leaf1_ecx |= X86_1_ECX_HYPERVISOR;
	drop_orphans(f);
}

static void host_extended(struct x86_features *out)
{
	u32 a, b, c, d;

	if (__get_cpuid(0x80000001, &a, &b, &c, &d)) {
		out->ext1_ecx = c;
		out->ext1_edx = d;
	}
	out->phys_bits = 36; /* SDM 2A: where leaf 0x80000008 is missing */
	if (__get_cpuid(0x80000008, &a, &b, &c, &d)) {
		out->ext8_ebx = b;
		out->phys_bits = a & 0xff;
	}
}

void x86_features_of_host(struct x86_features *out)
{
	u32 a, b, c, d;

	memset(out, 0, sizeof(*out));
	if (__get_cpuid(1, &a, &b, &c, &d)) {
		out->leaf1_ecx = c;
		out->leaf1_edx = d;
	}
	if (__get_cpuid_count(7, 0, &a, &b, &c, &d)) {
		out->leaf7_ebx = b;
		out->leaf7_ecx = c;
		out->leaf7_edx = d;
	}
	if (__get_cpuid_count(0xd, 1, &a, &b, &c, &d))
		out->leafd1_eax = a;
	host_extended(out);
	x86_features_pass_through(out);
}

/*
 * CPUID: building a vCPU's table from its model, and answering the instruction from the table.
 *
 * Leaves 0 to 0x16 of an Intel processor, the extended leaves to 0x80000008, and KVM's
 * paravirtual leaves. A leaf that is not in the table reads as zero where it is within its range,
 * and as the highest basic leaf beyond it (SDM 2A, CPUID; AMD's processors give zero). For the
 * `host` model vendor, signature and brand are the host's, where its processor executes the guest; everything
 * else is made as for ours.
 */
#include "arch/x86/cpuid.h"

#include <cpuid.h>
#include <string.h>

#include "arch/x86/features_priv.h"
#include "arch/x86/regs.h"
#include "base/bytes.h"
#include "base/err.h"

#define LEAF_BASIC_MAX 0x16u
#define LEAF_KVM       0x40000000u
#define LEAF_KVM_MAX   0x40000010u
#define LEAF_EXT       0x80000000u
#define LEAF_EXT_MAX   0x80000008u

/* Family 6, model 0x40, stepping 1: a model that no Intel processor has (cpu-models.md). */
#define SIGNATURE 0x00040601u

#define VENDOR_INTEL_EBX 0x756e6547u /* "Genu" */
#define VENDOR_AMD_EBX   0x68747541u /* "Auth" */
#define VENDOR_HYGON_EBX 0x6f677948u /* "Hygo" */

#define LINE_SIZE     64u
#define APIC_BUS_HZ   1000000000u /* KVM's local APIC timer counts nanoseconds; so does ours */
#define XSAVE_MIN     576u        /* legacy area and header */
#define XSAVEC        BIT32(1)    /* and with what we have its size is XSAVE's */
#define LEVEL_SMT     1u
#define LEVEL_CORE    2u
#define VIRT_BITS     48u
#define CMP_LEGACY    BIT32(1)
#define INVARIANT_TSC BIT32(8)
#define ARAT          BIT32(2)

/* KVM's feature bits: Linux, Documentation/virt/kvm/x86/cpuid.rst. */
#define KVM_NOP_IO_DELAY       BIT32(1)
#define KVM_CLOCKSOURCE2       BIT32(3)
#define KVM_CLOCKSOURCE_STABLE BIT32(24)

struct identity {
	u32 vendor[3]; /* ebx, edx, ecx */
	u32 signature;
	char brand[48];
};

static struct x86_cpuid_entry *add(struct x86_cpuid *c, u32 leaf, u32 eax, u32 ebx, u32 ecx,
				   u32 edx)
{
	assert(c->n < X86_CPUID_MAX);
	c->e[c->n] = (struct x86_cpuid_entry){
		.leaf = leaf, .eax = eax, .ebx = ebx, .ecx = ecx, .edx = edx};
	return &c->e[c->n++];
}

static void add_sub(struct x86_cpuid *c, u32 leaf, u32 subleaf, u32 eax, u32 ebx, u32 ecx, u32 edx)
{
	struct x86_cpuid_entry *e = add(c, leaf, eax, ebx, ecx, edx);

	e->subleaf = subleaf;
	e->has_subleaf = true;
}

static void identity_of_ours(const char *brand, struct identity *out)
{
	static const u32 intel[3] = {VENDOR_INTEL_EBX, 0x49656e69, 0x6c65746e};

	memcpy(out->vendor, intel, sizeof(intel));
	out->signature = SIGNATURE;
	strncpy(out->brand, brand, sizeof(out->brand) - 1);
}

static void identity_of_host(struct identity *out)
{
	u32 r[4] = {0};

	__cpuid(0, r[0], out->vendor[0], out->vendor[2], out->vendor[1]);
	__cpuid(1, out->signature, r[1], r[2], r[3]);
	for (unsigned i = 0; i < 3; i++) {
		memset(r, 0, sizeof(r));
		__get_cpuid(LEAF_EXT + 2 + i, &r[0], &r[1], &r[2], &r[3]);
		memcpy(out->brand + 16 * i, r, sizeof(r));
	}
}

static bool is_amd(u32 vendor_ebx)
{
	return vendor_ebx == VENDOR_AMD_EBX || vendor_ebx == VENDOR_HYGON_EBX;
}

/* Bits of the APIC id that number the cores of the one package. */
static u32 core_bits(unsigned n_cpus)
{
	return n_cpus > 1 ? 32u - (u32)__builtin_clz(n_cpus - 1) : 0;
}

/* Leaf 4: kind 1 data, 2 instructions, 3 unified; sharers is a power of two. */
static void add_cache(struct x86_cpuid *c, unsigned n_cpus, u32 index, u32 kind, u32 level,
		      u32 ways, u32 size, u32 sharers)
{
	u32 cores = BIT32(core_bits(n_cpus));
	u32 eax = kind | level << 5 | BIT32(8) | (sharers - 1) << 14 | (cores - 1) << 26;
	u32 sets = size / (ways * LINE_SIZE);
	u32 inclusive = level == 3 ? BIT32(1) : 0;

	add_sub(c, 4, index, eax, (ways - 1) << 22 | (LINE_SIZE - 1), sets - 1, inclusive);
}

static void add_caches(struct x86_cpuid *c, unsigned n_cpus)
{
	add_cache(c, n_cpus, 0, 1, 1, 8, 32 * KIB, 1);
	add_cache(c, n_cpus, 1, 2, 1, 8, 32 * KIB, 1);
	add_cache(c, n_cpus, 2, 3, 2, 16, 1 * MIB, 1);
	add_cache(c, n_cpus, 3, 3, 3, 16, 16 * MIB, BIT32(core_bits(n_cpus)));
	add_sub(c, 4, 4, 0, 0, 0, 0);
}

static void add_topology(struct x86_cpuid *c, unsigned n_cpus, u32 id)
{
	add_sub(c, 0xb, 0, 0, 1, LEVEL_SMT << 8, id);
	add_sub(c, 0xb, 1, core_bits(n_cpus), n_cpus, LEVEL_CORE << 8 | 1, id);
	add_sub(c, 0xb, 2, 0, 0, 2, id);
}

static void add_xsave(struct x86_cpuid *c, const struct x86_features *f)
{
	u32 components = X86_XCR0_X87 | X86_XCR0_SSE;
	u32 size = XSAVE_MIN;

	if (!(f->leaf1_ecx & X86_1_ECX_XSAVE))
		return; /* KVM would fill in a size wherever there is an entry */
	if (f->leaf1_ecx & X86_1_ECX_AVX) {
		components |= X86_XCR0_AVX;
		size += 256;
	}
	add_sub(c, 0xd, 0, components, XSAVE_MIN, size, 0); /* ebx is dynamic */
	add_sub(c, 0xd, 1, f->leafd1_eax, 0, 0, 0);
	if (components & X86_XCR0_AVX)
		add_sub(c, 0xd, 2, 256, XSAVE_MIN, 0, 0);
}

/*
 * TSC frequency as a fraction of the crystal's (leaf 0x15): the best approximation whose numerator
 * stays below 4295, because Linux multiplies it by the crystal's kilohertz in 32 bits. By
 * continued fractions; the error is below one part in a million.
 */
static void tsc_ratio(u64 tsc_hz, u32 *out_numerator, u32 *out_denominator)
{
	u64 limit = UINT32_MAX / (APIC_BUS_HZ / 1000);
	u64 n0 = 0, d0 = 1, n1 = 1, d1 = 0;
	u64 a = tsc_hz, b = APIC_BUS_HZ;

	while (b) {
		u64 q = a / b, rest = a % b;
		u64 n2 = q * n1 + n0, d2 = q * d1 + d0;

		if (n2 > limit)
			break;
		n0 = n1, d0 = d1, n1 = n2, d1 = d2;
		a = b, b = rest;
	}
	*out_numerator = (u32)n1;
	*out_denominator = (u32)d1;
}

static void add_frequencies(struct x86_cpuid *c, u64 tsc_hz)
{
	u32 numerator, denominator;
	u32 mhz = (u32)(tsc_hz / 1000000);

	tsc_ratio(tsc_hz, &numerator, &denominator);
	add(c, 0x15, denominator, numerator, APIC_BUS_HZ, 0);
	add(c, 0x16, mhz, mhz, 100, 0);
}

static void add_basic(struct x86_cpuid *c, const struct x86_cpuid_config *config,
		      const struct identity *who, const struct x86_features *f)
{
	u32 siblings = BIT32(core_bits(config->n_cpus));
	u32 leaf1_ebx = config->id << 24 | siblings << 16 | (LINE_SIZE / 8) << 8;
	u32 ht = config->n_cpus > 1 ? X86_1_EDX_HT : 0;

	add(c, 0, LEAF_BASIC_MAX, who->vendor[0], who->vendor[2], who->vendor[1]);
	add(c, 1, who->signature, leaf1_ebx, f->leaf1_ecx, f->leaf1_edx | ht);
	add(c, 2, 0x00feff01, 0x000000f0, 0, 0); /* caches: see leaf 4; 64-byte prefetch */
	add_caches(c, config->n_cpus);
	add(c, 6, ARAT, 0, 0, 0);
	add_sub(c, 7, 0, 0, f->leaf7_ebx, f->leaf7_ecx, f->leaf7_edx);
	add_topology(c, config->n_cpus, config->id);
	add_xsave(c, f);
	add_frequencies(c, config->tsc_hz);
}

static void add_paravirtual(struct x86_cpuid *c, u64 tsc_hz)
{
	add(c, LEAF_KVM, LEAF_KVM_MAX, 0x4b4d564b, 0x564b4d56, 0x0000004d); /* "KVMKVMKVM" */
	add(c, LEAF_KVM + 1, KVM_NOP_IO_DELAY | KVM_CLOCKSOURCE2 | KVM_CLOCKSOURCE_STABLE, 0, 0, 0);
	add(c, LEAF_KVM_MAX, (u32)(tsc_hz / 1000), APIC_BUS_HZ / 1000, 0, 0);
}

/* AMD's processors tell the core count and repeat leaf 1's bits here (APM 3, E.4). */
static void add_extended_features(struct x86_cpuid *c, const struct x86_cpuid_config *config,
				  const struct identity *who, const struct x86_features *f)
{
	bool amd = is_amd(who->vendor[0]);
	u32 ecx = f->ext1_ecx | (amd && config->n_cpus > 1 ? CMP_LEGACY : 0);
	u32 edx = f->ext1_edx | (amd ? f->leaf1_edx & 0x0183f3ffu : 0);

	add(c, LEAF_EXT + 1, amd ? who->signature : 0, 0, ecx, edx);
}

static void add_extended(struct x86_cpuid *c, const struct x86_cpuid_config *config,
			 const struct identity *who, const struct x86_features *f)
{
	u32 cores = core_bits(config->n_cpus) << 12 | (config->n_cpus - 1);

	add(c, LEAF_EXT, LEAF_EXT_MAX, 0, 0, 0);
	add_extended_features(c, config, who, f);
	for (u32 i = 0; i < 3; i++) {
		const char *b = who->brand + (size_t)16 * i;

		add(c, LEAF_EXT + 2 + i, le32_load(b), le32_load(b + 4), le32_load(b + 8),
		    le32_load(b + 12));
	}
	add(c, LEAF_EXT + 6, 0, 0, 1024 << 16 | 8 << 12 | LINE_SIZE, 0); /* L2: 1 MiB, 16 ways */
	add(c, LEAF_EXT + 7, 0, 0, 0, INVARIANT_TSC);
	add(c, LEAF_EXT + 8, VIRT_BITS << 8 | f->phys_bits, f->ext8_ebx,
	    is_amd(who->vendor[0]) ? cores : 0, 0);
}

int x86_cpuid_build(const struct x86_cpuid_config *config, const struct x86_features *engine,
		    struct x86_cpuid *out, struct err *err)
{
	const struct x86_model *m = x86_model_find(config->model);
	struct x86_features f = m ? m->features : *engine;
	struct identity who = {0};
	int r;

	assert(config->n_cpus >= 1 && config->id < config->n_cpus && config->tsc_hz);
	if (!x86_cpu_model_is_known(config->model))
		return err_set(err, -EINVAL, "there is no CPU model '%s'; there are: %s",
			       config->model, x86_cpu_model_names());
	if (m) {
		r = x86_features_check(m, engine, err);
		if (r < 0)
			return r;
		identity_of_ours(m->brand, &who);
	} else {
		x86_features_pass_through(&f);
		if (engine->brand)
			identity_of_ours(engine->brand, &who);
		else
			identity_of_host(&who);
	}

	memset(out, 0, sizeof(*out));
	out->arch_capabilities = f.arch_capabilities;
	add_basic(out, config, &who, &f);
	add_paravirtual(out, config->tsc_hz);
	add_extended(out, config, &who, &f);
	return 0;
}

static const struct x86_cpuid_entry *find(const struct x86_cpuid *c, u32 leaf, u32 subleaf)
{
	for (u32 i = 0; i < c->n; i++) {
		const struct x86_cpuid_entry *e = &c->e[i];

		if (e->leaf == leaf && (!e->has_subleaf || e->subleaf == subleaf))
			return e;
	}
	return NULL;
}

/* Is leaf within the range that the first leaf of its class announces? */
static bool is_in_range(const struct x86_cpuid *c, u32 leaf)
{
	u32 class = leaf & LEAF_EXT;

	if (leaf >> 28 == LEAF_KVM >> 28)
		class = leaf & 0xffffff00u;
	const struct x86_cpuid_entry *first = find(c, class, 0);

	return first && leaf <= first->eax;
}

/* The XSAVE area's size for the components that XCR0 has on (SDM 2A, leaf 0DH). */
static u32 xsave_size(const struct x86_cpuid *c, u64 xcr0)
{
	u32 size = XSAVE_MIN;

	for (u32 i = 2; i < 63; i++) {
		const struct x86_cpuid_entry *e = xcr0 & BIT(i) ? find(c, 0xd, i) : NULL;

		if (e)
			size = MAX(size, e->ebx + e->eax);
	}
	return size;
}

static void fill_dynamic(const struct x86_cpuid *c, u32 leaf, u32 subleaf, u64 cr4, u64 xcr0,
			 u64 apic_base, u32 out[4])
{
	if (leaf == 1) {
		if (cr4 & X86_CR4_OSXSAVE)
			out[2] |= X86_1_ECX_OSXSAVE;
		if (!(apic_base & X86_APIC_BASE_ENABLE))
			out[3] &= ~X86_1_EDX_APIC;
	} else if (leaf == 0xd && (subleaf == 0 ? out[0] : subleaf == 1 && out[0] & XSAVEC)) {
		out[1] = xsave_size(c, xcr0);
	}
}

void x86_cpuid_query(const struct x86_cpuid *c, u32 leaf, u32 subleaf, u64 cr4, u64 xcr0,
		     u64 apic_base, u32 out[4])
{
	const struct x86_cpuid_entry *e = find(c, leaf, subleaf);

	memset(out, 0, 4 * sizeof(out[0]));
	if (!e && !is_in_range(c, leaf) && !is_amd(x86_cpuid_reg(c, 0, 0, 1))) {
		leaf = x86_cpuid_reg(c, 0, 0, 0);
		e = find(c, leaf, subleaf);
	}
	if (e) {
		out[0] = e->eax;
		out[1] = e->ebx;
		out[2] = e->ecx;
		out[3] = e->edx;
	} else if (leaf == 0xb) { /* no such level: its number, and the APIC id all the same */
		out[2] = subleaf & 0xff;
		out[3] = x86_cpuid_reg(c, leaf, 0, 3);
	}
	fill_dynamic(c, leaf, subleaf, cr4, xcr0, apic_base, out);
}

u32 x86_cpuid_reg(const struct x86_cpuid *c, u32 leaf, u32 subleaf, unsigned which)
{
	const struct x86_cpuid_entry *e = find(c, leaf, subleaf);

	assert(which < 4);
	if (!e)
		return 0;
	return (const u32[]){e->eax, e->ebx, e->ecx, e->edx}[which];
}

/*
 * CPU models: what CPUID says to the guest.
 *
 * A model is a versioned name: posada-base, posada-v2, posada-v3, or host. What it says depends on the model,
 * the number of vCPUs and the TSC frequency, never on the accelerator or the host (DESIGN 9.1);
 * a host or engine that can't provide a model's features refuses it by name. `host` takes what is
 * there and can't be moved: the host's processor, or an engine's own, which is of the models' vendor.
 * Pure functions.
 */
#ifndef ARCH_X86_CPUID_H
#define ARCH_X86_CPUID_H

#include "base/base.h"

struct err;

struct x86_cpuid_entry {
	u32 leaf, subleaf;
	bool has_subleaf; /* subleaf matters */
	u32 eax, ebx, ecx, edx;
};

#define X86_CPUID_MAX 80

/*
 * The table of one vCPU. Its dynamic bits (OSXSAVE, OSPKE, APIC enable, XSAVE's current size) are
 * filled in by x86_cpuid_query from the state; KVM does it itself.
 */
struct x86_cpuid {
	u64 arch_capabilities; /* what MSR 0x10a reads as, where leaf 7 announces it */
	u32 n;
	struct x86_cpuid_entry e[X86_CPUID_MAX];
};

/* What an engine can do: the registers of the leaves that carry feature bits. */
struct x86_features {
	u32 leaf1_ecx, leaf1_edx;
	u32 leaf7_ebx, leaf7_ecx, leaf7_edx;
	u32 leafd1_eax;
	u32 ext1_ecx, ext1_edx; /* 0x80000001 */
	u32 ext8_ebx;           /* 0x80000008 */
	u32 phys_bits;
	u64 arch_capabilities; /* X86_ARCH_CAP_*: what the engine promises not to leak */
	const char *brand; /* the engine's, at most 47 bytes; NULL: it is the host's processor */
};

/* IA32_ARCH_CAPABILITIES (SDM 4, table 2-2), as far as models claim them. */
#define X86_ARCH_CAP_RDCL_NO        BIT(0) /* no Meltdown, no L1TF */
#define X86_ARCH_CAP_SKIP_L1DFL     BIT(3) /* no L1D flush needed before running a nested guest */
#define X86_ARCH_CAP_MDS_NO         BIT(5)
#define X86_ARCH_CAP_PSCHANGE_MC_NO BIT(6) /* no machine check when a page's size changes */

struct x86_cpuid_config {
	const char *model; /* "posada-v2", "posada-v3", "host" */
	unsigned n_cpus;
	unsigned id; /* the vCPU's x2APIC id */
	u64 tsc_hz;
};

/* What a named model asks of an engine; not for "host". soft offers exactly that of its best. */
void x86_features_of_model(const char *model, struct x86_features *out);

bool x86_cpu_model_is_known(const char *model);
const char *x86_cpu_model_names(void); /* for messages: "posada-base, posada-v2, ..." */

/*
 * -ENOTSUP, naming a feature, when the model needs what the engine hasn't. The paravirtual leaves
 * (0x40000000: KVM's signature, kvmclock, frequencies) are the same everywhere.
 */
int x86_cpuid_build(const struct x86_cpuid_config *config, const struct x86_features *engine,
		    struct x86_cpuid *out, struct err *err);

/* What this host's CPUID instruction says, of what we ever pass through. */
void x86_features_of_host(struct x86_features *out);

/* Executes CPUID as the guest sees it: beyond the last leaf, the highest basic leaf's values
 * (SDM 2A, CPUID). cr4, xcr0, apic_base give the dynamic bits. */
void x86_cpuid_query(const struct x86_cpuid *c, u32 leaf, u32 subleaf, u64 cr4, u64 xcr0,
		     u64 apic_base, u32 out[4]);
/* A feature register of the table, by leaf (0 when absent): which of eax, ebx, ecx, edx is 0..3. */
u32 x86_cpuid_reg(const struct x86_cpuid *c, u32 leaf, u32 subleaf, unsigned which);

#endif

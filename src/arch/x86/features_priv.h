/*
 * What cpuid.c and features.c share: the models' table and the feature words.
 */
#ifndef ARCH_X86_FEATURES_PRIV_H
#define ARCH_X86_FEATURES_PRIV_H

#include "arch/x86/cpuid.h"

#define X86_FEATURE_WORDS 9
#define X86_MODEL_HOST    "host"

/* Bits that are looked at by themselves. */
#define X86_1_ECX_XSAVE      BIT32(26)
#define X86_1_ECX_OSXSAVE    BIT32(27)
#define X86_1_ECX_AVX        BIT32(28)
#define X86_1_ECX_HYPERVISOR BIT32(31)
#define X86_1_EDX_APIC       BIT32(9)
#define X86_1_EDX_HT         BIT32(28)

struct x86_feature_word {
	size_t offset; /* in struct x86_features */
	const char *const *names;
};

struct x86_model {
	const char *name;  /* NULL ends the table */
	const char *brand; /* leaves 0x80000002 to 4: at most 47 bytes */
	struct x86_features features;
};

extern const struct x86_model x86_models[];

const struct x86_model *x86_model_find(const char *name); /* NULL: no such model, or "host" */

/* Has the engine all that the model needs? -ENOTSUP and a sentence that names what is missing. */
int x86_features_check(const struct x86_model *m, const struct x86_features *engine,
		       struct err *err);

/* Keeps what may reach a guest: what our state covers, with nothing that hangs in the air. */
void x86_features_pass_through(struct x86_features *f);

#endif

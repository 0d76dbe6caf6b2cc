/*
 * Which instructions a CPU has: from its CPUID table to the decoder's feature mask.
 */
#include "accel/soft/isa.h"

#include "arch/x86/cpuid.h"

/* Where CPUID says what (SDM 2A, CPUID): which is 0..3 for EAX, EBX, ECX, EDX. */
static const struct {
	u32 leaf, subleaf;
	u8 which, bit;
	u8 feature;
} isa_cpuid_bits[] = {
	{1, 0, 3, 0, SX_F_FPU},
	{1, 0, 3, 4, SX_F_TSC},
	{1, 0, 3, 5, SX_F_MSR},
	{1, 0, 3, 8, SX_F_CX8},
	{1, 0, 3, 11, SX_F_SEP},
	{1, 0, 3, 15, SX_F_CMOV},
	{1, 0, 3, 19, SX_F_CLFSH},
	{1, 0, 3, 23, SX_F_MMX},
	{1, 0, 3, 24, SX_F_FXSR},
	{1, 0, 3, 25, SX_F_SSE},
	{1, 0, 3, 26, SX_F_SSE2},
	{1, 0, 2, 0, SX_F_SSE3},
	{1, 0, 2, 1, SX_F_PCLMUL},
	{1, 0, 2, 3, SX_F_MONITOR},
	{1, 0, 2, 5, SX_F_VMX},
	{1, 0, 2, 9, SX_F_SSSE3},
	{1, 0, 2, 13, SX_F_CX16},
	{1, 0, 2, 19, SX_F_SSE41},
	{1, 0, 2, 20, SX_F_SSE42},
	{1, 0, 2, 22, SX_F_MOVBE},
	{1, 0, 2, 23, SX_F_POPCNT},
	{1, 0, 2, 25, SX_F_AES},
	{1, 0, 2, 26, SX_F_XSAVE},
	{1, 0, 2, 30, SX_F_RDRAND},
	{7, 0, 1, 0, SX_F_FSGSBASE},
	{7, 0, 1, 3, SX_F_BMI1},
	{7, 0, 1, 10, SX_F_INVPCID},
	{7, 0, 1, 18, SX_F_RDSEED},
	{7, 0, 1, 19, SX_F_ADX},
	{7, 0, 1, 20, SX_F_SMAP},
	{7, 0, 1, 23, SX_F_CLFLUSHOPT},
	{7, 0, 1, 24, SX_F_CLWB},
	{7, 0, 1, 29, SX_F_SHA},
	{7, 0, 2, 3, SX_F_PKU},
	{7, 0, 2, 22, SX_F_RDPID},
	{7, 0, 3, 14, SX_F_SERIALIZE},
	{0xd, 1, 0, 0, SX_F_XSAVEOPT},
	{0xd, 1, 0, 1, SX_F_XSAVEC},
	{0xd, 1, 0, 2, SX_F_XGETBV1},
	{0xd, 1, 0, 3, SX_F_XSAVES},
	{1, 0, 2, 12, SX_F_FMA},
	{1, 0, 2, 28, SX_F_AVX},
	{1, 0, 2, 29, SX_F_F16C},
	{7, 0, 1, 5, SX_F_AVX2},
	{7, 0, 1, 8, SX_F_BMI2},
	{0x80000001, 0, 2, 0, SX_F_LAHF64},
	{0x80000001, 0, 2, 2, SX_F_SVM},
	{0x80000001, 0, 2, 5, SX_F_LZCNT},
	{0x80000001, 0, 3, 11, SX_F_SYSCALL},
	{0x80000001, 0, 3, 27, SX_F_RDTSCP},
	{0x80000008, 0, 1, 9, SX_F_WBNOINVD},
};

u64 sx_features_from_cpuid(const struct x86_cpuid *cpuid)
{
	u64 features = BIT(SX_F_BASE);

	for (unsigned i = 0; i < ARRAY_SIZE(isa_cpuid_bits); i++) {
		u32 reg = x86_cpuid_reg(cpuid, isa_cpuid_bits[i].leaf, isa_cpuid_bits[i].subleaf,
					isa_cpuid_bits[i].which);

		if (reg & BIT32(isa_cpuid_bits[i].bit))
			features |= BIT(isa_cpuid_bits[i].feature);
	}
	if (features & BIT(SX_F_AVX) && features & BIT(SX_F_AES))
		features |= BIT(SX_F_AVX_AES);
	if (features & BIT(SX_F_AVX) && features & BIT(SX_F_PCLMUL))
		features |= BIT(SX_F_AVX_PCLMUL);
	return features;
}

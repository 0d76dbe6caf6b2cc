/*
 * Memory types as a PC's firmware leaves them (SDM 3A, 11.11): everything write-back, but VGA's
 * window and the hole below 4 GiB uncached, option ROMs write-protected. Without this Linux takes
 * MTRRs for disabled, and the PAT with them.
 */
#include "arch/x86/cpu_state.h"
#include "boot/boot.h"

#define MTRR_UC     0x00
#define MTRR_WP     0x05
#define MTRR_WB     0x06
#define MTRR_ENABLE BIT(11)
#define MTRR_FIXED  BIT(10)
#define MTRR_VALID  BIT(11) /* in a mask */
#define MTRR_ALL(t) ((u64)(t)*0x0101010101010101)
#define MTRR_64K_0  0 /* 0 to 0x7ffff */
#define MTRR_16K_8  1 /* 0x80000 to 0x9ffff */
#define MTRR_16K_A  2 /* 0xa0000 to 0xbffff */
#define MTRR_4K_C0  3 /* eight of them from 0xc0000 on */

/* Covers [start, 4 GiB) with naturally aligned powers of two, the smallest first. */
static void mtrr_set_hole(struct x86_cpu_state *s, u64 start, unsigned phys_bits)
{
	const u64 phys_mask = BIT(phys_bits) - 1;
	unsigned i = 0;

	while (start < 4 * GIB) {
		u64 size = start & -start;

		assert(i < X86_MTRR_VARIABLE);
		s->mtrr_base[i] = start | MTRR_UC;
		s->mtrr_mask[i] = (~(size - 1) & phys_mask) | MTRR_VALID;
		start += size;
		i++;
	}
}

void boot_set_memory_types(struct x86_cpu_state *s, u64 hole_start, unsigned phys_bits)
{
	assert(hole_start && is_aligned(hole_start, PAGE_SIZE) && phys_bits >= 36 &&
	       phys_bits <= 52);
	s->mtrr_def_type = MTRR_ENABLE | MTRR_FIXED | MTRR_WB;
	s->mtrr_fixed[MTRR_64K_0] = MTRR_ALL(MTRR_WB);
	s->mtrr_fixed[MTRR_16K_8] = MTRR_ALL(MTRR_WB);
	s->mtrr_fixed[MTRR_16K_A] = MTRR_ALL(MTRR_UC);
	for (unsigned i = MTRR_4K_C0; i < ARRAY_SIZE(s->mtrr_fixed); i++)
		s->mtrr_fixed[i] = MTRR_ALL(MTRR_WP);
	mtrr_set_hole(s, hole_start, phys_bits);
}

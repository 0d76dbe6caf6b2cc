/*
 * Page-table walks (SDM 3A, chapter 4).
 */
#ifndef ACCEL_SOFT_MMU_H
#define ACCEL_SOFT_MMU_H

#include "accel/soft/cpu.h"

enum sx_access {
	SX_READ,
	SX_WRITE,
	SX_EXEC,
};

/* Where a linear address leads, and what is allowed there. */
struct sx_walk {
	gpa_t page;       /* of the 4 KiB page, or of the 4 KiB piece of a large one */
	bool is_writable; /* for the access's privilege, D set already */
	bool is_global;
	u8 leaf_bits; /* log2 of the page's size in the guest's tables */
};

/*
 * Translates lin for an access out of one of the TLB's sets, and sets accessed and dirty bits.
 * Returns -1, or the page fault's error code.
 */
int sx_mmu_walk(struct sx_cpu *c, u64 lin, enum sx_access access, enum sx_tlb_set set,
		struct sx_walk *out) must_check;

/* Host memory of a guest-physical page, or NULL: not RAM or ROM. */
u8 *sx_phys_page(struct sx_cpu *c, gpa_t page, const struct gmem_range **out_range);
/* Reads 1 to 8 bytes that lie in one page: all ones where no memory is. */
u64 sx_phys_read(struct sx_cpu *c, gpa_t gpa, unsigned size);
/* A write to guest memory that does not go through the TLB: dirty log and code words. */
void sx_phys_written(struct sx_cpu *c, const struct gmem_range *r, gpa_t gpa);

/* MOV CR3, CR0 or CR4 in PAE mode: loads the PDPTEs; false: #GP (SDM 3A, 4.4.1). */
bool sx_mmu_load_pdptes(struct sx_cpu *c, u64 cr3) must_check;
/* After CR0, CR4, EFER or CPUID changed: what the walks depend on. */
void sx_mmu_update(struct sx_cpu *c);

static inline bool sx_is_canonical(u64 lin)
{
	return (u64)((i64)(lin << 16) >> 16) == lin;
}

#endif

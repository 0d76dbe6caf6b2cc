/*
 * The board's memory: one block of RAM, shown to the guest in pieces.
 *
 * Below 1 MiB the map follows the host bridge's PAM registers (Intel 3 Series datasheet, 5.1.20):
 * thirteen segments from 0xc0000, each unmapped, readable, or readable and writable RAM. A segment
 * that is write-only or that forwards to firmware shows nothing, since there is no firmware.
 */
#include "base/err.h"
#include "machine/machine_priv.h"
#include "mem/gmem.h"
#include "pci/pci.h"
#include "pci/q35.h"

static void pc_split_memory(struct machine *m)
{
	u64 size = m->config->memory;

	m->low_size = size <= PC_LOW_MAX ? size : PC_LOW_SPLIT;
	m->high_size = size - m->low_size;
}

int pc_build_memory(struct machine *m, struct err *err)
{
	enum gmem_backing backing = m->is_soft ? GMEM_MEMFD : GMEM_ANON;

	pc_split_memory(m);
	boot_memmap_init(&m->memmap, m->low_size, m->high_size);
	boot_memmap_set(&m->memmap, PC_ECAM_GPA, PC_ECAM_SIZE, BOOT_MEM_RESERVED);
	if (gmem_block_new(vm_gmem(m->vm), "ram", backing, m->config->memory, -1, &m->ram, err) < 0)
		return err_wrap(err, "guest memory");
	return 0;
}

/* Adds [gpa, gpa + size), whose RAM begins at offset, to the map being made; joins neighbours. */
static void pc_add_range(struct gmem_range *ranges, u32 *n, struct machine *m, gpa_t gpa, u64 size,
			 u64 offset, bool is_readonly)
{
	struct gmem_range *last = *n ? &ranges[*n - 1] : NULL;

	if (last && last->gpa + last->size == gpa && last->offset + last->size == offset &&
	    last->is_readonly == is_readonly) {
		last->size += size;
		return;
	}
	ranges[(*n)++] = (struct gmem_range){gpa, size, m->ram, offset, is_readonly};
}

void pc_update_map(struct machine *m)
{
	struct gmem_range ranges[Q35_PAM_SEGMENTS + 3];
	u32 n = 0;

	if (m->is_map_held)
		return;
	pc_add_range(ranges, &n, m, 0, PC_VGA_GPA, 0, false);
	for (unsigned i = 0; i < Q35_PAM_SEGMENTS; i++) {
		struct q35_pam pam = q35_pam_segment(m->host_bridge, i);

		if (pam.is_readable)
			pc_add_range(ranges, &n, m, pam.gpa, pam.size, pam.gpa, !pam.is_writable);
	}
	pc_add_range(ranges, &n, m, PC_PAM_END, m->low_size - PC_PAM_END, PC_PAM_END, false);
	if (m->high_size)
		pc_add_range(ranges, &n, m, PC_HIGH_GPA, m->high_size, m->low_size, false);
	gmem_set_map(vm_gmem(m->vm), ranges, n);
}

/* KVM takes milliseconds to change a slot: one change, not one for each register. */
void pc_open_memory(struct machine *m)
{
	m->is_map_held = true;
	q35_open_pam(m->host_bridge);
	m->is_map_held = false;
	pc_update_map(m);
}

gpa_t pc_mmio64_base(const struct machine *m)
{
	return align_up(PC_HIGH_GPA + m->high_size, PC_MMIO64_SIZE);
}

gpa_t pc_memory_end(const struct machine *m)
{
	return pc_mmio64_base(m) + PC_MMIO64_SIZE;
}

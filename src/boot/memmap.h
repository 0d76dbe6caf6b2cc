/*
 * The map of guest memory that a kernel is told (the PC's "E820" map), and finding room in it.
 *
 * The board makes one from its RAM layout, marks what it reserves (PCIEXBAR, ACPI tables), and
 * hands it to whoever needs it: the kernel loaders, fw_cfg. Entries are sorted, never overlap, and
 * neighbours of one type are merged. Plain data, no threads.
 */
#ifndef BOOT_MEMMAP_H
#define BOOT_MEMMAP_H

#include "base/base.h"

#define BOOT_MEMMAP_MAX 64

/* Address range types (ACPI 6.4, table 15.374). */
enum boot_mem_type {
	BOOT_MEM_RAM = 1,
	BOOT_MEM_RESERVED = 2,
	BOOT_MEM_ACPI = 3, /* tables: RAM once the guest has read them */
	BOOT_MEM_NVS = 4,
};

struct boot_mem {
	gpa_t gpa;
	u64 size; /* bytes */
	enum boot_mem_type type;
};

struct boot_memmap {
	u32 n;
	struct boot_mem e[BOOT_MEMMAP_MAX];
};

#define BOOT_EBDA_GPA     ((gpa_t)0x9fc00) /* the extended BIOS data area: the last KiB below VGA */
#define BOOT_VGA_GPA      ((gpa_t)0xa0000)
#define BOOT_ROM_GPA      ((gpa_t)0xe0000) /* where RSDP and SMBIOS are looked for */
#define BOOT_HIGH_GPA     MIB
#define BOOT_ABOVE_4G_GPA (4 * GIB)

/* A PC with low_size bytes of RAM from 0 (legacy holes included) and high_size from 4 GiB. */
void boot_memmap_init(struct boot_memmap *m, u64 low_size, u64 high_size);

/* From now on the range has this type, whatever it was. The caller knows that the map has room. */
void boot_memmap_set(struct boot_memmap *m, gpa_t gpa, u64 size, enum boot_mem_type type);

/* Is the whole range RAM? */
bool boot_memmap_is_ram(const struct boot_memmap *m, gpa_t gpa, u64 size);

/*
 * RAM of size bytes (not 0) within [min, max), aligned to a power of two: the lowest place, or the
 * highest. False when there is none.
 */
bool boot_memmap_find_low(const struct boot_memmap *m, u64 size, u64 align, gpa_t min, gpa_t max,
			  gpa_t *out);
bool boot_memmap_find_high(const struct boot_memmap *m, u64 size, u64 align, gpa_t min, gpa_t max,
			   gpa_t *out);

/* The largest contiguous piece of RAM within [min, max), in bytes: for messages. */
u64 boot_memmap_largest(const struct boot_memmap *m, gpa_t min, gpa_t max);
u64 boot_memmap_ram_bytes(const struct boot_memmap *m);

#endif

/*
 * SMBIOS 3 tables: what dmidecode, inventory and virtualization detection read (DMTF DSP0134 3.4).
 *
 * The 64-bit entry point goes first into the area, the structures behind it. Any thread that is
 * attached to the guest's memory.
 */
#ifndef BOOT_SMBIOS_H
#define BOOT_SMBIOS_H

#include "base/base.h"

struct err;
struct gmem;

#define SMBIOS_GPA       ((gpa_t)0xf0000) /* where guests begin to look for the entry point */
#define SMBIOS_AREA_SIZE (16 * KIB)

/* Strings: NULL or "" leave the field unset. */
struct smbios_config {
	const char *manufacturer; /* "posada" */
	const char *product;      /* "Virtual Machine" */
	const char *version;      /* of the board: "pc-1" */
	const char *serial;
	u8 uuid[16]; /* in the order of its text */
	const char *firmware_version;
	const char *cpu_name;
	u32 n_cpus;
	u64 low_size, high_size; /* RAM from 0 and from 4 GiB, in bytes */
};

/* area is aligned to 16, RAM or ROM of the guest, of SMBIOS_AREA_SIZE bytes. */
int smbios_write(const struct smbios_config *c, struct gmem *g, gpa_t area, struct err *err);

#endif

/*
 * A small guest to load kernels into: RAM at 0, files made of bytes.
 */
#ifndef TESTS_UNIT_BOOT_FIXTURE_H
#define TESTS_UNIT_BOOT_FIXTURE_H

#include "arch/x86/cpu_state.h"
#include "base/base.h"
#include "base/err.h"
#include "boot/boot.h"
#include "boot/memmap.h"
#include "mem/gmem.h"

#define GUEST_RAM  (64 * MIB)
#define GUEST_HIGH (16 * MIB) /* from 4 GiB, where a guest has it */
#define GUEST_RSDP ((gpa_t)0xe0000)

struct guest {
	struct epoch *epoch;
	struct gmem *gmem;
	struct boot_memmap memmap;
	struct boot_config config; /* of the next load; the files are closed by guest_free */
	struct boot_module modules[4];
	struct x86_cpu_state cpu;
	struct boot_info info;
	struct err err;
};

struct guest *guest_new(bool has_high_memory);
void guest_free(struct guest *t);

/* A memfd that holds these bytes. */
int guest_file(const void *data, size_t size);
void guest_set_kernel(struct guest *t, const void *data, size_t size);
void guest_add_module(struct guest *t, const void *data, size_t size, const char *string);
int guest_load(struct guest *t);

/* Guest memory; the read fails the test where there is none. */
void guest_read(struct guest *t, gpa_t gpa, void *buf, size_t size);
u32 guest_u32(struct guest *t, gpa_t gpa);
u64 guest_u64(struct guest *t, gpa_t gpa);
const char *guest_string(struct guest *t, gpa_t gpa); /* until the next call */

#endif

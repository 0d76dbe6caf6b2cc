/*
 * Starting a kernel without firmware: load it, its initrd and its command line into guest memory,
 * and set the boot processor up at its entry.
 *
 * What a file is, is found out from its content: a Linux bzImage, an ELF kernel with a PVH entry, a
 * Linux vmlinux, or a multiboot kernel. All of it is checked before it is used; every refusal is a
 * sentence. Files are read with pread, so that the same descriptors serve again at each reset of
 * the guest. Any thread that is attached to the guest's memory; the guest doesn't run meanwhile.
 */
#ifndef BOOT_BOOT_H
#define BOOT_BOOT_H

#include "base/base.h"

struct boot_memmap;
struct err;
struct gmem;
struct x86_cpu_state;

struct boot_file {
	int fd;           /* borrowed; a regular file or a block device */
	const char *name; /* for messages, and the first word of a multiboot command line */
};

struct boot_module {
	struct boot_file file;
	const char *string; /* what a multiboot kernel is told of it; NULL: the file's name */
};

#define BOOT_MODULES_MAX 32

struct boot_config {
	struct boot_file kernel;
	const struct boot_module *modules; /* Linux: none or one, the initrd */
	u32 n_modules;
	const char *cmdline; /* NULL: empty */
	const struct boot_memmap *memmap;
	gpa_t rsdp; /* where the ACPI tables begin; 0: no ACPI */
};

enum boot_protocol {
	BOOT_LINUX_BZIMAGE, /* Linux, Documentation/arch/x86/boot.rst, 64-bit entry */
	BOOT_LINUX_ELF,     /* the same entry, of a vmlinux */
	BOOT_PVH,           /* Xen, docs/misc/pvh.pandoc */
	BOOT_MULTIBOOT,     /* Multiboot Specification 0.6.96 */
};

struct boot_info {
	enum boot_protocol protocol;
	gpa_t kernel_gpa; /* where it lies, and how much of memory it asks for */
	u64 kernel_size;
	gpa_t entry;
	gpa_t initrd_gpa; /* of the first module; 0 without one */
	u64 initrd_size;
};

/*
 * Writes bsp (all of it) and out on success only; guest memory may be partly written on failure.
 * -ENOEXEC: not a kernel that we can start; -EINVAL: a damaged one; -ENOSPC: not enough memory;
 * -E2BIG: the command line is too long.
 */
int boot_load(const struct boot_config *c, struct gmem *g, struct x86_cpu_state *bsp,
	      struct boot_info *out, struct err *err);

/*
 * What else a firmware would have left in every processor, the application processors too: memory
 * types. [hole_start, 4 GiB) is uncached: where PCI begins, a multiple of 2 MiB at least.
 */
void boot_set_memory_types(struct x86_cpu_state *s, u64 hole_start, unsigned phys_bits);

const char *boot_protocol_name(enum boot_protocol p); /* for messages */

#endif

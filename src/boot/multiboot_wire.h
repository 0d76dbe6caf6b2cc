/*
 * Multiboot Specification, version 0.6.96: the kernel's header and what it is handed. Facts only.
 */
#ifndef BOOT_MULTIBOOT_WIRE_H
#define BOOT_MULTIBOOT_WIRE_H

#include "base/base.h"
#include "base/bytes.h"

#define MB_HEADER_MAGIC  0x1badb002
#define MB_LOADER_MAGIC  0x2badb002 /* in EAX at entry */
#define MB_HEADER_SEARCH 8192       /* it lies whole within these bytes, on a multiple of 4 */
#define MB_HEADER_ALIGN  4

/* Header flags: the low half are requirements, to be refused when not understood. */
#define MB_WANTS_ALIGNED_MODULES BIT32(0)
#define MB_WANTS_MEMORY          BIT32(1)
#define MB_WANTS_VIDEO           BIT32(2)
#define MB_WANTS_MASK            0xffffu
#define MB_HAS_ADDRESSES         BIT32(16)

struct mb_header_wire {
	le32 magic;
	le32 flags;
	le32 checksum;
	/* With MB_HAS_ADDRESSES; else the file is an ELF one. */
	le32 header_addr;
	le32 load_addr;
	le32 load_end_addr;
	le32 bss_end_addr;
	le32 entry_addr;
};
static_assert(sizeof(struct mb_header_wire) == 32, "multiboot 3.1");
#define MB_HEADER_SHORT 12 /* bytes that every header has */

/* Information flags: which fields are valid. */
#define MB_INFO_MEMORY  BIT32(0)
#define MB_INFO_CMDLINE BIT32(2)
#define MB_INFO_MODULES BIT32(3)
#define MB_INFO_MMAP    BIT32(6)
#define MB_INFO_LOADER  BIT32(9)

struct mb_info_wire {
	le32 flags;
	le32 mem_lower; /* KiB from 0 */
	le32 mem_upper; /* KiB from 1 MiB to the first hole */
	le32 boot_device;
	le32 cmdline;
	le32 mods_count;
	le32 mods_addr;
	le32 syms[4];
	le32 mmap_length; /* bytes */
	le32 mmap_addr;
	le32 drives_length;
	le32 drives_addr;
	le32 config_table;
	le32 boot_loader_name;
	le32 apm_table;
	u8 video[44];
};
static_assert(sizeof(struct mb_info_wire) == 116, "multiboot 3.3");

struct mb_module_wire {
	le32 start;
	le32 end; /* one past its last byte */
	le32 string;
	le32 reserved;
};
static_assert(sizeof(struct mb_module_wire) == 16, "multiboot 3.3");

struct mb_mmap_wire {
	le32 size; /* of the rest */
	le64 addr;
	le64 length;
	le32 type; /* as in E820 */
};
static_assert(sizeof(struct mb_mmap_wire) == 24, "multiboot 3.3");

#endif

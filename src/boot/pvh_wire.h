/*
 * What a PVH kernel is handed (Xen, docs/misc/pvh.pandoc and
 * xen/include/public/arch-x86/hvm/start_info.h, version 1). Facts only.
 */
#ifndef BOOT_PVH_WIRE_H
#define BOOT_PVH_WIRE_H

#include "base/base.h"
#include "base/bytes.h"

#define PVH_MAGIC   0x336ec578
#define PVH_VERSION 1

struct pvh_start_info_wire {
	le32 magic;
	le32 version;
	le32 flags;
	le32 nr_modules;
	le64 modlist_paddr;
	le64 cmdline_paddr;
	le64 rsdp_paddr;
	le64 memmap_paddr;
	le32 memmap_entries;
	le32 reserved;
};
static_assert(sizeof(struct pvh_start_info_wire) == 56, "start_info.h");

struct pvh_module_wire {
	le64 paddr;
	le64 size;
	le64 cmdline_paddr;
	le64 reserved;
};
static_assert(sizeof(struct pvh_module_wire) == 32, "start_info.h");

/* Types as in E820. */
struct pvh_memmap_wire {
	le64 addr;
	le64 size;
	le32 type;
	le32 reserved;
};
static_assert(sizeof(struct pvh_memmap_wire) == 24, "start_info.h");

#endif

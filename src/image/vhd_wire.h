/*
 * VHD's structures (Microsoft, "Virtual Hard Disk Image Format Specification", 2006). Big-endian.
 */
#ifndef IMAGE_VHD_WIRE_H
#define IMAGE_VHD_WIRE_H

#include "base/bytes.h"

#define VHD_COOKIE           "conectix"
#define VHD_VERSION          0x00010000u
#define VHD_FEATURE_RESERVED 2u /* always set */
#define VHD_NO_OFFSET        (~(u64)0)
#define VHD_EPOCH            946684800u /* 2000-01-01 UTC, in Unix time */

enum {
	VHD_FIXED = 2,
	VHD_DYNAMIC = 3,
	VHD_DIFFERENCING = 4,
};

struct vhd_footer_wire {
	char cookie[8];
	be32 features, version;
	be64 data_offset; /* of the dynamic header */
	be32 timestamp;
	char creator[4];
	be32 creator_version;
	char creator_os[4];
	be64 original_size, size;
	be16 cylinders;
	u8 heads, sectors;
	be32 type, checksum;
	u8 id[16];
	u8 is_saved;
	u8 pad[427];
};
static_assert(sizeof(struct vhd_footer_wire) == 512, "VHD footer");
static_assert(offsetof(struct vhd_footer_wire, checksum) == 64, "VHD footer");

#define VHD_HEADER_COOKIE "cxsparse"
#define VHD_LOCATORS      8

/* Platform codes of locators whose data are UTF-16LE paths: relative, absolute. */
#define VHD_LOCATOR_W2RU 0x57327275u
#define VHD_LOCATOR_W2KU 0x57326b75u

struct vhd_locator_wire {
	be32 code;
	be32 space,
		length; /* bytes (the specification says sectors of space; what exists has bytes) */
	be32 reserved;
	be64 offset;
};

struct vhd_header_wire {
	char cookie[8];
	be64 data_offset; /* none */
	be64 table_offset;
	be32 version, n_entries, block_size, checksum;
	u8 parent_id[16];
	be32 parent_timestamp, reserved;
	be16 parent_name[256];
	struct vhd_locator_wire locators[VHD_LOCATORS];
	u8 pad[256];
};
static_assert(sizeof(struct vhd_header_wire) == 1024, "VHD dynamic header");
static_assert(offsetof(struct vhd_header_wire, locators) == 576, "VHD dynamic header");

#define VHD_UNUSED                                                                                 \
	0xffffffffu /* an entry of the block table; else the sector of the block's bitmap */

#endif

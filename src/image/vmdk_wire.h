/*
 * VMDK's structures (VMware, "Virtual Disk Format 5.0", hosted sparse extents and stream-optimized ones).
 * Little-endian; a sector is 512 bytes.
 */
#ifndef IMAGE_VMDK_WIRE_H
#define IMAGE_VMDK_WIRE_H

#include "base/bytes.h"

#define VMDK_MAGIC         0x564d444bu
#define VMDK_GD_AT_END     (~(u64)0)
#define VMDK_DEFLATE       1
#define VMDK_GTES          512u /* entries of a grain table */
#define VMDK_GRAIN_SECTORS 128u /* by default */

enum {
	VMDK_FLAG_NEWLINE = 1 << 0, /* the newline characters are valid */
	VMDK_FLAG_REDUNDANT = 1 << 1,
	VMDK_FLAG_ZEROED = 1 << 2, /* a table entry of 1: the grain is all zeros */
	VMDK_FLAG_COMPRESSED = 1 << 16,
	VMDK_FLAG_MARKERS = 1 << 17,
};

struct vmdk_header_wire {
	le32 magic, version, flags;
	le64 capacity, grain_size, descriptor_offset, descriptor_size; /* sectors */
	le32 n_gtes;
	le64 rgd_offset, gd_offset, overhead;
	u8 is_unclean;
	char newlines[4];
	le16 compression;
	u8 pad[433];
} packed;
static_assert(sizeof(struct vmdk_header_wire) == 512, "VMDK header");
static_assert(offsetof(struct vmdk_header_wire, newlines) == 73, "VMDK header");

/* Before a compressed grain's data; with bytes == 0, a marker of `type`, value sectors long. */
struct vmdk_marker_wire {
	le64 value; /* the grain's sector of the disk */
	le32 bytes;
	le32 type;
};
#define VMDK_GRAIN_HEADER 12u /* a grain's data begin where a marker's type is */

enum {
	VMDK_MARKER_EOS = 0,
	VMDK_MARKER_GT = 1,
	VMDK_MARKER_GD = 2,
	VMDK_MARKER_FOOTER = 3,
};

#endif

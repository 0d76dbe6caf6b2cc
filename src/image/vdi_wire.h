/*
 * The header of a VDI file, version 1.1 (VirtualBox, src/VBox/Storage/VDICore.h). Little-endian.
 */
#ifndef IMAGE_VDI_WIRE_H
#define IMAGE_VDI_WIRE_H

#include "base/bytes.h"

#define VDI_SIGNATURE    0xbeda107fu
#define VDI_VERSION      0x00010001u
#define VDI_HEADER_BYTES 0x190u /* what header_size says, from there on */

enum {
	VDI_DYNAMIC = 1,
	VDI_FIXED = 2,
	VDI_UNDO = 3,
	VDI_DIFFERENCING = 4,
};

/* An entry of the block map: the block's number in the data area, or */
#define VDI_BLOCK_FREE 0xffffffffu
#define VDI_BLOCK_ZERO 0xfffffffeu

struct vdi_header_wire {
	char text[64];
	le32 signature, version, header_size, image_type, image_flags;
	char description[256];
	le32 offset_map, offset_data, cylinders, heads, sectors, sector_size, unused1;
	le64 disk_size;
	le32 block_size, block_extra, n_blocks, n_allocated;
	u8 id[16], id_last_snapshot[16], id_link[16], id_parent[16];
	u8 pad[56];
};
static_assert(sizeof(struct vdi_header_wire) == 512, "VDI header");
static_assert(offsetof(struct vdi_header_wire, offset_map) == 0x154, "VDI header");
static_assert(offsetof(struct vdi_header_wire, disk_size) == 0x170, "VDI header");
static_assert(offsetof(struct vdi_header_wire, id) == 0x188, "VDI header");

#endif

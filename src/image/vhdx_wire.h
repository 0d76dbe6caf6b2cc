/*
 * VHDX's structures ([MS-VHDX], chapter 2). Little-endian.
 */
#ifndef IMAGE_VHDX_WIRE_H
#define IMAGE_VHDX_WIRE_H

#include "base/bytes.h"

#define VHDX_HEADER_AT(i)  (((i) + 1) * 64 * KIB) /* 0, 1 */
#define VHDX_REGIONS_AT(i) (((i) + 3) * 64 * KIB)
#define VHDX_TABLE_BYTES   (64 * KIB) /* of regions, and of metadata */
#define VHDX_ALIGN         (1 * MIB)
#define VHDX_LOG_SECTOR    4096u

struct vhdx_file_id_wire {
	char signature[8]; /* vhdxfile */
	le16 creator[256];
};

struct vhdx_header_wire {
	char signature[4]; /* head */
	le32 checksum;
	le64 sequence;
	u8 file_write_id[16], data_write_id[16], log_id[16];
	le16 log_version, version;
	le32 log_bytes;
	le64 log_offset;
	u8 pad[4016];
};
static_assert(sizeof(struct vhdx_header_wire) == 4096, "VHDX header");

struct vhdx_table_head_wire {
	char signature[4]; /* regi */
	le32 checksum, n_entries, reserved;
};

struct vhdx_region_wire {
	u8 id[16];
	le64 offset;
	le32 bytes, is_required;
};

struct vhdx_metadata_head_wire {
	char signature[8]; /* metadata */
	u8 reserved[2];
	le16 n_entries;
	u8 pad[20];
};
#define VHDX_ENTRIES_MAX 2047u

struct vhdx_metadata_wire {
	u8 id[16];
	le32 offset, bytes, flags, reserved;
};
enum {
	VHDX_META_USER = 1 << 0,
	VHDX_META_DISK = 1 << 1,
	VHDX_META_REQUIRED = 1 << 2,
};

struct vhdx_parameters_wire {
	le32 block_bytes, flags;
};
enum {
	VHDX_PARAM_FIXED = 1 << 0, /* leave blocks allocated */
	VHDX_PARAM_HAS_PARENT = 1 << 1,
};

struct vhdx_locator_wire {
	u8 type[16];
	le16 reserved, n_entries;
};
struct vhdx_locator_entry_wire {
	le32 key_offset, value_offset;
	le16 key_bytes, value_bytes;
};

/* An entry of the block table: its state, and the place in MiB. */
#define VHDX_STATE(entry) ((entry)&7)
#define VHDX_PLACE(entry) ((entry) & ~(VHDX_ALIGN - 1))
enum {
	VHDX_NOT_PRESENT = 0,
	VHDX_UNDEFINED = 1,
	VHDX_ZERO = 2,
	VHDX_UNMAPPED = 3,
	VHDX_PRESENT = 6,
	VHDX_PARTLY = 7,
};

struct vhdx_log_entry_wire {
	char signature[4]; /* loge */
	le32 checksum, bytes, tail;
	le64 sequence;
	le32 n_descriptors, reserved;
	u8 log_id[16];
	le64 flushed_file_bytes, last_file_bytes;
};
static_assert(sizeof(struct vhdx_log_entry_wire) == 64, "VHDX log entry");

struct vhdx_descriptor_wire {
	char signature[4]; /* desc, zero */
	le32 trailing;     /* desc: the last bytes of what the data sector has the middle of */
	le64 leading;      /* desc: its first ones; zero: how many bytes */
	le64 offset, sequence;
};
static_assert(sizeof(struct vhdx_descriptor_wire) == 32, "VHDX log descriptor");

struct vhdx_log_data_wire {
	char signature[4]; /* data */
	le32 sequence_high;
	u8 data[4084];
	le32 sequence_low;
};
static_assert(sizeof(struct vhdx_log_data_wire) == VHDX_LOG_SECTOR, "VHDX log data");

#endif

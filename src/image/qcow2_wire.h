/*
 * What a qcow2 file holds: QEMU's docs/interop/qcow2.txt. All numbers are big-endian.
 */
#ifndef IMAGE_QCOW2_WIRE_H
#define IMAGE_QCOW2_WIRE_H

#include "base/bytes.h"

#define QCOW2_MAGIC 0x514649fbu

/* Version 2 ends before incompatible; version 3 says how long it is. */
struct qcow2_header_wire {
	be32 magic;
	be32 version;
	be64 backing_offset; /* 0: none */
	be32 backing_bytes;
	be32 cluster_bits;
	be64 size;
	be32 crypt_method;
	be32 l1_entries;
	be64 l1_offset;
	be64 refcount_table_offset;
	be32 refcount_table_clusters;
	be32 n_snapshots;
	be64 snapshots_offset;
	be64 incompatible;
	be64 compatible;
	be64 autoclear;
	be32 refcount_order;
	be32 header_bytes;
	u8 compression_type;
	u8 reserved[7];
};
static_assert(offsetof(struct qcow2_header_wire, incompatible) == 72, "version 2's length");
static_assert(offsetof(struct qcow2_header_wire, compression_type) == 104, "version 3's least");
static_assert(sizeof(struct qcow2_header_wire) == 112, "with the compression type");

#define QCOW2_V2_HEADER_BYTES 72u
#define QCOW2_V3_HEADER_BYTES 104u

enum { QCOW2_CRYPT_NONE, QCOW2_CRYPT_AES, QCOW2_CRYPT_LUKS };
enum { QCOW2_ZLIB, QCOW2_ZSTD };

#define QCOW2_INCOMPAT_DIRTY       BIT(0)
#define QCOW2_INCOMPAT_CORRUPT     BIT(1)
#define QCOW2_INCOMPAT_DATA_FILE   BIT(2)
#define QCOW2_INCOMPAT_COMPRESSION BIT(3)
#define QCOW2_INCOMPAT_EXTENDED_L2 BIT(4)
#define QCOW2_INCOMPAT_KNOWN       (BIT(5) - 1)
#define QCOW2_COMPAT_LAZY          BIT(0)
#define QCOW2_AUTOCLEAR_BITMAPS    BIT(0)
#define QCOW2_AUTOCLEAR_DATA_RAW   BIT(1)
#define QCOW2_AUTOCLEAR_KNOWN      (BIT(2) - 1)

/* --- header extensions: this, then the data, padded to 8 bytes --- */

struct qcow2_ext_wire {
	be32 type;
	be32 bytes;
};

#define QCOW2_EXT_END            0u
#define QCOW2_EXT_BACKING_FORMAT 0xe2792acau
#define QCOW2_EXT_FEATURES       0x6803f857u
#define QCOW2_EXT_BITMAPS        0x23852875u
#define QCOW2_EXT_LUKS           0x0537be77u
#define QCOW2_EXT_DATA_FILE      0x44415441u
#define QCOW2_EXT_SKIP           0x736b6970u /* ours: nothing but a way past what is being changed */

struct qcow2_feature_wire {
	u8 type; /* incompatible, compatible, autoclear */
	u8 bit;
	char name[46];
};
static_assert(sizeof(struct qcow2_feature_wire) == 48, "the specification's");

/* Where the LUKS header is. */
struct qcow2_luks_wire {
	be64 offset;
	be64 bytes;
};
static_assert(sizeof(struct qcow2_luks_wire) == 16, "the specification's");

struct qcow2_bitmaps_wire {
	be32 n;
	be32 reserved;
	be64 directory_bytes;
	be64 directory_offset;
};
static_assert(sizeof(struct qcow2_bitmaps_wire) == 24, "the specification's");

/* --- entries of tables --- */

#define QCOW2_OFFSET_MASK     ((u64)0x00fffffffffffe00)
#define QCOW2_REFTABLE_MASK   (~(u64)0x1ff)
#define QCOW2_COPIED          BIT(63) /* refcount is 1: may be written where it is */
#define QCOW2_COMPRESSED      BIT(62)
#define QCOW2_ZERO            BIT(0)
#define QCOW2_L2_RESERVED     ((u64)0x3f000000000001fe)
#define QCOW2_L1_RESERVED     ((u64)0x7f000000000001ff)
#define QCOW2_SUBCLUSTERS     32u
#define QCOW2_SUB_ALLOCATED   ((u64)0xffffffff) /* of an extended entry's second half */
#define QCOW2_SUB_ZERO        ((u64)0xffffffff << 32)
#define QCOW2_BITMAP_ALL_ONES BIT(0)

/* --- snapshots --- */

/* Then extra data, the id, the name; padded to 8 bytes. */
struct qcow2_snapshot_wire {
	be64 l1_offset;
	be32 l1_entries;
	be16 id_bytes;
	be16 name_bytes;
	be32 date_s;
	be32 date_ns;
	be64 vm_clock_ns;
	be32 vm_state_bytes;
	be32 extra_bytes;
};
static_assert(sizeof(struct qcow2_snapshot_wire) == 40, "the specification's");

struct qcow2_snapshot_extra_wire {
	be64 vm_state_bytes;
	be64 size;
	be64 icount;
};

/* --- bitmaps --- */

/* Then extra data and the name; padded to 8 bytes. */
struct qcow2_bitmap_wire {
	be64 table_offset;
	be32 table_entries;
	be32 flags;
	u8 type;
	u8 granularity_bits;
	be16 name_bytes;
	be32 extra_bytes;
};
static_assert(sizeof(struct qcow2_bitmap_wire) == 24, "the specification's");

#define QCOW2_BITMAP_IN_USE           BIT32(0)
#define QCOW2_BITMAP_AUTO             BIT32(1)
#define QCOW2_BITMAP_EXTRA_COMPATIBLE BIT32(2)
#define QCOW2_BITMAP_DIRTY_TRACKING   1

#endif

/*
 * What driver and block device say to each other (virtio 1.2, 5.2).
 */
#ifndef VIRTIO_BLK_WIRE_H
#define VIRTIO_BLK_WIRE_H

#include "base/bytes.h"

/* Features (5.2.3). */
#define VBLK_F_SEG_MAX      BIT(2)
#define VBLK_F_RO           BIT(5)
#define VBLK_F_BLK_SIZE     BIT(6)
#define VBLK_F_FLUSH        BIT(9)
#define VBLK_F_TOPOLOGY     BIT(10)
#define VBLK_F_CONFIG_WCE   BIT(11)
#define VBLK_F_MQ           BIT(12)
#define VBLK_F_DISCARD      BIT(13)
#define VBLK_F_WRITE_ZEROES BIT(14)

/* struct virtio_blk_config (5.2.4). */
struct vblk_config_wire {
	le64 capacity; /* sectors */
	le32 size_max;
	le32 seg_max;
	struct {
		le16 cylinders;
		u8 heads;
		u8 sectors;
	} geometry;
	le32 blk_size;
	struct {
		u8 physical_block_exp;
		u8 alignment_offset;
		le16 min_io_size;
		le32 opt_io_size;
	} topology;
	u8 writeback;
	u8 unused0;
	le16 num_queues;
	le32 max_discard_sectors;
	le32 max_discard_seg;
	le32 discard_sector_alignment;
	le32 max_write_zeroes_sectors;
	le32 max_write_zeroes_seg;
	u8 write_zeroes_may_unmap;
	u8 unused1[3];
};
static_assert(offsetof(struct vblk_config_wire, blk_size) == 20, "5.2.4");
static_assert(offsetof(struct vblk_config_wire, writeback) == 32, "5.2.4");
static_assert(offsetof(struct vblk_config_wire, max_discard_sectors) == 36, "5.2.4");
static_assert(sizeof(struct vblk_config_wire) == 60, "5.2.4");

/* The head of a request (5.2.6). */
struct vblk_header_wire {
	le32 type;
	le32 reserved;
	le64 sector;
};
static_assert(sizeof(struct vblk_header_wire) == 16, "5.2.6");

enum vblk_type {
	VBLK_T_IN = 0,
	VBLK_T_OUT = 1,
	VBLK_T_FLUSH = 4,
	VBLK_T_GET_ID = 8,
	VBLK_T_DISCARD = 11,
	VBLK_T_WRITE_ZEROES = 13,
};

enum vblk_status {
	VBLK_S_OK = 0,
	VBLK_S_IOERR = 1,
	VBLK_S_UNSUPP = 2,
};

/* The data of a discard or write-zeroes request. */
struct vblk_range_wire {
	le64 sector;
	le32 num_sectors;
	le32 flags;
};
static_assert(sizeof(struct vblk_range_wire) == 16, "5.2.6");

#define VBLK_RANGE_UNMAP 1u

#define VBLK_ID_SIZE 20 /* of the answer to GET_ID */

#endif

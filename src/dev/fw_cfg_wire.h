/*
 * QEMU's firmware configuration device as the guest sees it (QEMU, docs/specs/fw_cfg). Facts only.
 */
#ifndef DEV_FW_CFG_WIRE_H
#define DEV_FW_CFG_WIRE_H

#include "base/bytes.h"

/* clang-format off */
#define FW_CFG_SIGNATURE  0x00	/* "QEMU" */
#define FW_CFG_ID	  0x01	/* le32: what the device can do */
#define FW_CFG_RAM_SIZE	  0x03	/* le64 */
#define FW_CFG_CPUS	  0x05	/* le16 */
#define FW_CFG_MAX_CPUS	  0x0f	/* le16 */
#define FW_CFG_FILE_DIR	  0x19
#define FW_CFG_FILE_FIRST 0x20

#define FW_CFG_ID_PORTS	BIT32(0)
#define FW_CFG_ID_DMA	BIT32(1)

#define FW_CFG_DMA_ERROR  BIT32(0)
#define FW_CFG_DMA_READ	  BIT32(1)
#define FW_CFG_DMA_SKIP	  BIT32(2)
#define FW_CFG_DMA_SELECT BIT32(3)	/* the key is in the upper half */
#define FW_CFG_DMA_WRITE  BIT32(4)
/* clang-format on */

#define FW_CFG_NAME_SIZE 56 /* with the NUL */

struct fw_cfg_file_wire {
	be32 size;
	be16 key;
	be16 reserved;
	char name[FW_CFG_NAME_SIZE];
};
static_assert(sizeof(struct fw_cfg_file_wire) == 64, "fw_cfg: directory entry");

struct fw_cfg_dma_wire {
	be32 control;
	be32 length;
	be64 address;
};
static_assert(sizeof(struct fw_cfg_dma_wire) == 16, "fw_cfg: DMA command");

#endif

/*
 * The firmware configuration device (QEMU's fw_cfg): named blobs that firmware and kernels read,
 * by ports or by DMA.
 *
 * Items are added while the board is built, before the guest runs. Threads afterwards: any that is
 * attached to guest memory; everything locks the device.
 */
#ifndef DEV_FW_CFG_H
#define DEV_FW_CFG_H

#include "base/base.h"
#include "dev/fw_cfg_wire.h"

struct device;
struct fw_cfg;
struct gmem;
struct io_region;

#define FW_CFG_PORT     0x510 /* selector and data: two ports */
#define FW_CFG_DMA_PORT 0x514 /* eight ports */

#define FW_CFG_MAX_FILES      64
#define FW_CFG_WRITABLE_BYTES 4096 /* of all writable files together */

struct fw_cfg *fw_cfg_new(struct gmem *gmem); /* borrowed */
struct device *fw_cfg_device(struct fw_cfg *f);
struct io_region *fw_cfg_io(struct fw_cfg *f);
struct io_region *fw_cfg_dma_io(struct fw_cfg *f);

/* What is added is copied. key: below FW_CFG_FILE_DIR, and once. */
void fw_cfg_add(struct fw_cfg *f, u16 key, const void *data, u32 size);
/* name: "etc/acpi/tables", shorter than FW_CFG_NAME_SIZE, and once. */
void fw_cfg_add_file(struct fw_cfg *f, const char *name, const void *data, u32 size);

/*
 * A file that the guest may write by DMA. What it holds is saved, and back at its first contents
 * after a reset. on_write (or NULL) is called after each write, on a vCPU's thread, with the device
 * locked; data is the whole file.
 */
void fw_cfg_add_writable(struct fw_cfg *f, const char *name, const void *data, u32 size,
			 void (*on_write)(void *opaque, const u8 *data, u32 size), void *opaque);

#endif

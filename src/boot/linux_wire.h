/*
 * Linux's x86 boot protocol: the setup header and the "zero page" (Linux,
 * Documentation/arch/x86/boot.rst and zero-page.rst). Facts only.
 */
#ifndef BOOT_LINUX_WIRE_H
#define BOOT_LINUX_WIRE_H

#include "base/base.h"
#include "base/bytes.h"

#define LINUX_SECTOR       512
#define LINUX_BOOT_FLAG    0xaa55
#define LINUX_MAGIC        0x53726448 /* "HdrS" */
#define LINUX_SETUP_SECTS  4          /* when setup_sects is 0 */
#define LINUX_ENTRY_64     0x200      /* from the start of the loaded kernel */
#define LINUX_LOADER_OTHER 0xff       /* type_of_loader: none of the registered ones */

#define LINUX_VERSION_XLOADFLAGS 0x020c /* the first with 64-bit entry and its flags */

#define LINUX_LOADED_HIGH BIT32(0) /* loadflags: the kernel belongs at or above 1 MiB */

#define LINUX_XLF_KERNEL_64 BIT32(0) /* xloadflags: has the 64-bit entry */
#define LINUX_XLF_ABOVE_4G  BIT32(1) /* initrd and others may lie above 4 GiB */

/* What a vmlinux, which has no header, takes (COMMAND_LINE_SIZE is 2048, a final zero included). */
#define LINUX_CMDLINE_MAX 2047

struct linux_setup_header_wire {
	u8 setup_sects;
	le16 root_flags;
	le32 syssize; /* of what follows the setup sectors, in 16-byte units */
	le16 ram_size;
	le16 vid_mode;
	le16 root_dev;
	le16 boot_flag;
	u8 jump_opcode;
	u8 jump_offset; /* the header ends this far after `header` */
	le32 header;
	le16 version;
	le32 realmode_swtch;
	le16 start_sys_seg;
	le16 kernel_version;
	u8 type_of_loader;
	u8 loadflags;
	le16 setup_move_size;
	le32 code32_start;
	le32 ramdisk_image;
	le32 ramdisk_size;
	le32 bootsect_kludge;
	le16 heap_end_ptr;
	u8 ext_loader_ver;
	u8 ext_loader_type;
	le32 cmd_line_ptr;
	le32 initrd_addr_max; /* the last byte's */
	le32 kernel_alignment;
	u8 relocatable_kernel;
	u8 min_alignment;
	le16 xloadflags;
	le32 cmdline_size; /* without the final zero */
	le32 hardware_subarch;
	le64 hardware_subarch_data;
	le32 payload_offset;
	le32 payload_length;
	le64 setup_data;
	le64 pref_address;
	le32 init_size; /* memory needed from the load address until the kernel knows its own */
	le32 handover_offset;
	le32 kernel_info_offset;
	u8 later[0x290 - 0x26c]; /* fields of later versions: handed on as they are */
} packed;

#define LINUX_HEADER_OFFSET 0x1f1 /* in the file and in the zero page alike */
#define LINUX_HEADER_MAGIC  0x202 /* the header's end is counted from here */

static_assert(sizeof(struct linux_setup_header_wire) == 0x290 - LINUX_HEADER_OFFSET, "boot.rst");
static_assert(LINUX_HEADER_OFFSET + offsetof(struct linux_setup_header_wire, header) ==
		      LINUX_HEADER_MAGIC,
	      "boot.rst");
static_assert(LINUX_HEADER_OFFSET + offsetof(struct linux_setup_header_wire, pref_address) == 0x258,
	      "boot.rst");

struct linux_e820_wire {
	le64 addr;
	le64 size;
	le32 type;
} packed;

#define LINUX_E820_MAX 128

struct linux_boot_params_wire {
	u8 unused_000[0x070];
	le64 acpi_rsdp_addr;
	u8 unused_078[0x0c0 - 0x078];
	le32 ext_ramdisk_image; /* upper halves */
	le32 ext_ramdisk_size;
	le32 ext_cmd_line_ptr;
	u8 unused_0cc[0x1e8 - 0x0cc];
	u8 e820_entries;
	u8 unused_1e9[LINUX_HEADER_OFFSET - 0x1e9]; /* with the sentinel, which must be 0 */
	struct linux_setup_header_wire hdr;
	u8 unused_290[0x2d0 - 0x290];
	struct linux_e820_wire e820_table[LINUX_E820_MAX];
	u8 unused_cd0[0x1000 - 0xcd0];
} packed;

static_assert(sizeof(struct linux_boot_params_wire) == PAGE_SIZE, "zero-page.rst");
static_assert(offsetof(struct linux_boot_params_wire, e820_table) == 0x2d0, "zero-page.rst");

#endif

/*
 * What the kernel loaders share: the file being loaded, the room in guest memory, entry states.
 */
#ifndef BOOT_BOOT_PRIV_H
#define BOOT_BOOT_PRIV_H

#include "base/base.h"
#include "boot/boot.h"
#include "boot/memmap.h"

/*
 * Below 1 MiB, where no kernel is loaded, lies what a kernel is handed. Nothing of it is needed
 * once the kernel has set up its own tables.
 */
#define BOOT_GDT_GPA     ((gpa_t)0x500)
#define BOOT_STACK_GPA   ((gpa_t)0x6ff0)  /* grows down */
#define BOOT_PARAMS_GPA  ((gpa_t)0x7000)  /* Linux's zero page */
#define BOOT_TABLES_GPA  ((gpa_t)0x8000)  /* page tables: PML4, PDPT, four page directories */
#define BOOT_INFO_GPA    ((gpa_t)0x10000) /* PVH's and multiboot's structures */
#define BOOT_INFO_SIZE   ((u64)0x10000)
#define BOOT_CMDLINE_GPA ((gpa_t)0x20000)
#define BOOT_CMDLINE_MAX ((u64)0xffff) /* bytes, without the final zero */

/* An open file: its size was taken once, and no read goes beyond it. */
struct boot_image {
	int fd;
	u64 size; /* bytes, not 0 */
};

#define BOOT_HEAD_SIZE 8192 /* multiboot 3.1: its header lies within these */

struct boot_loader {
	const struct boot_config *config;
	struct gmem *gmem;
	struct boot_memmap room; /* the memory map; what has been given away is no longer RAM */
	struct boot_image kernel;
	u8 head[BOOT_HEAD_SIZE]; /* the kernel's first bytes, zeros after its end */
	u64 head_size;
	struct boot_info info;
};

int boot_image_open(const struct boot_file *f, struct boot_image *out, struct err *err);
/* -EINVAL "truncated" where the range goes beyond the file's end. */
int boot_image_read(const struct boot_image *f, u64 offset, void *buf, u64 size, struct err *err);
/* File content to guest memory, the range of which the caller has checked to be RAM. */
int boot_image_load(const struct boot_image *f, u64 offset, u64 size, struct gmem *g, gpa_t gpa,
		    struct err *err);

/* Our structures to guest memory; -EFAULT with words where the board put no RAM. */
int boot_put(struct boot_loader *l, gpa_t gpa, const void *data, u64 size, struct err *err);
/* The command line (config's, after an optional first word), -E2BIG when longer than limit. */
int boot_put_cmdline(struct boot_loader *l, const char *first_word, u64 limit, struct err *err);

/* Where a module (config's i-th) may go. */
struct boot_place {
	gpa_t max;        /* one past its last byte, below 4 GiB */
	bool may_go_high; /* above 4 GiB, when there is no room below */
};
int boot_load_module(struct boot_loader *l, u32 i, const struct boot_place *place, gpa_t *out_gpa,
		     u64 *out_size, struct err *err);
/* Linux takes one initrd: more modules are refused. Fills l->info; harmless without one. */
int boot_load_initrd(struct boot_loader *l, const struct boot_place *place, struct err *err);

/* --- entry states; they start from the reset state --- */

/* 64-bit mode, the first 4 GiB mapped to themselves; the other registers are the caller's. */
int boot_enter_long_mode(struct boot_loader *l, gpa_t entry, struct x86_cpu_state *out,
			 struct err *err);
/* 32-bit protected mode without paging, flat segments. */
int boot_enter_protected_mode(struct boot_loader *l, gpa_t entry, struct x86_cpu_state *out,
			      struct err *err);

/* --- protocols: is it one (from the head), and load it --- */

bool bzimage_is(const struct boot_loader *l);
int bzimage_load(struct boot_loader *l, struct x86_cpu_state *out, struct err *err);
int linux_elf_load(struct boot_loader *l, gpa_t entry, struct x86_cpu_state *out, struct err *err);

bool multiboot_is(const struct boot_loader *l);
int multiboot_load(struct boot_loader *l, struct x86_cpu_state *out, struct err *err);

bool elf_is(const struct boot_loader *l);
int pvh_load(struct boot_loader *l, gpa_t entry, struct x86_cpu_state *out, struct err *err);

/* What there is to know of an ELF file that has been loaded (segments at physical addresses). */
struct elf_info {
	bool is_64;
	gpa_t entry;
	bool has_pvh;
	gpa_t pvh_entry;
};
int elf_load(struct boot_loader *l, struct elf_info *out, struct err *err);

#endif

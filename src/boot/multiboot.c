/*
 * Multiboot 1 kernels: ELF or "a.out kludge", modules, memory map; entered in 32-bit protected mode
 * with the magic in EAX and the information structure in EBX (Multiboot Specification 0.6.96).
 */
#include <string.h>

#include "arch/x86/cpu_state.h"
#include "base/err.h"
#include "boot/boot_priv.h"
#include "boot/multiboot_wire.h"
#include "mem/gmem.h"

#define MB_STRINGS_MAX (32 * KIB) /* of all modules together */
#define MB_LOADER_NAME "posada"
#define MB_LOW_MEM_KIB (BOOT_EBDA_GPA / KIB)

/* All that the structure points to but the command line, in one piece at BOOT_INFO_GPA. */
struct mb_info {
	struct mb_info_wire info;
	struct mb_module_wire modules[BOOT_MODULES_MAX];
	struct mb_mmap_wire mmap[BOOT_MEMMAP_MAX];
	char loader[sizeof(MB_LOADER_NAME)];
	char strings[MB_STRINGS_MAX];
};
static_assert(sizeof(struct mb_info) <= BOOT_INFO_SIZE, "fits below the command line");

#define MB_GPA(field) ((u32)(BOOT_INFO_GPA + offsetof(struct mb_info, field)))

/* A whole kernel by its header's addresses (3.1.3), which have been checked. */
struct mb_load {
	u64 offset, size; /* in the file */
	gpa_t gpa;
	u64 memory; /* bytes, with what is cleared after the file's */
	gpa_t entry;
};

/* The header's offset in l->head, or -1. */
static int mb_find(const struct boot_loader *l, struct mb_header_wire *out)
{
	for (u64 at = 0; range_fits(at, MB_HEADER_SHORT, l->head_size); at += MB_HEADER_ALIGN) {
		const u8 *p = l->head + at;

		if (le32_load(p) != MB_HEADER_MAGIC ||
		    (u32)(le32_load(p) + le32_load(p + 4) + le32_load(p + 8)) != 0)
			continue;
		memset(out, 0, sizeof(*out));
		memcpy(out, p, MIN(sizeof(*out), l->head_size - at));
		return (int)at;
	}
	return -1;
}

bool multiboot_is(const struct boot_loader *l)
{
	struct mb_header_wire h;

	static_assert(MB_HEADER_SEARCH == BOOT_HEAD_SIZE, "multiboot 3.1");
	return mb_find(l, &h) >= 0;
}

static int mb_damaged(struct err *err)
{
	return err_set(err, -EINVAL,
		       "damaged: the addresses in its multiboot header make no sense");
}

/* at: the header's own offset in the file, from which the others follow. */
static int mb_parse_addresses(const struct boot_loader *l, const struct mb_header_wire *h, u64 at,
			      struct mb_load *out, struct err *err)
{
	u64 header = le32_get(h->header_addr), load = le32_get(h->load_addr);
	u64 load_end = le32_get(h->load_end_addr), bss_end = le32_get(h->bss_end_addr);
	u64 entry = le32_get(h->entry_addr);
	u64 before = header - load; /* of the header, in memory as in the file */

	if (header < load || before > at)
		return mb_damaged(err);
	out->offset = at - before;
	out->size = load_end ? load_end - load : l->kernel.size - out->offset;
	out->memory = bss_end ? bss_end - load : out->size;
	out->gpa = load;
	out->entry = entry;
	if ((load_end && load_end <= load) || (bss_end && bss_end < load + out->size) ||
	    entry < load || entry - load >= out->memory)
		return mb_damaged(err);
	if (!range_fits(out->offset, out->size, l->kernel.size))
		return err_set(err, -EINVAL, "truncated: it should have %lu bytes, it has %lu",
			       out->offset + out->size, l->kernel.size);
	return 0;
}

static int mb_load_flat(struct boot_loader *l, const struct mb_header_wire *h, u64 at,
			gpa_t *out_entry, struct err *err)
{
	struct mb_load k = {0};
	int r = mb_parse_addresses(l, h, at, &k, err);

	if (r < 0)
		return r;
	if (k.gpa < BOOT_HIGH_GPA)
		return err_set(err, -ENOEXEC, "it loads at %#lx, below 1 MiB", k.gpa);
	if (!boot_memmap_is_ram(l->config->memmap, k.gpa, k.memory))
		return err_set(err, -ENOSPC,
			       "it needs %lu KiB of memory at %#lx; give the guest more memory",
			       (k.memory + KIB - 1) / KIB, k.gpa);
	r = boot_image_load(&l->kernel, k.offset, k.size, l->gmem, k.gpa, err);
	if (r < 0)
		return r;
	if (gmem_fill(l->gmem, k.gpa + k.size, 0, k.memory - k.size) < 0)
		return err_set(err, -EFAULT, "no memory at %#lx", k.gpa);
	boot_memmap_set(&l->room, k.gpa, k.memory, BOOT_MEM_RESERVED);
	l->info.kernel_gpa = k.gpa;
	l->info.kernel_size = k.memory;
	*out_entry = k.entry;
	return 0;
}

static int mb_load_elf(struct boot_loader *l, gpa_t *out_entry, struct err *err)
{
	struct elf_info elf;
	int r;

	if (!elf_is(l))
		return err_set(err, -ENOEXEC,
			       "a multiboot kernel that is neither ELF nor has load addresses");
	r = elf_load(l, &elf, err);
	if (r < 0)
		return r;
	if (elf.entry < l->info.kernel_gpa || elf.entry - l->info.kernel_gpa >= l->info.kernel_size)
		return mb_damaged(err);
	*out_entry = elf.entry;
	return 0;
}

static int mb_load_modules(struct boot_loader *l, struct mb_info *info, struct err *err)
{
	const struct boot_place place = {.max = BOOT_ABOVE_4G_GPA};
	u64 used = 0;

	for (u32 i = 0; i < l->config->n_modules; i++) {
		const struct boot_module *m = &l->config->modules[i];
		const char *string = m->string ? m->string : m->file.name;
		u64 len = strlen(string) + 1;
		gpa_t gpa;
		u64 size;
		int r;

		if (!range_fits(used, len, MB_STRINGS_MAX))
			return err_set(err, -E2BIG, "the modules' strings exceed %lu bytes",
				       MB_STRINGS_MAX);
		r = boot_load_module(l, i, &place, &gpa, &size, err);
		if (r < 0)
			return r;
		memcpy(info->strings + used, string, len);
		info->modules[i] = (struct mb_module_wire){
			.start = le32_of((u32)gpa),
			.end = le32_of((u32)(gpa + size)),
			.string = le32_of(MB_GPA(strings) + (u32)used),
		};
		used += len;
	}
	return 0;
}

/* KiB of memory from 1 MiB to the first hole. */
static u32 mb_upper_kib(const struct boot_memmap *m)
{
	for (u32 i = 0; i < m->n; i++)
		if (m->e[i].gpa == BOOT_HIGH_GPA && m->e[i].type == BOOT_MEM_RAM)
			return (u32)(m->e[i].size / KIB);
	return 0;
}

static void mb_fill_info(const struct boot_loader *l, struct mb_info *info)
{
	const struct boot_memmap *m = l->config->memmap;

	memcpy(info->loader, MB_LOADER_NAME, sizeof(info->loader));
	info->info = (struct mb_info_wire){
		.flags = le32_of(MB_INFO_MEMORY | MB_INFO_CMDLINE | MB_INFO_MODULES | MB_INFO_MMAP |
				 MB_INFO_LOADER),
		.mem_lower = le32_of(MB_LOW_MEM_KIB),
		.mem_upper = le32_of(mb_upper_kib(m)),
		.cmdline = le32_of((u32)BOOT_CMDLINE_GPA),
		.mods_count = le32_of(l->config->n_modules),
		.mods_addr = le32_of(MB_GPA(modules)),
		.mmap_length = le32_of(m->n * (u32)sizeof(struct mb_mmap_wire)),
		.mmap_addr = le32_of(MB_GPA(mmap)),
		.boot_loader_name = le32_of(MB_GPA(loader)),
	};
	for (u32 i = 0; i < m->n; i++)
		info->mmap[i] = (struct mb_mmap_wire){
			.size = le32_of(sizeof(struct mb_mmap_wire) - sizeof(le32)),
			.addr = le64_of(m->e[i].gpa),
			.length = le64_of(m->e[i].size),
			.type = le32_of(m->e[i].type),
		};
}

/* After the kernel itself: everything that it is handed. */
static int mb_put_info(struct boot_loader *l, struct err *err)
{
	struct mb_info info = {0};
	int r;

	r = boot_put_cmdline(l, l->config->kernel.name, BOOT_CMDLINE_MAX, err);
	if (r == 0)
		r = mb_load_modules(l, &info, err);
	if (r < 0)
		return r;
	mb_fill_info(l, &info);
	return boot_put(l, BOOT_INFO_GPA, &info, sizeof(info), err);
}

int multiboot_load(struct boot_loader *l, struct x86_cpu_state *out, struct err *err)
{
	struct mb_header_wire h;
	int at = mb_find(l, &h), r;
	u32 flags = le32_get(h.flags), unknown;
	gpa_t entry = 0;

	assert(at >= 0); /* multiboot_is said so */
	l->info.protocol = BOOT_MULTIBOOT;
	unknown = flags & MB_WANTS_MASK & ~(MB_WANTS_ALIGNED_MODULES | MB_WANTS_MEMORY);
	if (unknown & MB_WANTS_VIDEO)
		return err_set(err, -ENOEXEC, "it asks for a video mode, and there is no display");
	if (unknown)
		return err_set(err, -ENOEXEC, "it asks for unknown multiboot features (%#x)",
			       unknown);

	if (flags & MB_HAS_ADDRESSES)
		r = mb_load_flat(l, &h, (u64)at, &entry, err);
	else
		r = mb_load_elf(l, &entry, err);
	if (r == 0)
		r = mb_put_info(l, err);
	if (r == 0)
		r = boot_enter_protected_mode(l, entry, out, err);
	if (r < 0)
		return r;
	out->gpr[X86_RAX] = MB_LOADER_MAGIC;
	out->gpr[X86_RBX] = BOOT_INFO_GPA;
	return 0;
}

/*
 * Linux: a bzImage, or a vmlinux, entered in 64-bit mode with a zero page.
 *
 * The kernel goes to the address that it prefers, or above where that is taken: a bzImage loaded
 * lower would only decompress itself to the preferred address (LOAD_PHYSICAL_ADDR) after all. Its
 * init_size bytes are kept free of everything else. The initrd goes as high as initrd_addr_max and
 * the memory below 4 GiB allow, or above 4 GiB when the kernel can take it there.
 */
#include <string.h>

#include "arch/x86/cpu_state.h"
#include "base/err.h"
#include "boot/boot_priv.h"
#include "boot/linux_wire.h"

static_assert(BOOT_MEMMAP_MAX <= LINUX_E820_MAX, "the whole map fits the zero page");

bool bzimage_is(const struct boot_loader *l)
{
	const struct linux_setup_header_wire *h = (const void *)(l->head + LINUX_HEADER_OFFSET);

	return le16_get(h->boot_flag) == LINUX_BOOT_FLAG && le32_get(h->header) == LINUX_MAGIC;
}

static int bzimage_check(const struct linux_setup_header_wire *h, struct err *err)
{
	unsigned version = le16_get(h->version);
	u64 align = le32_get(h->kernel_alignment);

	if (!(h->loadflags & LINUX_LOADED_HIGH))
		return err_set(err, -ENOEXEC, "a zImage, which is not supported: use a bzImage");
	if (version < LINUX_VERSION_XLOADFLAGS)
		return err_set(
			err, -ENOEXEC,
			"its boot protocol is %u.%02u; 64-bit kernels from Linux 3.8 on, with "
			"2.12 at least, are supported",
			version >> 8, version & 0xff);
	if (!(le16_get(h->xloadflags) & LINUX_XLF_KERNEL_64))
		return err_set(err, -ENOEXEC, "a 32-bit kernel: use a 64-bit one");
	if (!is_power_of_two(align))
		return err_set(err, -EINVAL, "damaged: its alignment is %#lx", align);
	return 0;
}

/* Where the kernel goes; what it is given is taken out of l->room. */
static int bzimage_place(struct boot_loader *l, const struct linux_setup_header_wire *h, u64 size,
			 struct err *err)
{
	u64 need = MAX(size, (u64)le32_get(h->init_size));
	gpa_t pref = le64_get(h->pref_address);
	gpa_t max = h->relocatable_kernel ? BOOT_ABOVE_4G_GPA : pref + need;
	u64 align = le32_get(h->kernel_alignment);

	if (pref >= BOOT_ABOVE_4G_GPA)
		return err_set(err, -EINVAL, "damaged: it prefers the address %#lx", pref);
	if (!h->relocatable_kernel)
		align = 1;
	if (!need || !boot_memmap_find_low(&l->room, need, align, pref, max, &l->info.kernel_gpa))
		return err_set(
			err, -ENOSPC,
			"it needs %lu KiB of memory from %#lx on; give the guest more memory",
			(need + KIB - 1) / KIB, pref);
	l->info.kernel_size = need;
	boot_memmap_set(&l->room, l->info.kernel_gpa, need, BOOT_MEM_RESERVED);
	return 0;
}

static void linux_fill_e820(const struct boot_memmap *m, struct linux_boot_params_wire *p)
{
	p->e820_entries = (u8)m->n;
	for (u32 i = 0; i < m->n; i++)
		p->e820_table[i] = (struct linux_e820_wire){
			.addr = le64_of(m->e[i].gpa),
			.size = le64_of(m->e[i].size),
			.type = le32_of(m->e[i].type),
		};
}

/* The zero page: p->hdr holds the kernel's own header, or what stands for it. */
static int linux_put_params(struct boot_loader *l, struct linux_boot_params_wire *p,
			    struct err *err)
{
	gpa_t initrd = l->info.initrd_gpa;
	u64 size = l->info.initrd_size;

	p->hdr.type_of_loader = LINUX_LOADER_OTHER;
	p->hdr.cmd_line_ptr = le32_of((u32)BOOT_CMDLINE_GPA);
	p->hdr.ramdisk_image = le32_of((u32)initrd);
	p->hdr.ramdisk_size = le32_of((u32)size);
	p->ext_ramdisk_image = le32_of((u32)(initrd >> 32));
	p->ext_ramdisk_size = le32_of((u32)(size >> 32));
	p->acpi_rsdp_addr = le64_of(l->config->rsdp);
	linux_fill_e820(l->config->memmap, p);
	return boot_put(l, BOOT_PARAMS_GPA, p, sizeof(*p), err);
}

/* boot.rst, "64-bit boot protocol": RSI points to the zero page. */
static int linux_enter(struct boot_loader *l, gpa_t entry, struct x86_cpu_state *out,
		       struct err *err)
{
	int r = boot_enter_long_mode(l, entry, out, err);

	if (r < 0)
		return r;
	out->gpr[X86_RSI] = BOOT_PARAMS_GPA;
	return 0;
}

/* Of the setup header, what the kernel's version has: later[] beyond it stays zero. */
static void bzimage_take_header(const struct boot_loader *l, struct linux_setup_header_wire *out)
{
	u64 end = LINUX_HEADER_MAGIC + l->head[LINUX_HEADER_MAGIC - 1];

	memset(out, 0, sizeof(*out));
	if (end > LINUX_HEADER_OFFSET)
		memcpy(out, l->head + LINUX_HEADER_OFFSET,
		       MIN(end - LINUX_HEADER_OFFSET, sizeof(*out)));
}

static int bzimage_load_image(struct boot_loader *l, const struct linux_setup_header_wire *h,
			      struct err *err)
{
	u64 sects = h->setup_sects ? h->setup_sects : LINUX_SETUP_SECTS;
	u64 offset = (sects + 1) * LINUX_SECTOR;
	u64 size = (u64)le32_get(h->syssize) * 16;
	int r;

	if (size <= LINUX_ENTRY_64)
		return err_set(err, -EINVAL, "damaged: %lu bytes are no kernel", size);
	if (!range_fits(offset, size, l->kernel.size))
		return err_set(err, -EINVAL, "truncated: it should have %lu bytes, it has %lu",
			       offset + size, l->kernel.size);
	r = bzimage_place(l, h, size, err);
	if (r < 0)
		return r;
	return boot_image_load(&l->kernel, offset, size, l->gmem, l->info.kernel_gpa, err);
}

int bzimage_load(struct boot_loader *l, struct x86_cpu_state *out, struct err *err)
{
	struct linux_boot_params_wire params = {0};
	struct linux_setup_header_wire *h = &params.hdr;
	struct boot_place initrd;
	int r;

	l->info.protocol = BOOT_LINUX_BZIMAGE;
	bzimage_take_header(l, h);
	r = bzimage_check(h, err);
	if (r == 0)
		r = bzimage_load_image(l, h, err);
	if (r == 0)
		r = boot_put_cmdline(l, NULL, le32_get(h->cmdline_size), err);
	if (r < 0)
		return r;

	initrd.max = MIN((u64)le32_get(h->initrd_addr_max) + 1, BOOT_ABOVE_4G_GPA);
	initrd.may_go_high = le16_get(h->xloadflags) & LINUX_XLF_ABOVE_4G;
	r = boot_load_initrd(l, &initrd, err);
	if (r == 0)
		r = linux_put_params(l, &params, err);
	if (r < 0)
		return r;
	return linux_enter(l, l->info.kernel_gpa + LINUX_ENTRY_64, out, err);
}

int linux_elf_load(struct boot_loader *l, gpa_t entry, struct x86_cpu_state *out, struct err *err)
{
	const struct boot_place initrd = {.max = BOOT_ABOVE_4G_GPA, .may_go_high = true};
	struct linux_boot_params_wire params = {
		.hdr.boot_flag = le16_of(LINUX_BOOT_FLAG),
		.hdr.header = le32_of(LINUX_MAGIC),
		.hdr.version = le16_of(LINUX_VERSION_XLOADFLAGS),
		.hdr.loadflags = LINUX_LOADED_HIGH,
	};
	int r;

	l->info.protocol = BOOT_LINUX_ELF;
	r = boot_put_cmdline(l, NULL, LINUX_CMDLINE_MAX, err);
	if (r == 0)
		r = boot_load_initrd(l, &initrd, err);
	if (r == 0)
		r = linux_put_params(l, &params, err);
	if (r < 0)
		return r;
	return linux_enter(l, entry, out, err);
}

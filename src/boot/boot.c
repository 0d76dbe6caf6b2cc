/*
 * boot_load: what is this file, and who loads it. See boot.h.
 */
#include "boot/boot.h"

#include "arch/x86/cpu_state.h"
#include "base/err.h"
#include "boot/boot_priv.h"
#include "mem/gmem.h"

#define NOT_A_KERNEL "not a kernel: neither bzImage, ELF nor multiboot"

static int boot_open_kernel(struct boot_loader *l, struct err *err)
{
	int r = boot_image_open(&l->config->kernel, &l->kernel, err);

	if (r < 0)
		return r;
	l->head_size = MIN(l->kernel.size, (u64)BOOT_HEAD_SIZE);
	return boot_image_read(&l->kernel, 0, l->head, l->head_size, err);
}

/* An ELF file that isn't multiboot: the PVH entry is used where there is one. */
static int boot_load_elf(struct boot_loader *l, struct x86_cpu_state *bsp, struct err *err)
{
	struct elf_info elf;
	int r = elf_load(l, &elf, err);

	if (r < 0)
		return r;
	if (elf.has_pvh)
		return pvh_load(l, elf.pvh_entry, bsp, err);
	if (!elf.is_64)
		return err_set(err, -ENOEXEC,
			       "a 32-bit kernel with neither a PVH entry nor a multiboot header; "
			       "use a 64-bit one");
	return linux_elf_load(l, elf.entry, bsp, err);
}

static int boot_load_kernel(struct boot_loader *l, struct x86_cpu_state *bsp, struct err *err)
{
	int r = boot_open_kernel(l, err);

	if (r < 0)
		return r;
	if (bzimage_is(l))
		return bzimage_load(l, bsp, err);
	if (multiboot_is(l))
		return multiboot_load(l, bsp, err);
	if (elf_is(l))
		return boot_load_elf(l, bsp, err);
	return err_set(err, -ENOEXEC, NOT_A_KERNEL);
}

int boot_load(const struct boot_config *c, struct gmem *g, struct x86_cpu_state *bsp,
	      struct boot_info *out, struct err *err)
{
	struct boot_loader l = {.config = c, .gmem = g, .room = *c->memmap};
	struct x86_cpu_state state;
	int r;

	assert(c->n_modules <= BOOT_MODULES_MAX);
	/* The kernel's place is chosen above this; modules may not fall below it. */
	boot_memmap_set(&l.room, 0, BOOT_HIGH_GPA, BOOT_MEM_RESERVED);

	r = boot_load_kernel(&l, &state, err);
	if (r < 0)
		return err_wrap(err, "kernel '%s'", c->kernel.name);
	*bsp = state;
	*out = l.info;
	return 0;
}

const char *boot_protocol_name(enum boot_protocol p)
{
	static const char *const names[] = {
		[BOOT_LINUX_BZIMAGE] = "bzImage",
		[BOOT_LINUX_ELF] = "vmlinux",
		[BOOT_PVH] = "PVH",
		[BOOT_MULTIBOOT] = "multiboot",
	};

	return names[p];
}

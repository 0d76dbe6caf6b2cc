/*
 * PVH: a kernel entered in 32-bit protected mode with a start-info structure in EBX (Xen,
 * docs/misc/pvh.pandoc).
 */
#include "arch/x86/cpu_state.h"
#include "base/err.h"
#include "boot/boot_priv.h"
#include "boot/linux_wire.h"
#include "boot/pvh_wire.h"

/* All that the structure points to, in one piece at BOOT_INFO_GPA. */
struct pvh_info {
	struct pvh_start_info_wire start;
	struct pvh_module_wire initrd;
	struct pvh_memmap_wire memmap[BOOT_MEMMAP_MAX];
};
static_assert(sizeof(struct pvh_info) <= BOOT_INFO_SIZE, "fits below the command line");

static int pvh_put_info(struct boot_loader *l, struct err *err)
{
	const struct boot_memmap *m = l->config->memmap;
	bool has_initrd = l->config->n_modules > 0;
	struct pvh_info info = {0};

	info.start = (struct pvh_start_info_wire){
		.magic = le32_of(PVH_MAGIC),
		.version = le32_of(PVH_VERSION),
		.nr_modules = le32_of(has_initrd),
		.cmdline_paddr = le64_of(BOOT_CMDLINE_GPA),
		.rsdp_paddr = le64_of(l->config->rsdp),
		.memmap_paddr = le64_of(BOOT_INFO_GPA + offsetof(struct pvh_info, memmap)),
		.memmap_entries = le32_of(m->n),
	};
	if (has_initrd) {
		info.start.modlist_paddr =
			le64_of(BOOT_INFO_GPA + offsetof(struct pvh_info, initrd));
		info.initrd.paddr = le64_of(l->info.initrd_gpa);
		info.initrd.size = le64_of(l->info.initrd_size);
	}
	for (u32 i = 0; i < m->n; i++) {
		info.memmap[i].addr = le64_of(m->e[i].gpa);
		info.memmap[i].size = le64_of(m->e[i].size);
		info.memmap[i].type = le32_of(m->e[i].type);
	}
	return boot_put(l, BOOT_INFO_GPA, &info, sizeof(info), err);
}

int pvh_load(struct boot_loader *l, gpa_t entry, struct x86_cpu_state *out, struct err *err)
{
	const struct boot_place initrd = {.max = BOOT_ABOVE_4G_GPA};
	int r;

	l->info.protocol = BOOT_PVH;
	/* The protocol has no limit of its own; Linux cuts silently at its own. */
	r = boot_put_cmdline(l, NULL, LINUX_CMDLINE_MAX, err);
	if (r == 0)
		r = boot_load_initrd(l, &initrd, err);
	if (r == 0)
		r = pvh_put_info(l, err);
	if (r == 0)
		r = boot_enter_protected_mode(l, entry, out, err);
	if (r < 0)
		return r;
	out->gpr[X86_RBX] = BOOT_INFO_GPA;
	return 0;
}

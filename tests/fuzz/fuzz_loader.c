/*
 * Fuzz target: a kernel file of a stranger's making, loaded into a small guest.
 *
 * Whatever the file says, the loader returns; what it accepts has an entry inside the guest's RAM.
 */
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "arch/x86/cpu_state.h"
#include "base/epoch.h"
#include "base/err.h"
#include "base/fd.h"
#include "boot/boot.h"
#include "boot/memmap.h"
#include "mem/gmem.h"

#define RAM_BYTES (8 * MIB)
#define FILE_MAX  (256 * KIB)
#define RSDP      ((gpa_t)0xe0000)

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct gmem *guest;
static struct boot_memmap memmap;
static int kernel_fd, initrd_fd;

int LLVMFuzzerInitialize(unused int *argc, unused char ***argv)
{
	struct gmem_range range = {.size = RAM_BYTES};
	struct err err;

	guest = gmem_new(epoch_new(), false);
	gmem_attach_thread(guest);
	if (gmem_block_new(guest, "ram", GMEM_ANON, RAM_BYTES, -1, &range.block, &err) < 0)
		abort();
	gmem_set_map(guest, &range, 1);
	boot_memmap_init(&memmap, RAM_BYTES, 0);
	kernel_fd = memfd_create("kernel", MFD_CLOEXEC);
	initrd_fd = memfd_create("initrd", MFD_CLOEXEC);
	return kernel_fd < 0 || initrd_fd < 0 || fd_pwrite_full(initrd_fd, "070701", 6, 0) < 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct boot_module module = {.file = {.fd = initrd_fd, .name = "initrd"}};
	const struct boot_config config = {
		.kernel = {.fd = kernel_fd, .name = "kernel"},
		.modules = &module,
		.n_modules = size & 1,
		.cmdline = "console=ttyS0",
		.memmap = &memmap,
		.rsdp = RSDP,
	};
	struct err err = ERR_INIT;
	struct x86_cpu_state cpu;
	struct boot_info info;
	int r;

	if (size > FILE_MAX || ftruncate(kernel_fd, (off_t)size) < 0 ||
	    fd_pwrite_full(kernel_fd, data, size, 0) < 0)
		return -1;
	r = boot_load(&config, guest, &cpu, &info, &err);
	if (r < 0) {
		assert(err.code == r && err.text[0]);
		return 0;
	}
	assert(boot_memmap_is_ram(&memmap, info.kernel_gpa, info.kernel_size));
	assert(cpu.rip == info.entry && cpu.rip >= info.kernel_gpa &&
	       cpu.rip - info.kernel_gpa < info.kernel_size);
	return 0;
}

/*
 * bzImage kernels, made of a header and a pattern: where everything goes, and each refusal.
 */
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "boot/linux_wire.h"
#include "fixture.h"
#include "test.h"

#define SETUP_SECTS  3
#define SETUP_BYTES  ((SETUP_SECTS + 1) * LINUX_SECTOR)
#define PAYLOAD      ((u32)0x8000)
#define FILE_BYTES   (SETUP_BYTES + PAYLOAD)
#define INIT_SIZE    (4 * MIB)
#define PREFERRED    ((gpa_t)16 * MIB)
#define KERNEL_ALIGN (2 * MIB)
#define CMDLINE_SIZE 100
#define LATER_OFFSET 0x26c

static u8 file[FILE_BYTES];

static struct linux_setup_header_wire *make_bzimage(void)
{
	struct linux_setup_header_wire *h = (void *)(file + LINUX_HEADER_OFFSET);

	for (size_t i = 0; i < sizeof(file); i++)
		file[i] = (u8)(i >> 3);
	memset(h, 0, sizeof(*h));
	h->setup_sects = SETUP_SECTS;
	h->syssize = le32_of(PAYLOAD / 16);
	h->boot_flag = le16_of(LINUX_BOOT_FLAG);
	h->jump_offset = LATER_OFFSET - LINUX_HEADER_MAGIC;
	h->header = le32_of(LINUX_MAGIC);
	h->version = le16_of(0x020f);
	h->loadflags = LINUX_LOADED_HIGH;
	h->initrd_addr_max = le32_of(0x7fffffff);
	h->kernel_alignment = le32_of(KERNEL_ALIGN);
	h->relocatable_kernel = 1;
	h->xloadflags = le16_of(LINUX_XLF_KERNEL_64 | LINUX_XLF_ABOVE_4G);
	h->cmdline_size = le32_of(CMDLINE_SIZE);
	h->pref_address = le64_of(PREFERRED);
	h->init_size = le32_of(INIT_SIZE);
	memset(h->later, 0xee, 4); /* beyond the header's end: code, not to be copied */
	return h;
}

static struct guest *guest_with_bzimage(bool has_high_memory)
{
	struct guest *t = guest_new(has_high_memory);

	guest_set_kernel(t, file, sizeof(file));
	return t;
}

/* The kernel made so is refused, with these words. */
static void check_refused(int code, const char *words)
{
	struct guest *t = guest_with_bzimage(false);

	t->cpu.rip = 0x1234;
	CHECK_EQ(guest_load(t), code);
	CHECK_ERR(t->err, "kernel 'vmlinuz': ");
	CHECK_ERR(t->err, words);
	CHECK_EQ(t->cpu.rip, 0x1234);
	guest_free(t);
}

TEST(a_kernel_goes_where_it_prefers)
{
	struct guest *t;
	u8 loaded[PAYLOAD];

	make_bzimage();
	t = guest_with_bzimage(false);
	t->config.cmdline = "console=ttyS0 quiet";
	CHECK_EQ(guest_load(t), 0);
	CHECK_EQ(t->info.protocol, BOOT_LINUX_BZIMAGE);
	CHECK_EQ(t->info.kernel_gpa, PREFERRED);
	CHECK_EQ(t->info.kernel_size, INIT_SIZE);
	guest_read(t, PREFERRED, loaded, sizeof(loaded));
	CHECK_MEM(loaded, file + SETUP_BYTES, PAYLOAD);
	CHECK_EQ(t->cpu.rip, PREFERRED + LINUX_ENTRY_64);
	guest_free(t);
}

TEST(the_zero_page_says_what_there_is)
{
	struct linux_boot_params_wire p;
	struct guest *t;

	make_bzimage();
	t = guest_with_bzimage(true);
	t->config.cmdline = "console=ttyS0 quiet";
	boot_memmap_set(&t->memmap, GUEST_RAM - MIB, MIB, BOOT_MEM_ACPI);
	CHECK_EQ(guest_load(t), 0);
	guest_read(t, t->cpu.gpr[X86_RSI], &p, sizeof(p));
	CHECK_EQ(le64_get(p.acpi_rsdp_addr), GUEST_RSDP);
	CHECK_EQ(le32_get(p.hdr.header), LINUX_MAGIC);
	CHECK_EQ(p.hdr.type_of_loader, LINUX_LOADER_OTHER);
	CHECK_EQ(p.hdr.later[0], 0);
	CHECK_STR(guest_string(t, le32_get(p.hdr.cmd_line_ptr)), "console=ttyS0 quiet");
	CHECK_EQ(p.e820_entries, t->memmap.n);
	for (u32 i = 0; i < t->memmap.n; i++) {
		CHECK_EQ(le64_get(p.e820_table[i].addr), t->memmap.e[i].gpa);
		CHECK_EQ(le64_get(p.e820_table[i].size), t->memmap.e[i].size);
		CHECK_EQ(le32_get(p.e820_table[i].type), t->memmap.e[i].type);
	}
	CHECK_EQ(le32_get(p.hdr.ramdisk_size), 0);
	guest_free(t);
}

TEST(the_processor_starts_in_long_mode)
{
	struct guest *t;
	gpa_t pml4, pdpt, dir;

	make_bzimage();
	t = guest_with_bzimage(false);
	CHECK_EQ(guest_load(t), 0);
	CHECK(t->cpu.efer & X86_EFER_LMA);
	CHECK(t->cpu.cr0 & X86_CR0_PG);
	CHECK(t->cpu.cr4 & X86_CR4_PAE);
	CHECK(!(t->cpu.rflags & X86_FLAG_IF));
	CHECK(t->cpu.seg[X86_CS].attr & X86_ATTR_L);
	CHECK_EQ(t->cpu.seg[X86_CS].selector, 0x10);
	CHECK_EQ(t->cpu.seg[X86_DS].selector, 0x18);
	/* The descriptors in memory say the same as those loaded. */
	CHECK_EQ(guest_u64(t, t->cpu.gdt.base + 0x10), 0x00af9b000000ffff);
	CHECK_EQ(guest_u64(t, t->cpu.gdt.base + 0x18), 0x00cf93000000ffff);
	/* Walk to 3 GiB + 6 MiB. */
	pml4 = guest_u64(t, t->cpu.cr3);
	pdpt = guest_u64(t, (pml4 & PAGE_MASK) + 3 * 8);
	dir = guest_u64(t, (pdpt & PAGE_MASK) + 3 * 8);
	CHECK_EQ(dir, (3 * GIB + 6 * MIB) | X86_PTE_P | X86_PTE_W | X86_PTE_PS);
	guest_free(t);
}

TEST(a_reserved_range_moves_a_relocatable_kernel_up)
{
	struct guest *t;

	make_bzimage();
	t = guest_with_bzimage(false);
	boot_memmap_set(&t->memmap, PREFERRED + MIB, MIB, BOOT_MEM_RESERVED);
	CHECK_EQ(guest_load(t), 0);
	CHECK_EQ(t->info.kernel_gpa, PREFERRED + 2 * MIB);
	guest_free(t);
}

TEST(a_fixed_kernel_does_not_move)
{
	struct guest *t;

	make_bzimage()->relocatable_kernel = 0;
	t = guest_with_bzimage(false);
	CHECK_EQ(guest_load(t), 0);
	CHECK_EQ(t->info.kernel_gpa, PREFERRED);
	boot_memmap_set(&t->memmap, PREFERRED + MIB, MIB, BOOT_MEM_RESERVED);
	CHECK_EQ(guest_load(t), -ENOSPC);
	CHECK_ERR(t->err, "it needs 4096 KiB of memory from 0x1000000 on");
	guest_free(t);
}

TEST(an_initrd_goes_high_below_its_limit)
{
	static const u8 initrd[10000] = {1, 2, 3};
	u8 loaded[sizeof(initrd)];
	struct linux_boot_params_wire p;
	struct guest *t;

	make_bzimage()->initrd_addr_max = le32_of(40 * MIB - 1);
	t = guest_with_bzimage(false);
	guest_add_module(t, initrd, sizeof(initrd), NULL);
	CHECK_EQ(guest_load(t), 0);
	CHECK_EQ(t->info.initrd_gpa, 40 * MIB - 3 * PAGE_SIZE);
	CHECK_EQ(t->info.initrd_size, sizeof(initrd));
	guest_read(t, t->info.initrd_gpa, loaded, sizeof(loaded));
	CHECK_MEM(loaded, initrd, sizeof(initrd));
	guest_read(t, t->cpu.gpr[X86_RSI], &p, sizeof(p));
	CHECK_EQ(le32_get(p.hdr.ramdisk_image), t->info.initrd_gpa);
	CHECK_EQ(le32_get(p.hdr.ramdisk_size), sizeof(initrd));
	guest_free(t);
}

/* Its content may be a hole: only its size matters. */
static void add_large_initrd(struct guest *t, u64 size)
{
	guest_add_module(t, "x", 1, NULL);
	CHECK_EQ(ftruncate(t->modules[0].file.fd, (off_t)size), 0);
}

TEST(an_initrd_without_room_below_goes_above_4g_if_it_may)
{
	struct linux_setup_header_wire *h = make_bzimage();
	struct linux_boot_params_wire p;
	struct guest *t;

	h->initrd_addr_max = le32_of(2 * MIB - 1);
	t = guest_with_bzimage(true);
	add_large_initrd(t, 8 * MIB);
	CHECK_EQ(guest_load(t), 0);
	CHECK_EQ(t->info.initrd_gpa, 4 * GIB);
	guest_read(t, t->cpu.gpr[X86_RSI], &p, sizeof(p));
	CHECK_EQ(le32_get(p.ext_ramdisk_image), 1);
	CHECK_EQ(le32_get(p.hdr.ramdisk_image), 0);

	h->xloadflags = le16_of(LINUX_XLF_KERNEL_64);
	guest_set_kernel(t, file, sizeof(file));
	CHECK_EQ(guest_load(t), -ENOSPC);
	CHECK_ERR(t->err, "it needs 8192 KiB below 0x200000");
	guest_free(t);
}

TEST(an_initrd_too_large_is_refused_with_the_sizes)
{
	struct guest *t;

	make_bzimage();
	t = guest_with_bzimage(false);
	add_large_initrd(t, 50 * MIB);
	CHECK_EQ(guest_load(t), -ENOSPC);
	CHECK_ERR(t->err, "initrd 'initrd.img': too large");
	CHECK_ERR(t->err, "it needs 51200 KiB");
	CHECK_ERR(t->err, "leaves 45056 KiB free"); /* from the kernel's end to 64 MiB */
	guest_free(t);
}

TEST(an_initrd_of_absurd_size_is_refused)
{
	struct guest *t;

	make_bzimage();
	t = guest_with_bzimage(false);
	add_large_initrd(t, (u64)1 << 42);
	CHECK_EQ(guest_load(t), -ENOSPC);
	guest_free(t);
}

TEST(an_empty_initrd_is_refused)
{
	struct guest *t;

	make_bzimage();
	t = guest_with_bzimage(false);
	guest_add_module(t, "", 0, NULL);
	CHECK_EQ(guest_load(t), -ENOEXEC);
	CHECK_ERR(t->err, "initrd 'initrd.img': the file is empty");
	guest_free(t);
}

TEST(two_initrds_are_refused)
{
	struct guest *t;

	make_bzimage();
	t = guest_with_bzimage(false);
	guest_add_module(t, "x", 1, NULL);
	guest_add_module(t, "y", 1, NULL);
	CHECK_EQ(guest_load(t), -EINVAL);
	CHECK_ERR(t->err, "one initrd, not 2");
	guest_free(t);
}

TEST(a_command_line_may_fill_the_kernels_limit_and_no_more)
{
	char line[CMDLINE_SIZE + 2];
	struct guest *t;

	make_bzimage();
	t = guest_with_bzimage(false);
	memset(line, 'a', sizeof(line));
	line[CMDLINE_SIZE] = 0;
	t->config.cmdline = line;
	CHECK_EQ(guest_load(t), 0);
	line[CMDLINE_SIZE] = 'a';
	line[CMDLINE_SIZE + 1] = 0;
	CHECK_EQ(guest_load(t), -E2BIG);
	CHECK_ERR(t->err, "101 bytes long, this kernel takes at most 100");
	guest_free(t);
}

TEST(kernels_without_a_64_bit_entry_are_refused)
{
	struct linux_setup_header_wire *h = make_bzimage();

	h->xloadflags = le16_of(0);
	check_refused(-ENOEXEC, "a 32-bit kernel");
	h->version = le16_of(0x0209);
	check_refused(-ENOEXEC, "its boot protocol is 2.09");
	h->loadflags = 0;
	check_refused(-ENOEXEC, "a zImage");
}

TEST(a_truncated_kernel_is_refused)
{
	struct guest *t = guest_new(false);

	make_bzimage();
	guest_set_kernel(t, file, sizeof(file) - 1);
	CHECK_EQ(guest_load(t), -EINVAL);
	CHECK_ERR(t->err, "truncated: it should have 34816 bytes, it has 34815");
	guest_set_kernel(t, file, LINUX_HEADER_OFFSET + 40);
	CHECK(guest_load(t) < 0);
	guest_free(t);
}

TEST(damaged_headers_are_refused)
{
	struct linux_setup_header_wire *h = make_bzimage();

	h->kernel_alignment = le32_of(3);
	check_refused(-EINVAL, "damaged: its alignment is 0x3");
	h = make_bzimage();
	h->syssize = le32_of(1);
	check_refused(-EINVAL, "damaged: 16 bytes are no kernel");
	h = make_bzimage();
	h->pref_address = le64_of(~(u64)0 - 5);
	check_refused(-EINVAL, "damaged: it prefers the address");
	h = make_bzimage();
	h->jump_offset = 0; /* the header ends before the fields that say what the kernel can do */
	CHECK(h->setup_sects);
	check_refused(-ENOEXEC, "a zImage");
}

TEST(a_kernel_larger_than_memory_is_refused)
{
	struct linux_setup_header_wire *h = make_bzimage();

	h->init_size = le32_of(0xffffffff);
	check_refused(-ENOSPC, "it needs 4194304 KiB of memory from 0x1000000 on");
}

TEST(what_is_not_a_kernel_is_refused)
{
	struct guest *t = guest_new(false);
	int pair[2];

	memset(file, 0x5a, sizeof(file));
	guest_set_kernel(t, file, sizeof(file));
	CHECK_EQ(guest_load(t), -ENOEXEC);
	CHECK_STR(t->err.text,
		  "kernel 'vmlinuz': not a kernel: neither bzImage, ELF nor multiboot");
	guest_set_kernel(t, "#!/bin/sh\n", 10);
	CHECK_EQ(guest_load(t), -ENOEXEC);
	guest_set_kernel(t, "", 0);
	CHECK_EQ(guest_load(t), -ENOEXEC);
	CHECK_STR(t->err.text, "kernel 'vmlinuz': the file is empty");

	CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	close(t->config.kernel.fd);
	t->config.kernel.fd = pair[0];
	CHECK_EQ(guest_load(t), -EINVAL);
	CHECK_ERR(t->err, "neither a file nor a block device");
	close(pair[1]);

	close(t->config.kernel.fd);
	t->config.kernel.fd = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CHECK(guest_load(t) < 0);
	CHECK_ERR(t->err, "Is a directory");
	guest_free(t);
}

TEST(a_reset_guest_can_be_loaded_again)
{
	struct x86_cpu_state first;
	struct guest *t;

	make_bzimage();
	t = guest_with_bzimage(false);
	guest_add_module(t, "abc", 3, NULL);
	CHECK_EQ(guest_load(t), 0);
	first = t->cpu;
	CHECK_EQ(gmem_fill(t->gmem, 0, 0xcc, GUEST_RAM), 0);
	CHECK_EQ(guest_load(t), 0);
	CHECK_MEM(&t->cpu, &first, sizeof(first));
	CHECK_EQ(guest_u32(t, t->info.initrd_gpa) & 0xffffff, 0x636261);
	guest_free(t);
}

TEST(memory_types_cover_the_hole)
{
	struct x86_cpu_state s;

	x86_cpu_reset(&s, false);
	boot_set_memory_types(&s, 0xb0000000, 40);
	CHECK_EQ(s.mtrr_def_type, 0xc06);
	CHECK_EQ(s.mtrr_base[0], 0xb0000000);
	CHECK_EQ(s.mtrr_mask[0], 0xfff0000800);
	CHECK_EQ(s.mtrr_base[1], 0xc0000000);
	CHECK_EQ(s.mtrr_mask[1], 0xffc0000800);
	CHECK_EQ(s.mtrr_mask[2], 0);
	CHECK_EQ(s.mtrr_fixed[2], 0);
}

/*
 * Multiboot 1 kernels: ELF and by addresses, modules, and each refusal.
 */
#include "boot/elf_wire.h"
#include "boot/multiboot_wire.h"
#include "fixture.h"
#include "test.h"

#define CODE_BYTES 0x400
#define HEADER_AT  0x40 /* in code */
#define LOAD_AT    ((u32)0x400000)
#define BSS_BYTES  0x1000
#define ENTRY      (LOAD_AT + 0x80)

struct mb_elf_file {
	struct elf32_header_wire h;
	struct elf32_phdr_wire load;
	u8 code[CODE_BYTES];
} packed;

static struct mb_header_wire make_header(u32 flags)
{
	return (struct mb_header_wire){
		.magic = le32_of(MB_HEADER_MAGIC),
		.flags = le32_of(flags),
		.checksum = le32_of(0u - MB_HEADER_MAGIC - flags),
	};
}

/* As kvm-unit-tests are: a 32-bit ELF file with the header in its code. */
static struct mb_elf_file make_elf(u32 flags)
{
	const struct mb_header_wire h = make_header(flags);
	struct mb_elf_file f = {
		.h.ident.magic = le32_of(ELF_MAGIC),
		.h.ident.class = ELF_CLASS_32,
		.h.ident.data = ELF_DATA_LE,
		.h.ident.type = le16_of(ELF_TYPE_EXEC),
		.h.ident.machine = le16_of(ELF_MACHINE_386),
		.h.entry = le32_of(ENTRY),
		.h.phoff = le32_of(offsetof(struct mb_elf_file, load)),
		.h.phentsize = le16_of(sizeof(struct elf32_phdr_wire)),
		.h.phnum = le16_of(1),
		.load.type = le32_of(ELF_PT_LOAD),
		.load.offset = le32_of(offsetof(struct mb_elf_file, code)),
		.load.paddr = le32_of(LOAD_AT),
		.load.filesz = le32_of(CODE_BYTES),
		.load.memsz = le32_of(CODE_BYTES + BSS_BYTES),
	};

	static_assert((offsetof(struct mb_elf_file, code) + HEADER_AT) % MB_HEADER_ALIGN == 0, "");
	memcpy(f.code + HEADER_AT, &h, MB_HEADER_SHORT);
	return f;
}

static struct mb_header_wire make_addresses(void)
{
	struct mb_header_wire h = make_header(MB_HAS_ADDRESSES);

	h.header_addr = le32_of(LOAD_AT + HEADER_AT);
	h.load_addr = le32_of(LOAD_AT);
	h.load_end_addr = le32_of(LOAD_AT + CODE_BYTES);
	h.bss_end_addr = le32_of(LOAD_AT + CODE_BYTES + BSS_BYTES);
	h.entry_addr = le32_of(ENTRY);
	return h;
}

/* A file of code with a header in it. */
static int load_flat(struct guest *t, const struct mb_header_wire *h)
{
	u8 code[CODE_BYTES];

	memset(code, 0x90, sizeof(code));
	memcpy(code + HEADER_AT, h, sizeof(*h));
	guest_set_kernel(t, code, sizeof(code));
	return guest_load(t);
}

static void check_flat_refused(const struct mb_header_wire *h, int code, const char *words)
{
	struct guest *t = guest_new(false);

	CHECK_EQ(load_flat(t, h), code);
	CHECK_ERR(t->err, words);
	guest_free(t);
}

TEST(an_elf_kernel_gets_its_modules_and_map)
{
	struct mb_elf_file f = make_elf(MB_WANTS_ALIGNED_MODULES | MB_WANTS_MEMORY);
	struct mb_info_wire info;
	struct mb_module_wire module;
	struct mb_mmap_wire map;
	struct guest *t = guest_new(false);

	guest_set_kernel(t, &f, sizeof(f));
	guest_add_module(t, "FOO=1\n", 6, "env");
	guest_add_module(t, "second", 6, NULL);
	t->config.cmdline = "arg1 arg2";
	CHECK_EQ(guest_load(t), 0);
	CHECK_EQ(t->info.protocol, BOOT_MULTIBOOT);
	CHECK_EQ(t->cpu.rip, ENTRY);
	CHECK_EQ(t->cpu.gpr[X86_RAX], MB_LOADER_MAGIC);
	CHECK_EQ(t->cpu.cr0 & (X86_CR0_PE | X86_CR0_PG), X86_CR0_PE);
	CHECK(!(t->cpu.rflags & X86_FLAG_IF));

	guest_read(t, t->cpu.gpr[X86_RBX], &info, sizeof(info));
	CHECK_EQ(le32_get(info.flags), 0x24d);
	CHECK_EQ(le32_get(info.mem_lower), 639);
	CHECK_EQ(le32_get(info.mem_upper), 63 * 1024);
	CHECK_STR(guest_string(t, le32_get(info.cmdline)), "vmlinuz arg1 arg2");
	CHECK_STR(guest_string(t, le32_get(info.boot_loader_name)), "posada");
	CHECK_EQ(le32_get(info.mods_count), 2);
	guest_read(t, le32_get(info.mods_addr), &module, sizeof(module));
	CHECK(is_aligned(le32_get(module.start), PAGE_SIZE));
	CHECK_EQ(le32_get(module.end) - le32_get(module.start), 6);
	CHECK_EQ(guest_u32(t, le32_get(module.start)), 0x3d4f4f46);
	CHECK_STR(guest_string(t, le32_get(module.string)), "env");
	guest_read(t, le32_get(info.mods_addr) + sizeof(module), &module, sizeof(module));
	CHECK_STR(guest_string(t, le32_get(module.string)), "initrd.img");

	CHECK_EQ(le32_get(info.mmap_length), t->memmap.n * sizeof(map));
	guest_read(t, le32_get(info.mmap_addr) + 3 * sizeof(map), &map, sizeof(map));
	CHECK_EQ(le32_get(map.size), 20);
	CHECK_EQ(le64_get(map.addr), MIB);
	CHECK_EQ(le64_get(map.length), 63 * MIB);
	guest_free(t);
}

TEST(a_kernel_without_arguments_gets_its_name)
{
	struct mb_elf_file f = make_elf(0);
	struct mb_info_wire info;
	struct guest *t = guest_new(false);

	guest_set_kernel(t, &f, sizeof(f));
	CHECK_EQ(guest_load(t), 0);
	guest_read(t, t->cpu.gpr[X86_RBX], &info, sizeof(info));
	CHECK_STR(guest_string(t, le32_get(info.cmdline)), "vmlinuz");
	guest_free(t);
}

TEST(addresses_in_the_header_place_the_file)
{
	const struct mb_header_wire h = make_addresses();
	struct guest *t = guest_new(false);

	CHECK_EQ(gmem_fill(t->gmem, LOAD_AT, 0xcc, 2 * MIB), 0);
	CHECK_EQ(load_flat(t, &h), 0);
	CHECK_EQ(t->cpu.rip, ENTRY);
	CHECK_EQ(guest_u32(t, LOAD_AT), 0x90909090);
	CHECK_EQ(guest_u32(t, LOAD_AT + HEADER_AT), MB_HEADER_MAGIC);
	CHECK_EQ(guest_u32(t, LOAD_AT + CODE_BYTES), 0);
	CHECK_EQ(guest_u32(t, LOAD_AT + CODE_BYTES + BSS_BYTES), 0xcccccccc);
	CHECK_EQ(t->info.kernel_size, CODE_BYTES + BSS_BYTES);
	guest_free(t);
}

TEST(zero_ends_mean_the_whole_file_and_nothing_cleared)
{
	struct mb_header_wire h = make_addresses();
	struct guest *t = guest_new(false);

	h.load_end_addr = h.bss_end_addr = le32_of(0);
	CHECK_EQ(load_flat(t, &h), 0);
	CHECK_EQ(t->info.kernel_size, CODE_BYTES);
	guest_free(t);
}

TEST(addresses_without_sense_are_refused)
{
	struct mb_header_wire h = make_addresses();

	h.load_addr = le32_of(LOAD_AT + HEADER_AT + 4);
	check_flat_refused(&h, -EINVAL, "make no sense");
	h = make_addresses();
	h.load_addr = le32_of(LOAD_AT - 4); /* would begin before the file */
	check_flat_refused(&h, -EINVAL, "make no sense");
	h = make_addresses();
	h.load_end_addr = le32_of(LOAD_AT - 1);
	check_flat_refused(&h, -EINVAL, "make no sense");
	h = make_addresses();
	h.bss_end_addr = le32_of(LOAD_AT + 1);
	check_flat_refused(&h, -EINVAL, "make no sense");
	h = make_addresses();
	h.entry_addr = le32_of(LOAD_AT - 1);
	check_flat_refused(&h, -EINVAL, "make no sense");
	h = make_addresses();
	h.load_end_addr = le32_of(LOAD_AT + CODE_BYTES + 1);
	check_flat_refused(&h, -EINVAL, "truncated: it should have 1025 bytes, it has 1024");
	h = make_addresses();
	h.bss_end_addr = le32_of(0xffffffff);
	check_flat_refused(&h, -ENOSPC, "of memory at 0x400000");
	h = make_addresses();
	h.header_addr = le32_of(0x8000 + HEADER_AT);
	h.load_addr = le32_of(0x8000);
	h.load_end_addr = h.bss_end_addr = le32_of(0);
	h.entry_addr = le32_of(0x8000);
	check_flat_refused(&h, -ENOEXEC, "it loads at 0x8000, below 1 MiB");
}

TEST(requirements_not_understood_are_refused)
{
	struct mb_header_wire h = make_header(MB_WANTS_VIDEO);

	check_flat_refused(&h, -ENOEXEC, "video mode");
	h = make_header(BIT32(7));
	check_flat_refused(&h, -ENOEXEC, "unknown multiboot features (0x80)");
	h = make_header(0);
	check_flat_refused(&h, -ENOEXEC, "neither ELF nor has load addresses");
}

TEST(a_header_with_a_wrong_checksum_is_none)
{
	struct mb_header_wire h = make_addresses();

	h.checksum = le32_of(le32_get(h.checksum) + 1);
	check_flat_refused(&h, -ENOEXEC, "not a kernel");
}

TEST(an_elf_entry_outside_the_kernel_is_refused)
{
	struct mb_elf_file f = make_elf(0);
	struct guest *t = guest_new(false);

	f.h.entry = le32_of(0x100);
	guest_set_kernel(t, &f, sizeof(f));
	CHECK(guest_load(t) < 0);
	CHECK_ERR(t->err, "its entry 0x100");
	guest_free(t);
}

TEST(a_module_too_large_is_refused)
{
	struct mb_elf_file f = make_elf(0);
	struct guest *t = guest_new(true); /* memory above 4 GiB is of no use to a 32-bit kernel */
	static u8 half[40 * MIB];

	guest_set_kernel(t, &f, sizeof(f));
	guest_add_module(t, half, sizeof(half), NULL);
	CHECK_EQ(guest_load(t), 0);
	guest_add_module(t, half, sizeof(half), NULL);
	CHECK_EQ(guest_load(t), -ENOSPC);
	CHECK_ERR(t->err, "initrd 'initrd.img': too large");
	guest_free(t);
}

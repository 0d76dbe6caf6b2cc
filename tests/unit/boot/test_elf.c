/*
 * ELF kernels: a vmlinux by its 64-bit entry, PVH, and each refusal.
 */
#include "boot/elf_wire.h"
#include "boot/linux_wire.h"
#include "boot/pvh_wire.h"
#include "fixture.h"
#include "test.h"

#define CODE_BYTES 0x1000
#define BSS_BYTES  0x2000
#define LOAD_AT    ((u32)0x1000000)
#define ENTRY      (LOAD_AT + 0x100)
#define PVH_ENTRY  (LOAD_AT + 0x200)

/* A whole kernel: header, a loadable segment, a note. */
struct elf64_file {
	struct elf64_header_wire h;
	struct elf64_phdr_wire load, note;
	struct elf_note_wire other_note;
	char other_name[8];
	le32 other_desc[2];
	struct elf_note_wire xen_note;
	char xen_name[4];
	le64 xen_desc;
	u8 code[CODE_BYTES];
} packed;

struct elf32_file {
	struct elf32_header_wire h;
	struct elf32_phdr_wire load;
	u8 code[CODE_BYTES];
} packed;

static struct elf_ident_wire make_ident(u8 class, u16 machine)
{
	return (struct elf_ident_wire){
		.magic = le32_of(ELF_MAGIC),
		.class = class,
		.data = ELF_DATA_LE,
		.version = 1,
		.type = le16_of(ELF_TYPE_EXEC),
		.machine = le16_of(machine),
		.version2 = le32_of(1),
	};
}

static struct elf64_file make_elf64(void)
{
	struct elf64_file f = {
		.h.ident = make_ident(ELF_CLASS_64, ELF_MACHINE_X86_64),
		.h.entry = le64_of(ENTRY),
		.h.phoff = le64_of(offsetof(struct elf64_file, load)),
		.h.phentsize = le16_of(sizeof(struct elf64_phdr_wire)),
		.h.phnum = le16_of(1),
		.load.type = le32_of(ELF_PT_LOAD),
		.load.offset = le64_of(offsetof(struct elf64_file, code)),
		.load.vaddr = le64_of(0xffffffff81000000),
		.load.paddr = le64_of(LOAD_AT),
		.load.filesz = le64_of(CODE_BYTES),
		.load.memsz = le64_of(CODE_BYTES + BSS_BYTES),
		.note.type = le32_of(ELF_PT_NOTE),
		.note.offset = le64_of(offsetof(struct elf64_file, other_note)),
		.note.filesz = le64_of(offsetof(struct elf64_file, code) -
				       offsetof(struct elf64_file, other_note)),
		.other_note = {le32_of(6), le32_of(8), le32_of(ELF_NOTE_XEN_PHYS32_ENTRY)},
		.other_name = "Linux",
		.xen_note = {le32_of(4), le32_of(8), le32_of(ELF_NOTE_XEN_PHYS32_ENTRY)},
		.xen_name = "Xen",
		.xen_desc = le64_of(PVH_ENTRY),
	};

	memset(f.code, 0x90, sizeof(f.code));
	return f;
}

static struct elf64_file make_pvh(void)
{
	struct elf64_file f = make_elf64();

	f.h.phnum = le16_of(2);
	return f;
}

static struct elf32_file make_elf32(void)
{
	return (struct elf32_file){
		.h.ident = make_ident(ELF_CLASS_32, ELF_MACHINE_386),
		.h.entry = le32_of(ENTRY),
		.h.phoff = le32_of(offsetof(struct elf32_file, load)),
		.h.phentsize = le16_of(sizeof(struct elf32_phdr_wire)),
		.h.phnum = le16_of(1),
		.load.type = le32_of(ELF_PT_LOAD),
		.load.offset = le32_of(offsetof(struct elf32_file, code)),
		.load.paddr = le32_of(LOAD_AT),
		.load.filesz = le32_of(CODE_BYTES),
		.load.memsz = le32_of(CODE_BYTES),
	};
}

static void check_refused(const void *file, size_t size, int code, const char *words)
{
	struct guest *t = guest_new(false);

	guest_set_kernel(t, file, size);
	CHECK_EQ(guest_load(t), code);
	CHECK_ERR(t->err, words);
	guest_free(t);
}

TEST(a_vmlinux_is_entered_in_long_mode)
{
	struct elf64_file f = make_elf64();
	struct linux_boot_params_wire p;
	struct guest *t = guest_new(false);

	guest_set_kernel(t, &f, sizeof(f));
	guest_add_module(t, "initrd", 6, NULL);
	t->config.cmdline = "ro";
	CHECK_EQ(gmem_fill(t->gmem, LOAD_AT, 0xcc, CODE_BYTES + BSS_BYTES + 1), 0);
	CHECK_EQ(guest_load(t), 0);
	CHECK_EQ(t->info.protocol, BOOT_LINUX_ELF);
	CHECK_EQ(t->cpu.rip, ENTRY);
	CHECK(t->cpu.efer & X86_EFER_LMA);
	CHECK_EQ(guest_u32(t, LOAD_AT + CODE_BYTES - 4), 0x90909090);
	CHECK_EQ(guest_u32(t, LOAD_AT + CODE_BYTES), 0); /* cleared, and no further than asked */
	CHECK_EQ(guest_u32(t, LOAD_AT + CODE_BYTES + BSS_BYTES - 3), 0xcc000000);
	guest_read(t, t->cpu.gpr[X86_RSI], &p, sizeof(p));
	CHECK_EQ(le16_get(p.hdr.boot_flag), LINUX_BOOT_FLAG);
	CHECK_EQ(le32_get(p.hdr.ramdisk_size), 6);
	CHECK_STR(guest_string(t, le32_get(p.hdr.cmd_line_ptr)), "ro");
	guest_free(t);
}

TEST(a_pvh_note_wins_and_is_entered_in_protected_mode)
{
	struct elf64_file f = make_pvh();
	struct pvh_start_info_wire info;
	struct pvh_module_wire module;
	struct pvh_memmap_wire map;
	struct guest *t = guest_new(false);

	guest_set_kernel(t, &f, sizeof(f));
	guest_add_module(t, "initrd", 6, NULL);
	t->config.cmdline = "ro";
	CHECK_EQ(guest_load(t), 0);
	CHECK_EQ(t->info.protocol, BOOT_PVH);
	CHECK_EQ(t->cpu.rip, PVH_ENTRY);
	CHECK_EQ(t->cpu.cr0 & (X86_CR0_PE | X86_CR0_PG), X86_CR0_PE);
	CHECK_EQ(t->cpu.efer, 0);
	CHECK_EQ(t->cpu.seg[X86_CS].limit, 0xffffffff);
	CHECK(t->cpu.seg[X86_CS].attr & X86_ATTR_DB);
	CHECK_EQ(t->cpu.tr.limit, 0x67);
	guest_read(t, t->cpu.gpr[X86_RBX], &info, sizeof(info));
	CHECK_EQ(le32_get(info.magic), PVH_MAGIC);
	CHECK_EQ(le64_get(info.rsdp_paddr), GUEST_RSDP);
	CHECK_STR(guest_string(t, le64_get(info.cmdline_paddr)), "ro");
	CHECK_EQ(le32_get(info.nr_modules), 1);
	guest_read(t, le64_get(info.modlist_paddr), &module, sizeof(module));
	CHECK_EQ(le64_get(module.paddr), t->info.initrd_gpa);
	CHECK_EQ(le64_get(module.size), 6);
	CHECK_EQ(le32_get(info.memmap_entries), t->memmap.n);
	guest_read(t, le64_get(info.memmap_paddr) + 3 * sizeof(map), &map, sizeof(map));
	CHECK_EQ(le64_get(map.addr), MIB);
	CHECK_EQ(le32_get(map.type), BOOT_MEM_RAM);
	guest_free(t);
}

TEST(a_pvh_kernel_without_initrd_is_told_of_none)
{
	struct elf64_file f = make_pvh();
	struct pvh_start_info_wire info;
	struct guest *t = guest_new(false);

	guest_set_kernel(t, &f, sizeof(f));
	CHECK_EQ(guest_load(t), 0);
	guest_read(t, t->cpu.gpr[X86_RBX], &info, sizeof(info));
	CHECK_EQ(le32_get(info.nr_modules), 0);
	CHECK_EQ(le64_get(info.modlist_paddr), 0);
	guest_free(t);
}

TEST(a_plain_32_bit_kernel_is_refused)
{
	struct elf32_file f = make_elf32();

	check_refused(&f, sizeof(f), -ENOEXEC,
		      "a 32-bit kernel with neither a PVH entry nor a multiboot header");
}

TEST(other_elf_files_are_refused)
{
	struct elf64_file f = make_elf64();

	f.h.ident.machine = le16_of(183);
	check_refused(&f, sizeof(f), -ENOEXEC, "for another processor (machine 183)");
	f = make_elf64();
	f.h.ident.type = le16_of(1);
	check_refused(&f, sizeof(f), -ENOEXEC, "not a program (type 1)");
	f = make_elf64();
	f.h.ident.class = 7;
	check_refused(&f, sizeof(f), -ENOEXEC, "ELF class 7");
	f = make_elf64();
	f.load.type = le32_of(3);
	check_refused(&f, sizeof(f), -ENOEXEC, "nothing to load");
	f = make_elf64();
	f.h.entry = le64_of(0xffffffff81000100);
	check_refused(&f, sizeof(f), -ENOEXEC, "not a physical address within its segments");
}

TEST(damaged_segment_tables_are_refused)
{
	struct elf64_file f = make_elf64();

	f.h.phnum = le16_of(0);
	check_refused(&f, sizeof(f), -ENOEXEC, "0 segments, not 1 to 64");
	f.h.phnum = le16_of(65);
	check_refused(&f, sizeof(f), -ENOEXEC, "65 segments");
	f = make_elf64();
	f.h.phentsize = le16_of(8);
	check_refused(&f, sizeof(f), -EINVAL, "segment headers have 8 bytes");
	f = make_elf64();
	f.h.phoff = le64_of(~(u64)0 - 3);
	check_refused(&f, sizeof(f), -EINVAL, "truncated");
}

TEST(segments_that_cannot_be_loaded_are_refused)
{
	struct elf64_file f = make_elf64();

	check_refused(&f, sizeof(f) - 1, -EINVAL, "truncated: a segment of 4096 bytes");
	f.load.offset = le64_of(~(u64)0 - 3);
	check_refused(&f, sizeof(f), -EINVAL, "truncated");
	f = make_elf64();
	f.load.memsz = le64_of(CODE_BYTES - 1);
	check_refused(&f, sizeof(f), -EINVAL, "damaged: a segment with 0x1000 bytes in 0xfff");
	f = make_elf64();
	f.load.paddr = le64_of(0x8000);
	check_refused(&f, sizeof(f), -ENOEXEC, "it loads at 0x8000, below 1 MiB");
	f = make_elf64();
	f.load.memsz = le64_of(GUEST_RAM);
	check_refused(&f, sizeof(f), -ENOSPC, "it needs 65536 KiB of memory at 0x1000000");
	f = make_elf64();
	f.load.paddr = le64_of(~(u64)0 - 100);
	check_refused(&f, sizeof(f), -ENOSPC, "of memory at 0xffffffffffffff9b");
}

TEST(damaged_notes_do_no_harm)
{
	struct elf64_file f = make_pvh();
	struct guest *t = guest_new(false);

	f.other_note.namesz = le32_of(0xfffffffe);
	guest_set_kernel(t, &f, sizeof(f));
	CHECK_EQ(guest_load(t), 0);
	CHECK_EQ(t->info.protocol, BOOT_LINUX_ELF); /* the note behind can't be found */
	f.note.filesz = le64_of(5);
	guest_set_kernel(t, &f, sizeof(f));
	CHECK_EQ(guest_load(t), 0);
	CHECK_EQ(t->info.protocol, BOOT_LINUX_ELF);
	guest_free(t);

	f.note.filesz = le64_of(MIB);
	check_refused(&f, sizeof(f), -EINVAL, "damaged: 1048576 bytes of notes");
	f = make_pvh();
	f.xen_desc = le64_of(0x100);
	check_refused(&f, sizeof(f), -ENOEXEC, "its entry 0x100 is not a physical address");
}

TEST(a_long_command_line_is_refused)
{
	struct elf64_file f = make_elf64();
	struct guest *t = guest_new(false);
	char line[LINUX_CMDLINE_MAX + 2];

	memset(line, 'a', sizeof(line) - 1);
	line[sizeof(line) - 1] = 0;
	guest_set_kernel(t, &f, sizeof(f));
	t->config.cmdline = line;
	CHECK_EQ(guest_load(t), -E2BIG);
	CHECK_ERR(t->err, "at most 2047");
	guest_free(t);
}

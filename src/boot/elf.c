/*
 * ELF kernels: segments to their physical addresses, and the note that names a PVH entry.
 *
 * Both classes are first brought into one form. Segments must lie in RAM between 1 MiB and 4 GiB
 * (32-bit entries and our page tables see no more); below is what the kernel is handed.
 */
#include <string.h>

#include "base/alloc.h"
#include "base/err.h"
#include "boot/boot_priv.h"
#include "boot/elf_wire.h"
#include "mem/gmem.h"

#define ELF_PHDRS_MAX     64
#define ELF_NOTES_MAX     (64 * KIB) /* bytes of one note segment */
#define ELF_NOTE_ALIGN    4
#define ELF_PHDR_SIZE_MAX sizeof(struct elf64_phdr_wire)

struct elf_phdr {
	u32 type;
	u64 offset, filesz;
	gpa_t paddr;
	u64 memsz;
};

struct elf_file {
	bool is_64;
	u16 type;
	gpa_t entry;
	u64 phoff;
	u32 phentsize, phnum;
	struct elf_phdr phdr[ELF_PHDRS_MAX];
};

bool elf_is(const struct boot_loader *l)
{
	return le32_load(l->head) == ELF_MAGIC;
}

static void elf_parse_header32(const u8 *head, struct elf_file *f)
{
	struct elf32_header_wire h;

	memcpy(&h, head, sizeof(h));
	f->entry = le32_get(h.entry);
	f->phoff = le32_get(h.phoff);
	f->phentsize = le16_get(h.phentsize);
	f->phnum = le16_get(h.phnum);
}

static void elf_parse_header64(const u8 *head, struct elf_file *f)
{
	struct elf64_header_wire h;

	memcpy(&h, head, sizeof(h));
	f->entry = le64_get(h.entry);
	f->phoff = le64_get(h.phoff);
	f->phentsize = le16_get(h.phentsize);
	f->phnum = le16_get(h.phnum);
}

static int elf_parse_header(const struct boot_loader *l, struct elf_file *f, struct err *err)
{
	struct elf_ident_wire ident;
	unsigned machine;

	memcpy(&ident, l->head, sizeof(ident));
	machine = le16_get(ident.machine);
	f->type = le16_get(ident.type);
	f->is_64 = ident.class == ELF_CLASS_64;
	if (!f->is_64 && ident.class != ELF_CLASS_32)
		return err_set(err, -ENOEXEC, "damaged: ELF class %u", ident.class);
	if (ident.data != ELF_DATA_LE ||
	    (machine != ELF_MACHINE_386 && machine != ELF_MACHINE_X86_64))
		return err_set(err, -ENOEXEC, "an ELF file for another processor (machine %u)",
			       machine);
	if (f->type != ELF_TYPE_EXEC && f->type != ELF_TYPE_DYN)
		return err_set(err, -ENOEXEC, "an ELF file, but not a program (type %u)", f->type);

	if (f->is_64)
		elf_parse_header64(l->head, f);
	else
		elf_parse_header32(l->head, f);
	if (!f->phnum || f->phnum > ELF_PHDRS_MAX)
		return err_set(err, -ENOEXEC, "an ELF file with %u segments, not 1 to %u", f->phnum,
			       ELF_PHDRS_MAX);
	if (f->phentsize !=
	    (f->is_64 ? sizeof(struct elf64_phdr_wire) : sizeof(struct elf32_phdr_wire)))
		return err_set(err, -EINVAL, "damaged: its segment headers have %u bytes",
			       f->phentsize);
	return 0;
}

static struct elf_phdr elf_parse_phdr(const u8 *raw, bool is_64)
{
	struct elf64_phdr_wire p64;
	struct elf32_phdr_wire p32;

	if (is_64) {
		memcpy(&p64, raw, sizeof(p64));
		return (struct elf_phdr){le32_get(p64.type), le64_get(p64.offset),
					 le64_get(p64.filesz), le64_get(p64.paddr),
					 le64_get(p64.memsz)};
	}
	memcpy(&p32, raw, sizeof(p32));
	return (struct elf_phdr){le32_get(p32.type), le32_get(p32.offset), le32_get(p32.filesz),
				 le32_get(p32.paddr), le32_get(p32.memsz)};
}

static int elf_read_phdrs(const struct boot_loader *l, struct elf_file *f, struct err *err)
{
	u8 raw[ELF_PHDRS_MAX * ELF_PHDR_SIZE_MAX];
	int r = boot_image_read(&l->kernel, f->phoff, raw, (u64)f->phnum * f->phentsize, err);

	if (r < 0)
		return r;
	for (u32 i = 0; i < f->phnum; i++)
		f->phdr[i] = elf_parse_phdr(raw + (size_t)i * f->phentsize, f->is_64);
	return 0;
}

static int elf_check_segment(const struct boot_loader *l, const struct elf_phdr *p, struct err *err)
{
	if (p->filesz > p->memsz)
		return err_set(err, -EINVAL, "damaged: a segment with %#lx bytes in %#lx",
			       p->filesz, p->memsz);
	if (!range_fits(p->offset, p->filesz, l->kernel.size))
		return err_set(err, -EINVAL,
			       "truncated: a segment of %lu bytes at %lu goes beyond its end",
			       p->filesz, p->offset);
	if (p->paddr < BOOT_HIGH_GPA)
		return err_set(err, -ENOEXEC, "it loads at %#lx, below 1 MiB", p->paddr);
	if (!range_fits(p->paddr, p->memsz, BOOT_ABOVE_4G_GPA) ||
	    !boot_memmap_is_ram(l->config->memmap, p->paddr, p->memsz))
		return err_set(err, -ENOSPC,
			       "it needs %lu KiB of memory at %#lx; give the guest more memory",
			       (p->memsz + KIB - 1) / KIB, p->paddr);
	return 0;
}

static int elf_load_segment(struct boot_loader *l, const struct elf_phdr *p, struct err *err)
{
	int r = elf_check_segment(l, p, err);

	if (r < 0)
		return r;
	r = boot_image_load(&l->kernel, p->offset, p->filesz, l->gmem, p->paddr, err);
	if (r < 0)
		return r;
	r = gmem_fill(l->gmem, p->paddr + p->filesz, 0, p->memsz - p->filesz);
	if (r < 0)
		return err_set(err, r, "no memory at %#lx", p->paddr);
	boot_memmap_set(&l->room, p->paddr, p->memsz, BOOT_MEM_RESERVED);
	return 0;
}

static int elf_load_segments(struct boot_loader *l, const struct elf_file *f, struct err *err)
{
	gpa_t start = BOOT_ABOVE_4G_GPA, end = 0;

	for (u32 i = 0; i < f->phnum; i++) {
		const struct elf_phdr *p = &f->phdr[i];
		int r;

		if (p->type != ELF_PT_LOAD || !p->memsz)
			continue;
		r = elf_load_segment(l, p, err);
		if (r < 0)
			return r;
		start = MIN(start, p->paddr);
		end = MAX(end, p->paddr + p->memsz);
	}
	if (start >= end)
		return err_set(err, -ENOEXEC, "an ELF file with nothing to load");
	l->info.kernel_gpa = start;
	l->info.kernel_size = end - start;
	return 0;
}

/* Looks for Xen's entry in a row of notes; sizes within it are a stranger's. */
static void elf_scan_notes(const u8 *notes, u64 size, struct elf_info *out)
{
	u64 at = 0;

	while (range_fits(at, sizeof(struct elf_note_wire), size)) {
		struct elf_note_wire n;
		u64 name, desc, name_size, desc_size;

		memcpy(&n, notes + at, sizeof(n));
		name_size = le32_get(n.namesz);
		desc_size = le32_get(n.descsz);
		name = at + sizeof(n);
		desc = name + align_up(name_size, ELF_NOTE_ALIGN);
		if (!range_fits(desc, desc_size, size))
			return;
		if (le32_get(n.type) == ELF_NOTE_XEN_PHYS32_ENTRY &&
		    name_size == sizeof(ELF_NOTE_XEN) &&
		    !memcmp(notes + name, ELF_NOTE_XEN, name_size) && desc_size >= 4) {
			out->has_pvh = true;
			out->pvh_entry = le32_load(notes + desc);
			return;
		}
		at = desc + align_up(desc_size, ELF_NOTE_ALIGN);
	}
}

static int elf_read_notes(const struct boot_loader *l, const struct elf_phdr *p,
			  struct elf_info *out, struct err *err)
{
	AUTO(free_ptr) u8 *notes = NULL;
	int r;

	if (p->filesz > ELF_NOTES_MAX)
		return err_set(err, -EINVAL, "damaged: %lu bytes of notes", p->filesz);
	notes = alloc_try(p->filesz + 1, 1);
	if (!notes)
		return err_errno(err, -ENOMEM, "%lu bytes of notes", p->filesz);
	r = boot_image_read(&l->kernel, p->offset, notes, p->filesz, err);
	if (r == 0)
		elf_scan_notes(notes, p->filesz, out);
	return r;
}

static bool elf_is_loaded(const struct elf_file *f, gpa_t entry)
{
	for (u32 i = 0; i < f->phnum; i++) {
		const struct elf_phdr *p = &f->phdr[i];

		if (p->type == ELF_PT_LOAD && entry >= p->paddr && entry - p->paddr < p->memsz)
			return true;
	}
	return false;
}

static int elf_check_entry(const struct elf_file *f, const struct elf_info *info, struct err *err)
{
	gpa_t entry = info->has_pvh ? info->pvh_entry : info->entry;

	if (!elf_is_loaded(f, entry))
		return err_set(err, -ENOEXEC,
			       "its entry %#lx is not a physical address within its segments",
			       entry);
	return 0;
}

int elf_load(struct boot_loader *l, struct elf_info *out, struct err *err)
{
	struct elf_file f = {0};
	int r;

	r = elf_parse_header(l, &f, err);
	if (r == 0)
		r = elf_read_phdrs(l, &f, err);
	if (r < 0)
		return r;

	*out = (struct elf_info){.is_64 = f.is_64, .entry = f.entry};
	for (u32 i = 0; i < f.phnum && !out->has_pvh; i++) {
		if (f.phdr[i].type != ELF_PT_NOTE)
			continue;
		r = elf_read_notes(l, &f.phdr[i], out, err);
		if (r < 0)
			return r;
	}
	r = elf_load_segments(l, &f, err);
	if (r < 0)
		return r;
	return elf_check_entry(&f, out, err);
}

/*
 * ELF files, both classes, as kernels use them (System V ABI, chapters 4 and 5). Facts only.
 */
#ifndef BOOT_ELF_WIRE_H
#define BOOT_ELF_WIRE_H

#include "base/base.h"
#include "base/bytes.h"

#define ELF_MAGIC          0x464c457f /* 7f "ELF" */
#define ELF_CLASS_32       1
#define ELF_CLASS_64       2
#define ELF_DATA_LE        1
#define ELF_TYPE_EXEC      2
#define ELF_TYPE_DYN       3
#define ELF_MACHINE_386    3
#define ELF_MACHINE_X86_64 62
#define ELF_PT_LOAD        1
#define ELF_PT_NOTE        4

struct elf_ident_wire {
	le32 magic;
	u8 class;
	u8 data;
	u8 version;
	u8 pad[9];
	le16 type;
	le16 machine;
	le32 version2;
};
static_assert(sizeof(struct elf_ident_wire) == 24, "ELF");

struct elf32_header_wire {
	struct elf_ident_wire ident;
	le32 entry;
	le32 phoff;
	le32 shoff;
	le32 flags;
	le16 ehsize;
	le16 phentsize;
	le16 phnum;
	le16 shentsize;
	le16 shnum;
	le16 shstrndx;
};
static_assert(sizeof(struct elf32_header_wire) == 52, "ELF");

struct elf64_header_wire {
	struct elf_ident_wire ident;
	le64 entry;
	le64 phoff;
	le64 shoff;
	le32 flags;
	le16 ehsize;
	le16 phentsize;
	le16 phnum;
	le16 shentsize;
	le16 shnum;
	le16 shstrndx;
};
static_assert(sizeof(struct elf64_header_wire) == 64, "ELF");

struct elf32_phdr_wire {
	le32 type;
	le32 offset;
	le32 vaddr;
	le32 paddr;
	le32 filesz;
	le32 memsz;
	le32 flags;
	le32 align;
};
static_assert(sizeof(struct elf32_phdr_wire) == 32, "ELF");

struct elf64_phdr_wire {
	le32 type;
	le32 flags;
	le64 offset;
	le64 vaddr;
	le64 paddr;
	le64 filesz;
	le64 memsz;
	le64 align;
};
static_assert(sizeof(struct elf64_phdr_wire) == 56, "ELF");

struct elf_note_wire {
	le32 namesz;
	le32 descsz;
	le32 type;
};
static_assert(sizeof(struct elf_note_wire) == 12, "ELF");

/* Xen's note: the physical address of a 32-bit entry (xen/include/public/elfnote.h). */
#define ELF_NOTE_XEN              "Xen"
#define ELF_NOTE_XEN_PHYS32_ENTRY 18

#endif

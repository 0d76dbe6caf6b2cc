/*
 * The boot processor's state at a kernel's entry: long mode or protected mode, flat segments.
 *
 * Descriptors and page tables are put into guest memory as well, since a kernel may reload a
 * segment or walk the tables before it brings its own. Everything else is as after power-on.
 */
#include "arch/x86/cpu_state.h"
#include "base/bytes.h"
#include "base/err.h"
#include "boot/boot_priv.h"

/* Selectors as Linux's boot protocol wants them: __BOOT_CS, __BOOT_DS. */
#define SEL_CODE 0x10
#define SEL_DATA 0x18
#define SEL_TSS  0x20

#define ATTR_FLAT   (X86_ATTR_S | X86_ATTR_P | X86_ATTR_G)
#define ATTR_CODE64 (0xbu | ATTR_FLAT | X86_ATTR_L)
#define ATTR_CODE32 (0xbu | ATTR_FLAT | X86_ATTR_DB)
#define ATTR_DATA   (0x3u | ATTR_FLAT | X86_ATTR_DB)
#define ATTR_TSS    (0xbu | X86_ATTR_P) /* busy */
#define TSS_LIMIT   0x67

#define LARGE_PAGE_SHIFT 21 /* 2 MiB */
#define TABLE_ENTRIES    512
#define IDENTITY_DIRS    4 /* GiB that are mapped */

/* A descriptor with base 0 (SDM 3A, 3.4.5): limit is in units of its granularity. */
static u64 entry_descriptor(u32 attr, u32 limit)
{
	return (limit & 0xffff) | (u64)(limit >> 16 & 0xf) << 48 | (u64)(attr & 0xf0ff) << 40;
}

static int entry_write_gdt(struct boot_loader *l, u32 code_attr, struct err *err)
{
	const le64 gdt[] = {
		le64_of(0),
		le64_of(0),
		le64_of(entry_descriptor(code_attr, 0xfffff)),
		le64_of(entry_descriptor(ATTR_DATA, 0xfffff)),
		le64_of(entry_descriptor(ATTR_TSS, TSS_LIMIT)),
		le64_of(0), /* a 64-bit TSS descriptor takes two */
	};

	return boot_put(l, BOOT_GDT_GPA, gdt, sizeof(gdt), err);
}

static void entry_set_segments(struct x86_cpu_state *s, u32 code_attr)
{
	const struct x86_segment data = {
		.limit = 0xffffffff, .attr = ATTR_DATA, .selector = SEL_DATA};

	for (unsigned i = 0; i < X86_SEGS; i++)
		s->seg[i] = data;
	s->seg[X86_CS].attr = code_attr;
	s->seg[X86_CS].selector = SEL_CODE;
	s->tr = (struct x86_segment){.limit = TSS_LIMIT, .attr = ATTR_TSS, .selector = SEL_TSS};
	s->gdt = (struct x86_table){.base = BOOT_GDT_GPA, .limit = 6 * 8 - 1};
	s->idt = (struct x86_table){.base = 0, .limit = 0}; /* no handler: an exception is fatal */
}

/* The first 4 GiB, in 2 MiB pages, mapped to themselves (SDM 3A, 4.5). */
static int entry_write_page_tables(struct boot_loader *l, struct err *err)
{
	const u64 flags = X86_PTE_P | X86_PTE_W;
	const gpa_t pdpt = BOOT_TABLES_GPA + PAGE_SIZE;
	le64 table[TABLE_ENTRIES] = {0};
	int r;

	table[0] = le64_of(pdpt | flags);
	r = boot_put(l, BOOT_TABLES_GPA, table, sizeof(table), err);
	for (u64 i = 0; i < IDENTITY_DIRS; i++)
		table[i] = le64_of((pdpt + (i + 1) * PAGE_SIZE) | flags);
	if (r == 0)
		r = boot_put(l, pdpt, table, sizeof(table), err);
	for (u64 dir = 0; dir < IDENTITY_DIRS && r == 0; dir++) {
		for (u64 i = 0; i < TABLE_ENTRIES; i++)
			table[i] = le64_of((dir * TABLE_ENTRIES + i) << LARGE_PAGE_SHIFT | flags |
					   X86_PTE_PS);
		r = boot_put(l, pdpt + (dir + 1) * PAGE_SIZE, table, sizeof(table), err);
	}
	return r;
}

static int entry_begin(struct boot_loader *l, gpa_t entry, u32 code_attr, struct x86_cpu_state *s,
		       struct err *err)
{
	x86_cpu_reset(s, true);
	for (unsigned i = 0; i < X86_GPRS; i++)
		s->gpr[i] = 0;
	s->gpr[X86_RSP] = BOOT_STACK_GPA;
	s->rip = entry;
	s->rflags = X86_FLAG_ONE;
	entry_set_segments(s, code_attr);
	s->cr0 = X86_CR0_PE | X86_CR0_ET;
	s->cr4 = 0;
	l->info.entry = entry;
	return entry_write_gdt(l, code_attr, err);
}

int boot_enter_long_mode(struct boot_loader *l, gpa_t entry, struct x86_cpu_state *out,
			 struct err *err)
{
	int r = entry_begin(l, entry, ATTR_CODE64, out, err);

	if (r < 0)
		return r;
	out->cr0 |= X86_CR0_PG;
	out->cr3 = BOOT_TABLES_GPA;
	out->cr4 = X86_CR4_PAE;
	out->efer = X86_EFER_LME | X86_EFER_LMA;
	return entry_write_page_tables(l, err);
}

int boot_enter_protected_mode(struct boot_loader *l, gpa_t entry, struct x86_cpu_state *out,
			      struct err *err)
{
	return entry_begin(l, entry, ATTR_CODE32, out, err);
}

/*
 * ACPI's static tables, and putting all of them into guest memory. See acpi.h.
 *
 * Tables are appended to a buffer that stands for the guest's area, so that each knows the address
 * of those before it: FACS and DSDT first, then what points to them, the root tables last.
 */
#include "boot/acpi.h"

#include <string.h>

#include "base/alloc.h"
#include "base/err.h"
#include "boot/acpi_priv.h"
#include "boot/acpi_wire.h"
#include "boot/aml.h"
#include "mem/gmem.h"

#define ACPI_TABLES_MAX   8
#define ACPI_TABLE_ALIGN  16
#define ACPI_OEM_REVISION 1
#define ACPI_ISA_TIMER    0

struct acpi_builder {
	const struct acpi_config *config;
	gpa_t area;
	u8 *data;
	u64 size, used;
	bool is_full;                /* something didn't fit: the result is of no use */
	gpa_t root[ACPI_TABLES_MAX]; /* what the root tables list */
	u32 n_root;
};

static u8 acpi_checksum(const void *data, u64 size)
{
	const u8 *p = data;
	u8 sum = 0;

	for (u64 i = 0; i < size; i++)
		sum = (u8)(sum + p[i]);
	return (u8)-sum;
}

static u64 acpi_append(struct acpi_builder *b, const void *data, u64 size)
{
	u64 at = b->used;

	if (!range_fits(at, size, b->size)) {
		b->is_full = true;
		return 0;
	}
	memcpy(b->data + at, data, size);
	b->used += size;
	return at;
}

static void acpi_align(struct acpi_builder *b, u64 align)
{
	b->used = MIN(align_up(b->used, align), b->size);
}

/* The header of a table whose length and checksum acpi_finish fills in. */
static struct acpi_header_wire acpi_header(const char *signature, u8 revision)
{
	struct acpi_header_wire h = {
		.revision = revision,
		.oem_id = {'P', 'O', 'S', 'A', 'D', 'A'},
		.oem_table_id = {'P', 'C', '-', '1', ' ', ' ', ' ', ' '},
		.oem_revision = le32_of(ACPI_OEM_REVISION),
		.creator_id = {'P', 'S', 'D', 'A'},
		.creator_revision = le32_of(ACPI_OEM_REVISION),
	};

	memcpy(h.signature, signature, sizeof(h.signature));
	return h;
}

/* Ends the table that began at start, with everything appended since; its address. */
static gpa_t acpi_finish(struct acpi_builder *b, u64 start)
{
	struct acpi_header_wire *h = (void *)(b->data + start);
	u64 length = b->used - start;

	if (b->is_full)
		return 0;
	h->length = le32_of((u32)length);
	h->checksum = acpi_checksum(h, length);
	acpi_align(b, ACPI_TABLE_ALIGN);
	return b->area + start;
}

static void acpi_list(struct acpi_builder *b, gpa_t table)
{
	assert(b->n_root < ACPI_TABLES_MAX);
	b->root[b->n_root++] = table;
}

static gpa_t acpi_add_facs(struct acpi_builder *b)
{
	const struct acpi_facs_wire facs = {
		.signature = {'F', 'A', 'C', 'S'},
		.length = le32_of(sizeof(facs)),
		.version = ACPI_FACS_VERSION,
	};

	acpi_align(b, ACPI_FACS_ALIGN);
	return b->area + acpi_append(b, &facs, sizeof(facs));
}

static gpa_t acpi_add_dsdt(struct acpi_builder *b)
{
	const struct acpi_header_wire h = acpi_header("DSDT", 2); /* 2: integers have 64 bits */
	u64 start = acpi_append(b, &h, sizeof(h));
	struct aml aml;

	aml_init(&aml);
	acpi_dsdt_emit(b->config, &aml);
	acpi_append(b, aml.data, aml.len);
	aml_fini(&aml);
	return acpi_finish(b, start);
}

static struct acpi_gas_wire acpi_gas_port(u16 port, unsigned bytes, unsigned access_bytes)
{
	return (struct acpi_gas_wire){
		.space = ACPI_SPACE_IO,
		.bit_width = (u8)(bytes * 8),
		.access = access_bytes == 4 ? 3 : (u8)access_bytes,
		.address = le64_of(port),
	};
}

static void acpi_fill_pm(const struct acpi_pm *pm, struct acpi_fadt_wire *f)
{
	f->sci = le16_of(pm->sci);
	f->smi_cmd = le32_of(pm->smi_cmd);
	f->acpi_enable = pm->acpi_enable;
	f->acpi_disable = pm->acpi_disable;
	f->pm1a_event = le32_of(pm->pm1_event);
	f->pm1_event_len = 4;
	f->x_pm1a_event = acpi_gas_port(pm->pm1_event, 4, 2);
	f->pm1a_control = le32_of(pm->pm1_control);
	f->pm1_control_len = 2;
	f->x_pm1a_control = acpi_gas_port(pm->pm1_control, 2, 2);
	f->pm_timer = le32_of(pm->timer);
	f->pm_timer_len = 4;
	f->x_pm_timer = acpi_gas_port(pm->timer, 4, 4);
	f->gpe0 = le32_of(pm->gpe0);
	f->gpe0_len = pm->gpe0_len;
	f->x_gpe0 = acpi_gas_port(pm->gpe0, pm->gpe0_len, 1);
	f->reset = acpi_gas_port(pm->reset_port, 1, 1);
	f->reset_value = pm->reset_value;
}

static void acpi_add_fadt(struct acpi_builder *b, gpa_t facs, gpa_t dsdt)
{
	const struct acpi_config *c = b->config;
	struct acpi_fadt_wire f = {
		.h = acpi_header("FACP", ACPI_FADT_REVISION),
		.facs = le32_of((u32)facs),
		.dsdt = le32_of((u32)dsdt),
		.x_dsdt = le64_of(dsdt),
		.pm_profile = ACPI_PROFILE_ENTERPRISE_SERVER,
		.c2_latency = le16_of(ACPI_NO_C2_LATENCY),
		.c3_latency = le16_of(ACPI_NO_C3_LATENCY),
		.century = c->rtc_century,
		.boot_arch = le16_of((u16)(ACPI_BOOT_LEGACY_DEVICES |
					   (c->has_i8042 ? ACPI_BOOT_8042 : 0) |
					   (c->has_vga ? 0 : ACPI_BOOT_NO_VGA))),
		.flags = le32_of(ACPI_FADT_WBINVD | ACPI_FADT_PROC_C1 | ACPI_FADT_SLP_BUTTON |
				 ACPI_FADT_FIX_RTC | ACPI_FADT_RESET_REG_SUP |
				 (c->pm.is_timer_32bit ? ACPI_FADT_TMR_VAL_EXT : 0)),
		.minor = ACPI_FADT_MINOR,
	};

	acpi_fill_pm(&c->pm, &f);
	acpi_list(b, acpi_finish(b, acpi_append(b, &f, sizeof(f))));
}

static void acpi_append_cpu(struct acpi_builder *b, u32 id)
{
	u32 flags = id < b->config->n_cpus ? ACPI_LAPIC_ENABLED : ACPI_LAPIC_MAY_COME;

	if (id <= ACPI_LAPIC_ID_MAX) {
		const struct acpi_madt_lapic_wire e = {
			.type = ACPI_MADT_LAPIC,
			.length = sizeof(e),
			.uid = (u8)id,
			.apic_id = (u8)id,
			.flags = le32_of(flags),
		};
		acpi_append(b, &e, sizeof(e));
	} else {
		const struct acpi_madt_x2apic_wire e = {
			.type = ACPI_MADT_X2APIC,
			.length = sizeof(e),
			.apic_id = le32_of(id),
			.flags = le32_of(flags),
			.uid = le32_of(id),
		};
		acpi_append(b, &e, sizeof(e));
	}
}

static void acpi_append_override(struct acpi_builder *b, u8 source, u8 gsi, u16 flags)
{
	const struct acpi_madt_override_wire e = {
		.type = ACPI_MADT_OVERRIDE,
		.length = sizeof(e),
		.source = source,
		.gsi = le32_of(gsi),
		.flags = le16_of(flags),
	};

	acpi_append(b, &e, sizeof(e));
}

static void acpi_add_madt(struct acpi_builder *b)
{
	const struct acpi_config *c = b->config;
	const struct acpi_madt_wire madt = {
		.h = acpi_header("APIC", ACPI_MADT_REVISION),
		.lapic = le32_of(c->lapic_gpa),
		.flags = le32_of(ACPI_MADT_PCAT_COMPAT),
	};
	const struct acpi_madt_ioapic_wire ioapic = {
		.type = ACPI_MADT_IOAPIC,
		.length = sizeof(ioapic),
		.id = c->ioapic_id,
		.address = le32_of(c->ioapic_gpa),
	};
	const struct acpi_madt_nmi_wire nmi = {
		.type = ACPI_MADT_NMI,
		.length = sizeof(nmi),
		.uid = ACPI_UID_ALL,
		.lint = 1,
	};
	u64 start = acpi_append(b, &madt, sizeof(madt));

	for (u32 id = 0; id < c->max_cpus; id++)
		acpi_append_cpu(b, id);
	acpi_append(b, &ioapic, sizeof(ioapic));
	acpi_append_override(b, ACPI_ISA_TIMER, c->timer_gsi, 0);
	acpi_append_override(b, c->pm.sci, c->pm.sci, ACPI_INTI_ACTIVE_HIGH | ACPI_INTI_LEVEL);
	acpi_append(b, &nmi, sizeof(nmi));
	acpi_list(b, acpi_finish(b, start));
}

static void acpi_add_mcfg(struct acpi_builder *b)
{
	const struct acpi_mcfg_wire m = {
		.h = acpi_header("MCFG", 1),
		.base = le64_of(b->config->ecam_gpa),
		.last_bus = b->config->last_bus,
	};

	acpi_list(b, acpi_finish(b, acpi_append(b, &m, sizeof(m))));
}

static void acpi_add_hpet(struct acpi_builder *b)
{
	const struct acpi_hpet_wire h = {
		.h = acpi_header("HPET", 1),
		.id = le32_of(b->config->hpet_id),
		.address = {.space = ACPI_SPACE_MEMORY, .address = le64_of(b->config->hpet_gpa)},
	};

	if (b->config->hpet_gpa)
		acpi_list(b, acpi_finish(b, acpi_append(b, &h, sizeof(h))));
}

/* XSDT (8-byte entries) or RSDT (4-byte, for those who know ACPI 1.0 only). */
static gpa_t acpi_add_root(struct acpi_builder *b, const char *signature, unsigned entry_size)
{
	const struct acpi_header_wire h = acpi_header(signature, 1);
	u64 start = acpi_append(b, &h, sizeof(h));

	for (u32 i = 0; i < b->n_root; i++) {
		const le64 entry = le64_of(b->root[i]);

		acpi_append(b, &entry, entry_size);
	}
	return acpi_finish(b, start);
}

/* All but the RSDP, which is filled in. */
static void acpi_build(struct acpi_builder *b, struct acpi_rsdp_wire *rsdp)
{
	gpa_t facs = acpi_add_facs(b);
	gpa_t dsdt = acpi_add_dsdt(b);
	gpa_t rsdt, xsdt;

	acpi_add_fadt(b, facs, dsdt);
	acpi_add_madt(b);
	acpi_add_mcfg(b);
	acpi_add_hpet(b);
	rsdt = acpi_add_root(b, "RSDT", 4);
	xsdt = acpi_add_root(b, "XSDT", 8);
	*rsdp = (struct acpi_rsdp_wire){
		.signature = {'R', 'S', 'D', ' ', 'P', 'T', 'R', ' '},
		.oem_id = {'P', 'O', 'S', 'A', 'D', 'A'},
		.revision = 2,
		.rsdt = le32_of((u32)rsdt),
		.length = le32_of(sizeof(*rsdp)),
		.xsdt = le64_of(xsdt),
	};
	rsdp->checksum = acpi_checksum(rsdp, ACPI_RSDP_V1_SIZE);
	rsdp->ext_checksum = acpi_checksum(rsdp, sizeof(*rsdp));
}

int acpi_write(const struct acpi_config *c, struct gmem *g, gpa_t rsdp, gpa_t area, u64 area_size,
	       struct err *err)
{
	AUTO(free_ptr) u8 *data = NULL;
	struct acpi_rsdp_wire root;
	struct acpi_builder b = {.config = c, .area = area};

	assert(c->n_cpus >= 1 && c->n_cpus <= c->max_cpus && c->max_cpus <= ACPI_MAX_CPUS);
	assert(is_aligned(area, PAGE_SIZE) && is_aligned(rsdp, ACPI_TABLE_ALIGN));
	assert(range_fits(area, area_size, 4 * GIB));
	b.size = MIN(area_size, ACPI_AREA_SIZE);
	b.data = data = mem_alloc(b.size, 1);
	acpi_build(&b, &root);
	if (b.is_full)
		return err_set(err, -ENOSPC, "the ACPI tables need more than %lu bytes", b.size);
	if (gmem_write_rom(g, area, b.data, b.used) < 0 ||
	    gmem_write_rom(g, rsdp, &root, sizeof(root)) < 0)
		return err_set(err, -EFAULT, "no memory for the ACPI tables at %#lx and %#lx", area,
			       rsdp);
	return 0;
}

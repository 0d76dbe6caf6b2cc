/*
 * The DSDT: what ACPI can't say in a static table. See acpi.h.
 *
 *     \_SB
 *       CPUS.C000...  processors (ACPI0007)
 *       PCI0          host bridge: windows, _OSC, interrupt routing
 *         ISA_        the LPC bridge and the devices behind it
 *         RP00...     root ports, each with the slot behind it
 *       HPET, MRES    what lies outside PCI: the timer, reserved ranges
 *     \_S5            power off
 *     \_GPE._Exx      the hot-plug event
 *
 * The power button is the fixed one, so it has no device here.
 */
#include <stdio.h>

#include "boot/acpi.h"
#include "boot/acpi_priv.h"
#include "boot/aml.h"

#define PCI_CONFIG_PORT     0xcf8
#define PCI_CONFIG_PORTS    8
#define VGA_MEMORY          0xa0000
#define VGA_MEMORY_LAST     0xbffff
#define HPET_SIZE           0x400
#define STA_PRESENT         0xf /* present, enabled, shown, working */
#define STA_PRESENT_HIDDEN  0xb
#define PRT_ANY_FUNCTION    0xffff
#define OSC_UUID_PCI        "33DB4D5B-1FF7-401C-9657-7441C03DD766"
#define OSC_UNKNOWN_UUID    0x04
#define OSC_UNKNOWN_VERSION 0x08
#define OSC_MASKED          0x10
#define OSC_VERSION         1

static u64 dsdt_adr(u8 dev, u8 fn)
{
	return (u64)dev << 16 | fn;
}

static void dsdt_emit_cpus(const struct acpi_config *c, struct aml *a)
{
	aml_device(a, "CPUS");
	aml_name_hid(a, "_HID", "ACPI0010"); /* processor container (ACPI 8.4.2) */
	aml_name_int(a, "_UID", 0);
	for (u32 id = 0; id < c->max_cpus; id++) {
		char name[8];

		snprintf(name, sizeof(name), "C%03X", id & 0xfff);
		aml_device(a, name);
		aml_name_hid(a, "_HID", "ACPI0007");
		aml_name_int(a, "_UID", id);
		aml_name_int(a, "_STA", id < c->n_cpus ? STA_PRESENT : 0);
		aml_end(a);
	}
	aml_end(a);
}

static void dsdt_emit_bridge_windows(const struct acpi_config *c, struct aml *a)
{
	struct aml_res r = {0};

	aml_res_window_bus(&r, 0, c->last_bus);
	aml_res_io(&r, PCI_CONFIG_PORT, PCI_CONFIG_PORTS);
	aml_res_window_io(&r, 0, PCI_CONFIG_PORT - 1);
	aml_res_window_io(&r, PCI_CONFIG_PORT + PCI_CONFIG_PORTS, 0xffff);
	if (c->has_vga)
		aml_res_window_mem32(&r, VGA_MEMORY, VGA_MEMORY_LAST);
	if (c->mem32.size)
		aml_res_window_mem32(&r, (u32)c->mem32.base,
				     (u32)(c->mem32.base + c->mem32.size - 1));
	if (c->mem64.size)
		aml_res_window_mem64(&r, c->mem64.base, c->mem64.base + c->mem64.size - 1);
	aml_name_crs(a, &r);
}

/* CDW1 |= bits */
static void dsdt_emit_osc_status(struct aml *a, u32 bits)
{
	aml_op(a, AML_OR);
	aml_path(a, "CDW1");
	aml_int(a, bits);
	aml_path(a, "CDW1");
}

static void dsdt_emit_dword_field(struct aml *a, u64 offset, const char *name)
{
	aml_op(a, AML_DWORD_FIELD);
	aml_arg(a, 3);
	aml_int(a, offset);
	aml_path(a, name);
}

/* If (Lnot (left == right)) { CDW1 |= bits } */
static void dsdt_emit_osc_unless_equal(struct aml *a, enum aml_op left, u32 bits)
{
	aml_if(a);
	aml_op(a, AML_LNOT);
	aml_op(a, AML_LEQUAL);
	if (left == AML_ARG0) {
		aml_arg(a, 1);
		aml_int(a, OSC_VERSION);
	} else {
		aml_path(a, "CDW3");
		aml_local(a, 0);
	}
	dsdt_emit_osc_status(a, bits);
	aml_end(a);
}

/*
 * _OSC (PCI Firmware 3.2, 4.5.1): of the control bits that the guest asks for, it gets those that
 * the board grants.
 */
static void dsdt_emit_osc(const struct acpi_config *c, struct aml *a)
{
	aml_method(a, "_OSC", 4, true);
	dsdt_emit_dword_field(a, 0, "CDW1");
	aml_if(a);
	aml_op(a, AML_LEQUAL);
	aml_arg(a, 0);
	aml_uuid(a, OSC_UUID_PCI);

	dsdt_emit_dword_field(a, 8, "CDW3");
	aml_op(a, AML_AND);
	aml_path(a, "CDW3");
	aml_int(a, c->osc_granted);
	aml_local(a, 0);
	dsdt_emit_osc_unless_equal(a, AML_ARG0, OSC_UNKNOWN_VERSION);
	dsdt_emit_osc_unless_equal(a, AML_LOCAL0, OSC_MASKED);
	aml_op(a, AML_STORE);
	aml_local(a, 0);
	aml_path(a, "CDW3");
	aml_end(a);

	aml_else(a);
	dsdt_emit_osc_status(a, OSC_UNKNOWN_UUID);
	aml_end(a);
	aml_op(a, AML_RETURN);
	aml_arg(a, 3);
	aml_end(a);
}

static unsigned dsdt_count_routes(const struct acpi_config *c)
{
	unsigned n = 0;

	for (unsigned dev = 0; dev < ACPI_PCI_DEVICES; dev++)
		for (unsigned pin = 0; pin < ACPI_PCI_PINS; pin++)
			n += c->pin_gsi[dev][pin] != 0;
	return n;
}

/* _PRT (6.2.13): each pin straight to a GSI. Bridges' secondary buses follow by the swizzle. */
static void dsdt_emit_prt(const struct acpi_config *c, struct aml *a)
{
	aml_name(a, "_PRT");
	aml_package(a, dsdt_count_routes(c));
	for (unsigned dev = 0; dev < ACPI_PCI_DEVICES; dev++) {
		for (unsigned pin = 0; pin < ACPI_PCI_PINS; pin++) {
			if (!c->pin_gsi[dev][pin])
				continue;
			aml_package(a, 4);
			aml_int(a, dsdt_adr((u8)dev, 0) | PRT_ANY_FUNCTION);
			aml_int(a, pin);
			aml_int(a, 0);
			aml_int(a, c->pin_gsi[dev][pin]);
			aml_end(a);
		}
	}
	aml_end(a);
}

static void dsdt_emit_isa_device(const struct acpi_isa_device *d, struct aml *a)
{
	struct aml_res r = {0};

	aml_device(a, d->name);
	aml_name_hid(a, "_HID", d->hid);
	aml_name_int(a, "_UID", d->uid);
	aml_name_int(a, "_STA", d->irq ? STA_PRESENT : STA_PRESENT_HIDDEN);
	for (unsigned i = 0; i < ARRAY_SIZE(d->io); i++)
		if (d->io[i].len)
			aml_res_io(&r, d->io[i].port, d->io[i].len);
	if (d->irq)
		aml_res_irq(&r, d->irq);
	aml_name_crs(a, &r);
	aml_end(a);
}

static void dsdt_emit_isa(const struct acpi_config *c, struct aml *a)
{
	aml_device(a, "ISA_");
	aml_name_int(a, "_ADR", dsdt_adr(c->lpc_dev, c->lpc_fn));
	for (u32 i = 0; i < c->n_isa; i++)
		dsdt_emit_isa_device(&c->isa[i], a);
	aml_end(a);
}

/* The registers of dev/acpi_slots.h. */
static void dsdt_emit_slot_registers(const struct acpi_config *c, struct aml *a)
{
	static const char *const names[] = {"HPIN", "HPRQ", "HPEJ"};

	aml_port_region(a, "HPRG", c->pm.hotplug_port, 4 * ARRAY_SIZE(names));
	aml_dword_field(a, "HPRG", names, ARRAY_SIZE(names));
}

static const char *dsdt_port_name(unsigned index, char name[8])
{
	snprintf(name, 8, "RP%02X", index & 0xff);
	return name;
}

static void dsdt_emit_root_port(const struct acpi_config *c, unsigned index, struct aml *a)
{
	const struct acpi_root_port *p = &c->root_ports[index];
	char name[8];

	aml_device(a, dsdt_port_name(index, name));
	aml_name_int(a, "_ADR", dsdt_adr(p->dev, p->fn));
	aml_device(a, "SLOT");
	aml_name_int(a, "_ADR", 0);
	aml_name_int(a, "_SUN", p->slot);
	if (c->pm.hotplug_port) {
		aml_method(a, "_EJ0", 1, false);
		aml_op(a, AML_STORE);
		aml_int(a, BIT(index));
		aml_path(a, "HPEJ");
		aml_end(a);
	}
	aml_end(a);
	aml_end(a);
}

static void dsdt_emit_host_bridge(const struct acpi_config *c, struct aml *a)
{
	aml_device(a, "PCI0");
	aml_name_hid(a, "_HID", "PNP0A08");
	aml_name_hid(a, "_CID", "PNP0A03");
	aml_name_int(a, "_UID", 0);
	aml_name_int(a, "_SEG", 0);
	aml_name_int(a, "_BBN", 0);
	dsdt_emit_bridge_windows(c, a);
	dsdt_emit_osc(c, a);
	dsdt_emit_prt(c, a);
	dsdt_emit_isa(c, a);
	if (c->pm.hotplug_port)
		dsdt_emit_slot_registers(c, a);
	for (u32 i = 0; i < c->n_root_ports; i++)
		dsdt_emit_root_port(c, i, a);
	aml_end(a);
}

static void dsdt_emit_hpet(const struct acpi_config *c, struct aml *a)
{
	struct aml_res r = {0};

	aml_device(a, "HPET");
	aml_name_hid(a, "_HID", "PNP0103");
	aml_name_int(a, "_UID", 0);
	aml_res_mem32(&r, c->hpet_gpa, HPET_SIZE, false);
	aml_name_crs(a, &r);
	aml_end(a);
}

/* Motherboard resources: what nobody else may be given. */
static void dsdt_emit_reserved(const struct acpi_config *c, struct aml *a)
{
	struct aml_res r = {0};

	aml_device(a, "MRES");
	aml_name_hid(a, "_HID", "PNP0C02");
	aml_name_int(a, "_UID", 0);
	for (u32 i = 0; i < c->n_reserved; i++) {
		const struct acpi_reserved *e = &c->reserved[i];

		if (e->is_ports)
			aml_res_io(&r, (u16)e->base, (u8)e->size);
		else if (range_fits(e->base, e->size, 4 * GIB))
			aml_res_mem32(&r, (u32)e->base, (u32)e->size, true);
		else
			aml_res_mem64(&r, e->base, e->size);
	}
	aml_name_crs(a, &r);
	aml_end(a);
}

/* Local0 = register; register = Local0, which clears it; each slot whose bit stands is told. */
static void dsdt_emit_notify_slots(const struct acpi_config *c, const char *reg, u8 what,
				   struct aml *a)
{
	char name[8], path[32];

	aml_op(a, AML_STORE);
	aml_path(a, reg);
	aml_local(a, 0);
	aml_op(a, AML_STORE);
	aml_local(a, 0);
	aml_path(a, reg);
	for (u32 i = 0; i < c->n_root_ports; i++) {
		aml_if(a);
		aml_op(a, AML_AND);
		aml_local(a, 0);
		aml_int(a, BIT(i));
		aml_op(a, AML_NO_TARGET);
		aml_op(a, AML_NOTIFY);
		snprintf(path, sizeof(path), "\\_SB.PCI0.%s.SLOT", dsdt_port_name(i, name));
		aml_path(a, path);
		aml_int(a, what);
		aml_end(a);
	}
}

#define NOTIFY_DEVICE_CHECK  1 /* ACPI 6.4, table 5.164 */
#define NOTIFY_EJECT_REQUEST 3

/* The hot-plug event, edge-triggered. */
static void dsdt_emit_hotplug_event(const struct acpi_config *c, struct aml *a)
{
	char event[8];

	snprintf(event, sizeof(event), "_E%02X", c->pm.hotplug_gpe);
	aml_scope(a, "_GPE");
	aml_method(a, event, 0, true);
	if (c->pm.hotplug_port) {
		dsdt_emit_notify_slots(c, "\\_SB.PCI0.HPIN", NOTIFY_DEVICE_CHECK, a);
		dsdt_emit_notify_slots(c, "\\_SB.PCI0.HPRQ", NOTIFY_EJECT_REQUEST, a);
	}
	aml_end(a);
	aml_end(a);
}

static void dsdt_emit_power(const struct acpi_config *c, struct aml *a)
{
	aml_name(a, "_S5");
	aml_package(a, 4);
	aml_int(a, c->pm.s5_type);
	aml_int(a, c->pm.s5_type);
	aml_int(a, 0);
	aml_int(a, 0);
	aml_end(a);
}

void acpi_dsdt_emit(const struct acpi_config *c, struct aml *a)
{
	aml_scope(a, "_SB");
	dsdt_emit_cpus(c, a);
	dsdt_emit_host_bridge(c, a);
	if (c->hpet_gpa)
		dsdt_emit_hpet(c, a);
	if (c->n_reserved)
		dsdt_emit_reserved(c, a);
	aml_end(a);
	dsdt_emit_power(c, a);
	dsdt_emit_hotplug_event(c, a);
}

/*
 * ACPI's static tables (ACPI 6.4, chapter 5; MCFG: PCI Firmware 3.2, 4.1.2; HPET: IA-PC HPET 1.0a,
 * 3.2.4). Facts only.
 */
#ifndef BOOT_ACPI_WIRE_H
#define BOOT_ACPI_WIRE_H

#include "base/base.h"
#include "base/bytes.h"

struct acpi_header_wire {
	char signature[4];
	le32 length;
	u8 revision;
	u8 checksum;
	char oem_id[6];
	char oem_table_id[8];
	le32 oem_revision;
	char creator_id[4];
	le32 creator_revision;
} packed;
static_assert(sizeof(struct acpi_header_wire) == 36, "ACPI 5.2.6");

struct acpi_rsdp_wire {
	char signature[8];
	u8 checksum; /* of the first 20 bytes */
	char oem_id[6];
	u8 revision;
	le32 rsdt;
	le32 length;
	le64 xsdt;
	u8 ext_checksum; /* of all */
	u8 reserved[3];
} packed;
static_assert(sizeof(struct acpi_rsdp_wire) == 36, "ACPI 5.2.5.3");
#define ACPI_RSDP_V1_SIZE 20

/* Generic address structure (5.2.3.2). */
struct acpi_gas_wire {
	u8 space;
	u8 bit_width;
	u8 bit_offset;
	u8 access; /* 1: byte, 2: word, 3: dword, 4: qword */
	le64 address;
} packed;
#define ACPI_SPACE_MEMORY 0
#define ACPI_SPACE_IO     1

struct acpi_fadt_wire {
	struct acpi_header_wire h;
	le32 facs;
	le32 dsdt;
	u8 reserved_44;
	u8 pm_profile;
	le16 sci;
	le32 smi_cmd;
	u8 acpi_enable, acpi_disable;
	u8 s4bios_req, pstate_cnt;
	le32 pm1a_event, pm1b_event, pm1a_control, pm1b_control, pm2_control;
	le32 pm_timer, gpe0, gpe1;
	u8 pm1_event_len, pm1_control_len, pm2_control_len, pm_timer_len;
	u8 gpe0_len, gpe1_len, gpe1_base, cst_cnt;
	le16 c2_latency, c3_latency, flush_size, flush_stride;
	u8 duty_offset, duty_width, day_alarm, month_alarm, century;
	le16 boot_arch;
	u8 reserved_111;
	le32 flags;
	struct acpi_gas_wire reset;
	u8 reset_value;
	le16 arm_boot_arch;
	u8 minor;
	le64 x_facs, x_dsdt;
	struct acpi_gas_wire x_pm1a_event, x_pm1b_event, x_pm1a_control, x_pm1b_control;
	struct acpi_gas_wire x_pm2_control, x_pm_timer, x_gpe0, x_gpe1;
	struct acpi_gas_wire sleep_control, sleep_status;
	u8 hypervisor[8];
} packed;
static_assert(sizeof(struct acpi_fadt_wire) == 276, "ACPI 5.2.9");
static_assert(offsetof(struct acpi_fadt_wire, flags) == 112, "ACPI 5.2.9");
static_assert(offsetof(struct acpi_fadt_wire, x_pm1a_event) == 148, "ACPI 5.2.9");

#define ACPI_FADT_REVISION 6
#define ACPI_FADT_MINOR    3

#define ACPI_PROFILE_ENTERPRISE_SERVER 4

#define ACPI_FADT_WBINVD        BIT32(0)
#define ACPI_FADT_PROC_C1       BIT32(2)
#define ACPI_FADT_SLP_BUTTON    BIT32(5) /* no fixed sleep button */
#define ACPI_FADT_FIX_RTC       BIT32(6) /* no RTC wake status in the fixed registers */
#define ACPI_FADT_TMR_VAL_EXT   BIT32(8) /* the timer has 32 bits */
#define ACPI_FADT_RESET_REG_SUP BIT32(10)

#define ACPI_BOOT_LEGACY_DEVICES BIT32(0)
#define ACPI_BOOT_8042           BIT32(1)
#define ACPI_BOOT_NO_VGA         BIT32(2)

/* Beyond these (in microseconds) a C-state isn't there. */
#define ACPI_NO_C2_LATENCY 0xfff
#define ACPI_NO_C3_LATENCY 0xfff

struct acpi_facs_wire {
	char signature[4];
	le32 length;
	le32 hardware_signature;
	le32 waking_vector;
	le32 global_lock;
	le32 flags;
	le64 x_waking_vector;
	u8 version;
	u8 reserved[3];
	le32 ospm_flags;
	u8 reserved_40[24];
} packed;
static_assert(sizeof(struct acpi_facs_wire) == 64, "ACPI 5.2.10");
#define ACPI_FACS_ALIGN   64
#define ACPI_FACS_VERSION 2

struct acpi_madt_wire {
	struct acpi_header_wire h;
	le32 lapic;
	le32 flags;
} packed;
#define ACPI_MADT_REVISION    5
#define ACPI_MADT_PCAT_COMPAT BIT32(0) /* there are 8259s, to be masked */

struct acpi_madt_lapic_wire {
	u8 type, length;
	u8 uid;
	u8 apic_id;
	le32 flags;
} packed;
#define ACPI_MADT_LAPIC     0
#define ACPI_LAPIC_ENABLED  BIT32(0)
#define ACPI_LAPIC_MAY_COME BIT32(1) /* online capable */
#define ACPI_LAPIC_ID_MAX   254

struct acpi_madt_ioapic_wire {
	u8 type, length;
	u8 id;
	u8 reserved;
	le32 address;
	le32 gsi_base;
} packed;
#define ACPI_MADT_IOAPIC 1

struct acpi_madt_override_wire {
	u8 type, length;
	u8 bus; /* 0: ISA */
	u8 source;
	le32 gsi;
	le16 flags;
} packed;
#define ACPI_MADT_OVERRIDE    2
#define ACPI_INTI_ACTIVE_HIGH 0x1
#define ACPI_INTI_LEVEL       0xc

struct acpi_madt_nmi_wire {
	u8 type, length;
	u8 uid; /* 0xff: every one */
	le16 flags;
	u8 lint;
} packed;
#define ACPI_MADT_NMI 4
#define ACPI_UID_ALL  0xff

struct acpi_madt_x2apic_wire {
	u8 type, length;
	le16 reserved;
	le32 apic_id;
	le32 flags;
	le32 uid;
} packed;
#define ACPI_MADT_X2APIC 9

struct acpi_mcfg_wire {
	struct acpi_header_wire h;
	u8 reserved[8];
	le64 base;
	le16 segment;
	u8 first_bus, last_bus;
	u8 reserved_56[4];
} packed;
static_assert(sizeof(struct acpi_mcfg_wire) == 60, "PCI Firmware 3.2, 4.1.2");

struct acpi_hpet_wire {
	struct acpi_header_wire h;
	le32 id;
	struct acpi_gas_wire address;
	u8 number;
	le16 min_tick;
	u8 page_protection;
} packed;
static_assert(sizeof(struct acpi_hpet_wire) == 56, "HPET 1.0a, 3.2.4");

#endif

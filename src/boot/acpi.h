/*
 * ACPI tables of a board, built at run time.
 *
 * The board says what it has in a struct acpi_config, nothing is assumed here; the tables are
 * RSDP, XSDT and RSDT, FADT, FACS, MADT, MCFG, HPET and a DSDT (ACPI 6.4). They are written into
 * guest memory for a kernel that is started without firmware. Pure functions of the configuration;
 * any thread that is attached to the guest's memory.
 */
#ifndef BOOT_ACPI_H
#define BOOT_ACPI_H

#include "base/base.h"

struct err;
struct gmem;

/* Room that is always enough for the tables, apart from the RSDP: a board may reserve this. */
#define ACPI_AREA_SIZE (64 * KIB)
#define ACPI_RSDP_SIZE ((u64)36)
#define ACPI_MAX_CPUS  256

/* A device behind the ISA bridge. */
struct acpi_isa_device {
	const char *name; /* one to four characters, its own: "COM1" */
	const char *hid;  /* "PNP0501", "QEMU0001" */
	u32 uid;
	struct {
		u16 port;
		u8 len; /* 0: unused */
	} io[2];
	u8 irq; /* 0: none */
};

struct acpi_root_port {
	u8 dev, fn; /* on bus 0 */
	u16 slot;   /* number of the slot behind it, unique: also in its slot capabilities */
};

/* What no device may be given: memory, or ports. */
struct acpi_reserved {
	u64 base, size; /* ports: at most 255 of them */
	bool is_ports;
};

struct acpi_window {
	u64 base, size; /* 0: none */
};

/* The power management block (ACPI 4.8). */
struct acpi_pm {
	u16 pm1_event, pm1_control, timer, gpe0; /* ports */
	u8 gpe0_len;                             /* bytes, status and enable together */
	bool is_timer_32bit;
	u16 smi_cmd; /* port: writing these values there passes the block to the guest and back */
	u8 acpi_enable, acpi_disable;
	u8 sci;           /* the interrupt's GSI */
	u8 s5_type;       /* SLP_TYP of power off */
	u8 hotplug_gpe;   /* bit number of the hot-plug event */
	u16 hotplug_port; /* dev/acpi_slots.h's registers; 0: none, slots tell by themselves */
	u16 reset_port;
	u8 reset_value;
};

#define ACPI_PCI_DEVICES 32
#define ACPI_PCI_PINS    4

struct acpi_config {
	u32 n_cpus;   /* present: APIC ids 0 to n_cpus - 1 */
	u32 max_cpus; /* the rest may come later */
	u32 lapic_gpa;
	u32 ioapic_gpa;
	u8 ioapic_id;
	u8 timer_gsi; /* of ISA interrupt 0 */

	struct acpi_pm pm;
	u8 rtc_century; /* CMOS index of the century; 0: none */
	bool has_i8042;
	bool has_vga; /* a legacy VGA: its memory is the host bridge's to pass on */

	u32 hpet_gpa; /* 0: none */
	u32 hpet_id;  /* low half of its capabilities register */

	gpa_t ecam_gpa;
	u8 last_bus;
	struct acpi_window mem32, mem64; /* for BARs; mem32 below 4 GiB */
	u32 osc_granted; /* _OSC control bits given to the guest (PCI Firmware 3.2, 4.5.1) */
	/* The GSI of each interrupt pin (INTA# first) of each device on bus 0; 0: not routed. */
	u8 pin_gsi[ACPI_PCI_DEVICES][ACPI_PCI_PINS];
	u8 lpc_dev, lpc_fn; /* the ISA bridge */

	const struct acpi_root_port *root_ports;
	u32 n_root_ports;
	const struct acpi_isa_device *isa;
	u32 n_isa;
	const struct acpi_reserved *reserved; /* with the ECAM and the PM ports */
	u32 n_reserved;
};

#define ACPI_OSC_HOTPLUG  BIT32(0) /* native PCIe hot-plug */
#define ACPI_OSC_PME      BIT32(2)
#define ACPI_OSC_AER      BIT32(3)
#define ACPI_OSC_PCIE_CAP BIT32(4)

/*
 * Tables into [area, area + area_size) below 4 GiB, aligned to a page; the RSDP to rsdp, aligned to
 * 16, where guests look for it (0xe0000 to 0xfffff, or an EBDA). Both are RAM or ROM of the guest.
 */
int acpi_write(const struct acpi_config *c, struct gmem *g, gpa_t rsdp, gpa_t area, u64 area_size,
	       struct err *err);

#endif

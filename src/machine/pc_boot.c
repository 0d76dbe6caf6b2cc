/*
 * What firmware would have done, where a kernel is started directly: PCI resources assigned, RAM
 * below 1 MiB opened, ACPI and SMBIOS tables written, the kernel loaded, the CPUs at their start.
 *
 * All of it again at each reset, from the same descriptors.
 */
#include <stdio.h>
#include <string.h>

#include "base/crc32.h"
#include "base/err.h"
#include "boot/acpi.h"
#include "boot/boot.h"
#include "boot/smbios.h"
#include "dev/acpi_slots.h"
#include "dev/fw_cfg.h"
#include "dev/hpet.h"
#include "dev/pm_regs.h"
#include "dev/pvpanic.h"
#include "dev/reset_port.h"
#include "dev/rtc.h"
#include "irqchip/ioapic.h"
#include "machine/machine_priv.h"
#include "mem/gmem.h"
#include "pci/assign.h"
#include "pci/ich9_lpc.h"
#include "pci/pci.h"
#include "pci/q35.h"

/* For guests that don't use the IOAPIC. */
static const u8 pc_irq_of_pirq[PCI_PIRQS] = {10, 10, 11, 11, 10, 10, 11, 11};

static int pc_assign_pci(struct machine *m, struct err *err)
{
	gpa_t high = pc_mmio64_base(m);
	struct pci_resources res = {
		.ports = {PC_PCI_PORTS, PC_PCI_PORTS_LAST},
		.memory32 = {PC_MMIO32_GPA, PC_MMIO32_END - 1},
		.memory64 = {high, high + PC_MMIO64_SIZE - 1},
	};

	memcpy(res.irq_of_pirq, pc_irq_of_pirq, sizeof(res.irq_of_pirq));
	return pci_assign_resources(m->pci, &res, err);
}

/* --- tables --- */

/* The tables lie at the top of low RAM, marked for the guest to keep. */
static void pc_reserve_tables(struct machine *m)
{
	if (m->acpi_gpa)
		return;
	m->acpi_gpa = align_down(m->low_size - ACPI_AREA_SIZE, 64 * KIB);
	boot_memmap_set(&m->memmap, m->acpi_gpa, m->low_size - m->acpi_gpa, BOOT_MEM_ACPI);
}

static void pc_describe_chips(const struct machine *m, struct acpi_config *c)
{
	c->n_cpus = m->config->n_cpus;
	c->max_cpus = MAX(m->config->n_cpus, (unsigned)PC_CPU_SLOTS);
	c->lapic_gpa = X86_APIC_BASE_ADDR;
	c->ioapic_gpa = IOAPIC_BASE;
	c->timer_gsi = PC_GSI_TIMER;
	c->rtc_century = RTC_CENTURY;
	c->has_i8042 = true;
	c->hpet_gpa = PC_HPET_GPA;
	c->hpet_id = hpet_id(m->hpet);
	c->pm = (struct acpi_pm){
		.pm1_event = PC_PM_BASE + PM_PM1_STS,
		.pm1_control = PC_PM_BASE + PM_PM1_CNT,
		.timer = PC_PM_BASE + PM_TIMER,
		.gpe0 = PC_PM_BASE + PM_GPE0_STS,
		.gpe0_len = PM_GPE0_LEN,
		.smi_cmd = PM_APM_PORT,
		.acpi_enable = PM_APM_ACPI_ENABLE,
		.acpi_disable = PM_APM_ACPI_DISABLE,
		.sci = PC_IRQ_SCI,
		.s5_type = PM_S5_TYPE,
		.hotplug_gpe = PC_GPE_SLOTS,
		.hotplug_port = PC_SLOTS_PORT,
		.reset_port = PC_RESET_PORT,
		.reset_value = RESET_CONTROL_FULL,
	};
}

static void pc_describe_pci(const struct machine *m, struct acpi_config *c,
			    struct acpi_root_port *ports)
{
	for (unsigned i = 0; i < m->n_root_ports; i++)
		ports[i] = (struct acpi_root_port){
			.dev = (u8)(PC_SLOT_ROOT_PORTS + i / 8), .fn = i % 8, .slot = (u16)(i + 1)};
	c->root_ports = ports;
	c->n_root_ports = m->n_root_ports;
	c->ecam_gpa = PC_ECAM_GPA;
	c->last_bus = 0xff;
	c->mem32 = (struct acpi_window){PC_MMIO32_GPA, PC_MMIO32_END - PC_MMIO32_GPA};
	c->mem64 = (struct acpi_window){pc_mmio64_base(m), PC_MMIO64_SIZE};
	c->osc_granted = ACPI_OSC_PME | ACPI_OSC_AER | ACPI_OSC_PCIE_CAP; /* hot-plug is ACPI's */
	c->lpc_dev = PC_SLOT_LPC;
	for (unsigned dev = 0; dev < ACPI_PCI_DEVICES; dev++)
		for (unsigned pin = 0; pin < ACPI_PCI_PINS; pin++)
			c->pin_gsi[dev][pin] =
				(u8)(PC_GSI_PIRQA + pci_pirq_of(dev, PCI_INTX_A + pin));
}

static int pc_write_acpi(struct machine *m, struct err *err)
{
	static const struct acpi_isa_device isa[] = {
		{"RTC", "PNP0B00", 0, {{RTC_PORT, 8}}, PC_IRQ_RTC},
		{"KBD", "PNP0303", 0, {{0x60, 1}, {0x64, 1}}, PC_IRQ_KEYBOARD},
		{"MOU", "PNP0F13", 0, {{0, 0}}, PC_IRQ_MOUSE},
		{"COM1", "PNP0501", 1, {{0x3f8, 8}}, PC_IRQ_COM1},
		{"PEVT", "QEMU0001", 0, {{PVPANIC_PORT, 1}}, 0},
		{"FWCF", "QEMU0002", 0, {{FW_CFG_PORT, 2}, {FW_CFG_DMA_PORT, 8}}, 0},
	};
	static const struct acpi_reserved reserved[] = {
		{PC_ECAM_GPA, PC_ECAM_SIZE, false},
		{PC_RCBA_GPA, PC_RCBA_SIZE, false},
		{PC_PM_BASE, PC_PM_SIZE, true},
		{PM_APM_PORT, 2, true},
		{0x4d0, 2, true},
		{RESET_PORT_A, 1, true},
		{PC_SLOTS_PORT, ACPI_SLOTS_PORTS, true},
	};
	struct acpi_root_port ports[PC_ROOT_PORTS_MAX];
	struct acpi_config c = {
		.isa = isa,
		.n_isa = ARRAY_SIZE(isa),
		.reserved = reserved,
		.n_reserved = ARRAY_SIZE(reserved),
	};

	pc_describe_chips(m, &c);
	pc_describe_pci(m, &c, ports);
	return acpi_write(&c, vm_gmem(m->vm), PC_RSDP_GPA, m->acpi_gpa, ACPI_AREA_SIZE, err);
}

static int pc_write_smbios(struct machine *m, struct err *err)
{
	const char *name = m->config->name;
	struct smbios_config c = {
		.manufacturer = "posada",
		.product = "Virtual Machine",
		.version = m->config->machine,
		.firmware_version = "pc-1",
		.cpu_name = m->config->cpu,
		.n_cpus = m->config->n_cpus,
		.low_size = m->low_size,
		.high_size = m->high_size,
	};

	/* Stable for a name; version 8 of RFC 9562: a vendor's own. */
	for (u32 i = 0; i < 4; i++) {
		u32 word = crc32_update(crc32_update(i, &i, sizeof(i)), name, strlen(name));

		memcpy(c.uuid + i * 4, &word, 4);
	}
	c.uuid[6] = (u8)((c.uuid[6] & 0x0f) | 0x80);
	c.uuid[8] = (u8)((c.uuid[8] & 0x3f) | 0x80);
	return smbios_write(&c, vm_gmem(m->vm), SMBIOS_GPA, err);
}

/* --- kernel and CPUs --- */

static int pc_load_kernel(struct machine *m, struct x86_cpu_state *bsp, struct err *err)
{
	const struct guest_config *c = m->config;
	const struct boot_module initrd = {{c->initrd_fd, c->initrd_path}, NULL};
	const struct boot_config boot = {
		.kernel = {c->kernel_fd, c->kernel_path ? c->kernel_path : "kernel"},
		.modules = &initrd,
		.n_modules = c->initrd_fd >= 0,
		.cmdline = c->append,
		.memmap = &m->memmap,
		.rsdp = PC_RSDP_GPA,
	};
	struct boot_info info;

	if (c->kernel_fd < 0)
		return err_set(err, -EINVAL, "no kernel was given");
	return boot_load(&boot, vm_gmem(m->vm), bsp, &info, err);
}

static int pc_start_cpus(struct machine *m, struct x86_cpu_state *bsp, struct err *err)
{
	struct x86_cpu_state ap;

	x86_cpu_reset(&ap, false);
	boot_set_memory_types(bsp, PC_ECAM_GPA, m->phys_bits);
	boot_set_memory_types(&ap, PC_ECAM_GPA, m->phys_bits);
	for (unsigned i = 0; i < vm_vcpu_count(m->vm); i++) {
		struct vcpu *v = vm_vcpu(m->vm, i);
		int r = v->ops->set_state(v, i ? &ap : bsp, err);

		if (r < 0)
			return err_wrap(err, "vCPU %u", i);
	}
	return 0;
}

int pc_boot(struct machine *m, struct err *err)
{
	struct x86_cpu_state bsp;
	int r;

	q35_enable_ecam(m->host_bridge, PC_ECAM_GPA);
	pc_open_memory(m);
	ich9_lpc_set_up(m->lpc, PC_PM_BASE, pc_irq_of_pirq, PC_RCBA_GPA);
	pc_reserve_tables(m);
	r = pc_assign_pci(m, err);
	if (!r)
		r = pc_write_acpi(m, err);
	if (!r)
		r = pc_write_smbios(m, err);
	if (!r)
		r = pc_load_kernel(m, &bsp, err);
	return r ? r : pc_start_cpus(m, &bsp, err);
}

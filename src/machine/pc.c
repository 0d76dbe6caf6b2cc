/*
 * machine=pc-1: the whole board, in the order in which it is built.
 *
 * A Q35 with an ICH9 (DESIGN 9.2): interrupt chips, then PCI, then what sits behind the LPC bridge,
 * then virtio devices behind root ports. Devices know neither their address nor their pin; here
 * they get both.
 */
#include <stdio.h>

#include "base/bytes.h"
#include "base/err.h"
#include "bus/io.h"
#include "chr/chr.h"
#include "dev/acpi_slots.h"
#include "dev/debug_exit.h"
#include "dev/fw_cfg.h"
#include "dev/hpet.h"
#include "dev/i8042.h"
#include "dev/pit.h"
#include "dev/pm.h"
#include "dev/port61.h"
#include "dev/pvpanic.h"
#include "dev/reset_port.h"
#include "dev/rtc.h"
#include "dev/serial.h"
#include "irqchip/ioapic.h"
#include "irqchip/lapic.h"
#include "machine/machine_priv.h"
#include "pci/bridge.h"
#include "pci/config_ports.h"
#include "pci/ich9_lpc.h"
#include "pci/pci.h"
#include "pci/q35.h"

/* The vm's devices own d from here on. */
static void pc_adopt(struct machine *m, struct device *d)
{
	device_adopt(vm_devices(m->vm), d);
}

/* Fixed places: that they fit is ours to know. */
static void pc_map_ports(struct machine *m, u16 port, struct io_region *r)
{
	int failed = io_map(vm_ports(m->vm), port, r, 0);

	assert(!failed);
}

static void pc_map_memory(struct machine *m, gpa_t gpa, struct io_region *r)
{
	int failed = io_map(vm_memory(m->vm), gpa, r, 0);

	assert(!failed);
}

/* --- interrupt chips --- */

static u8 pc_pic_acknowledge(void *opaque)
{
	return pic_acknowledge(((struct machine *)opaque)->pic);
}

static void pc_ioapic_eoi(void *opaque, u8 vector)
{
	ioapic_eoi(((struct machine *)opaque)->ioapic, vector);
}

static void pc_accel_route(void *opaque, unsigned pin, const struct msi_msg *msg, bool is_level,
			   bool is_masked)
{
	struct accel *a = vm_accel(((struct machine *)opaque)->vm);

	a->ops->set_ioapic_route(a, pin, msg, is_level, is_masked);
}

static void pc_accel_msi(void *opaque, const struct msi_msg *msg)
{
	struct accel *a = vm_accel(((struct machine *)opaque)->vm);

	a->ops->send_msi(a, msg);
}

static void pc_accel_intr(void *opaque, unsigned pin, bool level)
{
	struct accel *a = vm_accel(((struct machine *)opaque)->vm);

	(void)pin;
	(void)level;
	a->ops->pic_changed(a);
}

static void pc_add_lapics(struct machine *m)
{
	const struct lapic_bus_config c = {
		.n_cpus = m->config->n_cpus,
		.phys_bits = m->phys_bits,
		.clock = vm_clock(m->vm),
		.opaque = m,
		.pic_acknowledge = pc_pic_acknowledge,
		.eoi = pc_ioapic_eoi,
	};

	m->lapics = lapic_bus_new(&c);
}

struct msi_sink pc_msi_sink(struct machine *m)
{
	if (m->lapics)
		return lapic_bus_msi_sink(m->lapics);
	return (struct msi_sink){.send = pc_accel_msi, .opaque = m};
}

static void pc_add_interrupt_chips(struct machine *m)
{
	struct irq_line intr = {.set = pc_accel_intr, .opaque = m};
	struct ioapic_config ioapic = {.opaque = m};

	if (vm_accel(m->vm)->has_lapic) {
		ioapic.on_route_change = pc_accel_route;
	} else {
		pc_add_lapics(m);
		intr = lapic_bus_lint0(m->lapics);
	}
	m->pic = pic_new(intr);
	pc_adopt(m, pic_device(m->pic));
	pc_map_ports(m, PIC_MASTER, pic_master_io(m->pic));
	pc_map_ports(m, PIC_SLAVE, pic_slave_io(m->pic));
	pc_map_ports(m, PIC_EDGE_LEVEL, pic_edge_level_io(m->pic));

	ioapic.sink = pc_msi_sink(m);
	m->ioapic = ioapic_new(&ioapic);
	pc_adopt(m, ioapic_device(m->ioapic));
	pc_map_memory(m, IOAPIC_BASE, ioapic_io(m->ioapic));
	isa_irqs_init(&m->isa, m->pic, m->ioapic);
}

/* --- timers and clocks --- */

static void pc_add_timers(struct machine *m)
{
	struct vclock *clock = vm_clock(m->vm);
	struct port61 *port61;

	m->pit = pit_new(clock, isa_irq_line(&m->isa, PC_IRQ_TIMER));
	pc_adopt(m, pit_device(m->pit));
	pc_map_ports(m, PIT_PORT, pit_io(m->pit));
	port61 = port61_new(clock, m->pit);
	pc_adopt(m, port61_device(port61));
	pc_map_ports(m, PORT61_PORT, port61_io(port61));
	m->rtc = rtc_new(clock, isa_irq_line(&m->isa, PC_IRQ_RTC));
	pc_adopt(m, rtc_device(m->rtc));
	pc_map_ports(m, RTC_PORT, rtc_io(m->rtc));
}

static void pc_add_hpet(struct machine *m)
{
	struct hpet_config c = {.clock = vm_clock(m->vm)};

	for (unsigned pin = 0; pin < IOAPIC_PINS; pin++)
		c.pins[pin] = ioapic_line(m->ioapic, pin);
	c.legacy[0] = isa_irq_line(&m->isa, PC_IRQ_TIMER);
	c.legacy[1] = isa_irq_line(&m->isa, PC_IRQ_RTC);
	c.pit = m->pit;
	c.rtc = m->rtc;
	m->hpet = hpet_new(&c);
	pc_adopt(m, hpet_device(m->hpet));
	pc_map_memory(m, PC_HPET_GPA, hpet_io(m->hpet));
}

/* --- serial port and what test kernels want --- */

static int pc_add_serial(struct machine *m, struct err *err)
{
	struct guest_config *c = m->config;
	struct loop *loop = vm_io_loop(m->vm);
	struct serial *serial;
	int r = 0;

	switch (c->console) {
	case GUEST_CONSOLE_NONE:
		m->serial_chr = chr_null_new();
		break;
	case GUEST_CONSOLE_STREAM:
		r = chr_fd_new(loop, c->console_fd, c->console_fd, &m->serial_chr, err);
		break;
	case GUEST_CONSOLE_LISTEN:
		r = chr_listen_new(loop, c->console_fd, &m->serial_chr, err);
		break;
	}
	if (r < 0)
		return err_wrap(err, "console");
	c->console_fd = -1;
	if (c->clock == GUEST_CLOCK_INSN)
		chr_be_patient(m->serial_chr);
	serial = serial_new("serial0", m->serial_chr, isa_irq_line(&m->isa, PC_IRQ_COM1));
	pc_adopt(m, serial_device(serial));
	pc_map_ports(m, SERIAL_COM1, serial_io(serial));
	return 0;
}

/* The few numbers that firmware and test kernels ask for first. */
static void pc_add_fw_cfg(struct machine *m)
{
	struct fw_cfg *f = fw_cfg_new(vm_gmem(m->vm));
	const le64 ram = le64_of(m->config->memory);
	const le16 cpus = le16_of((u16)m->config->n_cpus);

	fw_cfg_add(f, FW_CFG_RAM_SIZE, &ram, sizeof(ram));
	fw_cfg_add(f, FW_CFG_CPUS, &cpus, sizeof(cpus));
	fw_cfg_add(f, FW_CFG_MAX_CPUS, &cpus, sizeof(cpus));
	pc_adopt(m, fw_cfg_device(f));
	pc_map_ports(m, FW_CFG_PORT, fw_cfg_io(f));
	pc_map_ports(m, FW_CFG_DMA_PORT, fw_cfg_dma_io(f));
}

static void pc_on_debug_exit(void *opaque, u8 value)
{
	struct machine *m = opaque;

	m->ops.debug_exit(m->ops.opaque, value);
}

static void pc_add_debug_exit(struct machine *m)
{
	struct debug_exit *d = debug_exit_new(pc_on_debug_exit, m);

	pc_adopt(m, debug_exit_device(d));
	pc_map_ports(m, DEBUG_EXIT_PORT, debug_exit_io(d));
}

/* --- PCI --- */

/* The host bridge's PAM or SMRAM registers changed what RAM shows. */
static void pc_on_memory_registers(void *opaque)
{
	pc_update_map(opaque);
}

/* The guest sees the ACPI block where the LPC bridge says. */
static void pc_on_pm_moved(void *opaque, const struct ich9_pm *pm)
{
	struct io_region *io = pm_io(((struct machine *)opaque)->pm);

	io_unmap(io);
	if (pm->is_enabled)
		pc_map_ports(opaque, pm->base, io);
}

static void pc_add_lpc(struct machine *m)
{
	struct ich9_lpc_config c = {.pm_changed = pc_on_pm_moved, .opaque = m};

	for (unsigned i = 0; i < PCI_PIRQS; i++)
		c.apic[i] = ioapic_line(m->ioapic, PC_GSI_PIRQA + i);
	/* Inputs of the PIC that nothing else drives. */
	c.isa[5] = pic_line(m->pic, 5);
	c.isa[10] = pic_line(m->pic, 10);
	c.isa[11] = pic_line(m->pic, 11);
	m->lpc = ich9_lpc_new(m->pci, &c);
	pc_adopt(m, &m->lpc->dev);
}

static void pc_add_pci(struct machine *m)
{
	static const struct q35_ops ops = {.memory_changed = pc_on_memory_registers};

	m->pci = pci_root_new(vm_ports(m->vm), vm_memory(m->vm));
	m->host_bridge = q35_host_new(m->pci, &ops, m);
	pc_adopt(m, &m->host_bridge->dev);
	q35_set_memory_size(m->host_bridge, m->low_size, m->high_size);
}

/* The register that resets the board lies within PCI's address port, which hands it on. */
static void pc_add_config_ports(struct machine *m, struct reset_port *reset)
{
	struct pci_config_ports *ports = pci_config_ports_new(m->pci, reset_port_control_io(reset));

	pc_adopt(m, pci_config_ports_device(ports));
	pc_map_ports(m, PCI_CONFIG_PORT, pci_config_ports_io(ports));
}

static int pc_add_root_ports(struct machine *m, struct err *err)
{
	const struct guest_config *c = m->config;
	/* The channels share one device; and there are the entropy device, balloon and sockets. */
	unsigned used = c->n_disks + c->n_nics + (c->n_channels > 0) + 1 + c->has_balloon +
			(c->vsock_cid != 0);
	struct pci_root_port_config port = {
		.sink = pc_msi_sink(m), .let_go = pc_on_let_go, .opaque = m};
	char name[16];
	int r = pc_count_slots(m, used, err);

	for (unsigned i = 0; !r && i < m->n_root_ports; i++) {
		snprintf(name, sizeof(name), "port%u", i);
		port.devfn = PCI_DEVFN(PC_SLOT_ROOT_PORTS + i / 8, i % 8);
		port.slot_number = i + 1;
		port.name = name;
		m->root_ports[i] = pci_root_port_new(m->pci, &port);
		pc_adopt(m, &m->root_ports[i]->dev);
	}
	return r;
}

/* --- power --- */

static void pc_on_power_off(void *opaque)
{
	vm_notify(((struct machine *)opaque)->vm, VM_EVENT_POWEROFF);
}

static void pc_on_reset(void *opaque)
{
	vm_notify(((struct machine *)opaque)->vm, VM_EVENT_RESET);
}

static void pc_on_panic(void *opaque)
{
	vm_notify(((struct machine *)opaque)->vm, VM_EVENT_PANIC);
}

static void pc_add_power(struct machine *m)
{
	const struct power_events events = {pc_on_power_off, pc_on_reset, m};
	struct reset_port *reset = reset_port_new(&events);
	struct pvpanic *panic = pvpanic_new(pc_on_panic, m);
	struct i8042 *i8042;

	m->pm = pm_new(vm_clock(m->vm), isa_irq_line(&m->isa, PC_IRQ_SCI), &events);
	pc_adopt(m, pm_device(m->pm));
	m->acpi_slots = acpi_slots_new(pc_on_ejected, m);
	pc_adopt(m, acpi_slots_device(m->acpi_slots));
	pc_map_ports(m, PC_SLOTS_PORT, acpi_slots_io(m->acpi_slots));
	pc_map_ports(m, PM_APM_PORT, pm_apm_io(m->pm));
	pc_adopt(m, reset_port_device(reset));
	pc_map_ports(m, RESET_PORT_A, reset_port_a_io(reset));
	pc_add_config_ports(m, reset);
	i8042 = i8042_new(isa_irq_line(&m->isa, PC_IRQ_KEYBOARD),
			  isa_irq_line(&m->isa, PC_IRQ_MOUSE), &events);
	pc_adopt(m, i8042_device(i8042));
	pc_map_ports(m, I8042_DATA, i8042_data_io(i8042));
	pc_map_ports(m, I8042_STATUS, i8042_status_io(i8042));
	pc_adopt(m, pvpanic_device(panic));
	pc_map_ports(m, PVPANIC_PORT, pvpanic_io(panic));
}

int pc_build(struct machine *m, struct err *err)
{
	int r;

	pc_add_interrupt_chips(m);
	pc_add_timers(m);
	pc_add_hpet(m);
	pc_add_pci(m);
	pc_add_power(m);
	pc_add_lpc(m);
	r = pc_add_root_ports(m, err);
	if (!r)
		r = pc_add_serial(m, err);
	if (r < 0)
		return r;
	pc_add_fw_cfg(m);
	if (m->config->has_debug_exit)
		pc_add_debug_exit(m);
	return pc_build_virtio(m, err);
}

void machine_press_power_button(struct machine *m)
{
	pm_press_power_button(m->pm);
}

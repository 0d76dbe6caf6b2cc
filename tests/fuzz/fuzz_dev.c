/*
 * The board's chips and legacy devices, driven through their registers and wires as a hostile guest
 * would, while time passes.
 *
 * The input is a row of operations: a byte that says which, then its operands. Whatever the guest
 * did, timers must not have fired more often than their limits allow, and every device must stand
 * being saved, reset and loaded, also with a byte changed on the way.
 */
#include <stdlib.h>

#include "base/epoch.h"
#include "base/err.h"
#include "bus/device.h"
#include "bus/io.h"
#include "chr/chr.h"
#include "dev/debug_exit.h"
#include "dev/debugcon.h"
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
#include "device_check.h"
#include "fake_clock.h"
#include "irqchip/ioapic.h"
#include "irqchip/lapic.h"
#include "irqchip/pic.h"
#include "mem/gmem.h"

#define CPUS        3
#define REGIONS     32
#define RAM         (64 * KIB)
#define OPERATIONS  4096
#define ADVANCE_MAX (20 * NSEC_PER_MSEC) /* in one operation */
/* Of all periodic sources together, the fastest each: HPET 3, PIT 1, RTC 1, local APICs. */
#define FIRES_PER_100_US (5 + CPUS)
#define FIRES_ONCE       32 /* one-shot timers that were waiting */

struct board {
	struct epoch *epoch;
	struct gmem *gmem;
	struct vclock *clock;
	struct chr *chr;
	struct lapic_bus *apics;
	struct pic *pic;
	struct ioapic *ioapic;
	struct isa_irqs isa;
	struct pm *pm;
	struct device_set devices;
	struct io_region *regions[REGIONS];
	unsigned n_regions;
};

struct input {
	const u8 *data;
	size_t left;
};

int LLVMFuzzerTestOneInput(const u8 *data, size_t size);

static u64 input_take(struct input *in, unsigned size)
{
	u64 v = 0;

	for (unsigned i = 0; i < size && in->left; i++, in->data++, in->left--)
		v |= (u64)*in->data << i * 8;
	return v;
}

/* --- the board --- */

static void board_nothing(unused void *opaque)
{
}

static void board_exit(unused void *opaque, unused u8 code)
{
}

static u8 board_acknowledge(void *opaque)
{
	return pic_acknowledge(((struct board *)opaque)->pic);
}

static void board_eoi(void *opaque, u8 vector)
{
	ioapic_eoi(((struct board *)opaque)->ioapic, vector);
}

static void board_add(struct board *b, struct device *d, struct io_region *r)
{
	if (d)
		device_adopt(&b->devices, d);
	assert(b->n_regions < REGIONS);
	b->regions[b->n_regions++] = r;
}

static void board_add_irq_chips(struct board *b)
{
	struct lapic_bus_config config = {
		.n_cpus = CPUS,
		.phys_bits = 40,
		.clock = b->clock,
		.opaque = b,
		.pic_acknowledge = board_acknowledge,
		.eoi = board_eoi,
	};
	struct ioapic_config ioapic = {0};

	b->apics = lapic_bus_new(&config);
	b->pic = pic_new(lapic_bus_lint0(b->apics));
	board_add(b, pic_device(b->pic), pic_master_io(b->pic));
	board_add(b, NULL, pic_slave_io(b->pic));
	board_add(b, NULL, pic_edge_level_io(b->pic));
	ioapic.sink = lapic_bus_msi_sink(b->apics);
	b->ioapic = ioapic_new(&ioapic);
	board_add(b, ioapic_device(b->ioapic), ioapic_io(b->ioapic));
	isa_irqs_init(&b->isa, b->pic, b->ioapic);
}

static void board_add_timers(struct board *b)
{
	struct pit *pit = pit_new(b->clock, isa_irq_line(&b->isa, 0));
	struct port61 *port61 = port61_new(b->clock, pit);
	struct rtc *rtc = rtc_new(b->clock, isa_irq_line(&b->isa, 8));
	struct hpet_config config = {.clock = b->clock, .pit = pit, .rtc = rtc};
	struct hpet *hpet;

	for (unsigned i = 0; i < HPET_PINS; i++)
		config.pins[i] = ioapic_line(b->ioapic, i);
	config.legacy[0] = isa_irq_line(&b->isa, 0);
	config.legacy[1] = isa_irq_line(&b->isa, 8);
	hpet = hpet_new(&config);
	board_add(b, pit_device(pit), pit_io(pit));
	board_add(b, port61_device(port61), port61_io(port61));
	board_add(b, rtc_device(rtc), rtc_io(rtc));
	board_add(b, hpet_device(hpet), hpet_io(hpet));
}

static void board_add_power(struct board *b)
{
	struct power_events events = {board_nothing, board_nothing, NULL};
	struct reset_port *reset = reset_port_new(&events);
	struct i8042 *i8042 =
		i8042_new(isa_irq_line(&b->isa, 1), isa_irq_line(&b->isa, 12), &events);
	struct pvpanic *panic = pvpanic_new(board_nothing, NULL);
	struct debug_exit *debug_exit = debug_exit_new(board_exit, NULL);

	b->pm = pm_new(b->clock, isa_irq_line(&b->isa, 9), &events);
	board_add(b, pm_device(b->pm), pm_io(b->pm));
	board_add(b, NULL, pm_apm_io(b->pm));
	board_add(b, reset_port_device(reset), reset_port_control_io(reset));
	board_add(b, NULL, reset_port_a_io(reset));
	board_add(b, i8042_device(i8042), i8042_data_io(i8042));
	board_add(b, NULL, i8042_status_io(i8042));
	board_add(b, pvpanic_device(panic), pvpanic_io(panic));
	board_add(b, debug_exit_device(debug_exit), debug_exit_io(debug_exit));
}

static void board_add_rest(struct board *b)
{
	struct serial *serial = serial_new("serial0", b->chr, isa_irq_line(&b->isa, 4));
	struct debugcon *debugcon = debugcon_new("debugcon", b->chr);
	struct fw_cfg *fw_cfg = fw_cfg_new(b->gmem);

	fw_cfg_add_file(fw_cfg, "etc/file", "contents", 8);
	fw_cfg_add_writable(fw_cfg, "etc/writable", "contents", 8, NULL, NULL);
	board_add(b, serial_device(serial), serial_io(serial));
	board_add(b, debugcon_device(debugcon), debugcon_io(debugcon));
	board_add(b, fw_cfg_device(fw_cfg), fw_cfg_io(fw_cfg));
	board_add(b, NULL, fw_cfg_dma_io(fw_cfg));
}

static void board_init(struct board *b)
{
	struct gmem_range range = {.size = RAM};
	struct err err = ERR_INIT;

	*b = (struct board){.epoch = epoch_new(), .clock = fake_clock_new()};
	b->gmem = gmem_new(b->epoch, false);
	gmem_attach_thread(b->gmem);
	if (gmem_block_new(b->gmem, "ram", GMEM_ANON, RAM, -1, &range.block, &err) < 0)
		abort();
	gmem_set_map(b->gmem, &range, 1);
	b->chr = chr_ring_new(32);
	device_set_init(&b->devices);
	vclock_set_wall_ns(b->clock, 1700000000 * NSEC_PER_SEC);
	board_add_irq_chips(b);
	board_add_timers(b);
	board_add_power(b);
	board_add_rest(b);
}

static void board_fini(struct board *b)
{
	device_set_fini(&b->devices);
	lapic_bus_free(b->apics);
	chr_free(b->chr);
	gmem_detach_thread(b->gmem);
	gmem_free(b->gmem);
	epoch_free(b->epoch);
	vclock_free(b->clock);
}

/* --- operations --- */

static void board_access(struct board *b, struct input *in, bool is_write)
{
	struct io_region *r = b->regions[input_take(in, 1) % b->n_regions];
	u8 how = (u8)input_take(in, 1);
	unsigned size = 1u << (how & 3);
	u64 off = input_take(in, r->size > 256 ? 2 : 1) % r->size;

	if (!range_fits(off, size, r->size))
		size = 1;
	if (is_write)
		io_write(r, off, input_take(in, size), size);
	else
		io_read(r, off, size);
}

static void board_use_apic(struct board *b, struct input *in)
{
	u8 how = (u8)input_take(in, 1);
	struct vcpu_apic *a = lapic_vcpu(b->apics, how % CPUS);
	u64 v;

	switch (how / CPUS % 8) {
	case 0:
		a->ops->mmio_read(a, (u32)input_take(in, 2) & 0xfff);
		break;
	case 1:
		v = input_take(in, 2);
		a->ops->mmio_write(a, (u32)v & 0xfff, (u32)input_take(in, 4));
		break;
	case 2:
		a->ops->msr_read(a, X86_MSR_X2APIC + (u32)input_take(in, 1), &v);
		break;
	case 3:
		v = input_take(in, 1);
		a->ops->msr_write(a, X86_MSR_X2APIC + (u32)v, input_take(in, 8));
		break;
	case 4:
		a->ops->msr_write(a, X86_MSR_APIC_BASE, input_take(in, 8));
		break;
	case 5:
		a->ops->msr_write(a, X86_MSR_TSC_DEADLINE, input_take(in, 8));
		break;
	case 6:
		a->ops->set_tsc_offset(a, input_take(in, 8));
		break;
	default:
		a->ops->set_cr8(a, input_take(in, 1) & 0xf);
		break;
	}
}

/* What a CPU does between instructions. */
static void board_take_events(struct board *b)
{
	for (unsigned i = 0; i < CPUS; i++) {
		struct vcpu_apic *a = lapic_vcpu(b->apics, i);
		unsigned pending = a->ops->pending(a);

		if (pending & APIC_PENDING_NMI)
			a->ops->take_nmi(a);
		if (pending & APIC_PENDING_INIT)
			a->ops->take_init(a);
		if (pending & APIC_PENDING_SIPI)
			a->ops->take_sipi(a);
		if (pending & APIC_PENDING_INTR && a->ops->acknowledge(a) < 0)
			abort(); /* nobody took it away */
	}
}

static void board_advance(struct board *b, struct input *in)
{
	u64 ns = input_take(in, 3) * 16 % ADVANCE_MAX, before = fake_clock_fired(b->clock);

	fake_clock_advance(b->clock, ns);
	if (fake_clock_fired(b->clock) - before >
	    FIRES_ONCE + (ns / (100 * NSEC_PER_USEC) + 1) * FIRES_PER_100_US)
		abort();
}

static void board_poke(struct board *b, struct input *in)
{
	struct msi_sink sink = lapic_bus_msi_sink(b->apics);
	u8 how = (u8)input_take(in, 1), bytes[8];
	struct irq_line line;
	struct msi_msg msg;
	u64 v = input_take(in, 4);

	switch (how % 6) {
	case 0:
		msg = (struct msi_msg){0xfee00000 | (v & 0xfffff), (u32)input_take(in, 2)};
		msi_send(&sink, &msg);
		break;
	case 1:
		line = how & 0x80 ? pic_line(b->pic, v % PIC_LINES)
				  : ioapic_line(b->ioapic, v % IOAPIC_PINS);
		irq_set(&line, how & 0x40);
		break;
	case 2:
		chr_ring_input(b->chr, &v, 4);
		break;
	case 3:
		chr_ring_output(b->chr, bytes, sizeof(bytes));
		break;
	case 4:
		pm_raise_gpe(b->pm, v % PM_GPES);
		break;
	default:
		if (gmem_write(b->gmem, v % (RAM - 8), &v, 8) < 0)
			abort();
		break;
	}
}

/* A stranger changed a saved device. */
static void board_damage(struct board *b, struct input *in)
{
	unsigned n = (unsigned)input_take(in, 1) % 16;

	list_for_each (node, &b->devices.devices) {
		struct device *d = list_entry(node, struct device, node);

		if (!d->ops->state || n--)
			continue;
		size_t at = input_take(in, 2);

		if (device_check_damaged(d, at, (u8)input_take(in, 1)))
			abort();
		return;
	}
}

static void board_step(struct board *b, struct input *in)
{
	switch (input_take(in, 1) % 9) {
	case 0:
	case 1:
	case 2:
		board_access(b, in, true);
		break;
	case 3:
		board_access(b, in, false);
		break;
	case 4:
		board_use_apic(b, in);
		break;
	case 5:
		board_take_events(b);
		break;
	case 6:
		board_advance(b, in);
		break;
	case 7:
		board_damage(b, in);
		break;
	default:
		board_poke(b, in);
		break;
	}
}

static void board_check_states(struct board *b)
{
	list_for_each (node, &b->devices.devices) {
		struct device *d = list_entry(node, struct device, node);

		if (d->ops->state && device_check_save_and_load(d))
			abort();
	}
	for (unsigned i = 0; i < CPUS; i++) {
		struct x86_lapic_state state;
		struct err err = ERR_INIT;

		lapic_get_state(lapic_vcpu(b->apics, i), &state);
		if (lapic_set_state(lapic_vcpu(b->apics, i), &state, &err) < 0)
			abort();
	}
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	struct input in = {data, size};
	struct board b;

	board_init(&b);
	for (int i = 0; i < OPERATIONS && in.left; i++)
		board_step(&b, &in);
	board_check_states(&b);
	board_fini(&b);
	return 0;
}

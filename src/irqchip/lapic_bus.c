/*
 * The bus between local APICs: decodes messages and finds whom they mean.
 *
 * A message comes from a device or the IOAPIC as an MSI write (SDM 3A, 10.11), or from an APIC's
 * interrupt command register (10.6). Its destination is matched against every APIC: each does that
 * by its own mode, xAPIC (flat or cluster) or x2APIC (10.6.2, 10.12.10). A lowest-priority message
 * goes to the one with the lowest task priority; among equals the vector decides, so that different
 * sources spread and one source stays.
 */
#include "base/alloc.h"
#include "irqchip/lapic_priv.h"

struct lapic_message {
	u32 dest;
	u8 mode, vector;
	bool is_logical;
	bool is_broadcast;
	bool is_level;
	bool is_lowest; /* to one of those that match */
};

/* --- destinations: sets of CPUs as bits --- */

static_assert(ACCEL_MAX_VCPUS <= 32, "CPU sets are 32 bits");

static bool lapic_matches_logical(const struct lapic *l, u32 dest)
{
	u32 ldr = lapic_load(&l->ldr);

	if (lapic_is_x2apic(l))
		return dest >> 16 == ldr >> 16 && dest & ldr & 0xffff;
	ldr >>= 24;
	if (lapic_load(&l->dfr) >> 28 == 0xf) /* flat */
		return dest & ldr & 0xff;
	return (dest >> 4 & 0xf) == ldr >> 4 && dest & ldr & 0xf;
}

static bool lapic_matches(const struct lapic *l, const struct lapic_message *m)
{
	if (!lapic_is_enabled(l))
		return false;
	if (m->is_broadcast)
		return true;
	return m->is_logical ? lapic_matches_logical(l, m->dest) : m->dest == l->id;
}

static u32 lapic_bus_find(const struct lapic_bus *bus, const struct lapic_message *m)
{
	u32 set = 0;

	for (unsigned i = 0; i < bus->config.n_cpus; i++)
		if (lapic_matches(&bus->cpus[i], m))
			set |= BIT32(i);
	return set;
}

/* One CPU of the set: APICs that software has disabled can't take part. */
static u32 lapic_bus_lowest(const struct lapic_bus *bus, u32 set, u8 vector)
{
	u32 best_class = 16, best = 0, skip;

	for (u32 left = set; left; left &= left - 1) {
		const struct lapic *l = &bus->cpus[__builtin_ctz(left)];
		u32 class = lapic_load(&l->tpr) >> 4 & 0xf;

		if (!(lapic_load(&l->svr) & LAPIC_SVR_ENABLE) || class > best_class)
			continue;
		if (class < best_class)
			best = 0;
		best_class = class;
		best |= left & -left;
	}
	if (!best)
		return 0;
	for (skip = vector % (u32)__builtin_popcount(best); skip; skip--)
		best &= best - 1;
	return best & -best;
}

/* --- delivery --- */

static void lapic_bus_deliver_one(struct lapic *l, const struct lapic_message *m)
{
	switch (m->mode) {
	case LAPIC_MODE_FIXED:
	case LAPIC_MODE_LOWEST:
		lapic_post(l, m->vector, m->is_level);
		break;
	case LAPIC_MODE_NMI:
		lapic_post_event(l, APIC_PENDING_NMI);
		break;
	case LAPIC_MODE_INIT:
		lapic_post_event(l, APIC_PENDING_INIT);
		break;
	case LAPIC_MODE_SIPI:
		lapic_post_sipi(l, m->vector);
		break;
	case LAPIC_MODE_EXTINT:
		lapic_post_event(l, LAPIC_EVENT_EXTINT);
		break;
	default: /* SMI: there is no SMM; 3 is reserved */
		break;
	}
}

static void lapic_bus_deliver(struct lapic_bus *bus, const struct lapic_message *m, u32 set)
{
	if (m->is_lowest || m->mode == LAPIC_MODE_LOWEST)
		set = lapic_bus_lowest(bus, set, m->vector);
	for (; set; set &= set - 1)
		lapic_bus_deliver_one(&bus->cpus[__builtin_ctz(set)], m);
}

/* Start-up messages come from APICs alone (SDM 3A, 10.11.2). */
static void lapic_bus_msi(void *opaque, const struct msi_msg *msg)
{
	struct lapic_bus *bus = opaque;
	u32 address = (u32)msg->address;
	struct lapic_message m = {
		.dest = LAPIC_MSI_DEST(address),
		.mode = msg->data >> 8 & 7,
		.vector = (u8)msg->data,
		.is_logical = address & LAPIC_MSI_LOGICAL,
		.is_level = msg->data & LAPIC_MSI_LEVEL,
		.is_lowest = (address & LAPIC_MSI_HINT) && (address & LAPIC_MSI_LOGICAL),
	};

	if (msg->address >> 32 || (address & LAPIC_MSI_BASE_MASK) != LAPIC_MSI_BASE ||
	    m.mode == LAPIC_MODE_SIPI)
		return;
	m.is_broadcast = m.dest == 0xff;
	lapic_bus_deliver(bus, &m, lapic_bus_find(bus, &m));
}

struct msi_sink lapic_bus_msi_sink(struct lapic_bus *bus)
{
	return (struct msi_sink){.send = lapic_bus_msi, .opaque = bus};
}

static u32 lapic_bus_ipi_set(struct lapic *from, u32 shorthand, const struct lapic_message *m)
{
	struct lapic_message all = {.is_broadcast = true};

	switch (shorthand) {
	case LAPIC_TO_SELF:
		return BIT32(from->id);
	case LAPIC_TO_ALL:
		return lapic_bus_find(from->bus, &all) | BIT32(from->id);
	case LAPIC_TO_OTHERS:
		return lapic_bus_find(from->bus, &all) & ~BIT32(from->id);
	default:
		return lapic_bus_find(from->bus, m);
	}
}

/* Table 10-3's valid combinations: self, and all with self, are for fixed mode only. */
static bool lapic_ipi_is_valid(u32 low, const struct lapic_message *m)
{
	u32 shorthand = LAPIC_ICR_SHORTHAND(low);

	if (m->mode == LAPIC_MODE_EXTINT || m->mode == 3)
		return false;
	if (m->mode == LAPIC_MODE_INIT && low & LAPIC_ICR_LEVEL && !(low & LAPIC_ICR_ASSERT))
		return false; /* the de-assert of old, with no meaning now */
	return m->mode == LAPIC_MODE_FIXED || shorthand == LAPIC_TO_DESTINATION ||
	       shorthand == LAPIC_TO_OTHERS;
}

void lapic_bus_send_ipi(struct lapic *from, u64 icr)
{
	u32 low = (u32)icr;
	struct lapic_message m = {
		.mode = low >> 8 & 7,
		.vector = (u8)low,
		.is_logical = low & LAPIC_ICR_LOGICAL,
	};

	if (lapic_is_x2apic(from)) {
		m.dest = (u32)(icr >> 32);
		m.is_broadcast = m.dest == 0xffffffff;
	} else {
		m.dest = (u32)(icr >> 56);
		m.is_broadcast = m.dest == 0xff;
	}
	if (!lapic_ipi_is_valid(low, &m))
		return;
	if ((m.mode == LAPIC_MODE_FIXED || m.mode == LAPIC_MODE_LOWEST) &&
	    m.vector < LAPIC_FIRST_VECTOR) {
		lapic_error(from, LAPIC_ESR_SEND_VECTOR);
		return;
	}
	lapic_bus_deliver(from->bus, &m, lapic_bus_ipi_set(from, LAPIC_ICR_SHORTHAND(low), &m));
}

void lapic_bus_eoi(struct lapic_bus *bus, u8 vector)
{
	if (bus->config.eoi)
		bus->config.eoi(bus->config.opaque, vector);
}

/* --- wires --- */

static void lapic_bus_set_lint0(void *opaque, unused unsigned pin, bool level)
{
	struct lapic_bus *bus = opaque;
	bool was = __atomic_exchange_n(&bus->lint0, level, __ATOMIC_ACQ_REL);

	if (!level || was)
		return;
	lapic_post_lvt(&bus->cpus[0], LAPIC_LVT_LINT0);
	/* In ExtINT mode, or by a message in that mode, any vCPU may be the one that wants it. */
	lapic_kick(&bus->cpus[0]);
	for (unsigned i = 1; i < bus->config.n_cpus; i++)
		if (lapic_load(&bus->cpus[i].events) & LAPIC_EVENT_EXTINT)
			lapic_kick(&bus->cpus[i]);
}

static void lapic_bus_set_lint1(void *opaque, unused unsigned pin, bool level)
{
	struct lapic_bus *bus = opaque;

	if (__atomic_exchange_n(&bus->lint1, level, __ATOMIC_ACQ_REL) || !level)
		return;
	for (unsigned i = 0; i < bus->config.n_cpus; i++)
		lapic_post_lvt(&bus->cpus[i], LAPIC_LVT_LINT1);
}

struct irq_line lapic_bus_lint0(struct lapic_bus *bus)
{
	return (struct irq_line){.set = lapic_bus_set_lint0, .opaque = bus};
}

struct irq_line lapic_bus_lint1(struct lapic_bus *bus)
{
	return (struct irq_line){.set = lapic_bus_set_lint1, .opaque = bus};
}

/* --- making --- */

struct lapic_bus *lapic_bus_new(const struct lapic_bus_config *config)
{
	struct lapic_bus *bus = NEW(struct lapic_bus);

	assert(config->n_cpus >= 1 && config->n_cpus <= ACCEL_MAX_VCPUS);
	assert(config->phys_bits >= 32 && config->phys_bits <= 52);
	bus->config = *config;
	for (unsigned i = 0; i < config->n_cpus; i++) {
		struct lapic *l = &bus->cpus[i];

		l->apic.ops = &lapic_ops;
		l->bus = bus;
		l->id = i;
		lapic_timer_init(l);
		lapic_reset(l, false);
	}
	return bus;
}

void lapic_bus_free(struct lapic_bus *bus)
{
	if (!bus)
		return;
	for (unsigned i = 0; i < bus->config.n_cpus; i++)
		lapic_timer_fini(&bus->cpus[i]);
	free(bus);
}

void lapic_bus_reset(struct lapic_bus *bus)
{
	for (unsigned i = 0; i < bus->config.n_cpus; i++)
		lapic_reset(&bus->cpus[i], false);
}

struct vcpu_apic *lapic_vcpu(struct lapic_bus *bus, unsigned id)
{
	assert(id < bus->config.n_cpus);
	return &bus->cpus[id].apic;
}

void lapic_attach_vcpu(struct lapic_bus *bus, unsigned id, struct vcpu *vcpu)
{
	assert(id < bus->config.n_cpus);
	__atomic_store_n(&bus->cpus[id].vcpu, vcpu, __ATOMIC_RELEASE);
}

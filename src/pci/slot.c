/*
 * The slot of a root port: native hot-plug (PCI Express Base 3.0, 6.7 and 7.8.9 to 7.8.11).
 *
 *     empty --insert--> presence changed; the guest turns the power on, the link comes up
 *     occupied --ask--> attention button; the guest lets its driver go, and turns the power off:
 *                       the link goes down, let_go --pull--> presence changed, empty
 *     occupied --pull--> presence and link changed, empty
 *
 * The link is up while something is there, has power, and isn't leaving; everything behind a link
 * that is down is out of reach. Commands complete at once, so there is no command-completed event.
 * A guest may turn the power off without being asked: the function then stays, and comes back in
 * its first state with the power.
 *
 * What the guest should hear of is one level: events that stand and are enabled. INTx follows it;
 * MSI is sent when it rises (6.7.3.4). The power indicator says whether the guest is at work on an
 * attention button: a second press while it blinks would call the first one off.
 */
#include "base/bytes.h"
#include "pci/slot_priv.h"
#include "state/state.h"

#define SLOT_CAPS                                                                                  \
	(PCIE_SLOT_CAP_BUTTON | PCIE_SLOT_CAP_POWER | PCIE_SLOT_CAP_ATTENTION |                    \
	 PCIE_SLOT_CAP_POWER_LED | PCIE_SLOT_CAP_SURPRISE | PCIE_SLOT_CAP_HOTPLUG |                \
	 PCIE_SLOT_CAP_NO_COMMAND)

/* What the slot's control register holds at power-on. */
#define SLOT_CONTROL_EMPTY                                                                         \
	(PCIE_SLOT_CONTROL_ATTN_OFF | PCIE_SLOT_CONTROL_LED_OFF | PCIE_SLOT_CONTROL_POWER_OFF)
#define SLOT_CONTROL_OCCUPIED (PCIE_SLOT_CONTROL_ATTN_OFF | PCIE_SLOT_CONTROL_LED_ON)

/* A register of the port's Express capability. */
static u32 slot_get(const struct pci_slot *s, u32 reg)
{
	return pci_get(s->port, s->port->express_cap + reg, 2);
}

static void slot_set(struct pci_slot *s, u32 reg, u32 value)
{
	pci_set(s->port, s->port->express_cap + reg, value, 2);
}

static void slot_set_initial(struct pci_slot *s, u32 reg, u32 value)
{
	bytes_store(&s->port->initial[s->port->express_cap + reg], value, 2);
}

/* --- the interrupt --- */

static bool slot_is_wanted(const struct pci_slot *s)
{
	u32 control = slot_get(s, PCIE_SLOT_CONTROL), status = slot_get(s, PCIE_SLOT_STATUS);
	bool has_event = status & control & PCIE_SLOT_CONTROL_EVENTS;

	has_event |= status & PCIE_SLOT_STATUS_LINK && control & PCIE_SLOT_CONTROL_LINK;
	return has_event && control & PCIE_SLOT_CONTROL_IRQ;
}

static void slot_update_irq(struct pci_slot *s)
{
	bool was_wanted = s->is_wanted;
	bool has_msi = pci_msi_is_enabled(&s->msi);

	s->is_wanted = slot_is_wanted(s);
	pci_set_intx(s->port, s->is_wanted && !has_msi);
	if (has_msi && s->is_wanted && !was_wanted)
		pci_msi_notify(&s->msi);
}

static void slot_raise(struct pci_slot *s, u32 events)
{
	slot_set(s, PCIE_SLOT_STATUS, slot_get(s, PCIE_SLOT_STATUS) | events);
}

/* --- presence, power, link --- */

static bool slot_is_occupied(const struct pci_slot *s)
{
	return slot_get(s, PCIE_SLOT_STATUS) & PCIE_SLOT_STATUS_PRESENT;
}

static bool slot_has_power(const struct pci_slot *s)
{
	return !(slot_get(s, PCIE_SLOT_CONTROL) & PCIE_SLOT_CONTROL_POWER_OFF);
}

/* What was there is there after a reset of the board, and has power then. */
static void slot_set_occupied(struct pci_slot *s, bool is_occupied)
{
	u32 present = is_occupied ? PCIE_SLOT_STATUS_PRESENT : 0;
	u32 status = slot_get(s, PCIE_SLOT_STATUS) & ~PCIE_SLOT_STATUS_PRESENT;

	slot_set(s, PCIE_SLOT_STATUS, status | present);
	slot_set_initial(s, PCIE_SLOT_STATUS, present);
	slot_set_initial(s, PCIE_SLOT_CONTROL,
			 is_occupied ? SLOT_CONTROL_OCCUPIED : SLOT_CONTROL_EMPTY);
}

static void slot_reset_functions(struct pci_slot *s)
{
	list_for_each (node, &s->port->secondary->functions)
		device_reset(&list_entry(node, struct pci_device, node)->dev);
}

/* Makes the link what it should be. True: it changed. */
static bool slot_update_link(struct pci_slot *s)
{
	bool is_up = slot_is_occupied(s) && slot_has_power(s) && !s->is_leaving;
	u32 status = PCIE_LINK_2_5GT | (is_up ? PCIE_LINK_STATUS_ACTIVE | PCIE_LINK_X1 : 0);

	slot_set(s, PCIE_LINK_STATUS, status);
	if (s->port->is_link_down == !is_up)
		return false;
	s->port->is_link_down = !is_up;
	if (!is_up)
		slot_reset_functions(s);
	pci_update_mappings(s->port);
	return true;
}

static void slot_follow_link(struct pci_slot *s)
{
	if (slot_update_link(s))
		slot_raise(s, PCIE_SLOT_STATUS_LINK);
}

static void slot_release(struct pci_slot *s)
{
	s->is_asked = false;
	s->is_leaving = true;
	slot_follow_link(s);
	if (s->let_go)
		s->let_go(s->opaque, s->port);
}

void pci_slot_update(struct pci_slot *s)
{
	pci_msi_update(&s->msi);
	slot_follow_link(s);
	if (s->is_asked && !slot_has_power(s))
		slot_release(s);
	slot_update_irq(s);
}

/* --- what happens in the slot --- */

static void slot_lock(struct pci_device *port)
{
	pthread_mutex_lock(&port->bus->root->lock);
}

static void slot_unlock(struct pci_device *port)
{
	pthread_mutex_unlock(&port->bus->root->lock);
}

void pci_root_port_plug(struct pci_device *port, struct pci_device *p)
{
	struct pci_slot *s = pci_root_port_slot(port);

	assert(list_is_empty(&port->secondary->functions));
	pci_attach(p, port->secondary, PCI_DEVFN(0, 0));
	slot_lock(port);
	slot_set_occupied(s, true);
	slot_set(s, PCIE_SLOT_CONTROL, SLOT_CONTROL_OCCUPIED);
	slot_update_link(s);
	slot_unlock(port);
}

void pci_root_port_insert(struct pci_device *port, struct pci_device *p)
{
	struct pci_slot *s = pci_root_port_slot(port);

	assert(list_is_empty(&port->secondary->functions));
	pci_attach(p, port->secondary, PCI_DEVFN(0, 0));
	slot_lock(port);
	slot_set_occupied(s, true);
	slot_raise(s, PCIE_SLOT_STATUS_PRESENCE);
	slot_follow_link(s);
	slot_update_irq(s);
	slot_unlock(port);
}

int pci_root_port_ask(struct pci_device *port)
{
	struct pci_slot *s = pci_root_port_slot(port);
	u32 led;
	int r = 0;

	slot_lock(port);
	led = slot_get(s, PCIE_SLOT_CONTROL) & PCIE_SLOT_CONTROL_POWER_LED;
	if (s->is_leaving || (s->is_asked && led == PCIE_SLOT_CONTROL_LED_BLINK)) {
		r = -EALREADY;
	} else if (!slot_has_power(s)) {
		slot_release(s); /* the guest let go before it was asked */
	} else {
		s->is_asked = true;
		slot_raise(s, PCIE_SLOT_STATUS_BUTTON);
	}
	slot_update_irq(s);
	slot_unlock(port);
	return r;
}

void pci_root_port_pull(struct pci_device *port)
{
	struct pci_slot *s = pci_root_port_slot(port);
	struct list *functions = &port->secondary->functions;

	slot_lock(port);
	while (!list_is_empty(functions))
		pci_unlink(list_entry(functions->next, struct pci_device, node));
	slot_set_occupied(s, false);
	s->is_asked = s->is_leaving = false;
	slot_raise(s, PCIE_SLOT_STATUS_PRESENCE);
	slot_follow_link(s);
	slot_update_irq(s);
	slot_unlock(port);
}

bool pci_root_port_is_asked(struct pci_device *port)
{
	bool is_asked;

	slot_lock(port);
	is_asked = pci_root_port_slot(port)->is_asked;
	slot_unlock(port);
	return is_asked;
}

void pci_root_port_finish_ask(struct pci_device *port)
{
	struct pci_slot *s = pci_root_port_slot(port);

	slot_lock(port);
	if (s->is_asked)
		slot_release(s);
	slot_unlock(port);
}

/* --- the port's --- */

void pci_slot_reset(struct pci_slot *s)
{
	s->is_wanted = false;
	pci_set_intx(s->port, false);
	pci_msi_reset(&s->msi);
	slot_update_link(s);
}

void pci_slot_init(struct pci_slot *s, struct pci_device *port,
		   const struct pci_root_port_config *c)
{
	u8 at = pci_add_express(port, PCIE_ROOT_PORT);
	u32 link = pci_get(port, at + PCIE_LINK_CAP, 4);

	s->port = port;
	s->let_go = c->let_go;
	s->opaque = c->opaque;
	port->is_link_down = true;
	slot_set(s, PCIE_FLAGS, slot_get(s, PCIE_FLAGS) | PCIE_FLAGS_SLOT);
	pci_set(port, at + PCIE_LINK_CAP,
		link | PCIE_LINK_CAP_DLLLARC | PCIE_LINK_CAP_PORT(c->devfn), 4);
	slot_set(s, PCIE_LINK_STATUS, PCIE_LINK_2_5GT);
	pci_set(port, at + PCIE_SLOT_CAP, SLOT_CAPS | PCIE_SLOT_CAP_NUMBER(c->slot_number), 4);
	slot_set(s, PCIE_SLOT_CONTROL, SLOT_CONTROL_EMPTY);
	pci_set_writable(port, at + PCIE_SLOT_CONTROL, PCIE_SLOT_CONTROL_BITS, 2);
	pci_set_clearable(port, at + PCIE_SLOT_STATUS, PCIE_SLOT_STATUS_EVENTS, 2);
	pci_set_writable(port, at + PCIE_ROOT_CONTROL, PCIE_ROOT_CONTROL_BITS, 2);
	pci_set_clearable(port, at + PCIE_ROOT_STATUS, PCIE_ROOT_STATUS_PME, 4);
	pci_msi_init(&s->msi, port, &c->sink);
}

/* --- saved state --- */

/* The port's bytes were loaded before. The guest heard of what stands, so nothing is sent. */
static int slot_after_load(void *object, unused u16 version, unused struct err *err)
{
	struct pci_slot *s = object;

	s->is_asked &= slot_is_occupied(s);
	s->is_leaving &= slot_is_occupied(s);
	slot_update_link(s);
	s->is_wanted = slot_is_wanted(s);
	if (s->is_leaving && s->let_go)
		s->let_go(s->opaque, s->port);
	return 0;
}

static const struct state_field slot_fields[] = {
	STATE_SUB(struct pci_slot, msi, &pci_msi_state),
	STATE_B(struct pci_slot, is_asked),
	STATE_B(struct pci_slot, is_leaving),
	STATE_END,
};

const struct state_table pci_slot_state = {
	.name = "pcie-slot",
	.version = 1,
	.fields = slot_fields,
	.after_load = slot_after_load,
};

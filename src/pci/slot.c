/*
 * The slot of a root port: native hot-plug (PCI Express Base 3.0, 6.7 and 7.8.9 to 7.8.11).
 *
 *     empty --insert--> presence and link changed, occupied
 *     occupied --ask--> attention button; the guest lets its driver go, and turns the power indicator
 *                       off: presence and link changed, let_go --pull--> empty
 *     occupied --lose--> presence and link changed, nothing seems to be there; but the function
 *                       answers until the guest turns the indicator off: let_go --pull--> empty
 *
 * Losing comes before pulling since drivers say goodbye to what is gone: Linux's for virtio waits
 * for the end of a reset, forever where all registers read as ones.
 *
 * There is no power controller: Linux, which listens to the link alone where there is an attention
 * button, would else wait for somebody to press that after each insertion. So it is the power
 * indicator that says what the guest thinks (6.7.1.1.2): off, the function may be taken out; blinking,
 * the guest is at work on an attention button, and a second press would call it off. Commands
 * complete at once, so there is no command-completed event.
 *
 * What the guest should hear of is one level: events that stand and are enabled. INTx follows it;
 * MSI is sent when it rises (6.7.3.4).
 */
#include "base/bytes.h"
#include "pci/slot_priv.h"
#include "state/state.h"

#define SLOT_CAPS                                                                                  \
	(PCIE_SLOT_CAP_BUTTON | PCIE_SLOT_CAP_ATTENTION | PCIE_SLOT_CAP_POWER_LED |                \
	 PCIE_SLOT_CAP_SURPRISE | PCIE_SLOT_CAP_HOTPLUG | PCIE_SLOT_CAP_NO_COMMAND)

/* What the slot's control register holds at power-on. */
#define SLOT_CONTROL_EMPTY    (PCIE_SLOT_CONTROL_ATTN_OFF | PCIE_SLOT_CONTROL_LED_OFF)
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

/* --- presence, link --- */

static bool slot_is_occupied(const struct pci_slot *s)
{
	return !list_is_empty(&s->port->secondary->functions);
}

static u32 slot_led(const struct pci_slot *s)
{
	return slot_get(s, PCIE_SLOT_CONTROL) & PCIE_SLOT_CONTROL_POWER_LED;
}

/* What was there is there after a reset of the board. */
static void slot_set_initial_state(struct pci_slot *s)
{
	bool is_occupied = slot_is_occupied(s);

	slot_set_initial(s, PCIE_SLOT_STATUS, is_occupied ? PCIE_SLOT_STATUS_PRESENT : 0);
	slot_set_initial(s, PCIE_SLOT_CONTROL,
			 is_occupied ? SLOT_CONTROL_OCCUPIED : SLOT_CONTROL_EMPTY);
}

static void slot_reset_functions(struct pci_slot *s)
{
	list_for_each (node, &s->port->secondary->functions)
		device_reset(&list_entry(node, struct pci_device, node)->dev);
}

/* Makes what is behind the link reachable, or not. */
static void slot_update_reach(struct pci_slot *s)
{
	bool is_down = !slot_is_occupied(s) || s->is_leaving;

	if (s->port->is_link_down == is_down)
		return;
	s->port->is_link_down = is_down;
	if (is_down)
		slot_reset_functions(s);
	pci_update_mappings(s->port);
}

/* Shows what is in the slot; returns the events that come of what changed. */
static u32 slot_update(struct pci_slot *s)
{
	bool is_present = slot_is_occupied(s) && !s->is_lost && !s->is_leaving;
	u32 link = PCIE_LINK_2_5GT | (is_present ? PCIE_LINK_STATUS_ACTIVE | PCIE_LINK_X1 : 0);
	u32 status = slot_get(s, PCIE_SLOT_STATUS), events = 0;

	if (is_present != !!(status & PCIE_SLOT_STATUS_PRESENT))
		events |= PCIE_SLOT_STATUS_PRESENCE;
	if (link != slot_get(s, PCIE_LINK_STATUS))
		events |= PCIE_SLOT_STATUS_LINK;
	status &= ~PCIE_SLOT_STATUS_PRESENT;
	slot_set(s, PCIE_SLOT_STATUS, status | (is_present ? PCIE_SLOT_STATUS_PRESENT : 0));
	slot_set(s, PCIE_LINK_STATUS, link);
	slot_update_reach(s);
	return events;
}

/* The same, for a guest that listens. */
static void slot_update_loudly(struct pci_slot *s)
{
	slot_raise(s, slot_update(s));
}

static void slot_release(struct pci_slot *s)
{
	s->is_asked = false;
	s->is_leaving = true;
	slot_update_loudly(s);
	if (s->let_go)
		s->let_go(s->opaque, s->port);
}

void pci_slot_update(struct pci_slot *s)
{
	bool is_awaited = s->is_asked || (s->is_lost && !s->is_leaving);

	pci_msi_update(&s->msi);
	if (is_awaited && slot_led(s) == PCIE_SLOT_CONTROL_LED_OFF)
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

	assert(!slot_is_occupied(s));
	pci_attach(p, port->secondary, PCI_DEVFN(0, 0));
	slot_lock(port);
	slot_set_initial_state(s);
	slot_set(s, PCIE_SLOT_CONTROL, SLOT_CONTROL_OCCUPIED);
	slot_update(s);
	slot_unlock(port);
}

void pci_root_port_insert(struct pci_device *port, struct pci_device *p)
{
	struct pci_slot *s = pci_root_port_slot(port);

	assert(!slot_is_occupied(s));
	pci_attach(p, port->secondary, PCI_DEVFN(0, 0));
	slot_lock(port);
	slot_set_initial_state(s);
	slot_update_loudly(s);
	slot_update_irq(s);
	slot_unlock(port);
}

int pci_root_port_ask(struct pci_device *port)
{
	struct pci_slot *s = pci_root_port_slot(port);
	int r = 0;

	slot_lock(port);
	if (s->is_leaving || (s->is_asked && slot_led(s) == PCIE_SLOT_CONTROL_LED_BLINK)) {
		r = -EALREADY;
	} else if (slot_led(s) == PCIE_SLOT_CONTROL_LED_OFF) {
		slot_release(s); /* the guest let go before it was asked */
	} else {
		s->is_asked = true;
		slot_raise(s, PCIE_SLOT_STATUS_BUTTON);
	}
	slot_update_irq(s);
	slot_unlock(port);
	return r;
}

void pci_root_port_lose(struct pci_device *port)
{
	struct pci_slot *s = pci_root_port_slot(port);

	slot_lock(port);
	s->is_lost = true;
	slot_update_loudly(s);
	if (!s->is_leaving && slot_led(s) == PCIE_SLOT_CONTROL_LED_OFF)
		slot_release(s);
	slot_update_irq(s);
	slot_unlock(port);
}

void pci_root_port_pull(struct pci_device *port)
{
	struct pci_slot *s = pci_root_port_slot(port);
	struct list *functions = &port->secondary->functions;

	slot_lock(port);
	while (!list_is_empty(functions))
		pci_unlink(list_entry(functions->next, struct pci_device, node));
	slot_set_initial_state(s);
	s->is_asked = s->is_leaving = s->is_lost = false;
	slot_update_loudly(s);
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
	if (s->is_asked || (s->is_lost && !s->is_leaving))
		slot_release(s);
	slot_unlock(port);
}

/* --- the port's --- */

void pci_slot_reset(struct pci_slot *s)
{
	s->is_wanted = false;
	pci_set_intx(s->port, false);
	pci_msi_reset(&s->msi);
	slot_update(s);
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
	s->is_lost &= slot_is_occupied(s);
	s->is_leaving &= slot_is_occupied(s);
	slot_update(s);
	s->is_wanted = slot_is_wanted(s);
	/* Whoever was to take it out is elsewhere. */
	if (s->is_lost || s->is_leaving)
		slot_release(s);
	return 0;
}

static const struct state_field slot_fields[] = {
	STATE_SUB(struct pci_slot, msi, &pci_msi_state),
	STATE_B(struct pci_slot, is_asked),
	STATE_B(struct pci_slot, is_lost),
	STATE_B(struct pci_slot, is_leaving),
	STATE_END,
};

const struct state_table pci_slot_state = {
	.name = "pcie-slot",
	.version = 1,
	.fields = slot_fields,
	.after_load = slot_after_load,
};

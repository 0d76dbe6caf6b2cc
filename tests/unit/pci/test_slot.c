/* pci/slot.c: hot-plug as a guest's driver sees it, and as one without manners does. */
#include "bench.h"

#include "base/bytes.h"
#include "base/err.h"
#include "pci/assign.h"

#define RP      PCI_DEVFN(1, 0)
#define MSI_GPA 0xfee01000u
#define BAR_GPA 0xc0000000u
#define ALL_EVENTS                                                                                 \
	(PCIE_SLOT_CONTROL_IRQ | PCIE_SLOT_CONTROL_LINK | PCIE_SLOT_STATUS_BUTTON |                \
	 PCIE_SLOT_STATUS_PRESENCE)

/* A bench with one port, and what its driver does. */
struct slots {
	struct bench b;
	struct pci_device *port;
	struct card *card; /* in the slot, or NULL */
	u8 cap;
	unsigned wire;
};

static void slots_init(struct slots *s, bool is_occupied)
{
	static const struct pci_resources resources = {
		.ports = {0x1000, 0xffff},
		.memory32 = {BAR_GPA, 0xcfffffff},
		.memory64 = {0x800000000, 0xfffffffff},
	};
	struct err err = ERR_INIT;

	bench_init(&s->b);
	s->port = bench_port(&s->b, RP, "rp");
	s->card = is_occupied ? bench_card(&s->b, "card") : NULL;
	if (is_occupied)
		pci_root_port_plug(s->port, &s->card->pci);
	CHECK_EQ(pci_assign_resources(s->b.root, &resources, &err), 0);
	s->cap = find_cap(&s->b, 0, RP, PCI_CAP_ID_EXPRESS);
	s->wire = pci_pirq_of(PCI_SLOT(RP), PCI_INTX_A);
}

static void slots_fini(struct slots *s)
{
	bench_fini(&s->b);
}

static u32 slot_rd(struct slots *s, u32 reg)
{
	return rd(&s->b, 0, RP, s->cap + reg, 2);
}

static void slot_wr(struct slots *s, u32 reg, u32 value)
{
	wr(&s->b, 0, RP, s->cap + reg, value, 2);
}

static u32 status_of(struct slots *s)
{
	return slot_rd(s, PCIE_SLOT_STATUS);
}

static bool link_is_up(struct slots *s)
{
	return slot_rd(s, PCIE_LINK_STATUS) & PCIE_LINK_STATUS_ACTIVE;
}

/* Everything that stands is acknowledged. */
static void acknowledge(struct slots *s)
{
	slot_wr(s, PCIE_SLOT_STATUS, PCIE_SLOT_STATUS_EVENTS);
}

static void light(struct slots *s, u32 led)
{
	slot_wr(s, PCIE_SLOT_CONTROL, ALL_EVENTS | PCIE_SLOT_CONTROL_ATTN_OFF | led);
}

static void listen_by_msi(struct slots *s)
{
	u32 msi = find_cap(&s->b, 0, RP, PCI_CAP_ID_MSI);

	wr(&s->b, 0, RP, msi + PCI_MSI_ADDRESS, MSI_GPA, 4);
	wr(&s->b, 0, RP, msi + PCI_MSI_DATA, 0x41, 2);
	wr(&s->b, 0, RP, msi + PCI_MSI_CONTROL, PCI_MSI_CONTROL_ENABLE, 2);
	slot_wr(s, PCIE_SLOT_CONTROL, slot_rd(s, PCIE_SLOT_CONTROL) | ALL_EVENTS);
}

static void insert(struct slots *s)
{
	s->card = bench_card(&s->b, "card");
	pci_root_port_insert(s->port, &s->card->pci);
}

static void pull(struct slots *s)
{
	pci_root_port_pull(s->port);
	device_free(&s->card->pci.dev);
	s->card = NULL;
}

TEST(a_function_that_is_put_in_is_found)
{
	struct slots s;

	slots_init(&s, false);
	listen_by_msi(&s);
	CHECK(!(status_of(&s) & (PCIE_SLOT_STATUS_PRESENT | PCIE_SLOT_STATUS_EVENTS)));
	CHECK(!link_is_up(&s));
	insert(&s);
	CHECK_EQ(status_of(&s),
		 PCIE_SLOT_STATUS_PRESENT | PCIE_SLOT_STATUS_PRESENCE | PCIE_SLOT_STATUS_LINK);
	CHECK_EQ(s.b.n_msgs, 1);
	CHECK_EQ(s.b.msg.address, MSI_GPA);
	CHECK_EQ(s.b.msg.data, 0x41);
	CHECK(!s.b.pirq[s.wire]);
	CHECK(link_is_up(&s));
	CHECK_EQ(rd(&s.b, 1, 0, 0, 4), 0x56781234);
	wr(&s.b, 1, 0, PCI_BAR0, BAR_GPA, 4);
	wr(&s.b, 1, 0, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
	CHECK(io_space_has(s.b.memory, BAR_GPA));
	slots_fini(&s);
}

TEST(a_function_is_let_go_and_taken_out)
{
	struct slots s;

	slots_init(&s, true);
	listen_by_msi(&s);
	wr(&s.b, 1, 0, PCI_BAR0, BAR_GPA, 4);
	wr(&s.b, 1, 0, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
	CHECK_EQ(pci_root_port_ask(s.port), 0);
	CHECK(status_of(&s) & PCIE_SLOT_STATUS_BUTTON);
	CHECK_EQ(s.b.n_msgs, 1);
	acknowledge(&s);
	light(&s, PCIE_SLOT_CONTROL_LED_BLINK);
	CHECK_EQ(pci_root_port_ask(s.port), -EALREADY); /* would call it off */
	CHECK(pci_root_port_is_asked(s.port));
	CHECK(!s.b.let_go);

	light(&s, PCIE_SLOT_CONTROL_LED_OFF);
	CHECK(s.b.let_go == s.port);
	CHECK(!link_is_up(&s));
	CHECK(!io_space_has(s.b.memory, BAR_GPA));
	CHECK_EQ(rd(&s.b, 1, 0, 0, 4), 0xffffffff);
	s.b.let_go = NULL;
	light(&s, PCIE_SLOT_CONTROL_LED_ON); /* too late: it is on its way out */
	light(&s, PCIE_SLOT_CONTROL_LED_OFF);
	CHECK(!link_is_up(&s));
	CHECK(!s.b.let_go);
	CHECK_EQ(pci_root_port_ask(s.port), -EALREADY);

	acknowledge(&s);
	pull(&s);
	CHECK_EQ(status_of(&s), 0); /* it was told when it let go */
	insert(&s);                 /* the slot may be used again */
	CHECK_EQ(rd(&s.b, 1, 0, 0, 4), 0x56781234);
	slots_fini(&s);
}

TEST(a_guest_that_does_not_answer_may_be_asked_again)
{
	struct slots s;

	slots_init(&s, true);
	slot_wr(&s, PCIE_SLOT_CONTROL, ALL_EVENTS | PCIE_SLOT_CONTROL_LED_ON);
	CHECK_EQ(pci_root_port_ask(s.port), 0);
	CHECK(s.b.pirq[s.wire]);
	acknowledge(&s);
	CHECK(!s.b.pirq[s.wire]);
	CHECK_EQ(pci_root_port_ask(s.port), 0);
	CHECK(s.b.pirq[s.wire]);
	pci_root_port_finish_ask(s.port); /* it starts anew */
	CHECK(s.b.let_go == s.port);
	pull(&s);
	slots_fini(&s);
}

TEST(an_indicator_that_nobody_asked_to_turn_off_only_shows)
{
	struct slots s;

	slots_init(&s, true);
	light(&s, PCIE_SLOT_CONTROL_LED_OFF);
	CHECK(!s.b.let_go);
	CHECK_EQ(rd(&s.b, 1, 0, 0, 4), 0x56781234);
	CHECK_EQ(pci_root_port_ask(s.port), 0); /* it has let go already */
	CHECK(s.b.let_go == s.port);
	slots_fini(&s);
}

TEST(what_is_lost_answers_until_the_guest_has_noticed)
{
	struct slots s;

	slots_init(&s, true);
	listen_by_msi(&s);
	pci_root_port_lose(s.port);
	CHECK_EQ(status_of(&s), PCIE_SLOT_STATUS_PRESENCE | PCIE_SLOT_STATUS_LINK);
	CHECK(!link_is_up(&s));
	CHECK_EQ(s.b.n_msgs, 1);
	CHECK_EQ(rd(&s.b, 1, 0, 0, 4), 0x56781234);
	CHECK(!s.b.let_go);
	acknowledge(&s);
	light(&s, PCIE_SLOT_CONTROL_LED_OFF);
	CHECK(s.b.let_go == s.port);
	CHECK_EQ(rd(&s.b, 1, 0, 0, 4), 0xffffffff);
	pull(&s);
	CHECK_EQ(status_of(&s), 0); /* it was told already */
	slots_fini(&s);
}

TEST(what_is_pulled_is_gone_at_once)
{
	struct slots s;

	slots_init(&s, true);
	listen_by_msi(&s);
	wr(&s.b, 1, 0, PCI_BAR0, BAR_GPA, 4);
	wr(&s.b, 1, 0, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
	pci_set_intx(&s.card->pci, true);
	pci_root_port_pull(s.port);
	CHECK(!io_space_has(s.b.memory, BAR_GPA));
	CHECK_EQ(rd(&s.b, 1, 0, 0, 4), 0xffffffff);
	CHECK_EQ(status_of(&s), PCIE_SLOT_STATUS_PRESENCE | PCIE_SLOT_STATUS_LINK);
	CHECK_EQ(s.b.n_msgs, 1);
	/* Somebody who found it before may still be inside. */
	pci_set_intx(&s.card->pci, false);
	pci_set_intx(&s.card->pci, true);
	device_free(&s.card->pci.dev);
	CHECK(!s.b.pirq[s.wire]);
	slots_fini(&s);
}

TEST(messages_are_sent_when_the_level_rises)
{
	struct slots s;

	slots_init(&s, true);
	listen_by_msi(&s);
	u32 msi = find_cap(&s.b, 0, RP, PCI_CAP_ID_MSI);

	pci_root_port_ask(s.port);
	pci_root_port_ask(s.port);
	CHECK_EQ(s.b.n_msgs, 1);
	slot_wr(&s, PCIE_SLOT_CONTROL, 0);
	slot_wr(&s, PCIE_SLOT_CONTROL, ALL_EVENTS);
	CHECK_EQ(s.b.n_msgs, 2);
	acknowledge(&s);
	wr(&s.b, 0, RP, msi + PCI_MSI_MASK, 1, 4);
	pci_root_port_ask(s.port);
	CHECK_EQ(s.b.n_msgs, 2);
	CHECK_EQ(rd(&s.b, 0, RP, msi + PCI_MSI_PENDING, 4), 1);
	wr(&s.b, 0, RP, msi + PCI_MSI_MASK, 0, 4);
	CHECK_EQ(s.b.n_msgs, 3);
	CHECK_EQ(rd(&s.b, 0, RP, msi + PCI_MSI_PENDING, 4), 0);
	/* Back to the wire: the level stands. */
	wr(&s.b, 0, RP, msi + PCI_MSI_CONTROL, 0, 2);
	CHECK(s.b.pirq[s.wire]);
	acknowledge(&s);
	CHECK(!s.b.pirq[s.wire]);
	slots_fini(&s);
}

TEST(a_reset_keeps_what_is_there)
{
	struct slots s;

	slots_init(&s, false);
	listen_by_msi(&s);
	insert(&s);
	device_set_reset(&s.b.devices);
	CHECK_EQ(status_of(&s), PCIE_SLOT_STATUS_PRESENT);
	CHECK(link_is_up(&s));
	pull(&s);
	device_set_reset(&s.b.devices);
	CHECK_EQ(status_of(&s), 0);
	CHECK(!link_is_up(&s));
	slots_fini(&s);
}

TEST(garbage_is_survived)
{
	struct slots s;
	u32 seed = 1;

	slots_init(&s, true);
	for (unsigned i = 0; i < 20000; i++) {
		seed = seed * 1664525 + 1013904223;
		u32 reg = (seed >> 8 & 1 ? PCIE_SLOT_CONTROL : PCIE_SLOT_STATUS) + (seed >> 9 & 1);

		wr(&s.b, 0, RP, s.cap + reg, seed >> 12 & 0xff, 1);
		if (seed >> 20 & 1)
			wr(&s.b, 0, RP, find_cap(&s.b, 0, RP, PCI_CAP_ID_MSI) + 2u, seed >> 13, 2);
		if (i % 97 == 0)
			(void)pci_root_port_ask(s.port);
		if (i % 1009 == 0)
			pci_root_port_lose(s.port);
		if (s.b.let_go) {
			s.b.let_go = NULL;
			pull(&s);
			insert(&s);
		}
		CHECK(!link_is_up(&s) || rd(&s.b, 1, 0, 0, 4) != 0xffffffff);
	}
	slots_fini(&s);
}

static void copy_state(struct slots *from, struct slots *to)
{
	AUTO(state_writer_free) struct state_writer *w = state_writer_new();
	struct err err = ERR_INIT;
	const void *data;
	size_t size;

	device_set_save(&from->b.devices, w);
	data = state_writer_finish(w, &size);
	CHECK_EQ(bench_load(&to->b, data, size, &err), 0);
	for (u32 off = 0; off < PCI_CONFIG_SIZE; off += 4)
		CHECK_EQ(rd(&to->b, 0, RP, off, 4), rd(&from->b, 0, RP, off, 4));
}

TEST(a_saved_question_is_answered_elsewhere)
{
	struct slots s, t;

	slots_init(&s, true);
	listen_by_msi(&s);
	pci_root_port_ask(s.port);
	slots_init(&t, true);
	copy_state(&s, &t);
	CHECK(pci_root_port_is_asked(t.port));
	CHECK_EQ(t.b.n_msgs, 0); /* it was sent */
	light(&t, PCIE_SLOT_CONTROL_LED_OFF);
	CHECK(t.b.let_go == t.port);
	slots_fini(&t);

	light(&s, PCIE_SLOT_CONTROL_LED_OFF);
	slots_init(&t, true);
	copy_state(&s, &t);
	CHECK(t.b.let_go == t.port); /* let go before, pulled here */
	CHECK(!link_is_up(&t));
	slots_fini(&t);
	slots_fini(&s);

	slots_init(&s, true);
	pci_root_port_lose(s.port);
	slots_init(&t, true);
	copy_state(&s, &t);
	CHECK(t.b.let_go == t.port);
	slots_fini(&t);
	slots_fini(&s);
}

/*
 * virtio-console: ports on streams in memory, the control protocol, saved state.
 */
#include "virtio/console.h"

#include "base/err.h"
#include "chr/chr.h"
#include "test.h"
#include "virtio/console_wire.h"
#include "virtio_driver.h"

#define FEATURES (VIRTIO_F_VERSION_1 | VCON_F_MULTIPORT | VCON_F_SIZE)

enum { PORTS = 3, RX1 = 4, TX1 = 5 };

struct con {
	struct vdrv d;
	struct chr *chr[PORTS];
	gpa_t control[32]; /* buffers given for control messages */
	u16 n_control, n_seen;
};

static struct virtio_device *new_console(struct con *c)
{
	struct vcon_port_options ports[PORTS] = {
		{.is_console = true}, {.name = "org.example.one"}, {.name = "two"}};
	const struct vcon_options o = {.name = "console0", .ports = ports, .n_ports = PORTS};
	struct err err = ERR_INIT;
	struct virtio_device *v;

	for (int i = 0; i < PORTS; i++)
		ports[i].chr = c->chr[i] = chr_ring_new(16);
	CHECK_EQ(vcon_new(&o, c->d.loop, c->d.gmem, &v, &err), 0);
	return v;
}

static void give_control(struct con *c, u32 n)
{
	for (u32 i = 0; i < n; i++) {
		struct fake_buf seg = {vdrv_put(&c->d, NULL, 80), 80, true};

		c->control[c->n_control++] = seg.gpa;
		vdrv_add(&c->d, VCON_QUEUE_CONTROL_RX, &seg, 1);
	}
	vdrv_kick(&c->d, VCON_QUEUE_CONTROL_RX);
	vdrv_settle(&c->d);
}

static void tell(struct con *c, u32 id, u16 event, u16 value)
{
	const struct vcon_control_wire m = {
		.id = le32_of(id), .event = le16_of(event), .value = le16_of(value)};
	struct fake_buf seg = {vdrv_put(&c->d, &m, sizeof(m)), sizeof(m), false};

	vdrv_add(&c->d, VCON_QUEUE_CONTROL_TX, &seg, 1);
	vdrv_kick(&c->d, VCON_QUEUE_CONTROL_TX);
	vdrv_settle(&c->d);
}

/* The next control message is this one; tail is what follows its head. */
static void expect(struct con *c, u32 id, u16 event, u16 value, const char *tail)
{
	u8 got[80], n_tail = (u8)strlen(tail);
	struct vcon_control_wire m;

	CHECK(c->n_seen < vdrv_used(&c->d, VCON_QUEUE_CONTROL_RX));
	CHECK_EQ(vdrv_used_len(&c->d, VCON_QUEUE_CONTROL_RX, c->n_seen), sizeof(m) + n_tail);
	vdrv_get(&c->d, c->control[c->n_seen++], got, sizeof(got));
	memcpy(&m, got, sizeof(m));
	CHECK_EQ(le32_get(m.id), id);
	CHECK_EQ(le16_get(m.event), event);
	CHECK_EQ(le16_get(m.value), value);
	CHECK_MEM(got + sizeof(m), tail, n_tail);
}

static void expect_none(struct con *c)
{
	CHECK_EQ(vdrv_used(&c->d, VCON_QUEUE_CONTROL_RX), c->n_seen);
}

static void start(struct con *c, u64 features)
{
	*c = (struct con){0};
	vdrv_init(&c->d);
	vdrv_start(&c->d, new_console(c), features);
}

static void bring_up(struct con *c)
{
	start(c, FEATURES);
	give_control(c, 16);
	tell(c, 0, VCON_DEVICE_READY, 1);
	for (u32 i = 0; i < PORTS; i++)
		expect(c, i, VCON_DEVICE_ADD, 0, "");
	for (u32 i = 0; i < PORTS; i++)
		tell(c, i, VCON_PORT_READY, 1);
	expect(c, 0, VCON_CONSOLE_PORT, 1, "");
	expect(c, 0, VCON_PORT_OPEN, 1, "");
	expect(c, 1, VCON_PORT_NAME, 1, "org.example.one");
	expect(c, 1, VCON_PORT_OPEN, 1, "");
	expect(c, 2, VCON_PORT_NAME, 1, "two");
	expect(c, 2, VCON_PORT_OPEN, 1, "");
	expect_none(c);
}

static void add_out(struct con *c, u32 queue, const char *text)
{
	u32 size = (u32)strlen(text);
	struct fake_buf seg = {vdrv_put(&c->d, text, size), size, false};

	vdrv_add(&c->d, queue, &seg, 1);
	vdrv_kick(&c->d, queue);
	vdrv_settle(&c->d);
}

static void check_output(struct con *c, int port, const char *text)
{
	char got[64];

	CHECK_EQ(chr_ring_output(c->chr[port], got, sizeof(got)), strlen(text));
	CHECK_MEM(got, text, strlen(text));
}

TEST(ports_are_announced_and_named)
{
	struct con c;

	bring_up(&c);
	vdrv_fini(&c.d);
}

TEST(control_messages_wait_for_buffers_without_growing)
{
	struct con c;

	start(&c, FEATURES);
	for (int i = 0; i < 40; i++)
		tell(&c, 0, VCON_DEVICE_READY, 1);
	give_control(&c, 2);
	expect(&c, 0, VCON_DEVICE_ADD, 0, "");
	expect(&c, 1, VCON_DEVICE_ADD, 0, "");
	expect_none(&c);
	give_control(&c, 5);
	expect(&c, 2, VCON_DEVICE_ADD, 0, "");
	expect_none(&c);
	vdrv_fini(&c.d);
}

TEST(a_peer_that_comes_and_goes_is_reported_once)
{
	struct con c;

	bring_up(&c);
	chr_ring_set_open(c.chr[1], false);
	expect(&c, 1, VCON_PORT_OPEN, 0, "");
	chr_ring_set_open(c.chr[1], true);
	expect(&c, 1, VCON_PORT_OPEN, 1, "");
	expect_none(&c);
	vdrv_fini(&c.d);
}

TEST(sizes_reach_the_driver_of_a_console)
{
	struct vcon_config_wire w;
	struct con c;

	bring_up(&c);
	vcon_set_size(c.d.v, 0, 0x5051, 0x1819);
	expect(&c, 0, VCON_RESIZE, 0, "\x51\x50\x19\x18");
	CHECK_EQ(c.d.n_config_interrupts, 1);
	virtio_read_config(c.d.v, 0, &w, sizeof(w));
	CHECK_EQ(le16_get(w.cols), 0x5051);
	CHECK_EQ(le16_get(w.rows), 0x1819);
	CHECK_EQ(le32_get(w.max_nr_ports), PORTS);
	vdrv_fini(&c.d);
}

TEST(output_goes_on_where_a_full_stream_stopped_it)
{
	struct con c;

	bring_up(&c);
	add_out(&c, TX1, "0123456789");
	add_out(&c, TX1, "abcdefghij"); /* room for 6 of these */
	CHECK_EQ(vdrv_used(&c.d, TX1), 1);
	add_out(&c, TX1, "xyz");
	CHECK_EQ(vdrv_used(&c.d, TX1), 1);
	check_output(&c, 1, "0123456789abcdef");
	vdrv_wait(&c.d, TX1, 3);
	check_output(&c, 1, "ghijxyz");
	CHECK_EQ(vdrv_used_len(&c.d, TX1, 2), 0);
	vdrv_fini(&c.d);
}

TEST(input_waits_for_buffers_and_for_an_open_port)
{
	struct fake_buf seg = {0, 4, true};
	struct con c;
	char got[4];

	bring_up(&c);
	CHECK_EQ(chr_ring_input(c.chr[1], "abcdef", 6), 0); /* nobody has it open */
	chr_ring_was_accepted(c.chr[1]);
	tell(&c, 1, VCON_PORT_OPEN, 1);
	CHECK(chr_ring_was_accepted(c.chr[1]));
	CHECK_EQ(chr_ring_input(c.chr[1], "abcdef", 6), 0); /* no buffers */

	seg.gpa = vdrv_put(&c.d, NULL, 4);
	vdrv_add(&c.d, RX1, &seg, 1);
	vdrv_kick(&c.d, RX1);
	vdrv_settle(&c.d);
	CHECK(chr_ring_was_accepted(c.chr[1]));
	CHECK_EQ(chr_ring_input(c.chr[1], "abcdef", 6), 4);
	CHECK_EQ(vdrv_used_len(&c.d, RX1, 0), 4);
	vdrv_get(&c.d, seg.gpa, got, 4);
	CHECK_MEM(got, "abcd", 4);

	tell(&c, 1, VCON_PORT_OPEN, 0);
	vdrv_add(&c.d, RX1, &seg, 1);
	CHECK_EQ(chr_ring_input(c.chr[1], "ef", 2), 0);
	vdrv_fini(&c.d);
}

TEST(without_multiport_there_is_one_port_and_it_is_open)
{
	struct fake_buf seg = {0, 8, true};
	struct con c;

	start(&c, VIRTIO_F_VERSION_1);
	add_out(&c, VCON_QUEUE_TX0, "hello");
	check_output(&c, 0, "hello");
	seg.gpa = vdrv_put(&c.d, NULL, 8);
	vdrv_add(&c.d, VCON_QUEUE_RX0, &seg, 1);
	CHECK_EQ(chr_ring_input(c.chr[0], "hi", 2), 2);
	CHECK_EQ(vdrv_used_len(&c.d, VCON_QUEUE_RX0, 0), 2);
	vdrv_fini(&c.d);
}

TEST(an_emergency_write_needs_no_driver)
{
	const u32 letter = '!';
	struct con c;

	start(&c, FEATURES);
	vdrv_reset(&c.d);
	device_lock(&c.d.v->dev);
	virtio_write_config(c.d.v, offsetof(struct vcon_config_wire, emerg_wr), &letter, 4);
	virtio_write_config(c.d.v, 0, &letter, 4); /* not writable */
	device_unlock(&c.d.v->dev);
	check_output(&c, 0, "!");
	CHECK_EQ(c.d.v->dev.guest_errors, 1);
	vdrv_fini(&c.d);
}

TEST(nonsense_on_the_control_queue_is_counted_and_harmless)
{
	struct con c;
	u64 before;

	bring_up(&c);
	before = c.d.v->dev.guest_errors;
	tell(&c, PORTS, VCON_PORT_OPEN, 1);
	tell(&c, UINT32_MAX, VCON_PORT_READY, 1);
	tell(&c, 0, 99, 1);
	tell(&c, 0, VCON_DEVICE_READY, 0);
	struct fake_buf seg = {vdrv_put(&c.d, NULL, 7), 7, false};

	vdrv_add(&c.d, VCON_QUEUE_CONTROL_TX, &seg, 1);
	vdrv_kick(&c.d, VCON_QUEUE_CONTROL_TX);
	vdrv_settle(&c.d);
	CHECK_EQ(c.d.v->dev.guest_errors, before + 5);
	expect_none(&c);
	add_out(&c, VCON_QUEUE_TX0, "alive");
	check_output(&c, 0, "alive");
	vdrv_fini(&c.d);
}

TEST(a_half_written_chain_and_open_ports_survive_a_move)
{
	struct con c;

	bring_up(&c);
	tell(&c, 2, VCON_PORT_OPEN, 1);
	add_out(&c, TX1, "0123456789abcdefghij");
	check_output(&c, 1, "0123456789abcdef");
	/* The ring of the old stream has room again, but the pause comes first. */
	struct virtio_device *other = new_console(&c);

	chr_ring_set_open(c.chr[2], false);
	vdrv_move(&c.d, other);
	vdrv_wait(&c.d, TX1, 1);
	check_output(&c, 1, "ghij");
	struct fake_buf seg = {vdrv_put(&c.d, NULL, 8), 8, true};

	vdrv_add(&c.d, RX1 + 2, &seg, 1);
	CHECK_EQ(chr_ring_input(c.chr[2], "hi", 2), 2);
	give_control(&c, 1);
	expect(&c, 2, VCON_PORT_OPEN, 0, ""); /* the new host's end is closed */
	vdrv_fini(&c.d);
}

TEST(a_reset_forgets_what_the_driver_opened)
{
	struct con c;

	bring_up(&c);
	tell(&c, 1, VCON_PORT_OPEN, 1);
	vdrv_reset(&c.d);
	vdrv_start(&c.d, c.d.v, FEATURES);
	struct fake_buf seg = {vdrv_put(&c.d, NULL, 8), 8, true};

	vdrv_add(&c.d, RX1, &seg, 1);
	CHECK_EQ(chr_ring_input(c.chr[1], "hi", 2), 0);
	chr_ring_set_open(c.chr[1], false); /* nothing is told before PORT_READY */
	c.n_control = c.n_seen = 0;
	give_control(&c, 4);
	expect_none(&c);
	vdrv_fini(&c.d);
}

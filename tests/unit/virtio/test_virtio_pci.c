/* virtio/virtio.c, virtio/virtio_pci.c: a device behind a root port, driven through registers. */
#include "test.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "base/epoch.h"
#include "base/err.h"
#include "fake_guest.h"
#include "pci/assign.h"
#include "pci/bridge.h"
#include "state/state.h"
#include "virtio/virtio_pci.h"
#include "virtio/virtio_pci_wire.h"
#include "virtio/vq_regs.h"

/* --- a device that copies what it reads into what it may write --- */

#define ECHO_F_ODD    BIT(0) /* not without ECHO_F_EVEN */
#define ECHO_F_EVEN   BIT(1)
#define ECHO_QUEUES   2
#define ECHO_HELD_MAX 8

struct echo {
	struct virtio_device vdev;
	u8 config[12];
	bool is_holding; /* chains stay in flight, as with a backend that takes its time */
	struct vq_chain *held[ECHO_HELD_MAX];
	unsigned n_held;
	unsigned starts, stops, resets, drains;
};

static struct echo *echo_of(struct virtio_device *v)
{
	return container_of(v, struct echo, vdev);
}

static void echo_finish(struct vq_chain *c)
{
	u8 buf[256];
	u64 n = MIN(vq_readable(c), sizeof(buf));

	CHECK(vq_take(c, buf, n));
	n = MIN(n, vq_writable(c));
	CHECK(vq_put(c, buf, n));
	vq_push(c, (u32)n);
}

static void echo_notify(struct virtio_device *v, struct vq *q)
{
	struct echo *e = echo_of(v);
	struct vq_chain *c;

	do {
		vq_disable_notify(q);
		while ((c = vq_pop(q))) {
			if (e->is_holding)
				e->held[e->n_held++] = c;
			else
				echo_finish(c);
		}
		vq_publish(q);
	} while (vq_enable_notify(q));
}

static void echo_release(struct echo *e)
{
	device_lock(&e->vdev.dev);
	while (e->n_held)
		echo_finish(e->held[--e->n_held]);
	for (u32 i = 0; i < ECHO_QUEUES; i++)
		vq_publish(virtio_vq(&e->vdev, i));
	device_unlock(&e->vdev.dev);
}

static bool echo_features_are_ok(unused struct virtio_device *v, u64 features)
{
	return !(features & ECHO_F_ODD) || features & ECHO_F_EVEN;
}

static void echo_start(struct virtio_device *v)
{
	echo_of(v)->starts++;
}

static void echo_stop(struct virtio_device *v)
{
	echo_of(v)->stops++;
}

static void echo_on_reset(struct virtio_device *v)
{
	echo_of(v)->resets++;
}

static void echo_write_config(struct virtio_device *v, u32 off, const void *buf, u32 size)
{
	memcpy(echo_of(v)->config + off, buf, size);
}

static void echo_drain(struct virtio_device *v)
{
	echo_of(v)->drains++;
	echo_release(echo_of(v));
}

static const struct virtio_ops echo_ops = {
	.id = VIRTIO_ID_RNG,
	.features_are_ok = echo_features_are_ok,
	.start = echo_start,
	.stop = echo_stop,
	.reset = echo_on_reset,
	.write_config = echo_write_config,
	.drain = echo_drain,
};

static void echo_free(struct device *d)
{
	struct echo *e = container_of(d, struct echo, vdev.dev);

	virtio_device_fini(&e->vdev);
	free(e);
}

static const struct state_field echo_fields[] = {
	STATE_SUB(struct echo, vdev, &virtio_device_state),
	STATE_RAW(struct echo, config),
	STATE_END,
};

static const struct state_table echo_state = {
	.name = "echo",
	.version = 1,
	.fields = echo_fields,
};

static const struct device_ops echo_device_ops = {
	.type = "echo",
	.offset = offsetof(struct echo, vdev.dev),
	.state = &echo_state,
	.reset = virtio_dev_reset,
	.quiesce = virtio_dev_quiesce,
	.resume = virtio_dev_resume,
	.free = echo_free,
};

/* --- a board with it --- */

#define RING0 0x10000
#define RING1 0x20000
#define DATA  0x30000
#define SIZE  8

struct bench {
	struct fake_guest *guest;
	struct epoch *epoch; /* of the spaces */
	struct io_space *ports, *memory;
	struct loop *loop;
	struct pci_root *root;
	struct device_set devices;
	struct echo *echo;
	struct fake_ring rings[ECHO_QUEUES];
	u64 bar, msix;
	bool line;
	unsigned n_msgs;
	u32 msg;
};

static void bench_send(void *opaque, const struct msi_msg *msg)
{
	struct bench *b = opaque;

	b->n_msgs++;
	b->msg = msg->data;
}

static void bench_set_line(void *opaque, unused unsigned pin, bool level)
{
	((struct bench *)opaque)->line = level;
}

static void bench_add_echo(struct bench *b)
{
	static const struct virtio_queue_spec spec = {
		.size = 64,
		.max_segs = 16,
		.notify = echo_notify,
	};
	const struct msi_sink sink = {bench_send, b};
	const struct pci_root_port_config pc = {
		.devfn = PCI_DEVFN(1, 0), .slot_number = 1, .name = "port", .sink = sink};
	struct pci_device *port = pci_root_port_new(b->root, &pc);
	struct echo *e = NEW(struct echo);
	struct err err = ERR_INIT;

	device_adopt(&b->devices, &port->dev);
	virtio_device_init(&e->vdev, &echo_ops, &echo_device_ops, "echo0", b->loop, b->guest->gmem);
	e->vdev.offered |= ECHO_F_ODD | ECHO_F_EVEN;
	memcpy(e->config, "0123456789ab", sizeof(e->config));
	e->vdev.config = e->config;
	e->vdev.config_size = sizeof(e->config);
	for (unsigned i = 0; i < ECHO_QUEUES; i++)
		CHECK_EQ(virtio_add_queue(&e->vdev, &spec, &err), 0);
	device_adopt(&b->devices, &e->vdev.dev);

	struct pci_device *p = virtio_pci_new(&e->vdev, &sink);

	device_adopt(&b->devices, &p->dev);
	pci_root_port_plug(port, p);
	b->echo = e;
}

/* Assigned nothing yet. */
static void bench_build(struct bench *b, struct fake_guest *guest)
{
	struct irq_line pirqs[PCI_PIRQS];
	struct err err = ERR_INIT;

	*b = (struct bench){.guest = guest};
	b->epoch = epoch_new();
	epoch_attach(b->epoch);
	b->ports = io_space_new("ports", b->epoch, 0x10000);
	b->memory = io_space_new("memory", b->epoch, 0);
	CHECK_EQ(loop_new(&b->loop, &err), 0);
	b->root = pci_root_new(b->ports, b->memory);
	for (unsigned i = 0; i < PCI_PIRQS; i++)
		pirqs[i] = (struct irq_line){bench_set_line, b, i};
	pci_root_connect(b->root, pirqs);
	device_set_init(&b->devices);
	bench_add_echo(b);
}

static void bench_assign(struct bench *b)
{
	static const struct pci_resources res = {
		.ports = {0xc000, 0xffff},
		.memory32 = {0xc0000000, 0xcfffffff},
		.memory64 = {0x100000000, 0x1ffffffff},
	};
	struct err err = ERR_INIT;

	CHECK_EQ(pci_assign_resources(b->root, &res, &err), 0);
	pci_config_write(b->root, 1, 0, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, 2);
	b->msix = pci_config_read(b->root, 1, 0, PCI_BAR0 + 4, 4);
	b->bar = (pci_config_read(b->root, 1, 0, PCI_BAR0 + 16, 4) & ~0xfu) |
		 (u64)pci_config_read(b->root, 1, 0, PCI_BAR0 + 20, 4) << 32;
}

static void bench_init(struct bench *b)
{
	struct fake_guest *guest = NEW(struct fake_guest);

	fake_guest_init(guest);
	bench_build(b, guest);
	bench_assign(b);
}

static void bench_tear_down(struct bench *b)
{
	device_set_fini(&b->devices);
	pci_root_free(b->root);
	io_space_free(b->ports);
	io_space_free(b->memory);
	loop_free(b->loop);
	epoch_detach(b->epoch);
	epoch_free(b->epoch);
}

static void bench_fini(struct bench *b)
{
	bench_tear_down(b);
	CHECK_EQ(b->guest->ram->pins, 0);
	fake_guest_fini(b->guest);
	free(b->guest);
}

/* --- a driver --- */

#define COMMON(field) (0x0000 + (u64)offsetof(struct virtio_pci_common_wire, field))
#define ISR           0x1000
#define DEVICE        0x2000
#define NOTIFY        0x3000

static u64 rd(struct bench *b, u64 off, unsigned size)
{
	return io_space_read(b->memory, b->bar + off, size);
}

static void wr(struct bench *b, u64 off, u64 value, unsigned size)
{
	io_space_write(b->memory, b->bar + off, value, size);
}

static u8 find_cap(struct bench *b, u8 id)
{
	u8 at = (u8)pci_config_read(b->root, 1, 0, PCI_CAPABILITY_LIST, 1);

	while (at && pci_config_read(b->root, 1, 0, at, 1) != id)
		at = (u8)pci_config_read(b->root, 1, 0, at + 1u, 1);
	return at;
}

static void drv_features(struct bench *b, u64 features)
{
	wr(b, COMMON(driver_feature_select), 0, 4);
	wr(b, COMMON(driver_feature), (u32)features, 4);
	wr(b, COMMON(driver_feature_select), 1, 4);
	wr(b, COMMON(driver_feature), features >> 32, 4);
}

static u8 drv_status(struct bench *b)
{
	return (u8)rd(b, COMMON(device_status), 1);
}

static void drv_set_status(struct bench *b, u8 status)
{
	wr(b, COMMON(device_status), status, 1);
}

static void drv_queue(struct bench *b, u16 index, gpa_t base)
{
	struct fake_ring *r = &b->rings[index];

	fake_ring_init(r, b->guest, base, SIZE);
	wr(b, COMMON(queue_select), index, 2);
	wr(b, COMMON(queue_size), SIZE, 2);
	wr(b, COMMON(queue_msix_vector), index + 1u, 2);
	wr(b, COMMON(queue_desc), r->desc, 4);
	wr(b, COMMON(queue_desc) + 4, 0, 4);
	wr(b, COMMON(queue_driver), r->driver, 8);
	wr(b, COMMON(queue_device), r->device, 8);
	wr(b, COMMON(queue_enable), 1, 2);
}

#define ACK      (VIRTIO_STATUS_ACKNOWLEDGE | VIRTIO_STATUS_DRIVER)
#define FEATURES (ACK | VIRTIO_STATUS_FEATURES_OK)
#define RUNNING  (FEATURES | VIRTIO_STATUS_DRIVER_OK)

static void drv_msix(struct bench *b)
{
	u32 control = find_cap(b, PCI_CAP_ID_MSIX) + (u32)PCI_MSIX_CONTROL;

	for (unsigned i = 0; i < ECHO_QUEUES + 1; i++) {
		io_space_write(b->memory, b->msix + i * 16, 0xfee00000, 8);
		io_space_write(b->memory, b->msix + i * 16 + 8, 0x40 + i, 8);
	}
	pci_config_write(b->root, 1, 0, control, PCI_MSIX_CONTROL_ENABLE, 2);
	wr(b, COMMON(config_msix_vector), 0, 2);
}

static void drv_start(struct bench *b, bool use_msix)
{
	if (use_msix)
		drv_msix(b);
	drv_set_status(b, ACK);
	drv_features(b, VIRTIO_F_VERSION_1 | VIRTIO_F_INDIRECT_DESC | ECHO_F_EVEN);
	drv_set_status(b, FEATURES);
	CHECK_EQ(drv_status(b), FEATURES);
	drv_queue(b, 0, RING0);
	drv_queue(b, 1, RING1);
	drv_set_status(b, RUNNING);
	CHECK_EQ(drv_status(b), RUNNING);
}

static void drv_request(struct bench *b, u16 queue, const char *text)
{
	const struct fake_buf bufs[] = {{DATA, 8, false}, {DATA + 0x100, 8, true}};

	fake_guest_put(b->guest, DATA, text, 8);
	fake_ring_add(&b->rings[queue], bufs, 2);
	wr(b, NOTIFY + queue * 4, queue, 2);
}

/* Everything that is due on the loop happens. */
static void settle(struct bench *b)
{
	for (unsigned i = 0; i < 16; i++)
		loop_step(b->loop, false);
}

static void expect_echo(struct bench *b, u16 queue, u16 used, const char *text)
{
	u8 got[8];

	CHECK_EQ(fake_ring_used_idx(&b->rings[queue]), used);
	fake_guest_get(b->guest, DATA + 0x100, got, 8);
	CHECK_MEM(got, text, 8);
}

/* --- tests --- */

TEST(capabilities_describe_the_bar)
{
	u32 seen = 0;
	struct bench b;

	bench_init(&b);
	CHECK_EQ(pci_config_read(b.root, 1, 0, 0, 4), 0x10441af4);
	CHECK_EQ(pci_config_read(b.root, 1, 0, PCI_REVISION, 1), 1);
	for (u8 at = find_cap(&b, PCI_CAP_ID_VENDOR); at;
	     at = (u8)pci_config_read(b.root, 1, 0, at + 1u, 1)) {
		u32 type = pci_config_read(b.root, 1, 0, at + 3u, 1);

		seen |= BIT32(type);
		if (type == VIRTIO_PCI_CAP_PCI)
			continue;
		CHECK_EQ(pci_config_read(b.root, 1, 0, at + 4u, 1), 4);
		CHECK(pci_config_read(b.root, 1, 0, at + 8u, 4) < 0x4000);
		if (type == VIRTIO_PCI_CAP_DEVICE)
			CHECK_EQ(pci_config_read(b.root, 1, 0, at + 12u, 4), 12);
		if (type == VIRTIO_PCI_CAP_NOTIFY)
			CHECK_EQ(pci_config_read(b.root, 1, 0, at + 16u, 4), 4);
	}
	CHECK_EQ(seen, 0x3e);
	bench_fini(&b);
}

TEST(requests_go_through_with_msix)
{
	struct bench b;

	bench_init(&b);
	drv_start(&b, true);
	CHECK_EQ(b.echo->starts, 1);
	settle(&b);
	drv_request(&b, 0, "question");
	CHECK_EQ(fake_ring_used_idx(&b.rings[0]), 0); /* on the loop, not here */
	settle(&b);
	expect_echo(&b, 0, 1, "question");
	CHECK_EQ(b.n_msgs, 1);
	CHECK_EQ(b.msg, 0x41);
	drv_request(&b, 1, "another.");
	settle(&b);
	expect_echo(&b, 1, 1, "another.");
	CHECK_EQ(b.msg, 0x42);
	CHECK_EQ(rd(&b, ISR, 1), 0);
	CHECK(!b.line);
	wr(&b, COMMON(queue_select), 1, 2);
	wr(&b, COMMON(queue_msix_vector), 0xffff, 2);
	drv_request(&b, 1, "silently");
	settle(&b);
	expect_echo(&b, 1, 2, "silently");
	CHECK_EQ(b.n_msgs, 2);
	bench_fini(&b);
}

TEST(without_msix_there_is_a_line)
{
	struct bench b;

	bench_init(&b);
	drv_start(&b, false);
	drv_request(&b, 0, "question");
	settle(&b);
	CHECK(b.line);
	CHECK_EQ(rd(&b, ISR + 1, 1), 0);
	CHECK(b.line);
	CHECK_EQ(rd(&b, ISR, 1), VIRTIO_PCI_ISR_QUEUE);
	CHECK(!b.line);
	CHECK_EQ(rd(&b, ISR, 1), 0);
	device_lock(&b.echo->vdev.dev);
	virtio_config_changed(&b.echo->vdev);
	device_unlock(&b.echo->vdev.dev);
	CHECK(b.line);
	CHECK_EQ(rd(&b, ISR, 1), VIRTIO_PCI_ISR_CONFIG);
	CHECK_EQ(b.n_msgs, 0);
	bench_fini(&b);
}

TEST(impossible_features_are_not_ok)
{
	static const u64 sets[] = {
		0,                               /* no VERSION_1 */
		VIRTIO_F_VERSION_1 | BIT(5),     /* not offered */
		VIRTIO_F_VERSION_1 | BIT(63),    /* nor that */
		VIRTIO_F_VERSION_1 | ECHO_F_ODD, /* the device says no */
	};
	struct bench b;

	bench_init(&b);
	for (unsigned i = 0; i < ARRAY_SIZE(sets); i++) {
		drv_set_status(&b, ACK);
		drv_features(&b, sets[i]);
		drv_set_status(&b, FEATURES);
		CHECK_EQ(drv_status(&b), ACK);
		drv_set_status(&b, RUNNING);
		CHECK_EQ(drv_status(&b), ACK);
		CHECK_EQ(b.echo->starts, 0);
		drv_set_status(&b, 0);
		CHECK_EQ(drv_status(&b), 0);
	}
	drv_features(&b, VIRTIO_F_VERSION_1 | ECHO_F_ODD | ECHO_F_EVEN);
	wr(&b, COMMON(driver_feature_select), 2, 4);
	wr(&b, COMMON(driver_feature), 1, 4);
	drv_set_status(&b, FEATURES);
	CHECK_EQ(drv_status(&b), FEATURES);
	drv_features(&b, 0); /* too late */
	wr(&b, COMMON(driver_feature_select), 1, 4);
	CHECK_EQ(rd(&b, COMMON(driver_feature), 4), 1);
	bench_fini(&b);
}

TEST(offered_features_are_read_by_words)
{
	struct bench b;

	bench_init(&b);
	CHECK_EQ(rd(&b, COMMON(device_feature), 4),
		 VIRTIO_F_INDIRECT_DESC | VIRTIO_F_EVENT_IDX | ECHO_F_ODD | ECHO_F_EVEN);
	wr(&b, COMMON(device_feature_select), 1, 4);
	CHECK_EQ(rd(&b, COMMON(device_feature), 4), 1);
	wr(&b, COMMON(device_feature_select), 2, 4);
	CHECK_EQ(rd(&b, COMMON(device_feature), 4), 0);
	CHECK_EQ(rd(&b, COMMON(num_queues), 2), ECHO_QUEUES);
	bench_fini(&b);
}

TEST(a_queue_is_set_up_before_it_is_enabled)
{
	struct bench b;

	bench_init(&b);
	wr(&b, COMMON(queue_select), 1, 2);
	CHECK_EQ(rd(&b, COMMON(queue_size), 2), 64);
	CHECK_EQ(rd(&b, COMMON(queue_notify_off), 2), 1);
	CHECK_EQ(rd(&b, COMMON(queue_msix_vector), 2), 0xffff);
	wr(&b, COMMON(queue_size), 12, 2);
	wr(&b, COMMON(queue_size), 128, 2);
	wr(&b, COMMON(queue_size), 0, 2);
	CHECK_EQ(rd(&b, COMMON(queue_size), 2), 64);
	wr(&b, COMMON(queue_size), 16, 2);
	CHECK_EQ(rd(&b, COMMON(queue_size), 2), 16);
	wr(&b, COMMON(queue_msix_vector), 3, 2); /* there are 0 to 2 */
	CHECK_EQ(rd(&b, COMMON(queue_msix_vector), 2), 0xffff);
	wr(&b, COMMON(queue_desc), 0x1122334455667788, 8);
	CHECK_EQ(rd(&b, COMMON(queue_desc), 8), 0x1122334455667788);
	wr(&b, COMMON(queue_desc) + 2, 0, 2); /* not a whole field */
	CHECK_EQ(rd(&b, COMMON(queue_desc), 8), 0x1122334455667788);
	wr(&b, COMMON(queue_enable), 1, 2);
	wr(&b, COMMON(queue_size), 32, 2);
	wr(&b, COMMON(queue_desc), 0, 8);
	CHECK_EQ(rd(&b, COMMON(queue_size), 2), 16);
	CHECK_EQ(rd(&b, COMMON(queue_desc), 8), 0x1122334455667788);
	wr(&b, COMMON(queue_select), 2, 2); /* there is none */
	CHECK_EQ(rd(&b, COMMON(queue_size), 2), 0);
	wr(&b, COMMON(queue_enable), 1, 2);
	CHECK_EQ(rd(&b, COMMON(queue_enable), 2), 0);
	wr(&b, 0x800, 1, 4); /* beyond the structure */
	CHECK_EQ(rd(&b, 0x800, 4), 0);
	CHECK(b.echo->vdev.dev.guest_errors >= 6);
	bench_fini(&b);
}

TEST(a_ring_in_an_impossible_place_needs_reset)
{
	struct bench b;

	bench_init(&b);
	drv_msix(&b);
	drv_features(&b, VIRTIO_F_VERSION_1);
	drv_set_status(&b, FEATURES);
	wr(&b, COMMON(queue_select), 0, 2);
	wr(&b, COMMON(queue_desc), 0x800000, 8); /* no memory */
	wr(&b, COMMON(queue_enable), 1, 2);
	drv_set_status(&b, RUNNING);
	CHECK_EQ(drv_status(&b), RUNNING | VIRTIO_STATUS_NEEDS_RESET);
	CHECK_EQ(b.echo->starts, 0);
	CHECK_EQ(b.msg, 0x40);
	drv_set_status(&b, 0);
	CHECK_EQ(drv_status(&b), 0);
	drv_start(&b, true);
	drv_request(&b, 0, "question");
	settle(&b);
	expect_echo(&b, 0, 1, "question");
	bench_fini(&b);
}

TEST(a_broken_ring_needs_reset)
{
	struct bench b;

	bench_init(&b);
	drv_start(&b, true);
	fake_ring_offer(&b.rings[0], 77);
	wr(&b, NOTIFY, 0, 2);
	settle(&b);
	CHECK_EQ(drv_status(&b), RUNNING | VIRTIO_STATUS_NEEDS_RESET);
	CHECK_EQ(b.n_msgs, 1);
	CHECK_EQ(b.msg, 0x40);
	drv_request(&b, 1, "question"); /* the other queue stands still too */
	settle(&b);
	CHECK_EQ(fake_ring_used_idx(&b.rings[1]), 0);
	drv_set_status(&b, 0);
	CHECK_EQ(drv_status(&b), 0);
	CHECK_EQ(b.echo->stops, 1);
	drv_start(&b, true);
	drv_request(&b, 1, "question");
	settle(&b);
	expect_echo(&b, 1, 1, "question");
	bench_fini(&b);
}

TEST(status_bits_are_not_taken_back)
{
	struct bench b;

	bench_init(&b);
	drv_start(&b, false);
	drv_set_status(&b, ACK | VIRTIO_STATUS_FAILED | VIRTIO_STATUS_NEEDS_RESET);
	CHECK_EQ(drv_status(&b), RUNNING | VIRTIO_STATUS_FAILED);
	bench_fini(&b);
}

TEST(a_reset_waits_for_what_is_in_flight)
{
	struct bench b;

	bench_init(&b);
	drv_start(&b, false);
	b.echo->is_holding = true;
	drv_request(&b, 0, "question");
	settle(&b);
	CHECK_EQ(b.echo->n_held, 1);
	drv_set_status(&b, 0);
	CHECK_EQ(b.echo->stops, 1);
	CHECK_EQ(drv_status(&b), RUNNING);
	drv_set_status(&b, ACK); /* too early */
	drv_set_status(&b, 0);
	CHECK_EQ(b.echo->stops, 1);
	CHECK_EQ(b.echo->resets, 0);
	echo_release(b.echo);
	CHECK_EQ(drv_status(&b), 0);
	CHECK_EQ(b.echo->resets, 1);
	CHECK_EQ(fake_ring_used_idx(&b.rings[0]), 0);
	CHECK(!b.line);
	b.echo->is_holding = false;
	drv_start(&b, false);
	drv_request(&b, 0, "question");
	settle(&b);
	expect_echo(&b, 0, 1, "question");
	bench_fini(&b);
}

TEST(configuration_is_read_written_and_counted)
{
	struct bench b;

	bench_init(&b);
	drv_start(&b, true);
	CHECK_EQ(rd(&b, DEVICE, 4), 0x33323130);
	CHECK_EQ(rd(&b, DEVICE + 11, 1), 'b');
	CHECK_EQ(rd(&b, DEVICE + 12, 4), 0);
	wr(&b, DEVICE + 2, 0x5a5a, 2);
	CHECK_EQ(rd(&b, DEVICE, 4), 0x5a5a3130);
	wr(&b, DEVICE + 12, 0x5a5a, 4);
	CHECK_EQ(rd(&b, COMMON(config_generation), 1), 0);
	device_lock(&b.echo->vdev.dev);
	virtio_config_changed(&b.echo->vdev);
	device_unlock(&b.echo->vdev.dev);
	CHECK_EQ(rd(&b, COMMON(config_generation), 1), 1);
	CHECK_EQ(b.msg, 0x40);
	CHECK_EQ(rd(&b, ISR, 1), VIRTIO_PCI_ISR_CONFIG);
	bench_fini(&b);
}

TEST(the_window_in_configuration_space_reaches_the_bar)
{
	u8 cap;
	struct bench b;

	bench_init(&b);
	for (cap = find_cap(&b, PCI_CAP_ID_VENDOR);
	     pci_config_read(b.root, 1, 0, cap + 3u, 1) != VIRTIO_PCI_CAP_PCI;)
		cap = (u8)pci_config_read(b.root, 1, 0, cap + 1u, 1);
	pci_config_write(b.root, 1, 0, PCI_COMMAND, PCI_COMMAND_MASTER, 2); /* BARs are off */
	pci_config_write(b.root, 1, 0, cap + 4u, 4, 1);
	pci_config_write(b.root, 1, 0, cap + 8u, (u32)COMMON(device_status), 4);
	pci_config_write(b.root, 1, 0, cap + 12u, 1, 4);
	pci_config_write(b.root, 1, 0, cap + 16u, ACK, 1);
	CHECK_EQ(b.echo->vdev.status, ACK);
	CHECK_EQ(pci_config_read(b.root, 1, 0, cap + 16u, 1), ACK);
	pci_config_write(b.root, 1, 0, cap + 8u, DEVICE, 4);
	pci_config_write(b.root, 1, 0, cap + 12u, 4, 4);
	CHECK_EQ(pci_config_read(b.root, 1, 0, cap + 16u, 4), 0x33323130);

	/* Nothing else: another BAR, odd lengths and offsets, beyond the end. */
	static const u32 wrong[][3] = {{1, DEVICE, 4},
				       {4, DEVICE, 3},
				       {4, DEVICE + 1, 4},
				       {4, 0x4000, 4},
				       {4, 0xfffffffc, 4}};

	for (unsigned i = 0; i < ARRAY_SIZE(wrong); i++) {
		pci_config_write(b.root, 1, 0, cap + 4u, wrong[i][0], 1);
		pci_config_write(b.root, 1, 0, cap + 8u, wrong[i][1], 4);
		pci_config_write(b.root, 1, 0, cap + 12u, wrong[i][2], 4);
		pci_config_write(b.root, 1, 0, cap + 16u, 0x77777777, 4);
		CHECK_EQ(pci_config_read(b.root, 1, 0, cap + 16u, 4), 0x77777777);
	}
	CHECK_EQ(b.echo->config[0], '0');
	bench_fini(&b);
}

TEST(without_bus_mastering_nothing_is_touched)
{
	struct bench b;

	bench_init(&b);
	drv_start(&b, true);
	pci_config_write(b.root, 1, 0, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
	drv_request(&b, 0, "question");
	settle(&b);
	CHECK_EQ(fake_ring_used_idx(&b.rings[0]), 0);
	pci_config_write(b.root, 1, 0, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, 2);
	settle(&b);
	expect_echo(&b, 0, 1, "question");
	CHECK_EQ(b.n_msgs, 1);
	bench_fini(&b);
}

TEST(a_pause_drains_and_a_resume_goes_on)
{
	struct bench b;

	bench_init(&b);
	drv_start(&b, true);
	b.echo->is_holding = true;
	drv_request(&b, 0, "question");
	settle(&b);
	device_set_quiesce(&b.devices);
	CHECK_EQ(b.echo->drains, 1);
	expect_echo(&b, 0, 1, "question");
	b.echo->is_holding = false;
	drv_request(&b, 0, "meantime");
	settle(&b);
	CHECK_EQ(fake_ring_used_idx(&b.rings[0]), 1);
	device_set_resume(&b.devices);
	settle(&b);
	expect_echo(&b, 0, 2, "meantime");
	CHECK_EQ(b.echo->drains, 1);
	bench_fini(&b);
}

TEST(resets_of_all_kinds_stop_the_device)
{
	struct bench b;

	bench_init(&b);
	drv_start(&b, true);
	u32 express = find_cap(&b, PCI_CAP_ID_EXPRESS);

	pci_config_write(b.root, 1, 0, express + PCIE_DEVICE_CONTROL, PCIE_DEVICE_CONTROL_FLR, 2);
	CHECK_EQ(b.echo->vdev.status, 0);
	CHECK_EQ(b.echo->resets, 1);
	CHECK(!io_space_has(b.memory, b.bar));
	device_set_reset(&b.devices);
	bench_assign(&b);
	drv_start(&b, true);
	pci_config_write(b.root, 0, PCI_DEVFN(1, 0), PCI_BRIDGE_CONTROL, PCI_BRIDGE_CONTROL_RESET,
			 2);
	CHECK_EQ(b.echo->vdev.status, 0);
	device_set_reset(&b.devices);
	bench_assign(&b);
	drv_start(&b, true);
	device_set_quiesce(&b.devices);
	device_set_reset(&b.devices);
	device_set_resume(&b.devices);
	CHECK_EQ(b.echo->vdev.status, 0);
	bench_assign(&b);
	drv_start(&b, true);
	drv_request(&b, 0, "question");
	settle(&b);
	expect_echo(&b, 0, 1, "question");
	bench_fini(&b);
}

/* --- saved state --- */

static int bench_load(struct bench *b, const void *data, size_t size, struct err *err)
{
	AUTO(state_reader_free) struct state_reader *r = state_reader_new(data, size);
	const char *name;
	u32 instance;
	int ret;

	while ((ret = state_reader_next(r, &name, &instance, err)) > 0) {
		ret = device_set_load(&b->devices, r, name, instance, err);
		if (ret < 0)
			return ret;
	}
	return ret;
}

TEST(a_restored_device_goes_on_where_it_was)
{
	AUTO(state_writer_free) struct state_writer *w = state_writer_new();
	struct err err = ERR_INIT;
	struct bench b, b2;
	const void *data;
	size_t size;

	bench_init(&b);
	drv_start(&b, true);
	drv_request(&b, 0, "question");
	settle(&b);
	expect_echo(&b, 0, 1, "question");
	device_set_quiesce(&b.devices);
	drv_request(&b, 0, "waiting."); /* offered, and not yet seen */
	device_set_save(&b.devices, w);
	data = state_writer_finish(w, &size);

	bench_build(&b2, b.guest); /* the same memory */
	CHECK_EQ(bench_load(&b2, data, size, &err), 0);
	CHECK_EQ(b2.echo->starts, 0);
	device_set_resume(&b2.devices);
	CHECK_EQ(b2.echo->starts, 1);
	settle(&b2);
	expect_echo(&b, 0, 2, "waiting.");
	CHECK_EQ(b2.n_msgs, 1);
	CHECK_EQ(b2.msg, 0x41);
	b2.bar = b.bar;
	b2.rings[0] = b.rings[0];
	CHECK_EQ(drv_status(&b2), RUNNING);
	drv_request(&b2, 0, "and more");
	settle(&b2);
	expect_echo(&b2, 0, 3, "and more");
	bench_tear_down(&b2);
	bench_fini(&b);
}

TEST(impossible_states_are_refused)
{
	for (unsigned i = 0; i < 3; i++) {
		AUTO(state_writer_free) struct state_writer *w = state_writer_new();
		static const char *const words[] = {"size 12", "1 queues", "not offered"};
		struct err err = ERR_INIT;
		struct bench b, b2;
		const void *data;
		size_t size;

		bench_init(&b);
		drv_start(&b, true);
		device_set_quiesce(&b.devices);
		if (i == 0)
			b.echo->vdev.queues[1]->vq.config.size = 12;
		if (i == 1)
			b.echo->vdev.n_queues = 1;
		if (i == 2)
			b.echo->vdev.features |= BIT(40);
		state_save(w, &echo_state, 0, b.echo);
		b.echo->vdev.n_queues = ECHO_QUEUES;
		data = state_writer_finish(w, &size);

		AUTO(state_reader_free) struct state_reader *r = state_reader_new(data, size);
		const char *name;
		u32 instance;

		bench_build(&b2, b.guest);
		CHECK_EQ(state_reader_next(r, &name, &instance, &err), 1);
		CHECK_EQ(state_load(r, &echo_state, b2.echo, &err), -EINVAL);
		CHECK_ERR(err, words[i]);
		bench_tear_down(&b2);
		bench_fini(&b);
	}
}

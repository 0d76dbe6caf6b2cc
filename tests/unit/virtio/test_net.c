/*
 * virtio-net against a fake cable, and over a framed stream.
 */
#include "virtio/net.h"

#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/err.h"
#include "fake_clock.h"
#include "fake_net.h"
#include "net/net.h"
#include "test.h"
#include "virtio/limit.h"
#include "virtio/net_wire.h"
#include "virtio_driver.h"

#define RX VNET_QUEUE_RX(0)
#define TX VNET_QUEUE_TX(0)

/* --- a driver --- */

static struct vclock *the_clock; /* of the tests that have limits */

static struct virtio_device *new_card(struct vdrv *d, struct net *net)
{
	const struct vnet_options o = {.name = "net0",
				       .mac = {2, 0, 0, 0, 0, 1},
				       .mtu = 1400,
				       .net = net,
				       .clock = the_clock};
	struct err err = ERR_INIT;
	struct virtio_device *v;

	CHECK_EQ(vnet_new(&o, d->loop, d->gmem, &v, &err), 0);
	return v;
}

static struct fake_net *start(struct vdrv *d, u64 features)
{
	struct fake_net *f = fake_net_new(1);

	vdrv_init(d);
	vdrv_start(d, new_card(d, &f->net), VIRTIO_F_VERSION_1 | features);
	return f;
}

static const u8 *pattern(void)
{
	static u8 bytes[NET_FRAME_MAX + 1];

	for (u32 i = 0; i < sizeof(bytes); i++)
		bytes[i] = (u8)(i * 11 + i / 256);
	return bytes;
}

/* A frame of size bytes, its header before it in the same buffer, in up to n pieces. */
static void add_tx(struct vdrv *d, const u8 *header, u32 size, u32 n)
{
	u8 *all = NEW_ARRAY(u8, VNET_HEADER + size);
	struct fake_buf segs[VDRV_QUEUE_SIZE];
	u32 piece = (VNET_HEADER + size) / n;
	gpa_t gpa;

	memcpy(all, header, VNET_HEADER);
	memcpy(all + VNET_HEADER, pattern(), size);
	gpa = vdrv_put(d, all, VNET_HEADER + size);
	for (u32 i = 0; i < n; i++)
		segs[i] = (struct fake_buf){
			gpa + i * piece, i + 1 < n ? piece : VNET_HEADER + size - i * piece, false};
	vdrv_add(d, TX, segs, n);
	vdrv_kick(d, TX);
	vdrv_settle(d);
	free(all);
}

static const u8 no_header[VNET_HEADER];

static gpa_t add_rx(struct vdrv *d, u32 size)
{
	struct fake_buf seg = {vdrv_put(d, NULL, size), size, true};

	vdrv_add(d, RX, &seg, 1);
	vdrv_kick(d, RX);
	vdrv_settle(d);
	return seg.gpa;
}

static bool deliver(struct fake_net *f, u32 size)
{
	return fake_net_give(f, 0, (struct net_header){0}, pattern(), size);
}

TEST(frames_are_sent_whole_from_however_many_pieces)
{
	static const u32 pieces[] = {1, 2, 3, 60};
	struct vdrv d;
	struct fake_net *f = start(&d, 0);

	for (u16 i = 0; i < ARRAY_SIZE(pieces); i++) {
		add_tx(&d, no_header, 1514, pieces[i]);
		CHECK_EQ(f->n_sent, i + 1);
		CHECK_EQ(f->last_size, 1514);
		CHECK_MEM(f->last, pattern(), 1514);
		CHECK_EQ(vdrv_used(&d, TX), i + 1);
	}
	vdrv_fini(&d);
}

TEST(what_is_no_frame_is_dropped)
{
	u8 offload[VNET_HEADER] = {1};
	struct vdrv d;
	struct fake_net *f = start(&d, 0);
	struct fake_buf stub = {vdrv_put(&d, NULL, 11), 11, false};

	add_tx(&d, no_header, 13, 1);            /* shorter than an Ethernet header */
	add_tx(&d, no_header, NET_FRAME_MAX, 1); /* as long as may be */
	add_tx(&d, no_header, NET_FRAME_MAX + 1, 1);
	add_tx(&d, offload, 100, 1);
	vdrv_add(&d, TX, &stub, 1);
	vdrv_kick(&d, TX);
	vdrv_settle(&d);
	CHECK_EQ(vdrv_used(&d, TX), 5);
	CHECK_EQ(f->n_sent, 1);
	CHECK_EQ(f->last_size, NET_FRAME_MAX);
	vdrv_fini(&d);
}

TEST(a_full_cable_holds_frames_in_the_ring)
{
	struct vdrv d;
	struct fake_net *f = start(&d, 0);

	f->is_full = true;
	add_tx(&d, no_header, 100, 2);
	add_tx(&d, no_header, 200, 1);
	CHECK_EQ(vdrv_used(&d, TX), 0);
	f->is_full = false;
	f->net.user->room(f->net.user->opaque, 0);
	vdrv_wait(&d, TX, 2);
	CHECK_EQ(f->n_sent, 2);
	CHECK_EQ(f->last_size, 200);
	CHECK_MEM(f->last, pattern(), 200);
	vdrv_fini(&d);
}

TEST(a_frame_waits_for_a_buffer)
{
	u8 got[VNET_HEADER + 100];
	struct vdrv d;
	struct fake_net *f = start(&d, 0);
	unsigned accepted = f->n_accepted;

	CHECK(!deliver(f, 100));
	gpa_t gpa = add_rx(&d, 2000);

	CHECK(f->n_accepted > accepted);
	CHECK(deliver(f, 100));
	CHECK_EQ(vdrv_used_len(&d, RX, 0), VNET_HEADER + 100);
	vdrv_get(&d, gpa, got, sizeof(got));
	CHECK_MEM(got + VNET_HEADER, pattern(), 100);
	CHECK_EQ(got[10], 1); /* num_buffers */
	CHECK_EQ(got[0] | got[1], 0);
	vdrv_fini(&d);
}

TEST(a_long_frame_is_merged_from_buffers_when_that_was_agreed)
{
	u8 got[500];
	gpa_t gpa[4];
	struct vdrv d;
	struct fake_net *f = start(&d, VNET_F_MRG_RXBUF);

	for (int i = 0; i < 3; i++)
		gpa[i] = add_rx(&d, 500);
	CHECK(!deliver(f, 1600)); /* 1612 bytes are more than 1500 */
	CHECK_EQ(vdrv_used(&d, RX), 0);
	gpa[3] = add_rx(&d, 500);
	CHECK(deliver(f, 1600));
	CHECK_EQ(vdrv_used(&d, RX), 4);
	CHECK_EQ(vdrv_used_len(&d, RX, 0), 500);
	CHECK_EQ(vdrv_used_len(&d, RX, 3), 112);
	vdrv_get(&d, gpa[0], got, 500);
	CHECK_EQ(got[10], 4);
	CHECK_MEM(got + VNET_HEADER, pattern(), 488);
	vdrv_get(&d, gpa[2], got, 500);
	CHECK_MEM(got, pattern() + 988, 500);
	vdrv_get(&d, gpa[3], got, 112);
	CHECK_MEM(got, pattern() + 1488, 112);
	vdrv_fini(&d);
}

TEST(a_buffer_too_small_costs_the_frame_and_itself)
{
	struct vdrv d;
	struct fake_net *f = start(&d, 0);

	add_rx(&d, 100);
	CHECK(deliver(f, 200));
	CHECK_EQ(vdrv_used_len(&d, RX, 0), 0);
	vdrv_reset(&d);
	vdrv_start(&d, d.v, VIRTIO_F_VERSION_1 | VNET_F_MRG_RXBUF);
	add_rx(&d, 5); /* not even the header, which must be in one piece here */
	add_rx(&d, 2000);
	CHECK(deliver(f, 200));
	CHECK_EQ(vdrv_used(&d, RX), 2);
	CHECK_EQ(vdrv_used_len(&d, RX, 1), 0);
	CHECK(!(d.v->status & VIRTIO_STATUS_NEEDS_RESET));
	vdrv_fini(&d);
}

TEST(without_a_driver_frames_are_lost_and_in_a_pause_they_wait)
{
	struct vdrv d;
	struct fake_net *f = start(&d, 0);

	add_rx(&d, 2000);
	d.v->dev.ops->quiesce(&d.v->dev);
	CHECK(!deliver(f, 100));
	d.v->dev.ops->resume(&d.v->dev);
	CHECK(deliver(f, 100));
	vdrv_reset(&d);
	CHECK(deliver(f, 100));
	CHECK_EQ(f->n_sent, 0);
	vdrv_fini(&d);
}

TEST(a_broken_ring_loses_frames_and_blocks_nobody)
{
	const u16 far = 999;
	struct vdrv d;
	struct fake_net *f = start(&d, 0);

	CHECK_EQ(gmem_write(d.gmem, d.rings[RX].driver + 2, &far, 2), 0);
	CHECK(deliver(f, 100));
	CHECK(d.v->status & VIRTIO_STATUS_NEEDS_RESET);
	CHECK(deliver(f, 100));
	vdrv_fini(&d);
}

TEST(the_link_follows_the_cable)
{
	struct vnet_config_wire c;
	struct vdrv d;
	struct fake_net *f = start(&d, VNET_F_STATUS);

	virtio_read_config(d.v, 0, &c, sizeof(c));
	CHECK_EQ(le16_get(c.status), VNET_S_LINK_UP);
	CHECK_EQ(le16_get(c.mtu), 1400);
	CHECK_EQ(c.mac[0], 2);
	CHECK_EQ(c.mac[5], 1);
	net_set_up(&f->net, false);
	net_set_up(&f->net, false);
	CHECK_EQ(d.n_config_interrupts, 1);
	virtio_read_config(d.v, 0, &c, sizeof(c));
	CHECK_EQ(le16_get(c.status), 0);
	add_tx(&d, no_header, 100, 1); /* dropped */
	CHECK_EQ(vdrv_used(&d, TX), 1);
	vdrv_fini(&d);
}

TEST(a_moved_card_goes_on_and_tells_a_changed_link)
{
	struct vdrv d;
	struct fake_net *f = start(&d, 0), *g = fake_net_new(1);

	f->is_full = true;
	add_tx(&d, no_header, 100, 1);
	g->net.is_up = false;
	vdrv_move(&d, new_card(&d, &g->net));
	CHECK_EQ(d.n_config_interrupts, 1);
	CHECK_EQ(vdrv_used(&d, TX), 1); /* dropped: no link here */
	net_set_up(&g->net, true);
	add_tx(&d, no_header, 100, 1);
	CHECK_EQ(g->n_sent, 1);
	vdrv_fini(&d);
}

TEST(frames_cross_a_stream_to_a_peer_and_back)
{
	u8 wire[4 + 100], got[VNET_HEADER + 100];
	struct err err = ERR_INIT;
	struct net *net;
	struct vdrv d;
	int sv[2];

	CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
	vdrv_init(&d);
	CHECK_EQ(net_stream_new(d.loop, sv[0], &net, &err), 0);
	vdrv_start(&d, new_card(&d, net), VIRTIO_F_VERSION_1);
	add_tx(&d, no_header, 100, 3);
	CHECK_EQ(recv(sv[1], wire, sizeof(wire), 0), 104);
	CHECK_MEM(wire, "\0\0\0\x64", 4);
	CHECK_MEM(wire + 4, pattern(), 100);

	CHECK_EQ(send(sv[1], wire, sizeof(wire), 0), 104);
	vdrv_settle(&d); /* refused: no buffer */
	gpa_t gpa = add_rx(&d, 2000);

	vdrv_wait(&d, RX, 1);
	vdrv_get(&d, gpa, got, sizeof(got));
	CHECK_MEM(got + VNET_HEADER, pattern(), 100);
	close(sv[1]);
	while (net_is_up(net))
		loop_step(d.loop, true);
	CHECK_EQ(d.n_config_interrupts, 1);
	vdrv_fini(&d);
}

/* --- limits --- */

static struct fake_net *start_limited(struct vdrv *d)
{
	struct fake_net *f;

	the_clock = fake_clock_new();
	f = start(d, 0);
	vnet_set_limits(d->v, &(struct limit_rates){.bytes = 10000, .burst_bytes = 1000});
	fake_clock_advance(the_clock, 1);
	vdrv_settle(d);
	return f;
}

static void end_limited(struct vdrv *d)
{
	vdrv_fini(d);
	CHECK(fake_clock_is_idle(the_clock));
	vclock_free(the_clock);
	the_clock = NULL;
}

TEST(frames_over_the_limit_stay_in_the_ring)
{
	struct vdrv d;
	struct fake_net *f = start_limited(&d);

	for (unsigned i = 0; i < 5; i++)
		add_tx(&d, no_header, 1000, 1);
	CHECK_EQ(f->n_sent, 1);
	CHECK_EQ(vdrv_used(&d, TX), 1);
	for (unsigned n = 2; n <= 5; n++) {
		fake_clock_advance(the_clock, NSEC_PER_SEC / 10);
		vdrv_settle(&d);
		CHECK_EQ(f->n_sent, n);
	}
	/* What the back end refuses isn't counted. */
	f->is_full = true;
	fake_clock_advance(the_clock, NSEC_PER_SEC);
	for (unsigned i = 0; i < 5; i++)
		add_tx(&d, no_header, 1000, 1);
	f->is_full = false;
	f->net.user->room(f->net.user->opaque, 0);
	vdrv_settle(&d);
	CHECK_EQ(f->n_sent, 6);
	end_limited(&d);
}

TEST(the_host_keeps_frames_over_the_limit)
{
	struct vdrv d;
	struct fake_net *f = start_limited(&d);
	unsigned accepted;

	for (unsigned i = 0; i < 5; i++)
		add_rx(&d, 2000);
	CHECK(deliver(f, 1000));
	accepted = f->n_accepted;
	CHECK(!deliver(f, 1000));
	CHECK_EQ(vdrv_used(&d, RX), 1);
	fake_clock_advance(the_clock, NSEC_PER_SEC / 10);
	CHECK(f->n_accepted > accepted);
	CHECK(deliver(f, 1000));
	CHECK(!deliver(f, 1000));
	CHECK_EQ(vdrv_used(&d, RX), 2);
	end_limited(&d);
}

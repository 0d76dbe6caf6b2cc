/*
 * What a network card's driver can set and be told: offloads, filters, address, queues in use, link,
 * announcements; and that it is saved.
 */
#include <stdlib.h>

#include "base/alloc.h"
#include "base/err.h"
#include "fake_net.h"
#include "test.h"
#include "virtio/net.h"
#include "virtio/net_priv.h"
#include "virtio_driver.h"

#define PAIRS 3
#define CTRL  (2 * PAIRS) /* with VNET_F_MQ */
#define ALL                                                                                        \
	(VNET_F_CTRL_VQ | VNET_F_CTRL_RX | VNET_F_CTRL_RX_EXTRA | VNET_F_CTRL_VLAN | VNET_F_MQ |   \
	 VNET_F_CTRL_MAC_ADDR | VNET_F_STATUS | VNET_F_GUEST_ANNOUNCE |                            \
	 VNET_F_CTRL_GUEST_OFFLOADS | VNET_F_GUEST_CSUM | VNET_F_GUEST_TSO4)

static unsigned n_lost;

static void on_lost(void *opaque)
{
	(void)opaque;
	n_lost++;
}

static struct virtio_device *new_card(struct vdrv *d, struct fake_net *f)
{
	const struct vnet_options o = {.name = "net0",
				       .mac = {2, 0, 0, 0, 0, 1},
				       .n_pairs = PAIRS,
				       .net = &f->net,
				       .lost = on_lost};
	struct err err = ERR_INIT;
	struct virtio_device *v;

	CHECK_EQ(vnet_new(&o, d->loop, d->gmem, &v, &err), 0);
	return v;
}

static struct fake_net *start(struct vdrv *d, u64 features)
{
	struct fake_net *f = fake_net_new(2);

	n_lost = 0;
	vdrv_init(d);
	vdrv_start(d, new_card(d, f), VIRTIO_F_VERSION_1 | features);
	return f;
}

/* The card's answer to a command: 0xa5 when it wrote none. */
static u8 command_on(struct vdrv *d, u32 queue, u8 class, u8 command, const void *data, u32 size)
{
	const u8 head[2] = {class, command};
	struct fake_buf bufs[3] = {{vdrv_put(d, head, sizeof(head)), sizeof(head), false}};
	gpa_t status = vdrv_put(d, NULL, 1);
	u16 n = 1, used = vdrv_used(d, queue);
	u8 answer;

	if (size)
		bufs[n++] = (struct fake_buf){vdrv_put(d, data, size), size, false};
	bufs[n++] = (struct fake_buf){status, 1, true};
	vdrv_add(d, queue, bufs, n);
	vdrv_kick(d, queue);
	vdrv_wait(d, queue, used + 1);
	vdrv_get(d, status, &answer, 1);
	return answer;
}

static u8 command(struct vdrv *d, u8 class, u8 number, const void *data, u32 size)
{
	return command_on(d, CTRL, class, number, data, size);
}

static u16 status_of(struct vdrv *d)
{
	struct vnet_config_wire c;

	virtio_read_config(d->v, 0, &c, sizeof(c));
	return le16_get(c.status);
}

static void add_rx(struct vdrv *d, u32 pair, unsigned n)
{
	struct fake_buf buf = {vdrv_put(d, NULL, 2000), 2000, true};

	for (unsigned i = 0; i < n; i++)
		vdrv_add(d, VNET_QUEUE_RX(pair), &buf, 1);
	vdrv_kick(d, VNET_QUEUE_RX(pair));
	vdrv_settle(d);
}

/* Does a frame to this address, with this VLAN (or -1), get to the driver? */
static bool passes(struct vdrv *d, struct fake_net *f, const char *mac, int vlan)
{
	u16 used = vdrv_used(d, VNET_QUEUE_RX(0));
	u8 frame[64] = {0};

	memcpy(frame, mac, 6);
	if (vlan >= 0) {
		be16_store(frame + 12, 0x8100);
		be16_store(frame + 14, (u16)(0x6000 | vlan));
	}
	CHECK(fake_net_give(f, 0, (struct net_header){0}, frame, sizeof(frame)));
	return vdrv_used(d, VNET_QUEUE_RX(0)) == used + 1;
}

static const u8 on = 1, off;
static const char own[] = "\x02\0\0\0\0\x01", other[] = "\x02\0\0\0\0\x02",
		  group[] = "\x01\0\x5e\0\0\x05", everyone[] = "\xff\xff\xff\xff\xff\xff";

/* le32 count and addresses 02:00:00:00:FIRST:i, or 01:..., as MAC_TABLE_SET has them. */
static u32 put_macs(u8 *to, u32 n, u8 kind, u8 first)
{
	le32_store(to, n);
	for (u32 i = 0; i < n; i++)
		memcpy(to + 4 + 6 * i, (u8[]){kind, 0, 0x5e, 0, first, (u8)i}, 6);
	return 4 + 6 * n;
}

TEST(until_the_driver_says_what_it_wants_it_gets_all)
{
	struct vdrv d;
	struct fake_net *f = start(&d, ALL);

	add_rx(&d, 0, 30);
	CHECK(passes(&d, f, other, 7));
	CHECK_EQ(command(&d, VNET_CTRL_RX, VNET_RX_PROMISC, &off, 1), VNET_CTRL_OK);
	CHECK(!passes(&d, f, other, -1));
	CHECK(!passes(&d, f, group, -1));
	CHECK(passes(&d, f, own, -1));
	CHECK(passes(&d, f, everyone, -1));
	vdrv_reset(&d);
	vdrv_start(&d, d.v, VIRTIO_F_VERSION_1 | ALL);
	add_rx(&d, 0, 5);
	CHECK(passes(&d, f, other, -1));
	vdrv_fini(&d);
}

TEST(each_kind_of_address_has_a_mode_of_its_own)
{
	struct vdrv d;
	struct fake_net *f = start(&d, ALL);

	add_rx(&d, 0, 30);
	command(&d, VNET_CTRL_RX, VNET_RX_PROMISC, &off, 1);
	CHECK_EQ(command(&d, VNET_CTRL_RX, VNET_RX_ALLMULTI, &on, 1), VNET_CTRL_OK);
	CHECK(passes(&d, f, group, -1));
	CHECK(!passes(&d, f, other, -1));
	command(&d, VNET_CTRL_RX, VNET_RX_ALLUNI, &on, 1);
	CHECK(passes(&d, f, other, -1));
	command(&d, VNET_CTRL_RX, VNET_RX_NOMULTI, &on, 1);
	CHECK(!passes(&d, f, group, -1));
	CHECK(passes(&d, f, everyone, -1));
	command(&d, VNET_CTRL_RX, VNET_RX_NOBCAST, &on, 1);
	CHECK(!passes(&d, f, everyone, -1));
	command(&d, VNET_CTRL_RX, VNET_RX_NOUNI, &on, 1);
	CHECK(!passes(&d, f, own, -1));
	CHECK_EQ(command(&d, VNET_CTRL_RX, VNET_RX_MODES, &on, 1), VNET_CTRL_ERR);
	CHECK_EQ(command(&d, VNET_CTRL_RX, VNET_RX_PROMISC, NULL, 0), VNET_CTRL_ERR);
	vdrv_fini(&d);
}

TEST(tables_of_addresses_pass_and_too_long_ones_pass_all)
{
	u8 data[1000];
	struct vdrv d;
	struct fake_net *f = start(&d, ALL);
	u32 n = put_macs(data, 2, 2, 9);

	add_rx(&d, 0, 30);
	command(&d, VNET_CTRL_RX, VNET_RX_PROMISC, &off, 1);
	n += put_macs(data + n, 3, 1, 8);
	CHECK_EQ(command(&d, VNET_CTRL_MAC, VNET_MAC_TABLE_SET, data, n), VNET_CTRL_OK);
	CHECK(passes(&d, f, "\x02\0\x5e\0\x09\x01", -1));
	CHECK(!passes(&d, f, "\x02\0\x5e\0\x09\x02", -1));
	CHECK(passes(&d, f, "\x01\0\x5e\0\x08\x02", -1));
	CHECK(!passes(&d, f, "\x01\0\x5e\0\x08\x03", -1));
	CHECK_EQ(command(&d, VNET_CTRL_MAC, VNET_MAC_TABLE_SET, data, n - 1), VNET_CTRL_ERR);
	CHECK(passes(&d, f, "\x01\0\x5e\0\x08\x02", -1)); /* nothing changed */

	n = put_macs(data, 1, 2, 9);
	n += put_macs(data + n, VNET_MACS_MAX, 1, 8);
	CHECK_EQ(command(&d, VNET_CTRL_MAC, VNET_MAC_TABLE_SET, data, n), VNET_CTRL_OK);
	CHECK(passes(&d, f, group, -1));
	CHECK(!passes(&d, f, other, -1));
	n = put_macs(data, VNET_MACS_MAX + 1, 2, 9);
	n += put_macs(data + n, VNET_MACS_MAX, 1, 8);
	CHECK_EQ(command(&d, VNET_CTRL_MAC, VNET_MAC_TABLE_SET, data, n), VNET_CTRL_OK);
	CHECK(passes(&d, f, other, -1));
	CHECK(passes(&d, f, "\x01\0\x5e\0\x08\x3f", -1));
	CHECK(!passes(&d, f, group, -1));
	memset(data, 0xff, 8);
	CHECK_EQ(command(&d, VNET_CTRL_MAC, VNET_MAC_TABLE_SET, data, 8), VNET_CTRL_ERR);
	vdrv_fini(&d);
}

TEST(only_the_drivers_vlans_pass)
{
	const le16 seven = le16_of(7), most = le16_of(4095), beyond = le16_of(4096);
	struct vdrv d;
	struct fake_net *f = start(&d, ALL);

	add_rx(&d, 0, 30);
	command(&d, VNET_CTRL_RX, VNET_RX_PROMISC, &off, 1);
	CHECK(!passes(&d, f, own, 7));
	CHECK_EQ(command(&d, VNET_CTRL_VLAN, VNET_VLAN_ADD, &seven, 2), VNET_CTRL_OK);
	CHECK_EQ(command(&d, VNET_CTRL_VLAN, VNET_VLAN_ADD, &most, 2), VNET_CTRL_OK);
	CHECK(passes(&d, f, own, 7));
	CHECK(passes(&d, f, own, 4095));
	CHECK(!passes(&d, f, own, 8));
	CHECK_EQ(command(&d, VNET_CTRL_VLAN, VNET_VLAN_DEL, &seven, 2), VNET_CTRL_OK);
	CHECK(!passes(&d, f, own, 7));
	CHECK_EQ(command(&d, VNET_CTRL_VLAN, VNET_VLAN_ADD, &beyond, 2), VNET_CTRL_ERR);
	CHECK_EQ(command(&d, VNET_CTRL_VLAN, 2, &seven, 2), VNET_CTRL_ERR);
	vdrv_fini(&d);
}

TEST(the_address_is_the_drivers_until_a_reset)
{
	struct vnet_config_wire c;
	struct vdrv d;
	struct fake_net *f = start(&d, ALL);

	add_rx(&d, 0, 30);
	command(&d, VNET_CTRL_RX, VNET_RX_PROMISC, &off, 1);
	CHECK_EQ(command(&d, VNET_CTRL_MAC, VNET_MAC_ADDR_SET, other, 6), VNET_CTRL_OK);
	CHECK(passes(&d, f, other, -1));
	CHECK(!passes(&d, f, own, -1));
	virtio_read_config(d.v, 0, &c, sizeof(c));
	CHECK_MEM(c.mac, other, 6);
	vdrv_reset(&d);
	virtio_read_config(d.v, 0, &c, sizeof(c));
	CHECK_MEM(c.mac, own, 6);
	vdrv_fini(&d);
}

TEST(commands_that_were_not_agreed_on_are_refused)
{
	const le16 two = le16_of(2);
	const le64 none = le64_of(0);
	struct vdrv d;

	start(&d, VNET_F_CTRL_VQ);
	/* Without VNET_F_MQ the control queue stands behind the first pair. */
	CHECK_EQ(command_on(&d, 2, VNET_CTRL_RX, VNET_RX_PROMISC, &on, 1), VNET_CTRL_ERR);
	CHECK_EQ(command_on(&d, 2, VNET_CTRL_MAC, VNET_MAC_ADDR_SET, own, 6), VNET_CTRL_ERR);
	CHECK_EQ(command_on(&d, 2, VNET_CTRL_VLAN, VNET_VLAN_ADD, &two, 2), VNET_CTRL_ERR);
	CHECK_EQ(command_on(&d, 2, VNET_CTRL_ANNOUNCE, VNET_ANNOUNCE_ACK, NULL, 0), VNET_CTRL_ERR);
	CHECK_EQ(command_on(&d, 2, VNET_CTRL_MQ, VNET_MQ_PAIRS_SET, &two, 2), VNET_CTRL_ERR);
	CHECK_EQ(command_on(&d, 2, VNET_CTRL_GUEST_OFFLOADS, 0, &none, 8), VNET_CTRL_ERR);
	CHECK_EQ(command_on(&d, 2, 99, 0, NULL, 0), VNET_CTRL_ERR);
	CHECK(!(d.v->status & VIRTIO_STATUS_NEEDS_RESET));
	vdrv_fini(&d);
}

TEST(features_that_need_others_are_not_accepted_alone)
{
	static const u64 bad[] = {VNET_F_GUEST_TSO4,
				  VNET_F_HOST_TSO6,
				  VNET_F_GUEST_CSUM | VNET_F_GUEST_ECN,
				  VNET_F_CSUM | VNET_F_HOST_ECN,
				  VNET_F_HOST_USO,
				  VNET_F_MQ,
				  VNET_F_CTRL_RX,
				  VNET_F_GUEST_ANNOUNCE};
	struct vdrv d;

	start(&d, 0);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		CHECK(!d.v->ops->features_are_ok(d.v, bad[i]));
	CHECK(d.v->ops->features_are_ok(d.v, d.v->offered));
	vdrv_fini(&d);
}

/* --- queues --- */

static void send_on(struct vdrv *d, u32 pair)
{
	u8 bytes[VNET_HEADER + 60] = {0};
	struct fake_buf buf = {vdrv_put(d, bytes, sizeof(bytes)), sizeof(bytes), false};

	vdrv_add(d, VNET_QUEUE_TX(pair), &buf, 1);
	vdrv_kick(d, VNET_QUEUE_TX(pair));
	vdrv_settle(d);
}

TEST(pairs_and_lanes_need_not_be_as_many)
{
	const le16 three = le16_of(3), four = le16_of(4), zero = le16_of(0);
	struct vdrv d;
	struct fake_net *f = start(&d, ALL);
	u8 frame[60] = {0};

	for (u32 pair = 0; pair < PAIRS; pair++) {
		add_rx(&d, pair, 5);
		send_on(&d, pair);
		CHECK_EQ(f->last_lane, pair % 2);
	}
	CHECK_EQ(f->n_sent, 3);
	CHECK(fake_net_give(f, 1, (struct net_header){0}, frame, sizeof(frame)));
	CHECK_EQ(vdrv_used(&d, VNET_QUEUE_RX(0)), 1); /* the driver uses one yet */
	CHECK_EQ(command(&d, VNET_CTRL_MQ, VNET_MQ_PAIRS_SET, &four, 2), VNET_CTRL_ERR);
	CHECK_EQ(command(&d, VNET_CTRL_MQ, VNET_MQ_PAIRS_SET, &zero, 2), VNET_CTRL_ERR);
	CHECK_EQ(command(&d, VNET_CTRL_MQ, VNET_MQ_PAIRS_SET, &three, 2), VNET_CTRL_OK);
	CHECK(fake_net_give(f, 1, (struct net_header){0}, frame, sizeof(frame)));
	CHECK_EQ(vdrv_used(&d, VNET_QUEUE_RX(1)), 1);
	CHECK_EQ(d.n_interrupts[VNET_QUEUE_RX(1)], 1);
	vdrv_fini(&d);
}

TEST(a_lane_with_room_wakes_all_pairs_that_send_on_it)
{
	struct vdrv d;
	struct fake_net *f = start(&d, ALL);

	f->is_full = true;
	for (u32 pair = 0; pair < PAIRS; pair++)
		send_on(&d, pair);
	f->is_full = false;
	f->net.user->room(f->net.user->opaque, 0);
	vdrv_settle(&d);
	CHECK_EQ(vdrv_used(&d, VNET_QUEUE_TX(0)) + vdrv_used(&d, VNET_QUEUE_TX(2)), 2);
	CHECK_EQ(vdrv_used(&d, VNET_QUEUE_TX(1)), 0);
	f->net.user->room(f->net.user->opaque, 1);
	vdrv_wait(&d, VNET_QUEUE_TX(1), 1);
	vdrv_fini(&d);
}

TEST(a_driver_without_several_pairs_has_none_and_no_harm)
{
	struct vdrv d;
	struct fake_net *f = start(&d, VNET_F_CTRL_VQ);

	for (u32 queue = 2; queue < 2 * PAIRS + 1; queue++)
		vdrv_kick(&d, queue);
	vdrv_settle(&d);
	send_on(&d, 0);
	CHECK_EQ(f->n_sent, 1);
	vdrv_fini(&d);
}

/* --- offloads --- */

static const struct net_header segment = {.flags = NET_NEEDS_CSUM,
					  .gso = NET_GSO_TCP4,
					  .gso_size = 100,
					  .csum_start = 34,
					  .csum_offset = 16};

/* A TCP packet with 250 bytes of payload. */
static const u8 *tcp_packet(void)
{
	static u8 b[54 + 250];

	be16_store(b + 12, 0x0800);
	b[14] = 0x45;
	be16_store(b + 16, sizeof(b) - 14);
	b[23] = 6;
	b[46] = 0x50;
	return b;
}

#define TCP_PACKET 304u

TEST(what_the_driver_takes_it_gets_unfinished_and_the_rest_done)
{
	const le64 csum = le64_of(VNET_F_GUEST_CSUM), none = le64_of(0),
		   too_much = le64_of(VNET_F_GUEST_CSUM | VNET_F_GUEST_TSO6),
		   alone = le64_of(VNET_F_GUEST_TSO4);
	u8 got[VNET_HEADER];
	struct vdrv d;
	struct fake_net *f = start(&d, ALL);
	gpa_t gpa;

	add_rx(&d, 0, 10);
	gpa = d.next_data - 2000;
	CHECK(fake_net_give(f, 0, segment, tcp_packet(), TCP_PACKET));
	CHECK_EQ(vdrv_used(&d, VNET_QUEUE_RX(0)), 1);
	vdrv_get(&d, gpa, got, sizeof(got));
	CHECK_MEM(got, "\x01\x01\0\0\x64\0\x22\0\x10\0\x01\0", 12);

	CHECK_EQ(command(&d, VNET_CTRL_GUEST_OFFLOADS, 0, &too_much, 8), VNET_CTRL_ERR);
	CHECK_EQ(command(&d, VNET_CTRL_GUEST_OFFLOADS, 0, &alone, 8), VNET_CTRL_ERR);
	CHECK_EQ(command(&d, VNET_CTRL_GUEST_OFFLOADS, 0, &csum, 8), VNET_CTRL_OK);
	CHECK(fake_net_give(f, 0, segment, tcp_packet(), TCP_PACKET));
	CHECK_EQ(vdrv_used(&d, VNET_QUEUE_RX(0)), 4);
	CHECK_EQ(vdrv_used_len(&d, VNET_QUEUE_RX(0), 3), VNET_HEADER + 54 + 50);
	vdrv_get(&d, gpa, got, sizeof(got));
	CHECK_MEM(got, "\x02\0\0\0\0\0\0\0\0\0\x01\0", 12);

	CHECK_EQ(command(&d, VNET_CTRL_GUEST_OFFLOADS, 0, &none, 8), VNET_CTRL_OK);
	CHECK(fake_net_give(f, 0, segment, tcp_packet(), TCP_PACKET));
	vdrv_get(&d, gpa, got, sizeof(got));
	CHECK_EQ(got[0], 0);
	vdrv_fini(&d);
}

TEST(a_segment_that_is_cut_for_few_buffers_arrives_once)
{
	struct vdrv d;
	struct fake_net *f = start(&d, 0);

	add_rx(&d, 0, 2);
	CHECK(!fake_net_give(f, 0, segment, tcp_packet(), TCP_PACKET));
	CHECK_EQ(vdrv_used(&d, VNET_QUEUE_RX(0)), 2);
	add_rx(&d, 0, 2);
	CHECK(fake_net_give(f, 0, segment, tcp_packet(), TCP_PACKET));
	CHECK_EQ(vdrv_used(&d, VNET_QUEUE_RX(0)), 3);
	CHECK_EQ(vdrv_used_len(&d, VNET_QUEUE_RX(0), 2), VNET_HEADER + 54 + 50);
	vdrv_fini(&d);
}

TEST(a_segment_that_is_small_enough_is_not_cut)
{
	struct net_header h = segment;
	struct vdrv d;
	struct fake_net *f = start(&d, 0);

	add_rx(&d, 0, 2);
	h.gso_size = 250;
	CHECK(fake_net_give(f, 0, h, tcp_packet(), TCP_PACKET));
	CHECK_EQ(vdrv_used(&d, VNET_QUEUE_RX(0)), 1);
	CHECK_EQ(vdrv_used_len(&d, VNET_QUEUE_RX(0), 0), VNET_HEADER + TCP_PACKET);
	vdrv_fini(&d);
}

static void send_segment(struct vdrv *d, u8 gso)
{
	u8 bytes[VNET_HEADER + TCP_PACKET] = {0};
	struct fake_buf buf;

	memcpy(bytes, &segment, sizeof(segment));
	bytes[1] = gso;
	memcpy(bytes + VNET_HEADER, tcp_packet(), TCP_PACKET);
	buf = (struct fake_buf){vdrv_put(d, bytes, sizeof(bytes)), sizeof(bytes), false};
	vdrv_add(d, VNET_QUEUE_TX(0), &buf, 1);
	vdrv_kick(d, VNET_QUEUE_TX(0));
	vdrv_settle(d);
}

TEST(the_driver_may_ask_for_what_was_agreed_on)
{
	struct vdrv d;
	struct fake_net *f = start(&d, VNET_F_CSUM | VNET_F_HOST_TSO4);

	send_segment(&d, NET_GSO_TCP4);
	CHECK_EQ(f->n_sent, 1);
	CHECK_EQ(f->last_header.gso, NET_GSO_TCP4);
	CHECK_EQ(f->last_header.hdr_len, 54);
	CHECK_EQ(f->last_size, TCP_PACKET);
	CHECK(f->n_flushed > 0);
	send_segment(&d, NET_GSO_TCP4 | NET_GSO_ECN);
	send_segment(&d, NET_GSO_TCP6);
	send_segment(&d, NET_GSO_UDP);
	CHECK_EQ(f->n_sent, 1);
	CHECK_EQ(vdrv_used(&d, VNET_QUEUE_TX(0)), 4);

	f->net.takes = NET_TAKES_CSUM; /* a cable that can't have segments */
	send_segment(&d, NET_GSO_TCP4);
	CHECK_EQ(f->n_sent, 4);
	CHECK_EQ(f->last_size, 54 + 50);
	vdrv_fini(&d);
}

/* --- the link --- */

TEST(a_pulled_cable_carries_nothing_and_is_told)
{
	struct vdrv d;
	struct fake_net *f = start(&d, ALL);

	add_rx(&d, 0, 5);
	vnet_set_link(d.v, false);
	CHECK_EQ(status_of(&d), 0);
	CHECK_EQ(d.n_config_interrupts, 1);
	CHECK(!passes(&d, f, own, -1));
	send_on(&d, 0);
	CHECK_EQ(f->n_sent, 0);
	CHECK_EQ(vdrv_used(&d, VNET_QUEUE_TX(0)), 1);
	net_set_up(&f->net, false);
	vnet_set_link(d.v, true);
	CHECK_EQ(status_of(&d), 0); /* nor is there a peer */
	CHECK_EQ(n_lost, 1);
	net_set_up(&f->net, true);
	CHECK_EQ(status_of(&d), VNET_S_LINK_UP);
	CHECK_EQ(d.n_config_interrupts, 2);
	CHECK(passes(&d, f, own, -1));
	vdrv_fini(&d);
}

TEST(another_cable_is_announced_once)
{
	struct vdrv d;
	struct fake_net *f = start(&d, ALL), *g = fake_net_new(1);

	add_rx(&d, 0, 5);
	f->is_full = true;
	send_on(&d, 0);
	net_set_up(&f->net, false);
	CHECK_EQ(d.n_config_interrupts, 1);
	vnet_connect(d.v, &g->net);
	CHECK_EQ(status_of(&d), VNET_S_LINK_UP | VNET_S_ANNOUNCE);
	CHECK_EQ(d.n_config_interrupts, 2);
	vdrv_settle(&d);
	CHECK_EQ(g->n_sent, 1); /* what the old one had no room for */
	CHECK_EQ(command(&d, VNET_CTRL_ANNOUNCE, VNET_ANNOUNCE_ACK, NULL, 0), VNET_CTRL_OK);
	CHECK_EQ(status_of(&d), VNET_S_LINK_UP);
	CHECK_EQ(d.n_config_interrupts, 2);
	CHECK(passes(&d, g, own, -1));
	vdrv_fini(&d);
}

/* --- saved --- */

TEST(a_moved_card_keeps_what_its_driver_set_and_announces_itself)
{
	const le64 csum = le64_of(VNET_F_GUEST_CSUM);
	const le16 three = le16_of(3), seven = le16_of(7);
	u8 data[100];
	struct vnet_config_wire c;
	struct vdrv d;
	struct fake_net *f = start(&d, ALL), *g = fake_net_new(2);
	u32 n = put_macs(data, 1, 2, 9);

	(void)f;
	add_rx(&d, 0, 10);
	command(&d, VNET_CTRL_RX, VNET_RX_PROMISC, &off, 1);
	n += put_macs(data + n, 1, 1, 8);
	command(&d, VNET_CTRL_MAC, VNET_MAC_TABLE_SET, data, n);
	command(&d, VNET_CTRL_MAC, VNET_MAC_ADDR_SET, other, 6);
	command(&d, VNET_CTRL_VLAN, VNET_VLAN_ADD, &seven, 2);
	command(&d, VNET_CTRL_MQ, VNET_MQ_PAIRS_SET, &three, 2);
	command(&d, VNET_CTRL_GUEST_OFFLOADS, 0, &csum, 8);
	memset(data, 0, sizeof(data));
	vdrv_move(&d, new_card(&d, g));
	CHECK_EQ(status_of(&d), VNET_S_LINK_UP | VNET_S_ANNOUNCE);
	CHECK_EQ(d.n_config_interrupts, 1);
	virtio_read_config(d.v, 0, &c, sizeof(c));
	CHECK_MEM(c.mac, other, 6);
	CHECK(passes(&d, g, other, 7));
	CHECK(!passes(&d, g, other, 8));
	CHECK(!passes(&d, g, own, -1));
	CHECK(passes(&d, g, "\x02\0\x5e\0\x09\0", -1));
	CHECK(passes(&d, g, "\x01\0\x5e\0\x08\0", -1));
	CHECK_EQ(g->net.taken, NET_TAKES_CSUM);
	add_rx(&d, 1, 1);
	CHECK(fake_net_give(g, 1, (struct net_header){0}, tcp_packet(), 60));
	CHECK_EQ(vdrv_used(&d, VNET_QUEUE_RX(1)), 0); /* on the second pair, but not wanted */
	vdrv_fini(&d);
}

TEST(a_pulled_cable_stays_pulled_when_the_card_moves)
{
	struct vdrv d;

	start(&d, ALL);
	vnet_set_link(d.v, false);
	vdrv_move(&d, new_card(&d, fake_net_new(1)));
	CHECK_EQ(status_of(&d), 0);
	CHECK_EQ(d.n_config_interrupts, 1);
	vdrv_fini(&d);
}

/*
 * Network back ends: framing with a hostile peer, backpressure both ways, taps.
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/loop.h"
#include "net/frame.h"
#include "net/net.h"
#include "test.h"

#define STEP_UNTIL(cond)                                                                           \
	do {                                                                                       \
		while (!(cond))                                                                    \
			loop_step(loop, true);                                                     \
	} while (0)

#define MARKED 0x88b5 /* an Ethernet type for experiments: nobody else sends it */

struct card {
	struct net_user user;
	unsigned limit; /* frames it takes */
	unsigned n_frames, n_refused, n_rooms, n_downs, n_bursts;
	unsigned n_marked; /* frames of put_burst, which come in order */
	unsigned last_lane;
	struct net_header last_header;
	size_t last_size;
	u8 last[NET_FRAME_MAX];
};

static bool card_receive(void *opaque, unsigned lane, const struct net_frame *f)
{
	const u8 *frame = f->iov[0].iov_base;
	struct card *c = opaque;
	size_t size = f->size;

	CHECK_EQ(f->n_iov, 1);
	c->last_lane = lane;
	c->last_header = f->header;
	CHECK(size >= NET_FRAME_MIN && size <= NET_FRAME_MAX);
	if (c->n_frames == c->limit) {
		c->n_refused++;
		return false;
	}
	c->n_frames++;
	if (be16_load(frame + 12) == MARKED)
		CHECK_EQ(be32_load(frame + 14), c->n_marked++);
	c->last_size = size;
	memcpy(c->last, frame, size);
	return true;
}

static void card_received(void *opaque, unsigned lane)
{
	(void)lane;
	((struct card *)opaque)->n_bursts++;
}

static void card_room(void *opaque, unsigned lane)
{
	(void)lane;
	((struct card *)opaque)->n_rooms++;
}

static void card_link(void *opaque, bool is_up)
{
	CHECK(!is_up);
	((struct card *)opaque)->n_downs++;
}

static struct card *card_new(struct net *n, unsigned limit)
{
	struct card *c = NEW(struct card);

	c->user = (struct net_user){card_receive, card_received, card_room, card_link, c};
	c->limit = limit;
	net_attach(n, &c->user);
	return c;
}

static struct loop *test_loop(void)
{
	struct err err = ERR_INIT;
	struct loop *loop;

	CHECK_EQ(loop_new(&loop, &err), 0);
	return loop;
}

/* A stream network whose other end is *out_peer. */
static struct net *stream_new(struct loop *loop, int *out_peer)
{
	struct err err = ERR_INIT;
	struct net *n;
	int sv[2];

	CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
	CHECK_EQ(net_stream_new(loop, sv[0], &n, &err), 0);
	*out_peer = sv[1];
	return n;
}

static void test_end(struct loop *loop, struct net *n, struct card *c)
{
	net_free(n);
	free(c);
	loop_free(loop);
}

static void settle(struct loop *loop)
{
	for (int i = 0; i < 30; i++)
		loop_step(loop, false);
}

static u8 bytes[NET_FRAME_MAX];

static void put_frame(int fd, u32 size)
{
	const be32 header = be32_of(size);

	CHECK_EQ(fd_write_full(fd, &header, sizeof(header)), 0);
	CHECK_EQ(fd_write_full(fd, bytes, size), 0);
}

static int send_frame(struct net *n, size_t size)
{
	struct iovec iov[2] = {{bytes, size / 3}, {bytes + size / 3, size - size / 3}};

	const struct net_frame f = {.iov = iov, .n_iov = 2, .size = size};
	int r = net_send(n, 0, &f);

	net_flush(n, 0);
	return r;
}

TEST(frames_arrive_one_by_one_however_they_were_cut)
{
	struct loop *loop = test_loop();
	int peer;
	struct net *n = stream_new(loop, &peer);
	struct card *c = card_new(n, 100);

	put_frame(peer, 60);
	put_frame(peer, 1514);
	STEP_UNTIL(c->n_frames == 2);
	CHECK_EQ(c->last_size, 1514);
	CHECK_EQ(write(peer, "\0\0", 2), 2);
	settle(loop);
	CHECK_EQ(write(peer,
		       "\0\x14"
		       "0123456789",
		       12),
		 12);
	settle(loop);
	CHECK_EQ(c->n_frames, 2);
	CHECK_EQ(write(peer, "abcdefghij", 10), 10);
	STEP_UNTIL(c->n_frames == 3);
	CHECK_MEM(c->last, "0123456789abcdefghij", 20);
	put_frame(peer, 5); /* no frame: dropped */
	put_frame(peer, 0);
	put_frame(peer, 14);
	STEP_UNTIL(c->n_frames == 4);
	CHECK_EQ(c->last_size, 14);
	close(peer);
	STEP_UNTIL(c->n_downs == 1);
	test_end(loop, n, c);
}

TEST(a_refused_frame_comes_again_and_nothing_is_read_meanwhile)
{
	struct loop *loop = test_loop();
	int peer;
	struct net *n = stream_new(loop, &peer);
	struct card *c = card_new(n, 1);

	for (u32 i = 0; i < 5; i++)
		put_frame(peer, 100 + i);
	STEP_UNTIL(c->n_refused == 1);
	settle(loop);
	CHECK_EQ(c->n_refused, 1);
	c->limit = 3;
	net_accept(n, 0);
	STEP_UNTIL(c->n_refused == 2);
	CHECK_EQ(c->last_size, 102);
	c->limit = 100;
	net_accept(n, 0);
	STEP_UNTIL(c->n_frames == 5);
	CHECK_EQ(c->last_size, 104);
	close(peer);
	test_end(loop, n, c);
}

TEST(a_peer_that_does_not_read_is_waited_for)
{
	struct loop *loop = test_loop();
	int peer;
	struct net *n = stream_new(loop, &peer);
	struct card *c = card_new(n, 1);
	unsigned n_sent = 0, n_got = 0;
	struct frame_reader r;
	const u8 *frame;
	size_t size;

	while (send_frame(n, 60000) == 0)
		n_sent++;
	CHECK(n_sent > 0 && n_sent < 100);
	settle(loop);
	CHECK_EQ(c->n_rooms, 0);

	frame_reader_init(&r);
	while (n_got < n_sent) {
		ssize_t k = frame_reader_fill(&r, peer);

		CHECK(k > 0 || k == -EAGAIN);
		while (frame_reader_peek(&r, &frame, &size) == 1) {
			CHECK_EQ(size, 60000);
			CHECK_MEM(frame, bytes, size);
			frame_reader_pop(&r);
			n_got++;
		}
		loop_step(loop, false);
	}
	CHECK_EQ(c->n_rooms, 1);
	CHECK_EQ(send_frame(n, 60000), 0);
	frame_reader_fini(&r);
	close(peer);
	test_end(loop, n, c);
}

TEST(a_peer_that_breaks_the_framing_takes_the_link_down)
{
	static const u32 bad[] = {NET_FRAME_MAX + 1, 0x80000000, UINT32_MAX};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		const be32 header = be32_of(bad[i]);
		struct loop *loop = test_loop();
		int peer;
		struct net *n = stream_new(loop, &peer);
		struct card *c = card_new(n, 100);

		put_frame(peer, NET_FRAME_MAX); /* the longest there is */
		CHECK_EQ(write(peer, &header, sizeof(header)), sizeof(header));
		STEP_UNTIL(c->n_downs == 1);
		CHECK_EQ(c->n_frames, 1);
		CHECK_EQ(c->last_size, NET_FRAME_MAX);
		CHECK(!net_is_up(n));
		CHECK_EQ(send_frame(n, 100), 0); /* dropped */
		net_accept(n, 0);
		settle(loop);
		close(peer);
		test_end(loop, n, c);
	}
}

TEST(a_peer_that_dies_full_lets_the_card_go_on)
{
	struct loop *loop = test_loop();
	int peer;
	struct net *n = stream_new(loop, &peer);
	struct card *c = card_new(n, 1);

	while (send_frame(n, 60000) == 0)
		;
	close(peer);
	STEP_UNTIL(c->n_downs == 1);
	CHECK_EQ(c->n_rooms, 1); /* what was refused comes again, and is dropped */
	CHECK_EQ(send_frame(n, 60000), 0);
	test_end(loop, n, c);
}

TEST(only_a_stream_socket_will_do)
{
	struct loop *loop = test_loop();
	struct err err = ERR_INIT;
	struct net *n;
	int sv[2];

	CHECK_EQ(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, sv), 0);
	CHECK_EQ(net_stream_new(loop, sv[0], &n, &err), -EINVAL);
	CHECK_EQ(net_tap_new(loop, sv, 1, &n, &err), -ENOTTY);
	CHECK_ERR(err, "not a tap");
	close(sv[0]);
	close(sv[1]);
	loop_free(loop);
}

/* --- taps --- */

static int open_tap(short flags, struct ifreq *out)
{
	int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);

	*out = (struct ifreq){.ifr_flags = (short)(IFF_TAP | IFF_NO_PI | flags)};
	memcpy(out->ifr_name, "posadatest%d", sizeof("posadatest%d"));
	if (fd < 0 || ioctl(fd, TUNSETIFF, out) < 0)
		SKIP("needs /dev/net/tun and the right to make a tap");
	return fd;
}

/* Sets the interface up, and returns a packet socket on it: the host's side of the cable. */
static int host_side(struct ifreq *ifr)
{
	int s = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
	struct ifreq up = *ifr;

	CHECK_EQ(ioctl(s, SIOCGIFFLAGS, &up), 0);
	up.ifr_flags |= IFF_UP;
	CHECK_EQ(ioctl(s, SIOCSIFFLAGS, &up), 0);
	CHECK_EQ(ioctl(s, SIOCGIFINDEX, &up), 0);

	struct sockaddr_ll to = {.sll_family = AF_PACKET,
				 .sll_protocol = htons(ETH_P_ALL),
				 .sll_ifindex = up.ifr_ifindex};

	CHECK_EQ(bind(s, (struct sockaddr *)&to, sizeof(to)), 0);
	return s;
}

TEST(a_tap_carries_frames_with_and_without_header)
{
	static const short flags[] = {0, IFF_VNET_HDR};

	for (size_t i = 0; i < ARRAY_SIZE(flags); i++) {
		struct loop *loop = test_loop();
		struct err err = ERR_INIT;
		struct ifreq ifr;
		int fd = open_tap(flags[i], &ifr);
		struct net *n;

		CHECK_EQ(net_tap_new(loop, &fd, 1, &n, &err), 0);
		struct card *c = card_new(n, 0);

		CHECK_EQ(send_frame(n, 60), 0); /* down: lost, as on a cable */
		close(host_side(&ifr));
		memset(bytes, 0xff, 12);
		CHECK_EQ(send_frame(n, 60), 0);
		/* The host's IPv6 says something on every new link. */
		STEP_UNTIL(c->n_refused >= 1);
		CHECK_EQ(c->n_frames, 0);
		c->limit = 1;
		net_accept(n, 0);
		STEP_UNTIL(c->n_frames == 1);
		CHECK(c->last_size >= 14);
		CHECK_MEM(c->last + 12, "\x86\xdd", 2);
		test_end(loop, n, c);
	}
}

static void put_burst(int host, u32 first, u32 n)
{
	for (u32 i = first; i < first + n; i++) {
		u8 frame[64] = {0};

		be16_store(frame + 12, MARKED);
		be32_store(frame + 14, i);
		CHECK_EQ(send(host, frame, sizeof(frame), 0), sizeof(frame));
	}
}

TEST(a_burst_from_a_tap_arrives_whole_and_in_order)
{
	struct loop *loop = test_loop();
	struct err err = ERR_INIT;
	struct ifreq ifr;
	int fd = open_tap(0, &ifr), host;
	struct net *n;

	CHECK_EQ(net_tap_new(loop, &fd, 1, &n, &err), 0);
	host = host_side(&ifr);
	struct card *c = card_new(n, UINT32_MAX);

	/* More than are read in one go. */
	put_burst(host, 0, 300);
	STEP_UNTIL(c->n_marked == 300);

	/* And each one refused once. */
	c->limit = c->n_frames;
	put_burst(host, 300, 200);
	while (c->n_marked < 500) {
		unsigned refused = c->n_refused;

		STEP_UNTIL(c->n_refused > refused);
		c->limit++;
		net_accept(n, 0);
	}
	close(host);
	test_end(loop, n, c);
}

/* --- offloads --- */

#define SEGMENT      4000u
#define SEGMENT_SIZE (54 + SEGMENT)

static const struct net_header segment = {.flags = NET_NEEDS_CSUM,
					  .gso = NET_GSO_TCP4,
					  .hdr_len = 54,
					  .gso_size = 1000,
					  .csum_start = 34,
					  .csum_offset = 16};

/* A TCP packet of a type of its own in the eyes of a host that looks for it: from port MARKED. */
static const u8 *segment_bytes(void)
{
	static u8 b[SEGMENT_SIZE];

	memset(b, 0xff, 6);
	b[6] = 2;
	be16_store(b + 12, 0x0800);
	memcpy(b + 14, "\x45\0\x0f\xc8\0\0\x40\0\x40\x06\0\0\x0a\x63\0\x02\x0a\x63\0\x01", 20);
	be16_store(b + 34, MARKED);
	b[46] = 0x50;
	b[47] = 0x10;
	for (u32 i = 54; i < SEGMENT_SIZE; i++)
		b[i] = (u8)(i * 3);
	return b;
}

static int send_segment(struct net *n, unsigned lane)
{
	const struct iovec iov = {(void *)(uintptr_t)segment_bytes(), SEGMENT_SIZE};
	const struct net_frame f = {
		.header = segment, .iov = &iov, .n_iov = 1, .size = SEGMENT_SIZE};
	int r = net_send(n, lane, &f);

	net_flush(n, lane);
	return r;
}

static bool is_marked(const u8 *b, ssize_t size)
{
	return size >= 54 && be16_load(b + 12) == 0x0800 && be16_load(b + 34) == MARKED;
}

/* Is the TCP checksum of the packet right? Its pseudo-header included. */
static bool has_good_sum(const u8 *b, size_t size)
{
	u32 sum = 6 + (u32)size - 34;

	for (size_t i = 26; i < size; i++)
		sum += i % 2 ? b[i] : (u32)b[i] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum == 0xffff;
}

TEST(a_streams_peer_gets_segments_whole_with_their_checksum)
{
	struct loop *loop = test_loop();
	u8 got[4 + SEGMENT_SIZE];
	int peer;
	struct net *n = stream_new(loop, &peer);
	struct card *c = card_new(n, 100);

	CHECK_EQ(send_segment(n, 0), 0);
	CHECK_EQ(recv(peer, got, sizeof(got), MSG_WAITALL), sizeof(got));
	CHECK_EQ(be32_load(got), SEGMENT_SIZE);
	CHECK(has_good_sum(got + 4, SEGMENT_SIZE));
	/* And is believed, by a card that looks at such words. */
	put_frame(peer, 60);
	STEP_UNTIL(c->n_frames == 1);
	CHECK_EQ(c->last_header.flags, 0);
	net_set_taken(n, NET_TAKES_CSUM);
	put_frame(peer, 60);
	STEP_UNTIL(c->n_frames == 2);
	CHECK_EQ(c->last_header.flags, NET_DATA_VALID);
	close(peer);
	test_end(loop, n, c);
}

TEST(short_frames_go_together_and_come_as_one_burst)
{
	const struct iovec iov = {bytes, 60};
	const struct net_frame f = {.iov = &iov, .n_iov = 1, .size = 60};
	struct loop *loop = test_loop();
	u8 got[400];
	int peer;
	struct net *n = stream_new(loop, &peer);
	struct card *c = card_new(n, 100);

	for (int i = 0; i < 3; i++)
		CHECK_EQ(net_send(n, 0, &f), 0);
	CHECK_EQ(recv(peer, got, sizeof(got), MSG_DONTWAIT), -1);
	net_flush(n, 0);
	CHECK_EQ(recv(peer, got, sizeof(got), MSG_DONTWAIT), 3 * 64);
	CHECK_EQ(send(peer, got, 3 * 64, 0), 3 * 64);
	settle(loop);
	CHECK_EQ(c->n_frames, 3);
	c->n_bursts = 0;
	CHECK_EQ(send(peer, got, 3 * 64, 0), 3 * 64);
	STEP_UNTIL(c->n_frames == 6);
	CHECK_EQ(c->n_bursts, 1);
	close(peer);
	test_end(loop, n, c);
}

/* The next marked frame that the host's side sees, its header first if it has one. */
static ssize_t host_receive(int host, u8 *buf, size_t size, size_t header)
{
	ssize_t n;

	do {
		n = recv(host, buf, size, 0);
	} while (!is_marked(buf + header, n - (ssize_t)header));
	return n;
}

TEST(a_tap_with_a_header_carries_segments_whole_both_ways)
{
	struct loop *loop = test_loop();
	u8 buf[sizeof(segment) + SEGMENT_SIZE];
	struct err err = ERR_INIT;
	struct net_header got;
	struct ifreq ifr;
	int fd = open_tap(IFF_VNET_HDR, &ifr), host, one = 1;
	struct net *n;

	CHECK_EQ(net_tap_new(loop, &fd, 1, &n, &err), 0);
	host = host_side(&ifr);
	CHECK_EQ(setsockopt(host, SOL_PACKET, PACKET_VNET_HDR, &one, sizeof(one)), 0);
	struct card *c = card_new(n, UINT32_MAX);

	CHECK_EQ(send_segment(n, 0), 0);
	CHECK_EQ(host_receive(host, buf, sizeof(buf), sizeof(got)), sizeof(buf));
	memcpy(&got, buf, sizeof(got));
	CHECK_EQ(got.gso, NET_GSO_TCP4);
	CHECK_EQ(got.gso_size, 1000);

	net_set_taken(n, NET_TAKES_CSUM | NET_TAKES_TSO4);
	memcpy(buf, &segment, sizeof(segment));
	memcpy(buf + sizeof(segment), segment_bytes(), SEGMENT_SIZE);
	CHECK_EQ(send(host, buf, sizeof(buf), 0), sizeof(buf));
	STEP_UNTIL(is_marked(c->last, (ssize_t)c->last_size));
	CHECK_EQ(c->last_size, SEGMENT_SIZE);
	CHECK_EQ(c->last_header.gso, NET_GSO_TCP4);
	CHECK_EQ(c->last_header.gso_size, 1000);
	close(host);
	test_end(loop, n, c);
}

TEST(a_tap_without_a_header_gets_packets)
{
	struct loop *loop = test_loop();
	u8 buf[SEGMENT_SIZE];
	struct err err = ERR_INIT;
	struct ifreq ifr;
	int fd = open_tap(0, &ifr), host;
	struct net *n;

	CHECK_EQ(net_tap_new(loop, &fd, 1, &n, &err), 0);
	host = host_side(&ifr);
	struct card *c = card_new(n, UINT32_MAX);

	CHECK_EQ(send_segment(n, 0), 0);
	for (u32 i = 0; i < SEGMENT / 1000; i++) {
		CHECK_EQ(host_receive(host, buf, sizeof(buf), 0), 54 + 1000);
		CHECK_EQ(be32_load(buf + 38), i * 1000);
		CHECK(has_good_sum(buf, 54 + 1000));
		CHECK_MEM(buf + 54, segment_bytes() + 54 + i * 1000, 1000);
	}
	close(host);
	test_end(loop, n, c);
}

TEST(each_queue_of_a_tap_is_a_lane)
{
	struct loop *loop = test_loop();
	u8 buf[sizeof(segment) + SEGMENT_SIZE];
	struct err err = ERR_INIT;
	struct ifreq ifr;
	int fds[2] = {open_tap(IFF_VNET_HDR | IFF_MULTI_QUEUE, &ifr)}, host;
	struct net *n;

	fds[1] = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
	ifr.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | IFF_MULTI_QUEUE;
	CHECK_EQ(ioctl(fds[1], TUNSETIFF, &ifr), 0);
	CHECK_EQ(net_tap_new(loop, fds, 2, &n, &err), 0);
	CHECK_EQ(net_n_lanes(n), 2);
	host = host_side(&ifr);
	struct card *c = card_new(n, UINT32_MAX);

	for (unsigned lane = 0; lane < 2; lane++) {
		CHECK_EQ(send_segment(n, lane), 0);
		host_receive(host, buf, sizeof(buf), 0);
	}
	/* Frames of many senders come by both. */
	for (u8 lanes = 0, i = 0; lanes != 3; i++) {
		u8 frame[64] = {0};

		be16_store(frame + 12, 0x0800);
		memcpy(frame + 14, segment_bytes() + 14, 50);
		frame[29] = i;
		be16_store(frame + 34, (u16)(MARKED + i));
		CHECK_EQ(send(host, frame, sizeof(frame), 0), sizeof(frame));
		STEP_UNTIL(c->last_size == sizeof(frame) && c->last[29] == i);
		lanes |= (u8)(1u << c->last_lane);
	}
	close(host);
	test_end(loop, n, c);
}

TEST(several_queues_are_of_a_tap_that_has_them)
{
	struct loop *loop = test_loop();
	struct err err = ERR_INIT;
	struct ifreq ifr;
	int fds[2] = {open_tap(0, &ifr), -1};
	struct net *n;

	CHECK_EQ(net_tap_new(loop, fds, 2, &n, &err), -EINVAL);
	CHECK_ERR(err, "without IFF_MULTI_QUEUE");
	close(fds[0]);
	loop_free(loop);
}

TEST(a_tap_that_is_taken_away_takes_the_link_down)
{
	struct loop *loop = test_loop();
	struct err err = ERR_INIT;
	char command[64];
	struct ifreq ifr;
	int fd = open_tap(IFF_VNET_HDR, &ifr);
	struct net *n;

	if (access("/sbin/ip", X_OK) < 0 && access("/usr/sbin/ip", X_OK) < 0)
		SKIP("needs ip (iproute2)");
	CHECK_EQ(net_tap_new(loop, &fd, 1, &n, &err), 0);
	struct card *c = card_new(n, UINT32_MAX);

	close(host_side(&ifr));
	settle(loop);
	snprintf(command, sizeof(command), "ip link del %s", ifr.ifr_name);
	CHECK_EQ(system(command), 0);
	STEP_UNTIL(c->n_downs == 1);
	CHECK_EQ(send_frame(n, 60), 0); /* dropped */
	settle(loop);
	test_end(loop, n, c);
}

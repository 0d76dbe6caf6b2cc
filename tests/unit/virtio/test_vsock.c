/*
 * virtio-vsock: connections in both directions, credit, ends, limits; a driver and a posada-vsock that
 * say what they like. The test is both.
 */
#include "virtio/vsock.h"

#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "device_check.h"
#include "test.h"
#include "virtio/vsock_wire.h"
#include "virtio_driver.h"
#include "vsock/vsock.h"
#include "vsock/vsock_wire.h"

#define CID        42
#define RX_SIZE    4096
#define GUEST_PORT 1000
#define HOST_PORT  5000

struct bench {
	struct vdrv d;
	int helper; /* posada-vsock's end */
	gpa_t rx[VDRV_QUEUE_SIZE];
	u16 n_rx, n_seen; /* receive buffers given, and looked at */
	gpa_t tx;         /* one packet at a time is sent from here */
	u32 buf_alloc, fwd_cnt;
};

struct packet {
	struct vsock_header_wire h;
	u8 data[RX_SIZE];
};

static struct virtio_device *new_vsock(struct bench *b)
{
	struct vsock_options o = {.name = "vsock0", .guest_cid = CID};
	struct err err = ERR_INIT;
	struct virtio_device *v;
	int sv[2];

	CHECK_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, sv), 0);
	b->helper = sv[1];
	CHECK_EQ(vsock_host_new(b->d.loop, sv[0], &o.host, &err), 0);
	CHECK_EQ(vsock_new(&o, b->d.loop, b->d.gmem, &v, &err), 0);
	return v;
}

static void give_rx(struct bench *b, unsigned n)
{
	while (n--) {
		struct fake_buf seg = {b->rx[b->n_rx % VDRV_QUEUE_SIZE], RX_SIZE, true};

		vdrv_add(&b->d, VSOCK_QUEUE_RX, &seg, 1);
		b->n_rx++;
	}
	vdrv_kick(&b->d, VSOCK_QUEUE_RX);
	vdrv_settle(&b->d);
}

static void start(struct bench *b, unsigned n_rx)
{
	*b = (struct bench){.buf_alloc = 64 * 1024};
	vdrv_init(&b->d);
	vdrv_start(&b->d, new_vsock(b), VIRTIO_F_VERSION_1 | VSOCK_F_STREAM);
	for (unsigned i = 0; i < VDRV_QUEUE_SIZE; i++)
		b->rx[i] = vdrv_put(&b->d, NULL, RX_SIZE);
	b->tx = vdrv_put(&b->d, NULL, 80 * 1024);
	give_rx(b, n_rx);
}

static void end(struct bench *b)
{
	vdrv_fini(&b->d);
	close(b->helper);
}

static struct vsock_header_wire header(struct bench *b, u32 guest_port, u32 host_port,
				       enum vsock_op op, u32 flags, u32 len)
{
	return (struct vsock_header_wire){
		.src_cid = le64_of(CID),
		.dst_cid = le64_of(VSOCK_CID_HOST),
		.src_port = le32_of(guest_port),
		.dst_port = le32_of(host_port),
		.len = le32_of(len),
		.type = le16_of(VSOCK_TYPE_STREAM),
		.op = le16_of((u16)op),
		.flags = le32_of(flags),
		.buf_alloc = le32_of(b->buf_alloc),
		.fwd_cnt = le32_of(b->fwd_cnt),
	};
}

static void send_raw(struct bench *b, const struct vsock_header_wire *h, const void *data, u32 len)
{
	struct fake_buf segs[] = {{b->tx, sizeof(*h), false}, {b->tx + sizeof(*h), len, false}};

	fake_guest_put(&b->d.guest, b->tx, h, sizeof(*h));
	if (len)
		fake_guest_put(&b->d.guest, b->tx + sizeof(*h), data, len);
	vdrv_add(&b->d, VSOCK_QUEUE_TX, segs, len ? 2 : 1);
	vdrv_kick(&b->d, VSOCK_QUEUE_TX);
	vdrv_settle(&b->d);
}

static void send_packet(struct bench *b, u32 guest_port, u32 host_port, enum vsock_op op, u32 flags)
{
	struct vsock_header_wire h = header(b, guest_port, host_port, op, flags, 0);

	send_raw(b, &h, NULL, 0);
}

static void send_data(struct bench *b, u32 guest_port, u32 host_port, const void *data, u32 len)
{
	struct vsock_header_wire h = header(b, guest_port, host_port, VSOCK_OP_RW, 0, len);

	send_raw(b, &h, data, len);
}

static bool has_packet(struct bench *b)
{
	vdrv_settle(&b->d);
	return b->n_seen != vdrv_used(&b->d, VSOCK_QUEUE_RX);
}

/* The next packet that the device sent; its buffer is given again. */
static struct packet next_packet(struct bench *b)
{
	struct packet p = {0};
	u32 len;

	CHECK(has_packet(b));
	len = vdrv_used_len(&b->d, VSOCK_QUEUE_RX, b->n_seen);
	vdrv_get(&b->d, b->rx[b->n_seen % VDRV_QUEUE_SIZE], &p, len);
	CHECK_EQ(len, sizeof(p.h) + le32_get(p.h.len));
	CHECK_EQ(le64_get(p.h.dst_cid), CID);
	CHECK_EQ(le64_get(p.h.src_cid), VSOCK_CID_HOST);
	b->n_seen++;
	give_rx(b, 1);
	return p;
}

static struct packet expect(struct bench *b, enum vsock_op op)
{
	struct packet p = next_packet(b);

	CHECK_EQ(le16_get(p.h.op), op);
	return p;
}

static struct vsock_message next_call(struct bench *b)
{
	struct vsock_message m;
	size_t n_fds = 0;

	vdrv_settle(&b->d);
	CHECK_EQ(fd_recv(b->helper, &m, sizeof(m), NULL, &n_fds), sizeof(m));
	return m;
}

/* What posada-vsock sends: with one end of a socket pair, whose other end is returned; or without. */
static int answer(struct bench *b, u32 kind, u32 id, u32 port, int error)
{
	struct vsock_message m = {.kind = kind, .id = id, .port = port, .error = error};
	int sv[2];

	CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, sv), 0);
	CHECK_EQ(fd_send(b->helper, &m, sizeof(m), &sv[0], error == 0), 0);
	close(sv[0]);
	vdrv_settle(&b->d);
	return sv[1];
}

/* The guest connects to a program of the host, whose socket is returned. */
static int connect_out(struct bench *b, u32 guest_port, u32 host_port)
{
	struct vsock_message call;
	struct packet p;
	int fd;

	send_packet(b, guest_port, host_port, VSOCK_OP_REQUEST, 0);
	call = next_call(b);
	CHECK_EQ(call.kind, VSOCK_CONNECT);
	CHECK_EQ(call.port, host_port);
	fd = answer(b, VSOCK_CONNECTED, call.id, 0, 0);
	p = expect(b, VSOCK_OP_RESPONSE);
	CHECK_EQ(le32_get(p.h.src_port), host_port);
	CHECK_EQ(le32_get(p.h.dst_port), guest_port);
	CHECK_EQ(le32_get(p.h.buf_alloc), VSOCK_BUFFER);
	return fd;
}

static void check_host_gets(struct bench *b, int fd, const char *text)
{
	char buf[64] = "";

	vdrv_settle(&b->d);
	CHECK_EQ(read(fd, buf, sizeof(buf) - 1), strlen(text));
	CHECK_STR(buf, text);
}

static void check_host_ended(struct bench *b, int fd)
{
	char c;

	vdrv_settle(&b->d);
	CHECK_EQ(read(fd, &c, 1), 0);
}

static void check_counters(struct bench *b, u64 opened, u64 sent, u64 received)
{
	struct device_counter counters[DEVICE_MAX_COUNTERS];

	CHECK_EQ(b->d.v->dev.ops->count(&b->d.v->dev, counters), 4);
	CHECK_STR(counters[1].name, "opened");
	CHECK_EQ(counters[1].value, opened);
	CHECK_EQ(counters[2].value, sent);
	CHECK_EQ(counters[3].value, received);
}

TEST(a_guest_talks_to_a_program_of_the_host)
{
	struct bench b;
	struct packet p;
	int fd;

	start(&b, 8);
	CHECK_EQ(le64_get(((struct vsock_config_wire *)b.d.v->config)->guest_cid), CID);
	fd = connect_out(&b, GUEST_PORT, HOST_PORT);
	send_data(&b, GUEST_PORT, HOST_PORT, "hello", 5);
	check_host_gets(&b, fd, "hello");
	CHECK_EQ(write(fd, "world!", 6), 6);
	p = expect(&b, VSOCK_OP_RW);
	CHECK_EQ(le32_get(p.h.len), 6);
	CHECK_MEM(p.data, "world!", 6);
	CHECK_EQ(le32_get(p.h.fwd_cnt), 5);
	CHECK(!has_packet(&b));
	CHECK_EQ(vsock_count_connections(b.d.v), 1);
	check_counters(&b, 1, 5, 6);
	close(fd);
	end(&b);
}

TEST(what_nobody_listens_to_is_refused)
{
	struct vsock_message call;
	struct packet p;
	struct bench b;

	start(&b, 8);
	send_packet(&b, GUEST_PORT, HOST_PORT, VSOCK_OP_REQUEST, 0);
	call = next_call(&b);
	close(answer(&b, VSOCK_CONNECTED, call.id, 0, -ECONNREFUSED));
	p = expect(&b, VSOCK_OP_RST);
	CHECK_EQ(le32_get(p.h.dst_port), GUEST_PORT);
	CHECK_EQ(vsock_count_connections(b.d.v), 0);
	/* An answer that comes too late, or twice, is for nobody. */
	close(answer(&b, VSOCK_CONNECTED, call.id, 0, 0));
	send_packet(&b, GUEST_PORT, HOST_PORT, VSOCK_OP_REQUEST, 0);
	call = next_call(&b);
	send_packet(&b, GUEST_PORT, HOST_PORT, VSOCK_OP_RST, 0);
	check_host_ended(&b, answer(&b, VSOCK_CONNECTED, call.id, 0, 0));
	CHECK(!has_packet(&b));
	end(&b);
}

TEST(a_program_of_the_host_talks_to_the_guest)
{
	char said[64] = "", wanted[64];
	struct packet p;
	struct bench b;
	u32 port;
	int fd;

	start(&b, 8);
	fd = answer(&b, VSOCK_INCOMING, 0, 22, 0);
	CHECK_EQ(write(fd, "early", 5), 5);
	p = expect(&b, VSOCK_OP_REQUEST);
	CHECK_EQ(le32_get(p.h.dst_port), 22);
	port = le32_get(p.h.src_port);
	CHECK(!has_packet(&b));
	send_packet(&b, 22, port, VSOCK_OP_RESPONSE, 0);
	snprintf(wanted, sizeof(wanted), "OK %u\n", port);
	CHECK(read(fd, said, sizeof(said) - 1) > 0);
	CHECK_STR(said, wanted);
	p = expect(&b, VSOCK_OP_RW);
	CHECK_MEM(p.data, "early", 5);
	close(fd);
	expect(&b, VSOCK_OP_SHUTDOWN);
	end(&b);
}

TEST(a_call_that_the_guest_refuses_is_closed)
{
	struct packet p;
	struct bench b;
	int fd;

	start(&b, 8);
	fd = answer(&b, VSOCK_INCOMING, 0, 22, 0);
	p = expect(&b, VSOCK_OP_REQUEST);
	send_packet(&b, 22, le32_get(p.h.src_port), VSOCK_OP_RST, 0);
	check_host_ended(&b, fd);
	close(fd);
	/* Or the caller gives up first. */
	close(answer(&b, VSOCK_INCOMING, 0, 23, 0));
	expect(&b, VSOCK_OP_REQUEST);
	expect(&b, VSOCK_OP_RST);
	CHECK_EQ(vsock_count_connections(b.d.v), 0);
	end(&b);
}

TEST(each_direction_ends_by_itself)
{
	struct packet p;
	struct bench b;
	int fd;

	start(&b, 8);
	fd = connect_out(&b, GUEST_PORT, HOST_PORT);
	send_data(&b, GUEST_PORT, HOST_PORT, "last", 4);
	send_packet(&b, GUEST_PORT, HOST_PORT, VSOCK_OP_SHUTDOWN, VSOCK_SHUTDOWN_SEND);
	check_host_gets(&b, fd, "last");
	check_host_ended(&b, fd);
	CHECK_EQ(write(fd, "more", 4), 4);
	p = expect(&b, VSOCK_OP_RW);
	CHECK_MEM(p.data, "more", 4);
	CHECK_EQ(shutdown(fd, SHUT_WR), 0);
	do
		p = expect(&b, VSOCK_OP_SHUTDOWN);
	while (!(le32_get(p.h.flags) & VSOCK_SHUTDOWN_SEND));
	send_packet(&b, GUEST_PORT, HOST_PORT, VSOCK_OP_SHUTDOWN, VSOCK_SHUTDOWN_BOTH);
	expect(&b, VSOCK_OP_RST);
	vdrv_settle(&b.d);
	CHECK_EQ(vsock_count_connections(b.d.v), 0);
	close(fd);
	end(&b);
}

TEST(a_host_that_only_ends_its_stream_still_gets_data)
{
	struct packet p;
	struct bench b;
	int fd;

	start(&b, 8);
	fd = connect_out(&b, GUEST_PORT, HOST_PORT);
	CHECK_EQ(shutdown(fd, SHUT_WR), 0);
	p = expect(&b, VSOCK_OP_SHUTDOWN);
	CHECK_EQ(le32_get(p.h.flags), VSOCK_SHUTDOWN_SEND);
	send_data(&b, GUEST_PORT, HOST_PORT, "answer", 6);
	check_host_gets(&b, fd, "answer");
	close(fd);
	send_data(&b, GUEST_PORT, HOST_PORT, "x", 1);
	p = expect(&b, VSOCK_OP_SHUTDOWN);
	CHECK_EQ(le32_get(p.h.flags), VSOCK_SHUTDOWN_BOTH);
	end(&b);
}

TEST(what_a_program_wrote_before_it_left_arrives)
{
	u32 flags = 0;
	struct packet p;
	struct bench b;
	int fd;

	start(&b, 8);
	fd = connect_out(&b, GUEST_PORT, HOST_PORT);
	CHECK_EQ(write(fd, "farewell", 8), 8);
	close(fd);
	do {
		p = next_packet(&b);
		if (le16_get(p.h.op) == VSOCK_OP_RW)
			CHECK_MEM(p.data, "farewell", 8);
		else
			flags = le32_get(p.h.flags);
	} while (flags != VSOCK_SHUTDOWN_BOTH);
	CHECK(!has_packet(&b));
	send_packet(&b, GUEST_PORT, HOST_PORT, VSOCK_OP_RST, 0);
	CHECK_EQ(vsock_count_connections(b.d.v), 0);
	end(&b);
}

/* Sends bytes until the host's socket is full and size bytes are kept; returns how many it took. */
static u32 fill(struct bench *b, u32 size)
{
	static u8 block[32 * 1024];
	u32 sent = 0, told = 0;

	while (sent - told < size) {
		send_data(b, GUEST_PORT, HOST_PORT, block, sizeof(block));
		sent += sizeof(block);
		while (has_packet(b))
			told = le32_get(expect(b, VSOCK_OP_CREDIT_UPDATE).h.fwd_cnt);
	}
	return sent;
}

TEST(a_slow_program_costs_a_buffer_and_no_more)
{
	static u8 block[64 * 1024];
	struct bench b;
	u32 sent, got = 0;
	ssize_t n;
	int fd;

	start(&b, 8);
	fd = connect_out(&b, GUEST_PORT, HOST_PORT);
	sent = fill(&b, VSOCK_BUFFER);
	while ((n = read(fd, block, sizeof(block))) > 0) {
		got += (u32)n;
		vdrv_settle(&b.d);
	}
	CHECK_EQ(got, sent);
	/* The guest hears of the room. */
	n = 0;
	while (has_packet(&b))
		n = le32_get(expect(&b, VSOCK_OP_CREDIT_UPDATE).h.fwd_cnt);
	CHECK(sent - (u32)n < VSOCK_BUFFER / 4);
	send_packet(&b, GUEST_PORT, HOST_PORT, VSOCK_OP_CREDIT_REQUEST, 0);
	CHECK_EQ(le32_get(expect(&b, VSOCK_OP_CREDIT_UPDATE).h.fwd_cnt), sent);
	close(fd);
	end(&b);
}

TEST(more_than_the_credit_ends_the_connection)
{
	struct bench b;
	int fd;

	start(&b, 8);
	fd = connect_out(&b, GUEST_PORT, HOST_PORT);
	fill(&b, VSOCK_BUFFER);
	send_data(&b, GUEST_PORT, HOST_PORT, "x", 1);
	expect(&b, VSOCK_OP_RST);
	CHECK_EQ(vsock_count_connections(b.d.v), 0);
	close(fd);
	end(&b);
}

TEST(what_was_sent_before_a_reset_still_arrives)
{
	static u8 block[64 * 1024];
	struct bench b;
	u32 sent, got = 0;
	ssize_t n;
	int fd;

	start(&b, 8);
	fd = connect_out(&b, GUEST_PORT, HOST_PORT);
	sent = fill(&b, VSOCK_BUFFER);
	send_packet(&b, GUEST_PORT, HOST_PORT, VSOCK_OP_SHUTDOWN, VSOCK_SHUTDOWN_BOTH);
	CHECK(!has_packet(&b)); /* not before all is written */
	send_packet(&b, GUEST_PORT, HOST_PORT, VSOCK_OP_RST, 0);
	/* The ports are free again for the guest. */
	close(connect_out(&b, GUEST_PORT, HOST_PORT));
	while ((n = read(fd, block, sizeof(block))) > 0) {
		got += (u32)n;
		vdrv_settle(&b.d);
	}
	CHECK_EQ(n, 0);
	CHECK_EQ(got, sent);
	close(fd);
	end(&b);
}

TEST(the_guests_credit_is_honoured)
{
	struct bench b;
	struct packet p;
	int fd;

	start(&b, 8);
	b.buf_alloc = 10;
	fd = connect_out(&b, GUEST_PORT, HOST_PORT);
	CHECK_EQ(write(fd, "0123456789abcdef", 16), 16);
	p = expect(&b, VSOCK_OP_RW);
	CHECK_EQ(le32_get(p.h.len), 10);
	CHECK(!has_packet(&b));
	b.fwd_cnt = 4;
	send_packet(&b, GUEST_PORT, HOST_PORT, VSOCK_OP_CREDIT_UPDATE, 0);
	p = expect(&b, VSOCK_OP_RW);
	CHECK_EQ(le32_get(p.h.len), 4);
	CHECK_MEM(p.data, "abcd", 4);
	b.fwd_cnt = 1000; /* more than it was sent */
	send_packet(&b, GUEST_PORT, HOST_PORT, VSOCK_OP_CREDIT_UPDATE, 0);
	CHECK(!has_packet(&b));
	b.fwd_cnt = 14;
	b.buf_alloc = UINT32_MAX;
	send_packet(&b, GUEST_PORT, HOST_PORT, VSOCK_OP_CREDIT_UPDATE, 0);
	p = expect(&b, VSOCK_OP_RW);
	CHECK_MEM(p.data, "ef", 2);
	close(fd);
	end(&b);
}

TEST(much_data_fills_many_buffers_in_order)
{
	static u8 out[40000], in[40000];
	struct bench b;
	u32 at = 0;
	int fd;

	start(&b, 20);
	fd = connect_out(&b, GUEST_PORT, HOST_PORT);
	for (u32 i = 0; i < sizeof(out); i++)
		out[i] = (u8)(i * 7 + i / 256);
	CHECK_EQ(write(fd, out, sizeof(out)), sizeof(out));
	while (at < sizeof(out)) {
		struct packet p = expect(&b, VSOCK_OP_RW);

		memcpy(in + at, p.data, le32_get(p.h.len));
		at += le32_get(p.h.len);
	}
	CHECK_MEM(in, out, sizeof(out));
	close(fd);
	end(&b);
}

TEST(packets_that_fit_nowhere_are_reset_and_resets_are_not)
{
	struct vsock_header_wire h;
	struct packet p;
	struct bench b;

	start(&b, 8);
	send_packet(&b, 7, 8, VSOCK_OP_CREDIT_UPDATE, 0);
	p = expect(&b, VSOCK_OP_RST);
	CHECK_EQ(le32_get(p.h.src_port), 8);
	send_packet(&b, 7, 8, VSOCK_OP_RST, 0);
	send_packet(&b, 7, 8, VSOCK_OP_INVALID, 0);
	send_packet(&b, 7, 8, (enum vsock_op)99, 0);
	h = header(&b, 7, 8, VSOCK_OP_REQUEST, 0, 0);
	h.src_cid = le64_of(CID + 1);
	send_raw(&b, &h, NULL, 0);
	h = header(&b, 7, 8, VSOCK_OP_RW, 0, 6);
	send_raw(&b, &h, "short", 5);
	CHECK(!has_packet(&b));
	h = header(&b, 7, 8, VSOCK_OP_REQUEST, 0, 0);
	h.type = le16_of(2);
	send_raw(&b, &h, NULL, 0);
	CHECK_EQ(le16_get(expect(&b, VSOCK_OP_RST).h.type), 2);
	h = header(&b, 7, 8, VSOCK_OP_REQUEST, 0, 0);
	h.dst_cid = le64_of(3);
	send_raw(&b, &h, NULL, 0);
	expect(&b, VSOCK_OP_RST);
	CHECK_EQ(vsock_count_connections(b.d.v), 0);
	end(&b);
}

TEST(a_second_request_for_the_same_ports_ends_the_first)
{
	struct bench b;
	int fd;

	start(&b, 8);
	fd = connect_out(&b, GUEST_PORT, HOST_PORT);
	send_packet(&b, GUEST_PORT, HOST_PORT, VSOCK_OP_REQUEST, 0);
	expect(&b, VSOCK_OP_RST);
	check_host_ended(&b, fd);
	close(fd);
	end(&b);
}

TEST(without_receive_buffers_the_guest_is_not_listened_to_for_long)
{
	struct vsock_header_wire h;
	struct bench b;
	u16 used;

	start(&b, 0);
	h = header(&b, 7, 8, VSOCK_OP_RW, 0, 0);
	for (int i = 0; i < 150; i++) {
		/* No more than the ring has room for. */
		used = vdrv_used(&b.d, VSOCK_QUEUE_TX);
		if ((u16)(i - used) >= VDRV_QUEUE_SIZE)
			break;
		send_raw(&b, &h, NULL, 0);
	}
	used = vdrv_used(&b.d, VSOCK_QUEUE_TX);
	CHECK_EQ(used, 64);
	give_rx(&b, 10);
	CHECK_EQ(vdrv_used(&b.d, VSOCK_QUEUE_TX), 74);
	for (int i = 0; i < 80; i++)
		expect(&b, VSOCK_OP_RST);
	end(&b);
}

TEST(connections_are_limited)
{
	struct vsock_message call;
	struct bench b;
	int fd;

	start(&b, 8);
	for (u32 i = 0; i < VSOCK_MAX_CONNS; i++) {
		send_packet(&b, i, HOST_PORT, VSOCK_OP_REQUEST, 0);
		call = next_call(&b);
		CHECK_EQ(call.port, HOST_PORT);
	}
	CHECK_EQ(vsock_count_connections(b.d.v), VSOCK_MAX_CONNS);
	send_packet(&b, VSOCK_MAX_CONNS, HOST_PORT, VSOCK_OP_REQUEST, 0);
	expect(&b, VSOCK_OP_RST);
	fd = answer(&b, VSOCK_INCOMING, 0, 22, 0);
	check_host_ended(&b, fd);
	close(fd);
	/* A free place is one again. */
	send_packet(&b, 0, HOST_PORT, VSOCK_OP_RST, 0);
	close(connect_out(&b, VSOCK_MAX_CONNS, HOST_PORT));
	end(&b);
}

TEST(a_reset_of_the_device_closes_all)
{
	struct bench b;
	int fd, other;

	start(&b, 8);
	fd = connect_out(&b, GUEST_PORT, HOST_PORT);
	other = answer(&b, VSOCK_INCOMING, 0, 22, 0);
	vdrv_reset(&b.d);
	check_host_ended(&b, fd);
	check_host_ended(&b, other);
	CHECK_EQ(vsock_count_connections(b.d.v), 0);
	close(fd);
	close(other);
	/* And without a driver nobody gets through. */
	fd = answer(&b, VSOCK_INCOMING, 0, 22, 0);
	check_host_ended(&b, fd);
	close(fd);
	end(&b);
}

TEST(a_restored_guest_is_told_that_its_connections_are_gone)
{
	struct fake_buf seg;
	le32 event = le32_of(77);
	struct bench b;
	int fd, old;

	start(&b, 8);
	seg = (struct fake_buf){vdrv_put(&b.d, &event, 4), 4, true};
	vdrv_add(&b.d, VSOCK_QUEUE_EVENT, &seg, 1);
	fd = connect_out(&b, GUEST_PORT, HOST_PORT);
	CHECK_EQ(vdrv_used(&b.d, VSOCK_QUEUE_EVENT), 0);
	old = b.helper;
	vdrv_move(&b.d, new_vsock(&b));
	CHECK_EQ(vdrv_used(&b.d, VSOCK_QUEUE_EVENT), 1);
	vdrv_get(&b.d, seg.gpa, &event, 4);
	CHECK_EQ(le32_get(event), VSOCK_EVENT_TRANSPORT_RESET);
	check_host_ended(&b, fd);
	close(fd);
	close(old);
	send_data(&b, GUEST_PORT, HOST_PORT, "x", 1);
	expect(&b, VSOCK_OP_RST);
	fd = connect_out(&b, GUEST_PORT, HOST_PORT);
	close(fd);
	end(&b);
}

TEST(in_a_pause_nothing_moves_and_nothing_is_lost)
{
	struct bench b;
	struct packet p;
	int fd;

	start(&b, 8);
	fd = connect_out(&b, GUEST_PORT, HOST_PORT);
	b.d.v->dev.ops->quiesce(&b.d.v->dev);
	CHECK_EQ(write(fd, "later", 5), 5);
	CHECK(!has_packet(&b));
	b.d.v->dev.ops->resume(&b.d.v->dev);
	p = expect(&b, VSOCK_OP_RW);
	CHECK_MEM(p.data, "later", 5);
	close(fd);
	end(&b);
}

TEST(connections_outlive_posada_vsock_and_new_ones_are_refused)
{
	struct bench b;
	int fd;

	start(&b, 8);
	fd = connect_out(&b, GUEST_PORT, HOST_PORT);
	shutdown(b.helper, SHUT_RDWR);
	vdrv_settle(&b.d);
	send_packet(&b, 2, 3, VSOCK_OP_REQUEST, 0);
	expect(&b, VSOCK_OP_RST);
	send_data(&b, GUEST_PORT, HOST_PORT, "still", 5);
	check_host_gets(&b, fd, "still");
	close(fd);
	end(&b);
}

TEST(a_receive_buffer_without_room_is_a_broken_rule)
{
	struct fake_buf seg;
	struct bench b;

	start(&b, 0);
	seg = (struct fake_buf){vdrv_put(&b.d, NULL, 44), 44, true};
	vdrv_add(&b.d, VSOCK_QUEUE_RX, &seg, 1);
	send_packet(&b, 1, 2, VSOCK_OP_RW, 0);
	CHECK(b.d.v->status & VIRTIO_STATUS_NEEDS_RESET);
	vdrv_reset(&b.d);
	CHECK_EQ(b.d.v->status, 0);
	end(&b);
}

TEST(a_strangers_state_is_refused_or_harmless)
{
	struct bench b = {0};
	struct virtio_device *v;

	vdrv_init(&b.d);
	v = new_vsock(&b);
	CHECK_SURVIVES_SAVE_AND_LOAD(&v->dev);
	CHECK_STANDS_DAMAGED_STATE(&v->dev);
	device_free(&v->dev);
	end(&b);
}

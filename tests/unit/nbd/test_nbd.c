/* The NBD server: handshake, requests, block status, clients that break the protocol or go away. */
#include "test.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/loop.h"
#include "block/io.h"
#include "image/image.h"
#include "nbd/nbd.h"
#include "nbd/nbd_wire.h"

#define SIZE (4 * MIB)

static struct loop *loop;
static struct blk *disk;
static struct nbd_server *server;
static int sock;
static u8 answer[128 * 1024];

static void client(void)
{
	int pair[2];

	CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
	sock = pair[0];
	nbd_server_add(server, pair[1]);
}

static void setup(bool is_readonly)
{
	const struct blk_raw_options o = {.is_container = true};
	const struct img_open_options image = {.loop = NULL, .is_readonly = is_readonly};
	struct img_open_options options = image;
	struct nbd_options nbd = {
		.name = "disk", .description = "a test", .is_readonly = is_readonly};
	struct err err = ERR_INIT;
	struct blk *file;
	int fd = memfd_create("disk", MFD_CLOEXEC);

	CHECK_EQ(ftruncate(fd, SIZE), 0);
	CHECK_EQ(loop_new(&loop, &err), 0);
	CHECK_EQ(blk_raw_new(loop, fd, &o, &file, &err), 0);
	options.loop = loop;
	CHECK_EQ(img_open(&img_raw, file, &options, &disk, &err), 0);
	nbd.disk = disk;
	CHECK_EQ(nbd_server_new(loop, -1, &nbd, &server, &err), 0);
	client();
}

static void teardown(void)
{
	if (sock >= 0)
		close(sock);
	nbd_server_stop(server);
	while (nbd_server_clients(server))
		loop_step(loop, true);
	nbd_server_free(server);
	blk_free(disk);
	loop_free(loop);
}

static void say(const void *data, size_t size)
{
	const u8 *at = data;

	while (size) {
		ssize_t n = send(sock, at, size, MSG_NOSIGNAL);

		if (n < 0 && errno == EAGAIN) {
			loop_step(loop, true);
			continue;
		}
		CHECK(n > 0);
		at += n;
		size -= (size_t)n;
	}
}

/* Into answer. */
static void hear(size_t size)
{
	size_t done = 0;

	CHECK(size <= sizeof(answer));
	while (done < size) {
		ssize_t n = recv(sock, answer + done, size - done, 0);

		if (n < 0 && errno == EAGAIN)
			loop_step(loop, true);
		else if (n <= 0)
			fail_msg("it ended after %zu bytes of %zu", done, size);
		else
			done += (size_t)n;
	}
}

static void hear_end(void)
{
	ssize_t n;

	while ((n = recv(sock, answer, sizeof(answer), 0)) > 0 || (n < 0 && errno == EAGAIN))
		loop_step(loop, n < 0);
	CHECK_EQ(nbd_server_clients(server), 0);
}

static void greet(void)
{
	be32 flags = be32_of(NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES);

	hear(sizeof(struct nbd_hello_wire));
	CHECK_MEM(answer, "NBDMAGICIHAVEOPT", 16);
	say(&flags, sizeof(flags));
}

static void option(u32 number, const void *data, u32 bytes)
{
	struct nbd_option_wire h = {be64_of(NBD_OPTION_MAGIC), be32_of(number), be32_of(bytes)};

	say(&h, sizeof(h));
	say(data, bytes);
}

/* The reply's type; its data is in answer. */
static u32 reply(u32 number, u32 *out_bytes)
{
	struct nbd_option_reply_wire h;

	hear(sizeof(h));
	memcpy(&h, answer, sizeof(h));
	CHECK_EQ(be64_get(h.magic), NBD_REPLY_MAGIC);
	CHECK_EQ(be32_get(h.option), number);
	*out_bytes = be32_get(h.length);
	hear(*out_bytes);
	return be32_get(h.type);
}

static void expect_reply(u32 number, u32 type)
{
	u32 bytes;

	CHECK_EQ(reply(number, &bytes), type);
}

static void go(bool has_structured)
{
	static const u8 with_size[] = {0, 0, 0, 4, 'd', 'i', 's', 'k', 0, 1, 0, 3};
	static const u8 allocation[] = "\0\0\0\4disk\0\0\0\1\0\0\0\x0f"
				       "base:allocation";
	u32 bytes;

	greet();
	if (has_structured) {
		option(NBD_OPT_STRUCTURED_REPLY, NULL, 0);
		expect_reply(NBD_OPT_STRUCTURED_REPLY, NBD_REP_ACK);
		option(NBD_OPT_SET_META_CONTEXT, allocation, sizeof(allocation) - 1);
		CHECK_EQ(reply(NBD_OPT_SET_META_CONTEXT, &bytes), NBD_REP_META_CONTEXT);
		CHECK_EQ(be32_load(answer), 1);
		expect_reply(NBD_OPT_SET_META_CONTEXT, NBD_REP_ACK);
	}
	option(NBD_OPT_GO, with_size, sizeof(with_size));
	CHECK_EQ(reply(NBD_OPT_GO, &bytes), NBD_REP_INFO);
	CHECK_EQ(be64_load(answer + 2), SIZE);
	CHECK_EQ(reply(NBD_OPT_GO, &bytes), NBD_REP_INFO);
	CHECK_EQ(be16_load(answer), NBD_INFO_BLOCK_SIZE);
	expect_reply(NBD_OPT_GO, NBD_REP_ACK);
}

static void request(u16 type, u16 flags, u64 offset, u32 length)
{
	struct nbd_request_wire q = {
		.magic = be32_of(NBD_REQUEST_MAGIC),
		.flags = be16_of(flags),
		.type = be16_of(type),
		.cookie = be64_of(0x1234),
		.offset = be64_of(offset),
		.length = be32_of(length),
	};

	say(&q, sizeof(q));
}

/* A simple reply's error. */
static u32 simple(void)
{
	struct nbd_simple_reply_wire h;

	hear(sizeof(h));
	memcpy(&h, answer, sizeof(h));
	CHECK_EQ(be32_get(h.magic), NBD_SIMPLE_MAGIC);
	CHECK_EQ(be64_get(h.cookie), 0x1234);
	return be32_get(h.error);
}

/* A chunk's type; its data is in answer. */
static u32 chunk(u32 *out_bytes)
{
	struct nbd_chunk_wire h;

	hear(sizeof(h));
	memcpy(&h, answer, sizeof(h));
	CHECK_EQ(be32_get(h.magic), NBD_STRUCTURED_MAGIC);
	CHECK_EQ(be16_get(h.flags), NBD_CHUNK_DONE);
	*out_bytes = be32_get(h.length);
	hear(*out_bytes);
	return be16_get(h.type);
}

static u32 chunk_error(void)
{
	u32 bytes;

	CHECK_EQ(chunk(&bytes), NBD_CHUNK_ERROR);
	return be32_load(answer);
}

TEST(what_is_written_is_read)
{
	setup(false);
	go(false);
	request(NBD_CMD_WRITE, NBD_CMD_FLAG_FUA, 700, 5); /* part of a block */
	say("hello", 5);
	CHECK_EQ(simple(), 0);
	request(NBD_CMD_READ, 0, 699, 7);
	CHECK_EQ(simple(), 0);
	hear(7);
	CHECK_MEM(answer, "\0hello\0", 7);
	request(NBD_CMD_WRITE_ZEROES, 0, 701, 2);
	CHECK_EQ(simple(), 0);
	request(NBD_CMD_TRIM, 0, MIB, MIB);
	CHECK_EQ(simple(), 0);
	request(NBD_CMD_FLUSH, 0, 0, 0);
	CHECK_EQ(simple(), 0);
	request(NBD_CMD_READ, 0, 700, 5);
	CHECK_EQ(simple(), 0);
	hear(5);
	CHECK_MEM(answer, "h\0\0lo", 5);
	request(NBD_CMD_DISC, 0, 0, 0);
	hear_end();
	teardown();
}

TEST(structured_replies_and_block_status)
{
	u32 bytes;

	setup(false);
	CHECK_EQ(blk_write(disk, MIB, "x", 1), 0);
	go(true);
	request(NBD_CMD_READ, NBD_CMD_FLAG_DF, MIB, 2);
	CHECK_EQ(chunk(&bytes), NBD_CHUNK_OFFSET_DATA);
	CHECK_EQ(bytes, 10);
	CHECK_EQ(be64_load(answer), MIB);
	CHECK_MEM(answer + 8, "x\0", 2);
	request(NBD_CMD_BLOCK_STATUS, 0, 0, SIZE);
	CHECK_EQ(chunk(&bytes), NBD_CHUNK_BLOCK_STATUS);
	CHECK_EQ(bytes, 4 + 3 * 8);
	CHECK_EQ(be32_load(answer), 1);
	CHECK_EQ(be32_load(answer + 4), MIB);
	CHECK_EQ(be32_load(answer + 8), NBD_STATE_HOLE | NBD_STATE_ZERO);
	CHECK_EQ(be32_load(answer + 16), 0);
	request(NBD_CMD_BLOCK_STATUS, NBD_CMD_FLAG_REQ_ONE, 0, SIZE);
	CHECK_EQ(chunk(&bytes), NBD_CHUNK_BLOCK_STATUS);
	CHECK_EQ(bytes, 4 + 8);
	request(NBD_CMD_READ, 0, SIZE - 1, 2);
	CHECK_EQ(chunk_error(), NBD_EINVAL);
	request(NBD_CMD_READ, 0, ~(u64)0, 2);
	CHECK_EQ(chunk_error(), NBD_EINVAL);
	request(99, 0, 0, 512);
	CHECK_EQ(chunk_error(), NBD_EINVAL);
	request(NBD_CMD_READ, 0x8000, 0, 512);
	CHECK_EQ(chunk_error(), NBD_EINVAL);
	request(NBD_CMD_WRITE, 0, SIZE, 512);
	say(answer, 512);
	CHECK_EQ(chunk_error(), NBD_ENOSPC);
	teardown();
}

TEST(a_readonly_export_stays_what_it_is)
{
	setup(true);
	go(false);
	request(NBD_CMD_WRITE, 0, 0, 512);
	say(answer, 512);
	CHECK_EQ(simple(), NBD_EPERM);
	request(NBD_CMD_WRITE_ZEROES, 0, 0, 512);
	CHECK_EQ(simple(), NBD_EPERM);
	request(NBD_CMD_FLUSH, 0, 0, 0);
	CHECK_EQ(simple(), 0);
	teardown();
}

TEST(many_requests_at_once_are_all_answered)
{
	enum { N = 200 };

	setup(false);
	go(false);
	for (u32 i = 0; i < N; i++) {
		u8 block[1000];

		memset(block, (int)i, sizeof(block));
		request(NBD_CMD_WRITE, 0, i * 1000, sizeof(block)); /* neighbours share blocks */
		say(block, sizeof(block));
	}
	for (u32 i = 0; i < N; i++)
		CHECK_EQ(simple(), 0);
	for (u32 i = 0; i < N; i++) {
		request(NBD_CMD_READ, 0, i * 1000, 1000);
		CHECK_EQ(simple(), 0);
		hear(1000);
		CHECK_EQ(answer[0], (u8)i);
		CHECK_EQ(answer[999], (u8)i);
	}
	teardown();
}

TEST(options_are_told_and_refused)
{
	static const u8 other[] = {0, 0, 0, 1, 'x', 0, 0}, cut[] = {0, 0, 0, 9, 'x'};
	static const u8 all[] = {0, 0, 0, 0, 0, 0, 0, 0};
	u32 bytes;

	setup(false);
	greet();
	option(NBD_OPT_LIST, NULL, 0);
	CHECK_EQ(reply(NBD_OPT_LIST, &bytes), NBD_REP_SERVER);
	CHECK_MEM(answer, "\0\0\0\4diska test", 14);
	expect_reply(NBD_OPT_LIST, NBD_REP_ACK);
	option(NBD_OPT_INFO, other, sizeof(other));
	expect_reply(NBD_OPT_INFO, NBD_REP_ERR_UNKNOWN);
	option(NBD_OPT_GO, cut, sizeof(cut));
	expect_reply(NBD_OPT_GO, NBD_REP_ERR_INVALID);
	option(NBD_OPT_STARTTLS, NULL, 0);
	expect_reply(NBD_OPT_STARTTLS, NBD_REP_ERR_UNSUP);
	option(NBD_OPT_LIST_META_CONTEXT, all, sizeof(all));
	expect_reply(NBD_OPT_LIST_META_CONTEXT, NBD_REP_ERR_INVALID);
	option(NBD_OPT_STRUCTURED_REPLY, NULL, 0);
	expect_reply(NBD_OPT_STRUCTURED_REPLY, NBD_REP_ACK);
	option(NBD_OPT_LIST_META_CONTEXT, all, sizeof(all));
	CHECK_EQ(reply(NBD_OPT_LIST_META_CONTEXT, &bytes), NBD_REP_META_CONTEXT);
	CHECK_MEM(answer + 4, "base:allocation", 15);
	expect_reply(NBD_OPT_LIST_META_CONTEXT, NBD_REP_ACK);
	option(NBD_OPT_LIST, answer, 70000); /* longer than any, and skipped */
	expect_reply(NBD_OPT_LIST, NBD_REP_ERR_TOO_BIG);
	option(NBD_OPT_ABORT, NULL, 0);
	expect_reply(NBD_OPT_ABORT, NBD_REP_ACK);
	hear_end();
	teardown();
}

TEST(who_breaks_the_protocol_is_hung_up_on)
{
	be32 odd = be32_of(0xff);

	setup(false);
	say(&odd, sizeof(odd));
	hear_end();
	close(sock);
	client();
	greet();
	say("GET / HTTP/1.1\r\n\r\n", 18);
	hear_end();
	close(sock);
	client();
	go(false);
	say("123456789012345678901234567890", 30);
	hear_end();
	close(sock);
	client();
	go(false);
	request(NBD_CMD_WRITE, 0, 0, 0xffffffff); /* its data would never end */
	hear_end();
	teardown();
}

TEST(clients_may_go_at_any_time)
{
	setup(false);
	go(false);
	request(NBD_CMD_WRITE, 0, 0, MIB); /* and nothing of it */
	loop_step(loop, false);
	close(sock);
	client();
	go(false);
	for (u32 i = 0; i < 8; i++)
		request(NBD_CMD_READ, 0, 0, 2 * MIB); /* answers that nobody reads */
	for (u32 i = 0; i < 20; i++)
		loop_step(loop, false);
	close(sock);
	sock = -1;
	teardown();
}

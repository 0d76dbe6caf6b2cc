/*
 * The NBD client: our own server in a thread, which goes away and comes back; servers that play a
 * script, and lie.
 */
#include "test.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/co.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/loop.h"
#include "base/time.h"
#include "block/io.h"
#include "nbd/client.h"
#include "nbd/connector.h"
#include "nbd/nbd.h"
#include "nbd/nbd_wire.h"

#define SIZE (8 * MIB)

/* --- a server in a thread, and the connector to it --- */

struct peer {
	pthread_t thread;
	int memory;    /* the disk, which outlives its server */
	int sock;      /* the connector's */
	bool refuses;  /* connections, for as long as it is set */
	bool hangs_up; /* a client, at its next question */
	bool is_readonly;
	bool is_late; /* an answer to the question before comes first, and to n_unanswered resizes none */
	unsigned n_unanswered;
	unsigned n_connections;
};

static bool flag(const bool *b)
{
	return __atomic_load_n(b, __ATOMIC_SEQ_CST);
}

static void set_flag(bool *b, bool value)
{
	__atomic_store_n(b, value, __ATOMIC_SEQ_CST);
}

static void say(struct peer *p, const char *sign, const char *question, const char *rest, int fd)
{
	char text[128];
	int n = snprintf(text, sizeof(text), "%s%s %s", sign, question, rest);

	(void)fd_send(p->sock, text, (size_t)n, &fd, fd >= 0); /* it may be gone */
}

/* The one before this isn't known any more to who asked it. */
static void answer_late(struct peer *p, const char *question)
{
	struct connector_head h;
	char before[32];

	CHECK(connector_parse(question, &h));
	snprintf(before, sizeof(before), "%c%lu", h.letter, h.number - 1);
	say(p, "+", before, "", -1);
}

static void answer(struct peer *p, struct nbd_server *s)
{
	char question[CONNECTOR_MAX_QUESTION] = {0};
	size_t n_fds = 0;
	int pair[2];

	CHECK(fd_recv(p->sock, question, sizeof(question) - 1, NULL, &n_fds) > 0);
	question[strcspn(question, " ")] = '\0';
	if (flag(&p->is_late)) {
		answer_late(p, question);
		if (question[0] == CONNECTOR_RESIZE && p->n_unanswered) {
			p->n_unanswered--;
			return;
		}
	}
	if (flag(&p->refuses) || question[0] != CONNECTOR_CONNECT) {
		say(p, "-", question, "not now", -1);
		return;
	}
	CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
	nbd_server_add(s, pair[1]);
	p->n_connections++;
	say(p, "+", question, "disk", pair[0]);
	close(pair[0]);
}

struct asked {
	struct loop_fd w; /* first */
	bool is_asked;
};

static void on_asked(struct loop_fd *w, unused u32 events)
{
	((struct asked *)w)->is_asked = true;
}

/* Until the connector's socket is closed; a server after another when it is to hang up. */
static bool serve_once(struct peer *p)
{
	const struct blk_raw_options raw = {.is_readonly = p->is_readonly,
					    .engine = BLK_ENGINE_THREADS};
	struct nbd_options o = {.name = "disk", .description = "", .is_readonly = p->is_readonly};
	struct asked a = {.w = {.fd = p->sock, .events = EPOLLIN, .fn = on_asked}};
	struct err err = ERR_INIT;
	struct nbd_server *s;
	struct loop *loop;
	struct blk *disk;
	bool is_end = false;

	CHECK_EQ(loop_new(&loop, &err), 0);
	CHECK_EQ(blk_raw_new(loop, dup(p->memory), &raw, &disk, &err), 0);
	o.disk = disk;
	CHECK_EQ(nbd_server_new(loop, -1, &o, &s, &err), 0);
	CHECK_EQ(loop_fd_add(loop, &a.w), 0);
	while (!is_end && !flag(&p->hangs_up)) {
		char c;

		loop_step(loop, true);
		if (!a.is_asked)
			continue;
		a.is_asked = false;
		is_end = recv(p->sock, &c, 1, MSG_PEEK) <= 0;
		if (!is_end)
			answer(p, s);
	}
	set_flag(&p->hangs_up, false);
	nbd_server_stop(s);
	while (nbd_server_clients(s))
		loop_step(loop, true);
	nbd_server_free(s);
	blk_free(disk);
	loop_fd_remove(loop, &a.w);
	loop_free(loop);
	return !is_end;
}

static void *serve(void *arg)
{
	while (serve_once(arg))
		;
	return NULL;
}

static struct peer peer;
static struct loop *loop;
static struct blk *disk;

static int start(struct nbdc_options o, struct err *err)
{
	int pair[2], r;

	peer = (struct peer){.memory = memfd_create("disk", MFD_CLOEXEC),
			     .is_readonly = o.is_readonly};
	CHECK_EQ(ftruncate(peer.memory, SIZE), 0);
	CHECK_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	peer.sock = pair[1];
	o.connector = pair[0];
	fd_set_nonblock(pair[0], true);
	CHECK_EQ(pthread_create(&peer.thread, NULL, serve, &peer), 0);
	CHECK_EQ(loop_new(&loop, err), 0);
	disk = NULL;
	r = nbdc_new(loop, &o, &disk, err);
	if (r < 0)
		close(pair[0]);
	return r;
}

static void stop(void)
{
	blk_free(disk);
	pthread_join(peer.thread, NULL);
	close(peer.sock);
	close(peer.memory);
	loop_free(loop);
}

static void fill(u8 *data, size_t size, u8 seed)
{
	for (size_t i = 0; i < size; i++)
		data[i] = (u8)(i * 7 + i / 251 + seed);
}

TEST(what_is_written_is_read)
{
	struct err err = ERR_INIT;
	u8 *data = malloc(3 * MIB), *back = malloc(3 * MIB);
	struct blk_status st;

	CHECK_EQ(start((struct nbdc_options){0}, &err), 0);
	CHECK_EQ(disk->size, SIZE);
	CHECK_EQ(disk->block_size, BLK_SECTOR);
	fill(data, 3 * MIB, 1);
	CHECK_EQ(blk_write(disk, 1000, data, 3 * MIB), 0);
	CHECK_EQ(blk_flush(disk), 0);
	CHECK_EQ(blk_read(disk, 1000, back, 3 * MIB), 0);
	CHECK_MEM(back, data, 3 * MIB);
	CHECK_EQ(pread(peer.memory, back, 3 * MIB, 1000), 3 * MIB);
	CHECK_MEM(back, data, 3 * MIB);
	CHECK_EQ(blk_write_zeroes(disk, 64 * KIB, MIB, true), 0);
	CHECK_EQ(blk_discard(disk, 5 * MIB, MIB), 0);
	CHECK_EQ(blk_read(disk, 64 * KIB, back, MIB), 0);
	CHECK(!back[0] && !back[MIB - 1]);
	CHECK_EQ(blk_status(disk, 64 * KIB, 4 * MIB, &st), 0);
	CHECK(st.is_zero && !st.is_data && st.bytes == MIB);
	CHECK_EQ(blk_status(disk, 64 * KIB + MIB, MIB, &st), 0);
	CHECK(st.is_data && !st.is_zero && st.bytes == MIB);
	CHECK_EQ(blk_write(disk, SIZE, data, 1), -ENOSPC);
	CHECK_EQ(blk_resize(disk, 2 * SIZE, &err), -ENOTSUP);
	stop();
	free(data);
	free(back);
}

/* --- requests in flight, from coroutines and the loop --- */

#define IN_FLIGHT 48

static struct flight {
	struct blk_request r;
	struct iovec iov[3];
	u8 data[3][4096];
	int result;
	bool is_done;
} flights[IN_FLIGHT];

static void on_flight(struct blk_request *r, int result)
{
	struct flight *f = container_of(r, struct flight, r);

	f->result = result;
	f->is_done = true;
}

static unsigned n_done(void)
{
	unsigned n = 0;

	for (unsigned i = 0; i < IN_FLIGHT; i++)
		n += flights[i].is_done;
	return n;
}

/* Vectors of odd pieces, so that they are gathered, and of one. */
static void launch(enum blk_op op)
{
	for (unsigned i = 0; i < IN_FLIGHT; i++) {
		struct flight *f = &flights[i];
		bool is_one = i % 2;

		f->r = (struct blk_request){.op = op,
					    .is_fua = i % 3 == 0 && op == BLK_WRITE,
					    .offset = i * 3 * 4096,
					    .bytes = is_one ? 4096 : 3 * 4096,
					    .iov = f->iov,
					    .n_iov = is_one ? 1 : 3,
					    .done = on_flight};
		f->iov[0] = (struct iovec){f->data[0], is_one ? 4096 : 1000};
		f->iov[1] = (struct iovec){f->data[0] + 1000, 4096};
		f->iov[2] = (struct iovec){f->data[0] + 5096, 3 * 4096 - 5096};
		f->is_done = false;
		blk_submit(disk, &f->r);
	}
	blk_kick(disk);
}

static void write_and_read_many(bool is_drained)
{
	for (unsigned i = 0; i < IN_FLIGHT; i++)
		fill(flights[i].data[0], 3 * 4096, (u8)(i + is_drained));
	launch(BLK_WRITE);
	if (is_drained)
		blk_drain(disk);
	while (n_done() < IN_FLIGHT)
		loop_step(loop, true);
	for (unsigned i = 0; i < IN_FLIGHT; i++) {
		CHECK_EQ(flights[i].result, 0);
		memset(flights[i].data, 0, sizeof(flights[i].data));
	}
	launch(BLK_READ);
	while (n_done() < IN_FLIGHT)
		loop_step(loop, true);
	for (unsigned i = 0; i < IN_FLIGHT; i++) {
		u8 wanted[3 * 4096];

		fill(wanted, sizeof(wanted), (u8)(i + is_drained));
		CHECK_EQ(flights[i].result, 0);
		CHECK_MEM(flights[i].data[0], wanted, i % 2 ? 4096 : sizeof(wanted));
	}
}

TEST(many_are_in_flight_over_several_connections)
{
	struct err err = ERR_INIT;

	CHECK_EQ(start((struct nbdc_options){0}, &err), 0);
	for (unsigned i = 0; i < 20; i++)
		write_and_read_many(i % 2);
	CHECK_EQ(peer.n_connections, 4);
	stop();
}

TEST(a_server_that_went_away_is_waited_for)
{
	struct err err = ERR_INIT;

	CHECK_EQ(start((struct nbdc_options){0}, &err), 0);
	for (unsigned i = 0; i < 5; i++) {
		set_flag(&peer.hangs_up, true);
		write_and_read_many(i % 2);
		while (flag(&peer.hangs_up))
			loop_step(loop, false);
	}
	CHECK(peer.n_connections > 4);
	stop();
}

TEST(patience_has_an_end_and_comes_back_with_the_server)
{
	struct err err = ERR_INIT;
	u8 data[4096] = {1};

	CHECK_EQ(start((struct nbdc_options){.patience_ns = 300 * 1000000ul}, &err), 0);
	set_flag(&peer.refuses, true);
	set_flag(&peer.hangs_up, true);
	while (blk_write(disk, 0, data, sizeof(data)) == 0)
		;
	CHECK_EQ(blk_write(disk, 0, data, sizeof(data)), -ENOTCONN);
	CHECK_EQ(blk_flush(disk), -ENOTCONN);
	set_flag(&peer.refuses, false);
	while (blk_write(disk, 0, data, sizeof(data)) < 0)
		loop_step(loop, true);
	CHECK_EQ(blk_flush(disk), 0);
	stop();
}

TEST(another_disk_is_not_the_one_that_was)
{
	struct err err = ERR_INIT;
	u8 data[4096] = {1};

	CHECK_EQ(start((struct nbdc_options){.patience_ns = 300 * 1000000ul}, &err), 0);
	CHECK_EQ(ftruncate(peer.memory, SIZE / 2), 0);
	set_flag(&peer.hangs_up, true);
	while (blk_write(disk, 0, data, sizeof(data)) == 0)
		;
	CHECK_EQ(blk_read(disk, 0, data, sizeof(data)), -ENOTCONN);
	stop();
}

TEST(a_read_only_server_is_told_before_anything_is_written)
{
	struct err err = ERR_INIT;
	u8 data[512];

	CHECK_EQ(start((struct nbdc_options){.is_readonly = true}, &err), 0);
	CHECK(disk->is_readonly);
	CHECK_EQ(blk_read(disk, 0, data, sizeof(data)), 0);
	CHECK_EQ(blk_flush(disk), 0);
	stop();
}

/* --- the connector --- */

TEST(a_late_answer_is_not_taken_for_another)
{
	struct err err = ERR_INIT;
	u64 begin;

	CHECK_EQ(start((struct nbdc_options){.answer_ns = 200 * NSEC_PER_MSEC}, &err), 0);
	peer.n_unanswered = 1;
	set_flag(&peer.is_late, true);
	begin = time_mono_ns();
	CHECK_EQ(blk_resize(disk, 2 * SIZE, &err), -ETIMEDOUT);
	CHECK(time_mono_ns() - begin < 20 * NSEC_PER_SEC);
	CHECK_EQ(disk->size, SIZE);
	CHECK_EQ(blk_resize(disk, 2 * SIZE, &err), -ENOTSUP); /* its own, behind the late one's */
	CHECK_ERR(err, "not now");
	CHECK_EQ(disk->size, SIZE);
	set_flag(&peer.hangs_up, true); /* nor for a connection */
	write_and_read_many(false);
	stop();
}

TEST(heads_of_messages_are_exact)
{
	static const char *const wrong[] = {"",
					    "C",
					    "C ",
					    "C x",
					    "Cx",
					    "C-1",
					    "C1x",
					    "C18446744073709551616",
					    "C99999999999999999999"};
	struct connector_head h;

	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
		CHECK(!connector_parse(wrong[i], &h));
	CHECK(connector_parse("C7", &h));
	CHECK(h.letter == 'C' && h.number == 7 && !h.rest[0]);
	CHECK(connector_parse("R18446744073709551615 a b", &h));
	CHECK(h.letter == 'R' && h.number == ~(u64)0 && !strcmp(h.rest, "a b"));
	CHECK(connector_parse("C0 ", &h));
	CHECK(!h.number && !h.rest[0]);
}

/* --- scripts --- */

static u8 script[64 * 1024];
static size_t script_size;

static void put(const void *data, size_t size)
{
	if (size)
		memcpy(script + script_size, data, size);
	script_size += size;
}

static void put_reply(u32 option, u32 type, const void *data, u32 size)
{
	struct nbd_option_reply_wire h = {be64_of(NBD_REPLY_MAGIC), be32_of(option), be32_of(type),
					  be32_of(size)};

	put(&h, sizeof(h));
	put(data, size);
}

struct lie {
	u64 size;
	u32 flags;
	u32 minimum, maximum; /* 0: says nothing */
};

static void put_greeting(const struct lie *l)
{
	struct nbd_hello_wire hello = {be64_of(NBD_MAGIC), be64_of(NBD_OPTION_MAGIC),
				       be16_of(NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES)};
	struct nbd_info_export_wire e = {be16_of(NBD_INFO_EXPORT), be64_of(l->size),
					 be16_of((u16)l->flags)};
	struct nbd_info_block_size_wire b = {be16_of(NBD_INFO_BLOCK_SIZE), be32_of(l->minimum),
					     be32_of(MAX(l->minimum, 4096u)), be32_of(l->maximum)};

	script_size = 0;
	put(&hello, sizeof(hello));
	put_reply(NBD_OPT_STRUCTURED_REPLY, NBD_REP_ACK, NULL, 0);
	put_reply(NBD_OPT_SET_META_CONTEXT, NBD_REP_META_CONTEXT, "\0\0\0\1base:allocation", 19);
	put_reply(NBD_OPT_SET_META_CONTEXT, NBD_REP_ACK, NULL, 0);
	put_reply(NBD_OPT_GO, NBD_REP_INFO, &e, sizeof(e));
	if (l->minimum)
		put_reply(NBD_OPT_GO, NBD_REP_INFO, &b, sizeof(b));
	put_reply(NBD_OPT_GO, NBD_REP_ACK, NULL, 0);
}

static void put_chunk(u32 flags, u32 type, u64 cookie, const void *data, u32 size)
{
	struct nbd_chunk_wire h = {be32_of(NBD_STRUCTURED_MAGIC), be16_of((u16)flags),
				   be16_of((u16)type), be64_of(cookie), be32_of(size)};

	put(&h, sizeof(h));
	put(data, size);
}

/* A server that has said all that it will ever say, and closes, unless it is silent. */
static int play_with(struct nbdc_options o, bool is_silent, struct err *err)
{
	int ask[2], talk[2], r;

	CHECK_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ask), 0);
	CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, talk), 0);
	CHECK_EQ(write(talk[1], script, script_size), script_size);
	if (!is_silent)
		shutdown(talk[1], SHUT_WR);
	CHECK_EQ(fd_send(ask[1], "+C0 x", 5, &talk[0], 1), 0);
	close(talk[0]);
	fd_set_nonblock(ask[0], true);
	o.connector = ask[0];
	CHECK_EQ(loop_new(&loop, err), 0);
	disk = NULL;
	r = nbdc_new(loop, &o, &disk, err);
	if (r < 0)
		close(ask[0]);
	peer.sock = ask[1];
	peer.memory = talk[1];
	return r;
}

static int play(bool is_container, struct err *err)
{
	return play_with((struct nbdc_options){.is_readonly = true,
					       .is_container = is_container,
					       .patience_ns = 1},
			 false, err);
}

static void end_play(void)
{
	blk_free(disk);
	close(peer.sock);
	close(peer.memory);
	loop_free(loop);
}

#define FLAGS (NBD_EXPORT_HAS_FLAGS | NBD_EXPORT_READ_ONLY | NBD_EXPORT_SEND_DF)

TEST(sizes_that_no_disk_has_are_refused)
{
	static const struct {
		struct lie lie;
		bool is_container;
		const char *why;
	} lies[] = {
		{{.size = ~(u64)0, .flags = FLAGS}, false, "size"},
		{{.size = (u64)1 << 63, .flags = FLAGS}, false, "size"},
		{{.size = BLK_SIZE_MAX + 512, .flags = FLAGS}, false, "no size that a disk can"},
		{{.size = 0, .flags = FLAGS}, false, "empty"},
		{{.size = 1000, .flags = FLAGS}, false, "multiple of 512"},
		{{.size = 65536, .flags = FLAGS, .minimum = 65536, .maximum = MIB},
		 false,
		 "blocks of"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(lies); i++) {
		struct err err = ERR_INIT;

		put_greeting(&lies[i].lie);
		CHECK(play(lies[i].is_container, &err) < 0);
		CHECK_ERR(err, lies[i].why);
		end_play();
	}
}

TEST(what_no_server_says_is_a_sentence)
{
	struct err err = ERR_INIT;

	script_size = 0;
	put("HTTP/1.1 400 Bad Request\r\n\r\n", 28);
	CHECK(play(false, &err) < 0);
	CHECK(err.text[0]);
	end_play();
}

TEST(behind_the_end_of_a_container_there_are_zeros)
{
	const struct lie l = {.size = 1000, .flags = FLAGS};
	struct err err = ERR_INIT;
	u8 data[8 + 512] = {0}, back[2048];

	put_greeting(&l);
	memset(data + 8, 'x', 512);
	put_chunk(NBD_CHUNK_DONE, NBD_CHUNK_OFFSET_DATA, 1, data, sizeof(data));
	data[6] = 2; /* at 512 */
	put_chunk(NBD_CHUNK_DONE, NBD_CHUNK_OFFSET_DATA, 2, data, 8 + 488);
	CHECK_EQ(play(true, &err), 0);
	CHECK_EQ(disk->size, 1024);
	CHECK_EQ(blk_read(disk, 0, back, 2048), 0);
	CHECK(back[999] == 'x' && back[1000] == 0 && back[2047] == 0);
	end_play();
}

/* What it answers to one read, or to a question for the status, of the first 4096 bytes. */
struct answer {
	u32 flags, type;
	const char *data;
	u32 size;
	int result;
};

TEST(answers_out_of_range_fail)
{
	static const struct answer answers[] = {
		{NBD_CHUNK_DONE, NBD_CHUNK_OFFSET_DATA, "\0\0\0\0\0\0\x10\0xxxx", 12, -ENOTCONN},
		{NBD_CHUNK_DONE, NBD_CHUNK_OFFSET_DATA, "\xff\xff\xff\xff\xff\xff\xff\xffxxxx", 12,
		 -ENOTCONN},
		{NBD_CHUNK_DONE, 2, "\0\0\0\0\0\0\0\0\0\1\0\0", 12,
		 -ENOTCONN}, /* a hole, too long */
		{NBD_CHUNK_DONE, NBD_CHUNK_ERROR, "\0\0\0\x1c\0\0", 6, -ENOSPC},
		{NBD_CHUNK_DONE, NBD_CHUNK_ERROR, "\0\0\0\0\0\0", 6, -EINVAL},
		{NBD_CHUNK_DONE, NBD_CHUNK_ERROR, "\xff\xff\xff\xff\0\0", 6, -EINVAL},
		{NBD_CHUNK_DONE, NBD_CHUNK_NONE, "", 0, -EPROTO}, /* not all of it came */
		{NBD_CHUNK_DONE, NBD_CHUNK_BLOCK_STATUS, "\0\0\0\1\0\0\0\1\0\0\0\0", 12, -ENOTCONN},
		{NBD_CHUNK_DONE, 0x7fff, "", 0, -ENOTCONN},
	};
	const struct lie l = {.size = SIZE, .flags = FLAGS};
	u8 back[4096];

	for (size_t i = 0; i < ARRAY_SIZE(answers); i++) {
		const struct answer *a = &answers[i];
		struct err err = ERR_INIT;

		put_greeting(&l);
		put_chunk(a->flags, a->type, 1, a->data, a->size);
		CHECK_EQ(play(false, &err), 0);
		CHECK_EQ(-blk_read(disk, 0, back, sizeof(back)), -a->result);
		end_play();
	}
}

static void status_of(const char *extents, u32 size, u64 bytes, bool is_zero)
{
	const struct lie l = {.size = SIZE, .flags = FLAGS};
	struct err err = ERR_INIT;
	struct blk_status st;

	put_greeting(&l);
	put_chunk(NBD_CHUNK_DONE, NBD_CHUNK_BLOCK_STATUS, 1, extents, size);
	CHECK_EQ(play(false, &err), 0);
	CHECK_EQ(blk_status(disk, 0, MIB, &st), 0);
	CHECK_EQ(st.bytes, bytes);
	CHECK_EQ(st.is_zero, is_zero);
	CHECK_EQ(st.is_data, !is_zero);
	end_play();
}

TEST(a_status_is_within_what_was_asked_for)
{
	status_of("\0\0\0\1\xff\xff\xf0\0\0\0\0\3", 12, MIB, true);
	status_of("\0\0\0\1\0\0\x10\0\0\0\0\3", 12, 4096, true);
	status_of("\0\0\0\1\0\0\x10\1\0\0\0\3", 12, 4096, true);  /* cut to whole blocks */
	status_of("\0\0\0\1\0\0\0\1\0\0\0\3", 12, 512, false);    /* less than one is data */
	status_of("\0\0\0\1\0\0\x10\0\0\0\0\1", 12, 4096, false); /* a hole with who knows what */
}

TEST(a_server_that_is_gone_at_once_is_no_disk)
{
	struct err err = ERR_INIT;

	script_size = 0;
	CHECK(play(false, &err) < 0);
	CHECK(err.text[0]);
	end_play();
}

/* A minute is what this test would take if anything but answer_ns ended the waiting. */
static int play_silent(void)
{
	const struct lie l = {.size = SIZE, .flags = FLAGS};
	const struct nbdc_options o = {.is_readonly = true,
				       .patience_ns = 60 * NSEC_PER_SEC,
				       .answer_ns = 100 * NSEC_PER_MSEC};
	struct err err = ERR_INIT;

	put_greeting(&l);
	return play_with(o, true, &err);
}

TEST(a_drain_does_not_wait_for_ever_for_a_silent_server)
{
	u64 start = time_mono_ns();

	CHECK_EQ(play_silent(), 0);
	launch(BLK_READ);
	blk_drain(disk);
	for (unsigned i = 0; i < IN_FLIGHT; i++)
		CHECK_EQ(flights[i].result, -ENOTCONN);
	CHECK(time_mono_ns() - start < 20 * NSEC_PER_SEC);
	end_play();
}

/* --- opened in a coroutine, as a guest's disk is that comes later --- */

static struct opener {
	struct nbdc_options o;
	struct nbdc_opening opening;
	struct co_pool *pool;
	struct loop_timer tick;
	unsigned n_ticks;
	int result;
	bool is_over;
} opener;

static void open_it(unused void *arg)
{
	struct err err = ERR_INIT;
	struct blk *b = NULL;
	u8 back[512];

	opener.result = nbdc_new(loop, &opener.o, &b, &err);
	if (opener.result < 0)
		close(opener.o.connector);
	else
		opener.result = blk_read(b, 0, back, sizeof(back));
	blk_free(b);
	nbdc_opening_end(&opener.opening);
	opener.is_over = true;
}

static void on_opener_tick(struct loop_timer *t)
{
	opener.n_ticks++;
	loop_timer_arm(loop, t, time_mono_ns() + NSEC_PER_MSEC);
}

/* It is given up after give_up_ns, if it isn't over. */
static void open_silent(u64 answer_ns, u64 give_up_ns)
{
	u64 start = time_mono_ns();
	struct err err = ERR_INIT;
	int ask[2], talk[2];

	CHECK_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ask), 0);
	CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, talk), 0);
	CHECK_EQ(write(talk[1], script, script_size), script_size);
	CHECK_EQ(fd_send(ask[1], "+C0 x", 5, &talk[0], 1), 0);
	close(talk[0]);
	CHECK_EQ(loop_new(&loop, &err), 0);
	opener = (struct opener){.o = {.is_readonly = true,
				       .connector = ask[0],
				       .opening = &opener.opening,
				       .answer_ns = answer_ns},
				 .tick.fn = on_opener_tick};
	nbdc_opening_init(&opener.opening);
	CHECK_EQ(co_pool_new(1, &opener.pool, &err), 0);
	on_opener_tick(&opener.tick);
	co_start(opener.pool, open_it, NULL);
	while (!opener.is_over) {
		loop_step(loop, true);
		if (time_mono_ns() - start > give_up_ns)
			nbdc_opening_give_up(&opener.opening);
	}
	CHECK(opener.n_ticks > 20); /* the loop went on */
	CHECK(time_mono_ns() - start < 10 * NSEC_PER_SEC);
	loop_timer_disarm(loop, &opener.tick);
	co_pool_free(opener.pool);
	loop_free(loop);
	close(ask[1]);
	close(talk[1]);
}

TEST(who_opens_a_disk_holds_up_nobody_and_can_leave_it)
{
	script_size = 0;
	open_silent(60 * NSEC_PER_SEC, 200 * NSEC_PER_MSEC);
	CHECK_EQ(opener.result, -ENOTCONN);
}

TEST(nor_waits_for_ever_for_what_it_reads_then)
{
	const struct lie l = {.size = SIZE, .flags = FLAGS};

	put_greeting(&l);
	open_silent(100 * NSEC_PER_MSEC, 60 * NSEC_PER_SEC);
	CHECK_EQ(opener.result, -ENOTCONN);
}

TEST(nor_does_a_call_that_holds_up_the_loop)
{
	u64 start = time_mono_ns();
	u8 back[512];

	CHECK_EQ(play_silent(), 0);
	CHECK_EQ(blk_read(disk, 0, back, sizeof(back)), -ENOTCONN);
	CHECK(time_mono_ns() - start < 20 * NSEC_PER_SEC);
	end_play();
}

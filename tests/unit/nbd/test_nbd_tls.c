/*
 * TLS of the NBD server: libnbd as a client of our server in a thread, and clients that try to get
 * around it.
 */
#include "test.h"

#include <fcntl.h>
#include <libnbd.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/loop.h"
#include "block/block.h"
#include "nbd/nbd.h"
#include "nbd/nbd_wire.h"
#include "nbd/tls.h"

#define SIZE  (8 * MIB)
#define BOB   "bob:00112233445566778899aabbccddeeff\n"
#define ALICE "alice:000102030405060708090a0b0c0d0e0f\n"

/* --- a server in a thread --- */

static struct peer {
	pthread_t thread;
	int sock;
	unsigned n_clients;
} peer;
static char keys_path[] = "/tmp/posada-keys-XXXXXX";

static void on_clients(unused void *opaque, unsigned n)
{
	peer.n_clients = n;
}

/* One client, to its end. */
static void *serve(unused void *arg)
{
	const struct nbd_tls_text keys = {BOB ALICE, strlen(BOB ALICE)};
	const struct blk_raw_options raw = {.engine = BLK_ENGINE_THREADS};
	struct nbd_options o = {.name = "disk", .description = "", .on_clients = on_clients};
	int memory = memfd_create("disk", MFD_CLOEXEC);
	struct err err = ERR_INIT;
	struct nbd_server *s;
	struct nbd_tls *tls;
	struct loop *loop;

	CHECK_EQ(ftruncate(memory, SIZE), 0);
	CHECK_EQ(nbd_tls_new_psk(&keys, &tls, &err), 0);
	o.tls = tls;
	CHECK_EQ(loop_new(&loop, &err), 0);
	CHECK_EQ(blk_raw_new(loop, memory, &raw, &o.disk, &err), 0);
	CHECK_EQ(nbd_server_new(loop, -1, &o, &s, &err), 0);
	nbd_server_add(s, peer.sock);
	while (peer.n_clients)
		loop_step(loop, true);
	nbd_server_free(s);
	nbd_tls_free(tls);
	blk_free(o.disk);
	loop_free(loop);
	return NULL;
}

static int start(void)
{
	int pair[2];

	CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	peer.sock = pair[1];
	CHECK_EQ(fd_set_nonblock(pair[1], true), 0);
	CHECK_EQ(pthread_create(&peer.thread, NULL, serve, NULL), 0);
	return pair[0];
}

static void stop(void)
{
	pthread_join(peer.thread, NULL);
}

/* --- libnbd's own TLS --- */

static int connect_as(struct nbd_handle *h, const char *user, const char *line)
{
	int fd, r;

	strcpy(keys_path + strlen(keys_path) - 6, "XXXXXX");
	fd = mkstemp(keys_path);
	CHECK(fd >= 0);
	CHECK_EQ(write(fd, line, strlen(line)), (ssize_t)strlen(line));
	close(fd);
	CHECK_EQ(nbd_set_tls(h, LIBNBD_TLS_REQUIRE), 0);
	CHECK_EQ(nbd_set_tls_psk_file(h, keys_path), 0);
	CHECK_EQ(nbd_set_tls_username(h, user), 0);
	CHECK_EQ(nbd_set_export_name(h, "disk"), 0);
	r = nbd_connect_socket(h, start());
	unlink(keys_path);
	return r;
}

static int on_done(void *opaque, int *error)
{
	CHECK_EQ(*error, 0);
	--*(int *)opaque;
	return 1;
}

TEST(who_has_a_key_reads_and_writes)
{
	struct nbd_handle *h = nbd_create();
	AUTO(free_ptr) u8 *out = mem_alloc(1, SIZE), *in = mem_alloc(1, SIZE);
	int waiting = 0;

	for (size_t i = 0; i < SIZE; i++)
		out[i] = (u8)(i * 7 + i / 4099);
	CHECK_EQ(connect_as(h, "alice", ALICE), 0);
	CHECK_EQ(nbd_get_tls_negotiated(h), 1);
	CHECK_EQ(nbd_get_size(h), SIZE);
	CHECK_EQ(nbd_pwrite(h, out, SIZE, 0, 0), 0);
	CHECK_EQ(nbd_pwrite(h, "odd", 3, 70001, 0), 0);
	memcpy(out + 70001, "odd", 3);
	CHECK_EQ(nbd_flush(h, 0), 0);
	/* Many at once, large and small, while replies come. */
	for (u64 at = 0, n; at < SIZE; at += n, waiting++) {
		const nbd_completion_callback done = {.callback = on_done, .user_data = &waiting};

		n = MIN((at % 3) * 300000 + 4097, SIZE - at);
		CHECK(nbd_aio_pread(h, in + at, n, at, done, 0) > 0);
	}
	while (waiting)
		CHECK(nbd_poll(h, -1) >= 0);
	CHECK_MEM(in, out, SIZE);
	CHECK_EQ(nbd_shutdown(h, 0), 0);
	nbd_close(h);
	stop();
}

TEST(who_has_another_key_or_none_is_hung_up_on)
{
	static const char *const cases[][2] = {
		{"alice", "alice:ff0102030405060708090a0b0c0d0e0f\n"},
		{"eve", "eve:000102030405060708090a0b0c0d0e0f\n"},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		struct nbd_handle *h = nbd_create();

		CHECK_EQ(connect_as(h, cases[i][0], cases[i][1]), -1);
		nbd_close(h);
		stop();
	}
}

/* --- without TLS, by hand --- */

static void say(int fd, const void *data, size_t n)
{
	CHECK_EQ(send(fd, data, n, MSG_NOSIGNAL), (ssize_t)n);
}

static void greet(int fd)
{
	struct nbd_hello_wire hello;
	const be32 flags = be32_of(NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES);

	CHECK_EQ(fd_read_full(fd, &hello, sizeof(hello)), 0);
	say(fd, &flags, sizeof(flags));
}

static struct nbd_option_wire option(u32 number, u32 bytes)
{
	return (struct nbd_option_wire){.magic = be64_of(NBD_OPTION_MAGIC),
					.option = be32_of(number),
					.length = be32_of(bytes)};
}

static u32 reply(int fd)
{
	struct nbd_option_reply_wire r;
	char text[256];

	CHECK_EQ(fd_read_full(fd, &r, sizeof(r)), 0);
	CHECK(be32_get(r.length) < sizeof(text));
	CHECK_EQ(fd_read_full(fd, text, be32_get(r.length)), 0);
	return be32_get(r.type);
}

TEST(nobody_is_served_without_tls)
{
	static const u32 options[] = {NBD_OPT_LIST, NBD_OPT_STRUCTURED_REPLY, NBD_OPT_GO};
	struct nbd_option_wire o;
	int fd = start();
	char c;

	greet(fd);
	for (unsigned i = 0; i < ARRAY_SIZE(options); i++) {
		o = option(options[i], 0);
		say(fd, &o, sizeof(o));
		CHECK_EQ(reply(fd), NBD_REP_ERR_TLS_REQD);
	}
	o = option(NBD_OPT_EXPORT_NAME, 0);
	say(fd, &o, sizeof(o));
	CHECK_EQ(read(fd, &c, 1), 0);
	close(fd);
	stop();
}

/* What an attacker puts in before the handshake isn't taken for the client's. */
TEST(what_comes_with_the_wish_for_tls_ends_the_connection)
{
	struct nbd_option_wire o[2] = {option(NBD_OPT_STARTTLS, 0), option(NBD_OPT_LIST, 0)};
	int fd = start();
	char c;

	greet(fd);
	say(fd, o, sizeof(o));
	CHECK(read(fd, &c, 1) <= 0);
	close(fd);
	stop();
}

TEST(what_is_no_handshake_ends_the_connection)
{
	struct nbd_option_wire o = option(NBD_OPT_STARTTLS, 4);
	static u8 noise[5000];
	int fd = start();

	greet(fd);
	say(fd, &o, sizeof(o));
	say(fd, "data", 4);
	CHECK_EQ(reply(fd), NBD_REP_ERR_INVALID);
	o = option(NBD_OPT_STARTTLS, 0);
	say(fd, &o, sizeof(o));
	CHECK_EQ(reply(fd), NBD_REP_ACK);
	memset(noise, 0x16, sizeof(noise));
	say(fd, noise, sizeof(noise));
	while (read(fd, noise, sizeof(noise)) > 0)
		;
	close(fd);
	stop();

	/* And one who goes in the middle of it. */
	fd = start();
	greet(fd);
	say(fd, &o, sizeof(o));
	CHECK_EQ(reply(fd), NBD_REP_ACK);
	close(fd);
	stop();
}

/* --- what it is made of --- */

static void keys_are_refused(const char *text, const char *words)
{
	const struct nbd_tls_text keys = {text, strlen(text)};
	struct err err = ERR_INIT;
	struct nbd_tls *tls;

	CHECK_EQ(nbd_tls_new_psk(&keys, &tls, &err), -EINVAL);
	CHECK_ERR(err, words);
}

TEST(what_is_no_key_or_certificate_is_told)
{
	const struct nbd_tls_x509 none = {.lets_anybody_in = false};
	struct nbd_tls_x509 bad = {
		.lets_anybody_in = true, .certificate = {"nonsense", 8}, .key = {"nonsense", 8}};
	struct err err = ERR_INIT;
	struct nbd_tls *tls;

	keys_are_refused("", "no key");
	keys_are_refused("alice\n", "line 1");
	keys_are_refused(ALICE "bob:0g\n", "line 2");
	keys_are_refused("alice:123\n", "line 1");
	keys_are_refused(":1234\n", "line 1");
	keys_are_refused(ALICE "\n", "line 2");
	CHECK_EQ(nbd_tls_new_x509(&none, &tls, &err), -EINVAL);
	CHECK_ERR(err, "no authority");
	CHECK_EQ(nbd_tls_new_x509(&bad, &tls, &err), -EINVAL);
	CHECK_ERR(err, "certificate and key");
	bad.authorities = (struct nbd_tls_text){"nonsense", 8};
	CHECK_EQ(nbd_tls_new_x509(&bad, &tls, &err), -EINVAL);
	CHECK_ERR(err, "authorities");
}

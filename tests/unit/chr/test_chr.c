/*
 * Byte streams: flow control both ways, ends of streams, clients that come and go. The test's
 * thread is the loop's.
 */
#include "chr/chr.h"

#include <fcntl.h>
#include <pthread.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <termios.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/loop.h"
#include "test.h"

#define STEP_UNTIL(cond)                                                                           \
	do {                                                                                       \
		while (!(cond))                                                                    \
			loop_step(loop, true);                                                     \
	} while (0)

struct sink {
	struct chr_user user;
	size_t limit; /* bytes it takes in all */
	size_t used;
	u8 bytes[65536];
	unsigned n_rooms, n_opened, n_closed;
};

static size_t sink_can_receive(void *opaque)
{
	struct sink *s = opaque;

	return s->limit - s->used;
}

static void sink_receive(void *opaque, const u8 *data, size_t size)
{
	struct sink *s = opaque;

	CHECK(size > 0 && size <= s->limit - s->used);
	memcpy(s->bytes + s->used, data, size);
	s->used += size;
}

static void sink_room(void *opaque)
{
	((struct sink *)opaque)->n_rooms++;
}

static void sink_event(void *opaque, bool is_open)
{
	struct sink *s = opaque;

	s->n_opened += is_open;
	s->n_closed += !is_open;
}

static struct sink *sink_new(struct chr *c, size_t limit)
{
	struct sink *s = NEW(struct sink);

	s->user = (struct chr_user){sink_can_receive, sink_receive, sink_room, sink_event, s};
	s->limit = limit;
	chr_attach(c, &s->user);
	return s;
}

static struct loop *test_loop(void)
{
	struct err err = ERR_INIT;
	struct loop *loop;

	signal(SIGPIPE, SIG_IGN);
	CHECK_EQ(loop_new(&loop, &err), 0);
	return loop;
}

static struct chr *test_chr_fd(struct loop *loop, int in, int out)
{
	struct err err = ERR_INIT;
	struct chr *c;

	CHECK_EQ(chr_fd_new(loop, in, out, &c, &err), 0);
	return c;
}

static void test_end(struct loop *loop, struct chr *c, struct sink *s)
{
	chr_free(c);
	free(s);
	loop_free(loop);
}

/* Lets everything happen that is due. */
static void settle(struct loop *loop)
{
	for (int i = 0; i < 20; i++)
		loop_step(loop, false);
}

TEST(input_is_read_only_as_far_as_it_is_taken)
{
	struct loop *loop = test_loop();
	int p[2];

	CHECK_EQ(pipe2(p, O_CLOEXEC), 0);
	struct chr *c = test_chr_fd(loop, p[0], -1);
	struct sink *s = sink_new(c, 3);

	CHECK_EQ(write(p[1], "abcdef", 6), 6);
	STEP_UNTIL(s->used == 3);
	settle(loop);
	CHECK_EQ(s->used, 3);

	s->limit = 5;
	settle(loop);
	CHECK_EQ(s->used, 3); /* nobody said chr_accept */
	chr_accept(c);
	STEP_UNTIL(s->used == 5);
	s->limit = 100;
	chr_accept(c);
	STEP_UNTIL(s->used == 6);
	CHECK_MEM(s->bytes, "abcdef", 6);

	close(p[1]);
	STEP_UNTIL(s->n_closed == 1);
	CHECK(!chr_is_open(c));
	test_end(loop, c, s);
}

TEST(a_full_pipe_takes_a_part_and_says_when_there_is_room)
{
	struct loop *loop = test_loop();
	static u8 big[1 << 20], back[1 << 20];
	size_t sent, got = 0;
	int p[2];

	CHECK_EQ(pipe2(p, O_CLOEXEC), 0);
	struct chr *c = test_chr_fd(loop, -1, p[1]);
	struct sink *s = sink_new(c, 1);

	for (size_t i = 0; i < sizeof(big); i++)
		big[i] = (u8)(i * 7 + i / 251);
	sent = chr_write(c, big, sizeof(big));
	CHECK(sent > 0 && sent < sizeof(big));
	CHECK_EQ(chr_write(c, big + sent, 1), 0);
	settle(loop);
	CHECK_EQ(s->n_rooms, 0);

	while (got < sizeof(big)) {
		unsigned rooms = s->n_rooms;
		ssize_t n = read(p[0], back + got, sizeof(back) - got);

		CHECK(n > 0);
		got += (size_t)n;
		if (sent == sizeof(big))
			continue;
		STEP_UNTIL(s->n_rooms > rooms);
		sent += chr_write(c, big + sent, sizeof(big) - sent);
	}
	CHECK_MEM(back, big, sizeof(big));
	close(p[0]);
	test_end(loop, c, s);
}

TEST(a_reader_that_is_gone_swallows_everything)
{
	struct loop *loop = test_loop();
	int p[2];

	CHECK_EQ(pipe2(p, O_CLOEXEC), 0);
	struct chr *c = test_chr_fd(loop, -1, p[1]);
	struct sink *s = sink_new(c, 1);
	static u8 big[1 << 20];
	size_t sent = chr_write(c, big, sizeof(big));

	CHECK(sent < sizeof(big));
	close(p[0]);
	STEP_UNTIL(s->n_rooms == 1); /* so that the rest is offered, and dropped */
	CHECK_EQ(chr_write(c, big, 1000), 1000);
	STEP_UNTIL(s->n_closed == 1);
	CHECK_EQ(chr_write(c, big, 1000), 1000);
	test_end(loop, c, s);
}

TEST(files_and_dev_null_serve_as_input)
{
	struct loop *loop = test_loop();
	int file = memfd_create("input", MFD_CLOEXEC);

	CHECK_EQ(write(file, "from a file", 11), 11);
	CHECK_EQ(lseek(file, 0, SEEK_SET), 0);
	struct chr *c = test_chr_fd(loop, file, open("/dev/null", O_WRONLY | O_CLOEXEC));
	struct sink *s = sink_new(c, 4);

	settle(loop);
	CHECK_EQ(s->used, 4);
	s->limit = 100;
	chr_accept(c);
	STEP_UNTIL(s->used == 11);
	settle(loop);
	CHECK_EQ(s->n_closed, 0); /* one can still write */
	CHECK_EQ(chr_write(c, "x", 1), 1);
	test_end(loop, c, s);

	loop = test_loop();
	c = test_chr_fd(loop, open("/dev/null", O_RDONLY | O_CLOEXEC), -1);
	s = sink_new(c, 4);
	STEP_UNTIL(s->n_closed == 1);
	test_end(loop, c, s);
}

TEST(a_socket_is_one_descriptor_and_its_flags_come_back)
{
	struct loop *loop = test_loop();
	int sv[2];
	char buf[8];

	CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
	int probe = fcntl(sv[0], F_DUPFD_CLOEXEC, 0); /* the same open file */
	struct chr *c = test_chr_fd(loop, sv[0], sv[0]);
	struct sink *s = sink_new(c, 100);

	CHECK(fcntl(probe, F_GETFL) & O_NONBLOCK);
	CHECK_EQ(chr_write(c, "out", 3), 3);
	CHECK_EQ(read(sv[1], buf, sizeof(buf)), 3);
	CHECK_EQ(write(sv[1], "in", 2), 2);
	STEP_UNTIL(s->used == 2);
	shutdown(sv[1], SHUT_WR);
	STEP_UNTIL(s->n_closed == 1);
	test_end(loop, c, s);
	CHECK(!(fcntl(probe, F_GETFL) & O_NONBLOCK));
	close(probe);
	close(sv[1]);
}

TEST(bytes_that_waited_come_to_a_user_who_attaches_late)
{
	struct loop *loop = test_loop();
	int p[2];

	CHECK_EQ(pipe2(p, O_CLOEXEC), 0);
	CHECK_EQ(write(p[1], "early", 5), 5);
	struct chr *c = test_chr_fd(loop, p[0], -1);

	settle(loop);
	struct sink *s = sink_new(c, 100);

	STEP_UNTIL(s->used == 5);
	chr_attach(c, NULL);
	CHECK_EQ(write(p[1], "late", 4), 4);
	settle(loop);
	CHECK_EQ(s->used, 5);
	chr_attach(c, &s->user);
	STEP_UNTIL(s->used == 9);
	close(p[1]);
	test_end(loop, c, s);
}

/* --- writing from another thread, as a vCPU does --- */

struct writer {
	struct chr *c;
	struct chr_user user;
	pthread_mutex_t lock;
	pthread_cond_t has_room;
	unsigned n_rooms;
};

static void writer_room(void *opaque)
{
	struct writer *w = opaque;

	pthread_mutex_lock(&w->lock);
	w->n_rooms++;
	pthread_cond_signal(&w->has_room);
	pthread_mutex_unlock(&w->lock);
}

static size_t writer_can_receive(void *opaque)
{
	(void)opaque;
	return 0;
}

static u8 writer_bytes[1 << 20];

static void *writer_run(void *arg)
{
	struct writer *w = arg;
	unsigned seen = 0;

	for (size_t sent = 0; sent < sizeof(writer_bytes);) {
		size_t size = MIN(sizeof(writer_bytes) - sent, (size_t)5000);
		size_t n = chr_write(w->c, writer_bytes + sent, size);

		sent += n;
		if (n == size)
			continue;
		pthread_mutex_lock(&w->lock);
		while (w->n_rooms == seen)
			pthread_cond_wait(&w->has_room, &w->lock);
		seen = w->n_rooms;
		pthread_mutex_unlock(&w->lock);
	}
	return NULL;
}

TEST(another_thread_writes_and_waits_for_room)
{
	static u8 back[sizeof(writer_bytes)];
	struct loop *loop = test_loop();
	struct writer w = {.user = {.can_receive = writer_can_receive, .room = writer_room}};
	pthread_t thread;
	size_t got = 0;
	int p[2];

	CHECK_EQ(pipe2(p, O_CLOEXEC), 0);
	w.c = test_chr_fd(loop, -1, p[1]);
	w.user.opaque = &w;
	pthread_mutex_init(&w.lock, NULL);
	pthread_cond_init(&w.has_room, NULL);
	chr_attach(w.c, &w.user);
	for (size_t i = 0; i < sizeof(writer_bytes); i++)
		writer_bytes[i] = (u8)(i * 5 + i / 257);

	CHECK_EQ(pthread_create(&thread, NULL, writer_run, &w), 0);
	while (got < sizeof(back)) {
		ssize_t n = read(p[0], back + got, MIN(sizeof(back) - got, (size_t)3000));

		CHECK(n > 0);
		got += (size_t)n;
		settle(loop);
	}
	CHECK_EQ(pthread_join(thread, NULL), 0);
	CHECK_MEM(back, writer_bytes, sizeof(back));
	chr_free(w.c);
	close(p[0]);
	loop_free(loop);
	pthread_cond_destroy(&w.has_room);
	pthread_mutex_destroy(&w.lock);
}

/* --- ptys --- */

static int open_slave(int probe)
{
	int fd = open(ptsname(probe), O_RDWR | O_NOCTTY | O_CLOEXEC);
	struct termios t;

	CHECK(fd >= 0);
	CHECK_EQ(tcgetattr(fd, &t), 0);
	cfmakeraw(&t);
	CHECK_EQ(tcsetattr(fd, TCSANOW, &t), 0);
	return fd;
}

TEST(a_pty_survives_its_users)
{
	struct loop *loop = test_loop();
	int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC), slave;
	char buf[16];

	CHECK(master >= 0);
	CHECK_EQ(grantpt(master), 0);
	CHECK_EQ(unlockpt(master), 0);
	int probe = fcntl(master, F_DUPFD_CLOEXEC, 0);
	struct chr *c = test_chr_fd(loop, master, master);
	struct sink *s = sink_new(c, 100);
	static u8 big[1 << 20];

	settle(loop);
	CHECK(!chr_is_open(c));
	CHECK_EQ(chr_write(c, big, sizeof(big)), sizeof(big)); /* to nobody */

	/* Found by writing ... */
	slave = open_slave(probe);
	CHECK_EQ(chr_write(c, "hello", 5), 5);
	CHECK_EQ(read(slave, buf, sizeof(buf)), 5);
	STEP_UNTIL(s->n_opened == 1);
	close(slave);
	STEP_UNTIL(s->n_closed == 1);
	settle(loop);

	/* ... and by input. */
	slave = open_slave(probe);
	CHECK_EQ(write(slave, "typed", 5), 5);
	STEP_UNTIL(s->used == 5);
	CHECK_EQ(s->n_opened, 2);
	close(slave);
	STEP_UNTIL(s->n_closed == 2);
	close(probe);
	test_end(loop, c, s);
}

/* --- listening --- */

static int connect_to(const struct sockaddr_un *addr)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	CHECK_EQ(connect(fd, (const struct sockaddr *)addr, sizeof(*addr)), 0);
	return fd;
}

static int listen_on(struct sockaddr_un *out)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	*out = (struct sockaddr_un){.sun_family = AF_UNIX};
	snprintf(out->sun_path + 1, sizeof(out->sun_path) - 1, "posada-test-chr-%d", getpid());
	CHECK_EQ(bind(fd, (struct sockaddr *)out, sizeof(*out)), 0);
	CHECK_EQ(listen(fd, 5), 0);
	return fd;
}

TEST(clients_come_one_after_the_other)
{
	struct loop *loop = test_loop();
	struct err err = ERR_INIT;
	struct sockaddr_un addr;
	struct chr *c;
	char buf[8];
	int first, second;

	CHECK_EQ(chr_listen_new(loop, listen_on(&addr), &c, &err), 0);
	struct sink *s = sink_new(c, 100);

	CHECK(!chr_is_open(c));
	CHECK_EQ(chr_write(c, "nobody", 6), 6);
	first = connect_to(&addr);
	second = connect_to(&addr);
	STEP_UNTIL(s->n_opened == 1);
	CHECK_EQ(write(second, "2", 1), 1);
	CHECK_EQ(write(first, "1", 1), 1);
	STEP_UNTIL(s->used == 1);
	CHECK_EQ(s->bytes[0], '1');
	CHECK_EQ(chr_write(c, "hi", 2), 2);
	CHECK_EQ(read(first, buf, sizeof(buf)), 2);

	close(first);
	STEP_UNTIL(s->n_opened == 2);
	CHECK_EQ(s->n_closed, 1);
	STEP_UNTIL(s->used == 2);
	CHECK_EQ(s->bytes[1], '2');
	/* The second one leaves while a write waits for it. */
	static u8 big[1 << 20];

	CHECK(chr_write(c, big, sizeof(big)) < sizeof(big));
	close(second);
	STEP_UNTIL(s->n_rooms == 1 && s->n_closed == 2);
	CHECK_EQ(chr_write(c, big, sizeof(big)), sizeof(big));
	test_end(loop, c, s);
}

TEST(only_a_listening_socket_will_do)
{
	struct loop *loop = test_loop();
	struct err err = ERR_INIT;
	struct chr *c;
	int sv[2], file = memfd_create("x", MFD_CLOEXEC);

	CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
	CHECK_EQ(chr_listen_new(loop, sv[0], &c, &err), -EINVAL);
	CHECK_ERR(err, "does not listen");
	CHECK_EQ(chr_listen_new(loop, file, &c, &err), -ENOTSOCK);
	close(file);
	close(sv[0]);
	close(sv[1]);
	loop_free(loop);
}

/* --- without descriptors --- */

TEST(null_takes_all_and_a_ring_as_much_as_it_has_room)
{
	struct chr *c = chr_null_new();
	u8 out[8];

	CHECK_EQ(chr_write(c, "abc", 3), 3);
	CHECK(chr_is_open(c));
	chr_free(c);

	c = chr_ring_new(4);
	struct sink *s = sink_new(c, 3);

	CHECK_EQ(chr_write(c, "abcdef", 6), 4);
	CHECK_EQ(chr_ring_output(c, out, 2), 2);
	CHECK_EQ(s->n_rooms, 1);
	CHECK_EQ(chr_write(c, "ef", 2), 2);
	CHECK_EQ(chr_ring_output(c, out, sizeof(out)), 4);
	CHECK_MEM(out, "cdef", 4);
	CHECK_EQ(s->n_rooms, 1);
	CHECK_EQ(chr_ring_input(c, "12345", 5), 3);
	CHECK(!chr_ring_was_accepted(c));
	chr_accept(c);
	CHECK(chr_ring_was_accepted(c));
	chr_ring_set_open(c, false);
	CHECK_EQ(s->n_closed, 1);
	CHECK_EQ(chr_write(c, "abcdef", 6), 6);
	chr_free(c);
	free(s);
}

/*
 * posada-vsock's switchboard: the test is the guest process, its callers, and the programs of the host.
 */
#include "vsock/helper/switchboard.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/loop.h"
#include "test.h"
#include "vsock/vsock_wire.h"

struct bench {
	struct loop *loop;
	struct switchboard *s;
	int guest; /* its end */
	char dir[32], path[64];
};

static int listen_at(const char *path)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	strcpy(addr.sun_path, path);
	CHECK_EQ(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	CHECK_EQ(listen(fd, 100), 0);
	return fd;
}

static int connect_to(const char *path)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	strcpy(addr.sun_path, path);
	CHECK_EQ(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	return fd;
}

static void start(struct bench *b, u64 patience_ns)
{
	struct switchboard_options o = {.n_listeners = 1, .patience_ns = patience_ns};
	struct err err = ERR_INIT;
	int sv[2];

	strcpy(b->dir, "/tmp/posada-test-XXXXXX");
	CHECK(mkdtemp(b->dir));
	snprintf(b->path, sizeof(b->path), "%s/v", b->dir);
	CHECK_EQ(loop_new(&b->loop, &err), 0);
	CHECK_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv), 0);
	b->guest = sv[1];
	CHECK_EQ(fd_set_nonblock(b->guest, true), 0);
	o.fd = sv[0];
	o.path = b->path;
	o.listeners[0] = listen_at(b->path);
	CHECK_EQ(switchboard_new(b->loop, &o, &b->s, &err), 0);
}

static void end(struct bench *b)
{
	switchboard_free(b->s);
	loop_free(b->loop);
	fd_close(b->guest);
	unlink(b->path);
	rmdir(b->dir);
}

static void settle(struct bench *b)
{
	for (int i = 0; i < 20; i++)
		loop_step(b->loop, false);
}

/* What the guest process gets; *out_fd is -1 when no descriptor came. */
static bool next_message(struct bench *b, struct vsock_message *out, int *out_fd)
{
	size_t n_fds = 1;
	ssize_t n;

	settle(b);
	*out_fd = -1;
	n = fd_recv(b->guest, out, sizeof(*out), out_fd, &n_fds);
	if (n < 0)
		return false;
	CHECK_EQ(n, sizeof(*out));
	return true;
}

static void say(int fd, const char *text)
{
	CHECK_EQ(write(fd, text, strlen(text)), strlen(text));
}

static bool is_closed(struct bench *b, int fd)
{
	char c;

	settle(b);
	/* With what was said unread, a socket's end is a reset. */
	return read(fd, &c, 1) == 0 || errno == ECONNRESET;
}

TEST(a_caller_that_names_a_port_is_handed_over_with_what_it_says_next)
{
	struct vsock_message m;
	char got[16] = "";
	struct bench b;
	int caller, fd;

	start(&b, SWITCHBOARD_PATIENCE_NS);
	caller = connect_to(b.path);
	say(caller, "CONN");
	CHECK(!next_message(&b, &m, &fd));
	say(caller, "ECT 4294967295\nhello");
	CHECK(next_message(&b, &m, &fd));
	CHECK_EQ(m.kind, VSOCK_INCOMING);
	CHECK_EQ(m.port, UINT32_MAX);
	CHECK(fd >= 0);
	CHECK_EQ(read(fd, got, sizeof(got)), 5);
	CHECK_STR(got, "hello");
	close(fd);
	close(caller);
	end(&b);
}

TEST(callers_that_say_something_else_are_dropped)
{
	static const char *const lines[] = {
		"CONNECT\n",
		"CONNECT \n",
		"connect 5\n",
		"CONNECT -5\n",
		"CONNECT 5 \n",
		"CONNECT +5\n",
		"CONNECT 0x5\n",
		"CONNECT 4294967296\n",
		"GET / HTTP/1\n",
		"\n",
		"CONNECT 00000000000000000000000000000005\n",
		"CONNECT 5555555555555555555555555555555",
	};
	struct vsock_message m;
	struct bench b;
	int fd;

	start(&b, SWITCHBOARD_PATIENCE_NS);
	for (size_t i = 0; i < ARRAY_SIZE(lines); i++) {
		int caller = connect_to(b.path);

		say(caller, lines[i]);
		CHECK(is_closed(&b, caller));
		CHECK(!next_message(&b, &m, &fd));
		close(caller);
	}
	end(&b);
}

TEST(a_caller_that_leaves_is_forgotten_and_one_that_half_closes_is_not)
{
	struct vsock_message m;
	struct bench b;
	int caller, fd;

	start(&b, SWITCHBOARD_PATIENCE_NS);
	caller = connect_to(b.path);
	say(caller, "CONN");
	close(caller);
	CHECK(!next_message(&b, &m, &fd));
	caller = connect_to(b.path);
	say(caller, "CONNECT 5\n");
	shutdown(caller, SHUT_WR);
	CHECK(next_message(&b, &m, &fd));
	close(fd);
	close(caller);
	end(&b);
}

TEST(silent_callers_are_dropped_in_the_end_and_when_there_are_too_many)
{
	int callers[SWITCHBOARD_MAX_CALLERS + 1];
	struct bench b;
	char c;

	start(&b, 100 * NSEC_PER_MSEC);
	for (size_t i = 0; i < ARRAY_SIZE(callers); i++) {
		callers[i] = connect_to(b.path);
		loop_step(b.loop, true);
	}
	CHECK(is_closed(&b, callers[0]));
	for (size_t i = 1; i < ARRAY_SIZE(callers); i++) {
		while (read(callers[i], &c, 1) != 0)
			loop_step(b.loop, true);
	}
	for (size_t i = 0; i < ARRAY_SIZE(callers); i++)
		close(callers[i]);
	end(&b);
}

TEST(the_guest_is_connected_to_programs_of_the_host)
{
	struct vsock_message m = {.kind = VSOCK_CONNECT, .id = 7, .port = 5000};
	char path[80], got[8] = "";
	struct bench b;
	int listener, fd, server;

	start(&b, SWITCHBOARD_PATIENCE_NS);
	snprintf(path, sizeof(path), "%s_5000", b.path);
	CHECK_EQ(fd_send(b.guest, &m, sizeof(m), NULL, 0), 0);
	CHECK(next_message(&b, &m, &fd));
	CHECK_EQ(m.kind, VSOCK_CONNECTED);
	CHECK_EQ(m.id, 7);
	CHECK_EQ(m.error, -ENOENT);
	CHECK_EQ(fd, -1);
	listener = listen_at(path);
	m = (struct vsock_message){.kind = VSOCK_CONNECT, .id = 8, .port = 5000};
	CHECK_EQ(fd_send(b.guest, &m, sizeof(m), NULL, 0), 0);
	CHECK(next_message(&b, &m, &fd));
	CHECK_EQ(m.id, 8);
	CHECK_EQ(m.error, 0);
	server = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	say(fd, "hi");
	CHECK_EQ(read(server, got, sizeof(got)), 2);
	close(fd);
	close(server);
	close(listener);
	unlink(path);
	end(&b);
}

TEST(a_full_backlog_refuses_at_once)
{
	struct vsock_message m = {.kind = VSOCK_CONNECT, .port = 5000};
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	struct bench b;
	int listener, fd, error = 0;

	start(&b, SWITCHBOARD_PATIENCE_NS);
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s_5000", b.path);
	listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	CHECK_EQ(bind(listener, (struct sockaddr *)&addr, sizeof(addr)), 0);
	CHECK_EQ(listen(listener, 1), 0);
	for (int i = 0; i < 5 && !error; i++) {
		CHECK_EQ(fd_send(b.guest, &m, sizeof(m), NULL, 0), 0);
		m.kind = VSOCK_CONNECT;
		struct vsock_message answer;
		CHECK(next_message(&b, &answer, &fd));
		error = answer.error;
		fd_close(fd);
	}
	CHECK_EQ(error, -EAGAIN);
	close(listener);
	unlink(addr.sun_path);
	end(&b);
}

TEST(it_ends_with_the_guest_process_or_what_it_does_not_understand)
{
	struct vsock_message m = {.kind = 99};
	struct bench b;

	start(&b, SWITCHBOARD_PATIENCE_NS);
	CHECK_EQ(fd_send(b.guest, &m, sizeof(m), NULL, 0), 0);
	loop_run(b.loop);
	end(&b);
	start(&b, SWITCHBOARD_PATIENCE_NS);
	close(b.guest);
	b.guest = -1;
	loop_run(b.loop);
	end(&b);
}

/* monitor/: the server of the control socket, with commands of the test's own and no guest. */
#include "test.h"

#include <dirent.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/loop.h"
#include "monitor/server.h"
#include "proto/control.h"
#include "proto/fields.h"

struct bench {
	struct loop *loop;
	struct server *server;
	int launcher;  /* our end */
	int listening; /* the server's socket */
	struct sockaddr_un addr;
	socklen_t addr_size;
	struct control_request *kept[64]; /* by the command "keep" */
	size_t n_kept;
	int taken_fd; /* by the command "take" */
	bool is_launcher_gone;
};

/* keep: replies later. take: takes its first descriptor. fail. ok. */
static void bench_on_request(void *opaque, struct control_request *r)
{
	struct bench *b = opaque;

	if (!strcmp(control_command(r), "keep")) {
		b->kept[b->n_kept++] = r;
	} else if (!strcmp(control_command(r), "take")) {
		b->taken_fd = control_take_fd(r, 0);
		control_reply(r, NULL);
	} else if (!strcmp(control_command(r), "fail")) {
		control_fail(r, -EBUSY, "not now, %s", "later");
	} else if (!strcmp(control_command(r), "listen")) {
		control_subscribe(r);
		control_reply(r, NULL);
	} else if (!strcmp(control_command(r), "large")) {
		char *text = mem_alloc(1, 50000);

		memset(text, 'x', 49999);
		control_reply(r, json_pack("{s:s}", "text", text));
		free(text);
	} else {
		control_reply(r, json_pack("{s:s}", "said", control_command(r)));
	}
}

static void bench_on_launcher_gone(void *opaque)
{
	((struct bench *)opaque)->is_launcher_gone = true;
}

static void bench_init(struct bench *b)
{
	const struct server_ops ops = {bench_on_request, bench_on_launcher_gone, b};
	struct err err = ERR_INIT;
	int pair[2];

	*b = (struct bench){.taken_fd = -1};
	CHECK_EQ(loop_new(&b->loop, &err), 0);
	CHECK_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	b->launcher = pair[0];
	/* An abstract address of the kernel's choice. */
	b->listening = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	b->addr.sun_family = AF_UNIX;
	CHECK_EQ(bind(b->listening, (struct sockaddr *)&b->addr, sizeof(sa_family_t)), 0);
	b->addr_size = sizeof(b->addr);
	CHECK_EQ(getsockname(b->listening, (struct sockaddr *)&b->addr, &b->addr_size), 0);
	CHECK_EQ(listen(b->listening, 64), 0);
	b->server = server_new(b->loop, pair[1], b->listening, "test", &ops);
	CHECK_EQ(server_start(b->server, &err), 0);
}

/* Until there is nothing left to do: every event is there before the step that looks for it. */
static void bench_settle(struct bench *b)
{
	for (int i = 0; i < 200; i++)
		loop_step(b->loop, false);
}

static void bench_fini(struct bench *b)
{
	server_free(b->server);
	close(b->launcher);
	close(b->listening);
	loop_free(b->loop);
}

static int bench_connect(struct bench *b)
{
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	CHECK_EQ(connect(fd, (struct sockaddr *)&b->addr, b->addr_size), 0);
	bench_settle(b);
	return fd;
}

/* The next message, "" when the server has closed the connection, NULL when there is none. */
static const char *hear(int fd)
{
	static char buf[CONTROL_MAX_MESSAGE + 1];
	ssize_t n = recv(fd, buf, sizeof(buf) - 1, MSG_DONTWAIT);

	if (n < 0 && errno == EAGAIN)
		return NULL;
	buf[MAX(n, 0)] = '\0';
	return buf;
}

static void say(struct bench *b, int fd, const char *text)
{
	CHECK_EQ(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
	bench_settle(b);
}

static bool is_closed(int fd)
{
	const char *text;

	while ((text = hear(fd)) && text[0])
		;
	return text != NULL;
}

static size_t count_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	size_t n = 0;

	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

TEST(a_client_is_greeted_and_every_request_has_one_reply_with_its_id)
{
	struct bench b;
	int c;

	bench_init(&b);
	c = bench_connect(&b);
	CHECK(strstr(hear(c), "{\"event\":\"hello\",\"protocol\":2,\"oldest\":1,"));
	say(&b, c, "{\"id\":-5,\"command\":\"hop\",\"newer\":[1]}");
	CHECK_STR(hear(c), "{\"id\":-5,\"result\":{\"said\":\"hop\"}}");
	say(&b, c, "{\"id\":9007199254740993,\"command\":\"fail\"}");
	CHECK_STR(hear(c), "{\"id\":9007199254740993,\"error\":"
			   "{\"code\":\"busy\",\"text\":\"not now, later\"}}");
	CHECK(!hear(c));
	close(c);
	bench_settle(&b);
	bench_fini(&b);
}

TEST(replies_may_come_later_and_in_another_order)
{
	struct bench b;
	int c;

	bench_init(&b);
	c = bench_connect(&b);
	hear(c);
	say(&b, c, "{\"id\":1,\"command\":\"keep\"}");
	say(&b, c, "{\"id\":2,\"command\":\"keep\"}");
	CHECK(!hear(c));
	control_reply(b.kept[1], NULL);
	control_fail(b.kept[0], -ENOENT, "gone");
	CHECK_STR(hear(c), "{\"id\":2,\"result\":{}}");
	CHECK_STR(hear(c), "{\"id\":1,\"error\":{\"code\":\"not-found\",\"text\":\"gone\"}}");

	/* Whoever asked may be gone by then. */
	say(&b, c, "{\"id\":3,\"command\":\"keep\"}");
	close(c);
	bench_settle(&b);
	control_reply(b.kept[2], json_object());
	bench_fini(&b);
}

TEST(requests_that_are_still_with_someone_outlive_the_server)
{
	struct bench b;
	int c;

	bench_init(&b);
	c = bench_connect(&b);
	say(&b, c, "{\"id\":1,\"command\":\"keep\"}");
	say(&b, b.launcher, "{\"id\":1,\"command\":\"keep\"}");
	CHECK_EQ(b.n_kept, 2);
	bench_fini(&b);
	control_reply(b.kept[0], NULL);
	control_fail(b.kept[1], -EIO, "over");
	CHECK(is_closed(c));
	close(c);
}

TEST(more_requests_than_may_wait_are_refused)
{
	struct bench b;
	char text[64];
	int c;

	bench_init(&b);
	c = bench_connect(&b);
	hear(c);
	for (int i = 0; i < SERVER_MAX_PENDING; i++)
		say(&b, c, "{\"id\":1,\"command\":\"keep\"}");
	CHECK(!hear(c));
	say(&b, c, "{\"id\":7,\"command\":\"keep\"}");
	snprintf(text, sizeof(text), "{\"id\":7,\"error\":{\"code\":\"busy\"");
	CHECK(!strncmp(hear(c), text, strlen(text)));
	for (size_t i = 0; i < b.n_kept; i++)
		control_reply(b.kept[i], NULL);
	close(c);
	bench_fini(&b);
}

TEST(events_go_to_those_that_subscribed_and_to_the_launcher)
{
	struct bench b;
	int quiet, keen;

	bench_init(&b);
	quiet = bench_connect(&b);
	keen = bench_connect(&b);
	say(&b, keen, "{\"id\":1,\"command\":\"listen\"}");
	hear(quiet);
	hear(keen);
	hear(keen);
	CHECK(strstr(hear(b.launcher), "hello"));
	server_event(b.server, json_pack("{s:s}", "event", "rain"));
	CHECK_STR(hear(keen), "{\"event\":\"rain\"}");
	CHECK_STR(hear(b.launcher), "{\"event\":\"rain\"}");
	CHECK(!hear(quiet));
	server_last_event(b.server, json_pack("{s:s}", "event", "end"));
	CHECK_STR(hear(keen), "{\"event\":\"end\"}");
	CHECK_STR(hear(b.launcher), "{\"event\":\"end\"}");
	close(quiet);
	close(keen);
	bench_fini(&b);
}

TEST(commands_without_an_id_have_no_reply_and_failures_are_events)
{
	struct bench b;

	bench_init(&b);
	hear(b.launcher);
	say(&b, b.launcher, "{\"command\":\"ok\"}");
	CHECK(!hear(b.launcher));
	say(&b, b.launcher, "{\"command\":\"fail\"}");
	CHECK_STR(hear(b.launcher), "{\"event\":\"error\",\"text\":\"not now, later\"}");
	bench_fini(&b);
}

TEST(garbage_is_answered_and_harms_nobody)
{
	static const char *const garbage[] = {
		"x",
		"[]",
		"{}",
		"{\"id\":\"1\",\"command\":\"ok\"}",
		"{\"id\":1.5}",
		"{\"id\":1,\"command\":7}",
		"{\"id\":1,\"command\":\"ok\",\"arguments\":[]}",
		"{\"command\":\"a\",\"command\":\"b\"}",
		"\xff\xfe",
		"{\"id\":99999999999999999999,\"command\":\"ok\"}",
	};
	struct bench b;
	char *deep = mem_alloc(1, CONTROL_MAX_MESSAGE);
	int c;

	bench_init(&b);
	c = bench_connect(&b);
	hear(c);
	for (size_t i = 0; i < ARRAY_SIZE(garbage); i++) {
		const char *answer;

		say(&b, c, garbage[i]);
		answer = hear(c);
		CHECK(answer && (strstr(answer, "\"error\"")));
	}
	memset(deep, '[', CONTROL_MAX_MESSAGE - 1);
	say(&b, c, deep);
	CHECK(strstr(hear(c), "\"error\""));
	say(&b, c, "{\"id\":1,\"command\":\"ok\"}");
	CHECK(strstr(hear(c), "\"result\""));
	free(deep);
	close(c);
	bench_fini(&b);
}

TEST(a_client_that_does_not_read_is_dropped_and_the_launcher_is_not)
{
	struct bench b;
	int slow, good;

	bench_init(&b);
	slow = bench_connect(&b);
	good = bench_connect(&b);
	say(&b, slow, "{\"id\":1,\"command\":\"listen\"}");
	say(&b, good, "{\"id\":1,\"command\":\"listen\"}");
	for (int i = 0; i < 5000; i++) {
		server_event(b.server, json_pack("{s:s, s:i}", "event", "drip", "n", i));
		while (hear(good))
			;
	}
	bench_settle(&b);
	CHECK(is_closed(slow));
	say(&b, good, "{\"id\":2,\"command\":\"ok\"}");
	CHECK(strstr(hear(good), "\"id\":2"));
	CHECK(!b.is_launcher_gone);
	while (hear(b.launcher))
		;
	say(&b, b.launcher, "{\"id\":3,\"command\":\"ok\"}");
	CHECK(strstr(hear(b.launcher), "\"id\":3"));
	close(slow);
	close(good);
	bench_fini(&b);
}

TEST(a_client_that_asks_and_does_not_read_is_dropped_within_its_request)
{
	struct bench b;
	int c;

	bench_init(&b);
	c = bench_connect(&b);
	for (int i = 0; i < 20; i++) {
		static const char large[] = "{\"id\":1,\"command\":\"large\"}";

		if (send(c, large, strlen(large), MSG_NOSIGNAL) < 0)
			break;
		bench_settle(&b);
	}
	CHECK(is_closed(c));
	close(c);
	bench_fini(&b);
}

TEST(there_are_as_many_clients_as_may_be_and_the_next_hears_why_not)
{
	struct bench b;
	int c[SERVER_MAX_CLIENTS], more;

	bench_init(&b);
	for (size_t i = 0; i < SERVER_MAX_CLIENTS; i++) {
		c[i] = bench_connect(&b);
		CHECK(strstr(hear(c[i]), "hello"));
	}
	more = bench_connect(&b);
	CHECK(strstr(hear(more), "too many clients"));
	CHECK(is_closed(more));
	close(more);
	close(c[0]);
	bench_settle(&b);
	c[0] = bench_connect(&b);
	CHECK(strstr(hear(c[0]), "hello"));
	for (size_t i = 0; i < SERVER_MAX_CLIENTS; i++)
		close(c[i]);
	bench_settle(&b);
	bench_fini(&b);
}

static void send_fds(struct bench *b, int c, const char *text, size_t n)
{
	int fds[32];

	for (size_t i = 0; i < n; i++)
		fds[i] = open("/dev/null", O_RDONLY | O_CLOEXEC);
	CHECK_EQ(fd_send(c, text, strlen(text), fds, n), 0);
	for (size_t i = 0; i < n; i++)
		close(fds[i]);
	bench_settle(b);
}

TEST(descriptors_that_nobody_takes_are_closed)
{
	struct bench b;
	size_t before;
	int c;

	bench_init(&b);
	c = bench_connect(&b);
	hear(c);
	before = count_fds();
	send_fds(&b, c, "{\"id\":1,\"command\":\"ok\"}", 3);
	CHECK(strstr(hear(c), "result"));
	send_fds(&b, c, "{\"id\":1,\"command\":\"fail\"}", 1);
	hear(c);
	send_fds(&b, c, "{\"command\":\"ok\"}", 1);
	send_fds(&b, c, "garbage", 16);
	hear(c);
	send_fds(&b, c, "{\"id\":1,\"command\":\"ok\"}", 17);
	CHECK(strstr(hear(c), "too many descriptors"));
	CHECK_EQ(count_fds(), before);

	send_fds(&b, c, "{\"id\":2,\"command\":\"take\"}", 2);
	CHECK(b.taken_fd >= 0);
	CHECK_EQ(count_fds(), before + 1);
	close(b.taken_fd);
	send_fds(&b, c, "{\"id\":3,\"command\":\"take\"}", 0);
	CHECK_EQ(b.taken_fd, -1);
	close(c);
	bench_fini(&b);
}

TEST(another_users_client_is_refused)
{
	struct bench b;
	char buf[256] = "";
	int told[2], status;
	pid_t pid;

	if (geteuid() != 0)
		SKIP("to be another user takes root");
	bench_init(&b);
	CHECK_EQ(pipe(told), 0);
	pid = fork();
	if (!pid) {
		int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

		if (setresuid(65534, 65534, 65534) < 0 ||
		    connect(fd, (struct sockaddr *)&b.addr, b.addr_size) < 0 ||
		    write(told[1], "", 1) != 1)
			_exit(1);
		if (recv(fd, buf, sizeof(buf) - 1, 0) <= 0 || !strstr(buf, "another user"))
			_exit(2);
		_exit(recv(fd, buf, sizeof(buf), 0) == 0 ? 0 : 3);
	}
	CHECK_EQ(fd_read_full(told[0], buf, 1), 0);
	bench_settle(&b);
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK_EQ(status, 0);
	close(told[0]);
	close(told[1]);
	bench_fini(&b);
}

TEST(the_launchers_end_is_told)
{
	struct bench b;

	bench_init(&b);
	shutdown(b.launcher, SHUT_RDWR);
	loop_step(b.loop, true);
	CHECK(b.is_launcher_gone);
	bench_fini(&b);
}

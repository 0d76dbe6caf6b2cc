/* launch/'s relay: the test is the guest process at the other end, and reads stdout, or doesn't. */
#include "test.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "launch/launch_priv.h"
#include "proto/control.h"

struct bench {
	pid_t pid;
	int control, console; /* the guest's ends */
	int out;              /* what stdout and stderr go to */
};

/* In a process of its own: signals are what it is about. in becomes its controlling terminal. */
static void relay_child(int control, int console, int in, int out)
{
	struct launch_request request = {.escape = 0};
	struct launch l = {.request = &request,
			   .control = control,
			   .console = console,
			   .detach_pipe = -1,
			   .terminal = -1};

	setsid();
	ioctl(in, TIOCSCTTY, 0);
	dup2(in, STDIN_FILENO);
	dup2(out, STDOUT_FILENO);
	dup2(out, STDERR_FILENO);
	guest_config_init(&l.config);
	_exit(launch_relay(&l));
}

/* Until what was sent before has been done: it says one line for each message. */
static void bench_settle(struct bench *b)
{
	const struct control_event started = {.kind = CONTROL_STARTED, .text = "#"};
	char last = 0;

	CHECK_EQ(control_send_event(b->control, &started), 0);
	while (last != '#')
		CHECK_EQ(fd_read_full(b->out, &last, 1), 0);
	while (last != '\n')
		CHECK_EQ(fd_read_full(b->out, &last, 1), 0);
}

static void bench_init_with(struct bench *b, int in)
{
	int control[2], console[2], out[2];

	CHECK_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, control), 0);
	CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, console), 0);
	CHECK_EQ(pipe(out), 0);
	CHECK_EQ(fcntl(out[1], F_SETPIPE_SZ, 4096), 4096);
	b->pid = fork();
	CHECK(b->pid >= 0);
	if (!b->pid) {
		close(control[1]);
		close(console[1]);
		close(out[0]);
		relay_child(control[0], console[0], in, out[1]);
	}
	close(control[0]);
	close(console[0]);
	close(out[1]);
	b->control = control[1];
	b->console = console[1];
	b->out = out[0];
	/* Its first words say that it looks after signals. */
	bench_settle(b);
}

static void bench_init(struct bench *b)
{
	int in = open("/dev/null", O_RDONLY | O_CLOEXEC);

	bench_init_with(b, in);
	close(in);
}

static void bench_stop(struct bench *b, enum control_reason reason)
{
	struct control_event e = {.kind = CONTROL_STOPPED, .reason = reason};

	CHECK_EQ(control_send_event(b->control, &e), 0);
}

/* The relay's exit status. */
static int bench_fini(struct bench *b)
{
	int status;

	CHECK_EQ(waitpid(b->pid, &status, 0), b->pid);
	close(b->control);
	close(b->console);
	fd_close(b->out);
	CHECK(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static enum control_command bench_command(struct bench *b)
{
	enum control_command command = CONTROL_COMMANDS;
	struct err err = ERR_INIT;
	size_t n_fds = 0;
	char buf[512];
	ssize_t n = fd_recv(b->control, buf, sizeof(buf), NULL, &n_fds);

	CHECK(n > 0);
	CHECK_EQ(control_parse_command(buf, (size_t)n, &command, &err), 0);
	return command;
}

TEST(a_reader_that_does_not_read_keeps_no_signal_from_ending_the_guest)
{
	static const char line[1000];
	struct bench b;

	bench_init(&b);
	CHECK_EQ(fd_set_nonblock(b.console, true), 0);
	while (write(b.console, line, sizeof(line)) > 0)
		;
	kill(b.pid, SIGTERM);
	CHECK_EQ(bench_command(&b), CONTROL_QUIT);
	bench_stop(&b, CONTROL_ASKED);
	CHECK_EQ(bench_fini(&b), LAUNCH_FAILED);
}

TEST(all_that_the_guest_wrote_is_shown_before_its_end)
{
	static char sent[100000], got[sizeof(sent)];
	struct bench b;

	bench_init(&b);
	for (size_t i = 0; i < sizeof(sent); i++)
		sent[i] = (char)('a' + i % 23);
	/* Much more than the pipe holds, less than the console does. */
	CHECK_EQ(fd_write_full(b.console, sent, sizeof(sent)), 0);
	bench_stop(&b, CONTROL_POWEROFF);
	CHECK_EQ(fd_read_full(b.out, got, sizeof(got)), 0);
	CHECK_MEM(got, sent, sizeof(sent));
	CHECK_EQ(bench_fini(&b), LAUNCH_POWERED_OFF);
}

TEST(a_reader_that_left_loses_the_console_and_not_the_guest)
{
	struct bench b;

	bench_init(&b);
	close(b.out);
	b.out = -1;
	CHECK_EQ(fd_write_full(b.console, "words", 5), 0);
	bench_stop(&b, CONTROL_PANIC);
	CHECK_EQ(bench_fini(&b), LAUNCH_CRASHED);
}

TEST(words_of_ours_begin_a_line)
{
	static const char *const parts[] = {"words", "whole\n"};
	static const char want[] = "words\nposada", more[] = "whole\nposada";
	const struct control_event e = {.kind = CONTROL_STARTED, .text = "#"};

	for (unsigned i = 0; i < 2; i++) {
		char got[sizeof(want) - 1];
		struct bench b;

		bench_init(&b);
		CHECK_EQ(fd_write_full(b.console, parts[i], strlen(parts[i])), 0);
		CHECK_EQ(fd_read_full(b.out, got, strlen(parts[i])), 0);
		CHECK_EQ(control_send_event(b.control, &e), 0);
		CHECK_EQ(fd_read_full(b.out, got + strlen(parts[i]),
				      (i ? sizeof(more) : sizeof(want)) - 1 - strlen(parts[i])),
			 0);
		CHECK_MEM(got, i ? more : want, (i ? sizeof(more) : sizeof(want)) - 1);
		bench_stop(&b, CONTROL_POWEROFF);
		CHECK_EQ(bench_fini(&b), LAUNCH_POWERED_OFF);
	}
}

static bool is_raw(int terminal)
{
	struct termios t;

	CHECK_EQ(tcgetattr(terminal, &t), 0);
	return !(t.c_lflag & ICANON);
}

TEST(the_terminal_is_raw_while_it_is_ours_and_as_it_was_afterwards)
{
	int master = posix_openpt(O_RDWR | O_NOCTTY), slave;
	struct termios cooked;
	struct bench b;

	CHECK(master >= 0);
	CHECK_EQ(grantpt(master) | unlockpt(master), 0);
	slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY);
	CHECK(slave >= 0);
	CHECK_EQ(tcgetattr(slave, &cooked), 0);
	bench_init_with(&b, slave);
	CHECK(is_raw(slave));

	/* As a shell does while the job is stopped. */
	CHECK_EQ(tcsetattr(slave, TCSANOW, &cooked), 0);
	kill(b.pid, SIGCONT);
	bench_settle(&b);
	bench_settle(&b);
	CHECK(is_raw(slave));

	kill(b.pid, SIGQUIT);
	CHECK_EQ(bench_command(&b), CONTROL_QUIT);
	bench_stop(&b, CONTROL_ASKED);
	CHECK_EQ(bench_fini(&b), LAUNCH_FAILED);
	CHECK(!is_raw(slave));
	close(slave);
	close(master);
}

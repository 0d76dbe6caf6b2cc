/*
 * posada console: a terminal to the console of a guest that was started with --detach.
 *
 * One poll loop. The terminal is raw meanwhile; Ctrl-] leaves, and the guest runs on.
 */
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <termios.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "client/registry.h"
#include "cmd/posada/cmd.h"
#include "cmd/posada/options.h"

#define CONSOLE_ESCAPE 0x1d /* Ctrl-] */

struct console {
	const char *name;
	int sock, signals;
	bool is_raw, has_input, is_done;
	struct termios saved;
};

static void console_set_raw(struct console *c)
{
	struct termios raw;

	if (tcgetattr(STDIN_FILENO, &c->saved) < 0)
		return;
	raw = c->saved;
	cfmakeraw(&raw);
	c->is_raw = tcsetattr(STDIN_FILENO, TCSADRAIN, &raw) == 0;
}

static void console_restore(struct console *c)
{
	if (c->is_raw)
		tcsetattr(STDIN_FILENO, TCSADRAIN, &c->saved);
	c->is_raw = false;
}

/* Signals end it too, but in order. */
static int console_open_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	return signalfd(-1, &set, SFD_CLOEXEC);
}

/* What was typed up to the escape key goes to the guest. */
static void console_on_input(struct console *c)
{
	char buf[1024];
	ssize_t n = read(STDIN_FILENO, buf, sizeof(buf));
	char *escape = n > 0 && c->is_raw ? memchr(buf, CONSOLE_ESCAPE, (size_t)n) : NULL;

	if (n < 0 && errno == EINTR)
		return;
	if (escape)
		n = escape - buf;
	if (n > 0 && fd_write_full(c->sock, buf, (size_t)n) < 0)
		c->is_done = true;
	if (n <= 0)
		c->has_input = false;
	if (escape)
		c->is_done = true;
}

static void console_on_output(struct console *c)
{
	char buf[4096];
	ssize_t n = read(c->sock, buf, sizeof(buf));

	if (n < 0 && errno == EINTR)
		return;
	if (n <= 0 || fd_write_full(STDOUT_FILENO, buf, (size_t)n) < 0)
		c->is_done = true;
}

static void console_run(struct console *c)
{
	while (!c->is_done) {
		struct pollfd p[] = {
			{.fd = c->sock, .events = POLLIN},
			{.fd = c->signals, .events = POLLIN},
			{.fd = c->has_input ? STDIN_FILENO : -1, .events = POLLIN},
		};

		if (poll(p, ARRAY_SIZE(p), -1) < 0)
			continue;
		if (p[1].revents)
			c->is_done = true;
		if (p[0].revents && !c->is_done)
			console_on_output(c);
		if (p[2].revents && !c->is_done)
			console_on_input(c);
	}
}

int cmd_console(int argc, char **argv)
{
	static const struct option_table table = {
		.command = "console",
		.usage = "NAME",
		.summary = "Connects this terminal to the console of a guest that was started with "
			   "`posada run --detach`.\nCtrl-] leaves it; the guest runs on.",
		.min_args = 1,
		.max_args = 1,
		.missing = "which guest? `posada ps` lists them",
	};
	struct console c = {.has_input = true};
	AUTO_FD int sock = -1, signals = -1;
	struct err err = ERR_INIT;
	int status = options_parse(&table, argc, argv, NULL, &c.name), r;

	if (status != OPTIONS_RUN)
		return status;
	r = registry_connect(c.name, REGISTRY_CONSOLE, SOCK_STREAM, &sock, &err);
	if (r == -ENOENT && strstr(err.text, "has no"))
		err_set(&err, r, "guest '%s' was not started with --detach: its console is there",
			c.name);
	if (r < 0) {
		fprintf(stderr, "posada: %s\n", err.text);
		return 1;
	}
	c.sock = sock;
	c.signals = signals = console_open_signals();
	console_set_raw(&c);
	if (c.is_raw)
		fprintf(stderr, "posada: the console of guest '%s'; Ctrl-] leaves it\r\n", c.name);
	console_run(&c);
	console_restore(&c);
	if (isatty(STDIN_FILENO))
		fprintf(stderr, "\nposada: left the console of guest '%s'\n", c.name);
	return 0;
}

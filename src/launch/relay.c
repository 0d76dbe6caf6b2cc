/*
 * While the guest runs: the terminal to its console and back, the menu behind the escape key, the
 * guest process's events, signals.
 *
 * One poll loop, which never waits for less than all of it: output that the terminal or pipe doesn't
 * take yet waits here, and then in the guest's console; input that the guest doesn't take yet, here
 * and then in the terminal: the menu works as long as there is room for a key. Output is written only
 * when poll(2) finds room, and no more at a time than a pipe then takes whole.
 */
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/time.h"
#include "launch/launch_priv.h"
#include "proto/control.h"

/* Within it a guest process that was told to end has written what it must, or never will. */
#define RELAY_END_NS (30 * 1000000000ull)

struct relay {
	struct launch *launch;
	bool is_tty;      /* stdin is a terminal, now raw */
	bool has_saved;   /* what it was before */
	bool has_input;   /* stdin has not ended */
	bool has_console; /* the guest's console has not ended */
	bool is_in_menu;
	char pending[4096]; /* typed, for the guest */
	size_t n_pending;
	char shown[PIPE_BUF]; /* by the guest, for stdout */
	size_t n_shown;
	bool is_mid_line; /* what was shown last ended no line */
	int signals;      /* signalfd */
	bool is_done;
	int status;
	int signal; /* that asked us to end; 0: none */
	u64 end_by; /* host time; 0: it wasn't told to end */
	struct termios saved;
};

/* Waits until fd takes some more. False: it takes none, and a signal asks for the end, or did. */
static bool relay_wait_room(const struct relay *r, int fd)
{
	struct pollfd p[] = {{.fd = fd, .events = POLLOUT}, {.fd = r->signals, .events = POLLIN}};

	return poll(p, ARRAY_SIZE(p), r->signal ? 0 : -1) > 0 && p[0].revents;
}

/* A line of the guest's that isn't whole is ended, where ours would go on with it. */
static void relay_end_line(struct relay *r)
{
	struct stat out, err;

	if (r->is_mid_line && fstat(STDOUT_FILENO, &out) == 0 && fstat(STDERR_FILENO, &err) == 0 &&
	    out.st_dev == err.st_dev && out.st_ino == err.st_ino)
		fputc('\n', stderr);
	r->is_mid_line = false;
}

/* One line on stderr; in raw mode the terminal needs the carriage returns. */
static void printf_like(2, 3) relay_say(struct relay *r, const char *fmt, ...)
{
	char text[700], prefix[LAUNCH_MAX_PREFIX];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (!relay_wait_room(r, STDERR_FILENO))
		return;
	if (r->is_tty) {
		fprintf(stderr, "\r\n%s: %s\r\n", launch_prefix(r->launch, prefix, sizeof(prefix)),
			text);
		return;
	}
	relay_end_line(r);
	launch_say(r->launch, "%s", text);
}

/* In the background the terminal isn't ours: changing it would stop us (SIGTTOU). */
static void relay_set_raw(struct relay *r)
{
	struct termios raw;

	r->is_tty = false;
	if (r->launch->console < 0 || tcgetpgrp(STDIN_FILENO) != getpgrp() ||
	    (!r->has_saved && tcgetattr(STDIN_FILENO, &r->saved) < 0))
		return;
	r->has_saved = true;
	raw = r->saved;
	cfmakeraw(&raw);
	r->is_tty = tcsetattr(STDIN_FILENO, TCSADRAIN, &raw) == 0;
}

static void relay_restore(struct relay *r)
{
	if (r->is_tty)
		tcsetattr(STDIN_FILENO, TCSADRAIN, &r->saved);
	r->is_tty = false;
}

static void relay_command(struct relay *r, enum control_command command)
{
	if (control_send_command(r->launch->control, command) < 0)
		relay_say(r, "the guest process does not answer");
}

/* --- the terminal --- */

/* As much of what is pending as the guest's side takes now. */
static void relay_send_pending(struct relay *r)
{
	ssize_t n = send(r->launch->console, r->pending, r->n_pending, MSG_DONTWAIT | MSG_NOSIGNAL);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n < 0) /* there is nobody any more to type to */
		n = (ssize_t)r->n_pending;
	r->n_pending -= (size_t)n;
	memmove(r->pending, r->pending + n, r->n_pending);
}

static void relay_keep(struct relay *r, char key)
{
	assert(r->n_pending < sizeof(r->pending)); /* no more was read than there is room for */
	r->pending[r->n_pending++] = key;
}

static void relay_quit(struct relay *r)
{
	relay_command(r, CONTROL_QUIT);
	if (!r->end_by)
		r->end_by = time_mono_ns() + RELAY_END_NS;
}

static void relay_menu(struct relay *r, char key)
{
	r->is_in_menu = false;
	if (key == r->launch->request->escape) {
		relay_keep(r, key);
		return;
	}
	switch (key) {
	case 'p':
		relay_say(r, "power button pressed");
		relay_command(r, CONTROL_POWER_BUTTON);
		break;
	case 'r':
		relay_say(r, "reset");
		relay_command(r, CONTROL_RESET);
		break;
	case 'q':
		relay_quit(r);
		break;
	default:
		relay_say(r, "back to the guest");
		break;
	}
}

static void relay_open_menu(struct relay *r)
{
	r->is_in_menu = true;
	relay_say(r, "p power button, r reset, q quit, Ctrl-%c again sends it, any other key: back",
		  r->launch->request->escape + '@');
}

/* To the guest, but for the escape key of a terminal and what follows it. */
static void relay_typed(struct relay *r, char key)
{
	bool is_escape = r->is_tty && key && key == r->launch->request->escape;

	if (r->is_in_menu)
		relay_menu(r, key);
	else if (is_escape)
		relay_open_menu(r);
	else
		relay_keep(r, key);
}

static void relay_on_input(struct relay *r)
{
	char buf[sizeof(r->pending)];
	ssize_t n = read(STDIN_FILENO, buf, sizeof(buf) - r->n_pending);

	for (ssize_t i = 0; i < n; i++)
		relay_typed(r, buf[i]);
	if (n == 0 || (n < 0 && errno != EINTR))
		r->has_input = false;
	relay_send_pending(r);
}

/* stdout has room, or an error: a closed one loses the console, not the guest. */
static void relay_show(struct relay *r)
{
	ssize_t n = write(STDOUT_FILENO, r->shown, r->n_shown);

	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return;
	if (n > 0)
		r->is_mid_line = r->shown[n - 1] != '\n';
	if (n < 0)
		n = (ssize_t)r->n_shown;
	r->n_shown -= (size_t)n;
	memmove(r->shown, r->shown + n, r->n_shown);
}

/* Once all is shown that was read before. */
static void relay_on_console(struct relay *r)
{
	ssize_t n = read(r->launch->console, r->shown, sizeof(r->shown));

	if (n > 0)
		r->n_shown = (size_t)n;
	else if (n == 0 || errno != EINTR)
		r->has_console = false;
}

/* --- the guest process --- */

static int relay_status(struct relay *r, const struct control_event *e)
{
	switch (e->reason) {
	case CONTROL_POWEROFF:
	case CONTROL_SAVED:
		return LAUNCH_POWERED_OFF;
	case CONTROL_ASKED:
		return r->signal ? LAUNCH_FAILED : LAUNCH_POWERED_OFF;
	case CONTROL_PANIC:
	case CONTROL_GUEST_RESET:
		return LAUNCH_CRASHED;
	case CONTROL_DEBUG_EXIT:
		return e->code;
	case CONTROL_FAILED:
	case CONTROL_REASONS:
		return LAUNCH_FAILED;
	}
	unreachable_code();
}

/* What the guest wrote before it stopped is still in the socket: show it all, unless told to end. */
static void relay_drain(struct relay *r)
{
	struct pollfd in = {.fd = r->launch->console, .events = POLLIN};

	for (;;) {
		if (!r->n_shown && r->has_console && poll(&in, 1, 0) == 1)
			relay_on_console(r);
		if (!r->n_shown || !relay_wait_room(r, STDOUT_FILENO))
			return;
		relay_show(r);
	}
}

static void relay_on_stopped(struct relay *r, const struct control_event *e)
{
	r->is_done = true;
	r->status = relay_status(r, e);
	relay_drain(r);
	relay_restore(r);
	if (e->text[0] && (e->reason == CONTROL_FAILED || !r->launch->request->is_quiet))
		relay_say(r, "%s", e->text);
}

static bool relay_on_net_event(struct relay *r, const char *text, size_t size)
{
	AUTO(free) char *words = launch_on_net_event(r->launch, text, size);

	if (words)
		relay_say(r, "%s", words);
	return words;
}

static void relay_on_control(struct relay *r)
{
	struct control_event e = {.kind = CONTROL_STOPPED,
				  .reason = CONTROL_FAILED,
				  .text = "the guest process ended unexpectedly"};
	char buf[CONTROL_MAX_MESSAGE];
	struct err err = ERR_INIT;
	size_t n_fds = 0;
	ssize_t n = fd_recv(r->launch->control, buf, sizeof(buf), NULL, &n_fds);

	if (n <= 0 && confine_cgroup_oom_kills(&r->launch->cgroup))
		snprintf(e.text, sizeof(e.text),
			 "the guest process used more memory than it may (--limit-memory-overhead) "
			 "and was ended");
	if (n > 0 &&
	    (relay_on_net_event(r, buf, (size_t)n) || launch_on_event(r->launch, buf, (size_t)n)))
		return;
	if (n > 0 && control_parse_event(buf, (size_t)n, &e, &err) < 0)
		return; /* a newer VMM says more than we know */
	switch (e.kind) {
	case CONTROL_STARTED:
		if (!r->launch->request->is_quiet)
			relay_say(r, "%s", e.text);
		if (launch_detach_done(r->launch) < 0)
			relay_quit(r);
		break;
	case CONTROL_PANICKED: /* what follows it is told next */
	case CONTROL_RESET_DONE:
		break;
	case CONTROL_PAUSED:
	case CONTROL_RESUMED:
	case CONTROL_ERROR:
		relay_say(r, "%s", e.text);
		break;
	case CONTROL_STOPPED:
	case CONTROL_EVENT_KINDS:
		relay_on_stopped(r, &e);
		break;
	}
}

/* --- signals --- */

static int relay_open_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGQUIT);
	sigaddset(&set, SIGTSTP);
	sigaddset(&set, SIGCONT);
	signal(SIGPIPE, SIG_IGN);
	sigprocmask(SIG_BLOCK, &set, NULL);
	return signalfd(-1, &set, SFD_CLOEXEC);
}

/* Stopped by the shell: the terminal is handed back in order, and taken again afterwards. */
static void relay_stop_self(struct relay *r)
{
	relay_restore(r);
	raise(SIGSTOP);
	relay_set_raw(r);
}

static void relay_on_signal(struct relay *r)
{
	struct signalfd_siginfo info;

	if (read(r->signals, &info, sizeof(info)) != sizeof(info))
		return;
	if (info.ssi_signo == SIGTSTP) {
		relay_stop_self(r);
	} else if (info.ssi_signo == SIGCONT) {
		relay_set_raw(r); /* whoever had the terminal meanwhile left it as it likes */
	} else {
		if (r->signal) { /* asked twice: don't wait for an answer */
			r->is_done = true;
			r->status = LAUNCH_FAILED;
		}
		r->signal = (int)info.ssi_signo;
		relay_quit(r);
	}
}

/* Milliseconds, as poll has them. */
static int relay_time_left(const struct relay *r)
{
	u64 now = time_mono_ns();

	if (!r->end_by)
		return -1;
	return now < r->end_by ? (int)((r->end_by - now) / 1000000) + 1 : 0;
}

/* It is stopped, or waits for a host that doesn't come back. */
static void relay_give_up(struct relay *r)
{
	relay_say(r, "the guest process doesn't answer; it is killed");
	r->is_done = true;
	r->status = LAUNCH_FAILED;
}

/* Waits for something to do, and does it. */
static void relay_step(struct relay *r)
{
	const struct launch *l = r->launch;
	bool takes_input = r->has_input && r->n_pending < sizeof(r->pending);
	short from_console = r->n_shown ? 0 : POLLIN;
	int n;
	struct pollfd p[] = {
		{.fd = l->control, .events = POLLIN},
		{.fd = r->signals, .events = POLLIN},
		/* A hang-up would be told without end while what came before it is not shown. */
		{.fd = r->has_console && (from_console || r->n_pending) ? l->console : -1,
		 .events = (short)(from_console | (r->n_pending ? POLLOUT : 0))},
		{.fd = takes_input ? STDIN_FILENO : -1, .events = POLLIN},
		{.fd = r->n_shown ? STDOUT_FILENO : -1, .events = POLLOUT},
	};

	n = poll(p, ARRAY_SIZE(p), relay_time_left(r));
	if (relay_time_left(r) == 0)
		relay_give_up(r);
	if (n <= 0 || r->is_done)
		return;
	if (p[4].revents)
		relay_show(r);
	if (p[2].revents & POLLOUT)
		relay_send_pending(r);
	if (p[2].revents & ~POLLOUT && !r->n_shown)
		relay_on_console(r);
	if (p[0].revents)
		relay_on_control(r);
	if (p[1].revents && !r->is_done)
		relay_on_signal(r);
	if (p[3].revents && !r->is_done)
		relay_on_input(r);
}

int launch_relay(struct launch *l)
{
	struct relay r = {
		.launch = l, .has_input = l->console >= 0, .has_console = l->console >= 0};
	AUTO_FD int signals = relay_open_signals();

	r.signals = signals;
	relay_set_raw(&r);
	while (!r.is_done)
		relay_step(&r);
	relay_restore(&r);
	if (r.signal)
		relay_say(&r, "ended by signal %d", r.signal);
	return r.status;
}

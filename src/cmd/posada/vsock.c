/*
 * posada vsock: standard input and output, or each client of a UNIX socket, to a port of a guest.
 *
 * The guest's socket in the registry takes "CONNECT PORT" and answers "OK PORT" once the guest has
 * accepted.
 */
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "client/registry.h"
#include "cmd/posada/cmd.h"
#include "cmd/posada/options.h"

#define VSOCK_MAX_CLIENTS 64 /* of --listen, at a time */

struct vsock_options {
	const char *listen;
};

static int vsock_fail(const struct err *err)
{
	fprintf(stderr, "posada: %s\n", err->text);
	return 1;
}

static int vsock_parse_port(const char *text, u32 *out, struct err *err)
{
	char *end;
	unsigned long port;

	errno = 0;
	port = strtoul(text, &end, 10);
	if (text[0] < '0' || text[0] > '9' || *end || errno || port >= UINT32_MAX)
		return err_set(err, -EINVAL, "'%s' is no port, 0 to %u", text, UINT32_MAX - 1);
	*out = (u32)port;
	return 0;
}

/* Reads the answer byte by byte: what follows it is the guest's. */
static bool vsock_read_answer(int fd)
{
	char line[32] = "";
	size_t n = 0;

	while (n < sizeof(line) - 1 && fd_read_full(fd, &line[n], 1) == 0 && line[n] != '\n')
		n++;
	return !strncmp(line, "OK ", 3) && line[n] == '\n';
}

static int vsock_connect(const char *name, u32 port, int *out, struct err *err)
{
	AUTO_FD int fd = -1;
	char line[32];
	int n = snprintf(line, sizeof(line), "CONNECT %u\n", port);

	if (registry_connect(name, REGISTRY_VSOCK, SOCK_STREAM, &fd, err) < 0)
		return err->code == -ENOENT || err->code == -ECONNREFUSED
			       ? err_wrap(err, "no guest of that name, or it has no --vsock")
			       : err->code;
	if (fd_write_full(fd, line, (size_t)n) < 0 || !vsock_read_answer(fd))
		return err_set(err, -ECONNREFUSED, "nobody in guest '%s' listens to port %u", name,
			       port);
	*out = fd_take(fd);
	return 0;
}

/* --- copying --- */

struct vsock_pipe {
	int from, to;
	char data[65536];
	size_t at, n;
	bool is_over;
	bool is_socket; /* `to` is one: its half is shut down at the end */
};

static void vsock_pipe_end(struct vsock_pipe *p)
{
	p->is_over = true;
	if (p->is_socket)
		shutdown(p->to, SHUT_WR);
}

/* One read or write, whichever it waits for. */
static void vsock_pipe_step(struct vsock_pipe *p)
{
	ssize_t n = p->n ? write(p->to, p->data + p->at, p->n)
			 : read(p->from, p->data, sizeof(p->data));

	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return;
	if (n <= 0) {
		vsock_pipe_end(p);
	} else if (p->n) {
		p->at += (size_t)n;
		p->n -= (size_t)n;
	} else {
		p->at = 0;
		p->n = (size_t)n;
	}
}

static struct pollfd vsock_pipe_poll(const struct vsock_pipe *p)
{
	return (struct pollfd){.fd = p->is_over ? -1
				     : p->n     ? p->to
						: p->from,
			       .events = p->n ? POLLOUT : POLLIN};
}

/* Both ways, until the guest has ended its half; what we send ends with our input. */
static void vsock_copy(int guest, int in, int out, bool is_socket)
{
	static struct vsock_pipe up, down;

	up = (struct vsock_pipe){.from = in, .to = guest, .is_socket = true};
	down = (struct vsock_pipe){.from = guest, .to = out, .is_socket = is_socket};
	while (!down.is_over || (is_socket && !up.is_over)) {
		struct pollfd p[] = {vsock_pipe_poll(&up), vsock_pipe_poll(&down)};

		if (poll(p, 2, -1) < 0)
			continue;
		if (p[0].revents)
			vsock_pipe_step(&up);
		if (p[1].revents)
			vsock_pipe_step(&down);
	}
}

/* --- --listen --- */

static int vsock_listen(const char *path, int *out, struct err *err)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	AUTO_FD int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (strlen(path) >= sizeof(addr.sun_path))
		return err_set(err, -ENAMETOOLONG, "%s: a socket's path has at most %zu bytes",
			       path, sizeof(addr.sun_path) - 1);
	memcpy(addr.sun_path, path, strlen(path));
	if (fd < 0 || bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 || listen(fd, 16) < 0)
		return err_errno(err, -errno, "cannot listen at %s", path);
	*out = fd_take(fd);
	return 0;
}

/* One client, in a process of its own. */
static int vsock_serve(const char *name, u32 port, int client)
{
	struct err err = ERR_INIT;
	AUTO_FD int guest = -1;

	if (vsock_connect(name, port, &guest, &err) < 0)
		return vsock_fail(&err);
	vsock_copy(guest, client, client, true);
	return 0;
}

static volatile sig_atomic_t vsock_is_asked_to_end;

static void vsock_on_signal(int number)
{
	(void)number;
	vsock_is_asked_to_end = 1;
}

static void vsock_accept(const char *name, u32 port, int listener, unsigned *n_clients)
{
	int client = accept4(listener, NULL, NULL, SOCK_CLOEXEC), status;
	pid_t pid;

	while (*n_clients && waitpid(-1, &status, *n_clients < VSOCK_MAX_CLIENTS ? WNOHANG : 0) > 0)
		--*n_clients;
	if (client < 0)
		return;
	pid = fork();
	if (pid == 0)
		_exit(vsock_serve(name, port, client));
	*n_clients += pid > 0;
	close(client);
}

/* Until a signal asks for the end. Clients that are there go on. */
static int vsock_run_listener(const char *name, u32 port, const char *path)
{
	const struct sigaction end = {.sa_handler = vsock_on_signal};
	struct err err = ERR_INIT;
	AUTO_FD int listener = -1;
	unsigned n_clients = 0;

	if (vsock_listen(path, &listener, &err) < 0)
		return vsock_fail(&err);
	sigaction(SIGINT, &end, NULL);
	sigaction(SIGTERM, &end, NULL);
	while (!vsock_is_asked_to_end)
		vsock_accept(name, port, listener, &n_clients);
	unlink(path);
	return 0;
}

static int vsock_option_listen(void *to, char *value, struct err *err)
{
	(void)err;
	((struct vsock_options *)to)->listen = value;
	return 0;
}

int cmd_vsock(int argc, char **argv)
{
	static const struct option_row rows[] = {
		{"listen", "PATH", vsock_option_listen,
		 "make a UNIX socket, and lead each of its clients to the port"},
	};
	static const struct option_table table = {
		.command = "vsock",
		.usage = "NAME PORT [OPTIONS]",
		.summary = "Connects standard input and output to a port of a guest (AF_VSOCK).",
		.rows = rows,
		.n_rows = ARRAY_SIZE(rows),
		.min_args = 2,
		.max_args = 2,
		.missing = "which guest, and which port? `posada ps` lists guests",
	};
	struct vsock_options o = {0};
	struct err err = ERR_INIT;
	const char *args[2];
	AUTO_FD int guest = -1;
	u32 port;
	int status = options_parse(&table, argc, argv, &o, args);

	if (status != OPTIONS_RUN)
		return status;
	if (vsock_parse_port(args[1], &port, &err) < 0)
		return vsock_fail(&err);
	signal(SIGPIPE, SIG_IGN);
	if (o.listen)
		return vsock_run_listener(args[0], port, o.listen);
	if (vsock_connect(args[0], port, &guest, &err) < 0)
		return vsock_fail(&err);
	vsock_copy(guest, STDIN_FILENO, STDOUT_FILENO, false);
	return 0;
}

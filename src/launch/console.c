/*
 * The guest's console: which two ends there are, by --console.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <termios.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/err.h"
#include "base/fd.h"
#include "launch/launch_priv.h"

static int launch_console_pair(struct launch *l, struct err *err)
{
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return err_errno(err, -errno, "cannot make a socket pair");
	l->console = pair[0];
	l->config.console_fd = pair[1];
	l->config.console = GUEST_CONSOLE_STREAM;
	return 0;
}

/* For `posada console`. */
static int launch_console_registered(struct launch *l, struct err *err)
{
	l->config.console = GUEST_CONSOLE_LISTEN;
	return registry_listen(&l->entry, REGISTRY_CONSOLE, SOCK_STREAM, &l->config.console_fd,
			       err);
}

static int launch_console_pty(struct launch *l, struct err *err)
{
	AUTO_FD int fd = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
	struct termios raw;
	char path[64];

	if (fd < 0 || grantpt(fd) < 0 || unlockpt(fd) < 0 || ptsname_r(fd, path, sizeof(path)))
		return err_errno(err, -errno, "cannot make a pseudo-terminal");
	/* Nothing may echo into the guest before somebody attaches. */
	if (tcgetattr(fd, &raw) == 0) {
		cfmakeraw(&raw);
		tcsetattr(fd, TCSANOW, &raw);
	}
	launch_say(l, "the console is %s", path);
	l->config.console_fd = fd_take(fd);
	l->config.console = GUEST_CONSOLE_STREAM;
	return 0;
}

/* A socket file that nobody listens on any more may be replaced. */
static bool launch_is_stale_socket(const struct sockaddr_un *addr)
{
	AUTO_FD int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct stat st;

	return fd >= 0 && lstat(addr->sun_path, &st) == 0 && S_ISSOCK(st.st_mode) &&
	       connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) < 0 &&
	       errno == ECONNREFUSED;
}

int launch_listen(struct launch *l, const char *path, int *out, struct err *err)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	AUTO_FD int fd = -1;

	if (strlen(path) >= sizeof(addr.sun_path))
		return err_set(err, -ENAMETOOLONG, "%s: a socket's path has at most %zu bytes",
			       path, sizeof(addr.sun_path) - 1);
	memcpy(addr.sun_path, path, strlen(path));
	if (launch_is_stale_socket(&addr))
		unlink(path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd >= 0 && bind(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0)
		l->socket_paths[l->n_sockets++] = str_dup(path);
	else if (fd >= 0 && errno == EADDRINUSE)
		return err_set(err, -EADDRINUSE, "%s exists already, and is no socket left behind",
			       path);
	else
		return err_errno(err, -errno, "cannot make the socket %s", path);
	if (listen(fd, 1) < 0)
		return err_errno(err, -errno, "cannot listen on %s", path);
	*out = fd_take(fd);
	return 0;
}

int launch_open_channels(struct launch *l, struct err *err)
{
	const struct launch_request *q = l->request;

	for (unsigned i = 0; i < q->n_channels; i++) {
		struct guest_channel *c = &l->config.channels[i];
		int r = launch_listen(l, q->channels[i].path, &c->fd, err);

		if (r < 0)
			return r;
		c->name = str_dup(q->channels[i].name);
		c->path = str_dup(q->channels[i].path);
		l->config.n_channels = i + 1;
	}
	return 0;
}

int launch_open_console(struct launch *l, struct err *err)
{
	switch (l->request->console) {
	case LAUNCH_CONSOLE_STDIO:
		return l->request->is_detached ? launch_console_registered(l, err)
					       : launch_console_pair(l, err);
	case LAUNCH_CONSOLE_PTY:
		return launch_console_pty(l, err);
	case LAUNCH_CONSOLE_SOCKET:
		l->config.console = GUEST_CONSOLE_LISTEN;
		return launch_listen(l, l->request->console_path, &l->config.console_fd, err);
	case LAUNCH_CONSOLE_NONE:
		l->config.console = GUEST_CONSOLE_NONE;
		return 0;
	}
	unreachable_code();
}

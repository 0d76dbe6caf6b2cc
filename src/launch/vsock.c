/*
 * The guest's sockets: a process that makes their connections (posada-vsock), and the sockets at which
 * it accepts: the guest's own in the registry, where `posada vsock` looks, and one where a person
 * wants it. Connections of the guest to the host's port P go beside the latter, to PATH_P, or else
 * beside the former.
 */
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/err.h"
#include "base/fd.h"
#include "launch/launch_priv.h"

#define VSOCK_PORT_ROOM sizeof("_4294967295")

/* What the process is started with. */
struct launch_vsock_ends {
	int helper; /* its end of the pair */
	int ready;
	int listeners[2];
	unsigned n_listeners;
	char *path; /* absolute, as the process has another directory; owned */
};

static void launch_vsock_close(struct launch_vsock_ends *e)
{
	fd_close(e->helper);
	fd_close(e->ready);
	for (unsigned i = 0; i < e->n_listeners; i++)
		fd_close(e->listeners[i]);
	free(e->path);
}

static int launch_vsock_listen(struct launch *l, const char *path, struct launch_vsock_ends *e,
			       struct err *err)
{
	AUTO(free) char *runtime = NULL;
	int r = registry_path(&runtime, err);

	if (!r)
		r = registry_listen(&l->entry, REGISTRY_VSOCK, SOCK_STREAM, &e->listeners[0], err);
	if (r < 0)
		return r;
	e->n_listeners = 1;
	if (path) {
		r = launch_listen(l, path, &e->listeners[1], err);
		if (r < 0)
			return r;
		e->n_listeners = 2;
		e->path = realpath(path, NULL);
	} else {
		e->path = str_format("%s/%s/%s", runtime, l->entry.name, REGISTRY_VSOCK);
	}
	if (!e->path)
		return err_errno(err, -errno, "cannot find %s", path);
	if (strlen(e->path) + VSOCK_PORT_ROOM > MEMBER_SIZE(struct sockaddr_un, sun_path))
		return err_set(err, -ENAMETOOLONG,
			       "%s: with a port behind it, a socket's path has at most %zu bytes",
			       e->path, MEMBER_SIZE(struct sockaddr_un, sun_path) - 1);
	return 0;
}

static int launch_vsock_pair(struct launch *l, struct launch_vsock_ends *e, struct err *err)
{
	int pair[2], ready[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return err_errno(err, -errno, "cannot make a socket pair");
	l->config.vsock_fd = pair[0];
	e->helper = pair[1];
	if (pipe2(ready, O_CLOEXEC) < 0)
		return err_errno(err, -errno, "cannot make a pipe");
	l->ready_for[l->n_ready] = "--vsock";
	l->ready[l->n_ready++] = ready[0];
	e->ready = ready[1];
	return 0;
}

/*
 * It keeps its starter's uid, unlike the guest process: whether it may connect to a service is that
 * person's right.
 */
static int launch_vsock_spawn(struct launch *l, const struct launch_vsock_ends *e, struct err *err)
{
	const char *argv[] = {
		"posada-vsock", "--name", l->config.name, "--fd", "3",        "--ready-fd", "4",
		"--path",       e->path,  "--listen",     "5",    "--listen", "6",          NULL};
	const int fds[] = {e->helper, e->ready, e->listeners[0], e->listeners[1]};
	AUTO(free) char *program = launch_find_program("posada-vsock");
	int r;

	if (e->n_listeners == 1)
		argv[ARRAY_SIZE(argv) - 3] = NULL;
	r = launch_spawn(&(struct launch_program){.path = program,
						  .argv = argv,
						  .fds = fds,
						  .n_fds = 2 + e->n_listeners,
						  .is_confined = true},
			 &l->helpers[l->n_helpers], err);
	l->n_helpers += r == 0;
	return r;
}

int launch_open_vsock(struct launch *l, const char *path, struct err *err)
{
	struct launch_vsock_ends e = {.helper = -1, .ready = -1};
	int r = launch_vsock_listen(l, path, &e, err);

	if (!r)
		r = launch_vsock_pair(l, &e, err);
	if (!r)
		r = launch_vsock_spawn(l, &e, err);
	launch_vsock_close(&e);
	return r;
}

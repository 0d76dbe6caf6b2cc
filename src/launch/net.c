/*
 * The guest's network cards: a tap that exists, or a process of its own for the user network, joined
 * by a socket pair whose one end the guest process gets.
 */
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/err.h"
#include "base/fd.h"
#include "launch/launch_priv.h"

#define LAUNCH_MAX_ARGS (16 + 2 * LAUNCH_MAX_FORWARDS)

static int launch_open_tap(const struct launch_net *n, int *out, struct err *err)
{
	struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};
	AUTO_FD int fd = -1;

	if (!n->tap[0] || strlen(n->tap) >= sizeof(request.ifr_name))
		return err_set(err, -EINVAL, "'%s' is no interface's name", n->tap);
	/* TUNSETIFF would make one. */
	if (!if_nametoindex(n->tap))
		return err_set(err, -ENODEV,
			       "there is no interface '%s'; make it with "
			       "`ip tuntap add dev %s mode tap user $USER`",
			       n->tap, n->tap);
	fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return err_errno(err, -errno, "cannot open /dev/net/tun");
	memcpy(request.ifr_name, n->tap, strlen(n->tap));
	if (ioctl(fd, TUNSETIFF, &request) < 0) {
		int r = -errno;

		if (r == -EBUSY)
			return err_set(err, r, "tap '%s' is in use", n->tap);
		if (r == -EINVAL)
			return err_set(err, r, "interface '%s' is no tap", n->tap);
		if (r == -EPERM)
			return err_set(err, r, "tap '%s' belongs to another user", n->tap);
		return err_errno(err, r, "cannot use tap '%s'", n->tap);
	}
	*out = fd_take(fd);
	return 0;
}

/* Waits for a process's line: empty when it is ready, else why it isn't. */
static int launch_wait_ready(int fd, struct err *err)
{
	char line[512] = "";
	size_t n = 0;

	while (n < sizeof(line) - 1 && fd_read_full(fd, &line[n], 1) == 0 && line[n] != '\n')
		n++;
	if (n == 0 && line[0] == '\n')
		return 0;
	line[n] = '\0';
	err_set(err, -EIO, "%s", n ? line : "the user network could not be started");
	return err_wrap(err, "--net");
}

int launch_wait_helpers(struct launch *l, struct err *err)
{
	int r = 0;

	for (unsigned i = 0; i < l->n_ready && !r; i++)
		r = launch_wait_ready(l->ready[i], err);
	return r;
}

static int launch_start_slirp(struct launch *l, const struct launch_net *n, int sock,
			      struct err *err)
{
	const char *argv[LAUNCH_MAX_ARGS] = {"posada-slirp",
					     "--fd",
					     "3",
					     "--ready-fd",
					     "4",
					     "--host",
					     n->is_host_open ? "on" : "off"};
	char *path = launch_find_program("posada-slirp");
	int argc = 7, ready[2], r;

	for (unsigned i = 0; i < n->n_forwards; i++) {
		argv[argc++] = "--forward";
		argv[argc++] = n->forwards[i];
	}
	if (pipe2(ready, O_CLOEXEC) < 0) {
		r = err_errno(err, -errno, "cannot make a pipe");
	} else {
		r = launch_spawn(&(struct launch_program){.path = path,
							  .argv = argv,
							  .fds = (int[]){sock, ready[1]},
							  .n_fds = 2,
							  .is_confined = true},
				 &l->helpers[l->n_helpers], err);
		close(ready[1]);
		l->ready[l->n_ready++] = ready[0];
		l->n_helpers += r == 0;
	}
	free(path);
	return r;
}

/*
 * "tcp:[ADDR:]HOSTPORT:GUESTPORT" in passt's words: the option, and "ADDR/HOSTPORT:GUESTPORT" (free
 * it). Without an address only this host may connect, as with posada-slirp.
 */
static int launch_passt_forward(const char *forward, const char **option, char **value,
				struct err *err)
{
	bool is_udp = !strncmp(forward, "udp:", 4);
	const char *rest = forward + 4, *last, *middle;

	if (!is_udp && strncmp(forward, "tcp:", 4))
		return err_set(err, -EINVAL, "'%s' is no forward; write tcp:2222:22", forward);
	last = strrchr(rest, ':');
	middle = last ? memrchr(rest, ':', (size_t)(last - rest)) : NULL;
	if (!last)
		return err_set(err, -EINVAL, "'%s' is no forward; write tcp:2222:22", forward);
	*option = is_udp ? "-u" : "-t";
	*value = middle ? str_format("%.*s/%s", (int)(middle - rest), rest, middle + 1)
			: str_format("127.0.0.1/%s", rest);
	return 0;
}

/* It goes to the background by itself once it is ready, and ends when its socket is closed. */
static int launch_wait_passt(pid_t pid, struct err *err)
{
	int status;

	if (waitpid(pid, &status, 0) < 0)
		return err_errno(err, -errno, "cannot wait for passt");
	if (!WIFEXITED(status) || WEXITSTATUS(status))
		return err_set(err, -EIO, "passt could not start; its own words stand above");
	return 0;
}

static int launch_start_passt(const struct launch_net *n, int sock, struct err *err)
{
	const char *argv[LAUNCH_MAX_ARGS] = {"passt", "--quiet", "--fd", "3"};
	char *values[LAUNCH_MAX_FORWARDS] = {0};
	int argc = 4, r = 0;
	pid_t pid;

	if (!n->is_host_open)
		argv[argc++] = "--no-map-gw";
	for (unsigned i = 0; i < n->n_forwards && !r; i++) {
		r = launch_passt_forward(n->forwards[i], &argv[argc], &values[i], err);
		argv[argc + 1] = values[i];
		argc += 2;
	}
	if (!r && access("/usr/bin/passt", X_OK) < 0)
		r = err_set(err, -ENOENT, "passt is not installed (package passt)");
	if (!r)
		r = launch_spawn(
			&(struct launch_program){
				.path = "/usr/bin/passt", .argv = argv, .fds = &sock, .n_fds = 1},
			&pid, err);
	if (!r)
		r = launch_wait_passt(pid, err);
	for (unsigned i = 0; i < n->n_forwards; i++)
		free(values[i]);
	return r;
}

int launch_open_net(struct launch *l, const struct launch_net *n, struct guest_nic *out,
		    struct err *err)
{
	int pair[2], r;

	if (n->kind == LAUNCH_NET_TAP) {
		out->kind = GUEST_NET_TAP;
		return launch_open_tap(n, &out->fd, err);
	}
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return err_errno(err, -errno, "cannot make a socket pair");
	out->kind = GUEST_NET_STREAM;
	out->fd = pair[0];
	if (n->is_passt)
		r = launch_start_passt(n, pair[1], err);
	else
		r = launch_start_slirp(l, n, pair[1], err);
	close(pair[1]);
	return r;
}

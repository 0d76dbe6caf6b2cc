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

#define LAUNCH_USUAL_MTU 1500
/* The user networks end the guest's TCP: nothing behind them sees its segments. */
#define LAUNCH_USER_MTU 65520

/* One queue of the tap that request names. */
static int launch_open_queue(struct ifreq *request, int *out, struct err *err)
{
	AUTO_FD int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
	const char *name = request->ifr_name;
	int r;

	if (fd < 0)
		return err_errno(err, -errno, "cannot open /dev/net/tun");
	r = ioctl(fd, TUNSETIFF, request) < 0 ? -errno : 0;
	switch (r) {
	case 0:
		*out = fd_take(fd);
		return 0;
	case -EBUSY:
		return err_set(err, r, "tap '%s' is in use", name);
	case -EINVAL:
		if (request->ifr_flags & IFF_MULTI_QUEUE)
			return err_set(err, r,
				       "interface '%s' is no tap with several queues; make it with "
				       "`ip tuntap add dev %s mode tap multi_queue user $USER`",
				       name, name);
		return err_set(
			err, r,
			"interface '%s' is no tap, or one made with multi_queue: say queues=2 then",
			name);
	case -EPERM:
		return err_set(err, r, "tap '%s' belongs to another user", name);
	case -E2BIG:
		return err_set(err, r, "tap '%s' can't have so many queues", name);
	default:
		return err_errno(err, r, "cannot use tap '%s'", name);
	}
}

/* What the host's side takes is what the guest is told, unless that is what it thinks anyway. */
static unsigned launch_tap_mtu(struct ifreq *request)
{
	AUTO_FD int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (s < 0 || ioctl(s, SIOCGIFMTU, request) < 0 || request->ifr_mtu == LAUNCH_USUAL_MTU)
		return 0;
	return (unsigned)request->ifr_mtu;
}

static int launch_open_tap(const struct launch_net *n, struct guest_nic *out, struct err *err)
{
	struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};
	int r;

	if (!n->tap[0] || strlen(n->tap) >= sizeof(request.ifr_name))
		return err_set(err, -EINVAL, "'%s' is no interface's name", n->tap);
	/* TUNSETIFF would make one. */
	if (!if_nametoindex(n->tap))
		return err_set(err, -ENODEV,
			       "there is no interface '%s'; make it with "
			       "`ip tuntap add dev %s mode tap user $USER`",
			       n->tap, n->tap);
	memcpy(request.ifr_name, n->tap, strlen(n->tap));
	if (out->n_queues > 1)
		request.ifr_flags |= IFF_MULTI_QUEUE;
	r = launch_open_queue(&request, &out->fd, err);
	while (!r && out->n_more_fds + 1 < out->n_queues) {
		r = launch_open_queue(&request, &out->more_fds[out->n_more_fds].fd, err);
		out->n_more_fds += r == 0;
	}
	if (!r && !out->mtu)
		out->mtu = launch_tap_mtu(&request);
	return r;
}

/* Waits for a process's line: empty when it is ready, else why it isn't. */
static int launch_wait_ready(int fd, const char *option, struct err *err)
{
	char line[512] = "";
	size_t n = 0;

	while (n < sizeof(line) - 1 && fd_read_full(fd, &line[n], 1) == 0 && line[n] != '\n')
		n++;
	if (n == 0 && line[0] == '\n')
		return 0;
	line[n] = '\0';
	err_set(err, -EIO, "%s", n ? line : "its process could not be started");
	return err_wrap(err, "%s", option);
}

int launch_wait_helpers(struct launch *l, struct err *err)
{
	int r = 0;

	for (unsigned i = 0; i < l->n_ready; i++) {
		if (!r)
			r = launch_wait_ready(l->ready[i], l->ready_for[i], err);
		close(l->ready[i]);
	}
	l->n_ready = 0;
	return r;
}

void launch_leave_helpers(struct launch *l)
{
	for (unsigned i = 0; i < l->n_ready; i++)
		close(l->ready[i]);
	for (unsigned i = 0; i < l->n_uids; i++)
		fd_close(l->uids[i].lock);
	l->n_ready = l->n_helpers = l->n_uids = 0;
}

static int launch_start_slirp(struct launch *l, const struct launch_net *n, unsigned mtu, int sock,
			      struct err *err)
{
	AUTO(free) char *mtu_text = str_format("%u", mtu);
	const char *argv[LAUNCH_MAX_ARGS] = {
		"posada-slirp", "--fd",        "3",
		"--ready-fd",   "4",           "--mtu",
		mtu_text,       "--host",      n->is_host_open ? "on" : "off",
		"--name",       l->config.name};
	char *path = launch_find_program("posada-slirp");
	int argc = 11, ready[2], r;

	for (unsigned i = 0; i < n->n_forwards; i++) {
		argv[argc++] = "--forward";
		argv[argc++] = n->forwards[i];
	}
	if (l->leaves_helpers)
		argv[argc++] = "--stay";
	if (pipe2(ready, O_CLOEXEC) < 0) {
		r = err_errno(err, -errno, "cannot make a pipe");
	} else {
		r = launch_spawn_confined(l,
					  &(struct launch_program){.path = path,
								   .argv = argv,
								   .fds = (int[]){sock, ready[1]},
								   .n_fds = 2},
					  &l->helpers[l->n_helpers], err);
		close(ready[1]);
		l->ready_for[l->n_ready] = "--net";
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

/* What a program says, line by line and with the guest's name, until it says no more. */
static void launch_relay_words(const struct launch *l, const char *who, int fd)
{
	FILE *in = fdopen(fd, "r");
	char line[512];

	if (!in) {
		close(fd);
		return;
	}
	while (fgets(line, sizeof(line), in)) {
		line[strcspn(line, "\r\n")] = '\0';
		if (line[0])
			launch_say(l, "%s: %s", who, line);
	}
	fclose(in);
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

/* Runs it until it is in the background. */
static int launch_run_passt(const struct launch *l, const char *const *argv, int sock,
			    struct err *err)
{
	struct launch_program p = {
		.path = "/usr/bin/passt", .argv = argv, .fds = &sock, .n_fds = 1};
	int words[2], r;
	pid_t pid;

	if (access(p.path, X_OK) < 0)
		return err_set(err, -ENOENT, "passt is not installed (package passt)");
	if (pipe2(words, O_CLOEXEC) < 0)
		return err_errno(err, -errno, "cannot make a pipe");
	p.error_fd = words[1];
	r = launch_spawn(&p, &pid, err);
	close(words[1]);
	launch_relay_words(l, "passt", words[0]);
	return r ? r : launch_wait_passt(pid, err);
}

static int launch_start_passt(const struct launch *l, const struct launch_net *n, unsigned mtu,
			      int sock, struct err *err)
{
	AUTO(free) char *mtu_text = str_format("%u", mtu);
	const char *argv[LAUNCH_MAX_ARGS] = {"passt", "--quiet", "--mtu", mtu_text, "--fd", "3"};
	char *values[LAUNCH_MAX_FORWARDS] = {0};
	int argc = 6, r = 0;

	if (!n->is_host_open)
		argv[argc++] = "--no-map-gw";
	for (unsigned i = 0; i < n->n_forwards && !r; i++) {
		r = launch_passt_forward(n->forwards[i], &argv[argc], &values[i], err);
		argv[argc + 1] = values[i];
		argc += 2;
	}
	if (!r)
		r = launch_run_passt(l, argv, sock, err);
	for (unsigned i = 0; i < n->n_forwards; i++)
		free(values[i]);
	return r;
}

int launch_open_net(struct launch *l, const struct launch_net *n, struct guest_nic *out,
		    struct err *err)
{
	int pair[2], r;

	/* A guest that is restored brings its own. */
	if (n->name && !out->name)
		out->name = str_dup(n->name);
	if (n->slot)
		out->slot = n->slot;
	out->n_more_fds = 0;
	out->n_queues = MAX(n->n_queues, 1u);
	out->is_packed = n->is_packed;
	out->limits = n->limits;
	out->mtu = n->mtu;
	if (guest_nic_check(out, err) < 0)
		return err->code;
	if (n->kind == LAUNCH_NET_TAP) {
		out->kind = GUEST_NET_TAP;
		return launch_open_tap(n, out, err);
	}
	if (!out->mtu)
		out->mtu = LAUNCH_USER_MTU;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return err_errno(err, -errno, "cannot make a socket pair");
	out->kind = GUEST_NET_STREAM;
	out->fd = pair[0];
	if (n->is_passt)
		r = launch_start_passt(l, n, out->mtu, pair[1], err);
	else
		r = launch_start_slirp(l, n, out->mtu, pair[1], err);
	close(pair[1]);
	return r;
}

int launch_open_nth_net(struct launch *l, unsigned i, struct guest_nic *out, struct err *err)
{
	unsigned n = l->n_helpers;
	int r = launch_open_net(l, &l->request->nets[i], out, err);

	l->net_helpers[i] = l->n_helpers > n ? l->helpers[n] : 0;
	return r;
}

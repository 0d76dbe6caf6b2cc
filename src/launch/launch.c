/*
 * One run, from request to exit status. See launch.h.
 */
#include "launch/launch.h"

#include <string.h>
#include <sys/socket.h>

#include "base/alloc.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/time.h"
#include "launch/launch_priv.h"
#include "proto/control.h"

/* Hands the configuration and all descriptors to the guest process. */
static int launch_hand_over(struct launch *l, struct err *err)
{
	int fds[GUEST_CONFIG_MAX_FDS], r;
	size_t n_fds;
	char *text = guest_config_encode(&l->config, fds, &n_fds);

	if (strlen(text) > CONTROL_MAX_MESSAGE)
		r = err_set(err, -E2BIG, "the options are too long: %zu bytes in all",
			    strlen(text));
	else
		r = fd_send(l->control, text, strlen(text), fds, n_fds);
	free(text);
	if (r < 0 && !err->code)
		err_errno(err, r, "cannot hand the configuration to the guest process");
	return r;
}

/* What of its confinement the guest process can't know. */
static void launch_tell_layers(const struct launch *l, const char **argv)
{
	if (l->cgroup.paths[0]) {
		argv[0] = "--holds";
		argv[1] = l->cgroup.is_v2 ? "cgroup v2: memory, processes"
					  : "cgroup v1: memory, processes";
	} else {
		argv[0] = "--lacks";
		argv[1] = l->no_cgroup[0] ? l->no_cgroup : "a control group (as asked for)";
	}
}

static int launch_start_vmm(struct launch *l, struct err *err)
{
	char *path = launch_find_program("posada-vmm");
	const char *argv[6] = {"posada-vmm", l->config.name};
	int pair[2], r;

	launch_tell_layers(l, argv + 2);
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0) {
		r = err_errno(err, -errno, "cannot make the control socket");
	} else {
		l->control = pair[0];
		r = launch_spawn_confined(l,
					  &(struct launch_program){.path = path,
								   .argv = argv,
								   .fds = &pair[1],
								   .n_fds = 1,
								   .is_labelled = true},
					  &l->vmm, err);
		close(pair[1]);
	}
	free(path);
	if (!r)
		r = launch_publish(l, err);
	if (!r && l->request->perf != LAUNCH_PERF_NONE)
		r = launch_open_perf(l, err);
	l->config.is_tsc_host_clock = time_is_tsc();
	if (!r)
		r = launch_wait_helpers(l, err);
	return r ? r : launch_hand_over(l, err);
}

/* Far ends that only the guest process may keep open, so that we see it close them. */
static void launch_drop_far_ends(struct launch *l)
{
	fd_close(fd_take(l->config.console_fd));
	fd_close(fd_take(l->config.control_fd));
	fd_close(fd_take(l->config.vsock_fd));
	for (unsigned i = 0; i < l->config.n_nics; i++) {
		struct guest_nic *n = &l->config.nics[i];

		fd_close(fd_take(n->fd));
		for (unsigned k = 0; k < n->n_more_fds; k++)
			fd_close(fd_take(n->more_fds[k].fd));
	}
}

/* All of a run, in the process that stays with it. */
static int launch_run_guest(struct launch *l, struct err *err)
{
	int r, status = LAUNCH_FAILED;

	guest_config_init(&l->config);
	r = l->request->saved ? launch_resolve_saved(l, err) : launch_resolve(l, err);
	if (!r)
		r = launch_start_vmm(l, err);
	if (r < 0) {
		launch_say(l, "%s", err->text);
	} else {
		launch_drop_far_ends(l);
		status = launch_relay(l);
	}
	launch_end(l);
	return status;
}

int launch_run(const struct launch_request *request)
{
	struct launch l = {.request = request,
			   .cgroup = CONFINE_CGROUP_INIT,
			   .entry = REGISTRY_ENTRY_INIT,
			   .control = -1,
			   .console = -1,
			   .detach_pipe = -1,
			   .terminal = -1};
	struct err err = ERR_INIT;
	int status = LAUNCH_FAILED;

	if (!request->is_detached || launch_detach(&l, &status, &err))
		return launch_run_guest(&l, &err);
	if (err.code)
		launch_say(&l, "%s", err.text);
	return status;
}

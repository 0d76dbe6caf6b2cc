/*
 * Starting and ending the processes of a guest.
 */
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/err.h"
#include "base/fd.h"
#include "block/block.h"
#include "launch/launch_priv.h"
#include "launch_paths.h"

char *launch_find_program(const char *name)
{
	char self[4096];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	char *slash, *path;

	if (n > 0) {
		self[n] = '\0';
		slash = strrchr(self, '/');
		path = str_format("%.*s/%s", (int)(slash - self), self, name);
		if (!access(path, X_OK))
			return path;
		free(path);
	}
	return str_format("%s/%s", LAUNCH_LIBEXEC_DIR, name);
}

int launch_spawn(const char *path, const char *const argv[], const int *fds, size_t n_fds,
		 pid_t *out, struct err *err)
{
	extern char **environ;
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;
	sigset_t none, all;
	int r, last = 2;

	/* First out of the way of the final numbers, then to them: dup2 clears close-on-exec. */
	for (size_t i = 0; i < n_fds; i++)
		last = MAX(last, fds[i]);
	last = MAX(last, 3 + (int)n_fds);
	sigemptyset(&none);
	sigfillset(&all);
	posix_spawn_file_actions_init(&actions);
	posix_spawnattr_init(&attr);
	posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_adddup2(&actions, STDERR_FILENO, STDOUT_FILENO);
	for (size_t i = 0; i < n_fds; i++)
		posix_spawn_file_actions_adddup2(&actions, fds[i], last + 1 + (int)i);
	for (size_t i = 0; i < n_fds; i++) {
		posix_spawn_file_actions_adddup2(&actions, last + 1 + (int)i, 3 + (int)i);
		posix_spawn_file_actions_addclose(&actions, last + 1 + (int)i);
	}
	/* What our caller left open without close-on-exec is none of the guest's business. */
	posix_spawn_file_actions_addclosefrom_np(&actions, 3 + (int)n_fds);
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawnattr_setsigdefault(&attr, &all);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF |
						POSIX_SPAWN_SETSID);
	r = posix_spawn(out, path, &actions, &attr, (char *const *)argv, environ);
	posix_spawnattr_destroy(&attr);
	posix_spawn_file_actions_destroy(&actions);
	return r ? err_errno(err, -r, "cannot start %s", path) : 0;
}

void launch_end(struct launch *l)
{
	int status;

	fd_close(l->control); /* the VMM ends when its control socket does */
	l->control = -1;
	if (l->vmm > 0) {
		kill(l->vmm, SIGKILL);
		waitpid(l->vmm, &status, 0);
	}
	for (unsigned i = 0; i < l->config.n_disks; i++) {
		if (l->config.disks[i].fd >= 0)
			blk_unlock_fd(l->config.disks[i].fd);
	}
	for (unsigned i = 0; i < l->n_ready; i++)
		close(l->ready[i]);
	for (unsigned i = 0; i < l->n_helpers; i++) {
		kill(l->helpers[i], SIGTERM);
		waitpid(l->helpers[i], &status, 0);
	}
	fd_close(l->console);
	for (unsigned i = 0; i < l->n_sockets; i++) {
		unlink(l->socket_paths[i]);
		free(l->socket_paths[i]);
	}
	guest_config_fini(&l->config);
	registry_release(&l->entry);
}

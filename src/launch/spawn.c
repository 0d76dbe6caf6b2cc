/*
 * Starting and ending the processes of a guest.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/err.h"
#include "base/fd.h"
#include "block/block.h"
#include "confine/confine.h"
#include "confine/selinux.h"
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

/* --- in the child --- */

/* Makes fds the descriptors from 3 on, and closes what our caller left open: none of its business. */
static int spawn_place_fds(int *fds, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		fds[i] = fcntl(fds[i], F_DUPFD_CLOEXEC,
			       3 + (int)n); /* out of the way of the numbers */
		if (fds[i] < 0)
			return -errno;
	}
	for (size_t i = 0; i < n; i++) {
		if (dup2(fds[i], 3 + (int)i) < 0)
			return -errno;
	}
	closefrom(3 + (int)n);
	return 0;
}

static int spawn_set_standard(int error_fd)
{
	int null = open("/dev/null", O_RDONLY);

	if (error_fd && dup2(error_fd, STDERR_FILENO) < 0)
		return -errno;
	if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(STDERR_FILENO, STDOUT_FILENO) < 0)
		return -errno;
	if (null != STDIN_FILENO)
		close(null);
	return 0;
}

static void spawn_reset_signals(void)
{
	sigset_t none;

	for (int i = 1; i < NSIG; i++)
		signal(i, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

/* Doesn't return. What can't be done goes to the report, an errno. */
noreturn static void spawn_child(const struct launch_program *p, int report)
{
	extern char **environ;
	int placed[LAUNCH_MAX_SPAWN_FDS + 1], r;

	assert(p->n_fds <= LAUNCH_MAX_SPAWN_FDS);
	memcpy(placed, p->fds, p->n_fds * sizeof(*p->fds));
	placed[p->n_fds] = report;
	spawn_reset_signals();
	setsid();
	r = spawn_set_standard(p->error_fd);
	if (!r)
		r = spawn_place_fds(placed, p->n_fds + 1);
	if (!r) {
		report = 3 + (int)p->n_fds;
		fcntl(report, F_SETFD, FD_CLOEXEC);
		r = p->label ? confine_label_next_exec(p->label) : 0;
	}
	if (!r) {
		execve(p->path, (char *const *)p->argv, environ);
		r = -errno;
	}
	(void)!write(report, &r, sizeof(r));
	_exit(127);
}

/* --- in the parent --- */

int launch_spawn(const struct launch_program *p, pid_t *out, struct err *err)
{
	int report[2], status, r = 0;
	pid_t pid;

	if (pipe2(report, O_CLOEXEC) < 0)
		return err_errno(err, -errno, "cannot make a pipe");
	pid = p->is_confined ? confine_fork() : fork();
	if (pid < 0)
		r = -errno;
	if (pid == 0)
		spawn_child(p, report[1]);
	close(report[1]);
	/* It is closed by the exec. */
	if (pid > 0 && fd_read_full(report[0], &r, sizeof(r)) == 0)
		waitpid(pid, &status, 0);
	close(report[0]);
	if (r)
		return err_errno(err, r, "cannot start %s", p->path);
	*out = pid;
	return 0;
}

/* The process is dead, but its rings may have the files still, and with them the locks. */
static void end_locks(const struct guest_disk *d)
{
	if (d->fd >= 0)
		blk_unlock_fd(d->fd);
	for (unsigned i = 0; i < d->n_files; i++) {
		if (d->files[i].fd >= 0)
			blk_unlock_fd(d->files[i].fd);
	}
}

void launch_end(struct launch *l)
{
	fd_close(l->control); /* the VMM ends when its control socket does */
	l->control = -1;
	if (l->vmm > 0)
		launch_end_process(l, l->vmm);
	for (unsigned i = 0; i < l->config.n_disks; i++)
		end_locks(&l->config.disks[i]);
	for (unsigned i = 0; i < l->n_ready; i++)
		close(l->ready[i]);
	for (unsigned i = 0; i < l->n_helpers; i++)
		launch_end_process(l, l->helpers[i]); /* they have nothing to tidy */
	launch_end_contained(l);
	fd_close(l->console);
	for (unsigned i = 0; i < l->n_sockets; i++) {
		unlink(l->socket_paths[i]);
		free(l->socket_paths[i]);
	}
	guest_config_fini(&l->config);
	/* Where it never ran, the terminal has heard why. */
	if (l->detach_pipe >= 0 && l->entry.dir_fd >= 0)
		unlinkat(l->entry.dir_fd, REGISTRY_LOG, 0);
	registry_release(&l->entry);
	fd_close(l->detach_pipe);
	fd_close(l->terminal);
}

/*
 * Going to the background: a guest that outlives the terminal it was started on.
 *
 *     posada run --detach
 *       |--- fork ---> a session of its own: everything that a run does, down to its end
 *       |              its words go to the log, and to the terminal until the guest runs
 *       |<-- a byte -- "it runs"; or the pipe's end, with an exit status
 *
 * The process is forked before anything is opened, so that the one that goes on owns all of it.
 */
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "launch/launch_priv.h"

/* In the foreground: the guest runs, or why it doesn't was said by the other process. */
static int launch_wait_detached(pid_t pid, int pipe_fd)
{
	char byte;
	int status;

	if (fd_read_full(pipe_fd, &byte, 1) == 0)
		return LAUNCH_POWERED_OFF;
	if (waitpid(pid, &status, 0) < 0 || !WIFEXITED(status))
		return LAUNCH_FAILED;
	return WEXITSTATUS(status);
}

bool launch_detach(struct launch *l, int *out_status, struct err *err)
{
	int fds[2];
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC) < 0) {
		err_errno(err, -errno, "cannot make a pipe");
		return false;
	}
	pid = fork();
	if (pid == 0) {
		close(fds[0]);
		setsid();
		l->detach_pipe = fds[1];
		return true;
	}
	close(fds[1]);
	if (pid < 0)
		err_errno(err, -errno, "cannot go to the background");
	else
		*out_status = launch_wait_detached(pid, fds[0]);
	close(fds[0]);
	return false;
}

int launch_detach_log(struct launch *l, struct err *err)
{
	AUTO_FD int log = -1;

	if (l->detach_pipe < 0)
		return 0;
	if (registry_create(&l->entry, REGISTRY_LOG, &log, err) < 0)
		return err->code;
	l->terminal = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 0);
	if (l->terminal < 0 || dup2(log, STDERR_FILENO) < 0)
		return err_errno(err, -errno, "cannot write the log");
	return 0;
}

/* The terminal's last word is the guest's name, for scripts that let us choose it. */
int launch_detach_done(struct launch *l)
{
	AUTO_FD int null = -1;
	int r;

	if (l->detach_pipe < 0)
		return 0;
	printf("%s\n", l->config.name);
	fflush(stdout);
	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(STDERR_FILENO, STDOUT_FILENO) < 0)
		return -errno;
	fd_close(fd_take(l->terminal));
	/* Whoever started us may have gone: then nobody wants this guest. */
	r = fd_write_full(l->detach_pipe, "", 1);
	fd_close(fd_take(l->detach_pipe));
	return r;
}

const char *launch_prefix(const struct launch *l, char *text, size_t size)
{
	if (l->entry.name[0])
		snprintf(text, size, "posada[%s]", l->entry.name);
	else
		snprintf(text, size, "posada");
	return text;
}

void launch_say(const struct launch *l, const char *fmt, ...)
{
	char text[700], prefix[LAUNCH_MAX_PREFIX];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	launch_prefix(l, prefix, sizeof(prefix));
	fprintf(stderr, "%s: %s\n", prefix, text);
	if (l->terminal >= 0)
		dprintf(l->terminal, "%s: %s\n", prefix, text);
}

/*
 * The launcher's part: what a process can only get when it is made.
 *
 * A pid namespace begins with a child. To make one an ordinary user needs a user namespace, which is
 * then made with it. In there it is mapped as root, the only id there is: so that the capabilities
 * over that namespace, which it needs to make the others, survive its exec.
 */
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fd.h"
#include "confine/confine.h"

static void fork_write(const char *path, const char *text)
{
	AUTO_FD int fd = open(path, O_WRONLY | O_CLOEXEC);

	/* A child that isn't mapped has no capability, and says then what it couldn't do. */
	if (fd >= 0)
		(void)fd_write_full(fd, text, strlen(text));
}

/* In the child: root in there is who we are out here. */
static void fork_map_self(uid_t uid, gid_t gid)
{
	char map[40];

	fork_write("/proc/self/setgroups", "deny");
	snprintf(map, sizeof(map), "0 %u 1", uid);
	fork_write("/proc/self/uid_map", map);
	snprintf(map, sizeof(map), "0 %u 1", gid);
	fork_write("/proc/self/gid_map", map);
}

pid_t confine_fork(void)
{
	static const int tries[] = {CLONE_NEWPID, CLONE_NEWUSER | CLONE_NEWPID, 0};
	uid_t uid = geteuid();
	gid_t gid = getegid();
	pid_t pid = -1;

	/* clone3 would say it better, but containers' filters can't see what it is for, and refuse it. */
	for (size_t i = 0; i < ARRAY_SIZE(tries) && pid < 0; i++) {
		pid = (pid_t)syscall(SYS_clone, tries[i] | SIGCHLD, 0, 0, 0, 0);
		if (pid == 0 && tries[i] & CLONE_NEWUSER)
			fork_map_self(uid, gid);
	}
	return pid;
}

/* confine/: what a process has left. Each in a child, for it is for good. */
#include "test.h"

#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/err.h"
#include "confine/confine.h"

static bool has_capabilities(void)
{
	struct __user_cap_header_struct h = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct d[2];

	if (syscall(SYS_capget, &h, d) < 0)
		return true;
	return d[0].effective | d[0].permitted | d[0].inheritable | d[1].effective |
	       d[1].permitted | d[1].inheritable;
}

/* 0, or the number of the first claim that doesn't hold. */
static int check_process(bool could_drop_bounds)
{
	struct err err = ERR_INIT;
	struct rlimit core;

	if (confine_process(false, &err) < 0)
		return 1;
	if (has_capabilities())
		return 2;
	for (int cap = 0; could_drop_bounds && cap <= CAP_LAST_CAP; cap++) {
		if (prctl(PR_CAPBSET_READ, cap) == 1)
			return 3;
	}
	if (prctl(PR_GET_DUMPABLE) != 0 || prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1)
		return 4;
	return getrlimit(RLIMIT_CORE, &core) < 0 || core.rlim_max != 0 ? 5 : 0;
}

TEST(a_confined_process_has_no_capability_and_no_dump)
{
	struct __user_cap_header_struct h = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct d[2];
	int status;
	pid_t pid;

	CHECK_EQ(syscall(SYS_capget, &h, d), 0);
	pid = fork();
	CHECK(pid >= 0);
	if (!pid)
		_exit(check_process(d[0].effective & BIT32(CAP_SETPCAP)));
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK(WIFEXITED(status));
	CHECK_EQ(WEXITSTATUS(status), 0);
}

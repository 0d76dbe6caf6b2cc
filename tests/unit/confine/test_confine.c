/* confine/: what a process has left. Each in a child, for it is for good. */
#include "test.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
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
	const struct confine_options options = {0};
	struct confine_report report;
	struct rlimit core;

	if (confine_process(&options, &report, &err) < 0)
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

static int run_child(pid_t pid)
{
	int status;

	CHECK(pid > 0);
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static int check_names(const char *kept, const char *sibling)
{
	const struct confine_options options = {.readable_file = kept};
	struct confine_report report;
	struct err err = ERR_INIT;
	char byte;
	AUTO_FD int fd = -1;

	if (confine_process(&options, &report, &err) < 0)
		return 1;
	if (!report.is_without_files)
		return 77;
	if (!access("/proc", F_OK) && open("/proc/self/status", O_RDONLY | O_CLOEXEC) >= 0)
		return 2;
	if (sibling && open(sibling, O_RDONLY | O_CLOEXEC) >= 0)
		return 3;
	if (open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC) >= 0)
		return 4;
	if (!kept)
		return 0;
	fd = open(kept, O_RDONLY | O_CLOEXEC);
	return fd < 0 || read(fd, &byte, 1) != 1 || byte != 'x' ? 5 : 0;
}

TEST(no_file_has_a_name_afterwards)
{
	pid_t pid = confine_fork();
	int r;

	if (!pid)
		_exit(check_names(NULL, "/etc/passwd"));
	r = run_child(pid);
	if (r == 77)
		SKIP("this host has neither Landlock nor mount namespaces for us");
	CHECK_EQ(r, 0);
}

TEST(a_file_that_is_kept_can_be_read_and_no_other)
{
	char dir[] = "/tmp/test-confine-XXXXXX", kept[64];
	FILE *f;
	pid_t pid;
	int r;

	CHECK(mkdtemp(dir));
	snprintf(kept, sizeof(kept), "%s/kept", dir);
	f = fopen(kept, "we");
	CHECK(f && fputc('x', f) == 'x' && !fclose(f));
	pid = confine_fork();
	if (!pid)
		_exit(check_names(kept, "/etc/passwd"));
	r = run_child(pid);
	unlink(kept);
	rmdir(dir);
	if (r == 77)
		SKIP("this host has neither Landlock nor mount namespaces for us");
	CHECK_EQ(r, 0);
}

TEST(a_forked_process_is_the_first_of_its_namespace_where_the_host_allows)
{
	pid_t pid = confine_fork();

	if (!pid)
		_exit(getpid() == 1 ? 0 : 77);
	if (run_child(pid) == 77)
		SKIP("this host gives us no pid namespace");
}

static int check_limits(void)
{
	const struct confine_options options = {0};
	const struct confine_limits limits = {.memory = 64 * MIB, .n_threads = 4};
	struct confine_report report;
	struct err err = ERR_INIT;
	struct rlimit data;
	void *p;

	if (confine_process(&options, &report, &err) < 0 ||
	    confine_limit(&limits, &report, &err) < 0)
		return 1;
	if (getrlimit(RLIMIT_DATA, &data) < 0 || data.rlim_max == RLIM_INFINITY)
		return 2;
	p = mmap(NULL, 65 * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	return p == MAP_FAILED ? 0 : 3;
}

TEST(a_limited_process_gets_no_more_memory_than_it_was_told)
{
	pid_t pid = confine_fork();

	if (!pid)
		_exit(check_limits());
	CHECK_EQ(run_child(pid), 0);
}

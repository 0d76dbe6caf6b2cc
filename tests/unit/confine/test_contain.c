/* confine/: what a launcher takes for its guests: uids and control groups. As root, where there are any. */
#include "test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "confine/cgroup.h"
#include "confine/selinux.h"
#include "confine/uid.h"

/* Not the default, which guests on this host may use meanwhile. */
static const struct confine_uids range = {1999999000, 2};

static bool take_uid(uid_t *uid, int *lock)
{
	struct err err = ERR_INIT;
	int r = confine_uid_take(&range, uid, lock, &err);

	if (r == -ERANGE)
		SKIP("root of this container has no uids to give");
	return r == 0;
}

TEST(a_uid_is_taken_until_its_lock_is_closed)
{
	struct err err = ERR_INIT;
	uid_t uids[3];
	int locks[3];

	if (geteuid())
		SKIP("needs root");
	CHECK(take_uid(&uids[0], &locks[0]));
	CHECK(take_uid(&uids[1], &locks[1]));
	CHECK(uids[0] != uids[1]);
	CHECK_EQ(confine_uid_take(&range, &uids[2], &locks[2], &err), -EBUSY);
	CHECK_ERR(err, "in use");
	close(locks[0]);
	CHECK(take_uid(&uids[2], &locks[2]));
	CHECK_EQ(uids[2], uids[0]);
	close(locks[1]);
	close(locks[2]);
}

TEST(uids_that_this_namespace_lacks_are_not_given)
{
	const struct confine_uids beyond = {UINT32_MAX - 10, 20};
	struct err err = ERR_INIT;
	uid_t uid;
	int lock;

	CHECK_EQ(confine_uid_take(&beyond, &uid, &lock, &err), -ERANGE);
}

TEST(a_range_of_uids_has_two_numbers_in_order)
{
	static const char *const bad[] = {"",    "5",    "5-",           "7-6",
					  "0-9", "1-2x", "1-4294967295", "a-b"};
	struct confine_uids u;
	struct err err = ERR_INIT;

	CHECK_EQ(confine_uids_parse("1000-1009", &u, &err), 0);
	CHECK_EQ(u.first, 1000);
	CHECK_EQ(u.n, 10);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		CHECK_EQ(confine_uids_parse(bad[i], &u, &err), -EINVAL);
}

static const struct confine_cgroup_limits limits = {.memory = 64 * MIB, .n_processes = 3};

static void make(struct confine_cgroup *g)
{
	struct err err = ERR_INIT;

	if (confine_cgroup_make("unit-test", &limits, g, &err) < 0)
		SKIP("%s", err.text);
}

/* In a child that is in the group: how many children it may have. */
static int count_children(const struct confine_cgroup *g)
{
	struct err err = ERR_INIT;
	int n = 0, pair[2];

	if (confine_cgroup_add(g, getpid(), &err) < 0 || pipe(pair) < 0)
		return 99;
	for (pid_t pid; n < 10 && (pid = fork()) >= 0; n++) {
		if (pid)
			continue;
		close(pair[1]);
		(void)!read(pair[0], &n, 1);
		_exit(0);
	}
	close(pair[1]);
	while (wait(NULL) > 0)
		;
	return n;
}

#ifdef __SANITIZE_THREAD__
#define HAS_THREAD_SANITIZER 1
#else
#define HAS_THREAD_SANITIZER 0
#endif

TEST(a_group_counts_its_processes)
{
	struct confine_cgroup g;
	int status;
	pid_t pid;

	if (HAS_THREAD_SANITIZER)
		SKIP("ThreadSanitizer has a thread of its own, which is counted");
	make(&g);
	pid = fork();
	if (!pid)
		_exit(count_children(&g));
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK_EQ(WEXITSTATUS(status), 2);
	confine_cgroup_remove(&g);
}

TEST(a_group_that_was_left_over_is_removed_and_one_in_use_is_not)
{
	struct confine_cgroup first, second;
	char *path;

	make(&first);
	make(&second); /* the same name: beside it */
	CHECK(strcmp(first.paths[0], second.paths[0]));
	path = strdup(second.paths[0]);
	/* As when its launcher is killed. */
	for (int i = 0; i < CONFINE_CGROUP_CONTROLLERS; i++) {
		fd_close(fd_take(second.locks[i]));
		free(second.paths[i]);
	}
	make(&second);
	CHECK_STR(second.paths[0], path);
	CHECK_EQ(access(first.paths[0], F_OK), 0);
	confine_cgroup_remove(&second);
	CHECK_EQ(access(path, F_OK), -1);
	CHECK_EQ(confine_cgroup_oom_kills(&first), 0);
	confine_cgroup_remove(&first);
	free(path);
}

TEST(a_label_is_this_hosts_or_there_is_none)
{
	char label[CONFINE_LABEL_MAX], other[CONFINE_LABEL_MAX];
	struct err err = ERR_INIT;
	int r = confine_label_make(7, label, &err);

	if (r == -ENOSYS || r == -EINVAL) {
		CHECK(err.text[0]);
		SKIP("%s", err.text);
	}
	CHECK_EQ(r, 0);
	CHECK(strstr(label, ":posada_vmm_t:s0:c1,c4"));
	CHECK_EQ(confine_label_make(CONFINE_LABEL_PAIRS - 1, other, &err), 0);
	CHECK(strstr(other, ":s0:c1022,c1023"));
}

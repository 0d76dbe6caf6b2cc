/* client/: the registry, in a runtime directory of the test's own. */
#include "test.h"

#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/err.h"
#include "base/fd.h"
#include "client/registry.h"

static char *base;

/* Deep, since a socket's path has 107 bytes at most and ours may have more. */
static void setup(void)
{
	char dir[] = "/tmp/posada-test-XXXXXX";

	CHECK(mkdtemp(dir));
	free(base);
	base = str_format("%s/%0120d", dir, 0);
	setenv("POSADA_RUNTIME_DIR", base, 1);
}

static void teardown(void)
{
	char *slash = strrchr(base, '/');

	CHECK_EQ(rmdir(base), 0); /* nothing was left in it */
	*slash = '\0';
	CHECK_EQ(rmdir(base), 0);
}

static bool is_there(const char *name)
{
	char *path = str_format("%s/%s", base, name);
	bool is = access(path, F_OK) == 0;

	free(path);
	return is;
}

static size_t count_live(void)
{
	struct err err = ERR_INIT;
	char **names;
	size_t n;

	CHECK_EQ(registry_list(&names, &n, &err), 0);
	registry_free_names(names, n);
	return n;
}

TEST(a_name_is_taken_until_it_is_given_back)
{
	struct registry_entry a, b;
	struct err err = ERR_INIT;

	setup();
	CHECK_EQ(count_live(), 0);
	CHECK_EQ(registry_claim("web", &a, &err), 0);
	CHECK_EQ(count_live(), 1);
	CHECK_EQ(registry_claim("web", &b, &err), -EEXIST);
	CHECK_ERR(err, "'web' runs already");
	registry_release(&a);
	CHECK_EQ(count_live(), 0);
	CHECK_EQ(registry_claim("web", &b, &err), 0);
	registry_release(&b);
	registry_release(&b); /* harmless */
	teardown();
}

TEST(without_a_name_the_first_free_one_is_taken)
{
	struct registry_entry e[3];
	struct err err = ERR_INIT;

	setup();
	for (size_t i = 0; i < 3; i++)
		CHECK_EQ(registry_claim(NULL, &e[i], &err), 0);
	CHECK_STR(e[0].name, "guest");
	CHECK_STR(e[1].name, "guest-2");
	CHECK_STR(e[2].name, "guest-3");
	registry_release(&e[1]);
	CHECK_EQ(registry_claim(NULL, &e[1], &err), 0);
	CHECK_STR(e[1].name, "guest-2");
	for (size_t i = 0; i < 3; i++)
		registry_release(&e[i]);
	teardown();
}

TEST(names_that_could_be_paths_are_refused)
{
	static const char *const bad[] = {"",   ".",   "..",       "a/b", "-a",
					  ".a", "a b", "\xc3\xa4", "a\n"};
	struct registry_entry e;

	setup();
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct err err = ERR_INIT;

		CHECK_EQ(registry_claim(bad[i], &e, &err), -EINVAL);
	}
	CHECK_EQ(count_live(), 0);
	teardown();
}

/* A launcher that is killed can't give anything back. */
static void claim_and_die(const char *name)
{
	pid_t pid = fork();
	int status;

	if (!pid) {
		struct registry_entry e;
		struct err err = ERR_INIT;
		int fd;

		if (registry_claim(name, &e, &err) < 0 ||
		    registry_listen(&e, REGISTRY_CONTROL, SOCK_SEQPACKET, &fd, &err) < 0 ||
		    registry_write_info(&e, json_object(), &err) < 0 ||
		    registry_create(&e, REGISTRY_LOG, &fd, &err) < 0)
			_exit(1);
		_exit(0);
	}
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK_EQ(status, 0);
}

TEST(what_a_dead_guest_left_is_cleared_but_its_log)
{
	struct registry_entry e;
	struct err err = ERR_INIT;

	setup();
	claim_and_die("web");
	CHECK(is_there("web/control"));
	CHECK_EQ(count_live(), 0);
	CHECK(!is_there("web/control"));
	CHECK(is_there("web/log"));
	claim_and_die("web");
	CHECK_EQ(registry_claim("web", &e, &err), 0);
	CHECK(!is_there("web/control"));
	CHECK(!is_there("web/log"));
	registry_release(&e);
	teardown();
}

TEST(many_that_claim_at_once_get_a_name_each)
{
	pid_t pids[20];
	int status, done[2];
	char byte;

	setup();
	CHECK_EQ(pipe(done), 0);
	for (size_t i = 0; i < ARRAY_SIZE(pids); i++) {
		pids[i] = fork();
		if (!pids[i]) {
			struct registry_entry e;
			struct err err = ERR_INIT;
			int r = registry_claim(NULL, &e, &err);

			/* Held until all have one. */
			close(done[1]);
			if (read(done[0], &byte, 1) != 0)
				r = -EIO;
			if (!r)
				registry_release(&e);
			_exit(r < 0);
		}
	}
	while (count_live() < ARRAY_SIZE(pids))
		;
	CHECK(is_there("guest-20"));
	CHECK(!is_there("guest-21"));
	close(done[1]);
	close(done[0]);
	for (size_t i = 0; i < ARRAY_SIZE(pids); i++) {
		CHECK_EQ(waitpid(pids[i], &status, 0), pids[i]);
		CHECK_EQ(status, 0);
	}
	CHECK_EQ(count_live(), 0);
	teardown();
}

TEST(claiming_what_is_given_back_all_the_time_succeeds_in_the_end)
{
	int status;
	pid_t pid;

	setup();
	pid = fork();
	for (int i = 0; i < 300; i++) {
		struct registry_entry e;
		struct err err = ERR_INIT;

		count_live();
		if (registry_claim("web", &e, &err) == 0)
			registry_release(&e);
		else if (!pid)
			_exit(2);
	}
	if (!pid)
		_exit(0);
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK_EQ(status, 0);
	CHECK_EQ(count_live(), 0);
	teardown();
}

TEST(who_is_not_there_is_told_from_those_that_are)
{
	struct registry_entry a, b;
	struct err err = ERR_INIT;
	json_t *info;
	int fd;

	setup();
	CHECK_EQ(registry_connect("nix", REGISTRY_CONTROL, SOCK_SEQPACKET, &fd, &err), -ENOENT);
	CHECK_ERR(err, "none is running");
	CHECK_EQ(registry_claim("b", &a, &err), 0);
	CHECK_EQ(registry_claim("a", &b, &err), 0);
	CHECK_EQ(registry_connect("nix", REGISTRY_CONTROL, SOCK_SEQPACKET, &fd, &err), -ENOENT);
	CHECK_ERR(err, "running: a, b");
	CHECK_EQ(registry_connect("a", REGISTRY_CONSOLE, SOCK_STREAM, &fd, &err), -ENOENT);
	CHECK_ERR(err, "has no console");
	CHECK_EQ(registry_read_info("a", &info, &err), -EIO);
	CHECK_EQ(registry_write_info(&a, json_pack("{s:i}", "vmm", 7), &err), 0);
	CHECK_EQ(registry_read_info("b", &info, &err), 0);
	CHECK_EQ(json_integer_value(json_object_get(info, "vmm")), 7);
	json_decref(info);
	CHECK_EQ(registry_wait_gone("a", 0, &err), -ETIMEDOUT);
	registry_release(&a);
	registry_release(&b);
	CHECK_EQ(registry_wait_gone("a", 0, &err), 0);
	teardown();
}

TEST(a_socket_is_reached_through_a_path_of_any_length)
{
	struct registry_entry e;
	struct err err = ERR_INIT;
	int listening, fd;

	setup();
	CHECK_EQ(registry_claim("web", &e, &err), 0);
	CHECK_EQ(registry_listen(&e, REGISTRY_CONTROL, SOCK_SEQPACKET, &listening, &err), 0);
	CHECK_EQ(registry_connect("web", REGISTRY_CONTROL, SOCK_SEQPACKET, &fd, &err), 0);
	close(fd);
	close(listening);
	registry_release(&e);
	teardown();
}

TEST(a_runtime_directory_that_others_may_change_is_refused)
{
	struct registry_entry e;
	struct err err = ERR_INIT;

	setup();
	CHECK_EQ(mkdir(base, 0755), 0);
	CHECK_EQ(registry_claim("web", &e, &err), -EPERM);
	CHECK_ERR(err, "chmod 700");
	CHECK_EQ(rmdir(base), 0);
	CHECK_EQ(symlink("/tmp", base), 0);
	CHECK(registry_claim("web", &e, &err) < 0);
	CHECK_EQ(unlink(base), 0);
	CHECK_EQ(mkdir(base, 0700), 0);
	teardown();
}

/*
 * posada as a person meets it: the real program, with what can go wrong before a guest runs.
 */
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/err.h"
#include "base/fd.h"
#include "proto/control.h"
#include "proto/guest_config.h"
#include "test.h"

#define MAX_ARGS 16

/* A file in memory, by its name; the test's own for as long as fd is open. */
struct file {
	int fd;
	char path[64];
};

static void file_make(struct file *f, size_t size)
{
	f->fd = memfd_create("test", 0);
	CHECK(f->fd >= 0);
	CHECK_EQ(ftruncate(f->fd, (off_t)size), 0);
	snprintf(f->path, sizeof(f->path), "/proc/%d/fd/%d", getpid(), f->fd);
}

static int wait_status(pid_t pid)
{
	int status;

	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK(WIFEXITED(status));
	return WEXITSTATUS(status);
}

/* `posada run` with args, its stderr in text; to_close: descriptors it starts without. */
static int posada_run(const char *const *args, const int *to_close, char *text, size_t size)
{
	const char *argv[MAX_ARGS] = {"posada", "run", "--accel", "soft"};
	posix_spawn_file_actions_t fa;
	int error[2];
	pid_t pid;

	for (size_t i = 0; args[i]; i++)
		argv[4 + i] = args[i];
	CHECK_EQ(pipe2(error, O_CLOEXEC), 0);
	posix_spawn_file_actions_init(&fa);
	posix_spawn_file_actions_addopen(&fa, 0, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_adddup2(&fa, error[1], 2);
	for (; *to_close >= 0; to_close++)
		posix_spawn_file_actions_addclose(&fa, *to_close);
	CHECK_EQ(posix_spawn(&pid, POSADA, &fa, NULL, (char **)argv, environ), 0);
	posix_spawn_file_actions_destroy(&fa);
	close(error[1]);

	size_t done = 0;
	ssize_t n;

	while ((n = read(error[0], text + done, size - 1 - done)) > 0)
		done += (size_t)n;
	text[done] = '\0';
	close(error[0]);
	return wait_status(pid);
}

TEST(a_disk_never_becomes_a_standard_stream)
{
	static const int closed[] = {0, 2, -1};
	struct file disk, kernel;
	char text[1000];
	u8 *bytes = NEW_ARRAY(u8, 64 * KIB), *zeros = NEW_ARRAY(u8, 64 * KIB);

	file_make(&disk, 64 * KIB);
	file_make(&kernel, 4096);
	/* It says where the pty is before it finds out that this is no kernel. */
	const char *args[] = {"--kernel",  kernel.path, "--disk", disk.path,
			      "--console", "pty",       NULL};

	CHECK_EQ(posada_run(args, closed, text, sizeof(text)), 1);
	CHECK_EQ(fd_pread_full(disk.fd, bytes, 64 * KIB, 0), 0);
	CHECK_MEM(bytes, zeros, 64 * KIB);
	free(bytes);
	free(zeros);
	close(disk.fd);
	close(kernel.fd);
}

TEST(values_that_are_no_text_or_number_get_a_sentence)
{
	static const int closed[] = {-1};
	static const struct {
		const char *option, *value, *says;
	} cases[] = {
		{"--append", "root=\xff", "command line is not UTF-8"},
		{"--cpu", "\xff", "CPU model"},
		{"--memory", " -18446744073709551104", "is not a size"},
		{"--cpus", "+1", "is not a number"},
		{"--channel", "a/b=/tmp/x", "slashes"},
		{"--channel", "\xff=/tmp/x", "ASCII"},
	};
	struct file kernel;
	char text[1000];

	file_make(&kernel, 4096);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const char *args[] = {"--kernel", kernel.path, cases[i].option, cases[i].value,
				      NULL};

		CHECK_EQ(posada_run(args, closed, text, sizeof(text)), 1);
		CHECK(strstr(text, cases[i].says));
	}
	close(kernel.fd);
}

TEST(a_mistyped_option_gets_the_nearest_one)
{
	static const int closed[] = {-1};
	static const struct {
		const char *typed, *says;
	} cases[] = {
		{"--memroy=1G", "(did you mean '--memory'?)"},
		{"--kernl", "(did you mean '--kernel'?)"},
		{"--on-rebot", "(did you mean '--on-reboot'?)"},
		{"--toaster", "there is no option '--toaster'; see"},
	};
	char text[1000];

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const char *args[] = {cases[i].typed, NULL};

		CHECK_EQ(posada_run(args, closed, text, sizeof(text)), 1);
		CHECK(strstr(text, cases[i].says));
	}
}

/* Hands the guest process a configuration; its answer is the last event. */
static void vmm_run(const struct guest_config *c, unsigned max_files, struct control_event *out)
{
	const char *argv[] = {"posada-vmm", "test", NULL};
	int fds[GUEST_CONFIG_MAX_FDS], pair[2];
	char buf[CONTROL_MAX_MESSAGE];
	struct rlimit old, low;
	struct err err = ERR_INIT;
	posix_spawn_file_actions_t fa;
	size_t n, none = 0;
	char *text = guest_config_encode(c, fds, &n);
	ssize_t got;
	pid_t pid;

	CHECK_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	posix_spawn_file_actions_init(&fa);
	posix_spawn_file_actions_adddup2(&fa, pair[1], 3);
	CHECK_EQ(fd_send(pair[0], text, strlen(text), fds, n), 0);
	CHECK_EQ(getrlimit(RLIMIT_NOFILE, &old), 0);
	low = (struct rlimit){max_files, old.rlim_max};
	CHECK_EQ(setrlimit(RLIMIT_NOFILE, &low), 0);
	CHECK_EQ(posix_spawn(&pid, POSADA_VMM, &fa, NULL, (char **)argv, environ), 0);
	CHECK_EQ(setrlimit(RLIMIT_NOFILE, &old), 0);
	posix_spawn_file_actions_destroy(&fa);
	close(pair[1]);
	got = fd_recv(pair[0], buf, sizeof(buf), NULL, &none);
	CHECK(got > 0);
	CHECK_EQ(control_parse_event(buf, (size_t)got, out, &err), 0);
	CHECK_EQ(wait_status(pid), 1);
	close(pair[0]);
	free(text);
}

TEST(a_guest_process_that_can_not_begin_says_why)
{
	struct guest_config c;
	struct control_event e;
	struct file kernel;

	guest_config_init(&c);
	file_make(&kernel, 4096);
	c.kernel_fd = dup(kernel.fd);
	c.accel = GUEST_ACCEL_SOFT;
	/* 0 to 3 and the kernel fit, an event loop doesn't. */
	vmm_run(&c, 6, &e);
	CHECK_EQ(e.kind, CONTROL_STOPPED);
	CHECK_EQ(e.reason, CONTROL_FAILED);
	CHECK(strstr(e.text, "event loop"));
	guest_config_fini(&c);
	close(kernel.fd);
}

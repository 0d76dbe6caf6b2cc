/* System calls, signals, page faults, processes, pipes and files: what a kernel does for programs. */
#include "work.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096u

static uint64_t call(unsigned count)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < count * 10000; i++)
		n += syscall(SYS_getpid) > 0;
	return n;
}

static volatile sig_atomic_t n_signals;

static void on_signal(int number)
{
	(void)number;
	n_signals++;
}

static uint64_t signals(unsigned count)
{
	struct sigaction action = {.sa_handler = on_signal};

	sigaction(SIGUSR1, &action, NULL);
	for (unsigned i = 0; i < count * 1000; i++)
		kill(getpid(), SIGUSR1);
	return (uint64_t)n_signals;
}

static uint64_t yield(unsigned count)
{
	for (unsigned i = 0; i < count * 10000; i++)
		sched_yield();
	return count;
}

static uint64_t clocks(unsigned count)
{
	struct timespec before = {0}, now;
	uint64_t backwards = 0;

	for (unsigned i = 0; i < count * 10000; i++) {
		clock_gettime(CLOCK_MONOTONIC, &now);
		backwards += now.tv_sec < before.tv_sec ||
			     (now.tv_sec == before.tv_sec && now.tv_nsec < before.tv_nsec);
		before = now;
	}
	return backwards;
}

static uint64_t faults(unsigned count)
{
	enum { PAGES = 1024 };
	uint64_t sum = 0;

	for (unsigned i = 0; i < count; i++) {
		uint8_t *memory = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE,
				       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (memory == MAP_FAILED)
			work_fail("memory");
		madvise(memory, PAGES * PAGE, MADV_NOHUGEPAGE);
		for (unsigned j = 0; j < PAGES; j++)
			memory[j * PAGE] = (uint8_t)j;
		for (unsigned j = 0; j < PAGES; j++)
			sum += memory[j * PAGE];
		munmap(memory, PAGES * PAGE);
	}
	return sum;
}

static uint64_t protect(unsigned count)
{
	enum { PAGES = 4 };
	uint8_t *memory = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint64_t sum = 0;

	if (memory == MAP_FAILED)
		work_fail("memory");
	for (unsigned i = 0; i < count * 1000; i++) {
		for (unsigned j = 0; j < PAGES; j++)
			sum += memory[j * PAGE]++;
		if (mprotect(memory, PAGES * PAGE, PROT_READ) < 0 ||
		    mprotect(memory, PAGES * PAGE, PROT_READ | PROT_WRITE) < 0)
			work_fail("mprotect");
	}
	return sum;
}

/* Children end at once, or run a program that does. */
static uint64_t children(unsigned count, const char *program, const char *argument)
{
	char *argv[] = {(char *)program, (char *)argument, NULL};
	uint64_t sum = 0;
	int status;

	for (unsigned i = 0; i < count * 100; i++) {
		pid_t pid = fork();

		if (pid < 0)
			work_fail("fork");
		if (pid == 0) {
			if (program)
				execv(program, argv);
			_exit(program ? 1 : 0);
		}
		waitpid(pid, &status, 0);
		if (status)
			work_fail("child");
		sum++;
	}
	return sum;
}

static uint64_t fork_only(unsigned count)
{
	return children(count, NULL, NULL);
}

static uint64_t exec_static(unsigned count)
{
	return children(count, "/soft/work", "nothing");
}

static uint64_t exec_dynamic(unsigned count)
{
	return children(count, "/bin/true", NULL);
}

static void echo(int from, int to)
{
	char byte;

	while (read(from, &byte, 1) == 1 && write(to, &byte, 1) == 1) {
	}
	_exit(0);
}

static uint64_t ping_pong(unsigned count)
{
	int there[2], back[2];
	uint64_t sum = 0;

	if (pipe(there) < 0 || pipe(back) < 0)
		work_fail("pipe");
	if (fork() == 0) {
		close(there[1]);
		echo(there[0], back[1]);
	}
	for (unsigned i = 0; i < count * 1000; i++) {
		char byte = (char)i;

		if (write(there[1], &byte, 1) != 1 || read(back[0], &byte, 1) != 1)
			work_fail("pipe");
		sum += (uint8_t)byte;
	}
	close(there[1]);
	wait(NULL);
	return sum;
}

static uint64_t file(unsigned count)
{
	enum { BLOCKS = 256 };
	int fd = open("/tmp/file", O_RDWR | O_CREAT, 0600);
	char block[PAGE];
	uint64_t sum = 0;

	memset(block, 'x', sizeof(block));
	for (unsigned i = 0; i < count * 1000; i++) {
		off_t at = (off_t)(i * 37 % BLOCKS) * PAGE;

		block[i % PAGE]++;
		if (pwrite(fd, block, PAGE, at) != PAGE || pread(fd, block, PAGE, at) != PAGE)
			work_fail("file");
		sum += (uint8_t)block[i % PAGE];
	}
	close(fd);
	unlink("/tmp/file");
	return sum;
}

const struct work work_kernel[] = {
	{"getpid", call},
	{"signal", signals},
	{"yield", yield},
	{"clock", clocks},
	{"fault", faults},
	{"mprotect", protect},
	{"fork", fork_only},
	{"exec-static", exec_static},
	{"exec-dynamic", exec_dynamic},
	{"pipe", ping_pong},
	{"file", file},
	{NULL, NULL},
};

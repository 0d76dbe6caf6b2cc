/*
 * Attempts on the kernel: code of our own, system calls that a guest process has no use for, and as
 * much of its resources as it gives.
 */
#include <errno.h>
#include <linux/bpf.h>
#include <linux/io_uring.h>
#include <linux/keyctl.h>
#include <linux/perf_event.h>
#include <linux/userfaultfd.h>
#include <mqueue.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "hostile.h"

#define PAGE            4096
#define MANY_FILES      4000
#define MUCH_MEMORY     (64 * GIB)
#define PERSONALITY_GET 0xffffffffUL

/* --- code --- */

static long kernel_mmap_exec(void)
{
	void *page = mmap(NULL, PAGE, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (page == MAP_FAILED)
		return -errno;
	munmap(page, PAGE);
	return 0;
}

/* Makes a page of ours executable by a call that takes what mprotect takes. */
static long kernel_make_exec(long call, long key)
{
	void *page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	long r;

	if (page == MAP_FAILED)
		return -errno;
	r = attempt_result(syscall(call, page, PAGE, PROT_READ | PROT_EXEC, key));
	munmap(page, PAGE);
	return r;
}

static long kernel_mprotect_exec(void)
{
	return kernel_make_exec(SYS_mprotect, 0);
}

static long kernel_pkey_mprotect_exec(void)
{
	return kernel_make_exec(SYS_pkey_mprotect, -1);
}

static long kernel_shmat_exec(void)
{
	int id = (int)syscall(SYS_shmget, IPC_PRIVATE, PAGE, 0700);
	void *at;
	long r = 0;

	if (id < 0)
		return -errno;
	at = shmat(id, NULL, SHM_EXEC);
	if (at == (void *)-1)
		r = -errno;
	else
		shmdt(at);
	shmctl(id, IPC_RMID, NULL);
	return r;
}

static long kernel_personality(void)
{
	return attempt_result(syscall(SYS_personality, PERSONALITY_GET));
}

static long kernel_modify_ldt(void)
{
	char entry[8];

	return attempt_result((int)syscall(SYS_modify_ldt, 0, entry, sizeof(entry)));
}

static long kernel_ioperm(void)
{
	return attempt_result(syscall(SYS_ioperm, 0x80, 1, 0));
}

/* --- what else there is --- */

static long kernel_seccomp(void)
{
	return attempt_result(syscall(SYS_seccomp, 99, 0, NULL));
}

static long kernel_ring_setup(void)
{
	struct io_uring_params p = {0};

	return attempt_descriptor(syscall(SYS_io_uring_setup, 1, &p));
}

static long kernel_ring_register(void)
{
	return attempt_result(
		syscall(SYS_io_uring_register, STDIN_FILENO, IORING_REGISTER_BUFFERS, NULL, 1));
}

static long kernel_userfaultfd(void)
{
	return attempt_descriptor(syscall(SYS_userfaultfd, UFFD_USER_MODE_ONLY));
}

static long kernel_keyctl(void)
{
	return attempt_result(syscall(SYS_keyctl, KEYCTL_GET_KEYRING_ID, KEY_SPEC_USER_KEYRING, 1));
}

static long kernel_add_key(void)
{
	return attempt_result(
		syscall(SYS_add_key, "user", "hostile", "x", 1, KEY_SPEC_PROCESS_KEYRING));
}

static long kernel_bpf(void)
{
	union bpf_attr attr = {
		.map_type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 4, .max_entries = 1};

	return attempt_descriptor(syscall(SYS_bpf, BPF_MAP_CREATE, &attr, sizeof(attr)));
}

static long kernel_perf(void)
{
	struct perf_event_attr attr = {.type = PERF_TYPE_SOFTWARE,
				       .size = sizeof(attr),
				       .config = PERF_COUNT_SW_PAGE_FAULTS};

	return attempt_descriptor(syscall(SYS_perf_event_open, &attr, -1, 0, -1, 0));
}

static long kernel_init_module(void)
{
	return attempt_result(syscall(SYS_init_module, "", 0, ""));
}

static long kernel_syslog(void)
{
	return attempt_result(syscall(SYS_syslog, 10, NULL, 0));
}

static long kernel_msgget(void)
{
	int id = (int)syscall(SYS_msgget, IPC_PRIVATE, 0700);

	if (id < 0)
		return -errno;
	syscall(SYS_msgctl, id, IPC_RMID, NULL);
	return 0;
}

static long kernel_mq_open(void)
{
	long r = attempt_descriptor(syscall(SYS_mq_open, "hostile", O_CREAT | O_RDWR, 0600, NULL));

	if (r >= 0)
		syscall(SYS_mq_unlink, "hostile");
	return r;
}

static long kernel_timer_create(void)
{
	struct sigevent none = {.sigev_notify = SIGEV_NONE};
	int id;
	long r = attempt_result(syscall(SYS_timer_create, CLOCK_MONOTONIC, &none, &id));

	if (r >= 0)
		syscall(SYS_timer_delete, id);
	return r;
}

static long kernel_terminal_ioctl(void)
{
	char size[8];

	return attempt_result(syscall(SYS_ioctl, STDERR_FILENO, 0x5413 /* TIOCGWINSZ */, size));
}

static long kernel_mlock(void)
{
	char byte;
	long r = attempt_result(syscall(SYS_mlock, &byte, 1));

	if (r >= 0)
		munlock(&byte, 1);
	return r;
}

/* --- as much as there is --- */

static long kernel_many_files(void)
{
	static int fds[MANY_FILES];
	size_t n = 0;
	long r = 0;

	while (n < MANY_FILES && r >= 0) {
		r = attempt_result(syscall(SYS_eventfd2, 0, 0));
		if (r >= 0)
			fds[n++] = (int)r;
	}
	for (size_t i = 0; i < n; i++)
		close(fds[i]);
	return r;
}

/* Not touched: it would be ours. */
static long kernel_much_memory(void)
{
	void *p = mmap(NULL, MUCH_MEMORY, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		return -errno;
	munmap(p, MUCH_MEMORY);
	return 0;
}

/* clang-format off */
const struct attempt attempts_on_kernel[] = {
	{"executable memory: mmap", kernel_mmap_exec, 0},
	{"executable memory: mprotect", kernel_mprotect_exec, 0},
	{"executable memory: pkey_mprotect", kernel_pkey_mprotect_exec, 0},
	{"executable memory: shmat", kernel_shmat_exec, 0},
	{"personality", kernel_personality, 0},
	{"modify_ldt", kernel_modify_ldt, 0},
	{"ioperm", kernel_ioperm, 0},
	{"seccomp", kernel_seccomp, EINVAL},
	{"io_uring_setup", kernel_ring_setup, 0},
	{"io_uring_register", kernel_ring_register, EOPNOTSUPP},
	{"userfaultfd", kernel_userfaultfd, 0},
	{"keyctl", kernel_keyctl, 0},
	{"add_key", kernel_add_key, 0},
	{"bpf", kernel_bpf, 0},
	{"perf_event_open", kernel_perf, 0},
	{"init_module", kernel_init_module, ENOEXEC},
	{"syslog", kernel_syslog, 0},
	{"msgget", kernel_msgget, 0},
	{"mq_open", kernel_mq_open, 0},
	{"timer_create", kernel_timer_create, 0},
	{"ioctl of a terminal", kernel_terminal_ioctl, ENOTTY},
	{"mlock", kernel_mlock, 0},
	{"4000 descriptors", kernel_many_files, 0},
	{"64 GiB of memory", kernel_much_memory, 0},
	{0},
};
/* clang-format on */

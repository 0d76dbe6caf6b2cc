/*
 * Runs the attempts, by system call and through the disk's ring, and reports.
 */
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "hostile.h"

#define X32_BIT      0x40000000
#define I386_GETPID  20
#define MEMORY_CHUNK (16 * MIB)

const char *attempt_victim(const char *name)
{
	char full[32];
	const char *value;

	snprintf(full, sizeof(full), "HOSTILE_%s", name);
	value = getenv(full);
	return value ? value : "";
}

pid_t attempt_victim_pid(void)
{
	return (pid_t)atoi(attempt_victim("PID"));
}

long attempt_result(long r)
{
	return r < 0 ? -errno : r;
}

long attempt_descriptor(long r)
{
	r = attempt_result(r);
	if (r >= 0)
		close((int)r);
	return r;
}

long attempt_child(long r)
{
	r = attempt_result(r);
	if (r == 0)
		syscall(SYS_exit_group, 0);
	if (r > 0)
		waitpid((pid_t)r, NULL, 0);
	return r;
}

/* --- through the disk's ring --- */

static char ring_path[512];

static void prepare_openat(struct io_uring_sqe *sqe)
{
	snprintf(ring_path, sizeof(ring_path), "%s/disk", attempt_victim("DIR"));
	io_uring_prep_openat(sqe, AT_FDCWD, ring_path, O_RDONLY, 0);
}

static void prepare_socket(struct io_uring_sqe *sqe)
{
	io_uring_prep_socket(sqe, AF_UNIX, SOCK_STREAM, 0, 0);
}

static void prepare_connect(struct io_uring_sqe *sqe)
{
	io_uring_prep_connect(sqe, -1, NULL, 0);
}

static char ring_byte;

/* An operation that is allowed, on a descriptor that isn't registered. */
static void prepare_other_file(struct io_uring_sqe *sqe)
{
	io_uring_prep_read(sqe, STDIN_FILENO, &ring_byte, 1, 0);
}

struct ring_attempt {
	const char *name;
	void (*prepare)(struct io_uring_sqe *sqe);
	int began;
	bool is_descriptor;
};

static const struct ring_attempt ring_attempts[] = {
	{"the disk's ring: open another guest's disk", prepare_openat, 0, true},
	{"the disk's ring: a socket", prepare_socket, 0, true},
	{"the disk's ring: connect", prepare_connect, EBADF, false},
	{"the disk's ring: another file", prepare_other_file, 0, false},
};

/* The disk is idle, so that the only completion is ours. */
static long try_ring(struct io_uring *ring, const struct ring_attempt *a)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);
	struct io_uring_cqe *cqe;
	int r;

	if (!sqe)
		return -EAGAIN;
	a->prepare(sqe);
	r = io_uring_submit(ring);
	if (r < 0)
		return r;
	r = io_uring_wait_cqe(ring, &cqe);
	if (r < 0)
		return r;
	r = cqe->res;
	io_uring_cqe_seen(ring, cqe);
	if (r >= 0 && a->is_descriptor)
		close(r);
	return r;
}

/* --- reports: printed by the main thread, with nothing but write --- */

static char report_text[64 * KIB];
static size_t report_size;

static void printf_like(1, 2) report_line(const char *fmt, ...)
{
	size_t room = sizeof(report_text) - report_size;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(report_text + report_size, room, fmt, ap);
	va_end(ap);
	assert(n >= 0 && (size_t)n < room);
	report_size += (size_t)n;
}

void attempt_report(const char *role, const char *name, long r, int began)
{
	if (r >= 0 || r == -began)
		report_line("hostile: %s: %s: done\n", role, name);
	else
		report_line("hostile: %s: %s: refused (%s)\n", role, name,
			    strerrorname_np((int)-r));
}

void attempts_print(void)
{
	size_t done = 0;

	while (done < report_size) {
		ssize_t n = write(STDERR_FILENO, report_text + done, report_size - done);

		assert(n > 0);
		done += (size_t)n;
	}
	report_size = 0;
}

static void run_list(const char *role, const struct attempt *list)
{
	for (; list->name; list++)
		attempt_report(role, list->name, list->run(), list->began);
}

/* The I/O thread isn't told of our completions: it would take them for its own. */
static void run_ring(const char *role, struct io_uring *ring)
{
	io_uring_cq_eventfd_toggle(ring, false);
	for (size_t i = 0; i < ARRAY_SIZE(ring_attempts); i++)
		attempt_report(role, ring_attempts[i].name, try_ring(ring, &ring_attempts[i]),
			       ring_attempts[i].began);
	io_uring_cq_eventfd_toggle(ring, true);
}

void attempts_run(const char *role, struct io_uring *ring)
{
	if (ring)
		run_ring(role, ring);
	run_list(role, attempts_on_files);
	run_list(role, attempts_on_processes);
	run_list(role, attempts_on_sockets);
	run_list(role, attempts_on_kernel);
}

void attempts_run_int80(void)
{
	long r = I386_GETPID;

	__asm__ volatile("int $0x80" : "+a"(r) : : "memory", "r8", "r9", "r10", "r11");
	attempt_report("vcpu", "the 32-bit entry", r, 0);
}

void attempts_run_x32(void)
{
	attempt_report("vcpu", "an x32 system call", attempt_result(syscall(X32_BIT | SYS_getpid)),
		       0);
}

void attempts_run_memory(void)
{
	char *p;

	do {
		p = mmap(NULL, MEMORY_CHUNK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			 -1, 0);
		if (p != MAP_FAILED)
			memset(p, 1, MEMORY_CHUNK);
	} while (p != MAP_FAILED);
	attempt_report("vcpu", "memory without end", -errno, 0);
}

/*
 * What an attacker would try, one function each.
 *
 * An attempt counts as refused only by the error of what should refuse it: EPERM from the seccomp
 * filter, EACCES from the ring's restrictions. Any other error means that the kernel has begun to do
 * it. So most go for something that is harmless, or that isn't there.
 */
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <linux/capability.h>
#include <linux/sched.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/base.h"
#include "hostile.h"

#define X32_BIT      0x40000000
#define I386_GETPID  20
#define NOT_THERE    "/nonexistent/file"
#define HOSTILE_PAGE 4096

/* A result or a negative errno, whichever library call it came by. */
static long result(long r)
{
	return r < 0 ? -errno : r;
}

/* A descriptor that was really got is closed. */
static long descriptor(long r)
{
	r = result(r);
	if (r >= 0)
		close((int)r);
	return r;
}

/* A child that was really made is ended. */
static long child(long r)
{
	r = result(r);
	if (r == 0)
		syscall(SYS_exit_group, 0);
	if (r > 0)
		waitpid((pid_t)r, NULL, 0);
	return r;
}

/* --- files --- */

static long try_open(void)
{
	return descriptor(syscall(SYS_open, "/dev/null", O_RDONLY));
}

static long try_openat(void)
{
	return descriptor(syscall(SYS_openat, AT_FDCWD, "/dev/null", O_RDONLY));
}

static long try_openat2(void)
{
	struct open_how {
		u64 flags, mode, resolve;
	} how = {.flags = O_RDONLY};

	return descriptor(syscall(SYS_openat2, AT_FDCWD, "/dev/null", &how, sizeof(how)));
}

static long try_creat(void)
{
	return descriptor(syscall(SYS_creat, NOT_THERE, 0600));
}

static long try_stat(void)
{
	char buf[512];

	return result(syscall(SYS_stat, "/", buf));
}

static long try_unlink(void)
{
	return result(syscall(SYS_unlink, NOT_THERE));
}

static long try_chroot(void)
{
	return result(syscall(SYS_chroot, NOT_THERE));
}

static long try_memfd_create(void)
{
	return descriptor(syscall(SYS_memfd_create, "hostile", 0));
}

static long try_terminal_ioctl(void)
{
	char size[8];

	return result(syscall(SYS_ioctl, STDERR_FILENO, 0x5413 /* TIOCGWINSZ */, size));
}

/* --- programs and processes --- */

static long try_execve(void)
{
	char *const none[] = {NULL};

	return result(syscall(SYS_execve, NOT_THERE, none, none));
}

static long try_execveat(void)
{
	char *const none[] = {NULL};

	return result(syscall(SYS_execveat, AT_FDCWD, NOT_THERE, none, none, 0));
}

static long try_fork(void)
{
	return child(syscall(SYS_fork));
}

static long try_clone(void)
{
	return child(syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0));
}

static long try_clone3(void)
{
	struct clone_args args = {.exit_signal = SIGCHLD};

	return child(syscall(SYS_clone3, &args, sizeof(args)));
}

static void *do_nothing(void *arg)
{
	return arg;
}

static long try_thread(void)
{
	pthread_t thread;
	int r = pthread_create(&thread, NULL, do_nothing, NULL);

	if (r == 0)
		pthread_join(thread, NULL);
	return -r;
}

static long try_unshare(void)
{
	return result(syscall(SYS_unshare, 0));
}

static long try_setns(void)
{
	return result(syscall(SYS_setns, -1, 0));
}

/* --- other processes: the launcher, our parent, is the victim --- */

static long try_kill(void)
{
	return result(syscall(SYS_kill, getppid(), 0));
}

static long try_tkill(void)
{
	return result(syscall(SYS_tkill, getppid(), 0));
}

static long try_tgkill(void)
{
	pid_t victim = getppid();

	return result(syscall(SYS_tgkill, victim, victim, 0));
}

static long try_pidfd_open(void)
{
	return descriptor(syscall(SYS_pidfd_open, getppid(), 0));
}

static long try_ptrace(void)
{
	pid_t victim = getppid();
	long r = result(ptrace(PTRACE_SEIZE, victim, 0, 0));

	/* Only a stopped process can be let go. */
	if (r == 0 && ptrace(PTRACE_INTERRUPT, victim, 0, 0) == 0 &&
	    waitpid(victim, NULL, __WALL) == victim)
		ptrace(PTRACE_DETACH, victim, 0, 0);
	return r;
}

static long try_process_vm(long call)
{
	char from = 1, to = 0;
	struct iovec local = {&to, 1}, remote = {&from, 1};

	return result(syscall(call, getpid(), &local, 1, &remote, 1, 0));
}

static long try_process_vm_readv(void)
{
	return try_process_vm(SYS_process_vm_readv);
}

static long try_process_vm_writev(void)
{
	return try_process_vm(SYS_process_vm_writev);
}

static long try_prlimit(void)
{
	struct rlimit limit;

	return result(syscall(SYS_prlimit64, getppid(), RLIMIT_CORE, NULL, &limit));
}

/* --- sockets --- */

static long try_socket(void)
{
	return descriptor(syscall(SYS_socket, AF_UNIX, SOCK_STREAM, 0));
}

static long try_socketpair(void)
{
	int pair[2];
	long r = result(syscall(SYS_socketpair, AF_UNIX, SOCK_STREAM, 0, pair));

	if (r == 0) {
		close(pair[0]);
		close(pair[1]);
	}
	return r;
}

static long try_connect(void)
{
	return result(syscall(SYS_connect, -1, NULL, 0));
}

static long try_bind(void)
{
	return result(syscall(SYS_bind, -1, NULL, 0));
}

static long try_listen(void)
{
	return result(syscall(SYS_listen, -1, 1));
}

/* --- code --- */

static long try_mmap_exec(void)
{
	void *page =
		mmap(NULL, HOSTILE_PAGE, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (page == MAP_FAILED)
		return -errno;
	munmap(page, HOSTILE_PAGE);
	return 0;
}

/* Makes a page of ours executable by a call that takes what mprotect takes. */
static long try_make_exec(long call, long key)
{
	void *page = mmap(NULL, HOSTILE_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			  -1, 0);
	long r;

	if (page == MAP_FAILED)
		return -errno;
	r = result(syscall(call, page, HOSTILE_PAGE, PROT_READ | PROT_EXEC, key));
	munmap(page, HOSTILE_PAGE);
	return r;
}

static long try_mprotect_exec(void)
{
	return try_make_exec(SYS_mprotect, 0);
}

static long try_pkey_mprotect_exec(void)
{
	return try_make_exec(SYS_pkey_mprotect, -1);
}

/* --- privileges --- */

static long try_set_dumpable(void)
{
	return result(prctl(PR_SET_DUMPABLE, 1, 0, 0, 0));
}

static long try_capset(void)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct none[2] = {0};

	return result(syscall(SYS_capset, &head, none));
}

static long try_setuid(void)
{
	return result(syscall(SYS_setuid, getuid()));
}

static long try_seccomp(void)
{
	return result(syscall(SYS_seccomp, 99, 0, NULL));
}

/* --- rings --- */

static long try_ring_setup(void)
{
	struct io_uring_params p = {0};

	return descriptor(syscall(SYS_io_uring_setup, 1, &p));
}

static long try_ring_register(void)
{
	return result(syscall(SYS_io_uring_register, -1, IORING_REGISTER_PROBE, NULL, 0));
}

struct attempt {
	const char *name;
	long (*run)(void);
};

static const struct attempt attempts[] = {
	{"open", try_open},
	{"openat", try_openat},
	{"openat2", try_openat2},
	{"creat", try_creat},
	{"stat", try_stat},
	{"unlink", try_unlink},
	{"chroot", try_chroot},
	{"memfd_create", try_memfd_create},
	{"ioctl of a terminal", try_terminal_ioctl},
	{"execve", try_execve},
	{"execveat", try_execveat},
	{"fork", try_fork},
	{"clone", try_clone},
	{"clone3", try_clone3},
	{"a thread", try_thread},
	{"unshare", try_unshare},
	{"setns", try_setns},
	{"kill", try_kill},
	{"tkill", try_tkill},
	{"tgkill", try_tgkill},
	{"pidfd_open", try_pidfd_open},
	{"ptrace", try_ptrace},
	{"process_vm_readv", try_process_vm_readv},
	{"process_vm_writev", try_process_vm_writev},
	{"prlimit", try_prlimit},
	{"socket", try_socket},
	{"socketpair", try_socketpair},
	{"connect", try_connect},
	{"bind", try_bind},
	{"listen", try_listen},
	{"mmap PROT_EXEC", try_mmap_exec},
	{"mprotect PROT_EXEC", try_mprotect_exec},
	{"pkey_mprotect PROT_EXEC", try_pkey_mprotect_exec},
	{"prctl PR_SET_DUMPABLE", try_set_dumpable},
	{"setuid", try_setuid},
	{"seccomp", try_seccomp},
	{"io_uring_setup", try_ring_setup},
	{"io_uring_register", try_ring_register},
	{"capset", try_capset}, /* the last: those before may need capabilities */
};

/* --- through the disk's ring --- */

static void prepare_openat(struct io_uring_sqe *sqe)
{
	io_uring_prep_openat(sqe, AT_FDCWD, "/dev/null", O_RDONLY, 0);
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
};

static const struct ring_attempt ring_attempts[] = {
	{"openat through the ring", prepare_openat},
	{"socket through the ring", prepare_socket},
	{"connect through the ring", prepare_connect},
	{"another file through the ring", prepare_other_file},
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
	return r;
}

/* --- reports: printed by the main thread, with nothing but write --- */

static char report_text[16 * KIB];
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

static void report(const char *role, const char *name, long r, long refusal)
{
	if (r == -refusal)
		report_line("hostile: %s: %s: refused by %s\n", role, name,
			    refusal == EACCES ? "the ring's restrictions"
					      : "the system call filter");
	else
		report_line("hostile: %s: %s: not refused (%s)\n", role, name,
			    r < 0 ? strerror((int)-r) : "done");
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

void attempts_run(const char *role, struct io_uring *ring)
{
	for (size_t i = 0; ring && i < ARRAY_SIZE(ring_attempts); i++)
		report(role, ring_attempts[i].name, try_ring(ring, &ring_attempts[i]), EACCES);
	for (size_t i = 0; i < ARRAY_SIZE(attempts); i++)
		report(role, attempts[i].name, attempts[i].run(), EPERM);
}

void attempts_run_int80(void)
{
	long r = I386_GETPID;

	__asm__ volatile("int $0x80" : "+a"(r) : : "memory", "r8", "r9", "r10", "r11");
	report("vcpu", "the 32-bit entry", r, 0);
}

void attempts_run_x32(void)
{
	report("vcpu", "an x32 system call", result(syscall(X32_BIT | SYS_getpid)), 0);
}

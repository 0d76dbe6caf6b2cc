/*
 * Attempts on processes: HOSTILE_PID is one that has nothing to do with us, but belongs to the user
 * who started us.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/kcmp.h>
#include <linux/sched.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "hostile.h"

#define MANY_PROCESSES 1500

static long processes_kill(void)
{
	return attempt_result(syscall(SYS_kill, attempt_victim_pid(), 0));
}

static long processes_tkill(void)
{
	return attempt_result(syscall(SYS_tkill, attempt_victim_pid(), 0));
}

static long processes_tgkill(void)
{
	pid_t victim = attempt_victim_pid();

	return attempt_result(syscall(SYS_tgkill, victim, victim, 0));
}

static long processes_sigqueue(void)
{
	siginfo_t info = {.si_code = SI_QUEUE};

	return attempt_result(syscall(SYS_rt_sigqueueinfo, attempt_victim_pid(), 0, &info));
}

static long processes_pidfd_open(void)
{
	return attempt_descriptor(syscall(SYS_pidfd_open, attempt_victim_pid(), 0));
}

/* With a descriptor of the victim's process: the call, and what it is given. */
static long processes_by_pidfd(long call, long a, long b, long c)
{
	int fd = (int)syscall(SYS_pidfd_open, attempt_victim_pid(), 0);
	long r;

	if (fd < 0)
		return -errno;
	r = attempt_result(syscall(call, fd, a, b, c));
	close(fd);
	return r;
}

static long processes_pidfd_signal(void)
{
	return processes_by_pidfd(SYS_pidfd_send_signal, 0, 0, 0);
}

static long processes_pidfd_getfd(void)
{
	long r = processes_by_pidfd(SYS_pidfd_getfd, STDERR_FILENO, 0, 0);

	if (r >= 0)
		close((int)r);
	return r;
}

static long processes_setns(void)
{
	return processes_by_pidfd(SYS_setns, CLONE_NEWUTS, 0, 0);
}

static long processes_ptrace(void)
{
	pid_t victim = attempt_victim_pid();
	long r = attempt_result(ptrace(PTRACE_SEIZE, victim, 0, 0));

	/* Only a stopped process can be let go. */
	if (r == 0 && ptrace(PTRACE_INTERRUPT, victim, 0, 0) == 0 &&
	    waitpid(victim, NULL, __WALL) == victim)
		ptrace(PTRACE_DETACH, victim, 0, 0);
	return r;
}

/* At address 0 there is nothing: EFAULT comes after the permission. */
static long processes_memory(long call)
{
	char byte = 0;
	struct iovec local = {&byte, 1}, remote = {NULL, 1};

	return attempt_result(syscall(call, attempt_victim_pid(), &local, 1, &remote, 1, 0));
}

static long processes_readv(void)
{
	return processes_memory(SYS_process_vm_readv);
}

static long processes_writev(void)
{
	return processes_memory(SYS_process_vm_writev);
}

static long processes_kcmp(void)
{
	return attempt_result(
		syscall(SYS_kcmp, attempt_victim_pid(), attempt_victim_pid(), KCMP_VM));
}

static long processes_prlimit(void)
{
	struct rlimit limit;

	return attempt_result(
		syscall(SYS_prlimit64, attempt_victim_pid(), RLIMIT_CORE, NULL, &limit));
}

static long processes_priority(void)
{
	return attempt_result(syscall(SYS_setpriority, PRIO_PROCESS, attempt_victim_pid(), 0));
}

static long processes_fork(void)
{
	return attempt_child(syscall(SYS_fork));
}

static long processes_clone(void)
{
	return attempt_child(syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0));
}

static long processes_clone3(void)
{
	struct clone_args args = {.exit_signal = SIGCHLD};

	return attempt_child(syscall(SYS_clone3, &args, sizeof(args)));
}

static long processes_user_namespace(void)
{
	return attempt_child(syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0));
}

static long processes_unshare(void)
{
	return attempt_result(syscall(SYS_unshare, 0));
}

static void *do_nothing(void *arg)
{
	return arg;
}

static long processes_thread(void)
{
	pthread_t thread;
	int r = pthread_create(&thread, NULL, do_nothing, NULL);

	if (r == 0)
		pthread_join(thread, NULL);
	return -r;
}

/* Children that wait for their end; how many may there be? */
static long processes_many(void)
{
	static pid_t children[MANY_PROCESSES];
	size_t n = 0;
	long r = 0;

	while (n < MANY_PROCESSES && r >= 0) {
		r = attempt_result(syscall(SYS_fork));
		if (r == 0) {
			pause();
			syscall(SYS_exit_group, 0);
		}
		if (r > 0)
			children[n++] = (pid_t)r;
	}
	for (size_t i = 0; i < n; i++)
		kill(children[i], SIGKILL);
	for (size_t i = 0; i < n; i++)
		waitpid(children[i], NULL, 0);
	return r < 0 ? r : 0;
}

static long processes_setuid(void)
{
	return attempt_result(syscall(SYS_setresuid, 0, 0, 0));
}

/* Nothing is lost by it: what we have stays. */
static long processes_capset(void)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];

	if (syscall(SYS_capget, &head, data) < 0)
		return -errno;
	data[0].permitted |= BIT32(CAP_SYS_ADMIN);
	data[0].effective |= BIT32(CAP_SYS_ADMIN);
	return attempt_result(syscall(SYS_capset, &head, data));
}

static long processes_dumpable(void)
{
	long r = attempt_result(prctl(PR_SET_DUMPABLE, 1, 0, 0, 0));

	if (r >= 0)
		prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	return r;
}

static long processes_sethostname(void)
{
	char name[65];

	if (gethostname(name, sizeof(name)) < 0)
		return -errno;
	return attempt_result(syscall(SYS_sethostname, name, strlen(name)));
}

/* clang-format off */
const struct attempt attempts_on_processes[] = {
	{"signal a process: kill", processes_kill, 0},
	{"signal a process: tkill", processes_tkill, 0},
	{"signal a process: tgkill", processes_tgkill, 0},
	{"signal a process: rt_sigqueueinfo", processes_sigqueue, 0},
	{"signal a process: pidfd_send_signal", processes_pidfd_signal, 0},
	{"pidfd_open", processes_pidfd_open, 0},
	{"take a process's descriptor: pidfd_getfd", processes_pidfd_getfd, 0},
	{"enter a process's namespace: setns", processes_setns, 0},
	{"ptrace", processes_ptrace, 0},
	{"process_vm_readv", processes_readv, EFAULT},
	{"process_vm_writev", processes_writev, EFAULT},
	{"kcmp", processes_kcmp, 0},
	{"prlimit of a process", processes_prlimit, 0},
	{"setpriority of a process", processes_priority, 0},
	{"fork", processes_fork, 0},
	{"clone", processes_clone, 0},
	{"clone3", processes_clone3, 0},
	{"a child in a user namespace", processes_user_namespace, 0},
	{"unshare", processes_unshare, 0},
	{"a thread", processes_thread, 0},
	{"1500 processes", processes_many, 0},
	{"become root: setresuid", processes_setuid, 0},
	{"take a capability: capset", processes_capset, 0},
	{"become dumpable: prctl", processes_dumpable, 0},
	{"sethostname", processes_sethostname, 0},
	{0},
};
/* clang-format on */

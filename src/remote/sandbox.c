/*
 * A connector's system calls. See sandbox.h.
 */
#include "remote/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/err.h"

/* clang-format off */
static const int sandbox_connect_calls[] = {
	SCMP_SYS(connect), SCMP_SYS(getsockopt), SCMP_SYS(setsockopt), SCMP_SYS(recvmsg), SCMP_SYS(sendmsg),
	SCMP_SYS(poll), SCMP_SYS(ppoll), SCMP_SYS(write), SCMP_SYS(writev), SCMP_SYS(close),
	SCMP_SYS(dup2), SCMP_SYS(dup3), /* who started us is gone */
	SCMP_SYS(brk), SCMP_SYS(munmap), SCMP_SYS(mremap), SCMP_SYS(madvise),
	SCMP_SYS(clock_gettime), SCMP_SYS(gettimeofday), SCMP_SYS(time),
	SCMP_SYS(futex), SCMP_SYS(getrandom), SCMP_SYS(rt_sigprocmask), SCMP_SYS(rt_sigreturn),
	SCMP_SYS(restart_syscall), SCMP_SYS(getpid), SCMP_SYS(gettid), SCMP_SYS(exit), SCMP_SYS(exit_group),
};

static const int sandbox_serve_calls[] = {
	SCMP_SYS(epoll_create1), SCMP_SYS(epoll_ctl), SCMP_SYS(epoll_wait), SCMP_SYS(epoll_pwait),
	SCMP_SYS(eventfd2), SCMP_SYS(timerfd_create), SCMP_SYS(timerfd_settime),
	SCMP_SYS(getsockname), SCMP_SYS(getpeername), SCMP_SYS(recvfrom), SCMP_SYS(sendto), SCMP_SYS(shutdown),
	SCMP_SYS(read), SCMP_SYS(readv), SCMP_SYS(fcntl),
	/* what TLS reads, and who the server is */
	SCMP_SYS(access), SCMP_SYS(stat), SCMP_SYS(fstat), SCMP_SYS(newfstatat), SCMP_SYS(lseek),
	SCMP_SYS(getrusage), SCMP_SYS(getuid), SCMP_SYS(geteuid),
};

/* Programs, other processes, the kernel, what needs a capability. */
static const int sandbox_never[] = {
	SCMP_SYS(execve), SCMP_SYS(execveat), SCMP_SYS(ptrace), SCMP_SYS(process_vm_readv),
	SCMP_SYS(process_vm_writev), SCMP_SYS(pidfd_open), SCMP_SYS(pidfd_getfd), SCMP_SYS(kcmp),
	SCMP_SYS(setns), SCMP_SYS(unshare), SCMP_SYS(mount), SCMP_SYS(umount2), SCMP_SYS(chroot),
	SCMP_SYS(pivot_root), SCMP_SYS(fsopen), SCMP_SYS(fsmount), SCMP_SYS(open_tree), SCMP_SYS(move_mount),
	SCMP_SYS(open_by_handle_at), SCMP_SYS(fanotify_init), SCMP_SYS(bpf), SCMP_SYS(perf_event_open),
	SCMP_SYS(userfaultfd), SCMP_SYS(keyctl), SCMP_SYS(add_key), SCMP_SYS(request_key),
	SCMP_SYS(io_uring_setup), SCMP_SYS(io_uring_register), SCMP_SYS(io_uring_enter), SCMP_SYS(seccomp),
	SCMP_SYS(personality), SCMP_SYS(modify_ldt), SCMP_SYS(init_module), SCMP_SYS(finit_module),
	SCMP_SYS(delete_module), SCMP_SYS(kexec_load), SCMP_SYS(reboot), SCMP_SYS(swapon), SCMP_SYS(swapoff),
	SCMP_SYS(syslog), SCMP_SYS(setuid), SCMP_SYS(setgid), SCMP_SYS(setreuid), SCMP_SYS(setregid),
	SCMP_SYS(setresuid), SCMP_SYS(setresgid), SCMP_SYS(setgroups), SCMP_SYS(capset), SCMP_SYS(sethostname),
};
/* clang-format on */

#define SANDBOX_TYPES  ((scmp_datum_t) ~(SOCK_CLOEXEC | SOCK_NONBLOCK) & UINT32_MAX)
#define SANDBOX_WRITES ((scmp_datum_t)(O_ACCMODE | O_CREAT | O_TRUNC | O_APPEND))

static int sandbox_allow(scmp_filter_ctx ctx, const int *calls, size_t n)
{
	int r = 0;

	for (size_t i = 0; i < n && r == 0; i++)
		r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, calls[i], 0);
	return r;
}

/* Streams of one family. */
static int sandbox_allow_sockets(scmp_filter_ctx ctx, int call, int family)
{
	return seccomp_rule_add(ctx, SCMP_ACT_ALLOW, call, 2,
				SCMP_A0(SCMP_CMP_MASKED_EQ, UINT32_MAX, (scmp_datum_t)family),
				SCMP_A1(SCMP_CMP_MASKED_EQ, SANDBOX_TYPES, SOCK_STREAM));
}

static int sandbox_add_conditions(scmp_filter_ctx ctx, bool is_unix)
{
	int r = is_unix ? sandbox_allow_sockets(ctx, SCMP_SYS(socket), AF_UNIX)
			: sandbox_allow_sockets(ctx, SCMP_SYS(socket), AF_INET);

	if (r == 0 && !is_unix)
		r = sandbox_allow_sockets(ctx, SCMP_SYS(socket), AF_INET6);
	if (r == 0)
		r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 1,
				     SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
	if (r == 0)
		r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(mprotect), 1,
				     SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
	/* abort(3) */
	if (r == 0)
		r = seccomp_rule_add(
			ctx, SCMP_ACT_ALLOW, SCMP_SYS(tgkill), 1,
			SCMP_A0(SCMP_CMP_MASKED_EQ, UINT32_MAX, (scmp_datum_t)getpid()));
	return r;
}

static int sandbox_add_rules(scmp_filter_ctx ctx, enum sandbox_kind kind, bool is_unix)
{
	int r = 0;

	if (kind == SANDBOX_LIBRARY) {
		for (size_t i = 0; i < ARRAY_SIZE(sandbox_never) && r == 0; i++)
			r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EPERM), sandbox_never[i], 0);
		return r;
	}
	r = sandbox_allow(ctx, sandbox_connect_calls, ARRAY_SIZE(sandbox_connect_calls));
	if (r == 0)
		r = sandbox_add_conditions(ctx, is_unix);
	if (r < 0 || kind == SANDBOX_CONNECT)
		return r;
	r = sandbox_allow(ctx, sandbox_serve_calls, ARRAY_SIZE(sandbox_serve_calls));
	if (r == 0)
		r = sandbox_allow_sockets(ctx, SCMP_SYS(socketpair), AF_UNIX);
	if (r == 0)
		r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(openat), 1,
				     SCMP_A2(SCMP_CMP_MASKED_EQ, SANDBOX_WRITES, O_RDONLY));
	return r;
}

int remote_sandbox_enter(enum sandbox_kind kind, bool is_unix, struct err *err)
{
	scmp_filter_ctx ctx =
		seccomp_init(kind == SANDBOX_LIBRARY ? SCMP_ACT_ALLOW : SCMP_ACT_ERRNO(EPERM));
	int r = ctx ? sandbox_add_rules(ctx, kind, is_unix) : -ENOMEM;

	if (r == 0)
		r = seccomp_load(ctx);
	if (ctx)
		seccomp_release(ctx);
	return r < 0 ? err_errno(err, r, "cannot restrict the process's system calls") : 0;
}

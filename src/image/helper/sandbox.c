/*
 * posada-image's system calls. See sandbox.h.
 */
#include "image/helper/sandbox.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <linux/io_uring.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/base.h"
#include "base/err.h"

/* clang-format off */
static const int sandbox_calls[] = {
	/* files that are open: by the engines, and what the raw disk asks of them */
	SCMP_SYS(io_uring_enter), SCMP_SYS(preadv), SCMP_SYS(pwritev2), SCMP_SYS(fallocate),
	SCMP_SYS(fdatasync), SCMP_SYS(ftruncate), SCMP_SYS(lseek), SCMP_SYS(fstat),
	SCMP_SYS(newfstatat), SCMP_SYS(statx), SCMP_SYS(fcntl), SCMP_SYS(close),
	/* the launcher; clients of a served disk; a disk's server */
	SCMP_SYS(recvmsg), SCMP_SYS(sendmsg), SCMP_SYS(accept4), SCMP_SYS(recvfrom), SCMP_SYS(sendto),
	SCMP_SYS(setsockopt), SCMP_SYS(getsockopt), SCMP_SYS(shutdown), SCMP_SYS(poll),
	SCMP_SYS(read), SCMP_SYS(write), SCMP_SYS(writev),
	/* the loop */
	SCMP_SYS(epoll_wait), SCMP_SYS(epoll_pwait), SCMP_SYS(epoll_ctl), SCMP_SYS(timerfd_settime),
	/* memory; see also the rules with conditions */
	SCMP_SYS(brk), SCMP_SYS(munmap), SCMP_SYS(mremap), SCMP_SYS(madvise),
	SCMP_SYS(mlock), SCMP_SYS(munlock),
	/* time, locks, chance, the end */
	SCMP_SYS(clock_gettime), SCMP_SYS(futex), SCMP_SYS(getrandom), SCMP_SYS(rt_sigprocmask),
	SCMP_SYS(rt_sigreturn), SCMP_SYS(restart_syscall), SCMP_SYS(sched_yield), SCMP_SYS(getpid),
	SCMP_SYS(gettid), SCMP_SYS(exit), SCMP_SYS(exit_group),
	/* the sanitizers of debug builds, as stacks change */
	SCMP_SYS(sigaltstack),
};

/* Allowed when the argument, masked, is the value. */
static const struct {
	int call;
	unsigned arg;
	scmp_datum_t mask, value;
} sandbox_conditions[] = {
	{SCMP_SYS(io_uring_register), 1, UINT32_MAX, IORING_REGISTER_FILES_UPDATE},
	{SCMP_SYS(ioctl), 1, UINT32_MAX, BLKGETSIZE64},
	{SCMP_SYS(ioctl), 1, UINT32_MAX, BLKSSZGET},
	{SCMP_SYS(mmap), 2, PROT_EXEC, 0},
	{SCMP_SYS(mprotect), 2, PROT_EXEC, 0},
};
/* clang-format on */

static int sandbox_add_rules(scmp_filter_ctx ctx)
{
	int r = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_TSYNC, 1);

	for (size_t i = 0; i < ARRAY_SIZE(sandbox_calls) && r == 0; i++)
		r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, sandbox_calls[i], 0);
	for (size_t i = 0; i < ARRAY_SIZE(sandbox_conditions) && r == 0; i++)
		r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, sandbox_conditions[i].call, 1,
				     SCMP_CMP(sandbox_conditions[i].arg, SCMP_CMP_MASKED_EQ,
					      sandbox_conditions[i].mask,
					      sandbox_conditions[i].value));
	/* abort(3) */
	if (r == 0)
		r = seccomp_rule_add(
			ctx, SCMP_ACT_ALLOW, SCMP_SYS(tgkill), 1,
			SCMP_A0(SCMP_CMP_MASKED_EQ, UINT32_MAX, (scmp_datum_t)getpid()));
	return r;
}

int image_sandbox_enter(struct err *err)
{
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ERRNO(EPERM));
	int r = ctx ? sandbox_add_rules(ctx) : -ENOMEM;

	if (r == 0)
		r = seccomp_load(ctx);
	if (ctx)
		seccomp_release(ctx);
	return r < 0 ? err_errno(err, r, "cannot restrict the process's system calls") : 0;
}

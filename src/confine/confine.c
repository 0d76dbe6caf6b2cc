/*
 * Confinement of the guest process, first layer. See confine.h.
 */
#include "confine/confine.h"

#include <cap-ng.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/err.h"
#include "confine/seccomp_self.h"
#include "seccomp_programs.h"

/*
 * The bounding set can only be dropped by who has CAP_SETPCAP; with no new privileges it grants
 * nothing to anybody else.
 */
static int confine_drop_capabilities(void)
{
	bool has_setpcap = capng_get_caps_process() == 0 &&
			   capng_have_capability(CAPNG_EFFECTIVE, CAP_SETPCAP);

	capng_clear(CAPNG_SELECT_ALL);
	if (has_setpcap && capng_apply(CAPNG_SELECT_BOUNDS) < 0)
		return -EPERM;
	return capng_apply(CAPNG_SELECT_CAPS) < 0 ? -EPERM : 0;
}

int confine_process(bool is_bound_to_parent, struct err *err)
{
	const struct rlimit no_core = {0, 0};
	pid_t parent = getppid();

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return err_errno(err, -errno, "cannot give up new privileges");
	if (confine_drop_capabilities() < 0)
		return err_set(err, -EPERM, "cannot give up capabilities");
	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0)
		return err_errno(err, -errno, "cannot clear ambient capabilities");
	if (setrlimit(RLIMIT_CORE, &no_core) < 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		return err_errno(err, -errno, "cannot switch core dumps off");
	if (is_bound_to_parent) {
		if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0)
			return err_errno(err, -errno, "cannot bind to the parent's life");
		if (getppid() != parent)
			return err_set(err, -ESRCH, "the parent is gone");
	}
	return 0;
}

struct confine_program {
	const struct sock_filter *insns;
	unsigned short n;
};

/* Loads a program for the calling thread. */
static int confine_load(const struct confine_program *p, struct err *err)
{
	AUTO(free_ptr) struct sock_filter *insns = NEW_ARRAY(struct sock_filter, p->n);
	struct sock_fprog program = {.len = p->n, .filter = insns};

	memcpy(insns, p->insns, p->n * sizeof(*insns));
	for (unsigned short i = 0; i < p->n; i++) {
		if (insns[i].k == SECCOMP_SELF)
			insns[i].k = (u32)getpid();
	}
	if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) < 0)
		return err_errno(err, -errno, "cannot enter the system call filter");
	return 0;
}

int confine_setup(struct err *err)
{
	static const struct confine_program p = {seccomp_setup, ARRAY_SIZE(seccomp_setup)};

	return confine_load(&p, err);
}

int confine_thread(enum confine_role role, struct err *err)
{
	static const struct confine_program programs[CONFINE_ROLES] = {
		[CONFINE_MAIN] = {seccomp_main, ARRAY_SIZE(seccomp_main)},
		[CONFINE_IO] = {seccomp_io, ARRAY_SIZE(seccomp_io)},
		[CONFINE_VCPU] = {seccomp_vcpu, ARRAY_SIZE(seccomp_vcpu)},
	};

	return confine_load(&programs[role], err);
}

/*
 * System call filters: one around the process, one for each thread role. See confine.h.
 */
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/err.h"
#include "confine/confine.h"
#include "confine/seccomp_self.h"
#include "seccomp_programs.h"

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

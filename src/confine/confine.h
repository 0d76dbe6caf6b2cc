/*
 * Confinement of the guest process, first layer: no privileges, no dumps, a seccomp filter around
 * the process and one of its own for each thread role, all of it before the first guest instruction.
 *
 * The filters are compiled at build time from the `syscalls` files of the folders whose code runs
 * in the process. What is not listed fails with EPERM.
 */
#ifndef CONFINE_CONFINE_H
#define CONFINE_CONFINE_H

#include "base/base.h"

struct err;

enum confine_role {
	CONFINE_MAIN,
	CONFINE_IO,
	CONFINE_VCPU,
	CONFINE_ROLES,
};

/*
 * The whole process, before threads are started: capabilities gone (all sets; the bounding one where
 * the process may drop it, else no new privileges make it worthless), no new privileges, not dumpable (so not ptraceable by the same user), dies with its parent
 * when is_bound_to_parent.
 */
int confine_process(bool is_bound_to_parent, struct err *err);

/*
 * The calling thread and those that it starts from now on: what any role may do, starting threads,
 * and entering a role. Threads that were started before enter a role by themselves.
 */
int confine_setup(struct err *err);

/* The calling thread, for good. */
int confine_thread(enum confine_role role, struct err *err);

#endif

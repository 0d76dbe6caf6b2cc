/*
 * A control group for the processes of one guest: how much memory and how many processes the host
 * gives them. The launcher's part.
 *
 * Version 1 and 2, each controller where the host has it. Root can make one, and who was delegated
 * one (systemd: Delegate=yes).
 */
#ifndef CONFINE_CGROUP_H
#define CONFINE_CGROUP_H

#include <sys/types.h>

#include "base/base.h"

struct err;

enum { CONFINE_CGROUP_MEMORY, CONFINE_CGROUP_PIDS, CONFINE_CGROUP_CONTROLLERS };

struct confine_cgroup {
	/* For each controller its directory, locked while it is in use; with version 2 both are one. */
	char *paths[CONFINE_CGROUP_CONTROLLERS]; /* NULL: none */
	int locks[CONFINE_CGROUP_CONTROLLERS];
	bool is_v2;
};

#define CONFINE_CGROUP_INIT                                                                        \
	{                                                                                          \
		.locks = { -1, -1 }                                                                \
	}

struct confine_cgroup_limits {
	u64 memory; /* bytes */
	unsigned n_processes;
};

/*
 * Makes the guest's group, and removes those that launchers left behind which were killed.
 * -EACCES, -ENODEV and the like: this host, or this user, has none; err says why.
 */
int confine_cgroup_make(const char *name, const struct confine_cgroup_limits *limits,
			struct confine_cgroup *out, struct err *err);
/* A process, before it does anything that counts. */
int confine_cgroup_add(const struct confine_cgroup *g, pid_t pid, struct err *err);
/* How often the kernel killed for want of memory in it. */
unsigned confine_cgroup_oom_kills(const struct confine_cgroup *g);
/* Its processes have been waited for. One that was never made is fine. */
void confine_cgroup_remove(struct confine_cgroup *g);

#endif

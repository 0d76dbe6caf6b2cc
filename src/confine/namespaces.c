/*
 * Namespaces: nothing of the host's to be seen or named. The pid namespace, and an ordinary user's
 * user namespace, were made with the process (fork.c).
 */
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "confine/confine_priv.h"

/* Made with the process: its map has one line, for one id (user_namespaces(7)). */
static bool namespaces_has_users(void)
{
	FILE *f = fopen("/proc/self/uid_map", "re");
	unsigned inside, outside, n = 0;
	bool is_alone = f && fscanf(f, "%u %u %u", &inside, &outside, &n) == 3 && n == 1;

	if (f)
		fclose(f);
	return is_alone;
}

void confine_enter_namespaces(bool has_network, struct confine_report *r)
{
	static const struct {
		const char *name;
		int flag;
	} spaces[] = {
		{" mount", CLONE_NEWNS}, {" net", CLONE_NEWNET},       {" ipc", CLONE_NEWIPC},
		{" uts", CLONE_NEWUTS},  {" cgroup", CLONE_NEWCGROUP},
	};
	bool has_pid = getpid() == 1; /* we are never the host's first process */
	char made[64], failed[64];
	int error = EPERM;

	r->has_own_users = namespaces_has_users();
	strcpy(made, has_pid ? " pid" : "");
	strcpy(failed, has_pid ? "" : " pid");
	/* One by one: a host that forbids some still gives the others. */
	for (size_t i = 0; i < ARRAY_SIZE(spaces); i++) {
		int failure;

		if (spaces[i].flag == CLONE_NEWNET && has_network)
			continue;
		failure = unshare(spaces[i].flag);
		if (failure)
			error = errno;
		strcat(failure ? failed : made, spaces[i].name);
	}
	if (made[0])
		confine_note(r, "namespaces:%s", made);
	if (failed[0])
		confine_note_missing(r, "namespaces:%s (%s)", failed, strerror(error));
}

/*
 * What the launcher gives a guest's processes that they can't give themselves: a uid each, and a
 * control group for all of them.
 *
 * Both need root, or for the group a delegation. Where there is none, the guest runs without, and its
 * process says so in its report.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/err.h"
#include "base/fd.h"
#include "launch/launch_priv.h"

/* Threads of the kernel's on behalf of the rings, and the helpers, are counted as well. */
#define CONTAIN_PROCESSES       512
#define CONTAIN_HELPER_MEMORY   (64 * MIB)
#define CONTAIN_OVERHEAD        (512 * MIB)
#define CONTAIN_CPU_OVERHEAD    (64 * MIB)
#define CONTAIN_UID_PAIRS       65536
#define CONTAIN_MEMORY_PER_PAGE 64 /* page tables, and what else grows with guest memory */

static u64 contain_memory(const struct launch *l)
{
	const struct launch_request *q = l->request;
	u64 overhead = CONTAIN_OVERHEAD + q->n_cpus * CONTAIN_CPU_OVERHEAD +
		       q->n_nets * CONTAIN_HELPER_MEMORY + q->memory / CONTAIN_MEMORY_PER_PAGE;

	return q->memory + (q->limit_overhead ? q->limit_overhead : overhead);
}

int launch_make_cgroup(struct launch *l, struct err *err)
{
	const struct confine_cgroup_limits limits = {.memory = contain_memory(l),
						     .n_processes = CONTAIN_PROCESSES};
	struct err why = ERR_INIT;

	if (l->request->is_unlimited ||
	    confine_cgroup_make(l->config.name, &limits, &l->cgroup, &why) == 0)
		return 0;
	/* Asked for in words, it must be. */
	if (l->request->limit_overhead) {
		*err = why;
		return err_wrap(err, "--limit-memory-overhead");
	}
	snprintf(l->no_cgroup, sizeof(l->no_cgroup), "%s", why.text);
	return 0;
}

/* -ERANGE, the root of a container, isn't fatal: uid is 0 then. */
int launch_take_uid(const struct confine_uids *range, struct launch_uid *out, struct err *err)
{
	struct err why = ERR_INIT;
	int r;

	*out = (struct launch_uid){.lock = -1};
	if (geteuid() != 0 || !range->n)
		return 0;
	r = confine_uid_take(range, &out->uid, &out->lock, &why);
	if (r == -ERANGE)
		return 0;
	if (r < 0)
		*err = why;
	return r;
}

/*
 * In a child of its own: to move a process the kernel waits until no processor holds what it changes,
 * ten milliseconds or so, in which the guest process builds its machine. What that touched until then
 * isn't counted.
 */
static pid_t contain_add_to_cgroup(const struct launch *l, pid_t process)
{
	struct err err = ERR_INIT;
	pid_t pid = l->cgroup.paths[0] ? fork() : 0;

	if (pid || !l->cgroup.paths[0])
		return pid;
	if (confine_cgroup_add(&l->cgroup, process, &err) < 0) {
		launch_say(l, "%s", err.text);
		kill(process, SIGKILL);
	}
	_exit(0);
}

/* Its categories are its uid's, or else, after those, its launcher's number's. */
static int contain_make_label(const struct launch *l, uid_t uid, char out[CONFINE_LABEL_MAX])
{
	unsigned pair = uid ? uid - l->request->uids.first : CONTAIN_UID_PAIRS + (unsigned)getpid();
	struct err err = ERR_INIT;

	/* Without a label the process says so, and doctor why. */
	return confine_label_make(pair % CONFINE_LABEL_PAIRS, out, &err);
}

int launch_spawn_confined(struct launch *l, const struct launch_program *p, pid_t *out,
			  struct err *err)
{
	const char *argv[LAUNCH_MAX_ARGS + 3] = {0};
	int fds[LAUNCH_MAX_SPAWN_FDS];
	struct launch_program own = *p;
	struct launch_uid uid;
	char number[16], label[CONFINE_LABEL_MAX];
	size_t argc = 0;
	int r;

	if (l->n_uids == ARRAY_SIZE(l->uids))
		return err_set(err, -EMFILE, "too many processes");
	if (launch_take_uid(&l->request->uids, &uid, err) < 0)
		return err->code;
	for (; p->argv[argc]; argc++)
		argv[argc] = p->argv[argc];
	assert(argc <= LAUNCH_MAX_ARGS);
	if (uid.uid) {
		snprintf(number, sizeof(number), "%u", uid.uid);
		argv[argc++] = "--uid";
		argv[argc++] = number;
	}
	if (uid.uid && l->leaves_helpers) {
		memcpy(fds, p->fds, p->n_fds * sizeof(fds[0]));
		fds[own.n_fds++] = uid.lock;
		own.fds = fds;
	}
	if (p->is_labelled && contain_make_label(l, uid.uid, label) == 0)
		own.label = label;
	own.argv = argv;
	own.is_confined = true;
	r = launch_spawn(&own, out, err);
	if (r < 0) {
		fd_close(uid.lock);
		return r;
	}
	uid.pid = *out;
	uid.adder = contain_add_to_cgroup(l, *out);
	l->uids[l->n_uids++] = uid;
	return uid.adder < 0 ? err_errno(err, -errno, "cannot start a process") : 0;
}

static struct launch_uid *contain_find(struct launch *l, pid_t pid)
{
	for (unsigned i = 0; i < l->n_uids; i++) {
		if (l->uids[i].pid == pid)
			return &l->uids[i];
	}
	return NULL;
}

void launch_end_process(struct launch *l, pid_t pid)
{
	struct launch_uid *u = contain_find(l, pid);
	int status;

	/* First: until the process has been waited for its number is its own. */
	if (u && u->adder)
		waitpid(u->adder, &status, 0);
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	if (u) {
		fd_close(u->lock);
		*u = l->uids[--l->n_uids];
	}
}

void launch_end_contained(struct launch *l)
{
	assert(!l->n_uids);
	confine_cgroup_remove(&l->cgroup);
}

/*
 * Resource limits: what a process that was taken over can use up of the host, where no cgroup says
 * less.
 *
 * There is none on the size of files: a disk that is plugged in later may have any, and the guest may
 * write all of it.
 */
#include <errno.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/err.h"
#include "confine/confine_priv.h"

#define LIMITS_FDS       2048       /* 32 vCPUs, queues' eventfds, clients, hot-plug */
#define LIMITS_ADDRESSES (16 * GIB) /* more than at the beginning, only reserved: heaps, stacks */

/* Never raises one: a hard limit that is lower stays. */
static int limits_set(__rlimit_resource_t resource, u64 max, struct err *err)
{
	struct rlimit l;

	if (getrlimit(resource, &l) < 0)
		return err_errno(err, -errno, "cannot read limit %d", (int)resource);
	l.rlim_max = MIN(l.rlim_max, max);
	l.rlim_cur = MIN(l.rlim_cur, l.rlim_max);
	if (setrlimit(resource, &l) < 0)
		return err_errno(err, -errno, "cannot set limit %d", (int)resource);
	return 0;
}

/* proc(5), statm: size and data. A sanitizer's shadow is terabytes of each. */
void confine_count_addresses(struct confine_report *r)
{
	FILE *f = fopen("/proc/self/statm", "re");
	u64 size, data;

	if (f && fscanf(f, "%lu %*u %*u %*u %*u %lu", &size, &data) == 2) {
		r->addresses = size * PAGE_SIZE;
		r->data = data * PAGE_SIZE;
	}
	if (f)
		fclose(f);
}

int confine_enter_limits(struct err *err)
{
	int r = limits_set(RLIMIT_CORE, 0, err);

	if (!r)
		r = limits_set(RLIMIT_NOFILE, LIMITS_FDS, err);
	if (!r)
		r = limits_set(RLIMIT_MSGQUEUE, 0, err);
	return r;
}

/*
 * The limit counts the processes of a uid: ours alone when the uid is ours alone, or, since Linux
 * 5.14, when the user namespace is.
 */
static bool limits_can_count_threads(const struct confine_report *r)
{
	unsigned major = 0, minor = 0;
	struct utsname host;

	if (uname(&host) == 0)
		sscanf(host.release, "%u.%u", &major, &minor);
	return r->has_own_uid || (r->has_own_users && (major > 5 || (major == 5 && minor >= 14)));
}

static int limits_set_memory(u64 memory, struct confine_report *report, struct err *err)
{
	int r;

	if (!report->addresses) {
		confine_note_missing(report, "limit of memory (its use can't be measured)");
		return 0;
	}
	confine_note(report, "limit of memory");
	r = limits_set(RLIMIT_DATA, report->data + memory, err);
	return r ? r
		 : limits_set(RLIMIT_AS, report->addresses + 2 * memory + LIMITS_ADDRESSES, err);
}

int confine_limit(const struct confine_limits *l, struct confine_report *report, struct err *err)
{
	int r = limits_set_memory(l->memory, report, err);

	if (r)
		return r;
	if (!limits_can_count_threads(report)) {
		confine_note_missing(report,
				     "limit of threads (they can't be told from the user's)");
		return 0;
	}
	confine_note(report, "limit of threads");
	return limits_set(RLIMIT_NPROC, l->n_threads, err);
}

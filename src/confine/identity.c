/*
 * Who the process is: a uid and gid that no other process has, in a user namespace that maps none,
 * without a capability.
 */
#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <sched.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/err.h"
#include "confine/confine_priv.h"

/*
 * Only who has CAP_SETPCAP can; with no new privileges the bounding set grants nothing to anybody
 * else.
 */
static void identity_drop_bounds(void)
{
	for (unsigned long cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++)
		prctl(PR_CAPBSET_DROP, cap, 0, 0, 0);
}

int confine_enter_uid(uid_t uid, struct confine_report *r, struct err *err)
{
	if (!uid)
		return 0;
	identity_drop_bounds(); /* while we may */
	if (setgroups(0, NULL) < 0 || setresgid(uid, uid, uid) < 0 || setresuid(uid, uid, uid) < 0)
		return err_errno(err, -errno, "cannot take the uid %u", uid);
	confine_note(r, "uid %u", uid);
	r->has_own_uid = true;
	return 0;
}

void confine_enter_user_namespace(struct confine_report *r)
{
	if (!r->has_own_users && unshare(CLONE_NEWUSER) < 0) {
		confine_note_missing(r, "user namespace (%s)", strerror(errno));
		return;
	}
	r->has_own_users = true;
	confine_note(r, "user namespace");
}

int confine_drop_privileges(struct err *err)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	const struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {0};

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return err_errno(err, -errno, "cannot give up new privileges");
	identity_drop_bounds();
	/* Ambient ones go with the permitted ones. */
	if (syscall(SYS_capset, &head, none) < 0)
		return err_errno(err, -errno, "cannot give up capabilities");
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		return err_errno(err, -errno, "cannot become undumpable");
	return 0;
}

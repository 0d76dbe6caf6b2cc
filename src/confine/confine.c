/*
 * The steps, in their order. See confine.h.
 */
#include "confine/confine.h"

#include <errno.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "confine/confine_priv.h"

/* After the uid is settled: a change of it takes the signal back. */
static int confine_bind_to_parent(pid_t parent, struct err *err)
{
	if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0)
		return err_errno(err, -errno, "cannot bind to the parent's life");
	/*
	 * In a pid namespace the parent can't be seen (it is 0): one that died before now is noticed by
	 * its end of the control socket.
	 */
	if (getppid() != parent)
		return err_set(err, -ESRCH, "the parent is gone");
	return 0;
}

int confine_process(const struct confine_options *o, struct confine_report *out, struct err *err)
{
	struct confine_kept kept;
	pid_t parent = getppid();
	int r;

	*out = (struct confine_report){0};
	confine_count_addresses(out);
	confine_note_label(out);
	confine_enter_namespaces(o->has_network, out);
	confine_find_kept(o->readable_file, &kept); /* in its own mount namespace */
	confine_enter_root(&kept, out);
	r = confine_enter_uid(o->uid, out, err);
	if (!r) {
		confine_enter_user_namespace(out);
		r = confine_drop_privileges(err);
	}
	if (!r)
		r = confine_enter_limits(err);
	if (!r && o->is_bound_to_parent)
		r = confine_bind_to_parent(parent, err);
	if (!r) /* the last: it forbids mounting */
		confine_enter_landlock(kept.fd, o->has_network, out);
	fd_close(kept.fd);
	return r;
}

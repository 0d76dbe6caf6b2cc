/*
 * The steps, in their order. See confine.h.
 */
#include "confine/confine.h"

#include <errno.h>
#include <fcntl.h>
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

/* What may be read still is what the new root has. */
static void confine_look_at_root(struct confine_kept *kept)
{
	if (!kept->n_files)
		return;
	fd_close(kept->fd);
	kept->fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
}

/* The last: it forbids mounting. Who needs files that are the host's still can't be kept from them. */
static void confine_close_files(const struct confine_options *o, const struct confine_kept *kept,
				struct confine_report *r)
{
	if (o->has_files || (o->n_files && !r->has_own_root))
		confine_note_missing(r, "Landlock (it needs files)");
	else
		confine_enter_landlock(kept->fd, o, r);
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
	confine_find_kept(o, &kept); /* in its own mount namespace */
	if (!o->has_files)
		confine_enter_root(&kept, out);
	if (out->has_own_root)
		confine_look_at_root(&kept);
	r = confine_enter_uid(o->uid, out, err);
	if (!r) {
		confine_enter_user_namespace(out);
		r = confine_drop_privileges(err);
	}
	if (!r)
		r = confine_enter_limits(err);
	if (!r && o->is_bound_to_parent)
		r = confine_bind_to_parent(parent, err);
	if (!r)
		confine_close_files(o, &kept, out);
	fd_close(kept.fd);
	return r;
}

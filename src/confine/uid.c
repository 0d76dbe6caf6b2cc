/*
 * Uids that no other process has: the launcher's part, for root.
 *
 * A uid is taken by locking the file of its number, which the launcher does for as long as the process
 * that has it lives. The directory is the same for all launchers of a host, whatever runtime
 * directory they use. The default range is one that neither distributions nor container managers
 * give out (systemd.io/UIDS-GIDS: "unused").
 */
#include "confine/uid.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"

#define UID_DIR "/run/posada-uids"

/* Root of a container may have fewer ids than the host. */
static bool uid_is_mapped(const struct confine_uids *range)
{
	FILE *f = fopen("/proc/self/uid_map", "re");
	unsigned inside, outside, n;
	bool is_mapped = false;

	while (f && !is_mapped && fscanf(f, "%u %u %u", &inside, &outside, &n) == 3)
		is_mapped = range->first >= inside && n >= range->n &&
			    range->first - inside <= n - range->n;
	if (f)
		fclose(f);
	return is_mapped;
}

static int uid_open_dir(int *out, struct err *err)
{
	AUTO_FD int dir = -1;
	struct stat st;

	if (mkdir(UID_DIR, 0700) < 0 && errno != EEXIST)
		return err_errno(err, -errno, "cannot make " UID_DIR);
	dir = open(UID_DIR, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (dir < 0 || fstat(dir, &st) < 0)
		return err_errno(err, -errno, "cannot open " UID_DIR);
	if (st.st_uid != geteuid() || st.st_mode & (S_IWGRP | S_IWOTH))
		return err_set(err, -EPERM, UID_DIR " isn't only ours");
	*out = fd_take(dir);
	return 0;
}

/* A locked file, or -errno: -EWOULDBLOCK when another has it. */
static int uid_lock(int dir, uid_t uid)
{
	char name[16];
	AUTO_FD int fd = -1;

	snprintf(name, sizeof(name), "%u", uid);
	fd = openat(dir, name, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) < 0)
		return -errno;
	return fd_take(fd);
}

int confine_uid_take(const struct confine_uids *range, uid_t *out, int *out_lock, struct err *err)
{
	AUTO_FD int dir = -1;

	if (!uid_is_mapped(range))
		return err_set(err, -ERANGE, "the uids %u to %u aren't ours to give", range->first,
			       range->first + range->n - 1);
	if (uid_open_dir(&dir, err) < 0)
		return err->code;
	for (unsigned i = 0; i < range->n; i++) {
		int lock = uid_lock(dir, range->first + i);

		if (lock >= 0) {
			*out = range->first + i;
			*out_lock = lock;
			return 0;
		}
		if (lock != -EWOULDBLOCK)
			return err_errno(err, lock, "cannot lock " UID_DIR "/%u", range->first + i);
	}
	return err_set(err, -EBUSY, "all of the uids %u to %u are in use", range->first,
		       range->first + range->n - 1);
}

int confine_uids_parse(const char *text, struct confine_uids *out, struct err *err)
{
	unsigned first, last;
	char end;

	if (sscanf(text, "%u-%u%c", &first, &last, &end) != 2 || !first || last < first ||
	    last >= UINT32_MAX - 1)
		return err_set(err, -EINVAL,
			       "'%s' is no range of uids; write 2000000000-2000065535", text);
	*out = (struct confine_uids){first, last - first + 1};
	return 0;
}

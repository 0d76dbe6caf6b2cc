/*
 * Where a new image is written. See image_target.h.
 */
#include "launch/image_target.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/err.h"
#include "base/fd.h"
#include "block/uri.h"
#include "launch/launch_priv.h"

#define TARGET_TRIES 3

static char *target_directory(const char *path)
{
	const char *slash = strrchr(path, '/');

	if (!slash)
		return str_dup(".");
	return slash == path ? str_dup("/") : str_format("%.*s", (int)(slash - path), path);
}

/* Absolute, and what a link leads to, as far as it is there. */
static int target_place(const char *path, char **out, struct err *err)
{
	AUTO(free) char *dir = target_directory(path);
	AUTO(free) char *real = realpath(path, NULL), *real_dir = NULL;
	const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;

	if (real) {
		*out = take(real);
		return 0;
	}
	real_dir = realpath(dir, NULL);
	if (!real_dir)
		return err_errno(err, -errno, "cannot make %s", path);
	if (!name[0])
		return err_set(err, -EISDIR, "%s is a directory's name", path);
	*out = str_format("%s/%s", strcmp(real_dir, "/") ? real_dir : "", name);
	return 0;
}

/* May what is there be replaced? Nobody begins to write it meanwhile: that would be lost. */
static int target_check(const char *path, enum launch_target_mode mode, int *out_old,
			struct err *err)
{
	AUTO_FD int fd = -1;
	struct stat st;

	*out_old = 0;
	if (stat(path, &st) < 0)
		return errno == ENOENT ? 0 : err_errno(err, -errno, "cannot look at %s", path);
	if (S_ISDIR(st.st_mode))
		return err_set(err, -EISDIR, "%s is a directory", path);
	if (!S_ISREG(st.st_mode))
		return err_set(
			err, -EINVAL,
			"%s is no regular file; `posada image convert --no-create` writes to "
			"devices",
			path);
	if (st.st_size && mode == LAUNCH_TARGET_NEW)
		return err_set(err, -EEXIST,
			       "%s is there already: add --overwrite if it is to be replaced",
			       path);
	fd = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return err_errno(err, -errno, "cannot replace %s", path);
	/* Nobody uses it now; until it is replaced, it may be read. */
	if (launch_lock_disk(fd, false, err) < 0 || launch_lock_disk(fd, true, err) < 0)
		return err_wrap(err, "%s", path);
	*out_old = fd_take(fd);
	return 0;
}

/* The new file is for those that the old one was for, and nobody else. */
static int target_inherit(int fd, int old, const char *path, struct err *err)
{
	struct stat was, is;

	if (fstat(old, &was) < 0 || fstat(fd, &is) < 0)
		return err_errno(err, -errno, "cannot look at %s", path);
	if ((was.st_uid != is.st_uid || was.st_gid != is.st_gid) &&
	    fchown(fd, was.st_uid, was.st_gid) < 0)
		return err_errno(
			err, -errno,
			"%s would have another owner or group: remove it first, if that is "
			"meant",
			path);
	if ((was.st_mode & 0777) != (is.st_mode & 0777) && fchmod(fd, was.st_mode & 0777) < 0)
		return err_errno(err, -errno, "cannot replace %s: its mode can't be kept", path);
	return 0;
}

/* One that is empty stays as it is: ext4 writes out at once, at its last close, what was ever truncated to 0. */
static int target_empty(int fd)
{
	struct stat st;

	if (fstat(fd, &st) < 0 || (st.st_size && ftruncate(fd, 0) < 0))
		return -errno;
	return 0;
}

/* Is it still what its name says, and not removed by whoever just replaced it? */
static bool target_is_named(int fd, const char *path)
{
	struct stat a, b;

	return fstat(fd, &a) == 0 && stat(path, &b) == 0 && a.st_ino == b.st_ino &&
	       a.st_dev == b.st_dev;
}

static int target_make(const char *partial, int *out, struct err *err)
{
	for (int i = 0; i < TARGET_TRIES; i++) {
		AUTO_FD int fd =
			open(partial, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0666);
		int r;

		if (fd < 0)
			return err_errno(err, -errno, "cannot make %s", partial);
		if (launch_lock_disk(fd, false, err) < 0)
			return err_set(err, -EBUSY, "%s is being written by someone else", partial);
		if (!target_is_named(fd, partial))
			continue;
		r = target_empty(fd);
		if (r < 0)
			return err_errno(err, r, "cannot empty %s", partial);
		*out = fd_take(fd);
		return 0;
	}
	return err_set(err, -EBUSY, "%s is being written by someone else", partial);
}

int launch_target_open(const char *path, enum launch_target_mode mode, struct launch_target *out,
		       int *out_fd, struct err *err)
{
	AUTO(free) char *place = NULL, *partial = NULL;
	AUTO_FD int fd = -1;
	int r;

	if (blk_is_uri(path))
		return err_set(
			err, -ENOTSUP,
			"%s: nothing is made there; `posada image convert --no-create` writes "
			"to the disk that is there",
			path);
	r = target_place(path, &place, err);
	if (r == 0)
		r = target_check(place, mode, &out->old, err);
	if (r < 0)
		return r;
	partial = str_format("%s.partial", place);
	r = target_make(partial, &fd, err);
	if (r < 0)
		return r;
	out->path = take(place);
	out->partial = take(partial);
	if (out->old)
		r = target_inherit(fd, out->old, out->path, err);
	if (r == 0)
		*out_fd = fd_take(fd);
	return r;
}

int launch_target_commit(struct launch_target *t, struct err *err)
{
	AUTO(free) char *dir = target_directory(t->path);
	AUTO_FD int fd = t->is_unsafe ? -1 : open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (rename(t->partial, t->path) < 0)
		return err_errno(err, -errno, "it is whole, but %s can't be named %s", t->partial,
				 t->path);
	free(take(t->partial));
	if (fd >= 0)
		fsync(fd);
	return 0;
}

void launch_target_fini(struct launch_target *t)
{
	if (t->partial)
		unlink(t->partial);
	if (t->old)
		close(t->old);
	free(t->partial);
	free(t->path);
	*t = (struct launch_target){0};
}

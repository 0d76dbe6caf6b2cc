/*
 * An empty root directory: no file has a name any more.
 *
 * A tmpfs without room for anything takes the place of the host's tree, which then is gone from the
 * mount namespace. A file's directory may stay, read-only, where it was, and there may be files of our own.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fd.h"
#include "confine/confine_priv.h"

#define ROOT_FLAGS (MS_NOSUID | MS_NODEV | MS_NOEXEC)

void confine_find_kept(const struct confine_options *o, struct confine_kept *out)
{
	const char *file = o->readable_file;
	char *slash;

	*out = (struct confine_kept){
		.fd = -1, .files = o->files, .n_files = o->n_files, .uid = o->uid};
	if (!file || !realpath(file, out->target))
		return;
	strcpy(out->dir, out->target);
	slash = strrchr(out->dir, '/');
	*(slash == out->dir ? slash + 1 : slash) = '\0';
	out->fd = open(out->dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	out->file = out->fd < 0 ? NULL : file;
}

/* The working directory becomes a tmpfs, mounted on a directory that every host has. */
static int root_mount(bool has_content)
{
	static const char *const places[] = {"/tmp", "/usr", "/dev"};
	const char *options =
		has_content ? "size=8m,nr_inodes=64,mode=0555" : "size=4k,nr_inodes=2,mode=0";

	for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
		if (mount("posada", places[i], "tmpfs", ROOT_FLAGS, options) == 0)
			return chdir(places[i]);
	}
	return -1;
}

/* Makes what is missing of the directories above absolute, below the working directory. */
static int root_make_parents(const char *absolute)
{
	char path[PATH_MAX];

	if (snprintf(path, sizeof(path), ".%s", absolute) >= (int)sizeof(path))
		return -1;
	for (char *slash = strchr(path + 2, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		if (mkdir(path, 0755) < 0 && errno != EEXIST)
			return -1;
		*slash = '/';
	}
	return 0;
}

/* Its directory by the descriptor: the new root may lie on the way to it. */
static int root_keep(const struct confine_kept *k)
{
	char from[40], to[PATH_MAX + 1];

	snprintf(from, sizeof(from), "/proc/self/fd/%d", k->fd);
	snprintf(to, sizeof(to), ".%s", k->dir);
	if (root_make_parents(k->target) < 0 || mount(from, to, NULL, MS_BIND | MS_REC, NULL) < 0 ||
	    mount(NULL, to, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | ROOT_FLAGS, NULL) < 0)
		return -1;
	snprintf(to, sizeof(to), ".%s", k->file);
	if (access(to, F_OK) == 0)
		return 0;
	return root_make_parents(k->file) < 0 ? -1 : symlink(k->target, to);
}

static int root_add_file(const struct confine_file *f, uid_t uid)
{
	char path[sizeof(f->path) + 1];
	AUTO_FD int fd = -1;

	snprintf(path, sizeof(path), ".%s", f->path);
	if (root_make_parents(f->path) < 0)
		return -1;
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0400);
	if (fd < 0 || fd_write_full(fd, f->bytes, f->n_bytes) < 0)
		return -1;
	return uid ? fchown(fd, uid, uid) : 0;
}

static int root_add_files(const struct confine_kept *k)
{
	int r = 0;

	for (unsigned i = 0; i < k->n_files && r == 0; i++)
		r = root_add_file(&k->files[i], k->uid);
	return r;
}

/*
 * The working directory, a mount, becomes the root, and the old one goes. An initial RAM file system
 * can't be pivoted away; then it is covered, which holds for who may neither mount nor chroot.
 */
static int root_turn(void)
{
	if (syscall(SYS_pivot_root, ".", ".") == 0)
		return umount2(".", MNT_DETACH);
	if (errno != EINVAL || mount(".", "/", NULL, MS_MOVE, NULL) < 0)
		return -1;
	return chroot(".");
}

static int root_enter(const struct confine_kept *k)
{
	/* What we mount is not to be seen outside, nor what is mounted there later in here. */
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    root_mount(k->file || k->n_files) < 0 || (k->file && root_keep(k) < 0) ||
	    root_add_files(k) < 0 || root_turn() < 0 || chdir("/") < 0)
		return -1;
	return mount(NULL, "/", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | ROOT_FLAGS, NULL);
}

void confine_enter_root(const struct confine_kept *k, struct confine_report *r)
{
	if (root_enter(k) < 0) {
		confine_note_missing(r, "empty root (%s)", strerror(errno));
		return;
	}
	r->is_without_files = r->has_own_root = true;
	if (k->file)
		confine_note(r, "root with nothing but %s", k->dir);
	else
		confine_note(r, "empty root");
}

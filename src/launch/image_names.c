/*
 * Names inside images: which may be opened. See image.h.
 *
 * A name is made absolute, from the place of the image that it stands in, and freed of links and dots;
 * what comes out must lie beneath a directory that is allowed. It is then opened from that directory
 * on, without following anything (openat2), so that nobody can change a link in between.
 */
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/err.h"
#include "base/fd.h"
#include "block/block.h"
#include "block/uri.h"
#include "launch/image.h"
#include "launch/launch_priv.h"
#include "proto/text.h"

#define NAMES_FLAGS (O_CLOEXEC | O_NOCTTY | O_NONBLOCK | O_NOFOLLOW)

/* "/a/b" of "/a/b/c", "/" of "/c". */
static char *names_directory(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash == path ? str_dup("/") : str_format("%.*s", (int)(slash - path), path);
}

/* What stands behind dir in path, or NULL; a file isn't beneath itself. */
static const char *names_beneath(const char *dir, const char *path)
{
	size_t n = strlen(dir);

	if (n == 1)
		return path + 1;
	return strncmp(path, dir, n) == 0 && path[n] == '/' ? path + n + 1 : NULL;
}

/* A protocol's name in front, as QEMU understands it: a colon before the first slash. */
static bool names_is_uri(const char *name)
{
	const char *colon = strchr(name, ':'), *slash = strchr(name, '/');

	return colon && (!slash || colon < slash);
}

/* Where the name leads, seen from the image that it stands in: free() it. */
static char *names_place(const struct launch_image_file *from, const char *name)
{
	AUTO(free) char *dir = NULL;

	if (name[0] == '/')
		return str_dup(name);
	dir = names_directory(from->path);
	return str_format("%s/%s", dir, name);
}

/* A directory that was free of links when it was found may have become one since. */
static int names_open_directory(const char *dir)
{
	struct open_how how = {
		.flags = O_PATH | O_DIRECTORY | O_CLOEXEC,
		.resolve = RESOLVE_NO_SYMLINKS,
	};
	long fd = syscall(SYS_openat2, AT_FDCWD, dir, &how, sizeof(how));

	return fd < 0 ? -errno : (int)fd;
}

static int names_open_beneath(const char *dir, const char *rest, int flags)
{
	struct open_how how = {
		.flags = (u64)(unsigned)(flags | NAMES_FLAGS),
		.mode = flags & O_CREAT ? 0666 : 0,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
	};
	AUTO_FD int base = names_open_directory(dir);
	long fd;

	if (base < 0)
		return base;
	fd = syscall(SYS_openat2, base, rest, &how, sizeof(how));
	return fd < 0 ? -errno : (int)fd;
}

struct names_grant {
	char *dir; /* owned; opened from there on */
	const char *rest;
	bool is_named; /* this very file, by the person */
};

/* Named by the person: the file, or a directory that it is in. */
static bool names_is_allowed(const struct launch_image_names *n, const char *path,
			     struct names_grant *out)
{
	for (unsigned i = 0; i < n->n_allowed; i++) {
		char *allowed = realpath(n->allowed[i], NULL);

		if (allowed && strcmp(allowed, path) == 0) {
			out->dir = names_directory(path);
			out->rest = names_beneath(out->dir, path);
			out->is_named = true;
			free(allowed);
			return true;
		}
		if (allowed && (out->rest = names_beneath(allowed, path))) {
			out->dir = allowed;
			return true;
		}
		free(allowed);
	}
	return false;
}

static int names_refuse(const struct launch_image *i, const struct launch_image_file *root,
			const struct launch_image_wish *w, const char *path, struct err *err)
{
	const char *allow = i->names.is_of_disk ? "allow=" : "--allow ";
	AUTO(free) char *dir = names_directory(root->path);
	AUTO(free) char *shown = proto_text_clean(str_dup(path));

	if (w->is_writable && names_beneath(dir, path))
		return err_set(err, -EACCES, "%s, %s, would be written: add %s%s if that is meant",
			       shown, img_role_text(w->role), allow, shown);
	return err_set(err, -EACCES, "%s, %s, lies outside of %s: add %s%s if it is meant", shown,
		       img_role_text(w->role), dir, allow, shown);
}

static int names_grant(const struct launch_image *i, const struct launch_image_wish *w,
		       const char *path, struct names_grant *out, struct err *err)
{
	const struct launch_image_file *from = &i->files[w->file];
	const struct launch_image_file *root = &i->files[from->root];

	*out = (struct names_grant){0};
	if (names_is_allowed(&i->names, path, out))
		return 0;
	out->dir = names_directory(root->path);
	out->rest = names_beneath(out->dir, path);
	if (!w->is_writable && out->rest)
		return 0;
	free(take(out->dir));
	return names_refuse(i, root, w, path, err);
}

/* --- formats --- */

static int names_format(const struct launch_image *i, const struct launch_image_wish *w,
			const char *path, const char **out, struct err *err)
{
	const char *format = w->format;
	const struct img_format *f;

	*out = NULL;
	if (!format && w->role == IMG_BACKING)
		format = i->names.backing_format;
	if (!format && w->role == IMG_BACKING)
		return err_set(err, -EINVAL,
			       "of which format %s, %s, is, the image doesn't say: add "
			       "--backing-format FORMAT (`posada image info` says what it looks "
			       "like)",
			       path, img_role_text(w->role));
	if (!format)
		return 0;
	f = img_find_format(format);
	if (!f) {
		AUTO(free) char *shown = proto_text_clean(str_dup(format));

		return err_set(err, -EINVAL,
			       "%s, %s, is said to be of the format '%s', which is unknown", path,
			       img_role_text(w->role), shown);
	}
	*out = f->name;
	return 0;
}

/* --- opening --- */

static int names_check(int fd, const struct names_grant *g, struct err *err)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return err_errno(err, -errno, "cannot look at it");
	if (S_ISREG(st.st_mode) || (S_ISBLK(st.st_mode) && g->is_named))
		return 0;
	return err_set(err, -EINVAL, "it is no regular file");
}

static int names_open(struct launch_image *i, const struct launch_image_wish *w,
		      const struct names_grant *g, int *out, struct err *err)
{
	AUTO_FD int fd = names_open_beneath(g->dir, g->rest, w->is_writable ? O_RDWR : O_RDONLY);
	int r;

	if (fd < 0)
		return err_errno(err, fd, "cannot open it");
	r = names_check(fd, g, err);
	if (r == 0 && !i->names.is_shared)
		r = launch_lock_disk(fd, !w->is_writable, err);
	if (r == 0)
		*out = fd_take(fd);
	return r;
}

static int names_add(struct launch_image *i, const struct launch_image_wish *w, int fd, char *path,
		     const char *format, bool is_root)
{
	int n = (int)i->n_files++;

	i->files[n] = (struct launch_image_file){
		.fd = fd,
		.path = path,
		.format = format,
		.is_writable = w->is_writable,
		.parent = (int)w->file,
		.role = w->role,
		.index = w->index,
		.root = is_root ? n : i->files[w->file].root,
	};
	return n;
}

/* What can be said before anything is looked at. *out: the name as a path. */
static int names_begin(const struct launch_image *i, const struct launch_image_wish *w,
		       const char **out, struct err *err)
{
	AUTO(free) char *shown = proto_text_clean(str_dup(w->name));
	const char *name = w->name;

	if (strncmp(name, "file:", 5) == 0)
		name += 5;
	if (!name[0])
		return err_set(err, -EINVAL, "it names a file without a name");
	if (names_is_uri(name) && !blk_is_uri(name))
		return err_set(err, -ENOTSUP, "%s, %s, is no file's name", shown,
			       img_role_text(w->role));
	if (i->n_files == LAUNCH_IMAGE_FILES)
		return err_set(err, -EMFILE, "the image has more than %d files",
			       LAUNCH_IMAGE_FILES);
	*out = name;
	return 0;
}

/* A part that was made for this very image is opened again: it is ours, and so is its lock. */
static int names_open_made(const struct launch_image *i, const char *path)
{
	for (unsigned n = 0; n < i->n_files; n++) {
		if (i->files[n].is_created && strcmp(i->files[n].path, path) == 0)
			return fcntl(i->files[n].fd, F_DUPFD_CLOEXEC, 0);
	}
	return -1;
}

/* A disk that is no file: only if the person named it, letter by letter. */
static int names_follow_remote(struct launch_image *i, const struct launch_image_wish *w,
			       const char *name, struct err *err)
{
	const char *allow = i->names.is_of_disk ? "allow=" : "--allow ", *format;
	AUTO(free) char *shown = proto_text_clean(str_dup(name));
	bool is_allowed = false;
	int fd, r;

	for (unsigned n = 0; n < i->names.n_allowed; n++)
		is_allowed |= strcmp(i->names.allowed[n], name) == 0;
	if (!is_allowed)
		return err_set(err, -EACCES, "%s, %s, is elsewhere: add %s'%s' if it is meant",
			       shown, img_role_text(w->role), allow, shown);
	r = names_format(i, w, shown, &format, err);
	if (r == 0)
		r = launch_open_remote(name, !w->is_writable, &fd, err);
	if (r < 0)
		return r;
	r = names_add(i, w, fd, str_dup(name), format, true);
	i->files[r].is_remote = true;
	return r;
}

int launch_image_follow(struct launch_image *i, const struct launch_image_wish *w, struct err *err)
{
	AUTO(free) char *place = NULL, *path = NULL;
	struct names_grant grant = {0};
	const char *name, *format;
	int fd = -1, r = names_begin(i, w, &name, err);

	if (r < 0)
		return r;
	if (blk_is_uri(name))
		return names_follow_remote(i, w, name, err);
	place = names_place(&i->files[w->file], name);
	path = realpath(place, NULL);
	if (!path) {
		proto_text_clean(place);
		return err_errno(err, -errno, "cannot open %s, %s", place, img_role_text(w->role));
	}
	fd = names_open_made(i, path);
	r = fd < 0 ? names_grant(i, w, path, &grant, err) : 0;
	if (r == 0)
		r = names_format(i, w, path, &format, err);
	if (r == 0 && fd < 0 && (r = names_open(i, w, &grant, &fd, err)) < 0)
		err_wrap(err, "%s, %s", path, img_role_text(w->role));
	if (r == 0)
		r = names_add(i, w, fd, take(path), format, grant.is_named);
	else
		fd_close(fd);
	free(grant.dir);
	return r;
}

/* Beside the image that it is a part of, and new. */
int launch_image_make(struct launch_image *i, const struct launch_image_wish *w, struct err *err)
{
	AUTO(free) char *dir = NULL, *path = NULL;
	const char *name;
	int fd, n, r = names_begin(i, w, &name, err);

	if (r < 0)
		return r;
	if (!i->makes_parts || !i->files[w->file].is_writable)
		return err_set(err, -EPERM, "no image is made here that %s could be a part of",
			       img_role_text(w->role));
	if (strchr(name, '/') || blk_is_uri(name))
		return err_set(err, -EINVAL, "a new image's parts stand in its directory");
	dir = names_directory(i->files[w->file].path);
	path = str_format("%s/%s", strcmp(dir, "/") ? dir : "", name);
	fd = names_open_beneath(dir, name, O_RDWR | O_CREAT | O_EXCL);
	if (fd == -EEXIST)
		return err_set(err, fd, "%s, %s, is there already: remove it, or take another name",
			       path, img_role_text(w->role));
	if (fd < 0)
		return err_errno(err, fd, "cannot make %s, %s", path, img_role_text(w->role));
	r = launch_lock_disk(fd, false, err);
	n = names_add(i, w, fd, take(path), NULL, false);
	i->files[n].is_created = true;
	i->files[n].is_writable = true;
	return r < 0 ? r : n;
}

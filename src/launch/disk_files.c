/*
 * The files that a disk's image consists of: found by posada-image, opened by the rules of image.h, for the
 * configuration of the guest that gets the disk.
 *
 * Passphrases go to posada-image, which puts the keys that they unlock into a pipe. The guest process gets the
 * pipe: it needs to know neither passphrases nor how keys are derived from them.
 */
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/err.h"
#include "base/fd.h"
#include "block/uri.h"
#include "launch/image.h"
#include "launch/launch_priv.h"

static const enum guest_file_role disk_roles[] = {
	[IMG_BACKING] = GUEST_FILE_BACKING,
	[IMG_DATA] = GUEST_FILE_DATA,
	[IMG_EXTENT] = GUEST_FILE_EXTENT,
};

/* Its numbers are those of the configuration: 0 is the disk's own image, n is files[n - 1]. */
static int disk_take_file(struct launch_image_file *f, bool is_direct, struct guest_disk_file *out,
			  struct err *err)
{
	int r = f->is_remote ? 0 : fd_set_nonblock(f->fd, false);

	if (r < 0)
		return err_errno(err, r, "cannot use %s", f->path);
	/* What is written goes the way of the disk; a layer that many guests read is better cached. */
	if (is_direct && f->is_writable && !f->is_remote && fcntl(f->fd, F_SETFL, O_DIRECT) < 0)
		return err_errno(err, -errno, "going around the page cache is not possible with %s",
				 f->path);
	out->parent = (unsigned)f->parent;
	out->role = disk_roles[f->role];
	out->index = f->index;
	out->format = f->format && strcmp(f->format, "raw") ? str_dup(f->format) : NULL;
	out->path = take(f->path);
	out->fd = fd_take(f->fd);
	out->is_writable = f->is_writable;
	out->is_remote = f->is_remote;
	return 0;
}

static int disk_take_files(struct launch_image *i, const struct launch_disk *d,
			   struct guest_disk *out, struct err *err)
{
	if (i->n_files - 1 > GUEST_MAX_DISK_FILES)
		return err_set(err, -E2BIG, "it consists of %u files; a disk has at most %d",
			       i->n_files, GUEST_MAX_DISK_FILES + 1);
	for (unsigned n = 1; n < i->n_files; n++) {
		if (disk_take_file(&i->files[n], guest_cache_is_direct(d->cache),
				   &out->files[n - 1], err) < 0)
			return err->code;
		out->n_files = n;
	}
	return 0;
}

static int disk_read_keys(struct launch_image *i, const struct launch_disk *d, struct err *err)
{
	int r = 0;

	for (unsigned n = 0; n < d->n_keys && r == 0; n++) {
		const struct launch_disk_key *k = &d->keys[n];
		const char id[] = {'k', (char)('0' + n), 0};

		r = k->file ? launch_secrets_read(&i->secrets, id, k->file, err)
			    : launch_secrets_read_fd(&i->secrets, id, k->fd, err);
	}
	return r < 0 ? err_wrap(err, "its passphrase") : 0;
}

/* *out_fd: the pipe with the keys, once nobody writes into it; -1 where there are no passphrases. */
static int disk_resolve_with_keys(struct launch_image *i, const struct launch_disk *d, int *out_fd,
				  struct err *err)
{
	AUTO_FD int from = -1;
	int pair[2], r = disk_read_keys(i, d, err);
	u64 size;

	if (r < 0)
		return r;
	if (d->n_keys) {
		if (pipe2(pair, O_CLOEXEC) < 0)
			return err_errno(err, -errno, "cannot make a pipe");
		from = pair[0];
		i->keys_fd = pair[1];
		i->wants_keys = true;
	}
	r = launch_image_resolve(i, &size, err);
	if (i->wants_keys)
		close(i->keys_fd);
	i->wants_keys = false;
	if (r == 0)
		*out_fd = fd_take(from);
	return r;
}

static int disk_resolve(struct launch_image *i, const struct launch_disk *d, int fd,
			bool is_readonly, int *out_keys_fd, struct err *err)
{
	bool is_remote = blk_is_uri(d->path);
	AUTO(free) char *real = is_remote ? str_dup(d->path) : NULL;
	int own, r = is_remote ? 0 : launch_image_place(fd, d->path, &real, err);

	if (r < 0)
		return r;
	own = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (own < 0)
		return err_errno(err, -errno, "cannot use %s", d->path);
	i->names.is_of_disk = true;
	i->names.backing_format = d->backing_format;
	i->names.n_allowed = d->n_allowed;
	memcpy(i->names.allowed, d->allowed, sizeof(d->allowed));
	r = launch_image_add_fd(i, own, real, d->format ? d->format : "raw", !is_readonly, err);
	if (r < 0) {
		fd_close(own);
		return r;
	}
	i->files[r].is_remote = is_remote;
	return disk_resolve_with_keys(i, d, out_keys_fd, err);
}

int launch_open_disk_files(const struct launch_disk *d, int fd, bool is_readonly,
			   struct guest_disk *out, struct err *err)
{
	struct launch_image *i = NEW(struct launch_image);
	int r;

	launch_image_init(i);
	r = disk_resolve(i, d, fd, is_readonly, &out->keys_fd, err);
	if (r == 0)
		r = disk_take_files(i, d, out, err);
	launch_image_fini(i, true);
	free(i);
	return r < 0 ? err_wrap(err, "%s", d->path) : 0;
}

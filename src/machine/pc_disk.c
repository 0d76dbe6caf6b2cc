/*
 * A disk of the configuration as a struct blk: its file, or an image with all the files that belong to
 * it, the temporary layer over it, and above all a hub, for jobs. All descriptors came with the configuration; what an image says
 * of other files finds those that were meant for it, or nothing. Keys of what is encrypted came through a pipe.
 */
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "block/block.h"
#include "block/hub.h"
#include "crypt/secret.h"
#include "image/helper/helper.h"
#include "image/image.h"
#include "machine/layout.h"
#include "machine/machine_priv.h"
#include "nbd/client.h"
#include "vm/vm.h"

/* Worker threads of disks, where there is no io_uring, are confined as the I/O thread is. */
static int pc_enter_io(void *opaque, struct err *err)
{
	struct machine *m = opaque;

	return m->ops.enter_role(m->ops.opaque, VM_ROLE_IO, err);
}

/* Rings and threads for the files of the disks that there are, and for some that may be added later. */
int pc_make_engines(struct machine *m, struct err *err)
{
	const struct guest_config *c = m->config;
	const struct blk_raw_options o = {.enter_thread = pc_enter_io, .enter_opaque = m};
	unsigned n = c->n_disks;

	for (unsigned i = 0; i < c->n_disks; i++)
		n += c->disks[i].n_files + (c->disks[i].overlay_fd >= 0);
	return blk_engines_new(vm_io_loop(m->vm), n, PC_LATER_DISKS, &o, &m->engines, err);
}

/* What is opened, and with what. */
struct pc_opening {
	struct machine *m;
	struct guest_disk *d;
	struct secret *keys;          /* struct helper_key, one behind the other; or NULL */
	struct nbdc_opening *opening; /* or NULL: the loop stands still meanwhile */
};

/* Who opens the files that belong to one image of it. */
struct pc_opener {
	struct img_opener opener;
	const struct pc_opening *what;
	unsigned id; /* as guest_disk_file.parent has it */
};

static int pc_open_image(const struct pc_opening *what, unsigned id, const char *format, int *fd,
			 bool is_readonly, struct blk **out, struct err *err);

/* --- keys --- */

/* All that is in the pipe, which nobody writes to any more. */
static int pc_read_keys(struct pc_opening *what, struct err *err)
{
	AUTO_FD int fd = fd_take(what->d->keys_fd);
	size_t n = 0, max = (1 + GUEST_MAX_DISK_FILES) * sizeof(struct helper_key);
	ssize_t got = 1;

	if (fd < 0)
		return 0;
	what->keys = secret_new(max);
	while (n < max && got > 0) {
		got = read(fd, what->keys->bytes + n, max - n);
		n += got > 0 ? (size_t)got : 0;
	}
	what->keys->n = n;
	return got < 0 ? err_errno(err, -errno, "cannot read its key") : 0;
}

/* The key of file id; false: there is none. */
static bool pc_find_key(const struct pc_opening *what, unsigned id, struct img_secret *out)
{
	const struct helper_key *k = what->keys ? (const void *)what->keys->bytes : NULL;

	for (size_t i = 0; k && i < what->keys->n / sizeof(*k); i++) {
		if (k[i].file != id || k[i].bytes > sizeof(k[i].key))
			continue;
		*out = (struct img_secret){
			.bytes = k[i].key, .n_bytes = k[i].bytes, .is_volume_key = true};
		return true;
	}
	return false;
}

/* --- files --- */

static struct guest_disk_file *pc_find_file(const struct pc_opener *o,
					    const struct img_child *child)
{
	static const enum guest_file_role roles[] = {
		[IMG_BACKING] = GUEST_FILE_BACKING,
		[IMG_DATA] = GUEST_FILE_DATA,
		[IMG_EXTENT] = GUEST_FILE_EXTENT,
	};

	for (unsigned i = 0; i < o->what->d->n_files; i++) {
		struct guest_disk_file *f = &o->what->d->files[i];

		if (f->parent == o->id && f->role == roles[child->role] && f->index == child->index)
			return f;
	}
	return NULL;
}

static int pc_open_child(void *opaque, const struct img_child *child, struct blk **out,
			 struct err *err)
{
	const struct pc_opener *o = opaque;
	struct guest_disk_file *f = pc_find_file(o, child);

	if (!f || f->fd < 0)
		return err_set(err, -EACCES, "it names the file '%s', which it wasn't given",
			       child->name);
	if (child->is_writable && !f->is_writable)
		return err_set(err, -EACCES, "it wants to write '%s', which it may only read",
			       child->name);
	f->used_fd = f->is_remote ? -1 : f->fd;
	if (pc_open_image(o->what, (unsigned)(f - o->what->d->files) + 1, f->format, &f->fd,
			  !child->is_writable, out, err) < 0)
		return err_wrap(err, "%s", f->path);
	return 0;
}

/* fd is taken over on success; it is files[id - 1]'s, or the disk's own. */
static int pc_open_file(const struct pc_opening *what, unsigned id, int *fd, bool is_readonly,
			bool is_container, struct blk **out, struct err *err)
{
	struct machine *m = what->m;
	const struct guest_disk *d = what->d;
	const struct blk_raw_options raw = {
		.is_readonly = is_readonly,
		.is_container = is_container,
		.is_unsafe = d->cache == GUEST_CACHE_UNSAFE,
		.owns_lock = true,
		.engines = m->engines,
		.enter_thread = pc_enter_io,
		.enter_opaque = m,
	};
	const struct nbdc_options remote = {
		.is_readonly = is_readonly,
		.is_container = is_container,
		.is_unsafe = d->cache == GUEST_CACHE_UNSAFE,
		.connector = *fd,
		.answer_ns = NBDC_ANSWER_NS,
		.opening = what->opening,
	};
	bool is_remote = id ? d->files[id - 1].is_remote : d->is_remote;
	int r = is_remote ? nbdc_new(vm_io_loop(m->vm), &remote, out, err)
			  : blk_raw_new(vm_io_loop(m->vm), *fd, &raw, out, err);

	if (r == 0)
		fd_take(*fd);
	return r;
}

/* The same. */
static int pc_open_image(const struct pc_opening *what, unsigned id, const char *format, int *fd,
			 bool is_readonly, struct blk **out, struct err *err)
{
	struct pc_opener opener = {
		.opener = {.opaque = &opener, .open = pc_open_child}, .what = what, .id = id};
	struct img_secret key;
	const struct img_open_options o = {.loop = vm_io_loop(what->m->vm),
					   .is_readonly = is_readonly,
					   .opener = &opener.opener,
					   .secrets = &key,
					   .n_secrets = pc_find_key(what, id, &key)};
	const struct img_format *f = format ? img_find_format(format) : NULL;
	AUTO(blk_free) struct blk *file = NULL;

	if (format && !f)
		return err_set(err, -EINVAL, "there is no image format '%s'", format);
	if (pc_open_file(what, id, fd, is_readonly, format || id, &file, err) < 0)
		return err->code;
	if (f && img_open(f, file, &o, out, err) < 0)
		return err->code;
	if (!f)
		*out = file;
	take(file);
	return 0;
}

static int pc_add_overlay(struct machine *m, struct guest_disk *d, struct blk **disk,
			  struct err *err)
{
	/* Its file is gone with the guest, so that nothing in it is worth a flush. */
	const struct blk_raw_options o = {.is_unsafe = true,
					  .engines = m->engines,
					  .enter_thread = pc_enter_io,
					  .enter_opaque = m};
	struct blk *overlay;

	if (blk_overlay_new(vm_io_loop(m->vm), *disk, d->overlay_fd, &o, &overlay, err) < 0)
		return err->code;
	*disk = overlay;
	d->overlay_fd = -1;
	d->is_overlaid = true;
	return 0;
}

static int pc_open_top(struct machine *m, struct guest_disk *d, struct nbdc_opening *opening,
		       bool is_readonly, struct blk **out, struct err *err)
{
	const char *format = d->format && strcmp(d->format, "raw") ? d->format : NULL;
	struct pc_opening what = {.m = m, .d = d, .opening = opening};
	int fd = d->fd, r = pc_read_keys(&what, err);

	if (r == 0)
		r = pc_open_image(&what, 0, format, &d->fd, is_readonly, out, err);
	secret_free(what.keys);
	if (r == 0)
		d->used_fd = d->is_remote ? -1 : fd;
	return r;
}

int pc_open_target(struct machine *m, struct guest_disk *d, struct nbdc_opening *opening,
		   struct blk **out, struct err *err)
{
	return pc_open_top(m, d, opening, false, out, err) < 0 ? err_wrap(err, "%s", d->path) : 0;
}

static int pc_open_layers(struct machine *m, struct guest_disk *d, struct nbdc_opening *opening,
			  struct blk **out, struct err *err)
{
	AUTO(blk_free) struct blk *disk = NULL;

	if (pc_open_top(m, d, opening, d->is_readonly || d->overlay_fd >= 0, &disk, err) < 0)
		return err->code;
	if (d->overlay_fd >= 0 && pc_add_overlay(m, d, &disk, err) < 0)
		return err->code;
	if (blk_hub_new(vm_io_loop(m->vm), disk, out, err) < 0)
		return err->code;
	take(disk);
	return 0;
}

int pc_open_disk(struct machine *m, struct guest_disk *d, struct nbdc_opening *opening,
		 struct blk **out, struct err *err)
{
	return pc_open_layers(m, d, opening, out, err) < 0 ? err_wrap(err, "disk %s", d->path) : 0;
}

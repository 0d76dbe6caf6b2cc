/*
 * Files that the launcher gave, as disks; images in them, with all that they name. See helper.h.
 */
#include <fcntl.h>
#include <string.h>

#include "base/alloc.h"
#include "base/err.h"
#include "base/fd.h"
#include "crypt/secret.h"
#include "image/helper/helper_priv.h"
#include "nbd/client.h"

int helper_open_file(struct helper *h, unsigned file, const struct helper_open *o, struct blk **out,
		     struct err *err)
{
	const struct blk_raw_options options = {
		.is_readonly = !o->is_writable,
		.is_container = true,
		.is_unsafe = o->is_unsafe,
		.reserves = o->is_filled,
		.engines = h->engines,
	};
	struct nbdc_options remote = {
		.is_readonly = !o->is_writable, .is_container = true, .is_unsafe = o->is_unsafe};
	int fd, r;

	if (file >= h->n_files)
		return err_set(err, -EPROTO, "there is no file %u", file);
	fd = fcntl(h->files[file].fd, F_DUPFD_CLOEXEC, 3);
	if (fd < 0)
		return err_errno(err, -errno, "cannot use a file");
	remote.connector = fd;
	r = h->files[file].is_remote ? nbdc_new(h->loop, &remote, out, err)
				     : blk_raw_new(h->loop, fd, &options, out, err);
	if (r < 0)
		close(fd);
	return r;
}

/* --- what images name --- */

struct files_opener {
	struct img_opener opener; /* first */
	struct helper *h;
	unsigned file; /* whose image asks */
	bool is_unsafe, is_filled;
};

/* The parts of a disk are containers, unless the image says that they are images themselves. */
static int files_open_child(void *opaque, const struct img_child *child, struct blk **out,
			    struct err *err)
{
	struct files_opener *f = opaque;
	const struct helper_open o = {.is_writable = child->is_writable,
				      .is_unsafe = f->is_unsafe,
				      .is_filled = f->is_filled};
	unsigned file;
	int r = helper_ask(f->h, "open", f->file, child, &file, err);

	if (r < 0)
		return r;
	if (child->role != IMG_BACKING && !child->format)
		return helper_open_file(f->h, file, &o, out, err);
	if (helper_open_image(f->h, file, &o, out, err) < 0)
		return err_wrap(err, "%s", child->name);
	return 0;
}

static int files_create_child(void *opaque, const struct img_child *child, struct blk **out,
			      struct err *err)
{
	struct files_opener *f = opaque;
	const struct helper_open o = {.is_writable = true, .is_unsafe = f->is_unsafe};
	unsigned file;
	int r = helper_ask(f->h, "create", f->file, child, &file, err);

	return r < 0 ? r : helper_open_file(f->h, file, &o, out, err);
}

static struct files_opener files_opener(struct helper *h, unsigned file)
{
	return (struct files_opener){
		.opener = {.open = files_open_child, .create = files_create_child},
		.h = h,
		.file = file,
	};
}

/* Whoever asked for keys will open the same image by its key. */
static int helper_tell_key(struct helper *h, unsigned file, struct blk *b, struct err *err)
{
	const struct secret *s = b->image->key ? b->image->key(b) : NULL;
	struct helper_key k = {.file = file};
	int r;

	if (h->keys_fd < 0 || !s)
		return 0;
	assert(s->n <= sizeof(k.key));
	k.bytes = (u32)s->n;
	memcpy(k.key, s->bytes, s->n);
	r = fd_write_full(h->keys_fd, &k, sizeof(k));
	secret_wipe(&k, sizeof(k));
	return r < 0 ? err_errno(err, r, "cannot pass its key on") : 0;
}

int helper_open_image(struct helper *h, unsigned file, const struct helper_open *o,
		      struct blk **out, struct err *err)
{
	struct files_opener opener = files_opener(h, file);
	const struct img_open_options options = {
		.loop = h->loop,
		.is_readonly = !o->is_writable,
		.is_alone = o->is_alone,
		.opener = &opener.opener,
		.snapshot = o->snapshot,
		.workers = h->workers,
		.secrets = h->secrets,
		.n_secrets = h->n_secrets,
	};
	struct blk *container;
	int r;

	opener.opener.opaque = &opener;
	opener.is_unsafe = o->is_unsafe;
	opener.is_filled = o->is_filled;
	if (file >= h->n_files || !h->files[file].format)
		return err_set(err, -EPROTO, "file %u has no format", file);
	r = helper_open_file(h, file, o, &container, err);
	if (r < 0)
		return r;
	r = img_open(h->files[file].format, container, &options, out, err);
	if (r < 0) {
		blk_free(container);
		return err_wrap(err, "cannot open it as %s", h->files[file].format->name);
	}
	r = helper_tell_key(h, file, *out, err);
	if (r < 0)
		blk_free(*out);
	return r;
}

/* --- making images --- */

struct img_option *helper_options(const json_t *options, unsigned *out_n)
{
	struct img_option *list = NEW_ARRAY(struct img_option, json_array_size(options) + 1);
	unsigned n = 0;

	for (size_t i = 0; i < json_array_size(options); i++) {
		const json_t *o = json_array_get(options, i);
		const char *name = arg_text(o, "name"), *value = arg_text(o, "value");

		if (name && value)
			list[n++] = (struct img_option){name, value};
	}
	*out_n = n;
	return list;
}

int helper_create_image(struct helper *h, unsigned file, const json_t *args, u64 size,
			struct blk *backing, struct err *err)
{
	struct files_opener opener = files_opener(h, file);
	struct img_create_options o = {
		.loop = h->loop,
		.size = size,
		.backing_name = arg_text(args, "backing-name"),
		.backing_format = arg_text(args, "backing-format"),
		.backing = backing,
		.opener = &opener.opener,
		.secrets = h->secrets,
		.n_secrets = h->n_secrets,
	};
	AUTO(free_ptr)
	struct img_option *options = helper_options(json_object_get(args, "options"), &o.n_options);
	const struct helper_open writable = {.is_writable = true,
					     .is_unsafe = arg_bool(args, "unsafe")};
	struct blk *container;
	int r;

	o.options = options;
	o.file_name = file < h->n_files && *h->files[file].name ? h->files[file].name : NULL;
	opener.opener.opaque = &opener;
	opener.is_unsafe = writable.is_unsafe;
	if (file >= h->n_files || !h->files[file].format)
		return err_set(err, -EPROTO, "file %u has no format", file);
	if (size % BLK_SECTOR)
		return err_set(err, -EINVAL, "the size %lu is no multiple of %u", size, BLK_SECTOR);
	r = helper_open_file(h, file, &writable, &container, err);
	if (r < 0)
		return r;
	r = img_create(h->files[file].format, container, &o, err);
	blk_free(container);
	return r;
}

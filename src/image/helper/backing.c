/*
 * posada image commit, rebase: what lies over an image goes into it; what an image lies over becomes
 * another.
 */
#include <string.h>

#include "base/alloc.h"
#include "base/err.h"
#include "block/io.h"
#include "image/helper/helper_priv.h"

#define BACKING_PIECE (1 * MIB)

static int backing_flush(struct blk *b, struct err *err)
{
	int r = blk_flush(b);

	return r < 0 ? err_errno(err, r, "cannot write it to the disk") : 0;
}

/* --- commit --- */

/* The backing file, to be written: which the launcher may refuse. */
static int commit_open_base(struct helper *h, struct blk *top, struct blk **out, struct err *err)
{
	const struct helper_open o = {.is_writable = true};
	struct img_info info = {0};
	struct img_child child = {.role = IMG_BACKING, .is_writable = true};
	unsigned file;
	int r = top->image->info ? top->image->info(top, &info, err) : 0;

	child.name = info.backing_name;
	child.format = info.backing_format;
	if (r == 0 && !child.name)
		r = err_set(err, -EINVAL, "it lies over no other image");
	if (r == 0)
		r = helper_ask(h, "open", 0, &child, &file, err);
	if (r == 0 && helper_open_image(h, file, &o, out, err) < 0)
		r = err_wrap(err, "its backing file");
	img_info_fini(&info);
	return r;
}

static int commit_copy(struct helper *h, struct blk *top, struct blk *base, struct err *err)
{
	const struct img_copy_options o = {
		.loop = h->loop,
		.is_top_only = true,
		.sparse_bytes = PAGE_SIZE,
		.progress = {helper_tell_progress, h},
	};
	int r = base->size < top->size ? blk_resize(base, top->size, err) : 0;

	if (r == 0)
		r = img_copy(top, base, top->size, &o, err);
	return r < 0 ? r : backing_flush(base, err);
}

/* Only what is in the backing file for good leaves the overlay. */
static int commit_empty(struct blk *top, struct err *err)
{
	int r;

	if (!top->image->make_empty)
		return err_set(err, -ENOTSUP, "%s images can't be emptied: add --keep",
			       top->image->format->name);
	r = top->image->make_empty(top, err);
	return r < 0 ? r : backing_flush(top, err);
}

int helper_commit(struct helper *h, const json_t *args, json_t **out, struct err *err)
{
	const bool keeps = arg_bool(args, "keep");
	const struct helper_open o = {.is_alone = true, .is_writable = !keeps};
	struct blk *top, *base = NULL;
	int r = helper_open_image(h, 0, &o, &top, err);

	if (r < 0)
		return r;
	r = commit_open_base(h, top, &base, err);
	if (r == 0)
		r = commit_copy(h, top, base, err);
	if (r == 0 && !keeps)
		r = commit_empty(top, err);
	if (r == 0)
		*out = json_object();
	blk_free(base);
	blk_free(top);
	return r;
}

/* --- rebase --- */

/* Reads zeros where there is no image, or behind its end. */
static int rebase_read(struct blk *b, u64 offset, u8 *buf, u64 bytes)
{
	u64 inside = b && offset < b->size ? MIN(bytes, b->size - offset) : 0;

	memset(buf + inside, 0, bytes - inside);
	return inside ? blk_read(b, offset, buf, inside) : 0;
}

/* Where the new backing says something else, the image says from now on what it said. */
static int rebase_piece(struct blk *top, struct blk *base, u64 offset, u64 bytes, u8 *buf)
{
	u8 *other = buf + BACKING_PIECE;
	int r = blk_read(top, offset, buf, bytes);

	if (r == 0)
		r = rebase_read(base, offset, other, bytes);
	for (u64 at = 0, n; r == 0 && at < bytes; at += n) {
		n = MIN(bytes - at, PAGE_SIZE);
		if (memcmp(buf + at, other + at, n) == 0)
			continue;
		r = img_is_zero(buf + at, n) ? blk_write_zeroes(top, offset + at, n, true)
					     : blk_write(top, offset + at, buf + at, n);
	}
	return r;
}

static int rebase_copy(struct helper *h, struct blk *top, struct blk *base, struct err *err)
{
	AUTO(free_ptr) u8 *buf = aligned_alloc(PAGE_SIZE, 2 * BACKING_PIECE);
	int r = buf ? 0 : -ENOMEM;

	for (u64 at = 0, bytes; r == 0 && at < top->size; at += bytes) {
		struct blk_status s;

		bytes = MIN(top->size - at, BACKING_PIECE);
		r = blk_status(top, at, bytes, &s);
		if (r < 0)
			break;
		bytes = s.bytes;
		if (!s.is_allocated || s.depth)
			r = rebase_piece(top, base, at, bytes, buf);
		helper_tell_progress(h, at + bytes, top->size);
	}
	return r < 0 ? err_errno(err, r, "cannot copy what it has from its old backing file") : 0;
}

static int rebase_set(struct blk *top, const json_t *args, struct err *err)
{
	int r;

	if (!top->image->set_backing)
		return err_set(err, -ENOTSUP, "the backing file of %s images can't be changed",
			       top->image->format->name);
	r = top->image->set_backing(top, arg_text(args, "backing-name"),
				    arg_text(args, "backing-format"), err);
	return r < 0 ? r : backing_flush(top, err);
}

/* files: the image; its new backing, unless there is none, or it isn't looked at (unsafe). */
int helper_rebase(struct helper *h, const json_t *args, json_t **out, struct err *err)
{
	const bool is_unsafe = arg_bool(args, "unsafe");
	const struct helper_open o = {.is_writable = true, .is_alone = is_unsafe};
	const struct helper_open backing = {0};
	const bool has_backing = h->n_files > 1;
	struct blk *top = NULL, *base = NULL;
	int r = helper_open_image(h, 0, &o, &top, err);

	if (r < 0)
		return r;
	if (!is_unsafe && has_backing && helper_open_image(h, 1, &backing, &base, err) < 0)
		r = err_wrap(err, "the new backing file");
	if (r == 0 && !is_unsafe)
		r = rebase_copy(h, top, base, err);
	if (r == 0 && !is_unsafe)
		r = backing_flush(top, err);
	if (r == 0)
		r = rebase_set(top, args, err);
	if (r == 0)
		*out = json_object();
	blk_free(base);
	blk_free(top);
	return r;
}

/*
 * posada image create, overlay, resize: new images, and other sizes.
 */
#include "base/err.h"
#include "block/io.h"
#include "image/helper/helper_priv.h"

/* files: the new image; its backing, if there is one. */
int helper_create(struct helper *h, const json_t *args, json_t **out, struct err *err)
{
	const struct helper_open o = {0};
	struct blk *backing = NULL;
	u64 size = 0;
	int r = 0, has_size = arg_u64(args, "size", &size, err);

	if (h->n_files > 1)
		r = helper_open_image(h, 1, &o, &backing, err);
	if (r < 0)
		return err_wrap(err, "the backing file");
	if (has_size == -ENOENT && backing)
		size = backing->size;
	else if (has_size < 0)
		r = has_size == -ENOENT ? err_set(err, -EINVAL, "how large shall it be?")
					: has_size;
	if (r == 0)
		r = helper_create_image(h, 0, args, size, backing, err);
	if (r == 0)
		*out = json_pack("{s:I}", "size", (json_int_t)size);
	blk_free(backing);
	return r;
}

/* "size", added or taken away by "sign". */
static int resize_find(const struct blk *b, const json_t *args, u64 *out, struct err *err)
{
	const char *sign = arg_text(args, "sign");
	u64 size = 0;
	int r = arg_u64(args, "size", &size, err);

	if (r < 0)
		return r == -ENOENT ? err_set(err, -EPROTO, "no size") : r;
	if (sign && *sign == '-')
		size = size < b->size ? b->size - size : 0;
	else if (sign && *sign == '+')
		size = size <= BLK_SIZE_MAX - b->size ? b->size + size : BLK_SIZE_MAX;
	if (!size || size > BLK_SIZE_MAX)
		return err_set(err, -EINVAL, "no disk has this size");
	if (!is_aligned(size, b->block_size))
		return err_set(err, -EINVAL, "the size %lu is no multiple of %u", size,
			       b->block_size);
	if (size < b->size && !arg_bool(args, "shrink"))
		return err_set(
			err, -EINVAL,
			"it would become smaller, and what is in its last %lu bytes be lost: "
			"add --shrink if that is meant",
			b->size - size);
	*out = size;
	return 0;
}

int helper_resize(struct helper *h, const json_t *args, json_t **out, struct err *err)
{
	const struct helper_open o = {.is_writable = true};
	struct blk *b;
	u64 size, old;
	int r = helper_open_image(h, 0, &o, &b, err);

	if (r < 0)
		return r;
	old = b->size;
	r = resize_find(b, args, &size, err);
	if (r == 0)
		r = blk_resize(b, size, err);
	if (r == 0 && (r = blk_flush(b)) < 0)
		err_errno(err, r, "cannot write it to the disk");
	if (r == 0)
		*out = json_pack("{s:I, s:I}", "old-size", (json_int_t)old, "size",
				 (json_int_t)size);
	blk_free(b);
	return r;
}

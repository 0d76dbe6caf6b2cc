/*
 * posada image bitmap: an image's persistent dirty bitmaps.
 */
#include <string.h>

#include "base/err.h"
#include "block/io.h"
#include "image/helper/helper_priv.h"
#include "proto/text.h"

#define BITMAP_GRANULARITY (64 * KIB)

json_t *helper_bitmap_json(const struct img_bitmap *b)
{
	return json_pack("{s:o, s:I, s:b, s:b, s:I}", "name", proto_text(b->name), "granularity",
			 (json_int_t)b->granularity, "enabled", b->is_enabled, "inconsistent",
			 b->is_inconsistent, "dirty-bytes", (json_int_t)b->dirty_bytes);
}

static int bitmap_list(struct blk *b, json_t **out, struct err *err)
{
	struct img_bitmap *m;
	json_t *list;
	unsigned n;
	int r = b->image->bitmaps(b, &m, &n, err);

	if (r < 0)
		return r;
	list = json_array();
	for (unsigned i = 0; i < n; i++)
		json_array_append_new(list, helper_bitmap_json(&m[i]));
	img_bitmaps_free(m, n);
	*out = json_pack("{s:o}", "bitmaps", list);
	return 0;
}

static int bitmap_add(struct blk *b, const json_t *args, const char *name, struct err *err)
{
	u64 granularity = BITMAP_GRANULARITY;
	int r = arg_u64(args, "granularity", &granularity, err);

	if (r < 0 && r != -ENOENT)
		return r;
	return b->image->bitmap_add(b, name, granularity, err);
}

static int bitmap_merge(struct blk *b, const json_t *args, const char *name, struct err *err)
{
	const char *source = arg_text(args, "source");

	if (!source)
		return err_set(err, -EINVAL, "which bitmap shall be merged into '%s'?", name);
	return b->image->bitmap_merge(b, name, source, err);
}

static int bitmap_change(struct blk *b, const json_t *args, struct err *err)
{
	const char *action = arg_text(args, "action"), *name = arg_text(args, "name");
	const struct image_ops *ops = b->image;
	int r = -EPROTO;

	if (!name || !name[0])
		return err_set(err, -EINVAL, "which bitmap?");
	if (strcmp(action, "add") == 0)
		r = bitmap_add(b, args, name, err);
	else if (strcmp(action, "remove") == 0)
		r = ops->bitmap_remove(b, name, err);
	else if (strcmp(action, "clear") == 0)
		r = ops->bitmap_clear(b, name, err);
	else if (strcmp(action, "enable") == 0 || strcmp(action, "disable") == 0)
		r = ops->bitmap_enable(b, name, action[0] == 'e', err);
	else if (strcmp(action, "merge") == 0)
		r = bitmap_merge(b, args, name, err);
	else
		err_set(err, r, "there is no '%s'", action);
	if (r == 0 && (r = blk_flush(b)) < 0)
		err_errno(err, r, "cannot write it to the disk");
	return r;
}

int helper_bitmap(struct helper *h, const json_t *args, json_t **out, struct err *err)
{
	const char *action = arg_text(args, "action");
	const bool is_list = !action || strcmp(action, "list") == 0;
	const struct helper_open o = {.is_alone = true, .is_writable = !is_list};
	struct blk *b;
	int r = helper_open_image(h, 0, &o, &b, err);

	if (r < 0)
		return r;
	if (!b->image->bitmaps || !b->image->bitmap_add)
		r = err_set(err, -ENOTSUP, "%s images have no bitmaps", b->image->format->name);
	else if (!is_list)
		r = bitmap_change(b, args, err);
	if (r == 0 && is_list)
		r = bitmap_list(b, out, err);
	else if (r == 0)
		*out = json_object();
	blk_free(b);
	return r;
}

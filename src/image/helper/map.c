/*
 * posada image map: where a disk's contents are, as items of the same state each. And resolve: the
 * files that an image consists of, which the launcher learns as they are asked for.
 */
#include "base/err.h"
#include "image/helper/helper_priv.h"

#define MAP_RUN (1 * GIB)

struct map_extent {
	u64 start;
	struct blk_status status; /* its bytes: the extent's */
};

static bool map_is_one(const struct map_extent *a, const struct blk_status *b)
{
	const struct blk_status *s = &a->status;

	return s->is_data == b->is_data && s->is_zero == b->is_zero &&
	       s->is_allocated == b->is_allocated && s->is_compressed == b->is_compressed &&
	       s->depth == b->depth && s->has_offset == b->has_offset &&
	       (!s->has_offset || s->offset + s->bytes == b->offset);
}

static void map_tell(struct helper *h, const struct map_extent *e)
{
	const struct blk_status *s = &e->status;
	json_t *o;

	if (!s->bytes)
		return;
	o = json_pack("{s:I, s:I, s:i, s:b, s:b, s:b, s:b}", "start", (json_int_t)e->start,
		      "length", (json_int_t)s->bytes, "depth", (int)s->depth, "present",
		      s->is_allocated || s->is_data, "zero", s->is_zero || !s->is_data, "data",
		      s->is_data, "compressed", s->is_compressed);
	if (s->has_offset)
		json_object_set_new(o, "offset", json_integer((json_int_t)s->offset));
	helper_tell_item(h, o);
}

static int map_walk(struct helper *h, struct blk *b, u64 from, u64 end, struct err *err)
{
	struct map_extent e = {0};

	for (u64 at = from; at < end;) {
		struct blk_status s;
		int r = blk_status(b, at, MIN(end - at, MAP_RUN), &s);

		if (r < 0)
			return err_errno(err, r, "at %lu", at);
		if (e.status.bytes && map_is_one(&e, &s)) {
			e.status.bytes += s.bytes;
		} else {
			map_tell(h, &e);
			e = (struct map_extent){at, s};
		}
		at += s.bytes;
	}
	map_tell(h, &e);
	return 0;
}

int helper_map(struct helper *h, const json_t *args, json_t **out, struct err *err)
{
	const struct helper_open o = {0};
	u64 from = 0, bytes = BLK_SIZE_MAX;
	struct blk *b;
	int r = helper_open_image(h, 0, &o, &b, err);

	if (r < 0)
		return r;
	r = arg_u64(args, "start", &from, err);
	if (r == 0 || r == -ENOENT)
		r = arg_u64(args, "length", &bytes, err);
	if (r == -ENOENT)
		r = 0;
	from = MIN(from, b->size);
	if (r == 0)
		r = map_walk(h, b, from, from + MIN(bytes, b->size - from), err);
	if (r == 0)
		*out = json_object();
	blk_free(b);
	return r;
}

/* Opened as it will be, so that parts which are written are asked for as such. */
int helper_resolve(struct helper *h, unused const json_t *args, json_t **out, struct err *err)
{
	const struct helper_open o = {.is_writable = h->files[0].is_writable};
	struct blk *b;
	int r = helper_open_image(h, 0, &o, &b, err);

	if (r < 0)
		return r;
	*out = json_pack("{s:I, s:i}", "virtual-size", (json_int_t)b->size, "block-size",
			 (int)b->block_size);
	blk_free(b);
	return 0;
}

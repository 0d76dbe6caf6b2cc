/*
 * posada image convert, compare: whole disks. See image/copy.h.
 */
#include "base/err.h"
#include "block/io.h"
#include "image/helper/helper_priv.h"

#define CONVERT_ALIGN_MAX  MIB  /* of what is copied at a time, for formats with large blocks */
#define CONVERT_SPARSE     4096 /* as qemu-img's -S */
#define CONVERT_SPARSE_MAX (64 * KIB) /* where a format has clusters */

enum { CONVERT_SOURCE, CONVERT_TARGET, CONVERT_BACKING };

static int convert_create(struct helper *h, const json_t *args, u64 size, struct err *err)
{
	const struct helper_open o = {0};
	struct blk *backing = NULL;
	int r = 0;

	if (h->n_given > CONVERT_BACKING)
		r = helper_open_image(h, CONVERT_BACKING, &o, &backing, err);
	if (r < 0)
		return err_wrap(err, "the backing file");
	r = helper_create_image(h, CONVERT_TARGET, args, size, backing, err);
	blk_free(backing);
	return r;
}

static int convert_cluster(struct blk *b, u64 *out, struct err *err)
{
	struct img_info info = {0};
	int r = b->image->info ? b->image->info(b, &info, err) : 0;

	*out = info.cluster_bytes;
	img_info_fini(&info);
	return r;
}

static int convert_choose(struct helper *h, const json_t *args, struct blk *target,
			  struct img_copy_options *out, struct err *err)
{
	const struct img_format *f = target->image->format;
	u64 cluster, threads = 0;
	int r = convert_cluster(target, &cluster, err);

	*out = (struct img_copy_options){
		.loop = h->loop,
		.is_compressed = arg_bool(args, "compressed"),
		.is_in_order = f->is_write_once,
		.is_top_only = arg_bool(args, "backed"),
		.is_target_zero =
			arg_bool(args, "create") && !arg_bool(args, "backed") && !f->is_noise,
		.cluster_bytes = cluster,
		.sparse_bytes = cluster ? MIN(cluster, CONVERT_SPARSE_MAX) : CONVERT_SPARSE,
		.progress = {helper_tell_progress, h},
	};
	if (out->is_compressed && !f->can_compress)
		return err_set(err, -ENOTSUP, "%s images can't be compressed", f->name);
	if (out->is_compressed && target->image->key && target->image->key(target))
		return err_set(err, -ENOTSUP, "encrypted images can't be compressed");
	if (!out->is_compressed && !out->is_in_order)
		out->cluster_bytes = MIN(cluster, CONVERT_ALIGN_MAX);
	if (r == 0 && (r = arg_u64(args, "sparse", &out->sparse_bytes, err)) == -ENOENT)
		r = 0;
	if (r == 0 && (r = arg_u64(args, "coroutines", &threads, err)) == -ENOENT)
		r = 0;
	out->n_coroutines = (unsigned)threads;
	return r;
}

static int convert_copy(struct helper *h, const json_t *args, struct blk *source, struct err *err)
{
	const struct helper_open o = {
		.is_writable = true, .is_unsafe = arg_bool(args, "unsafe"), .is_filled = true};
	struct img_copy_options options;
	struct blk *target;
	int r = helper_open_image(h, CONVERT_TARGET, &o, &target, err);

	if (r < 0)
		return err_wrap(err, "the target");
	r = convert_choose(h, args, target, &options, err);
	if (r == 0 && target->size < source->size)
		r = err_set(err, -ENOSPC, "the target has %lu bytes, the source %lu", target->size,
			    source->size);
	if (r == 0)
		r = img_copy(source, target, source->size, &options, err);
	if (r == 0 && (r = blk_flush(target)) < 0)
		err_errno(err, r, "cannot write it to the disk");
	blk_free(target);
	return r;
}

/* Both are read again, from their files. */
static int convert_verify(struct helper *h, struct blk *source, struct err *err)
{
	const struct img_progress progress = {helper_tell_progress, h};
	const struct helper_open o = {0};
	struct img_difference d;
	struct blk *target;
	int r = helper_open_image(h, CONVERT_TARGET, &o, &target, err);

	if (r < 0)
		return err_wrap(err, "the target");
	r = img_compare(source, target, h->loop, &progress, &d, err);
	if (r == 0 && d.is_different)
		r = err_set(err, -EIO, "what was written differs from what was read at %lu",
			    d.offset);
	blk_free(target);
	return r;
}

int helper_convert(struct helper *h, const json_t *args, json_t **out, struct err *err)
{
	const struct helper_open o = {.snapshot = arg_text(args, "snapshot")};
	struct blk *source;
	int r = helper_open_image(h, CONVERT_SOURCE, &o, &source, err);

	if (r < 0)
		return err_wrap(err, "the source");
	if (arg_bool(args, "create") && (r = convert_create(h, args, source->size, err)) < 0)
		err_wrap(err, "the target");
	if (r == 0)
		r = convert_copy(h, args, source, err);
	if (r == 0 && arg_bool(args, "verify"))
		r = convert_verify(h, source, err);
	if (r == 0)
		*out = json_pack("{s:I}", "size", (json_int_t)source->size);
	blk_free(source);
	return r;
}

int helper_compare(struct helper *h, unused const json_t *args, json_t **out, struct err *err)
{
	const struct img_progress progress = {helper_tell_progress, h};
	const struct helper_open o = {0};
	struct img_difference d;
	struct blk *a = NULL, *b = NULL;
	int r = helper_open_image(h, 0, &o, &a, err);

	if (r == 0)
		r = helper_open_image(h, 1, &o, &b, err);
	if (r == 0)
		r = img_compare(a, b, h->loop, &progress, &d, err);
	if (r == 0)
		*out = json_pack("{s:b, s:I, s:[I,I]}", "identical", !d.is_different, "offset",
				 (json_int_t)d.offset, "sizes", (json_int_t)a->size,
				 (json_int_t)b->size);
	blk_free(a);
	blk_free(b);
	return r;
}

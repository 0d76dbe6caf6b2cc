/*
 * posada image measure: how large an image would get, of another image's contents or of a size.
 */
#include "base/alloc.h"
#include "base/err.h"
#include "image/helper/helper_priv.h"

/* files: the image whose contents it would have, or none, and "size". */
int helper_measure(struct helper *h, const json_t *args, json_t **out, struct err *err)
{
	const struct helper_open open = {.snapshot = arg_text(args, "snapshot")};
	const char *format = arg_text(args, "format");
	const struct img_format *f = format ? img_find_format(format) : NULL;
	struct img_create_options o = {.loop = h->loop};
	AUTO(free_ptr)
	struct img_option *options = helper_options(json_object_get(args, "options"), &o.n_options);
	struct img_measure m;
	struct blk *source = NULL;
	int r;

	o.options = options;
	if (!f)
		return err_set(err, -EINVAL, "there is no format '%s'", format ? format : "");
	r = h->n_files ? helper_open_image(h, 0, &open, &source, err)
		       : arg_u64(args, "size", &o.size, err);
	if (r == -ENOENT && !h->n_files)
		return err_set(err, -EPROTO, "no size");
	if (r < 0)
		return r;
	r = img_measure(f, &o, source, &m, err);
	blk_free(source);
	if (r == 0)
		*out = json_pack("{s:I, s:I}", "required", (json_int_t)m.required_bytes,
				 "fully-allocated", (json_int_t)m.full_bytes);
	return r;
}

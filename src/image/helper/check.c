/*
 * posada image check, repair: is the image's bookkeeping sound?
 */
#include "base/err.h"
#include "image/helper/helper_priv.h"
#include "proto/text.h"

static void check_report(void *opaque, bool is_corruption, const char *text)
{
	helper_tell_item(opaque, json_pack("{s:b, s:o}", "corruption", is_corruption, "text",
					   proto_text(text)));
}

static json_t *check_result(const struct blk *b, const struct img_check *c)
{
	const struct {
		const char *name;
		u64 value;
	} numbers[] = {
		{"check-errors", c->errors},
		{"corruptions", c->corruptions},
		{"corruptions-fixed", c->corruptions_fixed},
		{"leaks", c->leaks},
		{"leaks-fixed", c->leaks_fixed},
		{"image-end-offset", c->end_offset},
		{"total-clusters", c->clusters},
		{"allocated-clusters", c->allocated},
		{"compressed-clusters", c->compressed},
		{"fragmented-clusters", c->fragmented},
	};
	json_t *o = json_pack("{s:s}", "format", b->image->format->name);

	for (size_t i = 0; i < ARRAY_SIZE(numbers); i++)
		json_object_set_new(o, numbers[i].name, json_integer((json_int_t)numbers[i].value));
	return o;
}

int helper_check(struct helper *h, const json_t *args, json_t **out, struct err *err)
{
	struct img_check c = {.report = check_report, .opaque = h};
	struct helper_open o = {.is_alone = true};
	u64 repair = 0;
	struct blk *b;
	int r = arg_u64(args, "repair", &repair, err);

	if (r < 0 && r != -ENOENT)
		return r;
	o.is_writable = repair;
	r = helper_open_image(h, 0, &o, &b, err);
	if (r < 0)
		return r;
	if (!b->image->check)
		r = err_set(err, -ENOTSUP, "%s images have nothing to check",
			    b->image->format->name);
	else
		r = b->image->check(b, (unsigned)repair, &c, err);
	if (r == 0)
		*out = check_result(b, &c);
	blk_free(b);
	return r;
}

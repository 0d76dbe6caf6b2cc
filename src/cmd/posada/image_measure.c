/*
 * posada image measure.
 */
#include <jansson.h>
#include <stdio.h>

#include "base/err.h"
#include "cmd/posada/image.h"
#include "cmd/posada/print.h"
#include "proto/text.h"

static int measure_args(struct image_wishes *w, const char *path, json_t **out, struct err *err)
{
	const char *format = w->target_format ? w->target_format : "raw";
	u64 size;
	int r = 0;

	if (!path == !w->size)
		return err_set(err, -EINVAL, "of what? Name an image, or give a --size");
	if (w->size)
		r = image_size(w->size, &size, err);
	if (r < 0)
		return err_wrap(err, "--size");
	*out = json_pack("{s:s, s:O}", "format", format, "options",
			 w->options ? w->options : json_null());
	if (w->size)
		json_object_set_new(*out, "size", json_integer((json_int_t)size));
	if (w->snapshot)
		json_object_set_new(*out, "snapshot", proto_text(w->snapshot));
	return 0;
}

static int measure_run(struct image_wishes *w, const char *const *args, struct err *err)
{
	json_t *request, *result;
	int r = measure_args(w, args[0], &request, err);

	if (r < 0)
		return r;
	r = args[0] ? image_call_one(w, args[0], false, "measure", request, &result, err)
		    : image_call(w, "measure", request, &result, err);
	if (r < 0)
		return r;
	if (w->json.is_json) {
		print_json(result);
		return 0;
	}
	printf("required size: %ld\n", json_number(result, "required"));
	printf("fully allocated size: %ld\n", json_number(result, "fully-allocated"));
	json_decref(result);
	return 0;
}

static const struct option_row measure_rows[] = {
	IMAGE_FORMAT,
	IMAGE_TEXT("target-format", "FORMAT", target_format,
		   "of the image that would be made (default: raw)"),
	IMAGE_OPTIONS,
	IMAGE_TEXT("size", "SIZE", size, "of an empty disk of this size, instead of FILE"),
	IMAGE_TEXT("snapshot", "NAME", snapshot, "of what this internal snapshot has"),
	IMAGE_BACKING_FORMAT,
	IMAGE_ALLOW,
	IMAGE_SECRET,
	IMAGE_SHARE,
	IMAGE_OUTPUT,
	OPTION_JSON,
};

const struct image_command image_measure = {
	.options =
		{
			.command = "image measure",
			.usage = "[FILE] [OPTIONS]",
			.summary = "Says how many bytes an image would take that FILE is converted "
				   "to, and how many when\nall of its disk is written.",
			OPTION_ROWS(measure_rows),
			.letters = image_letters,
			.min_args = 0,
			.max_args = 1,
		},
	.run = measure_run,
};

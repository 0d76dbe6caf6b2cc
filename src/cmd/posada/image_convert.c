/*
 * posada image create, overlay, convert, compare, resize: images from images.
 */
#include <fcntl.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/alloc.h"
#include "base/err.h"
#include "base/fd.h"
#include "cmd/posada/image.h"
#include "cmd/posada/print.h"
#include "launch/image_target.h"
#include "proto/text.h"

/* --- what a format's -o takes --- */

static bool convert_wants_help(const struct image_wishes *w)
{
	for (size_t i = 0; i < json_array_size(w->options); i++) {
		const char *name = json_text(json_array_get(w->options, i), "name");

		if (!strcmp(name, "help") || !strcmp(name, "?"))
			return true;
	}
	return false;
}

static int convert_help(const char *format, struct err *err)
{
	const struct img_format *f = img_find_format(format);

	if (!f)
		return err_set(err, -EINVAL, "there is no format '%s'", format);
	if (!f->create_options || !f->create_options->name)
		printf("%s images have no options.\n", f->name);
	for (const struct img_option_info *o = f->create_options; o && o->name; o++)
		printf("  %s=%s\n        %s\n", o->name, o->values, o->help);
	return 0;
}

/* --- the target --- */

static int convert_target(struct image_wishes *w, const char *path, const char *format,
			  struct launch_target *t, struct err *err)
{
	AUTO_FD int fd = -1;
	int r;

	if (!img_find_format(format))
		return err_set(err, -EINVAL, "there is no format '%s'; see `posada image --help`",
			       format);
	r = launch_target_open(
		path, w->is_overwriting ? LAUNCH_TARGET_OVERWRITE : LAUNCH_TARGET_NEW, t, &fd, err);
	if (r == 0)
		r = launch_image_add_fd(&w->image, fd, t->path, format, true, err);
	if (r >= 0)
		fd_take(fd);
	w->image.makes_parts = r >= 0;
	return r;
}

char *image_name_from(const char *target, const char *path)
{
	const char *slash = strrchr(target, '/'), *name;
	size_t n = (size_t)(slash - target) + 1;

	if (strncmp(target, path, n) != 0)
		return str_dup(path);
	name = path + n;
	/* A colon before the first slash would make a protocol of it. */
	return str_format("%s%s", strcspn(name, ":") < strcspn(name, "/") ? "./" : "", name);
}

/* The backing file, which the person named; its name is written as seen from the target. */
static int convert_backing(struct image_wishes *w, const struct launch_target *t, json_t *args,
			   struct err *err)
{
	const char *format = w->image.names.backing_format;
	AUTO(free) char *name = NULL;
	int r;

	if (!format)
		return err_set(err, -EINVAL,
			       "of which format is %s? Say it: --backing-format (-F) FORMAT",
			       w->backing);
	r = image_add(w, w->backing, format, false, err);
	if (r < 0)
		return r;
	name = image_name_from(t->path, w->image.files[r].path);
	if (!proto_text_is_utf8(name))
		return err_set(err, -EINVAL, "the name %s is no UTF-8", w->backing);
	json_object_set_new(args, "backing-name", json_string(name));
	json_object_set_new(args, "backing-format", json_string(w->image.files[r].format));
	return image_option_allow(w, (char *)w->backing, err);
}

/* --- create, overlay --- */

static int create_finish(struct image_wishes *w, const char *path, const char *format,
			 struct launch_target *t, json_t *args, struct err *err)
{
	char size[32];
	json_t *result;
	int r = image_call(w, "create", args, &result, err);

	if (r < 0)
		return err_wrap(err, "%s", path);
	if (!w->is_quiet)
		printf("%s: %s, %s (%ld bytes)\n", path, format,
		       print_size(size, (u64)json_number(result, "size")),
		       json_number(result, "size"));
	json_decref(result);
	return launch_target_commit(t, err);
}

static int create_run(struct image_wishes *w, const char *format, const char *path,
		      const char *size, struct err *err)
{
	struct launch_target t = {0};
	json_t *args;
	u64 bytes;
	int r = 0;

	if (convert_wants_help(w))
		return convert_help(format, err);
	if (!path)
		return err_set(err, -EINVAL, "which image? See `posada image create --help`");
	args = json_pack("{s:O}", "options", w->options ? w->options : json_null());
	if (size && (r = image_size(size, &bytes, err)) == 0)
		json_object_set_new(args, "size", json_integer((json_int_t)bytes));
	if (r == 0 && !size && !w->backing)
		r = err_set(err, -EINVAL,
			    "how large shall %s be? `posada image create -f %s %s 10G`", path,
			    format, path);
	if (r == 0)
		r = convert_target(w, path, format, &t, err);
	if (r >= 0 && w->backing)
		r = convert_backing(w, &t, args, err);
	if (r >= 0)
		r = create_finish(w, path, format, &t, json_incref(args), err);
	launch_target_fini(&t);
	json_decref(args);
	return r;
}

static int create_main(struct image_wishes *w, const char *const *args, struct err *err)
{
	return create_run(w, w->format ? w->format : "raw", args[0], args[1], err);
}

static const struct option_row create_rows[] = {
	IMAGE_FORMAT,
	IMAGE_OPTIONS,
	IMAGE_TEXT("backing", "FILE", backing, "what is read where the new image has nothing yet"),
	IMAGE_BACKING_FORMAT,
	IMAGE_ALLOW,
	IMAGE_SECRET,
	IMAGE_OVERWRITE,
	IMAGE_QUIET,
};

const struct image_command image_create = {
	.options =
		{
			.command = "image create",
			.usage = "FILE [SIZE] [OPTIONS]",
			.summary = "Makes a new image of SIZE (10G, 512M, or bytes), or as large "
				   "as its backing file.",
			OPTION_ROWS(create_rows),
			.letters = image_letters,
			.max_args = 2,
			.missing = "which image?",
		},
	.run = create_main,
};

static int overlay_main(struct image_wishes *w, const char *const *args, struct err *err)
{
	w->backing = args[0];
	return create_run(w, w->format ? w->format : "qcow2", args[1], args[2], err);
}

static const struct option_row overlay_rows[] = {
	IMAGE_TEXT("format", "FORMAT", image.names.backing_format, "the format of BACKING"),
	IMAGE_TEXT("target-format", "FORMAT", format, "the overlay's format\n(default: qcow2)"),
	IMAGE_OPTIONS,
	IMAGE_ALLOW,
	IMAGE_SECRET,
	IMAGE_OVERWRITE,
	IMAGE_QUIET,
};

const struct image_command image_overlay = {
	.options =
		{
			.command = "image overlay",
			.usage = "FILE_BACKING FILE_OVERLAY [SIZE] [OPTIONS]",
			.summary = "Makes an image in which is written what changes, while BACKING "
				   "stays as it is.",
			OPTION_ROWS(overlay_rows),
			.letters = image_letters,
			.min_args = 2,
			.max_args = 3,
			.missing = "over which image, and which is the new one?",
		},
	.run = overlay_main,
};

/* --- convert --- */

/* -n: what is there is written to. */
static int convert_in_place(struct image_wishes *w, const char *path, struct err *err)
{
	return image_add(w, path, w->target_format ? w->target_format : "raw", true, err);
}

static int convert_numbers(const struct image_wishes *w, json_t *args, struct err *err)
{
	u64 n;

	if (w->sparse) {
		if (image_size(w->sparse, &n, err) < 0)
			return err_wrap(err, "--sparse");
		if (n && (n < 512 || n > MIB || !is_power_of_two(n)))
			return err_set(err, -EINVAL,
				       "--sparse: 0, or a power of two from 512 to 1M");
		json_object_set_new(args, "sparse", json_integer((json_int_t)n));
	}
	if (w->coroutines) {
		if (image_size(w->coroutines, &n, err) < 0 || !n || n > 16)
			return err_set(err, -EINVAL, "--coroutines: 1 to 16");
		json_object_set_new(args, "coroutines", json_integer((json_int_t)n));
	}
	return 0;
}

static int convert_call(struct image_wishes *w, const char *from, json_t *args,
			struct launch_target *t, struct err *err)
{
	json_t *result;
	int r = image_call(w, "convert", args, &result, err);

	if (r == -ENOSPC)
		return err_wrap(err, "%s: the disk that it is written to is full", from);
	if (r < 0)
		return err_wrap(err, "%s", from);
	json_decref(result);
	return t->path ? launch_target_commit(t, err) : 0;
}

static int convert_run(struct image_wishes *w, const char *const *args, struct err *err)
{
	const char *from = args[0], *to = args[1];
	const char *format = w->target_format ? w->target_format : "raw";
	struct launch_target t = {.is_unsafe = w->is_unsafe};
	json_t *request;
	int r;

	if (convert_wants_help(w))
		return convert_help(format, err);
	if (!from || !to)
		return err_set(err, -EINVAL,
			       "from which image, to which? See `posada image convert --help`");
	request = json_pack("{s:O, s:b, s:b, s:b, s:b}", "options",
			    w->options ? w->options : json_null(), "compressed", w->is_compressed,
			    "create", !w->is_in_place, "verify", w->is_verified, "backed",
			    w->backing != NULL);
	json_object_set_new(request, "unsafe", json_boolean(w->is_unsafe));
	if (w->snapshot)
		json_object_set_new(request, "snapshot", proto_text(w->snapshot));
	r = convert_numbers(w, request, err);
	if (r == 0)
		r = image_add(w, from, w->format, false, err);
	if (r >= 0)
		r = w->is_in_place ? convert_in_place(w, to, err)
				   : convert_target(w, to, format, &t, err);
	if (r >= 0 && w->is_source_direct)
		r = launch_image_bypass_cache(&w->image, 0, err);
	if (r >= 0 && w->is_direct)
		r = launch_image_bypass_cache(&w->image, 1, err);
	if (r >= 0 && w->backing)
		r = w->is_in_place
			    ? err_set(err, -EINVAL, "--backing and --no-create exclude each other")
			    : convert_backing(w, &t, request, err);
	if (r >= 0)
		r = convert_call(w, from, json_incref(request), &t, err);
	launch_target_fini(&t);
	json_decref(request);
	return r;
}

static int convert_option_cache(void *to, char *value, struct err *err)
{
	struct image_wishes *w = to;

	if (strcmp(value, "writeback") && strcmp(value, "unsafe") && strcmp(value, "none"))
		return err_set(err, -EINVAL, "there is no '%s'; there is: writeback, none, unsafe",
			       value);
	w->is_unsafe = value[0] == 'u';
	w->is_direct = value[0] == 'n';
	return 0;
}

static int convert_option_source_cache(void *to, char *value, struct err *err)
{
	if (strcmp(value, "writeback") && strcmp(value, "none"))
		return err_set(err, -EINVAL, "there is no '%s'; there is: writeback, none", value);
	((struct image_wishes *)to)->is_source_direct = value[0] == 'n';
	return 0;
}

static const struct option_row convert_rows[] = {
	IMAGE_FORMAT,
	IMAGE_TEXT("target-format", "FORMAT", target_format,
		   "the new image's format\n(default: raw)"),
	IMAGE_FLAG("compressed", is_compressed, "write compressed clusters"),
	IMAGE_OPTIONS,
	IMAGE_TEXT("backing", "FILE", backing,
		   "of the new image; only what SOURCE itself has is written"),
	IMAGE_BACKING_FORMAT,
	IMAGE_TEXT("snapshot", "NAME", snapshot, "copy the contents of this internal snapshot"),
	IMAGE_FLAG("no-create", is_in_place, "write into the image, or device, that is there"),
	IMAGE_TEXT(
		"sparse", "SIZE", sparse,
		"zeros of at least this size are left out; 0: none are\n(default: 4K, or the new "
		"image's "
		"clusters)"),
	IMAGE_TEXT("coroutines", "N", coroutines,
		   "how many pieces are copied at a time\n(default: 8)"),
	{"cache", "writeback|none|unsafe", convert_option_cache,
	 "none: go around the page cache with the new image; unsafe: don't wait until it\n"
	 "is on the disk: faster, as qemu-img (default: writeback)"},
	{"source-cache", "writeback|none", convert_option_source_cache,
	 "none: go around the page cache with the source"},
	IMAGE_FLAG("verify", is_verified, "read both again, and compare them"),
	IMAGE_PROGRESS,
	IMAGE_ALLOW,
	IMAGE_SECRET,
	IMAGE_SHARE,
	IMAGE_OVERWRITE,
	IMAGE_QUIET,
};

const struct image_command image_convert = {
	.options =
		{
			.command = "image convert",
			.usage = "FILE_SOURCE FILE_TARGET [OPTIONS]",
			.summary = "Copies the contents of an image to a new one, of another "
				   "format perhaps. TARGET is\nthere once it is whole.",
			OPTION_ROWS(convert_rows),
			.letters = image_letters,
			.max_args = 2,
			.missing = "from which image, to which?",
		},
	.run = convert_run,
};

/* --- compare --- */

enum { COMPARE_DIFFERENT = 1, COMPARE_FAILED = 2 };

static int compare_say(const struct image_wishes *w, const char *text, int status)
{
	if (!w->is_quiet)
		puts(text);
	return status;
}

/* 0: the same, 1: not; in qemu-img's words. */
static int compare_judge(const struct image_wishes *w, const json_t *result)
{
	const json_t *sizes = json_object_get(result, "sizes");
	bool is_same_size = json_equal(json_array_get(sizes, 0), json_array_get(sizes, 1));

	if (!is_same_size && w->is_strict)
		return compare_say(w, "Strict mode: Image size mismatch!", COMPARE_DIFFERENT);
	if (!is_same_size)
		compare_say(w, "Warning: Image size mismatch!", 0);
	if (json_is_true(json_object_get(result, "identical")))
		return compare_say(w, "Images are identical.", 0);
	if (!w->is_quiet)
		printf("Content mismatch at offset %ld!\n", json_number(result, "offset"));
	return COMPARE_DIFFERENT;
}

static int compare_run(struct image_wishes *w, const char *const *paths, struct err *err)
{
	json_t *result;
	int r = image_add(w, paths[0], w->format, false, err);

	if (r >= 0)
		r = image_add(w, paths[1], w->target_format ? w->target_format : w->format, false,
			      err);
	if (r >= 0)
		r = image_call(w, "compare", NULL, &result, err);
	if (r < 0)
		return r;
	r = compare_judge(w, result);
	json_decref(result);
	return r;
}

static const struct option_row compare_rows[] = {
	IMAGE_FORMAT,
	IMAGE_TEXT("other-format", "FORMAT", target_format,
		   "the second image's format\n(default: the first one's)"),
	IMAGE_FLAG("strict", is_strict, "another size is a difference"),
	IMAGE_PROGRESS,
	IMAGE_ALLOW,
	IMAGE_SECRET,
	IMAGE_SHARE,
	IMAGE_QUIET,
};

const struct image_command image_compare = {
	.options =
		{
			.command = "image compare",
			.usage = "FILE FILE [OPTIONS]",
			.summary = "Compares what a guest would read of two images. Exit status: 0 "
				   "for the same, 1 for\na difference, 2 for a failure. Behind the "
				   "end of the smaller one there are zeros.",
			OPTION_ROWS(compare_rows),
			.letters = image_letters,
			.min_args = 2,
			.max_args = 2,
			.missing = "which images?",
		},
	.run = compare_run,
	.failed = COMPARE_FAILED,
};

/* --- resize --- */

static int resize_run(struct image_wishes *w, const char *const *args, struct err *err)
{
	const char *path = args[0], *text = args[1] + (args[1][0] == '=');
	bool is_relative = text[0] == '+' || text[0] == '-';
	char sign[2] = {is_relative ? text[0] : '\0'}, size[32];
	json_t *result;
	u64 bytes;
	int r = image_size(text + is_relative, &bytes, err);

	if (r == 0)
		r = image_call_one(w, path, true, "resize",
				   json_pack("{s:I, s:s, s:b}", "size", (json_int_t)bytes, "sign",
					     sign, "shrink", w->may_shrink),
				   &result, err);
	if (r < 0)
		return r;
	if (!w->is_quiet)
		printf("Image resized: it has %s (%ld bytes) now.\n",
		       print_size(size, (u64)json_number(result, "size")),
		       json_number(result, "size"));
	json_decref(result);
	return 0;
}

/* "-1G" would be an option. */
static void resize_protect_sign(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		if (argv[i][0] == '-' && argv[i][1] >= '0' && argv[i][1] <= '9')
			argv[i] = str_format("=%s", argv[i]);
	}
}

static const struct option_row resize_rows[] = {
	IMAGE_FORMAT,
	IMAGE_FLAG("shrink", may_shrink, "it may become smaller: what is cut off is lost"),
	IMAGE_ALLOW,
	IMAGE_SECRET,
	IMAGE_QUIET,
};

const struct image_command image_resize = {
	.options =
		{
			.command = "image resize",
			.usage = "FILE [+|-]SIZE [OPTIONS]",
			.summary = "Makes an image larger or smaller: to SIZE, or by it. What is "
				   "new reads as zeros.",
			OPTION_ROWS(resize_rows),
			.letters = image_letters,
			.min_args = 2,
			.max_args = 2,
			.missing = "which image, and how large?",
		},
	.prepare = resize_protect_sign,
	.run = resize_run,
};

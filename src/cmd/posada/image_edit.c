/*
 * posada image snapshot, bitmap, commit, rebase: changes of an image.
 */
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/err.h"
#include "cmd/posada/image.h"
#include "cmd/posada/print.h"
#include "proto/text.h"

struct edit_wishes {
	struct image_wishes image; /* first */
	const char *action, *name, *source, *granularity;
	bool keeps;
};

/* One action at a time. */
static int edit_choose(void *to, const char *action, const char *name, struct err *err)
{
	struct edit_wishes *w = to;

	if (w->action)
		return err_set(err, -EINVAL, "one thing at a time: there is --%s already",
			       w->action);
	if (name && !proto_text_is_utf8(name))
		return err_set(err, -EINVAL, "it is no UTF-8");
	w->action = action;
	w->name = name;
	return 0;
}

static int edit_run(struct edit_wishes *w, const char *path, const char *command, json_t *args,
		    bool is_writable, json_t **out, struct err *err)
{
	int r = image_add(&w->image, path, w->image.format, is_writable, err);

	if (r < 0) {
		json_decref(args);
		return r;
	}
	r = image_call(&w->image, command, args, out, err);
	return r < 0 ? err_wrap(err, "%s", path) : 0;
}

/* --- snapshot --- */

static int snapshot_option_list(void *to, unused char *value, struct err *err)
{
	return edit_choose(to, "list", NULL, err);
}

static int snapshot_option_create(void *to, char *value, struct err *err)
{
	return edit_choose(to, "create", value, err);
}

static int snapshot_option_apply(void *to, char *value, struct err *err)
{
	return edit_choose(to, "apply", value, err);
}

static int snapshot_option_delete(void *to, char *value, struct err *err)
{
	return edit_choose(to, "delete", value, err);
}

static int snapshot_run(struct edit_wishes *w, const char *path, struct err *err)
{
	const char *action = w->action ? w->action : "list";
	json_t *args = json_pack("{s:s}", "action", action), *result, *list;
	int r;

	if (w->name)
		json_object_set_new(args, "name", json_string(w->name));
	r = edit_run(w, path, "snapshot", args, strcmp(action, "list") != 0, &result, err);
	if (r < 0)
		return r;
	list = json_object_get(result, "snapshots");
	if (list && w->image.json.is_json) {
		print_json(json_incref(list));
	} else if (json_array_size(list)) {
		printf("Snapshot list:\n");
		image_print_snapshots(list);
	}
	json_decref(result);
	return 0;
}

int image_snapshot(int argc, char **argv)
{
	static const struct option_row rows[] = {
		IMAGE_FORMAT,
		{"list", NULL, snapshot_option_list, "list them (default)"},
		{"create", "NAME", snapshot_option_create, "keep what the disk is now"},
		{"apply", "NAME", snapshot_option_apply, "the disk becomes what it was then"},
		{"delete", "NAME", snapshot_option_delete, "forget it"},
		IMAGE_ALLOW,
		IMAGE_SHARE,
		IMAGE_QUIET,
		IMAGE_OUTPUT,
		OPTION_JSON,
	};
	static const struct option_letter letters[] = {
		{'f', "format"}, {'l', "list"},        {'c', "create"}, {'a', "apply"},
		{'d', "delete"}, {'U', "force-share"}, {'q', "quiet"},  {0},
	};
	static const struct option_table table = {
		.command = "image snapshot",
		.usage = "FILE [OPTIONS]",
		.summary = "Lists, makes, applies or deletes the snapshots inside an image.",
		.rows = rows,
		.letters = letters,
		.n_rows = ARRAY_SIZE(rows),
		.min_args = 1,
		.max_args = 1,
		.missing = "of which image?",
	};
	struct edit_wishes w = {0};
	struct err err = ERR_INIT;
	const char *path;
	int status = options_parse(&table, argc, argv, &w, &path);

	return status != OPTIONS_RUN ? status
				     : image_end(&w.image, snapshot_run(&w, path, &err), 1, &err);
}

/* --- bitmap --- */

static int bitmap_option_list(void *to, unused char *value, struct err *err)
{
	return edit_choose(to, "list", NULL, err);
}

static int bitmap_option_add(void *to, unused char *value, struct err *err)
{
	return edit_choose(to, "add", NULL, err);
}

static int bitmap_option_remove(void *to, unused char *value, struct err *err)
{
	return edit_choose(to, "remove", NULL, err);
}

static int bitmap_option_clear(void *to, unused char *value, struct err *err)
{
	return edit_choose(to, "clear", NULL, err);
}

static int bitmap_option_enable(void *to, unused char *value, struct err *err)
{
	return edit_choose(to, "enable", NULL, err);
}

static int bitmap_option_disable(void *to, unused char *value, struct err *err)
{
	return edit_choose(to, "disable", NULL, err);
}

static int bitmap_option_merge(void *to, char *value, struct err *err)
{
	((struct edit_wishes *)to)->source = value;
	if (!proto_text_is_utf8(value))
		return err_set(err, -EINVAL, "it is no UTF-8");
	return edit_choose(to, "merge", NULL, err);
}

static int bitmap_option_granularity(void *to, char *value, unused struct err *err)
{
	((struct edit_wishes *)to)->granularity = value;
	return 0;
}

static void bitmap_print(const json_t *list)
{
	static const char *const headings[] = {"NAME", ">GRANULARITY", ">DIRTY", "STATE", NULL};
	struct print_table *t = print_table_new(headings);
	char size[32];

	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *b = json_array_get(list, i);

		print_cell(t, "%s", json_text(b, "name"));
		print_cell(t, "%s", print_size(size, (u64)json_number(b, "granularity")));
		print_cell(t, "%s", print_size(size, (u64)json_number(b, "dirty-bytes")));
		print_cell(t, "%s",
			   json_is_true(json_object_get(b, "inconsistent")) ? "unusable"
			   : json_is_true(json_object_get(b, "enabled"))    ? "records"
									    : "rests");
	}
	print_table_end(t);
}

static json_t *bitmap_args(const struct edit_wishes *w, const char *name, struct err *err)
{
	json_t *args = json_pack("{s:s}", "action", w->action ? w->action : "list");
	u64 n;

	if (name)
		json_object_set_new(args, "name", json_string(name));
	if (w->source)
		json_object_set_new(args, "source", json_string(w->source));
	if (!w->granularity)
		return args;
	if (image_size(w->granularity, &n, err) < 0) {
		err_wrap(err, "--granularity");
		json_decref(args);
		return NULL;
	}
	json_object_set_new(args, "granularity", json_integer((json_int_t)n));
	return args;
}

static int bitmap_run(struct edit_wishes *w, const char *path, const char *name, struct err *err)
{
	bool is_list = !w->action || strcmp(w->action, "list") == 0;
	json_t *args, *result, *list;
	int r;

	if (!is_list && !name)
		return err_set(err, -EINVAL, "which bitmap?");
	if (name && !proto_text_is_utf8(name))
		return err_set(err, -EINVAL, "a bitmap's name is UTF-8");
	args = bitmap_args(w, name, err);
	if (!args)
		return err->code;
	r = edit_run(w, path, "bitmap", args, !is_list, &result, err);
	if (r < 0)
		return r;
	list = json_object_get(result, "bitmaps");
	if (list && w->image.json.is_json)
		print_json(json_incref(list));
	else if (list)
		bitmap_print(list);
	json_decref(result);
	return 0;
}

int image_bitmap(int argc, char **argv)
{
	static const struct option_row rows[] = {
		IMAGE_FORMAT,
		{"list", NULL, bitmap_option_list, "list them (default)"},
		{"add", NULL, bitmap_option_add, "a new one, in which nothing is dirty"},
		{"granularity", "SIZE", bitmap_option_granularity,
		 "of the new one, a power of two\n(default: 64K)"},
		{"remove", NULL, bitmap_option_remove, "remove it"},
		{"clear", NULL, bitmap_option_clear, "nothing is dirty any more"},
		{"enable", NULL, bitmap_option_enable, "it records what is written"},
		{"disable", NULL, bitmap_option_disable, "it doesn't"},
		{"merge", "NAME", bitmap_option_merge, "what is dirty there is so here, too"},
		IMAGE_ALLOW,
		IMAGE_SHARE,
		IMAGE_QUIET,
		IMAGE_OUTPUT,
		OPTION_JSON,
	};
	static const struct option_letter letters[] = {
		{'f', "format"}, {'g', "granularity"}, {'U', "force-share"}, {'q', "quiet"}, {0}};
	static const struct option_table table = {
		.command = "image bitmap",
		.usage = "FILE [NAME_OF_BITMAP] [OPTIONS]",
		.summary = "Lists and changes the dirty bitmaps that are kept in an image.",
		.rows = rows,
		.letters = letters,
		.n_rows = ARRAY_SIZE(rows),
		.min_args = 1,
		.max_args = 2,
		.missing = "of which image?",
	};
	struct edit_wishes w = {0};
	struct err err = ERR_INIT;
	const char *args[2];
	int status = options_parse(&table, argc, argv, &w, args);

	return status != OPTIONS_RUN
		       ? status
		       : image_end(&w.image, bitmap_run(&w, args[0], args[1], &err), 1, &err);
}

/* --- commit --- */

static int commit_option_keep(void *to, unused char *value, unused struct err *err)
{
	((struct edit_wishes *)to)->keeps = true;
	return 0;
}

static int commit_run(struct edit_wishes *w, const char *path, struct err *err)
{
	json_t *result;
	int r = edit_run(w, path, "commit", json_pack("{s:b}", "keep", w->keeps), !w->keeps,
			 &result, err);

	if (r < 0)
		return r;
	json_decref(result);
	if (!w->image.is_quiet)
		printf("Image committed.\n");
	return 0;
}

int image_commit(int argc, char **argv)
{
	static const struct option_row rows[] = {
		IMAGE_FORMAT,
		{"backing", "FILE", image_option_allow,
		 "the backing file, as a word that it may be written"},
		{"keep", NULL, commit_option_keep, "the overlay isn't emptied"},
		IMAGE_PROGRESS,
		IMAGE_BACKING_FORMAT,
		IMAGE_ALLOW,
		IMAGE_QUIET,
	};
	static const struct option_letter letters[] = {{'f', "format"},
						       {'b', "backing"},
						       {'d', "keep"},
						       {'p', "progress"},
						       {'F', "backing-format"},
						       {'q', "quiet"},
						       {0}};
	static const struct option_table table = {
		.command = "image commit",
		.usage = "FILE_OVERLAY --backing FILE [OPTIONS]",
		.summary = "Writes what an overlay has into the image that it lies over, and "
			   "empties it.",
		.rows = rows,
		.letters = letters,
		.n_rows = ARRAY_SIZE(rows),
		.min_args = 1,
		.max_args = 1,
		.missing = "which overlay?",
	};
	struct edit_wishes w = {0};
	struct err err = ERR_INIT;
	const char *path;
	int status = options_parse(&table, argc, argv, &w, &path);

	return status != OPTIONS_RUN ? status
				     : image_end(&w.image, commit_run(&w, path, &err), 1, &err);
}

/* --- rebase --- */

/* The new backing file is opened, unless its name is only written; "" is none. */
static int rebase_backing(struct edit_wishes *w, json_t *args, struct err *err)
{
	struct image_wishes *i = &w->image;
	const char *format = i->image.names.backing_format;
	AUTO(free) char *name = NULL;
	int r;

	if (!i->backing[0])
		return 0;
	if (!format || !img_find_format(format))
		return err_set(err, -EINVAL,
			       "of which format is %s? Say it: --backing-format (-F) FORMAT",
			       i->backing);
	name = str_dup(i->backing);
	if (!i->is_unsafe) {
		r = image_add(i, i->backing, format, false, err);
		if (r < 0)
			return r;
		free(name);
		name = image_name_from(i->image.files[0].path, i->image.files[r].path);
	}
	if (!proto_text_is_utf8(name))
		return err_set(err, -EINVAL, "the name %s is no UTF-8", i->backing);
	json_object_set_new(args, "backing-name", json_string(name));
	json_object_set_new(args, "backing-format", json_string(format));
	return 0;
}

static int rebase_run(struct edit_wishes *w, const char *path, struct err *err)
{
	json_t *args, *result;
	int r;

	if (!w->image.backing)
		return err_set(err, -EINVAL, "onto which image? --backing FILE, or \"\" for none");
	r = image_add(&w->image, path, w->image.format, true, err);
	if (r < 0)
		return r;
	args = json_pack("{s:b}", "unsafe", w->image.is_unsafe);
	r = rebase_backing(w, args, err);
	if (r == 0)
		r = image_call(&w->image, "rebase", json_incref(args), &result, err);
	json_decref(args);
	if (r < 0)
		return err_wrap(err, "%s", path);
	json_decref(result);
	if (!w->image.is_quiet)
		printf("Image rebased.\n");
	return 0;
}

static int rebase_option_unsafe(void *to, unused char *value, unused struct err *err)
{
	((struct image_wishes *)to)->is_unsafe = true;
	return 0;
}

int image_rebase(int argc, char **argv)
{
	static const struct option_row rows[] = {
		IMAGE_FORMAT,
		{"backing", "FILE", image_option_backing,
		 "what it shall lie over; \"\" for nothing"},
		IMAGE_BACKING_FORMAT,
		{"unsafe", NULL, rebase_option_unsafe,
		 "only write the name: for a backing file that was renamed or moved"},
		IMAGE_PROGRESS,
		IMAGE_ALLOW,
		IMAGE_QUIET,
	};
	static const struct option_table table = {
		.command = "image rebase",
		.usage = "FILE --backing FILE [OPTIONS]",
		.summary =
			"Puts an overlay onto another image. Its contents stay what they are: what "
			"the two\nbacking files differ in is copied into it.",
		.rows = rows,
		.letters = image_letters,
		.n_rows = ARRAY_SIZE(rows),
		.min_args = 1,
		.max_args = 1,
		.missing = "which image?",
	};
	struct edit_wishes w = {0};
	struct err err = ERR_INIT;
	const char *path;
	int status = options_parse(&table, argc, argv, &w, &path);

	return status != OPTIONS_RUN ? status
				     : image_end(&w.image, rebase_run(&w, path, &err), 1, &err);
}

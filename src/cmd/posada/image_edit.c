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

/* One action at a time. */
static int edit_choose(void *to, const char *action, const char *name, struct err *err)
{
	struct image_wishes *w = to;

	if (w->edit.action)
		return err_set(err, -EINVAL, "one thing at a time: there is --%s already",
			       w->edit.action);
	if (name && !proto_text_is_utf8(name))
		return err_set(err, -EINVAL, "it is no UTF-8");
	w->edit.action = action;
	w->edit.name = name;
	return 0;
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

static int snapshot_run(struct image_wishes *w, const char *const *paths, struct err *err)
{
	const char *action = w->edit.action ? w->edit.action : "list";
	json_t *args = json_pack("{s:s}", "action", action), *result, *list;
	int r;

	if (w->edit.name)
		json_object_set_new(args, "name", json_string(w->edit.name));
	r = image_call_one(w, paths[0], strcmp(action, "list") != 0, "snapshot", args, &result,
			   err);
	if (r < 0)
		return r;
	list = json_object_get(result, "snapshots");
	if (list && w->json.is_json) {
		print_json(json_incref(list));
	} else if (json_array_size(list)) {
		printf("Snapshot list:\n");
		image_print_snapshots(list);
	}
	json_decref(result);
	return 0;
}

static const struct option_row snapshot_rows[] = {
	IMAGE_FORMAT,
	{"list", NULL, snapshot_option_list, "list them (default)"},
	{"create", "NAME", snapshot_option_create, "keep what the disk is now"},
	{"apply", "NAME", snapshot_option_apply, "the disk becomes what it was then"},
	{"delete", "NAME", snapshot_option_delete, "forget it"},
	IMAGE_ALLOW,
	IMAGE_SECRET,
	IMAGE_SHARE,
	IMAGE_QUIET,
	IMAGE_OUTPUT,
	OPTION_JSON,
};

static const struct option_letter snapshot_letters[] = {
	{'f', "format"}, {'l', "list"},        {'c', "create"}, {'a', "apply"},
	{'d', "delete"}, {'U', "force-share"}, {'q', "quiet"},  {0},
};

const struct image_command image_snapshot = {
	.options =
		{
			.command = "image snapshot",
			.usage = "FILE [OPTIONS]",
			.summary =
				"Lists, makes, applies or deletes the snapshots inside an image.",
			OPTION_ROWS(snapshot_rows),
			.letters = snapshot_letters,
			.min_args = 1,
			.max_args = 1,
			.missing = "of which image?",
		},
	.run = snapshot_run,
};

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
	((struct image_wishes *)to)->edit.source = value;
	if (!proto_text_is_utf8(value))
		return err_set(err, -EINVAL, "it is no UTF-8");
	return edit_choose(to, "merge", NULL, err);
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

static json_t *bitmap_args(const struct image_wishes *w, const char *name, struct err *err)
{
	json_t *args = json_pack("{s:s}", "action", w->edit.action ? w->edit.action : "list");
	u64 n;

	if (name)
		json_object_set_new(args, "name", json_string(name));
	if (w->edit.source)
		json_object_set_new(args, "source", json_string(w->edit.source));
	if (!w->edit.granularity)
		return args;
	if (image_size(w->edit.granularity, &n, err) < 0) {
		err_wrap(err, "--granularity");
		json_decref(args);
		return NULL;
	}
	json_object_set_new(args, "granularity", json_integer((json_int_t)n));
	return args;
}

static int bitmap_run(struct image_wishes *w, const char *const *words, struct err *err)
{
	const char *path = words[0], *name = words[1];
	bool is_list = !w->edit.action || strcmp(w->edit.action, "list") == 0;
	json_t *args, *result, *list;
	int r;

	if (!is_list && !name)
		return err_set(err, -EINVAL, "which bitmap?");
	if (name && !proto_text_is_utf8(name))
		return err_set(err, -EINVAL, "a bitmap's name is UTF-8");
	args = bitmap_args(w, name, err);
	if (!args)
		return err->code;
	r = image_call_one(w, path, !is_list, "bitmap", args, &result, err);
	if (r < 0)
		return r;
	list = json_object_get(result, "bitmaps");
	if (list && w->json.is_json)
		print_json(json_incref(list));
	else if (list)
		bitmap_print(list);
	json_decref(result);
	return 0;
}

static const struct option_row bitmap_rows[] = {
	IMAGE_FORMAT,
	{"list", NULL, bitmap_option_list, "list them (default)"},
	{"add", NULL, bitmap_option_add, "a new one, in which nothing is dirty"},
	IMAGE_TEXT("granularity", "SIZE", edit.granularity,
		   "of the new one, a power of two\n(default: 64K)"),
	{"remove", NULL, bitmap_option_remove, "remove it"},
	{"clear", NULL, bitmap_option_clear, "nothing is dirty any more"},
	{"enable", NULL, bitmap_option_enable, "it records what is written"},
	{"disable", NULL, bitmap_option_disable, "it doesn't"},
	{"merge", "NAME", bitmap_option_merge, "what is dirty there is so here, too"},
	IMAGE_ALLOW,
	IMAGE_SECRET,
	IMAGE_SHARE,
	IMAGE_QUIET,
	IMAGE_OUTPUT,
	OPTION_JSON,
};

static const struct option_letter bitmap_letters[] = {
	{'f', "format"}, {'g', "granularity"}, {'U', "force-share"}, {'q', "quiet"}, {0}};

const struct image_command image_bitmap = {
	.options =
		{
			.command = "image bitmap",
			.usage = "FILE [NAME_OF_BITMAP] [OPTIONS]",
			.summary = "Lists and changes the dirty bitmaps that are kept in an image.",
			OPTION_ROWS(bitmap_rows),
			.letters = bitmap_letters,
			.min_args = 1,
			.max_args = 2,
			.missing = "of which image?",
		},
	.run = bitmap_run,
};

/* --- commit --- */

static int commit_run(struct image_wishes *w, const char *const *args, struct err *err)
{
	json_t *result;
	int r = image_call_one(w, args[0], !w->keeps, "commit",
			       json_pack("{s:b}", "keep", w->keeps), &result, err);

	if (r < 0)
		return r;
	json_decref(result);
	if (!w->is_quiet)
		printf("Image committed.\n");
	return 0;
}

static const struct option_row commit_rows[] = {
	IMAGE_FORMAT,
	{"backing", "FILE", image_option_allow,
	 "the backing file, as a word that it may be written"},
	IMAGE_FLAG("keep", keeps, "the overlay isn't emptied"),
	IMAGE_PROGRESS,
	IMAGE_BACKING_FORMAT,
	IMAGE_ALLOW,
	IMAGE_SECRET,
	IMAGE_QUIET,
};

static const struct option_letter commit_letters[] = {{'f', "format"},
						      {'b', "backing"},
						      {'d', "keep"},
						      {'p', "progress"},
						      {'F', "backing-format"},
						      {'q', "quiet"},
						      {0}};

const struct image_command image_commit = {
	.options =
		{
			.command = "image commit",
			.usage = "FILE_OVERLAY --backing FILE [OPTIONS]",
			.summary = "Writes what an overlay has into the image that it lies over, "
				   "and empties it.",
			OPTION_ROWS(commit_rows),
			.letters = commit_letters,
			.min_args = 1,
			.max_args = 1,
			.missing = "which overlay?",
		},
	.run = commit_run,
};

/* --- rebase --- */

/* The new backing file is opened, unless its name is only written; "" is none. */
static int rebase_backing(struct image_wishes *w, json_t *args, struct err *err)
{
	const char *format = w->image.names.backing_format;
	AUTO(free) char *name = NULL;
	int r;

	if (!w->backing[0])
		return 0;
	if (!format || !img_find_format(format))
		return err_set(err, -EINVAL,
			       "of which format is %s? Say it: --backing-format (-F) FORMAT",
			       w->backing);
	name = str_dup(w->backing);
	if (!w->is_unsafe) {
		r = image_add(w, w->backing, format, false, err);
		if (r < 0)
			return r;
		free(name);
		name = image_name_from(w->image.files[0].path, w->image.files[r].path);
	}
	if (!proto_text_is_utf8(name))
		return err_set(err, -EINVAL, "the name %s is no UTF-8", w->backing);
	json_object_set_new(args, "backing-name", json_string(name));
	json_object_set_new(args, "backing-format", json_string(format));
	return 0;
}

static int rebase_run(struct image_wishes *w, const char *const *paths, struct err *err)
{
	const char *path = paths[0];
	json_t *args, *result;
	int r;

	if (!w->backing)
		return err_set(err, -EINVAL, "onto which image? --backing FILE, or \"\" for none");
	r = image_add(w, path, w->format, true, err);
	if (r < 0)
		return r;
	args = json_pack("{s:b}", "unsafe", w->is_unsafe);
	r = rebase_backing(w, args, err);
	if (r == 0)
		r = image_call(w, "rebase", json_incref(args), &result, err);
	json_decref(args);
	if (r < 0)
		return err_wrap(err, "%s", path);
	json_decref(result);
	if (!w->is_quiet)
		printf("Image rebased.\n");
	return 0;
}

static const struct option_row rebase_rows[] = {
	IMAGE_FORMAT,
	IMAGE_TEXT("backing", "FILE", backing, "what it shall lie over; \"\" for nothing"),
	IMAGE_BACKING_FORMAT,
	IMAGE_FLAG("unsafe", is_unsafe,
		   "only write the name: for a backing file that was renamed or moved"),
	IMAGE_PROGRESS,
	IMAGE_ALLOW,
	IMAGE_SECRET,
	IMAGE_QUIET,
};

const struct image_command image_rebase = {
	.options =
		{
			.command = "image rebase",
			.usage = "FILE --backing FILE [OPTIONS]",
			.summary =
				"Puts an overlay onto another image. Its contents stay what they "
				"are: what the two\nbacking files differ in is copied into it.",
			OPTION_ROWS(rebase_rows),
			.letters = image_letters,
			.min_args = 1,
			.max_args = 1,
			.missing = "which image?",
		},
	.run = rebase_run,
};

/*
 * posada image info, map, check, repair: what there is to know of an image, printed as qemu-img does.
 */
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "base/err.h"
#include "cmd/posada/image.h"
#include "cmd/posada/print.h"
#include "proto/text.h"

#define INFO_INDENT 4

/* --- info --- */

static void info_print_value(const json_t *v)
{
	if (json_is_string(v)) {
		AUTO(free) char *text = proto_text_clean(str_dup(json_string_value(v)));

		printf("%s\n", text);
	} else if (json_is_integer(v)) {
		printf("%lld\n", json_integer_value(v));
	} else if (json_is_boolean(v)) {
		printf("%s\n", json_is_true(v) ? "true" : "false");
	} else {
		printf("\n");
	}
}

static void info_print_tree(const json_t *o, int depth);

static void info_print_member(const char *name, const json_t *v, int depth)
{
	AUTO(free) char *label = proto_text_clean(str_dup(name));

	for (char *p = label; *p; p++)
		*p = *p == '-' ? ' ' : *p;
	printf("%*s%s:%s", depth * INFO_INDENT, "", label,
	       json_is_object(v) || json_is_array(v) ? "" : " ");
	info_print_value(v);
	info_print_tree(v, depth + 1);
}

static void info_print_tree(const json_t *o, int depth)
{
	const char *name;
	char number[24];
	json_t *v;

	if (json_is_object(o)) {
		json_object_foreach((json_t *)o, name, v) info_print_member(name, v, depth);
	}
	for (size_t i = 0; json_is_array(o) && i < json_array_size(o); i++) {
		snprintf(number, sizeof(number), "[%zu]", i);
		info_print_member(number, json_array_get(o, i), depth);
	}
}

void image_print_snapshots(const json_t *list)
{
	printf("%-9s %-16s %10s %20s %15s\n", "ID", "TAG", "VM SIZE", "DATE", "VM CLOCK");
	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *s = json_array_get(list, i);
		AUTO(free) char *id = proto_text_clean(str_dup(json_text(s, "id")));
		AUTO(free) char *tag = proto_text_clean(str_dup(json_text(s, "name")));
		time_t date = (time_t)json_number(s, "date-sec");
		i64 clock = json_number(s, "vm-clock-sec");
		char size[32], when[32] = "";
		struct tm tm;

		if (localtime_r(&date, &tm))
			strftime(when, sizeof(when), "%Y-%m-%d %H:%M:%S", &tm);
		printf("%-9s %-16s %10s %20s    %02ld:%02ld:%02ld.%03ld\n", id, tag,
		       print_size(size, (u64)json_number(s, "vm-state-size")), when, clock / 3600,
		       clock / 60 % 60, clock % 60, json_number(s, "vm-clock-nsec") / 1000000);
	}
}

static void info_print_sizes(const json_t *i)
{
	char text[32];
	u64 size = (u64)json_number(i, "virtual-size");

	printf("virtual size: %s (%lu bytes)\n", print_size(text, size), size);
	printf("disk size: %s\n", print_size(text, (u64)json_number(i, "actual-size")));
	if (json_is_true(json_object_get(i, "encrypted")))
		printf("encrypted: yes\n");
	if (json_object_get(i, "cluster-size"))
		printf("cluster_size: %ld\n", json_number(i, "cluster-size"));
	if (json_is_true(json_object_get(i, "dirty-flag")))
		printf("cleanly shut down: no\n");
	if (json_is_true(json_object_get(i, "corrupt")))
		printf("corrupt: yes; see `posada image check`\n");
}

static void info_print_backing(const json_t *i)
{
	AUTO(free) char *name = proto_text_clean(str_dup(json_text(i, "backing-filename")));
	AUTO(free) char *full = proto_text_clean(str_dup(json_text(i, "full-backing-filename")));
	AUTO(free)
	char *format = proto_text_clean(str_dup(json_text(i, "backing-filename-format")));

	if (!name[0])
		return;
	printf("backing file: %s", name);
	if (full[0] && strcmp(full, name) != 0)
		printf(" (actual path: %s)", full);
	printf("\n");
	if (format[0])
		printf("backing file format: %s\n", format);
	else
		printf("backing file format: not said; it won't be opened without "
		       "--backing-format\n");
}

static void info_print(const json_t *i)
{
	AUTO(free) char *name = proto_text_clean(str_dup(json_text(i, "filename")));
	const json_t *specific = json_object_get(i, "format-specific");

	printf("image: %s\n", name);
	printf("file format: %s", json_text(i, "format"));
	if (json_object_get(i, "certainty"))
		printf(" (a guess, %ld %% certain)", json_number(i, "certainty"));
	printf("\n");
	info_print_sizes(i);
	info_print_backing(i);
	if (json_object_get(i, "snapshots")) {
		printf("Snapshot list:\n");
		image_print_snapshots(json_object_get(i, "snapshots"));
	}
	if (specific) {
		printf("Format specific information:\n");
		info_print_tree(json_object_get(specific, "data"), 1);
	}
	if (json_object_get(i, "bitmaps")) {
		printf("Bitmaps:\n");
		info_print_tree(json_object_get(i, "bitmaps"), 1);
	}
}

/* The names, which the helper doesn't know. */
static void info_add_names(const struct image_wishes *w, const char *path, json_t *images)
{
	for (size_t n = 0; n < json_array_size(images); n++) {
		json_t *i = json_array_get(images, n);
		u64 file = (u64)json_number(i, "file");

		json_object_del(i, "file");
		json_object_set_new(
			i, "filename",
			proto_text(n || file >= w->image.n_files
					   ? w->image.files[MIN(file, w->image.n_files - 1)].path
					   : path));
		if (n + 1 < json_array_size(images) && file + 1 < w->image.n_files)
			json_object_set_new(i, "full-backing-filename",
					    proto_text(w->image.files[file + 1].path));
	}
}

static int info_run(struct image_wishes *w, const char *const *paths, struct err *err)
{
	const char *path = paths[0];
	json_t *result, *images;
	const char *format = w->format && strcmp(w->format, "probe") ? w->format : NULL;
	int r = format ? image_add(w, path, format, false, err)
		       : image_add_file(w, path, NULL, false, err);

	if (r < 0)
		return r;
	r = image_call(w, "info", json_pack("{s:b}", "chain", w->is_chain), &result, err);
	if (r < 0)
		return err_wrap(err, "%s", path);
	images = json_object_get(result, "images");
	info_add_names(w, path, images);
	if (w->json.is_json)
		print_json(json_incref(w->is_chain ? images : json_array_get(images, 0)));
	for (size_t i = 0; !w->json.is_json && i < json_array_size(images); i++) {
		if (i)
			printf("\n");
		info_print(json_array_get(images, i));
	}
	json_decref(result);
	return 0;
}

static const struct option_row info_rows[] = {
	IMAGE_FORMAT,         IMAGE_FLAG("backing-chain", is_chain, "and those that it lies over"),
	IMAGE_BACKING_FORMAT, IMAGE_ALLOW,
	IMAGE_SECRET,         IMAGE_SHARE,
	IMAGE_OUTPUT,         OPTION_JSON,
};

const struct image_command image_info = {
	.options =
		{
			.command = "image info",
			.usage = "FILE [OPTIONS]",
			.summary = "Shows what an image is. Without --format it is guessed, and "
				   "how sure that is is shown.",
			OPTION_ROWS(info_rows),
			.letters = image_letters,
			.min_args = 1,
			.max_args = 1,
			.missing = "which image?",
		},
	.run = info_run,
};

/* --- map --- */

struct map_print {
	struct image_wishes *w;
	bool has_any;
	const struct launch_image_file *chain[LAUNCH_IMAGE_FILES]; /* by depth */
	unsigned n_chain;
};

static void map_print_json(struct map_print *m, const json_t *e)
{
	printf("%s{ \"start\": %ld, \"length\": %ld, \"depth\": %ld, \"present\": %s, \"zero\": "
	       "%s, "
	       "\"data\": %s, \"compressed\": %s",
	       m->has_any ? ",\n" : "[", json_number(e, "start"), json_number(e, "length"),
	       json_number(e, "depth"),
	       json_is_true(json_object_get(e, "present")) ? "true" : "false",
	       json_is_true(json_object_get(e, "zero")) ? "true" : "false",
	       json_is_true(json_object_get(e, "data")) ? "true" : "false",
	       json_is_true(json_object_get(e, "compressed")) ? "true" : "false");
	if (json_object_get(e, "offset"))
		printf(", \"offset\": %ld", json_number(e, "offset"));
	printf("}");
	m->has_any = true;
}

/* As qemu-img: data that is there as it is. */
static void map_print_row(struct map_print *m, const json_t *e)
{
	u64 depth = (u64)json_number(e, "depth");

	if (!json_object_get(e, "offset") || json_is_true(json_object_get(e, "zero")))
		return;
	printf("%#-16lx%#-16lx%#-16lx%s\n", (u64)json_number(e, "start"),
	       (u64)json_number(e, "length"), (u64)json_number(e, "offset"),
	       depth < m->n_chain ? m->chain[depth]->path : "");
}

/* The backing files, in their order; those that were asked for are there by now. */
static void map_find_chain(struct map_print *m)
{
	const struct launch_image *i = &m->w->image;
	int at = 0;

	m->n_chain = 0;
	while (at >= 0 && m->n_chain < LAUNCH_IMAGE_FILES) {
		int next = -1;

		m->chain[m->n_chain++] = &i->files[at];
		for (unsigned n = 0; n < i->n_files; n++) {
			if (i->files[n].parent == at && i->files[n].role == IMG_BACKING)
				next = (int)n;
		}
		at = next;
	}
}

/* When it is known that there is something to print. */
static void map_begin(struct map_print *m)
{
	map_find_chain(m);
	m->has_any = true;
	printf("%-16s%-16s%-16s%s\n", "Offset", "Length", "Mapped to", "File");
}

static void map_on_item(void *opaque, const json_t *item)
{
	struct map_print *m = opaque;

	if (m->w->json.is_json) {
		map_print_json(m, item);
		return;
	}
	if (!m->has_any)
		map_begin(m);
	map_print_row(m, item);
}

static int map_run(struct image_wishes *w, const char *const *paths, struct err *err)
{
	struct map_print m = {.w = w};
	json_t *result;
	int r;

	w->image.on_item = map_on_item;
	w->image.opaque = &m;
	r = image_call_one(w, paths[0], false, "map", NULL, &result, err);
	if (r < 0)
		return r;
	if (w->json.is_json)
		printf(m.has_any ? "]\n" : "[]\n");
	json_decref(result);
	return 0;
}

static const struct option_row map_rows[] = {
	IMAGE_FORMAT, IMAGE_BACKING_FORMAT, IMAGE_ALLOW, IMAGE_SECRET,
	IMAGE_SHARE,  IMAGE_OUTPUT,         OPTION_JSON,
};

const struct image_command image_map = {
	.options =
		{
			.command = "image map",
			.usage = "FILE [OPTIONS]",
			.summary = "Shows where the contents of an image are: what is read from "
				   "where on, and in\nwhich file it lies. In JSON also what is "
				   "zero, and what is compressed.",
			OPTION_ROWS(map_rows),
			.letters = image_letters,
			.min_args = 1,
			.max_args = 1,
			.missing = "which image?",
		},
	.run = map_run,
};

/* --- check, repair --- */

/* qemu-img check's. */
enum {
	CHECK_FAILED = 1,
	CHECK_CORRUPT = 2,
	CHECK_LEAKS = 3,
	CHECK_NOT_SUPPORTED = 63,
};

static void check_on_item(void *opaque, const json_t *item)
{
	const struct image_wishes *w = opaque;
	AUTO(free) char *text = proto_text_clean(str_dup(json_text(item, "text")));

	if (!w->json.is_json && !w->is_quiet)
		printf("%s: %s\n",
		       json_is_true(json_object_get(item, "corruption")) ? "ERROR" : "Leaked",
		       text);
}

static void check_print(const json_t *r)
{
	u64 total = (u64)json_number(r, "total-clusters"),
	    used = (u64)json_number(r, "allocated-clusters");
	double part = used ? (double)used : 1;

	if (json_number(r, "corruptions-fixed") || json_number(r, "leaks-fixed"))
		printf("Mended: %ld errors, %ld leaked clusters.\n",
		       json_number(r, "corruptions-fixed"), json_number(r, "leaks-fixed"));
	if (!json_number(r, "corruptions") && !json_number(r, "leaks") &&
	    !json_number(r, "check-errors"))
		printf("No errors were found on the image.\n");
	if (json_number(r, "corruptions"))
		printf("%ld errors were found on the image: data may be corrupted. Run `posada "
		       "image "
		       "repair` on a copy.\n",
		       json_number(r, "corruptions"));
	if (json_number(r, "leaks"))
		printf("%ld leaked clusters were found on the image: space is wasted, and nothing "
		       "else "
		       "is wrong with them.\n",
		       json_number(r, "leaks"));
	if (json_number(r, "check-errors"))
		printf("%ld things could not be checked.\n", json_number(r, "check-errors"));
	if (total)
		printf("%lu/%lu = %.2f%% allocated, %.2f%% fragmented, %.2f%% compressed "
		       "clusters\n",
		       used, total, 100.0 * (double)used / (double)total,
		       100.0 * (double)json_number(r, "fragmented-clusters") / part,
		       100.0 * (double)json_number(r, "compressed-clusters") / part);
	if (json_number(r, "image-end-offset"))
		printf("Image end offset: %ld\n", json_number(r, "image-end-offset"));
}

static int check_status(const json_t *r)
{
	if (json_number(r, "check-errors"))
		return CHECK_FAILED;
	if (json_number(r, "corruptions"))
		return CHECK_CORRUPT;
	return json_number(r, "leaks") ? CHECK_LEAKS : 0;
}

static int check_run(struct image_wishes *w, const char *path, unsigned repair, struct err *err)
{
	json_t *result;
	int status, r;

	w->image.on_item = check_on_item;
	w->image.opaque = w;
	r = image_call_one(w, path, repair, "check", json_pack("{s:i}", "repair", (int)repair),
			   &result, err);
	if (r < 0)
		return r;
	status = check_status(result);
	if (w->json.is_json) {
		json_object_set_new(result, "filename", proto_text(path));
		print_json(json_incref(result));
	} else if (!w->is_quiet) {
		check_print(result);
	}
	json_decref(result);
	return status;
}

static int check_main(struct image_wishes *w, const char *const *paths, struct err *err)
{
	return check_run(w, paths[0], 0, err);
}

static const struct option_row check_rows[] = {
	IMAGE_FORMAT, IMAGE_ALLOW,  IMAGE_SECRET, IMAGE_SHARE,
	IMAGE_QUIET,  IMAGE_OUTPUT, OPTION_JSON,
};

const struct image_command image_check = {
	.options =
		{
			.command = "image check",
			.usage = "FILE [OPTIONS]",
			.summary = "Looks whether an image's bookkeeping is sound. Exit status: 0, "
				   "or 2 for errors, 3\nfor space that nobody uses, 1 when it "
				   "can't be looked at, 63 where a format has\nnothing to check.",
			OPTION_ROWS(check_rows),
			.letters = image_letters,
			.min_args = 1,
			.max_args = 1,
			.missing = "which image?",
		},
	.run = check_main,
	.failed = CHECK_FAILED,
	.not_supported = CHECK_NOT_SUPPORTED,
};

static int repair_main(struct image_wishes *w, const char *const *paths, struct err *err)
{
	unsigned all = w->is_leaks_only ? 0 : IMG_REPAIR_ALL;

	return check_run(w, paths[0], IMG_REPAIR_LEAKS | all, err);
}

static const struct option_row repair_rows[] = {
	IMAGE_FORMAT, IMAGE_FLAG("leaks", is_leaks_only, "only give back space that nobody uses"),
	IMAGE_ALLOW,  IMAGE_SECRET,
	IMAGE_QUIET,  IMAGE_OUTPUT,
	OPTION_JSON,
};

const struct image_command image_repair = {
	.options =
		{
			.command = "image repair",
			.usage = "FILE [OPTIONS]",
			.summary =
				"Mends an image whose bookkeeping isn't sound, as far as it can "
				"be. Exit status\nas with `posada image check`, of what is left.",
			OPTION_ROWS(repair_rows),
			.letters = image_letters,
			.min_args = 1,
			.max_args = 1,
			.missing = "which image?",
		},
	.run = repair_main,
	.failed = CHECK_FAILED,
	.not_supported = CHECK_NOT_SUPPORTED,
};

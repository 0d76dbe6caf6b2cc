/*
 * posada image: the table of its subcommands, and what they share. The work itself is done by
 * posada-image, a process that has descriptors only (launch/image.h).
 */
#include "cmd/posada/image.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/err.h"
#include "cmd/posada/cmd.h"
#include "cmd/posada/complete.h"
#include "cmd/posada/nearest.h"

/* clang-format off */
static const struct image_entry {
	const char *name;
	const struct image_command *command;
	const char *summary;
} image_commands[] = {
	{"create", &image_create, "make a new image"},
	{"overlay", &image_overlay, "make an image whose contents lie over those of another"},
	{"info", &image_info, "show what an image is"},
	{"map", &image_map, "show where an image's contents are"},
	{"measure", &image_measure, "say how large an image would be"},
	{"check", &image_check, "look whether an image is sound"},
	{"repair", &image_repair, "look, and mend what isn't"},
	{"convert", &image_convert, "copy an image to one of another format"},
	{"compare", &image_compare, "compare the contents of two images"},
	{"resize", &image_resize, "make an image larger or smaller"},
	{"snapshot", &image_snapshot, "list, make, apply or delete snapshots inside an image"},
	{"commit", &image_commit, "write what an overlay has into what it lies over"},
	{"rebase", &image_rebase, "put an overlay onto another image"},
	{"bitmap", &image_bitmap, "list and change the dirty bitmaps in an image"},
	{"serve", &image_serve, "serve an image to NBD clients"},
};
/* clang-format on */

const struct option_letter image_letters[] = {
	{'f', "format"},    {'O', "target-format"},  {'o', "options"},      {'b', "backing"},
	{'B', "backing"},   {'F', "backing-format"}, {'F', "other-format"}, {'c', "compressed"},
	{'n', "no-create"}, {'S', "sparse"},         {'m', "coroutines"},   {'l', "snapshot"},
	{'p', "progress"},  {'q', "quiet"},          {'U', "force-share"},  {'s', "strict"},
	{'t', "cache"},     {'T', "source-cache"},   {'u', "unsafe"},       {0},
};

/* --- options --- */

int image_option_allow(void *to, char *value, struct err *err)
{
	struct launch_image_names *n = &((struct image_wishes *)to)->image.names;

	if (n->n_allowed == LAUNCH_IMAGE_ALLOWS)
		return err_set(err, -E2BIG, "at most %d", LAUNCH_IMAGE_ALLOWS);
	n->allowed[n->n_allowed++] = value;
	return 0;
}

int image_option_secret(void *to, char *value, struct err *err)
{
	return launch_secrets_parse(&((struct image_wishes *)to)->image.secrets, value, err);
}

/* NAME=VALUE,NAME=VALUE; a comma in a value is written twice. NAME alone is NAME=on. */
int image_option_options(void *to, char *value, struct err *err)
{
	struct image_wishes *w = to;

	if (!w->options)
		w->options = json_array();
	while (*value) {
		char *at = value, *out = value, *eq;

		while (*at && (*at != ',' || at[1] == ',')) {
			at += *at == ',';
			*out++ = *at++;
		}
		if (*at)
			at++;
		*out = '\0';
		eq = strchr(value, '=');
		if (eq)
			*eq = '\0';
		if (!value[0])
			return err_set(err, -EINVAL, "it is NAME=VALUE, and more behind commas");
		json_array_append_new(w->options, json_pack("{s:s, s:s}", "name", value, "value",
							    eq ? eq + 1 : "on"));
		value = at;
	}
	return 0;
}

/* qemu-img's --output=json. */
int image_option_output(void *to, char *value, struct err *err)
{
	struct image_wishes *w = to;

	if (strcmp(value, "json") && strcmp(value, "human"))
		return err_set(err, -EINVAL, "there is no '%s'; there is: human, json", value);
	w->json.is_json = value[0] == 'j';
	return 0;
}

int image_size(const char *text, u64 *out, struct err *err)
{
	static const char units[] = "bKMGTPE";
	const char *unit;
	char *end;
	unsigned long v;
	unsigned shift = 0;

	errno = 0;
	v = strtoul(text, &end, 10);
	if (*end && (unit = strchr(units, *end == 'b' ? 'b' : *end & ~0x20))) {
		shift = 10 * (unsigned)(unit - units);
		end++;
	}
	if (errno || end == text || text[0] < '0' || text[0] > '9' || *end ||
	    v > BLK_SIZE_MAX >> shift)
		return err_set(err, -EINVAL, "'%s' is not a size; write 10G, 512M, or bytes", text);
	*out = v << shift;
	return 0;
}

/* --- calls --- */

static int image_probe(const char *path, const char **out, struct err *err)
{
	struct image_wishes asked = {.image.names.is_shared = true};
	json_t *result;
	const char *format;
	int r = launch_image_add(&asked.image, path, NULL, false, err);

	if (r == 0)
		r = launch_image_call(&asked.image, "info", NULL, &result, err);
	launch_image_fini(&asked.image, false);
	if (r < 0)
		return r;
	format = json_string_value(
		json_object_get(json_array_get(json_object_get(result, "images"), 0), "format"));
	r = format && img_find_format(format) ? 0 : err_set(err, -EPROTO, "no format");
	if (r == 0)
		*out = img_find_format(format)->name;
	json_decref(result);
	return r;
}

int image_add_file(struct image_wishes *w, const char *path, const char *format, bool is_writable,
		   struct err *err)
{
	int r = launch_image_add(&w->image, path, format, is_writable, err);

	if (r == -EBUSY && !is_writable)
		strncat(err->text, "; add --force-share (-U) to read it anyway",
			sizeof(err->text) - strlen(err->text) - 1);
	return r;
}

int image_add(struct image_wishes *w, const char *path, const char *format, bool is_writable,
	      struct err *err)
{
	int r = 0;

	if (!format)
		return err_set(
			err, -EINVAL,
			"which format has %s? Say it: -f FORMAT (`posada image info` has a guess, "
			"-f probe takes it)",
			path);
	if (!strcmp(format, "probe"))
		r = image_probe(path, &format, err);
	return r < 0 ? r : image_add_file(w, path, format, is_writable, err);
}

static void image_show_progress(unused void *opaque, u64 done, u64 total)
{
	printf("    (%3.2f/100%%)\r", total ? 100.0 * (double)done / (double)total : 100.0);
	fflush(stdout);
}

int image_call(struct image_wishes *w, const char *command, json_t *arguments, json_t **out,
	       struct err *err)
{
	int r;

	if (w->has_progress)
		w->image.on_progress = image_show_progress;
	r = launch_image_call(&w->image, command, arguments, out, err);
	if (w->has_progress)
		putchar('\n');
	return r;
}

int image_call_one(struct image_wishes *w, const char *path, bool is_writable, const char *command,
		   json_t *arguments, json_t **out, struct err *err)
{
	int r = image_add(w, path, w->format, is_writable, err);

	if (r < 0) {
		json_decref(arguments);
		return r;
	}
	r = image_call(w, command, arguments, out, err);
	return r < 0 ? err_wrap(err, "%s", path) : 0;
}

/* --- a subcommand --- */

static int image_status(const struct image_command *c, int result, int signal_number)
{
	int failed = c->failed ? c->failed : 1;

	if (result >= 0)
		return result;
	if (signal_number)
		return 128 + signal_number;
	return result == -ENOTSUP && c->not_supported ? c->not_supported : failed;
}

static int image_main(const struct image_command *c, int argc, char **argv)
{
	struct image_wishes w = {0};
	struct err err = ERR_INIT;
	const char *args[IMAGE_MAX_ARGS];
	int r, status;

	if (c->prepare)
		c->prepare(argc, argv);
	status = options_parse(&c->options, argc, argv, &w, args);
	if (status == OPTIONS_RUN) {
		r = c->run(&w, args, &err);
		launch_image_fini(&w.image, r >= 0);
		status = image_status(c, r, w.image.signal);
		fflush(stdout);
		if (r < 0)
			fprintf(stderr, "posada: %s\n", err.text);
	}
	json_decref(w.options);
	json_decref(w.serve.bitmaps);
	free(w.serve.uri);
	return status;
}

/* --- the table --- */

static void image_help(FILE *out)
{
	fprintf(out, "Usage: posada image COMMAND [OPTIONS]\n\n"
		     "Disk images: raw, and those of QEMU, VMware, VirtualBox and Hyper-V.\n\n"
		     "Commands:\n");
	for (size_t i = 0; i < ARRAY_SIZE(image_commands); i++)
		fprintf(out, "  %-10s %s\n", image_commands[i].name, image_commands[i].summary);
	fprintf(out, "\nFormats:\n");
	for (const struct img_format *const *f = img_formats; *f; f++)
		fprintf(out, "  %-10s %s\n", (*f)->name, (*f)->description);
	fprintf(out, "\nOptions:\n  --help\n        show this help\n");
}

static const struct image_entry *image_find(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(image_commands); i++) {
		if (!strcmp(name, image_commands[i].name))
			return &image_commands[i];
	}
	return NULL;
}

static int image_explain(const char *typed)
{
	struct nearest n = {.typed = typed};
	char text[96];

	for (size_t i = 0; i < ARRAY_SIZE(image_commands); i++)
		nearest_offer(&n, image_commands[i].name);
	fprintf(stderr, "posada: there is no command 'image %s'%s; see `posada image --help`\n",
		typed, nearest_words(&n, "", text, sizeof(text)));
	return 1;
}

/* argv[1] is COMPLETE_WORD: the words behind "image", the last to be completed. */
static int image_complete(int argc, char **argv)
{
	const struct image_entry *e = argc > 3 ? image_find(argv[2]) : NULL;

	if (e) {
		argv[1] = argv[2];
		argv[2] = (char *)COMPLETE_WORD;
		return image_main(e->command, argc - 1, argv + 1);
	}
	for (size_t i = 0; argc == 3 && i < ARRAY_SIZE(image_commands); i++)
		complete_offer(argv[2], image_commands[i].name, image_commands[i].summary);
	if (argc == 3)
		complete_offer(argv[2], "--help", "show this help");
	return 0;
}

int cmd_image(int argc, char **argv)
{
	const struct image_entry *e;

	if (argc < 2) {
		image_help(stderr);
		return 1;
	}
	if (!strcmp(argv[1], COMPLETE_WORD))
		return image_complete(argc, argv);
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help")) {
		image_help(stdout);
		return 0;
	}
	e = image_find(argv[1]);
	return e ? image_main(e->command, argc - 1, argv + 1) : image_explain(argv[1]);
}

/*
 * posada balloon: how much of its memory a guest has, and what it tells of it.
 */
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "client/client.h"
#include "cmd/posada/cmd.h"
#include "cmd/posada/options.h"
#include "cmd/posada/print.h"

static void balloon_print_figure(const char *name, const json_t *figure)
{
	bool is_count = strstr(name, "faults") || strstr(name, "huge");
	json_int_t value = json_integer_value(figure);
	char text[32];

	if (is_count)
		print_value(name, "%lld", value);
	else
		print_value(name, "%s", print_size(text, (u64)value));
}

static void balloon_print(const json_t *b)
{
	const json_t *guest = json_object_get(b, "guest"), *figure;
	char text[32];
	const char *name;

	print_value("memory", "%s", print_size(text, (u64)json_number(b, "memory")));
	print_value("wanted", "%s", print_size(text, (u64)json_number(b, "target")));
	print_value("has", "%s", print_size(text, (u64)json_number(b, "actual")));
	print_value("given back", "%s in all", print_size(text, (u64)json_number(b, "given-back")));
	if (!guest)
		return;
	printf("\nThe guest's own figures, %.1f s old:\n",
	       (double)json_number(b, "guest-age") / 1e3);
	json_object_foreach((json_t *)guest, name, figure) balloon_print_figure(name, figure);
}

static int balloon_ask(const char *name, json_t *arguments, json_t **out, struct err *err)
{
	AUTO(client_free) struct client *c = NULL;
	int r = client_connect(name, &c, err);

	if (r < 0)
		json_decref(arguments);
	return r < 0 ? r : client_call(c, "balloon", arguments, NULL, 0, out, err);
}

/* The command's arguments: none, or a size. */
static int balloon_arguments(const char *size, json_t **out, struct err *err)
{
	u64 target;
	int r = 0;

	*out = NULL;
	if (size)
		r = option_size(size, &target, err);
	if (size && !r)
		*out = json_pack("{s:I}", "target", (json_int_t)target);
	return r;
}

int cmd_balloon(int argc, char **argv)
{
	static const struct option_row rows[] = {OPTION_JSON};
	static const struct option_table table = {
		.command = "balloon",
		.usage = "NAME [SIZE] [OPTIONS]",
		.summary = "Shows how much of its memory a guest has, or says how much it should "
			   "have (768M, 2G).\nThe guest gives back the rest as fast as it can.",
		.rows = rows,
		.n_rows = ARRAY_SIZE(rows),
		.min_args = 1,
		.max_args = 2,
		.missing = "which guest? `posada ps` lists them",
	};
	struct json_option o = {0};
	struct err err = ERR_INIT;
	const char *args[2];
	json_t *arguments, *got;
	int status = options_parse(&table, argc, argv, &o, args);

	if (status != OPTIONS_RUN)
		return status;
	if (balloon_arguments(args[1], &arguments, &err) < 0 ||
	    balloon_ask(args[0], arguments, &got, &err) < 0) {
		fprintf(stderr, "posada: %s\n", err.text);
		return 1;
	}
	if (!o.is_json)
		balloon_print(got);
	if (o.is_json)
		print_json(got);
	else
		json_decref(got);
	return 0;
}

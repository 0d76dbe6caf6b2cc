/*
 * posada config: what `posada run` would go by, and where each of it comes from.
 */
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/err.h"
#include "cmd/posada/cmd.h"
#include "cmd/posada/conf.h"
#include "cmd/posada/print.h"
#include "proto/text.h"

struct config_request {
	struct json_option json; /* first: option_json's */
	char *name, *config;
};

static int config_name(void *to, char *value, unused struct err *err)
{
	((struct config_request *)to)->name = value;
	return 0;
}

static int config_file(void *to, char *value, unused struct err *err)
{
	((struct config_request *)to)->config = value;
	return 0;
}

/* "(default: X)" in an option's help. */
static char *config_default(const struct option_row *row)
{
	static const char begin[] = "(default: ";
	const char *p = strstr(row->help, begin);

	if (!p)
		return NULL;
	p += strlen(begin);
	return str_format("%.*s", (int)strcspn(p, ")"), p);
}

static void config_add(json_t *all, const struct option_row *row, const char *value,
		       const char *where)
{
	json_array_append_new(all, json_pack("{s:s, s:o, s:o}", "option", row->name, "value",
					     proto_text(value ? value : "on"), "from",
					     proto_text(where)));
}

static json_t *config_describe(const struct conf *c, const struct option_table *t)
{
	json_t *all = json_array();

	for (size_t i = 0; i < t->n_rows; i++) {
		const struct option_row *row = &t->rows[i];
		AUTO(free) char *fallback = config_default(row);
		bool is_set = false;

		for (size_t k = 0; k < c->n; k++) {
			const struct conf_setting *s = &c->settings[k];

			if (s->row != row)
				continue;
			config_add(all, row, s->value, s->where ? s->where : "command line");
			is_set = true;
		}
		if (!is_set && fallback)
			config_add(all, row, fallback, "default");
	}
	return all;
}

static void config_print(const json_t *all)
{
	static const char *const headings[] = {"OPTION", "VALUE", "FROM", NULL};
	struct print_table *t = print_table_new(headings);

	for (size_t i = 0; i < json_array_size(all); i++) {
		const json_t *s = json_array_get(all, i);

		print_cell(t, "%s", json_text(s, "option"));
		print_cell(t, "%s", json_text(s, "value"));
		print_cell(t, "%s", json_text(s, "from"));
	}
	print_table_end(t);
}

/* Has the values parsed as well, by copies: parsing cuts them to pieces. */
static int config_check(const struct conf *c, struct err *err)
{
	struct conf copy = {0};
	int r;

	for (size_t i = 0; i < c->n; i++) {
		conf_note(&copy, c->settings[i].row, c->settings[i].value, err);
		if (c->settings[i].where)
			copy.settings[i].where = str_dup(c->settings[i].where);
	}
	r = run_check(&copy, err);
	conf_fini(&copy);
	return r;
}

static int config_run(struct config_request *q, struct conf *c, struct err *err)
{
	struct run_table run;
	json_t *all;
	int r;

	run_fill_table(&run);
	if (q->name)
		conf_note(c, options_find(&run.table, "name"), q->name, err);
	if (q->config)
		conf_note(c, options_find(&run.table, "config"), q->config, err);
	r = conf_load(c, &run.table, err);
	if (!r)
		r = config_check(c, err);
	if (r < 0)
		return r;
	all = config_describe(c, &run.table);
	if (!q->json.is_json)
		config_print(all);
	if (q->json.is_json)
		print_json(all);
	else
		json_decref(all);
	return 0;
}

int cmd_config(int argc, char **argv)
{
	static const struct option_row rows[] = {
		{"name", "NAME", config_name, "for the guest of this name"},
		{"config", "FILE|none", config_file, "instead of the usual files"},
		OPTION_JSON,
	};
	static const struct option_table table = {
		.command = "config",
		.usage = "[OPTIONS]",
		.summary = "Shows the options that `posada run` would go by, and where each comes "
			   "from:\na posada.conf, or posada's own defaults.",
		.rows = rows,
		.n_rows = ARRAY_SIZE(rows),
	};
	struct config_request q = {0};
	struct err err = ERR_INIT;
	struct conf c = {0};
	int status = options_parse(&table, argc, argv, &q, NULL);

	if (status != OPTIONS_RUN)
		return status;
	status = config_run(&q, &c, &err) < 0;
	if (status)
		fprintf(stderr, "posada: %s\n", err.text);
	conf_fini(&c);
	return status;
}

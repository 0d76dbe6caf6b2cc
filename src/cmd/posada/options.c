/*
 * Options of commands. See options.h.
 */
#include "cmd/posada/options.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "cmd/posada/complete.h"
#include "cmd/posada/nearest.h"

#define OPTIONS_MAX 48

static void options_print_row(const struct option_table *t, const struct option_row *o)
{
	const char *rest = o->help, *line;

	printf("  --%s%s%s", o->name, o->value ? " " : "", o->value ? o->value : "");
	for (const struct option_letter *l = t->letters; l && l->name; l++) {
		if (!strcmp(l->name, o->name))
			printf(", -%c%s%s", l->letter, o->value ? " " : "",
			       o->value ? o->value : "");
	}
	putchar('\n');
	while ((line = strchr(rest, '\n'))) {
		printf("        %.*s\n", (int)(line - rest), rest);
		rest = line + 1;
	}
	printf("        %s\n", rest);
}

static void options_print_help(const struct option_table *t)
{
	printf("Usage: posada %s %s\n\n%s\n\nOptions:\n", t->command, t->usage, t->summary);
	for (size_t i = 0; i < t->n_rows; i++)
		options_print_row(t, &t->rows[i]);
	printf("  --help\n        show this help\n%s", t->more ? t->more : "");
}

static void options_fill_getopt(const struct option_table *t, struct option *out)
{
	for (size_t i = 0; i < t->n_rows; i++)
		out[i] = (struct option){t->rows[i].name,
					 t->rows[i].value ? required_argument : no_argument, NULL,
					 0x100 + (int)i};
	out[t->n_rows] = (struct option){"help", no_argument, NULL, 'h'};
}

const struct option_row *options_find(const struct option_table *t, const char *name)
{
	for (size_t i = 0; i < t->n_rows; i++) {
		if (!strcmp(t->rows[i].name, name))
			return &t->rows[i];
	}
	return NULL;
}

/* ":f:ph" */
static void options_fill_letters(const struct option_table *t, char *out)
{
	*out++ = ':';
	for (const struct option_letter *l = t->letters; l && l->name; l++) {
		const struct option_row *row = options_find(t, l->name);

		if (!row)
			continue;
		*out++ = l->letter;
		if (row->value)
			*out++ = ':';
	}
	*out++ = 'h';
	*out = '\0';
}

static const struct option_row *options_got(const struct option_table *t, int got)
{
	const struct option_letter *l = t->letters;

	if (got >= 0x100)
		return &t->rows[got - 0x100];
	while (l->letter != got || !options_find(t, l->name))
		l++;
	return options_find(t, l->name);
}

const char *options_nearest(const struct option_table *t, const char *typed, const char *prefix,
			    char *text, size_t size)
{
	struct nearest n = {.typed = typed};

	for (size_t i = 0; i < t->n_rows; i++)
		nearest_offer(&n, t->rows[i].name);
	return nearest_words(&n, prefix, text, size);
}

/* What was typed of an option's name, in a buffer of its own. */
static const char *options_typed(const char *word, char *text, size_t size)
{
	while (*word == '-')
		word++;
	snprintf(text, size, "%.*s", (int)strcspn(word, "="), word);
	return text;
}

static int options_explain(const struct option_table *t, int got, const char *word)
{
	char typed[64], near[96];

	if (got == ':')
		fprintf(stderr, "posada: %s needs a value; see `posada %s --help`\n", word,
			t->command);
	else if (optopt >= 0x100)
		fprintf(stderr, "posada: --%s takes no value\n", t->rows[optopt - 0x100].name);
	else if (optopt && optopt != 'h')
		fprintf(stderr, "posada: there is no option '-%c'; see `posada %s --help`\n",
			optopt, t->command);
	else
		fprintf(stderr, "posada: there is no option '%s'%s; see `posada %s --help`\n", word,
			options_nearest(t, options_typed(word, typed, sizeof(typed)), "--", near,
					sizeof(near)),
			t->command);
	return 1;
}

static int options_take_args(const struct option_table *t, int argc, char **argv, const char **args)
{
	unsigned n = (unsigned)(argc - optind);

	if (n < t->min_args)
		fprintf(stderr, "posada: %s; see `posada %s --help`\n", t->missing, t->command);
	else if (n > t->max_args && !t->max_args)
		fprintf(stderr, "posada: '%s' is not an option; see `posada %s --help`\n",
			argv[optind], t->command);
	else if (n > t->max_args)
		fprintf(stderr, "posada: '%s' is too much; see `posada %s --help`\n",
			argv[optind + (int)t->max_args], t->command);
	if (n < t->min_args || n > t->max_args)
		return 1;
	for (unsigned i = 0; i < t->max_args; i++)
		args[i] = i < n ? argv[optind + (int)i] : NULL;
	return OPTIONS_RUN;
}

int options_take(const struct option_table *t, const struct option_row *row, void *to, char *value,
		 struct err *err)
{
	if (t->parse)
		return t->parse(to, row, value, err);
	if (row->parse)
		return row->parse(to, value, err);
	if (row->value)
		*(const char **)((char *)to + row->at) = value;
	else
		*(bool *)((char *)to + row->at) = true;
	return 0;
}

int options_parse(const struct option_table *t, int argc, char **argv, void *to, const char **args)
{
	struct option table[OPTIONS_MAX + 2] = {0};
	char letters[2 * OPTIONS_MAX + 3];
	const struct option_row *row;
	struct err err = ERR_INIT;
	int got;

	assert(t->n_rows <= OPTIONS_MAX);
	if (argc > 1 && !strcmp(argv[1], COMPLETE_WORD)) {
		complete_options(t, argv + 2);
		return 0;
	}
	options_fill_getopt(t, table);
	options_fill_letters(t, letters);
	opterr = 0;
	while ((got = getopt_long(argc, argv, letters, table, NULL)) != -1) {
		if (got == 'h') {
			options_print_help(t);
			return 0;
		}
		if (got == ':' || got == '?')
			return options_explain(t, got, argv[optind - 1]);
		row = options_got(t, got);
		if (options_take(t, row, to, optarg, &err) < 0) {
			fprintf(stderr, "posada: --%s: %s\n", row->name, err.text);
			return 1;
		}
	}
	return options_take_args(t, argc, argv, args);
}

int option_json(void *to, unused char *value, unused struct err *err)
{
	((struct json_option *)to)->is_json = true;
	return 0;
}

int option_size(const char *text, u64 *out, struct err *err)
{
	char *end;
	u64 value, unit = MIB;

	errno = 0;
	value = strtoul(text, &end, 10);
	if (*end == 'K' || *end == 'k')
		unit = KIB;
	else if (*end == 'G' || *end == 'g')
		unit = GIB;
	else if (*end == 'T' || *end == 't')
		unit = 1024 * GIB;
	else if (*end && *end != 'M' && *end != 'm')
		end = (char *)text;
	if (end == text || text[0] < '0' || text[0] > '9' || errno || (*end && end[1]) ||
	    value > UINT64_MAX / unit)
		return err_set(err, -EINVAL, "'%s' is not a size; write 512M or 2G", text);
	*out = value * unit;
	return 0;
}

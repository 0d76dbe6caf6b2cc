/*
 * What commands print for people. See print.h.
 */
#include "cmd/posada/print.h"

#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "proto/text.h"

struct print_table {
	const char *headings[PRINT_MAX_COLUMNS];
	int widths[PRINT_MAX_COLUMNS];
	size_t n_columns;
	char **cells;
	size_t n_cells, room;
};

static int print_width(const char *text)
{
	int n = 0;

	for (; *text; text++)
		n += ((u8)*text & 0xc0) != 0x80; /* a character of UTF-8 begins */
	return n;
}

struct print_table *print_table_new(const char *const *headings)
{
	struct print_table *t = NEW(struct print_table);

	for (; headings[t->n_columns]; t->n_columns++) {
		assert(t->n_columns < PRINT_MAX_COLUMNS);
		t->headings[t->n_columns] = headings[t->n_columns];
		t->widths[t->n_columns] =
			print_width(headings[t->n_columns]) - (headings[t->n_columns][0] == '>');
	}
	return t;
}

void print_cell(struct print_table *t, const char *fmt, ...)
{
	char text[512];
	int *width = &t->widths[t->n_cells % t->n_columns];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (t->n_cells == t->room) {
		t->cells = mem_grow(t->cells, t->room, t->room + 64, sizeof(char *));
		t->room += 64;
	}
	t->cells[t->n_cells++] = str_dup(proto_text_clean(text));
	*width = MAX(*width, print_width(text));
}

static void print_column(const struct print_table *t, size_t column, const char *text)
{
	const int pad = t->widths[column] - print_width(text);
	const bool is_last = column == t->n_columns - 1;

	if (t->headings[column][0] == '>')
		printf("%*s%s", pad, "", text);
	else
		printf("%s%*s", text, is_last ? 0 : pad, "");
	fputs(is_last ? "\n" : "  ", stdout);
}

void print_table_end(struct print_table *t)
{
	for (size_t i = 0; i < t->n_columns; i++)
		print_column(t, i, t->headings[i] + (t->headings[i][0] == '>'));
	for (size_t i = 0; i < t->n_cells; i++) {
		print_column(t, i % t->n_columns, t->cells[i]);
		free(t->cells[i]);
	}
	free(t->cells);
	free(t);
}

void print_value(const char *label, const char *fmt, ...)
{
	char text[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	printf("%-14s %s\n", label, proto_text_clean(text));
}

const char *print_size(char *text, u64 bytes)
{
	static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
	double value = (double)bytes;
	size_t unit = 0;

	for (; value >= 1024 && unit + 1 < ARRAY_SIZE(units); unit++)
		value /= 1024;
	/* 1.5 GiB, but 512 MiB. */
	snprintf(text, 32, "%.*f %s", value < 10 && value != (double)(u64)value ? 1 : 0, value,
		 units[unit]);
	return text;
}

const char *print_duration(char *text, u64 seconds)
{
	if (seconds < 60)
		snprintf(text, 32, "%lu s", seconds);
	else if (seconds < 3600)
		snprintf(text, 32, "%lu min %lu s", seconds / 60, seconds % 60);
	else if (seconds < 86400)
		snprintf(text, 32, "%lu h %lu min", seconds / 3600, seconds / 60 % 60);
	else
		snprintf(text, 32, "%lu d %lu h", seconds / 86400, seconds / 3600 % 24);
	return text;
}

void print_json(json_t *json)
{
	json_dumpf(json, stdout, JSON_INDENT(2));
	fputc('\n', stdout);
	json_decref(json);
}

const char *json_text(const json_t *object, const char *member)
{
	const char *text = json_string_value(json_object_get(object, member));

	return text ? text : "";
}

i64 json_number(const json_t *object, const char *member)
{
	return json_integer_value(json_object_get(object, member));
}

/*
 * What commands print for people: tables whose columns line up, sizes and durations in words. What a
 * guest process said is shown without control characters.
 */
#ifndef CMD_POSADA_PRINT_H
#define CMD_POSADA_PRINT_H

#include "base/base.h"

struct json_t;

#define PRINT_MAX_COLUMNS 12

/* Collects rows, prints them aligned. Columns that begin with '>' in the heading are right-aligned. */
struct print_table;
struct print_table *print_table_new(const char *const *headings); /* ends with NULL */
void print_cell(struct print_table *t, const char *fmt, ...) printf_like(2, 3);
void print_table_end(struct print_table *t); /* prints and frees it */

/* "label:   value", the values of a block aligned at column. */
void print_value(const char *label, const char *fmt, ...) printf_like(2, 3);

/* Into text (room for 32 bytes), which is returned. */
const char *print_size(char *text, u64 bytes);       /* "512 MiB" */
const char *print_duration(char *text, u64 seconds); /* "3 h 20 min" */

/* A JSON document and a newline; takes it over. */
void print_json(struct json_t *json);

/* A member's text, or "" when there is none. */
const char *json_text(const struct json_t *object, const char *member);
i64 json_number(const struct json_t *object, const char *member);

#endif

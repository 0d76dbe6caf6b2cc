/*
 * A command's options: a table, from which getopt's table, the help, the mistakes' sentences and
 * what shells complete (complete.h) are made.
 */
#ifndef CMD_POSADA_OPTIONS_H
#define CMD_POSADA_OPTIONS_H

#include <stddef.h>

#include "base/base.h"

struct err;

struct option_row {
	const char *name;
	const char *value; /* how it is called in the help; NULL: the option has none */
	int (*parse)(void *to, char *value, struct err *err); /* NULL: by at */
	const char *help; /* lines; "(default: X)" in it is what `posada config` shows */
	size_t at; /* in `to`: the value's pointer; or the bool that becomes true, without a value */
};

/* Rows without code: member, of type, is what the option fills. */
#define OPTION_TEXT(name, value, type, member, help)                                               \
	{                                                                                          \
		name, value, NULL, help, OPTION_AT(type, member, const char *)                     \
	}
#define OPTION_FLAG(name, type, member, help)                                                      \
	{                                                                                          \
		name, NULL, NULL, help, OPTION_AT(type, member, bool)                              \
	}
#define OPTION_AT(type, member, kind) _Generic(((type *)0)->member, kind : offsetof(type, member))

/* "-f" for --format, for who has it in their fingers. */
struct option_letter {
	char letter;
	const char *name; /* one that the table hasn't is fine */
};

struct option_table {
	const char *command; /* "stop" */
	const char *usage;   /* "NAME [OPTIONS]" */
	const char *summary; /* a sentence or several, for the help */
	const struct option_row *rows;
	size_t n_rows;
	unsigned min_args, max_args;         /* what isn't an option */
	const char *missing;                 /* what to say when there are fewer: "which guest?" */
	const struct option_letter *letters; /* end with a NULL name; NULL: there are none */
	const char *more;                    /* of the help, behind the options; NULL: nothing */
	/* Instead of the rows' own parse; NULL: those. */
	int (*parse)(void *to, const struct option_row *row, char *value, struct err *err);
};

#define OPTION_ROWS(table) .rows = (table), .n_rows = ARRAY_SIZE(table)

enum { OPTIONS_RUN = -1 };

/*
 * Fills `to` and args (room for max_args; NULL behind the last). Returns OPTIONS_RUN, or the exit
 * status to end with: help was shown, or a mistake.
 */
int options_parse(const struct option_table *t, int argc, char **argv, void *to, const char **args);

/* One option's value; what is wrong is in err, without the option's name. */
int options_take(const struct option_table *t, const struct option_row *row, void *to, char *value,
		 struct err *err);
/* NULL: there is none. */
const struct option_row *options_find(const struct option_table *t, const char *name);
/* " (did you mean '--X'?)", or "": into text, which is returned. */
const char *options_nearest(const struct option_table *t, const char *typed, const char *prefix,
			    char *text, size_t size);

/* Parsers for members that begin a struct: none is more common than this. */
struct json_option {
	bool is_json;
};
int option_json(void *to, char *value, struct err *err); /* to: a struct json_option */
#define OPTION_JSON                                                                                \
	{                                                                                          \
		"json", NULL, option_json, "print JSON"                                            \
	}

/* "512M", "2G", "1048576K"; a bare number is in MiB, as with virsh and QEMU. */
int option_size(const char *text, u64 *out, struct err *err);

#endif

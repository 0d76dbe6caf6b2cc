/*
 * What other commands share with `posada run`: its options, by name.
 */
#ifndef CMD_POSADA_RUN_H
#define CMD_POSADA_RUN_H

struct err;
struct launch_request;

#define RUN_ESCAPE_DEFAULT 0x1d /* Ctrl-] */

/* As `posada run --NAME VALUE` would: name is one of its options. value is cut into pieces, and has to
 * live as long as the request. */
int run_parse_option(const char *name, struct launch_request *q, char *value, struct err *err);

#endif

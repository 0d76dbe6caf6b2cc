/*
 * posada.conf: what a person, or a host, wants of every guest, or of the guest of a name.
 *
 *     memory = 1G                # for all guests
 *     net = user,forward=tcp:2222:22
 *     [web]                      # for the guest of that name
 *     disk = /srv/web.img
 *     snapshot = on              # options without a value: on, off
 *
 * The keys are the options of `posada run`. Files are read in this order, and in each what stands
 * before the first section and then the guest's own: /etc/posada/posada.conf,
 * $XDG_CONFIG_HOME/posada/posada.conf (~/.config/posada/posada.conf); then comes the command line. An
 * option that is given later takes the place of all of its name that were given earlier.
 */
#ifndef CMD_POSADA_CONF_H
#define CMD_POSADA_CONF_H

#include "cmd/posada/options.h"

struct conf_setting {
	const struct option_row *row;
	char *value; /* NULL: the option has none, and is on */
	char *where; /* "FILE:LINE"; NULL: the command line */
};

/* Zero-initialized: empty. */
struct conf {
	struct conf_setting *settings;
	size_t n;
};

void conf_fini(struct conf *c);
/* An option_table's parse: notes a setting of the command line. to: a struct conf. */
int conf_note(void *to, const struct option_row *row, char *value, struct err *err);
/* Puts what the files say under what was noted: those that --config names, for the guest of --name. */
int conf_load(struct conf *c, const struct option_table *t, struct err *err);
/* Has parse take each setting, in order; what is wrong is told with its place. Values are cut into
 * pieces by that, and needed for as long as `to` is. */
int conf_apply(const struct conf *c,
	       int (*parse)(void *to, const struct option_row *row, char *value, struct err *err),
	       void *to, struct err *err);

/* --- run.c: the options of `posada run`, for those who have no use for running it --- */

#define CONF_MAX_OPTIONS 48

struct run_table {
	struct option_table table;
	struct option_row rows[CONF_MAX_OPTIONS];
};
void run_fill_table(struct run_table *out);
/* Would `posada run` take these settings? */
int run_check(const struct conf *c, struct err *err);

#endif

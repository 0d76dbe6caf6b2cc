/*
 * Reading posada.conf. See conf.h.
 */
#include "cmd/posada/conf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/alloc.h"
#include "base/err.h"

#define CONF_SYSTEM   "/etc/posada/posada.conf"
#define CONF_MAX_FILE (256 * KIB)

/* What one file says: to every guest, and to the one that is asked for. */
struct conf_file {
	const char *path, *guest;
	const struct option_table *table;
	struct conf all, own;
	struct conf *into; /* of the section that is being read; NULL: another guest's */
	unsigned line;
};

/* --- settings --- */

static void conf_free_setting(struct conf_setting *s)
{
	free(s->value);
	free(s->where);
}

void conf_fini(struct conf *c)
{
	for (size_t i = 0; i < c->n; i++)
		conf_free_setting(&c->settings[i]);
	free(c->settings);
	*c = (struct conf){0};
}

static void conf_add(struct conf *c, struct conf_setting s)
{
	c->settings = mem_grow(c->settings, c->n, c->n + 1, sizeof(*c->settings));
	c->settings[c->n++] = s;
}

static void conf_drop(struct conf *c, const struct option_row *row)
{
	size_t kept = 0;

	for (size_t i = 0; i < c->n; i++) {
		if (c->settings[i].row == row)
			conf_free_setting(&c->settings[i]);
		else
			c->settings[kept++] = c->settings[i];
	}
	c->n = kept;
}

/* Takes the settings of a later layer over. An option that was turned off there leaves nothing. */
static void conf_override(struct conf *c, struct conf *later)
{
	for (size_t i = 0; i < later->n; i++)
		conf_drop(c, later->settings[i].row);
	for (size_t i = 0; i < later->n; i++) {
		struct conf_setting *s = &later->settings[i];

		if (!s->row->value && s->value)
			conf_free_setting(s);
		else
			conf_add(c, *s);
	}
	free(later->settings);
	*later = (struct conf){0};
}

int conf_note(void *to, const struct option_row *row, char *value, unused struct err *err)
{
	conf_add(to, (struct conf_setting){.row = row, .value = value ? str_dup(value) : NULL});
	return 0;
}

/* The last value that was noted of an option; NULL: none. */
static const char *conf_noted(const struct conf *c, const char *name)
{
	const char *value = NULL;

	for (size_t i = 0; i < c->n; i++) {
		if (!strcmp(c->settings[i].row->name, name))
			value = c->settings[i].value;
	}
	return value;
}

/* --- a file --- */

static char *conf_trim(char *text)
{
	size_t n;

	text += strspn(text, " \t\r\n");
	n = strlen(text);
	while (n && strchr(" \t\r\n", text[n - 1]))
		n--;
	text[n] = '\0';
	return text;
}

static int conf_section(struct conf_file *f, char *line, struct err *err)
{
	size_t n = strlen(line);

	if (line[n - 1] != ']' || n < 3)
		return err_set(err, -EINVAL, "a section is a guest's name, [like-this]");
	line[n - 1] = '\0';
	f->into = f->guest && !strcmp(line + 1, f->guest) ? &f->own : NULL;
	return 0;
}

static const struct option_row *conf_find(const struct conf_file *f, const char *key,
					  struct err *err)
{
	const struct option_row *row = options_find(f->table, key);
	char near[96];

	if (!row)
		err_set(err, -EINVAL, "there is no option '%s'%s", key,
			options_nearest(f->table, key, "", near, sizeof(near)));
	else if (!strcmp(key, "name") || !strcmp(key, "config"))
		err_set(err, -EINVAL, "'%s' is for the command line only", key);
	else
		return row;
	return NULL;
}

/* Of an option without a value: on is NULL, as on the command line; off stays to be seen. */
static int conf_switch(const char *key, char **value, struct err *err)
{
	if (!strcmp(*value, "on"))
		*value = NULL;
	else if (strcmp(*value, "off") != 0)
		return err_set(err, -EINVAL, "%s is on or off, not '%s'", key, *value);
	return 0;
}

static int conf_pair(struct conf_file *f, char *line, struct err *err)
{
	char *value = strchr(line, '='), *key;
	const struct option_row *row;

	if (!value)
		return err_set(err, -EINVAL, "write OPTION = VALUE");
	*value = '\0';
	value = conf_trim(value + 1);
	key = conf_trim(line);
	row = conf_find(f, key, err);
	if (!row || (!row->value && conf_switch(key, &value, err) < 0))
		return err->code;
	if (f->into)
		conf_add(f->into,
			 (struct conf_setting){.row = row,
					       .value = value ? str_dup(value) : NULL,
					       .where = str_format("%s:%u", f->path, f->line)});
	return 0;
}

static int conf_line(struct conf_file *f, char *line, struct err *err)
{
	int r = 0;

	f->line++;
	line = conf_trim(line);
	if (line[0] == '[')
		r = conf_section(f, line, err);
	else if (line[0] && line[0] != '#' && line[0] != ';')
		r = conf_pair(f, line, err);
	return r < 0 ? err_wrap(err, "%s:%u", f->path, f->line) : 0;
}

static int conf_lines(struct conf_file *f, FILE *in, struct err *err)
{
	char *line = NULL;
	size_t room = 0;
	ssize_t n;
	int r = 0;

	while (!r && (n = getline(&line, &room, in)) >= 0) {
		if (strlen(line) != (size_t)n)
			r = err_set(err, -EINVAL, "%s:%u: this is no text", f->path, f->line + 1);
		else
			r = conf_line(f, line, err);
	}
	if (!r && ferror(in))
		r = err_errno(err, -EIO, "cannot read %s", f->path);
	free(line);
	return r;
}

/* A file that isn't there is no mistake, unless it was asked for. */
static int conf_open(const char *path, bool is_wanted, FILE **out, struct err *err)
{
	struct stat st;

	*out = fopen(path, "re");
	if (!*out && errno == ENOENT && !is_wanted)
		return 0;
	if (!*out || fstat(fileno(*out), &st) < 0)
		return err_errno(err, -errno, "cannot open %s", path);
	if (!S_ISREG(st.st_mode))
		return err_set(err, -EINVAL, "%s is not a regular file", path);
	return st.st_size > (off_t)CONF_MAX_FILE
		       ? err_set(err, -EFBIG, "%s is too long for a posada.conf", path)
		       : 0;
}

/* Puts what the file says over c. */
static int conf_read(struct conf *c, const struct option_table *t, const char *path,
		     const char *guest, bool is_wanted, struct err *err)
{
	struct conf_file f = {.path = path, .guest = guest, .table = t};
	FILE *in;
	int r = conf_open(path, is_wanted, &in, err);

	f.into = &f.all;
	if (!r && in)
		r = conf_lines(&f, in, err);
	if (in)
		fclose(in);
	conf_override(c, &f.all);
	conf_override(c, &f.own);
	return r;
}

/* --- the files --- */

static char *conf_user_path(void)
{
	const char *config = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");

	if (config && config[0] == '/')
		return str_format("%s/posada/posada.conf", config);
	return home && home[0] == '/' ? str_format("%s/.config/posada/posada.conf", home) : NULL;
}

int conf_load(struct conf *c, const struct option_table *t, struct err *err)
{
	const char *only = conf_noted(c, "config"), *guest = conf_noted(c, "name");
	AUTO(free) char *user = conf_user_path();
	struct conf all = {0};
	int r = 0;

	if (only && strcmp(only, "none"))
		r = conf_read(&all, t, only, guest, true, err);
	if (!only)
		r = conf_read(&all, t, CONF_SYSTEM, guest, false, err);
	if (!only && !r && user)
		r = conf_read(&all, t, user, guest, false, err);
	conf_override(&all, c);
	*c = all;
	return r;
}

int conf_apply(const struct conf *c,
	       int (*parse)(void *to, const struct option_row *row, char *value, struct err *err),
	       void *to, struct err *err)
{
	for (size_t i = 0; i < c->n; i++) {
		const struct conf_setting *s = &c->settings[i];

		if (parse(to, s->row, s->value, err) >= 0)
			continue;
		return s->where ? err_wrap(err, "%s: %s", s->where, s->row->name)
				: err_wrap(err, "--%s", s->row->name);
	}
	return 0;
}

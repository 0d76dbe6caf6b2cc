/*
 * posada restore: a saved guest goes on, in the foreground, as `posada run` runs one.
 */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/err.h"
#include "cmd/posada/cmd.h"
#include "cmd/posada/options.h"
#include "cmd/posada/run.h"
#include "launch/launch.h"

#define RESTORE_RUN_OPTION(function_, name_)                                                       \
	static int restore_##function_(void *to, char *value, struct err *err)                     \
	{                                                                                          \
		return run_parse_option((name_), to, value, err);                                  \
	}
RESTORE_RUN_OPTION(name, "name")
RESTORE_RUN_OPTION(console, "console")
RESTORE_RUN_OPTION(escape, "escape")
RESTORE_RUN_OPTION(disk, "disk")
RESTORE_RUN_OPTION(net, "net")
RESTORE_RUN_OPTION(quiet, "quiet")
RESTORE_RUN_OPTION(detach, "detach")

static int restore_accel(void *to, char *value, struct err *err)
{
	struct launch_request *q = to;

	q->has_accel = true;
	return run_parse_option("accel", q, value, err);
}

static int restore_clock(void *to, char *value, struct err *err)
{
	struct launch_request *q = to;

	if (strcmp(value, "continue") && strcmp(value, "catch-up"))
		return err_set(err, -EINVAL, "there is no '%s'; there is: continue, catch-up",
			       value);
	q->catches_up = value[1] == 'a';
	return 0;
}

static int restore_eager(void *to, unused char *value, unused struct err *err)
{
	((struct launch_request *)to)->is_eager = true;
	return 0;
}

static int restore_changed_disks(void *to, unused char *value, unused struct err *err)
{
	((struct launch_request *)to)->takes_changed_disks = true;
	return 0;
}

static const struct option_row restore_rows[] = {
	{"name", "NAME", restore_name, "the guest's name (default: the one that it had)"},
	{"console", "stdio|pty|socket=PATH|none", restore_console,
	 "where the serial console goes (default: stdio)"},
	{"escape", "^KEY|none", restore_escape, "the key that opens the menu (default: ^])"},
	{"disk", "PATH[,OPTION]...", restore_disk,
	 "instead of the disks that the file names, in their order; repeatable"},
	{"net", "user|tap=IFNAME", restore_net,
	 "instead of the networks that the file names, in their order; repeatable"},
	{"accel", "auto|kvm|soft", restore_accel, "who runs its instructions now"},
	{"clock", "continue|catch-up", restore_clock,
	 "its clock of date and time goes on from where it stood (default), or is\n"
	 "        set to the host's"},
	{"eager", NULL, restore_eager, "load all of its memory before it runs"},
	{"changed-disks", NULL, restore_changed_disks,
	 "take disks that were written to since the guest was saved"},
	{"detach", NULL, restore_detach, "in the background; `posada console` connects to it"},
	{"quiet", NULL, restore_quiet, "don't say which accelerator was taken"},
};

/* The cards that the file names, unless --net did. Their texts are cut to pieces by that. */
static int restore_take_nets(struct launch_request *q, char **texts, struct err *err)
{
	const struct guest_config *c = &q->saved->config;

	if (q->n_nets || !q->saved->is_trusted)
		return 0;
	for (unsigned i = 0; i < c->n_nics; i++) {
		texts[i] = str_dup(c->nics[i].spec ? c->nics[i].spec : "user");
		if (run_parse_option("net", q, texts[i], err) < 0)
			return err_wrap(err, "the file's network %u", i);
	}
	return 0;
}

static int restore_run(struct launch_request *q)
{
	struct launch_saved saved = {.fd = -1};
	char *texts[GUEST_MAX_NICS] = {0};
	struct err err = ERR_INIT;
	int status = LAUNCH_FAILED;

	q->saved = &saved;
	if (launch_open_saved(q->restore_path, &saved, &err) < 0 ||
	    restore_take_nets(q, texts, &err) < 0)
		fprintf(stderr, "posada: %s\n", err.text);
	else
		status = launch_run(q);
	launch_close_saved(&saved);
	for (unsigned i = 0; i < GUEST_MAX_NICS; i++)
		free(texts[i]);
	return status;
}

int cmd_restore(int argc, char **argv)
{
	static const struct option_table table = {
		.command = "restore",
		.usage = "[NAME] FILE [OPTIONS]",
		.summary = "Lets a guest go on that `posada save` has written to FILE, in the "
			   "foreground.\nIt runs at once; its memory is loaded as it is touched.",
		.rows = restore_rows,
		.n_rows = ARRAY_SIZE(restore_rows),
		.min_args = 1,
		.max_args = 2,
		.missing = "which file?",
	};
	struct launch_request q = {.uids = CONFINE_UIDS_DEFAULT, .escape = RUN_ESCAPE_DEFAULT};
	const char *args[2];
	int status = options_parse(&table, argc, argv, &q, args);

	if (status != OPTIONS_RUN)
		return status;
	q.restore_path = args[1] ? args[1] : args[0];
	if (args[1])
		q.name = args[0];
	return restore_run(&q);
}

/*
 * posada ps, status, pause, resume: commands to guests that run, over their control sockets.
 */
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/err.h"
#include "client/client.h"
#include "client/registry.h"
#include "cmd/posada/cmd.h"
#include "cmd/posada/options.h"
#include "cmd/posada/print.h"

#define CONTROL_PS_TIMEOUT_MS                                                                      \
	2000 /* one guest that hangs doesn't keep the others from being shown */

static int control_fail(const struct err *err)
{
	fprintf(stderr, "posada: %s\n", err->text);
	return 1;
}

/* One command, one reply. */
static int control_ask(const char *name, const char *command, int timeout_ms, json_t **out,
		       struct err *err)
{
	AUTO(client_free) struct client *c = NULL;
	int r = client_connect_within(name, timeout_ms, &c, err);

	if (r < 0)
		return r;
	return client_call(c, command, NULL, NULL, 0, out, err);
}

/* --- ps --- */

/* What the registry says of it and what it says itself, in one object. */
static json_t *control_describe(const char *name)
{
	struct err err = ERR_INIT;
	json_t *info, *status;

	if (registry_read_info(name, &info, &err) < 0)
		info = json_pack("{s:s}", "name", name);
	if (control_ask(name, "status", CONTROL_PS_TIMEOUT_MS, &status, &err) == 0) {
		json_object_update(info, status);
		json_decref(status);
	} else {
		json_object_set_new(info, "state", json_string("no answer"));
	}
	return info;
}

static void control_print_row(struct print_table *t, const json_t *guest)
{
	char memory[32], age[32];
	i64 started = json_number(guest, "started");

	print_cell(t, "%s", json_text(guest, "name"));
	print_cell(t, "%s", json_text(guest, "state"));
	if (json_object_get(guest, "cpus")) {
		print_cell(t, "%ld", json_number(guest, "cpus"));
		print_cell(t, "%s", print_size(memory, (u64)json_number(guest, "memory")));
	} else {
		print_cell(t, "-");
		print_cell(t, "-");
	}
	print_cell(t, "%s", print_duration(age, started ? (u64)(time(NULL) - started) : 0));
	print_cell(t, "%ld", json_number(guest, "vmm"));
}

static void control_print_guests(const json_t *guests)
{
	static const char *const headings[] = {"NAME", "STATE", ">CPUS", ">MEMORY",
					       ">UP",  ">PID",  NULL};
	struct print_table *t;

	if (!json_array_size(guests)) {
		printf("No guest is running.\n");
		return;
	}
	t = print_table_new(headings);
	for (size_t i = 0; i < json_array_size(guests); i++)
		control_print_row(t, json_array_get(guests, i));
	print_table_end(t);
}

int cmd_ps(int argc, char **argv)
{
	static const struct option_row rows[] = {OPTION_JSON};
	static const struct option_table table = {
		.command = "ps",
		.usage = "[OPTIONS]",
		.summary = "Lists the guests that you run.",
		.rows = rows,
		.n_rows = ARRAY_SIZE(rows),
	};
	struct json_option o = {0};
	struct err err = ERR_INIT;
	json_t *guests;
	char **names;
	size_t n;
	int status = options_parse(&table, argc, argv, &o, NULL);

	if (status != OPTIONS_RUN)
		return status;
	if (registry_list(&names, &n, &err) < 0)
		return control_fail(&err);
	guests = json_array();
	for (size_t i = 0; i < n; i++)
		json_array_append_new(guests, control_describe(names[i]));
	registry_free_names(names, n);
	if (!o.is_json)
		control_print_guests(guests);
	if (o.is_json)
		print_json(guests);
	else
		json_decref(guests);
	return 0;
}

/* --- status --- */

static void control_print_status(const json_t *s)
{
	char text[32];
	i64 started = json_number(s, "started");

	print_value("name", "%s", json_text(s, "name"));
	print_value("state", "%s", json_text(s, "state"));
	print_value("accelerator", "%s", json_text(s, "accelerator"));
	print_value("machine", "%s", json_text(s, "machine"));
	print_value("CPUs", "%ld of model %s", json_number(s, "cpus"), json_text(s, "cpu"));
	print_value("memory", "%s", print_size(text, (u64)json_number(s, "memory")));
	if (started)
		print_value("up", "%s", print_duration(text, (u64)(time(NULL) - started)));
	print_value("confined by", "%s", json_text(s, "confined-by"));
	if (json_text(s, "not-confined-by")[0])
		print_value("but not by", "%s", json_text(s, "not-confined-by"));
	print_value("processes", "%ld (guest), %ld (launcher)", json_number(s, "vmm"),
		    json_number(s, "launcher"));
}

int cmd_status(int argc, char **argv)
{
	static const struct option_row rows[] = {OPTION_JSON};
	static const struct option_table table = {
		.command = "status",
		.usage = "NAME [OPTIONS]",
		.summary = "Shows what a guest is, and does.",
		.rows = rows,
		.n_rows = ARRAY_SIZE(rows),
		.min_args = 1,
		.max_args = 1,
		.missing = "which guest? `posada ps` lists them",
	};
	struct json_option o = {0};
	struct err err = ERR_INIT;
	json_t *got, *all;
	const char *name;
	int status = options_parse(&table, argc, argv, &o, &name);

	if (status != OPTIONS_RUN)
		return status;
	if (control_ask(name, "status", CLIENT_TIMEOUT_MS, &got, &err) < 0 ||
	    registry_read_info(name, &all, &err) < 0)
		return control_fail(&err);
	json_object_update(all, got);
	json_decref(got);
	if (!o.is_json)
		control_print_status(all);
	if (o.is_json)
		print_json(all);
	else
		json_decref(all);
	return 0;
}

/* --- commands without arguments or answers --- */

static int control_simple(const char *command, const char *summary, int argc, char **argv)
{
	const struct option_table table = {
		.command = command,
		.usage = "NAME",
		.summary = summary,
		.min_args = 1,
		.max_args = 1,
		.missing = "which guest? `posada ps` lists them",
	};
	struct err err = ERR_INIT;
	const char *name;
	int status = options_parse(&table, argc, argv, NULL, &name);

	if (status != OPTIONS_RUN)
		return status;
	if (control_ask(name, command, CLIENT_TIMEOUT_MS, NULL, &err) < 0)
		return control_fail(&err);
	return 0;
}

int cmd_pause(int argc, char **argv)
{
	return control_simple("pause", "Stops a guest's CPUs and its clock, until `posada resume`.",
			      argc, argv);
}

int cmd_resume(int argc, char **argv)
{
	return control_simple("resume", "Lets a paused guest run on.", argc, argv);
}

int cmd_reset(int argc, char **argv)
{
	return control_simple("reset",
			      "Resets a guest, as the button of that name does: what it didn't "
			      "write is lost.",
			      argc, argv);
}

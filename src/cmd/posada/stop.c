/*
 * posada stop and events: what a guest tells while it runs, and its end.
 */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/err.h"
#include "base/time.h"
#include "client/client.h"
#include "client/registry.h"
#include "cmd/posada/cmd.h"
#include "cmd/posada/options.h"
#include "cmd/posada/print.h"
#include "proto/text.h"

#define STOP_TIMEOUT_DEFAULT 60    /* seconds: a guest stops its services first */
#define STOP_QUIT_TIMEOUT_MS 10000 /* for what needs nothing of the guest */

struct stop_options {
	bool is_forced;
	int timeout; /* seconds; -1: not given */
};

static int stop_force(void *to, unused char *value, unused struct err *err)
{
	((struct stop_options *)to)->is_forced = true;
	return 0;
}

static int stop_timeout(void *to, char *value, struct err *err)
{
	char *end;
	long seconds = strtol(value, &end, 10);

	if (end == value || *end || seconds < 0 || seconds > 24 * 3600)
		return err_set(err, -EINVAL, "'%s' is not a number of seconds, at most a day",
			       value);
	((struct stop_options *)to)->timeout = (int)seconds;
	return 0;
}

static bool stop_is_event(const json_t *event, const char *word)
{
	return !strcmp(json_text(event, "event"), word);
}

/* Until the guest has stopped and its name is free. -ETIMEDOUT when it doesn't. */
static int stop_wait(struct client *c, const char *name, int timeout_ms, struct err *err)
{
	const u64 deadline = time_mono_ns() + (u64)timeout_ms * NSEC_PER_MSEC;
	bool has_stopped = false;
	int r = 0;

	while (!has_stopped && r != -EPIPE) {
		u64 now = time_mono_ns();
		json_t *event;

		r = client_next_event(
			c, now < deadline ? (int)((deadline - now) / NSEC_PER_MSEC) + 1 : 0, &event,
			err);
		if (r < 0 && r != -EPIPE)
			return r;
		if (r == 0) {
			has_stopped = stop_is_event(event, "stopped");
			json_decref(event);
		}
	}
	*err = (struct err)ERR_INIT;
	return registry_wait_gone(name, STOP_QUIT_TIMEOUT_MS, err);
}

/* As its owner would: by the power button. */
static int stop_gently(struct client *c, const char *name, int timeout, struct err *err)
{
	json_t *status;
	bool is_running;
	int r = client_call(c, "status", NULL, NULL, 0, &status, err);

	if (r < 0)
		return r;
	is_running = !strcmp(json_text(status, "state"), "running");
	json_decref(status);
	if (!is_running)
		return err_set(err, -EBADFD,
			       "guest '%s' is paused and can't hear its power button; "
			       "`posada resume %s` first, or stop it with --force",
			       name, name);
	r = client_call(c, "power-button", NULL, NULL, 0, NULL, err);
	if (!r)
		r = stop_wait(c, name, timeout * 1000, err);
	if (r == -ETIMEDOUT)
		err_set(err, r,
			"guest '%s' did not power off within %d seconds; "
			"wait for longer with --timeout, or end it with --force",
			name, timeout);
	return r;
}

static int stop_guest(const char *name, const struct stop_options *o, struct err *err)
{
	AUTO(client_free) struct client *c = NULL;
	int timeout = o->timeout >= 0 ? o->timeout : STOP_TIMEOUT_DEFAULT;
	int r = client_connect(name, &c, err);

	if (!r)
		r = client_call(c, "subscribe", NULL, NULL, 0, NULL, err);
	if (r < 0)
		return r;
	if (!o->is_forced)
		return stop_gently(c, name, timeout, err);
	/* --force alone: at once. */
	if (o->timeout > 0 && stop_gently(c, name, timeout, err) == 0)
		return 0;
	*err = (struct err)ERR_INIT;
	r = client_call(c, "quit", NULL, NULL, 0, NULL, err);
	if (r == 0 || r == -EPIPE) {
		*err = (struct err)ERR_INIT;
		r = stop_wait(c, name, STOP_QUIT_TIMEOUT_MS, err);
	}
	return r;
}

int cmd_stop(int argc, char **argv)
{
	static const struct option_row rows[] = {
		{"force", NULL, stop_force,
		 "end it without asking it: at once, or when --timeout is over"},
		{"timeout", "SECONDS", stop_timeout,
		 "how long the guest may take to power off (default: 60)"},
	};
	static const struct option_table table = {
		.command = "stop",
		.usage = "NAME [OPTIONS]",
		.summary = "Presses a guest's power button, and waits until it has powered off.",
		.rows = rows,
		.n_rows = ARRAY_SIZE(rows),
		.min_args = 1,
		.max_args = 1,
		.missing = "which guest? `posada ps` lists them",
	};
	struct stop_options o = {.timeout = -1};
	struct err err = ERR_INIT;
	const char *name;
	int status = options_parse(&table, argc, argv, &o, &name);

	if (status != OPTIONS_RUN)
		return status;
	if (stop_guest(name, &o, &err) == 0)
		return 0;
	fprintf(stderr, "posada: %s\n", err.text);
	return 1;
}

/* --- events --- */

/* "12:34:56 paused: paused"; members other than the text are for --json. */
static void events_print(const json_t *event)
{
	const char *text = json_text(event, "text"), *device = json_text(event, "device");
	const char *reason = json_text(event, "reason");
	time_t now = time(NULL);
	struct tm tm;
	char clock[16] = "", line[700];

	if (localtime_r(&now, &tm))
		strftime(clock, sizeof(clock), "%H:%M:%S", &tm);
	snprintf(line, sizeof(line), "%s%s%s%s%s%s%s", json_text(event, "event"),
		 device[0] ? " " : "", device, reason[0] ? " " : "", reason, text[0] ? ": " : "",
		 text);
	printf("%s %s\n", clock, proto_text_clean(line));
}

static int events_follow(struct client *c, bool is_json, struct err *err)
{
	bool has_stopped = false;
	int r = 0;

	while (!has_stopped && !r && !ferror(stdout)) {
		json_t *event;

		r = client_next_event(c, CLIENT_FOREVER, &event, err);
		if (r < 0)
			break;
		has_stopped = stop_is_event(event, "stopped");
		if (is_json) {
			json_dumpf(event, stdout, JSON_COMPACT);
			putchar('\n');
		} else {
			events_print(event);
		}
		fflush(stdout);
		json_decref(event);
	}
	return r;
}

int cmd_events(int argc, char **argv)
{
	static const struct option_row rows[] = {OPTION_JSON};
	static const struct option_table table = {
		.command = "events",
		.usage = "NAME [OPTIONS]",
		.summary = "Shows what happens to a guest, a line for each event, until it ends.",
		.rows = rows,
		.n_rows = ARRAY_SIZE(rows),
		.min_args = 1,
		.max_args = 1,
		.missing = "which guest? `posada ps` lists them",
	};
	AUTO(client_free) struct client *c = NULL;
	struct json_option o = {0};
	struct err err = ERR_INIT;
	const char *name;
	int status = options_parse(&table, argc, argv, &o, &name), r;

	if (status != OPTIONS_RUN)
		return status;
	r = client_connect(name, &c, &err);
	if (!r)
		r = client_call(c, "subscribe", NULL, NULL, 0, NULL, &err);
	if (!r)
		r = events_follow(c, o.is_json, &err);
	if (r < 0)
		fprintf(stderr, "posada: %s\n", err.text);
	return r < 0;
}

/*
 * posada job: block jobs on the disks of a guest that runs: started, watched, completed, called off.
 */
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/err.h"
#include "client/client.h"
#include "cmd/posada/cmd.h"
#include "cmd/posada/options.h"
#include "cmd/posada/print.h"
#include "cmd/posada/run.h"
#include "launch/launch.h"

#define JOB_LOOK_MS 500

struct job_options {
	struct json_option json; /* first */
	bool must_ask, keeps_disk, is_top_only, is_background, is_completing, is_cancelling;
	u64 bytes_per_second;
};

#define JOB_FLAG(name_, member_)                                                                   \
	static int job_##name_(void *to, unused char *value, unused struct err *err)               \
	{                                                                                          \
		((struct job_options *)to)->member_ = true;                                        \
		return 0;                                                                          \
	}
JOB_FLAG(ask_option, must_ask)
JOB_FLAG(keep, keeps_disk)
JOB_FLAG(top, is_top_only)
JOB_FLAG(background, is_background)
JOB_FLAG(complete, is_completing)
JOB_FLAG(cancel, is_cancelling)

static int job_rate(void *to, char *value, struct err *err)
{
	return option_size(value, &((struct job_options *)to)->bytes_per_second, err);
}

/* --- those that there are --- */

static u64 job_percent(const json_t *j)
{
	i64 total = json_number(j, "total");

	return total > 0 ? (u64)(json_number(j, "done") * 100 / total) : 0;
}

static void job_print_all(const json_t *jobs)
{
	static const char *const headings[] = {"DISK", "JOB", "STATE", ">DONE", NULL};
	struct print_table *t = print_table_new(headings);

	for (size_t i = 0; i < json_array_size(jobs); i++) {
		const json_t *j = json_array_get(jobs, i);

		print_cell(t, "%s", json_text(j, "device"));
		print_cell(t, "%s", json_text(j, "kind"));
		print_cell(t, "%s", json_text(j, "state"));
		print_cell(t, "%lu %%", job_percent(j));
	}
	print_table_end(t);
}

static int job_ask(struct client *c, json_t **out_jobs, struct err *err)
{
	json_t *got;
	int r = client_call(c, "job-list", NULL, NULL, 0, &got, err);

	if (r < 0)
		return r;
	*out_jobs = json_incref(json_object_get(got, "jobs"));
	json_decref(got);
	return 0;
}

static int job_list(const char *guest, bool is_json, struct err *err)
{
	AUTO(client_free) struct client *c = NULL;
	json_t *jobs;
	int r = client_connect(guest, &c, err);

	if (!r)
		r = job_ask(c, &jobs, err);
	if (r < 0)
		return r;
	if (is_json) {
		print_json(jobs);
	} else {
		job_print_all(jobs);
		json_decref(jobs);
	}
	return 0;
}

static int job_command(const char *guest, const char *disk, const char *command, struct err *err)
{
	AUTO(client_free) struct client *c = NULL;
	int r = client_connect(guest, &c, err);

	return r < 0 ? r
		     : client_call(c, command, json_pack("{s:s}", "device", disk), NULL, 0, NULL,
				   err);
}

/* --- a new one, watched --- */

static void job_show_progress(struct client *c, const char *disk)
{
	struct err err = ERR_INIT;
	json_t *jobs;

	if (!isatty(STDERR_FILENO) || job_ask(c, &jobs, &err) < 0)
		return;
	for (size_t i = 0; i < json_array_size(jobs); i++) {
		const json_t *j = json_array_get(jobs, i);

		if (strcmp(json_text(j, "device"), disk) == 0)
			fprintf(stderr, "\r%s: %3lu %%", json_text(j, "kind"), job_percent(j));
	}
	json_decref(jobs);
}

/* 0: it is done; 1: it goes on. */
static int job_take_event(const json_t *event, const char *disk, struct err *err)
{
	const char *state = json_text(event, "state");

	if (strcmp(json_text(event, "event"), "job") || strcmp(json_text(event, "device"), disk))
		return 1;
	if (!strcmp(state, "failed"))
		return err_set(err, -EIO, "%s", json_text(event, "error"));
	if (!strcmp(state, "cancelled"))
		return err_set(err, -ECANCELED, "it was called off");
	if (!strcmp(state, "ready")) {
		printf("%s: ready, `posada job NAME %s --complete` completes it\n", disk, disk);
		fflush(stdout); /* whoever reads it, by a pipe too, has something to do */
	}
	return strcmp(state, "done") != 0;
}

static int job_watch(struct client *c, const char *disk, struct err *err)
{
	int r = 1;

	while (r > 0) {
		json_t *event;
		int got = client_next_event(c, JOB_LOOK_MS, &event, err);

		if (got == -ETIMEDOUT) {
			*err = (struct err)ERR_INIT;
			job_show_progress(c, disk);
			continue;
		}
		if (got < 0)
			return err_wrap(err, "the guest has gone, and its job");
		r = job_take_event(event, disk, err);
		json_decref(event);
	}
	if (isatty(STDERR_FILENO))
		fputs(r < 0 ? "\n" : "\r", stderr);
	return r;
}

static json_t *job_arguments(const char *const *args, const struct job_options *o)
{
	return json_pack("{s:s, s:s, s:b, s:b, s:b, s:I}", "device", args[1], "kind", args[2],
			 "ask", o->must_ask, "keep", o->keeps_disk, "top", o->is_top_only,
			 "bytes-per-second", (json_int_t)o->bytes_per_second);
}

static int job_start(const char *const *args, const struct job_options *o, struct err *err)
{
	AUTO(client_free) struct client *c = NULL;
	struct launch_request target = {0};
	AUTO(free) char *spec = args[3] ? str_dup(args[3]) : NULL;
	int r = spec ? run_parse_option("disk", &target, spec, err) : 0;

	target.disks[0].is_unlocked = !strcmp(args[2], "commit");
	if (!r)
		r = client_connect(args[0], &c, err);
	if (!r)
		r = client_call(c, "subscribe", NULL, NULL, 0, NULL, err);
	if (!r)
		r = launch_start_job(args[0], job_arguments(args, o),
				     spec ? &target.disks[0] : NULL, err);
	if (r < 0 || o->is_background)
		return r;
	r = job_watch(c, args[1], err);
	if (!r)
		printf("%s: %s done\n", args[1], args[2]);
	return r;
}

static int job_run(const char *const *args, const struct job_options *o, struct err *err)
{
	if (!args[1])
		return job_list(args[0], o->json.is_json, err);
	if (o->is_completing || o->is_cancelling)
		return job_command(args[0], args[1],
				   o->is_completing ? "job-complete" : "job-cancel", err);
	if (!args[2])
		return err_set(err, -EINVAL,
			       "which job? copy, mirror, commit or pull; or --complete, --cancel");
	if (!args[3] != !strcmp(args[2], "pull"))
		return err_set(err, -EINVAL,
			       "%s: all jobs but a pull have a target, an image or device",
			       args[2]);
	return job_start(args, o, err);
}

int cmd_job(int argc, char **argv)
{
	static const struct option_row rows[] = {
		{"ask", NULL, job_ask_option,
		 "a mirror or commit waits for --complete once it is in step"},
		{"keep", NULL, job_keep, "after a mirror the guest stays with its disk"},
		{"top", NULL, job_top,
		 "copy only what the image itself holds, not what is beneath"},
		{"limit-bps", "N", job_rate, "bytes a second (default: as fast as it goes)"},
		{"background", NULL, job_background, "don't wait for its end"},
		{"complete", NULL, job_complete, "complete the disk's mirror or commit"},
		{"cancel", NULL, job_cancel, "call the disk's job off"},
		OPTION_JSON,
	};
	static const struct option_table table = {
		.command = "job",
		.usage = "NAME [DISK [copy|mirror|commit|pull [TARGET[,OPTION]...]]] [OPTIONS]",
		.summary = "Long work on a disk while its guest runs. copy: the disk as it is now, "
			   "to TARGET.\n"
			   "mirror: to TARGET, with which the guest then goes on. commit: down "
			   "into TARGET,\n"
			   "a layer beneath its image. pull: what is beneath comes up. Lists jobs "
			   "without DISK.",
		.rows = rows,
		.n_rows = ARRAY_SIZE(rows),
		.min_args = 1,
		.max_args = 4,
		.missing = "which guest? `posada ps` lists them",
	};
	struct job_options o = {0};
	struct err err = ERR_INIT;
	const char *args[4];
	int status = options_parse(&table, argc, argv, &o, args);

	if (status != OPTIONS_RUN)
		return status;
	if (job_run(args, &o, &err) < 0) {
		fprintf(stderr, "posada: %s\n", err.text);
		return 1;
	}
	return 0;
}

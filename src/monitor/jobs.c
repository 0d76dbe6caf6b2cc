/*
 * Block jobs: the commands "job-start", "job-list", "job-complete", "job-cancel", and the event "job".
 */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "machine/machine.h"
#include "monitor/monitor_priv.h"
#include "proto/fields.h"
#include "proto/guest_config.h"

static const struct guest_words job_kinds = {
	(const char *const[]){"copy", "mirror", "commit", "pull", NULL}};
static const struct guest_words job_states = {
	(const char *const[]){"running", "ready", "done", "failed", "cancelled", NULL}};

static json_t *job_json(const struct machine_job *j)
{
	json_t *o = json_pack("{s:s, s:s, s:s, s:I, s:I}", "device", j->device, "kind",
			      guest_word(&job_kinds, j->kind), "state",
			      guest_word(&job_states, j->state), "done", (json_int_t)j->done_bytes,
			      "total", (json_int_t)j->total_bytes);

	if (j->error) {
		char text[200];

		snprintf(text, sizeof(text), "%s: %s", j->where, strerror(-j->error));
		json_object_set_new(o, "error", json_string(text));
	}
	return o;
}

void monitor_on_job_changed(void *opaque, const struct machine_job *job)
{
	struct monitor *m = opaque;
	json_t *event = job_json(job);

	json_object_set_new(event, "event", json_string("job"));
	server_event(m->server, event);
}

static int job_take_options(const json_t *from, struct machine_job_options *o, struct err *err)
{
	const json_t *rate = json_object_get(from, "bytes-per-second");
	const char *kind = json_string_value(json_object_get(from, "kind"));
	int k = kind ? guest_word_value(&job_kinds, kind) : -1;

	if (k < 0)
		return err_set(err, -EINVAL, "'kind' is copy, mirror, commit or pull");
	if (rate && (!json_is_integer(rate) || json_integer_value(rate) < 0))
		return err_set(err, -EINVAL, "'bytes-per-second' is no number");
	*o = (struct machine_job_options){
		.kind = (enum machine_job_kind)k,
		.must_ask = json_is_true(json_object_get(from, "ask")),
		.keeps_disk = json_is_true(json_object_get(from, "keep")),
		.is_top_only = json_is_true(json_object_get(from, "top")),
		.bytes_per_second = (u64)json_integer_value(rate),
	};
	return 0;
}

static void job_started(unused struct monitor *m, struct control_request *r,
			unused const char *name)
{
	control_reply(r, NULL);
}

static int job_start_with(struct monitor *m, struct control_request *r, const char *name,
			  const struct machine_job_options *o, struct guest_disk *target,
			  struct err *err)
{
	struct machine_waiter w = monitor_wait_for_disk(m, r, job_started);
	int ret = machine_start_job(m->machine, name, o, target, &w, err);

	if (ret < 0)
		free(w.opaque);
	return ret;
}

/* On success it is answered, or will be. */
static int job_start(struct monitor *m, struct control_request *r, const char *name,
		     struct err *err)
{
	const json_t *arguments = control_arguments(r);
	const json_t *target = json_object_get(arguments, "target");
	struct machine_job_options o;
	struct guest_disk disk;
	int ret = job_take_options(arguments, &o, err);

	if (ret < 0)
		return ret;
	if (!json_is_object(target) != (o.kind == MACHINE_JOB_PULL))
		return err_set(err, -EINVAL,
			       "all jobs but a pull have a 'target', which is a disk");
	if (!target)
		return job_start_with(m, r, name, &o, NULL, err);
	ret = guest_disk_decode(target, control_fds(r), &disk, err);
	return ret < 0 ? ret : job_start_with(m, r, name, &o, &disk, err);
}

/* The commands that name a device. */
static void job_answer(struct monitor *m, struct control_request *r,
		       int (*fn)(struct monitor *m, struct control_request *r, const char *name,
				 struct err *err),
		       bool answers_itself)
{
	const char *name = json_string_value(json_object_get(control_arguments(r), "device"));
	struct err err = ERR_INIT;

	if (!name)
		control_fail(r, -EINVAL, "'device' is no name");
	else if (fn(m, r, name, &err) < 0)
		control_fail_err(r, &err);
	else if (!answers_itself)
		control_reply(r, NULL);
}

static int job_complete(struct monitor *m, unused struct control_request *r, const char *name,
			struct err *err)
{
	return machine_complete_job(m->machine, name, err);
}

static int job_cancel(struct monitor *m, unused struct control_request *r, const char *name,
		      struct err *err)
{
	return machine_cancel_job(m->machine, name, err);
}

void monitor_job_start(struct monitor *m, struct control_request *r)
{
	job_answer(m, r, job_start, true);
}

void monitor_job_complete(struct monitor *m, struct control_request *r)
{
	job_answer(m, r, job_complete, false);
}

void monitor_job_cancel(struct monitor *m, struct control_request *r)
{
	job_answer(m, r, job_cancel, false);
}

void monitor_job_list(struct monitor *m, struct control_request *r)
{
	struct machine_job jobs[MACHINE_MAX_DEVICES];
	unsigned n = machine_list_jobs(m->machine, jobs);
	json_t *list = json_array();

	for (unsigned i = 0; i < n; i++)
		json_array_append_new(list, job_json(&jobs[i]));
	control_reply(r, json_pack("{s:o}", "jobs", list));
}

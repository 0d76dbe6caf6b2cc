/*
 * Saving: the commands `save` and `save-cancel`, and what follows when the file is there.
 *
 * The request stays open until then. A client that is gone by the time has nobody to take the file:
 * the guest goes on as if it had not been asked. A guest whose own memory is still being loaded is saved when that is
 * over: the kernel, which writes the file, can't wait for memory that is missing.
 */
#include <jansson.h>
#include <string.h>

#include "base/alloc.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/time.h"
#include "machine/machine.h"
#include "machine/machine_state.h"
#include "migrate/load.h"
#include "migrate/save.h"
#include "monitor/monitor_priv.h"
#include "proto/control.h"

struct monitor_save {
	struct monitor *monitor;
	struct save_job *job; /* NULL: memory is still being loaded */
	int fd;               /* the file's, until there is a job; or -1 */
	struct control_request *request;
	struct save_options options;
};

bool monitor_is_held(const struct monitor *m)
{
	return m->save && m->save->job && save_holds_guest(m->save->job);
}

void monitor_save_free(struct monitor *m)
{
	if (!m->save)
		return;
	save_free(m->save->job);
	if (m->save->request)
		control_fail(m->save->request, -ECANCELED, "the guest has ended");
	fd_close(m->save->fd);
	free(m->save);
	m->save = NULL;
}

/* --- what the job calls --- */

static int monitor_save_capture(void *opaque, char **out_config, struct state_writer *w,
				struct err *err)
{
	struct monitor_save *s = opaque;

	if (control_is_gone(s->request))
		return err_set(err, -EPIPE, "whoever asked for it is gone");
	*out_config = machine_save_config(s->monitor->machine);
	return machine_save_state(s->monitor->machine, w, err);
}

static void monitor_save_progress(void *opaque, u64 done, u64 total)
{
	struct monitor_save *s = opaque;

	server_event(s->monitor->server,
		     json_pack("{s:s, s:I, s:I}", "event", "save-progress", "done",
			       (json_int_t)done, "total", (json_int_t)total));
	if (control_is_gone(s->request))
		save_cancel(s->job);
}

static void monitor_save_finished(void *opaque, const struct save_result *result,
				  const struct err *err)
{
	struct monitor_save *s = opaque;
	struct monitor *m = s->monitor;
	struct control_request *request = take(s->request);

	if (err->code) {
		control_fail_err(request, err);
	} else {
		control_reply(request,
			      json_pack("{s:I, s:I, s:I}", "bytes", (json_int_t)result->file_bytes,
					"live-chunks", (json_int_t)result->live_chunks, "paused-us",
					(json_int_t)(result->paused_ns / NSEC_PER_USEC)));
		if (!s->options.keeps_running)
			monitor_end(m, CONTROL_SAVED, "saved");
	}
	loop_task_post(m->loop, &m->save_over_task); /* we are called by the job itself */
}

void monitor_on_save_over(struct loop_task *task)
{
	monitor_save_free(container_of(task, struct monitor, save_over_task));
}

/* --- commands --- */

static int monitor_save_options(const json_t *arguments, struct save_options *out, struct err *err)
{
	const char *compression = "none";
	int keeps_running = 0;

	if (arguments && json_unpack((json_t *)arguments, "{s?:b, s?:s}", "keep-running",
				     &keeps_running, "compression", &compression) < 0)
		return err_set(err, -EINVAL,
			       "save takes \"keep-running\", true or false, and \"compression\"");
	if (strcmp(compression, "none") && strcmp(compression, "zstd"))
		return err_set(err, -EINVAL, "there is no compression '%s'; there is: none, zstd",
			       compression);
	*out = (struct save_options){.keeps_running = keeps_running,
				     .is_compressed = compression[0] == 'z'};
	return 0;
}

static int monitor_can_save(struct monitor *m, struct err *err)
{
	if (m->save)
		return err_set(err, -EBUSY, "the guest is being saved already");
	return machine_can_save(m->machine, err);
}

static int monitor_begin_save(struct monitor_save *s, struct err *err)
{
	struct machine *machine = s->monitor->machine;
	const struct save_ops ops = {
		.capture = monitor_save_capture,
		.progress = monitor_save_progress,
		.finished = monitor_save_finished,
		.opaque = s,
	};

	return save_start(machine_vm(machine), machine_ram(machine), fd_take(s->fd), &s->options,
			  &ops, &s->job, err);
}

void monitor_on_loaded(struct loop_task *task)
{
	struct monitor *m = container_of(task, struct monitor, loaded_task);
	struct err err = ERR_INIT;
	int r;

	if (!m->save || m->save->job)
		return;
	r = machine_can_save(m->machine, &err);
	if (r == 0)
		r = monitor_begin_save(m->save, &err);
	if (r < 0) {
		control_fail_err(take(m->save->request), &err);
		monitor_save_free(m);
	}
}

void monitor_save(struct monitor *m, struct control_request *r)
{
	AUTO(free_ptr) struct monitor_save *s = NEW(struct monitor_save);
	struct err err = ERR_INIT;
	AUTO_FD int fd = control_take_fd(r, 0);
	int ret = monitor_can_save(m, &err);

	if (!ret)
		ret = monitor_save_options(control_arguments(r), &s->options, &err);
	if (!ret && fd < 0)
		ret = err_set(&err, -EINVAL, "save needs an empty file's descriptor");
	s->monitor = m;
	s->request = r;
	s->fd = fd_take(fd);
	if (!ret && (!m->load || load_is_complete(m->load)))
		ret = monitor_begin_save(s, &err);
	if (ret < 0) {
		fd_close(s->fd);
		control_fail_err(r, &err);
	} else {
		m->save = take(s);
	}
}

void monitor_save_cancel(struct monitor *m, struct control_request *r)
{
	if (!m->save || !m->save->request) {
		control_fail(r, -ENOENT, "the guest is not being saved");
		return;
	}
	if (m->save->job) {
		save_cancel(m->save->job);
	} else {
		control_fail(take(m->save->request), -ECANCELED, "saving was canceled");
		monitor_save_free(m);
	}
	control_reply(r, NULL);
}

/*
 * The command "balloon", and the event that its size has changed.
 */
#include <jansson.h>

#include "base/base.h"
#include "base/err.h"
#include "machine/machine.h"
#include "monitor/monitor_priv.h"

json_t *monitor_balloon_json(struct monitor *m)
{
	struct machine_balloon b;
	json_t *guest, *all;

	if (!machine_get_balloon(m->machine, &b))
		return NULL;
	all = json_pack("{s:I, s:I, s:I, s:I}", "memory", (json_int_t)b.memory, "target",
			(json_int_t)b.target, "actual", (json_int_t)b.actual, "given-back",
			(json_int_t)b.given_back);
	if (!b.n_figures)
		return all;
	guest = json_object();
	/* What JSON can't hold is no figure, but a guest that makes fun of us. */
	for (unsigned i = 0; i < b.n_figures; i++)
		if (b.figures[i].value <= INT64_MAX)
			json_object_set_new(guest, b.figures[i].name,
					    json_integer((json_int_t)b.figures[i].value));
	json_object_set_new(all, "guest", guest);
	json_object_set_new(all, "guest-age", json_integer((json_int_t)(b.age_ns / NSEC_PER_MSEC)));
	return all;
}

void monitor_balloon(struct monitor *m, struct control_request *r)
{
	const json_t *target = json_object_get(control_arguments(r), "target");
	struct err err = ERR_INIT;
	json_t *result;

	if (target && (!json_is_integer(target) || json_integer_value(target) < 0)) {
		control_fail(r, -EINVAL, "'target' is not a number of bytes");
		return;
	}
	if (target && machine_set_balloon(m->machine, (u64)json_integer_value(target), &err) < 0) {
		control_fail_err(r, &err);
		return;
	}
	result = monitor_balloon_json(m);
	if (result)
		control_reply(r, result);
	else
		control_fail(r, -ENOTSUP, "the guest has no balloon");
}

static void monitor_on_balloon_task(struct loop_task *task)
{
	struct monitor *m = container_of(task, struct monitor, balloon_task);
	json_t *event = monitor_balloon_json(m);

	json_object_set_new(event, "event", json_string("balloon-changed"));
	server_event(m->server, event);
}

void monitor_on_balloon(void *opaque)
{
	struct monitor *m = opaque;

	loop_task_post(m->loop, &m->balloon_task);
}

void monitor_balloon_init(struct monitor *m)
{
	list_init(&m->balloon_task.node);
	m->balloon_task.fn = monitor_on_balloon_task;
}

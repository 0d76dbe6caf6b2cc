/*
 * The commands of the control socket: a table, and the short ones themselves.
 *
 * A command is called on the main loop's thread and owns its request: it ends it by control_reply or
 * control_fail, at once, or later from the main loop's thread again. What it does to the machine is
 * in machine/ and vm/, which know nothing of messages.
 */
#include <jansson.h>
#include <string.h>

#include "base/err.h"
#include "confine/confine.h"
#include "machine/machine.h"
#include "monitor/monitor_priv.h"
#include "proto/guest_config.h"
#include "proto/text.h"

struct monitor_command {
	const char *name;
	void (*run)(struct monitor *m, struct control_request *r);
};

/* --- what the guest does --- */

static const char *monitor_state(const struct monitor *m)
{
	if (vm_is_running(machine_vm(m->machine)))
		return "running";
	return m->is_panicked ? "panicked" : "paused";
}

static void monitor_status(struct monitor *m, struct control_request *r)
{
	const struct guest_config *c = m->config;

	control_reply(r, json_pack("{s:s, s:s, s:o, s:s, s:s, s:i, s:I, s:s, s:s}", "name", c->name,
				   "state", monitor_state(m), "accelerator",
				   proto_text(machine_accel_text(m->machine)), "machine",
				   c->machine, "cpu", c->cpu, "cpus", (int)c->n_cpus, "memory",
				   (json_int_t)c->memory, "confined-by", m->confinement->in_force,
				   "not-confined-by", m->confinement->missing));
}

static void monitor_pause(struct monitor *m, struct control_request *r)
{
	vm_pause(machine_vm(m->machine));
	monitor_tell(m, CONTROL_PAUSED, "paused");
	control_reply(r, NULL);
}

/* A guest that panicked may be let run on: its kernel mostly waits. */
static void monitor_resume(struct monitor *m, struct control_request *r)
{
	m->is_panicked = false;
	vm_resume(machine_vm(m->machine));
	monitor_tell(m, CONTROL_RESUMED, "resumed");
	control_reply(r, NULL);
}

/* --- power --- */

static void monitor_power_button(struct monitor *m, struct control_request *r)
{
	machine_press_power_button(m->machine);
	control_reply(r, NULL);
}

static void monitor_reset(struct monitor *m, struct control_request *r)
{
	struct err err = ERR_INIT;

	if (machine_can_reset(m->machine, &err) < 0) {
		control_fail_err(r, &err);
		return;
	}
	monitor_restart(m);
	control_reply(r, NULL);
}

static void monitor_quit(struct monitor *m, struct control_request *r)
{
	control_reply(r, NULL);
	monitor_end(m, CONTROL_ASKED, "");
}

/* --- the connection --- */

static void monitor_subscribe(unused struct monitor *m, struct control_request *r)
{
	control_subscribe(r);
	control_reply(r, NULL);
}

/* clang-format off */
static const struct monitor_command monitor_commands[] = {
	{"balloon", monitor_balloon},
	{"device-add", monitor_device_add},
	{"device-list", monitor_device_list},
	{"device-remove", monitor_device_remove},
	{"job-cancel", monitor_job_cancel},
	{"job-complete", monitor_job_complete},
	{"job-list", monitor_job_list},
	{"job-start", monitor_job_start},
	{"net-connect", monitor_net_connect},
	{"pause", monitor_pause},
	{"power-button", monitor_power_button},
	{"quit", monitor_quit},
	{"reset", monitor_reset},
	{"resize-disk", monitor_resize_disk},
	{"resume", monitor_resume},
	{"save", monitor_save},
	{"save-cancel", monitor_save_cancel},
	{"set-limits", monitor_set_limits},
	{"set-link", monitor_set_link},
	{"stats", monitor_stats},
	{"status", monitor_status},
	{"subscribe", monitor_subscribe},
};
/* clang-format on */

const char *monitor_command_name(size_t i)
{
	return i < ARRAY_SIZE(monitor_commands) ? monitor_commands[i].name : NULL;
}

/* To a guest that stands because it is being saved: its state is its file's. */
static bool monitor_is_harmless(const char *name)
{
	static const char *const names[] = {"quit", "save", "save-cancel", "status", "subscribe"};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (!strcmp(names[i], name))
			return true;
	return false;
}

void monitor_on_request(void *opaque, struct control_request *r)
{
	struct monitor *m = opaque;

	for (size_t i = 0; i < ARRAY_SIZE(monitor_commands); i++) {
		const struct monitor_command *c = &monitor_commands[i];

		if (strcmp(c->name, control_command(r)))
			continue;
		if (monitor_is_held(m) && !monitor_is_harmless(c->name))
			control_fail(r, -EBUSY, "the guest is being saved");
		else
			c->run(m, r);
		return;
	}
	control_fail(r, -EBADRQC, "no command '%s'", control_command(r));
}

/*
 * A guest that goes on from a file: in two steps, around the moment when the process is confined.
 */
#include <stdio.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/time.h"
#include "confine/confine.h"
#include "machine/machine.h"
#include "machine/machine_state.h"
#include "migrate/load.h"
#include "monitor/monitor_priv.h"
#include "proto/guest_config.h"

static void monitor_tell_loading(struct monitor *m, const char *why)
{
	char words[160];

	snprintf(words, sizeof(words),
		 why ? "; its memory was loaded before it ran: %s"
		     : "; its memory is loaded as it is touched",
		 why);
	machine_add_text(m->machine, words);
}

int monitor_restore_open(struct monitor *m, struct err *err)
{
	struct guest_config *c = m->config;
	const struct load_options options = {
		.is_eager = c->is_eager,
		.kernel_faults = !machine_is_soft(m->machine),
		.faults_fd = c->faults_fd,
	};
	const char *why;
	int r = load_open(fd_take(c->restore_fd), &m->load, err);

	if (!r)
		r = load_memory_prepare(m->load, machine_ram(m->machine), &options, &why, err);
	fd_close(fd_take(c->faults_fd));
	if (r < 0)
		return r;
	monitor_tell_loading(m, why);
	return 0;
}

static int monitor_enter_load(unused void *opaque, struct err *err)
{
	return confine_thread(CONFINE_IO, err);
}

/* On the loading thread. Others may wait for the memory that won't come, the main thread too: nothing
 * can be done in order any more. */
static void monitor_load_failed(void *opaque, const char *why)
{
	struct monitor *m = opaque;
	struct control_event e = {.kind = CONTROL_STOPPED, .reason = CONTROL_FAILED};

	snprintf(e.text, sizeof(e.text), "the saved guest's file: %s", why);
	control_send_event(m->control, &e);
	_exit(1);
}

/* On the loading thread: who wants to save it may wait for that. */
static void monitor_load_complete(void *opaque)
{
	struct monitor *m = opaque;

	loop_task_post(m->loop, &m->loaded_task);
}

/* The time between then and now is in the wall clock, but not in the guest's own. */
static void monitor_restore_clock(struct monitor *m)
{
	u64 now = time_real_ns(), then = load_saved_at_ns(m->load);

	if (m->config->catches_up && now > then)
		machine_advance_wall_clock(m->machine, now - then);
}

int monitor_restore_start(struct monitor *m, struct err *err)
{
	const struct load_ops ops = {
		.enter_thread = monitor_enter_load,
		.failed = monitor_load_failed,
		.complete = monitor_load_complete,
		.opaque = m,
	};
	const void *state;
	size_t size;
	int r = load_memory_start(m->load, &ops, err);

	if (r < 0)
		return r;
	state = load_state(m->load, &size);
	r = machine_load_state(m->machine, state, size, err);
	if (r < 0)
		return r;
	monitor_restore_clock(m);
	return machine_start_loaded(m->machine, err);
}

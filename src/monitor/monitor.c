/*
 * The monitor: commands in, events out, policies between. See monitor.h.
 */
#include "monitor/monitor.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/err.h"
#include "base/log.h"
#include "base/loop.h"
#include "confine/confine.h"
#include "machine/machine.h"
#include "migrate/load.h"
#include "monitor/monitor_priv.h"
#include "proto/guest_config.h"

void monitor_tell(struct monitor *m, enum control_event_kind kind, const char *text)
{
	struct control_event e = {.kind = kind};

	snprintf(e.text, sizeof(e.text), "%s", text);
	server_event(m->server, control_event_json(&e));
}

void monitor_end(struct monitor *m, enum control_reason reason, const char *text)
{
	if (m->is_ended)
		return;
	m->is_ended = true;
	m->end.kind = CONTROL_STOPPED;
	m->end.reason = reason;
	snprintf(m->end.text, sizeof(m->end.text), "%s", text);
	loop_quit(m->loop);
}

/* --- what the guest does --- */

void monitor_restart(struct monitor *m)
{
	struct vm *vm = machine_vm(m->machine);
	struct err err = ERR_INIT;

	if (machine_can_reset(m->machine, &err) < 0 || vm_reset(vm, &err) < 0) {
		err_wrap(&err, "cannot restart the guest");
		monitor_end(m, CONTROL_FAILED, err.text);
		return;
	}
	m->is_panicked = false;
	vm_resume(vm);
	monitor_tell(m, CONTROL_RESET_DONE, "reset");
}

static void monitor_on_panic(struct monitor *m)
{
	monitor_tell(m, CONTROL_PANICKED, "the guest's kernel panicked");
	switch (m->config->on_crash) {
	case GUEST_CRASH_STOP:
		monitor_end(m, CONTROL_PANIC, "the guest's kernel panicked");
		break;
	case GUEST_CRASH_RESTART:
		monitor_restart(m);
		break;
	case GUEST_CRASH_PAUSE:
		vm_pause(machine_vm(m->machine));
		m->is_panicked = true;
		monitor_tell(m, CONTROL_PAUSED, "the guest's kernel panicked; it is paused");
		break;
	}
}

static void monitor_on_event(void *opaque, enum vm_event event)
{
	struct monitor *m = opaque;

	switch (event) {
	case VM_EVENT_POWEROFF:
		monitor_end(m, CONTROL_POWEROFF, "");
		break;
	case VM_EVENT_RESET:
		if (m->config->on_reboot == GUEST_REBOOT_RESTART)
			monitor_restart(m);
		else
			monitor_end(m, CONTROL_GUEST_RESET, "the guest reset itself");
		break;
	case VM_EVENT_PANIC:
		monitor_on_panic(m);
		break;
	case VM_EVENT_BROKEN:
		monitor_end(m, CONTROL_FAILED, vm_broken_text(machine_vm(m->machine)));
		break;
	}
}

static void monitor_on_debug_exit_task(struct loop_task *task)
{
	struct monitor *m = container_of(task, struct monitor, debug_exit_task);

	monitor_end(m, CONTROL_DEBUG_EXIT, "");
	m->end.code = (int)__atomic_load_n(&m->debug_exit_value, __ATOMIC_ACQUIRE);
}

/* The port's convention: status = value * 2 + 1, so that 0 is never the guest's. */
static void monitor_on_debug_exit(void *opaque, u8 value)
{
	struct monitor *m = opaque;

	__atomic_store_n(&m->debug_exit_value, (u8)(value << 1 | 1), __ATOMIC_RELEASE);
	loop_task_post(m->loop, &m->debug_exit_task);
}

static int monitor_enter_role(void *opaque, enum vm_role role, struct err *err)
{
	static const enum confine_role roles[] = {
		[VM_ROLE_MAIN] = CONFINE_MAIN,
		[VM_ROLE_IO] = CONFINE_IO,
		[VM_ROLE_VCPU] = CONFINE_VCPU,
	};

	(void)opaque;
	return confine_thread(roles[role], err);
}

/* --- what the peer wants --- */

static void monitor_on_launcher_gone(void *opaque)
{
	monitor_end(opaque, CONTROL_ASKED, "");
}

/* --- life --- */

struct monitor *monitor_new(struct loop *loop, int control, struct guest_config *config,
			    const struct confine_report *confinement, int smaps_fd)
{
	struct monitor *m = NEW(struct monitor);
	const struct server_ops ops = {
		.request = monitor_on_request,
		.launcher_gone = monitor_on_launcher_gone,
		.opaque = m,
	};

	m->loop = loop;
	m->config = config;
	m->confinement = confinement;
	m->smaps_fd = smaps_fd;
	m->control = control;
	m->server = server_new(loop, control, config->control_fd, config->name, &ops);
	list_init(&m->debug_exit_task.node);
	list_init(&m->save_over_task.node);
	m->save_over_task.fn = monitor_on_save_over;
	list_init(&m->loaded_task.node);
	m->loaded_task.fn = monitor_on_loaded;
	m->debug_exit_task.fn = monitor_on_debug_exit_task;
	monitor_balloon_init(m);
	return m;
}

void monitor_free(struct monitor *m)
{
	if (!m)
		return;
	monitor_save_free(m);
	loop_task_cancel(m->loop, &m->save_over_task);
	load_free(
		m->load); /* first: it fills the machine's memory; all who wait for that are done */
	loop_task_cancel(m->loop, &m->loaded_task);
	machine_free(m->machine);
	server_free(m->server);
	free(m);
}

static int monitor_start(struct monitor *m, struct err *err)
{
	const struct machine_ops ops = {
		.enter_role = monitor_enter_role,
		.event = monitor_on_event,
		.debug_exit = monitor_on_debug_exit,
		.device_removed = monitor_on_device_removed,
		.balloon_changed = monitor_on_balloon,
		.net_lost = monitor_on_net_lost,
		.disk_failed = monitor_on_disk_failed,
		.job_changed = monitor_on_job_changed,
		.opaque = m,
	};
	int r = machine_new(m->config, m->loop, &ops, &m->machine, err);

	bool is_restored = m->config->restore_fd >= 0;

	if (!r && is_restored)
		r = monitor_restore_open(m, err);
	if (!r)
		r = server_start(m->server, err);
	if (!r)
		r = confine_setup(err);
	if (r < 0)
		return r;
	return is_restored ? monitor_restore_start(m, err) : machine_start(m->machine, err);
}

static void monitor_log_counter(void *opaque, const struct vcpu_counter *n)
{
	(void)opaque;
	log_debug("%s: %s %lu", n->group, n->name, n->value);
}

/* What the vCPUs did; they are out of the guest. KVM doesn't count instructions. */
static void monitor_log_work(struct monitor *m)
{
	struct vm *vm = machine_vm(m->machine);
	u64 insns = 0, exits = 0;

	for (unsigned i = 0; i < vm_vcpu_count(vm); i++) {
		insns += vm_vcpu(vm, i)->insns;
		exits += vm_vcpu(vm, i)->exits;
	}
	if (insns)
		log_info("the vCPUs ran %lu instructions, with %lu exits", insns, exits);
	else
		log_info("the vCPUs ran with %lu exits", exits);
	if (m->config->clock == GUEST_CLOCK_INSN && log_is_on(LOG_INFO))
		log_info("digest of memory and CPU: %08x", machine_digest(m->machine));
	for (unsigned i = 0; i < vm_vcpu_count(vm) && log_is_on(LOG_DEBUG); i++)
		vcpu_count(vm_vcpu(vm, i), monitor_log_counter, NULL);
}

int monitor_run(struct monitor *m, struct err *err)
{
	int r = monitor_start(m, err);

	if (r < 0) {
		monitor_end(m, CONTROL_FAILED, err->text);
	} else {
		monitor_tell(m, CONTROL_STARTED, machine_accel_text(m->machine));
		vm_resume(machine_vm(m->machine));
		loop_run(m->loop);
		vm_pause(machine_vm(m->machine));
		monitor_log_work(m);
	}
	server_last_event(m->server, control_event_json(&m->end));
	return r;
}

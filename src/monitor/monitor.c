/*
 * The monitor: commands in, events out, policies between. See monitor.h.
 */
#include "monitor/monitor.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/loop.h"
#include "confine/confine.h"
#include "machine/machine.h"
#include "proto/control.h"
#include "proto/guest_config.h"

struct monitor {
	struct loop *loop;
	struct guest_config *config;
	struct machine *machine;
	struct loop_fd control;
	struct loop_task debug_exit_task;
	u32 debug_exit_value;     /* atomic; written before the task is posted */
	struct control_event end; /* how it ended */
	bool is_ended;
};

static void monitor_tell(struct monitor *m, enum control_event_kind kind, const char *text)
{
	struct control_event e = {.kind = kind};

	snprintf(e.text, sizeof(e.text), "%s", text);
	/* A peer that is gone is noticed by the loop. */
	control_send_event(m->control.fd, &e);
}

/* The first reason counts. */
static void monitor_end(struct monitor *m, enum control_reason reason, const char *text)
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

static void monitor_restart(struct monitor *m)
{
	struct vm *vm = machine_vm(m->machine);
	struct err err = ERR_INIT;

	if (vm_reset(vm, &err) < 0) {
		err_wrap(&err, "cannot restart the guest");
		monitor_end(m, CONTROL_FAILED, err.text);
	} else {
		vm_resume(vm);
	}
}

static void monitor_on_panic(struct monitor *m)
{
	switch (m->config->on_crash) {
	case GUEST_CRASH_STOP:
		monitor_end(m, CONTROL_PANIC, "the guest's kernel panicked");
		break;
	case GUEST_CRASH_RESTART:
		monitor_restart(m);
		break;
	case GUEST_CRASH_PAUSE:
		vm_pause(machine_vm(m->machine));
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

static void monitor_command(struct monitor *m, enum control_command command)
{
	switch (command) {
	case CONTROL_POWER_BUTTON:
		machine_press_power_button(m->machine);
		break;
	case CONTROL_RESET:
		monitor_restart(m);
		break;
	case CONTROL_PAUSE:
		vm_pause(machine_vm(m->machine));
		monitor_tell(m, CONTROL_PAUSED, "paused");
		break;
	case CONTROL_RESUME:
		vm_resume(machine_vm(m->machine));
		break;
	case CONTROL_QUIT:
		monitor_end(m, CONTROL_ASKED, "");
		break;
	case CONTROL_COMMANDS:
		unreachable_code();
	}
}

static void monitor_on_control(struct loop_fd *w, u32 events)
{
	struct monitor *m = container_of(w, struct monitor, control);
	char buf[CONTROL_MAX_MESSAGE];
	struct err err = ERR_INIT;
	enum control_command command;
	size_t n_fds = 0;
	ssize_t n = fd_recv(w->fd, buf, sizeof(buf), NULL, &n_fds);

	(void)events;
	if (n == -EAGAIN)
		return;
	if (n == -EMSGSIZE)
		monitor_tell(m, CONTROL_ERROR, "the command is too long, or has descriptors");
	else if (n <= 0)
		monitor_end(m, CONTROL_ASKED, "");
	else if (control_parse_command(buf, (size_t)n, &command, &err) < 0)
		monitor_tell(m, CONTROL_ERROR, err.text);
	else
		monitor_command(m, command);
}

/* --- life --- */

struct monitor *monitor_new(struct loop *loop, int control, struct guest_config *config)
{
	struct monitor *m = NEW(struct monitor);

	m->loop = loop;
	m->config = config;
	m->control = (struct loop_fd){.fd = control, .events = EPOLLIN, .fn = monitor_on_control};
	list_init(&m->debug_exit_task.node);
	m->debug_exit_task.fn = monitor_on_debug_exit_task;
	return m;
}

void monitor_free(struct monitor *m)
{
	if (!m)
		return;
	machine_free(m->machine);
	loop_fd_remove(m->loop, &m->control);
	free(m);
}

static int monitor_start(struct monitor *m, struct err *err)
{
	const struct machine_ops ops = {
		.enter_role = monitor_enter_role,
		.event = monitor_on_event,
		.debug_exit = monitor_on_debug_exit,
		.opaque = m,
	};
	int r = machine_new(m->config, m->loop, &ops, &m->machine, err);

	if (r < 0)
		return r;
	r = loop_fd_add(m->loop, &m->control);
	if (r < 0)
		err_errno(err, r, "cannot watch the control socket");
	if (!r)
		r = confine_setup(err);
	if (!r)
		r = machine_start(m->machine, err);
	return r;
}

/* What the vCPUs did; they are out of the guest. KVM doesn't count instructions. */
static void monitor_log_work(struct vm *vm)
{
	u64 insns = 0, exits = 0;

	for (unsigned i = 0; i < vm_vcpu_count(vm); i++) {
		insns += vm_vcpu(vm, i)->insns;
		exits += vm_vcpu(vm, i)->exits;
	}
	log_info("the vCPUs ran %lu instructions (0: not counted), with %lu exits", insns, exits);
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
		monitor_log_work(machine_vm(m->machine));
	}
	control_send_event(m->control.fd, &m->end);
	return r;
}

/*
 * Disks: the command "resize-disk", and the pause when the host can't do what the guest asked for.
 */
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/err.h"
#include "base/log.h"
#include "machine/machine.h"
#include "monitor/monitor_priv.h"
#include "proto/control.h"
#include "vm/vm.h"

void monitor_on_disk_failed(void *opaque, const char *name, int result)
{
	struct monitor *m = opaque;
	char text[200];

	if (!vm_is_running(machine_vm(m->machine)))
		return; /* the guest has been told of already, or is paused for another reason */
	vm_pause(machine_vm(m->machine));
	snprintf(text, sizeof(text),
		 "'%s' can't be written or read (%s); the guest is paused, and a "
		 "resume tries again",
		 name, strerror(-result));
	log_warn("%s", text);
	monitor_tell(m, CONTROL_PAUSED, text);
}

void monitor_resize_disk(struct monitor *m, struct control_request *r)
{
	const json_t *arguments = control_arguments(r);
	const char *name = json_string_value(json_object_get(arguments, "device"));
	const json_t *bytes = json_object_get(arguments, "bytes");
	bool is_shrinking = json_is_true(json_object_get(arguments, "shrink"));
	struct err err = ERR_INIT;
	u64 now;

	if (!name || !json_is_integer(bytes) || json_integer_value(bytes) <= 0) {
		control_fail(r, -EINVAL, "'device' is no name, or 'bytes' no size");
		return;
	}
	if (machine_resize_disk(m->machine, name, (u64)json_integer_value(bytes), is_shrinking,
				&now, &err) < 0) {
		control_fail_err(r, &err);
		return;
	}
	server_event(m->server, json_pack("{s:s, s:s, s:I}", "event", "disk-resized", "device",
					  name, "bytes", (json_int_t)now));
	control_reply(r, json_pack("{s:I}", "bytes", (json_int_t)now));
}

/* --- disks that are being opened --- */

struct disk_wait {
	struct monitor *m;
	struct control_request *r;
	void (*done)(struct monitor *m, struct control_request *r, const char *device);
};

static int disk_wait_check(void *opaque, struct err *err)
{
	const struct disk_wait *w = opaque;

	if (control_is_gone(w->r))
		return err_set(err, -ECANCELED, "who asked for the disk is gone");
	if (monitor_is_held(w->m))
		return err_set(err, -EBUSY, "the guest is being saved");
	return 0;
}

static void disk_wait_done(void *opaque, const char *name, const struct err *err)
{
	struct disk_wait *w = opaque;

	if (name)
		w->done(w->m, w->r, name);
	else
		control_fail_err(w->r, err);
	free(w);
}

struct machine_waiter monitor_wait_for_disk(struct monitor *m, struct control_request *r,
					    void (*done)(struct monitor *m,
							 struct control_request *r,
							 const char *device))
{
	struct disk_wait *w = NEW(struct disk_wait);

	*w = (struct disk_wait){.m = m, .r = r, .done = done};
	return (struct machine_waiter){
		.check = disk_wait_check, .done = disk_wait_done, .opaque = w};
}

/*
 * The commands for devices that come and go, and their events.
 */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "base/err.h"
#include "machine/machine.h"
#include "monitor/monitor_priv.h"
#include "proto/guest_config.h"

static json_t *devices_event(const char *event, const char *device)
{
	return json_pack("{s:s, s:s}", "event", event, "device", device);
}

/* --- device-add --- */

static void devices_added(struct monitor *m, struct control_request *r, const char *name)
{
	server_event(m->server, devices_event("device-added", name));
	control_reply(r, json_pack("{s:s}", "device", name));
}

static int devices_add_disk(struct monitor *m, const json_t *device, struct control_request *r,
			    struct err *err)
{
	struct guest_disk disk;
	struct machine_waiter w;
	int ret = guest_disk_decode(device, control_fds(r), &disk, err);

	if (ret < 0)
		return ret;
	w = monitor_wait_for_disk(m, r, devices_added);
	ret = machine_add_disk(m->machine, &disk, &w, err);
	if (ret < 0)
		free(w.opaque);
	return ret;
}

static int devices_add_nic(struct monitor *m, const json_t *device, struct control_request *r,
			   struct err *err)
{
	struct guest_nic nic;
	const char *name;
	int ret = guest_nic_decode(device, control_fds(r), &nic, err);

	if (ret == 0)
		ret = machine_add_nic(m->machine, &nic, &name, err);
	if (ret == 0)
		devices_added(m, r, name);
	return ret;
}

/* A network card says of what kind its other end is; a disk has no kinds. */
void monitor_device_add(struct monitor *m, struct control_request *r)
{
	const json_t *device = json_object_get(control_arguments(r), "device");
	struct err err = ERR_INIT;
	int ret;

	if (!json_is_object(device)) {
		control_fail(r, -EINVAL, "'device' is no object that describes a disk or nic");
		return;
	}
	if (json_object_get(device, "kind"))
		ret = devices_add_nic(m, device, r, &err);
	else
		ret = devices_add_disk(m, device, r, &err);
	if (ret < 0)
		control_fail_err(r, &err);
}

/* --- device-remove --- */

/* The reply says that the guest was asked; the event, that it is gone. */
void monitor_device_remove(struct monitor *m, struct control_request *r)
{
	const json_t *arguments = control_arguments(r);
	const char *name = json_string_value(json_object_get(arguments, "device"));
	bool is_forced = json_is_true(json_object_get(arguments, "force"));
	struct err err = ERR_INIT;

	if (!name)
		control_fail(r, -EINVAL, "'device' is no name");
	else if (machine_remove_device(m->machine, name, is_forced, &err) < 0)
		control_fail_err(r, &err);
	else
		control_reply(r, NULL);
}

void monitor_on_device_removed(void *opaque, const char *name)
{
	struct monitor *m = opaque;

	server_event(m->server, devices_event("device-removed", name));
}

/* --- device-list --- */

static json_t *devices_json(const struct machine_device *d)
{
	static const char *const kinds[] = {
		[MACHINE_OTHER] = "board", [MACHINE_DISK] = "disk", [MACHINE_NIC] = "nic"};

	return json_pack("{s:s, s:s, s:i, s:b}", "device", d->name, "kind", kinds[d->kind], "slot",
			 (int)d->slot, "leaving", d->is_asked);
}

void monitor_device_list(struct monitor *m, struct control_request *r)
{
	struct machine_device devices[MACHINE_MAX_DEVICES];
	unsigned n = machine_list_devices(m->machine, devices);
	json_t *list = json_array();

	for (unsigned i = 0; i < n; i++)
		json_array_append_new(list, devices_json(&devices[i]));
	control_reply(r, json_pack("{s:o}", "devices", list));
}

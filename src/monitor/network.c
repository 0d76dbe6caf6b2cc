/*
 * A network card's cable: the commands "net-connect" and "set-link", and the event "net-lost".
 */
#include <jansson.h>

#include "base/err.h"
#include "machine/machine.h"
#include "monitor/monitor_priv.h"
#include "proto/guest_config.h"

void monitor_on_net_lost(void *opaque, const char *name)
{
	struct monitor *m = opaque;

	server_event(m->server, json_pack("{s:s, s:s}", "event", "net-lost", "device", name));
}

/* "nic" is described as for device-add; only its kind and descriptors count. */
void monitor_net_connect(struct monitor *m, struct control_request *r)
{
	const json_t *arguments = control_arguments(r);
	const char *name = json_string_value(json_object_get(arguments, "device"));
	struct err err = ERR_INIT;
	struct guest_nic nic;

	if (!name) {
		control_fail(r, -EINVAL, "'device' is no name");
		return;
	}
	if (guest_nic_decode(json_object_get(arguments, "nic"), control_fds(r), &nic, &err) < 0 ||
	    machine_connect_nic(m->machine, name, &nic, &err) < 0) {
		control_fail_err(r, &err);
		return;
	}
	control_reply(r, NULL);
}

void monitor_set_link(struct monitor *m, struct control_request *r)
{
	const json_t *arguments = control_arguments(r), *up = json_object_get(arguments, "up");
	const char *name = json_string_value(json_object_get(arguments, "device"));
	struct err err = ERR_INIT;

	if (!name || !json_is_boolean(up))
		control_fail(r, -EINVAL, "'device' is no name, or 'up' neither true nor false");
	else if (machine_set_link(m->machine, name, json_is_true(up), &err) < 0)
		control_fail_err(r, &err);
	else
		control_reply(r, NULL);
}

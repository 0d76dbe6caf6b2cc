/*
 * A device more for a guest that runs: its names are resolved here as at a start, and the descriptors
 * go to the guest process over its control socket.
 *
 * What was opened stays open there. A user network's process ends with its stream, and so with the
 * device or the guest, whichever goes first.
 */
#include <jansson.h>
#include <string.h>
#include <sys/random.h>

#include "base/alloc.h"
#include "base/err.h"
#include "client/client.h"
#include "launch/launch_priv.h"

#define DEVICE_MAX_FDS    (3 + GUEST_MAX_NET_QUEUES + GUEST_MAX_DISK_FILES)
#define DEVICE_TIMEOUT_MS 60000

/* The guest's other addresses were made from its name and a number, of which we know nothing. */
static int device_make_mac(u8 mac[6], struct err *err)
{
	if (getrandom(mac, 6, 0) != 6)
		return err_errno(err, -errno, "cannot make an address");
	mac[0] = 0x52;
	mac[1] = 0x50;
	return 0;
}

/* What a disk of a server takes to be opened is up to that server, for so long. */
static int device_connect(const char *guest, struct client **out, struct err *err)
{
	int r = client_connect(guest, out, err);

	if (r == 0)
		client_set_timeout(*out, DEVICE_TIMEOUT_MS);
	return r;
}

static int device_send(const char *guest, json_t *device, const int *fds, size_t n_fds,
		       char **out_name, struct err *err)
{
	AUTO(client_free) struct client *c = NULL;
	json_t *result;
	int r = device_connect(guest, &c, err);

	if (r < 0) {
		json_decref(device);
		return r;
	}
	r = client_call(c, "device-add", json_pack("{s:o}", "device", device), fds, n_fds, &result,
			err);
	if (r < 0)
		return r;
	*out_name = str_dup(json_string_value(json_object_get(result, "device")) ?: "");
	json_decref(result);
	return 0;
}

int launch_add_disk(const char *guest, const struct launch_disk *d, bool is_snapshot,
		    char **out_name, struct err *err)
{
	int numbers[DEVICE_MAX_FDS], r;
	struct field_fds fds = {.fds = numbers, .max = DEVICE_MAX_FDS};
	struct guest_disk disk;

	guest_disk_init(&disk);
	r = launch_open_disk(d, is_snapshot, &disk, err);
	if (r < 0) {
		err_wrap(err, "--disk");
	} else {
		json_t *device = guest_disk_encode(&disk, &fds);

		r = device_send(guest, device, numbers, fds.n, out_name, err);
	}
	guest_disk_fini(&disk);
	return r;
}

/* Waits until the user network is there, and leaves its process to itself. */
static int device_open_net(const char *guest, const struct launch_net *n, struct guest_nic *out,
			   struct err *err)
{
	const struct launch_request request = {.uids = CONFINE_UIDS_DEFAULT};
	struct launch l = {.request = &request,
			   .cgroup = CONFINE_CGROUP_INIT,
			   .entry = REGISTRY_ENTRY_INIT,
			   .control = -1,
			   .console = -1,
			   .config.name = (char *)guest, /* for messages */
			   .leaves_helpers = true};
	int r = launch_open_net(&l, n, out, err);

	if (!r)
		r = launch_wait_helpers(&l, err);
	launch_leave_helpers(&l);
	return r < 0 ? err_wrap(err, "--net") : 0;
}

static int device_start_job(const char *guest, json_t *arguments, const int *fds, size_t n_fds,
			    struct err *err)
{
	AUTO(client_free) struct client *c = NULL;
	int r = device_connect(guest, &c, err);

	if (r < 0) {
		json_decref(arguments);
		return r;
	}
	return client_call(c, "job-start", arguments, fds, n_fds, NULL, err);
}

int launch_start_job(const char *guest, json_t *arguments, const struct launch_disk *target,
		     struct err *err)
{
	int numbers[DEVICE_MAX_FDS], r;
	struct field_fds fds = {.fds = numbers, .max = DEVICE_MAX_FDS};
	struct guest_disk disk;

	if (!target)
		return device_start_job(guest, arguments, NULL, 0, err);
	guest_disk_init(&disk);
	r = launch_open_disk(target, false, &disk, err);
	if (r < 0) {
		json_decref(arguments);
	} else {
		json_object_set_new(arguments, "target", guest_disk_encode(&disk, &fds));
		r = device_start_job(guest, arguments, numbers, fds.n, err);
	}
	guest_disk_fini(&disk);
	return r;
}

int launch_add_net(const char *guest, const struct launch_net *n, char **out_name, struct err *err)
{
	int numbers[DEVICE_MAX_FDS], r;
	struct field_fds fds = {.fds = numbers, .max = DEVICE_MAX_FDS};
	struct guest_nic nic;

	guest_nic_init(&nic);
	r = device_make_mac(nic.mac, err);
	if (!r)
		r = device_open_net(guest, n, &nic, err);
	if (!r) {
		json_t *device;

		nic.spec = launch_net_text(n); /* for a guest that is saved and restored */
		device = guest_nic_encode(&nic, &fds);
		r = device_send(guest, device, numbers, fds.n, out_name, err);
	}
	guest_nic_fini(&nic);
	return r;
}

/* --- out again --- */

static bool device_is_removed(const json_t *event, const char *device)
{
	const char *what = json_string_value(json_object_get(event, "event"));
	const char *name = json_string_value(json_object_get(event, "device"));

	return what && name && !strcmp(what, "device-removed") && !strcmp(name, device);
}

static int device_wait_removed(struct client *c, const char *device, int timeout_ms,
			       struct err *err)
{
	bool is_removed = false;

	while (!is_removed) {
		json_t *event;
		int r = client_next_event(c, timeout_ms, &event, err);

		if (r == -ETIMEDOUT)
			return err_set(err, r,
				       "the guest was asked, but has not let go of '%s' so far",
				       device);
		if (r < 0)
			return r;
		is_removed = device_is_removed(event, device);
		json_decref(event);
	}
	return 0;
}

int launch_remove_device(const char *guest, const char *device, bool is_forced, int timeout_ms,
			 struct err *err)
{
	AUTO(client_free) struct client *c = NULL;
	int r = client_connect(guest, &c, err);

	if (!r)
		r = client_call(c, "subscribe", NULL, NULL, 0, NULL, err);
	if (!r)
		r = client_call(c, "device-remove",
				json_pack("{s:s, s:b}", "device", device, "force", is_forced), NULL,
				0, NULL, err);
	return r ? r : device_wait_removed(c, device, timeout_ms, err);
}

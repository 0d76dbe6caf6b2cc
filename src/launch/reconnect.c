/*
 * A user network whose process has ended is started again, while the guest runs on: its network card
 * had its link down meanwhile. One that ends at once, again and again, is given up.
 *
 * A tap isn't opened again: it went because somebody took it away.
 */
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/time.h"
#include "launch/launch_priv.h"
#include "proto/fields.h"

#define RECONNECT_TRIES      3
#define RECONNECT_TRIED_NS   (60 * NSEC_PER_SEC) /* so many within that time */
#define RECONNECT_NAME_BYTES 48

/* The number of the card with this name, or of the one that was given it; -1. */
static int reconnect_find(const struct launch *l, const char *device)
{
	char given[RECONNECT_NAME_BYTES];

	for (unsigned i = 0; i < l->config.n_nics && i < l->request->n_nets; i++) {
		const char *name = l->config.nics[i].name;

		snprintf(given, sizeof(given), "net%u", i);
		if (!strcmp(name ? name : given, device))
			return (int)i;
	}
	return -1;
}

static bool reconnect_may_try(struct launch_tries *t)
{
	u64 now = time_mono_ns();

	if (!t->n || now - t->since_ns > RECONNECT_TRIED_NS)
		*t = (struct launch_tries){.since_ns = now};
	return t->n++ < RECONNECT_TRIES;
}

/* Its process has ended, or is no good any more: the number is free for the next one's. */
static void reconnect_end_helper(struct launch *l, unsigned i)
{
	pid_t pid = l->net_helpers[i];

	for (unsigned k = 0; k < l->n_helpers; k++) {
		if (!pid || l->helpers[k] != pid)
			continue;
		launch_end_process(l, pid);
		l->helpers[k] = l->helpers[--l->n_helpers];
	}
	l->net_helpers[i] = 0;
}

static int reconnect_hand_over(struct launch *l, const char *device, const struct guest_nic *nic)
{
	int fds[1], r;
	struct field_fds sent = {.fds = fds, .max = 1};
	json_t *arguments =
		json_pack("{s:s, s:o}", "device", device, "nic", guest_nic_encode(nic, &sent));
	json_t *command = json_pack("{s:s, s:o}", "command", "net-connect", "arguments", arguments);
	char *text = json_dumps(command, JSON_COMPACT);

	r = fd_send(l->control, text, strlen(text), fds, sent.n);
	free(text);
	json_decref(command);
	return r;
}

static int reconnect(struct launch *l, unsigned i, const char *device, struct err *err)
{
	struct guest_nic nic;
	int r;

	reconnect_end_helper(l, i);
	guest_nic_init(&nic);
	r = launch_open_nth_net(l, i, &nic, err);
	memcpy(nic.mac, l->config.nics[i].mac, sizeof(nic.mac));
	if (!r)
		r = launch_wait_helpers(l, err);
	if (!r)
		r = reconnect_hand_over(l, device, &nic);
	if (r < 0 && !err->code)
		err_errno(err, r, "cannot hand it to the guest process");
	guest_nic_fini(&nic);
	return r;
}

static char *reconnect_on_lost(struct launch *l, const char *device)
{
	int i = reconnect_find(l, device);
	struct err err = ERR_INIT;

	if (i < 0 || l->request->nets[i].kind != LAUNCH_NET_USER)
		return str_format("network card '%s' has lost its network", device);
	if (!reconnect_may_try(&l->net_tries[i]))
		return str_format("the user network of '%s' ended again; it stays down", device);
	if (reconnect(l, (unsigned)i, device, &err) < 0)
		return str_format("the user network of '%s' ended, and can't be started again: %s",
				  device, err.text);
	return str_format("the user network of '%s' ended; it was started again", device);
}

char *launch_on_net_event(struct launch *l, const char *text, size_t size)
{
	json_t *event = json_loadb(text, size, JSON_REJECT_DUPLICATES, NULL);
	const char *what = json_string_value(json_object_get(event, "event"));
	const char *device = json_string_value(json_object_get(event, "device"));
	char *words = NULL;

	if (what && device && !strcmp(what, "net-lost"))
		words = reconnect_on_lost(l, device);
	json_decref(event);
	return words;
}

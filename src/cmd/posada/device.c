/*
 * posada attach, detach, devices: disks and network cards of a guest that runs.
 */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/err.h"
#include "client/client.h"
#include "cmd/posada/cmd.h"
#include "cmd/posada/options.h"
#include "cmd/posada/print.h"
#include "cmd/posada/run.h"
#include "launch/launch.h"

#define DEVICE_WAIT_MS 30000 /* Linux thinks for 5 s after the attention button */

static int device_fail(const struct err *err)
{
	fprintf(stderr, "posada: %s\n", err->text);
	return 1;
}

/* --- attach --- */

static int device_disk(void *to, char *value, struct err *err)
{
	return run_parse_option("disk", to, value, err);
}

static int device_net(void *to, char *value, struct err *err)
{
	return run_parse_option("net", to, value, err);
}

static int device_snapshot(void *to, unused char *value, unused struct err *err)
{
	((struct launch_request *)to)->is_snapshot = true;
	return 0;
}

static int device_add(const char *guest, const struct launch_request *q, struct err *err)
{
	AUTO(free) char *name = NULL;
	int r;

	if (q->n_disks + q->n_nets != 1)
		return err_set(err, -EINVAL, "one device at a time: give one --disk or one --net");
	if (q->n_disks)
		r = launch_add_disk(guest, &q->disks[0], q->is_snapshot, &name, err);
	else
		r = launch_add_net(guest, &q->nets[0], &name, err);
	if (!r)
		printf("%s\n", name);
	return r;
}

int cmd_device_add(int argc, char **argv)
{
	static const struct option_row rows[] = {
		{"disk", "PATH[,format=qcow2][,readonly=on][,name=NAME][,slot=N][,...]",
		 device_disk,
		 "a disk: an image or block device, with the options that `posada run` has"},
		{"net", "user[,...]|tap=IFNAME", device_net, "a network card, as for `posada run`"},
		{"snapshot", NULL, device_snapshot,
		 "what the guest writes to the disk is forgotten"},
	};
	static const struct option_table table = {
		.command = "attach",
		.usage = "NAME --disk PATH|--net NETWORK [OPTIONS]",
		.summary =
			"Gives a running guest a disk or a network card, and prints the device's "
			"name.",
		.rows = rows,
		.n_rows = ARRAY_SIZE(rows),
		.min_args = 1,
		.max_args = 1,
		.missing = "which guest? `posada ps` lists them",
	};
	struct launch_request q = {0};
	struct err err = ERR_INIT;
	const char *args[1];
	int status = options_parse(&table, argc, argv, &q, args);

	if (status != OPTIONS_RUN)
		return status;
	return device_add(args[0], &q, &err) < 0 ? device_fail(&err) : 0;
}

/* --- detach --- */

struct device_remove {
	bool is_forced;
};

static int device_force(void *to, unused char *value, unused struct err *err)
{
	((struct device_remove *)to)->is_forced = true;
	return 0;
}

int cmd_device_remove(int argc, char **argv)
{
	static const struct option_row rows[] = {
		{"force", NULL, device_force, "don't ask: the guest finds that it is gone"},
	};
	static const struct option_table table = {
		.command = "detach",
		.usage = "NAME DEVICE [OPTIONS]",
		.summary = "Asks a running guest to let go of a disk or network card, and takes it "
			   "out "
			   "then.\nLinux waits for 5 seconds before it does.",
		.rows = rows,
		.n_rows = ARRAY_SIZE(rows),
		.min_args = 2,
		.max_args = 2,
		.missing = "which device of which guest? `posada devices NAME` lists them",
	};
	struct device_remove o = {0};
	struct err err = ERR_INIT;
	const char *args[2];
	int status = options_parse(&table, argc, argv, &o, args);

	if (status != OPTIONS_RUN)
		return status;
	if (launch_remove_device(args[0], args[1], o.is_forced, DEVICE_WAIT_MS, &err) < 0)
		return device_fail(&err);
	return 0;
}

/* --- devices --- */

static int device_ask(const char *guest, json_t **out, struct err *err)
{
	AUTO(client_free) struct client *c = NULL;
	int r = client_connect(guest, &c, err);

	return r < 0 ? r : client_call(c, "device-list", NULL, NULL, 0, out, err);
}

static void device_print(const json_t *devices)
{
	static const char *const headings[] = {"DEVICE", "KIND", ">SLOT", "", NULL};
	struct print_table *t = print_table_new(headings);

	for (size_t i = 0; i < json_array_size(devices); i++) {
		const json_t *d = json_array_get(devices, i);

		print_cell(t, "%s", json_text(d, "device"));
		print_cell(t, "%s", json_text(d, "kind"));
		print_cell(t, "%ld", json_number(d, "slot"));
		print_cell(t, "%s", json_is_true(json_object_get(d, "leaving")) ? "leaving" : "");
	}
	print_table_end(t);
}

int cmd_device_list(int argc, char **argv)
{
	static const struct option_row rows[] = {OPTION_JSON};
	static const struct option_table table = {
		.command = "devices",
		.usage = "NAME [OPTIONS]",
		.summary = "Lists a guest's devices and the slots that they are in.",
		.rows = rows,
		.n_rows = ARRAY_SIZE(rows),
		.min_args = 1,
		.max_args = 1,
		.missing = "which guest? `posada ps` lists them",
	};
	struct json_option o = {0};
	struct err err = ERR_INIT;
	const char *args[1];
	json_t *got, *devices;
	int status = options_parse(&table, argc, argv, &o, args);

	if (status != OPTIONS_RUN)
		return status;
	if (device_ask(args[0], &got, &err) < 0)
		return device_fail(&err);
	devices = json_object_get(got, "devices");
	if (o.is_json)
		print_json(json_incref(devices));
	else
		device_print(devices);
	json_decref(got);
	return 0;
}

/*
 * posada stats: what a guest did and used since it was started.
 */
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "client/client.h"
#include "cmd/posada/cmd.h"
#include "cmd/posada/options.h"
#include "cmd/posada/print.h"

/* The columns of the devices of one type: the counter, its heading, whether it is bytes. */
struct stats_column {
	const char *counter, *heading;
	bool is_bytes;
};

static const struct stats_column stats_disk_columns[] = {
	{"reads", ">READS", false},     {"read-bytes", ">READ", true},
	{"writes", ">WRITES", false},   {"written-bytes", ">WRITTEN", true},
	{"flushes", ">FLUSHES", false}, {"discards", ">DISCARDS", false},
	{"errors", ">ERRORS", false},   {NULL, NULL, false},
};

static const struct stats_column stats_nic_columns[] = {
	{"sent-frames", ">FRAMES SENT", false},  {"sent-bytes", ">SENT", true},
	{"received-frames", ">RECEIVED", false}, {"received-bytes", ">RECEIVED", true},
	{"dropped-frames", ">DROPPED", false},   {NULL, NULL, false},
};

static const struct stats_column stats_socket_columns[] = {
	{"connections", ">OPEN", false},
	{"opened", ">IN ALL", false},
	{"sent-bytes", ">SENT", true},
	{"received-bytes", ">RECEIVED", true},
	{NULL, NULL, false},
};

static const struct {
	const char *type, *heading;
	const struct stats_column *columns;
} stats_types[] = {
	{"virtio-blk", "DISK", stats_disk_columns},
	{"virtio-net", "NETWORK", stats_nic_columns},
	{"virtio-vsock", "SOCKETS", stats_socket_columns},
};

static void stats_print_memory(const json_t *memory)
{
	char size[32], resident[32], huge[32], dirty[32];

	if (!json_object_get(memory, "resident"))
		print_value("memory", "%s", print_size(size, (u64)json_number(memory, "size")));
	else
		print_value("memory", "%s; of the host: %s, of it %s in huge pages, %s dirty",
			    print_size(size, (u64)json_number(memory, "size")),
			    print_size(resident, (u64)json_number(memory, "resident")),
			    print_size(huge, (u64)json_number(memory, "huge")),
			    print_size(dirty, (u64)json_number(memory, "dirty")));
}

/* What the guest says of it, if it does. */
static void stats_print_balloon(const json_t *balloon)
{
	const json_t *guest = json_object_get(balloon, "guest");
	char has[32], available[32], back[32];

	if (guest)
		print_value("guest says", "has %s, of it %s available; %s given back in all",
			    print_size(has, (u64)json_number(guest, "memory")),
			    print_size(available, (u64)json_number(guest, "available-memory")),
			    print_size(back, (u64)json_number(balloon, "given-back")));
}

static void stats_print_vcpus(const json_t *vcpus)
{
	static const char *const headings[] = {">CPU", ">EXITS", ">INSTRUCTIONS", ">SECONDS", NULL};
	struct print_table *t = print_table_new(headings);

	for (size_t i = 0; i < json_array_size(vcpus); i++) {
		const json_t *v = json_array_get(vcpus, i);

		print_cell(t, "%ld", json_number(v, "id"));
		print_cell(t, "%ld", json_number(v, "exits"));
		/* KVM doesn't count them. */
		if (json_number(v, "instructions"))
			print_cell(t, "%ld", json_number(v, "instructions"));
		else
			print_cell(t, "-");
		print_cell(t, "%.2f", (double)json_number(v, "cpu-ns") / 1e9);
	}
	putchar('\n');
	print_table_end(t);
}

static void stats_print_row(struct print_table *t, const json_t *device,
			    const struct stats_column *columns)
{
	const json_t *counters = json_object_get(device, "counters");
	char text[32];

	print_cell(t, "%s", json_text(device, "device"));
	for (; columns->counter; columns++) {
		i64 value = json_number(counters, columns->counter);

		if (columns->is_bytes)
			print_cell(t, "%s", print_size(text, (u64)value));
		else
			print_cell(t, "%ld", value);
	}
}

static void stats_print_type(const json_t *devices, size_t type)
{
	const struct stats_column *columns = stats_types[type].columns;
	const char *headings[PRINT_MAX_COLUMNS + 1] = {stats_types[type].heading};
	struct print_table *t = NULL;

	for (size_t i = 0; columns[i].counter; i++)
		headings[i + 1] = columns[i].heading;
	for (size_t i = 0; i < json_array_size(devices); i++) {
		const json_t *d = json_array_get(devices, i);

		if (strcmp(json_text(d, "type"), stats_types[type].type))
			continue;
		if (!t)
			t = print_table_new(headings);
		stats_print_row(t, d, columns);
	}
	if (t) {
		putchar('\n');
		print_table_end(t);
	}
}

/* Drivers that do what devices don't allow: none, mostly. */
static void stats_print_errors(const json_t *devices)
{
	for (size_t i = 0; i < json_array_size(devices); i++) {
		const json_t *d = json_array_get(devices, i);

		if (json_number(d, "guest-errors"))
			print_value(json_text(d, "device"), "%ld mistakes by its driver",
				    json_number(d, "guest-errors"));
	}
}

static void stats_print(const json_t *s)
{
	const json_t *devices = json_object_get(s, "devices");
	char text[32];

	print_value("ran for", "%s",
		    print_duration(text, (u64)json_number(s, "clock-ns") / NSEC_PER_SEC));
	stats_print_memory(json_object_get(s, "memory"));
	stats_print_balloon(json_object_get(s, "balloon"));
	stats_print_errors(devices);
	stats_print_vcpus(json_object_get(s, "vcpus"));
	for (size_t i = 0; i < ARRAY_SIZE(stats_types); i++)
		stats_print_type(devices, i);
}

int cmd_stats(int argc, char **argv)
{
	static const struct option_row rows[] = {OPTION_JSON};
	static const struct option_table table = {
		.command = "stats",
		.usage = "NAME [OPTIONS]",
		.summary = "Shows what a guest did and used since it was started.",
		.rows = rows,
		.n_rows = ARRAY_SIZE(rows),
		.min_args = 1,
		.max_args = 1,
		.missing = "which guest? `posada ps` lists them",
	};
	AUTO(client_free) struct client *c = NULL;
	struct json_option o = {0};
	struct err err = ERR_INIT;
	const char *name;
	json_t *stats;
	int status = options_parse(&table, argc, argv, &o, &name);

	if (status != OPTIONS_RUN)
		return status;
	if (client_connect(name, &c, &err) < 0 ||
	    client_call(c, "stats", NULL, NULL, 0, &stats, &err) < 0) {
		fprintf(stderr, "posada: %s\n", err.text);
		return 1;
	}
	if (o.is_json) {
		print_json(stats);
		return 0;
	}
	stats_print(stats);
	json_decref(stats);
	return 0;
}

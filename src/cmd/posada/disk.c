/*
 * posada resize-disk: a disk of a guest that runs.
 */
#include <jansson.h>
#include <stdio.h>

#include "base/err.h"
#include "client/client.h"
#include "cmd/posada/cmd.h"
#include "cmd/posada/options.h"
#include "cmd/posada/print.h"

struct disk_resize {
	bool is_shrinking;
};

static int disk_shrink(void *to, unused char *value, unused struct err *err)
{
	((struct disk_resize *)to)->is_shrinking = true;
	return 0;
}

static int disk_resize(const char *const *args, bool is_shrinking, u64 *out_bytes, struct err *err)
{
	AUTO(client_free) struct client *c = NULL;
	json_t *result;
	u64 bytes;
	int r = option_size(args[2], &bytes, err);

	if (!r)
		r = client_connect(args[0], &c, err);
	if (!r)
		r = client_call(c, "resize-disk",
				json_pack("{s:s, s:I, s:b}", "device", args[1], "bytes",
					  (json_int_t)bytes, "shrink", is_shrinking),
				NULL, 0, &result, err);
	if (r < 0)
		return r;
	*out_bytes = (u64)json_number(result, "bytes");
	json_decref(result);
	return 0;
}

int cmd_resize_disk(int argc, char **argv)
{
	static const struct option_row rows[] = {
		{"shrink", NULL, disk_shrink,
		 "make it smaller, too: what is beyond the new end is lost"},
	};
	static const struct option_table table = {
		.command = "resize-disk",
		.usage = "NAME DEVICE SIZE [OPTIONS]",
		.summary = "Gives a running guest's disk another size, of which the guest is told.",
		.rows = rows,
		.n_rows = ARRAY_SIZE(rows),
		.min_args = 3,
		.max_args = 3,
		.missing = "which disk of which guest, and what size? `posada devices NAME` lists "
			   "them",
	};
	struct disk_resize o = {0};
	struct err err = ERR_INIT;
	const char *args[3];
	char size[32];
	u64 bytes;
	int status = options_parse(&table, argc, argv, &o, args);

	if (status != OPTIONS_RUN)
		return status;
	if (disk_resize(args, o.is_shrinking, &bytes, &err) < 0) {
		fprintf(stderr, "posada: %s\n", err.text);
		return 1;
	}
	printf("%s: %s\n", args[1], print_size(size, bytes));
	return 0;
}
